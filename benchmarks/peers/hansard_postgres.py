"""Hansard's adapter for PostgreSQL: copy it into the harness's folder of adapters, beside hansard_sqlite.py."""

from __future__ import annotations

import hansard

from ._postgres import Postgres
from .hansard_sqlite import HansardSqlite


class HansardPostgres(HansardSqlite, Postgres):
    name = "hansard-postgres"
    title = "Hansard, PostgreSQL, ids, tags and types indexed"
    imports = "hansard, hansard.store, hansard.storage.postgres.storage"

    def setup(self, info):
        self.info = info
        self.store = hansard.open(f"postgresql://postgres@/{self.database}?host={info['sock']}")


ADAPTERS = [HansardPostgres]
