"""The checks, in the order in which a good engineer would make them: small parts first, the whole program last.

A check asks the patient for numbers. Where the right answer is known without a model (a sum, a slope by central
differences, a formula) it is compared with that; elsewhere with the healthy program on the same weights. A check is a
generator of items (what, ask, expected): `ask()` gives what the patient says, so that an error in one item is a finding
and not the end of the check. Numbers agree within a relative error of 1e-6 or an absolute one of 1e-8, unless a fourth
element says otherwise.
"""
from __future__ import annotations

import gc
import json
import math
import os
import random
import tempfile
import traceback
from dataclasses import dataclass
from typing import Callable, Iterator, NamedTuple

import script_gpt_refactored as gpt
from labs.bugs.patient import Absent, Program, main_in_another_process

RELATIVE, ABSOLUTE = 1e-6, 1e-8
PRINTED = 1e-4  # losses are compared as they are printed, with four digits
LEARNING_RATE = 0.03  # three times the default: a few steps are to show something
HEART_STEPS = 30

Items = Iterator[tuple]


@dataclass(frozen=True)
class Case:
    """What the checks are made with: the sizes of the model, where chance starts, and the documents."""

    n_layer: int = 2
    n_embd: int = 4
    n_head: int = 2
    block_size: int = 6
    seed: int = 1
    docs: tuple[str, ...] = ("emma", "olivia", "ava", "noah", "liam", "zoe", "mia", "ivan", "kim", "zed")

    @property
    def vocabulary(self) -> str:
        return "".join(sorted(set("".join(self.docs))))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary) + 1

    @property
    def documents(self) -> list[list[int]]:
        """The documents as tokens, those with several letters first: they show more."""
        tokenizer = gpt.Tokenizer(self.vocabulary)
        return [tokenizer.encode(doc) for doc in sorted(self.docs, key=lambda doc: -len(set(doc[: self.block_size])))]

    def config(self, **changes) -> dict:
        """The configuration, as adapters get it."""
        sizes = {name: getattr(self, name) for name in gpt.SIZES}
        return {**sizes, "learning_rate": LEARNING_RATE, "num_steps": 12, "temperature": 0.8, **changes}


class Range(NamedTuple):
    """An answer that may lie anywhere between two numbers."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low:g}"
        return f"{self.low:.4g} to {self.high:.4g}"


def difference(got, expected, relative: float = RELATIVE) -> tuple | None:
    """Where two answers first differ, as (place, got, expected); None if they agree. Lists and dicts are searched."""
    if isinstance(expected, Range):
        fits = isinstance(got, (int, float)) and expected.low <= got <= expected.high
        return None if fits else ("", got, str(expected))
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        for index, (left, right) in enumerate(zip(got, expected)):
            found = difference(left, right, relative)
            if found:
                return (f"[{index}]{found[0]}", *found[1:])
        if len(got) != len(expected):
            return " length", len(got), len(expected)
        return None
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in expected:
            if key not in got:
                return f"[{key}]", "missing", "there"
            found = difference(got[key], expected[key], relative)
            if found:
                return (f"[{key}]{found[0]}", *found[1:])
        return None
    if isinstance(expected, float) and isinstance(got, (int, float)):
        absolute = PRINTED if relative == PRINTED else ABSOLUTE
        return None if math.isclose(got, expected, rel_tol=relative, abs_tol=absolute) else ("", got, expected)
    return None if got == expected else ("", got, expected)


# ======================================================================================================================
# What several checks need
# ======================================================================================================================


def draw_weights(config: dict, vocab_size: int, seed: int, deviation: float = 0.4) -> dict[str, list[list[float]]]:
    """Weights for the checks, name -> rows of floats: larger than a new model's, so that every part matters."""
    sizes = {name: config[name] for name in gpt.SIZES}
    drawn = gpt.initialize_parameters(gpt.GPTConfig(**sizes, weight_std=deviation), vocab_size, random.Random(seed))
    return {name: [data(row) for row in rows] for name, rows in drawn.items()}


def changed(weights: dict, name: str, change: Callable[[float], float], rows: range | None = None,
            columns: range | None = None) -> dict:
    """The weights with some numbers of one matrix changed; all of its rows and columns, unless they are given."""
    matrix = [[change(number) if (rows is None or i in rows) and (columns is None or j in columns) else number
               for j, number in enumerate(row)] for i, row in enumerate(weights[name])]
    return {**weights, name: matrix}


def once(ask: Callable) -> Callable:
    """The same question, answered from memory when it is asked again."""
    answers = []

    def answer():
        if not answers:
            answers.append(ask())
        return answers[0]

    return answer


def recalled(healthy: Program, key: tuple, ask: Callable):
    """What the healthy program answers, asked only once however many patients are compared with it.

    The key must hold all that the answer depends on: the case, and a name for the question.
    """
    if key not in healthy.answers:
        healthy.answers[key] = ask()
    return healthy.answers[key]


def data(values) -> list[float]:
    return [value.data for value in values]


