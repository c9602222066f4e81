"""What if: the same commands, decided by another decider on a branch, and where the decisions differ."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from hansard.errors import HansardError, InvalidType
from hansard.query import Query
from hansard.store import Store
from hansard.testing.showing import difference, fact_of


class Outcome(NamedTuple):
    """What a command has led to: events, or the error by which it was refused."""

    events: tuple[Any, ...]
    error: Exception | None

    @property
    def text(self) -> str:
        if self.error is not None:
            return f"raised {type(self.error).__name__}: {self.error}"
        return ", ".join(fact_of(event).text for event in self.events) or "nothing"


class Change(NamedTuple):
    """One command that is decided differently. `number` counts the commands from 1."""

    number: int
    target: str | Query
    command: Any
    old: Outcome
    new: Outcome

    def __str__(self) -> str:
        return f"{self.number}. {self.command!r} on {self.target}\n  - {self.old.text}\n  + {self.new.text}"


class Replayed(NamedTuple):
    """The report of a replay."""

    commands: int
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        head = f"{self.commands} commands, {len(self.changes)} decided differently"
        return "\n".join([head, *map(str, self.changes)])


def replay(store: Store, commands: Iterable[tuple[str | Query, Any]], new: Any, *, old: Any, at: int | None = None) -> Replayed:
    """Execute commands twice, by two deciders, each on a branch of the store from a position on (None: the head).

    Each decider meets what it has decided itself before. The store is not changed.

    >>> import hansard
    >>> from hansard import Decider, Event
    >>> def account(limit):
    ...     return Decider("account", initial=0, evolve=lambda spent, event: spent + event.data,
    ...                    decide=lambda amount, spent: [Event("spent", amount)] if spent + amount <= limit else [])
    >>> print(replay(hansard.open(":memory:"), [("a-1", 5), ("a-1", 7)], account(10), old=account(20)))
    2 commands, 1 decided differently
    2. 7 on a-1
      - spent 7
      + nothing
    """
    if not isinstance(store, Store):
        raise InvalidType("store", store, "expected a store of hansard.open")
    changes, count = [], 0
    with store.branch(at) as one, store.branch(at) as two:
        for number, (target, command) in enumerate(commands, 1):
            before, after = _outcome(one, old, target, command), _outcome(two, new, target, command)
            if _differs(before, after):
                changes.append(Change(number, target, command, before, after))
            count = number
    return Replayed(count, tuple(changes))


def _outcome(store: Store, decider: Any, target: str | Query, command: Any) -> Outcome:
    try:
        return Outcome(tuple(store.execute(decider, target, command).events), None)
    except HansardError:
        raise
    except Exception as error:
        return Outcome((), error)


def _differs(old: Outcome, new: Outcome) -> bool:
    if (old.error is None) != (new.error is None) or type(old.error) is not type(new.error):
        return True
    if str(old.error) != str(new.error):
        return True
    return difference([fact_of(event) for event in old.events], [fact_of(event) for event in new.events]) is not None
