"""What the tests of real processes share."""

import pytest

from tests.wire.server import command_line


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A developer's machine: the embedded database, migrated, with the tenant acme."""
    directory = tmp_path_factory.mktemp("service")
    variables = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/app.db",
        "AUTH_LOCAL_KEY_FILE": f"{directory}/issuer.json",
    }
    command_line(variables, "db", "upgrade")
    command_line(variables, "tenant", "create", "acme")
    return variables
