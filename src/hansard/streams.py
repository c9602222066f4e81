"""What a stream is: its name, its category, the version that a writer expects. Knows no events."""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final

import msgspec

from hansard.errors import InvalidInput, InvalidType
from hansard.limits import POSITION_MAX, TIMEOUT_S_MAX
from hansard.names import check_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExpectedVersion(IntEnum):
    """What a writer expects of a stream, other than an exact version. NO_STREAM equals version 0."""

    STREAM_EXISTS = -2
    ANY = -1
    NO_STREAM = 0


ANY: Final = ExpectedVersion.ANY
NO_STREAM: Final = ExpectedVersion.NO_STREAM
STREAM_EXISTS: Final = ExpectedVersion.STREAM_EXISTS


class StreamInfo(msgspec.Struct, frozen=True):
    """One stream: its name, its version (0: there is no such stream), and where and when its last event was stored."""

    name: str
    version: int
    last_position: int = 0
    last_timestamp_us: int = 0

    @property
    def category(self) -> str:
        return category_of(self.name)

    @property
    def last_timestamp(self) -> datetime | None:
        return _EPOCH + timedelta(microseconds=self.last_timestamp_us) if self.version else None


def category_of(stream: str) -> str:
    """The stream's name up to the first "-"; the whole name where there is none.

    >>> category_of("customer-1"), category_of("customer1")
    ('customer', 'customer1')
    """
    return stream.partition("-")[0]


def check_expected(expected: object) -> int:
    """The expected version as given: ANY, NO_STREAM, STREAM_EXISTS or an exact version from 0."""
    if isinstance(expected, ExpectedVersion):
        return expected
    if isinstance(expected, bool) or not isinstance(expected, int):
        raise InvalidType("expected_version", expected, "expected ANY, NO_STREAM, STREAM_EXISTS or a version (int)")
    return check_bound("expected_version", expected)


def check_bound(field: str, value: object) -> int:
    """A position, version or limit: an int from 0 to POSITION_MAX."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidType(field, value, "expected an int")
    if not 0 <= value <= POSITION_MAX:
        raise InvalidInput(field, value, f"expected 0 to {POSITION_MAX}")
    return value


def check_timeout(timeout_s: object, field: str = "timeout_s") -> float:
    """Seconds to wait: a number from 0 to TIMEOUT_S_MAX."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise InvalidType(field, timeout_s, "expected a number of seconds")
    if not 0 <= timeout_s <= TIMEOUT_S_MAX:
        raise InvalidInput(field, timeout_s, f"expected 0 to {TIMEOUT_S_MAX:g} seconds")
    return float(timeout_s)


def check_stream(stream: object) -> str:
    return check_name("stream", stream)
