"""The part of the contract kit that is about documents and transactions."""

import threading
from collections.abc import Sequence

import pytest

from hansard.appends import Append, StreamAppend
from hansard.errors import CapabilityMissing, Conflict, DuplicateEventId, InlineFailed, StoreUnusable, WrongExpectedVersion
from hansard.events import RecordedEvent
from hansard.limits import POSITION_MAX
from hansard.query import Query
from hansard.storage.port import Capability, Storage, StorageTransaction
from hansard.store import Store
from hansard.streams import NO_STREAM
from hansard.testing.builders import event, events


class Refused(Exception):
    """Raised by the tests' own work."""


def one(stream: str | None, type: str = "happened", expected: int = -1) -> Append:
    return Append((StreamAppend(stream, (event(type),), expected) if expected >= 0 else StreamAppend(stream, (event(type),)),))


class TransactionContract:
    """Mixed into StorageContract, which makes the storage."""

    def test_documents_come_back_as_put(self, storage: Storage) -> None:
        """A checkpoint would be lost, or another one's."""
        storage.transact(lambda t: t.put("a", {"x": b"1", "y": b'{"n": 2}'}))
        storage.transact(lambda t: t.put("b", {"x": b"3"}))
        assert storage.get("a", ["x", "y", "z"]) == {"x": b"1", "y": b'{"n": 2}'}
        assert storage.get("b", ["x"]) == {"x": b"3"}
        assert storage.get("c", ["x"]) == {}
        storage.transact(lambda t: t.put("a", {"x": b"4", "y": None, "z": None}))
        assert storage.get("a", ["x", "y", "z"]) == {"x": b"4"}

    def test_many_documents_are_got_at_once(self, storage: Storage) -> None:
        """A batch of states would be cut off where the statement ends."""
        many = {f"k{number:05d}": str(number).encode() for number in range(1_300)}
        storage.transact(lambda t: t.put("many", many))
        assert storage.get("many", list(many)) == many

    def test_a_scan_pages_through_keys_in_the_order_of_code_points(self, storage: Storage) -> None:
        """A listing would skip or repeat keys."""
        keys = ["B", "a", "ab", "b", "é", "ﬀ", "\U0001f600"]
        storage.transact(lambda t: t.put("a", dict.fromkeys(reversed(keys), b"1")))
        storage.transact(lambda t: t.put("b", {"aa": b"1"}))
        seen: list[str] = []
        while page := storage.scan("a", after=seen[-1] if seen else "", limit=3):
            seen += [key for key, _ in page]
        assert seen == keys
        assert storage.transact(lambda t: [key for key, _ in t.scan("a", after="b", limit=2)]) == ["é", "ﬀ"]

    def test_a_dropped_collection_is_empty_and_no_other_is(self, storage: Storage) -> None:
        """An old read model would stay, or take another with it."""
        storage.transact(lambda t: t.put("a", {"x": b"1", "y": b"2"}))
        storage.transact(lambda t: t.put("b", {"x": b"3"}))
        storage.transact(lambda t: t.drop("a"))
        assert (storage.scan("a", limit=9), storage.scan("b", limit=9)) == ([], [("x", b"3")])

    def test_what_a_transaction_raises_undoes_all_of_it(self, storage: Storage, store: Store) -> None:
        """A checkpoint would move without the work, or the work happen without its checkpoint."""
        store.add("a-1", "first")
        storage.transact(lambda t: t.put("c", {"kept": b"1", "changed": b"1"}))

        def work(t: StorageTransaction) -> None:
            t.put("c", {"changed": b"2", "new": b"2", "kept": None})
            t.append(one("a-1"))
            t.append(one("b-1"))
            t.drop("c")
            raise Refused

        with pytest.raises(Refused):
            storage.transact(work)
        assert storage.scan("c", limit=9) == [("changed", b"1"), ("kept", b"1")]
        assert (store.head(), store.stream("a-1").version, store.stream("b-1").version) == (1, 1, 0)
        assert store.add("a-1", "second").version == 2

    def test_a_transaction_sees_its_own_changes(self, storage: Storage, store: Store) -> None:
        """A handler would decide on what it has just changed itself."""
        store.add("a-1", "first")

        def work(t: StorageTransaction) -> None:
            t.put("c", {"x": b"1"})
            assert t.get("c", ["x"]) == {"x": b"1"}
            appended = t.append(one("a-1", "second", 1))
            assert (appended.first_position, appended.version, t.head()) == (2, 2, 2)
            assert [e.type for e in t.read(Query(types={"second"}), after=0, before=None, backwards=False, limit=9)] == ["second"]
            assert [e.position for e in t.read(Query(), after=0, before=None, backwards=True, limit=9)] == [2, 1]

        storage.transact(work)
        assert [e.type for e in store.all("a-1")] == ["first", "second"]

    def test_an_append_in_a_transaction_keeps_every_rule(self, storage: Storage, store: Store) -> None:
        """A process manager could write what no other writer may."""
        again = one("a-1")

        def work(t: StorageTransaction) -> None:
            first = t.append(again)
            assert t.append(again) == first
            with pytest.raises(WrongExpectedVersion):
                t.append(one("a-1", expected=NO_STREAM))
            with pytest.raises(DuplicateEventId):
                t.append(Append((StreamAppend("b-1", again.parts[0].events),)))
            t.put("c", {"after": b"1"})
            t.append(one("a-1", expected=1))

        storage.transact(work)
        assert store.append("a-1", again.parts[0].events).is_repeat
        assert (store.head(), storage.get("c", ["after"])) == (2, {"after": b"1"})

    def test_what_follows_an_append_may_take_it_back(self, storage: Storage, store: Store) -> None:
        """A refused consequence would stay, or take the rest of the transaction with it."""

        def refuse(t: StorageTransaction, recorded: Sequence[RecordedEvent]) -> None:
            t.put("c", {"refused": b"1"})
            assert [(e.position, e.version) for e in recorded] == [(1, 1)]
            raise Refused

        def keep(t: StorageTransaction, recorded: Sequence[RecordedEvent]) -> None:
            t.put("c", {recorded[0].type: str(recorded[0].position).encode()})

        def work(t: StorageTransaction) -> None:
            t.put("c", {"before": b"1"})
            with pytest.raises(InlineFailed):
                t.append(one("a-1"), then=refuse)
            assert (t.head(), t.get("c", ["refused", "before"])) == (0, {"before": b"1"})
            assert t.append(one("a-1", "kept"), then=keep).version == 1
            t.append(one("a-1", "plain"))

        storage.transact(work)
        assert [e.type for e in store.all("a-1")] == ["kept", "plain"]
        assert storage.scan("c", limit=9) == [("before", b"1"), ("kept", b"1")]

    def test_transactions_and_appends_race_without_loss(self, storage: Storage, store: Store) -> None:
        """Two members would both take a partition, or an append would overwrite one of a transaction."""

        def count(t: StorageTransaction) -> None:
            value = int(t.get("c", ["n"]).get("n", b"0"))
            t.put("c", {"n": str(value + 1).encode()})
            t.append(one("t-1"))

        def transact() -> None:
            for _ in range(25):
                storage.transact(count)

        def append() -> None:
            for _ in range(25):
                store.append("a-1", events(2))

        threads = [threading.Thread(target=work) for work in (transact, transact, append, append)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert storage.get("c", ["n"]) == {"n": b"50"}
        assert (store.head(), store.stream("t-1").version) == (150, 50)

    def test_the_store_itself_is_refused_inside_a_transaction(self, storage: Storage) -> None:
        """A handler that appends in the wrong way would wait for itself for ever."""
        with pytest.raises(StoreUnusable, match="transaction"):
            storage.transact(lambda t: storage.append(one("a-1")))
        with pytest.raises(StoreUnusable, match="transaction"):
            storage.transact(lambda t: storage.transact(lambda _: None))
        assert storage.head() == 0

    def test_an_append_in_a_transaction_wakes_those_who_wait(self, storage: Storage) -> None:
        """A subscriber would sleep through what a process manager has stored."""
        timer = threading.Timer(0.05, lambda: storage.transact(lambda t: t.append(one("a-1"))))
        timer.start()
        assert storage.wait(0, 10) == 1
        timer.join()

    def test_an_inline_hook_is_called_inside_every_append(self, storage: Storage, store: Store) -> None:
        """An inline read model would be behind the log."""

        def hook(t: StorageTransaction, recorded: Sequence[RecordedEvent]) -> None:
            assert t.head() == recorded[-1].position
            seen = t.get("seen", ["n"]).get("n", b"")
            t.put("seen", {"n": seen + b"".join(b"%d " % e.position for e in recorded)})

        storage.set_inline(hook)
        first = one("a-1")
        storage.append(first)
        storage.append(first)  # a repetition is nothing new
        store.append("a-1", events(2))
        storage.transact(lambda t: t.append(one("b-1")))
        storage.set_inline(None)
        store.add("a-1", "unseen")
        assert storage.get("seen", ["n"]) == {"n": b"1 2 3 4 "}

    def test_what_an_inline_hook_raises_refuses_that_append_alone(self, storage: Storage, store: Store) -> None:
        """A bad inline projection would store events without their read model, or harm other appends."""

        def hook(t: StorageTransaction, recorded: Sequence[RecordedEvent]) -> None:
            t.put("seen", {str(recorded[0].position): b"1"})
            if recorded[0].type == "bad":
                raise Refused("not this one")

        storage.set_inline(hook)
        failed: list[Exception] = []

        def append(type: str, count: int) -> None:
            for _ in range(count):
                try:
                    store.append(f"{type}-1", event(type))
                except InlineFailed as error:
                    failed.append(error)

        threads = [threading.Thread(target=append, args=(type, 20)) for type in ("good", "bad", "good", "bad")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failed) == 40
        assert "not this one" in str(failed[0])
        assert (store.head(), store.stream("bad-1").version) == (40, 0)
        assert sorted(int(key) for key, _ in storage.scan("seen", limit=100)) == list(range(1, 41))
        with pytest.raises(Conflict):
            store.append("good-1", event("good"), expected_version=0)

    def test_the_connection_is_the_transactions_or_refused(self, storage: Storage) -> None:
        """A handler's own tables would change without its checkpoint."""
        if Capability.CONNECTION not in storage.capabilities:
            with pytest.raises(CapabilityMissing):
                storage.transact(lambda t: t.connection)
            return
        storage.transact(lambda t: t.connection.execute("CREATE TABLE mine (n INTEGER)"))

        def work(t: StorageTransaction) -> None:
            t.connection.execute("INSERT INTO mine VALUES (1)")
            raise Refused

        with pytest.raises(Refused):
            storage.transact(work)
        count = storage.transact(lambda t: t.connection.execute("SELECT count(*) FROM mine").fetchone()[0])
        assert count == 0

    def test_reading_inside_a_transaction_does_not_wait_for_itself(self, storage: Storage, store: Store) -> None:
        """A handler that looks something up would hang."""
        store.add("a-1", "first")
        assert storage.transact(lambda t: storage.head()) == 1
        assert storage.transact(lambda t: len(store.all("a-1"))) == 1
        assert (
            storage.transact(lambda t: t.read(Query(), after=0, before=POSITION_MAX, backwards=False, limit=9))[0].type == "first"
        )
