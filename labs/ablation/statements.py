"""Smaller measurements, one function each: what an optimizer, a schedule, a scale, a head is worth, and what a trained
head looks at. Each returns plain data: {"setting": ..., "seeds": [...], "rows": {row: {figure: [a number a seed]}}}."""
from __future__ import annotations

import random
from dataclasses import asdict, replace
from functools import partial
from typing import Callable, Sequence

import numpy as np

from engines.numpy_gpt import Attention, Linear, make_batch
from labs.ablation.study import columns, rounded
from labs.ablation.training import PartialGPT, Run, Setting, measure, prepare, train
from levels import data


def several(setting: Setting, seeds: int, rows: dict[str, Callable[[int], dict]]) -> dict:
    """Each row's figures for seeds 42, 43, ..., seed after seed."""
    numbers = [42 + i for i in range(seeds)]
    found = {name: columns([make(seed) for seed in numbers]) for name, make in rows.items()}
    return {"setting": asdict(setting), "seeds": numbers, "rows": found}


def trained(setting: Setting, seed: int, off: Sequence[str] = (), **options) -> tuple[PartialGPT, Run, list[float]]:
    """The model after training, what it was trained on, and the losses of its steps."""
    run = prepare(setting, seed)
    model = PartialGPT(setting.config(seed), run, off)
    return model, run, train(model, run.encode(run.shown), setting, **options)


def held_out_loss(model: PartialGPT, run: Run) -> float:
    return rounded(measure(model, run, run.held_out)["loss"])


def loss_of(setting: Setting, seed: int, off: Sequence[str] = (), **options) -> dict:
    """The usual figures of a run: the held-out loss, and the mean of the last 100 training losses."""
    model, run, losses = trained(setting, seed, off, **options)
    return {"loss": held_out_loss(model, run), "last 100 steps": rounded(float(np.mean(losses[-100:])))}


class Descent:
    """Gradient descent on one long vector: p -= rate * m, m = momentum * m + gradient. Without momentum m is the
    gradient itself."""

    def __init__(self, parameters: np.ndarray, momentum: float = 0.0) -> None:
        self.parameters, self.momentum, self.m = parameters, momentum, np.zeros_like(parameters)

    def step(self, gradient: np.ndarray, learning_rate: float) -> None:
        self.m *= self.momentum
        self.m += gradient
        self.parameters -= learning_rate * self.m


def optimizers() -> dict:
    """Adam against descent with momentum and without, each at several rates, which fall to 0 over the run."""
    setting = Setting()

    def descent(rate: float, momentum: float) -> Callable[[int], dict]:
        def measured(seed: int) -> dict:
            run = prepare(setting, seed)
            model = PartialGPT(setting.config(seed), run)
            losses = train(model, run.encode(run.shown), setting, learning_rate=rate,
                           optimizer=Descent(model.flat, momentum))
            return {"loss": held_out_loss(model, run), "last 100 steps": rounded(float(np.mean(losses[-100:])))}
        return measured

    return several(setting, 10, {
        "Adam, rate 0.01": lambda seed: loss_of(setting, seed),
        "Adam, rate 0.02": lambda seed: loss_of(setting, seed, learning_rate=0.02),
        **{f"momentum 0.85, rate {rate}": descent(rate, 0.85) for rate in (0.03, 0.05)},
        **{f"plain descent, rate {rate}": descent(rate, 0.0) for rate in (0.01, 0.1, 0.2, 0.3, 0.5)},
    })


def schedules() -> dict:
    """The rate falling to 0, against one that stays."""
    return several(Setting(), 10, {"falling to 0": lambda seed: loss_of(Setting(), seed),
                                   "never falling": lambda seed: loss_of(Setting(), seed, falling=False)})


def positions() -> dict:
    """The whole layer with and without positions (wpe held at 0)."""
    return several(Setting(), 10, {"with positions": lambda seed: loss_of(Setting(), seed),
                                   "without positions": lambda seed: loss_of(Setting(), seed, ("wpe",))})


