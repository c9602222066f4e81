"""What has changed between a frozen file and the code, and what it means for events that are stored."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hansard.event_types.registry import EventType, EventTypes
from hansard.schema.differences import Kind, differences
from hansard.schema.shapes import Lock, Shape, shape_of, targets_of


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
        yield Change(Kind.COMPATIBLE, name, f"now {_named(became)}" if became else "dropped")
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
    if one.version > old.version:
        if types.chains.has(name, old.version):
            yield Change(Kind.COMPATIBLE, name, f"version {old.version} → {one.version}, by its upcaster")
        else:
            text = f"version {old.version} → {one.version}: register an upcaster from version {old.version}"
            yield Change(Kind.NEEDS_UPCASTER, name, text)
    else:
        yield from _compared(name, old, one, "")
    yield from _tags(name, old, one)
    for field in sorted(set(old.personal) - one.definition.personal):
        yield Change(Kind.COMPATIBLE, name, f"{field} is not marked as personal any more")
    for alias in old.aliases:
        if types.get(alias) is None and not types.chains.has(alias, old.version):
            yield Change(Kind.BREAKING, name, f"alias {alias} is gone: events stored under it would be plain data")


def _tags(name: str, old: Shape, one: EventType) -> Iterator[Change]:
    now = {template.text for template in one.definition.templates}
    for tag in sorted(now - set(old.tags)):
        text = f"tag {tag} is new: events stored before do not have it, and no query or condition by it finds them"
        yield Change(Kind.BREAKING, name, text)
    for tag in sorted(set(old.tags) - now):
        yield Change(Kind.BREAKING, name, f"tag {tag} is gone: queries and conditions by it do not find new events")


def _compared(name: str, old: Shape, one: EventType, preface: str) -> Iterator[Change]:
    """Two schemas of one version: what is stored under the old one must fit the new one."""
    for kind, text in differences(old.schema, shape_of(one).schema):
        hint = f"; raise the version, and register an upcaster from version {old.version}" if kind is Kind.NEEDS_UPCASTER else ""
        yield Change(kind, name, f"{preface}{text}{hint}")


def _lost_steps(lock: Lock, types: EventTypes) -> Iterator[Change]:
    for step, targets in lock.upcast.items():
        name, _, version = step.rpartition(" ")
        shape = name, int(version)
        if not types.chains.has(*shape):
            yield Change(Kind.BREAKING, name, f"the upcaster from version {version} is gone; stored events may still need it")
        elif (now := targets_of(types, shape)) != targets:
            text = f"the upcaster from version {version} led to {_listed(targets)}, leads to {_listed(now)}"
            keeps_data = now and types.chains.function(shape) is None
            yield Change(Kind.NEEDS_UPCASTER if keeps_data else Kind.COMPATIBLE, name, text)


def _loose_ends(types: EventTypes) -> Iterator[Change]:
    """Chains that lead to where no class stands."""
    for name, version in types.chains.shapes:
        for end, at in sorted(types.chains.ends((name, version))):
            one = types.get(end)
            if one is None:
                text = f"from version {version} its chain ends at {end} {at}, which no class has: its events are plain data"
                yield Change(Kind.BREAKING, name, text)
            elif one.version != at:
                text = f"from version {version} its chain ends at {end} {at}; {one.kind.__name__} has version {one.version}"
                yield Change(Kind.NEEDS_UPCASTER, name, text)


def _named(shapes: Iterable[tuple[str, int]]) -> str:
    return _listed([f"{type} {version}" for type, version in shapes])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing (dropped)"
