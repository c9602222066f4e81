"""From values of user classes to plain data, and back. Dataclasses, attrs classes and msgspec Structs by msgspec; pydantic
models by themselves. Knows no events.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import msgspec

from hansard.errors import InvalidType

_to_plain: Callable[[Any], Any] = msgspec.to_builtins


class Codec(NamedTuple):
    """Of one class. `of_json` raises ValueError (msgspec's and pydantic's errors are ones) or TypeError."""

    plain: Callable[[Any], Any]
    of_json: Callable[[bytes], Any]
    schema: Callable[[], dict[str, Any]]
    """The JSON Schema of its data."""
    attributes: frozenset[str]
    """The names of its fields in Python."""


def codec_of(kind: type) -> Codec:
    """Raises InvalidType for a class that is none of the four kinds, or has fields that JSON cannot keep."""
    if hasattr(kind, "model_validate_json") and hasattr(kind, "model_dump"):
        return _of_pydantic(kind)
    if not (is_dataclass(kind) or hasattr(kind, "__attrs_attrs__") or issubclass(kind, msgspec.Struct)):
        raise InvalidType("event class", kind, "expected a dataclass, an attrs class, a msgspec Struct or a pydantic model")
    try:
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
    except (TypeError, NameError) as error:
        raise InvalidType("event class", kind, f"its fields cannot be kept as JSON: {error}") from error
    return Codec(_to_plain, decode, lambda: _msgspec_schema(kind), _attributes(kind))


def _of_pydantic(kind: Any) -> Codec:
    return Codec(
        lambda value: value.model_dump(mode="json", by_alias=True),
        kind.model_validate_json,
        lambda: dict(kind.model_json_schema(by_alias=True)),
        frozenset({*kind.model_fields, *kind.model_computed_fields}),
    )


def _msgspec_schema(kind: type) -> dict[str, Any]:
    """With the class itself at the top, not as a reference."""
    schema: dict[str, Any] = msgspec.json.schema(kind, ref_template="#/$defs/{name}")
    reference = schema.pop("$ref", None)
    if reference is None:
        return schema
    definitions = dict(schema.pop("$defs"))
    top = dict(definitions[reference.removeprefix("#/$defs/")])
    if reference.encode() not in msgspec.json.encode(definitions):  # it does not hold itself
        del definitions[reference.removeprefix("#/$defs/")]
    return {**top, "$defs": definitions} if definitions else top


def _attributes(kind: Any) -> frozenset[str]:
    if issubclass(kind, msgspec.Struct):
        return frozenset(field.name for field in msgspec.structs.fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return frozenset(field.name for field in kind.__attrs_attrs__)
    return frozenset(kind.__dataclass_fields__)
