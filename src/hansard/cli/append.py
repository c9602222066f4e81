"""`hansard append`: store one event."""

import sys
from collections.abc import Sequence

import click

from hansard.appends import StreamAppend
from hansard.cli.options import store_argument
from hansard.cli.output import format_options, print_json, wants_json
from hansard.errors import InvalidInput
from hansard.events import Event
from hansard.query import AppendCondition, Query
from hansard.store import open
from hansard.streams import ANY, NO_STREAM, STREAM_EXISTS

_EXPECTED = {"any": ANY, "no-stream": NO_STREAM, "stream-exists": STREAM_EXISTS}


@click.command()
@store_argument
@click.argument("stream")
@click.argument("type")
@click.argument("data", default="null")
@click.option("--metadata", default="{}", help="A JSON object.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given several times.")
@click.option("--id", "event_id", help="A UUID; the same event with the same id is stored once.")
@click.option("--expected-version", default="any", help="any, no-stream, stream-exists or a number.")
@click.option("--fail-if-tag", "fail_tags", multiple=True, help="Store nothing if an event has all these tags …")
@click.option("--fail-if-type", "fail_types", multiple=True, help="… and one of these types …")
@click.option("--fail-after", default=0, help="… after this position.")
@format_options
def append(
    place: str,
    stream: str,
    type: str,
    data: str,
    metadata: str,
    tags: Sequence[str],
    event_id: str | None,
    expected_version: str,
    fail_tags: Sequence[str],
    fail_types: Sequence[str],
    fail_after: int,
    as_json: bool | None,
) -> None:
    """Store one event in STREAM ("" for none). DATA is JSON; "-" reads it from stdin. STORE is made if it does not exist.

    \b
    hansard append shop.db order-7 order-placed '{"amount": 12}' --tag customer:1
    """
    text = sys.stdin.buffer.read() if data == "-" else data.encode(errors="surrogateescape")
    event = Event(type, tags=tags, id=event_id, data_json=text, metadata_json=metadata.encode(errors="surrogateescape"))
    part = StreamAppend(stream or None, [event], _expected(expected_version))
    condition = AppendCondition(Query(fail_types, fail_tags), fail_after) if fail_tags or fail_types else None
    with open(place) as store:
        appended = store.append_streams([part], condition=condition)
    if wants_json(as_json):
        print_json(
            {
                "position": appended.first_position,
                "stream": part.stream,
                "version": appended.version,
                "id": str(event.id),
                "is_repeat": appended.is_repeat,
            }
        )
    else:
        version = "" if appended.version is None else f", version {appended.version}"
        known = " (was stored before)" if appended.is_repeat else ""
        click.echo(f"position {appended.first_position}{version}, id {event.id}{known}")


def _expected(text: str) -> int:
    if text in _EXPECTED:
        return _EXPECTED[text]
    try:
        return int(text)
    except ValueError:
        raise InvalidInput("expected_version", text, f"expected {', '.join(_EXPECTED)} or a number") from None
