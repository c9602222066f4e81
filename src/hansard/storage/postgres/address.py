"""What a URL says: which server and database (libpq's part), which log and which schema (ours). Connects to nothing."""

import re
from typing import NamedTuple
from urllib.parse import unquote

from hansard.errors import HansardError, InvalidInput
from hansard.names import check_name, shown_place

_OURS = {"log": "main", "schema": "hansard"}
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class Address(NamedTuple):
    """`conninfo` is for libpq, `shown` is for messages: the URL without its passwords."""

    conninfo: str
    log: str
    schema: str
    shown: str

    def scrubbed(self, text: str) -> str:
        """A message of the driver's, which may show what it took for the password, and what it took for something else."""
        user, _, _ = self.conninfo.removeprefix("postgresql://").rpartition("@")
        for secret in re.split("[:@/#]", user.partition(":")[2]):
            text = text.replace(secret, "…") if secret else text
        return text


def parse(url: str) -> Address:
    """postgresql://user@host/database?log=orders&schema=hansard; several hosts and libpq's own options as libpq takes them.

    Taken apart by hand, because libpq's URLs hold what others do not: several hosts, no host at all, a colon in a password.
    """
    _, _, rest = url.partition("://")
    body, _, query = rest.partition("?")
    shown = shown_place(url)
    if "#" in rest:
        raise InvalidInput("place", shown, "expected no # in the URL; write %23")
    ours, theirs = dict(_OURS), []
    for option in filter(None, query.split("&")):
        name, _, value = option.partition("=")
        if name in ours:
            ours[name] = unquote(value)
        else:
            theirs.append(option)
    if not _SCHEMA.fullmatch(ours["schema"]):
        raise InvalidInput("schema", ours["schema"], "expected at most 63 letters, digits and _, not a digit first")
    try:
        log = check_name("log", ours["log"])
    except HansardError as error:
        raise InvalidInput("log", ours["log"], str(error)) from error
    conninfo = f"postgresql://{body}" + (f"?{'&'.join(theirs)}" if theirs else "")
    return Address(conninfo, log, ours["schema"], shown)
