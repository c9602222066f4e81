"""What a name may be: stream names, event types and tags. Names are never normalised or case-folded."""

import os
from collections.abc import Iterable
from typing import Any, Final

from hansard.errors import InvalidInput, InvalidType
from hansard.limits import NAME_CHARS_MAX


def check_name(field: str, value: object) -> str:
    """The name as plain text, or InvalidInput: text of 1 to NAME_CHARS_MAX characters, without NUL and lone surrogates."""
    if not isinstance(value, str):
        raise InvalidType(field, value, "expected text (str)")
    if not value:
        raise InvalidInput(field, value, f"expected 1 to {NAME_CHARS_MAX} characters, not none")
    if len(value) > NAME_CHARS_MAX:
        raise InvalidInput(field, value, f"expected at most {NAME_CHARS_MAX} characters, not {len(value)}")
    if "\0" in value:
        raise InvalidInput(field, value, "NUL characters are not allowed")
    if not value.isascii():
        _check_encodable(field, value)
    return value if type(value) is str else str.__str__(value)


def check_path(field: str, value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise InvalidType(field, value, "expected a path")
    return os.fsdecode(value)


REPLICA_DOCUMENT: Final = ("hansard.cluster", "applied")
"""The collection and key of the document by which a file is the replica of a cluster's node."""

DEFINITION: Final = "__hansard_event__"
"""The attribute of a class that says which type its events have: see `hansard.event`."""


def definition_on(kind: Any) -> Any:
    """What a class says of its events; None if it says nothing. A subclass has to speak for itself."""
    return vars(kind).get(DEFINITION) if isinstance(kind, type) else None


def check_type(field: str, value: object) -> str:
    """The name of an event type, from the name itself or from a class that bears one."""
    definition = definition_on(value)
    return definition.name if definition is not None else check_name(field, value)


def check_types(field: str, values: object, count_max: int) -> frozenset[str]:
    """The same for a set of them."""
    if isinstance(values, type):
        raise InvalidType(field, values, f"expected a set of types; write {{{values.__name__}}}")
    if isinstance(values, Iterable) and not isinstance(values, str):
        values = [value if definition_on(value) is None else definition_on(value).name for value in values]
    return check_names(field, values, count_max)


def _check_encodable(field: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(field, value, "lone surrogates are not allowed") from None


def check_names(field: str, values: object, count_max: int) -> frozenset[str]:
    """A set of names from any iterable of text; a bare string is refused, because it would be read letter by letter."""
    if isinstance(values, str):
        raise InvalidType(field, values, f"expected a set of names; write {{{values[:40]!r}}}")
    if not isinstance(values, Iterable):
        raise InvalidType(field, values, "expected a set of names")
    names = frozenset(check_name(field, value) for value in values)
    if len(names) > count_max:
        raise InvalidInput(field, len(names), f"expected at most {count_max} names")
    return names


_SECRETS = {"password", "sslpassword"}


def shown_place(place: str) -> str:
    """A store's place as messages show it: all between the first colon of a URL's user and its last @ may be a password."""
    scheme, is_url, rest = place.partition("://")
    if not is_url:
        return place
    body, has_options, query = rest.partition("?")
    options = [option for option in query.split("&") if option.partition("=")[0] not in _SECRETS]
    whole = body + (f"?{'&'.join(options)}" if has_options and options else "")
    user, at, host = whole.rpartition("@")
    name, colon, _ = user.partition(":")
    if at and not colon and scheme == "nats":  # a token
        name = "…"
    return f"{scheme}://{name}{':…' if colon else ''}{at}{host}"
