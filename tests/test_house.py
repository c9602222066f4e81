"""The arrows of docs/ARCHITECTURE.md, drawn again from the code: imports go down only."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "hansard"

FLOORS = [
    {"errors", "fingerprints", "limits", "outcomes"},
    {"names", "serialization"},
    {"streams"},
    {"events"},
    {"query"},
    {"event_types"},
    {"appends"},
    {"consistency", "subscriptions.catch_up", "reading"},
    {"wire"},
    {"storage.port", "storage.clock", "storage.tags", "tracing"},
    {"storage.around"},
    {"storage.instrumented", "storage.typed"},
    {"storage.group_commit", "storage.paths", "storage.checking"},
    {"storage.conditions"},
    {"storage.memory", "storage.sqlite", "storage.postgres", "storage.remote"},
    {"storage.branch", "storage.cluster"},
    {"storage.opening"},
    {"migrating", "restoring"},
    {"handlers", "subscriptions.tail", "async_appends"},
    {"subscriptions.drivers"},
    {"subscriptions.async_drivers"},
    {"causation"},
    {"processors.definitions", "processors.documents", "processors.sharing"},
    {"timers"},
    {"transactions"},
    {"processors.dead_letters", "processors.membership", "processors.calls", "processors.keeper", "processors.window"},
    {"processors.shares"},
    {"processors.handling"},
    {"processors.second_tries"},
    {"processors.reader"},
    {"processors.runner", "processors.work", "processors.control"},
    {"processors.consumer"},
    {"projections.places"},
    {"projections.definition", "projections.builds"},
    {"projections.work", "projections.live", "projections.model"},
    {"projections.source", "projections.inline", "projections.control"},
    {"projections.async_face"},
    {"process_managers", "webhooks", "processors.timers_at_work"},
    {"processors.sources"},
    {"processors.async_face"},
    {"deciders.definition"},
    {"deciders.aggregates", "deciders.snapshots"},
    {"deciders.execution"},
    {"store"},
    {"aio"},
    {"domain"},
    {"interchange", "schema", "testing"},
    {"interop"},
    {"server"},
    {"cli"},
]
"""From the ground up. A module may import what stands on a floor below it, or beside it in its own folder."""

_ENGINES = "engines share consistency.py and the files beside port.py, not each other"
FORBIDDEN = {
    "cli": ({"storage"}, "go through hansard.store: a room never reaches into an engine"),
    "interchange": ({"storage"}, "go through hansard.store: a room never reaches into an engine"),
    "server": (
        {
            "storage.memory",
            "storage.sqlite",
            "storage.postgres",
            "storage.remote",
            "storage.cluster",
            "cli",
            "interchange",
            "testing",
        },
        "serve the port: storage/port.py and opening.py are all that a server knows of engines",
    ),
    "interop": (
        {"storage.memory", "storage.sqlite", "storage.postgres", "storage.remote", "cli", "server", "testing"},
        "stand on the face and the port: storage/port.py and opening.py are all that an adapter knows of engines",
    ),
    "storage.sqlite": ({"storage.memory", "storage.postgres", "storage.remote"}, _ENGINES),
    "storage.cluster": ({"storage.memory", "storage.postgres", "storage.remote"}, "a replica is a SQLite file, and nothing else"),
    "storage.memory": ({"storage.sqlite", "storage.postgres", "storage.remote"}, _ENGINES),
    "storage.postgres": ({"storage.memory", "storage.sqlite", "storage.remote"}, _ENGINES),
    "storage.remote": ({"storage.memory", "storage.sqlite", "storage.postgres", "server"}, _ENGINES),
}
FOREIGN = {
    "click": ("cli",),
    "rich": ("cli",),
    "sqlite3": ("storage.sqlite", "interchange.eventsourcing_store.databases", "interop.sqlalchemy"),
    "psycopg": ("storage.postgres", "interchange.eventsourcing_store.databases", "testing.plugin"),
    "nats": ("storage.cluster.jetstream",),
    "sqlalchemy": ("interop.sqlalchemy",),
    "eventsourcing": ("interop.eventsourcing",),
    "psycopg_pool": ("storage.postgres",),
    "uvicorn": ("server.serving",),
    "uvloop": ("server.serving",),
    "jwt": ("server.access.tokens",),
    "jinja2": ("server.ui",),
    "prometheus_client": ("server.metrics",),
    "opentelemetry": ("tracing",),
    "markupsafe": ("server.ui",),
    "uuid_utils": ("events", "interchange", "processors.membership", "server"),
    "msgspec": ("",),
    "pytest": ("testing",),
    "hypothesis": ("testing",),
}
MODULES = sorted(path for path in SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def floor_of(name: str) -> int:
    for floor, rooms in enumerate(FLOORS):
        if any(name == room or name.startswith(f"{room}.") for room in rooms):
            return floor
    return len(FLOORS)


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found += [
                f"{base}.{alias.name}" if (SOURCE.parent / base.replace(".", "/")).is_dir() else base for alias in node.names
            ]
    return found


def is_within(name: str, room: str) -> bool:
    return room in ("", name) or name.startswith(f"{room}.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    """A lower floor would know of an upper one, and nothing could be understood alone."""
    name = name_of(path)
    if name in ("", "storage", "subscriptions", "processors", "projections", "deciders"):
        return
    for imported in imports_of(path):
        if not imported.startswith("hansard."):
            continue
        target = imported.removeprefix("hansard.")
        is_beside = name.split(".")[0] == target.split(".")[0] and floor_of(name) == floor_of(target)
        allowed = floor_of(target) < floor_of(name) or is_beside or target in ("__version__", "aio")
        if name == "storage.opening":
            continue
        assert allowed, f"{name} imports {target}: move the shared part to a floor below {name}"
        for room, (forbidden, instead) in FORBIDDEN.items():
            if is_within(name, room):
                assert not any(is_within(target, other) and target != "storage.port" for other in forbidden), (
                    f"{name} imports {target}: {instead}"
                )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_foreign_packages_stay_in_their_rooms(path: Path) -> None:
    """The core would need what only the command line or an engine needs."""
    name = name_of(path)
    for imported in imports_of(path):
        rooms = FOREIGN.get(imported.split(".")[0])
        if rooms is not None:
            assert any(is_within(name, room) for room in rooms), f"{name} imports {imported}: it belongs to {rooms}"


def test_every_module_says_what_it_is_for() -> None:
    """A newcomer would have to read a file to learn whether to read it."""
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{name_of(path)} has no docstring"


def test_every_error_has_an_outcome_of_its_own_name() -> None:
    """An error would end the command line with the code of another."""
    from hansard import errors, outcomes

    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.HansardError)]
    codes = [c.code for c in classes]
    assert len(set(codes)) == len(codes)
    assert set(codes) == set(outcomes.OUTCOMES)
    tree = errors.__doc__ or ""
    assert all(c.__name__ in tree for c in classes)
