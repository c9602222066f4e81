"""A remote store when the network or the server is not well: what is tried again, and what is told."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import AppendCondition, Event, InvalidInput, OpenFailed, OutcomeUnknown, Query, StorageFailed, StoreClosed
from hansard.server.serving import listen
from hansard.storage.opening import open_storage
from hansard.storage.remote import connection
from servers import served


class Proxy:
    """Passes bytes on between a client and a server, until it is told to cut, or to answer by itself."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = listen("127.0.0.1", 0)
        self._listening.setblocking(True)
        self.port = int(self._listening.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self.answer: bytes | None = None
        self.swallow = b""
        """A request that begins so reaches the server; its answer does not come back, and the connection is cut."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.answer is not None:
                client.recv(65_536)
                client.sendall(self.answer)
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            is_cut = threading.Event()
            threading.Thread(target=self._pass, args=(client, server, is_cut), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client, is_cut), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_cut: threading.Event) -> None:
        try:
            while data := source.recv(65_536):
                if self.swallow and data.startswith(self.swallow):
                    is_cut.set()
                    self.swallow = b""
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            one.close()

    def _back(self, source: socket.socket, target: socket.socket, is_cut: threading.Event) -> None:
        try:
            while data := source.recv(65_536):
                if is_cut.is_set():
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)
        except OSError:
            pass
        target.close()

    def cut(self) -> None:
        """Close all connections, as a proxy does with those that were silent for long."""
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._sockets = []
        time.sleep(0.1)

    def close(self) -> None:
        self._listening.close()
        self.cut()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with served(open_storage(tmp_path / "log.db")) as url:
        made = Proxy(int(url.rpartition(":")[2]))
        yield made
        made.close()


@pytest.fixture
def store(proxy: Proxy) -> Iterator[hansard.Store]:
    with hansard.open(f"http://127.0.0.1:{proxy.port}") as opened:
        yield opened


@contextmanager
def impatient(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(
            connection.Connections.ask, "__kwdefaults__", {**connection.Connections.ask.__kwdefaults__, "patience_s": seconds}
        )
        yield


def test_a_repetition_stays_one_after_the_connections_were_closed(proxy: Proxy, store: hansard.Store) -> None:
    """Handlers would be called again for what has not happened again."""
    handled: list[int] = []
    store.on("x", lambda event: handled.append(event.position))
    event = Event("x")
    store.append("a-1", event)
    proxy.cut()
    assert store.append("a-1", event).is_repeat
    assert handled == [1]


def test_an_append_whose_answer_is_lost_is_stored_once_and_handled(proxy: Proxy, store: hansard.Store) -> None:
    """It would be stored twice, or its handlers would never be called."""
    handled: list[int] = []
    store.on("x", lambda event: handled.append(event.position))
    store.add("a-1", "warm")
    proxy.swallow = b"POST /api/v1/appends"
    assert store.append("a-1", Event("x")).last_position == 2
    assert handled == [2]
    assert store.head() == 2


def test_many_kept_connections_that_were_closed_cost_no_time(proxy: Proxy, store: hansard.Store) -> None:
    """After an idle night the first requests would wait for seconds each."""
    threads = [threading.Thread(target=lambda: [store.head() for _ in range(5)]) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.cut()
    started = time.monotonic()
    assert store.head() == 0
    assert time.monotonic() - started < 1


def test_a_transaction_whose_commit_has_no_answer_tells_what_is_known(proxy: Proxy, store: hansard.Store) -> None:
    """A checkpoint would be believed to be saved, or to be lost."""
    storage, calls = store._storage, []

    def work(transaction: Any) -> None:
        calls.append(1)
        transaction.put("user/x", {"k": b"1"})
        transaction.get("user/x", ["k"])
        if len(calls) == 1:
            proxy.swallow = b"POST /api/v1/transactions/"

    with pytest.raises(OutcomeUnknown):
        storage.transact(work)
    assert storage.get("user/x", ["k"]) == {"k": b"1"}, "it was committed, which nobody could know"
    assert len(calls) == 1


def test_a_proxy_without_a_server_is_tried_again(proxy: Proxy, store: hansard.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart behind a balancer would be an error for every client."""
    proxy.cut()
    proxy.answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!"
    threading.Timer(0.5, lambda: setattr(proxy, "answer", None)).start()
    assert store.add("a-1", "x").position == 1
    proxy.cut()
    proxy.answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!"
    with impatient(monkeypatch, 0.2):
        with pytest.raises(StorageFailed) as read:
            store.head()
        assert not isinstance(read.value, OutcomeUnknown), "a read stores nothing, so nothing is unknown"
        with pytest.raises(OutcomeUnknown):
            store.add("a-1", "x")
    proxy.answer = None


def test_many_refusals_at_once_are_told(store: hansard.Store) -> None:
    """Client and server would each wait for the other to read."""
    taken = Query(types=[f"{'long' * 100}-{n}" for n in range(50)])
    store.append(None, Event(f"{'long' * 100}-7"))
    outcomes: list[str] = []

    def append() -> None:
        try:
            store.append(None, Event("x"), condition=AppendCondition(taken))
        except hansard.AppendConditionFailed:
            outcomes.append("refused")

    threads = [threading.Thread(target=append) for _ in range(150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == ["refused"] * 150


def test_a_transaction_may_hold_much(store: hansard.Store) -> None:
    """A read model that is built on a file could not be built on a server."""
    many = {f"k{n:03d}": b"7" * 1_000_000 for n in range(110)}
    store._storage.transact(lambda t: t.put("user/x", many))
    assert store._storage.get("user/x", ["k000", "k109"]) == {"k000": b"7" * 1_000_000, "k109": b"7" * 1_000_000}


def test_waiting_lasts_as_long_as_asked(store: hansard.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program would believe that nothing has come for longer than it has waited."""
    monkeypatch.setattr("hansard.storage.remote.storage.LONG_POLL_S_MAX", 0.1)
    started = time.monotonic()
    assert store.wait(0, 0.5) == 0
    assert time.monotonic() - started >= 0.5


def test_closing_ends_waiting_and_is_no_hurry_for_appends(store: hansard.Store) -> None:
    """A program could not end, or would lose what it has handed over."""
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            store._storage.wait(0, 60)
        except StoreClosed as error:
            ended.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    store.close()
    waiting.join(5)
    assert len(ended) == 1


@pytest.mark.parametrize(
    "url", ["http://", "http://:80", "http://a..b:1", "http://x:99999", "http://127.0.0.1:1?key=x", "http://\udcff"]
)
def test_addresses_that_cannot_be_are_refused(url: str) -> None:
    """The network's own errors would come out."""
    with pytest.raises((InvalidInput, OpenFailed)):
        hansard.open(url)


def test_a_forked_child_is_told_and_does_no_harm(store: hansard.Store) -> None:
    """Two processes would write into one connection."""
    store.add("a-1", "x")
    child = os.fork()
    if child == 0:
        try:
            store.head()
        except hansard.StoreForked:
            store.close()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.head() == 1
