"""The settings: their names and defaults, what is refused, and that no refusal tells a secret."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.core import config
from app.core.config import DEVELOPMENT_PASSWORD, Settings

PROJECT = Path(__file__).parents[3]

Environment = Callable[..., None]

# Every other test starts from this: a service as it should be run.
PRODUCTION = {
    "ENVIRONMENT": "production",
    "AUTH_ISSUER": "https://issuer.example.com/",
    "DATABASE_URL": "postgresql+asyncpg://app:a-long-one@db.example.com/service",
    "SYSTEM_DATABASE_URL": "postgresql+asyncpg://app_system:another@db.example.com/service",
    "MIGRATION_DATABASE_URL": "postgresql+asyncpg://app_owner:a-third@db.example.com/service",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Set variables in an environment that has no setting at first."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)

    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def from_file(file: Path) -> Settings:
    return Settings(_env_file=file)  # type: ignore[call-arg] # only pydantic's plugin knows it


def refusal() -> str:
    """Make the settings, and return why they are refused."""
    with pytest.raises((ValidationError, SettingsError)) as refused:
        Settings()
    return str(refused.value)


DEFAULTS = {
    "APP_VERSION": "0.1.0",
    "ENVIRONMENT": "development",
    "DEBUG": False,
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "auto",
    "HOST": "127.0.0.1",
    "PORT": 8000,
    "WORKERS": 1,
    "CORS_ORIGINS": [],
    "TRUSTED_HOSTS": ["*"],
    "MAX_BODY_BYTES": 1_048_576,
    "MAX_PAGE_SIZE": 100,
    "DATABASE_URL": "sqlite+aiosqlite:///.data/app.db",
    "SYSTEM_DATABASE_URL": "",
    "MIGRATION_DATABASE_URL": "",
    "AUTH_ISSUER": "",
    "AUTH_AUDIENCE": "api",
    "AUTH_ALGORITHMS": ["RS256", "ES256"],
    "AUTH_JWKS_URL": "",
    "AUTH_TENANT_CLAIM": "tenant_id",
    "AUTH_MEMBERSHIPS_CLAIM": "tenants",
    "AUTH_MAX_LIFETIME": 86_400,
    "AUTH_CLOCK_SKEW": 30,
    "TENANT_DOMAIN": "",
    "TENANT_RATE_LIMIT": "",
    "TENANT_ROW_QUOTAS": {},
    "REDIS_URL": "",
}


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_the_defaults_are_those_of_a_developers_machine(name: str, default: object) -> None:
    assert getattr(Settings(), name) == default


VARIABLES = {
    "APP_VERSION": ("2.0.0", "2.0.0"),
    "ENVIRONMENT": ("staging", "staging"),
    "DEBUG": ("true", True),
    "LOG_LEVEL": ("WARNING", "WARNING"),
    "LOG_FORMAT": ("json", "json"),
    "HOST": ("0.0.0.0", "0.0.0.0"),
    "PORT": ("9000", 9000),
    "WORKERS": ("4", 4),
    "CORS_ORIGINS": ('["https://a.example"]', ["https://a.example"]),
    "TRUSTED_HOSTS": ('["api.example.com"]', ["api.example.com"]),
    "TRUSTED_PROXIES": ("10.0.0.1,10.0.0.2", "10.0.0.1,10.0.0.2"),
    "MAX_BODY_BYTES": ("10", 10),
    "MAX_PAGE_SIZE": ("10", 10),
    "REQUEST_TIMEOUT": ("0.5", 0.5),
    "KEEP_ALIVE_TIMEOUT": ("7", 7),
    "SHUTDOWN_TIMEOUT": ("0", 0),
    "DATABASE_URL": ("sqlite+aiosqlite:///other.db", "sqlite+aiosqlite:///other.db"),
    "SYSTEM_DATABASE_URL": ("sqlite+aiosqlite:///other.db", "sqlite+aiosqlite:///other.db"),
    "MIGRATION_DATABASE_URL": ("sqlite+aiosqlite:///other.db", "sqlite+aiosqlite:///other.db"),
    "DATABASE_POOL_SIZE": ("1", 1),
    "DATABASE_POOL_OVERFLOW": ("0", 0),
    "DATABASE_TIMEOUT": ("2.5", 2.5),
    "AUTH_ISSUER": ("https://issuer.example", "https://issuer.example"),
    "AUTH_AUDIENCE": ("shop", "shop"),
    "AUTH_ALGORITHMS": ('["ES512"]', ["ES512"]),
    "AUTH_JWKS_URL": ("https://issuer.example/keys", "https://issuer.example/keys"),
    "AUTH_TENANT_CLAIM": ("org", "org"),
    "AUTH_MEMBERSHIPS_CLAIM": ("orgs", "orgs"),
    "AUTH_LOCAL_KEY_FILE": ("key.json", "key.json"),
    "AUTH_MAX_LIFETIME": ("3600", 3600),
    "AUTH_CLOCK_SKEW": ("5", 5),
    "TENANT_DOMAIN": ("example.com", "example.com"),
    "TENANT_RATE_LIMIT": ("100/minute", "100/minute"),
    "TENANT_ROW_QUOTAS": ('{"projects": 10}', {"projects": 10}),
    "REDIS_URL": ("redis://localhost", "redis://localhost"),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_setting_is_read_from_the_variable_of_its_name(
    name: str, environment: Environment
) -> None:
    text, value = VARIABLES[name]
    environment(**{name: text})
    assert getattr(Settings(), name) == value


def test_the_environment_is_read_when_the_settings_are_made(environment: Environment) -> None:
    before = Settings()
    environment(APP_VERSION="2.0.0")
    assert (before.APP_VERSION, Settings().APP_VERSION) == ("0.1.0", "2.0.0")


def test_an_argument_goes_before_the_environment(environment: Environment) -> None:
    environment(APP_VERSION="2.0.0")
    assert Settings(APP_VERSION="3.0.0").APP_VERSION == "3.0.0"


def test_settings_cannot_be_changed_once_they_are_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().DEBUG = True


def test_the_process_has_settings_of_its_own() -> None:
    assert config.settings is config.settings


def test_a_role_without_a_url_uses_that_of_the_application() -> None:
    url = "sqlite+aiosqlite:///one.db"
    urls = Settings(DATABASE_URL=url).database_urls
    assert urls == dict.fromkeys(urls, url)
    assert len(urls) == 3


def test_a_good_production_environment_is_accepted(environment: Environment) -> None:
    environment(**PRODUCTION)
    assert Settings().ENVIRONMENT == "production"


REFUSED_IN_PRODUCTION = {
    "debug": ("DEBUG", "true", "DEBUG must be off in production."),
    "the local issuer": (
        "AUTH_ISSUER",
        "",
        "AUTH_ISSUER must be set in production: the local issuer is for development.",
    ),
    "an issuer over http": (
        "AUTH_ISSUER",
        "http://issuer.example.com",
        "AUTH_ISSUER must start with https:// in production.",
    ),
    "an issuer that is no address": (
        "AUTH_ISSUER",
        "urn:local-issuer",
        "AUTH_ISSUER must start with https:// in production.",
    ),
    "keys over http": (
        "AUTH_JWKS_URL",
        "http://issuer.example.com/keys",
        "AUTH_JWKS_URL must start with https:// in production.",
    ),
    **{
        f"the development password in {name}": (
            name,
            f"postgresql+asyncpg://role:{DEVELOPMENT_PASSWORD}@db.example.com/service",
            f"{name} must not use the development password in production.",
        )
        for name in ("DATABASE_URL", "SYSTEM_DATABASE_URL", "MIGRATION_DATABASE_URL")
    },
    "the development password, percent-encoded": (
        "DATABASE_URL",
        "postgresql+asyncpg://role:%64evelopment-only@db.example.com/service",
        "DATABASE_URL must not use the development password in production.",
    ),
    "the development password as a parameter": (
        "DATABASE_URL",
        "postgresql+asyncpg://role@db.example.com/service?password=development-only",
        "DATABASE_URL must not use the development password in production.",
    ),
}


@pytest.mark.parametrize(
    ("name", "value", "sentence"), REFUSED_IN_PRODUCTION.values(), ids=REFUSED_IN_PRODUCTION
)
def test_production_refuses(name: str, value: str, sentence: str, environment: Environment) -> None:
    environment(**PRODUCTION)
    environment(**{name: value})
    with pytest.raises(ValidationError) as refused:
        Settings()
    messages = [error["msg"].removeprefix("Value error, ") for error in refused.value.errors()]
    assert messages == [sentence]


@pytest.mark.parametrize(("name", "value"), [case[:2] for case in REFUSED_IN_PRODUCTION.values()])
def test_development_allows_what_production_refuses(
    name: str, value: str, environment: Environment
) -> None:
    environment(**{**PRODUCTION, "ENVIRONMENT": "development", name: value})
    assert Settings().ENVIRONMENT == "development"


def test_every_fault_of_a_production_environment_is_told_at_once(environment: Environment) -> None:
    environment(ENVIRONMENT="production", DEBUG="true")
    told = refusal()
    assert "DEBUG must be off" in told
    assert "AUTH_ISSUER must be set" in told


BAD = {
    "PORT": ["x", "-1", "65536", "1.5", ""],
    "WORKERS": ["0", "many"],
    "DEBUG": ["perhaps"],
    "ENVIRONMENT": ["prod", "Production", ""],
    "LOG_LEVEL": ["loud"],
    "LOG_FORMAT": ["xml", "JSON", ""],
    "METRICS_PUBLIC": ["perhaps"],
    "METRICS_TENANTS": ["-1", "many"],
    "MAX_BODY_BYTES": ["0", "1MB"],
    "MAX_PAGE_SIZE": ["0", "101"],
    "REQUEST_TIMEOUT": ["0", "-1", "soon"],
    "SHUTDOWN_TIMEOUT": ["-1"],
    "CORS_ORIGINS": ["https://planted.example", "{", '{"a": 1}'],
    "TRUSTED_HOSTS": ["planted.example", "[1]", '["planted*"]', '["a.*.example"]'],
    "DATABASE_URL": [
        "postgresql+asyncpg://app:planted@127.0.0.1/service?sslmode=require",
        "",
        "app.db",
        "sqlite:///app.db",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "mysql+aiomysql://role:planted@db/name",
        "postgresql://role:planted@db/name",
        "postgresql+psycopg://role:planted@db/name",
        "postgresql+asyncpg:role:planted@db/name",
        "postgresql+asyncpg://role:planted@db:port/name",
        "postgresql+asyncpg://role:planted@db:planted/name",
    ],
    "SYSTEM_DATABASE_URL": ["postgresql://role:planted@db/name"],
    "MIGRATION_DATABASE_URL": ["postgresql://role:planted@db/name"],
    "DATABASE_POOL_SIZE": ["0"],
    "DATABASE_TIMEOUT": ["0"],
    "AUTH_AUDIENCE": [""],
    "AUTH_TENANT_CLAIM": [""],
    "AUTH_ALGORITHMS": ["[]", '["HS256"]', '["none"]', "RS256", '["RS256", "HS256"]'],
    "AUTH_JWKS_URL": ["file:///etc/passwd", "issuer.example/keys", "ftp://u:planted@host/keys"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_bad_value_is_refused_by_the_name_of_its_setting(
    name: str, value: str, environment: Environment
) -> None:
    environment(**{name: value})
    told = refusal()
    assert name in told
    assert "planted" not in told


def test_the_three_urls_are_of_one_kind_of_database(environment: Environment) -> None:
    environment(SYSTEM_DATABASE_URL="postgresql+asyncpg://role:planted@db.example.com/name")
    told = refusal()
    assert "DATABASE_URL and its two companions must use the same driver" in told
    assert "planted" not in told


@pytest.mark.parametrize("password", ["[planted]", "pl[anted", "planted]", "pl@nted", "pla/nted"])
def test_no_password_is_told_however_it_is_spelt(password: str, environment: Environment) -> None:
    environment(**PRODUCTION)
    environment(DEBUG="true", DATABASE_URL=f"postgresql+asyncpg://app:{password}@db/service")
    told = refusal()
    assert "DEBUG must be off" in told
    assert "planted" not in told
    assert password not in told


def test_the_settings_show_no_password() -> None:
    url = "postgresql+asyncpg://role:planted@db.example.com/name"
    shown = repr(
        Settings(
            DATABASE_URL=url,
            SYSTEM_DATABASE_URL=url,
            MIGRATION_DATABASE_URL=url,
            REDIS_URL="redis://:planted@limits.example.com",
        )
    )
    assert "planted" not in shown
    assert "AUTH_AUDIENCE" in shown


def test_env_example_is_what_the_settings_say() -> None:
    assert (PROJECT / ".env.example").read_text("utf-8") == config.render_example()


def test_env_example_is_printed_by_the_command_that_it_names() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "app.core.config"],
        cwd=PROJECT / "backend",
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert printed.decode("utf-8") == config.render_example()


def test_env_example_has_every_setting_once() -> None:
    lines = config.render_example().splitlines()
    names = [line[1:].partition("=")[0] for line in lines if line.startswith("#") and "=" in line]
    settings = [name for name in names if name.isupper()]
    assert sorted(settings) == sorted(Settings.model_fields)


def test_env_example_explains_every_setting() -> None:
    assert "# None\n" not in config.render_example()


def test_env_example_with_everything_uncommented_gives_the_defaults(tmp_path: Path) -> None:
    lines = config.render_example().splitlines()
    file = tmp_path / ".env"
    file.write_text("\n".join(line.removeprefix("#") for line in lines if line[:2] != "# "))
    assert from_file(file) == Settings()


def test_a_variable_goes_before_the_file(environment: Environment, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("APP_VERSION=from-the-file\nAUTH_AUDIENCE=from-the-file\n")
    environment(APP_VERSION="from-the-environment")
    settings = from_file(file)
    assert settings.APP_VERSION == "from-the-environment"
    assert settings.AUTH_AUDIENCE == "from-the-file"
