"""Time travel: the state of a stream after each of its events, what the event changed, and which event set each field last."""

from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta

from hansard.deciders.definition import Decider
from hansard.errors import InvalidInput
from hansard.events import RecordedEvent
from hansard.projections.definition import Projection
from hansard.projections.live import fold_all, fold_into
from hansard.server.access.permissions import Permission
from hansard.server.operations import HTML
from hansard.server.requests import Request
from hansard.server.responses import Answer
from hansard.server.service import Service
from hansard.server.ui.pages import number_of, page, pages, tree_of

operation = pages()

_EVENTS_MAX: Final = 20_000
_FIELDS_MAX: Final = 500
_FIELDS_LOOKED_AT_MAX: Final = 2_000_000
"""In all states together; some seconds of work."""
_NOTHING: Final = object()


class TravelAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    stream: Annotated[str, Meta(min_length=1)]
    version: str = ""
    by: str = ""


class Field(msgspec.Struct, frozen=True):
    """One field of a state: its value before and after the event, and the event that set it last."""

    path: str
    value: Any
    before: Any
    change: str
    version: int
    position: int
    type: str


class Travelled(msgspec.Struct, frozen=True):
    """The state after an event. `is_cut`: earlier events, beyond a bound, were left out."""

    event: RecordedEvent | None
    state: Any
    fields: list[Field]


@operation("GET", "/travel", needs=Permission.READ, parameters=TravelAsked, returns={200: {HTML: None}})
async def travel(service: Service, request: Request) -> Answer:
    """Time travel through a stream."""
    asked = request.parameters(TravelAsked)
    request.principal.check_stream(Permission.READ, asked.stream)
    folding = _folding(service, asked.by)
    info = await service.seen_store.stream(asked.stream)
    version = number_of("version", asked.version)
    last = min(info.version, _EVENTS_MAX)
    version = last if version is None else max(0, min(version, info.version))
    if version > _EVENTS_MAX:
        raise InvalidInput("version", version, f"a state is folded from at most {_EVENTS_MAX} events here")
    events = (
        [event async for event in service.seen_store.read_stream(asked.stream, before_version=version + 1)] if version else []
    )
    travelled = await service.in_thread(after_all, events, folding)
    return await page(
        service,
        request,
        "travel.html",
        asked=asked,
        info=info,
        version=version,
        last=last,
        travelled=travelled,
        tree=tree_of(travelled.state),
        shown=travelled.fields[:_FIELDS_MAX],
        foldings=_names(service),
    )


class Folding(Protocol):
    """How a state is made of a stream's events, one after the other."""

    def after(self, event: RecordedEvent) -> Any:
        """The state after one more event, as plain data."""


class Merging:
    """The generic fold: see `merged`."""

    def __init__(self) -> None:
        self._state: Any = {}

    def after(self, event: RecordedEvent) -> Any:
        self._state = merged(self._state, event)
        return self._state


class ByProjection:
    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._states = fold_all(projection, [])
        self._state: Any = {}

    def after(self, event: RecordedEvent) -> Any:
        if self._projection.events.matches(event, event.stream):
            fold_into(self._projection, self._states, event)
            self._state = next(iter(self._states.values())) if len(self._states) == 1 else dict(self._states)
        return self._state


class ByDecider:
    def __init__(self, decider: Decider[Any, Any, Any]) -> None:
        self._decider = decider
        self._state = decider.begin()

    def after(self, event: RecordedEvent) -> Any:
        try:
            self._state = self._decider.folded(self._state, [event])
        except Exception as error:
            reason = f"{self._decider.name} failed at {event.type!r}: {type(error).__name__}: {error}"
            raise InvalidInput("by", self._decider.name, reason) from error
        return plain_state(self._state)


def _folding(service: Service, name: str) -> Folding:
    if not name:
        return Merging()
    domain = service.domain
    if name in domain.projections:
        return ByProjection(domain.projections[name])
    if name in domain.deciders:
        return ByDecider(domain.deciders[name])
    known = ", ".join(_names(service)) or "none; start the server with --app"
    raise InvalidInput("by", name, f"there is no projection or decider of this name here; known are {known}")


def _names(service: Service) -> list[str]:
    return sorted({*service.domain.projections, *service.domain.deciders})


def plain_state(state: Any) -> Any:
    """A state of any class as JSON values; what cannot be one, as its text."""
    try:
        return msgspec.to_builtins(state, enc_hook=_shown, str_keys=True)
    except (TypeError, ValueError, RecursionError):
        return repr(state)


def _shown(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return {name: one for name, one in vars(value).items() if name[:1] != "_"} if hasattr(value, "__dict__") else repr(value)


def after_all(events: list[RecordedEvent], folding: Folding) -> Travelled:
    """The state after these events of one stream, with the history of its fields."""
    set_by: dict[str, RecordedEvent] = {}
    before: dict[str, Any] = {}
    now: dict[str, Any] = {}
    state: Any = {}
    looked_at = 0
    for event in events:
        state = folding.after(event)
        before, now = now, flat(state)
        looked_at += len(now)
        if looked_at > _FIELDS_LOOKED_AT_MAX:
            raise InvalidInput("version", event.version, "its state has too many fields, or too many events, to be compared here")
        for path in {*before, *now}:
            if before.get(path, _NOTHING) != now.get(path, _NOTHING):
                set_by[path] = event
    last = events[-1] if events else None
    return Travelled(last, state, [_field(path, before, now, set_by[path]) for path in sorted({*before, *now}) if path in set_by])


def _field(path: str, before: dict[str, Any], now: dict[str, Any], by: RecordedEvent) -> Field:
    was, value = before.get(path, _NOTHING), now.get(path, _NOTHING)
    change = "added" if was is _NOTHING else "removed" if value is _NOTHING else "changed" if was != value else ""
    return Field(
        path,
        None if value is _NOTHING else value,
        None if was is _NOTHING else was,
        change,
        by.version or 0,
        by.position,
        by.type,
    )


def merged(state: Any, event: RecordedEvent) -> Any:
    """The generic fold: objects are merged, field by field, the later value wins; other data stands under the event's type."""
    data = event.data
    return _merged(state, data if isinstance(data, dict) else {event.type: data})


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{name: _merged(old[name], value) if name in old else value for name, value in new.items()}}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Fields by their paths, such as address.city or lines[0].sku. Empty objects and lists are fields, too."""
    if isinstance(value, dict) and value:
        parts = [flat(item, f"{path}.{name}" if path else str(name)) for name, item in value.items()]
    elif isinstance(value, list | tuple) and value:
        parts = [flat(item, f"{path}[{number}]") for number, item in enumerate(value)]
    else:
        return {path: value} if path else {}
    return {name: item for part in parts for name, item in part.items()}
