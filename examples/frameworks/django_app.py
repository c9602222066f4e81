"""Django: the store is opened once for each process, at its first use; views are plain functions.

In a project, `the_store` goes to an app's `apps.py` or a module of its own, and the views to `views.py`. Here all of it is in one
file. Run it: `python django_app.py runserver`.
"""

import atexit
import os
import sys
from functools import cache
from typing import Any

import django
from accounts import Move, NotEnough, account, balances, types
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

import hansard

if not settings.configured:
    settings.configure(DEBUG=True, SECRET_KEY="only for this example", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
    django.setup()


@cache
def the_store() -> hansard.Store:
    store = hansard.open(os.environ.get("BANK", "bank.db"), types=types)
    running = store.run(balances)
    atexit.register(store.close)
    atexit.register(running.stop)
    return store


@require_POST
def move(request: HttpRequest, id: str, amount: str) -> JsonResponse:
    store, correlation = the_store(), request.headers.get("X-Correlation-ID")
    metadata = {"correlation_id": correlation} if correlation else None
    try:
        done = store.execute(account, f"account-{id}", Move(int(amount)), metadata=metadata)
    except NotEnough as error:
        return JsonResponse({"detail": str(error)}, status=409)
    if done.appended is not None:  # read your own writes
        store.model(balances.name).wait_for(done.appended.last_position)
    return JsonResponse({"balance": done.state})


@require_GET
def show(request: HttpRequest, id: str) -> JsonResponse:
    return JsonResponse({"balance": the_store().model(balances.name).get(f"account-{id}", 0)})


urlpatterns: list[Any] = [
    path("accounts/<str:id>/moves/<str:amount>", move),
    path("accounts/<str:id>", show),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
