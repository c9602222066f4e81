"""The schema lock: what has changed, what it means for stored events, and whether a store can be read by the code."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry

import hansard
from hansard import Event, EventTypes, InvalidInput
from hansard.schema.comparing import changes
from hansard.schema.differences import Kind, differences
from hansard.schema.sampling import sampled
from hansard.schema.shapes import asyncapi_of, json_schema_of, lock_of, read_lock, text_of
from hansard.wire.recorded import form_of

OK, UPCAST, BREAKING = Kind.COMPATIBLE, Kind.NEEDS_UPCASTER, Kind.BREAKING


def event_class(*fields: Any, name: str = "placed", version: int = 1, tags: Any = (), **options: Any) -> type:
    """A class of an event with these fields."""
    return hansard.event(name, version=version, tags=tags, **options)(make_dataclass("Placed", fields))


def kinds(old: EventTypes, new: EventTypes) -> list[tuple[Kind, str]]:
    """Frozen by the old code, checked by the new."""
    frozen = msgspec.json.decode(text_of(lock_of(old)), type=type(lock_of(old)))
    return [(change.kind, change.text) for change in changes(frozen, new)]


@dataclass
class Address:
    city: str


@dataclass
class AddressWithZip:
    city: str
    zip: str


FIELDS: list[tuple[list[Any], list[Any], Kind | None, str]] = [
    ([("a", int)], [("a", int)], None, ""),
    ([("a", int)], [("a", int), ("b", int, field(default=1))], OK, "b is new"),
    ([("a", int)], [("a", int), ("b", int)], UPCAST, "b is new and required; raise the version, and register an upcaster from"),
    ([("a", int), ("b", int)], [("a", int)], OK, "b is gone; what is stored of it is passed over"),
    ([("a", int)], [("a", str)], UPCAST, "a was integer, is string"),
    ([("a", int)], [("a", float)], OK, "a was integer, is number"),
    ([("a", float)], [("a", int)], UPCAST, "a was number, is integer"),
    ([("a", int)], [("a", int | None)], OK, "a was integer, is integer or null"),
    ([("a", int | None)], [("a", int)], UPCAST, "a was integer or null, is integer"),
    ([("a", int)], [("a", Any)], OK, "a was integer, is anything"),
    ([("a", Literal["x", "y"])], [("a", Literal["x", "y", "z"])], OK, "a was one of 'x', 'y', is one of 'x', 'y', 'z'"),
    ([("a", Literal["x", "y"])], [("a", Literal["x"])], UPCAST, "a was one of 'x', 'y', is one of 'x'"),
    ([("a", int, field(default=1))], [("a", int)], UPCAST, "a was optional, is required"),
    ([("a", int, field(default=1))], [("a", int, field(default=2))], None, ""),
    ([("a", list[int])], [("a", list[str])], UPCAST, "a[] was integer, is string"),
    ([("a", Address)], [("a", AddressWithZip)], UPCAST, "a.zip is new and required"),
    ([("a", AddressWithZip)], [("a", Address)], OK, "a.zip is gone"),
    ([("a", list[Address])], [("a", list[AddressWithZip])], UPCAST, "a[].zip is new and required"),
    ([("a", Decimal)], [("a", str)], OK, "a was string (format decimal), is string"),
    (
        [("a", Address | None)],
        [("a", AddressWithZip | None)],
        UPCAST,
        "a was Address (city) or null, is AddressWithZip (city, zip)",
    ),
    ([("a", AddressWithZip | None)], [("a", Address | None)], OK, "a was AddressWithZip"),
    ([("a", dict[str, Address])], [("a", dict[str, AddressWithZip])], UPCAST, "a was object of Address (city), is object of"),
    ([("a", tuple[int, str])], [("a", tuple[str, str])], UPCAST, "a was list [integer, string], is list [string, string]"),
    ([("a", tuple[int, int])], [("a", tuple[int, int, int])], UPCAST, "a was list [integer, integer], is list [integer, in"),
    ([("a", list[int])], [("a", Annotated[list[int], msgspec.Meta(max_length=2)])], UPCAST, "a was list of integer, is list"),
    ([("a", Annotated[list[int], msgspec.Meta(max_length=2)])], [("a", list[int])], OK, "a was list of integer maxItems 2"),
]


@pytest.mark.parametrize(("before", "after", "kind", "text"), FIELDS, ids=[f"{n}" for n in range(len(FIELDS))])
def test_a_change_of_a_field_is_classified(before: list[Any], after: list[Any], kind: Kind | None, text: str) -> None:
    """A release would fail at the first old event."""
    found = kinds(EventTypes(event_class(*before)), EventTypes(event_class(*after)))
    if kind is None:
        assert found == []
    else:
        ((first, words),) = found
        assert (first, words.startswith(text)) == (kind, True), words


@pytest.mark.parametrize(("before", "after", "kind", "text"), FIELDS, ids=[f"{n}" for n in range(len(FIELDS))])
def test_what_is_called_compatible_is_read_by_the_new_class(
    before: list[Any], after: list[Any], kind: Kind | None, text: str
) -> None:
    """The check would promise what the decoder does not keep."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    old, new = event_class(*before), event_class(*after)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.from_type(old))
    def reads(value: Any) -> None:
        try:
            event = Event.of(value)
        except InvalidInput:  # NaN, or an integer that is too large
            return
        with hansard.open(":memory:", types=[new]) as store:
            store.append("p-1", [event])
            _ = store.all("p-1")[0].value

    if kind is not UPCAST:
        reads()


