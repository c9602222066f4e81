"""XES, CloudEvents and tar, small and by hand: what goes in, what is refused, that damage never costs the good records."""

import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import pytest

import hansard
from hansard.interchange import ImportReport, Mapping, cloudevents, import_log, xes
from hansard.interchange.records import BadRecord, Record


class Imported:
    """A log made from one file's bytes."""

    def __init__(self, folder: Path, content: bytes, name: str = "log.txt", **options: object) -> None:
        path = folder / name
        path.write_bytes(content)
        self.store = hansard.open(":memory:")
        rejects = folder / "rejects.jsonl"
        self.report: ImportReport = import_log(self.store, path, rejects=rejects, **options)  # type: ignore[arg-type]
        self.events = list(self.store.read())
        lines = rejects.read_bytes().splitlines() if rejects.exists() else []
        self.rejects = [json.loads(line) for line in lines]

    @property
    def data(self) -> list[bytes]:
        return [event.data_json for event in self.events]


# XES

XES = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="2.0" xmlns="http://www.xes-standard.org/">
  <global scope="event"><string key="concept:name" value="UNKNOWN"/></global>
  <string key="concept:name" value="the log's own name"/>
  <float key="m" value="1"><float key="n" value="2"/></float>
  <trace>
    <string key="concept:name" value="7"/>
    <int key="amount" value="20000"/>
    <event>
      <string key="concept:name" value="sent &amp; signed"/>
      <date key="time:timestamp" value="2011-10-01T00:38:44.546+02:00"/>
      <int key="i" value="-3"/><int key="odd" value="three"/>
      <float key="f" value="2.5"/><float key="nan" value="NaN"/>
      <boolean key="b" value="true"/><id key="u" value="4d2f"/>
      <string key="outer" value="o"><string key="inner" value="i"><int key="deep" value="1"/></string></string>
      <list key="l"><values><int key="x" value="1"/><int key="x" value="2"/></values></list>
      <container key="c"><string key="y" value="z"/></container>
    </event>
    <event><string key="concept:name" value="got"/><date key="time:timestamp" value="2011-09-30T22:38:44Z"/></event>
  </trace>
  <trace><string key="concept:name" value="8"/><event><string key="concept:name" value="sent"/></event></trace>
