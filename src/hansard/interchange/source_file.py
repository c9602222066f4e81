"""The file that is imported: opened, unpacked if it is gzip, its damage told as one error. Knows no format."""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from hansard.errors import InvalidInput
from hansard.interchange.records import Damaged

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BUFFER_BYTES: Final = 1024 * 1024


class SourceFile(NamedTuple):
    """`content` is the unpacked text; `done_bytes` how much of the `total_bytes` on the disk has been read."""

    content: io.BufferedReader
    total_bytes: int
    done_bytes: Callable[[], int]


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[SourceFile]:
    """Open a file for reading. Raises InvalidInput if there is none, or it is a folder, or reading is not allowed."""
    with _file(path) as file:
        packed: io.BufferedReader = io.BufferedReader(_Steady(file.read), _BUFFER_BYTES)
        content = packed
        if packed.peek(2).startswith(_GZIP_MAGIC):
            content = io.BufferedReader(_Steady(gzip.GzipFile(fileobj=packed).read1), _BUFFER_BYTES)
        yield SourceFile(content, os.fstat(file.fileno()).st_size, file.tell if file.seekable() else lambda: 0)


def _file(path: str | os.PathLike[str]) -> io.FileIO:
    try:
        return io.FileIO(path)
    except FileNotFoundError:
        raise InvalidInput("path", os.fspath(path), "there is no such file") from None
    except IsADirectoryError:
        raise InvalidInput("path", os.fspath(path), "is a folder; give a file") from None
    except (OSError, ValueError) as error:
        raise InvalidInput("path", os.fspath(path), f"cannot be read: {error}") from error


class _Steady(io.RawIOBase):
    """Fills whole buffers, and hands out everything that stands before damage before it raises Damaged."""

    def __init__(self, read: Callable[[int], bytes | None]) -> None:
        self._read = read
        self._damage: Damaged | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (chunk := self._chunk(len(view) - filled)):
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        if not filled and self._damage is not None:
            raise self._damage
        return filled

    def _chunk(self, size: int) -> bytes | None:
        if self._damage is not None:
            return None
        try:
            return self._read(size)
        except Damaged as damage:
            self._damage = damage
        except (EOFError, OSError, zlib.error) as error:
            self._damage = Damaged(f"the file is damaged or cut off: {error}")
        return None
