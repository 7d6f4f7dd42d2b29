"""Behind a pooler that lends a connection for one transaction, tenants stay apart all the same.

Nothing but the URLs says that there is one. It has fewer connections to the server than the service
has to it, so that each of those serves every tenant in turn.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from sqlalchemy import delete, func, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError

from app.auth import issuer
from app.core.config import Settings
from app.db import engines
from app.main import create_app
from app.projects.models import Project, Task
from app.tenancy import lifecycle, system_session, tenant_session
from tests.conftest import migrate
from tests.servers import Cluster, start_pgbouncer

pytestmark = pytest.mark.anyio

TENANTS = ("acme", "globex")
SERVERS = 2
CLIENTS = 8
ROUNDS = 15


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> str:
    return cluster.create_database()


@pytest.fixture(scope="module")
def migrated(cluster: Cluster, database: str) -> Iterator[Settings]:
    """Settings that lead through the pooler, to a database that was migrated through it."""
    with start_pgbouncer(cluster.urls(database), SERVERS) as urls:
        settings = Settings.model_validate(
            {**urls, "DATABASE_POOL_SIZE": CLIENTS, "DATABASE_POOL_OVERFLOW": 0}
        )
        migrate(settings)
        yield settings


@pytest.fixture
async def pooled(migrated: Settings) -> AsyncIterator[Settings]:
    """The same, in use, with two tenants."""
    engines.configure(migrated)
    for tenant in TENANTS:
        await lifecycle.create(tenant)
    yield migrated
    await engines.dispose()


async def work(tenant: str, number: int) -> None:
    """Read and write as a tenant in two transactions, with a savepoint, a stream and many rows."""
    async with tenant_session(tenant) as session:
        project = Project(name=f"{tenant} {number}")
        session.add(project)
        await session.flush()
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                session.add(Project(name=f"{tenant} {number}"))
        await session.commit()
        tasks = [{"title": f"{tenant} {n}", "project_id": project.id} for n in range(250)]
        await session.execute(insert(Task), tasks)
        titles = await session.stream_scalars(select(Task.title).execution_options(yield_per=100))
        async for title in titles:
            assert title.startswith(tenant)
            if title.endswith("7"):  # another statement, while the stream is open
                assert (await session.get_one(Project, (tenant, project.id))).name.startswith(
                    tenant
                )
        await session.execute(delete(Task).where(Task.project_id == project.id))
        await session.commit()
        assert all(name.startswith(tenant) for name in await session.scalars(select(Project.name)))


async def test_few_connections_serve_many_clients_of_two_tenants(
    pooled: Settings, cluster: Cluster, database: str
) -> None:
    jobs = [work(tenant, number) for number in range(ROUNDS) for tenant in TENANTS]
    await asyncio.gather(*jobs)
    async with system_session("count") as session:
        by_tenant = select(Project.tenant_id, func.count()).group_by(Project.tenant_id)
        rows = sorted(tuple(row) for row in await session.execute(by_tenant))
        assert rows == [(tenant, ROUNDS) for tenant in TENANTS]
        assert await session.scalar(select(func.count()).select_from(Task)) == 0
        asked = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND usename = :user"
        )
        user = make_url(pooled.DATABASE_URL).username
        servers = await session.scalar(asked, {"name": database, "user": user})
    assert servers == SERVERS < CLIENTS


async def test_no_connection_keeps_the_tenant_that_it_served(pooled: Settings) -> None:
    await asyncio.gather(*(work(tenant, n) for n in range(100, 104) for tenant in TENANTS))
    url = make_url(pooled.DATABASE_URL).set(drivername="postgresql")

    @asynccontextmanager
    async def transaction() -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(
            url.render_as_string(hide_password=False), statement_cache_size=0
        )
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    # Open at the same time, so that each is on a connection of its own.
    async with transaction() as first, transaction() as second:
        assert await first.fetchval("SELECT pg_backend_pid()") != await second.fetchval(
            "SELECT pg_backend_pid()"
        )
        for each in (first, second):
            assert await each.fetchval("SELECT current_setting('app.tenant_id', true)") in (
                None,
                "",
            )
            assert await each.fetchval("SELECT count(*) FROM projects") == 0
            assert await each.fetchval("SELECT count(*) FROM tenants") == 0


async def test_the_service_starts_and_answers_two_tenants_at_a_time(pooled: Settings) -> None:
    app = create_app(pooled)

    async def call(client: httpx.AsyncClient, tenant: str, number: int) -> None:
        headers = {"Authorization": f"Bearer {issuer.issue(pooled, tenant, 'alice', '')}"}
        name = {"name": f"{tenant} by HTTP {number}"}
        made = await client.post("/api/v1/projects", json=name, headers=headers)
        listed = await client.get("/api/v1/projects", headers=headers)
        gone = await client.delete(f"/api/v1/projects/{made.json()['id']}", headers=headers)
        assert (made.status_code, listed.status_code, gone.status_code) == (201, 200, 204)
        assert all(item["name"].startswith(tenant) for item in listed.json()["items"])

    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
            await asyncio.gather(*(call(client, t, n) for n in range(10) for t in TENANTS))


async def prepared() -> object:
    """Count what is prepared by name on a connection that has run some statements."""
    async with system_session("look at the connection") as session:
        for _ in range(3):
            await session.execute(select(Project.name))
        return await session.scalar(text("SELECT count(*) FROM pg_prepared_statements"))


async def test_statements_have_names_only_where_there_is_no_pooler(
    pooled: Settings, cluster: Cluster, database: str
) -> None:
    assert await prepared() == 0
    engines.configure(Settings.model_validate(cluster.urls(database)))
    assert await prepared() != 0