</log>
"""


def test_xes_keeps_types_nesting_and_time_zones(tmp_path: Path) -> None:
    """Broken: attributes would lose their type or their children, times their zone, events their trace."""
    imported = Imported(tmp_path, XES.encode(), name="log.xes")
    first, second, third = imported.events
    assert [event.stream for event in imported.events] == ["case-7", "case-7", "case-8"]
    assert [event.type for event in imported.events] == ["sent & signed", "got", "sent"]
    assert first.metadata == {"time": "2011-10-01T00:38:44.546+02:00"}
    assert second.metadata == {"time": "2011-09-30T22:38:44Z"}
    assert third.metadata == {}
    assert first.data == {
        "concept:name": "sent & signed",
        "time:timestamp": "2011-10-01T00:38:44.546+02:00",
        "i": -3,
        "odd": "three",
        "f": 2.5,
        "nan": "NaN",
        "b": True,
        "u": "4d2f",
        "outer": {"value": "o", "attributes": {"inner": {"value": "i", "attributes": {"deep": 1}}}},
        "l": [{"x": 1}, {"x": 2}],
        "c": [{"y": "z"}],
        "case:concept:name": "7",
        "case:amount": 20000,
    }


def test_xes_templates_reach_trace_and_event(tmp_path: Path) -> None:
    """Broken: the stream would come from the event's name, or other templates from the trace's."""
    mapping = Mapping(stream="{concept:name}", type="{case:concept:name}", tags=["{concept:name}", "amount:{amount}"])
    events = Imported(tmp_path, XES.encode(), mapping=mapping).events
    assert [(event.stream, event.type, event.tags) for event in events] == [
        ("7", "7", frozenset({"sent & signed", "amount:20000"})),
        ("7", "7", frozenset({"got", "amount:20000"})),
        ("8", "8", frozenset({"sent"})),
    ]


def test_xes_with_a_namespace_prefix_reads_the_same(tmp_path: Path) -> None:
    """Broken: a log whose elements carry a prefix would seem empty."""
    prefixed = XES.replace("<", "<x:").replace("<x:/", "</x:").replace("<x:?", "<?").replace("xmlns=", "xmlns:x=")
    (tmp_path / "prefixed").mkdir()
    assert Imported(tmp_path / "prefixed", prefixed.encode()).data == Imported(tmp_path, XES.encode()).data


def test_cut_off_xml_gives_the_events_before_the_cut(tmp_path: Path) -> None:
    """Broken: a log that was cut off would end in a traceback and an empty store."""
    cut = XES.encode()[: XES.index('value="got"')]
    imported = Imported(tmp_path, cut)
    assert [event.type for event in imported.events] == ["sent & signed"]
    assert imported.rejects[0]["place"] == "after trace 1, event 2"
    assert "cut off" in imported.rejects[0]["reason"]


@pytest.mark.parametrize("declaration", ['<!DOCTYPE log [<!ENTITY a "b">]>', '<!DOCTYPE log SYSTEM "file:///etc/passwd">'])
def test_document_type_declarations_are_refused(tmp_path: Path, declaration: str) -> None:
    """Broken: a small file could grow without bound in memory, or read other files."""
    with pytest.raises(hansard.InvalidInput, match="DOCTYPE"):
        Imported(tmp_path, f"<?xml version='1.0'?>{declaration}<log/>".encode())


def test_other_xml_is_refused(tmp_path: Path) -> None:
    """Broken: any XML would be an empty log."""
    with pytest.raises(hansard.InvalidInput, match="expected <log>"):
        Imported(tmp_path, b"<html></html>")


def test_xes_attributes_that_would_be_lost_are_told(tmp_path: Path) -> None:
    """Broken: of two attributes of one name one would vanish; so would a trace's attribute that comes late."""
    twice = '<event><int key="concept:name" value="1"/><int key="concept:name" value="2"/></event>'
    good = '<event><string key="concept:name" value="x"/></event>'
    trace = f'<trace><string key="concept:name" value="1"/>{twice}{good}<int key="late" value="1"/></trace>'
    imported = Imported(tmp_path, f"<log>{trace}</log>".encode())
    assert [event.type for event in imported.events] == ["x"]
    assert [reject["place"] for reject in imported.rejects] == ["trace 1, event 1", "trace 1"]


def test_deeply_nested_xes_is_a_bad_record(tmp_path: Path) -> None:
    """Broken: nesting would end in a traceback."""
    nested = '<string key="a" value="v">' * 5000 + "</string>" * 5000
    imported = Imported(tmp_path, f'<log><event><id key="concept:name" value="1"/>{nested}</event></log>'.encode())
    assert imported.report.rejected == 1
    assert "nested deeper" in imported.rejects[0]["reason"]


def test_xes_is_read_in_constant_memory() -> None:
    """Broken: a trace as long as the file would be held whole."""
    event = b'<event><string key="concept:name" value="' + b"x" * 200 + b'"/></event>'
    file: io.BufferedReader = io.BufferedReader(io.BytesIO(b"<log><trace>" + event * 40_000 + b"</trace></log>"))
    tracemalloc.start()
    try:
        assert sum(isinstance(record, Record) for record in xes.records(file)) == 40_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2_000_000


# CloudEvents

CLOUD_EVENT = (
    b'{"specversion":"1.0","id":"A-1","source":"/shop","type":"paid","subject":"7",'
    b'"time":"2018-04-05T17:31:00+02:00","ext":5,"data": {"a" : 1.0}}'
)


def test_a_cloud_event_keeps_the_bytes_of_its_data_and_its_attributes(tmp_path: Path) -> None:
    """Broken: data would be written anew, or attributes lost."""
    (event,) = Imported(tmp_path, CLOUD_EVENT).events
    assert (event.stream, event.type, event.data_json) == ("/shop/7", "paid", b'{"a" : 1.0}')
    assert event.metadata == {
        "specversion": "1.0",
        "id": "A-1",
        "source": "/shop",
        "type": "paid",
        "subject": "7",
        "time": "2018-04-05T17:31:00+02:00",
        "ext": 5,
    }


