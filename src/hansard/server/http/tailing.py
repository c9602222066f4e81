"""The log as it goes on, by server-sent events. Each client takes them at its own pace; what it has not taken stays in the log.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from typing import Final

from hansard.limits import HEARTBEAT_S, RETRY_AFTER_S
from hansard.query import Query
from hansard.server.operations import EVENT_STREAM
from hansard.server.responses import Stream, Write, header
from hansard.server.service import Service

GOODBYE: Final = b"retry: %d\n\n" % (RETRY_AFTER_S * 1000)
"""The client comes back then, and goes on from the last id it has seen."""


def tail(service: Service, query: Query, after: int, *, after_version: int = 0) -> Stream:
    """What is there after a position, then what comes. A silent stream tells its position now and then.

    `after_version`: of a stream, what is left out although it stands after the position.
    """

    async def write_all(write: Write) -> None:
        await write(GOODBYE)

        async def tell_caught_up(position: int) -> None:
            await write(b'event: caught-up\nid: %d\ndata: {"position":%d}\n\n' % (position, position))

        async def tell_idle(position: int) -> None:
            await write(b": heartbeat\nid: %d\n\n" % position)

        subscription = service.store.subscribe(
            query, after=after, on_caught_up=tell_caught_up, on_idle=tell_idle, idle_s=HEARTBEAT_S
        )
        async with subscription as events:
            async for event in events:
                if event.version is not None and event.version <= after_version:
                    continue
                await write(service.frames.of(event))

    return Stream(write_all, EVENT_STREAM, headers=[header("x-accel-buffering", "no")], goodbye=GOODBYE)
