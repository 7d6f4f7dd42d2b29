"""The command line: `python -m app`, and then a command; each has `--help`."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

import uvicorn
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from pydantic import ValidationError
from pydantic_core import to_json
from pydantic_settings import SettingsError
from sqlalchemy.exc import DBAPIError

from app.auth import TokenError, issuer
from app.auth.verifier import Verifier
from app.core import config
from app.db import dispose, roles
from app.observability import logging, metrics
# {% if cookiecutter.include_sentry == "yes" %}
from app.sentry import report_by_hand
from app.telemetry.preview import render_preview
# {% endif %}
from app.tenancy import check_database, lifecycle
from app.tenancy.models import TelemetryConsent, checked_name
from app.tenancy.quotas import check_tables

Result = TypeVar("Result")
BACKEND = Path(__file__).parents[1]


class RefusedError(Exception):
    """A command that can't be carried out; the message is one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after one sentence on standard error."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except ValidationError as error:
        for each in error.errors(include_input=False):
            where = f"{each['loc'][0]}: " if each["loc"] else ""
            print(where + each["msg"].removeprefix("Value error, "), file=sys.stderr)
    except SettingsError as error:
        print(f"{error}: a list or a map is written as JSON.", file=sys.stderr)
    except (RefusedError, roles.UnsafeRoleError, CommandError) as error:
        print(error, file=sys.stderr)
    except lifecycle.UnknownTenantError as error:
        print(f"There is no tenant {error}.", file=sys.stderr)
    except (DBAPIError, OSError) as error:
        print(_database_fault(error), file=sys.stderr)
    except (lifecycle.TenantStateError, ValueError) as error:
        print(f"{str(error)[:1].upper()}{str(error)[1:]}.", file=sys.stderr)
    else:
        return 0
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m app", description="The service's command line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="serve HTTP as the settings say")
    run.set_defaults(command=_run)

    database = commands.add_parser("db", help="migrate the database, or check that it serves")
    actions = database.add_subparsers(required=True, metavar="ACTION")
    upgrade = actions.add_parser("upgrade", help="bring it to the newest schema")
    upgrade.add_argument(
        "--partitions",
        metavar="N",
        help="divide each tenants' table of a new PostgreSQL database by hash of the tenant",
    )
    upgrade.set_defaults(command=_upgrade)
    check = actions.add_parser("check", help="see whether it can be served from")
    check.set_defaults(command=_check)

    tenant = commands.add_parser("tenant", help="create, suspend, resume, export or erase a tenant")
    tenant.add_argument("action", choices=["create", "suspend", "resume", "export", "erase"])
    tenant.add_argument("name", metavar="NAME")
    tenant.set_defaults(command=_tenant)

    consent = commands.add_parser("consent", help="set what telemetry may tell of a tenant")
    consent.add_argument("name", metavar="TENANT")
    consent.add_argument("consent", choices=list(TelemetryConsent), type=str)
    consent.set_defaults(command=_consent)

    token = commands.add_parser("token", help="print a token of the local issuer (development)")
    token.add_argument("--tenant", required=True)
    token.add_argument("--user", required=True)
    token.add_argument("--scope", default="", help="space-separated scopes")
    token.add_argument(
        "--membership", action="append", default=[], metavar="TENANT", help="one to choose"
    )
    token.set_defaults(command=_token)
    # {% if cookiecutter.include_sentry == "yes" %}

    report = commands.add_parser("report", help="report an error by hand, to see it arrive")
    report.add_argument("name", metavar="TENANT", help="whose error it is said to be")
    report.set_defaults(
        command=lambda arguments: _print(
            report_by_hand(
                config.settings,
                arguments.name,
                _in_loop(lifecycle.find(arguments.name)).telemetry_consent,
            )
        )
    )

    privacy = commands.add_parser("privacy", help="show what an error report would tell")
    actions = privacy.add_subparsers(required=True, metavar="ACTION")
    preview = actions.add_parser("preview", help="a sample error, before and after")
    preview.add_argument("--html", type=Path, metavar="FILE", help="write it as a page")
    preview.set_defaults(command=lambda arguments: _print(render_preview(arguments.html)))
    # {% endif %}
    return parser


def _run(_: argparse.Namespace) -> None:
    settings = config.settings
    # For what the process says that starts the workers.
    # {% if cookiecutter.include_sentry == "yes" %}
    logging.configure(settings, settings.SENTRY_RELEASE)
    # {% else %}
    logging.configure(settings)
    # {% endif %}
    check_tables(settings.TENANT_ROW_QUOTAS)
    _in_loop(roles.check(settings))
    _greet(settings)
    # Having stopped in good order, the server sends itself the signal that it got once more.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with metrics.shared_by(settings.WORKERS):
            uvicorn.run(
                "app.main:app",
                host=settings.HOST,
                port=settings.PORT,
                workers=settings.WORKERS,
                forwarded_allow_ips=settings.TRUSTED_PROXIES,
                timeout_keep_alive=settings.KEEP_ALIVE_TIMEOUT,
                timeout_graceful_shutdown=settings.SHUTDOWN_TIMEOUT,
                lifespan="on",  # a start-up that fails is no start
                ws="none",
                server_header=False,
                access_log=False,
                log_config=None,
            )
    finally:
        _give_up_full_streams()


