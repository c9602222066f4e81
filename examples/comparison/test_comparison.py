"""Both versions of both domains work, and the figures of docs/comparison.md are theirs."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

FILES = ["hansard_bank", "eventsourcing_bank", "hansard_courses", "eventsourcing_courses"]


@pytest.mark.parametrize(("name", "result"), list(zip(FILES, [7, 7, 3, 3], strict=True)))
def test_each_of_them_works(name: str, result: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """We would compare with something that does not work."""
    for variable in ("PERSISTENCE_MODULE", "SQLITE_DBNAME"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    assert import_module(name).main() == result


def test_the_lines_are_counted() -> None:
    """The page would tell of other files."""
    page = (HERE.parent.parent / "docs" / "comparison.md").read_text()
    rows = re.findall(r"^\| lines that are not empty \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    told = [int(number) for row in rows for number in row]
    counted = [sum(bool(line.strip()) for line in (HERE / f"{name}.py").read_text().splitlines()) for name in FILES]
    assert told == counted
