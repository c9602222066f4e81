"""How fast is the memory engine?"""

from collections.abc import Callable
from pathlib import Path

import floors
import hansard
from results import Result, per_second, percentile


def measure(folder: Path, size: int) -> list[Result]:
    rates = [floors.rate(adding(hansard.open(":memory:")), 1.0) for _ in range(5)]
    return [Result("add in memory, one client", per_second(percentile(rates, 0.5)), "", "", "≥ 150,000/s")]


def adding(store: hansard.Store) -> Callable[[], int]:
    def add() -> int:
        store.add("customer-1", "created", {"first_name": "John"})
        return 1

    return add
