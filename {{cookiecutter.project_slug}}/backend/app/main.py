"""The application: every part is put together here, in the order in which a request meets it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api import edge, health, tenants
from app.auth.verifier import Verifier
from app.core import config, errors
from app.core.config import Settings
from app.db import configure, dispose, roles
from app.observability import finish_tasks, logging, metrics, on_failure
from app.projects import routes as projects
# {% if cookiecutter.include_sentry == "yes" %}
from app.sentry import init_sentry, mark_span, shutdown_sentry
# {% endif %}
from app.tenancy.quotas import RateLimits, check_tables


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service. Without settings it takes those of the environment."""
    settings = settings or config.settings
    # {% if cookiecutter.include_sentry == "yes" %}
    logging.configure(settings, settings.SENTRY_RELEASE)
    init_sentry(settings, lambda: app.routes)  # asked for when a report names one
    on_failure(mark_span)
    # {% else %}
    logging.configure(settings)
    # {% endif %}
    on_failure(metrics.count_failure)
    configure(settings)
    app = edge.Service(
        title="{{ cookiecutter.project_name }}",
        version=settings.APP_VERSION,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would be made of the caller's own Host header
    )
    app.state.settings = settings
    app.state.verifier = Verifier(settings)
    app.state.rate_limits = RateLimits(settings)
    errors.install(app)
    edge.install(app, settings)
    app.include_router(health.router)
    app.include_router(tenants.router)
    app.include_router(projects.router)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Check roles and quotas before the first request; close what is open after the last."""
    await roles.check(app.state.settings)
    check_tables(app.state.settings.TENANT_ROW_QUOTAS)
    yield
    await finish_tasks(app.state.settings.SHUTDOWN_TIMEOUT)  # they may need the database
    await app.state.rate_limits.close()
    await dispose()
    # {% if cookiecutter.include_sentry == "yes" %}
    shutdown_sentry(timeout=1.25)  # an orchestrator waits, and what is left is lost anyway
    # {% endif %}


app = create_app()
