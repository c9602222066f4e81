"""Servers for tests: a real one, on a socket of this machine, in a thread."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from blockbuster import BlockBuster

from hansard.domain import NO_DOMAIN, Domain
from hansard.server.interface import OPERATIONS
from hansard.server.serving import Serving, listen, serve
from hansard.server.settings import Settings
from hansard.server.starting import gate_of
from hansard.storage.opening import open_storage
from hansard.storage.port import Storage


@contextmanager
def served(
    storage: Storage, settings: Settings | None = None, *, is_watched: bool = True, domain: Domain = NO_DOMAIN
) -> Iterator[str]:
    """The URL of a server of this storage, which it closes at the end.

    `is_watched`: whatever blocks an event loop of this process raises; not for tests that have loops of their own.
    """
    settings = settings or Settings()
    gate, _ = gate_of(storage, settings)
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    started, running = threading.Event(), []

    def on_started(serving: Serving) -> None:
        running.append(serving)
        started.set()

    def run() -> None:
        main = serve(storage, settings, OPERATIONS, gate, listening=listening, on_started=on_started, domain=domain)
        try:
            asyncio.run(main)
        finally:
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    blocking = BlockBuster()
    if is_watched:
        blocking.activate()
    thread.start()
    assert started.wait(20)
    assert running, "the server has not started"
    try:
        yield url
    finally:
        running[0].should_exit = True
        thread.join(20)
        if is_watched:
            blocking.deactivate()
        assert not thread.is_alive()


_running: dict[Path, tuple[str, ExitStack]] = {}


def url_of(folder: Path) -> str:
    """The server of a folder's store, started when it is first asked for, until the test's end (see conftest.py)."""
    if folder not in _running:
        stack = ExitStack()
        _running[folder] = (stack.enter_context(served(open_storage(str(folder / "log.db")), is_watched=False)), stack)
    return _running[folder][0]


def stop_all() -> None:
    while _running:
        _, (_, stack) = _running.popitem()
        stack.close()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks a server as any program does, without anything of ours."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.url = url
        self.host, self.port = "127.0.0.1", int(url.rpartition(":")[2])
        self._always = headers or {}

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = HTTPConnection(self.host, self.port, timeout=40)
        try:
            default = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, {**default, **self._always, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, value: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("POST", path, None if value is None else json.dumps(value).encode(), headers)

    def tail(self, path: str, headers: dict[str, str] | None = None) -> "Tail":
        connection = HTTPConnection(self.host, self.port, timeout=20)
        connection.request("GET", path, None, {"Accept": "text/event-stream", **self._always, **(headers or {})})
        return Tail(connection)


class Tail:
    """Server-sent events, one by one."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._answer = connection.getresponse()
        assert self._answer.status == 200, self._answer.read()

    def next_event(self) -> tuple[int, Any]:
        """The next event's id and data."""
        fields: dict[str, str] = {}
        while True:
            line = self._answer.readline().decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields and "event" not in fields:
                return int(fields["id"]), json.loads(fields["data"])["data"]
            else:
                fields = {}

    def next_id(self) -> int:
        return self.next_event()[0]

    def rest(self) -> bytes:
        return self._answer.read()

    def close(self) -> None:
        self._answer.close()
        self._connection.close()

    def __enter__(self) -> "Tail":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
