"""XES, the standard for event logs of business processes (IEEE 1849): traces of events with typed attributes.

Straight from expat, without a tree: memory stays constant however long the log or a trace is. An event becomes a JSON
object of its attributes, and those of its trace with `case:` before the key. Document type declarations are refused,
so that no entity can grow (the "billion laughs") or reach another file.
"""

import io
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn
from xml.parsers import expat

import msgspec

from hansard.errors import InvalidInput
from hansard.interchange.records import RECORD_BYTES_MAX, BadRecord, Record
from hansard.limits import JSON_DEPTH_MAX

CASE_PREFIX: Final = "case:"
_CHUNK_BYTES: Final = 64 * 1024
_NESTED_MAX: Final = JSON_DEPTH_MAX // 2 - 2  # a nested attribute is two levels of JSON
_encode = msgspec.json.Encoder().encode


def records(file: io.BufferedReader) -> Iterator[Record | BadRecord]:
    log = _Log()
    parse = _parser(log).Parse
    silent_bytes = 0
    is_end = False
    while not is_end:
        chunk = file.read1(_CHUNK_BYTES)
        is_end = not chunk
        problem = _problem(parse, chunk, is_end)
        silent_bytes = 0 if log.done else silent_bytes + len(chunk)
        yield from log.done
        log.done.clear()
        if silent_bytes > RECORD_BYTES_MAX:
            problem = f"expected at most {RECORD_BYTES_MAX} bytes in an event"
        if problem:
            yield BadRecord(f"after {log.place}", f"{problem}; the rest of the file was not read")
            return


def _problem(parse: Callable[[bytes, bool], int], chunk: bytes, is_end: bool) -> str | None:
    try:
        parse(chunk, is_end)
    except expat.ExpatError as error:
        return f"the XML is damaged or cut off: {error}"
    return None


def _parser(log: "_Log") -> expat.XMLParserType:
    parser = expat.ParserCreate()

    def start_root(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(":")[2] != "log":
            raise InvalidInput("format", f"<{tag}>", "expected <log>, the root of an XES file")
        parser.StartElementHandler = log.start

    parser.StartElementHandler = start_root
    parser.EndElementHandler = log.end
    parser.StartDoctypeDeclHandler = _refuse_declarations
    return parser


def _refuse_declarations(name: str, *_: object) -> NoReturn:
    raise InvalidInput("path", f"<!DOCTYPE {name}", "document type and entity declarations are refused; XES needs none")


class _Log:
    """Gathers what expat tells into records. `done` holds those that are finished."""

    def __init__(self) -> None:
        self.done: list[Record | BadRecord] = []
        self._trace: dict[str, Any] | None = None
        self._case: dict[str, Any] | None = None
        self._event: dict[str, Any] | None = None
        self._target: dict[str, Any] | None = None  # whose attributes are being read; None: nobody's that we keep
        self._open: list[tuple[dict[str, Any], str]] = []  # attributes that are not closed yet, outermost first
        self._problem: str | None = None
        self._ordinal = self._traces = self._events_in_trace = 0

    @property
    def place(self) -> str:
        in_trace = f"trace {self._traces}, " if self._trace is not None else ""
        return f"{in_trace}event {self._events_in_trace}" if self._ordinal or in_trace else "the start"

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        value_of = _VALUES.get(tag)
        if value_of is not None:
            if self._target is not None:
                self._attribute(value_of, attributes)
        elif ":" in tag:
            self.start(tag.rpartition(":")[2], attributes)
        elif tag == "event":
            self._target = self._event = {}
            self._events_in_trace += 1
        elif tag == "trace":
            self._target = self._trace = {}
            self._case = None
            self._traces += 1
            self._events_in_trace = 0

    def end(self, tag: str) -> None:
        if tag in _VALUES:
            if self._target is not None:
                self._open.pop()
        elif ":" in tag:
            self.end(tag.rpartition(":")[2])
        elif tag == "event":
            self._finish_event()
            self._event, self._target = None, self._trace
        elif tag == "trace":
            self._trace = self._case = self._target = None
            self._events_in_trace = 0

    def _attribute(self, value_of: "Callable[[str], Any]", attributes: dict[str, str]) -> None:
        key = attributes.get("key", "")
        target = self._nested() if self._open else self._target
        assert target is not None
        if key in target:
            self._problem = f"attribute {key!r} comes twice"
        if self._case is not None and self._event is None and not self._open:
            self.done.append(BadRecord(f"trace {self._traces}", f"attribute {key!r} stands after events, which lack it"))
        target[key] = value_of(attributes.get("value", ""))
        self._open.append((target, key))

    def _nested(self) -> dict[str, Any]:
        """Where a child of the innermost open attribute goes; a value with children becomes an object that has both."""
        if len(self._open) > _NESTED_MAX:
            self._problem = f"attributes nested deeper than {_NESTED_MAX}"
            return {}
        owner, key = self._open[-1]
        parent = owner[key]
        if isinstance(parent, list):
            item: dict[str, Any] = {}
            parent.append(item)
            return item
        if not isinstance(parent, dict):
            parent = owner[key] = {"value": parent, "attributes": {}}
        children: dict[str, Any] = parent["attributes"]
        return children

    def _finish_event(self) -> None:
        assert self._event is not None
        self._ordinal += 1
        event = fields = self._event
        if self._trace is not None:
            if self._case is None:
                self._case = {CASE_PREFIX + key: value for key, value in self._trace.items()}
            fields = {**event, **self._case}
            if len(fields) != len(event) + len(self._case):
                self._problem = f"an attribute of the event has the name of one of the trace, with {CASE_PREFIX!r} before it"
        if self._problem is None:
            self.done.append(Record(fields, _encode(fields), self.place, self._ordinal))
        else:
            self.done.append(BadRecord(self.place, self._problem, _encode(fields)))
            self._problem = None


def _integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _number(text: str) -> float | str:
    """What JSON has no number for (NaN, INF, or no number at all) stays text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _boolean(text: str) -> bool | str:
    return {"true": True, "1": True, "false": False, "0": False}.get(text, text)


def _items(_: str) -> list[Any]:
    return []


_VALUES: Final[dict[str, Callable[[str], Any]]] = {
    "string": str,
    "date": str,
    "id": str,
    "int": _integer,
    "float": _number,
    "boolean": _boolean,
    "list": _items,
    "container": _items,
}
