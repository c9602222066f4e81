"""What somebody may do, by category. Pure values."""

import re
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

import msgspec

from hansard.errors import AccessDenied, InvalidInput
from hansard.query import Query
from hansard.streams import category_of


class Permission(StrEnum):
    """`subscribe`: named readers, groups, processors, and what they keep. `admin`: everything."""

    READ = "read"
    APPEND = "append"
    SUBSCRIBE = "subscribe"
    ADMIN = "admin"


EVERY_CATEGORY = "*"
AUDIT_STREAM = "hansard.audit"
_PATTERN = re.compile(r"^[^-\0]+$")


class Grant(msgspec.Struct, frozen=True):
    """A permission for the categories that match a pattern (`*` and `?` stand for any characters, `*` alone for every event)."""

    permission: Permission
    pattern: str = EVERY_CATEGORY

    def __str__(self) -> str:
        return self.permission if self.pattern == EVERY_CATEGORY else f"{self.permission}:{self.pattern}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "read" or "append:order*"."""
        name, colon, pattern = text.strip().partition(":")
        if name not in list(Permission):
            raise InvalidInput("permission", text, f"expected one of {', '.join(Permission)}, such as read:order*")
        if colon and not _PATTERN.match(pattern):
            raise InvalidInput("permission", text, 'a pattern names categories, which hold no "-"')
        if colon and name == Permission.ADMIN and pattern != EVERY_CATEGORY:
            raise InvalidInput("permission", text, "admin is for the whole store; leave the pattern out")
        return cls(Permission(name), pattern or EVERY_CATEGORY)


class Principal(msgspec.Struct, frozen=True):
    """Somebody who asks. `name` is what logs and audit events show; `is_local`: nobody had to say who they are."""

    name: str
    grants: tuple[Grant, ...]
    is_local: bool = False

    def may(self, permission: Permission) -> bool:
        """Whether for any category."""
        return any(grant.permission is permission or grant.permission is Permission.ADMIN for grant in self.grants)

    def may_all(self, permission: Permission) -> bool:
        """Whether for every event, those without a stream included."""
        return any(
            grant.permission in (permission, Permission.ADMIN) and grant.pattern == EVERY_CATEGORY for grant in self.grants
        )

    def may_in(self, permission: Permission, category: str | None) -> bool:
        """Whether in a category; None: for events without a stream."""
        for grant in self.grants:
            if (grant.permission is permission or grant.permission is Permission.ADMIN) and (
                grant.pattern == EVERY_CATEGORY or (category is not None and fnmatchcase(category, grant.pattern))
            ):
                return True
        return False

    def check(self, permission: Permission) -> None:
        if not self.may(permission):
            raise AccessDenied(f"{self.name} has no permission to {permission}")

    def check_all(self, permission: Permission) -> None:
        if not self.may_all(permission):
            raise AccessDenied(f"{self.name} has no permission to {permission} for the whole store")

    def check_stream(self, permission: Permission, stream: str | None) -> None:
        category = None if stream is None else category_of(stream)
        if not self.may_in(permission, category):
            where = "events without a stream" if category is None else f"category {category!r}"
            raise AccessDenied(f"{self.name} has no permission to {permission} for {where}")

    def check_target(self, stream: str | None) -> None:
        """The audit's stream is the server's own; an administrator may copy a log that has one."""
        if stream == AUDIT_STREAM and not self.may(Permission.ADMIN):
            raise AccessDenied(f"the stream {AUDIT_STREAM} is written by the server alone")

    def check_query(self, permission: Permission, query: Query) -> None:
        """Every item must name a stream or category that is allowed, or everything must be."""
        if self.may_all(permission):
            return
        for item in query.items:
            if item.stream is None and item.category is None:
                raise AccessDenied(
                    f"{self.name} may {permission} in {self._patterns(permission)} only; name a stream or a category in the query"
                )
            category = item.category if item.stream is None else category_of(item.stream)
            self.check_stream(permission, f"{category}-")

    def _patterns(self, permission: Permission) -> str:
        return ", ".join(grant.pattern for grant in self.grants if grant.permission == permission) or "nothing"


def grants_of(texts: Iterable[str]) -> tuple[Grant, ...]:
    grants = tuple(dict.fromkeys(Grant.parse(text) for text in texts))
    if not grants:
        raise InvalidInput("permissions", grants, "expected at least 1, such as read or append:order*")
    return grants


LOCAL = Principal("local", (Grant(Permission.ADMIN),), is_local=True)
"""Anybody who reaches a server that asks for no authentication, which then listens on this machine only."""

NOBODY = Principal("nobody", ())
"""Somebody who has not said who they are, where they need not."""

LOCAL_READER = Principal("local", (Grant(Permission.READ), Grant(Permission.SUBSCRIBE)), is_local=True)
"""The same for a store that was opened read-only, which refuses what would be written."""
