"""The shapes of all registered events as one document, to be frozen in a file; and as JSON Schema and AsyncAPI."""

import os
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from hansard.errors import InvalidInput
from hansard.event_types.registry import EventType, EventTypes
from hansard.wire.recorded import RecordedEventForm

FORMAT: Final = 1
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class Shape(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One event type: the JSON Schema of its data, and what else other programs rest on."""

    version: int
    schema: dict[str, Any]
    tags: list[str] = []
    aliases: list[str] = []
    personal: list[str] = []


class Lock(msgspec.Struct, forbid_unknown_fields=True):
    """What `hansard schema freeze` writes. `upcast`: what events of a "type version" become; an empty list: they are dropped."""

    hansard_schema: int
    events: dict[str, Shape]
    upcast: dict[str, list[str]]


def lock_of(types: EventTypes) -> Lock:
    """The shapes as they are now, in the order of their names."""
    shapes = {one.name: shape_of(one) for one in sorted(types, key=lambda one: one.name)}
    steps = sorted(types.chains.shapes)
    return Lock(FORMAT, shapes, {_named(step): targets_of(types, step) for step in steps})


def targets_of(types: EventTypes, step: tuple[str, int]) -> list[str]:
    """What an upcaster leads to, each as "type version"."""
    return sorted(map(_named, types.chains.next(step)))


def shape_of(one: EventType) -> Shape:
    """One type as it is now."""
    definition = one.definition
    tags = [template.text for template in definition.templates]
    return Shape(one.version, _sorted(one.codec.schema()), tags, sorted(definition.aliases), sorted(definition.personal))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _named(shape: tuple[str, int]) -> str:
    return f"{shape[0]} {shape[1]}"


def text_of(document: Any) -> str:
    """JSON for a repository: indented, one line at the end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def read_lock(path: str | os.PathLike[str]) -> Lock:
    """Raises InvalidInput for a file that is none."""
    try:
        with open(path, "rb") as file:
            lock = msgspec.json.decode(file.read(), type=Lock)
    except OSError as error:
        raise InvalidInput("file", os.fsdecode(path), f"{error.strerror or error}; write it by: hansard schema freeze") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput("file", os.fsdecode(path), f"not a file of hansard schema freeze: {error}") from error
    if lock.hansard_schema != FORMAT:
        raise InvalidInput("file", os.fsdecode(path), f"its format is {lock.hansard_schema}; this version reads {FORMAT}")
    for step in lock.upcast:
        if not re.fullmatch(r".+ [1-9][0-9]*", step, re.DOTALL):
            limit = f'upcast has {step!r}; expected a type and its version, as in "placed 1"'
            raise InvalidInput("file", os.fsdecode(path), limit)
    return lock


def json_schema_of(types: EventTypes) -> dict[str, Any]:
    """One JSON Schema document with every type's data under `$defs`."""
    return {
        "$schema": _DIALECT,
        "title": "Events",
        "oneOf": [{"$ref": f"#/$defs/{_pointer(one.name)}"} for one in _by_name(types)],
        "$defs": {one.name: _with_title(one) for one in _by_name(types)},
    }


def asyncapi_of(types: EventTypes, *, title: str, version: str) -> dict[str, Any]:
    """An AsyncAPI 3.0 document: one channel, the log, with a message for each type, as a Hansard server sends it.

    Source: the AsyncAPI specification, https://www.asyncapi.com/docs/reference/specification/v3.0.0.
    """
    keys = _keys_of([one.name for one in _by_name(types)])
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": {
            "log": {
                "address": "/api/v1/events",
                "description": "The log, as Server-Sent Events of a Hansard server.",
                "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in keys.values()},
            }
        },
        "operations": {"receiveEvents": {"action": "receive", "channel": {"$ref": "#/channels/log"}}},
        "components": {"messages": {keys[one.name]: _message(one) for one in _by_name(types)}},
    }


def _keys_of(names: Iterable[str]) -> dict[str, str]:
    """Keys of components by name: the specification allows letters, digits, dots, hyphens and underscores."""
    keys: dict[str, str] = {}
    for name in names:
        base = key = re.sub(r"[^a-zA-Z0-9.\-_]", "_", name)
        number = 1
        while key in keys.values():
            number += 1
            key = f"{base}-{number}"
        keys[name] = key
    return keys


def _message(one: EventType) -> dict[str, Any]:
    message: dict[str, Any] = {"name": one.name, "title": one.kind.__name__, "payload": _recorded(one)}
    tags = [template.text for template in one.definition.templates]
    if one.definition.personal:
        message["x-personal"] = sorted(one.definition.personal)
    return {**message, "x-version": one.version, "x-tags": tags} if tags else {**message, "x-version": one.version}


def _recorded(one: EventType) -> dict[str, Any]:
    """The whole event as it is sent: its place, its metadata, and the data of this type."""
    envelope = msgspec.json.schema(RecordedEventForm)["$defs"][RecordedEventForm.__name__]
    properties = {name: value for name, value in envelope["properties"].items() if not name.endswith("_json")}
    properties |= {"type": {"const": one.name}, "metadata": {"type": "object"}, "data": _with_title(one)}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _with_title(one: EventType) -> dict[str, Any]:
    return {"title": one.kind.__name__, **_without_outer_refs(one.codec.schema(), one.name)}


def _without_outer_refs(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Its own definitions are found where it stands now: by an id of its own."""
    return {"$id": f"urn:hansard:event:{name}", **schema} if "$defs" in schema else schema


def _by_name(types: EventTypes) -> Iterable[EventType]:
    return sorted(types, key=lambda one: one.name)


def _pointer(name: str) -> str:
    """A name inside a JSON pointer (RFC 6901), in a URI fragment."""
    return name.replace("~", "~0").replace("/", "~1").replace("%", "%25").replace(" ", "%20")
