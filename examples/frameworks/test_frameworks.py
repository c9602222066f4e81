"""Each application moves money, refuses, shows what was written a moment ago, and keeps the request's correlation id."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, reload
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from accounts import types

import hansard

Ask = Callable[..., tuple[int, Any]]
"""Method, path and headers; gives status and JSON."""


def fresh(name: str) -> Any:
    """The module, as a new process would have it."""
    return reload(import_module(name)) if name in sys.modules else import_module(name)


@contextmanager
def fastapi() -> Iterator[Ask]:
    from fastapi.testclient import TestClient

    with TestClient(fresh("fastapi_app").app) as client:
        yield lambda method, path, **headers: _plain(client.request(method, path, headers=headers))


@contextmanager
def starlette() -> Iterator[Ask]:
    from starlette.testclient import TestClient

    with TestClient(fresh("starlette_app").app) as client:
        yield lambda method, path, **headers: _plain(client.request(method, path, headers=headers))


@contextmanager
def litestar() -> Iterator[Ask]:
    from litestar.testing import TestClient

    with TestClient(fresh("litestar_app").app) as client:
        yield lambda method, path, **headers: _plain(client.request(method, path, headers=headers))


@contextmanager
def flask() -> Iterator[Ask]:
    module = fresh("flask_app")
    app = module.create_app()
    client = app.test_client()

    def ask(method: str, path: str, **headers: str) -> tuple[int, Any]:
        answer = client.open(path, method=method, headers=headers)
        return answer.status_code, answer.json

    yield ask
    module.close(app)


@contextmanager
def django() -> Iterator[Ask]:
    module = fresh("django_app")
    from django.test import Client

    client = Client()
    yield lambda method, path, **headers: _plain(getattr(client, method.lower())(path, headers=headers))
    module.the_store().close()


def _plain(answer: Any) -> tuple[int, Any]:
    return answer.status_code, answer.json()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("application", [fastapi, starlette, litestar, flask, django], ids=lambda one: one.__name__)
def test_an_application_works(application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who copies it would have to find out what is missing."""
    monkeypatch.setenv("BANK", str(tmp_path / "bank.db"))
    header = {"X-Correlation-ID": "request-7"}
    with application() as ask:
        assert ask("GET", "/accounts/1") == (200, {"balance": 0})
        for number in range(1, 11):
            assert ask("POST", "/accounts/1/moves/5", **header) == (200, {"balance": 5 * number})
            assert ask("GET", "/accounts/1") == (200, {"balance": 5 * number}), "what was written is read"
        assert ask("POST", "/accounts/1/moves/-20") == (200, {"balance": 30})
        status, answer = ask("POST", "/accounts/1/moves/-31")
        assert (status, answer["detail"]) == (409, "only 30 left")
    with hansard.open(tmp_path / "bank.db", types=types) as store:
        first, *_, last = store.all("account-1")
        assert (first.metadata, last.metadata) == ({"correlation_id": "request-7"}, {})
        assert store.head() == 11
