"""Whether the server lives, whether it can serve, and what it serves."""

import time

import msgspec

from hansard import __version__
from hansard.errors import CapabilityMissing, ResourceNotFound, StoreClosed, StoreCorrupt, StoreUnusable
from hansard.server.access.permissions import Permission
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Request
from hansard.server.responses import Answer, Response, json_of
from hansard.server.service import Service
from hansard.storage.port import Capability
from hansard.wire.appends import Position

operation = Operations("Health")


class Alive(msgspec.Struct):
    status: str
    version: str


class Ready(msgspec.Struct):
    status: str
    head: Position
    read_ms: float


class About(msgspec.Struct):
    """What is served. `durability`: what an acknowledged append has survived."""

    version: str
    durability: str
    capabilities: list[str]
    is_read_only: bool


class ClusterNode(msgspec.Struct):
    """`heard_us`: when its last message was made, in microseconds since 1970 UTC. `agrees_to`: the last message up to which it
    has decided as this node; `differs_from`: the first that it has decided otherwise, 0 if there is none."""

    name: str
    applied: int
    digest: str
    heard_us: int
    is_this: bool
    agrees_to: int
    differs_from: int


class ClusterState(msgspec.Struct):
    """`first`, `last`: messages that the log keeps; `leader`: the server that takes them. `agreed`: up to which message the
    digests of other nodes were compared, and were the same. `stopped`: why this node goes no further; empty if it does."""

    leader: str
    first: int
    last: int
    applied: int
    digest: str
    agreed: int
    stopped: str
    nodes: list[ClusterNode]


class Problems(msgspec.Struct):
    """One sentence for each invariant that does not hold."""

    problems: list[str]


@operation("GET", "/health/live", needs=None, returns={200: {JSON: Alive}})
async def live(service: Service, request: Request) -> Answer:
    """Whether the server's process answers."""
    return json_of(Alive("alive", __version__))


@operation("GET", "/health/ready", needs=None, returns={200: {JSON: Ready}})
async def ready(service: Service, request: Request) -> Answer:
    """Whether the store can be read, and how long that took. 503 if not, and while the server stops."""
    if service.stopping.is_set():
        raise StoreClosed("the server is stopping")
    started = time.perf_counter()
    head = await service.store.head()
    try:
        await service.in_thread(lambda: service.storage.wait(head, 0.0))
    except StoreCorrupt as error:  # nothing will come any more
        raise StoreUnusable(str(error)) from error
    return json_of(Ready("ready", head, round((time.perf_counter() - started) * 1000, 3)))


@operation("GET", "/metrics", needs=Permission.READ, returns={200: {"text/plain; version=0.0.4": None}})
async def read_metrics(service: Service, request: Request) -> Answer:
    """What is counted, for Prometheus."""
    request.principal.check_all(Permission.READ)
    metrics = service.metrics
    metrics.head.set(await service.store.head())
    metrics.under_way.set(service.requests_under_way)
    for status in await service.in_thread(lambda: list(service.control.readers())):
        metrics.lag.labels(status.name).set(status.lag)
        metrics.letters.labels(status.name).set(status.dead_letters)
    return Response(metrics.text(), 200, "text/plain; version=0.0.4; charset=utf-8")


@operation("GET", "/api/v1/store", needs=Permission.READ, returns={200: {JSON: About}})
async def about(service: Service, request: Request) -> Answer:
    """What is served: the version, the durability of appends, what the engine can do."""
    capabilities = sorted(capability.name.lower() for capability in service.storage.capabilities)
    return json_of(About(__version__, service.storage.durability, capabilities, service.settings.read_only))


@operation("GET", "/api/v1/cluster", needs=Permission.READ, returns={200: {JSON: ClusterState}})
async def cluster(service: Service, request: Request) -> Answer:
    """Of a cluster's node: the log, this node, the others as their last messages tell of them. 404 if it is no cluster."""
    request.principal.check_all(Permission.READ)
    try:
        control = service.control.cluster
    except CapabilityMissing as missing:
        raise ResourceNotFound(str(missing)) from None
    status = await service.in_thread(control.status)
    nodes = [ClusterNode(*node) for node in status.members]
    return json_of(
        ClusterState(
            status.leader, status.first, status.last, status.applied, status.digest, status.agreed, status.stopped, nodes
        )
    )


@operation("POST", "/api/v1/store/check", needs=Permission.ADMIN, returns={200: {JSON: Problems}})
async def check(service: Service, request: Request) -> Answer:
    """Verify every invariant of what is stored. Takes as long as reading all of it."""
    if Capability.CHECK not in service.storage.capabilities:
        raise CapabilityMissing(Capability.CHECK, "served")
    return json_of(Problems(await service.in_thread(service.storage.check)))
