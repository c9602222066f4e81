"""`hansard serve`, `hansard ui` and `hansard config`: a store as a service, and its web page."""

import os
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from hansard.cli.app import app_option, parts_of
from hansard.cli.options import store_argument
from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.domain import NO_DOMAIN, Domain, domain_of
from hansard.errors import OpenFailed
from hansard.names import shown_place

if TYPE_CHECKING:
    from hansard.server.settings import Configuration

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def settings_options(command: CommandT) -> CommandT:
    """A flag for each setting of a server."""
    options = (
        click.option(
            "--config", "file", metavar="FILE", help="A TOML file with settings; the environment and flags go before it."
        ),
        click.option("--host", help="The address to listen on (127.0.0.1)."),
        click.option("--port", type=int, help="The port (7878; 0: any free one)."),
        click.option("--tls-certificate", metavar="FILE", help="The certificate, in PEM."),
        click.option("--tls-key", metavar="FILE", help="Its key, in PEM."),
        click.option(
            "--authentication/--no-authentication", default=None, help="Ask for a key or token; on other addresses always."
        ),
        click.option(
            "--allow-insecure",
            is_flag=True,
            default=None,
            help="Listen on other addresses without TLS or authentication: everybody who reaches it can read and change all.",
        ),
        click.option("--read-only", is_flag=True, default=None, help="Change nothing."),
        click.option("--jwt-jwks", metavar="FILE|URL", help="The key set whose tokens are taken."),
        click.option("--jwt-audience", help="Whom tokens must be meant for."),
        click.option("--jwt-issuer", help="Who must have made them."),
        click.option("--rate-per-s", type=float, help="Requests a second for each client."),
        click.option("--slow-ms", type=float, help="Log appends and reads that take longer (500)."),
        click.option("--log-format", type=click.Choice(["text", "json"]), help="Lines for people or for programs."),
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
        click.option("--allowed-hosts", metavar="NAME", multiple=True, help="A name by which it is asked, as behind a proxy."),
        click.option("--stop-timeout-s", type=float, help="How long requests under way may take when it stops (10)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def configuration_of(file: str | None, flags: dict[str, Any]) -> "Configuration":
    try:
        from hansard.server.settings import configured
    except ImportError as error:
        raise _missing(error) from error
    flags["allowed_hosts"] = list(flags.get("allowed_hosts") or ()) or None
    return configured(file, os.environ, flags)


@click.command()
@store_argument
@app_option(is_required=False)
@settings_options
def serve(place: str, app: str | None, file: str | None, **flags: Any) -> None:
    """Serve STORE over HTTP, with its web page, until interrupted.

    \b
    hansard serve shop.db                                      on this machine only
    hansard serve shop.db --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem

    With --app, the page shows events by your own event types, and folds streams by your projections and deciders.
    hansard.open("http://127.0.0.1:7878") is the same store again. See docs/server.md.
    """
    configuration = configuration_of(file, flags)
    start = _starter()
    start(
        place,
        configuration.settings,
        domain=domain_at(app),
        on_started=lambda url: click.echo(f"Serving {shown_place(place)} at {url}", err=True),
    )


@click.command()
@store_argument
@app_option(is_required=False)
@click.option("--port", type=int, default=0, help="The port; any free one if it is not given.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(place: str, app: str | None, port: int, no_browser: bool) -> None:
    """Look at STORE in a browser, on this machine only; nothing is changed."""
    start = _starter()
    from hansard.server.settings import Settings

    def tell(url: str) -> None:
        click.echo(f"{shown_place(place)}: {url}/  (read-only; Ctrl+C ends it)")
        if not no_browser:
            webbrowser.open(f"{url}/")

    settings = Settings(port=port, read_only=True, log_level="warning")
    start(place, settings, domain=domain_at(app), on_started=tell)


@click.command()
@settings_options
@format_options
def config(file: str | None, as_json: bool | None, **flags: Any) -> None:
    """Show how `hansard serve` would run with these flags, this environment and this file, and where each setting comes from."""
    configuration = configuration_of(file, flags)
    values = msgspec.to_builtins(configuration.settings)
    rows = [(name, values[name], source) for name, source in configuration.sources.items()]
    if wants_json(as_json):
        for name, value, source in rows:
            print_json({"setting": name, "value": value, "source": source})
    else:
        shown = [(name, "" if value is None else str(value), source) for name, value, source in rows]
        console().print(table(None, ("setting", "value", "source"), shown))


def domain_at(app: str | None) -> Domain:
    """The user's own code, by which the page shows events and folds streams."""
    return NO_DOMAIN if app is None else domain_of(parts_of(app))


def _starter() -> Any:
    try:
        from hansard.server.starting import start
    except ImportError as error:
        raise _missing(error) from error
    return start


def _missing(error: ImportError) -> OpenFailed:
    return OpenFailed(f"the server needs {error.name}; install it with: pip install 'hansard[server]'")