def test_a_class_that_refuses_what_it_does_not_know_cannot_lose_a_field() -> None:
    """Old events would be refused."""

    @hansard.event("placed")
    class Before(msgspec.Struct):
        a: int
        b: int

    @hansard.event("placed")
    class After(msgspec.Struct, forbid_unknown_fields=True):
        a: int

    assert (UPCAST, True) in [
        (kind, "b is gone, and the class refuses" in text) for kind, text in kinds(EventTypes(Before), EventTypes(After))
    ]


def test_versions_names_tags_and_upcasters_are_watched() -> None:
    """The rest of what stored events rest on could change unseen."""
    old = EventTypes(event_class(("a", int), tags=["t:{a}"]))
    two = EventTypes(event_class(("a", int), ("b", int), version=2, tags=["t:{a}"]))
    assert kinds(old, two) == [(UPCAST, "version 1 → 2: register an upcaster from version 1")]
    two.upcast("placed", 1)(lambda data: {**data, "b": 0})
    assert kinds(old, two) == [(OK, "version 1 → 2, by its upcaster")]
    assert kinds(two, old) == [
        (BREAKING, "version 1 is below the frozen one, 2"),
        (BREAKING, "the upcaster from version 1 is gone; stored events may still need it"),
    ]
    none = EventTypes()
    assert kinds(old, none) == [
        (BREAKING, "no class has this name any more, so its events would be plain data; rename it, upcast it, or drop it")
    ]
    none.drop("placed")
    assert kinds(old, none) == [(OK, "dropped")]
    renamed = EventTypes(event_class(("a", int), name="ordered", tags=["t:{a}"]))
    renamed.rename("placed", "ordered")
    assert sorted(kinds(old, renamed)) == [(OK, "new, version 1"), (OK, "now ordered 1")]
    alias = EventTypes(event_class(("a", int), name="ordered", aliases=["placed"]))
    assert sorted(kinds(old, alias)) == [(OK, "an alias of ordered"), (OK, "new, version 1")]
    with_alias = EventTypes(event_class(("a", int), aliases=["old"]))
    assert kinds(with_alias, EventTypes(event_class(("a", int)))) == [
        (BREAKING, "alias old is gone: events stored under it would be plain data")
    ]
    tags = kinds(old, EventTypes(event_class(("a", int), tags=["u:{a}"])))
    assert [(kind, text[:15]) for kind, text in tags] == [(BREAKING, "tag u:{a} is ne"), (BREAKING, "tag t:{a} is go")]
    loose = EventTypes(event_class(("a", int), version=3))
    loose.upcast("placed", 1)(lambda data: data)
    assert (UPCAST, "from version 1 its chain ends at placed 2; Placed has version 3") in kinds(EventTypes(), loose)


@dataclass
class Line:
    item: str


@pytest.mark.parametrize("is_longer", [False, True])
def test_classes_of_one_name_are_looked_into(is_longer: bool) -> None:
    """A class inside a list may change under the same name, and so under the same reference."""
    inner = make_dataclass("Line", [("item", str), *([("count", int)] if is_longer else [])])
    found = kinds(EventTypes(event_class(("lines", list[Line]))), EventTypes(event_class(("lines", list[inner]))))  # type: ignore[valid-type]
    assert [kind for kind, _ in found] == ([UPCAST] if is_longer else [])


def test_pydantic_models_are_watched_too() -> None:
    """Half of the classes would be left out."""

    @hansard.event("placed")
    class Before(pydantic.BaseModel):
        a: int = pydantic.Field(alias="theA")
        address: Address

    @hansard.event("placed")
    class After(pydantic.BaseModel):
        a: str = pydantic.Field(alias="theA")
        address: AddressWithZip

    found = [text.partition(";")[0] for _, text in kinds(EventTypes(Before), EventTypes(After))]
    assert sorted(found) == ["address.zip is new and required", "theA was integer, is string"]


