"""The local issuer: signs tokens with a key of its own, so that development needs no other.

The key is made on first use and never leaves its file, which only its owner can read.
Production refuses to start with this issuer.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from app.auth import TokenError
from app.auth.signature import (
    VerificationKey,
    VerificationKeys,
    build_keys,
    generate_key,
    public_part,
    sign,
)
from app.core.config import Settings

log = logging.getLogger("app.auth")

ISSUER = "urn:local-issuer"
ALGORITHMS = frozenset({"ES256"})
LIFETIME = 8 * 3600  # seconds that a token of this issuer is valid


class LocalKeys:
    """The public half of the local issuer's key, for the verifier."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._keys: VerificationKeys = {}

    async def find(self, kid: str, algorithm: str) -> VerificationKey | None:
        """Return the key of this id and algorithm; the file may be newer than the process.

        Raises TokenError where there is no usable key.
        """
        if (kid, algorithm) not in self._keys:
            try:
                public = public_part(_private_key(self._file))
            except Exception as error:  # whatever the file holds
                log.warning("AUTH_LOCAL_KEY_FILE can't be used: %s", type(error).__name__)
                raise TokenError("no_keys") from None
            self._keys = build_keys({"keys": [public]}, ALGORITHMS)
        return self._keys.get((kid, algorithm))


def issue(
    settings: Settings, tenant: str, user: str, scope: str = "", memberships: Sequence[str] = ()
) -> str:
    """Return a signed token for a user of a tenant, with space-separated scopes.

    `memberships` are the tenants that the user may choose instead.
    """
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": settings.AUTH_AUDIENCE,
        "sub": user,
        settings.AUTH_TENANT_CLAIM: tenant,
        "iat": now,
        "exp": now + min(LIFETIME, settings.AUTH_MAX_LIFETIME),
    }
    if scope:
        claims["scope"] = scope
    if memberships:
        claims[settings.AUTH_MEMBERSHIPS_CLAIM] = list(memberships)
    return sign(claims, _private_key(Path(settings.AUTH_LOCAL_KEY_FILE)), "at+jwt")


def _private_key(file: Path) -> dict[str, str]:
    if not file.exists():
        _write_once(file, json.dumps(generate_key()))
    key: dict[str, str] = json.loads(file.read_text("utf-8"))
    return key


def _write_once(file: Path, text: str) -> None:
    """Write a file that nobody else can read, whole or not at all; of two writers the first wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
        file.hardlink_to(draft)
    except FileExistsError:
        pass  # another process was faster: its key is the key
    finally:
        draft.unlink(missing_ok=True)
