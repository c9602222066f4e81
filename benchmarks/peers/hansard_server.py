"""Hansard's adapter for its server: copy it into the harness's folder of adapters, beside hansard_sqlite.py."""

from __future__ import annotations

import sys
from pathlib import Path

import hansard

from .. import util
from .hansard_sqlite import HansardSqlite


class HansardServer(HansardSqlite):
    name = "hansard-server"
    title = "Hansard server on a SQLite file, Python client (http)"
    imports = "hansard, hansard.store, hansard.storage.remote.storage"

    def start(self, root):
        port = util.free_port()
        program = util.find_program("hansard", str(Path(sys.executable).parent / "hansard"))
        command = [program, "serve", str(root / "hansard.db"), "--port", str(port), "--log-level", "error"]
        self.server = util.Server(command, root / "log")
        util.wait_ready(util.connect_probe(port))
        return {"root": str(root), "url": f"http://127.0.0.1:{port}"}

    def setup(self, info):
        self.info = info
        self.store = hansard.open(info["url"])

    def stop(self):
        self.server.stop()


ADAPTERS = [HansardServer]
