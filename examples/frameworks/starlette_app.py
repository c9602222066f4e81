"""Starlette: as with FastAPI, without dependencies: the store is in the application's state. `uvicorn starlette_app:app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from accounts import Move, NotEnough, account, balances, types
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import hansard


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with hansard.aio.open(os.environ.get("BANK", "bank.db"), types=types) as store, store.run(balances):
        app.state.store = store
        yield


async def move(request: Request) -> JSONResponse:
    store, id = request.app.state.store, request.path_params["id"]
    correlation = request.headers.get("x-correlation-id")
    metadata = {"correlation_id": correlation} if correlation else None
    try:
        done = await store.execute(account, f"account-{id}", Move(int(request.path_params["amount"])), metadata=metadata)
    except NotEnough as error:
        return JSONResponse({"detail": str(error)}, 409)
    if done.appended is not None:  # read your own writes
        await store.model(balances.name).wait_for(done.appended.last_position)
    return JSONResponse({"balance": done.state})


async def show(request: Request) -> JSONResponse:
    model = request.app.state.store.model(balances.name)
    return JSONResponse({"balance": await model.get(f"account-{request.path_params['id']}", 0)})


routes = [
    Route("/accounts/{id}/moves/{amount}", move, methods=["POST"]),
    Route("/accounts/{id}", show),
]
app = Starlette(routes=routes, lifespan=lifespan)
