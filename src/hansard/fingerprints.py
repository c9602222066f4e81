"""What functions do, as far as code says it: so that what an old one has made is not taken for what a new one makes."""

import functools
import re
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import islice
from types import CodeType, FunctionType, MethodType
from typing import Any
from uuid import UUID
from zlib import crc32

_DEPTH_MAX = 8
_ITEMS_MAX = 10_000
_PLAIN = (int, float, complex, str, bytes, Decimal, Fraction, date, time, timedelta, UUID, Enum, range, re.Pattern, type(None))
Seen = dict[int, Any]
"""What has been looked at, by its id; kept, so that no other object gets the id meanwhile."""

_HOLDERS = (Mapping, list, tuple, set, frozenset)


def fingerprint_of(*values: Any) -> int:
    """A number that changes when the code of one of these functions or classes does, its defaults, or what it closes over; or
    what it names of its own module: functions, classes, constants, tables of handlers. What is further away is not seen."""
    return crc32(repr([list(_facts(value, {}, 0)) for value in values]).encode())


def _facts(value: Any, seen: Seen, depth: int) -> Iterator[str]:
    if depth > _DEPTH_MAX or (not isinstance(value, _PLAIN) and id(value) in seen):
        return
    seen[id(value)] = value
    if isinstance(value, functools.partial):
        yield from _facts(value.func, seen, depth)
        yield from _facts((value.args, value.keywords), seen, depth)
    elif isinstance(value, MethodType):
        owner = value.__self__
        yield from _facts((value.__func__, owner if isinstance(owner, type) else type(owner)), seen, depth)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, seen, depth)
    elif isinstance(value, type):
        yield from _of_class(value, seen, depth)
    elif isinstance(value, Mapping):
        for key in sorted(islice(value, _ITEMS_MAX), key=_text):
            yield _text(key)
            yield from _facts(value[key], seen, depth + 1)
    elif isinstance(value, list | tuple):
        for item in islice(value, _ITEMS_MAX):
            yield from _facts(item, seen, depth + 1)
    else:
        yield from _of_object(value, seen, depth)


def _of_object(value: Any, seen: Seen, depth: int) -> Iterator[str]:
    if (wrapped := _attribute(value, "__wrapped__")) is not None:  # functools.cache
        yield from _facts(wrapped, seen, depth + 1)
        return
    yield _text(value)
    if not isinstance(value, _PLAIN):
        yield from _facts(type(value), seen, depth + 1)


def _of_function(function: FunctionType, seen: Seen, depth: int) -> Iterator[str]:
    if hasattr(function, "registry") and hasattr(function, "dispatch"):  # functools.singledispatch
        yield from _facts(function.registry, seen, depth + 1)
        return
    yield from _of_code(function.__code__)
    yield from _facts((function.__defaults__, function.__kwdefaults__), seen, depth + 1)
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # it is empty yet
            continue
        yield from _facts(content, seen, depth + 1)
    for name in _names_in(function.__code__):
        if name in function.__globals__ and _is_near(named := function.__globals__[name], function.__module__):
            yield from _facts(named, seen, depth + 1)


def _is_near(value: Any, module: str) -> bool:
    """Whether a value that a function names is a part of what the function does."""
    return isinstance(value, _PLAIN + _HOLDERS) or _attribute(value, "__module__") == module


def _attribute(value: Any, name: str) -> Any:
    """None where there is none, whatever an object of the user's makes of the question."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def _of_class(kind: type, seen: Seen, depth: int) -> Iterator[str]:
    """Its own functions and constants, and those of its bases in the same module."""
    yield kind.__qualname__
    for name, value in sorted(vars(kind).items()):
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, FunctionType) and value.__module__ == kind.__module__:
            yield name
            yield from _facts(value, seen, depth + 1)
        elif isinstance(value, _PLAIN) and name[:2] != "__":
            yield f"{name} {_text(value)}"
    for base in kind.__bases__:
        if base.__module__ == kind.__module__:
            yield from _facts(base, seen, depth + 1)


def _names_in(code: CodeType) -> Iterator[str]:
    """Also those that functions within it use."""
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _names_in(one)


def _of_code(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _of_code(one)
        else:
            yield _text(one)


def _text(value: Any) -> str:
    """The same in every process: sets have an order of their own there, objects an address."""
    if isinstance(value, frozenset | set):
        return repr(sorted(map(_text, value)))
    if isinstance(value, type):
        return value.__qualname__
    try:
        text = repr(value)
    except Exception:
        return type(value).__qualname__
    return type(value).__qualname__ if " at 0x" in text else text
