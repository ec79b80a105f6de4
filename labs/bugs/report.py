"""The whole library as one page of Markdown, its figures measured as it is written."""
from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor

from engines.output import check_can_replace, write_whole
from labs.bugs.drawing import PLAIN, chart, number
from labs.bugs.library import BUGS, GROUPS, Bug
from labs.bugs.planting import patch_of
from labs.bugs.ranking import load_measured
from labs.bugs.showing import table_lines
from labs.bugs.training import Course, arguments_of, both_courses, figure_that_is_off, last_mean, verdict
from script_gpt_refactored import InputError

TITLE = "# The bug library"  # how a page begins, and what tells it from other files


def measure(bug: Bug, names: str, steps: int | None) -> tuple[Course, Course, object]:
    """The two runs of a bug, and its first figure that is off."""
    return (*both_courses(bug, arguments_of(bug, steps, 42, names)), figure_that_is_off(bug))


def write_report(path: str, names: str, steps: int | None, force: bool = False) -> None:
    """Trains every ill program and writes the page, whole or not at all.

    Raises InputError if it cannot be written, or if there is a file of another kind (but with force).
    """
    if os.path.realpath(path) == os.path.realpath(names):
        raise InputError(f"{path} holds the names: choose another file for the report")
    check_can_replace(path, TITLE.encode() + b"\r?\n", force)
    sections = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        measured = pool.map(measure, BUGS, [names] * len(BUGS), [steps] * len(BUGS))
        for count, (bug, (healthy, ill, finding)) in enumerate(zip(BUGS, measured), start=1):
            sections[bug.name] = section(bug, healthy, ill, finding, names, steps)
            print(f"{count:3d} / {len(BUGS)} {bug.name}", file=sys.stderr, flush=True)
    write_whole(path, lambda file: file.write("\n".join(page(sections))))


def page(sections: dict[str, list[str]]) -> list[str]:
    """The lines of the page."""
    lines = [TITLE, "",
             f"{len(BUGS)} mistakes in a GPT, each planted in script_gpt_refactored.py and trained beside the healthy "
             "program. Losses are in nats a token. Every figure was measured when this page was written, by "
             "`python -m labs.bugs report`.", "", "## Bugs and checks", "", "```text",
             *table_lines(load_measured()["bugs"]), "```", ""]
    for group in GROUPS:
        lines += [f"## {group.capitalize()}", ""]
        for bug in BUGS:
            lines += sections[bug.name] if bug.group == group else []
    return lines


def section(bug: Bug, healthy: Course, ill: Course, finding, names: str, steps: int | None) -> list[str]:
    """One bug: the lines, the figures, why, how to find it."""
    patch = patch_of(bug)
    lines = [f"### {bug.name}", "", f"{bug.title[0].upper()}{bug.title[1:]}.", "",
             f"In `{patch.function}`, line {patch.line}:", "", "```diff",
             *(f"-{line}" for line in patch.right), *(f"+{line}" for line in patch.wrong), "```", "",
             f"**Why.** {bug.why}", "", f"**How to find it.** {bug.find}", ""]
    options = " ".join(arguments_of(bug, steps, 42, names)[1:])
    lines += [f"**Does training still work?** {verdict(healthy, ill)}", "",
              f"| `{options}` | healthy | ill |", "|---|---|---|"]
    if healthy.losses:
        lines += [f"| first loss | {healthy.losses[0]:.4f} | {loss_text(ill.losses[:1])} |",
                  f"| mean of the last quarter | {last_mean(healthy.losses):.4f} | {loss_text(ill.losses)} |"]
    lines += [f"| samples | {sample_text(healthy)} | {sample_text(ill)} |", ""]
    if finding is not None:
        lines += [f"**The first figure that is off.** Check *{finding.check}*, {finding.what}: "
                  f"`{number(finding.got)}`, and it should be `{number(finding.expected)}`.", ""]
    if healthy.losses and ill.losses:
        lines += ["```text", chart(healthy.losses, ill.losses, PLAIN), "```", ""]
    return lines


def loss_text(losses: list[float]) -> str:
    return f"{last_mean(losses):.4f}" if losses else "-"


def sample_text(course: Course) -> str:
    return ", ".join(text or '""' for text in course.samples[:5]).replace("|", "\\|") or "-"
