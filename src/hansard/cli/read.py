"""`hansard read` and `hansard tail`: events that are there, and events as they come."""

import sys
from collections.abc import Sequence

import click

from hansard.cli.options import query_of, query_options, store_argument
from hansard.cli.output import event_line, format_options, print_events, wants_json, write_line
from hansard.interchange.hansard_lines import line_of
from hansard.store import open

_TABLE_EVENTS = 50


@click.command()
@store_argument
@query_options
@click.option("--after", default=0, help="Only events after this position.")
@click.option("--before", type=int, help="Only events before this position.")
@click.option("--backwards", is_flag=True, help="The last events first.")
@click.option("--limit", type=int, help=f"At most so many events; in a table {_TABLE_EVENTS} if not given.")
@format_options
def read(
    place: str,
    types: Sequence[str],
    tags: Sequence[str],
    category: str | None,
    stream: str | None,
    after: int,
    before: int | None,
    backwards: bool,
    limit: int | None,
    as_json: bool | None,
) -> None:
    """Show events in the order in which they were stored."""
    in_json = wants_json(as_json)
    wanted = _TABLE_EVENTS if limit is None and not in_json else limit
    query = query_of(types, tags, category, stream)
    with open(place, read_only=True) as store:
        events = store.read(query, after=after, before=before, backwards=backwards, limit=wanted)
        if in_json:
            print_events(events, as_json=True)
            return
        shown = list(events)
        print_events(shown, as_json=False)
        if not shown:
            click.echo("(no event matches)", err=True)
        elif wanted != limit and len(shown) == _TABLE_EVENTS:
            click.echo(f"(at most {_TABLE_EVENTS} events are shown; --limit shows more)", err=True)


@click.command()
@store_argument
@query_options
@click.option("--after", type=int, help="Begin after this position; without it, with what comes next.")
@click.option("--limit", type=int, help="End after so many events; without it, Ctrl-C ends.")
@format_options
def tail(
    place: str,
    types: Sequence[str],
    tags: Sequence[str],
    category: str | None,
    stream: str | None,
    after: int | None,
    limit: int | None,
    as_json: bool | None,
) -> None:
    """Show events as they are stored, by this or any other process. Ctrl-C ends it."""
    in_json = wants_json(as_json)
    with open(place, read_only=True) as store:
        start = store.head() if after is None else after
        if limit == 0:
            return
        with store.subscribe(query_of(types, tags, category, stream), after=start) as events:
            for count, event in enumerate(events, 1):
                write_line(line_of(event) if in_json else f"{event_line(event)}\n".encode())
                sys.stdout.flush()
                if count == limit:
                    break
