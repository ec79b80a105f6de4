"""Planting a bug in script_gpt_refactored.py, and showing where."""
from __future__ import annotations

import ast
import difflib
import functools
from dataclasses import dataclass

from labs.bugs.library import BUGS, Bug
from labs.bugs.patient import healthy_text
from script_gpt_refactored import InputError


@dataclass(frozen=True)
class Patch:
    """A bug as whole lines: where it stands in the healthy program, the lines there, and what the ill one has."""

    line: int
    function: str
    right: list[str]
    wrong: list[str]


def plant(bug: Bug) -> str:
    """The text of the ill program. Raises InputError if the script has changed and the patch does not apply once."""
    text = healthy_text()
    if text.count(bug.right) != 1:
        raise InputError(f"the bug {bug.name!r} does not fit script_gpt_refactored.py any more: put the script back")
    return text.replace(bug.right, bug.wrong)


def patch_of(bug: Bug) -> Patch:
    """The lines that a bug changes."""
    healthy, ill = healthy_text().splitlines(), plant(bug).splitlines()
    first = next(i for i, (left, right) in enumerate(zip(healthy, ill)) if left != right)
    same_after = next(i for i, (left, right) in enumerate(zip(reversed(healthy), reversed(ill))) if left != right)
    same_after = min(same_after, len(healthy) - first, len(ill) - first)
    last, stop = len(healthy) - same_after, len(ill) - same_after
    return Patch(first + 1, enclosing_function(first + 1), healthy[first:last], ill[first:stop])


def enclosing_function(line: int) -> str:
    """The name of the function or method of the healthy program in which a line stands."""
    around = [node for node in definitions(healthy_text()) if node.lineno <= line <= node.end_lineno]
    return ".".join(node.name for node in around[: 1 + isinstance(around[0], ast.ClassDef)])


@functools.lru_cache(maxsize=1)
def definitions(text: str) -> list[ast.AST]:
    """The classes and functions of a program, in the order of the file."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    return sorted(found, key=lambda node: node.lineno)


def find_bug(words: str) -> Bug:
    """The bug of this name, or the only one whose name has these words. Raises InputError if there is none, or more."""
    def plain(text):
        return " ".join(text.lower().replace("-", " ").replace("_", " ").split())

    wanted = plain(words)
    exact = [bug for bug in BUGS if plain(bug.name) == wanted]
    partly = [bug for bug in BUGS if wanted and wanted in plain(bug.name)]
    if len(exact or partly) == 1:
        return (exact or partly)[0]
    if partly:
        some = ", ".join(repr(bug.name) for bug in partly[:4])
        raise InputError(f"{words!r} may be {len(partly)} bugs, such as {some}: give more of the name")
    near = difflib.get_close_matches(wanted, [bug.name.lower() for bug in BUGS], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "python -m labs.bugs lists them"
    raise InputError(f"there is no bug {words!r}: {hint}")
