"""The formats by name, what each takes for granted, and how one is recognised by what a file begins with."""

import io
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from hansard.errors import InvalidInput
from hansard.interchange import cloudevents, csv_rows, hansard_lines, json_lines, tar_members, xes
from hansard.interchange.json_texts import start_of
from hansard.interchange.mapping import Mapping
from hansard.interchange.records import BadRecord, Record

HANSARD: Final = "hansard"
_TAR_MAGIC: Final = slice(257, 262), b"ustar"
_SHOWN_BYTES: Final = 40


class ForeignFormat(NamedTuple):
    """`defaults` hold for templates that are not given; where they say nothing of stream or type, fields of that name do.

    `case_prefix` is for formats in which events stand in cases (traces) that have fields of their own.
    """

    records: Callable[[io.BufferedReader], Iterator[Record | BadRecord]]
    defaults: Mapping
    case_prefix: str | None = None


_TIME_IF_ANY: Final = Mapping(time="{time}|{timestamp}|")

FOREIGN_FORMATS: Final = {
    "jsonl": ForeignFormat(json_lines.records, _TIME_IF_ANY),
    "csv": ForeignFormat(csv_rows.records, _TIME_IF_ANY),
    "xes": ForeignFormat(
        xes.records,
        Mapping(stream="case-{concept:name}", type="{concept:name}", time="{time:timestamp}|"),
        xes.CASE_PREFIX,
    ),
    "cloudevents": ForeignFormat(
        cloudevents.records,
        # A subject is unique within its source only.
        Mapping(stream="{source}/{subject}|{source}", type="{type}", time="{time}|", id="{:id}"),
    ),
    "tar": ForeignFormat(tar_members.records, _TIME_IF_ANY),
}

FORMATS: Final = (HANSARD, *FOREIGN_FORMATS)


def checked_format(name: str) -> str:
    if name not in FORMATS:
        raise InvalidInput("format", name, f"expected one of {', '.join(FORMATS)}")
    return name


def detected_format(content: io.BufferedReader, name: str) -> str:
    """The format of a file, from what it begins with; from its name only where that says nothing."""
    head = content.peek(1)
    bare_name = name.lower().removesuffix(".gz")
    if head[_TAR_MAGIC[0]] == _TAR_MAGIC[1] or bare_name.endswith((".tar", ".tgz")):
        return "tar"
    start = start_of(content)
    if start.startswith(b"<"):
        return "xes"
    if start.startswith((b"{", b"[")):
        return _json_format(start)
    if not start:
        return "jsonl"  # nothing is in it, whatever it is
    if bare_name.endswith((".csv", ".tsv")):
        return "csv"
    raise InvalidInput("format", start[:_SHOWN_BYTES], f"cannot tell the format; give one of {', '.join(FORMATS)}")


def _json_format(start: bytes) -> str:
    try:
        first = msgspec.json.decode(start.partition(b"\n")[0])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        first = None
    if hansard_lines.is_likely(start, first):
        return HANSARD
    is_cloud_event = "specversion" in first if isinstance(first, dict) else cloudevents.is_likely(start)
    return "cloudevents" if is_cloud_event else "jsonl"
