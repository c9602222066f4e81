"""From values of user classes to plain data, and back. Dataclasses, attrs classes and msgspec Structs by msgspec; pydantic
models and pydantic's dataclasses by pydantic. Knows no events.
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
    names: dict[str, str]
    """The names of its fields in JSON, by those in Python."""

    def wire_name(self, attribute: str) -> str:
        """What JSON calls a field."""
        return self.names.get(attribute, attribute)


def codec_of(kind: type) -> Codec:
    """Raises InvalidType for a class that is none of the kinds, or has fields that JSON cannot keep."""
    if hasattr(kind, "__pydantic_validator__"):
        return _of_pydantic(kind)
    if not (is_dataclass(kind) or hasattr(kind, "__attrs_attrs__") or issubclass(kind, msgspec.Struct)):
        raise InvalidType("event class", kind, "expected a dataclass, an attrs class, a msgspec Struct or a pydantic model")
    for name in _unreadable_in(kind):
        raise InvalidType("event class", kind, f"{name} is private, and could not be read back: take the underscore away")
    try:
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
        _msgspec_schema(kind)  # fails where a field's class is unknown to msgspec; the decoder would fail when it reads one
    except (TypeError, NameError) as error:
        raise InvalidType("event class", kind, f"its fields cannot be kept as JSON: {str(error).splitlines()[-1]}") from error
    return Codec(_to_plain, decode, lambda: _msgspec_schema(kind), _names(kind))


def _of_pydantic(kind: Any) -> Codec:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticInvalidForJsonSchema

    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def schema() -> dict[str, Any]:
        try:
            return adapter.json_schema(by_alias=True)
        except PydanticInvalidForJsonSchema as error:
            raise InvalidType("event class", kind, f"it has no JSON Schema: {error.message}") from error

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json", by_alias=True)

    def plain_of_dataclass(value: Any) -> Any:
        return adapter.dump_python(value, mode="json", by_alias=True)

    fields = {name: field.serialization_alias or name for name, field in getattr(kind, "__pydantic_fields__", {}).items()}
    computed = {name: field.alias or name for name, field in getattr(kind, "model_computed_fields", {}).items()}
    return Codec(
        plain if hasattr(kind, "model_dump") else plain_of_dataclass,
        adapter.validate_json,
        schema,
        {**fields, **computed},
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


def _unreadable_in(kind: Any) -> list[str]:
    """Fields of an attrs class that msgspec neither writes nor reads, and that cannot be left out."""
    if not hasattr(kind, "__attrs_attrs__"):
        return []
    from attrs import NOTHING

    return [field.name for field in kind.__attrs_attrs__ if field.name[:1] == "_" and field.default is NOTHING]


def _names(kind: Any) -> dict[str, str]:
    if issubclass(kind, msgspec.Struct):
        return {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    names = [field.name for field in kind.__attrs_attrs__] if hasattr(kind, "__attrs_attrs__") else kind.__dataclass_fields__
    return {name: name for name in names}
