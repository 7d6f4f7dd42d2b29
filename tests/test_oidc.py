"""A generated service takes the access tokens of a certified OpenID Connect server, and no others.

tests/oidc/provider.mjs is that server: its tokens, its keys and its end are what is tested with.
"""

import base64
import hashlib
import html
import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest

from bakery import ALL_CHOSEN, Bakery
from environments import Environment, free_port, run
from service import Answer
from template_source import REPOSITORY

OLDEST_NODE = 20
PATIENCE = 30.0  # seconds for a server to start, or to answer

API = "urn:example:api"  # as in provider.mjs, where an application has this name too
OTHER_API = "urn:example:other"
CALLBACK = "http://127.0.0.1/callback"  # nobody listens: the address that it is sent to is enough
PROJECTS = "/api/v1/projects"
FORM = re.compile(r'<form [^>]*action="([^"]+)".*?name="prompt" value="(\w+)"', re.DOTALL)

# The constants of app.auth.keys, in seconds.
FRESH = 300
COOLDOWN = 30
MAX_AGE = 3600

# `python -m app run`, but for the clock by which the issuer's keys grow old: a file tells its time.
# So an hour passes at once and to the second, by the constants that a deployed service has.
SERVE = """
import functools, pathlib, sys
from app import __main__
from app.auth import verifier

clock = pathlib.Path(sys.argv[1])
verifier.RemoteKeys = functools.partial(
    verifier.RemoteKeys, clock=lambda: float(clock.read_text())
)
sys.exit(__main__.main(["run"]))
"""


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Leaves errors and redirects to the caller."""

    def http_response(
        self, request: urllib.request.Request, response: http.client.HTTPResponse
    ) -> http.client.HTTPResponse:
        return response


class Caller:
    """Calls servers of this machine, and keeps their cookies as a browser does."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(), _AsItIs
        )

    def call(
        self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Get a URL, or post a body to it."""
        request = urllib.request.Request(url, body, dict(headers or {}))
        with self._opener.open(request, timeout=PATIENCE) as response:
            return Answer(response.status, response.headers, response.read())

    def post(self, url: str, form: Mapping[str, str]) -> Answer:
        """Post a form."""
        return self.call(url, urlencode(form).encode())


@dataclass(kw_only=True)
class Server:
    """A program that listens on one port, and what it has said in all its lives."""

    log_file: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8")

    def launch(
        self, command: list[str | Path], directory: Path, sign_of_life: str, **settings: str
    ) -> None:
        """Start it with these settings and no others, and wait until it answers."""
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env={"PATH": os.environ["PATH"], **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if Caller().call(self.url + sign_of_life).status == 200:
                    return
            except OSError:
                time.sleep(0.05)
        ended = self.process.poll()
        pytest.fail(f"{command[0]} does not answer; its exit code is {ended}:\n{self.log}")

    def kill(self) -> None:
        """End it at once."""
        if self.process:
            self.process.kill()
            self.process.wait()


@dataclass(kw_only=True)
class Provider(Server):
    """The OpenID Connect server, of which tokens are got as its clients get them."""

    directory: Path
    keys: Path
    secret: str = field(default_factory=secrets.token_urlsafe, repr=False)

    def start(self, *key_ids: str) -> None:
        """Start it, or start it again, with these keys: all are published, the first one signs."""
        self.kill()
        command: list[str | Path] = ["node", "provider.mjs", str(self.port), self.keys, *key_ids]
        discovery = "/.well-known/openid-configuration"
        self.launch(command, self.directory, discovery, CLIENT_SECRET=self.secret)

    def token_of(self, client: str, resource: str = API) -> str:
        """Return an access token of a program (RFC 6749, section 4.4; RFC 8707)."""
        form = {"client_id": client, "client_secret": self.secret, "resource": resource}
        return self._tokens({"grant_type": "client_credentials", **form})["access_token"]

    def sign_in(self, user: str, **parameters: str) -> dict[str, str]:
        """Return the tokens of a user: the authorization code flow with PKCE (RFC 7636)."""
        proof = secrets.token_urlsafe(48)
        digest = hashlib.sha256(proof.encode()).digest()
        request = {
            "response_type": "code",
            "scope": "openid",
            "resource": API,
            "client_id": API,
            "redirect_uri": CALLBACK,
            "code_challenge": base64url(digest),
            "code_challenge_method": "S256",
            **parameters,
        }
        sent_to = self._follow(f"{self.url}/auth?{urlencode(request)}", user)
        (code,) = parse_qs(urlsplit(sent_to).query)["code"]
        grant = {"grant_type": "authorization_code", "code": code, "code_verifier": proof}
        client = {"client_id": API, "redirect_uri": CALLBACK, "resource": API}
        return self._tokens(grant | client)

    def _follow(self, url: str, user: str) -> str:
        """Go where a browser is sent, fill in each form on the way, and return the last address."""
        browser = Caller()
        for _ in range(20):
            answer = browser.call(url)
            if form := FORM.search(answer.body.decode()):
                action, prompt = map(html.unescape, form.groups())
                filled_in = {"prompt": prompt, "login": user, "password": "any"}
                answer = browser.post(urljoin(url, action), filled_in)
            url = urljoin(url, answer.headers["Location"])
            if url.startswith(CALLBACK):
                return url
        raise AssertionError(f"the sign-in goes no further than {urlsplit(url).path}")

    def _tokens(self, form: Mapping[str, str]) -> dict[str, str]:
        answer = Caller().post(f"{self.url}/token", form)
        assert answer.status == 200, answer.json["error"]
        tokens: dict[str, str] = answer.json
        return tokens


@dataclass(kw_only=True)
class Service(Server):
    """The generated service, as a process of its own."""

    clock: Path

    def get(self, token: str, path: str = PROJECTS, **headers: str) -> Answer:
        return Caller().call(self.url + path, headers=bearer(token) | headers)

    def create(self, token: str, name: str) -> Answer:
        headers = bearer(token) | {"Content-Type": "application/json"}
        return Caller().call(self.url + PROJECTS, json.dumps({"name": name}).encode(), headers)

    def pass_time(self, seconds: int) -> None:
        """Let the issuer's keys, as the service has them, grow older."""
        self.clock.write_text(str(int(self.clock.read_text()) + seconds))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def names(listed: Answer) -> list[str]:
    assert listed.status == 200
    return [project["name"] for project in listed.json["items"]]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def header(token: str) -> dict[str, Any]:
    return _read(token.partition(".")[0])


def claims(token: str) -> dict[str, Any]:
    return _read(token.split(".")[1])


def _read(segment: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "==="))
    return decoded


