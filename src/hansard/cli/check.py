"""`hansard check` and `hansard backup`: whether a store is whole, and a second one in case it is not."""

import sys

import click

from hansard.cli.options import store_argument
from hansard.cli.output import format_options, print_json, wants_json
from hansard.names import shown_place
from hansard.store import open

PROBLEMS_FOUND = 9


@click.command()
@store_argument
@format_options
def check(place: str, as_json: bool | None) -> None:
    """Verify every invariant of a store: positions and versions without gaps, ids, tags, JSON, and the file itself.

    Reads the whole store; others may append meanwhile. Exit code 9 if something does not hold.
    """
    with open(place, read_only=True) as store:
        problems = store.check()
        head = store.head() if not problems else None
    if wants_json(as_json):
        print_json({"store": shown_place(place), "is_whole": not problems, "events": head, "problems": problems})
    elif problems:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{shown_place(place)}: {len(problems)} problems found", err=True)
    else:
        click.echo(f"{shown_place(place)}: {head:,} events, every invariant holds")
    sys.exit(PROBLEMS_FOUND if problems else 0)


@click.command()
@store_argument
@click.argument("target")
@format_options
def backup(place: str, target: str, as_json: bool | None) -> None:
    """Copy STORE as it is at this moment to the new file TARGET. Others may read and append meanwhile."""
    with open(place, read_only=True) as store:
        head = store.backup(target)
    if wants_json(as_json):
        print_json({"store": shown_place(place), "target": target, "events": head})
    else:
        click.echo(f"{target}: {head:,} events copied")