def _greet(settings: config.Settings) -> None:
    lines = [f"API documents at http://{settings.HOST}:{settings.PORT}/docs"]
    if not settings.AUTH_ISSUER:
        lines.append("A tenant: python -m app tenant create acme")
        lines.append("A token:  python -m app token --tenant acme --user alice")
    with suppress(OSError):  # a disk that is full is no reason not to serve
        print("\n".join(lines), flush=True)


def _give_up_full_streams() -> None:
    """Keep what can't be written from the interpreter, which would fail for it when it ends."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _upgrade(arguments: argparse.Namespace) -> None:
    options = [] if arguments.partitions is None else [f"partitions={arguments.partitions}"]
    alembic = Config(BACKEND / "alembic.ini", cmd_opts=argparse.Namespace(x=options))
    command.upgrade(alembic, "head")
    print("The database is up to date.")


def _check(_: argparse.Namespace) -> None:
    _in_loop(roles.check(config.settings))
    _in_loop(check_database())
    print("The database is ready.")


def _tenant(arguments: argparse.Namespace) -> None:
    name = arguments.name
    match arguments.action:
        case "create":
            tenant, new = _in_loop(lifecycle.create(name))
            print(f"The tenant {name} is {tenant.status}{'' if new else ' already'}.")
        case "export":
            _in_loop(_export(name))
        case "erase":
            _in_loop(_erase(name))
        case step:
            tenant = _in_loop(
                {"suspend": lifecycle.suspend, "resume": lifecycle.resume}[step](name)
            )
            print(f"The tenant {name} is {tenant.status}.")


def _consent(arguments: argparse.Namespace) -> None:
    tenant = _in_loop(lifecycle.set_consent(arguments.name, TelemetryConsent(arguments.consent)))
    print(f"Telemetry may tell of the tenant {arguments.name}: {tenant.telemetry_consent}.")


def _token(arguments: argparse.Namespace) -> None:
    settings = config.settings
    if settings.AUTH_ISSUER:
        raise RefusedError(
            "AUTH_ISSUER is set: tokens come from that issuer, not from the local one."
        )
    for tenant in (arguments.tenant, *arguments.membership):
        checked_name(tenant)
    try:
        token = issuer.issue(
            settings, arguments.tenant, arguments.user, arguments.scope, arguments.membership
        )
    except (OSError, ValueError, KeyError) as error:
        raise RefusedError(
            f"AUTH_LOCAL_KEY_FILE names a file that can't be used ({type(error).__name__})."
        ) from None
    try:
        _in_loop(Verifier(settings).verify(token))
    except TokenError as error:
        raise RefusedError(f"The service would refuse this token: {error.reason}.") from None
    print(token)


def _in_loop(work: Coroutine[object, object, Result]) -> Result:
    """Run one piece of work in a loop of its own, and leave no connection open."""

    async def run() -> Result:
        try:
            return await work
        finally:
            await dispose()

    return asyncio.run(run())


async def _export(name: str) -> None:
    tell, count = _progress(), 0
    async with aclosing(lifecycle.export(name)) as rows:
        async for table, row in rows:
            line = {"table": table, "row": row}
            _print(to_json(line, bytes_mode="base64", inf_nan_mode="strings").decode())
            tell(count := count + 1)


async def _erase(name: str) -> None:
    tell = _progress()
    async with aclosing(lifecycle.erase(name)) as steps:
        async for step in steps:
            tell(sum(step.deleted.values()))
            for table, rows in (step.left or {}).items():
                _print(f"{table}: {step.deleted[table]} rows erased, {rows} left")
    _print(f"The tenant {name} is erased.")


def _progress() -> Callable[[int], None]:
    """Return what says on standard error how many rows are done, once a second."""
    said = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal said
        if time.monotonic() - said >= 1:
            said = time.monotonic()
            print(f"{rows} rows so far", file=sys.stderr, flush=True)

    return tell


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever reads, as `head` does, has enough; the work goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise RefusedError(f"The output can't be written: {reason}.") from None


def _database_fault(error: Exception) -> str:
    """Say what to do, without the driver's text: it may name hosts, users and values."""
    cause: BaseException = error
    while cause.__cause__:
        cause = cause.__cause__
    name = type(cause).__name__
    if name == "UndefinedTableError" or "no such table" in str(cause):
        return "The database has no tables yet: run python -m app db upgrade."
    return (
        "The database can't be used: look at DATABASE_URL, SYSTEM_DATABASE_URL and "
        f"MIGRATION_DATABASE_URL ({name})."
    )


if __name__ == "__main__":
    sys.exit(main())
