"""`hansard keys`: who may use a served store, and for what."""

import getpass
from datetime import UTC, datetime

import click

from hansard.cli.options import store_argument
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.errors import OpenFailed


@click.group()
def keys() -> None:
    """API keys of a store that is served. To be run where the store is."""


@keys.command()
@store_argument
@click.argument("name")
@click.option(
    "--allow",
    "permissions",
    multiple=True,
    required=True,
    metavar="PERMISSION[:CATEGORY]",
    help="read, append, subscribe or admin; with a category pattern such as append:order*. Several: all of them.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True, max=36_500), help="Until it expires; without it, never.")
@format_options
def add(place: str, name: str, permissions: tuple[str, ...], days: float | None, as_json: bool | None) -> None:
    """Make a key, and show it: this is the only time."""
    try:
        from hansard.server.access.administration import add_key
    except ImportError as error:
        raise _missing(error) from error
    text = add_key(place, name, permissions, by=_me(), days=days)
    if wants_json(as_json):
        print_json({"name": name, "key": text})
    else:
        click.echo(f"{text}\n\nKeep it: it is not shown again. Send it as Authorization: Bearer, or set HANSARD_KEY.")


@keys.command("list")
@store_argument
@format_options
def list_(place: str, as_json: bool | None) -> None:
    """All keys: their names, beginnings and permissions."""
    try:
        from hansard.server.access.administration import list_keys
    except ImportError as error:
        raise _missing(error) from error
    rows = [
        (key.name, f"{key.id}…", " ".join(str(grant) for grant in key.grants), _time(key.made_us), _time(key.expires_us))
        for key in list_keys(place)
    ]
    columns = ("name", "key", "permissions", "made", "expires")
    if wants_json(as_json):
        for row in rows:
            print_json(dict(zip(columns, row, strict=True)))
    else:
        console().print(table(None, columns, rows))


@keys.command()
@store_argument
@click.argument("name")
def revoke(place: str, name: str) -> None:
    """Let a key open nothing any more, from the next second or two on."""
    try:
        from hansard.server.access.administration import revoke_key
    except ImportError as error:
        raise _missing(error) from error
    revoke_key(place, name, by=_me())
    click.echo(f"{name}: revoked")


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        return "unknown"


def _time(time_us: int | None) -> str:
    return "never" if time_us is None else datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def _missing(error: ImportError) -> OpenFailed:
    return OpenFailed(f"keys need {error.name}; install it with: pip install 'hansard[server]'")
