"""`hansard projections`: read models and their builds: list, rebuild, pause, resume, throttle, cancel, promote, drop, diff."""

from collections.abc import Iterator

import click
import msgspec

from hansard.cli.app import app_option, definitions_of, parts_of, projection_of
from hansard.cli.options import store_argument
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.cli.readers import facts, time_left
from hansard.domain import domain_of
from hansard.projections.control import BuildStatus, Difference, ProjectionStatus
from hansard.projections.live import Parting
from hansard.store import Store, open

_COLUMNS = ("name", "build", "#version", "state", "#position", "#progress", "#per s", "#time left")
_TABLE_KEYS = 50


@click.group()
def projections() -> None:
    """Read models and their builds: list, rebuild, pause, resume, throttle, cancel, promote, drop, diff."""


@projections.command("list")
@store_argument
@format_options
def list_(place: str, as_json: bool | None) -> None:
    """Show every projection with its builds: which one is read, and how far the others are."""
    with open(place, read_only=True) as store:
        found = list(store.projections())
    if wants_json(as_json):
        for status in found:
            print_json({**msgspec.to_builtins(status), "builds": [_build_facts(build) for build in status.builds]})
    else:
        console().print(table(None, _COLUMNS, [row for status in found for row in _rows(status)]))


def _build_facts(build: BuildStatus) -> dict[str, object]:
    return {**msgspec.to_builtins(build), "reader": None if build.reader is None else facts(build.reader)}


def _rows(status: ProjectionStatus) -> Iterator[tuple[object, ...]]:
    for build in status.builds:
        reader = build.reader
        if reader is None:
            yield status.name, build.label, build.version, f"{build.state}, not begun", 0, "0 %", "", ""
            continue
        state = f"{build.state}, {reader.state}" if reader.state in ("paused", "stopped") else build.state
        progress = f"{100 * reader.checkpoint / reader.head:.0f} %" if reader.head else "100 %"
        left = "" if build.state == "retired" else time_left(reader.eta_s)
        yield (
            status.name, build.label, build.version, state, reader.checkpoint, progress, f"{reader.events_per_s:,.0f}", left,
        )  # fmt: skip


@projections.command()
@store_argument
@click.argument("name")
@click.option("--version", type=int, help="The version to build; without it, the one that is read now.")
def rebuild(place: str, name: str, version: int | None) -> None:
    """Begin a new build of NAME beside the one that is read; it takes over when it has caught up.

    It is built by whoever runs that version (`hansard run`, or your program).
    """
    with open(place, must_exist=True) as store:
        label = store.projection(name).rebuild(version)
    click.echo(f"{name}: build {label} begins")


@projections.command()
@store_argument
@click.argument("name")
@click.argument("build")
def pause(place: str, name: str, build: str) -> None:
    """Let BUILD take no more events, until it is resumed."""
    with open(place, must_exist=True) as store:
        store.projection(name).reader(build).pause()
    click.echo(f"{name}: build {build} paused")


@projections.command()
@store_argument
@click.argument("name")
@click.argument("build")
def resume(place: str, name: str, build: str) -> None:
    """Let BUILD go on."""
    with open(place, must_exist=True) as store:
        store.projection(name).reader(build).resume()
    click.echo(f"{name}: build {build} resumed")


@projections.command()
@store_argument
@click.argument("name")
@click.argument("build")
@click.argument("events_per_s", type=float, required=False)
def throttle(place: str, name: str, build: str, events_per_s: float | None) -> None:
    """Let BUILD take at most EVENTS_PER_S events a second; without it, as many as there are."""
    with open(place, must_exist=True) as store:
        store.projection(name).reader(build).throttle(events_per_s)
    rate = "not throttled" if events_per_s is None else f"at most {events_per_s:g} events a second"
    click.echo(f"{name}: build {build} {rate}")


@projections.command()
@store_argument
@click.argument("name")
@click.argument("build")
def promote(place: str, name: str, build: str) -> None:
    """Make BUILD the one that is read: one that is ready, or a retired one."""
    with open(place, must_exist=True) as store:
        store.projection(name).promote(build)
    click.echo(f"{name}: build {build} is read now")


def _drop(place: str, name: str, build: str) -> None:
    with open(place, must_exist=True) as store:
        store.projection(name).drop(build)
    click.echo(f"{name}: build {build} is gone")


@projections.command()
@store_argument
@click.argument("name")
@click.argument("build")
def drop(place: str, name: str, build: str) -> None:
    """Delete BUILD with its states. Not the one that is read."""
    _drop(place, name, build)


@projections.command()
@store_argument
@click.argument("name")
@click.argument("build")
def cancel(place: str, name: str, build: str) -> None:
    """Stop building BUILD, and delete it."""
    _drop(place, name, build)


@projections.command()
@store_argument
@click.argument("name")
@click.argument("old")
@click.argument("new")
@app_option(is_required=False)
@format_options
def diff(place: str, name: str, old: str, new: str, app: str | None, as_json: bool | None) -> None:
    """Show the keys on which the builds OLD and NEW of NAME do not agree, field by field.

    With --app, also the first position at which the two versions part (both must be in the app).
    """
    types = None if app is None else domain_of(parts_of(app)).types
    with open(place, read_only=True, types=types) as store:
        differences = store.projection(name).diff(old, new)
        if wants_json(as_json):
            for difference in differences:
                print_json({"key": difference.key, "kind": difference.kind, "fields": difference.fields})
        else:
            _print_differences(differences)
        if app is not None:
            parting = _parting(store, name, old, new, app)
            click.echo(_words(parting), err=wants_json(as_json))


def _print_differences(differences: Iterator[Difference]) -> None:
    counts = {"added": 0, "missing": 0, "changed": 0}
    rows: list[tuple[object, ...]] = []
    for difference in differences:
        counts[difference.kind] += 1
        if len(rows) < _TABLE_KEYS:
            rows += [
                (difference.key, difference.kind, field, _text(before), _text(after))
                for field, (before, after) in difference.fields.items()
            ]
    console().print(table(None, ("key", "kind", "field", "old", "new"), rows))
    click.echo(", ".join(f"{count:,} {kind}" for kind, count in counts.items()))


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _parting(store: Store, name: str, old: str, new: str, app: str) -> Parting | str | None:
    definitions = definitions_of(app)
    versions = {build.label: build.version for build in store.projection(name).status().builds}
    found = [projection_of(definitions, name, versions[label]) for label in (old, new)]
    if found[0] is None or found[1] is None:
        missing = versions[old] if found[0] is None else versions[new]
        return f"where they part is not known: {app} has no version {missing} of {name}"
    return store.projection(name).parting(found[0], found[1])


def _words(parting: Parting | str | None) -> str:
    if isinstance(parting, str):
        return parting
    if parting is None:
        return "folded from the beginning, the two versions never part"
    return f"they part at position {parting.position}, key {parting.key}: {_text(parting.old)} → {_text(parting.new)}"
