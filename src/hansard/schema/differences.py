"""Two JSON Schemas of one event type: what differs, field by field, and whether what fits the old one fits the new one."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a change means. COMPATIBLE: old events fit as they are, or by an upcaster that is there."""

    COMPATIBLE = "compatible"
    NEEDS_UPCASTER = "needs an upcaster"
    BREAKING = "breaking"


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[Kind, str]]:
    """What has changed from the old schema to the new one; nothing is BREAKING here."""
    yield from _differences(_inlined(old), _inlined(new), "")


def _inlined(schema: dict[str, Any]) -> Any:
    """With every reference replaced by what it refers to; one that leads back to itself stays a name."""

    def within(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [within(item, path) for item in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str):
            target = _target(schema, reference)
            return value if target is None or reference in path else within(target, (*path, reference))
        return {name: within(item, path) for name, item in value.items()}

    return within({name: value for name, value in schema.items() if name != "$defs"}, ())


def _target(schema: dict[str, Any], reference: str) -> Any:
    found: Any = schema
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[Kind, str]]:
    if _bare(old) == _bare(new):
        return
    if _is_object(old) and _is_object(new):
        yield from _of_objects(old, new, path)
    elif _kinds(old) == {"array"} == _kinds(new) and "items" in old and "items" in new and _limits(old) == _limits(new):
        yield from _differences(old["items"], new["items"], f"{path}[]")
    else:
        kind = Kind.COMPATIBLE if _accepts(new, old) else Kind.NEEDS_UPCASTER
        yield kind, f"{path or 'data'} was {_words(old)}, is {_words(new)}"


def _of_objects(old: Any, new: Any, path: str) -> Iterator[tuple[Kind, str]]:
    before, now = old["properties"], new["properties"]
    must = set(new.get("required", ()))
    for field in [name for name in now if name not in before]:
        place = f"{path}.{field}" if path else field
        yield (Kind.NEEDS_UPCASTER, f"{place} is new and required") if field in must else (Kind.COMPATIBLE, f"{place} is new")
    for field in [name for name in before if name not in now]:
        place = f"{path}.{field}" if path else field
        if new.get("additionalProperties") is False:
            yield Kind.NEEDS_UPCASTER, f"{place} is gone, and the class refuses what it does not know"
        else:
            yield Kind.COMPATIBLE, f"{place} is gone; what is stored of it is passed over"
    for field in [name for name in now if name in before]:
        place = f"{path}.{field}" if path else field
        if field in must and field not in old.get("required", ()):
            yield Kind.NEEDS_UPCASTER, f"{place} was optional, is required"
        yield from _differences(before[field], now[field], place)


_SAID_ELSEWHERE = {"title", "description", "default", "examples", "$defs"}
_BY_FIELD = {"properties", "patternProperties", "dependentSchemas"}
_VALUES = {"enum", "const"}
_OF_ARRAYS = {"items", "prefixItems", "minItems", "maxItems"}


def _bare(schema: Any) -> Any:
    """Without what changes no meaning. A field may have the name of such a word."""
    if isinstance(schema, dict):
        return {name: _bare_member(name, value) for name, value in schema.items() if name not in _SAID_ELSEWHERE}
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


def _bare_member(name: str, value: Any) -> Any:
    if name in _BY_FIELD and isinstance(value, dict):
        return {field: _bare(schema) for field, schema in value.items()}
    return value if name in _VALUES else _bare(value)


def _is_object(schema: Any) -> bool:
    return _kinds(schema) == {"object"} and "properties" in schema


def _limits(schema: Any) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name in _OF_ARRAYS - {"items"}}


def _kinds(schema: Any) -> set[str]:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return set(kind) if isinstance(kind, list) else {kind} if isinstance(kind, str) else set()


def _alternatives(schema: Any) -> list[Any]:
    if not isinstance(schema, dict):
        return [schema]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return [one for part in schema[word] for one in _alternatives(part)]
    kinds = _kinds(schema)
    return [{**schema, "type": kind} for kind in sorted(kinds)] if len(kinds) > 1 else [schema]


def _accepts(new: Any, old: Any) -> bool:
    """Whether everything that fits the old schema fits the new one, as far as that is plain to see."""
    if isinstance(new, dict) and not set(new) - _SAID_ELSEWHERE:
        return True  # anything
    return all(any(_accepts_one(wide, narrow) for wide in _alternatives(new)) for narrow in _alternatives(old))


def _accepts_one(wide: Any, narrow: Any) -> bool:
    wide, narrow = _bare(wide), _bare(narrow)
    if not wide or wide == narrow:
        return True
    if _is_object(wide) and _is_object(narrow):
        return all(kind is Kind.COMPATIBLE for kind, _ in _of_objects(narrow, wide, ""))
    if "enum" in wide:
        return "enum" in narrow and set(map(repr, narrow["enum"])) <= set(map(repr, wide["enum"]))
    if wide == {"type": "number"} and narrow.get("type") == "integer":
        return True
    if _kinds(wide) == {"array"} == _kinds(narrow):
        return _accepts_array(wide, narrow)
    if isinstance(wide.get("additionalProperties"), dict) and isinstance(narrow.get("additionalProperties"), dict):
        return _accepts(wide["additionalProperties"], narrow["additionalProperties"])
    return all(narrow.get(key) == value for key, value in wide.items())


def _accepts_array(wide: Any, narrow: Any) -> bool:
    if wide.get("minItems", 0) > narrow.get("minItems", 0):
        return False
    if wide.get("maxItems", _ANY_NUMBER) < narrow.get("maxItems", _ANY_NUMBER):
        return False
    places, given = wide.get("prefixItems", []), narrow.get("prefixItems", [])
    if len(places) != len(given) or not all(map(_accepts, places, given)):
        return False
    return _accepts(wide.get("items", {}), narrow.get("items", {})) if "items" in wide else True


_ANY_NUMBER = float("inf")


def _words(schema: Any) -> str:
    """A schema in few words."""
    if not isinstance(schema, dict):
        return str(schema)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(map(_words, schema[word]))
    if "enum" in schema:
        return f"one of {', '.join(map(repr, schema['enum']))}"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if _is_object(schema):
        return f"{schema.get('title', 'object')} ({', '.join(_field_words(schema))})"
    kind = " or ".join(sorted(_kinds(schema))) or "anything"
    if kind == "array":
        of = f" of {_words(schema['items'])}" if isinstance(schema.get("items"), dict) else ""
        return f"list{of}{_size_words(schema)}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_words(schema['additionalProperties'])}"
    limits = [f"{key} {value}" for key, value in schema.items() if key not in {*_SAID_ELSEWHERE, "type"}]
    return f"{kind} ({', '.join(limits)})" if limits else kind


def _field_words(schema: Any) -> list[str]:
    must = set(schema.get("required", ()))
    return [name if name in must else f"{name}?" for name in schema["properties"]]


def _size_words(schema: Any) -> str:
    places = [f"[{', '.join(map(_words, schema['prefixItems']))}]"] if "prefixItems" in schema else []
    sizes = [f"{word} {schema[word]}" for word in ("minItems", "maxItems") if word in schema and not places]
    return "".join(f" {text}" for text in [*places, *sizes])
