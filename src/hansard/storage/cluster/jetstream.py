"""NATS JetStream as a replicated log: one stream, one subject, messages of ours. The driver's event loop runs on a thread here.

Facts: https://docs.nats.io/nats-concepts/jetstream/streams.
"""

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar
from uuid import uuid4

import nats
from nats.errors import Error as NatsError
from nats.errors import NoServersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import api
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError

from hansard.errors import HansardError, OpenFailed, OutcomeUnknown, StorageFailed, StoreClosed, StoreNotFound, StoreUnusable
from hansard.storage.cluster.address import Address
from hansard.storage.cluster.log import MESSAGE_BYTES_MAX, LogInfo, Receiver

_DUPLICATES_S: Final = 120.0
"""How long JetStream knows a message's id: longer than anybody tries again."""

_OPEN_S: Final = 10.0
_ANSWER_S: Final = 3.0
_SILENT_S: Final = 1.0
_RESUME_S: Final = 0.5
_FULL_S: Final = 0.01
_MOVE_S: Final = 3.0
"""After so long without an answer another server is tried: this one may be cut off from the others."""

_CHOSEN: Final = {"storage": "file", "retention": "limits", "discard": "new"}
_UNSET: Final = (
    *("max_age", "max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "no_ack", "sealed", "mirror", "sources"),
    *("subject_transform", "allow_rollup_hdrs"),
)
"""Of a stream's settings: with any of these it could forget, refuse or change messages."""

_REFUSALS: Final = {10023, 10028, 10047, 10054, 10060, 10077}
"""JetStream's codes of errors by which a message is certainly not stored: no room, too large, another stream."""

_NO_CLUSTER: Final = 10074
_HEADERS_BYTES: Final = 512
_PENDING_BYTES: Final = 64 * 1024 * 1024
_ResultT = TypeVar("_ResultT")
_logger = logging.getLogger("hansard.cluster")


class JetStreamLog:
    """See ReplicatedLog."""

    def __init__(self, address: Address, *, must_exist: bool = False) -> None:
        """Makes the log if there is none, unless it must exist, or a replica says that there was one. Raises OpenFailed."""
        self._address, self._shown = address, address.shown
        self._has_replica = os.path.exists(address.replica)
        self._stream = f"hansard-{address.log}"
        self._subject = f"hansard.{address.log}.{uuid4().hex[:16]}"
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_told)
        self._thread = threading.Thread(target=self._loop.run_forever, name="hansard-jetstream", daemon=True)
        self._thread.start()
        self._delivered = 0
        self._following: asyncio.Task[None] | None = None
        self._is_closed = False
        self._client: Any = None
        self._trouble = ""
        self._servers = random.sample(address.servers, len(address.servers))
        self._answered_s = time.monotonic()
        try:
            self._client = self._run(self._connect(), _OPEN_S + 2)
            self._js = self._client.jetstream(timeout=_ANSWER_S)
            self._run(self._prepare(self._client.jetstream(timeout=_OPEN_S), must_exist), 3 * _OPEN_S)
        except (NatsError, APIError, TimeoutError, OSError) as error:
            self.close()
            reason = self._trouble if "do not let" in self._trouble else f"{_words(error)}{self.trouble}"
            raise OpenFailed(f"{self._shown}: {reason}") from error
        except HansardError:
            self.close()
            raise

    async def _connect(self) -> Any:
        return await nats.connect(
            self._servers,
            dont_randomize=True,
            connect_timeout=2,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            allow_reconnect=True,
            pending_size=_PENDING_BYTES,
            error_cb=self._complained,
            name="hansard",
            **self._address.credentials,
        )

    async def _complained(self, error: Exception) -> None:
        """The driver goes on, and connects again; those who wait for an answer in vain are told why."""
        self._trouble = _words(error)

    @property
    def trouble(self) -> str:
        return f" ({self._trouble})" if self._trouble else ""

    async def _prepare(self, js: Any, must_exist: bool) -> None:
        """Make the stream if there is none; refuse one that could forget, or lose.

        Its subject is made up when it is made: who has followed one that was deleted cannot write to the next of the same name.
        """
        try:
            info = await js.stream_info(self._stream)
        except NotFoundError:
            if must_exist or self._has_replica:
                file = ", but the file of a replica; to begin a new log, give another" if self._has_replica else ""
                raise StoreNotFound(f"{self._shown}: there is no log of this name on these servers{file}") from None
            info = await self._make(js)
        wrong = list(_wrong(info.config, self._subject.rpartition(".")[0], self._address.replicas))
        if wrong:
            raise OpenFailed(f"{self._shown}: the JetStream stream {self._stream} is not set as it must be: {'; '.join(wrong)}")
        if self._client.max_payload < MESSAGE_BYTES_MAX + _HEADERS_BYTES:
            raise OpenFailed(
                f"{self._shown}: max_payload of the servers is {self._client.max_payload} bytes, expected at least "
                f"{MESSAGE_BYTES_MAX + _HEADERS_BYTES}"
            )
        (self._subject,) = info.config.subjects

    async def _make(self, js: Any) -> Any:
        with suppress(BadRequestError):  # another node was quicker
            config = api.StreamConfig(
                name=self._stream,
                subjects=[self._subject],
                storage=api.StorageType.FILE,
                num_replicas=self._address.replicas,
                discard=api.DiscardPolicy.NEW,
                duplicate_window=_DUPLICATES_S,
                deny_delete=True,
                max_age=0,
            )
            return await js.add_stream(config)
        return await js.stream_info(self._stream)

    def publish(self, message: bytes, *, id: str, timeout_s: float) -> int:
        try:
            return self._run(self._publish(message, id, timeout_s), timeout_s + 2)
        except APIError as error:
            kind = StorageFailed if error.err_code in _REFUSALS else OutcomeUnknown
            raise kind(f"{self._shown}: {_words(error)}") from error
        except (NatsError, TimeoutError, OSError) as error:
            if f'publish to "{self._subject}"' in self._trouble:
                raise StorageFailed(f"{self._shown}: this user may not write to the log: {self._trouble}") from error
            raise OutcomeUnknown(f"{self._shown}: {_words(error)}{self.trouble}") from error

    async def _publish(self, message: bytes, id: str, timeout_s: float) -> int:
        try:
            answer = await self._js.publish(
                self._subject, message, timeout=timeout_s, stream=self._stream, headers={"Nats-Msg-Id": id}
            )
        except (NatsError, APIError, TimeoutError):
            await self._move_if_due()
            raise
        self._answered_s, self._trouble = time.monotonic(), ""
        return int(answer.seq)

    async def _move_if_due(self) -> None:
        """To the next server. Whoever follows finds its connection closed, and follows on the new one."""
        if time.monotonic() - self._answered_s < _MOVE_S:
            return
        self._servers.append(self._servers.pop(0))
        with suppress(NatsError, TimeoutError, OSError):
            client = await asyncio.wait_for(self._connect(), _MOVE_S)
            old, self._client = self._client, client
            self._js = client.jetstream(timeout=_ANSWER_S)
            self._answered_s = time.monotonic()
            await old.close()

    def follow(self, after: int, receiver: Receiver) -> None:
        self._following = asyncio.run_coroutine_threadsafe(self._begin(after, receiver), self._loop).result(_OPEN_S)

    async def _begin(self, after: int, receiver: Receiver) -> "asyncio.Task[None]":
        return self._loop.create_task(self._follow(after, receiver))

    async def _follow(self, after: int, receiver: Receiver) -> None:
        """For ever; begins again after the last message that was delivered, whatever happens to servers and consumers. Only a log
        that cannot go on from there ends it."""
        self._delivered = after
        while True:
            try:
                await self._check_log()
                await self._follow_once(receiver)
            except StoreUnusable as error:
                return receiver.fail(error)
            except (NatsError, APIError, TimeoutError, OSError) as error:
                self._trouble = self._trouble or _words(error)
                await asyncio.sleep(_RESUME_S)
                await self._move_if_due()

    async def _follow_once(self, receiver: Receiver) -> None:
        """Until the consumer has lost its way, or its connection."""
        config = api.ConsumerConfig(deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._delivered + 1)
        subscription = await self._js.subscribe(self._subject, ordered_consumer=True, config=config)
        try:
            while True:
                try:
                    message = await subscription.next_msg(timeout=_SILENT_S)
                except (NatsTimeoutError, TimeoutError):
                    if receiver.has_gap() or await self._has_more():
                        return
                    continue
                self._answered_s = time.monotonic()
                sequence = message.metadata.sequence.stream
                if sequence <= self._delivered:
                    continue
                if sequence != self._delivered + 1:
                    return
                receiver.put(sequence, message.data)
                self._delivered = sequence
                while receiver.is_full():
                    await asyncio.sleep(_FULL_S)
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _has_more(self) -> bool:
        """Asked after a long silence only."""
        if time.monotonic() - self._answered_s < _OPEN_S:
            return False
        last = await self._check_log()
        self._answered_s = time.monotonic()
        return last > self._delivered

    async def _check_log(self) -> int:
        """The last message. Raises StoreUnusable if this is another log than was opened, or one that has lost what is next."""
        info = await self._js.stream_info(self._stream)
        if info.config.subjects != [self._subject]:
            raise StoreUnusable(f"{self._shown}: the log was deleted, and another one made in its place")
        if info.state.first_seq > self._delivered + 1:
            raise StoreUnusable(
                f"{self._shown}: the log begins at message {info.state.first_seq} now, and this node has only come to "
                f"{self._delivered}; begin with a snapshot"
            )
        return int(info.state.last_seq)

    def info(self) -> LogInfo:
        try:
            info = self._run(self._js.stream_info(self._stream), _OPEN_S + 2)
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise StorageFailed(f"{self._shown}: {_words(error)}") from error
        return LogInfo(info.config.subjects[0], info.state.first_seq, info.state.last_seq, _leader(info))

    def trim(self, to: int) -> None:
        try:
            self._run(self._js.purge_stream(self._stream, seq=to + 1), _OPEN_S + 2)
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise StorageFailed(f"{self._shown}: {_words(error)}") from error

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(NatsError, TimeoutError, OSError):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_OPEN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """Nothing of the driver's may be left when its loop ends."""
        if self._following is not None:
            self._following.cancel()
        if self._client is not None:
            with suppress(NatsError, TimeoutError, OSError):  # such as of a server that is gone
                await self._client.close()
        rest = [task for task in asyncio.all_tasks(self._loop) if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self, coroutine: Coroutine[Any, Any, _ResultT], timeout_s: float) -> _ResultT:
        if self._is_closed:
            coroutine.close()
            raise StoreClosed("the store is closed; open it again")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)


