"""A program the doctor can examine: the module made from its text, and the adapter through which the checks reach it.

An adapter is a small Python file of functions with agreed names (`forward`, `loss`, `sample`, ...; adapters/template.py
explains them all). There is one for each of the two scripts; whoever wrote a GPT with other names writes a third.
"""
from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import subprocess
import sys
import types

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Names that only the refactored script has, and names that the minimal one has too (all of its names are in the other).
REFACTORED_NAMES = {"GPTConfig", "Tokenizer", "AdamOptimizer", "train_step", "prepare_run", "encode_prompt"}
SHARED_NAMES = {"dot", "add", "linear", "logsumexp", "softmax", "rmsnorm", "initialize_parameters", "gpt_forward",
                "compute_loss"}
_numbers = itertools.count()


class Absent(AttributeError):
    """The program, or its adapter, does not have what a check needs."""


class Program(types.ModuleType):
    """A module that says `Absent` for a name it does not have."""

    def __getattr__(self, name: str):
        raise AttributeError(name) if name.startswith("__") else Absent(name)


def program(text: str, path: str) -> Program:
    """The module made by running this text as if it were imported from this path."""
    module = Program(f"patient_{next(_numbers)}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compiled(text, path), module.__dict__)
    return module


@functools.lru_cache(maxsize=8)
def compiled(text: str, path: str) -> types.CodeType:
    return compile(text, path, "exec")


def connect(text: str, path: str, adapter_text: str, adapter_path: str = "adapter") -> Program:
    """The adapter of the program with this text: the patient."""
    adapter = program(adapter_text, adapter_path)
    for name, function in PUT_TOGETHER.items():
        if name not in vars(adapter):
            setattr(adapter, name, functools.partial(function, adapter))
    adapter.mine = program(shortened(text, getattr(adapter, "STOP_BEFORE", "")), path)
    adapter.answers = {}  # what it answered, if it is the healthy one (see checks.recalled)
    adapter.request = {"text": text, "path": path, "adapter": adapter_text, "adapter_path": adapter_path}
    return adapter


def step_of_parts(patient: Program, model, optimizer, tokens: list[int], learning_rate: float) -> float:
    """A training step of a patient that has loss and update, and no function for the whole."""
    loss = patient.loss(model, tokens)
    loss.backward()
    patient.update(model, optimizer, learning_rate)
    return loss.data


def step_by_step(patient: Program, model, documents: list[list[int]], learning_rate: float) -> list[float]:
    """A training step on each of the documents in turn, with one optimizer. Returns the losses."""
    optimizer = patient.new_optimizer(model)
    return [patient.step(model, optimizer, tokens, learning_rate) for tokens in documents]


def move_by_move(patient: Program, model, name: str, gradients: list[float], learning_rate: float) -> list[float]:
    """How far each update moves the first weight of a matrix, if these are its gradients in turn."""
    optimizer, weight, moves = patient.new_optimizer(model), patient.parameters(model)[name][0][0], []
    for gradient in gradients:
        before, weight.grad = weight.data, gradient
        patient.update(model, optimizer, learning_rate)
        moves.append(weight.data - before)
    return moves


# What the checks ask for and an adapter need not have: each gets the patient first.
PUT_TOGETHER = {"reset": lambda patient: None, "step": step_of_parts, "steps": step_by_step, "moves": move_by_move}


def new_process(hash_seed: str = "random", own_group: bool = True) -> subprocess.Popen:
    """A process that waits on its standard input for a program to examine (see examine.py).

    The order of a set's characters depends on Python's hash seed, which is "random" or a number.
    """
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONIOENCODING": "utf-8",
                   "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))}
    return subprocess.Popen([sys.executable, "-m", "labs.bugs.examine"], env=environment, encoding="utf-8",
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            start_new_session=own_group)


def main_in_another_process(patient: Program, arguments: list[str]) -> list[str]:
    """What `patient.main(arguments)` prints in a process of its own."""
    if not hasattr(patient, "main"):
        raise Absent("main")
    process = new_process("2" if os.environ.get("PYTHONHASHSEED") == "1" else "1", own_group=False)
    try:
        answer, _ = process.communicate(json.dumps({**patient.request, "main": arguments}), timeout=30)
    finally:
        process.kill()  # what it started goes with the group of the process that asked
    return json.loads(answer.splitlines()[-1])["lines"]


def shortened(text: str, stop: str) -> str:
    """The text up to the first line that begins with `stop`, which is left out; all of it if `stop` is empty."""
    lines = text.splitlines(keepends=True)
    return "".join(itertools.takewhile(lambda line: not (stop and line.startswith(stop)), lines))


def adapter_text(name: str) -> str:
    """The text of one of the adapters that belong to the lab: refactored, minimal or template."""
    with open(os.path.join(HERE, "adapters", f"{name}.py"), encoding="utf-8") as file:
        return file.read()


def healthy_text() -> str:
    """The text of script_gpt_refactored.py: what the patients are compared with, and what the bugs are planted in."""
    with open(os.path.join(ROOT, "script_gpt_refactored.py"), encoding="utf-8") as file:
        return file.read()


@functools.lru_cache(maxsize=1)
def the_healthy() -> Program:
    """The healthy program as a patient, one for the whole process."""
    return of_refactored(healthy_text())


def of_refactored(text: str) -> Program:
    """The patient made from the text of script_gpt_refactored.py, or from one like it."""
    return connect(text, os.path.join(ROOT, "script_gpt_refactored.py"), adapter_text("refactored"))


def guess_adapter(tree: ast.Module) -> str:
    """Which script this is a copy of, by the names it defines: refactored, minimal, or "" if neither."""
    body = [*tree.body, *(node for part in tree.body if isinstance(part, ast.ClassDef) for node in part.body)]
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    # A class called Value is common; one with a tape, or beside a gpt_forward, is that of the scripts.
    of_the_scripts = "tape" in names or "gpt_forward" in names or "Value" not in names
    if not of_the_scripts or len(names & (REFACTORED_NAMES | SHARED_NAMES)) < 2:
        return ""
    return "refactored" if names & REFACTORED_NAMES else "minimal"
