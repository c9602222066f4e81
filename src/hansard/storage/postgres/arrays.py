"""Columns of many rows as packed binary arrays, so that one statement with unnest() stores them all.

PostgreSQL's binary format of an array: dimensions, whether it has NULLs, the type of its elements, length and lower bound; then
each element's length and bytes (src/backend/utils/adt/arrayfuncs.c, array_recv). psycopg packs lists too, element by element in
Python; this is about five times as fast.
"""

from collections.abc import Sequence
from struct import pack
from typing import Any

from psycopg import pq
from psycopg.abc import AdaptContext
from psycopg.adapt import Buffer, Dumper

_INT8, _TEXT, _UUID = 20, 25, 2950


class Int8Array(bytes): ...


class TextArray(bytes): ...


class UuidArray(bytes): ...


def int8s(values: Sequence[int]) -> Int8Array:
    count = len(values)
    pairs = [8] * (2 * count)
    pairs[1::2] = values
    return Int8Array(_head(_INT8, count) + pack(">" + "iq" * count, *pairs))


def texts(values: Sequence[str | bytes]) -> TextArray:
    """UTF-8, given as text or as its bytes."""
    return TextArray(_packed(_TEXT, [value.encode() if isinstance(value, str) else value for value in values]))


def uuids(values: Sequence[bytes]) -> UuidArray:
    return UuidArray(_packed(_UUID, values))


def _packed(element: int, values: Sequence[bytes]) -> bytes:
    pieces = [b""] * (2 * len(values))
    pieces[0::2] = [pack(">i", len(value)) for value in values]
    pieces[1::2] = values
    return _head(element, len(values)) + b"".join(pieces)


def _head(element: int, count: int) -> bytes:
    return pack(">iiiii", 1, 0, element, count, 1) if count else pack(">iii", 0, 0, element)


class _ArrayDumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        return bytes(obj)


class _Int8ArrayDumper(_ArrayDumper):
    oid = 1016


class _TextArrayDumper(_ArrayDumper):
    oid = 1009


class _UuidArrayDumper(_ArrayDumper):
    oid = 2951


def register(context: AdaptContext) -> None:
    """Let a connection or cursor take packed arrays."""
    context.adapters.register_dumper(Int8Array, _Int8ArrayDumper)
    context.adapters.register_dumper(TextArray, _TextArrayDumper)
    context.adapters.register_dumper(UuidArray, _UuidArrayDumper)
