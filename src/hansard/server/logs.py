"""What the server says of itself: lines for people, or JSON lines for programs. Headers, keys and data are never in them."""

import logging
import queue
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Final

import msgspec

from hansard.server.settings import Settings

FACTS = ("method", "path", "status", "ms", "who", "client", "trace")
"""Members of a log record beside its message."""


_WAITING_MAX: Final = 10_000
"""Lines that wait to be written; more are left out, so that a reader of the log that stands still stops no server."""


def set_up_logs(settings: Settings) -> QueueListener:
    """Lines are written by a thread of their own; `stop()` writes what waits."""
    writer = logging.StreamHandler(sys.stderr)
    writer.setFormatter(JsonLines() if settings.log_format == "json" else Lines())
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(_WAITING_MAX)
    handler = _Handler(waiting)
    listener = QueueListener(waiting, writer)
    listener.start()
    for name in ("hansard", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(settings.log_level.upper() if name == "hansard" else logging.WARNING)
    return listener


class _Handler(QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is: in the same process nothing need be flattened."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in FACTS if hasattr(record, name)},
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(told).decode()


class Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={getattr(record, name)}" for name in FACTS if hasattr(record, name))
        line = (
            f"{_time(record)} {record.levelname.lower():<7} {_one_line(record.getMessage())}{' ' * bool(facts)}{_one_line(facts)}"
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _one_line(text: str) -> str:
    """Nothing that comes from outside may begin a line of its own, or steer a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
