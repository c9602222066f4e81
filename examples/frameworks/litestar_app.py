"""Litestar: lifespan, a dependency by name, errors as answers. Run it: `uvicorn litestar_app:app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from accounts import Move, NotEnough, account, balances, types
from litestar import Litestar, Request, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ClientException

import hansard
from hansard.aio import AsyncStore


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with hansard.aio.open(os.environ.get("BANK", "bank.db"), types=types) as store, store.run(balances):
        app.state.store = store
        yield


async def the_store(state: State) -> AsyncStore:
    store: AsyncStore = state.store
    return store


@post("/accounts/{id:str}/moves/{amount:int}", status_code=200)
async def move(id: str, amount: int, store: NamedDependency[AsyncStore], request: Request) -> dict[str, int]:  # type: ignore[type-arg]
    correlation = request.headers.get("x-correlation-id")
    metadata = {"correlation_id": correlation} if correlation else None
    try:
        done = await store.execute(account, f"account-{id}", Move(amount), metadata=metadata)
    except NotEnough as error:
        raise ClientException(str(error), status_code=409) from error
    if done.appended is not None:  # read your own writes
        await store.model(balances.name).wait_for(done.appended.last_position)
    return {"balance": done.state}


@get("/accounts/{id:str}")
async def show(id: str, store: NamedDependency[AsyncStore]) -> dict[str, int]:
    return {"balance": await store.model(balances.name).get(f"account-{id}", 0)}


app = Litestar([move, show], lifespan=[lifespan], dependencies={"store": Provide(the_store)})
