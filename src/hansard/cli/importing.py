"""`hansard import` and `hansard export`: logs of other systems in, and the whole log out and back in."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from hansard.cli.options import query_of, query_options, store_argument
from hansard.cli.output import format_options, print_json, progress_bar, wants_json
from hansard.errors import InvalidInput
from hansard.interchange.eventsourcing_store import import_store
from hansard.interchange.exporting import export_log
from hansard.interchange.formats import FORMATS
from hansard.interchange.importing import ImportReport, import_log
from hansard.interchange.mapping import Mapping
from hansard.names import shown_place
from hansard.store import Store, open

SOME_REJECTED = 8

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def mapping_options(command: CommandT) -> CommandT:
    """--format and the templates that say which field is what; the command gets them as `mapping` and `log_format`."""

    def with_mapping(
        *arguments: Any,
        stream_template: str | None,
        type_template: str | None,
        time_template: str | None,
        id_template: str | None,
        tag_templates: Sequence[str],
        **options: Any,
    ) -> Any:
        mapping = Mapping(
            stream=stream_template, type=type_template, time=time_template, id=id_template, tags=tuple(tag_templates)
        )
        return command(*arguments, mapping=mapping, **options)

    with_mapping.__name__, with_mapping.__doc__ = command.__name__, command.__doc__
    with_mapping.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option("--tag-from", "tag_templates", multiple=True, metavar="TEMPLATE", help="A tag, e.g. 'user:{user}'."),
        click.option("--id", "id_template", metavar="TEMPLATE", help="What names the event; a UUID is taken as it is."),
        click.option("--time", "time_template", metavar="TEMPLATE", help="When it happened; kept in the metadata."),
        click.option("--type", "type_template", metavar="TEMPLATE", help="The event's type, e.g. '{concept:name}'."),
        click.option("--stream", "stream_template", metavar="TEMPLATE", help="The stream, e.g. 'case-{concept:name}'."),
        click.option("--format", "log_format", type=click.Choice(FORMATS), help="The log's format; found out if not given."),
    ):
        with_mapping = option(with_mapping)
    return with_mapping  # type: ignore[return-value]


class _Imports(click.Group):
    """`import STORE LOG`; in place of STORE, a word names a kind of source that has a command of its own."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(context, args if args and args[0] in self.commands else [_LOGS, *args])


_LOGS = ""
import_ = _Imports("import", help="Store the events of other systems.", short_help="Store the events of a file.")


@import_.command(_LOGS)
@store_argument
@click.argument("log")
@mapping_options
@click.option("--source", help="The log's name, part of derived ids; its file name if not given.")
@click.option("--rejects", help="Where bad records go; LOG's name with .rejects.jsonl in this folder if not given.")
@click.option("--batch", "batch_events", default=1_000, show_default=True, help="Events in one append.")
@format_options
def import_logs(
    place: str,
    log: str,
    mapping: Mapping,
    log_format: str | None,
    source: str | None,
    rejects: str | None,
    batch_events: int,
    as_json: bool | None,
) -> None:
    """Store the events of a file: JSON lines, CSV, XES, CloudEvents, a tar of JSON files (each may be gzipped), or an export.

    A template is text with {field}s; alternatives are joined by "|": '{repository.full_name}|{organization.login}|(none)'.
    Stopped and run again, it stores nothing twice. Bad records are reported, go to the rejects file, and end it with code 8.
    A store of the library eventsourcing: see `hansard import eventsourcing --help`.

    \b
    hansard import loans.db bpic2012.xes.gz --stream 'case-{concept:name}' --type '{concept:name}'
    """
    with open(place) as store:
        report = import_with_bar(
            store, log, log_format=log_format, mapping=mapping, source=source, rejects=rejects, batch_events=batch_events
        )
    if wants_json(as_json):
        print_json(
            {
                **{name: getattr(report, name) for name in ("read", "stored", "repeated", "rejected", "seconds")},
                "rejects": report.rejects_path and str(report.rejects_path),
            }
        )
    else:
        rate = report.stored / report.seconds if report.seconds else 0
        again = f", {report.repeated:,} were there already" if report.repeated else ""
        click.echo(f"{report.stored:,} events stored in {report.seconds:.1f} s ({rate:,.0f}/s){again}")
    if report.rejected:
        click.echo(f"hansard: {report.rejected:,} records were rejected; see {report.rejects_path}", err=True)
        sys.exit(SOME_REJECTED)


