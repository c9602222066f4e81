"""JSON lines, gz and CSV, small and by hand: what goes in, what is refused, and that damage never costs the good records."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

import hansard
from hansard.interchange import ImportReport, Mapping, csv_rows, import_log, json_lines, json_texts
from hansard.interchange.records import Record

BY_NAME = Mapping(stream="{s}", type="{t}")


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


# JSON lines


def test_json_lines_keep_the_bytes_of_each_object(tmp_path: Path) -> None:
    """Broken: data would be written anew, and numbers, escapes and spaces would change."""
    lines = [b'{"s":"a", "t":"x","n":1.50}', '{"s":"a","t":"ü","e":"\\u00fc"}'.encode(), b'{"s":"b","t":"x"}']
    imported = Imported(tmp_path, b"\n".join(lines), mapping=BY_NAME)
    assert imported.data == lines
    assert [event.stream for event in imported.events] == ["a", "a", "b"]


def test_a_byte_order_mark_crlf_and_blank_lines_are_no_records(tmp_path: Path) -> None:
    """Broken: files from Windows would lose their first record, or give empty ones."""
    content = b'\xef\xbb\xbf{"s":"a","t":"x"}\r\n\r\n   \r\n{"s":"a","t":"y"}\r\n'
    imported = Imported(tmp_path, content, mapping=BY_NAME)
    assert imported.data == [b'{"s":"a","t":"x"}', b'{"s":"a","t":"y"}']
    assert imported.report.read == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"s":', "not valid JSON"),
        (b'{"s":"\xff","t":"x"}', "not valid JSON"),
        (b"[1]", "expected a JSON object, not list"),
        (b'{"s":"a"}', "t is missing"),
        (b'{"s":"a","t":"%s"}' % (b"x" * 513), "at most 512 characters"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_bad_line_is_rejected_with_its_place_and_the_rest_goes_on(tmp_path: Path, line: bytes, reason: str) -> None:
    """Broken: one bad line would stop an import, or vanish."""
    imported = Imported(tmp_path, b'{"s":"a","t":"x"}\n' + line + b'\n{"s":"a","t":"y"}\n', mapping=BY_NAME)
    assert [event.type for event in imported.events] == ["x", "y"]
    (rejected,) = imported.rejects
    assert rejected["place"] == "line 2"
    assert reason in rejected["reason"]
    assert rejected["record"] == line.decode("utf-8", "backslashreplace")


def test_an_over_long_line_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: a file without newlines would be read into memory whole."""
    monkeypatch.setattr(json_texts, "RECORD_BYTES_MAX", 40)
    fitting = b'{"s":"a","t":"%s"}' % (b"x" * 24)
    assert len(fitting) == 40
    imported = Imported(tmp_path, fitting + b'\n{"' + b"y" * 200_000 + b'\n{"s":"a","t":"z"}', mapping=BY_NAME)
    assert [event.type[0] for event in imported.events] == ["x", "z"]
    assert [reject["place"] for reject in imported.rejects] == ["line 2"]


def test_an_array_is_read_item_by_item() -> None:
    """Broken: brackets, commas or quotes inside an item would cut it in two, wherever a chunk ends."""
    items = [b'{"a":"],[\\"}"}', b'{"b":[1,{"c":","}]}', b'{"d":"\\\\"}', b"{bad}", b'{"e":1}']
    content = b"\xef\xbb\xbf [" + b" ,\n".join(items) + b" ] \n"
    for chunk_bytes in (1, 2, 3, 7, 1000):
        found = list(json_lines.records(OneChunkAtATime(content, chunk_bytes)))
        assert [item.place for item in found] == [f"item {number}" for number in range(1, 6)]
        assert [item.data_json if isinstance(item, Record) else item.text for item in found] == items


def test_a_cut_off_array_gives_its_whole_items(tmp_path: Path) -> None:
    """Broken: an array that ends too early would give nothing, or end in silence."""
    imported = Imported(tmp_path, b'[{"s":"a","t":"x"},{"s":"a",', mapping=BY_NAME, format="jsonl")
    assert imported.data == [b'{"s":"a","t":"x"}']
    assert imported.rejects[0]["reason"] == "the file ends inside the array"


def test_text_after_an_array_is_told(tmp_path: Path) -> None:
    """Broken: a second array in the file would be lost without a word."""
    imported = Imported(tmp_path, b'[{"s":"a","t":"x"}]\n[{"s":"a","t":"y"}]', mapping=BY_NAME)
    assert (imported.report.stored, imported.report.rejected) == (1, 1)


class OneChunkAtATime(io.BufferedReader):
    """A file whose reads are small, as over a slow pipe."""

    def __init__(self, content: bytes, chunk_bytes: int) -> None:
        super().__init__(io.BytesIO(content))
        self.chunk_bytes = chunk_bytes

    def read1(self, size: int = -1, /) -> bytes:
        return super().read1(self.chunk_bytes)


# gz


def test_gz_is_recognised_by_its_content(tmp_path: Path) -> None:
    """Broken: a packed file would need the right name."""
    packed = gzip.compress(b'{"s":"a","t":"x"}\n') + gzip.compress(b'{"s":"a","t":"y"}\n')
    assert [event.type for event in Imported(tmp_path, packed, mapping=BY_NAME).events] == ["x", "y"]


