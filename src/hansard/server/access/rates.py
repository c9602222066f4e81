"""How often one client may ask: a bucket of tokens for each, filled at a steady rate."""

import time
from collections import OrderedDict
from typing import Final

from hansard.errors import TooManyRequests

_CLIENTS_MAX: Final = 10_000
_BURST_S: Final = 2.0
"""A client that was silent may ask at once what it could have asked in so many seconds."""


class Rates:
    def __init__(self, rate_per_s: float) -> None:
        self._rate = rate_per_s
        self._burst = max(1.0, rate_per_s * _BURST_S)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Raises TooManyRequests."""
        now = time.monotonic()
        tokens, since = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        self._buckets[client] = (max(0.0, tokens - 1), now)
        if len(self._buckets) > _CLIENTS_MAX:
            self._buckets.popitem(last=False)
        if tokens < 1:
            raise TooManyRequests(f"more than {self._rate:g} requests a second; come again")
