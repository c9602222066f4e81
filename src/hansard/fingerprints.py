"""What functions do, as far as code says it: so that what an old one has made is not taken for what a new one makes."""

import functools
from collections.abc import Iterator
from types import CodeType
from typing import Any
from zlib import crc32

_DEPTH_MAX = 5


def fingerprint_of(*functions: Any) -> int:
    """A number that changes when the code of one of them does, its defaults, what it closes over, or a function of the same
    module that it calls. What is further away is not seen."""
    return crc32(repr([list(_facts(function, set(), 0)) for function in functions]).encode())


def _facts(value: Any, seen: set[int], depth: int) -> Iterator[str]:
    if isinstance(value, functools.partial):
        yield from _facts(value.func, seen, depth)
        yield repr((value.args, sorted(value.keywords.items())))
        return
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        yield _text(value)
        return
    if id(code) in seen or depth > _DEPTH_MAX:
        return
    seen.add(id(code))
    yield from _of_code(code)
    yield repr((function.__defaults__, function.__kwdefaults__))
    for cell in function.__closure__ or ():
        try:
            yield from _facts(cell.cell_contents, seen, depth + 1)
        except ValueError:  # it is empty yet
            continue
    for name in code.co_names:
        called = function.__globals__.get(name)
        if getattr(called, "__module__", None) == function.__module__ and hasattr(called, "__code__"):
            yield from _facts(called, seen, depth + 1)


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
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text
