"""Copying a log between engines: the same log, whatever happens meanwhile."""

import threading
from pathlib import Path

import msgspec
import pytest

import hansard
from hansard import Event, LogsDiffer, StreamAppend
from hansard.interchange.copying import copy_log, log_digest
from hansard.store import Store
from places import place_of

WAYS = [("file", "postgres"), ("postgres", "file"), ("memory", "postgres"), ("file", "file")]


def fill(store: Store, count: int = 2_500) -> None:
    store.append(None, [Event("noted", {"text": "ä\u0000\n"}, tags={"t:1", "t:2"})])
    for start in range(0, count, 500):
        store.append_streams(
            [StreamAppend(f"a-{n % 7}", [Event("happened", {"n": start + n}, {"by": "me"})]) for n in range(500)]
        )


@pytest.mark.parametrize(("of", "to"), WAYS)
def test_a_copy_is_the_same_log(of: str, to: str, tmp_path: Path) -> None:
    """A team that moves would lose ids, order, times or bytes."""
    with hansard.open(place_of(of, tmp_path / "of")) as source, hansard.open(place_of(to, tmp_path / "to")) as target:
        fill(source)
        calls: list[tuple[int, int]] = []
        report = copy_log(source, target, progress=lambda *call: calls.append(call))
        assert (report.copied, report.events) == (2_501, 2_501)
        assert report.digest == log_digest(source, 2_501) == log_digest(target, 2_501)
        assert list(source.read()) == list(target.read())
        assert list(source.streams()) == list(target.streams())
        assert (calls[-1], [done for done, _ in calls]) == ((2_501, 2_501), [1_000, 2_000, 2_501])
        if to != "memory":
            assert target.check() == []


@pytest.mark.parametrize(("of", "to"), WAYS[:2])
def test_a_stopped_copy_goes_on(of: str, to: str, tmp_path: Path) -> None:
    """A copy that was stopped would begin anew, or store events twice."""
    with hansard.open(place_of(of, tmp_path / "of")) as source, hansard.open(place_of(to, tmp_path / "to")) as target:
        fill(source)

        def stop(position: int, head: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy_log(source, target, progress=stop)
        assert target.head() == 1_000
        assert copy_log(source, target).copied == 1_501
        assert copy_log(source, target).copied == 0
        assert list(source.read()) == list(target.read())


@pytest.mark.parametrize(("of", "to"), WAYS[:2])
def test_a_source_may_be_appended_to(of: str, to: str, tmp_path: Path) -> None:
    """The shop would have to close while its log moves."""
    with hansard.open(place_of(of, tmp_path / "of")) as source, hansard.open(place_of(to, tmp_path / "to")) as target:
        fill(source, 1_000)
        is_over = threading.Event()

        def write() -> None:
            for number in range(300):
                source.add("late-1", "happened", number)
            is_over.set()

        writing = threading.Thread(target=write)
        writing.start()
        report = copy_log(source, target, follow=lambda: not is_over.is_set() or target.head() < source.head())
        writing.join()
        assert report.events == source.head() == 1_301
        assert list(source.read()) == list(target.read())


def test_another_log_is_refused(tmp_path: Path) -> None:
    """Two logs would be mixed into one."""
    with hansard.open(":memory:") as source, hansard.open(":memory:") as target:
        source.add("a-1", "happened")
        target.add("a-1", "other")
        with pytest.raises(LogsDiffer, match="at position 1 is not the source's"):
            copy_log(source, target)
        target.add("a-1", "other")
        with pytest.raises(LogsDiffer, match="at position 2 is not the source's"):
            copy_log(source, target)
        assert target.head() == 2


def test_a_target_that_another_one_appends_to_is_refused(tmp_path: Path) -> None:
    """Positions would drift apart without a word."""
    with hansard.open(":memory:") as source, hansard.open(":memory:") as target:
        fill(source)
        with pytest.raises(hansard.AppendConditionFailed):
            copy_log(source, target, progress=lambda *_: target.add("foreign-1", "happened"))


def test_a_difference_far_back_is_found(tmp_path: Path) -> None:
    """A copy would be trusted because its last event is right."""
    with hansard.open(":memory:") as source, hansard.open(":memory:") as target:
        fill(source, 500)
        for event in source.read():
            target.restore([msgspec.structs.replace(event, data_json=b"0") if event.position == 3 else event])
        with pytest.raises(LogsDiffer, match="are not the same"):
            copy_log(source, target)
