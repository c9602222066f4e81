"""JSON text of data and metadata: what may be stored, and how it is written.

The rule is one sentence: **what is stored reads back equal to what was given.** The fast path checks exactly that,
by decoding what it has just encoded; whatever does not read back equal is looked at value by value,
so that the error can say where the trouble is. Knows nothing of events.
"""

from math import isfinite
from typing import Any

import msgspec

from hansard.errors import InvalidInput, InvalidType, StoreCorrupt
from hansard.limits import JSON_DEPTH_MAX

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def encode_json(field: str, value: object, bytes_max: int) -> bytes:
    """Compact UTF-8 JSON of a plain value: dict with text keys, list, tuple (read back as list), str, int, float, bool, None.

    Raises InvalidType or InvalidInput, which name the path inside the value.
    """
    try:
        text = _encode(value)
        reads_back_equal = _decode(text) == value
    except Exception:  # whatever the codec or a foreign __eq__ raises, the careful path names the reason
        reads_back_equal = False
    if not reads_back_equal:
        text = _encode_plain(field, _plain(field, value, 1))
    _check_size(field, text, bytes_max)
    _check_depth(field, text)
    return text


def _encode_plain(field: str, value: object) -> bytes:
    try:
        return _encode(value)
    except Exception as error:
        raise InvalidInput(field, value, f"cannot be written as JSON: {error}") from None


def check_json(field: str, text: object, bytes_max: int) -> Any:
    """The value of JSON text that will be stored byte for byte; refuses what does not decode."""
    if not isinstance(text, bytes):
        raise InvalidType(field, text, "expected JSON as bytes")
    _check_size(field, text, bytes_max)
    try:
        value = _decode(text)
    except RecursionError:
        raise InvalidInput(field, text, f"nested deeper than {JSON_DEPTH_MAX}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(field, text, f"not valid JSON: {error}") from None
    _check_depth(field, text)
    return value


def decode_json(text: bytes | str) -> Any:
    """The value of JSON text that was checked before it was stored."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StoreCorrupt(f"stored JSON does not decode ({error}); run: hansard check") from error


def _check_size(field: str, text: bytes, bytes_max: int) -> None:
    if len(text) > bytes_max:
        raise InvalidInput(field, text, f"expected at most {bytes_max} bytes of JSON, not {len(text)}")


def _check_depth(field: str, text: bytes) -> None:
    if len(text) <= 2 * JSON_DEPTH_MAX:  # too short to be too deep
        return
    if text.count(b"[") + text.count(b"{") > JSON_DEPTH_MAX and _depth(_decode(text)) > JSON_DEPTH_MAX:
        raise InvalidInput(field, text, f"nested deeper than {JSON_DEPTH_MAX}")


def _depth(value: object) -> int:
    """Depth by levels, without recursion."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _plain(path: str, value: object, depth: int) -> object:
    """The value with tuples as lists, or the error that names the first place that cannot be stored."""
    if depth > JSON_DEPTH_MAX + 1:
        raise InvalidInput(path.partition(".")[0].partition("[")[0], "…", f"nested deeper than {JSON_DEPTH_MAX}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return _plain_text(path, value)
    if isinstance(value, float):
        return _plain_float(path, value)
    if isinstance(value, list | tuple):
        return [_plain(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {_plain_key(path, key): _plain(f"{path}.{key}", item, depth + 1) for key, item in value.items()}
    raise InvalidType(path, value, "not a JSON value; give dict, list, str, int, float, bool or None")


def _plain_text(path: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(path, value, "lone surrogates are not allowed") from None
    return str.__str__(value)


def _plain_float(path: str, value: float) -> float:
    if not isfinite(value):
        raise InvalidInput(path, value, "JSON has no NaN and no infinity")
    return float(value)


def _plain_key(path: str, key: object) -> str:
    if not isinstance(key, str):
        raise InvalidType(f"{path} key", key, "keys of JSON objects are text (str)")
    return _plain_text(f"{path} key", key)
