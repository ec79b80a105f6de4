"""Ill programs that are not in the library, made by a script: small changes to the syntax tree of the healthy one.

They ask whether the checks find only the mistakes they were written for. A sign is flipped, an index shifted, a term or
a statement dropped, a number or a name exchanged, each at every place where that can be done.
"""
from __future__ import annotations

import ast
import contextlib
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Iterator

from labs.bugs.apart import LIMIT, examine_apart
from labs.bugs.drawing import code
from labs.bugs.patient import ROOT, adapter_text, healthy_text

# The parts that compute. (The rest reads, prints and parses; the tests of the scripts are there for it.)
PARTS = {"Tokenizer", "Value", "linear", "dot", "add", "logsumexp", "softmax", "rmsnorm", "initialize_parameters",
         "gpt_forward", "compute_loss", "AdamOptimizer", "train_step", "train", "generate_text"}
# What only shows progress on a terminal is left alone, and what only matters when a run is broken off.
ASIDE = ("print_step", "on_terminal", "snapshot", "restore", "discard_output")
OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
            ast.Mod: ast.Sub, ast.FloorDiv: ast.Mult, ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.Eq: ast.NotEq,
            ast.Is: ast.IsNot}
ALIKE = [{"q", "k", "v"}, {"keys", "values"}, {"x", "normed"}, {"m", "v"}, {"beta1", "beta2"}, {"bias1", "bias2"},
         {"new1", "new2"}, {"x_data", "row_data"}, {"scores", "attn_weights"}, {"attn_out", "hidden"}]
COMMUTES = "a sum, a product or a minimum of two is the same the other way round"
# Mutants that compute the same as the healthy program: the text they put there, and why no check can tell them apart.
EQUIVALENT = {
    "if True: for child, local_grad in zip(node.children, node.local_grads): child.grad += local_grad * grad":
        "a gradient of 0 passes nothing on: it only takes time",
    "return (self / -1.0)": "dividing by -1 is multiplying by -1",
    "sumprod(x_data, row_data)": COMMUTES,
    "zip(b, a)": COMMUTES,
    "add(state_dict['wpe'][position], state_dict['wte'][token_id])": COMMUTES,
    "state_dict[f'layer{layer}.attn_wo']), x)": COMMUTES,
    "state_dict[f'layer{layer}.mlp_fc2']), x)": COMMUTES,
    "min(len(tokens) - 1, config.block_size)": COMMUTES,
    "if False: raise InputError('the probabilities are not finite": "random.choices refuses them too, in its own words",
}


@dataclass(frozen=True)
class Mutant:
    """One change: the line it is in, what stood there and what stands there now, and the whole text."""

    line: int
    before: str
    after: str
    text: str


def all_mutants() -> list[Mutant]:
    """Every mutant, from the top of the file down."""
    text = healthy_text()
    found = {}
    for part in ast.parse(text).body:
        if getattr(part, "name", "") in PARTS:
            for node, new in changes(part):
                mutant = replaced(text, node, new)
                found.setdefault(mutant.text, mutant)
    found.pop(text, None)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def some_mutants(count: int, seed: int) -> list[Mutant]:
    """A random choice of them, without repetition."""
    mutants = all_mutants()
    return random.Random(seed).sample(mutants, min(count, len(mutants)))


def why_equivalent(mutant: Mutant) -> str:
    """Why this mutant is no mistake, or "" if it is one."""
    text = unparsed_alike(mutant.after)
    return next((why for piece, why in EQUIVALENT.items() if piece in text), "")


def unparsed_alike(text: str) -> str:
    """Older Pythons write the targets of a loop in brackets: here without them, as newer ones do."""
    return re.sub(r"\bfor \(([\w, ]+)\) in", r"for \1 in", text)


