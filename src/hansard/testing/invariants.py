"""What must be true of any log at any time, looked up through the face."""

from collections import defaultdict

from hansard.events import RecordedEvent
from hansard.storage.port import Capability
from hansard.store import Store


def assert_log_holds(store: Store) -> list[RecordedEvent]:
    """Raises AssertionError if an invariant does not hold. Returns the whole log."""
    log = list(store.read())
    assert [event.position for event in log] == list(range(1, len(log) + 1)), "positions have gaps or are out of order"
    assert store.head() == len(log), "the head is not the last position"
    assert len({event.id_bytes for event in log}) == len(log), "an id stands twice"
    times = [event.timestamp_us for event in log]
    assert times == sorted(times), "time goes back"
    _assert_streams_hold(store, log)
    if Capability.CHECK in store.capabilities:
        problems = store.check()
        assert problems == [], problems
    return log


def _assert_streams_hold(store: Store, log: list[RecordedEvent]) -> None:
    by_stream: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in log:
        if event.stream is not None:
            by_stream[event.stream].append(event)
    assert [stream.name for stream in store.streams()] == sorted(by_stream), "the list of streams is not that of the log"
    for name, events in by_stream.items():
        assert [event.version for event in events] == list(range(1, len(events) + 1)), f"versions of {name!r} have gaps"
        assert list(store.read_stream(name)) == events, f"stream {name!r} is not what the log says"
        info = store.stream(name)
        assert (info.version, info.last_position) == (len(events), events[-1].position), f"{name!r}: wrong information"
