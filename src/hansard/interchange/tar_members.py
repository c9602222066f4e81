"""A tar of JSON files: each file's text, byte for byte, is one event's data. Members are read in the order of the tar."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from hansard.interchange.json_texts import BOM, JsonText, decoded
from hansard.interchange.records import BadRecord, Damaged, Record
from hansard.limits import DATA_BYTES_MAX

_BLOCK_BYTES = 512
_END_BLOCK = bytes(_BLOCK_BYTES)


def records(file: io.BufferedReader) -> Iterator[Record | BadRecord]:
    blocks = _Blocks(file)
    try:
        # Block by block: a larger read that meets damage would lose the members before it.
        with tarfile.open(fileobj=blocks, mode="r|", bufsize=_BLOCK_BYTES) as tar:  # type: ignore[call-overload]
            yield from _members(tar)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Damaged(f"the tar is damaged or cut off: {error}") from error
    if blocks.last != _END_BLOCK:
        raise Damaged("the tar is damaged or cut off: it has no end mark")


class _Blocks:
    """The file as tarfile reads it. Remembers the last block, because tarfile takes a damaged header for the end."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int) -> bytes:
        self.last = self._file.read(size)
        return self.last


def _members(tar: tarfile.TarFile) -> Iterator[Record | BadRecord]:
    ordinal = 0
    while (member := tar.next()) is not None:
        del tar.members[:]  # type: ignore[attr-defined]  # it would keep every header for ever
        if member.isreg() and member.name.endswith(".json"):
            ordinal += 1
            yield _record(tar, member, ordinal)


def _record(tar: tarfile.TarFile, member: tarfile.TarInfo, ordinal: int) -> Record | BadRecord:
    place = f"member {member.name}"
    if member.size > DATA_BYTES_MAX:
        return BadRecord(place, f"{member.size} bytes; expected at most {DATA_BYTES_MAX}")
    content = tar.extractfile(member)
    assert content is not None  # only for what is no file
    text = content.read().removeprefix(BOM)
    value = decoded(JsonText(place, ordinal, text))
    if isinstance(value, BadRecord):
        return value
    if not isinstance(value, dict):
        return BadRecord(place, f"expected a JSON object, not {type(value).__name__}", text)
    return Record({**value, **_special_fields(member.name)}, text, place, ordinal)


def _special_fields(name: str) -> dict[str, str]:
    path = PurePosixPath(name)
    return {":path": name, ":folder": path.parent.name, ":name": path.stem}
