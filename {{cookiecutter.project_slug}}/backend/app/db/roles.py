"""The roles that the service signs in with: on PostgreSQL each may do what it must, and no more."""

from collections.abc import Iterable

from sqlalchemy import Connection, make_url, text

from app.core.config import Settings
from app.db.engines import Role, create, is_sqlite

SERVING = (Role.APPLICATION, Role.SYSTEM)

# A role can take on every role that it is a member of: their rights are its own.
_RIGHTS = text(
    """
    SELECT bool_or(rolsuper) AS rolsuper,
        bool_or(rolbypassrls OR rolreplication OR rolcreaterole) AS bypasses,
        bool_or(rolname = ANY(:others)) AS is_another,
        EXISTS (
            SELECT FROM pg_class
            WHERE relnamespace = 'public'::regnamespace
            AND pg_has_role(current_user, relowner, 'MEMBER')
        ) AS owns
    FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')
    """
)


class UnsafeRoleError(Exception):
    """A role could go around row-level security; the message names the setting."""


def role_name(settings: Settings, role: Role) -> str:
    """Return the name of the database role that a setting's URL signs in with."""
    return make_url(settings.database_urls[role]).username or ""


def check_names(settings: Settings, roles: Iterable[Role] = Role) -> None:
    """Raise UnsafeRoleError if two of the settings name one role. SQLite has no roles."""
    if is_sqlite(make_url(settings.DATABASE_URL)):
        return
    settings_of: dict[str, Role] = {}
    for role in roles:
        name = role_name(settings, role)
        if name in settings_of:
            raise UnsafeRoleError(
                f"{role} must name a role of its own: {name!r} is the one of {settings_of[name]}."
            )
        settings_of[name] = role


async def check(settings: Settings) -> None:
    """Raise UnsafeRoleError for a serving role that owns tables or may bypass row security.

    The owner's own role is no concern of a process that serves, and need not be known to it.
    """
    check_names(settings, SERVING)
    for role in SERVING:
        url = make_url(settings.database_urls[role])
        others = sorted({role_name(settings, each) for each in Role} - {url.username})
        if not is_sqlite(url):
            engine = create(url, settings)
            try:
                async with engine.connect() as connection:
                    await connection.run_sync(_check_rights, role, others)
            finally:
                await engine.dispose()


def _check_rights(connection: Connection, role: Role, others: list[str]) -> None:
    rights = connection.execute(_RIGHTS, {"others": others}).one()
    for right, fault in (
        (rights.rolsuper, "is a superuser"),
        (rights.bypasses, "may bypass row-level security"),
        (rights.owns, "owns the tables"),
        (rights.is_another, "is a member of another of the service's roles"),
    ):
        if right:
            raise UnsafeRoleError(f"{role} must name a role of its own: this one {fault}.")
