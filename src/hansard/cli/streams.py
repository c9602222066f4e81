"""`hansard streams` and `hansard stats`: what a store holds."""

from collections import Counter
from itertools import islice
from pathlib import Path

import click
from rich.console import Group

from hansard.cli.options import store_argument
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.store import Store, open
from hansard.streams import StreamInfo

_TABLE_STREAMS = 50
_TOP = 10


@click.command()
@store_argument
@click.option("--category", help='Streams whose name up to the first "-" is this.')
@click.option("--limit", type=int, help=f"At most so many streams; in a table {_TABLE_STREAMS} if not given.")
@format_options
def streams(place: str, category: str | None, limit: int | None, as_json: bool | None) -> None:
    """List the streams, by name, with their versions."""
    in_json = wants_json(as_json)
    wanted = _TABLE_STREAMS if limit is None and not in_json else limit
    with open(place, read_only=True) as store:
        found = islice(store.streams(category=category), wanted)
        if in_json:
            for stream in found:
                print_json(_facts(stream))
        else:
            rows = [
                (stream.name, stream.version, stream.last_position, str(stream.last_timestamp or "")[:19]) for stream in found
            ]
            console().print(table(None, ("stream", "#version", "#last position", "last event"), rows))
            if wanted != limit and len(rows) == wanted:
                click.echo(f"(the first {wanted} streams; --limit shows more)", err=True)


def _facts(stream: StreamInfo) -> dict[str, object]:
    return {
        "stream": stream.name,
        "version": stream.version,
        "category": stream.category,
        "last_position": stream.last_position,
        "last_timestamp": stream.last_timestamp,
    }


@click.command()
@store_argument
@format_options
def stats(place: str, as_json: bool | None) -> None:
    """Count events by type and category, and streams; show the longest ones."""
    with open(place, read_only=True) as store:
        counted = _counted(store, place)
    if wants_json(as_json):
        print_json(counted)
    else:
        console().print(_tables(counted))


def _counted(store: Store, place: str) -> dict[str, object]:
    types: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    first_time, last_time = None, None
    for event in store.read():
        types[event.type] += 1
        categories[event.category or ""] += 1
        first_time = first_time or event.timestamp
        last_time = event.timestamp_us, event
    lengths = Counter({stream.name: stream.version for stream in store.streams()})
    return {
        "events": types.total(),
        "streams": len(lengths),
        "types": len(types),
        "categories": len(categories),
        "bytes": Path(place).stat().st_size if Path(place).is_file() else None,
        "first_timestamp": first_time,
        "last_timestamp": last_time and last_time[1].timestamp,
        "durability": store.durability,
        "events_by_type": dict(types.most_common()),
        "events_by_category": dict(categories.most_common(_TOP)),
        "longest_streams": dict(lengths.most_common(_TOP)),
    }


def _tables(counted: dict[str, object]) -> Group:
    plain = [(name, value) for name, value in counted.items() if not isinstance(value, dict)]
    return Group(
        table(None, ("fact", "value"), plain),
        "",
        *(
            table(f"\n{name.replace('_', ' ')}", ("name", "#count"), list(value.items())[:_TOP])
            for name, value in counted.items()
            if isinstance(value, dict)
        ),
    )
