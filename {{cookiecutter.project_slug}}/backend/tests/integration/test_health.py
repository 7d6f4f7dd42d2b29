"""Health: alive while the process lives, ready while the database answers."""

from pathlib import Path

import httpx
import pytest

from app.core.config import Settings
from app.main import create_app

pytestmark = pytest.mark.anyio


async def test_a_live_process_says_so_without_a_token(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_it_is_ready_when_the_database_answers(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_it_is_not_ready_without_its_tables_and_says_no_more_than_that(
    settings: Settings, tmp_path: Path
) -> None:
    empty = settings.model_copy(
        update={
            "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/empty.db",
            "SYSTEM_DATABASE_URL": "",
            "MIGRATION_DATABASE_URL": "",
        }
    )
    transport = httpx.ASGITransport(create_app(empty))
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["reason"] == "database_unavailable"
    assert "tenants" not in response.text