@import_.command("eventsourcing")
@click.argument("source", metavar="FILE")
@click.argument("place", metavar="[STORE]", required=False)
@click.option("--application", help="Whose events these are. A SQLite file does not say; in PostgreSQL it chooses.")
@format_options
def import_eventsourcing(source: str, place: str | None, application: str | None, as_json: bool | None) -> None:
    """Bring over a store that the library eventsourcing, version 9, has written: a SQLite FILE, or postgresql://….

    STORE is FILE's name with .hansard.db in this folder if not given. Stopped and run again, it goes on where it was.

    \b
    hansard import eventsourcing bank.db shop.db --application BankAccounts
    """
    if place is None:
        place = f"{Path(shown_place(source).partition('?')[0]).stem}.hansard.db"
    start = time.monotonic()
    with open(place) as store, progress_bar() as bar:
        task = bar.add_task(Path(shown_place(source)).name, total=None, events=0, rate=0.0)

        def progress(stored: int) -> None:
            bar.update(task, events=stored, rate=stored / max(time.monotonic() - start, 1e-9))

        stored = import_store(source, store, application=application, progress=progress)
    seconds = time.monotonic() - start
    if wants_json(as_json):
        print_json({"source": shown_place(source), "store": shown_place(place), "stored": stored, "seconds": seconds})
    else:
        click.echo(f"{shown_place(place)}: {stored:,} events stored in {seconds:.1f} s")


def import_with_bar(
    store: Store,
    log: str,
    *,
    log_format: str | None,
    mapping: Mapping,
    source: str | None = None,
    rejects: str | None = None,
    batch_events: int = 1_000,
) -> ImportReport:
    """Import with a progress bar on stderr."""
    start = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task(Path(log).name, events=0, rate=0.0)

        def progress(done_bytes: int, total_bytes: int, records: int) -> None:
            rate = records / max(time.monotonic() - start, 1e-9)
            bar.update(task, completed=done_bytes, total=total_bytes, events=records, rate=rate)

        return import_log(
            store,
            log,
            format=log_format,
            mapping=mapping,
            source=source,
            rejects=rejects,
            batch_events=batch_events,
            progress=progress,
        )


@click.command()
@store_argument
@click.argument("target", default="-")
@query_options
@click.option("--after", default=0, help="Only events after this position.")
@click.option("--before", type=int, help="Only events before this position.")
def export(
    place: str,
    target: str,
    types: Sequence[str],
    tags: Sequence[str],
    category: str | None,
    stream: str | None,
    after: int,
    before: int | None,
) -> None:
    """Write the log as JSON lines to the new file TARGET ("-": stdout). Imported into an empty store, it is the same log."""
    query = query_of(types, tags, category, stream)
    with open(place, read_only=True) as store:
        if target == "-":
            export_log(store, sys.stdout.buffer, query=query, after=after, before=before)
            return
        with _new_file(target) as out:
            try:
                count = export_log(store, out, query=query, after=after, before=before)
            except BaseException:
                Path(target).unlink(missing_ok=True)  # half an export would look like a whole one
                raise
    click.echo(f"{target}: {count:,} events", err=True)


def _new_file(target: str) -> BinaryIO:
    try:
        return Path(target).open("xb")
    except FileExistsError:
        raise InvalidInput("target", target, "there is a file of this name already; give a new one") from None
    except OSError as error:
        raise InvalidInput("target", target, f"cannot be written: {error.strerror}") from None
