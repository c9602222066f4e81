"""What every engine's check says in the same words: how many problems are shown, and the rules that let content in."""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from hansard.errors import HansardError
from hansard.limits import DATA_BYTES_MAX, METADATA_BYTES_MAX, TAGS_PER_EVENT_MAX
from hansard.names import check_name
from hansard.serialization import check_json
from hansard.storage.tags import signature

_SHOWN_MAX = 20
"""Problems shown of one sort; a damaged log can have millions."""


def some(sentences: Iterator[str]) -> list[str]:
    shown: list[str] = []
    for sentence in sentences:
        if len(shown) == _SHOWN_MAX:
            return [*shown, f"… and more like the last one ({_SHOWN_MAX} shown)"]
        shown.append(sentence)
    return shown


def name_problems(sort: str, field: str, names: Iterable[object]) -> Iterator[str]:
    for name in names:
        yield from _refusal(sort, check_name, field, name)


def content_problems(rows: Iterable[tuple[int, bytes, bytes, str | None]]) -> Iterator[str]:
    """Of each event's data, metadata and tags, by the rules that let them in."""
    for position, data, metadata, tags in rows:
        place = f"position {position}"
        yield from _refusal(place, check_json, "data", data, DATA_BYTES_MAX)
        yield from _refusal(place, _check_metadata, metadata)
        if tags is not None:
            yield from _refusal(place, _check_tags, tags)


def signature_problems(rows: Iterable[tuple[int, str, int, str | None]]) -> Iterator[str]:
    """Of each entry of the tag index, with the tags of its event."""
    for position, tag, bits, tags in rows:
        if tags is not None and not _is_signed(tags, bits):
            yield f"position {position}: the signature of tag {tag!r} is not that of its tags"


def _is_signed(tags: str, bits: int) -> bool:
    try:
        return bits == signature(msgspec.json.decode(tags, type=list[str]))
    except msgspec.MsgspecError:  # reported with the event itself
        return True


def _refusal(place: str, rule: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        rule(*arguments)
    except (HansardError, msgspec.MsgspecError, ValueError) as error:
        yield f"{place}: {error}"


def _check_metadata(metadata: bytes) -> None:
    if not isinstance(check_json("metadata", metadata, METADATA_BYTES_MAX), dict):
        raise ValueError("metadata: not a JSON object")


def _check_tags(tags: str) -> None:
    names = msgspec.json.decode(tags, type=list[str])
    if not 0 < len(names) <= TAGS_PER_EVENT_MAX or names != sorted(set(names)):
        raise ValueError("tags: not a sorted list of different names")
    for name in names:
        check_name("tags", name)
