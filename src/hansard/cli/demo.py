"""`hansard demo`: the main job on real events. A log is stored in a file, read back, reacted to, and shown.

The log is the history of the git repository one stands in: a commit is one atomic append over the streams of the files
that it touched. Or any other log, given as a file.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console

from hansard.appends import StreamAppend
from hansard.cli import git_history
from hansard.cli.importing import import_with_bar, mapping_options
from hansard.cli.output import EVENT_COLUMNS, console, event_row, table
from hansard.errors import InvalidInput
from hansard.events import RecordedEvent
from hansard.interchange.mapping import Mapping
from hansard.query import Query
from hansard.store import Store, open

_SHOWN = 5


@click.command()
@click.argument("log", required=False)
@click.option("--store", "place", default="hansard-demo.db", show_default=True, help="The store's file; made if needed.")
@click.option("--repository", default=".", show_default=True, help="The git repository whose history is the log.")
@mapping_options
def demo(log: str | None, place: str, repository: str, mapping: Mapping, log_format: str | None) -> None:
    """Store real events, read them back, react to them, and show what happened.

    Without LOG the events are this git repository's history; LOG is any file that `hansard import` takes.
    Run again, it stores nothing twice.
    """
    out = console()
    history = git_history.commits(Path(repository)) if log is None else []
    if log is None and not history:
        raise InvalidInput("repository", repository, "it has no commits that touch a file; give a log as a file instead")
    with open(place) as store:
        reactions = _react(store, out)
        if log is None:
            _store_history(store, history, out)
        else:
            report = import_with_bar(store, log, log_format=log_format, mapping=mapping)
            _say_stored(out, report.stored, report.repeated, report.seconds, f"from {log}")
        _show_reactions(out, reactions)
        _show_log(store, out)
        _check(store, out, place)


def _react(store: Store, out: Console) -> Counter[str]:
    """Handlers: one that speaks up at the first event of a type, one that counts."""
    seen: Counter[str] = Counter()

    @store.on("*")
    def count(event: RecordedEvent) -> None:
        seen[event.type] += 1
        if seen[event.type] == 1:
            out.print(
                f"  reacted: the first {event.type!r} is at position {event.position:,} in stream {event.stream!r}",
                markup=False,
            )

    return seen


def _store_history(store: Store, history: Sequence[list[StreamAppend]], out: Console) -> None:
    out.print("[bold]1. Store[/] the history of this repository: each commit is one atomic append")
    start = time.perf_counter()
    stored = repeated = 0
    for appends in history:
        appended = store.append_streams(appends)
        count = appended.last_position - appended.first_position + 1
        stored, repeated = (stored, repeated + count) if appended.is_repeat else (stored + count, repeated)
    _say_stored(out, stored, repeated, time.perf_counter() - start, f"from {len(history):,} commits")


def _say_stored(out: Console, stored: int, repeated: int, seconds: float, source: str) -> None:
    again = f", {repeated:,} were there already" if repeated else ""
    out.print(f"  {stored:,} events {source} are on the disk, in {seconds:.2f} s{again}", markup=False)


def _show_reactions(out: Console, reactions: Counter[str]) -> None:
    out.print("\n[bold]2. React[/]: a handler was called after each commit to the store")
    for type, count in reactions.most_common(_SHOWN):
        out.print(f"  {count:>8,} x {type}", markup=False)
    if not reactions:
        out.print("  all was stored before, so no handler was called; remove the store's file to see it again", soft_wrap=True)


def _show_log(store: Store, out: Console) -> None:
    out.print("\n[bold]3. Read back[/]: the last events, the longest stream, one type")
    last = list(store.read(backwards=True, limit=_SHOWN))
    out.print(table("the last events of the log", EVENT_COLUMNS, [event_row(event) for event in last]))
    longest = max(store.streams(), key=lambda stream: stream.version)
    first = store.read_stream(longest.name, limit=_SHOWN)
    shown = min(_SHOWN, longest.version)
    title = f"\nthe longest stream, the first {shown} of {longest.version:,} events: {longest.name}"
    out.print(table(title, EVENT_COLUMNS, [event_row(event) for event in first]))
    type = last[0].type
    out.print(f"\n  events of type {type!r}: {_timed(lambda: sum(1 for _ in store.read(Query(types={type}))))}", markup=False)
    out.print(f"  events in the whole log: {_timed(lambda: sum(1 for _ in store.read()))}", markup=False)


def _timed(count: Callable[[], int]) -> str:
    start = time.perf_counter()
    return f"{count():,} (read in {(time.perf_counter() - start) * 1e3:.1f} ms)"


def _check(store: Store, out: Console, place: str) -> None:
    problems = store.check()
    out.print("\n[bold]4. Check[/]: positions, versions, ids, tags and JSON of every event")
    for problem in problems:
        out.print(f"  {problem}", markup=False)
    if not problems:
        out.print(f"  all {store.head():,} events are whole")
    out.print(f"\nThe store is {place}. Look on:", markup=False)
    for command in ("read", "streams", "stats"):
        out.print(f"  {_program()} {command} {place}", markup=False, soft_wrap=True)


def _program() -> str:
    """How this command was started, so that the next one can be started the same way."""
    return os.environ.get("HANSARD_PROGRAM", "hansard")
