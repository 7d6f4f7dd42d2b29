"""Draws where the time of a request goes, part by part."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

PLOT = Path(__file__).parents[1] / "docs" / "throughput.svg"

WIDTH, BAR, MARGIN, LINE = 760, 56, 24, 22
COLOURS = ("#8c959f", "#0969da", "#8250df", "#bf8700", "#1a7f37", "#cf222e")
STYLE = (
    "text{font:13px sans-serif;fill:#24292f}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}"
)


def draw(answered: Mapping[str, Sequence[float]]) -> None:
    """Write the plot, of requests per second by contender, each with one part more."""
    PLOT.write_text(plot(parts(answered)), encoding="utf-8")


def parts(answered: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the milliseconds that each part adds to a request."""
    taken = [statistics.median(1e3 / each for each in rounds) for rounds in answered.values()]
    added = [now - before for before, now in zip([0.0, *taken], taken, strict=False)]
    return dict(zip(answered, added, strict=True))


def plot(milliseconds: Mapping[str, float]) -> str:
    """Draw one bar of all parts, and what each of them is below it."""
    height = MARGIN * 3 + BAR + LINE * len(milliseconds)
    whole = sum(milliseconds.values())
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Where the time of a request goes</title>",
        f"<style>{STYLE}</style>",
    ]
    left, scale = float(MARGIN), (WIDTH - 2 * MARGIN) / sum(map(_visible, milliseconds.values()))
    for number, (name, taken) in enumerate(milliseconds.items()):
        width, colour = _visible(taken) * scale, COLOURS[number % len(COLOURS)]
        y = 2 * MARGIN + BAR + LINE * number
        label = f"{name}: {taken:.2f} ms, {taken / whole:.0%}"
        drawn += [
            f'<rect x="{left:.1f}" y="{MARGIN}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<rect x="{MARGIN}" y="{y}" width="12" height="12" fill="{colour}"/>',
            f'<text x="{MARGIN + 20}" y="{y + 11}">{label}</text>',
        ]
        left += width
    return "\n".join([*drawn, "</svg>", ""])


def _visible(taken: float) -> float:
    """Return what is drawn: what chance has made less than nothing, is nothing."""
    return max(taken, 0.0)
