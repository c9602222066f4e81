"""How long does it take to load the state that a decision rests on, with and without a snapshot?"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

import hansard
from hansard import Decider, Event, Snapshots
from results import Result, micro, percentile

EVENTS = 1_000
ROUNDS = 200


@hansard.event("deposited", tags=["account:{account}"])
@dataclass(frozen=True)
class Deposited:
    account: str
    amount: int


@hansard.event("moved")
class Moved(msgspec.Struct, frozen=True):
    account: str
    amount: int


def evolve(balance: int, event: Deposited | Moved) -> int:
    return balance + event.amount


def measure(folder: Path, size: int) -> list[Result]:
    place = folder / "decide.db"
    plain = Decider("plain", initial=0, decide=lambda command, state: [Deposited("1", command)], evolve=evolve)
    rolled = Decider("rolled", initial=0, decide=plain.decide, evolve=evolve, snapshots=Snapshots(every=100))
    with hansard.open(place, types=[Deposited, Moved]) as store, hansard.open(place) as untyped:
        store.append("account-1", [Deposited("1", n) for n in range(EVENTS)])
        store.append("struct-1", [Moved("1", n) for n in range(EVENTS)])
        store.append("plain-1", [Event("added", n) for n in range(EVENTS)])
        store.execute(rolled, "account-1", 1)
        store._execution.snapshots.wait()
        base = _median(lambda: sum(event.data for event in untyped.read_stream("plain-1")))
        dataclasses = _median(lambda: store.load(plain, "account-1"))
        structs = _median(lambda: store.load(plain, "struct-1"))
        snapshot = _median(lambda: store.load(rolled, "account-1"))
        assert store.load(rolled, "account-1").state == store.load(plain, "account-1").state == sum(range(EVENTS)) + 1
        command = _median(lambda: store.execute(rolled, "account-1", 1))
        append = _median(lambda: untyped.add("other-1", "added", 1))
    floor = f"read and decode {EVENTS:,} plain events {micro(base)}"
    return [
        Result(f"a decider of {EVENTS:,} events, dataclasses", micro(dataclasses), floor, f"{dataclasses / base:.2f}", "≤ 3 ms"),
        Result(f"a decider of {EVENTS:,} events, msgspec Structs", micro(structs), floor, f"{structs / base:.2f}", "≤ 3 ms"),
        Result("the same with a snapshot", micro(snapshot), floor, f"{snapshot / base:.3f}", "≤ 0.3 ms"),
        Result("execute with a snapshot, durable", micro(command), f"one durable add {micro(append)}", f"{command / append:.2f}"),
    ]


def _median(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return percentile(seconds, 0.5)
