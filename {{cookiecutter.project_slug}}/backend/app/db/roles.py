"""The roles that the service signs in with: on PostgreSQL each may do what it must, and no more."""

from collections.abc import Iterable

from sqlalchemy import Connection, make_url, text

from app.core.config import Settings
from app.db.engines import Role, create, is_sqlite

SERVING = (Role.APPLICATION, Role.SYSTEM)

# A role can take on every role that it is a member of: their rights are its own.
# It is the session's role that counts: one that is set at login can be reset.
_RIGHTS = text(
    """
    SELECT bool_or(rolsuper) AS rolsuper,
        bool_or(
            rolbypassrls OR rolreplication OR rolcreaterole OR rolname IN (
                'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'
            )
        ) AS bypasses,
        bool_or(rolname = ANY(:others)) AS is_another,
        EXISTS (
            SELECT FROM pg_class
            WHERE relnamespace = 'public'::regnamespace
            AND pg_has_role(session_user, relowner, 'MEMBER')
        ) AS owns,
        EXISTS (
            SELECT FROM pg_namespace JOIN pg_database ON datname = current_database()
            WHERE nspname = 'public' AND (
                pg_has_role(session_user, nspowner, 'MEMBER')
                OR pg_has_role(session_user, datdba, 'MEMBER')
            )
        ) AS may_drop,
        EXISTS (
            SELECT FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND has_table_privilege(session_user, oid, 'TRUNCATE, TRIGGER, REFERENCES')
        ) AS exceeds,
        EXISTS (
            SELECT FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            WHERE attname = 'tenant_id' AND relkind IN ('r', 'p')
            AND has_table_privilege(session_user, pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE')
            AND NOT (relrowsecurity AND relforcerowsecurity)
        ) AS unprotected
    FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER')
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
        (rights.may_drop, "owns the schema or the database, and may drop the tables"),
        (rights.exceeds, "may truncate tables, or put triggers or foreign keys on them"),
        (rights.unprotected, "reaches a table whose row-level security is not enabled and forced"),
    ):
        if right:
            raise UnsafeRoleError(f"{role} must name a role of its own: this one {fault}.")
