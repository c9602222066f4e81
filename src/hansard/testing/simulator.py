"""The race simulator: many clients with seeds, who append, retry, claim, decide and read at once; then the log is judged.

A client is a function of its seed and of what it meets. It writes down what the store acknowledged and what it refused;
the judge compares these with the log. Clients run as threads here; tests also run them in processes of their own.
"""

import threading
import time
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from hansard.appends import Appended, StreamAppend
from hansard.errors import AppendConditionFailed, Conflict, WrongExpectedVersion
from hansard.events import Event, RecordedEvent
from hansard.query import AppendCondition, Query
from hansard.store import Store
from hansard.testing.invariants import assert_log_holds

_STREAMS = 4
_NAMES = 6
_OPENING_BALANCE = 5


class Acknowledged(msgspec.Struct):
    """An append that the store has confirmed: its place and the ids in order."""

    first_position: int
    last_position: int
    ids: list[bytes]


class Diary(msgspec.Struct):
    """What one client was told."""

    acknowledged: list[Acknowledged] = []
    refused: list[bytes] = []
    claims_won: list[str] = []
    claims_lost: list[str] = []


def run_client(store: Store, seed: str, steps: int) -> Diary:
    """Take random steps; what they are depends on the seed alone, what they meet on the race."""
    random, diary = Random(seed), Diary()
    sent: list[tuple[list[StreamAppend], Appended]] = []
    time.sleep(random.random() * 0.01)
    for _ in range(steps):
        step = random.choice((_append_blindly, _append_at_version, _claim, _withdraw, _repeat))
        step(store, random, diary, sent)
        if random.random() < 0.2:
            time.sleep(random.random() * 0.002)
    return diary


def run_reader(store: Store, is_over: Callable[[], bool]) -> list[RecordedEvent]:
    """Follow the log page by page, as any checkpointing reader does; every event must come once, in order."""
    seen: list[RecordedEvent] = []
    while True:
        if was_over := is_over():
            store.barrier()
        after = seen[-1].position if seen else 0
        page = list(store.read(after=after, limit=50))
        seen += page
        if not page and was_over:
            return seen
        if not page:
            store.wait(after, 0.01)


def simulate(open_store: Callable[[], Store], seed: int, *, clients: int = 8, readers: int = 2, steps: int = 25) -> None:
    """Race clients in threads, each with a store object that `open_store` gives it, and judge the log."""
    stores = [open_store() for _ in range(clients + readers)]
    diaries: list[Diary] = []
    followed: list[list[RecordedEvent]] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def client(number: int) -> None:
        diaries.append(run_client(stores[number], f"{seed}/{number}", steps))

    def reader(number: int) -> None:
        followed.append(run_reader(stores[clients + number], over.is_set))

    works = [lambda n=n: client(n) for n in range(clients)] + [lambda n=n: reader(n) for n in range(readers)]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads[:clients]:
        thread.join()
    over.set()
    for thread in threads[clients:]:
        thread.join()
    if failures:
        raise AssertionError(f"seed {seed}: {failures[0]!r}") from failures[0]
    judge(stores[0], diaries, followed, label=f"seed {seed}")
    for store in set(stores):
        store.close()


def judge(store: Store, diaries: Sequence[Diary], followed: Sequence[Sequence[RecordedEvent]], *, label: str) -> None:
    """Raises AssertionError, with the label, if the log is not what the clients were told or the readers saw."""
    try:
        store.barrier()
        log = assert_log_holds(store)
        _judge_acknowledged(log, diaries)
        _judge_claims(log, diaries)
        _judge_balances(log)
        for seen in followed:
            assert list(seen) == log, "a reader saw another log than there is"
    except AssertionError as error:
        error.add_note(f"to run it again: {label}")
        raise


def _judge_acknowledged(log: Sequence[RecordedEvent], diaries: Sequence[Diary]) -> None:
    told: set[bytes] = set()
    for diary in diaries:
        for append in diary.acknowledged:
            there = [event.id_bytes for event in log[append.first_position - 1 : append.last_position]]
            assert there == append.ids, "an acknowledged append does not stand at its place"
            told.update(append.ids)
    stored = {event.id_bytes for event in log}
    refused = {id for diary in diaries for id in diary.refused}
    assert not stored & refused, "a refused event is in the log"
    assert stored == told, "the log holds events that nobody was told of, or lacks some"


