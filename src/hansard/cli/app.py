"""`--app module:name`: the user's own code, for commands that need it: processors and projections, event types, deciders."""

import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from hansard.domain import domain_of, is_model
from hansard.errors import InvalidInput
from hansard.event_types.registry import EventTypes
from hansard.projections.definition import Projection
from hansard.store import Definition

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def app_option(*, is_required: bool) -> Callable[[CommandT], CommandT]:
    return click.option(
        "--app",
        required=is_required,
        metavar="MODULE:NAME",
        help="Your processors, projections, event types and deciders: one, a list, or a function that returns a list.",
    )


def definitions_of(app: str) -> list[Definition]:
    """What of an app can be run."""
    return [one for one in parts_of(app) if not is_model(one)]


def types_of(app: str) -> EventTypes:
    """The event types of an app: an EventTypes, classes, and those of its deciders."""
    types = domain_of(parts_of(app)).types
    if types is None:
        raise InvalidInput("app", app, "it has no event types; give an EventTypes, or classes marked by @hansard.event(name)")
    return types


def parts_of(app: str) -> list[Any]:
    """What an app names; modules are looked for in the present folder, too."""
    module_name, colon, name = app.partition(":")
    if not colon or not module_name or not name:
        raise InvalidInput("app", app, "expected MODULE:NAME, such as shop.reactions:all")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InvalidInput("app", app, f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        raise InvalidInput("app", app, f"{module_name} has no {name}")
    found = getattr(module, name)
    if callable(found) and not isinstance(found, type):
        found = found()
    return list(found) if isinstance(found, Iterable) and not isinstance(found, EventTypes | type) else [found]


def projection_of(definitions: Iterable[object], name: str, version: int) -> Projection | None:
    """The projection of a name and version among definitions."""
    for definition in definitions:
        if isinstance(definition, Projection) and (definition.name, definition.version) == (name, version):
            return definition
    return None
