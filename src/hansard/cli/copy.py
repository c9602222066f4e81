"""`hansard copy`: a log into another store, on any engine."""

import signal
import time

import click

from hansard.cli.output import format_options, position_bar, print_json, wants_json
from hansard.interchange.copying import copy_log
from hansard.names import shown_place
from hansard.store import open


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--follow", is_flag=True, help="Go on copying what is appended, until Ctrl-C; then compare.")
@format_options
def copy(source: str, target: str, follow: bool, as_json: bool | None) -> None:
    """Copy the log of SOURCE into TARGET: the same ids, positions, versions, timestamps and bytes, compared by digest at the end.

    Others may append to SOURCE meanwhile. Stopped and run again, it goes on where it was. Readers and read models are not copied.

    \b
    hansard copy shop.db 'postgresql://host/shop?log=orders'
    """
    with open(source, read_only=True) as old, open(target) as new, position_bar() as bar:
        task, begin, start_s = bar.add_task("copying", rate=0.0), new.head(), time.monotonic()

        def progress(position: int, head: int) -> None:
            rate = (position - begin) / max(time.monotonic() - start_s, 1e-9)
            bar.update(task, completed=position, total=head, rate=rate)

        report = copy_log(old, new, progress=progress, follow=_UntilInterrupted() if follow else None)
    if wants_json(as_json):
        print_json({"source": shown_place(source), "target": shown_place(target), **report._asdict()})
    else:
        click.echo(f"{report.copied:,} events copied; both logs have {report.events:,} with the digest {report.digest[:16]}…")


class _UntilInterrupted:
    """True until Ctrl-C, which then ends the following instead of the program."""

    def __init__(self) -> None:
        self._is_interrupted = False
        signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        self._is_interrupted = True

    def __call__(self) -> bool:
        return not self._is_interrupted
