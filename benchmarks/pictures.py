"""Draws each dashboard as a real run filled it: a service under load, watched by Prometheus.

Generates a project, lets one thing after the other go wrong in it, and asks Prometheus for each
query of each panel.
"""

import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from generated import generate
from monitored import Panel, Seen, Series, filled, named, panels, watched
from template_source import REPOSITORY

DASHBOARDS = {"dashboard.json": "dashboard.svg", "telemetry.json": "telemetry.svg"}

COLUMNS, WIDTH, HEIGHT, GAP = 3, 390, 208, 12
PLOT_TOP, PLOT_LEFT, PLOT_RIGHT = 42, 54, 10
PLOT_HEIGHT, LEGEND_LINE = 112, 16
HEAD, ROW = 60, 34
LONGEST_GAP = 2.0  # seconds from one value to the next
EDGE = 10.0  # pixels around what is in a panel
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)  # where a scale may end
MOST_NAMED = 8  # series in a legend
CHARACTER = 6.0  # pixels, on average
COLOURS = ("#2f81f7", "#d1822c", "#2da44e", "#cf4a4a", "#8250df", "#0a8a8a", "#b0862a", "#7d8590")
STYLE = (
    "text{font:12px sans-serif;fill:#24292f}.small{font-size:10px;fill:#57606a}"
    ".head{font-size:14px;font-weight:600}.title{font-weight:600}"
    ".frame{fill:none;stroke:#8886}.grid{stroke:#8884}.phase{stroke:#8888;stroke-dasharray:2 3}"
    ".line{fill:none;stroke-width:1.4;stroke-linejoin:round}.area{stroke:none;fill-opacity:.3}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}}"
)

Points = Sequence[tuple[float, float]]