def read(patient: Program, model, tokens: list[int]) -> list[list[float]]:
    """The logits at every position, from an empty cache."""
    cache = patient.new_cache(model)
    logits = [data(patient.forward(model, token, position, cache)) for position, token in enumerate(tokens)]
    patient.reset()
    return logits


def logits_with(patient: Program, config: dict, weights: dict, tokens: list[int]) -> list[list[float]]:
    return read(patient, patient.make(config, weights), tokens)


def loss_with(patient: Program, config: dict, weights: dict, tokens: list[int]) -> float:
    loss = patient.loss(patient.make(config, weights), tokens).data
    patient.reset()
    return loss


def gradients(patient: Program, model, tokens: list[int]) -> dict[str, list[list[float]]]:
    """The gradient of the loss of one document, name -> rows of floats."""
    patient.loss(model, tokens).backward()
    slopes = {name: [[weight.grad for weight in row] for row in rows]
              for name, rows in patient.parameters(model).items()}
    patient.reset()
    return slopes


def numbers_of(patient: Program, model) -> dict[str, list[list[float]]]:
    return {name: [data(row) for row in rows] for name, rows in patient.parameters(model).items()}


def distance(left: list[list[float]], right: list[list[float]]) -> float:
    """The largest difference between two tables of numbers."""
    return max((abs(a - b) for rows in zip(left, right) for a, b in zip(*rows)), default=0.0)


def slopes_of(patient: Program, function: Callable, numbers: list[float]) -> list[float]:
    """What backward says: the slope of function(values), one Value, in each of the numbers."""
    values = [patient.value(number) for number in numbers]
    function(values).backward()
    patient.reset()
    return [value.grad for value in values]


def central_differences(function: Callable, numbers: list[float], step: float = 1e-5) -> list[float]:
    """(f(x + h) - f(x - h)) / 2h in each of the numbers, f on plain floats."""
    slopes = []
    for i in range(len(numbers)):
        above, below = ([*numbers[:i], numbers[i] + shift, *numbers[i + 1 :]] for shift in (step, -step))
        slopes.append((function(above) - function(below)) / (2 * step))
    return slopes


def weighed(values) -> object:
    """One number from several, Values or floats, each with a factor of its own."""
    kind = type(values[0])
    total = values[0] * kind(1.0)
    for index, value in enumerate(values[1:], start=2):
        total = total + value * kind(float(index))
    return total


# ======================================================================================================================
# Parts
# ======================================================================================================================

# What is asked, of Values; the same of floats; and whether it needs positive numbers.
OPERATORS = {
    "a + b": (lambda a, b: a + b, lambda a, b: a + b, False),
    "a * b": (lambda a, b: a * b, lambda a, b: a * b, False),
    "-a": (lambda a, b: -a, lambda a, b: -a, False),
    "a - b": (lambda a, b: a - b, lambda a, b: a - b, False),
    "a / b": (lambda a, b: a / b, lambda a, b: a / b, False),
    "a ** 3": (lambda a, b: a**3, lambda a, b: a**3, False),
    "a ** -0.5": (lambda a, b: a**-0.5, lambda a, b: a**-0.5, True),
    "a ** 0": (lambda a, b: a**0, lambda a, b: a**0, False),
    "exp a": (lambda a, b: a.exp(), lambda a, b: math.exp(a), False),
    "log a": (lambda a, b: a.log(), lambda a, b: math.log(a), True),
    "relu a": (lambda a, b: a.relu(), lambda a, b: max(0.0, a), False),
    "a + 3": (lambda a, b: a + 3, lambda a, b: a + 3, False),
    "3 + a": (lambda a, b: 3 + a, lambda a, b: 3 + a, False),
    "a - 3": (lambda a, b: a - 3, lambda a, b: a - 3, False),
    "3 - a": (lambda a, b: 3 - a, lambda a, b: 3 - a, False),
    "a * 3": (lambda a, b: a * 3, lambda a, b: a * 3, False),
    "3 * a": (lambda a, b: 3 * a, lambda a, b: 3 * a, False),
    "a / 3": (lambda a, b: a / 3, lambda a, b: a / 3, False),
    "3 / a": (lambda a, b: 3 / a, lambda a, b: 3 / a, False),
    "a used twice": (lambda a, b: a * a + a, lambda a, b: a * a + a, False),
    "a long way round": (lambda a, b: ((a * b).exp() / (a + b)).log() * a**2,
                         lambda a, b: math.log(math.exp(a * b) / (a + b)) * a**2, True),
}
POINTS = [(2.0, 0.75), (0.4, 3.0), (-1.5, 2.5), (1.25, -0.8)]


def ask_operator(patient: Program, name: str, points: list) -> tuple[list[float], list[float]]:
    """The values and the slopes in a of one operator. Raises Absent if the patient's Value does not have it."""
    function = OPERATORS[name][0]
    try:
        results = [function(patient.value(a), patient.value(b)) for a, b in points]
    except TypeError as error:  # a Value that knows a - 3 and not 3 - a is not ill
        raise Absent(name) if "operand type" in str(error) else error
    except AttributeError as error:
        kinds = (type(patient.value(1.0)).__name__, "float", "int")  # a Value may not know plain numbers
        raise Absent(name) if any(f"'{kind}' object has no attribute" in str(error) for kind in kinds) else error
    values = [result.data for result in results]  # outside the try: to return a plain number is a mistake
    slopes = [slopes_of(patient, lambda x: function(x[0], x[1]) * patient.value(1.0), list(point)) for point in points]
    return values, [slope for pair in slopes for slope in pair]


