"""A store of the size asked for, made once for all questions about reading.

One block is 100,000 events: 50 streams of 1,000 and 5,000 streams of 10, interleaved in the log. Types and categories select 1 %
each. Every event carries a tag of its stream's thousandth part ("cell:…", 0.1 %); every hundredth the tag "hot" (1 %).
The pair "hot" and "rare" (1,000 events, never hot) meets nowhere.
"""

from pathlib import Path

import floors
import hansard
from hansard import Event, StreamAppend

BLOCK = 100_000


def make(place: str | Path, size: int) -> None:
    with hansard.open(place, durability="page-cache") as store:
        number = 0
        for block in range(size // BLOCK):
            for group in range(100):
                parts = []
                for stream in range(50):
                    name = f"c{stream:02d}-s{block:03d}{group * 50 + stream:05d}"
                    parts.append(StreamAppend(name, [event(number + n, size) for n in range(10)]))
                    number += 10
                for stream in range(5):
                    name = f"c{50 + stream * 10 + group % 10:02d}-l{block:03d}{group % 10 * 5 + stream:05d}"
                    parts.append(StreamAppend(name, [event(number + n, size) for n in range(100)]))
                    number += 100
                store.append_streams(parts)


def event(number: int, size: int) -> Event:
    tags = {f"cell:{number % 1000}"}
    if number % 100 == 7:
        tags.add("hot")
    elif number % (size // 1000) == 11:
        tags.add("rare")
    return Event(f"type-{number % 100:02d}", floors.DATA, floors.METADATA, tags)


def short_stream(block: int, number: int) -> str:
    return f"c{number % 50:02d}-s{block:03d}{number:05d}"
