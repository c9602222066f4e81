"""Short ways to make events for tests."""

from collections.abc import Iterable
from typing import Any

from hansard.events import Event


def event(type: str = "happened", data: Any = None, *, tags: Iterable[str] = ()) -> Event:
    return Event(type, data, tags=tags)


def events(count: int, type: str = "happened") -> list[Event]:
    """Events of one type, with their number as data."""
    return [Event(type, {"number": number}) for number in range(1, count + 1)]
