"""`hansard cluster`: the nodes of a cluster: how far they are, whether they agree, snapshots, trimming the log."""

import sys
from datetime import UTC, datetime
from typing import Any

import click

from hansard.cli.check import PROBLEMS_FOUND
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.restoring import restore_replica
from hansard.store import open

node_argument = click.argument("place", metavar="NODE")


@click.group()
def cluster() -> None:
    """The nodes of a cluster: how far they are, whether they agree, snapshots, trimming the log.

    NODE is nats://HOST,HOST/LOG?replica=FILE: the command is a node for as long as it runs, so give it a replica of its own, or
    that of a node that is closed.
    """


def _say(as_json: bool | None, text: str, **values: Any) -> None:
    if wants_json(as_json):
        print_json(values)
    else:
        click.echo(text)


@cluster.command()
@node_argument
@format_options
def status(place: str, as_json: bool | None) -> None:
    """Show the log, this node, and the others as they answer; those that do not, by their last word."""
    with open(place, must_exist=True) as store:
        found = store.cluster.compare()
    if wants_json(as_json):
        values = found._asdict()
        print_json({**values, "nodes": [member._asdict() for member in values.pop("members")]})
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
            f"{max(0, found.asked - member.applied):,}",
            _decides(member),
            _time(member.heard_us),
        )
        for member in found.members
    ]
    out.print(table(None, ("node", "#applied", "#behind", "decides", "heard of"), rows))


def _decides(member: Any) -> str:
    if member.is_this:
        return ""
    if member.differs_from:
        return f"otherwise since message {member.differs_from:,}"
    return f"alike to {member.agrees_to:,}" if member.agrees_to else "not compared"


def _time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


@cluster.command("check")
@node_argument
@format_options
def check_(place: str, as_json: bool | None) -> None:
    """Apply the whole log, ask all nodes for their digests, compare them, and check the replica.

    Exit code 9 if something differs, or if there are other nodes and none of them answers.
    """
    with open(place, must_exist=True) as store:
        problems = store.check()
        found = store.cluster.compare()
    others = [member for member in found.members if not member.is_this]
    compared = [member.name for member in others if member.applied >= found.asked]
    silent = [member.name for member in others if member.applied < found.asked]
    problems += [f"{m.name} has decided otherwise since message {m.differs_from:,}" for m in others if m.differs_from]
    problems += [found.stopped] if found.stopped else []
    problems += ["nothing was compared: no other node has answered"] if silent and not compared else []
    for problem in [] if wants_json(as_json) else problems:
        click.echo(problem)
    also = f"; silent: {', '.join(silent)}" if silent else ""
    _say(
        as_json,
        f"applied {found.applied:,} of {found.last:,} messages, digest {found.digest}; "
        f"compared with {', '.join(compared) or 'nobody'}{also}",
        problems=problems,
        applied=found.applied,
        last=found.last,
        digest=found.digest,
        compared=compared,
        silent=silent,
    )
    sys.exit(PROBLEMS_FOUND if problems else 0)


@cluster.command()
@node_argument
@click.argument("target", type=click.Path())
@format_options
def snapshot(place: str, target: str, as_json: bool | None) -> None:
    """Copy this node's replica to TARGET: a new node can begin there, not at the log's beginning, see `restore`."""
    with open(place, must_exist=True) as store:
        head, sequence = store.cluster.snapshot(target)
    text = f"{target}: {head:,} events; the log may be trimmed up to message {sequence:,} (hansard cluster trim)"
    _say(as_json, text, target=target, events=head, sequence=sequence)


@cluster.command()
@click.argument("snapshot", type=click.Path())
@click.argument("replica", type=click.Path())
@format_options
def restore(snapshot: str, replica: str, as_json: bool | None) -> None:
    """Make SNAPSHOT the REPLICA of a new node, or of one that is closed, in the place of what it has."""
    head, sequence = restore_replica(snapshot, replica)
    text = f"{replica}: {head:,} events, at message {sequence:,} of the log"
    _say(as_json, text, replica=replica, events=head, sequence=sequence)


@cluster.command()
@node_argument
@format_options
def upgrade(place: str, as_json: bool | None) -> None:
    """Let all nodes decide by the newest rules that this version knows.

    Upgrade the program on all nodes first: one that does not know the rules stops there, and says so.
    """
    with open(place, must_exist=True) as store:
        before, now = store.cluster.upgrade()
    text = f"rules {now} since now, {before} before" if now > before else f"rules {now}: this version knows no newer ones"
    _say(as_json, text, before=before, now=now)


@cluster.command()
@node_argument
@click.option("--to", type=int, required=True, help="The last message that is to be forgotten; keep a snapshot that has it.")
@click.option("--force", is_flag=True, help="Even if a node still needs it: it will have to begin with a snapshot.")
@format_options
def trim(place: str, to: int, force: bool, as_json: bool | None) -> None:
    """Let the log forget its oldest messages. Events are not touched: they are in every replica."""
    with open(place, must_exist=True) as store:
        first = store.cluster.trim(to, is_forced=force)
    _say(as_json, f"the log begins at message {first:,}", first=first)


@cluster.command()
@node_argument
@click.argument("name")
@format_options
def forget(place: str, name: str, as_json: bool | None) -> None:
    """Let the log need no message for the node NAME (see `status`), which is no more."""
    with open(place, must_exist=True) as store:
        store.cluster.forget(name)
    _say(as_json, f"{name}: forgotten; if it comes again, it is known again", forgotten=name)
