"""CloudEvents 1.0 over HTTP: structured, batch and binary mode. `data` is the event's data, byte for byte; the other
attributes are its metadata.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from base64 import b64decode, b64encode
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
from msgspec import Meta

from hansard.errors import InvalidInput
from hansard.events import Event
from hansard.limits import NAME_CHARS_MAX
from hansard.names import check_name
from hansard.server.operations import JSON
from hansard.server.requests import Request, decoded_json

ONE: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_members = dict[str, msgspec.Raw]
_Attribute = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": NAME_CHARS_MAX, "pattern": "^[^\\u0000]+$"})]


class CloudEvent(msgspec.Struct):
    """CloudEvents 1.0. Further attributes are kept as metadata."""

    specversion: Literal["1.0"]
    id: _Attribute
    source: _Attribute
    type: _Attribute
    data: Any = msgspec.UNSET


CloudEvents = Annotated[list[CloudEvent], Meta(extra_json_schema={"minItems": 1})]


async def events(request: Request) -> list[Event]:
    """The CloudEvents of a request. Raises InvalidInput."""
    body = await request.body()
    if request.media_type == ONE:
        return [_structured(decoded_json(body, _members))]
    if request.media_type == BATCH:
        return [_structured(members) for members in decoded_json(body, list[_members])]
    return [_binary(request, body)]


def _structured(members: dict[str, msgspec.Raw]) -> Event:
    attributes = {name: decoded_json(bytes(raw), Any) for name, raw in members.items() if name not in {"data", "data_base64"}}
    if "data" in members and "data_base64" in members:
        raise InvalidInput("data_base64", "…", "give data or data_base64, not both")
    if "data_base64" in members:
        text = decoded_json(bytes(members["data_base64"]), str)
        try:
            b64decode(text, validate=True)
        except ValueError as error:
            raise InvalidInput("data_base64", text, f"not base64: {error}") from None
        return _event(attributes, msgspec.json.encode({"data_base64": text}))
    return _event(attributes, bytes(members["data"]) if "data" in members else b"null")


def _binary(request: Request, body: bytes) -> Event:
    attributes: dict[str, Any] = {"datacontenttype": request.media_type}
    for name in request.header_names:
        if name.startswith("ce-"):
            attributes[name.removeprefix("ce-")] = unquote(request.header(name) or "")
    return _event(attributes, _data(request.media_type, body))


def _data(media: str, body: bytes) -> bytes:
    """JSON as it is, text as a JSON string, anything else in base64, as the structured mode has it."""
    if not body:
        return b"null"
    if media in ("", JSON) or media.endswith("+json"):
        return body
    if media.startswith("text/"):
        try:
            return msgspec.json.encode(body.decode())
        except UnicodeDecodeError:
            pass
    return msgspec.json.encode({"data_base64": b64encode(body).decode()})


def _event(attributes: dict[str, Any], data: bytes) -> Event:
    for name in _REQUIRED:
        check_name(name, attributes.get(name))
    if attributes["specversion"] != "1.0":
        raise InvalidInput("specversion", attributes["specversion"], "expected 1.0")
    return Event(attributes["type"], metadata=attributes, id=_id(attributes), data_json=data)


def _id(attributes: dict[str, Any]) -> UUID:
    """CloudEvents promise only that source and id together are unique; a UUID is unique by itself."""
    try:
        return UUID(attributes["id"])
    except ValueError:
        return uuid5(NAMESPACE_URL, f"{attributes['source']} {attributes['id']}")
