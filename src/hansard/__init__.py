"""Hansard, the event store for Python: store events, read them back in order, react when one has been stored.

>>> import hansard
>>> store = hansard.open(":memory:")
>>> store.add("customer-1", "created", {"name": "Jo"}).version
1
"""

TYPE_CHECKING = False  # the name that type checkers know; importing typing for it would triple the cost of this import
if TYPE_CHECKING:
    from typing import Any

    from hansard import aio as aio
    from hansard.appends import Appended as Appended
    from hansard.appends import StreamAppend as StreamAppend
    from hansard.deciders.aggregates import Aggregate as Aggregate
    from hansard.deciders.aggregates import applies as applies
    from hansard.deciders.definition import Decider as Decider
    from hansard.deciders.definition import Executed as Executed
    from hansard.deciders.definition import Loaded as Loaded
    from hansard.deciders.definition import Snapshots as Snapshots
    from hansard.deciders.definition import View as View
    from hansard.errors import AccessDenied as AccessDenied
    from hansard.errors import AppendConditionFailed as AppendConditionFailed
    from hansard.errors import BuildNotActive as BuildNotActive
    from hansard.errors import CapabilityMissing as CapabilityMissing
    from hansard.errors import Conflict as Conflict
    from hansard.errors import DefinitionChanged as DefinitionChanged
    from hansard.errors import DuplicateEventId as DuplicateEventId
    from hansard.errors import EventNotDecodable as EventNotDecodable
    from hansard.errors import FoldFailed as FoldFailed
    from hansard.errors import HandlerLoop as HandlerLoop
    from hansard.errors import HandlersFailed as HandlersFailed
    from hansard.errors import HandlerTimedOut as HandlerTimedOut
    from hansard.errors import HansardError as HansardError
    from hansard.errors import InlineFailed as InlineFailed
    from hansard.errors import InvalidInput as InvalidInput
    from hansard.errors import InvalidType as InvalidType
    from hansard.errors import LeaseLost as LeaseLost
    from hansard.errors import LogsDiffer as LogsDiffer
    from hansard.errors import MediaTypeUnsupported as MediaTypeUnsupported
    from hansard.errors import MethodNotAllowed as MethodNotAllowed
    from hansard.errors import NewerFormat as NewerFormat
    from hansard.errors import NotAcceptable as NotAcceptable
    from hansard.errors import NotAStore as NotAStore
    from hansard.errors import NotAuthenticated as NotAuthenticated
    from hansard.errors import OlderFormat as OlderFormat
    from hansard.errors import OpenFailed as OpenFailed
    from hansard.errors import OutcomeUnknown as OutcomeUnknown
    from hansard.errors import ProcessorStopped as ProcessorStopped
    from hansard.errors import RequestRefused as RequestRefused
    from hansard.errors import RequestTimedOut as RequestTimedOut
    from hansard.errors import RequestTooLarge as RequestTooLarge
    from hansard.errors import ResourceNotFound as ResourceNotFound
    from hansard.errors import StorageFailed as StorageFailed
    from hansard.errors import StorageFull as StorageFull
    from hansard.errors import StoreBusy as StoreBusy
    from hansard.errors import StoreClosed as StoreClosed
    from hansard.errors import StoreCorrupt as StoreCorrupt
    from hansard.errors import StoreForked as StoreForked
    from hansard.errors import StoreNotFound as StoreNotFound
    from hansard.errors import StoreReadOnly as StoreReadOnly
    from hansard.errors import StoreUnusable as StoreUnusable
    from hansard.errors import TimestampTooEarly as TimestampTooEarly
    from hansard.errors import TooLarge as TooLarge
    from hansard.errors import TooManyRequests as TooManyRequests
    from hansard.errors import WaitTimedOut as WaitTimedOut
    from hansard.errors import WebhookRefused as WebhookRefused
    from hansard.errors import WrongExpectedVersion as WrongExpectedVersion
    from hansard.event_types.definition import event as event
    from hansard.event_types.registry import EventTypes as EventTypes
    from hansard.events import Event as Event
    from hansard.events import RecordedEvent as RecordedEvent
    from hansard.migrating import migrate as migrate
    from hansard.process_managers import ProcessManager as ProcessManager
    from hansard.processors.consumer import Consumer as Consumer
    from hansard.processors.control import ReaderControl as ReaderControl
    from hansard.processors.control import ReaderStatus as ReaderStatus
    from hansard.processors.dead_letters import DeadLetter as DeadLetter
    from hansard.processors.definitions import PARK as PARK
    from hansard.processors.definitions import SKIP as SKIP
    from hansard.processors.definitions import STOP as STOP
    from hansard.processors.definitions import OnFailure as OnFailure
    from hansard.processors.definitions import Processor as Processor
    from hansard.processors.definitions import Retry as Retry
    from hansard.processors.runner import Running as Running
    from hansard.projections.control import Difference as Difference
    from hansard.projections.control import ProjectionControl as ProjectionControl
    from hansard.projections.control import ProjectionStatus as ProjectionStatus
    from hansard.projections.definition import DELETE as DELETE
    from hansard.projections.definition import Projection as Projection
    from hansard.projections.definition import folds as folds
    from hansard.projections.model import Model as Model
    from hansard.projections.places import Documents as Documents
    from hansard.projections.places import Place as Place
    from hansard.projections.places import Table as Table
    from hansard.query import AppendCondition as AppendCondition
    from hansard.query import Query as Query
    from hansard.query import QueryItem as QueryItem
    from hansard.restoring import restore_replica as restore_replica
    from hansard.storage.port import Capability as Capability
    from hansard.store import Store as Store
    from hansard.store import open as open
    from hansard.streams import ANY as ANY
    from hansard.streams import NO_STREAM as NO_STREAM
    from hansard.streams import STREAM_EXISTS as STREAM_EXISTS
    from hansard.streams import ExpectedVersion as ExpectedVersion
    from hansard.streams import StreamInfo as StreamInfo
    from hansard.subscriptions.async_drivers import AsyncSubscription as AsyncSubscription
    from hansard.subscriptions.drivers import Subscription as Subscription
    from hansard.timers import CancelTimer as CancelTimer
    from hansard.timers import Timer as Timer
    from hansard.timers import TimerInfo as TimerInfo
    from hansard.timers import Timers as Timers
    from hansard.tracing import traced_metadata as traced_metadata
    from hansard.transactions import Transaction as Transaction
    from hansard.webhooks import Webhook as Webhook

