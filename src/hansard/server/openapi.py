"""The OpenAPI 3.1 document, made from the operations: what is documented is what is checked.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from hansard import __version__
from hansard.outcomes import OUTCOMES
from hansard.server.access.permissions import Permission
from hansard.server.operations import LINES, Media, Operation
from hansard.server.responses import PROBLEM
from hansard.wire.appends import Name

_REF: Final = "#/components/schemas/{name}"
_FORM: Final = re.compile(r"Form$")
_PATH_IDS: Final = {"id", "consumer"}
_MEANINGS: Final = {
    200: "Done.",
    201: "Stored.",
    204: "Done; there is nothing to tell.",
    304: "Not changed since the ETag given.",
}

_OF_OUR_CLIENT: Final = {"Event": ("data_json", "metadata_json"), "Append": ("timestamps_us",)}
"""Other clients write JSON without line breaks, and make no copies of a log."""

_EXPECTED_OF_A_STREAM: Final = [
    {"properties": {"stream": {"type": "string"}}, "required": ["stream"]},
    {"properties": {"expected_version": {"const": "any"}}},
]
"""Events without a stream have no version."""

_BOTH_GIVEN: Final = {"stream": {"type": "string"}, "category": {"type": "string"}}

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457: what went wrong. `code` is one of the table at /problems; further members carry the error's facts.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(OUTCOMES)},
    },
    "required": ["type", "title", "status", "detail", "code"],
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    operations = [operation for operation in operations if operation.tag != "Pages"]
    shapes = _Shapes(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, shapes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hansard",
            "version": __version__,
            "summary": "An event store: store events in streams, retrieve them in order, react when one has been stored.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": {**shapes.components, "Problem": PROBLEM_SCHEMA},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JWT."}},
        },
    }


class _Shapes:
    """The schemas of all types that the operations name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        kinds = [kind for operation in operations for kind in _kinds(operation)]
        schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
        self._schemas = [_cleaned(schema) for schema in schemas]
        self._kinds = kinds
        self.components = {_named(name): _cleaned(schema) for name, schema in components.items()}
        for name, members in _OF_OUR_CLIENT.items():
            for member in members:
                del self.components[name]["properties"][member]
        self.components["StreamAppend"]["anyOf"] = _EXPECTED_OF_A_STREAM
        self.components["QueryItem"]["not"] = {"required": ["stream", "category"], "properties": _BOTH_GIVEN}

    def of(self, kind: Any) -> dict[str, Any]:
        if kind is None:
            return {"type": "string"}
        schema: dict[str, Any] = self._schemas[next(i for i, known in enumerate(self._kinds) if known == kind)]
        return schema

    def properties(self, kind: type[msgspec.Struct]) -> tuple[dict[str, Any], list[str]]:
        name = _named(self.of(kind)["$ref"].rpartition("/")[2])
        component = self.components[name]
        return component.get("properties", {}), component.get("required", [])


def _kinds(operation: Operation) -> list[Any]:
    media = [operation.body, *operation.returns.values()]
    return [kind for shapes in media for kind in shapes.values() if kind is not None] + [operation.parameters]


def _operation(operation: Operation, shapes: _Shapes) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation, shapes), *_headers(operation)],
        "responses": {
            **{str(status): _response(status, media, shapes) for status, media in operation.returns.items()},
            "default": {"description": "A problem.", "content": {PROBLEM: {"schema": {"$ref": _REF.format(name="Problem")}}}},
        },
    }
    if operation.description:
        told["description"] = operation.description
    if operation.body:
        told["requestBody"] = {"required": True, "content": _content(operation.body, shapes)}
    if operation.needs is not None:
        told["security"] = [{"bearer": []}, {}]
        told["x-permission"] = str(Permission(operation.needs))
    return told


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    name_schema, id_schema = msgspec.json.schema(Name), {"type": "string", "format": "uuid"}
    return [
        {"name": name, "in": "path", "required": True, "schema": id_schema if name in _PATH_IDS else name_schema}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _query_parameters(operation: Operation, shapes: _Shapes) -> list[dict[str, Any]]:
    properties, required = shapes.properties(operation.parameters)
    return [_query_parameter(name, dict(schema), name in required) for name, schema in properties.items()]


def _query_parameter(name: str, schema: dict[str, Any], is_required: bool) -> dict[str, Any]:
    """null cannot be said in a URL: what may be left out is left out."""
    if "anyOf" in schema:
        kinds = [kind for kind in schema.pop("anyOf") if kind != {"type": "null"}]
        schema = {**schema, **kinds[0]} if len(kinds) == 1 else {**schema, "anyOf": kinds}
        if schema.get("default") is None:
            schema.pop("default", None)
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": is_required}
    if description := schema.pop("description", None):
        parameter["description"] = description
    return {**parameter, "schema": schema}


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name.title(), "in": "header", "required": False, "description": text, "schema": _header_schema(operation, name)}
        for name, text in operation.headers.items()
    ]


def _header_schema(operation: Operation, name: str) -> dict[str, Any]:
    if name == "if-none-match":
        return {"type": "string", "enum": ["*"]} if operation.method == "POST" else {"type": "string"}
    return _HEADER_SCHEMAS[name]


_NUMBER: Final = '^"?[0-9]{1,18}"?$'
_HEADER_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "if-match": {"type": "string", "pattern": '^(\\*|"?[0-9]{1,18}"?)$'},
    "last-event-id": {"type": "string", "pattern": _NUMBER},
}


def _response(status: int, media: Media, shapes: _Shapes) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _MEANINGS[status]}
    if media:
        response["content"] = _content(media, shapes)
    return response


def _content(media: Media, shapes: _Shapes) -> dict[str, Any]:
    """Of lines, the schema tells one line, as `itemSchema` of OpenAPI 3.2 does."""
    content: dict[str, Any] = {}
    for name, kind in media.items():
        content[name] = (
            {"schema": {"type": "string"}, "x-line": shapes.of(kind)} if name == LINES else {"schema": shapes.of(kind)}
        )
    return content


def _named(name: str) -> str:
    return _FORM.sub("", name)


def _cleaned(schema: Any) -> Any:
    """References by the public names, docstrings without their indentation, and no titles that only repeat the name."""
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {name: _cleaned(value) for name, value in schema.items() if not (name == "title" and isinstance(value, str))}
    if "$ref" in cleaned and isinstance(cleaned["$ref"], str):
        head, _, name = cleaned["$ref"].rpartition("/")
        cleaned["$ref"] = f"{head}/{_named(name)}"
    if isinstance(cleaned.get("description"), str):
        cleaned["description"] = re.sub(r"\n\s+", "\n", cleaned["description"])
    return cleaned
