"""The doctor: examines a GPT that someone wrote, names the first number that differs, and what it is likely to be."""
from __future__ import annotations

import ast
import contextlib
import os
import shlex
from difflib import SequenceMatcher
from typing import Callable, Sequence

from engines.output import write_whole
from labs.bugs.apart import examine_apart
from labs.bugs.checks import CHECKS, Result
from labs.bugs.drawing import code, labelled, number, paragraph, share
from labs.bugs.library import BUGS
from labs.bugs.measure import check_golden
from labs.bugs.patient import adapter_text, guess_adapter
from labs.bugs.planting import Patch, patch_of
from labs.bugs.ranking import ANOTHER, load_measured, rank, signature
from script_gpt_refactored import InputError

BY_NAME = {bug.name: bug for bug in BUGS}
WHAT_IT_FOLLOWS = {"refactored": "script_gpt_refactored.py", "minimal": "script_gpt.py"}
# Where the mistake is if the check is the first that fails: what it needs passed the checks before it.
PLACES = {
    "loading": "what stands at the top level of the file, outside every function",
    "operators": "the class of the numbers: the operator that is named, and backward",
    "vectors": "the vector function that is named",
    "softmax": "softmax, and the maximum that is taken out first",
    "rmsnorm": "rmsnorm: the mean of the squares, epsilon, the root",
    "tokens": "the tokenizer: what number each character gets, and BOS at both ends",
    "weights": "where the weights are drawn: their spread, their order, the generator",
    "first loss": "the forward pass, the loss, or the size of the first weights: the small parts are right",
    "causality": "what a position can see: the cache, and which token is the answer",
    "cache": "what is kept from one token to the next, and whether a new document starts without it",
    "positions": "the position embedding, and which of its rows is taken",
    "heads": "how q, k and v are cut into heads, and from which matrix each comes",
    "logits": "the forward pass: see which switched-off model is the first to differ",
    "loss": "the loss: which token is the answer, which positions count, the mean",
    "gradients": "the way back: the forward pass agrees, so a number is cut off from the graph, or counted wrongly",
    "optimizer": "the optimizer: the two means, their correction, the root, epsilon",
    "steps": "the order of loss, backward and update, and what is cleared when",
    "by heart": "the training step: it cannot learn what it should",
    "golden run": "the training loop: which document comes next, and with which learning rate",
    "sampling": "sampling: the temperature, the draw, when it ends",
    "whole program": "the main program: reading, shuffling, the vocabulary, the order in which chance is used, saving",
}


def read(path: str) -> str:
    """The text of a Python file. Raises InputError if it cannot be read."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): name a Python file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: name a Python file") from error


def adapter_path_of(path: str) -> str:
    """Where the adapter of a program is looked for: my_gpt.py has my_gpt_adapter.py beside it."""
    return f"{os.path.splitext(path)[0]}_adapter.py"


def write_adapter(path: str) -> None:
    """Writes an adapter to fill in beside the program. Raises InputError if there is one."""
    read(path)
    target = adapter_path_of(path)
    if os.path.exists(target):
        raise InputError(f"{target} exists: edit it, or move it away first")
    text = adapter_text("template").replace("MY_GPT.py", os.path.basename(path))
    write_whole(target, lambda file: file.write(text))
    print(f"{target} is written. Fill in your names, and then: python -m labs.bugs diagnose {path}")


def choose_adapter(path: str, tree: ast.Module | None, chosen: str | None) -> tuple[str, str, str]:
    """The adapter's text and path, and in words what the program is taken for. Raises InputError if there is none."""
    beside = chosen or adapter_path_of(path)
    if chosen or os.path.exists(beside):
        text = read(beside)
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise InputError(f"the adapter {beside} is not Python ({error}): mend it") from error
        return text, beside, f"through {os.path.basename(beside)}"
    kind = guess_adapter(tree) if tree is not None else "refactored"
    if not kind:
        raise InputError(f"{path} has other names than script_gpt.py and script_gpt_refactored.py: write an adapter "
                         f"with python -m labs.bugs adapter {path}, and fill it in")
    return adapter_text(kind), kind, f"as one that follows {WHAT_IT_FOLLOWS[kind]}"


