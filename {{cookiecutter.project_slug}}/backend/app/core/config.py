"""Every setting of the service, read from the environment when `Settings()` is called."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

DEVELOPMENT_PASSWORD = "development-only"  # noqa: S105 - what compose.yaml uses; refused in production
DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")
DATABASE_URLS = ("DATABASE_URL", "SYSTEM_DATABASE_URL", "MIGRATION_DATABASE_URL")

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Seconds = Annotated[float, Field(gt=0)]


def _group(title: str) -> JsonDict:
    """Open a group of settings; the fields that follow belong to it."""
    return {"group": title}


class Settings(BaseSettings):
    """The service's settings. A name here is the name of its environment variable.

    Values come from the arguments, then the environment, then the file that `ENV_FILE` names
    (`.env` beside the README unless set; empty for none). Lists are written as JSON.
    """

    model_config = SettingsConfigDict(
        env_file=os.environ.get("ENV_FILE", Path(__file__).parents[3] / ".env") or None,
        extra="ignore",
        frozen=True,
        # A refused value may be a secret: an error names the setting and does not echo it.
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    APP_VERSION: str = Field(default="0.1.0", json_schema_extra=_group("Service"))
    """Version of the service, as shown in the API document."""
    ENVIRONMENT: Literal["development", "staging", "production"] = "development"
    """`production` refuses the local issuer, issuers without TLS, and development passwords."""
    DEBUG: bool = False
    """Log every SQL statement. Refused in production."""
    LOG_LEVEL: LogLevel = "INFO"
    """The least severe level that is logged."""
    LOG_FORMAT: Literal["auto", "json", "console"] = "auto"
    """`json` or `console` lines; `auto` writes for people in development, JSON elsewhere."""

    HOST: str = Field(default="127.0.0.1", json_schema_extra=_group("HTTP"))
    """Address to listen on."""
    PORT: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    WORKERS: int = Field(default=1, ge=1)
    """Number of worker processes."""
    CORS_ORIGINS: list[str] = []
    """Origins whose pages may call the API from a browser, such as `["https://app.example.com"]`."""
    TRUSTED_HOSTS: list[str] = ["*"]
    """Host names that the service answers to; `*` for any. Set it in production."""
    TRUSTED_PROXIES: str = "127.0.0.1"
    """Addresses, comma separated, whose `X-Forwarded-*` headers are believed."""
    MAX_BODY_BYTES: int = Field(default=1_048_576, gt=0)
    """Largest request body, in bytes; a larger one is answered 413."""
    MAX_PAGE_SIZE: int = Field(default=100, ge=1, le=100)
    """Most items on one page of a list."""
    REQUEST_TIMEOUT: Seconds = 30.0
    """Seconds that a request may take before it is answered 503."""
    KEEP_ALIVE_TIMEOUT: int = Field(default=5, ge=1)
    """Seconds that an idle connection is kept open."""
    SHUTDOWN_TIMEOUT: int = Field(default=10, ge=0)
    """Seconds that running requests are given when the service stops."""

    DATABASE_URL: str = Field(
        default="sqlite+aiosqlite:///.data/app.db",
        min_length=1,
        repr=False,
        json_schema_extra=_group("Database"),
    )
    """The application's role. Drivers: `sqlite+aiosqlite`, `postgresql+asyncpg`."""
    SYSTEM_DATABASE_URL: str = Field(default="", repr=False)
    """The role of system sessions; empty for `DATABASE_URL` (SQLite only)."""
    MIGRATION_DATABASE_URL: str = Field(default="", repr=False)
    """The role that owns the tables and migrates them; empty for `DATABASE_URL` (SQLite only)."""
    DATABASE_POOL_SIZE: int = Field(default=5, ge=1)
    """Connections that a process keeps open for each role."""
    DATABASE_POOL_OVERFLOW: int = Field(default=10, ge=0)
    """Connections beyond the pool that a burst may open."""
    DATABASE_TIMEOUT: Seconds = 15.0
    """Seconds to wait for a connection, a lock or a statement."""

    AUTH_ISSUER: str = Field(default="", json_schema_extra=_group("Authentication"))
    """Issuer of the tokens, exactly as in their `iss`; empty for the local issuer (development)."""
    AUTH_AUDIENCE: str = Field(default="api", min_length=1)
    """Audience that a token must name."""
    AUTH_ALGORITHMS: list[Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]] = Field(
        default=["RS256", "ES256"], min_length=1
    )
    """Signature algorithms that are accepted; asymmetric ones only."""
    AUTH_JWKS_URL: str = ""
    """Where the issuer's public keys are; empty to discover it from the issuer."""
    AUTH_TENANT_CLAIM: str = Field(default="tenant_id", min_length=1)
    """Claim that names the caller's tenant."""
    AUTH_MEMBERSHIPS_CLAIM: str = Field(default="tenants", min_length=1)
    """Claim that lists the tenants a caller may choose from, by `X-Tenant-ID` or by subdomain."""
    TENANT_DOMAIN: str = Field(default="", pattern=r"^([a-z0-9-]+(\.[a-z0-9-]+)*)?$")
    """Domain whose subdomains choose a tenant: `example.com` for acme.example.com; empty: none do."""
    AUTH_MAX_LIFETIME: int = Field(default=86_400, gt=0)
    """Seconds that a token may live, from its issue to its end."""
    AUTH_CLOCK_SKEW: int = Field(default=30, ge=0, le=300)
    """Seconds that the issuer's clock may differ from this one."""
    AUTH_LOCAL_KEY_FILE: str = ".data/issuer.json"
    """Private key of the local issuer, made on first use. Development only."""

    TENANT_RATE_LIMIT: str = Field(default="", json_schema_extra=_group("Limits"))
    """Most requests of a tenant, as `100/minute`, or `10/second;1000/hour`; empty for no limit."""
    TENANT_ROW_QUOTAS: dict[str, PositiveInt] = {}
    """Most rows of a tenant by table, as `{"projects": 1000}`; counted whenever some are added."""
    REDIS_URL: str = Field(default="", repr=False)
    """Where processes share their rate limits; empty for memory: each process counts alone."""

    METRICS_TOKEN: str = Field(
        default="",
        repr=False,
        pattern=r"^([A-Za-z0-9._~+/-]+=*)?$",
        json_schema_extra=_group("Metrics"),
    )
    """Bearer token that `/metrics` asks for; Prometheus sends it by `credentials_file`."""
    METRICS_PUBLIC: bool = False
    """Show `/metrics` to anybody in production too, where no token is set."""
    METRICS_TENANTS: int = Field(default=20, ge=0, le=100)
    """Number of tenants, the busiest, with series of their own; the rest share the label `other`."""
    # {% if cookiecutter.include_sentry == "yes" %}

    SENTRY_DSN: str = Field(default="", repr=False, json_schema_extra=_group("Sentry"))
    """Where errors are reported; empty for nowhere: nothing is started, nothing is sent."""
    SENTRY_ENVIRONMENT: str = "development"
    """Label on what is sent, else `ENVIRONMENT`, else what variables, argv or containers tell."""
    SENTRY_RELEASE: str = ""
    """Release on what is sent, else `build_info.json`, `VERSION`, the git commit, `APP_VERSION`."""
    SENTRY_TRACES_SAMPLE_RATE: float = Field(default=0.1, ge=0, le=1)
    """Share of requests that are traced, 0 to 1."""
    SENTRY_PROFILES_SAMPLE_RATE: float = Field(default=0.1, ge=0, le=1)
    """Share of traced requests that are profiled, 0 to 1; none before Python 3.12."""
    SENTRY_SAMPLING: Literal["explicit", "environment"] = "explicit"
    """`explicit` uses the two rates as set, `environment` those that fit the environment."""
    SENTRY_RATES_FILE: str = ""
    """JSON file with shares for tenants and routes, 0 to 1; empty for none. See the README."""
    SENTRY_ERRORS_PER_MINUTE: int = Field(default=600, ge=0)
    """Most errors of one tenant that a process sends at once, and in a minute after; 0 for all."""
    SENTRY_TRACES_PER_MINUTE: int = Field(default=600, ge=0)
    """Most traces of one tenant that a process sends at once, and in a minute after; 0 for all."""
    SENTRY_PRIVACY_MODE: Literal["strict", "balanced"] = "strict"
    """`strict` sends only what is known to be safe, `balanced` all that is not sensitive."""
    SENTRY_USER_CONTEXT: Literal["id", "anonymous", "full"] = "id"
    """What is told of the caller: their id, a session that hides it, or all that is known."""
    SENTRY_INCLUDE_REQUEST_BODIES: bool = False
    """Send request bodies of up to 10 kB, JSON and forms, filtered; `strict` never sends one."""
    SENTRY_INCLUDE_LOCAL_VARIABLES: bool = False
    """Send the variables of the functions on a stack, filtered; `strict` never sends them."""
    SENTRY_INCLUDE_SOURCE_CONTEXT: bool = False
    """Send the lines of code around each line of a stack, filtered; `strict` never sends them."""
    SENTRY_INCLUDE_ARGV: bool = False
    """Send the process's command line, filtered; `strict` never sends it."""
    SENTRY_INCLUDE_SERVER_NAME: bool = False
    """Send the host's name, filtered; `strict` never sends it."""
    SENTRY_INCLUDE_MODULES: bool = False
    """Send the names and versions of the installed packages; `strict` never sends them."""
    SENTRY_INCLUDE_SESSIONS: bool = False
    """Count requests that failed and that did not; no mode sends whose they were, or from where."""
    SENTRY_INCLUDE_LOGS: bool = False
    """Send what is logged from INFO up, filtered; `strict` cuts it down to what its code says."""
    SENTRY_TRACE_PROPAGATION_TARGETS: list[str] = []
    """Hosts that are sent trace headers, by httpx, as `["billing.example.com"]`; in both modes."""

    @field_validator("SENTRY_RATES_FILE")
    @classmethod
    def _check_rates(cls, file: str) -> str:
        cls.read_rates(file)
        return file

    @staticmethod
    def read_rates(file: str) -> "dict[str, dict[str, dict[str, float]]]":
        """Return the shares in a file: of `tenants` or `routes`, by name, of `errors` or `traces`.

        Raises ValueError where it can't be read, or holds anything else.
        """
        if not file:
            return {}
        # Imported here because most processes have no such file.
        from pydantic import AfterValidator, ValidationError, create_model  # noqa: PLC0415
        from starlette.routing import compile_path  # noqa: PLC0415

        def template(route: str) -> str:
            compile_path(route.partition(" ")[2])
            return route

        tenant = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,62}$")]
        route = Annotated[str, Field(pattern=r"^[A-Z]+ /\S*$"), AfterValidator(template)]
        share = Annotated[float, Field(ge=0, le=1, strict=True)]
        shares = dict[Literal["errors", "traces"], share]
        form = create_model(
            "Rates",
            __config__={"extra": "forbid"},
            tenants=(dict[tenant, shares], {}),
            routes=(dict[route, shares], {}),
        )
        try:
            rates = form.model_validate_json(Path(file).read_bytes())
            return rates.model_dump()
        except OSError as error:
            raise ValueError(f"the file can't be read ({type(error).__name__})") from None
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"in the file, {place or 'all'}: {first['msg']}") from None
    # {% endif %}

    @field_validator(*DATABASE_URLS)
    @classmethod
    def _check_driver(cls, url: str) -> str:
        if not url:
            return url
        if url.partition(":")[0] not in DRIVERS:
            raise ValueError(f"the URL must start with one of {', '.join(DRIVERS)}")
        try:
            query = make_url(url).query
        except (ArgumentError, ValueError):  # its text may hold a part of the password
            raise ValueError("it must be a URL: driver://role:password@host:port/name") from None
        if url.startswith("sqlite") and make_url(url).database in (None, "", ":memory:"):
            raise ValueError("SQLite needs a file here: a database in memory is a connection's own")
        if "sslmode" in query:
            raise ValueError("asyncpg knows sslmode as ssl: write ?ssl=require, for example")
        return url

    @field_validator("TRUSTED_HOSTS")
    @classmethod
    def _is_a_host_or_its_subdomains(cls, patterns: list[str]) -> list[str]:
        if any("*" in each.removeprefix("*.") and each != "*" for each in patterns):
            raise ValueError("a host is a name, *.name for its subdomains, or * for any")
        return patterns

    @field_validator("AUTH_JWKS_URL")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("the URL must start with https://")
        return url

    @field_validator("TENANT_RATE_LIMIT")
    @classmethod
    def _check_rate_limit(cls, text: str) -> str:
        if not text:
            return text
        from limits import parse_many  # noqa: PLC0415 - costs whoever sets no limit nothing

        try:
            fits = all(each.amount > 0 for each in parse_many(text))
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("a limit is written as 100/minute, several as 10/second;1000/hour")
        return text

    @field_validator("REDIS_URL")
    @classmethod
    def _check_redis(cls, url: str) -> str:
        if not url:
            return url
        from redis.asyncio import ConnectionPool  # noqa: PLC0415 - as above

        try:
            # Which reads every part of it, and does not connect yet.
            ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call] # theirs
        except Exception:  # its text may hold a part of the password
            raise ValueError(
                "it must be a URL: redis://user:password@host:port/number, rediss:// for TLS"
            ) from None
        return url

    @model_validator(mode="after")
    def _one_database(self) -> Self:
        """The three roles are roles of one kind of database."""
        drivers = {url.partition(":")[0] for url in self.database_urls.values()}
        if len(drivers) > 1:
            raise ValueError("DATABASE_URL and its two companions must use the same driver")
        return self

    @model_validator(mode="after")
    def _one_meaning_for_a_claim(self) -> Self:
        if self.AUTH_TENANT_CLAIM == self.AUTH_MEMBERSHIPS_CLAIM:
            raise ValueError("AUTH_TENANT_CLAIM and AUTH_MEMBERSHIPS_CLAIM must name two claims")
        return self

    @model_validator(mode="after")
    def _safe_for_production(self) -> Self:
        """Refuse what only a developer's machine may have, one sentence for each setting."""
        if self.ENVIRONMENT == "production" and (refusals := list(self._refusals())):
            raise ValueError(" ".join(refusals))
        return self

    def _refusals(self) -> list[str]:
        refusals: list[str] = []
        if self.DEBUG:
            refusals.append("DEBUG must be off in production.")
        if not self.AUTH_ISSUER:
            refusals.append(
                "AUTH_ISSUER must be set in production: the local issuer is for development."
            )
        for name in ("AUTH_ISSUER", "AUTH_JWKS_URL"):
            url = getattr(self, name)
            if url and not url.startswith("https://"):
                refusals.append(f"{name} must start with https:// in production.")
        refusals += [
            f"{name} must not use the development password in production."
            for name, url in self.database_urls.items()
            if getattr(self, name) and DEVELOPMENT_PASSWORD in _passwords(url)
        ]
        return refusals

    @property
    def database_urls(self) -> dict[str, str]:
        """The three URLs by setting, each empty one replaced by `DATABASE_URL`."""
        return {name: getattr(self, name) or self.DATABASE_URL for name in DATABASE_URLS}


def _passwords(url: str) -> set[object]:
    """Return what a URL gives as a password: in its place, or as a parameter."""
    parsed = make_url(url)
    return {parsed.password, parsed.query.get("password")}


def render_example() -> str:
    """Return the text of `.env.example`: every setting with its meaning and its default."""
    lines = [
        "# Every setting with its default. Copy this file to .env and uncomment what you change.",
        "# This file is generated: cd backend && python -m app.core.config > ../.env.example",
    ]
    for name, field in Settings.model_fields.items():
        if isinstance(field.json_schema_extra, dict):
            lines += ["", f"# --- {field.json_schema_extra['group']} ---"]
        default = field.default if isinstance(field.default, str) else json.dumps(field.default)
        lines += ["", f"# {field.description}", f"#{name}={default}"]
    return "\n".join(lines) + "\n"


def __getattr__(name: str) -> Settings:
    """Make `settings`, this process's own, when it is first asked for."""
    if name != "settings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["settings"] = Settings()
    return made


if __name__ == "__main__":
    sys.stdout.write(render_example())
