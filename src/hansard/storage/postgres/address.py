"""What a URL says: which server and database (libpq's part), which log and which schema (ours). Connects to nothing."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from hansard.errors import HansardError, InvalidInput
from hansard.names import check_name

_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PASSWORD = re.compile(r"(?<=:)[^:/@]+(?=@)")


class Address(NamedTuple):
    """`conninfo` is for libpq, `shown` is for messages: the URL without its password."""

    conninfo: str
    log: str
    schema: str
    shown: str


def parse(url: str) -> Address:
    """postgresql://user@host/database?log=orders&schema=hansard; several hosts and libpq's own options as libpq takes them."""
    parts = urlsplit(url)
    ours: dict[str, str] = {"log": "main", "schema": "hansard"}
    theirs: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ours:
            ours[name] = value
        else:
            theirs.append((name, value))
    if parts.fragment:
        raise InvalidInput("place", _shown(url), "expected no # in the URL; write %23")
    if not _SCHEMA.fullmatch(ours["schema"]):
        raise InvalidInput("schema", ours["schema"], "expected at most 63 letters, digits and _, not a digit first")
    try:
        log = check_name("log", ours["log"])
    except HansardError as error:
        raise InvalidInput("log", ours["log"], str(error)) from error
    conninfo = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(theirs, quote_via=quote), ""))
    return Address(conninfo, log, ours["schema"], _shown(url))


def _shown(url: str) -> str:
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name != "password"]
    return urlunsplit(parts._replace(netloc=_PASSWORD.sub("…", parts.netloc), query=urlencode(kept, quote_via=quote)))
