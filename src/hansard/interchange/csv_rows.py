"""CSV with a header line. A row becomes a JSON object of strings; numbers stay text."""

import csv
import io
from collections.abc import Iterator
from typing import Final

import msgspec

from hansard.errors import InvalidInput
from hansard.interchange.json_texts import BOM, skip_line
from hansard.interchange.records import RECORD_BYTES_MAX, BadRecord, Record

_DELIMITERS: Final = ",;\t|"


def records(file: io.BufferedReader) -> Iterator[Record | BadRecord]:
    # The limit is one for the process and small (128 KiB); it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), RECORD_BYTES_MAX))
    lines = _Lines(file)
    # Strict, because a quote that is never closed would otherwise swallow the rest of the file without a word.
    rows = csv.reader(lines, delimiter=_delimiter(file), strict=True)
    header = _header(rows, lines)
    while (row := _next(rows, lines)) is not None:
        if isinstance(row, BadRecord):
            yield row
        elif row:
            yield _record(header, row, lines)


class _Lines:
    """The file's lines as text, and what of them the row that is being read has used."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._used: list[bytes] = []
        self._number = 0
        self.problem: str | None = None

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(RECORD_BYTES_MAX + 1):
            self._number += 1
            if len(line) > RECORD_BYTES_MAX and not line.endswith(b"\n"):
                skip_line(self._file)
                self.problem = f"expected at most {RECORD_BYTES_MAX} bytes in a line"
                line = b"\n"
            self._used.append(line.removeprefix(BOM) if self._number == 1 else line)
            yield self._used[-1].decode("utf-8", "surrogateescape")

    def start_row(self) -> None:
        self._used.clear()
        self.problem = None

    @property
    def row_text(self) -> bytes:
        return b"".join(self._used).rstrip(b"\r\n")

    @property
    def first_number(self) -> int:
        return self._number - len(self._used) + 1

    @property
    def place(self) -> str:
        return f"line {self.first_number}"


def _delimiter(file: io.BufferedReader) -> str:
    """Comma, or what stands more often than commas in the header."""
    header = file.peek(1).partition(b"\n")[0].decode("utf-8", "replace")
    return max(_DELIMITERS, key=header.count)


def _header(rows: Iterator[list[str]], lines: _Lines) -> list[str]:
    row = _next(rows, lines)
    while row == []:
        row = _next(rows, lines)
    if isinstance(row, BadRecord):
        raise InvalidInput("header", row.text, row.reason)
    names = [name or f"column {number}" for number, name in enumerate(row or (), 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput("header", twice, "two columns have this name; expected every name once")
    return names


def _next(rows: Iterator[list[str]], lines: _Lines) -> list[str] | BadRecord | None:
    """The next row; None at the end."""
    lines.start_row()
    try:
        row = next(rows, None)
        problem = lines.problem or _encoding_problem(lines.row_text)
    except csv.Error as error:
        row, problem = [], f"not valid CSV: {error}"
    return BadRecord(lines.place, problem, lines.row_text) if problem else row


def _encoding_problem(text: bytes) -> str | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"not valid UTF-8: {error.reason} at byte {error.start + 1}"
    return None


def _record(header: list[str], row: list[str], lines: _Lines) -> Record | BadRecord:
    if len(row) != len(header):
        return BadRecord(lines.place, f"{len(row)} fields, but the header has {len(header)}", lines.row_text)
    fields = dict(zip(header, row, strict=True))
    return Record(fields, msgspec.json.encode(fields), lines.place, lines.first_number)
