"""What can be reached without a transformer: guessing, counting, and a small network on the last few letters.

A loss is the mean over the held-out tokens of -ln p(token), in nats, with p from the documents that were shown. A token
is a character, or the BOS at the end, so `vocab_size` can come next.
"""
from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Sequence

import numpy as np

from engines.numpy_gpt import Batch, CrossEntropy, Linear, Parameter
from labs.ablation.training import Run
from script_gpt_refactored import GPTConfig

LONGEST = 6  # letters, of the contexts that `best_back_off` tries
STRENGTHS = (1, 2, 4, 8, 16, 32, 64, 128)  # what it tries for the weight of the shorter context

Documents = Sequence[Sequence[int]]


def pairs(documents: Documents, order: int, block_size: int = 16) -> list[tuple[tuple[int, ...], int]]:
    """Each token that is to be predicted, behind the `order` tokens before it (fewer where fewer stand there)."""
    return [(tuple(tokens[max(0, place - order) : place]), tokens[place])
            for tokens in documents for place in range(1, min(len(tokens), block_size + 1))]


def even_guess(vocab_size: int) -> float:
    return math.log(vocab_size)


def counted(shown: Documents, held_out: Documents, order: int, vocab_size: int) -> float:
    """The loss of p = (times this token stood behind this context + 1) / (times the context occurred + vocab_size),
    with the `order` tokens before as context: 0 is letter counts, 1 is pair counts (add-one smoothing)."""
    joint = Counter(pairs(shown, order))
    contexts = Counter(context for context, _ in pairs(shown, order))
    asked = pairs(held_out, order)
    return -sum(math.log((joint[pair] + 1) / (contexts[pair[0]] + vocab_size)) for pair in asked) / len(asked)


def back_off(shown: Documents, held_out: Documents, vocab_size: int, strength: float) -> list[float]:
    """The loss with contexts of at most 0, 1, 2, ... LONGEST tokens.

    p behind a context is a mixture: what was counted there, and, as if it had been counted `strength` times, p behind
    the context that is one token shorter: (count + strength * p shorter) / (occurrences + strength). The shortest, no
    context at all, is mixed with an even guess.
    """
    counts: list[dict] = [defaultdict(Counter) for _ in range(LONGEST + 1)]
    for context, token in pairs(shown, LONGEST):
        for order in range(len(context) + 1):
            counts[order][context[len(context) - order :]][token] += 1
    totals = [{context: sum(found.values()) for context, found in level.items()} for level in counts]
    losses, asked = [0.0] * (LONGEST + 1), pairs(held_out, LONGEST)
    for context, token in asked:
        p = 1 / vocab_size
        for order in range(LONGEST + 1):
            seen = context[len(context) - order :] if order <= len(context) else None
            if seen in totals[order]:  # a context that never occurred leaves p as it is
                p = (counts[order][seen][token] + strength * p) / (totals[order][seen] + strength)
            losses[order] -= math.log(p) / len(asked)
    return losses


def best_back_off(shown: Documents, held_out: Documents, vocab_size: int) -> tuple[float, int, float]:
    """The lowest loss of `back_off` over all lengths and STRENGTHS, the length, the strength. They are chosen on the
    held-out documents themselves, which flatters it a little."""
    tried = [(loss, order, strength) for strength in STRENGTHS
             for order, loss in enumerate(back_off(shown, held_out, vocab_size, strength))]
    return min(tried)


class WindowMLP:
    """An MLP on the last `width` tokens: their vectors side by side, a hidden layer, the logits. It knows no attention:
    the place of a letter in the window is fixed, and so is the window. Before the document stands BOS.

    wte [vocab_size][n_embd]; fc1 [4 n_embd][width * n_embd], relu; lm_head [vocab_size][4 n_embd]. It has the methods
    that `labs.ablation.training.train` and `measure` call of a GPT.
    """

    def __init__(self, config: GPTConfig, run: Run, width: int) -> None:
        self.config, self.width, self.bos = config, width, run.tokenizer.bos
        vocab_size, n = run.tokenizer.vocab_size, config.n_embd
        shapes = [(vocab_size, n), (4 * n, width * n), (vocab_size, 4 * n)]
        sizes = [rows * columns for rows, columns in shapes]
        self.flat = np.array([run.rng.gauss(0, config.weight_std) for _ in range(sum(sizes))])
        self.flat_gradient = np.zeros(sum(sizes))
        weights, gradients = (np.split(flat, np.cumsum(sizes)[:-1]) for flat in (self.flat, self.flat_gradient))
        self.wte, fc1, lm_head = (Parameter(weight.reshape(shape), gradient.reshape(shape))
                                  for weight, gradient, shape in zip(weights, gradients, shapes))
        self.fc1, self.lm_head, self.cross_entropy = Linear(fc1), Linear(lm_head), CrossEntropy()

    def windows(self, batch: Batch) -> np.ndarray:
        """The last `width` tokens at each row, the newest last. -> [rows][width]."""
        back = np.arange(self.width)[::-1]  # how far back
        places = np.maximum(batch.rows[:, None] - back, 0)
        return np.where(back <= batch.positions[:, None], batch.tokens[places], self.bos)

    def loss(self, batch: Batch) -> float:
        self.batch, self.read = batch, self.windows(batch)
        x = self.wte.weight[self.read].reshape(len(self.read), -1)  # [rows][width * n_embd]
        self.hidden = np.maximum(self.fc1.forward(x), 0.0)
        self.logits = self.lm_head.forward(self.hidden)
        return self.cross_entropy.forward(self.logits, batch)

    def backward(self) -> None:
        d_hidden = self.lm_head.backward(self.cross_entropy.backward())
        d_x = self.fc1.backward(d_hidden * (self.hidden > 0))
        self.wte.gradient[:] = 0.0
        np.add.at(self.wte.gradient, self.read, d_x.reshape(*self.read.shape, -1))
