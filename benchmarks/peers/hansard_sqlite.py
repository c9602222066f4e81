"""Hansard's adapter for a side-by-side harness of event stores: copy it into the harness's folder of adapters."""

from __future__ import annotations

import threading

import hansard
from hansard import AppendCondition, Event, Query, StreamAppend

from ..base import Adapter


class HansardSqlite(Adapter):
    name = "hansard-sqlite"
    title = "Hansard, SQLite file, ids, tags and types indexed"
    durable = "fsync"
    query_kind = "index"
    subscription = "push"
    dcb = True
    imports = "hansard, hansard.store, hansard.storage.sqlite.storage"

    def setup(self, info):
        self.info = info
        self.store = hansard.open(info["root"] + "/hansard.db")

    def clone(self):
        return self  # one store object serves many threads

    @staticmethod
    def events(events):
        return [Event(e.type, data_json=e.data, metadata_json=e.meta) for e in events]

    def append(self, stream, events, expected):
        return self.store.append(stream, self.events(events), expected_version=expected or 0).version

    def load(self, chunks):
        parts = [StreamAppend(stream, self.events(events), expected or 0) for stream, events, expected in chunks]
        versions = self.store.append_streams(parts).versions
        return [versions[stream] for stream, _, _ in chunks]

    def read_all(self):
        return self.store.read()

    def read_stream(self, stream):
        return self.store.all(stream)

    def query(self, type_, category):
        return list(self.store.read(Query(types={type_})))

    def subscribe(self, handler, from_start):
        subscription = self.store.subscribe(after=0 if from_start else self.store.head())

        def listen():
            for event in subscription:
                handler(event.data_json)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()

        def stop():
            subscription.close()
            thread.join(5)

        return stop

    def append_if(self, event, tags, fail_tags, after):
        given = Event(event.type, None, None, tags, data_json=event.data, metadata_json=event.meta)
        condition = AppendCondition(Query(tags=fail_tags), after or 0)
        return self.store.append(None, given, condition=condition).last_position

    def head(self):
        return self.store.head()

    def close(self):
        self.store.close()


class HansardMemory(HansardSqlite):
    name = "hansard-memory"
    title = "Hansard, memory engine"
    durable = "none"
    multiprocess = False
    query_kind = "scan"
    imports = "hansard, hansard.store, hansard.storage.memory"

    def setup(self, info):
        self.info = info
        self.store = hansard.open(":memory:")


ADAPTERS = [HansardSqlite, HansardMemory]