def _judge_claims(log: Sequence[RecordedEvent], diaries: Sequence[Diary]) -> None:
    in_log = [tag for event in log for tag in event.tags if event.type == "claimed"]
    assert sorted(in_log) == sorted(set(in_log)), "a name was given twice"
    won = [name for diary in diaries for name in diary.claims_won]
    assert sorted(won) == sorted(in_log), "the winners are not those in the log"
    lost = {name for diary in diaries for name in diary.claims_lost}
    assert lost <= set(won), "somebody lost a race that nobody won"


def _judge_balances(log: Sequence[RecordedEvent]) -> None:
    balances = dict.fromkeys(range(_STREAMS), _OPENING_BALANCE)
    for event in log:
        if event.type == "withdrawn":
            balances[event.data["account"]] -= event.data["amount"]
            assert balances[event.data["account"]] >= 0, f"overdrawn at position {event.position}"


Sent = list[tuple[list[StreamAppend], Appended]]


def _append_blindly(store: Store, random: Random, diary: Diary, sent: Sent) -> None:
    """Several streams at once, whatever is there."""
    parts = [
        StreamAppend(random.choice([f"s-{random.randrange(_STREAMS)}", None]), _events(random, "blind"))
        for _ in range(random.randrange(1, 4))
    ]
    _acknowledge(diary, sent, parts, store.append_streams(parts))


def _append_at_version(store: Store, random: Random, diary: Diary, sent: Sent) -> None:
    """Read the version, think, append if nobody else has."""
    name = f"s-{random.randrange(_STREAMS)}"
    version = store.stream(name).version
    parts = [StreamAppend(name, _events(random, "versioned"), version)]
    _think(random)
    try:
        _acknowledge(diary, sent, parts, store.append_streams(parts))
    except WrongExpectedVersion as conflict:
        assert conflict.current > version
        _refuse(diary, parts)


def _claim(store: Store, random: Random, diary: Diary, sent: Sent) -> None:
    """A name that nobody may have twice, in the whole log."""
    name = f"name:{random.randrange(_NAMES)}"
    parts = [StreamAppend(None, [Event("claimed", tags={name})])]
    condition = AppendCondition(Query(types={"claimed"}, tags={name}))
    try:
        _acknowledge(diary, sent, parts, store.append_streams(parts, condition=condition))
        diary.claims_won.append(name)
    except AppendConditionFailed:
        diary.claims_lost.append(name)
        _refuse(diary, parts)


def _withdraw(store: Store, random: Random, diary: Diary, sent: Sent) -> None:
    """Decide on what was read of an account, and append if nothing has come since."""
    account, amount = random.randrange(_STREAMS), random.randrange(1, 4)
    query = Query(tags={f"account:{account}"})
    head = store.head()
    balance = _OPENING_BALANCE - sum(event.data["amount"] for event in store.read(query, before=head + 1))
    _think(random)
    if balance < amount:
        return
    parts = [
        StreamAppend(f"account-{account}", [Event("withdrawn", {"account": account, "amount": amount}, tags=query.items[0].tags)])
    ]
    try:
        _acknowledge(diary, sent, parts, store.append_streams(parts, condition=AppendCondition(query, head)))
    except Conflict:
        _refuse(diary, parts)


def _repeat(store: Store, random: Random, diary: Diary, sent: Sent) -> None:
    """The same append again, as a client does whose answer was lost."""
    if sent:
        parts, before = random.choice(sent)
        again = store.append_streams(parts)
        assert again.is_repeat, "a repeated append was stored again"
        assert again == before, "a repeated append was given another place"


def _events(random: Random, type: str) -> list[Event]:
    return [Event(type, random.randrange(1_000)) for _ in range(random.randrange(1, 4))]


def _think(random: Random) -> None:
    if random.random() < 0.5:
        time.sleep(random.random() * 0.001)


def _acknowledge(diary: Diary, sent: Sent, parts: list[StreamAppend], appended: Appended) -> None:
    ids = [event.id_bytes for part in parts for event in part.events]
    diary.acknowledged.append(Acknowledged(appended.first_position, appended.last_position, ids))
    sent.append((parts, appended))


def _refuse(diary: Diary, parts: list[StreamAppend]) -> None:
    diary.refused += [event.id_bytes for part in parts for event in part.events]
