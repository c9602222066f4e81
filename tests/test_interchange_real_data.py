"""Four real logs that nobody of us wrote go in and read back to exactly the figures that others computed from the files.

The files are read from HANSARD_TEST_DATA, or from the folder `shared/data` beside the repository, and never copied into it.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import RecordedEvent, Store
from hansard.interchange import Mapping, export_log, import_log

DATA = Path(os.environ.get("HANSARD_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"there are no real logs at {DATA}; set HANSARD_TEST_DATA to the folder that has them"
)

BPIC = "bpic2012.xes.gz"
WIKI = "wikiticker-2015-09-12-sampled.json.gz"
GITHUB = "gharchive-2021-07-21-few-hours.json"
OCTOKIT = "octokit-webhooks-payload-examples.tar.gz"

Figures = dict[str, Any]
Streams = dict[str, list[tuple[str, str]]]
"""For each stream the types and times of its events."""


@cache
def truth(name: str) -> Figures:
    figures: Figures = json.loads((DATA / "truth" / f"{name}.json").read_text())
    return figures


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with hansard.open(tmp_path / "log.db") as store:
        yield store


def imported(store: Store, name: str, truth_name: str, tmp_path: Path, **options: Any) -> list[RecordedEvent]:
    """All events of a file, read back in order; nothing was rejected."""
    path = DATA / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == truth(truth_name)["source_sha256"]
    report = import_log(store, path, rejects=tmp_path / "rejects.jsonl", **options)
    assert (report.rejected, report.repeated, report.rejects_path) == (0, 0, None)
    return list(store.read())


def as_utc(event: RecordedEvent) -> str:
    """The event's own time as the truth writes it: UTC with six digits."""
    return datetime.fromisoformat(event.metadata["time"]).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_written(event: RecordedEvent) -> str:
    time: str = event.metadata["time"]
    return time


def streams_of(events: list[RecordedEvent], time: Callable[[RecordedEvent], str]) -> Streams:
    streams: Streams = {}
    for event in events:
        assert event.stream is not None
        streams.setdefault(event.stream, []).append((event.type, time(event)))
    return streams


def digest(streams: Streams) -> str:
    """As the truth computes it: proves that no event was lost, doubled, reordered or changed in stream, type or time."""
    sha = hashlib.sha256()
    for stream in sorted(streams, key=str.encode):
        for type, time in streams[stream]:
            sha.update(f"{stream}\0{type}\0{time}\n".encode())
    return sha.hexdigest()


def check_figures(store: Store, events: list[RecordedEvent], streams: Streams, figures: Figures) -> None:
    lengths = {stream: len(pairs) for stream, pairs in streams.items()}
    assert [event.position for event in events] == list(range(1, figures["events"] + 1))
    assert len(streams) == figures["streams"]
    assert Counter(event.type for event in events) == figures["count_per_type"]
    assert len(figures["count_per_type"]) == figures["types"]
    longest = max(lengths.values())
    assert longest == figures["stream_length"]["max"]
    assert min(lengths.values()) == figures["stream_length"]["min"]
    assert sum(length == 1 for length in lengths.values()) == figures["stream_length"]["of_length_1"]
    assert sorted(stream for stream in lengths if lengths[stream] == longest) == figures["longest_streams"]
    assert [lengths[stream] for stream, _ in figures["top10_streams"]] == [length for _, length in figures["top10_streams"]]
    assert digest(streams) == figures["sequence_digest_file_order"]
    assert sorted(info.version for info in store.streams()) == sorted(lengths.values())
    assert store.check() == []


def check_times(streams: Streams, figures: Figures) -> None:
    times = [time for pairs in streams.values() for _, time in pairs]
    assert (min(times), max(times)) == (figures["first_time"], figures["last_time"])
    by_time = {stream: sorted(pairs, key=lambda pair: pair[1]) for stream, pairs in streams.items()}
    assert digest(by_time) == figures["sequence_digest_stable_time_order"]


