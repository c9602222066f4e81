"""The time that engines give to events, unless they are given another clock."""

import time


def now_us() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000
