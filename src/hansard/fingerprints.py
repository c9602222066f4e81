"""What functions do, as far as code says it: so that what an old one has made is not taken for what a new one makes."""

import functools
import re
from collections.abc import Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import islice
from types import CodeType, FunctionType, MethodType
from typing import Any
from uuid import UUID
from zlib import crc32

_FACTS_MAX = 50_000
"""A table may be large; what stands behind so many facts is not seen."""

_PLAIN = (int, float, complex, str, bytes, Decimal, Fraction, date, time, timedelta, UUID, range, re.Pattern, type(None))
_HOLDERS = (dict, list, tuple, set, frozenset)


def fingerprint_of(*values: Any) -> int:
    """A number that changes when the code of one of these functions or classes does, its defaults, or what it closes over; or
    what it names of its own module: functions, classes, constants, tables of handlers. What is further away is not seen.

    It is the same in every process and run of one version of Python, but for tables that a program fills as it goes.
    """
    return crc32(repr([list(islice(_Look(_module_of(value)).facts(value), _FACTS_MAX)) for value in values]).encode())


class _Look:
    """Walks over what belongs to one module, and meets each thing once."""

    def __init__(self, module: str | None) -> None:
        self._module = module
        self._seen: dict[int, Any] = {}  # by id; kept, so that no other object gets the id meanwhile

    def facts(self, value: Any) -> Iterator[str]:
        if isinstance(value, _PLAIN):
            yield f"{type(value).__qualname__} {value!r}"
            return
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, type):
            yield from self._of_class(value)
        elif isinstance(value, FunctionType):
            yield from self._of_function(value)
        elif isinstance(value, _HOLDERS):
            yield from self._of_holder(value)
        else:
            yield from self._of_object(value)

    def _of_holder(self, value: Any) -> Iterator[str]:
        yield type(value).__qualname__
        if isinstance(value, dict):
            for key, item in value.items():
                yield from self.facts(key)
                yield from self.facts(item)
        elif isinstance(value, set | frozenset):  # in an order of its own in each process
            yield from sorted("".join(_Look(self._module).facts(item)) for item in value)
        else:
            for item in value:
                yield from self.facts(item)

    def _of_function(self, function: FunctionType) -> Iterator[str]:
        if hasattr(function, "registry") and hasattr(function, "dispatch"):  # functools.singledispatch
            yield from self.facts(dict(function.registry))
            return
        yield from self._of_code(function.__code__)
        yield from self.facts((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # it is empty yet
                continue
            yield from self.facts(content)
        if function.__globals__.get("__name__") == self._module:
            for name in _names_in(function.__code__):
                named = function.__globals__.get(name)
                if isinstance(named, _PLAIN + _HOLDERS) or _module_of(named) == self._module:
                    yield from self.facts(named)

    def _of_code(self, code: CodeType) -> Iterator[str]:
        yield code.co_code.hex()
        yield repr(code.co_names)
        for one in code.co_consts:
            if isinstance(one, CodeType):
                yield from self._of_code(one)
            else:
                yield from self.facts(one)

    def _of_class(self, kind: type) -> Iterator[str]:
        """Its own functions, constants and tables, and those of its bases in the module."""
        yield kind.__qualname__
        if kind.__module__ != self._module:
            return
        for name, value in vars(kind).items():
            if isinstance(value, FunctionType) or name[:2] != "__":
                yield name
                yield from self.facts(value)
        for base in kind.__bases__:
            yield from self.facts(base)

    def _of_object(self, value: Any) -> Iterator[str]:
        """What a function is made of; of anything else its class, and what it holds if that is the module's."""
        if isinstance(value, Enum):
            yield value.name
            yield from self.facts(value.value)
            return
        yield type(value).__qualname__
        yield from self.facts(_parts_of(value))
        if type(value).__module__ == self._module:
            yield from self.facts(type(value))
            yield from self.facts(_attribute(value, "__dict__"))


def _parts_of(value: Any) -> tuple[Any, ...]:
    """The functions, and what is bound to them, that something that is called is made of."""
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, property):
        return value.fget, value.fset, value.fdel
    if isinstance(value, staticmethod | classmethod):
        return (value.__func__,)
    if isinstance(value, functools.cached_property):
        return (value.func,)
    wrapped = _attribute(value, "__wrapped__")  # functools.cache
    return (wrapped,) if isinstance(wrapped, FunctionType) else ()


def _names_in(code: CodeType) -> Iterator[str]:
    """Also those that functions within it use."""
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _names_in(one)


def _module_of(value: Any) -> str | None:
    if isinstance(value, functools.partial):
        return _module_of(value.func)
    if isinstance(value, MethodType):
        return _module_of(value.__func__)
    module = _attribute(value, "__module__")
    return module if isinstance(module, str) else None


def _attribute(value: Any, name: str) -> Any:
    """None where there is none, whatever an object of the user's makes of the question."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None
