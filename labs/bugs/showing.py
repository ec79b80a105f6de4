"""What the library prints: the list, one bug, its run beside the healthy one, the table of bugs against checks."""
from __future__ import annotations

import textwrap
from typing import Sequence

from labs.bugs.checks import CHECKS, Finding
from labs.bugs.drawing import WIDTH, chart, code, labelled, marks, number, paragraph
from labs.bugs.library import BUGS, GROUPS, Bug
from labs.bugs.planting import patch_of
from labs.bugs.ranking import load_measured
from labs.bugs.training import Course, arguments_of, both_courses, figure_that_is_off, verdict

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAME_WIDTH = max(len(bug.name) for bug in BUGS)


def print_list() -> None:
    """Every bug in one line, by the part of the program it sits in."""
    for group in GROUPS:
        bugs = [bug for bug in BUGS if bug.group == group]
        print(f"{group} ({len(bugs)})")
        for bug in bugs:
            print(textwrap.fill(f"{bug.name}: {bug.title}", WIDTH, initial_indent="  ", subsequent_indent=" " * 6))
        print()
    print(f"{len(BUGS)} bugs. python -m labs.bugs show NAME, or run NAME; part of a name is enough.")


def print_bug(bug: Bug) -> None:
    """One bug: the lines, why, how to find it, and which checks it fails."""
    patch = patch_of(bug)
    print(paragraph(f"{bug.name}: {bug.title}", ""))
    print(f"\nscript_gpt_refactored.py, {patch.function}, line {patch.line}")
    print(code("right", patch.right))
    print(code("wrong", patch.wrong))
    print("\nWhy it happens\n" + paragraph(bug.why))
    print("\nHow to find it\n" + paragraph(bug.find))
    failing = load_measured()["bugs"].get(bug.name, {})
    print("\nChecks that fail\n" + paragraph(", ".join(check for check in CHECKS if check in failing)))


def print_courses(healthy: Course, ill: Course) -> None:
    """Two runs side by side: losses at some steps, both curves, samples."""
    total = max(len(healthy.losses), len(ill.losses))
    print("   step    healthy        ill   loss of the step, nats a token")
    for step in dict.fromkeys([1, 2, 5, 10, 20, 50, 100, 200, 500, total]):
        if step <= total:
            losses = [f"{course.losses[step - 1]:11.4f}" if step <= len(course.losses) else f"{'-':>11}"
                      for course in (healthy, ill)]
            print(f"  {step:5d}{''.join(losses)}")
    if healthy.losses and ill.losses:
        print("\n" + chart(healthy.losses, ill.losses, marks()))
    print("\n  samples: healthy    ill")
    rows = max(len(healthy.samples), len(ill.samples))
    for left, right in zip(padded(healthy.samples, rows), padded(ill.samples, rows)):
        print(f"  {left:<20} {shortened(right)}")
    if ill.error:
        print("\n" + labelled("error", ill.error))


def padded(texts: Sequence[str], count: int) -> list[str]:
    return [text or '""' for text in texts] + ["-"] * (count - len(texts))


def shortened(text: str) -> str:
    return text if len(text) <= 50 else text[:47] + "..."


def print_figure(finding: Finding | None) -> None:
    if finding is None:
        print("  no check finds it")
        return
    print(labelled("check", finding.check))
    print(labelled("question", finding.what))
    print(labelled("ill", number(finding.got)))
    print(labelled("right", number(finding.expected)))


def run_bug(bug: Bug, steps: int | None, seed: int, names: str) -> None:
    """Trains both programs and prints all there is to see."""
    arguments = arguments_of(bug, steps, seed, names)
    patch = patch_of(bug)
    print(paragraph(f"{bug.name}: {bug.title}", ""))
    print(f"\nscript_gpt_refactored.py, {patch.function}, line {patch.line}")
    print(code("right", patch.right))
    print(code("wrong", patch.wrong))
    print(f"\nBoth programs with {' '.join(arguments[1:])}\n", flush=True)
    healthy, ill = both_courses(bug, arguments)
    print_courses(healthy, ill)
    print("\nThe first figure that is off")
    print_figure(figure_that_is_off(bug))
    print("\nDoes training still work?\n" + paragraph(verdict(healthy, ill)))


def table_lines(library: dict) -> list[str]:
    """The bugs against the checks: X where the check fails, a dot where it passes."""
    letters = dict(zip(CHECKS, LETTERS))
    lines = ["Each row is a bug, each column a check: X where it fails, . where it passes.", ""]
    lines += [f"  {letter}  {check}" for check, letter in letters.items()]
    header = f"{'':<{NAME_WIDTH}}  {''.join(letters.values())}  checks failed"
    lines += ["", header]
    for bug in BUGS:
        failing = library.get(bug.name, {})
        row = "".join("X" if check in failing else "." for check in letters)
        lines.append(f"{bug.name:<{NAME_WIDTH}}  {row}  {len(failing):2d}")
    counts = {check: sum(check in failing for failing in library.values()) for check in letters}
    lines += ["", f"{len(BUGS)} bugs, {len(letters)} checks; bugs found by each check:"]
    lines += [f"  {letter}  {check:<14} {counts[check]:3d} bugs" for check, letter in letters.items()]
    return lines