def check_operators(patient: Program, healthy: Program, case: Case) -> Items:
    """Each operator of Value against the same on floats, its slopes against central differences."""
    patient.value(1.0)
    for name, (_, function, positive) in OPERATORS.items():
        points = [point for point in POINTS if min(point) > 0 or not positive]
        values = [float(function(a, b)) for a, b in points]
        slopes = [s for a, b in points for s in central_differences(lambda x: function(x[0], x[1]), [a, b])]
        yield f"value of {name}", lambda: ask_operator(patient, name, points)[0], values
        yield f"slopes of {name}", lambda: ask_operator(patient, name, points)[1], slopes

    def twice():
        """The slope after a second backward, which must be an error or add the same again. Where there is no left_over,
        so that the program need not have the scripts' tape, it may also do nothing."""
        a = patient.value(2.0)
        square = a * a
        square.backward()
        once_only = a.grad
        try:
            square.backward()
        except Exception:
            return 2 * once_only
        idle = a.grad == once_only and not hasattr(patient, "left_over")
        return 2 * once_only if idle else a.grad

    def on_a_leaf():
        try:
            patient.value(2.0).backward()
        except Exception:
            return "an error"
        return "nothing"

    yield "slope of a * a at 2 after a second backward (or an error)", twice, 8.0
    if hasattr(patient, "left_over"):
        yield "what backward on a Value that was not computed gives", on_a_leaf, "an error"


def plain_logsumexp(x: list[float]) -> float:
    return max(x) + math.log(sum(math.exp(number - max(x)) for number in x))


def plain_softmax(x: list[float]) -> list[float]:
    return [math.exp(number - plain_logsumexp(x)) for number in x]


def plain_rmsnorm(x: list[float]) -> list[float]:
    return [number * (sum(a * a for a in x) / len(x) + 1e-5) ** -0.5 for number in x]


def check_vectors(patient: Program, healthy: Program, case: Case) -> Items:
    """dot, linear and logsumexp against sums and products of floats, their slopes against central differences."""
    rng = random.Random(case.seed)
    a, b, square = ([rng.gauss(0, 1) for _ in range(n)] for n in (3, 3, 9))

    def values(numbers):
        return [patient.value(number) for number in numbers]

    def rows(numbers, n_in):
        return [numbers[i : i + n_in] for i in range(0, len(numbers), n_in)]

    def product(numbers, n_in):
        return [float(sum(x * w for x, w in zip(numbers[:n_in], row))) for row in rows(numbers[n_in:], n_in)]

    yield "dot", lambda: patient.dot(values(a), values(b)).data, sum(x * y for x, y in zip(a, b))
    yield ("slopes of dot", lambda: slopes_of(patient, lambda x: patient.dot(x[:3], x[3:]), a + b), b + a)
    yield "slopes of dot(a, a)", lambda: slopes_of(patient, lambda x: patient.dot(x, x), a), [2 * x for x in a]
    for n_out, matrix in ((2, square[:6]), (3, square)):
        yield (f"linear [{n_out}][3]", lambda: data(patient.linear(values(a), rows(values(matrix), 3))),
               product(a + matrix, 3))
        yield (f"slopes of linear [{n_out}][3]",
               lambda: slopes_of(patient, lambda x: weighed(patient.linear(x[:3], rows(x[3:], 3))), a + matrix),
               central_differences(lambda x: weighed(product(x, 3)), a + matrix))
    yield "logsumexp", lambda: patient.logsumexp(values(a)).data, plain_logsumexp(a)
    yield "slopes of logsumexp", lambda: slopes_of(patient, patient.logsumexp, a), plain_softmax(a)


def check_softmax(patient: Program, healthy: Program, case: Case) -> Items:
    """softmax: the sum, the shares, numbers of any size, the slopes."""
    def ask(numbers):
        return data(patient.softmax([patient.value(number) for number in numbers]))

    x = [2.0, 1.0, 0.1, -3.0]
    yield "sum of softmax(2, 1, 0.1, -3)", lambda: sum(ask(x)), 1.0
    yield "softmax(2, 1, 0.1, -3)", lambda: ask(x), plain_softmax(x)
    yield "softmax(5)", lambda: ask([5.0]), [1.0]
    yield "softmax(1000, 0)", lambda: ask([1000.0, 0.0]), [1.0, 0.0]
    yield "softmax(-1000, -1000)", lambda: ask([-1000.0, -1000.0]), [0.5, 0.5]
    yield ("slopes of softmax", lambda: slopes_of(patient, lambda v: weighed(patient.softmax(v)), x),
           central_differences(lambda v: weighed(plain_softmax(v)), x))