def tampered(token: str, **changes: object) -> str:
    """Return a token of other claims, and so of a signature that does not fit."""
    head, _, signature = token.split(".")
    return ".".join([head, base64url(json.dumps(claims(token) | changes).encode()), signature])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the provider's program, with what npm installs for it."""
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("provider") / "oidc"
    shutil.copytree(REPOSITORY / "tests" / "oidc", directory)
    run(["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"], directory)
    return directory


def missing() -> str | None:
    """Return what this machine lacks for the provider."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "no node and npm: tokens of an OpenID Connect server were not tried"
    version = run(["node", "--version"], REPOSITORY).strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        return f"node {version} is too old: tokens of an OpenID Connect server were not tried"
    return None


@pytest.fixture
def provider(program: Path, tmp_path: Path) -> Iterator[Provider]:
    """The provider, which signs with its first key."""
    provider = Provider(log_file=tmp_path / "provider.log", directory=program, keys=tmp_path)
    try:
        provider.start("first")
        yield provider
    finally:
        provider.kill()


@pytest.fixture(scope="module")
def database(
    program: Path,
    bakery: Bakery,
    environment: Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The URL of a database with two tenants."""
    backend = bakery.project(ALL_CHOSEN) / "backend"
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('database') / 'app.db'}"
    for words in ("db upgrade", "tenant create acme", "tenant create globex"):
        command: list[str | Path] = [environment.bin / "python", "-m", "app", *words.split()]
        run(command, backend, DATABASE_URL=url, ENV_FILE="", PYTHONDONTWRITEBYTECODE="1")
    return url