def _leader(info: Any) -> str:
    return str((info.cluster and info.cluster.leader) or "")


def _wrong(config: Any, subject: str, replicas: int) -> Iterator[str]:
    """What of a stream's settings would lose messages, or take others than ours."""
    if [name.rpartition(".")[0] for name in config.subjects or ()] != [subject]:
        yield f"its subjects are {config.subjects}, expected one: {subject}.ID"
    if (config.num_replicas or 1) < replicas:
        yield f"it has {config.num_replicas} replicas, expected at least {replicas} (?replicas=1 for a single server)"
    if (config.duplicate_window or 0) < _DUPLICATES_S:
        yield f"duplicate_window is {config.duplicate_window} s, expected at least {_DUPLICATES_S:g}"
    for name, expected in _CHOSEN.items():
        if (chosen := str(getattr(config, name)).lower().rpartition(".")[2]) != expected:
            yield f"{name} is {chosen}, expected {expected}"
    for name in _UNSET:
        if (value := getattr(config, name)) and value != -1:
            yield f"{name} is {value}, expected not to be set"


def _words(error: BaseException) -> str:
    """In words that say what to do, where the server's do not."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, APIError) and error.err_code == _NO_CLUSTER:
        return "these servers are no cluster that could keep as many copies; add &replicas=1 to try it out on a single one"
    if isinstance(error, ServiceUnavailableError) and not error.err_code:
        return "JetStream is not switched on there, or not ready: jetstream { … } in the server's configuration"
    if "authorization" in text.lower():
        return f"the servers do not let this user in ({text.removeprefix('nats: ')})"
    if isinstance(error, NoServersError | TimeoutError):
        return "no server answers"
    return text


def _told(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What goes wrong in the driver's own tasks, as while it reconnects, is for those who look closely."""
    _logger.debug("NATS: %s", context.get("message"), exc_info=context.get("exception"))