def check_rmsnorm(patient: Program, healthy: Program, case: Case) -> Items:
    """rmsnorm: a mean square of 1, the mean left where it is, zeros, the slopes."""
    def ask(numbers):
        return data(patient.rmsnorm([patient.value(number) for number in numbers]))

    x = [2.0, -1.0, 0.1, 3.0]
    yield "rmsnorm(3, 3, 3, 3)", lambda: ask([3.0] * 4), plain_rmsnorm([3.0] * 4)
    yield "mean square of rmsnorm(2, -1, 0.1, 3)", lambda: sum(y * y for y in ask(x)) / 4, Range(0.999, 1.001)
    yield "rmsnorm(2, -1, 0.1, 3)", lambda: ask(x), plain_rmsnorm(x)
    yield "rmsnorm(0.001, 0.002)", lambda: ask([0.001, 0.002]), plain_rmsnorm([0.001, 0.002])
    yield "rmsnorm(0, 0)", lambda: ask([0.0, 0.0]), [0.0, 0.0]
    yield ("slopes of rmsnorm", lambda: slopes_of(patient, lambda v: weighed(patient.rmsnorm(v)), x),
           central_differences(lambda v: weighed(plain_rmsnorm(v)), x))


def check_tokens(patient: Program, healthy: Program, case: Case) -> Items:
    """A text to token ids, BOS at both ends, and back."""
    for text in [case.vocabulary, *case.docs[:3], ""]:
        expected = healthy.encode(text, case.vocabulary)
        yield f"ids of {text!r}", lambda: list(patient.encode(text, case.vocabulary)), expected
        yield f"text of the ids of {text!r}", lambda: patient.decode(expected, case.vocabulary), text


# ======================================================================================================================
# The untrained model
# ======================================================================================================================


def check_weights(patient: Program, healthy: Program, case: Case) -> Items:
    """The weights a model starts from: right shapes, all different, spread as they should be, the same for a seed."""
    config = {**case.config(), "n_embd": 4 * case.n_head, "n_layer": 1}
    expected = recalled(healthy, (case, "weights"),
                        lambda: healthy.initial_weights(config, case.vocab_size, case.seed))

    def ask():
        return patient.initial_weights(config, case.vocab_size, case.seed)

    def flat():
        return [number for rows in ask().values() for row in rows for number in row]

    yield ("shapes", lambda: {name: [len(rows), len(rows[0])] for name, rows in ask().items()},
           {name: [len(rows), len(rows[0])] for name, rows in expected.items()})
    count = sum(len(row) for rows in expected.values() for row in rows)
    yield "how many different numbers", lambda: len(set(flat())), count
    yield "standard deviation", lambda: math.sqrt(sum(x * x for x in flat()) / len(flat())), Range(0.07, 0.09)
    yield "mean", lambda: sum(flat()) / len(flat()), Range(-0.02, 0.02)
    yield "drawn twice with one seed", lambda: ask() == ask(), True
    for name in expected:
        yield f"first row of {name}", lambda: ask()[name][0], expected[name][0]


def check_first_loss(patient: Program, healthy: Program, case: Case) -> Items:
    """An untrained model guesses nearly evenly, so its loss is near ln(vocab_size)."""
    even, config = math.log(case.vocab_size), case.config()
    zeros = draw_weights(config, case.vocab_size, case.seed, deviation=0.0)
    small = draw_weights(config, case.vocab_size, case.seed, deviation=0.08)
    document = case.documents[0]
    yield "with all weights 0", lambda: loss_with(patient, config, zeros, document), even
    yield "with weights of 0.08", lambda: loss_with(patient, config, small, document), Range(even - 0.5, even + 0.5)

    def own():
        return loss_with(patient, config, patient.initial_weights(config, case.vocab_size, case.seed), document)

    yield "with its own weights", own, Range(even - 0.5, even + 0.5)


