"""`hansard dead-letters`: what could not be handled: list, show, retry, discard."""

import click
import msgspec

from hansard.cli.options import store_argument
from hansard.cli.output import console, event_row, format_options, print_json, table, wants_json
from hansard.errors import InvalidInput
from hansard.interchange.hansard_lines import line_of
from hansard.processors.dead_letters import DeadLetter
from hansard.store import open

_COLUMNS = ("#position", "sequence", "type", "#attempts", "parked", "error")


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that a processor, group or webhook could not handle: list, show, retry, discard."""


@dead_letters.command("list")
@store_argument
@click.argument("reader")
@format_options
def list_(place: str, reader: str, as_json: bool | None) -> None:
    """Show the dead letters of READER, sequence by sequence, in order."""
    with open(place, read_only=True) as store:
        found = list(store.reader(reader).dead_letters)
    if wants_json(as_json):
        for letter in found:
            print_json(letter)
    else:
        rows = [(one.position, _shown(one), one.type, one.attempts, "yes" if one.is_parked else "", one.error) for one in found]
        console().print(table(None, _COLUMNS, rows))


def _shown(letter: DeadLetter) -> str:
    return letter.sequence if letter.stream is not None or not letter.sequence.startswith("\n") else ""


@dead_letters.command()
@store_argument
@click.argument("reader")
@click.argument("position", type=int)
@format_options
def show(place: str, reader: str, position: int, as_json: bool | None) -> None:
    """Show one dead letter of READER, with its event."""
    with open(place, read_only=True) as store:
        letter = next((one for one in store.reader(reader).dead_letters if one.position == position), None)
        if letter is None:
            raise InvalidInput("position", position, f"{reader!r} has no dead letter there")
        event = next(store.read(after=position - 1, limit=1))
    if wants_json(as_json):
        print_json({"letter": letter, "event": msgspec.Raw(line_of(event).strip())})
        return
    facts = [*msgspec.structs.asdict(letter).items(), *zip(("", "", "", "", "time", "data"), event_row(event), strict=True)]
    console().print(table(None, ("fact", "value"), [(name, value) for name, value in facts if name]))


@dead_letters.command()
@store_argument
@click.argument("reader")
@click.argument("sequence", required=False)
@click.option("--all", "is_all", is_flag=True, help="All sequences.")
def retry(place: str, reader: str, sequence: str | None, is_all: bool) -> None:
    """Have the dead letters of SEQUENCE (a stream, or a key) handled again, in order, by whoever runs READER."""
    if (sequence is None) != is_all:
        raise InvalidInput("sequence", sequence, "give a sequence, or --all")
    with open(place, must_exist=True) as store:
        count = store.reader(reader).dead_letters.retry(sequence)
    click.echo(f"{reader}: {count} sequence{'s' * (count != 1)} will be tried again")


@dead_letters.command()
@store_argument
@click.argument("reader")
@click.argument("sequence")
@click.argument("position", type=int, required=False)
def discard(place: str, reader: str, sequence: str, position: int | None) -> None:
    """Give up the letter at POSITION, or all letters of SEQUENCE: READER never handles them."""
    with open(place, must_exist=True) as store:
        count = store.reader(reader).dead_letters.discard(sequence, position)
    click.echo(f"{reader}: {count} letter{'s' * (count != 1)} discarded")
