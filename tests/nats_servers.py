"""Real NATS servers with JetStream, for tests: one, or a cluster of three on loopback."""

import atexit
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import hansard
from hansard import OpenFailed


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
    """The address of an empty log on one server, and of a node's replica of it."""
    return f"nats://127.0.0.1:{single().port}/log-{uuid4().hex}?replica={replica}&replicas=1"


@cache
def three() -> "Cluster":
    """Three servers for all tests of this process that do not harm them."""
    folder = Path(tempfile.mkdtemp(prefix="nats-"))
    cluster = Cluster(folder).start()
    ends = time.monotonic() + 60
    while True:  # they have no leader yet
        try:
            hansard.open(f"nats://{cluster.hosts()}/ready?replica={folder / 'ready.db'}").close()
            break
        except OpenFailed:
            assert time.monotonic() < ends, "the three servers are not ready"
            time.sleep(0.1)

    def end() -> None:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return cluster


def new_log_on_three(replica: Path) -> str:
    return f"nats://{three().hosts()}/log-{uuid4().hex}?replica={replica}"


def decide_otherwise(node: hansard.Store) -> int:
    """The message that it has applied last, as if this node had decided that otherwise. Which one that was."""
    inner: Any = node._storage._node  # type: ignore[attr-defined]
    with inner._applying:
        before = inner.replica.applied
        inner.replica.applied = type(before)(before.sequence, "ab" * 16, before.log)
        inner.members.applied(before.sequence, "ab" * 16)
    return int(before.sequence)


class Wire:
    """From one server to another: passes bytes on, until it is cut; then nothing, and all is closed when it is whole again."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._is_whole = threading.Event()
        self._is_whole.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listening.accept()
            self._is_whole.wait()
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._sockets = [*(one for one in self._sockets if one.fileno() >= 0), near, far]
            for source, target in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self._is_whole.wait()
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self) -> None:
        self._is_whole.clear()

    def mend(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._is_whole.set()


class Cluster:
    """Three servers that keep each log on all of them. They reach each other through wires that can be cut, if `is_wired`."""

    def __init__(self, folder: Path, *, is_wired: bool = True) -> None:
        routes = [free_port() for _ in range(3)]
        self._direct = [] if is_wired else routes
        self._wires = {(one, other): Wire(routes[other]) for one in range(3) for other in range(3) if one != other}
        self.servers = [
            Nats(folder, name=f"n{number}", cluster=self._cluster(number, route)) for number, route in enumerate(routes)
        ]

    def _cluster(self, number: int, route: int) -> str:
        """`advertise`: nobody is there, so servers know of no way to each other but the wires."""
        ports, more = self._direct, ""
        if not ports:
            ports = [wire.port for (one, _), wire in self._wires.items() if one == number]
            more = 'advertise: "127.0.0.1:1"\nno_advertise: true\n'
        ways = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        return f'cluster {{ name: "c"\nlisten: "127.0.0.1:{route}"\nroutes: [{ways}]\n{more} }}\n'

    def cut_off(self, number: int) -> None:
        for ends, wire in self._wires.items():
            if number in ends:
                wire.cut()

    def mend(self) -> None:
        for wire in self._wires.values():
            wire.mend()

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
