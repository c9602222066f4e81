"""Appends of many tasks and threads go to the server in bundles: while one is under way, the next one gathers."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hansard.appends import Appended
from hansard.errors import HansardError, StorageFailed, StoreBusy, StoreClosed
from hansard.limits import BUSY_TIMEOUT_S, GROUP_APPENDS_MAX, QUEUE_APPENDS_MAX
from hansard.storage.port import Ticket
from hansard.storage.remote.connection import LINES, Connections
from hansard.wire.appends import append_form
from hansard.wire.problems import error_of


class _Outcome(msgspec.Struct):
    appended: Appended | None = None
    problem: dict[str, Any] | None = None


_outcomes = msgspec.json.Decoder(_Outcome).decode_lines


class Sender:
    """One thread, started at the first need. `one_by_one` does an append in another way, while the store folds inline."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._gathered: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.one_by_one: Callable[[Ticket], Appended] | None = None

    def submit(self, tickets: Sequence[Ticket]) -> None:
        with self._changed:
            if self._is_closed:
                raise StoreClosed("the store is closed; open it again")
            if not self._changed.wait_for(lambda: len(self._gathered) < QUEUE_APPENDS_MAX or self._is_closed, BUSY_TIMEOUT_S):
                raise StoreBusy(f"the queue of {QUEUE_APPENDS_MAX} appends stayed full for {BUSY_TIMEOUT_S:g} s")
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_for_ever, name="hansard-sender", daemon=True)
                self._thread.start()
            self._gathered.extend(tickets)
            self._changed.notify_all()

    def close(self) -> None:
        """Send what has gathered, then end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _send_for_ever(self) -> None:
        while bundle := self._next_bundle():
            try:
                self._send(bundle)
            except HansardError as error:
                _fail(bundle, error)
            except Exception as error:
                failure = StorageFailed(f"sending appends failed: {type(error).__name__}: {error}")
                failure.__cause__ = error
                _fail(bundle, failure)
            _settle(bundle)

    def _next_bundle(self) -> list[Ticket]:
        with self._changed:
            self._changed.wait_for(lambda: self._gathered or self._is_closed)
            bundle = [self._gathered.popleft() for _ in range(min(len(self._gathered), GROUP_APPENDS_MAX))]
            self._changed.notify_all()
            return bundle

    def _send(self, bundle: Sequence[Ticket]) -> None:
        if self.one_by_one is not None:
            for ticket in bundle:
                try:
                    ticket.appended = self.one_by_one(ticket)
                except HansardError as error:
                    ticket.error = error
            return
        body = b"\n".join([append_form(ticket.append) for ticket in bundle])
        reply = self._connections.ask("POST", "/api/v1/appends", body, accept=LINES, sends=LINES)
        for ticket, outcome in zip(bundle, _outcomes(reply.body), strict=True):
            if outcome.problem is not None:
                ticket.error = error_of(outcome.problem)
            elif outcome.appended is not None:
                ticket.appended = first_time(outcome.appended, was_resent=reply.was_resent)


def first_time(appended: Appended, *, was_resent: bool) -> Appended:
    """A repetition that only this client's own second try has made is none: its handlers have not been called yet."""
    return msgspec.structs.replace(appended, is_repeat=False) if was_resent and appended.is_repeat else appended


def _fail(bundle: Sequence[Ticket], error: HansardError) -> None:
    for ticket in bundle:
        if ticket.appended is None and ticket.error is None:
            ticket.error = error


def _settle(bundle: Sequence[Ticket]) -> None:
    by_waiter: dict[Callable[[Sequence[Ticket]], None], list[Ticket]] = {}
    for ticket in bundle:
        by_waiter.setdefault(ticket.settled, []).append(ticket)
    for settled, tickets in by_waiter.items():
        settled(tickets)