def diagnose(path: str, chosen: str | None, limit: float) -> int:
    """Examines the program and prints the report. Returns 0 if nothing differs, 1 if something does."""
    text, name = read(path), os.path.basename(path)
    measured = load_measured()
    check_golden(measured["golden"])
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        print(f"Examining {name}\n\n  loading        FAILS\n")
        print(labelled("answer", f"it is not Python: {getattr(error, 'msg', error)}"))
        line = getattr(error, "lineno", None) or 1
        print(labelled("look at", f"line {line} of {name}, and the one above it"))
        return 1
    adapter, adapter_path, how = choose_adapter(path, tree, chosen)
    print(f"Examining {name} {how}\n")
    results = []
    apart = examine_apart(text, os.path.abspath(path), adapter, os.path.abspath(adapter_path), limit)
    with contextlib.closing(apart):  # the process must not outlive the doctor
        for result in apart:
            results.append(result)
            print(line_of(result), flush=True)
    left = [check for check in CHECKS if check not in {result.check for result in results}]
    if left and results[-1].check != "loading":
        print("\n" + paragraph(f"Not made, for want of time: {', '.join(left)}."))
    if any(result.absent for result in results):
        print("\n  (no ...): not asked, for the file or its adapter does not have it")
    print()
    ill = [result for result in results if result.findings]
    made = [result for result in results if result.check in CHECKS and result.compared]
    if not ill:
        print(healthy_words(results))
        if len(made) < len(CHECKS) / 4:
            print(paragraph("That is hardly an examination: tell the doctor your names in an adapter, which "
                            f"python -m labs.bugs adapter {path} writes.", ""))
            return 1
        return 0
    print_first_finding(ill[0])
    print_candidates(results, measured["bugs"], lambda patch: place_in(text.splitlines(), tree, name, patch))
    return 1


def line_of(result: Result) -> str:
    """One check in one line."""
    count = f"{result.compared:4d} question{'s' * (result.compared != 1)}"
    absent = f"  (no {shorter(', '.join(result.absent), 25)})" if result.absent else ""
    if result.findings:
        asked = max(result.compared, len(result.findings))
        return f"  {result.check:<14} FAILS   {len(result.findings):4d} of {asked} answers differ{absent}"
    if not result.compared:
        return f"  {result.check:<14} not made{absent}"
    return f"  {result.check:<14} passes  {count}{absent}"


def shorter(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def healthy_words(results: Sequence[Result]) -> str:
    made = [result for result in results if result.compared]
    missing = [result.check for result in results if not result.compared]
    asked, count = sum(result.compared for result in made), len(made)
    words = f"Nothing differs: {asked} question{'s' * (asked != 1)} in {count} check{'s' * (count != 1)}."
    return paragraph(words + (f" Not made: {', '.join(missing)}." if missing else ""), "")


def print_first_finding(result: Result) -> None:
    finding = result.findings[0]
    print("The first number that differs")
    print(labelled("check", result.check))
    print(labelled("question", finding.what))
    print(labelled("answer", number(finding.got)))
    print(labelled("should be", number(finding.expected)))
    print(labelled("look at", PLACES[result.check]))


def print_candidates(results: Sequence[Result], library: dict, place: Callable[[Patch], str]) -> None:
    """The likely bugs of the library with their probabilities, and where they are."""
    made = [result.check for result in results if result.check in CHECKS and result.compared]
    if not made:
        return
    ranking = [pair for pair in rank(signature(results), made, library)[:3] if pair[1] >= 0.05]
    print("\nWhat it is likely to be, by which checks fail and with which numbers")
    for candidate, probability in ranking:
        if candidate == ANOTHER:
            print(f"\n  {share(probability)}: something that is not in the library")
            continue
        bug = BY_NAME[candidate]
        patch = patch_of(bug)
        print("\n" + paragraph(f"{share(probability)}: {bug.name}: {bug.title}"))
        print(code("wrong", patch.wrong))
        print(code("right", patch.right))
        print(labelled("where", place(patch), 8))
    first = next((candidate for candidate, _ in ranking if candidate != ANOTHER), None)
    if first:
        print(f"\nWhy it happens, and how to find it:\n  python -m labs.bugs show {shlex.quote(first)}")


def place_in(lines: list[str], tree: ast.Module, name: str, patch: Patch) -> str:
    """Where the mistake is in the program examined: the line most like the wrong one, or a function of that name."""
    def plain(line):
        return line.split("  #")[0].strip()

    wanted = plain(max(patch.wrong or patch.right, key=len))
    likest, line = max(((SequenceMatcher(None, plain(each), wanted, autojunk=False).ratio(), number)
                        for number, each in enumerate(lines, start=1) if len(plain(each)) > 10), default=(0.0, 0))
    if likest > 0.6 and patch.wrong:
        return f"line {line} of {name}: {plain(lines[line - 1])}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == patch.function.split(".")[-1]:
            return f"{patch.function}, from line {node.lineno} of {name}"
    return f"your counterpart of {patch.function} (script_gpt_refactored.py, line {patch.line})"


