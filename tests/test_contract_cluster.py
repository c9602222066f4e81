"""The cluster's engine is held to the contract, on one server and on three; with faults, see test_cluster_faults.py."""

import time
from collections.abc import Callable
from pathlib import Path

from hansard.errors import OpenFailed
from hansard.storage.cluster.address import parse
from hansard.storage.cluster.jetstream import JetStreamLog
from hansard.storage.cluster.storage import ClusterStorage
from hansard.storage.port import Storage
from hansard.testing.contract import StorageContract
from nats_servers import new_log, new_log_on_three


class TestCluster(StorageContract):
    make_log = staticmethod(new_log)

    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        file = folder / "address"
        if not file.exists():
            file.write_text(self.make_log(folder / "replica.db"))
        address = parse(file.read_text())
        ends = time.monotonic() + 30
        while True:  # three servers that have just started have no leader yet
            try:
                log = JetStreamLog(address)
                return ClusterStorage(log, address.replica, replicas=address.replicas, clock_us=clock_us)
            except OpenFailed:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.1)


class TestClusterOfThree(TestCluster):
    make_log = staticmethod(new_log_on_three)
