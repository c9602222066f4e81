"""The server as a process, and programs that use it: killed, stopped, started again; in Python, in Node, by curl."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hansard
from hansard import Event, OutcomeUnknown, Processor, Projection, Query, StreamAppend
from hansard.limits import QUEUE_APPENDS_MAX
from hansard.server.serving import listen
from servers import Client

EXAMPLES = Path(__file__).parent.parent / "examples"


def free_port() -> int:
    with listen("127.0.0.1", 0) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def server(place: Path, port: int, *flags: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "hansard", "serve", str(place), "--port", str(port), "--log-level", "warning", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told.startswith("Serving"), told
        threading.Thread(target=process.stderr.read, daemon=True).start()  # nobody stops because nobody reads
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_clients_go_on_when_the_server_is_killed_and_started_again(tmp_path: Path) -> None:
    """An acknowledged event would be lost, or one that was sent again be stored twice."""
    place, port = tmp_path / "log.db", free_port()
    acknowledged: list[list[str]] = [[] for _ in range(4)]
    is_over = threading.Event()
    with hansard.open(place) as store:
        store.add("warm-1", "up")

    def append(number: int, store: hansard.Store) -> None:
        while not is_over.is_set():
            event = Event("tick", {"client": number})
            store.append(f"client-{number}", event)
            acknowledged[number].append(str(event.id))

    seen: list[int] = []
    url = f"http://127.0.0.1:{port}"
    kills = 5
    process = server(place, port)
    process.__enter__()
    stores = [hansard.open(url) for _ in range(5)]
    threads = [threading.Thread(target=append, args=(number, store)) for number, store in enumerate(stores[:4])]
    counting = Projection("count", lambda n, event: n + 1, initial=0, query=Query(types={"tick"}))
    with stores[4].run(Processor("seer", lambda event: seen.append(event.position), query=Query(types={"tick"})), counting):
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(0.4)
            process.__exit__(None, None, None)
            process = server(place, port)
            process.__enter__()
        time.sleep(0.4)
        is_over.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        head = stores[4].head()
        stores[4].reader("seer").wait_for(head, 60)
        stores[4].model("count").wait_for(head, 60)
        counts = dict(stores[4].model("count").items())
    for store in stores:
        store.close()
    process.__exit__(None, None, None)
    with hansard.open(place) as store:
        assert store.check() == []
        stored = [[str(event.id) for event in store.all(f"client-{number}")] for number in range(4)]
    assert stored == acknowledged, "each once, in order, and nothing that was not acknowledged"
    assert sum(len(one) for one in stored) > 20, "hardly anything was appended between the kills"
    assert set(seen) == set(range(2, head + 1)), "the processor has skipped something"
    assert counts == {f"client-{number}": len(stored[number]) for number in range(4)}, "the projection is exactly once"


def test_sigterm_lets_appends_end_and_streams_go(tmp_path: Path) -> None:
    """A deployment would lose what was under way."""
    place, port = tmp_path / "log.db", free_port()
    with server(place, port) as process:
        client = Client(f"http://127.0.0.1:{port}")
        client.post("/api/v1/streams/a-1/events", {"type": "x"})
        with client.tail("/api/v1/events") as tail, hansard.open(client.url) as store:
            assert tail.next_id() == 1
            acknowledged: list[int] = []

            def append() -> None:
                while True:
                    try:
                        acknowledged.append(store.append("a-2", [Event("y") for _ in range(50)]).last_position)
                    except hansard.HansardError:
                        return

            appending = threading.Thread(target=append)
            appending.start()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert tail.rest().rstrip().endswith(b"retry: 1000")
            store.close()
            appending.join(40)
    with hansard.open(place) as store:
        assert store.head() >= acknowledged[-1]
        assert store.check() == []


def test_a_commit_without_an_answer_is_told(tmp_path: Path) -> None:
    """A program would believe that nothing has happened, or that everything has."""
    place, port = tmp_path / "log.db", free_port()
    with server(place, port) as process, hansard.open(f"http://127.0.0.1:{port}") as store:
        storage = store._storage

        def work(transaction: object) -> None:
            transaction.put("user/x", {"k": b"1"})  # type: ignore[attr-defined]
            transaction.get("user/x", ["k"])  # type: ignore[attr-defined]
            process.send_signal(signal.SIGSTOP)
            threading.Timer(0.3, lambda: process.send_signal(signal.SIGKILL)).start()

        with pytest.raises(OutcomeUnknown):
            storage.transact(work)


def test_a_burst_waits_while_the_writer_waits(tmp_path: Path) -> None:
    """A burst would be an outage."""
    place, port = tmp_path / "log.db", free_port()
    with hansard.open(place) as blocker, server(place, port), hansard.open(f"http://127.0.0.1:{port}") as store:
        client = Client(f"http://127.0.0.1:{port}")
        many = b"\n".join(
            json.dumps({"appends": [{"stream": f"s-{n % 97}", "events": [{"type": "x"}]}]}).encode() for n in range(2_000)
        )
        outcomes: list[bytes] = []

        def send() -> None:
            outcomes.extend(
                client.ask("POST", "/api/v1/appends", many, {"Content-Type": "application/x-ndjson"}).body.splitlines()
            )

        threads = [threading.Thread(target=send) for _ in range(QUEUE_APPENDS_MAX // 2_000)]

        def hold(transaction: object) -> None:
            for thread in threads:
                thread.start()
            time.sleep(0.5)
            assert client.get("/health/live").status == 200, "the server answers while the writer waits"
            assert client.get("/api/v1/head").json == {"head": 0}

        blocker._storage.transact(hold)
        for thread in threads:
            thread.join(60)
        assert len(outcomes) == 2_000 * len(threads)
        assert all(line.startswith(b'{"appended"') for line in outcomes)
        assert store.head() == len(outcomes)


def test_a_node_program_appends_reads_and_tails(tmp_path: Path) -> None:
    """The example that we show would not run."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: install Node to run the example")
    port = free_port()
    with server(tmp_path / "log.db", port):
        command = [node, str(EXAMPLES / "node" / "try.mjs"), f"http://127.0.0.1:{port}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "stored at 1 to 2",
        "refused: wrong-expected-version, current is 2",
        'read placed {"amount":12}',
        "read paid null",
        "live shipped",
    ]


