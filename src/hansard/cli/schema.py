"""`hansard schema`: the shapes of events: freeze them in a file, check the code against it and against a store, export them."""

from pathlib import Path

import click
import msgspec

from hansard.cli.app import app_option, types_of
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.errors import InvalidInput
from hansard.schema.comparing import Change, changes
from hansard.schema.differences import Kind
from hansard.schema.sampling import Sampled, sampled
from hansard.schema.shapes import asyncapi_of, json_schema_of, lock_of, read_lock, text_of
from hansard.store import open

_PROBLEMS = 9
_FILE = "hansard-schema.json"

file_option = click.option("--file", default=_FILE, show_default=True, metavar="FILE", help="The frozen shapes.")


@click.group()
def schema() -> None:
    """The shapes of your events: freeze them in a file of your repository, check changes against it, export them."""


@schema.command()
@app_option(is_required=True)
@file_option
def freeze(app: str, file: str) -> None:
    """Write the shapes of all registered events to FILE, to be committed."""
    types = types_of(app)
    try:
        Path(file).write_text(text_of(lock_of(types)), encoding="utf-8")
    except OSError as error:
        raise InvalidInput("file", file, f"it cannot be written: {error.strerror or error}") from error
    click.echo(f"{file}: {len(types)} event types")


@schema.command("check")
@app_option(is_required=True)
@file_option
@click.option("--against", "place", metavar="STORE", help="Also read what this store holds through the upcasters.")
@click.option("--all", "reads_all", is_flag=True, help="With --against: every event, not a sample of each type and version.")
@format_options
def check_(app: str, file: str, place: str | None, reads_all: bool, as_json: bool | None) -> int:
    """Compare the code with FILE: each change is compatible, needs an upcaster, or is breaking. Exit code 9 if not all are well.

    With --against, every type and version that the store holds is taken through its upcasters into its class; the events
    that fail are named.
    """
    types = types_of(app)
    found = changes(read_lock(file), types)
    samples = None
    if place is not None:
        with open(place, must_exist=True, read_only=True) as store:
            samples = sampled(store.read(), types, reads_all=reads_all)
    _show(found, samples, wants_json(as_json))
    is_well = all(change.kind is Kind.COMPATIBLE for change in found) and not (samples and samples.failures)
    return 0 if is_well else _PROBLEMS


def _show(found: list[Change], samples: Sampled | None, as_json: bool) -> None:
    if as_json:
        for change in found:
            print_json({"change": str(change.kind), "type": change.type, "text": change.text})
        for volume in samples.volumes if samples else ():
            print_json({"stored": msgspec.to_builtins(volume._asdict())})
        for failure in samples.failures if samples else ():
            print_json({"failure": failure._asdict()})
        return
    out = console()
    for change in found:
        out.print(str(change), markup=False)
    if not found:
        out.print("no change", markup=False)
    if samples is None:
        return
    rows = [
        (
            one.type,
            one.version,
            f"{one.events:,}",
            f"{one.sampled:,}",
            one.last_seen.date().isoformat(),
            "" if one.is_known else "plain data",
        )
        for one in samples.volumes
    ]
    out.print(table(None, ("type", "#version", "#events", "#read", "last seen", "class"), rows))
    for failure in samples.failures:
        out.print(f"cannot be read: {failure}", markup=False)


@schema.command()
@app_option(is_required=True)
@click.option("--format", "kind", type=click.Choice(["json-schema", "asyncapi"]), default="json-schema", show_default=True)
@click.option("--title", default="Events", show_default=True, help="Of an AsyncAPI document.")
@click.option("--version", default="1", show_default=True, help="Of an AsyncAPI document: of your events, not of Hansard.")
def export(app: str, kind: str, title: str, version: str) -> None:
    """Print the shapes as JSON Schema or as an AsyncAPI 3.0 document."""
    types = types_of(app)
    document = json_schema_of(types) if kind == "json-schema" else asyncapi_of(types, title=title, version=version)
    click.echo(text_of(document), nl=False)
