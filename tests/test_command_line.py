"""The command line as a person and as a script use it."""

import gzip
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import hansard
from hansard import Event
from hansard.testing.invariants import assert_log_holds
from places import DATABASES, place_of
from postgres_server import log_url, shared_url

COMMAND = [sys.executable, "-m", "hansard"]


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = place_of(request.param, tmp_path)
    with hansard.open(place) as store:
        for number in range(3):
            store.append(f"order-{number}", [Event("placed", {"n": number}, tags={"vip"}), Event("paid")])
        store.append(None, Event("counted", "\x1b[31mred\u202e"))
    return place


def run(*arguments: str, code: int = 0, **options: object) -> str:
    ran = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert ran.returncode == code, ran.stderr
    return str(ran.stdout)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def on_terminal(*arguments: str, columns: int = 100) -> str:
    """What a person sees: the command runs on a terminal of its own."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen([*COMMAND, *arguments], stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 65_536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(controller)
    assert process.wait() == 0, shown
    return shown.decode()


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """A script could not store or find anything."""
    place = str(tmp_path / "new.db")
    (told,) = lines(run("append", place, "a-1", "happened", '{"n": 1}', "--tag", "x", "--expected-version", "no-stream"))
    assert (told["position"], told["version"], told["is_repeat"]) == (1, 1, False)
    (told,) = lines(run("append", place, "a-1", "happened", "-", "--id", str(told["id"]), "--tag", "x", input='{"n": 1}'))
    assert (told["position"], told["is_repeat"]) == (1, True)
    run("append", place, "", "noted")
    found = lines(run("read", place))
    assert [(e["position"], e["stream"], e["data"]) for e in found] == [(1, "a-1", {"n": 1}), (2, None, None)]


def test_read_selects(place: str) -> None:
    """A script would have to read everything to find a little."""

    def positions(*options: str) -> list[object]:
        return [e["position"] for e in lines(run("read", place, *options))]

    assert positions("--type", "placed") == [1, 3, 5]
    assert positions("--type", "placed", "--type", "counted", "--after", "1", "--before", "7") == [3, 5]
    assert positions("--tag", "vip", "--backwards", "--limit", "2") == [5, 3]
    assert positions("--stream", "order-1") == [3, 4]
    assert positions("--category", "order", "--limit", "1") == [1]


def test_streams_and_stats_count(place: str) -> None:
    """People could not see what a store holds."""
    assert [(s["stream"], s["version"]) for s in lines(run("streams", place))] == [
        ("order-0", 2),
        ("order-1", 2),
        ("order-2", 2),
    ]
    assert lines(run("streams", place, "--category", "none")) == []
    (stats,) = lines(run("stats", place))
    assert (stats["events"], stats["streams"], stats["types"]) == (7, 3, 3)
    assert stats["events_by_type"] == {"placed": 3, "paid": 3, "counted": 1}


def test_terminals_get_tables_that_no_event_can_steer(place: str) -> None:
    """A stored event could change the colours, the title or the text direction of the terminal."""
    shown = on_terminal("read", place)
    assert "order-2" in shown
    assert "placed" in shown
    assert "\\u001b[31mred\\u202e" in shown
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown
    assert "{" not in on_terminal("streams", place)
    assert "every invariant holds" in on_terminal("check", place)
    assert json.loads(on_terminal("check", place, "--json"))["is_whole"]
    assert "\x1b[31m" not in on_terminal("tail", place, "--after", "0", "--limit", "7")


def test_a_large_table_is_cut_and_says_so(tmp_path: Path) -> None:
    """A person would be flooded, or believe to have seen all."""
    place = str(tmp_path / "log.db")
    with hansard.open(place) as store:
        store.append_streams([hansard.StreamAppend(f"a-{n}", [Event("one")]) for n in range(60)])
    assert "at most 50 events are shown" in on_terminal("read", place)
    assert "the first 50 streams" in on_terminal("streams", place)
    assert "at most" not in on_terminal("read", place, "--limit", "60")


def test_tail_is_live_across_processes(place: str) -> None:
    """A person would not see what other programs store."""
    tail = subprocess.Popen([*COMMAND, "tail", place, "--type", "placed", "--after", "5"], stdout=subprocess.PIPE, text=True)
    assert tail.stdout is not None
    with hansard.open(place) as store:
        for number in range(5):
            store.append("order-9", [Event("placed", number), Event("paid")])
            assert json.loads(tail.stdout.readline())["data"] == number
    tail.send_signal(signal.SIGINT)
    assert tail.wait(30) == 130
    tail.stdout.close()


def test_a_closed_pipe_is_no_error(place: str) -> None:
    """`hansard read … | head` would end with a traceback."""
    with hansard.open(place) as store:
        store.append("big-1", [Event("one", "x" * 1_000) for _ in range(5_000)])
    ran = subprocess.run(
        f"{sys.executable} -m hansard read {place} | head -n 1", shell=True, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    assert json.loads(ran.stdout)["position"] == 1


def test_export_and_import_give_the_identical_log(place: str, tmp_path: Path) -> None:
    """A log could not be moved."""
    exported, copy = str(tmp_path / "log.jsonl"), str(tmp_path / "copy.db")
    run("export", place, exported)
    assert run("export", place) == Path(exported).read_text()
    (report,) = lines(run("import", copy, exported))
    assert (report["stored"], report["rejected"]) == (7, 0)
    (report,) = lines(run("import", copy, exported))
    assert (report["stored"], report["repeated"]) == (0, 7)
    with hansard.open(place) as old, hansard.open(copy) as new:
        assert assert_log_holds(old) == assert_log_holds(new)


def test_import_reports_bad_records_and_goes_on(tmp_path: Path) -> None:
    """One bad line would stop an import, or be lost without a word."""
    log, place = tmp_path / "log.jsonl.gz", str(tmp_path / "log.db")
    with gzip.open(log, "wt") as file:
        file.write('{"who": "jo", "what": "came"}\n{"who": \n{"what": "went"}\n{"who": "jo", "what": "went"}\n')
    template = ("--stream", "person-{who}", "--type", "{what}", "--tag-from", "who:{who}")
    ran = subprocess.run([*COMMAND, "import", place, log, *template], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 8
    assert "2 records were rejected" in ran.stderr
    (report,) = lines(ran.stdout)
    assert (report["read"], report["stored"], report["rejected"]) == (4, 2, 2)
    rejects = [json.loads(line) for line in (tmp_path / str(report["rejects"])).read_text().splitlines()]
    assert [reject["place"] for reject in rejects] == ["line 2", "line 3"]
    with hansard.open(place) as store:
        assert [(e.stream, e.type, e.tags) for e in store.read()] == [
            ("person-jo", "came", {"who:jo"}),
            ("person-jo", "went", {"who:jo"}),
        ]


def test_a_store_of_the_library_eventsourcing_comes_over(tmp_path: Path) -> None:
    """Whoever moves would have to write a program for it."""
    connection: Any = sqlite3.connect(tmp_path / "bank.db")
    connection.execute(
        "CREATE TABLE stored_events (originator_id TEXT, originator_version INTEGER, topic TEXT, state BLOB, "
        "PRIMARY KEY (originator_id, originator_version))"
    )
    connection.execute("INSERT INTO stored_events VALUES (?, 1, 'bank:Opened', ?)", (uuid4().hex, b"{}"))
    connection.commit()
    connection.close()
    for stored in (1, 0):
        (report,) = lines(run("import", "eventsourcing", str(tmp_path / "bank.db"), str(tmp_path / "shop.db")))
        assert report["stored"] == stored
    ran = subprocess.run([*COMMAND, "import", "eventsourcing", "bank.db"], capture_output=True, cwd=tmp_path)
    assert (ran.returncode, (tmp_path / "bank.hansard.db").exists()) == (0, True)


def test_check_finds_damage_and_ends_with_9(place: str) -> None:
    """A script could not tell a damaged store from a whole one."""
    with hansard.open(place) as store:
        log = store._storage._log if place.startswith("postgresql:") else None
    if log is None:
        connection: Any = sqlite3.connect(place)
        connection.execute("UPDATE event SET data = '{' WHERE position = 2")
    else:
        connection = psycopg.connect(shared_url())
        connection.execute(f"UPDATE hansard.event SET data = '{{' WHERE log = {log} AND position = 2")
    connection.commit()
    connection.close()
    (report,) = lines(run("check", place, code=9))
    assert report["is_whole"] is False
    assert any("position 2" in str(problem) for problem in report["problems"])  # type: ignore[attr-defined]


def test_backup_copies(place: str, tmp_path: Path) -> None:
    """People could not keep a second copy."""
    copy = str(tmp_path / "copy.db")
    if place.startswith("postgresql:"):
        refusal = subprocess.run([*COMMAND, "backup", place, copy], capture_output=True, text=True)
        assert (refusal.returncode, refusal.stdout) == (6, "")
        assert refusal.stderr == "hansard: the PostgreSQL engine has no online backup; use pg_dump, or hansard copy\n"
        return
    (report,) = lines(run("backup", place, copy))
    assert report["events"] == 7
    with hansard.open(place) as old, hansard.open(copy) as new:
        assert list(old.read()) == list(new.read())


def test_copy_brings_a_log_to_another_engine_and_goes_on(place: str, tmp_path: Path) -> None:
    """A team that outgrows one file could not move."""
    target = str(tmp_path / "target.db") if place.startswith("postgresql:") else log_url(tmp_path / "target")
    (report,) = lines(run("copy", place, target))
    assert (report["copied"], report["events"]) == (7, 7)
    run("append", place, "a-1", "happened")
    (report,) = lines(run("copy", place, target))
    assert (report["copied"], report["events"]) == (1, 8)
    assert run("export", place) == run("export", target)
    following = subprocess.Popen([*COMMAND, "copy", "--follow", place, target], stdout=subprocess.PIPE, text=True)
    run("append", place, "a-1", "happened")
    with hansard.open(target) as store:
        assert store.wait(8, 20) == 9
    following.send_signal(signal.SIGINT)
    told, _ = following.communicate(timeout=20)
    assert (following.returncode, lines(told)[0]["events"]) == (0, 9)
    run("append", target, "b-1", "elsewhere")
    run("append", place, "a-1", "happened")
    run("copy", place, target, code=9)


def test_migrate_makes_a_schema_and_shows_its_plan() -> None:
    """A team could not see what would be done to its database, nor do it when it wants."""
    url = f"{shared_url()}?schema=of_cli_{uuid4().hex[:8]}"
    plan = run("migrate", url, "--plan")
    assert "CREATE SCHEMA" in plan
    assert plan.count(";\n") == len(plan.splitlines())
    run("streams", url, code=5)
    (told,) = lines(run("migrate", url))
    assert [f"{statement};" for statement in told["statements"]] == plan.splitlines()  # type: ignore[attr-defined]
    assert "is up to date" in run("migrate", url, "--table")
    run("append", url, "a-1", "happened")
    assert "secret" not in run("check", url.replace("postgres@", "postgres:secret@"), "--table")
    run("migrate", "log.db", code=2)


def test_the_demo_stores_a_repository_s_history(tmp_path: Path) -> None:
    """The first thing that a newcomer runs would fail."""
    repository = tmp_path / "repository"
    git = ["git", "-C", str(repository), "-c", "user.name=Jo", "-c", "user.email=jo@example.org"]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (repository / "a b.txt").write_text("1")
    (repository / "ä.txt").write_text("1")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    (repository / "a b.txt").write_text("2")
    (repository / "ä.txt").unlink()
    subprocess.run([*git, "commit", "-qam", "second"], check=True)
    shown = run("demo", cwd=repository)
    assert "4 events from 2 commits" in shown
    assert "reacted" in shown
    assert "4 events are whole" in shown
    with hansard.open(repository / "hansard-demo.db") as store:
        found = [(e.stream, e.type, e.version) for e in store.read()]
    assert found == [
        ("file-a b.txt", "file-added", 1),
        ("file-ä.txt", "file-added", 1),
        ("file-a b.txt", "file-changed", 2),
        ("file-ä.txt", "file-deleted", 2),
    ]
    assert "4 were there already" in run("demo", cwd=repository)


def test_the_demo_takes_another_log(tmp_path: Path) -> None:
    """The demo would only work on git."""
    log = tmp_path / "log.csv"
    log.write_text("who,what\njo,came\njo,went\n")
    shown = run("demo", str(log), "--stream", "person-{who}", "--type", "{what}", cwd=tmp_path)
    assert "2 events from" in shown


def test_bench_measures(tmp_path: Path) -> None:
    """People could not see what their machine gives."""
    start = time.monotonic()
    (rates,) = lines(run("bench", "--seconds", "0.05", "--folder", str(tmp_path)))
    assert all(float(str(rate)) > 0 for rate in rates.values())
    assert time.monotonic() - start < 60
    assert list(tmp_path.iterdir()) == []


def test_version_and_help_say_what_there_is() -> None:
    """People could not find the commands."""
    assert hansard.__version__ in run("--version")
    text = run("--help")
    for command in ("demo", "append", "read", "tail", "streams", "stats", "import", "export", "check", "backup", "bench"):
        assert command in text
        assert "Usage" in run(command, "--help")
