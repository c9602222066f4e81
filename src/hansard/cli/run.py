"""`hansard run`: run processors and projections of the user's own code, until Ctrl-C or until all is done."""

import threading

import click

from hansard.cli.app import app_option, definitions_of, parts_of
from hansard.cli.options import store_argument
from hansard.domain import domain_of
from hansard.limits import LEASE_S
from hansard.processors.control import ReaderStatus
from hansard.store import open

_STOPPED = 4


@click.command()
@store_argument
@app_option(is_required=True)
@click.option("--until-caught-up", is_flag=True, help="End once everything that is in the log is handled.")
@click.option("--threads", default=4, show_default=True)
@click.option("--lease", "lease_s", default=LEASE_S, show_default=True, help="Seconds of silence after which others take over.")
def run(place: str, app: str, until_caught_up: bool, threads: int, lease_s: float) -> int:
    """Run your processors and projections on STORE. Ctrl-C ends it; so does a processor that stops, with exit code 4.

    Several such processes share the work.
    """
    definitions = definitions_of(app)
    with open(place, must_exist=True, types=domain_of(parts_of(app)).types) as store:
        if until_caught_up:
            store.catch_up(*definitions)
            for status in store.readers():
                click.echo(_line(status))
            return 0
        failed = threading.Event()

        def told(name: str, error: Exception) -> None:
            click.echo(f"{name}: {error}", err=True)

        with store.run(*definitions, threads=threads, lease_s=lease_s, on_error=told) as running:
            while not failed.wait(0.2):
                if running.stopped:
                    failed.set()
    return _STOPPED


def _line(status: ReaderStatus) -> str:
    return f"{status.name}: at {status.checkpoint:,} of {status.head:,}"
