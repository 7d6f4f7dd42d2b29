"""The way to the database for `app.tenancy`, which makes doors of it. The engines stay inside."""

from app.db.engines import (
    Role,
    begin_as_owner,
    configure,
    current_settings,
    dispose,
    is_sqlite,
    open_session,
)

__all__ = [
    "Role",
    "begin_as_owner",
    "configure",
    "current_settings",
    "dispose",
    "is_sqlite",
    "open_session",
]
