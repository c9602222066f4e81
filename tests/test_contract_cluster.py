"""The cluster's engine is held to the contract, on one server; with three, see test_cluster.py."""

from collections.abc import Callable
from pathlib import Path

from hansard.storage.cluster.address import parse
from hansard.storage.cluster.jetstream import JetStreamLog
from hansard.storage.cluster.storage import ClusterStorage
from hansard.storage.port import Storage
from hansard.testing.contract import StorageContract
from nats_servers import new_log


class TestCluster(StorageContract):
    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        file = folder / "address"
        if not file.exists():
            file.write_text(new_log(folder / "replica.db"))
        address = parse(file.read_text())
        log = JetStreamLog(address.servers, address.log, replicas=1, shown=address.shown)
        return ClusterStorage(log, address.replica, replicas=1, clock_us=clock_us)
