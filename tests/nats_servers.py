"""Real NATS servers with JetStream, for tests: one, or a cluster of three on loopback."""

import atexit
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from uuid import uuid4


class Nats:
    """One server on a folder of its own; sync_interval: always, as every server of a log must run."""

    def __init__(self, folder: Path, *, name: str = "alone", port: int | None = None, cluster: str = "") -> None:
        self.port = port or free_port()
        self.config = folder / f"{name}.conf"
        self.folder = folder
        self.config.write_text(
            f'server_name: "{name}"\nlisten: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{folder / name}"\n max_file_store: 10GB\n sync_interval: always }}\n{cluster}'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Nats":
        program = Path(sys.executable).parent / "nats-server"
        self.process = subprocess.Popen(
            [str(program), "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the NATS server has not started")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def single() -> Nats:
    """One server for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="nats-"))
    server = Nats(folder).start()

    def end() -> None:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


def new_log(replica: Path) -> str:
    """The address of an empty log, and of a node's replica of it."""
    return f"nats://127.0.0.1:{single().port}/log-{uuid4().hex}?replica={replica}&replicas=1"


class Cluster:
    """Three servers that keep each log on all of them."""

    def __init__(self, folder: Path) -> None:
        routes = [free_port() for _ in range(3)]
        peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.servers = [
            Nats(
                folder,
                name=f"n{number}",
                cluster=f'cluster {{ name: "c", listen: "127.0.0.1:{route}", routes: [{peers}] }}\n',
            )
            for number, route in enumerate(routes)
        ]

    def start(self) -> "Cluster":
        for server in self.servers:
            server.start()
        return self

    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def stop(self) -> None:
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                server.kill()
