"""One replica, one node: two that apply the same messages to one file would apply them twice."""

import os
from contextlib import suppress
from typing import Final

from hansard.errors import OpenFailed

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_SUFFIX: Final = ".node"


class Lock:
    """Held for as long as its process lives, or until it is released. Where the system has no such locks, nothing is held."""

    def __init__(self, path: str) -> None:
        """Raises OpenFailed if another node has it. A link is the file that it leads to."""
        self._pid = os.getpid()
        try:
            self._file: int | None = os.open(os.path.realpath(path) + _SUFFIX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OpenFailed(f"{path}: {error.strerror}") from error
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise OpenFailed(f"{path}: another node has this replica; each node and each process needs its own") from error

    def release(self) -> None:
        """A child process, which shares it, only lets it go; without the first word it would keep it from its parent."""
        if self._file is None:
            return
        with suppress(OSError):
            if fcntl is not None and os.getpid() == self._pid:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
        self._file = None
