"""Health: alive while the process lives, ready while the database answers."""

import httpx
import pytest
from fastapi import FastAPI

from app.db import engines

pytestmark = pytest.mark.anyio


async def test_a_live_process_says_so_without_a_token(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_it_is_ready_when_the_database_answers(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
