"""Where a cluster is: `nats://a,b:4222,c/orders?replica=orders.db`. Knows no driver."""

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from hansard.errors import InvalidInput
from hansard.names import shown_place

_PORT: Final = 4222
_REPLICAS: Final = 3
_KNOWN: Final = ("replica", "replicas")


class Address(NamedTuple):
    """Of one node. `servers`: URLs of NATS servers. `log`: the log's name. `replica`: the path of this node's file.

    `replicas`: how many servers keep the log (1: a single one, for trying out; it survives no loss).
    """

    servers: tuple[str, ...]
    log: str
    replica: str
    replicas: int
    shown: str


def parse(url: str) -> Address:
    """Raises InvalidInput."""
    body, _, query = url.removeprefix("nats://").partition("?")
    hosts, _, log = body.partition("/")
    user, at, hosts = hosts.rpartition("@")
    servers = tuple(_server(host, f"{user}{at}") for host in hosts.split(",") if host)
    if not servers:
        raise InvalidInput("place", shown_place(url), "expected a server: nats://host/log?replica=FILE")
    options = _options(url, query)
    if not log or not all(letter.isalnum() or letter in "_-" for letter in log):
        raise InvalidInput(
            "log", log, "expected a name of letters, digits, - and _ after the host: nats://host/orders?replica=FILE"
        )
    if "replica" not in options:
        raise InvalidInput("replica", None, "expected the path of this node's own file: nats://host/log?replica=FILE")
    return Address(servers, log, options["replica"], _replicas(options), shown_place(url))


def _server(host: str, user: str) -> str:
    return f"nats://{user}{host if ':' in host.rpartition(']')[2] else f'{host}:{_PORT}'}"


def _options(url: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _KNOWN:
            raise InvalidInput("place", shown_place(url), f"there is no option {name}; known are {', '.join(_KNOWN)}")
        options[name] = unquote(value)
    return options


def _replicas(options: dict[str, str]) -> int:
    text = options.get("replicas", str(_REPLICAS))
    if text not in ("1", "3", "5"):
        raise InvalidInput("replicas", text, "expected 1, 3 or 5")
    return int(text)
