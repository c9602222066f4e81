"""`hansard readers`: processors, groups and builds of projections: how far they are, and what they are told to do."""

from typing import Any

import click
import msgspec

from hansard.cli.options import store_argument
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.processors.control import ReaderStatus
from hansard.store import open

_COLUMNS = ("name", "kind", "#version", "state", "#checkpoint", "#lag", "#per s", "#time left", "#dead letters", "failure")


@click.group()
def readers() -> None:
    """Processors, groups, webhooks, process managers and builds of projections: list, pause, resume, throttle, reset, forget."""


@readers.command("list")
@store_argument
@format_options
def list_(place: str, as_json: bool | None) -> None:
    """Show every named reader: how far it is, how fast, and what has stopped it."""
    with open(place, read_only=True) as store:
        found = list(store.readers())
    if wants_json(as_json):
        for status in found:
            print_json(facts(status))
    else:
        console().print(table(None, _COLUMNS, [_row(status) for status in found]))


def facts(status: ReaderStatus) -> dict[str, Any]:
    return {**msgspec.to_builtins(status), "lag": status.lag, "eta_s": status.eta_s}


def _row(status: ReaderStatus) -> tuple[object, ...]:
    failure = f"{status.failure.position}: {status.failure.error}" if status.failure is not None else ""
    return (
        status.name, status.kind, status.version, status.state, status.checkpoint, status.lag,
        f"{status.events_per_s:,.0f}", time_left(status.eta_s), status.dead_letters, failure,
    )  # fmt: skip


def time_left(seconds: float | None) -> str:
    """A duration as people read it; empty if it is not known, or over."""
    if not seconds:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@readers.command()
@store_argument
@click.argument("name")
def pause(place: str, name: str) -> None:
    """Let NAME take no more events, until it is resumed; also across restarts."""
    with open(place, must_exist=True) as store:
        store.reader(name).pause()
    click.echo(f"{name}: paused")


@readers.command()
@store_argument
@click.argument("name")
def resume(place: str, name: str) -> None:
    """Let NAME go on."""
    with open(place, must_exist=True) as store:
        store.reader(name).resume()
    click.echo(f"{name}: resumed")


@readers.command()
@store_argument
@click.argument("name")
@click.argument("events_per_s", type=float, required=False)
def throttle(place: str, name: str, events_per_s: float | None) -> None:
    """Let NAME take at most EVENTS_PER_S events a second; without it, as many as there are."""
    with open(place, must_exist=True) as store:
        store.reader(name).throttle(events_per_s)
    click.echo(f"{name}: {'not throttled' if events_per_s is None else f'at most {events_per_s:g} events a second'}")


@readers.command()
@store_argument
@click.argument("name")
@click.argument("position", type=int, default=0)
def reset(place: str, name: str, position: int) -> None:
    """Let NAME go back to POSITION (0: to the beginning). What is not replay-safe does not see again what it has had."""
    with open(place, must_exist=True) as store:
        store.reader(name).reset(position)
    click.echo(f"{name}: at {position:,}")


@readers.command()
@store_argument
@click.argument("name")
def forget(place: str, name: str) -> None:
    """Delete what is kept of NAME: its checkpoint and its dead letters. Run again, it is a new reader."""
    with open(place, must_exist=True) as store:
        store.reader(name).forget()
    click.echo(f"{name}: forgotten")
