"""A node of a cluster as a program of its own, for tests of faults: appends under load, and tells what came of it.

It is told what to do on standard input, a word a line, and writes a JSON list a line: ["acked", data], ["refused", data],
["open", data] of appends; ["seen", position] of a reader; ["stopped", message] when the node can go no further; and reports.
"""

import faulthandler
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from typing import Any

import hansard
from hansard import AppendCondition, AppendConditionFailed, Event, HansardError, OpenFailed, Query, WrongExpectedVersion
from hansard.storage.cluster import replica

is_paused = threading.Event()
is_to_die = threading.Event()
working: set[int] = set()
seen = [0]


def say(*words: Any) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def main(place: str, name: str) -> None:
    faulthandler.register(signal.SIGUSR1)
    store = opened(place)
    _die_when_told()
    for number in range(4):
        threading.Thread(target=load, args=(store, f"{name}.{number}"), daemon=True).start()
    threading.Thread(target=read, args=(store,), daemon=True).start()
    say("ready")
    for line in sys.stdin:
        word, *rest = line.split()
        match word:
            case "pause":
                is_paused.set()
                while working:
                    time.sleep(0.005)
                say("paused", barrier(store))
            case "go":
                is_paused.clear()
            case "report":
                report(store, *map(int, rest))
            case "die":
                is_to_die.set()
            case "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))
    os._exit(0)


def opened(place: str) -> hansard.Store:
    while True:
        try:
            return hansard.open(place)
        except OpenFailed as error:
            say("waits", str(error))
            time.sleep(0.2)


def _die_when_told() -> None:
    """Between publish and apply: the message is in the log, and this node has not applied it."""
    apply = replica.Replica.apply

    def deadly(self: replica.Replica, group: Any) -> Any:
        if is_to_die.is_set() and any(arrived.message.number for arrived in group):
            os.kill(os.getpid(), signal.SIGKILL)
        return apply(self, group)

    replica.Replica.apply = deadly  # type: ignore[method-assign]


def barrier(store: hansard.Store) -> int:
    while True:
        try:
            store.barrier()
        except HansardError:
            time.sleep(0.1)
            continue
        return int(store._storage.applied.sequence)  # type: ignore[attr-defined]


def load(store: hansard.Store, name: str) -> None:
    rng = random.Random(name)
    number, started = 0, time.time_ns()
    while True:
        if is_paused.is_set():
            time.sleep(0.01)
            continue
        working.add(threading.get_ident())
        if not is_paused.is_set():
            number += 1
            data = f"{name}-{started}-{number}"
            event = Event("happened", data, tags={f"n:{rng.randrange(8)}"})
            try:
                match rng.randrange(3):
                    case 0:
                        store.append(f"s-{rng.randrange(4)}", event)
                    case 1:
                        stream = f"s-{rng.randrange(4)}"
                        store.append(stream, event, expected_version=store.stream(stream).version)
                    case _:
                        condition = AppendCondition(Query(tags=event.tags), after=store.head())
                        store.append(None, event, condition=condition)
                say("acked", data)
            except (WrongExpectedVersion, AppendConditionFailed):
                say("refused", data)
            except HansardError as error:
                say("open", data, str(error))
                time.sleep(0.05)
        working.discard(threading.get_ident())
        time.sleep(rng.random() * 0.004)


def read(store: hansard.Store) -> None:
    seen[0] = store.head()
    for event in store.subscribe(after=seen[0]):
        if event.position != seen[0] + 1:
            say("skipped", seen[0], event.position)
        seen[0] = event.position


def report(store: hansard.Store, sequence: int, after: int) -> None:
    """This node, when it has applied a message: its digest then, the events after a position, how far its reader is."""
    storage: Any = store._storage
    ends = time.monotonic() + 30
    while storage.applied.sequence < sequence and time.monotonic() < ends:
        time.sleep(0.005)
    events = [(event.position, event.data) for event in store.read(after=after)]
    while events and seen[0] < events[-1][0] and time.monotonic() < ends:
        time.sleep(0.005)
    say("report", storage._node.members._digests.get(sequence), events, seen[0], store.check())


if __name__ == "__main__":
    main(*sys.argv[1:])