def test_a_cut_off_gz_gives_all_records_before_the_cut(tmp_path: Path) -> None:
    """Broken: a download that broke off would end in a traceback, or its last half line would pass for a record."""
    lines = b"".join(b'{"s":"s-%d","t":"x","h":"%x"}\n' % (n, hash((n, n * n))) for n in range(5000))
    imported = Imported(tmp_path, gzip.compress(lines)[:-2000], name="log.jsonl.gz", mapping=BY_NAME)
    assert len(imported.events) > 3000
    assert imported.data == lines.splitlines()[: len(imported.events)]
    (rejected,) = imported.rejects
    assert rejected["place"] == f"after line {len(imported.events)}"
    assert "damaged or cut off" in rejected["reason"]


def test_a_cut_off_csv_in_gz_gives_no_half_row(tmp_path: Path) -> None:
    """Broken: 123 cut off after 12 would be stored as 12."""
    rows = b"s,t,n\n" + b"".join(b"a,x,%d\n" % (n * 7_919 % 1_000_003) for n in range(5000))
    imported = Imported(tmp_path, gzip.compress(rows)[:-1001], name="log.csv.gz", mapping=BY_NAME)
    expected = [str(n * 7_919 % 1_000_003) for n in range(imported.report.stored)]
    assert [event.data["n"] for event in imported.events] == expected
    assert imported.report.rejected == 1


# CSV


def test_csv_rows_become_objects_of_strings(tmp_path: Path) -> None:
    """Broken: quotes, newlines and commas in fields, or numbers as text, would be changed."""
    content = 'stream,type,time,note\r\na-1,x,2024-01-01T00:00:00+05:30,"say ""hi"",\nthere"\r\n\r\na-1,y,,007\r\n'
    imported = Imported(tmp_path, b"\xef\xbb\xbf" + content.encode(), name="log.csv")
    assert [event.data["note"] for event in imported.events] == ['say "hi",\nthere', "007"]
    assert [event.metadata for event in imported.events] == [{"time": "2024-01-01T00:00:00+05:30"}, {}]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"a,x", "2 fields, but the header has 3"),
        (b"a,x,1,2", "4 fields, but the header has 3"),
        (b"a,\xff,1", "not valid UTF-8"),
        (b'a,"x"y,1', "not valid CSV"),
    ],
)
def test_a_bad_row_is_rejected_and_the_rest_goes_on(tmp_path: Path, row: bytes, reason: str) -> None:
    """Broken: fields would slide into the wrong columns."""
    imported = Imported(tmp_path, b's,t,n\n"a",x,"\n"\n' + row + b"\na,y,1\n", name="log.csv", mapping=BY_NAME)
    assert [event.type for event in imported.events] == ["x", "y"]
    (rejected,) = imported.rejects
    assert rejected["place"] == "line 4"
    assert reason in rejected["reason"]
    assert rejected["record"] == row.decode("utf-8", "backslashreplace")


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    """Broken: the rest of the file would become one field, without a word."""
    imported = Imported(tmp_path, b's,t\na,x\na,"y\na,z\n', name="log.csv", mapping=BY_NAME)
    assert (imported.report.stored, imported.report.rejected) == (1, 1)
    assert imported.rejects[0]["place"] == "line 3"


def test_an_over_long_csv_line_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: one endless line would fill the memory."""
    monkeypatch.setattr(csv_rows, "RECORD_BYTES_MAX", 10)
    imported = Imported(tmp_path, b"s,t\na,x\na," + b"y" * 100 + b"\na,z\n", name="log.csv", mapping=BY_NAME)
    assert [event.type for event in imported.events] == ["x", "z"]
    assert imported.rejects[0]["reason"] == "expected at most 10 bytes in a line"


def test_large_csv_fields_go_in(tmp_path: Path) -> None:
    """Broken: the csv module's own limit of 128 KiB would refuse what may be stored."""
    imported = Imported(tmp_path, b"s,t,d\na,x," + b"d" * 200_000, name="log.csv", mapping=BY_NAME)
    assert imported.report.stored == 1
    assert csv.field_size_limit() > 200_000


def test_semicolons_and_tabs_are_found_in_the_header(tmp_path: Path) -> None:
    """Broken: half of the world's CSV files would have one column."""
    for delimiter in (b";", b"\t"):
        imported = Imported(tmp_path, b"s,t\na,x\n".replace(b",", delimiter), name="log.csv", mapping=BY_NAME)
        assert imported.events[0].data == {"s": "a", "t": "x"}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """Broken: one of the two would be lost."""
    with pytest.raises(hansard.InvalidInput, match="two columns"):
        Imported(tmp_path, b"s,s\n1,2\n", name="log.csv")


# Recognising


def test_an_unknown_format_is_refused_by_name(tmp_path: Path) -> None:
    """Broken: a typing error would be taken for another format."""
    with pytest.raises(hansard.InvalidInput, match="expected one of hansard, jsonl, csv, xes, cloudevents, tar"):
        Imported(tmp_path, b"{}", format="json")
    with pytest.raises(hansard.InvalidInput, match="cannot tell the format"):
        Imported(tmp_path, b"hello\n")


def test_an_empty_file_is_an_empty_log(tmp_path: Path) -> None:
    """Broken: the export of an empty log would not import back."""
    for content in (b"", gzip.compress(b"")):
        assert Imported(tmp_path, content).report.read == 0
