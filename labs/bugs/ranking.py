"""Which bug of the library is it? What the checks found, compared with what they find in each of the ill programs.

What the checks find in the ill programs is measured (`python -m labs.bugs measure`) and kept in measured.json beside
this file; the tests hold it.
"""
from __future__ import annotations

import json
import math
import os
from typing import Sequence

from labs.bugs.checks import Result
from labs.bugs.patient import HERE

MEASURED = os.path.join(HERE, "measured.json")
KEPT = 3  # findings of each check that are compared by their numbers
ANOTHER = "another mistake"  # what is not in the library

CHANCE = ("the same arguments twice", "the same arguments in another process", "the same seed twice")

# What a check tells about a bug. If it passes for both, or fails for both with the same numbers, that speaks for the
# bug, as two mistakes rarely give the same digits; if it fails for one of them only, that speaks against it, but does
# not rule it out, for a program may have its parts in other places. A mistake not in the library may do anything.
AGREE, DISAGREE = 0.95, 0.03
ANOTHER_PASSES, ANOTHER_FAILS = 0.9, 0.3

Signature = dict  # check -> {"count": findings, "first": [[what, got], ...]}; a check that passes is not in it


def signature(results: Sequence[Result]) -> Signature:
    """What is compared of these results, as plain data. A program that is another each time has no numbers."""
    found = {}
    for result in results:
        by_chance = [[finding.what, "by chance"] for finding in result.findings
                     if finding.what in CHANCE and finding.got is False]
        answers = by_chance or [[finding.what, brief(finding.got)] for finding in result.findings]
        if answers:
            found[result.check] = {"count": len(answers), "first": answers[:KEPT]}
    return found


def brief(got: object) -> object:
    """An answer as it is kept: numbers with six digits, of an error its kind alone, of a text its beginning."""
    if isinstance(got, bool) or not isinstance(got, (int, float)):
        text = str(got)
        return text.split(":")[0] if text.split(":")[0].endswith(("Error", "Exit", "Exception")) else text[:40]
    return float(f"{got:.6g}")


def same(left: object, right: object) -> bool:
    """Whether two brief answers are the same, but for the last digits of a number."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-3, abs_tol=1e-6)
    return left == right


def likeness(one: dict, other: dict) -> float:
    """How alike the findings of a check are in two programs, from 0 to 1: the same questions, with the same answers."""
    answers, points = dict(map(tuple, other["first"])), 0.0
    for what, got in one["first"]:
        if what in answers:
            points += 1.0 if same(got, answers[what]) else 0.2
    points /= max(len(one["first"]), len(other["first"]))
    counts = min(one["count"], other["count"]) / max(one["count"], other["count"])
    return (0.9 * points + 0.1 * counts) ** 2


def rank(found: Signature, made: Sequence[str], library: dict[str, Signature]) -> list[tuple[str, float]]:
    """The bugs of the library, and `ANOTHER`, each with its probability given what the checks that were made found.

    Bayes: all are equally likely before, and each check multiplies by the probability of its outcome. The probabilities
    sum to 1; the most likely bug comes first. A bug that would fail none of the checks that failed explains nothing:
    it is left out.
    """
    logs = {}
    for name, known in library.items():
        if not set(found) & set(known):
            continue
        total = 0.0
        for check in made:
            if (check in found) != (check in known):
                total += math.log(DISAGREE)
            else:
                total += math.log(DISAGREE + AGREE * (likeness(found[check], known[check]) if check in found else 1.0))
        logs[name] = total
    logs[ANOTHER] = sum(math.log(ANOTHER_FAILS if check in found else ANOTHER_PASSES) for check in made)
    highest = max(logs.values())
    weights = {name: math.exp(value - highest) for name, value in logs.items()}
    total = sum(weights.values())
    return sorted(((name, weight / total) for name, weight in weights.items()), key=lambda pair: -pair[1])


def load_measured() -> dict:
    """What `python -m labs.bugs measure` wrote: `golden`, lines of the healthy program; `bugs`, name -> signature."""
    with open(MEASURED, encoding="utf-8") as file:
        return json.load(file)
