"""What has changed between a frozen file and the code, and what it means for events that are stored."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple

from hansard.event_types.registry import EventType, EventTypes
from hansard.schema.shapes import Lock, Shape, shape_of


class Kind(StrEnum):
    """What a change means. COMPATIBLE: old events fit as they are, or by an upcaster that is there."""

    COMPATIBLE = "compatible"
    NEEDS_UPCASTER = "needs an upcaster"
    BREAKING = "breaking"


class Change(NamedTuple):
    kind: Kind
    type: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.type}: {self.text}"


def changes(lock: Lock, types: EventTypes) -> list[Change]:
    """Every change, the worst first."""
    found = [change for name, shape in lock.events.items() for change in _of_type(name, shape, types)]
    found += [Change(Kind.COMPATIBLE, one.name, f"new, version {one.version}") for one in types if one.name not in lock.events]
    found += _lost_steps(lock, types)
    found += _loose_ends(types)
    order = list(Kind)
    return sorted(found, key=lambda change: -order.index(change.kind))


def _of_type(name: str, old: Shape, types: EventTypes) -> Iterator[Change]:
    one = types.get(name)
    if one is not None and one.name == name:
        yield from _of_known(name, old, one, types)
        return
    if types.chains.has(name, old.version):
        became = sorted(types.chains.ends((name, old.version)))
        text = f"now {', '.join(f'{type} {version}' for type, version in became)}" if became else "dropped"
        yield Change(Kind.COMPATIBLE, name, text)
    elif one is not None:
        yield from _compared(name, old, one, f"now {one.name}, which it is an alias of: ")
        yield Change(Kind.COMPATIBLE, name, f"an alias of {one.name}")
    else:
        text = "no class has this name any more, so its events would be plain data; rename it, upcast it, or drop it"
        yield Change(Kind.BREAKING, name, text)


def _of_known(name: str, old: Shape, one: EventType, types: EventTypes) -> Iterator[Change]:
    if one.version < old.version:
        yield Change(Kind.BREAKING, name, f"version {one.version} is below the frozen one, {old.version}")
        return
    missing = [version for version in range(1, one.version) if not types.chains.has(name, version)]
    if one.version > old.version:
        if old.version in missing:
            text = f"version {old.version} → {one.version}: register an upcaster from version {old.version}"
            yield Change(Kind.NEEDS_UPCASTER, name, text)
        else:
            yield Change(Kind.COMPATIBLE, name, f"version {old.version} → {one.version}, by its upcaster")
    else:
        yield from _compared(name, old, one, "")
    yield from _tags(name, old, one)


def _tags(name: str, old: Shape, one: EventType) -> Iterator[Change]:
    now = {template.text for template in one.definition.templates}
    for tag in sorted(now - set(old.tags)):
        text = f"tag {tag} is new: events stored before do not have it, and no query or condition by it finds them"
        yield Change(Kind.BREAKING, name, text)
    for tag in sorted(set(old.tags) - now):
        yield Change(Kind.BREAKING, name, f"tag {tag} is gone: queries and conditions by it do not find new events")


def _compared(name: str, old: Shape, one: EventType, preface: str) -> Iterator[Change]:
    """Two schemas of one version: what is stored under the old one must fit the new one."""
    now = shape_of(one)
    for kind, text in _differences(old.schema, now.schema, _Scope(old.schema, now.schema), ""):
        hint = f"; raise the version, and register an upcaster from version {old.version}" if kind is Kind.NEEDS_UPCASTER else ""
        yield Change(kind, name, f"{preface}{text}{hint}")


class _Scope(NamedTuple):
    """Where references are looked up."""

    old: dict[str, Any]
    new: dict[str, Any]


def _differences(old: Any, new: Any, scope: _Scope, path: str, depth: int = 0) -> Iterator[tuple[Kind, str]]:
    old, new = _resolved(old, scope.old), _resolved(new, scope.new)
    if old == new or depth > 20:
        return
    if _kinds(old) == {"object"} == _kinds(new) and "properties" in old and "properties" in new:
        yield from _of_objects(old, new, scope, path, depth)
    elif _kinds(old) == {"array"} == _kinds(new) and "items" in old and "items" in new:
        yield from _differences(old["items"], new["items"], scope, f"{path}[]", depth + 1)
    elif not _accepts(new, old):
        yield Kind.NEEDS_UPCASTER, f"{path or 'data'} was {_words(old)}, is {_words(new)}"
    elif _words(old) != _words(new):
        yield Kind.COMPATIBLE, f"{path or 'data'} was {_words(old)}, is {_words(new)}"


def _of_objects(old: Any, new: Any, scope: _Scope, path: str, depth: int) -> Iterator[tuple[Kind, str]]:
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
        yield from _differences(before[field], now[field], scope, place, depth + 1)


def _resolved(schema: Any, top: dict[str, Any]) -> Any:
    if isinstance(schema, dict) and isinstance(reference := schema.get("$ref"), str):
        target: Any = top
        for part in reference.removeprefix("#/").split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, dict) else {}
        return target or schema
    return schema


_SAID_ELSEWHERE = {"title", "description", "default", "examples", "$defs"}


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
    wide, narrow = ({key: value for key, value in one.items() if key not in _SAID_ELSEWHERE} for one in (wide, narrow))
    if not wide or wide == narrow:
        return True
    if "enum" in wide:
        return "enum" in narrow and set(map(repr, narrow["enum"])) <= set(map(repr, wide["enum"]))
    if wide == {"type": "number"} and narrow.get("type") == "integer":
        return True
    return all(narrow.get(key) == value for key, value in wide.items())


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
    kind = " or ".join(sorted(_kinds(schema))) or "anything"
    limits = [
        f"{key} {value}"
        for key, value in schema.items()
        if key not in {*_SAID_ELSEWHERE, "type", "items", "properties", "required"}
    ]
    return f"{kind} ({', '.join(limits)})" if limits else kind


def _lost_steps(lock: Lock, types: EventTypes) -> Iterator[Change]:
    for step in lock.upcast:
        name, _, version = step.rpartition(" ")
        if not types.chains.has(name, int(version)):
            yield Change(Kind.BREAKING, name, f"the upcaster from version {version} is gone; stored events may still need it")


def _loose_ends(types: EventTypes) -> Iterator[Change]:
    """Chains that lead to where no class stands."""
    for name, version in types.chains.shapes:
        for end, at in sorted(types.chains.ends((name, version))):
            one = types.get(end)
            if one is not None and one.version != at:
                text = f"from version {version} its chain ends at {end} {at}; {one.kind.__name__} has version {one.version}"
                yield Change(Kind.NEEDS_UPCASTER, name, text)
