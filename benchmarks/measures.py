"""How time and memory are measured; nothing here knows a contender.

Time is taken by turns, in one process, and counts as ratios.
"""

import gc
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import linear_regression, median

from events import Event

Scrub = Callable[[Event], object]
Times = dict[str, list[float]]  # seconds, by contender, in the order of the rounds


def seconds(scrub: Scrub, event: Event) -> float:
    """Return the processor's time for one event, the garbage collector's part included.

    None of the contenders waits for anything, so that a clock on the wall would show the same, and
    on a busy machine what others take besides.
    """
    started = time.process_time()
    scrub(event)
    return time.process_time() - started


def by_turns(scrubs: Mapping[str, Scrub], rounds: Iterable[Callable[[], Event]]) -> Times:
    """Time every contender on every event, one after the other.

    Each gets an event that is built for it alone, since a scrubber may change what it is given,
    and begins without the garbage of the one before.
    """
    times: Times = {name: [] for name in scrubs}
    for build in rounds:
        for name, scrub in scrubs.items():
            event = build()
            gc.collect()
            times[name].append(seconds(scrub, event))
    return times


def ratios(times: Times, unit: str) -> dict[str, float]:
    """Return the median ratio of each contender to one of them, round by round."""
    return {
        name: median(each / one for each, one in zip(taken, times[unit], strict=True))
        for name, taken in times.items()
    }


def verdict(ratio: float, most: float, aim: float) -> str:
    """Say whether a ratio keeps its floor, and whether it reaches its aim."""
    if math.isinf(most):
        return ""
    return "MISSED" if ratio > most else "aim" if ratio <= aim else "kept"


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Return the exponent with which the second number grows with the first, by least squares."""
    sizes, times = zip(*((math.log(size), math.log(taken)) for size, taken in points), strict=True)
    return linear_regression(sizes, times).slope


def memory_of(process: int) -> float:
    """Return the megabytes of memory that a process has in use; it has an id, and is on Linux."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
