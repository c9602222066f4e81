"""A username belongs to one account at a time; it is free again when the account is closed."""

from dataclasses import dataclass
from typing import Any

import hansard
from hansard import Query, View


@hansard.event("account-registered", tags=["username:{username}"])
@dataclass(frozen=True)
class AccountRegistered:
    account: str
    username: str


@hansard.event("account-closed", tags=["username:{username}"])
@dataclass(frozen=True)
class AccountClosed:
    account: str
    username: str


class UsernameTaken(Exception):
    pass


def owner(username: str) -> View:
    """Who has the name; None for nobody."""
    return View(Query(tags={f"username:{username}"}), None, _owner_after)


def _owner_after(owner: str | None, event: AccountRegistered | AccountClosed) -> str | None:
    return event.account if isinstance(event, AccountRegistered) else None


def register(store: hansard.Store, account: str, username: str) -> None:
    def decide(command: None, state: Any) -> list[AccountRegistered]:
        if state.owner is not None:
            raise UsernameTaken(f"{username} belongs to {state.owner}")
        return [AccountRegistered(account, username)]

    store.execute(decide, {"owner": owner(username)}, None, stream=f"account-{account}")


EVENTS = [AccountRegistered, AccountClosed]

if __name__ == "__main__":
    with hansard.open(":memory:", types=EVENTS) as store:
        register(store, "1", "jo")
        try:
            register(store, "2", "jo")
        except UsernameTaken as error:
            print(error)