def check_causality(patient: Program, healthy: Program, case: Case) -> Items:
    """No position knows a later token; each one knows all earlier ones."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    tokens = [case.vocab_size - 1, *(i % (case.vocab_size - 1) for i in range(case.block_size - 1))]
    last = len(tokens) - 1
    other = [*tokens[:last], (tokens[last] + 1) % (case.vocab_size - 1)]
    first = [(tokens[0] + 1) % case.vocab_size, *tokens[1:]]

    plain, after_last, after_first = (once(lambda each=each: logits_with(patient, config, weights, each))
                                      for each in (tokens, other, first))

    def moved(after, start, stop):
        return distance(plain()[start:stop], after()[start:stop])

    yield "earlier logits move by, when the last token changes", lambda: moved(after_last, 0, last), 0.0
    yield "last logits move by, when the last token changes", lambda: moved(after_last, last, last + 1), Range(1e-6)
    for position in range(1, len(tokens)):
        yield (f"logits {position} move by, when the first token changes",
               lambda: moved(after_first, position, position + 1), Range(1e-9))

    # The last answer is never a question: the loss may depend on it only through the logits of its own position.
    def shares(numbers):
        total = sum(abs(number - numbers[0]) for number in numbers) or 1.0
        return [(number - numbers[0]) / total for number in numbers]

    question, answers = tokens[: min(3, len(tokens))], range(min(4, case.vocab_size))

    def by_loss():
        model = patient.make(config, weights)
        losses = []
        for answer in answers:
            losses.append(patient.loss(model, [*question, answer]).data)
            patient.reset()
        return shares(losses)

    def by_logits():
        row = logits_with(patient, config, weights, question)[-1]
        return shares([-row[answer] for answer in answers])

    try:
        expected = by_logits()
    except Exception:  # the items above say why
        return
    yield "how the loss depends on the last answer", by_loss, expected

    # A loss that reads a whole document at once could let a position see what follows, and hide it from all the above.
    def last_share():
        """The loss of the last position: n times the mean over n, less n - 1 times the mean over n - 1."""
        n = min(3, case.block_size, len(tokens) - 1)
        whole, shorter = (loss_with(patient, config, weights, tokens[:end]) for end in (n + 1, n))
        return n * whole - (n - 1) * shorter

    def last_share_by_logits():
        n = min(3, case.block_size, len(tokens) - 1)
        row = logits_with(patient, config, weights, tokens[:n])[-1]
        return plain_logsumexp(row) - row[tokens[n]]

    if case.block_size > 1:
        yield "loss of the last position, by itself", last_share, last_share_by_logits()


def check_cache(patient: Program, healthy: Program, case: Case) -> Items:
    """Token by token with a cache, or anew from the start: the same logits. And no memory of other documents."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    first, second = case.documents[:2]
    first = first[: case.block_size]

    def anew():
        model = patient.make(config, weights)
        return [read(patient, model, first[: end + 1])[-1] for end in range(len(first))]

    try:
        expected = logits_with(patient, config, weights, first)
    except Exception:
        expected = "logits, and not an error"
    yield "recomputed from the start", anew, expected

    def after_another():
        model = patient.make(config, weights)
        read(patient, model, second[: case.block_size])
        return read(patient, model, first)

    yield "after another document", after_another, expected

    def twice():
        model = patient.make(config, weights)
        losses = [patient.loss(model, first).data for _ in range(2)]
        patient.reset()
        return losses[1] - losses[0]

    yield "a loss computed twice: the difference", twice, 0.0


def check_positions(patient: Program, healthy: Program, case: Case) -> Items:
    """The same token at another place, and tokens in another order, give other logits."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    size = min(4, case.block_size)

    def next_to_it():
        rows = logits_with(patient, config, weights, [1] * size)
        return distance(rows[1:], rows[:-1])

    def exchanged():
        return distance(*(logits_with(patient, config, weights, tokens)[-1:] for tokens in ([0, 1, 2], [1, 0, 2])))

    def without(position):
        model = changed(weights, "wpe", lambda number: 2 * number + 0.1, rows=range(position, position + 1))
        plain, other = (logits_with(patient, config, each, [1] * size) for each in (weights, model))
        return [distance([a], [b]) > 1e-9 for a, b in zip(plain, other)]

    yield "the same token at all positions: logits differ by", next_to_it, Range(1e-6)
    if case.block_size >= 3:
        yield "two tokens exchanged: the next logits differ by", exchanged, Range(1e-6)
    for position in range(size):
        yield (f"what row {position} of wpe reaches, by position", lambda: without(position),
               [p >= position for p in range(size)])


def check_heads(patient: Program, healthy: Program, case: Case) -> Items:
    """Every head has queries, keys and values of its own, and each of them matters."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    tokens = case.documents[0][: case.block_size]
    size = case.n_embd // case.n_head

    plain = once(lambda: logits_with(patient, config, weights, tokens)[1:])

    def moved(name, rows):
        other = changed(weights, f"layer0.{name}", lambda number: 2 * number + 0.1, rows=rows)
        return distance(plain(), logits_with(patient, config, other, tokens)[1:])

    if case.block_size < 2:
        return
    for head in range(case.n_head):
        for name in ("attn_wq", "attn_wk", "attn_wv"):
            yield (f"{name} of head {head} changed: logits move by",
                   lambda: moved(name, range(head * size, (head + 1) * size)), Range(1e-7))
    for row in range(case.n_embd):
        yield (f"row {row} of attn_wv changed: logits move by",
               lambda: moved("attn_wv", range(row, row + 1)), Range(1e-7))


# ======================================================================================================================
# The model's numbers
# ======================================================================================================================


