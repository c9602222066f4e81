"""The command `hansard`: its commands, and how errors end it. Exit codes: see hansard.outcomes."""

import os
import sys
import traceback

import click

from hansard import __version__
from hansard.cli.append import append
from hansard.cli.bench import bench
from hansard.cli.check import backup, check
from hansard.cli.cluster import cluster
from hansard.cli.copy import copy
from hansard.cli.dead_letters import dead_letters
from hansard.cli.demo import demo
from hansard.cli.importing import export, import_
from hansard.cli.keys import keys
from hansard.cli.migrate import migrate
from hansard.cli.projections import projections
from hansard.cli.read import read, tail
from hansard.cli.readers import readers
from hansard.cli.run import run as run_
from hansard.cli.schema import schema
from hansard.cli.serve import config, serve, ui
from hansard.cli.streams import stats, streams
from hansard.cli.timers import timers
from hansard.errors import HansardError
from hansard.outcomes import OUTCOMES

_INTERRUPTED = 130
_EPILOG = (
    "Exit codes: 0 done; 1 unexpected error; 2 bad input; 3 conflict, nothing stored; 5 cannot be opened; "
    "6 not possible with this store; 7 the disk or database failed; 8 some records were rejected; 9 check found problems."
)


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="hansard")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def hansard(debug: bool) -> None:
    """The event store for Python: store events, read them back in order, react when one has been stored.

    STORE is the path of a store's file, postgresql://host/database?log=NAME, or
    http://host:port of a server. On a terminal results are tables, in a pipe
    JSON lines (--json or --table decide).
    """


COMMANDS = (
    demo, append, read, tail, streams, stats, import_, export, copy, check, backup, migrate, bench,
    run_, readers, projections, dead_letters, timers, schema, cluster, serve, ui, keys, config,
)  # fmt: skip
for command in COMMANDS:
    hansard.add_command(command)


def run() -> None:
    """Run a command; errors are one line on stderr and an exit code."""
    try:
        with hansard.make_context("hansard", sys.argv[1:]) as context:
            code = hansard.invoke(context)
            if sys.stdout is not None:
                sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 0
    except click.ClickException as error:
        _complain(_first_line(error.format_message()))
        code = 2
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except HansardError as error:
        code = _failed(error, OUTCOMES[error.code].exit_code)
    except OSError as error:
        code = _failed(error, OUTCOMES["storage-failed"].exit_code)
    except Exception as error:
        code = _failed(error, OUTCOMES["error"].exit_code, "unexpected error, please report it (--debug shows more): ")
    sys.exit(code if isinstance(code, int) else 0)


def _failed(error: Exception, code: int, preface: str = "") -> int:
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    _complain(f"{preface}{error}")
    return code


def _complain(message: str) -> None:
    click.echo(f"hansard: {_first_line(message)}", err=True)


def _first_line(message: str) -> str:
    return " ".join(message.split())
