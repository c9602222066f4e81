"""Parameters that several commands share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from hansard.query import Query

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

store_argument = click.argument("place", metavar="STORE")


def query_options(command: CommandT) -> CommandT:
    """--type, --tag, --category and --stream: which events."""
    options = (
        click.option("--type", "types", multiple=True, help="Events of this type; several: of one of them."),
        click.option("--tag", "tags", multiple=True, help="Events with this tag; several: with all of them."),
        click.option("--category", help='Events of streams whose name up to the first "-" is this.'),
        click.option("--stream", help="Events of this stream."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def query_of(types: Sequence[str], tags: Sequence[str], category: str | None, stream: str | None) -> Query:
    return Query(types=types, tags=tags, category=category, stream=stream)