def check_logits(patient: Program, healthy: Program, case: Case) -> Items:
    """The logits against the healthy program's on the same weights, from the smallest model to the whole."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    tokens = case.documents[0][: case.block_size]

    def zero(number):
        return 0.0

    no_attention, no_mlp = weights, weights
    for layer in range(case.n_layer):
        no_attention = changed(no_attention, f"layer{layer}.attn_wo", zero)
        no_mlp = changed(no_mlp, f"layer{layer}.mlp_fc2", zero)
    neither = {**no_attention, **{name: rows for name, rows in no_mlp.items() if name.endswith("mlp_fc2")}}
    one_head = case.config(n_layer=1, n_head=1)
    one_layer = {name: rows for name, rows in weights.items() if not name.startswith("layer") or name[5] == "0"}
    models = {
        "embeddings and lm_head alone": (config, neither),
        "attention switched off": (config, no_attention),
        "MLP switched off": (config, no_mlp),
        "one layer, one head": (one_head, one_layer),
        "one layer": ({**config, "n_layer": 1}, one_layer),
        "the whole model": (config, weights),
    }
    for name, (sizes, numbers) in models.items():
        expected = recalled(healthy, (case, name), lambda: logits_with(healthy, sizes, numbers, tokens))
        ask = once(lambda: logits_with(patient, sizes, numbers, tokens))
        for position in range(len(tokens)):
            yield f"{name}, position {position}", lambda: ask()[position], expected[position]


def check_loss(patient: Program, healthy: Program, case: Case) -> Items:
    """The loss against the healthy program's on the same weights: for a short document, a long one, any."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    long = [case.vocab_size - 1, *(i % (case.vocab_size - 1) for i in range(case.block_size + 3)), case.vocab_size - 1]
    documents = {"an empty document": [long[0], long[0]], "one letter": [long[0], 1, long[0]],
                 "a document longer than the context": long,
                 **{f"document {i}": tokens for i, tokens in enumerate(case.documents[:3])}}
    for name, tokens in documents.items():
        yield (name, lambda: loss_with(patient, config, weights, tokens), loss_with(healthy, config, weights, tokens))


def check_gradients(patient: Program, healthy: Program, case: Case) -> Items:
    """The gradient of every group of parameters: against central differences of its own loss, and the healthy one's."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    tokens = case.documents[0][:5]  # a short one: the loss is computed often
    expected = recalled(healthy, (case, "gradients"), lambda: gradients(healthy, healthy.make(config, weights), tokens))

    ask = once(lambda: gradients(patient, patient.make(config, weights), tokens))

    def own_loss(name, place, shift):
        i, j = place
        there = changed(weights, name, lambda number: number + shift, range(i, i + 1), range(j, j + 1))
        return loss_with(patient, config, there, tokens)

    for name, rows in expected.items():
        i, j = place = max(((i, j) for i, row in enumerate(rows) for j in range(len(row))),
                           key=lambda place: abs(rows[place[0]][place[1]]))
        yield f"{name}[{i}][{j}] against central differences of its own loss", lambda: (
            ask()[name][i][j] - (own_loss(name, place, 1e-5) - own_loss(name, place, -1e-5)) / 2e-5), Range(-1e-6, 1e-6)
        yield name, lambda: ask()[name], rows


# ======================================================================================================================
# Training
# ======================================================================================================================


def check_steps(patient: Program, healthy: Program, case: Case) -> Items:
    """Some steps, each on another document: no gradient is left over, and each weight is where it should be."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)

    def after(program, count):
        model = program.make(config, weights)
        return model, program.steps(model, case.documents[:count], LEARNING_RATE)

    def left_of_the_step_before():
        """How far the gradients that a second step leaves behind are from 0, or from those of its own document alone: a
        step may clear them at its end, or the next one at its beginning."""
        between = numbers_of(patient, after(patient, 1)[0])
        model, _ = after(patient, 2)
        own = gradients(healthy, healthy.make(config, between), case.documents[1])
        return max(min(abs(weight.grad), abs(weight.grad - slope)) for name, rows in patient.parameters(model).items()
                   for row, slopes in zip(rows, own[name]) for weight, slope in zip(row, slopes))

    def left():
        patient.left_over()
        patient.reset()
        after(patient, 1)
        return patient.left_over()

    yield "gradients left over from the step before, the largest", left_of_the_step_before, Range(-1e-6, 1e-6)
    yield "Values left on the tape after a step", left, 0
    for count in (1, 2, 3):
        model, losses = recalled(healthy, (case, "steps", count), lambda: after(healthy, count))
        expected = numbers_of(healthy, model)
        ask = once(lambda: after(patient, count))
        yield f"loss at step {count}", lambda: ask()[1][-1], losses[-1]
        for name in expected:
            yield (f"{name} after {count} step{'s' * (count > 1)}",
                   lambda: numbers_of(patient, ask()[0])[name], expected[name])


def adam_by_hand(gradients: list[float], rate: float) -> list[float]:
    """How far each step moves a parameter with these gradients (Kingma and Ba, 2015)."""
    m = v = 0.0
    moves = []
    for t, gradient in enumerate(gradients, start=1):
        m, v = 0.85 * m + 0.15 * gradient, 0.99 * v + 0.01 * gradient**2
        moves.append(-rate * (m / (1 - 0.85**t)) / (math.sqrt(v / (1 - 0.99**t)) + 1e-8))
    return moves


