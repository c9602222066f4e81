"""Projections over the real logs: what `test_projections_real_data.py` runs, here and in processes that it kills."""

import sys
from datetime import UTC, datetime
from typing import Any

import hansard
from hansard import Projection, RecordedEvent


def time_of(event: RecordedEvent) -> str:
    """The event's own time, in UTC with six digits; empty where it has none."""
    text = event.metadata.get("time")
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if text else ""


def followed(state: dict[str, Any] | None, event: RecordedEvent) -> dict[str, Any]:
    """How long a stream is, which type follows which, its first and last time."""
    time = time_of(event)
    if state is None:
        return {"length": 1, "last": event.type, "pairs": {}, "first_time": time, "last_time": time}
    pair = f"{state['last']}\n{event.type}"
    state["pairs"][pair] = state["pairs"].get(pair, 0) + 1
    state.update(length=state["length"] + 1, last=event.type, last_time=time)
    return state


def counted(state: dict[str, Any], event: RecordedEvent) -> dict[str, Any]:
    """Counts and sums over the whole log."""
    state["types"][event.type] = state["types"].get(event.type, 0) + 1
    for name in ("added", "deleted", "delta"):
        if name in event.data:
            state["sums"][name] = state["sums"].get(name, 0) + event.data[name]
    for flag in ("isAnonymous", "isMinor", "isNew", "isRobot", "isUnpatrolled"):
        if event.data.get(flag) is True:
            state["flags"][flag] = state["flags"].get(flag, 0) + 1
    if event.type == "PushEvent":
        push = event.data["payload"]
        for name, number in (("size", push["size"]), ("distinct_size", push["distinct_size"]), ("commits", len(push["commits"]))):
            state["sums"][name] = state["sums"].get(name, 0) + number
    return state


def amount(state: dict[str, Any] | None, event: RecordedEvent) -> dict[str, Any]:
    """A loan case: the amount asked for, and which ends it has reached."""
    state = state or {"amount": int(event.data["case:AMOUNT_REQ"]), "ends": []}
    if event.type in {"A_APPROVED", "A_DECLINED", "A_CANCELLED"} and event.type not in state["ends"]:
        state["ends"].append(event.type)
    return state


def projections() -> list[Projection]:
    empty: dict[str, Any] = {"types": {}, "sums": {}, "flags": {}}
    return [
        Projection("followed", followed),
        Projection("counted", counted, key="all", initial=empty),
    ]


def of_cases() -> list[Projection]:
    return [*projections(), Projection("amounts", amount)]


def of_wikipedia() -> list[Projection]:
    def user(event: RecordedEvent) -> str:
        return f"{event.data['channel']} {event.data['user']}"

    def channel(event: RecordedEvent) -> str:
        return str(event.data["channel"])

    return [
        *projections(),
        Projection("by_user", followed, key=user),
        Projection("by_channel", lambda s, e: [s[0] + 1, s[1] + e.data["added"]], key=channel, initial=[0, 0]),
    ]


if __name__ == "__main__":  # build until caught up, or until killed
    with hansard.open(sys.argv[1]) as store:
        store.catch_up(*globals()[sys.argv[2]]())
