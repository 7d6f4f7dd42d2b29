"""The issuer's keys: fetched once for all callers, kept for a while, and never from elsewhere."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from functools import cache

import httpx
import pytest

from app.auth import TokenError
from app.auth.keys import COOLDOWN, FRESH, MAX_AGE, MAX_BYTES, RemoteKeys
from app.auth.signature import generate_key, public_part

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.test/realm"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
JWKS = "https://keys.test/jwks"

Answer = Callable[[httpx.Request], httpx.Response]


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """An issuer on a network of its own: says what it is told to, and counts what it is asked."""

    def __init__(self, *kids: str) -> None:
        self.kids = list(kids)
        self.answers: dict[str, Answer] = {DISCOVERY: self.metadata, JWKS: self.key_set}
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        self.was_asked.set()
        await asyncio.sleep(0)  # an answer takes time: other callers have their turn
        await self.may_answer.wait()
        return self.answers[str(request.url)](request)

    def metadata(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": JWKS})

    def key_set(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"keys": [jwk(kid) for kid in self.kids]})

    def break_down(self) -> None:
        for url in (DISCOVERY, JWKS):
            self.answers[url] = refuse_connection

    def recover(self) -> None:
        self.answers = {DISCOVERY: self.metadata, JWKS: self.key_set}

    def keys(
        self, clock: Clock | None = None, *, jwks_url: str = "", https_only: bool = True
    ) -> RemoteKeys:
        return RemoteKeys(
            ISSUER,
            jwks_url,
            frozenset({"ES256"}),
            https_only=https_only,
            clock=clock or Clock(),
            transport=httpx.MockTransport(self.handle),
        )


@cache
def jwk(kid: str) -> dict[str, str]:
    return {**public_part(generate_key()), "kid": kid}


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def answering(response: httpx.Response) -> Answer:
    return lambda _: response


async def found(keys: RemoteKeys, kid: str) -> bool:
    return await keys.find(kid, "ES256") is not None


async def test_the_keys_are_discovered_from_the_issuer() -> None:
    issuer = Issuer("one", "two")
    keys = issuer.keys()
    assert await found(keys, "one")
    assert await found(keys, "two")
    assert issuer.asked == [DISCOVERY, JWKS]


async def test_a_slash_at_the_end_of_the_issuer_is_not_doubled() -> None:
    issuer = Issuer("one")
    whole = {"issuer": f"{ISSUER}/", "jwks_uri": JWKS}
    issuer.answers[DISCOVERY] = answering(httpx.Response(200, json=whole))
    keys = RemoteKeys(
        f"{ISSUER}/",
        "",
        frozenset({"ES256"}),
        https_only=True,
        clock=Clock(),
        transport=httpx.MockTransport(issuer.handle),
    )
    assert await found(keys, "one")


async def test_a_url_of_the_keys_saves_the_discovery() -> None:
    issuer = Issuer("one")
    assert await found(issuer.keys(jwks_url=JWKS), "one")
    assert issuer.asked == [JWKS]


async def test_a_key_is_found_by_its_algorithm_too() -> None:
    keys = Issuer("one").keys()
    assert await keys.find("one", "RS256") is None
    assert await keys.find("one", "ES256") is not None


METADATA: dict[str, object] = {
    "is a list": [{"issuer": ISSUER, "jwks_uri": JWKS}],
    "names another issuer": {"issuer": "https://evil.test", "jwks_uri": JWKS},
    "names the issuer with a slash": {"issuer": f"{ISSUER}/", "jwks_uri": JWKS},
    "names no issuer": {"jwks_uri": JWKS},
    "names no keys": {"issuer": ISSUER},
    "names keys over http": {"issuer": ISSUER, "jwks_uri": "http://keys.test/jwks"},
    "names a file": {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
    "names an address that is a list": {"issuer": ISSUER, "jwks_uri": [JWKS]},
    "names an address that is none": {"issuer": ISSUER, "jwks_uri": "https://[::1"},
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
async def test_no_keys_are_taken_by_metadata_that(metadata: object) -> None:
    issuer = Issuer("one")
    issuer.answers[DISCOVERY] = answering(httpx.Response(200, json=metadata))
    with pytest.raises(TokenError, match="no_keys"):
        await found(issuer.keys(), "one")
    assert issuer.asked == [DISCOVERY]


async def test_http_is_asked_only_where_development_allows_it() -> None:
    issuer = Issuer("one")
    plain = "http://keys.test/jwks"
    issuer.answers[plain] = issuer.key_set
    with pytest.raises(TokenError, match="no_keys"):
        await found(issuer.keys(jwks_url=plain), "one")
    assert issuer.asked == []
    assert await found(issuer.keys(jwks_url=plain, https_only=False), "one")


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65536


async def broken_off() -> AsyncIterator[bytes]:
    yield b'{"keys": ['
    raise httpx.ReadError("broken off")


def timing_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("too slow", request=request)


def overflowing(request: httpx.Request) -> httpx.Response:
    raise OverflowError("port must be 0-65535")


def key_set_after(body: bytes) -> httpx.Response:
    """A good set of keys, but for what is put before it."""
    return httpx.Response(200, content=body + json.dumps({"keys": [jwk("one")]}).encode())


def compressed(body: bytes) -> httpx.Response:
    """An answer that is short on the wire, whether it is read at once or bit by bit."""
    return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=whole(body))


async def whole(body: bytes) -> AsyncIterator[bytes]:
    yield gzip.compress(body)


BAD_ANSWERS: dict[str, Answer] = {
    "no connection": refuse_connection,
    "no answer in time": timing_out,
    "an error that nobody foresaw": overflowing,
    "a failure": answering(httpx.Response(500)),
    "not found": answering(httpx.Response(404, json={"keys": [jwk("one")]})),
    "a redirect": answering(httpx.Response(302, headers={"Location": f"{JWKS}/moved"})),
    "a redirect that holds the keys": answering(
        httpx.Response(301, headers={"Location": JWKS}, json={"keys": [jwk("one")]})
    ),
    "a page": answering(httpx.Response(200, text="<html>")),
    "nothing": answering(httpx.Response(200)),
    "a list": answering(httpx.Response(200, json=[jwk("one")])),
    "deep nesting": answering(httpx.Response(200, content=b"[" * 200_000)),
    "bad UTF-8": answering(httpx.Response(200, content=b"\xff\xfe\xff")),
    "no key": answering(httpx.Response(200, json={"keys": []})),
    "no usable key": answering(httpx.Response(200, json={"keys": [{"kty": "oct", "kid": "one"}]})),
    "too much": answering(key_set_after(b" " * MAX_BYTES)),
    "too much, compressed": lambda _: compressed(b" " * 10**7),
    "what was not to be compressed": lambda _: compressed(key_set_after(b"").content),
    "no end": lambda _: httpx.Response(200, content=endless()),
    "half": lambda _: httpx.Response(200, content=broken_off()),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_there_are_no_keys_when_the_issuer_answers_with(answer: Answer) -> None:
    issuer = Issuer("one")
    issuer.answers[JWKS] = answer
    with pytest.raises(TokenError, match="no_keys"):
        await found(issuer.keys(), "one")
    assert issuer.asked == [DISCOVERY, JWKS]


async def test_an_answer_is_asked_for_as_it_is() -> None:
    issuer = Issuer("one")
    asked_for = set()

    def answer(request: httpx.Request) -> httpx.Response:
        asked_for.add(request.headers["Accept-Encoding"])
        return issuer.key_set(request)

    issuer.answers[JWKS] = answer
    assert await found(issuer.keys(), "one")
    assert asked_for == {"identity"}


async def dripping() -> AsyncIterator[bytes]:
    """A body of which something comes all the time, and never the end."""
    while True:
        yield b" "
        await asyncio.sleep(0)


async def stopping() -> AsyncIterator[bytes]:
    """A body of which nothing more comes."""
    yield b'{"keys": ['
    await asyncio.Event().wait()


def no_answer(issuer: Issuer) -> Answer:
    issuer.may_answer.clear()
    return issuer.key_set


SLOW: dict[str, Callable[[Issuer], Answer]] = {
    "never begins": no_answer,
    "stops in the middle": lambda _: lambda _: httpx.Response(200, content=stopping()),
    "never ends": lambda _: lambda _: httpx.Response(200, content=dripping()),
}


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
async def test_nobody_waits_for_an_answer_that(
    slow: Callable[[Issuer], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.keys.TIMEOUT", 0.01)
    issuer = Issuer("one")
    issuer.answers[JWKS] = slow(issuer)
    async with asyncio.timeout(30):
        with pytest.raises(TokenError, match="no_keys"):
            await found(issuer.keys(jwks_url=JWKS), "one")


async def test_the_log_says_why_and_tells_nothing_of_the_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    issuer = Issuer("one")
    issuer.answers[JWKS] = answering(httpx.Response(200, text="planted-in-the-answer"))
    with pytest.raises(TokenError, match="no_keys"):
        await found(issuer.keys(), "one")
    assert "fetch the issuer's keys failed" in caplog.text
    assert "JSONDecodeError" in caplog.text
    assert "planted" not in caplog.text


async def test_1000_callers_of_a_cold_cache_cause_one_fetch() -> None:
    issuer = Issuer("one")
    keys = issuer.keys(jwks_url=JWKS)
    assert all(await asyncio.gather(*(found(keys, "one") for _ in range(1000))))
    assert issuer.asked == [JWKS]


async def test_1000_callers_of_an_issuer_that_is_down_cause_one_fetch() -> None:
    issuer = Issuer()
    issuer.break_down()
    keys = issuer.keys(jwks_url=JWKS)
    answers = await asyncio.gather(
        *(found(keys, "one") for _ in range(1000)), return_exceptions=True
    )
    assert all(isinstance(answer, TokenError) for answer in answers)
    assert issuer.asked == [JWKS]


async def test_1000_callers_with_keys_that_nobody_knows_cause_one_fetch() -> None:
    issuer = Issuer("one")
    keys = issuer.keys(jwks_url=JWKS)
    assert not any(await asyncio.gather(*(found(keys, f"unknown-{n}") for n in range(1000))))
    assert issuer.asked == [JWKS]


async def test_callers_of_a_key_that_is_there_do_not_wait_for_that_of_another() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock, jwks_url=JWKS)
    await found(keys, "one")
    clock.now += COOLDOWN
    issuer.may_answer.clear()
    other = asyncio.create_task(found(keys, "unknown"))
    await asyncio.sleep(0)
    assert await found(keys, "one")
    issuer.may_answer.set()
    assert not await other
    assert issuer.asked == [JWKS, JWKS]


async def test_a_caller_that_goes_away_takes_the_keys_from_nobody() -> None:
    issuer = Issuer("one")
    issuer.may_answer.clear()
    keys = issuer.keys(jwks_url=JWKS)
    callers = [asyncio.create_task(found(keys, "one")) for _ in range(3)]
    await issuer.was_asked.wait()
    callers[0].cancel()
    gone = (await asyncio.gather(callers[0], return_exceptions=True))[0]
    issuer.may_answer.set()
    assert isinstance(gone, asyncio.CancelledError)
    assert await asyncio.gather(*callers[1:]) == [True, True]
    assert issuer.asked == [JWKS]


async def test_keys_that_nobody_waits_for_any_more_are_there_for_the_next_caller() -> None:
    issuer = Issuer("one")
    issuer.may_answer.clear()
    keys = issuer.keys(jwks_url=JWKS)
    caller = asyncio.create_task(found(keys, "one"))
    await issuer.was_asked.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    issuer.may_answer.set()
    assert await found(keys, "one")
    assert issuer.asked == [JWKS]


async def test_10000_unknown_key_ids_in_100_seconds_cause_at_most_4_fetches() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock, jwks_url=JWKS)
    for number in range(10_000):
        assert not await found(keys, f"unknown-{number}")
        clock.now += 0.01
    assert 1 < len(issuer.asked) <= 4


async def test_10000_tokens_while_the_issuer_is_down_for_100_seconds_cause_at_most_4() -> None:
    clock, issuer = Clock(), Issuer()
    issuer.break_down()
    keys = issuer.keys(clock, jwks_url=JWKS)
    for _ in range(10_000):
        with pytest.raises(TokenError, match="no_keys"):
            await found(keys, "one")
        clock.now += 0.01
    assert 1 < len(issuer.asked) <= 4


async def test_fresh_keys_are_used_without_asking_again() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock, jwks_url=JWKS)
    await found(keys, "one")
    clock.now += FRESH
    assert await found(keys, "one")
    assert issuer.asked == [JWKS]


async def test_a_new_key_is_picked_up_once_the_cooldown_is_over() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock)
    await found(keys, "one")
    issuer.kids = ["two"]
    clock.now += COOLDOWN - 1
    assert not await found(keys, "two")
    clock.now += 1
    assert await found(keys, "two")
    assert not await found(keys, "one")


async def test_a_key_that_the_issuer_gave_up_is_refused_once_the_keys_are_not_fresh() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock)
    await found(keys, "one")
    issuer.kids = ["two"]
    clock.now += FRESH + 1
    assert not await found(keys, "one")


async def test_stale_keys_serve_while_the_issuer_is_down() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock)
    await found(keys, "one")
    issuer.break_down()
    clock.now += MAX_AGE
    assert await found(keys, "one")


async def test_keys_past_their_greatest_age_serve_no_longer() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock)
    await found(keys, "one")
    issuer.break_down()
    clock.now += MAX_AGE + 1
    with pytest.raises(TokenError, match="no_keys"):
        await found(keys, "one")


async def test_it_recovers_when_the_issuer_does() -> None:
    clock, issuer = Clock(), Issuer("one")
    issuer.break_down()
    keys = issuer.keys(clock)
    with pytest.raises(TokenError, match="no_keys"):
        await found(keys, "one")
    issuer.recover()
    clock.now += COOLDOWN
    assert await found(keys, "one")


async def test_keys_that_went_bad_do_not_replace_good_ones() -> None:
    clock, issuer = Clock(), Issuer("one")
    keys = issuer.keys(clock)
    await found(keys, "one")
    issuer.answers[JWKS] = answering(httpx.Response(200, json={"keys": []}))
    clock.now += FRESH + 1
    assert await found(keys, "one")
