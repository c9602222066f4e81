"""Our own format, both ways: an export imports back to the identical log."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hansard
from hansard import Event, InvalidInput, Query, Store, StreamAppend
from hansard.interchange import Mapping, export_log, import_log
from places import ENGINES, place_of

ODD_TEXTS = [
    b'{"a":1}',
    b'  {"a" : 1.50}\t',
    b'{\n  "a": 1\r\n}',
    b'\n"text with \\n and \\u00e9"',
    '"é\u2028\u2029 and 𝄞"'.encode(),
    b"null",
    b"123456789012345678901234567890",
    b'{"a":1,"a":2}',
    b'"\\u0000\x7f"',
    b"[1, 2,\t3]",
]


@pytest.fixture(params=ENGINES)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Makes empty stores, on both engines of this process."""
    stores: list[Store] = []

    def make() -> Store:
        place = place_of(request.param, tmp_path / str(len(stores)))
        stores.append(hansard.open(place))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


class Stop(Exception):
    """What stops an import in these tests."""


def stop_after(batches: int) -> Callable[[int, int, int], None]:
    calls = iter(range(batches))

    def progress(done: int, total: int, records: int) -> None:
        if next(calls, None) is None:
            raise Stop

    return progress


def filled(store: Store) -> Store:
    """A log with everything that an export could lose."""
    for number, text in enumerate(ODD_TEXTS):
        metadata_json = b'{ "n":\n%d}' % number if number % 2 else b'{"n": %d}' % number
        event = Event("odd tÿpe", tags={"b", 'a "quoted" tag', "𝄞"}, data_json=text, metadata_json=metadata_json)
        store.append_streams([StreamAppend("odd-1", [event, Event("x")]), StreamAppend(None, [Event("free", tags={"t"})])])
        store.add(f"many-{number}", "plain", {"n": number})
    return store


def exported(store: Store, **options: object) -> bytes:
    out = io.BytesIO()
    count = export_log(store, out, **options)  # type: ignore[arg-type]
    assert count == out.getvalue().count(b"\n")
    return out.getvalue()


@pytest.mark.parametrize("batch_events", [1, 3, 1000])
def test_an_export_imports_back_to_the_identical_log(new_store: Callable[[], Store], tmp_path: Path, batch_events: int) -> None:
    """Broken: a moved log would differ in ids, positions, versions, timestamps, tags or bytes."""
    old, new = filled(new_store()), new_store()
    path = tmp_path / "export.jsonl"
    path.write_bytes(exported(old))
    report = import_log(new, path, batch_events=batch_events)
    assert (report.stored, report.rejected) == (4 * len(ODD_TEXTS), 0)
    assert list(new.read()) == list(old.read())
    assert list(new.streams()) == list(old.streams())
    assert exported(new) == path.read_bytes()
    assert import_log(new, path, batch_events=7).repeated == 4 * len(ODD_TEXTS)


def test_a_stopped_import_of_an_export_goes_on(new_store: Callable[[], Store], tmp_path: Path) -> None:
    """Broken: a log that is moved would have to be moved in one go."""
    old, new = filled(new_store()), new_store()
    path = tmp_path / "export.jsonl"
    path.write_bytes(exported(old))
    with pytest.raises(Stop):
        import_log(new, path, batch_events=6, progress=stop_after(2))
    assert import_log(new, path, batch_events=5).repeated == 18
    assert list(new.read()) == list(old.read())


def test_a_line_of_an_export_is_plain_json(tmp_path: Path) -> None:
    """Broken: other programs could not read our exports."""
    store = hansard.open(":memory:")
    event = store.add("a-1", "x", {"n": 1}, metadata={"who": "Jo"}, tags={"b", "a"})
    assert json.loads(exported(store)) == {
        "position": 1,
        "stream": "a-1",
        "version": 1,
        "type": "x",
        "id": str(event.id),
        "timestamp": event.timestamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "tags": ["a", "b"],
        "metadata": {"who": "Jo"},
        "data": {"n": 1},
    }


