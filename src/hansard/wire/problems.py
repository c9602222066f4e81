"""Errors in JSON, both directions: problem details (RFC 9457), with the error's own facts as further members."""

import inspect
from functools import cache
from typing import Any
from uuid import UUID

import msgspec

from hansard import errors
from hansard.errors import HansardError, StorageFailed, shown
from hansard.outcomes import OUTCOMES
from hansard.query import Query
from hansard.streams import STREAM_EXISTS
from hansard.wire.appends import QueryForm, query_form, query_of

PROBLEM_TYPE = "/problems#{code}"
"""Where a problem is explained, on the server that tells it."""


def problem_of(error: HansardError) -> dict[str, Any]:
    """The members of an error's problem. Values that JSON does not know are shown as messages show them."""
    problem: dict[str, Any] = {
        "type": PROBLEM_TYPE.format(code=error.code),
        "title": title_of(type(error)),
        "status": OUTCOMES[error.code].http_status,
        "detail": str(error),
        "code": error.code,
    }
    return problem | {_member(name): _form(getattr(error, name)) for name in _facts(type(error))}


def error_of(problem: dict[str, Any]) -> HansardError:
    """The error of a problem, with its facts; StorageFailed for a code that this version does not know."""
    kind = _kinds().get(problem.get("code", ""))
    detail = str(problem.get("detail") or problem.get("title") or "the server gave no reason")
    if kind is None:
        return StorageFailed(detail)
    facts = _facts(kind)
    if not facts:
        return kind(detail)
    try:
        return kind(*[_value(name, problem[_member(name)]) for name in facts])
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
        return StorageFailed(detail)


def title_of(kind: type[HansardError]) -> str:
    """The first sentence of what the error's class says about it."""
    return " ".join((inspect.getdoc(kind) or kind.__name__).split()).partition(". ")[0].rstrip(".")


@cache
def _kinds() -> dict[str, type[HansardError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HansardError)]
    return {kind.code: kind for kind in kinds if not issubclass(kind, ExceptionGroup)}


def _facts(kind: type[HansardError]) -> tuple[str, ...]:
    """What the error is made from, which are also its attributes; none where it is made from its message alone."""
    if kind.__init__ is Exception.__init__ or issubclass(kind, ExceptionGroup):
        return ()
    names = tuple(inspect.signature(kind.__init__).parameters)[1:]
    return () if set(names) & {"args", "kwargs"} else names


def _member(fact: str) -> str:
    """`type` is the problem's own; an event's type has another name in it."""
    return "event_type" if fact == "type" else fact


class _Shown(str):
    """A value as a message of the server has shown it already."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _form(value: object) -> Any:
    if isinstance(value, Query):
        return msgspec.to_builtins(query_form(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str | UUID):
        return str(value)
    return shown(value)


def _value(name: str, form: Any) -> Any:
    if name == "query":
        return query_of(msgspec.convert(form, QueryForm))
    if name == "id":
        return UUID(form)
    if name == "expected" and form == STREAM_EXISTS:
        return STREAM_EXISTS
    return _Shown(form) if name == "value" and isinstance(form, str) else form
