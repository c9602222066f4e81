"""`hansard cluster`: the nodes of a cluster: how far they are, whether they agree, snapshots, trimming the log."""

from datetime import UTC, datetime
from typing import Any

import click

from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.store import open

_PROBLEMS = 9

node_argument = click.argument("place", metavar="NODE")


@click.group()
def cluster() -> None:
    """The nodes of a cluster: how far they are, whether they agree, snapshots, trimming the log.

    NODE is nats://HOST,HOST/LOG?replica=FILE: the command is a node for as long as it runs, so give it a replica of its own.
    """


@cluster.command()
@node_argument
@format_options
def status(place: str, as_json: bool | None) -> None:
    """Show the log, this node, and the others as their last messages tell of them."""
    with open(place, must_exist=True) as store:
        store.barrier()
        found = store.cluster.status()
    if wants_json(as_json):
        print_json({**found._asdict(), "members": [member._asdict() for member in found.members]})
        return
    out = console()
    out.print(
        f"log: messages {found.first:,} to {found.last:,}, led by {found.leader or 'nobody'}; "
        f"this node has applied {found.applied:,}",
        markup=False,
    )
    rows = [
        (
            member.name + (" (this)" if member.is_this else ""),
            f"{member.applied:,}",
            f"{found.last - member.applied:,}",
            _decides(member),
            _time(member.heard_us),
        )
        for member in found.members
    ]
    out.print(table(None, ("node", "#applied", "#behind", "decides", "heard of"), rows))


def _decides(member: Any) -> str:
    if member.differs_from:
        return f"otherwise since message {member.differs_from:,}"
    return f"alike to {member.agrees_to:,}" if member.agrees_to else ""


def _time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


@cluster.command("check")
@node_argument
def check_(place: str) -> int:
    """Apply the whole log, compare what the nodes say with it, check the replica. Exit code 9 if something differs."""
    with open(place, must_exist=True) as store:
        store.barrier()
        problems = store.check()
        found = store.cluster.status()
    problems += [
        f"{member.name} has decided otherwise since message {member.differs_from:,}"
        for member in found.members
        if member.differs_from
    ]
    problems += [found.stopped] if found.stopped else []
    for problem in problems:
        click.echo(problem)
    click.echo(
        f"applied {found.applied:,} of {found.last:,} messages, digest {found.digest}; compared up to message {found.agreed:,}"
    )
    return _PROBLEMS if problems else 0


@cluster.command()
@node_argument
@click.argument("target", type=click.Path())
def snapshot(place: str, target: str) -> None:
    """Copy this node's replica to TARGET: a new node whose replica is a copy of it begins there, not at the log's beginning."""
    with open(place, must_exist=True) as store:
        store.barrier()
        head, sequence = store.cluster.snapshot(target)
    click.echo(f"{target}: {head:,} events; the log may be trimmed up to message {sequence:,} (hansard cluster trim)")


@cluster.command()
@node_argument
def upgrade(place: str) -> None:
    """Let all nodes decide by the newest rules that this version knows.

    Upgrade the program on all nodes first: one that does not know the rules stops there, and says so.
    """
    with open(place, must_exist=True) as store:
        store.barrier()
        before, now = store.cluster.upgrade()
    click.echo(f"rules {now} since now, {before} before" if now > before else f"rules {now}: this version knows no newer ones")


@cluster.command()
@node_argument
@click.option("--to", type=int, required=True, help="The last message that is to be forgotten; keep a snapshot that has it.")
@click.option("--force", is_flag=True, help="Even if a node still needs it: it will have to begin with a snapshot.")
def trim(place: str, to: int, force: bool) -> None:
    """Let the log forget its oldest messages. Events are not touched: they are in every replica."""
    with open(place, must_exist=True) as store:
        store.barrier()
        first = store.cluster.trim(to, is_forced=force)
    click.echo(f"the log begins at message {first:,}")
