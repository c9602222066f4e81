"""Templates: text with {fields} of a record, and alternatives. Knows no events.

`'{repository.full_name}|{organization.login}|(none)'`: the first alternative whose fields are all there is taken.
A field is there if it is text, a number or a boolean; null, empty text, objects and arrays count as missing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final

import msgspec

from hansard.errors import InvalidInput
from hansard.interchange.records import names_of

_TOKEN: Final = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]+)\}|(?P<bar>\|)|(?P<text>[^{}|]+)")


class MissingField(Exception):
    """No alternative has all its fields. Does not leave this room: it becomes a BadRecord."""


class _Field:
    """One {field}: first an exact key, then a dotted path into nested objects, under each prefix in turn."""

    def __init__(self, name: str, prefixes: Sequence[str]) -> None:
        self.name = name
        self._keys = [prefix + name for prefix in prefixes]

    def value(self, fields: Mapping[str, Any]) -> Any:
        for key in self._keys:
            value = fields.get(key)
            if value is None and "." in key:
                value = _at_path(fields, key)
            if value is not None:
                return value
        return None


class Template:
    """`prefixes` are tried before each field's name, in this order."""

    def __init__(self, option: str, text: str, prefixes: Sequence[str] = ("",)) -> None:
        self.text = text
        self._alternatives = [_merged(parts) for parts in _parsed(option, text, prefixes)]

    def render(self, fields: Mapping[str, Any]) -> str:
        """The text of the first alternative whose fields are all there. Raises MissingField."""
        for parts in self._alternatives:
            pieces = [part if part.__class__ is str else _text(part.value(fields)) for part in parts]  # type: ignore[union-attr]
            if None not in pieces:
                return "".join(pieces)  # type: ignore[arg-type]
        raise MissingField(self._what_is_missing(fields))

    def render_each(self, fields: Mapping[str, Any]) -> list[str]:
        """One text for each element of a field that is a list; none where no alternative has its fields."""
        for parts in self._alternatives:
            pieces = [[part] if isinstance(part, str) else _texts(part.value(fields)) for part in parts]
            if all(pieces):
                return ["".join(choice) for choice in product(*pieces)]
        return []

    def _what_is_missing(self, fields: Mapping[str, Any]) -> str:
        named = [part for parts in self._alternatives for part in parts if isinstance(part, _Field)]
        wanted = {field.name: field.value(fields) for field in named}
        missing = ", ".join(f"{name} {_state(value)}" for name, value in wanted.items() if _text(value) is None)
        return f"template {self.text!r}: {missing}; the record's fields: {names_of(fields)}"


def _parsed(option: str, text: str, prefixes: Sequence[str]) -> Iterator[list[str | _Field]]:
    parts: list[str | _Field] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise InvalidInput(option, text, f"a brace without its partner at character {at + 1}; double it if it is text")
        at = token.end()
        if token["bar"]:
            yield parts
            parts = []
        elif token["field"]:
            parts.append(_Field(token["field"], prefixes))
        else:
            parts.append(token["text"] or token["brace"][0])
    yield parts


def _merged(parts: Sequence[str | _Field]) -> list[str | _Field]:
    """Neighbouring pieces of plain text as one."""
    merged: list[str | _Field] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _at_path(fields: Mapping[str, Any], path: str) -> Any:
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _text(value: Any) -> str | None:
    """A value as it stands in JSON, text without quotes; None for what is no scalar."""
    if isinstance(value, str):
        return value or None
    return msgspec.json.encode(value).decode() if isinstance(value, bool | int | float) else None


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in map(_text, values) if text is not None]


def _state(value: Any) -> str:
    if isinstance(value, dict | list):
        return "is an object" if isinstance(value, dict) else "is an array"
    return "is empty" if value == "" else "is missing"
