"""Trains the model with some of its parts switched off, and measures it on documents that it never saw."""
from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np

import script_gpt_refactored as gpt
from engines.numpy_gpt import GPT, AdamW, make_batch
from levels import data
from script_gpt_refactored import GPTConfig, InputError

GENERATED = ("repeat", "dial", "sums")  # what levels/data.py makes
SPLIT_SEED = 42  # the documents held out are those of the default run, whatever the seed of a run


@dataclass(frozen=True)
class Setting:
    """How a model is trained. `steps` steps of `batch` documents each; `source` is "names", what levels/data.py makes,
    or a file. Everything that is not said here is as in the scripts."""

    source: str = "names"
    steps: int = 1000
    batch: int = 1
    n_layer: int = 1
    n_embd: int = 16
    n_head: int = 4
    weight_decay: float = 0.0

    def config(self, seed: int = SPLIT_SEED) -> GPTConfig:
        return GPTConfig(num_steps=self.steps, n_layer=self.n_layer, n_embd=self.n_embd, n_head=self.n_head, seed=seed)


def load_documents(source: str) -> list[str]:
    """The documents, in their order before shuffling. Raises InputError if they cannot be read."""
    names = data.NAMES if source in ("names", *GENERATED) else source
    if source == "sums":
        return data.sums()
    if source == "dial":
        return data.dial(random.Random(42), 10000)  # what `python3 levels/data.py dial` prints
    documents = gpt.load_dataset(names)
    return data.repeat(documents) if source == "repeat" else documents


@dataclass
class Run:
    """The start of a run: texts to train on, in shuffled order, and held out; the tokenizer; the weights as drawn."""

    shown: list[str]
    held_out: list[str]
    tokenizer: gpt.Tokenizer
    weights: dict[str, list[list[float]]]
    rng: random.Random

    def encode(self, documents: Sequence[str]) -> list[list[int]]:
        return [self.tokenizer.encode(document) for document in documents]


def prepare(setting: Setting, seed: int, split_seed: int = SPLIT_SEED) -> Run:
    """Shuffle, weights and chance are those of the scripts with --seed.

    Held out are the last n documents of the list as split_seed shuffles it, n = min(1000, 15 % of the documents); it is
    42 for every seed, so that all runs answer the same questions. A text that is held out is never trained on, even if
    it occurs twice. With seed 42 the first steps are thus those of the default run. Raises InputError if there are
    fewer than 7 documents, or none is left to train on.
    """
    documents = load_documents(setting.source)
    count = min(1000, len(documents) * 15 // 100)
    if count < 1:
        raise InputError(f"{setting.source} has {len(documents)} documents: it needs at least 7")
    shuffled = list(documents)
    random.Random(split_seed).shuffle(shuffled)
    held_out = shuffled[-count:]
    run = gpt.prepare_run(documents, setting.config(seed))
    shown = [document for document in run.docs if document not in set(held_out)]
    if not shown:
        raise InputError(f"{setting.source} has too few different documents: none is left to train on")
    weights = {name: [[weight.data for weight in row] for row in rows] for name, rows in run.state_dict.items()}
    return Run(shown, held_out, run.tokenizer, weights, run.rng)


class PartialGPT(GPT):
    """The model, of which the matrices named in `off` are held at 0: they start at 0, and their gradient is set to 0.

    With attn_wo at 0 attention adds nothing to the residual stream, with mlp_fc2 the MLP adds nothing, and with wpe a
    token does not know its position. No gradient comes back through a matrix of zeros, so with attn_wo at 0 attn_wq,
    attn_wk and attn_wv stay as they were drawn, but for weight decay, and with mlp_fc2 mlp_fc1.
    """

    def __init__(self, config: GPTConfig, run: Run, off: Sequence[str] = ()) -> None:
        super().__init__(config, run.tokenizer.vocab_size)
        self.load_state_dict(run.weights)
        self.held = [name for name in self.parameters if name.split(".")[-1] in off]
        for name in self.held:
            self.parameters[name][:] = 0.0

    def backward(self) -> None:
        super().backward()
        for name in self.held:
            self.gradients[name][:] = 0.0


def train(
    model, documents: Sequence[Sequence[int]], setting: Setting, *, learning_rate: float = GPTConfig.learning_rate,
    falling: bool = True, optimizer=None, after: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Trains the model on token lists, in their order and from the start again, `batch` of them a step.

    The rate falls to 0 in a line, or not at all. `optimizer` is Adam if none is given; `after` is called with the
    number of steps taken, after each. Returns the loss of each step before its update, in nats per token.
    """
    config, losses = model.config, []
    optimizer = optimizer or AdamW(model.flat, config, setting.weight_decay)
    for step in range(setting.steps):
        chosen = [documents[(step * setting.batch + i) % len(documents)] for i in range(setting.batch)]
        losses.append(model.loss(make_batch(chosen, config.block_size)))
        model.backward()
        optimizer.step(model.flat_gradient, learning_rate * (1 - step / setting.steps if falling else 1))
        after(step + 1)
    return losses


def measure(model, run: Run, documents: Sequence[str]) -> dict[str, float]:
    """What the model makes of these documents: "loss", in nats per token; and where `levels.data.determined` says which
    characters can be known for certain, the share of them it finds likeliest, "right", and the share of documents in
    which it does so for all of them, "all right"."""
    size = model.config.block_size
    loss = model.loss(make_batch(run.encode(documents), size))
    right, start = [], 0
    likeliest = model.logits.argmax(axis=1)
    for document in documents:
        targets = model.batch.targets[start : start + min(size, len(document) + 1)]
        found = likeliest[start : start + len(targets)] == targets  # at each position: is the next character likeliest?
        right.append([bool(found[place]) for place in data.determined(document)])
        start += len(targets)
    figures = {"loss": loss}
    if all(right):
        figures["right"] = float(np.mean([one for each in right for one in each]))
        figures["all right"] = float(np.mean([all(each) for each in right]))
    return figures

