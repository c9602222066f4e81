"""Drawings as SVG: a graph of causes, bars. Plain attributes only, so that the page's policy needs no inline styles."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from hansard.server.ui.causes import Graph

_BOX: Final = (190, 46)
_GAP: Final = (70, 18)
_CHAR_PX: Final = 7
_AXIS_PX: Final = 16


def graph(drawn: Graph, readers: Mapping[int, Sequence[Any]], marked: int) -> Markup:
    """Columns by distance from the first cause, rows in the order of positions; handlers stand beside what they handle."""
    columns = _columns(drawn)
    places: dict[int, tuple[int, int]] = {}
    heights: dict[int, int] = {}
    for event in drawn.events:
        column = columns[event.position]
        row = heights.get(column, 0)
        places[event.position] = (column * (_BOX[0] + _GAP[0]) + 4, row * (_BOX[1] + _GAP[1]) + 4)
        heights[column] = row + 1
        heights[column] += (len(readers.get(event.position, ())) * 20 + _GAP[1] + _BOX[1] - 1) // (_BOX[1] + _GAP[1])
    width = max((x for x, _ in places.values()), default=0) + _BOX[0] + 8
    height = max(heights.values(), default=1) * (_BOX[1] + _GAP[1]) + 8
    parts = [_arrow(places[cause], places[effect]) for cause, effect in drawn.arrows]
    for event in drawn.events:
        parts.append(_event_box(event, places[event.position], is_marked=event.position == marked))
        parts += [_reader(one, places[event.position], row) for row, one in enumerate(readers.get(event.position, ()))]
    return _svg(width, height, f"{len(drawn.events)} events and what caused what", parts, role="group")


def _columns(drawn: Graph) -> dict[int, int]:
    columns = {event.position: 0 for event in drawn.events}
    for cause, effect in sorted(drawn.arrows, key=lambda arrow: arrow[1]):
        columns[effect] = columns[cause] + 1
    return columns


def _event_box(event: Any, place: tuple[int, int], *, is_marked: bool) -> Markup:
    x, y = place
    return Markup(
        '<a href="/event/{id}"><title>{position}: {type}</title>'
        '<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
        '<text class="box-type" x="{tx}" y="{ty}">{short_type}</text>'
        '<text class="box-place" x="{tx}" y="{py}">{position} · {stream}</text></a>'
    ).format(
        id=event.id,
        position=event.position,
        type=event.type,
        kind="box marked" if is_marked else "box",
        x=x,
        y=y,
        width=_BOX[0],
        height=_BOX[1],
        tx=x + 10,
        ty=y + 20,
        py=y + 37,
        short_type=_cut(event.type, _BOX[0] - 20),
        stream=_cut(event.stream or "no stream", _BOX[0] - 70),
    )


def _reader(one: Any, place: tuple[int, int], row: int) -> Markup:
    x, y = place[0] + 12, place[1] + _BOX[1] + 14 + row * 20
    mark, kind = ("✗", "letter") if one.has_letter else ("✓", "done") if one.is_past else ("…", "waits")
    return Markup('<a href="/readers/{name}"><text class="reader {kind}" x="{x}" y="{y}">{mark} {short}</text></a>').format(
        name=one.name, kind=kind, x=x, y=y, mark=mark, short=_cut(one.name, _BOX[0] - 20)
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> Markup:
    x1, y1, x2, y2 = start[0] + _BOX[0], start[1] + _BOX[1] // 2, end[0], end[1] + _BOX[1] // 2
    bend = max(20, abs(x2 - x1) // 2)
    return Markup(
        '<path class="arrow" d="M{x1} {y1} C{c1} {y1} {c2} {y2} {x2} {y2}"/><path class="head" d="M{x2} {y2} l-8 -4 v8 z"/>'
    ).format(x1=x1, y1=y1, x2=x2, y2=y2, c1=x1 + bend, c2=x2 - bend)


def bars(items: Sequence[tuple[str, float]], *, label: str, width: int = 720, height: int = 160) -> Markup:
    """Upright bars, each with its name and count as a tooltip."""
    most = max((value for _, value in items), default=0)
    highest = most or 1
    step = width / max(1, len(items))
    parts = [
        Markup(
            "<g><title>{name}: {value:,.0f}</title>"
            '<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"/></g>'
        ).format(
            name=name,
            value=value,
            x=number * step,
            y=_AXIS_PX + height - height * value / highest,
            w=max(1.0, step - 1.5),
            h=height * value / highest,
        )
        for number, (name, value) in enumerate(items)
    ]
    if items:
        axis = Markup('<text class="axis" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>').format
        low = height + 2 * _AXIS_PX - 3
        parts.append(axis(x=0, y=_AXIS_PX - 4, anchor="start", text=f"most: {most:,.0f}"))
        parts.append(axis(x=0, y=low, anchor="start", text=items[0][0]))
        parts.append(axis(x=width, y=low, anchor="end", text=items[-1][0]))
    return _svg(width, height + 2 * _AXIS_PX, label, parts)


def _svg(width: int, height: int, label: str, parts: Sequence[Markup], *, role: str = "img") -> Markup:
    inner = Markup("").join(parts)
    return Markup(
        '<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="{role}" aria-label="{label}">{inner}</svg>'
    ).format(width=width, height=height, label=label, inner=inner, role=role)


def _cut(text: str, width_px: int) -> str:
    chars = max(4, width_px // _CHAR_PX)
    return str(text if len(text) <= chars else f"{text[: chars - 1]}…")
