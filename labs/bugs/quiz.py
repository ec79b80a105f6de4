"""The quiz: symptoms first, then the question, hints, and at last the line."""
from __future__ import annotations

import random
import sys
from typing import Callable

from labs.bugs.drawing import code, paragraph
from labs.bugs.library import BUGS, Bug
from labs.bugs.planting import patch_of
from labs.bugs.showing import print_courses, print_figure
from labs.bugs.training import arguments_of, both_courses, figure_that_is_off, verdict

CHOICES = 5
POINTS = 3  # for the right answer at once; one less for each hint and each wrong answer


def hints(bug: Bug) -> list[Callable[[], None]]:
    """What to print at each hint, from the vaguest to the plainest."""
    def figure():
        print("  The first figure that is off:")
        print_figure(figure_that_is_off(bug))

    return [lambda: print(f"  It sits in the part {bug.group!r}, in {patch_of(bug).function}."),
            figure,
            lambda: print(paragraph("How to find it: " + bug.find))]


def choices_for(bug: Bug, rng: random.Random) -> list[Bug]:
    """The bug and others, from its own group first."""
    others = [other for other in BUGS if other != bug]
    rng.shuffle(others)
    others.sort(key=lambda other: other.group != bug.group)
    chosen = [bug, *others[: 2], *rng.sample(others[2:], CHOICES - 3)]
    rng.shuffle(chosen)
    return chosen


def ask(question: str) -> str:
    """A line from the user, stripped. Raises EOFError when there is none any more."""
    try:
        answer = input(question).strip()
    except RuntimeError as error:  # standard input is closed
        raise EOFError from error
    if not sys.stdin.isatty():
        print(answer)  # so that a transcript made through a pipe can be read
    return answer


def play_round(bug: Bug, rng: random.Random) -> int:
    """Asks for one bug whose symptoms have been shown. Returns the points."""
    choices = choices_for(bug, rng)
    print("\nWhat is wrong?")
    for index, choice in enumerate(choices, start=1):
        print(f"  {index}  {choice.name}")
    points, left = POINTS, hints(bug)
    while points > 0:
        answer = ask(f"A number from 1 to {len(choices)}, h for a hint, s to be shown the line: ").lower()
        if answer in ("s", "show"):
            points = 0
        elif answer in ("h", "hint", ""):
            points -= 1
            left.pop(0)()
        elif answer.isdecimal() and 1 <= int(answer) <= len(choices):
            if choices[int(answer) - 1] == bug:
                print(f"\n  Right: {points} point{'s' if points > 1 else ''}.")
                return points
            points -= 1
            print("  No." if not points else "  No. A hint:")
            if points:
                left.pop(0)()
        else:
            print("  That is none of them.")
    return 0


def reveal(bug: Bug) -> None:
    patch = patch_of(bug)
    print("\n" + paragraph(f"It was {bug.name}: {bug.title}."))
    print(code("right", patch.right))
    print(code("wrong", patch.wrong))
    print(paragraph(bug.why))


def play(rounds: int, seed: int | None, names: str, steps: int) -> None:
    """So many questions, or fewer if the input ends. The score is said at the end, however it comes."""
    rng = random.Random(seed)
    score = asked = 0
    rounds = min(rounds, len(BUGS))
    print(paragraph(f"{POINTS} points for the right answer at once; a hint or a wrong answer costs one.", "") + "\n")
    try:
        for number, bug in enumerate(rng.sample(BUGS, rounds), start=1):
            print(f"Question {number} of {rounds}. A healthy program and an ill one, trained on the same names:\n")
            arguments = arguments_of(bug, min(steps, bug.steps), 42, names)
            healthy, ill = both_courses(bug, arguments)
            print_courses(healthy, ill)
            print("\nDoes training still work?\n" + paragraph(verdict(healthy, ill)))
            points = play_round(bug, rng)
            asked, score = asked + 1, score + points
            reveal(bug)
            print(f"\nScore: {score} of {POINTS * asked} points.\n")
    except (EOFError, KeyboardInterrupt):
        print()
    print(f"The end: {score} of {POINTS * asked} points in {asked} question{'s' if asked != 1 else ''}.")
