"""Splits a file into JSON texts: its lines, or the items of the one array that it is. Never holds more than one of them."""

import io
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from hansard.interchange.records import RECORD_BYTES_MAX, BadRecord

BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_SHOWN_BYTES: Final = 1_000
_CHUNK_BYTES: Final = 64 * 1024
_OUTSIDE_STRINGS: Final = re.compile(rb'["\[\]{},]')
_INSIDE_STRINGS: Final = re.compile(rb'["\\]')


class JsonText(NamedTuple):
    place: str
    ordinal: int
    text: bytes


def texts(file: io.BufferedReader) -> Iterator[JsonText | BadRecord]:
    """The items if the file is an array, otherwise its lines."""
    return array_items(file) if start_of(file).startswith(b"[") else lines(file)


def start_of(file: io.BufferedReader) -> bytes:
    """What the file begins with, without byte order mark and white space; nothing is used up."""
    return file.peek(1).removeprefix(BOM).lstrip(_SPACE)


def decoded(text: JsonText) -> Any | BadRecord:
    """The value, or why there is none."""
    try:
        return msgspec.json.decode(text.text)
    except RecursionError:
        return BadRecord(text.place, "nested too deep", text.text)
    except (msgspec.MsgspecError, ValueError) as error:
        return BadRecord(text.place, f"not valid JSON: {error}", text.text)


def lines(file: io.BufferedReader) -> Iterator[JsonText | BadRecord]:
    """One text a line. Blank lines, a byte order mark and white space around a text are no part of it."""
    number = 0
    while line := file.readline(RECORD_BYTES_MAX + 1):
        number += 1
        if len(line) > RECORD_BYTES_MAX and not line.endswith(b"\n"):
            skip_line(file)
            yield BadRecord(f"line {number}", f"expected at most {RECORD_BYTES_MAX} bytes in a line", line[:_SHOWN_BYTES])
            continue
        if number == 1:
            line = line.removeprefix(BOM)
        if line := line.strip(_SPACE):
            yield JsonText(f"line {number}", number, line)


def skip_line(file: io.BufferedReader) -> None:
    """Read on to the end of a line that is too long to be held."""
    while (rest := file.readline(_CHUNK_BYTES)) and not rest.endswith(b"\n"):
        pass


def array_items(file: io.BufferedReader) -> Iterator[JsonText | BadRecord]:
    """One text an item of the array that the file is."""
    array = _Array()
    number = 0
    while chunk := file.read1(_CHUNK_BYTES):
        for text in array.items_in(chunk):
            number += 1
            yield JsonText(f"item {number}", number, text)
        if array.is_closed and array.rest.strip(_SPACE):
            yield BadRecord("after the array", "nothing is expected after its end", bytes(array.rest[:_SHOWN_BYTES]))
            return
        if len(array.rest) > RECORD_BYTES_MAX:
            reason = f"expected at most {RECORD_BYTES_MAX} bytes in an item; the rest of the file was not read"
            yield BadRecord(f"item {number + 1}", reason, bytes(array.rest[:_SHOWN_BYTES]))
            return
    if not array.is_closed:
        yield BadRecord(f"item {number + 1}", "the file ends inside the array", bytes(array.rest[:_SHOWN_BYTES]))


class _Array:
    """Finds the commas between the items. It counts brackets and quotes only; items are decoded by whoever wants them."""

    def __init__(self) -> None:
        self.rest = bytearray()
        self.is_closed = False
        self._at = 0
        self._depth = 0
        self._in_string = False

    def items_in(self, chunk: bytes) -> Iterator[bytes]:
        self.rest += chunk
        while not self.is_closed and (mark := self._next_mark()) is not None:
            if self._in_string:
                self._pass_in_string(mark)
            elif mark == b'"':
                self._in_string = True
            elif mark in b"[{":
                self._open()
            elif self._is_item_end(mark) and (text := self._taken()):
                yield text

    def _next_mark(self) -> bytes | None:
        match = (_INSIDE_STRINGS if self._in_string else _OUTSIDE_STRINGS).search(self.rest, self._at)
        if match is None:
            self._at = max(self._at, len(self.rest))
            return None
        self._at = match.end()
        return match[0]

    def _pass_in_string(self, mark: bytes) -> None:
        if mark == b"\\":
            self._at += 1  # the character after it, which may come with the next chunk
        else:
            self._in_string = False

    def _open(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._drop()

    def _is_item_end(self, mark: bytes) -> bool:
        if mark == b",":
            return self._depth == 1
        self._depth -= 1
        self.is_closed = self._depth == 0
        return self.is_closed

    def _taken(self) -> bytes:
        text = bytes(self.rest[: self._at - 1]).strip(_SPACE)
        self._drop()
        return text

    def _drop(self) -> None:
        del self.rest[: self._at]
        self._at = 0
