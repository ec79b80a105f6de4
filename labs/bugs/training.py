"""Training the healthy program and an ill one, and what can be said of the two runs."""
from __future__ import annotations

import contextlib
import functools
import io
import os
import statistics
from dataclasses import dataclass

from labs.bugs.checks import CHECKS, Case, Finding, make_check
from labs.bugs.library import Bug
from labs.bugs.patient import ROOT, healthy_text, of_refactored, program, the_healthy
from labs.bugs.planting import plant

SAMPLES = 8
CLOSE = 0.04  # nats: two runs whose last losses differ by less than this cannot be told apart by eye


@dataclass(frozen=True)
class Course:
    """A training run: the loss of each step in nats, the samples after it, and the error it ended with, or ""."""

    losses: list[float]
    samples: list[str]
    error: str


def course_of(text: str, arguments: list[str]) -> Course:
    """Runs the program with this text as from its command line."""
    module = program(text, os.path.join(ROOT, "script_gpt_refactored.py"))
    module.catch_interrupts = list  # Ctrl-C is to end the lab, not only the training
    output, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = module.main(arguments)
    except Exception as error:
        errors, code = io.StringIO(f"{type(error).__name__}: {error}"), 1
    if code == 130:
        raise KeyboardInterrupt
    lines = output.getvalue().splitlines()
    return Course([float(line.split()[-1]) for line in lines if line.startswith("step")],
                  [line.split(":", 1)[1].strip() for line in lines if line.startswith("sample")],
                  errors.getvalue().strip())


def arguments_of(bug: Bug, steps: int | None, seed: int, names: str) -> list[str]:
    """The command line with which this bug shows itself."""
    count = bug.steps if steps is None else steps
    return [names, f"--steps={count}", f"--samples={SAMPLES}", f"--seed={seed}", *bug.options]


def both_courses(bug: Bug, arguments: list[str]) -> tuple[Course, Course]:
    """The healthy program and the ill one, with the same arguments."""
    return healthy_course(tuple(arguments)), course_of(plant(bug), arguments)


@functools.lru_cache(maxsize=8)
def healthy_course(arguments: tuple[str, ...]) -> Course:
    """The healthy run, which many bugs are compared with."""
    return course_of(healthy_text(), list(arguments))


def last_mean(losses: list[float]) -> float:
    """The mean loss of the last quarter of the steps."""
    return statistics.fmean(losses[-max(1, len(losses) // 4) :])


def verdict(healthy: Course, ill: Course) -> str:
    """Does training still work? One sentence, from the two runs alone."""
    if not ill.losses:
        return f"It does not even begin: {ill.error or 'no step was taken'}."
    ended = f" Then it fails: {ill.error}." if ill.error else ""
    if len(ill.losses) < len(healthy.losses):
        return f"It stops after {len(ill.losses)} steps." + ended
    right, wrong = last_mean(healthy.losses), last_mean(ill.losses)
    figures = f"the last quarter has a mean loss of {wrong:.2f} nats, healthy {right:.2f}."
    learned = (ill.losses[0] - wrong) / max(1e-9, healthy.losses[0] - right)
    if wrong > max(ill.losses[0], healthy.losses[0]) + CLOSE:
        return f"No, it gets worse: {figures}{ended}"
    if wrong < right - CLOSE:
        return f"It looks better than the healthy one, which is a symptom too: {figures}{ended}"
    if wrong < right + CLOSE:
        return f"Yes, and the loss does not show it: {figures}{ended}"
    if learned < 0.25:
        return f"No, it hardly learns: {figures}{ended}"
    return f"It learns, but its loss stays higher: {figures}{ended}"


def figure_that_is_off(bug: Bug) -> Finding | None:
    """The first number of the ill program that differs from what it should be."""
    text = plant(bug)
    for name in CHECKS:
        with contextlib.redirect_stderr(io.StringIO()):
            result = make_check(name, of_refactored(text), the_healthy(), Case())
        if result.findings:
            return result.findings[0]
    return None
