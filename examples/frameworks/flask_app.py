"""Flask: one store for the process, opened with the application; its threads share it. Run it: `flask --app flask_app run`."""

import atexit
import os
from typing import Any

from accounts import Move, NotEnough, account, balances, types
from flask import Flask, current_app, request

import hansard


def create_app() -> Flask:
    app = Flask(__name__)
    store = hansard.open(os.environ.get("BANK", "bank.db"), types=types)
    running = store.run(balances)  # servers that fork open the store in each worker: after the fork
    app.extensions["hansard"] = store, running
    app.post("/accounts/<id>/moves/<amount>")(move)
    app.get("/accounts/<id>")(show)
    atexit.register(close, app)
    return app


def close(app: Flask) -> None:
    store, running = app.extensions["hansard"]
    running.stop()
    store.close()


def the_store() -> hansard.Store:
    store: hansard.Store = current_app.extensions["hansard"][0]
    return store


def move(id: str, amount: str) -> Any:
    store, correlation = the_store(), request.headers.get("X-Correlation-ID")
    metadata = {"correlation_id": correlation} if correlation else None
    try:
        done = store.execute(account, f"account-{id}", Move(int(amount)), metadata=metadata)
    except NotEnough as error:
        return {"detail": str(error)}, 409
    if done.appended is not None:  # read your own writes
        store.model(balances.name).wait_for(done.appended.last_position)
    return {"balance": done.state}


def show(id: str) -> Any:
    return {"balance": the_store().model(balances.name).get(f"account-{id}", 0)}