def check_optimizer(patient: Program, healthy: Program, case: Case) -> Items:
    """Adam against a calculation by hand, for gradients that are large, tiny, changing, or end."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed)
    courses = {"a steady gradient": [2.0, 2.0, 2.0, 2.0], "a tiny gradient": [1e-5, 1e-5, 1e-5, 1e-5],
               "a changing gradient": [4.0, -2.0, 0.5, -8.0], "a gradient that ends": [1.0, 0.0, 0.0, 0.0]}

    def moves(course, name, rate):
        return patient.moves(patient.make(config, weights), name, course, rate)

    for kind, course in courses.items():
        yield f"moves with {kind}", lambda: moves(course, "layer0.mlp_fc1", 0.1), adam_by_hand(course, 0.1)
    yield "a move at half the rate", lambda: moves([3.0], "layer0.mlp_fc1", 0.05), adam_by_hand([3.0], 0.05)
    for name in weights:
        yield f"the first move of {name}", lambda: moves([1.0], name, 0.1), adam_by_hand([1.0], 0.1)


def check_by_heart(patient: Program, healthy: Program, case: Case) -> Items:
    """A model that can learn anything can learn one document by heart."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed, deviation=0.08)

    def ask():
        return patient.steps(patient.make(config, weights), case.documents[:1] * HEART_STEPS, LEARNING_RATE)[-1]

    yield f"loss of one document after {HEART_STEPS} steps on it", ask, Range(0.0, 0.2)


def check_golden_run(patient: Program, healthy: Program, case: Case) -> Items:
    """A short training run against the healthy program's, loss by loss as they are printed, and weight by weight."""
    config = case.config()
    weights = draw_weights(config, case.vocab_size, case.seed, deviation=0.08)

    def ask(program):
        model = program.make(config, weights)
        gc.enable()
        losses = program.train(model, case.documents[:5])
        return losses, numbers_of(program, model), gc.isenabled()

    own = once(lambda: ask(patient))
    losses, numbers, _ = recalled(healthy, (case, "golden run"), lambda: ask(healthy))
    yield "losses", lambda: list(own()[0]), losses, PRINTED
    for name in numbers:
        yield f"{name} at the end", lambda: own()[1][name], numbers[name]
    yield "the garbage collector is on again", lambda: own()[2], True


# ======================================================================================================================
# Sampling, and the whole program
# ======================================================================================================================


def check_sampling(patient: Program, healthy: Program, case: Case) -> Items:
    """Samples end, keep to the context and to the prompt, follow the temperature, and are the healthy program's."""
    weights = draw_weights(case.config(), case.vocab_size, case.seed)
    bos = case.vocab_size - 1

    def ask(program, temperature=0.8, prompt=(), seeds=range(5), scale=1.0):
        model = program.make(case.config(temperature=temperature), changed(weights, "lm_head", lambda x: scale * x))
        return [program.sample(model, [bos, *prompt], case.vocabulary, seed) for seed in seeds]

    def left():
        patient.left_over()
        patient.reset()
        ask(patient, seeds=[0])
        return patient.left_over()

    def right(**options):
        return recalled(healthy, (case, "samples", repr(options)), lambda: ask(healthy, **options))

    expected = right(seeds=range(12), scale=0.0)
    even = once(lambda: ask(patient, seeds=range(12), scale=0.0))
    usual = once(lambda: ask(patient))

    def short(texts):
        return sum(len(text) < case.block_size for text in texts)

    yield "samples", usual, right()
    yield "samples at a temperature of 0.1", lambda: ask(patient, 0.1), right(temperature=0.1)
    yield "samples at a temperature of 3", lambda: ask(patient, 3.0), right(temperature=3.0)
    # With lm_head all zero every token is equally likely.
    yield "different samples of 12, all letters equally likely", lambda: len(set(even())), len(set(expected))
    yield "letters in the longest of 12 samples", lambda: max(map(len, even())), max(map(len, expected))
    yield "samples of 12 that end before the context is full", lambda: short(even()), short(expected)
    if case.block_size > 1:
        yield "samples that begin with a prompt", lambda: ask(patient, prompt=[0]), right(prompt=[0])
    yield "the same seed twice", lambda: ask(patient) == usual(), True
    yield "Values left on the tape after a sample", left, 0


