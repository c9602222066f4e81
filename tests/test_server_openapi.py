"""The OpenAPI document is valid, and says what the server does: schemathesis asks what it allows and what it forbids."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import validate

import hansard
from hansard import PARK, Event, Processor, Projection, Retry
from hansard.server.interface import OPERATIONS
from hansard.server.openapi import document
from hansard.storage.opening import open_storage
from servers import Client, served

_HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    import json
    items = value if isinstance(value, list) else [value]
    return "\\n".join(json.dumps(item) for item in items).encode()
"""

_CONFIGURATION = """
# An expectation that does not fit is 412; in bulk, each line has an outcome of its own.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412, 429, "5xx"]

[[operations]]
include-path = "/api/v1/appends"
checks.negative_data_rejection.enabled = false
"""


def test_the_document_is_valid_openapi() -> None:
    """No tool could read it."""
    told = document(OPERATIONS)
    validate(told)
    names = [one["operationId"] for methods in told["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names)) > 40
    assert all(one["summary"] for methods in told["paths"].values() for one in methods.values())


def test_the_document_is_served_as_it_is(tmp_path: Path) -> None:
    """Readers would get another one than the tests check."""
    with served(open_storage(tmp_path / "log.db")) as url:
        assert Client(url).get("/openapi.json").json == json.loads(json.dumps(document(OPERATIONS)))


def _run(tmp_path: Path, examples: int, *options: str) -> None:
    def fails(event: object) -> None:
        raise ValueError("no")

    place = tmp_path / "log.db"
    with hansard.open(place) as store:
        store.append("order-1", [Event("placed", {"n": 1}, tags={"t"}), Event("paid")])
        store.catch_up(Projection("totals", lambda n, event: n + 1, initial=0))
        store.catch_up(Processor("mailer", fails, on_failure=PARK, retry=Retry(attempts=1)))
    hooks = tmp_path / "hooks.py"
    hooks.write_text(_HOOKS)
    (tmp_path / "schemathesis.toml").write_text(_CONFIGURATION)
    with served(open_storage(place)) as url:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--no-color", "--request-timeout", "60"),
            *("--max-examples", str(examples), "--generation-database", "none", *options),
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)}
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
        assert ended.returncode == 0, (
            f"{ended.stdout.partition('= FAILURES =')[2][:6_000] or ended.stdout[-6_000:]}\n{ended.stderr[-2_000:]}"
        )


def test_what_the_document_says_is_what_the_server_does(tmp_path: Path) -> None:
    """A generated client would be refused for what the document allows, or let through with what it forbids."""
    _run(tmp_path, 6, "--seed", "1", "--exclude-path-regex", "/transactions", "--phases", "examples,coverage,fuzzing")


@pytest.mark.soak
@pytest.mark.timeout(1_000)
def test_the_same_at_length(tmp_path: Path) -> None:
    """The same, with more requests, and with those that follow one another."""
    _run(tmp_path, 100, "--exclude-path-regex", "/transactions")