def positions_longer() -> dict:
    """The same after 3,000 steps of 32 names."""
    setting = Setting(steps=3000, batch=32)
    return several(setting, 3, {"with positions": lambda seed: loss_of(setting, seed),
                                "without positions": lambda seed: loss_of(setting, seed, ("wpe",))})


def heads() -> dict:
    """1, 2, 4 and 8 heads: the width is divided among them."""
    return several(Setting(), 10, {f"{n_head} heads".replace("1 heads", "1 head"): lambda seed, n_head=n_head: loss_of(
        replace(Setting(), n_head=n_head), seed) for n_head in (4, 1, 2, 8)})


def batches() -> dict:
    """More names a step, at the same number of steps."""
    return several(Setting(), 10, {f"{batch} a step": lambda seed, batch=batch: loss_of(
        replace(Setting(), batch=batch), seed) for batch in (1, 4, 16)})


def attention_with_batches() -> dict:
    """What attention is worth with 4 names a step: the whole layer first, then the same without attention."""
    setting = Setting(batch=4)
    return several(setting, 10, {"the whole layer": lambda seed: loss_of(setting, seed),
                                 "+ MLP, no attention": lambda seed: loss_of(setting, seed, ("attn_wo",))})


def lengths() -> dict:
    """More steps, each run with a rate that falls to 0 at its own end."""
    return several(Setting(), 3, {f"{steps:,} steps": lambda seed, steps=steps: loss_of(
        replace(Setting(), steps=steps), seed) for steps in (1000, 100, 300, 3000, 10000)})


class Scaled(Linear):
    """A Linear whose first n outputs are multiplied by a number: with the queries as these, the scores are too."""

    def __init__(self, linear: Linear, n: int, factor: float) -> None:
        super().__init__(linear.w)
        self.n, self.factor = n, factor

    def forward(self, x: np.ndarray) -> np.ndarray:
        y = super().forward(x)
        y[:, : self.n] *= self.factor
        return y

    def backward(self, d_y: np.ndarray) -> np.ndarray:
        d_y = d_y.copy()
        d_y[:, : self.n] *= self.factor
        return super().backward(d_y)


def scales() -> dict:
    """What the scores of one head of 64 numbers are divided by, and how far its attention is from even: its largest
    weight at the last question of each held-out name, before training and after, beside that of even attention."""
    setting = Setting(n_embd=64, n_head=1)

    def divided(factor: float) -> Callable[[int], dict]:  # the engine divides by 8 = sqrt(64), so multiply before it
        def measured(seed: int) -> dict:
            run = prepare(setting, seed)
            model = PartialGPT(setting.config(seed), run)
            attention = attention_of(model)
            attention.qkv = Scaled(attention.qkv, setting.n_embd, factor)
            before = largest_weight(model, run)
            train(model, run.encode(run.shown), setting)
            found = {"loss": held_out_loss(model, run), "before": before, "after": largest_weight(model, run)}
            return {**found, "even": rounded(float(np.mean([1 / (len(name) + 1) for name in run.held_out])))}
        return measured

    return several(setting, 5, {"sqrt(d) = 8": divided(1.0), "nothing": divided(8.0), "d = 64": divided(1 / 8)})


def attention_of(model: PartialGPT) -> Attention:
    """The attention of the first layer."""
    return model.blocks[0].f


def weights_on(model: PartialGPT, run: Run, documents: Sequence[str]) -> np.ndarray:
    """What each token of each document looks at. -> [documents][n_head][time][time]."""
    model.loss(make_batch(run.encode(documents), model.config.block_size))
    return attention_of(model).weights


def largest_weight(model: PartialGPT, run: Run) -> float:
    """The mean over held-out documents, and over heads, of the largest weight at the last question."""
    weights = weights_on(model, run, run.held_out)
    return rounded(float(np.mean([weights[i, :, len(document), : len(document) + 1].max(axis=-1).mean()
                                  for i, document in enumerate(run.held_out)])))


