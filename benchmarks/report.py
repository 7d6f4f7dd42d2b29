"""What `make bench` shows of the privacy filter: a table, the floors, and a plot for docs/."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from contenders import BALANCED, STRICT
from corpus import Corpus
from events import KILOBYTE, hostile, nodes, typical
from template_source import REPOSITORY

Results = Mapping[str, dict[str, float]]  # by contender, and by measure

DOCUMENT = REPOSITORY / "docs" / "measured.md"
PLOT = REPOSITORY / "docs" / "privacy.svg"
BEGIN, END = "<!-- make bench writes from here -->\n", "<!-- to here -->\n"

COLUMNS = {
    "leaks": ("leaks", "{:.1%}"),
    "changed": ("changed", "{:.1%}"),
    "warm": ("warm", "{:.2f}"),
    "new": ("new values", "{:.2f}"),
    "cold": ("cold", "{:.2f}"),
    "warm/sdk": ("warm / SDK", "{:.2f}"),
    "slope": ("growth", "{:.2f}"),
    "median ms": ("16 kB, median", "{:.2f} ms"),
    "worst ms": ("16 kB, worst", "{:.1f} ms"),
}


@dataclass(frozen=True)
class Floor:
    """The most that a contender may measure, and what is aimed at."""

    contender: str
    measure: str
    most: float
    aim: float

    def is_missed(self, results: Results) -> bool:
        """Say whether more was measured than may be."""
        return results[self.contender][self.measure] > self.most

    def verdict(self, results: Results) -> str:
        """Say in a line whether the floor is kept."""
        title, form = COLUMNS[self.measure]
        value = results[self.contender][self.measure]
        kept = "MISSED" if self.is_missed(results) else "aim" if value <= self.aim else "kept"
        figures = [form.format(number) for number in (value, self.most, self.aim)]
        row = "{:<8}{:<26}{:<16}{:>10}, at most {}, aim {}"
        return row.format(kept, self.contender, title, *figures)


def title(strings: Corpus, rounds: int) -> str:
    """Say what the table is of."""
    event, attacks = typical(0), sum(1 for _ in hostile())
    return (
        f"\nPrivacy: {len(strings.leaks)} strings that must not leak and {len(strings.survivors)}"
        f" that must survive; times as ratios to json.dumps\nof an event of"
        f" {len(json.dumps(event)) / KILOBYTE:.0f} kB and {nodes(event):,} nodes, medians of"
        f" {rounds} interleaved rounds; {attacks} hostile strings of 16 kB\n"
    )


def rows(results: Results) -> list[list[str]]:
    """Return the table's cells, the heads first."""
    heads = ["", *(head for head, _ in COLUMNS.values())]
    return [heads] + [
        [name, *(form.format(measured[key]) for key, (_, form) in COLUMNS.items())]
        for name, measured in results.items()
    ]


def table(results: Results) -> str:
    """Return the table for a terminal."""
    cells = rows(results)
    widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
    return "\n".join(
        first.ljust(widths[0])
        + "".join(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        for first, *rest in cells
    )


def write(results: Results, strings: Corpus, rounds: int) -> None:
    """Write the table into the document, between its two marks, and the plot beside it."""
    heads, *body = ("| " + " | ".join(cells) + " |\n" for cells in rows(results))
    rule = "|---" + "|--:" * len(COLUMNS) + "|\n"
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    caption = f"\n{title(strings, rounds).strip()}.\n\n"
    DOCUMENT.write_text(
        before + BEGIN + caption + heads + rule + "".join(body) + "\n" + END + after,
        encoding="utf-8",
    )
    PLOT.write_text(plot(results), encoding="utf-8")


WIDTH, HEIGHT, MARGIN, LINE = 760, 400, 60, 18
TICKS = (0.5, 1, 2, 5, 10, 20, 50)  # times a json.dumps
STYLE = (
    "text{font:13px sans-serif;fill:#24292f}line{stroke:#8888}circle{fill:#6e7781}"
    ".ours{fill:#0969da}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#58a6ff}}"
)


def plot(results: Results) -> str:
    """Draw what leaks over what it costs on new values: the best place is below, on the left."""
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])

    def across(ratio: float) -> float:
        inside = (math.log(ratio) - low) / (high - low)
        return MARGIN + min(max(inside, 0), 1) * (WIDTH - 2 * MARGIN)

    def down(leaks: float) -> float:
        return HEIGHT - MARGIN - leaks * (HEIGHT - 2 * MARGIN)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Strings that leak, over the time that scrubbing takes</title>",
        f"<style>{STYLE}</style>",
    ]
    for tick in TICKS:
        x, foot = across(tick), HEIGHT - MARGIN
        drawn.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{MARGIN}" y2="{foot}"/>')
        drawn.append(f'<text x="{x:.0f}" y="{foot + 20}" text-anchor="middle">{tick}</text>')
    for share in (0, 0.5, 1):
        y, right = down(share), WIDTH - MARGIN
        drawn.append(f'<line x1="{MARGIN}" x2="{right}" y1="{y:.0f}" y2="{y:.0f}"/>')
        drawn.append(f'<text x="{MARGIN - 8}" y="{y + 4:.0f}" text-anchor="end">{share:.0%}</text>')
    drawn.append(f'<text x="{MARGIN}" y="{MARGIN - 20}">strings that leak</text>')
    drawn.append(
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 15}" text-anchor="end">'
        "time on new values, as a multiple of json.dumps</text>"
    )
    above = 0.0  # where the label before stands: the next is a line below it at least
    for name, measured in sorted(results.items(), key=lambda item: -item[1]["leaks"]):
        x, y = across(measured["new"]), down(measured["leaks"])
        ours = ' class="ours"' if name in {BALANCED, STRICT} else ""
        above = max(y - 8, above + LINE)
        beside = f'x="{x + 12:.0f}"' if x < WIDTH / 2 else f'x="{x - 12:.0f}" text-anchor="end"'
        drawn.append(f'<circle{ours} cx="{x:.0f}" cy="{y:.0f}" r="6"/>')
        drawn.append(f'<text {beside} y="{above:.0f}">{name}, {measured["leaks"]:.1%}</text>')
    return "\n".join([*drawn, "</svg>", ""])
