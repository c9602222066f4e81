"""Import of whole logs: batches, stopping and going on, order, rejects, progress."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hansard
from hansard import InvalidInput, Store
from hansard.interchange import Mapping, import_log
from places import ENGINES, place_of

BY_NAME = Mapping(stream="{s}", type="{t}")


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


def written(path: Path, count: int) -> Path:
    lines = [b'{"s":"s-%d","t":"t","n":%d}\n' % (n % 7, n) for n in range(count)]
    path.write_bytes(b"".join(lines))
    return path


def facts(store: Store) -> list[tuple[object, ...]]:
    return [(e.position, e.stream, e.version, e.type, e.id, e.data_json, e.metadata_json, e.tags) for e in store.read()]


class Stop(Exception):
    """What stops an import in these tests."""


def stop_after(batches: int) -> Callable[[int, int, int], None]:
    calls = iter(range(batches))

    def progress(done: int, total: int, records: int) -> None:
        if next(calls, None) is None:
            raise Stop

    return progress


@pytest.mark.parametrize("second_batch", [10, 7, 1, 1000])
@pytest.mark.parametrize("stopped_after", [0, 1, 4])
def test_a_stopped_import_goes_on_and_stores_nothing_twice(
    new_store: Callable[[], Store], tmp_path: Path, stopped_after: int, second_batch: int
) -> None:
    """Broken: after a power cut an import would have to begin in a new store."""
    path = written(tmp_path / "log.jsonl", 95)
    whole, stopped = new_store(), new_store()
    import_log(whole, path, mapping=BY_NAME)
    with pytest.raises(Stop):
        import_log(stopped, path, mapping=BY_NAME, batch_events=10, progress=stop_after(stopped_after))
    known = stopped.head()
    assert known == 10 * (stopped_after + 1)
    report = import_log(stopped, path, mapping=BY_NAME, batch_events=second_batch)
    assert (report.read, report.stored, report.repeated, report.rejected) == (95, 95 - known, known, 0)
    assert facts(stopped) == facts(whole)
    assert import_log(stopped, path, mapping=BY_NAME).repeated == 95


def test_an_import_goes_on_after_others_have_appended(new_store: Callable[[], Store], tmp_path: Path) -> None:
    """Broken: an event between two batches would make known events look like new or bad ones."""
    path = written(tmp_path / "log.jsonl", 30)
    store = new_store()
    with pytest.raises(Stop):
        import_log(store, path, mapping=BY_NAME, batch_events=5, progress=stop_after(1))
    store.add("other-1", "added")
    report = import_log(store, path, mapping=BY_NAME, batch_events=9)
    assert (report.stored, report.repeated, report.rejected) == (20, 10, 0)
    assert [e.data["n"] for e in store.read() if e.type == "t"] == list(range(30))


def test_positions_are_in_file_order_with_mixed_streams(new_store: Callable[[], Store], tmp_path: Path) -> None:
    """Broken: events would be sorted by stream inside a batch."""
    store = new_store()
    import_log(store, written(tmp_path / "log.jsonl", 50), mapping=BY_NAME, batch_events=20)
    assert [event.data["n"] for event in store.read()] == list(range(50))
    assert [info.version for info in store.streams()] == [8] + [7] * 6


def test_another_source_name_means_other_events(new_store: Callable[[], Store], tmp_path: Path) -> None:
    """Broken: two files of one name and content could not both be imported."""
    store = new_store()
    path = written(tmp_path / "log.jsonl", 5)
    import_log(store, path, mapping=BY_NAME, source="monday")
    assert import_log(store, path, mapping=BY_NAME, source="tuesday").stored == 5
    assert import_log(store, path, mapping=BY_NAME, source="monday").repeated == 5


def test_only_the_guilty_of_a_batch_are_rejected(new_store: Callable[[], Store], tmp_path: Path) -> None:
    """Broken: an id that comes twice would cost its whole batch, or pass unseen."""
    lines = [{"s": "a", "t": "x", "i": n} for n in range(20)]
    lines[12] = {"s": "a", "t": "x", "i": 3, "other": "content"}
    lines[15] = lines[4]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    store = new_store()
    mapping = Mapping(stream="{s}", type="{t}", id="{i}")
    report = import_log(store, path, mapping=mapping, rejects=tmp_path / "bad.jsonl")
    assert (report.read, report.stored, report.repeated, report.rejected) == (20, 18, 1, 1)
    (reject,) = map(json.loads, (tmp_path / "bad.jsonl").read_text().splitlines())
    assert reject["place"] == "line 13"
    assert "are not the same" in reject["reason"]
    assert json.loads(reject["record"]) == lines[12]


def test_rejects_go_to_the_current_folder_and_only_if_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: the file of bad records would not be where the docs say, or be made for nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    path = written(tmp_path / "in" / "log.jsonl", 3)
    store = hansard.open(":memory:")
    assert import_log(store, path, mapping=BY_NAME).rejects_path is None
    assert not (tmp_path / "log.jsonl.rejects.jsonl").exists()
    path.write_bytes(path.read_bytes() + b"what?\n")
    report = import_log(store, path, mapping=BY_NAME)
    assert (report.rejects_path, report.rejected) == ("log.jsonl.rejects.jsonl", 1)
    (line,) = (tmp_path / "log.jsonl.rejects.jsonl").read_text().splitlines()
    assert json.loads(line)["record"] == "what?"


def test_rejects_never_overwrite_the_file_itself(tmp_path: Path) -> None:
    """Broken: a slip in the command would destroy the log that is to be imported."""
    path = written(tmp_path / "log.jsonl", 3)
    with pytest.raises(InvalidInput, match="is the file to be imported"):
        import_log(hansard.open(":memory:"), path, mapping=BY_NAME, rejects=path)
    path.write_bytes(b"what?\n")
    with pytest.raises(InvalidInput, match="cannot be written"):
        import_log(hansard.open(":memory:"), path, format="jsonl", mapping=BY_NAME, rejects=tmp_path / "no" / "folder")


def test_files_that_cannot_be_read_are_refused_by_our_own_error(tmp_path: Path) -> None:
    """Broken: a typing error in a path would end in a traceback of the operating system."""
    store = hansard.open(":memory:")
    with pytest.raises(InvalidInput, match="there is no such file"):
        import_log(store, tmp_path / "none.jsonl")
    with pytest.raises(InvalidInput, match="is a folder"):
        import_log(store, tmp_path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        import_log(store, "a\0b")


@pytest.mark.parametrize("count", [0, 100_001, True, "10"])
def test_batches_are_bounded(tmp_path: Path, count: object) -> None:
    """Broken: a batch would be larger than one append may be."""
    path = written(tmp_path / "log.jsonl", 3)
    with pytest.raises(InvalidInput, match="batch_events"):
        import_log(hansard.open(":memory:"), path, mapping=BY_NAME, batch_events=count)  # type: ignore[arg-type]


def test_batches_stay_below_the_bytes_of_one_append(tmp_path: Path) -> None:
    """Broken: a thousand large events would not fit one append of every engine, and be sent one by one."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(b'{"s":"a","t":"x","d":"%s"}\n' % (b"%d" % n * 150_000) for n in range(8)))
    heads: list[int] = []
    store = hansard.open(":memory:")
    import_log(store, path, mapping=BY_NAME, progress=lambda *_: heads.append(store.head()))
    assert heads == [3, 6, 8]


def test_progress_tells_bytes_and_records(tmp_path: Path) -> None:
    """Broken: the progress bar would have no rate and no end."""
    path = written(tmp_path / "log.jsonl", 25)
    calls: list[tuple[int, int, int]] = []
    import_log(hansard.open(":memory:"), path, mapping=BY_NAME, batch_events=10, progress=lambda *call: calls.append(call))
    size = path.stat().st_size
    assert [records for _, _, records in calls] == [11, 21, 25]
    assert calls[-1] == (size, size, 25)
    assert all(0 < done <= total == size for done, total, _ in calls)


def test_no_file_stays_open(tmp_path: Path) -> None:
    """Broken: a program that imports many files would run out of file descriptors."""
    path = written(tmp_path / "log.jsonl", 3)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        import_log(hansard.open(":memory:"), path, mapping=BY_NAME)
    assert len(os.listdir("/proc/self/fd")) == before
