"""FastAPI: the store lives as long as the application; a dependency hands it out; answers come after the read model has them.

Run it: `uvicorn fastapi_app:app`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from accounts import Move, NotEnough, account, balances, types
from fastapi import Depends, FastAPI, Header, HTTPException, Request

import hansard
from hansard.aio import AsyncStore


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with hansard.aio.open(os.environ.get("BANK", "bank.db"), types=types) as store, store.run(balances):
        app.state.store = store
        yield


app = FastAPI(lifespan=lifespan)


def the_store(request: Request) -> AsyncStore:
    store: AsyncStore = request.app.state.store
    return store


StoreOfRequest = Annotated[AsyncStore, Depends(the_store)]


@app.post("/accounts/{id}/moves/{amount}")
async def move(
    id: str, amount: int, store: StoreOfRequest, x_correlation_id: Annotated[str | None, Header()] = None
) -> dict[str, int]:
    metadata = {"correlation_id": x_correlation_id} if x_correlation_id else None
    try:
        done = await store.execute(account, f"account-{id}", Move(amount), metadata=metadata)
    except NotEnough as error:
        raise HTTPException(409, str(error)) from error
    if done.appended is not None:  # read your own writes
        await store.model(balances.name).wait_for(done.appended.last_position)
    return {"balance": done.state}


@app.get("/accounts/{id}")
async def show(id: str, store: StoreOfRequest) -> dict[str, int]:
    return {"balance": await store.model(balances.name).get(f"account-{id}", 0)}