def test_loan_applications_of_a_bank(store: Store, tmp_path: Path) -> None:
    """Broken: a business process log (XES) of 262,200 events would lose events, order, types, amounts or time zones."""
    figures = truth("bpic2012")
    mapping = Mapping(stream="case-{concept:name}", type="{concept:name}")
    events = imported(store, BPIC, "bpic2012", tmp_path, mapping=mapping)
    streams = {name.removeprefix("case-"): pairs for name, pairs in streams_of(events, as_utc).items()}
    check_figures(store, events, streams, figures)
    check_times(streams, figures)
    assert Counter(event.metadata["time"][-6:] for event in events) == figures["utc_offsets"]
    data = [event.data for event in events]
    keys = Counter(key for item in data for key in item if not key.startswith("case:"))
    assert keys == figures["event_attribute_counts"]
    assert Counter(item["lifecycle:transition"] for item in data) == figures["count_per_transition"]
    amounts = {item["case:concept:name"]: int(item["case:AMOUNT_REQ"]) for item in data}
    assert str(sum(amounts.values())) == figures["sum_AMOUNT_REQ"]
    assert len({item["org:resource"] for item in data if "org:resource" in item}) == figures["resources"]


@pytest.mark.parametrize("who", ["page", "user"])
def test_a_day_of_wikipedia(store: Store, tmp_path: Path, who: str) -> None:
    """Broken: JSON lines in gz, with names in many scripts, would not come back exactly, with many or with hot streams."""
    figures = truth("wikiticker")
    mapping = Mapping(stream=f"{{channel}} {{{who}}}", type="{namespace}")
    events = imported(store, WIKI, "wikiticker", tmp_path, mapping=mapping)
    streams = streams_of(events, as_utc)
    check_figures(store, events, streams, figures[f"stream_is_{who}"])
    check_times(streams, figures[f"stream_is_{who}"])
    data = [event.data for event in events]
    assert sum(map(len, (event.data_json for event in events))) == figures["bytes_of_lines"]
    for name in ("added", "deleted", "delta"):
        assert sum(item[name] for item in data) == figures[f"sum_{name}"]
    assert {flag: sum(item[flag] for item in data) for flag in figures["flags_true"]} == figures["flags_true"]
    assert Counter(item["channel"] for item in data) == figures["count_per_channel"]


def test_hours_of_github(store: Store, tmp_path: Path) -> None:
    """Broken: JSON lines with large nested payloads and ids of their own would change, or be sorted by time."""
    figures = truth("gharchive")
    mapping = Mapping(stream="{repo.name}", type="{type}", time="{created_at}", id="{id}", tags=["actor:{actor.login}"])
    events = imported(store, GITHUB, "gharchive", tmp_path, mapping=mapping)
    streams = streams_of(events, as_written)
    check_figures(store, events, streams, figures)
    check_times(streams, figures)
    assert [event.data_json for event in events] == [line for line in (DATA / GITHUB).read_bytes().split(b"\n") if line]
    assert len({event.id for event in events}) == figures["distinct_ids"]
    assert len({tag for event in events for tag in event.tags}) == figures["distinct_actors"]
    pushes = [event.data["payload"] for event in events if event.type == "PushEvent"]
    assert sum(push["size"] for push in pushes) == figures["push_sum_size"]


def test_webhooks_of_every_kind(store: Store, tmp_path: Path) -> None:
    """Broken: a tar of JSON files would lose files, their order, or their bytes."""
    figures = truth("octokit_webhooks")
    mapping = Mapping(
        stream="{repository.full_name}|{organization.login}|(none)",
        type="{:folder}.{action}|{:folder}",
        id="{:path}",
        tags=["path:{:path}"],
    )
    events = imported(store, OCTOKIT, "octokit_webhooks", tmp_path, mapping=mapping)
    streams = streams_of(events, lambda event: min(event.tags).removeprefix("path:"))
    check_figures(store, events, streams, figures)
    canonical = hashlib.sha256()
    for event in events:
        text = json.dumps(event.data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        canonical.update(f"{text}\n".encode())
    (name,) = (name for name in figures if name.startswith("canonical_json_digest"))
    assert canonical.hexdigest() == figures[name]
    assert sum(len(event.data_json) for event in events) == figures["bytes"]


def test_a_real_log_exports_and_imports_back_identically(store: Store, tmp_path: Path) -> None:
    """Broken: moving a real log through our own format would change it."""
    mapping = Mapping(stream="{channel} {page}", type="{namespace}", tags=["user:{user}"])
    events = imported(store, WIKI, "wikiticker", tmp_path, mapping=mapping)
    path = tmp_path / "export.jsonl"
    with path.open("wb") as out:
        assert export_log(store, out) == len(events)
    with hansard.open(tmp_path / "copy.db") as copy:
        assert import_log(copy, path).stored == len(events)
        assert list(copy.read()) == events