def main() -> int:
    """Run the service for a while, and write a picture of each dashboard into docs/."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as directory:
        backend = generate(Path(directory))
        monitoring = backend.parent / "deploy" / "monitoring"
        with watched(backend, Path(directory)) as seen:
            print(f"answers by status: {dict(seen.statuses)}")
            for name, picture in DASHBOARDS.items():
                text = draw(panels(monitoring / name), seen)
                (REPOSITORY / "docs" / picture).write_text(text, "utf-8")
    return 0


def draw(shown: Sequence[Panel], seen: Seen) -> str:
    """Return a picture of a dashboard's panels, row by row, as SVG."""
    rows = [(row, list(group)) for row, group in groupby(shown, key=lambda panel: panel.row)]
    parts, top = [_phases(seen)], float(HEAD)
    for row, group in rows:
        if row:
            parts.append(f'<text class="head" x="0" y="{top + 20:.0f}">{escape(row)}</text>')
            top += ROW
        for number, panel in enumerate(group):
            left = number % COLUMNS * (WIDTH + GAP)
            down = top + number // COLUMNS * (HEIGHT + GAP)
            parts.append(f'<g transform="translate({left},{down:.0f})">')
            parts += _panel(panel, lines_of(panel, seen), seen)
            parts.append("</g>")
        top += math.ceil(len(group) / COLUMNS) * (HEIGHT + GAP)
    width = COLUMNS * (WIDTH + GAP) - GAP
    box = f"-10 0 {width + 20} {top:.0f}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img">'
    return "\n".join([svg, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _phases(seen: Seen) -> str:
    names = [
        f"{number} {name} ({begin - seen.begin:.0f} s)"
        for number, (name, begin) in enumerate(seen.phases, 1)
    ]
    half = math.ceil(len(names) / 2)
    told = [" · ".join(names[:half]), " · ".join(names[half:])]
    return "\n".join(
        f'<text class="small" x="0" y="{18 + 16 * line}">{escape(text)}</text>'
        for line, text in enumerate(told)
    )


@dataclass(frozen=True)
class Line:
    """A series of a panel, by the name that its legend gives it."""

    name: str
    points: Points


def lines_of(panel: Panel, seen: Seen) -> list[Line]:
    """Return what a panel shows: the series of all its queries, without gaps' values."""
    found = [
        Line(named(legend, series.labels), _numbers(series))
        for legend, query in panel.queries
        for series in seen.series(filled(query, seen.prometheus.job))
    ]
    return [line for line in found if line.points]


def _numbers(series: Series) -> Points:
    return [(at, value) for at, value in series.points if math.isfinite(value)]


def _stacked(lines: Sequence[Line]) -> Iterator[tuple[Line, Points]]:
    """Yield each line upon those before it, and what it stands on."""
    below: dict[float, float] = {}
    for line in lines:
        foot = [(at, below.get(at, 0.0)) for at, _ in line.points]
        raised = [
            (at, value + base) for (at, value), (_, base) in zip(line.points, foot, strict=True)
        ]
        below |= dict(raised)
        yield Line(line.name, raised), foot


@dataclass(frozen=True)
class Scale:
    """Where the values of a panel are, in pixels."""

    begin: float
    end: float
    top: float
    """The largest value that is shown."""

    def across(self, at: float) -> float:
        """Return the place of an instant."""
        share = (at - self.begin) / (self.end - self.begin)
        return PLOT_LEFT + share * (WIDTH - PLOT_LEFT - PLOT_RIGHT)

    def down(self, value: float) -> float:
        """Return the place of a value."""
        return PLOT_TOP + PLOT_HEIGHT * (1 - value / self.top)

    def path(self, points: Points) -> str:
        """Return points as SVG has them."""
        return " ".join(f"{self.across(at):.1f},{self.down(value):.1f}" for at, value in points)


def _panel(panel: Panel, lines: Sequence[Line], seen: Seen) -> Iterator[str]:
    stacked = list(_stacked(lines)) if panel.is_stacked else [(line, ()) for line in lines]
    largest = max((value for line, _ in stacked for _, value in line.points), default=1.0)
    scale = Scale(seen.begin, seen.end, _round_up(largest))
    yield f'<rect class="frame" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
    yield f'<text class="title" x="10" y="20">{escape(panel.title)}</text>'
    yield from _grid(panel, scale, seen)
    for number, (line, foot) in enumerate(stacked):
        yield from _line(line.points, foot, COLOURS[number % len(COLOURS)], scale)
    yield from _legend([line.name for line in lines])


def _round_up(value: float) -> float:
    """Return the next number that is one of these steps of a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in STEPS if step * power >= value * 0.999)


def _grid(panel: Panel, scale: Scale, seen: Seen) -> Iterator[str]:
    left, right, foot = PLOT_LEFT, WIDTH - PLOT_RIGHT, PLOT_TOP + PLOT_HEIGHT
    for share in (0, 0.5, 1):
        y = scale.down(share * scale.top)
        told = spelt(share * scale.top, panel.unit)
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.0f}" y2="{y:.0f}"/>'
        yield f'<text class="small" x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{told}</text>'
    for number, (_, begin) in enumerate(seen.phases, 1):
        x = scale.across(begin)
        yield f'<line class="phase" x1="{x:.0f}" x2="{x:.0f}" y1="{PLOT_TOP}" y2="{foot}"/>'
        yield f'<text class="small" x="{x + 2:.0f}" y="{PLOT_TOP - 4}">{number}</text>'


def spelt(value: float, unit: str) -> str:
    """Return a value in its unit, in few signs."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 or not value else f"{value * 1000:.3g} ms"
    return f"{value:.3g}/s" if unit in {"reqps", "cps"} else f"{value:.3g}"


def _line(points: Points, foot: Points, colour: str, scale: Scale) -> Iterator[str]:
    """Draw a series; where it had no value for a while is a gap."""
    begin = 0
    for end in range(1, len(points) + 1):
        if end < len(points) and points[end][0] - points[end - 1][0] < LONGEST_GAP:
            continue
        part = points[begin:end]
        if foot:
            around = [*part, *reversed(foot[begin:end])]
            yield f'<polygon class="area" fill="{colour}" points="{scale.path(around)}"/>'
        yield f'<polyline class="line" stroke="{colour}" points="{scale.path(part)}"/>'
        begin = end


def _legend(names: Sequence[str]) -> Iterator[str]:
    shown = list(names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        shown[-1] = f"and {len(names) - MOST_NAMED + 1} more"
    x, y = EDGE, PLOT_TOP + PLOT_HEIGHT + 20.0
    for number, name in enumerate(shown):
        width = 20 + CHARACTER * len(name)
        if x > EDGE and x + width > WIDTH:
            x, y = EDGE, y + LEGEND_LINE
        colour = COLOURS[number % len(COLOURS)]
        yield f'<rect fill="{colour}" x="{x:.0f}" y="{y - 8:.0f}" width="8" height="8"/>'
        yield f'<text class="small" x="{x + 12:.0f}" y="{y:.0f}">{escape(name)}</text>'
        x += width


if __name__ == "__main__":
    sys.exit(main())
