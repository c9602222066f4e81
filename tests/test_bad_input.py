"""Bad input, through every face: one clear error that names the field, and an unchanged store."""

import asyncio
import io
import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import hansard
from hansard import ANY, AppendCondition, Event, HansardError, Query, QueryItem, StreamAppend
from hansard import limits as bounds
from hansard.cli import main

LONG = "x" * (bounds.NAME_CHARS_MAX + 1)
NESTED: list[Any] = []
for _ in range(bounds.JSON_DEPTH_MAX + 1):
    NESTED = [NESTED]
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
ONE = [Event("one")]
BIG = Event("big", "x" * (8 * 1024 * 1024))

# What is done with a store, the field that the error names, and a word of what the error says.
CALLS: list[tuple[str, Callable[[Any], Any], str, str]] = [
    ("empty stream", lambda s: s.add("", "t"), "stream", "1 to 512"),
    ("long stream", lambda s: s.add(LONG, "t"), "stream", "at most 512 characters, not 513"),
    ("NUL in stream", lambda s: s.add("a\0b", "t"), "stream", "NUL"),
    ("surrogate in stream", lambda s: s.add("\ud800", "t"), "stream", "surrogates"),
    ("number as stream", lambda s: s.add(7, "t"), "stream", "int"),
    ("bytes as stream", lambda s: s.add(b"a", "t"), "stream", "bytes"),
    ("empty type", lambda s: s.add("a", ""), "type", "1 to 512"),
    ("long type", lambda s: s.add("a", LONG), "type", "at most 512"),
    ("NUL in type", lambda s: s.add("a", "\0"), "type", "NUL"),
    ("surrogate in type", lambda s: s.add("a", "x\udfff"), "type", "surrogates"),
    ("no type", lambda s: s.add("a", None), "type", "NoneType"),
    ("NaN", lambda s: s.add("a", "t", {"x": [1, math.nan]}), "data.x[1]", "NaN"),
    ("infinity", lambda s: s.add("a", "t", -math.inf), "data", "infinity"),
    ("number as key", lambda s: s.add("a", "t", {"x": {1: 2}}), "data.x key", "text"),
    ("None as key", lambda s: s.add("a", "t", {None: 2}), "data key", "text"),
    ("surrogate in data", lambda s: s.add("a", "t", {"x": "\ud800"}), "data.x", "surrogates"),
    ("surrogate in key", lambda s: s.add("a", "t", {"\ud800": 1}), "data key", "surrogates"),
    ("set as data", lambda s: s.add("a", "t", {"x": {1}}), "data.x", "set"),
    ("bytes as data", lambda s: s.add("a", "t", b"x"), "data", "bytes"),
    ("object as data", lambda s: s.add("a", "t", [object()]), "data[0]", "object"),
    ("deep data", lambda s: s.add("a", "t", NESTED), "data", "deeper than 200"),
    ("endless data", lambda s: s.add("a", "t", ENDLESS), "data", "deeper than 200"),
    ("too large data", lambda s: s.add("a", "t", "x" * bounds.DATA_BYTES_MAX), "data", "at most 16777216 bytes"),
    (
        "too large metadata",
        lambda s: s.add("a", "t", metadata={"x": "x" * bounds.METADATA_BYTES_MAX}),
        "metadata",
        "at most",
    ),
    ("list as metadata", lambda s: s.add("a", "t", metadata=[1]), "metadata", "object"),
    ("text as metadata", lambda s: s.add("a", "t", metadata="x"), "metadata", "object"),
    ("NaN in metadata", lambda s: s.add("a", "t", metadata={"x": math.nan}), "metadata.x", "NaN"),
    ("broken JSON", lambda s: s.append("a", Event("t", data_json=b'{"a":')), "data_json", "not valid JSON"),
    ("NaN in JSON", lambda s: s.append("a", Event("t", data_json=b"NaN")), "data_json", "not valid JSON"),
    ("infinite JSON number", lambda s: s.append("a", Event("t", data_json=b"1e999")), "data_json", "not valid JSON"),
    ("bad UTF-8 in JSON", lambda s: s.append("a", Event("t", data_json=b'"\xff"')), "data_json", "not valid JSON"),
    ("surrogate in JSON", lambda s: s.append("a", Event("t", data_json=b'"\\ud800"')), "data_json", "not valid JSON"),
    ("two JSON texts", lambda s: s.append("a", Event("t", data_json=b"1 2")), "data_json", "not valid JSON"),
    ("empty JSON", lambda s: s.append("a", Event("t", data_json=b"")), "data_json", "not valid JSON"),
    ("deep JSON", lambda s: s.append("a", Event("t", data_json=b"[" * 999 + b"]" * 999)), "data_json", "deeper than 200"),
    ("very deep JSON", lambda s: s.append("a", Event("t", data_json=b"[" * 99999 + b"]" * 99999)), "data_json", "deeper"),
    ("text as JSON bytes", lambda s: s.append("a", Event("t", data_json="1")), "data_json", "bytes"),
    ("data twice", lambda s: s.append("a", Event("t", 1, data_json=b"1")), "data_json", "not both"),
    ("metadata twice", lambda s: s.append("a", Event("t", metadata={}, metadata_json=b"{}")), "metadata_json", "not both"),
    ("list as metadata JSON", lambda s: s.append("a", Event("t", metadata_json=b"[]")), "metadata_json", "object"),
    ("text as tags", lambda s: s.add("a", "t", tags="vip"), "tags", "{'vip'}"),
    ("number as tags", lambda s: s.add("a", "t", tags=5), "tags", "set of names"),
    ("empty tag", lambda s: s.add("a", "t", tags={""}), "tags", "1 to 512"),
    ("long tag", lambda s: s.add("a", "t", tags={LONG}), "tags", "at most 512"),
    ("number as tag", lambda s: s.add("a", "t", tags=[1]), "tags", "int"),
    ("NUL in tag", lambda s: s.add("a", "t", tags=["\0"]), "tags", "NUL"),
    ("too many tags", lambda s: s.add("a", "t", tags={f"t{n}" for n in range(65)}), "tags", "at most 64"),
    ("no UUID", lambda s: s.add("a", "t", id="12"), "id", "UUID"),
    ("number as id", lambda s: s.add("a", "t", id=12), "id", "UUID"),
    ("no events", lambda s: s.append("a", []), "events", "at least 1"),
    ("None as events", lambda s: s.append("a", None), "events", "list of Event"),
    ("dict as events", lambda s: s.append("a", {"type": "t"}), "events", "list of Event"),
    ("dict as event", lambda s: s.append("a", [{"type": "t"}]), "events", "expected Event"),
    ("text as events", lambda s: s.append("a", "created"), "events", "list of Event"),
    ("too many events", lambda s: s.append("a", ONE * (bounds.EVENTS_PER_APPEND_MAX + 1)), "events", "at most 100000"),
    ("too large append", lambda s: s.append("a", [BIG] * 9), "events", "at most 67108864 bytes"),
    ("negative version", lambda s: s.append("a", ONE, expected_version=-1), "expected_version", "0 to"),
    ("too large version", lambda s: s.append("a", ONE, expected_version=2**63), "expected_version", "0 to"),
    ("text as version", lambda s: s.append("a", ONE, expected_version="1"), "expected_version", "ANY"),
    ("bool as version", lambda s: s.append("a", ONE, expected_version=True), "expected_version", "ANY"),
    ("None as version", lambda s: s.append("a", ONE, expected_version=None), "expected_version", "ANY"),
    ("float as version", lambda s: s.append("a", ONE, expected_version=1.0), "expected_version", "ANY"),
    ("version of no stream", lambda s: s.append(None, ONE, expected_version=0), "expected_version", "without a stream"),
    ("query as condition", lambda s: s.append("a", ONE, condition=Query()), "condition", "AppendCondition"),
    ("text in condition", lambda s: s.append("a", ONE, condition=AppendCondition("t")), "fail_if", "Query"),
    ("negative after in condition", lambda s: s.append("a", ONE, condition=AppendCondition(Query(), -1)), "after", "0 to"),
    ("text after in condition", lambda s: s.append("a", ONE, condition=AppendCondition(Query(), "1")), "after", "int"),
    ("no appends", lambda s: s.append_streams([]), "appends", "at least 1"),
    ("tuple as append", lambda s: s.append_streams([("a", ONE)]), "appends", "StreamAppend"),
    ("one append, no list", lambda s: s.append_streams(StreamAppend("a", ONE)), "appends", "list"),
    ("None as appends", lambda s: s.append_streams(None), "appends", "list"),
    ("empty stream in appends", lambda s: s.append_streams([StreamAppend("", ONE)]), "stream", "1 to 512"),
    ("no events in appends", lambda s: s.append_streams([StreamAppend("a", ONE), StreamAppend("b", [])]), "events", "1"),
    ("event restored", lambda s: s.restore(ONE), "events", "RecordedEvent"),
    ("nothing restored", lambda s: s.restore([]), "appends", "at least 1"),
    ("text as query", lambda s: s.read("t"), "query", "Query"),
    ("text as types", lambda s: s.read(Query(types="created")), "types", "{'created'}"),
    ("number in types", lambda s: s.read(Query(types={1})), "types", "int"),
    ("text as query tags", lambda s: s.read(Query(tags="vip")), "tags", "{'vip'}"),
    ("text as item tags", lambda s: s.read(Query.of(QueryItem(tags="vip"))), "tags", "{'vip'}"),
    ("too many types", lambda s: s.read(Query(types={f"t{n}" for n in range(1001)})), "types", "at most 1000"),
    ("no query items", lambda s: s.read(Query.of()), "items", "at least 1"),
    ("query as item", lambda s: s.read(Query.of(Query())), "items", "QueryItem"),
    (
        "too many items",
        lambda s: s.read(Query.of(*[QueryItem(types={f"t{n}"}) for n in range(101)])),
        "items",
        "at most 100",
    ),
    ("category with -", lambda s: s.read(Query(category="a-1")), "category", "-"),
    ("empty category", lambda s: s.read(Query(category="")), "category", "1 to 512"),
    ("stream and category", lambda s: s.read(Query(stream="a-1", category="a")), "category", "not both"),
    ("negative after", lambda s: s.read(after=-1), "after", "0 to"),
    ("float before", lambda s: s.read(before=1.5), "before", "int"),
    ("negative limit", lambda s: s.read(limit=-1), "limit", "0 to"),
    ("text as limit", lambda s: s.read(limit="5"), "limit", "int"),
    ("text as backwards", lambda s: s.read(backwards="yes"), "backwards", "True or False"),
    ("None as after", lambda s: s.read(after=None), "after", "int"),
    ("empty stream read", lambda s: s.read_stream(""), "stream", "1 to 512"),
    ("negative version read", lambda s: s.read_stream("a", after_version=-1), "after_version", "0 to"),
    ("bool as version read", lambda s: s.read_stream("a", before_version=True), "before_version", "int"),
    ("number as stream asked", lambda s: s.stream(1), "stream", "int"),
    ("empty category listed", lambda s: s.streams(category=""), "category", "1 to 512"),
    ("no UUID asked", lambda s: s.event("x"), "id", "UUID"),
    ("number as event asked", lambda s: s.event(1), "id", "UUID"),
    ("empty handler type", lambda s: s.on(""), "type", "1 to 512"),
    ("number as handler", lambda s: s.on("t", 5), "handler", "function"),
    ("negative subscription", lambda s: s.subscribe(after=-1), "after", "0 to"),
    ("text as subscription", lambda s: s.subscribe("t"), "query", "Query"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "log.db"
    with hansard.open(place) as store:
        store.append("a-1", [Event("one", {"n": 1}, tags={"t"}), Event("two")])
    return place


def check_error(caught: Any, field: str, word: str) -> None:
    assert isinstance(caught, ValueError | TypeError)
    assert isinstance(caught, HansardError)
    assert caught.field == field
    assert str(caught).startswith(f"{field}: ")
    assert word in str(caught)
    assert len(str(caught)) < 300
    assert "\n" not in str(caught)


@pytest.mark.parametrize(("call", "field", "word"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
@pytest.mark.parametrize("engine", ["memory", "file"])
def test_the_sync_face_refuses_it(engine: str, call: Callable[[Any], Any], field: str, word: str, place: Path) -> None:
    """Bad input would be stored, or be answered by a codec's or driver's own error."""
    with hansard.open(":memory:" if engine == "memory" else place) as store:
        before = list(store.read())
        with pytest.raises(hansard.InvalidInput) as caught:
            call(store)
        check_error(caught.value, field, word)
        assert list(store.read()) == before


@pytest.mark.parametrize(("call", "field", "word"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
async def test_the_async_face_refuses_it(call: Callable[[Any], Any], field: str, word: str, place: Path) -> None:
    """The async face would accept what the sync face refuses."""
    async with hansard.aio.open(place) as store:
        with pytest.raises(hansard.InvalidInput) as caught:
            result = call(store)
            if asyncio.iscoroutine(result):
                await result
        check_error(caught.value, field, word)
        assert await store.head() == 2


def test_limits_hold_at_the_limit(place: Path) -> None:
    """A limit would be one less than it says."""
    name = "x" * bounds.NAME_CHARS_MAX
    nested: list[Any] = []
    for _ in range(bounds.JSON_DEPTH_MAX - 1):
        nested = [nested]
    with hansard.open(place) as store:
        given = store.add(name, name, nested, tags={f"t{n}" for n in range(bounds.TAGS_PER_EVENT_MAX)})
        store.add("b", "t", "x" * (bounds.DATA_BYTES_MAX - 2), tags={name})
        store.append("c", [Event("t") for _ in range(bounds.EVENTS_PER_APPEND_MAX)], expected_version=ANY)
        assert store.all(name) == [given]
        assert store.stream("c").version == bounds.EVENTS_PER_APPEND_MAX


# The command line: arguments after `hansard`, the exit code, and words of the one line on stderr.
STORE = "{place}"
COMMANDS: list[tuple[list[str], int, str]] = [
    (["append", STORE, "a-1", "t", '{"a":'], 2, "data_json"),
    (["append", STORE, "a-1", "t", "NaN"], 2, "not valid JSON"),
    (["append", STORE, "a-1", ""], 2, "type"),
    (["append", STORE, LONG, "t"], 2, "at most 512"),
    (["append", STORE, "a-1", "t", "--metadata", "[]"], 2, "metadata_json"),
    (["append", STORE, "a-1", "t", "--tag", ""], 2, "tags"),
    (["append", STORE, "a-1", "t", "--id", "5"], 2, "UUID"),
    (["append", STORE, "a-1", "t", "--expected-version", "-1"], 2, "expected_version"),
    (["append", STORE, "a-1", "t", "--expected-version", "many"], 2, "no-stream"),
    (["append", STORE, "", "t", "--expected-version", "0"], 2, "without a stream"),
    (["append", STORE, "a-1", "t", "--expected-version", "7"], 3, "expected version 7, current is 2"),
    (["append", STORE, "a-1", "t", "--fail-if-tag", "t"], 3, "append condition"),
    (["append", STORE, "a-1", "t", "--fail-if-tag", "t", "--fail-after", "-1"], 2, "after"),
    (["append", STORE], 2, "Missing argument"),
    (["append", "{folder}", "a-1", "t"], 5, "folder"),
    (["append", "{folder}/none/log.db", "a-1", "t"], 5, "no folder"),
    (["append", "{text}", "a-1", "t"], 5, "no Hansard store"),
    (["read", "{folder}/none.db"], 5, "no store here"),
    (["read", "{text}"], 5, "not a SQLite file"),
    (["read", "mongodb://host/db"], 5, "no engine"),
    (["read", STORE, "--after", "-1"], 2, "after"),
    (["read", STORE, "--limit", "x"], 2, "--limit"),
    (["read", STORE, "--category", "a-1"], 2, "category"),
    (["read", STORE, "--stream", "a-1", "--category", "a"], 2, "not both"),
    (["read"], 2, "Missing argument"),
    (["read", STORE, "--colour"], 2, "No such option"),
    (["tail", "{folder}/none.db"], 5, "no store here"),
    (["tail", STORE, "--after", "-1"], 2, "after"),
    (["streams", STORE, "--category", ""], 2, "category"),
    (["stats", "{text}"], 5, "not a SQLite file"),
    (["check", "{folder}/none.db"], 5, "no store here"),
    (["check", "{other}"], 5, "no Hansard store"),
    (["backup", STORE, STORE], 2, "already"),
    (["backup", STORE, "{folder}/none/copy.db"], 5, "no folder"),
    (["export", STORE, STORE], 2, "already"),
    (["import", "{folder}/new.db", "{folder}/none.jsonl"], 2, "none.jsonl"),
    (["import", "{folder}/new.db", "{text}", "--format", "word"], 2, "--format"),
    (["import", "{folder}/new.db", "{text}", "--format", "jsonl", "--stream", "{broken", "--type", "t"], 2, "stream"),
    (["demo", "{folder}/none.jsonl", "--store", "{folder}/new.db"], 2, "none.jsonl"),
    (["demo", "--repository", "{folder}", "--store", "{folder}/new.db"], 2, "repository"),
    (["bench", "--folder", "{folder}/none"], 2, "--folder"),
    (["nothing"], 2, "No such command"),
]


@pytest.fixture
def words(place: Path, tmp_path: Path) -> dict[str, str]:
    other, text = tmp_path / "other.db", tmp_path / "text.txt"
    text.write_text("These are my notes, and no database at all. " * 50)
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return {"place": str(place), "folder": str(tmp_path), "text": str(text), "other": str(other)}


def filled(argument: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        argument = argument.replace(f"{{{word}}}", value)
    return argument


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hansard", *arguments], capture_output=True, text=True, **options)


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run_here(arguments: list[str], folder: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ran:
    """The same in this process, which spares the start of sixty others."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["hansard", *arguments])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as ended:
        main.run()
    return Ran(int(ended.value.code or 0), *capfd.readouterr())


@pytest.mark.parametrize(("arguments", "code", "word"), COMMANDS, ids=[f"{n}-{row[0][0]}" for n, row in enumerate(COMMANDS)])
def test_the_command_line_refuses_it(
    arguments: list[str],
    code: int,
    word: str,
    words: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The command line would show a traceback, or go on with bad input."""
    ran = run_here([filled(argument, words) for argument in arguments], words["folder"], monkeypatch, capfd)
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stderr
    assert ran.stderr.startswith("hansard: ")
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert word in ran.stderr
    assert "Traceback" not in ran.stderr
    with hansard.open(words["place"], read_only=True) as store:
        assert store.head() == 2
    assert json.loads(run("check", words["place"]).stdout)["is_whole"]


def test_there_are_at_least_sixty_bad_inputs() -> None:
    """The table would shrink unnoticed."""
    assert len(CALLS) >= 60
    assert len(COMMANDS) >= 40
