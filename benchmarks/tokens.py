"""Measures what verifying a token costs, beside plain python-jose, and what refusing one takes.

Runs in the environment of a generated project. Both verify the same tokens by turns, in one
process, with a key that is built once; what counts is the ratio. The hostile tokens are those of
the project's own tests: each must be refused, and sooner than anybody could make use of it.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from app.auth import TokenError
from app.auth.verifier import Verifier
from app.core.config import Settings
from jose import jwk, jwt
from tests.unit import test_verifier as made

from measures import verdict

MOST, AIM = 1.1, 0.8  # times python-jose
MOST_MILLISECONDS = 1.0  # for a hostile token
CLAIMS = {"scope": "projects:read projects:write", "email": "alice@example.com", "name": "Alice"}
SIGNERS: dict[str, tuple[made.Jwk, made.Sign]] = {
    "RS256": (made.rsa_jwk(made.rsa_key()), made.rs256),
    "ES256": (made.ec_jwk(made.ec_key()), made.es256),
}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    tokens: int  # in each round
    hostile_rounds: int


SIZES = {
    "smallest": Size(rounds=3, tokens=5, hostile_rounds=1),
    "full": Size(rounds=60, tokens=50, hostile_rounds=5),
}

Verify = Callable[[str], Awaitable[object]]


def main() -> int:
    """Measure, print two tables, and return 1 where a floor is missed at full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    slower = asyncio.run(compare(size))
    slow, taken_in = asyncio.run(refuse(size.hostile_rounds))
    return int(taken_in or ((slower or slow) and arguments.size == "full"))


async def compare(size: Size) -> bool:
    """Print what good tokens take, and say whether a floor is missed."""
    print(f"Tokens: ratio to python-jose, medians of {size.rounds} interleaved rounds\n")
    print(f"{'algorithm':<12}{'token':<20}{'python-jose':>13}{'this template':>15}{'ratio':>7}")
    missed = False
    for algorithm in SIGNERS:
        theirs, ours = verifiers(algorithm)
        new = [[good(algorithm) for _ in range(size.tokens)] for _ in range(size.rounds + 1)]
        old = [[good(algorithm)] * size.tokens] * (size.rounds + 1)
        for what, rounds in (("seen for the first time", new), ("seen before", old)):
            plain, ratio = await by_turns(theirs, ours, rounds)
            missed |= ratio > MOST
            row = f"{algorithm:<10}{what:<24}{plain * 1e6:>8.1f} µs{plain * ratio * 1e6:>12.1f} µs"
            print(f"{row}{ratio:>7.2f}  {verdict(ratio, MOST, AIM)}")
    return missed


def verifiers(algorithm: str) -> tuple[Verify, Verify]:
    """Return python-jose with its key built, and the service's verifier."""
    member, _ = SIGNERS[algorithm]
    key = jwk.construct(member, algorithm)

    async def plain(token: str) -> object:
        claims: object = jwt.decode(
            token, key, algorithms=[algorithm], audience="api", issuer=made.ISSUER
        )
        return claims

    settings = Settings(AUTH_ISSUER=made.ISSUER)
    return plain, Verifier(settings, made.FakeKeys(member)).verify


def good(algorithm: str) -> str:
    """Sign a token that differs from every other."""
    member, sign = SIGNERS[algorithm]
    now = int(time.time())
    claims = made.claims(iat=now, exp=now + 3600, jti=str(time.perf_counter_ns()), **CLAIMS)
    return made.token(made.header(alg=algorithm, kid=member["kid"]), claims, sign)


async def by_turns(
    theirs: Verify, ours: Verify, rounds: Iterable[list[str]]
) -> tuple[float, float]:
    """Time both in each round; return the median of theirs in seconds, and the median ratio."""
    pairs = [(await seconds(theirs, tokens), await seconds(ours, tokens)) for tokens in rounds]
    del pairs[0]  # everything happens there for the first time
    return statistics.median(plain for plain, _ in pairs), statistics.median(
        guarded / plain for plain, guarded in pairs
    )


async def seconds(verify: Verify, tokens: list[str]) -> float:
    """Return the processor's time for a token, of some."""
    gc.collect()
    started = time.process_time()
    for token in tokens:
        await verify(token)
    return (time.process_time() - started) / len(tokens)


async def refuse(rounds: int) -> tuple[bool, bool]:
    """Print what hostile tokens take; say whether one takes too long, and whether one is good."""
    verifier = made.verifier()
    milliseconds = dict.fromkeys(made.HOSTILE, float("inf"))
    wrong = set()
    for _ in range(rounds):
        for name, (token, reason) in made.HOSTILE.items():
            started = time.process_time()
            told = await outcome(verifier, token)
            taken = (time.process_time() - started) * 1000
            milliseconds[name] = min(milliseconds[name], taken)
            if told != reason:
                wrong.add(f"{name} ({told})")
    slowest = max(milliseconds, key=milliseconds.__getitem__)
    slow = milliseconds[slowest] > MOST_MILLISECONDS
    print(f"\n{len(milliseconds)} hostile tokens, the best of {rounds} times each\n")
    print(f"{'not refused, or not for their reason':<40}{len(wrong):>8}  {', '.join(wrong)}")
    print(f"{'median':<40}{statistics.median(milliseconds.values()):>8.3f} ms")
    kept = "MISSED" if slow else "kept"
    print(f"{'slowest':<40}{milliseconds[slowest]:>8.3f} ms  {kept}  ({slowest})")
    return slow, bool(wrong)


async def outcome(verifier: Verifier, token: str) -> str:
    """Return why a token is refused, or else what happens."""
    try:
        await verifier.verify(token)
    except TokenError as error:
        return error.reason
    except Exception as error:
        return type(error).__name__
    return "accepted"


if __name__ == "__main__":
    sys.exit(main())
