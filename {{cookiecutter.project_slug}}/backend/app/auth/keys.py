"""The issuer's public keys: found by discovery, fetched once for all callers, kept for a while."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Protocol

import httpx

from app.auth import TokenError
from app.auth.signature import VerificationKey, VerificationKeys, build_keys
from app.observability import error_boundary

FRESH = 300.0  # seconds that keys are used without asking again
COOLDOWN = 30.0  # seconds between two fetches, whatever made the first one necessary
MAX_AGE = 3600.0  # seconds that keys are used while the issuer can't be reached
STALE_AFTER = 0.5  # seconds that a caller whose key is known waits for the issuer's answer
TIMEOUT = 5.0  # seconds for one answer of the issuer
MAX_BYTES = 262_144  # of one answer
PLAIN_JSON = {"Accept": "application/json", "Accept-Encoding": "identity"}


class KeySource(Protocol):
    """Where a verifier finds the key that a token names."""

    async def find(self, kid: str, algorithm: str) -> VerificationKey | None:
        """Return the key of this id and algorithm, or None; raise TokenError without any keys."""


class RemoteKeys:
    """The keys of an issuer on the network (OpenID Connect Discovery 1.0, RFC 8414)."""

    def __init__(
        self,
        issuer: str,
        jwks_url: str,
        algorithms: frozenset[str],
        *,
        https_only: bool,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._algorithms = algorithms
        self._https_only = https_only
        self._clock = clock
        self._transport = transport
        self._keys: VerificationKeys = {}
        self._fetched = self._tried = float("-inf")
        self._flight: asyncio.Task[None] | None = None

    async def find(self, kid: str, algorithm: str) -> VerificationKey | None:
        """Return the key of this id and algorithm, fetching the issuer's keys where necessary."""
        if self._is_due(kid, algorithm):
            # All who need the answer wait for one task: a caller that goes away takes it from none.
            if self._flight is None or self._flight.done():
                self._flight = asyncio.create_task(self._refresh())
            is_known = (kid, algorithm) in self._keys
            await asyncio.wait([self._flight], timeout=STALE_AFTER if is_known else None)
        if self._clock() - self._fetched > MAX_AGE:
            raise TokenError("no_keys")
        return self._keys.get((kid, algorithm))

    def _is_due(self, kid: str, algorithm: str) -> bool:
        now = self._clock()
        if now - self._tried < COOLDOWN:
            return False
        return now - self._fetched > FRESH or (kid, algorithm) not in self._keys

    # Whatever fails out there, the keys that there are serve on; without any, callers are refused.
    @error_boundary("fetch the issuer's keys", fallback=None)
    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                self._keys = await self._fetch()
            self._fetched = self._clock()
        finally:
            self._tried = self._clock()

    async def _fetch(self) -> VerificationKeys:
        async with httpx.AsyncClient(
            transport=self._transport, timeout=TIMEOUT, follow_redirects=False
        ) as client:
            url = self._jwks_url
            if not url:
                well_known = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
                metadata = await self._get(client, well_known)
                if metadata.get("issuer") != self._issuer:
                    raise ValueError("the issuer names itself differently")
                url = str(metadata.get("jwks_uri"))
            keys = build_keys(await self._get(client, url), self._algorithms)
        if not keys:
            raise ValueError("no usable key")
        return keys

    async def _get(self, client: httpx.AsyncClient, url: str) -> dict[str, object]:
        if self._https_only and httpx.URL(url).scheme != "https":
            raise ValueError("the issuer must be asked over https")
        body = bytearray()
        async with client.stream("GET", url, headers=PLAIN_JSON) as response:
            response.raise_for_status()
            # What is unpacked may be a thousand times as long as what was read.
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ValueError("the issuer's answer is compressed, and was not to be")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("the issuer's answer is too long")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError("the issuer's answer is not a JSON object")
        return document