def test_cloud_events_come_alone_by_line_or_as_a_batch(tmp_path: Path) -> None:
    """Broken: one of the three forms would not be recognised."""
    other = CLOUD_EVENT.replace(b"A-1", b"A-2").replace(b'"subject":"7",', b"")
    pretty = json.dumps(json.loads(CLOUD_EVENT), indent=2).encode()
    assert [event.data for event in Imported(tmp_path, pretty).events] == [{"a": 1.0}]
    for content in (CLOUD_EVENT + b"\n" + other + b"\n", b"[\n" + CLOUD_EVENT + b"," + other + b"]"):
        assert [event.stream for event in Imported(tmp_path, content).events] == ["/shop/7", "/shop"]


def test_cloud_event_ids_hold_within_their_source_only(tmp_path: Path) -> None:
    """Broken: events of two sources that count from 1 would pass for repetitions."""
    uuid = "0190c7a4-8f00-7000-8000-000000000001"
    events = [CLOUD_EVENT, CLOUD_EVENT.replace(b"/shop", b"/bank"), CLOUD_EVENT, CLOUD_EVENT.replace(b"A-1", uuid.encode())]
    imported = Imported(tmp_path, b"\n".join(events))
    assert (imported.report.stored, imported.report.repeated) == (3, 1)
    assert str(imported.events[2].id) == uuid


@pytest.mark.parametrize(
    ("old", "new", "data"),
    [(b'"data": {"a" : 1.0}', b'"data_base64":"AAE="', b'{"data_base64":"AAE="}'), (b',"data": {"a" : 1.0}', b"", b"null")],
)
def test_binary_and_missing_data(tmp_path: Path, old: bytes, new: bytes, data: bytes) -> None:
    """Broken: binary data would be lost, or an event without data refused."""
    assert Imported(tmp_path, CLOUD_EVENT.replace(old, new)).data == [data]


def test_what_is_no_cloud_event_is_rejected(tmp_path: Path) -> None:
    """Broken: events without id or source would get invented ones."""
    wrong = [b'{"id":"1"}', b"[1]", CLOUD_EVENT.replace(b'"A-1"', b"1"), CLOUD_EVENT[:-1] + b',"data_base64":"AA=="}']
    imported = Imported(tmp_path, b"\n".join([CLOUD_EVENT, *wrong]))
    assert (imported.report.stored, imported.report.rejected) == (1, 4)
    assert "'specversion' must be there" in imported.rejects[0]["reason"]


def test_an_endless_cloud_event_is_a_bad_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: one file without end would fill the memory."""
    monkeypatch.setattr(cloudevents, "RECORD_BYTES_MAX", 50)
    file: io.BufferedReader = io.BufferedReader(io.BytesIO(b"{\n" + CLOUD_EVENT))
    (record,) = cloudevents.records(file)
    assert isinstance(record, BadRecord)


# tar


def tar_of(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


FROM_PATH = Mapping(stream="{:path}", type="{:folder}.{action}|{:folder}", tags=["{:name}"])


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_tar_gives_one_event_a_json_file(tmp_path: Path, mode: str) -> None:
    """Broken: bytes of the files would change, or other files would be read."""
    members = {
        "LICENSE": b"MIT",
        "p/issues/b.json": b'{ "action":"opened" }\n',
        "p/push/a.json": b'\xef\xbb\xbf{"x":1}',
        "p/bad.json": b"{",
    }
    imported = Imported(tmp_path, tar_of(members, mode), mapping=FROM_PATH)
    assert imported.data == [b'{ "action":"opened" }\n', b'{"x":1}']
    assert [event.stream for event in imported.events] == ["p/issues/b.json", "p/push/a.json"]
    assert [event.type for event in imported.events] == ["issues.opened", "push"]
    assert [event.tags for event in imported.events] == [{"b"}, {"a"}]
    assert imported.rejects[0]["place"] == "member p/bad.json"


def test_a_cut_off_tar_gives_the_files_before_the_cut(tmp_path: Path) -> None:
    """Broken: a damaged tar would end in a traceback."""
    whole = tar_of({f"p/{n}.json": b'{"n":%d}' % n for n in range(10)}, "w")
    for cut in (1024 * 4, 1024 * 4 + 200, 1024 * 4 + 515):
        imported = Imported(tmp_path, whole[:cut], mapping=FROM_PATH)
        assert imported.data == [b'{"n":%d}' % n for n in range(4)]
        assert imported.report.rejected == 1
    damaged = bytearray(whole)
    damaged[1024 * 4 + 150] ^= 0xFF
    assert Imported(tmp_path, bytes(damaged), mapping=FROM_PATH).report.rejected == 1
