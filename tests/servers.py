"""Servers for tests: a real one, on a socket of this machine, in a thread."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hansard.server.interface import OPERATIONS
from hansard.server.serving import Serving, listen, serve
from hansard.server.settings import Settings
from hansard.server.starting import gate_of
from hansard.storage.opening import open_storage
from hansard.storage.port import Storage


@contextmanager
def served(storage: Storage, settings: Settings | None = None) -> Iterator[str]:
    """The URL of a server of this storage, which it closes at the end."""
    settings = settings or Settings()
    gate, _ = gate_of(storage, settings)
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    started, running = threading.Event(), []

    def on_started(serving: Serving) -> None:
        running.append(serving)
        started.set()

    def run() -> None:
        main = serve(storage, settings, OPERATIONS, gate, listening=listening, on_started=on_started)
        try:
            asyncio.run(main)
        finally:
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    assert running, "the server has not started"
    try:
        yield url
    finally:
        running[0].should_exit = True
        thread.join(20)
        assert not thread.is_alive()


_running: dict[Path, tuple[str, ExitStack]] = {}


def url_of(folder: Path) -> str:
    """The server of a folder's store, started when it is first asked for, until the test's end (see conftest.py)."""
    if folder not in _running:
        stack = ExitStack()
        _running[folder] = (stack.enter_context(served(open_storage(str(folder / "log.db")))), stack)
    return _running[folder][0]


def stop_all() -> None:
    while _running:
        _, (_, stack) = _running.popitem()
        stack.close()
