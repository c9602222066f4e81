"""Names in the fields of the search: several stand with commas between them; one that has a comma or a quote itself, or spaces at
its ends, stands in quotes. The page's script writes them the same way."""

import re
from typing import Final

_WORD: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))(?:,|$)')


def word_of(name: str) -> str:
    """A name as it is to stand in a field."""
    if "," in name or '"' in name or name != name.strip():
        return '"' + name.replace('"', '""') + '"'
    return name


def words_of(text: str) -> list[str]:
    """The names that stand in a field."""
    found = (_name_in(match) for match in _WORD.finditer(text))
    return [name for name in found if name]


def _name_in(match: re.Match[str]) -> str:
    quoted, plain = match.groups()
    return plain.strip() if quoted is None else quoted.replace('""', '"')
