"""How results are told: a table of what was measured, the target and the ratio."""

from typing import NamedTuple


class Result(NamedTuple):
    what: str
    value: str
    floor: str
    ratio: str = ""
    target: str = ""


def markdown(title: str, results: list[Result]) -> str:
    lines = [f"### {title}", "", "| what | measured | floor, in the same run | ratio | asked for |", "|---|---|---|---|---|"]
    lines += [f"| {r.what} | {r.value} | {r.floor} | {r.ratio} | {r.target} |" for r in results]
    return "\n".join([*lines, ""])


def per_second(rate: float) -> str:
    return f"{rate:,.0f}/s"


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:,.2f} ms"
