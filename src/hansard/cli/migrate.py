"""`hansard migrate`: the schema of a database, made and brought up to date when the team wants it."""

import click

from hansard.cli.output import format_options, print_json, wants_json
from hansard.migrating import migrate as migrate_
from hansard.names import shown_place


@click.command()
@click.argument("url")
@click.option("--plan", is_flag=True, help="Print the SQL and change nothing.")
@click.option("--writer", metavar="ROLE", help="Let this role append and react; it can neither change nor delete events.")
@click.option("--reader", metavar="ROLE", help="Let this role read.")
@format_options
def migrate(url: str, plan: bool, writer: str | None, reader: str | None, as_json: bool | None) -> None:
    """Make or upgrade the schema at URL (postgresql://…), all of it or nothing. To be run as its owner.

    \b
    hansard migrate 'postgresql://owner@host/shop?schema=hansard' --plan
    """
    statements = migrate_(url, plan=plan, writer=writer, reader=reader)
    if plan and not as_json:
        for statement in statements:
            click.echo(f"{statement};")
    elif wants_json(as_json):
        print_json({"store": shown_place(url), "is_plan": plan, "statements": statements})
    else:
        done = f"{len(statements)} statements run" if statements else "is up to date"
        click.echo(f"{shown_place(url)}: {done}")