__version__ = "0.1.0"

_MODULE_OF = {
    name: module
    for module, names in {
        "hansard.appends": ("Appended", "StreamAppend"),
        "hansard.deciders.aggregates": ("Aggregate", "applies"),
        "hansard.deciders.definition": ("Decider", "Executed", "Loaded", "Snapshots", "View"),
        "hansard.errors": (
            "AppendConditionFailed",
            "TimestampTooEarly",
            "TooManyRequests",
            "ResourceNotFound",
            "RequestTooLarge",
            "RequestTimedOut",
            "RequestRefused",
            "NotAuthenticated",
            "NotAcceptable",
            "MethodNotAllowed",
            "MediaTypeUnsupported",
            "AccessDenied",
            "CapabilityMissing",
            "Conflict",
            "DuplicateEventId",
            "WebhookRefused",
            "EventNotDecodable",
            "FoldFailed",
            "BuildNotActive",
            "WaitTimedOut",
            "ProcessorStopped",
            "LeaseLost",
            "LogsDiffer",
            "InlineFailed",
            "HandlerTimedOut",
            "DefinitionChanged",
            "HandlerLoop",
            "HandlersFailed",
            "HansardError",
            "InvalidInput",
            "InvalidType",
            "TooLarge",
            "NewerFormat",
            "OlderFormat",
            "OutcomeUnknown",
            "NotAStore",
            "OpenFailed",
            "StorageFailed",
            "StorageFull",
            "StoreBusy",
            "StoreClosed",
            "StoreCorrupt",
            "StoreForked",
            "StoreNotFound",
            "StoreReadOnly",
            "StoreUnusable",
            "WrongExpectedVersion",
        ),
        "hansard.event_types.definition": ("event",),
        "hansard.event_types.registry": ("EventTypes",),
        "hansard.events": ("Event", "RecordedEvent"),
        "hansard.process_managers": ("ProcessManager",),
        "hansard.processors.consumer": ("Consumer",),
        "hansard.processors.control": ("ReaderControl", "ReaderStatus"),
        "hansard.processors.dead_letters": ("DeadLetter",),
        "hansard.processors.definitions": ("OnFailure", "PARK", "Processor", "Retry", "SKIP", "STOP"),
        "hansard.processors.runner": ("Running",),
        "hansard.projections.control": ("Difference", "ProjectionControl", "ProjectionStatus"),
        "hansard.projections.definition": ("DELETE", "Projection", "folds"),
        "hansard.projections.model": ("Model",),
        "hansard.projections.places": ("Documents", "Place", "Table"),
        "hansard.query": ("AppendCondition", "Query", "QueryItem"),
        "hansard.storage.port": ("Capability",),
        "hansard.store": ("Store", "open"),
        "hansard.migrating": ("migrate",),
        "hansard.restoring": ("restore_replica",),
        "hansard.streams": ("ANY", "NO_STREAM", "STREAM_EXISTS", "ExpectedVersion", "StreamInfo"),
        "hansard.subscriptions.async_drivers": ("AsyncSubscription",),
        "hansard.subscriptions.drivers": ("Subscription",),
        "hansard.timers": ("CancelTimer", "Timer", "TimerInfo", "Timers"),
        "hansard.tracing": ("traced_metadata",),
        "hansard.transactions": ("Transaction",),
        "hansard.webhooks": ("Webhook",),
    }.items()
    for name in names
}

__all__ = ["__version__", "aio", *_MODULE_OF]  # noqa: PLE0604


def __getattr__(name: str) -> "Any":
    """Import public names when they are first used, so that `import hansard` costs next to nothing."""
    from importlib import import_module  # not needed before the first name is

    if name == "aio":
        return import_module("hansard.aio")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'hansard' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