def sources(document: str, place: int) -> list[int]:
    """Where the character at this place of a repeated name or a dial stands already, as tokens of the question (BOS is
    0, so a character's token is one further than its place): in the copies before, or where the dial points."""
    if data.kind(document) == "dial":
        return [int(document[place - 1])]
    return [earlier + 1 for earlier in range(place % 5, place, 5)]


def weight_on_answer(model: PartialGPT, run: Run) -> float:
    """The weight of head 0 on the tokens that are the answer: the mean over all determined places of the held-out
    documents. The token that asks for the character at a place is the one before it, and stands at that number."""
    weights = weights_on(model, run, run.held_out)
    return rounded(float(np.mean([weights[i, 0, place, sources(document, place)].sum()
                                  for i, document in enumerate(run.held_out) for place in data.determined(document)])))


def answers(setting: Setting) -> dict:
    """How much of its weight the one head puts where the answer stands (for a name, in the copies before) when it asks
    for a character that can be known for certain; after training and before."""
    def looked(steps: int) -> Callable[[int], dict]:
        def measured(seed: int) -> dict:
            model, run, _ = trained(replace(setting, steps=steps), seed)
            return {"weight on the answer": weight_on_answer(model, run), "loss": held_out_loss(model, run)}
        return measured

    return several(setting, 10, {"trained": looked(setting.steps), "untrained": looked(0)})


def previous_letter() -> dict:
    """The share of its weight that each head puts on the token before, on names, from the second token on; beside an
    untrained model, and beside even attention."""
    def looked(steps: int) -> Callable[[int], dict]:
        def measured(seed: int) -> dict:
            model, run, _ = trained(Setting(steps=steps), seed)
            weights, names = weights_on(model, run, run.held_out), run.held_out
            asked = [(i, t) for i, name in enumerate(names) for t in range(1, min(len(name) + 1, 16))]
            shares = np.mean([weights[i, :, t, t - 1] for i, t in asked], axis=0)
            even = np.mean([1 / (t + 1) for _, t in asked])
            return {**{f"head {head}": rounded(float(share)) for head, share in enumerate(shares)},
                    "even": rounded(float(even))}
        return measured

    return several(Setting(), 5, {"untrained": looked(0), "1,000 steps": looked(1000)})


def other_sums() -> dict:
    """Sums, with other 15 pairs held out for each seed, for 15 are few: the shares of the held-out and of the shown
    sums that are right in both digits. mirrored: of the held-out ones, those whose mirror image (5+7 for 7+5) is shown,
    or that are their own."""
    setting = Setting("sums", steps=5000)

    def without(off: Sequence[str]) -> Callable[[int], dict]:
        def measured(seed: int) -> dict:
            run = prepare(setting, seed, split_seed=seed)
            model = PartialGPT(setting.config(seed), run, off)
            train(model, run.encode(run.shown), setting)
            held_out, shown = (measure(model, run, documents) for documents in (run.held_out, run.shown))
            mirrored = sum(a + "+" + b not in {d[:3] for d in run.held_out} or a == b
                           for b, a in ((d[0], d[2]) for d in run.held_out))
            return {"held out": rounded(held_out["all right"]), "shown": rounded(shown["all right"]),
                    "mirrored": mirrored}
        return measured

    return several(setting, 10, {"the whole layer": without(()), "+ attention, no MLP": without(("mlp_fc2",)),
                                 "+ MLP, no attention": without(("attn_wo",)),
                                 "+ position": without(("attn_wo", "mlp_fc2"))})


