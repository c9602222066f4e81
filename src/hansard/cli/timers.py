"""`hansard timers`: what is to be stored later: list, cancel, fire."""

import click
import msgspec

from hansard.cli.options import store_argument
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.errors import InvalidInput
from hansard.store import open


@click.group()
def timers() -> None:
    """Events that are to be stored at a time: list, cancel, fire."""


@timers.command("list")
@store_argument
@format_options
def list_(place: str, as_json: bool | None) -> None:
    """Show the timers that wait, the next one first."""
    with open(place, read_only=True) as store:
        found = list(store.timers)
    if wants_json(as_json):
        for info in found:
            print_json({**msgspec.to_builtins(info), "due": info.due})
    else:
        rows = [(info.name, f"{info.due:%Y-%m-%d %H:%M:%S}", info.stream or "", info.type) for info in found]
        console().print(table(None, ("name", "due (UTC)", "stream", "type"), rows))


@timers.command()
@store_argument
@click.argument("name")
def cancel(place: str, name: str) -> None:
    """Forget the timer NAME."""
    with open(place, must_exist=True) as store:
        if not store.timers.cancel(name):
            raise InvalidInput("name", name, "no timer of this name waits")
    click.echo(f"{name}: cancelled")


@timers.command()
@store_argument
def fire(place: str) -> None:
    """Fire the timers that are due, here and now, as a cron job may do."""
    with open(place, must_exist=True) as store:
        count = store.timers.fire()
    click.echo(f"{count} event{'s' * (count != 1)} stored")
