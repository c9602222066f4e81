"""Stores of the library `eventsourcing`, version 9: how its things look in our log, and how a store of its own comes over.

Knows the face; the library itself need not be installed. `hansard.interop.eventsourcing` writes and reads the same.
"""

from hansard.interchange.eventsourcing_store.importing import import_store as import_store
