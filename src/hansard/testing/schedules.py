"""The simulation of readers: members that start, work, stall, crash and take over, step by step, in an order that a seed gives.

Nothing runs by itself: one thread steps all, the clock is moved by hand. What the handlers did is then compared with the log.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from hansard.appends import StreamAppend, append_of
from hansard.events import Event, RecordedEvent
from hansard.processors.control import ReaderControl
from hansard.processors.definitions import PARK, Processor, Retry
from hansard.processors.membership import Membership
from hansard.processors.runner import Crew
from hansard.processors.sources import sources_of
from hansard.projections.definition import Projection
from hansard.query import Query
from hansard.storage.port import Storage
from hansard.subscriptions.tail import Tail
from hansard.transactions import Transaction

LEASE_S = 10.0
_STREAMS = ("a-1", "a-2", "b-1", "c", None)
_MEMBERS_MAX = 3
_SEEN = Query(types={"seen"})


class Flaky(Exception):
    """What the simulation's handlers raise now and then."""


class Effects:
    """What the handlers of all members have done."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.at_least: dict[str, list[int]] = defaultdict(list)
        self.parked: dict[str, list[int]] = defaultdict(list)
        self.is_calm = False

    def _may_fail(self, chance: float) -> None:
        if not self.is_calm and self._random.random() < chance:
            raise Flaky

    def at_least_once(self, event: RecordedEvent) -> None:
        self._may_fail(0.05)
        self.at_least[sequence(event)].append(event.position)

    def exactly_once(self, event: RecordedEvent, transaction: Transaction) -> None:
        self._may_fail(0.05)
        done = transaction.get("done", sequence(event), [])
        transaction.put("done", sequence(event), [*done, event.position])
        self._may_fail(0.05)

    def parking(self, event: RecordedEvent) -> None:
        self._may_fail(0.15)
        self.parked[sequence(event)].append(event.position)

    def definitions(self) -> list[Processor | Projection]:
        patient = Retry(attempts=1_000, first_s=0.5, max_s=2.0)
        return [
            Processor("at-least", self.at_least_once, query=_SEEN, partitions=3, retry=patient, checkpoint_s=1.0),
            Processor("exactly", self.exactly_once, exactly_once=True, partitions=2, retry=patient),
            Projection("positions", lambda done, event: [*done, event.position], key=sequence, initial=[]),
            Processor("parking", self.parking, query=_SEEN, on_failure=PARK, retry=Retry(2, 0.0), checkpoint_s=0.5),
        ]


def sequence(event: RecordedEvent) -> str:
    return event.stream or "none"


class Member:
    """One process, as far as the store can tell."""

    def __init__(self, storage: Storage, definitions: Sequence[object], clock_s: Callable[[], float]) -> None:
        self.storage = storage
        membership = Membership(storage, lease_s=LEASE_S, clock_s=clock_s, is_gone=lambda _: False)
        self.crew = Crew(storage, Tail(storage), sources_of(definitions), clock_s=clock_s, membership=membership)
        self.beaten_s = clock_s()
        self.crew.muster()


class Schedule:
    """One run. `open_storage` gives each member a storage of its own, or all of them one and the same."""

    def __init__(self, open_storage: Callable[[], Storage], seed: int) -> None:
        self._open_storage = open_storage
        self.random = Random(seed)
        self.effects = Effects(self.random)
        self.now_s = 1_000.0
        self.log = open_storage()
        self.members: list[Member] = []
        self.may_repeat = False

    def run(self, steps: int) -> None:
        """Take random steps, then bring everything to rest and judge. Raises AssertionError."""
        acts = (self._append, self._step, self._beat, self._wait, self._join, self._leave, self._crash, self._stall)
        for _ in range(steps):
            self.random.choices(acts, weights=(20, 60, 10, 8, 4, 2, 2, 1))[0]()
        self._come_to_rest()
        self._judge()

    def _clock_s(self) -> float:
        return self.now_s

    def _append(self) -> None:
        count = self.random.choice((1, 1, 2, 5))
        events = [Event(self.random.choice(("seen", "seen", "unseen"))) for _ in range(count)]
        self.log.append(append_of((StreamAppend(self.random.choice(_STREAMS), events),), None))

    def _step(self) -> None:
        if self.members:
            member = self.random.choice(self.members)
            member.crew.listen()
            self.random.choice(list(member.crew.readers.values())).step()

    def _beat(self) -> None:
        for member in self.members:
            self._beat_one(member)

    def _beat_one(self, member: Member) -> None:
        self.may_repeat |= self.now_s - member.beaten_s >= LEASE_S
        member.crew.membership.beat()
        member.beaten_s = self.now_s

    def _wait(self) -> None:
        self.now_s += self.random.random() * LEASE_S / 4

    def _join(self) -> None:
        if len(self.members) < _MEMBERS_MAX:
            self.members.append(Member(self._open_storage(), self.effects.definitions(), self._clock_s))

    def _leave(self) -> None:
        if self.members:
            member = self.members.pop(self.random.randrange(len(self.members)))
            self.may_repeat |= self.now_s - member.beaten_s >= LEASE_S
            member.crew.leave()

    def _crash(self) -> None:
        """It is never heard of again."""
        if self.members:
            self.members.pop(self.random.randrange(len(self.members)))
            self.may_repeat = True

    def _stall(self) -> None:
        """All but one go on, for longer than a lease; then the one comes back."""
        if len(self.members) > 1:
            stalled = self.members.pop(self.random.randrange(len(self.members)))
            self.may_repeat = True
            for _ in range(4):
                self.now_s += LEASE_S / 3
                self._beat()
                self._step()
            self.members.append(stalled)

    def _come_to_rest(self) -> None:
        """The handlers get well, and everything that is left gets its time."""
        self.effects.is_calm = True
        if not self.members:
            self._join()
        for _ in range(200):
            self.now_s += LEASE_S / 4
            for member in self.members:
                self._beat_one(member)
                member.crew.listen()
                for reader in member.crew.readers.values():
                    while reader.step() == 0:
                        pass
            letters = ReaderControl(self.log, "parking").dead_letters
            is_done = not letters.retry() and all(
                not reader.is_behind(self.log.head()) for member in self.members for reader in member.crew.readers.values()
            )
            if is_done:
                return
        raise AssertionError("the readers do not come to rest")

    def _judge(self) -> None:
        log = [
            event
            for after in range(0, self.log.head(), 500)
            for event in self.log.read(Query(), after=after, before=after + 501, backwards=False, limit=500)
        ]
        wanted = _by_sequence([event for event in log if event.type == "seen"])
        exactly = {key: msgspec.json.decode(text, type=list[int]) for key, text in self.log.scan("user/done", limit=100)}
        assert _ordered(exactly) == _by_sequence(log), "exactly: an effect is missing, doubled, or out of order"
        states = {key: msgspec.json.decode(text, type=list[int]) for key, text in self.log.scan("model/positions@1", limit=100)}
        assert states == _by_sequence(log), "positions: a read model is not the fold of the log"
        for name, effects in (("at-least", self.effects.at_least), ("parking", self.effects.parked)):
            firsts = {key: list(dict.fromkeys(positions)) for key, positions in effects.items()}
            assert _ordered(firsts) == wanted, f"{name}: an event was skipped, or handled out of order"
            if not self.may_repeat:
                assert sum(map(len, effects.values())) == sum(map(len, wanted.values())), f"{name}: doubled without a crash"


def _ordered(effects: dict[str, list[int]]) -> dict[str, list[int]]:
    """Events of no stream are in order with nothing."""
    return {key: sorted(positions) if key == "none" else positions for key, positions in effects.items()}


def _by_sequence(events: Sequence[RecordedEvent]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        found[sequence(event)].append(event.position)
    return dict(found)
