"""What the lab prints: curves in the terminal, numbers, and wrapped text."""
from __future__ import annotations

import sys
import textwrap
from typing import Sequence

WIDTH = 79
# Marks for: the healthy curve, the ill one, both in one place, the axes. The plain ones for a terminal without Unicode.
FINE = {"healthy": "○", "ill": "●", "both": "◉", "bar": "│", "corner": "└", "line": "─"}
PLAIN = {"healthy": "o", "ill": "x", "both": "*", "bar": "|", "corner": "+", "line": "-"}


def marks() -> dict[str, str]:
    """The marks that standard output can show."""
    try:
        "".join(FINE.values()).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return FINE


def smooth(losses: Sequence[float], window: int) -> list[float]:
    """At each step the mean of the last `window` losses, or of as many as there are."""
    return [sum(losses[max(0, i - window) : i]) / min(i, window) for i in range(1, len(losses) + 1)]


def chart(healthy: Sequence[float], ill: Sequence[float], mark: dict[str, str]) -> str:
    """Two loss curves in one picture, smoothed; what is too high for it stands in the top row."""
    width, height = 60, 12
    steps = max(len(healthy), len(ill))
    window = max(1, steps // 10)
    curves = {"healthy": smooth(healthy, window), "ill": smooth(ill, window)}
    low = min(min(curve) for curve in curves.values())
    top = max(max(curves["healthy"]), min(max(curves["ill"]), 1.5 * max(curves["healthy"])))
    rows = [[" "] * width for _ in range(height)]
    for name, curve in curves.items():
        for column in range(min(width, steps)):
            step = column * (steps - 1) // max(1, min(width, steps) - 1)
            if step < len(curve):
                row = round((top - curve[step]) / max(top - low, 1e-9) * (height - 1))
                row = min(height - 1, max(0, row))
                rows[row][column] = mark["both" if rows[row][column] == mark["healthy"] else name]
    labels = {0: f"{top:.2f}", height - 1: f"{low:.2f}"}
    lines = [f"{labels.get(i, ''):>7} {mark['bar']}{''.join(row).rstrip()}" for i, row in enumerate(rows)]
    lines.append(" " * 8 + mark["corner"] + mark["line"] * width)
    lines.append(" " * 9 + "step 1" + f"step {steps}".rjust(min(width, steps) - 6))
    return f"{legend(mark)}, mean of the last {window} step{'s' * (window > 1)}\n" + "\n".join(lines)


def legend(mark: dict[str, str]) -> str:
    return f"   loss in nats   {mark['healthy']} healthy   {mark['ill']} ill   {mark['both']} both"


def number(thing: object) -> str:
    """An answer for people: of a number at most eight digits."""
    if isinstance(thing, float):
        return f"{thing:.8g}"
    return str(thing)


def share(probability: float) -> str:
    """A probability in percent, never more certain than it can be."""
    if probability > 0.999:
        return "over 99.9 %"
    return f"{100 * probability:.1f} %" if probability >= 0.001 else "under 0.1 %"


def paragraph(text: str, indent: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def labelled(label: str, text: str, width: int = 10) -> str:
    """A label and its text, which goes on under itself."""
    return textwrap.fill(text, WIDTH, initial_indent=f"  {label:<{width}}", subsequent_indent=" " * (2 + width),
                         break_on_hyphens=False) or f"  {label}"


def code(label: str, lines: Sequence[str], width: int = 8) -> str:
    """Lines of code under a label, moved to the left together; a long line is broken."""
    shown = []
    for line in textwrap.dedent("\n".join(lines)).splitlines() or ["(nothing)"]:
        inner = " " * (len(line) - len(line.lstrip()) + 4)
        shown += textwrap.wrap(line, WIDTH - 2 - width, subsequent_indent=inner, break_on_hyphens=False) or [""]
    return "\n".join(f"  {label if i == 0 else '':<{width}}{line}" for i, line in enumerate(shown))