def check_whole_program(patient: Program, healthy: Program, case: Case) -> Items:
    """The program as it is run from the command line: data, the order of chance, what it prints, saves and loads."""
    sizes = [f"--n-layer={case.n_layer}", f"--n-embd={case.n_embd}", f"--n-head={case.n_head}",
             f"--block-size={case.block_size}"]
    with tempfile.TemporaryDirectory() as folder:
        names = os.path.join(folder, "names.txt")
        with open(names, "w", encoding="utf-8") as file:
            file.write("\n".join(["  " + case.docs[0] + "  ", "", *case.docs[1:]]) + "\n")
        def right(arguments):
            key = tuple(argument.replace(folder, "") for argument in arguments)
            return recalled(healthy, (case, *key), lambda: healthy.main(arguments))

        run = [names, *sizes, "--samples=4"]
        alone = os.path.join(folder, "alone.txt")
        with open(alone, "w", encoding="utf-8") as file:
            file.write("ab\ncd\nef\ngh\nij\nkl\n")
        saved = os.path.join(folder, "model.json")
        kept = os.path.join(folder, "healthy.json")
        yield "what it prints", lambda: patient.main([*run, "--steps=3"]), right([*run, "--steps=3"])
        coldest = [*run, "--steps=1", "--temperature=0"]
        yield "what it prints at a temperature of 0", lambda: patient.main(coldest), right(coldest)
        for seed in (case.seed, case.seed + 1):
            start = [*run, "--steps=1", f"--seed={seed}"]
            yield f"what it prints with seed {seed}", lambda: patient.main(start), right(start)
        strangers = [alone, *sizes, "--steps=1", "--samples=1"]
        yield ("what it prints when each document has letters of its own",
               lambda: patient.main(strangers), right(strangers))
        start = [*run, "--steps=5"]  # so many that two orders of the documents are not equal by chance
        lines = once(lambda: patient.main(start))
        yield "the same arguments twice", lambda: patient.main(start) == lines(), True
        yield "the same arguments in another process", lambda: lines() == main_in_another_process(patient, start), True
        healthy.main([*run, "--steps=1", f"--save={kept}"])

        def checkpoint():
            patient.main([*run, "--steps=1", f"--save={saved}"])
            with open(saved, encoding="utf-8") as file:
                return json.load(file)

        with open(kept, encoding="utf-8") as file:
            yield "what it saves", checkpoint, json.load(file)
        onward = [names, f"--load={kept}", "--steps=2", "--samples=2"]
        yield "what it prints with a loaded model", lambda: patient.main(onward), right(onward)

        def refuses(arguments):
            """Whether it ends before it takes a step or a sample."""
            try:
                lines = patient.main(arguments)
            except SystemExit:
                return True
            return not any(line.startswith(("step", "sample")) for line in lines)

        yield "refuses a prompt it has no token for", lambda: refuses([*start, "--prompt=?"]), True
        if getattr(patient, "LOSS_MAY_BE_NAN", False):
            return
        with open(kept, encoding="utf-8") as file:
            model = json.load(file)
        model["state_dict"]["lm_head"] = [[1e308 for _ in row] for row in model["state_dict"]["lm_head"]]
        with open(kept, "w", encoding="utf-8") as file:
            json.dump(model, file)
        yield "refuses a loss that is not finite", lambda: refuses([names, f"--load={kept}", "--steps=1"]), True


CHECKS: dict[str, Callable[[Program, Program, Case], Items]] = {
    "operators": check_operators,
    "vectors": check_vectors,
    "softmax": check_softmax,
    "rmsnorm": check_rmsnorm,
    "tokens": check_tokens,
    "weights": check_weights,
    "first loss": check_first_loss,
    "causality": check_causality,
    "cache": check_cache,
    "positions": check_positions,
    "heads": check_heads,
    "logits": check_logits,
    "loss": check_loss,
    "gradients": check_gradients,
    "optimizer": check_optimizer,
    "steps": check_steps,
    "by heart": check_by_heart,
    "golden run": check_golden_run,
    "sampling": check_sampling,
    "whole program": check_whole_program,
}


# ======================================================================================================================
# Making a check
# ======================================================================================================================


@dataclass(frozen=True)
class Finding:
    """One answer of the patient that is not what it should be. got and expected are plain data."""

    check: str
    what: str
    got: object
    expected: object


@dataclass(frozen=True)
class Result:
    """What one check found: how many items were compared, which of them failed, and what could not be asked."""

    check: str
    compared: int
    findings: list[Finding]
    absent: list[str]


def make_check(name: str, patient: Program, healthy: Program, case: Case) -> Result:
    """Makes one check. An error in the patient's code is a finding; what it does not have is left out."""
    compared, findings, absent = 0, [], []
    forget(patient)
    gc.disable()  # no graph is kept for long, and looking for cycles takes a quarter of the time
    try:
        for what, ask, expected, *relative in CHECKS[name](patient, healthy, case):
            forget(patient)
            try:
                found = difference(ask(), expected, *relative)
            except Absent as error:
                absent.append(str(error))
                continue
            except BaseException as error:  # sys.exit and KeyboardInterrupt too: here it is the patient's own
                found = ("", describe(error, patient.mine.__file__), expected)
            compared += 1
            if found:
                place, got, wanted = found
                findings.append(Finding(name, what + place, readable(got), readable(wanted)))
    except Absent as error:
        absent.append(str(error))
    finally:
        gc.enable()
    forget(patient)
    return Result(name, compared, findings, sorted(set(absent)))


def describe(error: BaseException, path: str) -> str:
    """An error in one line, with the line of the file at `path` that it came through last."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{type(error).__name__}: {error}" + (f" (line {lines[-1]})" if lines else "")


def forget(patient: Program) -> None:
    """Clears what the patient recorded, so that one item does not disturb the next."""
    try:
        patient.reset()
    except Exception:  # it has no such function, or it is itself ill: the items will say so
        pass


def readable(thing) -> object:
    """Plain data for JSON: numbers and booleans as they are, all else as a short text."""
    if isinstance(thing, bool) or isinstance(thing, (int, float)) and math.isfinite(thing):
        return thing
    text = thing if isinstance(thing, str) else repr(thing)
    return text if len(text) <= 200 else text[:197] + "..."