def silent_neurons() -> dict:
    """Neurons of the MLP that are 0 on every token of every name, counted every 50 steps of the default run; and those
    of them that were silent at one of these steps and spoke at a later one ("spoke again")."""
    setting, every = Setting(), 50

    def watched(seed: int) -> dict:
        run = prepare(setting, seed)
        model, everything = PartialGPT(setting.config(seed), run), run.encode(run.shown + run.held_out)
        batch, silent = make_batch(everything, 16), {}

        def note(step: int) -> None:
            if step % every == 0:
                silent[step] = set(np.flatnonzero(model_hidden(model, batch).max(axis=0) == 0).tolist())

        train(model, run.encode(run.shown), setting, after=note)
        again = [(neuron, step) for step in silent for neuron in sorted(silent[step])
                 if any(neuron not in silent[later] for later in silent if later > step)]
        words = ", ".join(f"{neuron} after {step} steps" for neuron, step in again)
        return {"silent at the end": len(silent[setting.steps]), "most at a time": max(map(len, silent.values())),
                "spoke again": len({neuron for neuron, _ in again}), "silent, and not later": words or "none"}

    return several(setting, 10, {"64 neurons": watched})


def model_hidden(model: PartialGPT, batch) -> np.ndarray:
    """The neurons of the first layer's MLP after relu. -> [rows][4 n_embd]."""
    model.loss(batch)
    return model.blocks[1].f.hidden


def greedy_names() -> dict:
    """What temperature 0 invents after the default run: the likeliest letter each time, so one name and no other."""
    def measured(seed: int) -> dict:
        model, run, _ = trained(Setting(), seed)
        rng, bos = random.Random(seed), [run.tokenizer.bos]
        made = {model.generate(bos, run.tokenizer, 0.0, rng) for _ in range(20)}
        return {"distinct of 20": len(made), "names": " ".join(sorted(made))}

    return several(Setting(), 5, {"temperature 0": measured})


def repetition() -> dict:
    """A name of five letters that was never shown, given once: is it said twice more (temperature 0)? And what the
    model invents by itself (temperature 0.5)."""
    setting = REPEAT

    def measured(off: Sequence[str]) -> Callable[[int], dict]:
        def of_seed(seed: int) -> dict:
            model, run, _ = trained(setting, seed, off)
            rng, bos = random.Random(seed), run.tokenizer.bos
            said = [model.generate(run.tokenizer.encode(document[:5])[:-1], run.tokenizer, 0.0, rng) == document
                    for document in run.held_out]
            made = [model.generate([bos], run.tokenizer, 0.5, rng) for _ in range(5)]
            return {"said again": rounded(float(np.mean(said))), "invented": " ".join(made)}
        return of_seed

    return several(setting, 5, {"the whole layer": measured(()), "no attention": measured(("attn_wo",))})


def picture(setting: Setting) -> dict:
    """The weights of the one head of a trained model on a held-out document, the first with as many different
    characters as any: a line for each token, BOS (^) first, with its weight on each token so far, in hundredths."""
    model, run, _ = trained(setting, 42)
    document = max(run.held_out, key=lambda text: len(set(text)))
    weights = weights_on(model, run, [document])[0, 0]
    lines = [[round(float(weight), 2) for weight in line[: i + 1]] for i, line in enumerate(weights)]
    return {"setting": asdict(setting), "seeds": [42], "rows": {document: {"weights": lines}}}


REPEAT, DIAL = Setting("repeat", n_head=1), Setting("dial", steps=1500, n_head=1)
STATEMENTS: dict[str, Callable[[], dict]] = {
    "optimizers": optimizers, "schedules": schedules, "positions": positions, "positions, longer": positions_longer,
    "heads": heads, "batches": batches, "attention, 4 a step": attention_with_batches, "lengths": lengths,
    "scales": scales, "previous letter": previous_letter, "silent neurons": silent_neurons,
    "greedy names": greedy_names, "answers, repeat": partial(answers, REPEAT), "answers, dial": partial(answers, DIAL),
    "repetition": repetition, "other sums": other_sums, "picture, repeat": partial(picture, REPEAT),
    "picture, dial": partial(picture, DIAL),
}


def measure_statement(name: str) -> dict:
    """The figures of one of STATEMENTS, with what they are ("about": the function's own words)."""
    measured = STATEMENTS[name]
    words = (measured.func if isinstance(measured, partial) else measured).__doc__
    return {"about": " ".join((words or "").split()), **measured()}
