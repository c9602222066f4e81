"""What people and programs see: tables on a terminal, JSON lines in a pipe."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hansard.events import RecordedEvent
from hansard.interchange.hansard_lines import line_of

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_DATA_CHARS = 200
_PIPE_COLUMNS = 160
_COLUMN_MIN = 8


def format_options(command: CommandT) -> CommandT:
    """The options --json and --table."""
    option = click.option(
        "--json/--table", "as_json", default=None, help="JSON lines or a table; without it: a table on a terminal only."
    )
    return option(command)


def wants_json(as_json: bool | None) -> bool:
    return not _is_terminal() if as_json is None else as_json


def console() -> Console:
    """The terminal; a table that goes elsewhere gets room enough."""
    return Console(highlight=False, width=None if _is_terminal() else _PIPE_COLUMNS)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def print_json(value: object) -> None:
    write_line(msgspec.json.encode(value) + b"\n")


def write_line(line: bytes) -> None:
    sys.stdout.buffer.write(line)


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Columns whose names begin with "#" hold numbers."""
    drawn = Table(title=title, title_justify="left", header_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        is_number = column.startswith("#")
        drawn.add_column(column.removeprefix("#"), justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    texts = [[f"{cell:,}" if isinstance(cell, int) else visible(str(cell)) for cell in row] for row in rows]
    for drawn_column, width in zip(drawn.columns, _widths(columns, texts), strict=True):
        drawn_column.width = width
    for row in texts:
        drawn.add_row(*[escape(text) for text in row])
    return drawn


def _widths(columns: Sequence[str], texts: Sequence[Sequence[str]]) -> list[int]:
    """Every column as wide as its content; where that is too much, data is cut first, then names, never numbers and times."""
    widths = [
        max([cell_len(column.removeprefix("#")), *[cell_len(row[place]) for row in texts]])
        for place, column in enumerate(columns)
    ]
    excess = sum(widths) + 2 * (len(widths) - 1) - console().width
    for name in ("data", "value", "stream", "name", "type"):
        if excess > 0 and name in columns:
            place = columns.index(name)
            cut = min(excess, max(0, widths[place] - _COLUMN_MIN))
            widths[place] -= cut
            excess -= cut
    return widths


def visible(text: str) -> str:
    """Text as a terminal may show it: control and direction marks are written out, so that no event can steer it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


EVENT_COLUMNS = ("#position", "stream", "#version", "type", "time", "data")


def event_row(event: RecordedEvent) -> Sequence[object]:
    data = event.data_json.decode()
    shortened = data if len(data) <= _DATA_CHARS else f"{data[:_DATA_CHARS]}…"
    time = event.timestamp.strftime("%Y-%m-%d %H:%M:%S")
    version = "" if event.version is None else event.version
    return event.position, event.stream or "", version, event.type, time, shortened


def print_events(events: Iterable[RecordedEvent], *, as_json: bool) -> None:
    if as_json:
        for event in events:
            write_line(line_of(event))
    else:
        console().print(table(None, EVENT_COLUMNS, (event_row(event) for event in events)))


def event_line(event: RecordedEvent) -> str:
    """One event on one line of a live display."""
    position, stream, version, type, time, data = event_row(event)
    place = f"{stream} {version}  " if stream else ""
    return visible(f"{position:>8}  {time}  {place}{type}  {data}")


def position_bar() -> Progress:
    """A bar with positions, rate and time left, on stderr; silent where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} events, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def progress_bar() -> Progress:
    """A bar with amount, rate and time left, on stderr; silent where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[events]:,} events, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
