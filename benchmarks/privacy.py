"""Measures the privacy filter beside its peers, in one run: what leaks, what survives, how long.

All run by turns in one process, so that whatever slows the machine slows every one of them. What
counts is the ratio to `json.dumps` of the same event; the milliseconds are of this machine.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import corpus
import report
from contenders import BALANCED, BASELINE, MAKERS, SDK, STRICT
from corpus import Corpus, Planted
from events import HOSTILE_LENGTH, KILOBYTE, hostile, typical
from measures import Scrub, by_turns, ratios, seconds, slope
from report import Floor, Results

FLOORS = [
    Floor(STRICT, "leaks", most=0, aim=0),
    Floor(BALANCED, "leaks", most=0.05, aim=0.02),
    Floor(BALANCED, "changed", most=0.02, aim=0.005),
]
TIME_FLOORS = [
    Floor(STRICT, "warm", most=1.1, aim=0.7),
    Floor(STRICT, "new", most=2.0, aim=1.3),
    Floor(STRICT, "cold", most=2.5, aim=2.0),
    Floor(STRICT, "worst ms", most=20, aim=5),
    # It looks at every value, and has not reached what it aims at: it may not get slower.
    Floor(BALANCED, "warm", most=1.4, aim=1.1),
    Floor(BALANCED, "new", most=3.8, aim=2.0),
    Floor(BALANCED, "cold", most=10.0, aim=2.5),
    Floor(BALANCED, "worst ms", most=30, aim=20),
    Floor(STRICT, "warm/sdk", most=1.2, aim=0.8),
    Floor(BALANCED, "warm/sdk", most=1.4, aim=1.2),
    *(Floor(mode, "slope", most=1.05, aim=1.0) for mode in (STRICT, BALANCED)),
]
TINY = KILOBYTE  # bytes: the event that a process has scrubbed before its first


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    processes: int  # for the first event of a process
    growth: Mapping[int, int]  # events of how many bytes, and how often each
    hostile_share: int  # one in so many of the hostile strings
    floors: list[Floor]


SIZES = {
    "smallest": Size(
        rounds=3,
        processes=1,
        growth={10**4: 2, 4 * 10**4: 2},
        hostile_share=40,
        floors=FLOORS,
    ),
    "full": Size(
        rounds=40,
        processes=9,
        growth={10**4: 20, 10**5: 10, 10**6: 5, 10**7: 3},
        hostile_share=1,
        floors=FLOORS + TIME_FLOORS,
    ),
}


def main() -> int:
    """Measure, print a table, and return 1 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--strings", type=Path, default=corpus.STRINGS)
    parser.add_argument("--write", action="store_true", help="write table and plot to docs/")
    parser.add_argument("--first-event-of", choices=MAKERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first_event_of:
        print(first_event(arguments.first_event_of))
        return 0
    strings, size = corpus.read(arguments.strings), SIZES[arguments.size]
    results = measure({name: make() for name, make in MAKERS.items()}, strings, size)
    print(report.title(strings, size.rounds), report.table(results), "", sep="\n")
    print(*(floor.verdict(results) for floor in size.floors), sep="\n")
    if arguments.write:
        report.write(results, strings, size.rounds)
    return int(any(floor.is_missed(results) for floor in size.floors))


def measure(scrubs: Mapping[str, Scrub], strings: Corpus, size: Size) -> Results:
    """Measure every contender in every way."""
    results: Results = {name: {} for name in scrubs}
    for what, measured in (
        ("leaks", {name: leaks(scrub, strings.leaks) for name, scrub in scrubs.items()}),
        ("changed", {name: changed(scrub, strings.survivors) for name, scrub in scrubs.items()}),
        ("warm", warm(scrubs, size.rounds)),
        ("new", new_values(scrubs, size.rounds)),
        ("cold", {name: cold(name, size.processes) for name in scrubs}),
        ("slope", growth(scrubs, size.growth)),
    ):
        for name, value in measured.items():
            results[name][what] = value
    for name, scrub in scrubs.items():
        times = pathological(scrub, size.hostile_share)
        results[name]["worst ms"], results[name]["median ms"] = max(times), median(times)
        results[name]["warm/sdk"] = results[name]["warm"] / results[SDK]["warm"]
    return results


def leaks(scrub: Scrub, planted: list[Planted]) -> float:
    """Return the share of strings of which something private is left."""
    return sum(each.has_leaked(scrub(each.event())) for each in planted) / len(planted)


def changed(scrub: Scrub, planted: list[Planted]) -> float:
    """Return the share of values that are not as they were."""
    return sum(not each.has_survived(scrub(each.event())) for each in planted) / len(planted)


def warm(scrubs: Mapping[str, Scrub], rounds: int) -> dict[str, float]:
    """Time an event that came before: equal, and built anew."""
    times = by_turns(scrubs, [partial(typical, 0)] * (rounds + 1))
    return ratios({name: taken[1:] for name, taken in times.items()}, BASELINE)


def new_values(scrubs: Mapping[str, Scrub], rounds: int) -> dict[str, float]:
    """Time events whose keys came before and whose values did not."""
    return ratios(by_turns(scrubs, [partial(typical, 1 + n) for n in range(rounds)]), BASELINE)


def cold(name: str, processes: int) -> float:
    """Time the first event of fresh processes, each as a ratio of its own."""
    command = [sys.executable, __file__, "--first-event-of", name]
    return median(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(processes)
    )


def first_event(name: str) -> float:
    """Return the ratio of this process's first event, after a tiny one, to what it costs to dump."""
    scrub, events = MAKERS[name](), [typical(seed) for seed in range(1, 12)]
    scrub(typical(0, TINY))
    json.dumps(typical(0, TINY))
    taken = seconds(scrub, events[0])
    return taken / median(seconds(json.dumps, event) for event in events[1:])


def growth(scrubs: Mapping[str, Scrub], sizes: Mapping[int, int]) -> dict[str, float]:
    """Return how time grows with an event's size: 1 is in proportion."""
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in scrubs}
    for size, times in sizes.items():
        length = len(json.dumps(typical(0, size)))
        rounds = [partial(typical, -size - number, size) for number in range(times)]
        for name, taken in by_turns(scrubs, rounds).items():
            points[name].append((length, min(taken)))
    return {name: slope(measured) for name, measured in points.items()}


def pathological(scrub: Scrub, share: int) -> list[float]:
    """Return the milliseconds that each hostile string takes, the best of three.

    They differ by a character, so that none is answered from a cache.
    """
    return [
        min(seconds(scrub, as_message(text[:length])) for length in HOSTILE_LENGTHS) * 1000
        for text in [*hostile()][::share]
    ]


HOSTILE_LENGTHS = (HOSTILE_LENGTH - 2, HOSTILE_LENGTH - 1, HOSTILE_LENGTH)


def as_message(text: str) -> dict[str, object]:
    """Return an event with this as its exception's message."""
    return Planted("hostile", "exception", text).event()


if __name__ == "__main__":
    sys.exit(main())
