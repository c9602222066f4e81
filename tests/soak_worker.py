"""One process of the soak: it runs processors and a projection until it is killed.

Its at-least-once effects go to a file, and the word "lost" where it has lost a partition of that processor.
"""

import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import hansard
from hansard import PARK, Processor, Projection, RecordedEvent, Retry, Transaction


def definitions(out: int, place: str) -> list[Any]:
    numbered, mark = ("BIGSERIAL", "%s") if place.startswith("postgresql:") else ("INTEGER", "?")

    def at_least(event: RecordedEvent) -> None:
        os.write(out, f"{event.stream} {event.version} {event.position}\n".encode())

    def exactly(event: RecordedEvent, transaction: Transaction) -> None:
        if place.startswith(("http:", "nats:")):  # no tables there
            number = transaction.get("count", "effects", 0) + 1
            transaction.put("count", "effects", number)
            transaction.put("effect", f"{number:09d}", event.position)
            return
        transaction.execute(f"CREATE TABLE IF NOT EXISTS effect (number {numbered} PRIMARY KEY, position BIGINT)")
        transaction.execute(f"INSERT INTO effect (position) VALUES ({mark})", (event.position,))

    def echo(event: RecordedEvent, transaction: Transaction) -> None:
        transaction.add(f"echo-{event.stream}", "echoed", event.version)

    return [
        Processor("at-least", at_least, partitions=4, on_failure=PARK, retry=Retry(attempts=2)),
        Processor("exactly", exactly, exactly_once=True),
        Processor("echo", echo, exactly_once=True, partitions=3, query=hansard.Query(types={"happened"})),
        Projection("sums", lambda n, event: n + event.version, initial=0),
    ]


class NoteLost(logging.Handler):
    """A process that is starved for longer than its lease is taken for dead, and begins again from the checkpoint."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        if record.args and record.args[0] == "at-least":
            os.write(self._out, b"lost\n")


if __name__ == "__main__":
    descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    logging.getLogger("hansard.processors").addHandler(NoteLost(descriptor))
    out = Path(sys.argv[2])
    own = re.sub(r"\?replica=[^&]*", f"?replica={out.with_name('node-' + out.name)}", sys.argv[1])
    with hansard.open(own) as store, store.run(*definitions(descriptor, sys.argv[1]), lease_s=1.0):
        while True:
            time.sleep(1)