def test_text_of_several_lines_stays_on_one(tmp_path: Path) -> None:
    """Broken: a line of the export would break in two, or white space would be lost."""
    for text in ODD_TEXTS:
        store = hansard.open(":memory:")
        store.append(None, Event("x", data_json=text))
        line = exported(store)
        assert line.count(b"\n") == 1
        assert (b'"data_json":' in line) == (b"\n" in text or text != text.strip())


def test_a_part_of_a_log_can_be_exported() -> None:
    """Broken: bounds and queries would be ignored."""
    store = filled(hansard.open(":memory:"))
    lines = [json.loads(line) for line in exported(store, query=Query(types={"free"}), after=3, before=12).splitlines()]
    assert [line["position"] for line in lines] == [7, 11]
    assert exported(store, before=0) == exported(store, before=1) == b""
    with pytest.raises(InvalidInput, match="before"):
        exported(store, before=-1)


def test_export_tells_its_progress() -> None:
    """Broken: a long export would show nothing."""
    calls: list[tuple[int, int, int]] = []
    exported(filled(hansard.open(":memory:")), progress=lambda *call: calls.append(call))
    assert calls == [(40, 40, 40)]


def test_an_export_is_recognised_however_long_its_first_line_is(tmp_path: Path) -> None:
    """Broken: a log that begins with a large event would come back as other events, of other ids."""
    store = hansard.open(":memory:")
    store.add("a-1", "x", "y" * 3_000_000)
    path = tmp_path / "export.jsonl"
    path.write_bytes(exported(store))
    copy = hansard.open(":memory:")
    import_log(copy, path)
    assert list(copy.read()) == list(store.read())


def test_damaged_lines_of_an_export_are_rejected(tmp_path: Path) -> None:
    """Broken: a damaged export would stop the import, or change the log's order in silence."""
    store = filled(hansard.open(":memory:"))
    first, second, third, *_ = exported(store).splitlines(keepends=True)
    no_zone = third.replace(b'Z","tags"', b'","tags"')
    no_data = third.replace(b'"data":', b'"dada":')
    wrong_id = third.replace(b'"id":"', b'"id":"x')
    twice = third.replace(b'"data":', b'"data_json":"1","data":')
    bad = [first, b"{}\n", no_zone, no_data, wrong_id, twice]
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join([first, second, *bad, third]))
    new = hansard.open(":memory:")
    report = import_log(new, path, rejects=tmp_path / "bad.jsonl")
    assert (report.stored, report.rejected) == (3, len(bad))
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert reasons[0] == "position 1 stands after position 2"
    assert reasons[2].endswith("has no time zone")
    assert reasons[3] == reasons[5] == "not a line of an export: expected one of data and data_json"


def test_an_export_does_not_go_into_a_log_that_is_further(tmp_path: Path) -> None:
    """Broken: each of a million events would be rejected alone, instead of one word at the start."""
    path = tmp_path / "export.jsonl"
    path.write_bytes(exported(filled(hansard.open(":memory:"))))
    other = hansard.open(":memory:")
    other.add("a-1", "later")
    with pytest.raises(InvalidInput, match="import into an empty store"):
        import_log(other, path)
    with pytest.raises(InvalidInput, match="needs no mapping"):
        import_log(other, path, mapping=Mapping(stream="{stream}"))
    as_new = Mapping(stream="{stream}|", type="{type}", id="{id}", time="{timestamp}")
    assert import_log(other, path, format="jsonl", mapping=as_new).stored == 4 * len(ODD_TEXTS)


def test_the_largest_line_is_within_the_bound() -> None:
    """Broken: an event of the largest allowed data could be exported, but not imported back."""
    data = b'"' + b'\\"' * 1000 + b'"\n'
    store = hansard.open(":memory:")
    store.append(None, Event("x", data_json=data))
    assert len(exported(store)) < 2 * len(data) + 1000