def test_samples_find_the_event_that_breaks() -> None:
    """CI would be green, and the first old event in production would not."""
    with hansard.open(":memory:") as store:
        for n in range(300):
            store.add("p-1", "placed", {"a": n if n != 7 else "seven"})
        store.add("p-1", "placed", {"a": 1, "b": 2}, metadata={"schema_version": 2})
        store.add("p-1", "unknown", {})
        types = EventTypes(event_class(("a", int), ("b", int), version=2))
        types.upcast("placed", 1)(lambda data: {**data, "b": data["a"] + 1})
        found = sampled(store.read(), types)
        assert [(one.type, one.version, one.events, one.is_known) for one in found.volumes] == [
            ("placed", 1, 300, True),
            ("placed", 2, 1, True),
            ("unknown", 1, 1, False),
        ]
        assert found.volumes[0].sampled == 104
        (failure,) = found.failures
        event = store.all("p-1")[7]
        assert str(failure).startswith(f"placed version 1 at position 8 ({event.id}): its upcaster raised TypeError")
        assert sampled(store.read(), types, reads_all=True).volumes[0].sampled == 300


def test_exports_are_valid_documents() -> None:
    """Other programs could not use them."""
    types = EventTypes(event_class(("a", Address), ("n", int)), event_class(("x", str), name="sent/on", personal=["x"]))
    schema = json_schema_of(types)
    Draft202012Validator.check_schema(schema)
    registry: Any = Registry()
    assert Draft202012Validator(schema, registry=registry).is_valid({"a": {"city": "Rome"}, "n": 1})
    assert not Draft202012Validator(schema, registry=registry).is_valid({"a": {"city": 3}, "n": 1})
    document = asyncapi_of(types, title="Shop", version="3")
    assert document["info"] == {"title": "Shop", "version": "3"}
    assert document["channels"]["log"]["messages"]["sent_on"] == {"$ref": "#/components/messages/sent_on"}
    message = document["components"]["messages"]["sent_on"]
    assert (message["name"], message["x-personal"]) == ("sent/on", ["x"])
    with hansard.open(":memory:", types=types) as store:
        store.add("s-1", "sent/on", {"x": "y"})
        store.add("s-1", "placed", {"a": {"city": "Rome"}, "n": 1})
        sent, placed = (json.loads(form_of(event)) for event in store.read())
    payload = Draft202012Validator(message["payload"])
    assert payload.is_valid(sent)
    assert not payload.is_valid(placed)
    assert not payload.is_valid({**sent, "data": {"x": 3}})
    payload = Draft202012Validator(document["components"]["messages"]["placed"]["payload"], registry=registry)
    assert payload.is_valid(placed)
    assert not payload.is_valid({**placed, "data": {"a": {"city": 3}, "n": 1}})


def test_keys_of_components_are_told_apart() -> None:
    """One message would take the place of another."""
    types = EventTypes(*(event_class(("a", int), name=name) for name in ("a b", "a/b", "a_b", "ä")))
    document = asyncapi_of(types, title="Shop", version="1")
    assert sorted(document["components"]["messages"]) == ["_", "a_b", "a_b-2", "a_b-3"]
    assert {message["name"] for message in document["components"]["messages"].values()} == {"a b", "a/b", "a_b", "ä"}


@pytest.mark.parametrize("field", ["title", "description", "default", "examples", "$defs", "properties", "items", "enum"])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_field_may_have_the_name_of_a_word_of_json_schema(field: str, depth: int) -> None:
    """The gate would let a breaking change through, because of the field's name."""

    def schema(of: dict[str, Any]) -> dict[str, Any]:
        one = {"type": "object", "title": "E", "properties": {"a": {"type": "integer"}, **of}, "required": ["a"]}
        return {"type": "object", "properties": {"inner": {"type": "array", "items": one}}} if depth else one

    text, number = {field: {"type": "string", "title": "T"}}, {field: {"type": "integer", "title": "N"}}
    place = f"inner[].{field}" if depth else field
    assert list(differences(schema(text), schema(number))) == [(UPCAST, f"{place} was string, is integer")]
    assert [kind for kind, _ in differences(schema(text), schema({}))] == [OK]
    assert list(differences(schema(text), schema({field: {"type": "string", "title": "U"}}))) == []