def changes(part: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Each node that can be changed, with the text to put in its place."""
    skipped = set()
    for node in ast.walk(part):  # annotations and docstrings compute nothing
        for child in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            skipped |= set(ast.walk(child)) if child else set()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped |= {node, node.value}
        small = isinstance(node, (ast.Expr, ast.If, ast.Assign))
        aside = getattr(node, "name", "") in ASIDE or small and any(name in ast.unparse(node) for name in ASIDE)
        if aside or isinstance(node, (ast.Raise, ast.JoinedStr)):
            skipped |= set(ast.walk(node))
    for node in ast.walk(part):
        if node not in skipped:
            for new in variants(node):
                yield node, new


def variants(node: ast.AST) -> Iterator[str]:
    """What a small mistake might make of one node."""
    if isinstance(node, ast.BinOp):
        left, right = ast.unparse(node.left), ast.unparse(node.right)
        if type(node.op) in OPPOSITE:
            yield "(" + ast.unparse(ast.BinOp(node.left, OPPOSITE[type(node.op)](), node.right)) + ")"
        yield from (left, right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield ast.unparse(node.operand)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITE:
        yield ast.unparse(ast.Compare(node.left, [OPPOSITE[type(node.ops[0])]()], node.comparators))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield repr(node.value + 1)
        yield repr(node.value * 0)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Name, ast.BinOp)):
        yield f"{ast.unparse(node.value)}[{ast.unparse(node.slice)} - 1]"
    elif isinstance(node, ast.IfExp):
        yield ast.unparse(ast.IfExp(node.test, node.orelse, node.body))
    elif isinstance(node, ast.AugAssign):
        yield f"{ast.unparse(node.target)} = {ast.unparse(node.value)}"
        yield "pass"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "pass"
    elif isinstance(node, ast.If) and not node.orelse:
        yield "if True:\n" + indented(node)
        yield "if False:\n" + indented(node)
    elif isinstance(node, ast.Call) and len(node.args) == 2 and not node.keywords:
        yield f"{ast.unparse(node.func)}({ast.unparse(node.args[1])}, {ast.unparse(node.args[0])})"
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        for family in ALIKE:
            yield from sorted(family - {node.id}) if node.id in family else ()


def indented(node: ast.If) -> str:
    """The body of an if statement, as far in as it stands."""
    inside = " " * (node.col_offset + 4)
    return "\n".join(inside + line for statement in node.body for line in ast.unparse(statement).splitlines())


def replaced(text: str, node: ast.AST, new: str) -> Mutant:
    """The text with one node's own text exchanged."""
    lines = text.splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno - 1
    start = len("".join(lines[:first]).encode()) + node.col_offset  # columns are counted in bytes
    stop = len("".join(lines[:last]).encode()) + node.end_col_offset
    data = text.encode()
    changed = (data[:start] + new.encode() + data[stop:]).decode()
    new_lines = changed.splitlines()
    extra = len(new_lines) - len(lines)
    return Mutant(node.lineno, " ".join("".join(lines[first : last + 1]).split()),
                  " ".join(" ".join(new_lines[first : last + 1 + extra]).split()), changed)


def is_caught(mutant: Mutant) -> str:
    """The first check that the mutant fails, or ""."""
    path = os.path.join(ROOT, "script_gpt_refactored.py")
    with contextlib.closing(examine_apart(mutant.text, path, adapter_text("refactored"), "adapter", LIMIT)) as results:
        return next((result.check for result in results if result.findings), "")


def print_share(count: int, seed: int) -> None:
    """Examines so many mutants, a line each, and says how many are caught."""
    mutants = some_mutants(count, seed)
    caught, equivalent = 0, 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread waits for a process
        for mutant, check in zip(mutants, pool.map(is_caught, mutants)):
            why = why_equivalent(mutant)
            caught, equivalent = caught + bool(check), equivalent + bool(why and not check)
            outcome = f"caught by: {check}" if check else f"no mistake: {why}" if why else "MISSED"
            print(f"line {mutant.line}, {outcome}")
            print(code("", [mutant.before], 2))
            print(code("", [mutant.after], 2), flush=True)
    wrong = len(mutants) - equivalent
    print(f"\n{caught} of {wrong} mutants caught ({100 * caught / max(1, wrong):.0f} %); "
          f"{equivalent} more compute the same as the healthy program.")
