"""The file of rejected records: one JSON object a line, made when the first one comes."""

import os
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from hansard.errors import InvalidInput
from hansard.interchange.records import BadRecord

_START = b'{"place":'


class Rejects:
    def __init__(self, path: str | os.PathLike[str], *, of: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        if os.path.exists(self._path) and os.path.samefile(self._path, of):
            raise InvalidInput("rejects", self._path, "is the file to be imported; give another one")
        if os.path.exists(self._path) and not _holds_rejects(self._path):
            raise InvalidInput(
                "rejects", self._path, "there is a file of this name already, and it holds no rejects; give another one"
            )
        self._file: BinaryIO | None = None
        self.count = 0

    @property
    def path(self) -> str | None:
        """Where the rejected records are; None if there are none."""
        return self._path if self.count else None

    def add(self, bad: BadRecord) -> None:
        line = {"place": bad.place, "reason": bad.reason, "record": bad.text.decode("utf-8", "backslashreplace")}
        try:
            if self._file is None:
                self._file = open(self._path, "wb")  # noqa: SIM115  # closed on leaving
            self._file.write(msgspec.json.encode(line) + b"\n")
        except (OSError, ValueError) as error:
            raise InvalidInput("rejects", self._path, f"cannot be written: {error}") from error
        self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()


def _holds_rejects(path: str) -> bool:
    """Whether a file was written by an earlier import, so that it may be written anew."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_START)) in (_START, b"")
    except OSError:
        return False
