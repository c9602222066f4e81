"""Our engines under the library `eventsourcing`: its users set PERSISTENCE_MODULE to the name of this package, and HANSARD_PLACE.

The library looks here for exactly one factory. How its things look in our log: hansard.interchange.eventsourcing_store.
"""

from hansard.interop.eventsourcing.aggregates import HansardAggregateRecorder as HansardAggregateRecorder
from hansard.interop.eventsourcing.aggregates import HansardApplicationRecorder as HansardApplicationRecorder
from hansard.interop.eventsourcing.decisions import HansardDCBRecorder as HansardDCBRecorder
from hansard.interop.eventsourcing.factory import HansardFactory as HansardFactory
from hansard.interop.eventsourcing.snapshots import HansardSnapshotRecorder as HansardSnapshotRecorder
from hansard.interop.eventsourcing.tracking import HansardProcessRecorder as HansardProcessRecorder
from hansard.interop.eventsourcing.tracking import HansardTrackingRecorder as HansardTrackingRecorder

Factory = HansardFactory
