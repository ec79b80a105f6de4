"""Training the healthy program and an ill one, and what can be said of the two runs."""
from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import statistics
from dataclasses import dataclass

import script_gpt_refactored as gpt
from labs.bugs.checks import CHECKS, Case, Finding, data, make_check, plain_logsumexp
from labs.bugs.library import Bug
from labs.bugs.patient import ROOT, Program, healthy_text, of_refactored, program, the_healthy
from labs.bugs.planting import plant

SAMPLES = 8
JUDGES = 40  # documents on which it is measured what a program has learned
CLOSE = 0.04  # nats: two runs whose last losses differ by less than this cannot be told apart by eye


@dataclass(frozen=True)
class Course:
    """A training run: the loss of each step in nats as the program printed it, the samples after it, the error it ended
    with, or "", and the mean loss of what it predicts in the end as the healthy program counts it (see judge)."""

    losses: list[float]
    samples: list[str]
    error: str
    judged: float | None = None


def course_of(text: str, arguments: list[str]) -> Course:
    """Runs the program with this text as from its command line."""
    module = program(text, os.path.join(ROOT, "script_gpt_refactored.py"))
    begun, prepare_run = [], module.prepare_run

    def prepare_and_keep(docs, config, checkpoint):
        begun.append((prepare_run(docs, config, checkpoint), config))
        return begun[-1][0]

    module.prepare_run = prepare_and_keep
    output, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            module.main(arguments)
    except SystemExit as end:
        if end.code == 130:
            raise KeyboardInterrupt from end
    except Exception as error:
        errors = io.StringIO(f"{type(error).__name__}: {error}")
    lines = output.getvalue().splitlines()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("step")]
    if begun and len(losses) < begun[0][1].num_steps and not errors.getvalue():
        raise KeyboardInterrupt  # training ends early for nothing else, and here Ctrl-C is to end the lab as well
    return Course(losses, [line.split(":", 1)[1].strip() for line in lines if line.startswith("sample")],
                  errors.getvalue().strip(), judge(module, *begun[0]) if begun else None)


def judge(module: Program, run: gpt.Run, config: gpt.GPTConfig) -> float | None:
    """The mean loss of what the program predicts for some documents, counted as it should be; None if it cannot say.

    The model and the numbers of the letters are the program's own, for with these it learned; the cross-entropy, the
    answers and an empty cache for each document are those of the healthy program.
    """
    docs, tokenizer, losses = sorted(run.docs), run.tokenizer, []  # sorted: the same ones, however they were shuffled
    try:
        for doc in random.Random(0).sample(docs, min(JUDGES, len(docs))):
            tokens = [tokenizer.bos, *(tokenizer.token_ids[letter] for letter in doc), tokenizer.bos]
            keys, values = {}, {}
            losses.append([])
            for position, (token, answer) in enumerate(list(zip(tokens, tokens[1:]))[: config.block_size]):
                logits = data(module.gpt_forward(token, position, keys, values, run.state_dict, config))
                losses[-1].append(plain_logsumexp(logits) - logits[answer])
            module.Value.tape.clear()
    except Exception:  # it is ill: some bugs leave nothing to ask
        return None
    return statistics.fmean(map(statistics.fmean, losses))


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
    """Does training still work? Judged by what it predicts in the end, where that can be had: an ill program may count
    its own loss wrongly."""
    if not ill.losses:
        return f"It does not even begin: {ill.error or 'no step was taken'}."
    ended = f" Then it fails: {ill.error}." if ill.error else ""
    if len(ill.losses) < len(healthy.losses):
        return f"It stops after {len(ill.losses)} steps." + ended
    own_right, own_wrong = last_mean(healthy.losses), last_mean(ill.losses)
    own = f"the mean of the last quarter is {own_wrong:.4g} nats, the healthy one's {own_right:.4g}"
    right, wrong, first = own_right, own_wrong, ill.losses[0]
    figures = f"{own}."
    if healthy.judged is not None and ill.judged is not None:
        right, wrong, first = healthy.judged, ill.judged, healthy.losses[0]
        figures = (f"what it predicts for {JUDGES} names has a mean loss of {wrong:.4g} nats, the healthy one's "
                   f"{right:.4g}.")
        if abs((own_wrong - own_right) - (wrong - right)) >= 2 * CLOSE:
            figures += f" Its own losses say another thing: {own}."
    hidden = abs(own_wrong - own_right) < CLOSE
    if ill.error and wrong < right + CLOSE:
        return f"Training does: {figures}{ended}"
    if wrong > first + CLOSE:
        return f"No, it gets worse: {figures}{ended}"
    if first - wrong < 0.25 * (first - right):
        return f"No, it hardly learns: {figures}{ended}"
    if wrong > right + CLOSE:
        return f"It learns, but worse{', and its own loss does not show it' * hidden}: {figures}{ended}"
    return f"Yes{', and the loss does not show it' * hidden}: {figures}{ended}"


def figure_that_is_off(bug: Bug) -> Finding | None:
    """The first number of the ill program that differs from what it should be."""
    text = plant(bug)
    for name in CHECKS:
        with contextlib.redirect_stderr(io.StringIO()):
            result = make_check(name, of_refactored(text), the_healthy(), Case())
        if result.findings:
            return result.findings[0]
    return None
