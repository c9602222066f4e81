"""Templates, mappings and derived ids: what a record's fields become."""

from typing import Any
from uuid import UUID

import pytest

from hansard import InvalidInput, InvalidType
from hansard.interchange.derived_ids import DerivedIds
from hansard.interchange.mapping import Mapper, Mapping, NewEvent
from hansard.interchange.records import BadRecord, Record
from hansard.interchange.templates import MissingField, Template

FIELDS = {
    "name": "Jo",
    "a.b": "exact",
    "a": {"b": "path", "c": {"d": 7}},
    "n": 1.5,
    "big": 2**70,
    "yes": True,
    "none": None,
    "empty": "",
    "list": ["x", 2, None],
    "objects": [{}],
    ":path": "p/x.json",
    "concept:name": "sent",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{name}", "Jo"),
        ("case-{concept:name}!", "case-sent!"),
        ("{name} {name}", "Jo Jo"),
        ("{a.b}", "exact"),
        ("{a.c.d}", "7"),
        ("{n}/{yes}/{big}", "1.5/true/1180591620717411303424"),
        ("{:path}", "p/x.json"),
        ("{{{name}}}", "{Jo}"),
        ("{{name}}", "{name}"),
        ("{gone}|{none}|{empty}|{a}|{list}|{name}", "Jo"),
        ("{name} {gone}|(none)", "(none)"),
        ("{gone}|", ""),
        ("", ""),
    ],
)
def test_templates(template: str, text: str) -> None:
    """Broken: records would get another stream, type, time or id than the template says."""
    assert Template("stream", template).render(FIELDS) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{gone}", "gone is missing"),
        ("x{empty}", "empty is empty"),
        ("{a}|{list}", "a is an object, list is an array"),
        ("{name.first}", "name.first is missing"),
    ],
)
def test_a_missing_field_is_named_with_those_that_are_there(template: str, reason: str) -> None:
    """Broken: nobody could tell from the rejects file what is wrong with the template."""
    with pytest.raises(MissingField) as raised:
        Template("stream", template).render(FIELDS)
    assert reason in str(raised.value)
    assert "the record's fields: name, a.b, a, n," in str(raised.value)


@pytest.mark.parametrize("template", ["{", "}", "{}", "a{b", "a}b", "{a{b}}", "{{a}"])
def test_broken_templates_are_refused(template: str) -> None:
    """Broken: a typing error would become part of every stream's name."""
    with pytest.raises(InvalidInput, match="stream"):
        Template("stream", template)


@pytest.mark.parametrize(
    ("template", "tags"),
    [
        ("user:{name}", ["user:Jo"]),
        ("{list}", ["x", "2"]),
        ("{name}:{list}", ["Jo:x", "Jo:2"]),
        ("{gone}", []),
        ("{objects}", []),
        ("{gone}|none", ["none"]),
    ],
)
def test_templates_of_tags(template: str, tags: list[str]) -> None:
    """Broken: lists would not become one tag an element, or missing fields would reject the record."""
    assert Template("tags", template).render_each(FIELDS) == tags


def mapped(record: Record, mapping: Mapping, defaults: Mapping | None = None) -> NewEvent | BadRecord:
    return Mapper(mapping, defaults or Mapping(), source="log").event(record)


def record(fields: dict[str, Any], ordinal: int = 1) -> Record:
    return Record(fields, b"{}", "line 1", ordinal)


def test_an_id_that_is_a_uuid_is_the_id() -> None:
    """Broken: the events of a log that has proper ids would get others."""
    uuid = "0190c7a4-8f00-7000-8000-000000000001"
    item = mapped(record({"i": uuid.upper()}), Mapping(stream="s", type="t", id="{i}"))
    assert isinstance(item, NewEvent)
    assert str(item.event.id) == uuid


def test_an_empty_stream_means_no_stream() -> None:
    """Broken: a log of tagged events without streams could not be imported."""
    item = mapped(record({"n": 1}), Mapping(stream="", type="t", tags=["n:{n}"]))
    assert isinstance(item, NewEvent)
    assert (item.stream, item.event.tags) == (None, frozenset({"n:1"}))


def test_a_time_that_is_asked_for_must_be_there() -> None:
    """Broken: a wrong field name would lose all times in silence."""
    item = mapped(record({"n": 1}), Mapping(stream="s", type="t", time="{when}"))
    assert isinstance(item, BadRecord)
    assert "when is missing" in item.reason


def test_a_stream_that_nobody_named_is_asked_for_at_once() -> None:
    """Broken: an import without options would reject every record of the file, one by one."""
    with pytest.raises(InvalidInput, match="stream: None: say which field is the stream; the fields of line 1: n"):
        mapped(record({"n": 1}), Mapping(type="{n}"))
    with pytest.raises(InvalidInput, match="say which field is the type"):
        mapped(record({"n": 1}), Mapping(stream="{n}"))
    assert isinstance(mapped(record({"stream": "s", "type": "t"}), Mapping()), NewEvent)


def test_mappings_of_the_wrong_kind_are_refused() -> None:
    """Broken: a list of tags given as text would be read letter by letter."""
    with pytest.raises(InvalidType, match="tags"):
        Mapping(tags="{a}")
    with pytest.raises(InvalidType, match="stream"):
        Mapping(stream=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="every event has a type"):
        Mapping(type="")


def test_derived_ids_never_change() -> None:
    """Broken: a file imported with an older Hansard would be stored a second time by this one."""
    ids = DerivedIds("log.jsonl")
    assert str(ids.of_place(1, b'{"a":1}')) == "fca35259-0ed3-8000-8000-00047e300191"
    assert str(ids.of_text("A-1")) == "4ce2ae56-9a39-8f2f-b56f-b31f3c3ef36a"


def test_derived_ids_are_of_version_8() -> None:
    """Broken: others could take them for random or time-ordered ids."""
    ids = DerivedIds("log.jsonl")
    for id in (ids.of_place(2**40 - 1, b"x"), ids.of_text("x"), ids.of_place(0, b"")):
        assert (id.version, id.variant) == (8, UUID(int=0x8 << 76 | 0b10 << 62).variant)


def test_derived_ids_ascend_with_the_place_and_differ_by_source_and_content() -> None:
    """Broken: the index of ids would be written all over, or different events would share an id."""
    ids, others = DerivedIds("a"), DerivedIds("b")
    places = [0, 1, 2, 2**28 - 1, 2**28, 2**28 + 1, 2**40 - 1]
    made = [ids.of_place(place, b"same").bytes for place in places]
    assert made == sorted(set(made))
    assert ids.of_place(1, b"x") != ids.of_place(1, b"y")
    assert ids.of_place(1, b"x") != others.of_place(1, b"x")
    assert ids.of_text("x") != others.of_text("x")