@pytest.fixture
def service(
    provider: Provider, database: str, bakery: Bakery, environment: Environment, tmp_path: Path
) -> Iterator[Service]:
    """A generated service that takes the provider's tokens, and finds its keys by discovery."""
    service = Service(log_file=tmp_path / "service.log", clock=tmp_path / "clock")
    service.clock.write_text("0")
    settings = {
        "AUTH_ISSUER": provider.url,
        "AUTH_AUDIENCE": API,
        "DATABASE_URL": database,
        "ENV_FILE": "",
        "PORT": str(service.port),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command: list[str | Path] = [environment.bin / "python", "-c", SERVE, service.clock]
    backend = bakery.project(ALL_CHOSEN) / "backend"
    try:
        service.launch(command, backend, "/health/ready", **settings)
        yield service
    finally:
        service.kill()


def test_a_token_opens_its_own_tenant_and_no_other(provider: Provider, service: Service) -> None:
    acme, globex = provider.token_of("acme-jobs"), provider.token_of("globex-jobs")
    assert header(acme) == {"alg": "RS256", "typ": "at+jwt", "kid": "first"}

    created = service.create(acme, "Rocket skates")
    assert created.status == 201
    assert "Rocket skates" in names(service.get(acme))
    assert "Rocket skates" not in names(service.get(globex))
    assert service.get(acme, created.headers["Location"]).status == 200
    assert service.get(globex, created.headers["Location"]).status == 404


def test_a_token_that_lists_tenants_selects_among_them(
    provider: Provider, service: Service
) -> None:
    acme, globex = provider.token_of("acme-jobs"), provider.token_of("globex-jobs")
    assert claims(acme)["tenants"] == ["acme", "globex"]
    assert claims(globex)["tenants"] == ["globex"]

    assert service.create(globex, "Weather machine").status == 201
    assert "Weather machine" not in names(service.get(acme))
    assert "Weather machine" in names(service.get(acme, **{"X-Tenant-ID": "globex"}))
    assert service.get(globex, **{"X-Tenant-ID": "acme"}).status == 403


def test_every_other_token_is_refused_with_one_answer(provider: Provider, service: Service) -> None:
    alice = provider.sign_in("alice", nonce="once")
    good, other = alice["access_token"], provider.token_of("globex-jobs")
    assert service.get(good).status == 200
    # Of the same issuer and user, for the same audience and tenant: only what it is for differs.
    for name in ("iss", "aud", "sub", "tenant_id"):
        assert claims(alice["id_token"])[name] == claims(good)[name]
    refused = {
        "an ID token": alice["id_token"],
        "an ID token without a nonce": provider.sign_in("alice")["id_token"],
        "for another audience": provider.token_of("acme-jobs", OTHER_API),
        "with another tenant": tampered(good, tenant_id="globex"),
        "with a signature of another": good.rpartition(".")[0] + "." + other.rpartition(".")[2],
        "not a token": "nonsense",
    }
    answers = {name: service.get(token) for name, token in refused.items()}
    assert {name: each.status for name, each in answers.items()} == dict.fromkeys(refused, 401)
    assert len({each.without_request_id for each in answers.values()}) == 1
    assert len({tuple(sorted(each.headers)) for each in answers.values()}) == 1
    log = service.log
    assert log.count("token refused: ") == len(refused)
    assert not [name for name, token in refused.items() if token.rpartition(".")[2] in log]


def test_a_new_key_is_taken_up_and_a_withdrawn_one_given_up(
    provider: Provider, service: Service
) -> None:
    old = provider.token_of("acme-jobs")
    assert service.get(old).status == 200

    provider.start("second", "first")
    new = provider.token_of("acme-jobs")
    assert (header(old)["kid"], header(new)["kid"]) == ("first", "second")
    service.pass_time(COOLDOWN - 1)
    assert (service.get(old).status, service.get(new).status) == (200, 401)
    service.pass_time(1)
    assert (service.get(new).status, service.get(old).status) == (200, 200)
    service.pass_time(FRESH + 1)
    assert (service.get(old).status, service.get(new).status) == (200, 200)

    provider.start("second")
    service.pass_time(FRESH + 1)
    assert (service.get(old).status, service.get(new).status) == (401, 200)


def test_the_death_of_the_provider_is_survived_for_a_while(
    provider: Provider, service: Service
) -> None:
    token = provider.token_of("acme-jobs")
    assert service.get(token).status == 200

    provider.kill()
    service.pass_time(MAX_AGE)
    assert service.get(token).status == 200
    assert "fetch the issuer's keys failed" in service.log
    assert "httpx.ConnectError" in service.log
    service.pass_time(1)
    refused = service.get(token)
    assert refused.status == 401
    assert refused.without_request_id == service.get("nonsense").without_request_id

    provider.start("first")
    service.pass_time(COOLDOWN)
    assert service.get(token).status == 200
