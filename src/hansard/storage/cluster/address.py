"""Where a cluster is: `nats://a,b:4222,c/orders?replica=orders.db`. Knows no driver."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from hansard.errors import InvalidInput
from hansard.names import shown_place

_PORT: Final = 4222
_PORT_MAX: Final = 65_535
_REPLICAS: Final = 3
_KNOWN: Final = ("replica", "replicas")


class Address(NamedTuple):
    """Of one node. `servers`: URLs of NATS servers. `credentials`: user and password, or a token, by these names, or nothing.
    `log`: the log's name. `replica`: the path of this node's file.

    `replicas`: how many servers keep the log (1: a single one, for trying out; it survives no loss).
    """

    servers: tuple[str, ...]
    credentials: Mapping[str, str]
    log: str
    replica: str
    replicas: int
    shown: str


def parse(url: str) -> Address:
    """Raises InvalidInput."""
    body, _, query = url.removeprefix("nats://").partition("?")
    user, _, place = body.rpartition("@")
    hosts, _, log = place.partition("/")
    servers = tuple(_server(host) for host in hosts.split(",") if host)
    if not servers:
        raise InvalidInput("place", shown_place(url), "expected a server: nats://host/log?replica=FILE")
    if not log or not all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in log):
        raise InvalidInput(
            "log", log, "expected a name of letters, digits, - and _ after the host: nats://host/orders?replica=FILE"
        )
    options = _options(url, query)
    if "replica" not in options:
        raise InvalidInput("replica", None, "expected the path of this node's own file: nats://host/log?replica=FILE")
    return Address(servers, _credentials(user), log, options["replica"], _replicas(options), shown_place(url))


def _server(host: str) -> str:
    _, is_given, port = host.rpartition("]")[2].partition(":")
    if not is_given:
        return f"nats://{host}:{_PORT}"
    if not port.isdecimal() or not 0 < int(port) <= _PORT_MAX:
        raise InvalidInput("port", port, f"expected a number from 1 to {_PORT_MAX} after the host")
    return f"nats://{host}"


def _credentials(user: str) -> Mapping[str, str]:
    """From user:password or token, percent-encoded as in any URL."""
    name, colon, password = user.partition(":")
    if colon:
        return {"user": unquote(name), "password": unquote(password)}
    return {"token": unquote(name)} if name else {}


def _options(url: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for option in filter(None, query.split("&")):
        name, _, value = option.partition("=")
        if name not in _KNOWN:
            raise InvalidInput("place", shown_place(url), f"there is no option {name}; known are {', '.join(_KNOWN)}")
        if not value or name in options:
            raise InvalidInput(name, unquote(value), "expected one value")
        options[name] = unquote(value)  # and a + is a +, as in names of folders
    return options


def _replicas(options: dict[str, str]) -> int:
    text = options.get("replicas", str(_REPLICAS))
    if text not in ("1", "3", "5"):
        raise InvalidInput("replicas", text, "expected 1, 3 or 5")
    return int(text)