def test_where_chains_lead_is_watched() -> None:
    """A slip in a name makes stored events plain data, and handlers of the class never see them again."""

    def types(to: str | None, version: int = 1) -> EventTypes:
        found = EventTypes(event_class(("a", int), name="e", version=version))
        if to is None:
            found.drop("ren")
        else:
            found.rename("ren", to)
        return found

    old = types("e")
    assert kinds(old, types("e")) == []
    slip = kinds(old, types("typo"))
    assert slip[0] == (BREAKING, "from version 1 its chain ends at typo 1, which no class has: its events are plain data")
    assert kinds(old, types(None)) == [(OK, "the upcaster from version 1 led to e 1, leads to nothing (dropped)")]
    newer = types("e", 2)
    newer.upcast("e", 1)(lambda data: data)
    assert (UPCAST, "the upcaster from version 1 led to e 1, leads to e 2") in kinds(old, newer), "its data is still of version 1"
    with hansard.open(":memory:") as store:
        store.add("s-1", "ren", {"a": 1})
        events = list(store.read())
    assert [sampled(events, one).volumes[0].is_known for one in (types("e"), types("typo"), types(None))] == [True, False, True]


def test_fields_that_are_not_personal_any_more_are_told() -> None:
    """Nobody would look at it in a review."""
    before, now = (EventTypes(event_class(("a", int), personal=personal)) for personal in (["a"], []))
    assert kinds(before, now) == [(OK, "a is not marked as personal any more")]


APP = """
import hansard
from dataclasses import dataclass

@hansard.event("placed", version={version})
@dataclass
class Placed:
    a: int
    {more}

types = hansard.EventTypes(Placed)
{upcast}
all = [types, hansard.Projection("count", lambda n, event: n + event.value.a, initial=0, query=hansard.Query(types={{Placed}}))]
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hansard", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_the_command_line_freezes_checks_and_exports(tmp_path: Path) -> None:
    """CI could not use it."""
    app = tmp_path / "shop.py"
    app.write_text(APP.format(version=1, more="", upcast=""))
    frozen = run(tmp_path, "schema", "freeze", "--app", "shop:all")
    assert (frozen.returncode, frozen.stdout) == (0, "hansard-schema.json: 1 event types\n")
    assert read_lock(tmp_path / "hansard-schema.json").events["placed"].version == 1
    with hansard.open(tmp_path / "log.db") as store:
        store.add("p-1", "placed", {"a": 5})
    check = ("schema", "check", "--app", "shop:all", "--table")
    assert run(tmp_path, *check).stdout == "no change\n"
    app.write_text(APP.format(version=1, more="b: int", upcast=""))
    worse = run(tmp_path, *check, "--against", "log.db")
    assert worse.returncode == 9
    assert "needs an upcaster: placed: b is new and required" in worse.stdout
    assert "cannot be read: placed version 1 at position 1" in worse.stdout
    upcast = 'types.upcast("placed", 1)(lambda data: {"a": data["a"], "b": 0})'
    app.write_text(APP.format(version=2, more="b: int", upcast=upcast))
    well = run(tmp_path, *check, "--against", "log.db", "--all")
    assert well.returncode == 0, well.stdout
    assert "compatible: placed: version 1 → 2, by its upcaster" in well.stdout
    lines = run(tmp_path, *check[:-1], "--against", "log.db", "--json").stdout.splitlines()
    assert json.loads(lines[1])["stored"]["events"] == 1
    assert json.loads(run(tmp_path, "schema", "export", "--app", "shop:types").stdout)["$defs"]["placed"]["title"] == "Placed"
    asyncapi = run(tmp_path, "schema", "export", "--app", "shop:Placed", "--format", "asyncapi", "--title", "Shop")
    assert json.loads(asyncapi.stdout)["info"]["title"] == "Shop"
    assert run(tmp_path, "run", "log.db", "--app", "shop:all", "--until-caught-up").returncode == 0
    with hansard.open(tmp_path / "log.db") as store:
        assert store.model("count")["p-1"] == 5, "the app's types were used"


def test_files_and_apps_that_are_none_are_told(tmp_path: Path) -> None:
    """The reason would be a traceback."""
    (tmp_path / "shop.py").write_text("nothing = []\n")
    (tmp_path / "bad.json").write_text("{}")
    for words, message in (
        (("schema", "check", "--app", "shop:nothing"), "app: 'shop:nothing': it has no event types"),
        (("schema", "freeze", "--app", "shop:missing"), "shop has no missing"),
    ):
        answer = run(tmp_path, *words)
        assert (answer.returncode, message in answer.stderr) == (2, True), answer.stderr
    with pytest.raises(InvalidInput, match="write it by: hansard schema freeze"):
        read_lock(tmp_path / "none.json")
    with pytest.raises(InvalidInput, match="not a file of hansard schema freeze: Object missing required field"):
        read_lock(tmp_path / "bad.json")
    (tmp_path / "newer.json").write_text('{"hansard_schema": 9, "events": {}, "upcast": {}}')
    with pytest.raises(InvalidInput, match="its format is 9; this version reads 1"):
        read_lock(tmp_path / "newer.json")
