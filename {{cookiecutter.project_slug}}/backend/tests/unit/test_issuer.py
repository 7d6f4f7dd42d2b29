"""The local issuer: one private key, made on first use, that only its owner can read."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.auth import TokenError, issuer, parse
from app.auth.verifier import Verifier
from app.core.config import Settings

BACKEND = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(AUTH_ISSUER="", AUTH_LOCAL_KEY_FILE=str(tmp_path / "made" / "issuer.json"))


@pytest.fixture
def careless_umask() -> Iterator[None]:
    """A process whose new files everybody may write."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.anyio
async def test_a_token_of_the_local_issuer_verifies(settings: Settings) -> None:
    principal = await Verifier(settings).verify(
        issuer.issue(settings, "acme", "alice", "read tenants:admin")
    )
    assert (principal.tenant_id, principal.user_id) == ("acme", "alice")
    assert principal.scopes == {"read", "tenants:admin"}


@pytest.mark.anyio
async def test_a_token_names_the_audience_and_the_tenant_as_the_settings_say(
    settings: Settings,
) -> None:
    changed = settings.model_copy(update={"AUTH_AUDIENCE": "shop", "AUTH_TENANT_CLAIM": "org"})
    token = issuer.issue(changed, "acme", "alice")
    assert (await Verifier(changed).verify(token)).tenant_id == "acme"
    with pytest.raises(TokenError, match="bad_audience"):
        await Verifier(settings).verify(token)


@pytest.mark.anyio
async def test_a_token_lists_the_other_tenants_of_its_user(settings: Settings) -> None:
    changed = settings.model_copy(update={"AUTH_MEMBERSHIPS_CLAIM": "orgs"})
    token = issuer.issue(changed, "acme", "alice", memberships=["globex", "initech"])
    assert (await Verifier(changed).verify(token)).memberships == {"globex", "initech"}
    assert "orgs" not in parse(issuer.issue(changed, "acme", "alice")).claims


@pytest.mark.anyio
async def test_a_token_lives_no_longer_than_the_settings_allow(settings: Settings) -> None:
    changed = settings.model_copy(update={"AUTH_MAX_LIFETIME": 60})
    assert await Verifier(changed).verify(issuer.issue(changed, "acme", "alice"))


@pytest.mark.anyio
async def test_a_token_of_another_machine_is_refused(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"AUTH_LOCAL_KEY_FILE": str(tmp_path / "other.json")})
    with pytest.raises(TokenError, match="unknown_key"):
        await Verifier(settings).verify(issuer.issue(other, "acme", "alice"))


@pytest.mark.anyio
async def test_a_running_service_takes_up_a_key_that_was_made_anew(settings: Settings) -> None:
    verifier = Verifier(settings)
    await verifier.verify(issuer.issue(settings, "acme", "alice"))
    os.unlink(settings.AUTH_LOCAL_KEY_FILE)
    assert await verifier.verify(issuer.issue(settings, "acme", "alice"))


def test_a_token_lives_an_hour_at_least(settings: Settings) -> None:
    claims = parse(issuer.issue(settings, "acme", "alice")).claims
    lifetime = int(str(claims["exp"])) - int(str(claims["iat"]))
    assert lifetime >= 3600


def test_a_scope_is_in_the_token_only_when_it_is_given(settings: Settings) -> None:
    assert "scope" not in parse(issuer.issue(settings, "acme", "alice")).claims
    assert parse(issuer.issue(settings, "acme", "alice", "read")).claims["scope"] == "read"


def test_the_key_is_made_once(settings: Settings) -> None:
    kids = {str(parse(issuer.issue(settings, "acme", "alice")).header["kid"]) for _ in range(3)}
    assert len(kids) == 1


def test_the_token_and_its_header_hold_nothing_of_the_private_key(settings: Settings) -> None:
    token = parse(issuer.issue(settings, "acme", "alice"))
    private = json.loads(Path(settings.AUTH_LOCAL_KEY_FILE).read_text())
    assert token.header == {"alg": "ES256", "typ": "at+jwt", "kid": private["kid"]}
    assert private["d"] not in json.dumps(token.claims)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_can_read_the_key(settings: Settings) -> None:
    issuer.issue(settings, "acme", "alice")
    assert mode(Path(settings.AUTH_LOCAL_KEY_FILE)) == 0o600


@pytest.mark.usefixtures("careless_umask")
def test_only_its_owner_can_read_the_key_however_careless_the_process(settings: Settings) -> None:
    issuer.issue(settings, "acme", "alice")
    assert mode(Path(settings.AUTH_LOCAL_KEY_FILE)) == 0o600


def test_nothing_but_the_key_is_left_behind(settings: Settings) -> None:
    issuer.issue(settings, "acme", "alice")
    file = Path(settings.AUTH_LOCAL_KEY_FILE)
    assert list(file.parent.iterdir()) == [file]


def test_a_key_that_could_not_be_written_leaves_no_half_of_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(self: Path, target: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "hardlink_to", full_disk)
    with pytest.raises(OSError, match="no space"):
        issuer.issue(settings, "acme", "alice")
    assert list(Path(settings.AUTH_LOCAL_KEY_FILE).parent.iterdir()) == []


def test_processes_that_start_together_agree_on_one_key(settings: Settings) -> None:
    # Each says that it is ready and waits, so that all make their key at the same moment.
    program = (
        "import sys\n"
        "from app.auth import issuer, parse\n"
        "from app.core.config import Settings\n"
        "settings = Settings(AUTH_LOCAL_KEY_FILE=sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(parse(issuer.issue(settings, 'acme', 'alice')).header['kid'])\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, settings.AUTH_LOCAL_KEY_FILE],
            cwd=BACKEND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    kids = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert len(set(kids)) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["", "nonsense", "[]", "5", "[" * 100_000])
async def test_a_key_file_that_cannot_be_used_refuses_every_token(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "issuer.json"
    file.write_text(text)
    with pytest.raises(TokenError, match="no_keys"):
        await issuer.LocalKeys(str(file)).find("any", "ES256")
    assert "AUTH_LOCAL_KEY_FILE can't be used" in caplog.text