def test_the_shell_example_works_by_curl(tmp_path: Path) -> None:
    """The first thing that somebody copies from the docs would fail."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    port = free_port()
    text = (EXAMPLES.parent / "docs" / "server.md").read_text()
    block = text.partition("```sh\n# append to a stream")[2].partition("```")[0]
    lines = [line for line in block.splitlines() if line.startswith("curl")]
    with server(tmp_path / "log.db", port):
        answers = []
        for line in lines:
            shell = line.replace("localhost:7878", f"localhost:{port}").replace("curl ", "curl -s -m 1 ", 1)
            answers.append(subprocess.run(shell, shell=True, capture_output=True, text=True, timeout=30).stdout)
    assert json.loads(answers[0])["version"] == 1
    assert json.loads(answers[1])["version"] == 2
    assert [event["type"] for event in json.loads(answers[2])["events"]] == ["placed"]
    assert len(answers[3].splitlines()) == 2
    assert "caught-up" in answers[4]


def test_a_command_line_works_on_a_server(tmp_path: Path) -> None:
    """What works on a file would not work on a server."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def run(*arguments: str) -> str:
        environment = {**os.environ, "COLUMNS": "120"}
        ended = subprocess.run(
            [sys.executable, "-m", "hansard", *arguments], capture_output=True, text=True, env=environment, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    with server(tmp_path / "log.db", port):
        run("append", url, "order-7", "placed", '{"n": 1}')
        assert json.loads(run("read", url))["type"] == "placed"
        assert json.loads(run("streams", url))["version"] == 1
        run("copy", url, str(tmp_path / "copy.db"))
        run("check", url)
        with hansard.open(url) as store:
            store.append_streams([StreamAppend("a-1", [Event("x")]), StreamAppend("b-1", [Event("y")])])
        run("copy", url, str(tmp_path / "copy.db"))
    with hansard.open(tmp_path / "copy.db") as copy, hansard.open(tmp_path / "log.db") as log:
        assert list(copy.read()) == list(log.read())


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_memory_stays_flat(tmp_path: Path) -> None:
    """A server that runs for months would end by the kernel's hand."""
    _memory_stays_flat(tmp_path, minutes=10.0)


def test_memory_stays_flat_for_a_while(tmp_path: Path) -> None:
    """The same, for as long as a test may take."""
    _memory_stays_flat(tmp_path, minutes=0.15)


def _memory_stays_flat(tmp_path: Path, minutes: float) -> None:
    port = free_port()
    with server(tmp_path / "log.db", port) as process:
        client = Client(f"http://127.0.0.1:{port}")
        body = b"\n".join(
            json.dumps({"appends": [{"stream": f"s-{n % 50}", "events": [{"type": "x", "data": "y" * 200}]}]}).encode()
            for n in range(500)
        )

        def resident() -> int:
            fields = Path(f"/proc/{process.pid}/status").read_text().split()
            return int(fields[fields.index("VmRSS:") + 1])

        def work() -> None:
            client.ask("POST", "/api/v1/appends", body, {"Content-Type": "application/x-ndjson"})
            client.get("/api/v1/events?backwards=true&limit=500")
            client.get("/", {"Accept": "text/html"})
            with client.tail("/api/v1/events", {"Last-Event-ID": str(client.get("/api/v1/head").json["head"] - 1)}) as tail:
                tail.next_id()

        with client.tail("/api/v1/events"):  # one that never reads on
            for _ in range(20):
                work()
            before, ends = resident(), time.monotonic() + minutes * 60
            while time.monotonic() < ends:
                work()
            assert resident() < before * 1.25 + 20_000, (before, resident())
