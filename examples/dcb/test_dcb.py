"""The decisions hold, also when sixteen clients make them at the same moment, on every engine at hand."""

import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import course_subscription as courses
import hansard
import invoice_numbers as invoices
import unique_username as usernames

EVENTS = [*courses.EVENTS, *invoices.EVENTS, *usernames.EVENTS]


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hansard.Store]:
    with hansard.open(":memory:" if request.param == "memory" else tmp_path / "log.db", types=EVENTS) as store:
        yield store


def all_at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """What each has returned, or the error that it raised."""
    ready = Barrier(count)

    def begin(number: int) -> object:
        ready.wait()
        try:
            return work(number)
        except (usernames.UsernameTaken, courses.NotPossible, invoices.InvoicedBefore) as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_a_username_has_one_owner_and_is_free_again_afterwards(store: hansard.Store) -> None:
    """Two people would have the same name."""
    for name in ("jo", "al"):
        outcomes = all_at_once(16, lambda number, name=name: usernames.register(store, f"{name}{number}", name))  # type: ignore[misc]
        assert outcomes.count(None) == 1
    (owner,) = store.read(hansard.Query(tags={"username:jo"}))
    store.append(f"account-{owner.value.account}", usernames.AccountClosed(owner.value.account, "jo"))
    usernames.register(store, "later", "jo")
    with pytest.raises(usernames.UsernameTaken, match="jo belongs to later"):
        usernames.register(store, "too-late", "jo")


@pytest.mark.parametrize("seed", range(3))
def test_courses_are_not_overbooked_and_students_not_overloaded(store: hansard.Store, seed: int) -> None:
    """A room would be too small, or a student too busy."""
    rng = random.Random(seed)
    for course in range(8):
        store.append(None, courses.CourseDefined(str(course), room=3))
    plans = [[rng.randrange(8) for _ in range(5)] for _ in range(16)]

    def enrol(number: int) -> None:
        for course in plans[number]:
            try:
                courses.subscribe(store, str(course), str(number % 4))
            except courses.NotPossible:
                continue

    all_at_once(16, enrol)
    subscribed = [event.value for event in store.read(hansard.Query(types={courses.StudentSubscribed}))]
    assert len({(one.course, one.student) for one in subscribed}) == len(subscribed)
    assert all(sum(one.course == str(course) for one in subscribed) <= 3 for course in range(8))
    assert all(sum(one.student == str(student) for one in subscribed) <= 5 for student in range(4))
    assert len(subscribed) >= 8


def test_invoices_have_no_gap_and_no_number_twice(store: hansard.Store) -> None:
    """The tax office would ask."""
    outcomes = all_at_once(16, lambda number: invoices.issue(store, 2026, f"order-{number // 2}"))
    issued = [outcome for outcome in outcomes if isinstance(outcome, invoices.InvoiceIssued)]
    assert sorted(one.number for one in issued) == list(range(1, 9))
    assert len({one.order for one in issued}) == 8
    assert invoices.issue(store, 2027, "next-year").number == 1


@pytest.mark.parametrize("module", [courses, invoices, usernames])
def test_examples_stay_short(module: object) -> None:
    """Nobody would read them."""
    assert len(Path(str(module.__file__)).read_text().splitlines()) < 60  # type: ignore[attr-defined]
