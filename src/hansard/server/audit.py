"""What administrators did, kept as events of the store itself, in a stream that nobody else writes to."""

from typing import Any, Final

from hansard.appends import StreamAppend, append_of
from hansard.errors import shown
from hansard.events import Event
from hansard.limits import AUDIT_DETAIL_CHARS_MAX
from hansard.server.access.permissions import AUDIT_STREAM
from hansard.server.requests import Request
from hansard.server.service import Service

STREAM: Final = AUDIT_STREAM


async def note(service: Service, request: Request, action: str, target: str, **parameters: Any) -> None:
    """Store that somebody has done something, such as "projection-rebuilt". Parameters hold no secrets."""
    event = audit_event(action, target, by=request.principal.name, client=request.client, parameters=parameters)
    await service.appends.begin(append_of((StreamAppend(STREAM, (event,)),), None))


def audit_event(action: str, target: str, *, by: str, client: str, parameters: dict[str, Any]) -> Event:
    told = {name: value if _is_short(value) else shown(value) for name, value in parameters.items()}
    return Event(f"hansard.{action}", {"target": target, "by": by, "client": client, "parameters": told})


def _is_short(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, int | float | bool)
        or (isinstance(value, str) and len(value) <= AUDIT_DETAIL_CHARS_MAX)
    )
