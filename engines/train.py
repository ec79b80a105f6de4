"""One trainer for every engine: python -m engines.train --engine scalar|numpy|torch|mlx [DATA] [options]

With no options and one document a step it is the program of the three scripts: the same documents, the same initial
weights, the same lines and the same names, only faster (MLX, in float32, may differ in the last digit). On top of that:
batches, gradient accumulation, learning-rate schedules, weight decay, clipping, validation, running text (--blocks), a
loss curve, and --resume, which goes on as if the run had never stopped.

    python -m engines.train --engine numpy                                 the default run, in a fraction of a second
    python -m engines.train --engine torch my.txt --blocks --n-embd 64 --block-size 64 --batch 32 --validation 0.1
    python -m engines.train --engine numpy --steps 5000 --save model.json --save-every 500
    python -m engines.train --resume model.json                            after a Ctrl-C, or a crash

--save, --csv and --curve replace a file only if it is a checkpoint, such a table, or a picture already, or with
--force. --resume writes to the file it names; a table or a curve only where --csv or --curve is given with it.

A checkpoint written here is one of the project: the scripts and every engine open it. Under the key "training" it also
holds what --resume needs.
"""
from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import importlib
import importlib.util
import json
import math
import os
import random
import signal
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from typing import Iterator, Protocol, Sequence

import script_gpt_refactored as gpt
from engines.output import check_can_replace, discard_output, exit_code, write_whole
from script_gpt_refactored import GPTConfig, InputError, Tokenizer, Value

ENGINES = {  # name: (module, what to install when it is missing)
    "scalar": ("engines.train", ""),
    "numpy": ("engines.numpy_gpt", "'numpy>=2.0'"),
    "torch": ("engines.torch_gpt", "'torch>=2.4'"),
    "mlx": ("engines.mlx_gpt", "mlx" if sys.platform == "darwin" else "'mlx[cpu]'"),
}

SCHEDULES, DTYPES = ("linear", "constant", "cosine"), ("float64", "float32", "bfloat16")

# ======================================================================================================================
# Engines
# ======================================================================================================================


class Trainer(Protocol):
    """What every engine offers: a model with its optimizer. Documents are lists of tokens, BOS first."""

    def __init__(self, config: GPTConfig, vocab_size: int, state_dict: dict, options: argparse.Namespace) -> None:
        """A model with these weights (name -> rows of floats). Options: dtype, device, compile, weight_decay, clip."""

    def step(self, parts: Sequence[Sequence[Sequence[int]]], learning_rate: float) -> float:
        """One update from the mean loss over all tokens of all parts, whose gradients are computed one part after the
        other and added up. Returns that loss before the update, in nats."""

    def losses(self, documents: Sequence[Sequence[int]]) -> float:
        """The sum of the losses at all tokens of these documents. Nothing changes."""

    def generate(
        self, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
    ) -> str:
        """A new document that starts with the prompt. A temperature of 0 takes the likeliest token each time."""

    def state_dict(self) -> dict[str, list[list[float]]]:
        """The weights, as a checkpoint holds them."""

    def optimizer_state(self) -> dict:
        """What the optimizer remembers, as plain data for JSON."""

    def load_optimizer_state(self, state: dict) -> None:
        """The opposite: the next step is then what it would have been. Raises KeyError, TypeError or ValueError, among
        others, if it does not fit."""


class ScalarTrainer:
    """The program of the scripts themselves, `Value` by `Value`."""

    def __init__(self, config: GPTConfig, vocab_size: int, state_dict: dict, options: argparse.Namespace) -> None:
        if options.dtype != "float64":
            raise InputError("the scalar engine computes with Python's floats: leave --dtype out")
        self.config, self.weight_decay, self.clip = config, options.weight_decay, options.clip
        self.weights = {name: [[Value(float(x)) for x in row] for row in rows] for name, rows in state_dict.items()}
        self.optimizer = gpt.AdamOptimizer(self.weights, config)

    def step(self, parts: Sequence[Sequence[Sequence[int]]], learning_rate: float) -> float:
        asked = questions([document for part in parts for document in part], self.config.block_size)
        total = 0.0
        for part in parts:
            for document in part:
                try:
                    loss = gpt.compute_loss(document, self.weights, self.config)
                except (ArithmeticError, ValueError):  # Python's floats complain where arrays give inf or nan
                    Value.tape.clear()
                    return math.nan
                share = questions([document], self.config.block_size) / asked
                total += loss.data * share
                (loss * share).backward()
        parameters = self.optimizer.parameters
        if self.clip:
            norm = math.sqrt(sum(parameter.grad**2 for parameter in parameters))
            for parameter in parameters if norm > self.clip else ():
                parameter.grad *= self.clip / norm
        for parameter in parameters if self.weight_decay else ():
            parameter.data *= 1.0 - learning_rate * self.weight_decay
        self.optimizer.step(learning_rate)
        return total

    def losses(self, documents: Sequence[Sequence[int]]) -> float:
        total = 0.0
        for document in documents:
            loss = gpt.compute_loss(document, self.weights, self.config)
            total += loss.data * questions([document], self.config.block_size)
            Value.tape.clear()
        return total

    def generate(
        self, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
    ) -> str:
        config = GPTConfig(**{**vars(self.config), "temperature": temperature})
        return gpt.generate_text(list(prompt_tokens), self.weights, tokenizer, config, rng)

    def state_dict(self) -> dict[str, list[list[float]]]:
        return {name: [[weight.data for weight in row] for row in rows] for name, rows in self.weights.items()}

    def optimizer_state(self) -> dict:
        return {"t": self.optimizer.t, "m": self.optimizer.m, "v": self.optimizer.v}

    def load_optimizer_state(self, state: dict) -> None:
        m, v = (list(map(float, state[name])) for name in ("m", "v"))
        if not len(m) == len(v) == len(self.optimizer.m):
            raise ValueError("Adam's means must be as many as the weights")
        self.optimizer.t, self.optimizer.m, self.optimizer.v = state["t"], m, v


def questions(documents: Sequence[Sequence[int]], block_size: int) -> int:
    """How many tokens these documents ask the model to predict."""
    return sum(min(block_size, len(document) - 1) for document in documents)


def find_engine(name: str, threads: int = 0) -> type[Trainer]:
    """The Trainer of an engine, told to compute with so many threads (0: as many as its library thinks right).

    Raises InputError that says what to install if its library is missing.
    """
    module, package = ENGINES[name]
    if name == "scalar":
        return ScalarTrainer
    if threads:  # the libraries read these when they are loaded, and OpenBLAS never again
        os.environ.update({key: str(threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})
    try:
        return importlib.import_module(module).Trainer
    except ImportError as error:
        raise InputError(f"the engine {name} needs {error.name}: {sys.executable} -m pip install {package}") from error


# ======================================================================================================================
# Data
# ======================================================================================================================


@dataclass(frozen=True)
class Data:
    """What is trained on and what is held out. With blocks, `training` is one long list of tokens."""

    tokenizer: Tokenizer
    training: list
    validation: list[list[int]]
    blocks: bool
    seed: int
    block_size: int

    def documents(self, step: int, count: int) -> list[list[int]]:
        """The documents of one step, counted from 0. They depend on nothing but step and seed: any run can be taken up.

        Documents come in their shuffled order; of running text, blocks that begin at random, each behind a BOS.
        """
        if not self.blocks:
            return [self.training[(step * count + i) % len(self.training)] for i in range(count)]
        rng = random.Random(f"{self.seed} {step}")
        starts = [rng.randrange(len(self.training) - self.block_size + 1) for _ in range(count)]
        return [[self.tokenizer.bos, *self.training[start : start + self.block_size]] for start in starts]


def read_data(path: str) -> tuple[str, str]:
    """The text of the data, and its fingerprint (SHA-256), which tells one content from another.

    Raises InputError if it cannot be read, or is a device or a pipe: it is read more than once, and may have no end.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"cannot read {path} (it is not an ordinary file): name a UTF-8 text file")
    text = gpt.read_text(path)
    return text, hashlib.sha256(text.encode()).hexdigest()


def load_data(
    options: argparse.Namespace, text: str, config: GPTConfig, checkpoint: dict | None = None
) -> tuple[Data, dict[str, list[list[float]]], random.Random]:
    """The data, split; the weights, drawn or from the checkpoint; and the generator of chance, as it stands then.

    Running text is one document, so nothing is shuffled. Raises InputError if it cannot be used.
    """
    docs = [text] if options.blocks else gpt.load_dataset(options.data)
    unknown = sorted(set("".join(docs)) - set(checkpoint["vocabulary"])) if checkpoint else []
    if unknown:
        raise InputError(f"{options.data} has {''.join(unknown[:20])!r}, which the loaded model does not know")
    run = gpt.prepare_run(docs, config, checkpoint)
    check_memory(options, config, run)
    weights = {name: [[weight.data for weight in row] for row in rows] for name, rows in run.state_dict.items()}
    split = split_blocks if options.blocks else split_documents
    training, validation = split(options, run)
    data = Data(run.tokenizer, training, validation, options.blocks, options.seed, config.block_size)
    return data, weights, run.rng


def split_blocks(options: argparse.Namespace, run: gpt.Run) -> tuple[list[int], list[list[int]]]:
    """The tokens of running text to train on, and the blocks after them, each behind a BOS, to validate on."""
    tokens, size = run.documents[0][1:-1], options.block_size
    cut = len(tokens) - int(len(tokens) * options.validation)
    if min(cut, len(tokens) - cut if options.validation else cut) < size:
        raise InputError(f"{options.data} is shorter than a block of {size}, or the part of it that is held out: "
                         f"choose a smaller --block-size")
    held_out = [[run.tokenizer.bos, *tokens[i : i + size]] for i in range(cut, len(tokens) - size + 1, size)]
    return tokens[:cut], held_out


def split_documents(options: argparse.Namespace, run: gpt.Run) -> tuple[list[list[int]], list[list[int]]]:
    """The documents to train on, and those to validate on."""
    cut = len(run.documents) - int(len(run.documents) * options.validation)
    if cut < 1 or options.validation and cut == len(run.documents):
        raise InputError(f"{options.data} has {len(run.docs)} documents: too few for --validation "
                         f"{options.validation}")
    return run.documents[:cut], run.documents[cut:]


def check_memory(options: argparse.Namespace, config: GPTConfig, run: gpt.Run) -> None:
    """Raises InputError, with the estimate, if the documents of one step would fill the memory of this machine.

    What torch computes on another device does not count.
    """
    length = min(config.block_size, max(map(len, run.documents)) - 1)
    count = options.batch * options.accumulate
    number = 8 if options.dtype == "float64" and options.engine != "mlx" else 4
    size = 6 * 8 * length * count  # in bytes: the tokens, as lists and arrays
    if options.engine != "scalar" and options.device == "cpu":  # and what is computed from them
        for_a_token = 18 * config.n_layer * config.n_embd + 2 * run.tokenizer.vocab_size
        if options.engine == "numpy":  # the weights of attention, which the other libraries do not keep, and the mask
            for_a_token += 2 * config.n_layer * config.n_head * length
            size += config.block_size**2 * number
        size += options.batch * length * for_a_token * number
    if size > gpt.machine_memory():
        raise InputError(f"a step of {count:,} documents of up to {length:,} tokens needs about "
                         f"{size / 2**30:,.0f} GiB, and this machine has {gpt.machine_memory() / 2**30:,.0f}: choose "
                         "smaller sizes, or a smaller --batch or --accumulate")


def learning_rate(options: argparse.Namespace, step: int) -> float:
    """The rate of a step, counted from 0: up in a line over `warmup` steps, then level, or down to 0."""
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    done = (step - options.warmup) / max(1, options.steps - options.warmup)
    share = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return options.learning_rate * share[options.schedule]


# ======================================================================================================================
# Checkpoint
# ======================================================================================================================


def save(path: str, trainer: Trainer, config: GPTConfig, vocabulary: str, step: int, training: dict) -> None:
    """A checkpoint of the project with one more key, written whole or not at all. Raises InputError."""
    checkpoint = {
        "format": gpt.CHECKPOINT_FORMAT,
        "config": {name: getattr(config, name) for name in gpt.SIZES},
        "vocabulary": vocabulary,
        "step": step,
        "state_dict": trainer.state_dict(),
        "training": {**training, "optimizer": trainer.optimizer_state()},
    }
    try:
        write_whole(path, lambda file: json.dump(checkpoint, file, allow_nan=False))
    except ValueError as error:
        raise InputError(f"after step {training['step']} the weights are not finite: lower --learning-rate, or add "
                         f"--clip 1. {path} is as it was") from error


def load(path: str) -> dict:
    """A checkpoint, checked as the scripts check it; with what `save` added, if it was written here."""
    checkpoint = gpt.load_checkpoint(path)
    training = checkpoint.get("training")
    if training is not None and not is_whole(training):
        raise InputError(f"{path} holds a run that is not whole: name a file written by --save")
    return checkpoint


def is_whole(training: object) -> bool:
    """Whether this is what `save` writes: the keys, options that could have been given, a loss for every step, and an
    optimizer that has taken as many."""
    try:
        step, losses, validation = training["step"], training["losses"], training["validation"]
        check_kept_options(training["options"])
        return (set(training) == {"options", "data", "step", "losses", "validation", "optimizer"}
                and type(step) is int and type(losses) is type(validation) is list
                and len(losses) == step <= training["options"]["steps"]
                and all(type(loss) is float for loss in losses)
                and all(type(at) is int and type(loss) is float for at, loss in validation)
                and all_finite([losses, validation, training["optimizer"]])
                and (updates(training["optimizer"]) == {step} or not step and training["optimizer"] == {}))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, InputError):
        return False


def check_kept_options(options: dict) -> None:
    """Raises InputError unless these are options as `kept_options` leaves them, each of its type and in its range."""
    defaults = kept_options(parse_arguments([]))
    for name in defaults.keys() | options.keys():
        types = (str, type(None)) if defaults[name] is None else (type(defaults[name]),)
        if type(options[name]) not in types:
            raise InputError(f"{name} cannot be {options[name]}")
    check_options(argparse.Namespace(**options))


def kept_options(options: argparse.Namespace) -> dict:
    """The options as a checkpoint keeps them: --force is for one run only."""
    return {name: value for name, value in vars(options).items() if name != "force"}


def all_finite(data: object) -> bool:
    """Whether nested lists and dicts hold finite numbers, and nothing else."""
    if isinstance(data, (list, dict)):
        return all(map(all_finite, data.values() if isinstance(data, dict) else data))
    return type(data) in (int, float) and math.isfinite(data)


def updates(optimizer: dict) -> set:
    """The numbers of updates, one or one for each weight, that an optimizer's state speaks of as t or step."""
    parts = [optimizer, *(part for part in optimizer.values() if isinstance(part, dict))]
    return {part[name] for part in parts for name in ("t", "step") if name in part}


# ======================================================================================================================
# Report
# ======================================================================================================================


def perplexity(loss: float) -> float:
    """e to the loss: the model does as badly as a fair choice among so many tokens."""
    return math.exp(loss) if loss < 709 else math.inf


COLUMNS = ("step", "learning_rate", "loss", "validation_loss", "validation_perplexity")  # of --csv


class Report:
    """Prints a run as it goes: a line for each step, or on a terminal a progress bar with tokens per second.

    losses: [step - 1] the loss of each step, in nats. validation: [step, loss] pairs. Both go into the checkpoint.
    """

    def __init__(self, options: argparse.Namespace, first_step: int, losses: list, validation: list) -> None:
        self.options, self.losses, self.validation = options, losses, validation
        self.started, self.first_step, self.tokens, self.bar = time.perf_counter(), first_step, 0, None
        if gpt.on_terminal() and importlib.util.find_spec("tqdm"):  # without it: a line for each step
            from tqdm import tqdm
            self.bar = tqdm(total=options.steps, initial=first_step, unit="step", file=sys.stdout, dynamic_ncols=True)

    def step(self, step: int, loss: float, tokens: int) -> None:
        self.losses.append(loss)
        self.tokens += tokens
        if self.bar is None:
            print(f"step {step:4d} / {self.options.steps:4d} | loss {loss:.4f}", flush=True)
            return
        self.bar.set_postfix_str(f"loss {loss:.4f}, {self.tokens_per_second():,.0f} tokens/s", refresh=False)
        self.bar.update()

    def say(self, text: str) -> None:
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def validated(self, step: int, loss: float) -> None:
        self.validation.append([step, loss])
        figures = f"validation loss {loss:.4f}, perplexity {perplexity(loss):.2f}"
        self.say(f"step {step:4d} / {self.options.steps:4d} | {figures}")

    def tokens_per_second(self) -> float:
        return self.tokens / max(1e-9, time.perf_counter() - self.started)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def sum_up(self) -> None:
        """How fast it was, on standard error: standard output is the transcript."""
        steps, seconds = len(self.losses) - self.first_step, time.perf_counter() - self.started
        if steps:
            print(f"{steps:,} steps in {seconds:.2f} s: {1000 * seconds / steps:.3f} ms a step, "
                  f"{self.tokens_per_second():,.0f} tokens/s", file=sys.stderr)

    def write_csv(self, path: str) -> None:
        """step, learning rate, loss; and at some steps the validation loss and its perplexity."""
        held_out = {step: loss for step, loss in self.validation}
        rows = [list(COLUMNS)]
        for step, loss in enumerate(self.losses, start=1):
            checked = [held_out[step], perplexity(held_out[step])] if step in held_out else ["", ""]
            rows.append([step, learning_rate(self.options, step - 1), loss, *checked])
        write_whole(path, lambda file: csv.writer(file).writerows(rows))

    def draw(self, path: str) -> None:
        """The losses as dots, their mean over the last hundred steps as a line, the validation losses on top."""
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot

        steps = range(1, len(self.losses) + 1)
        sums = [0.0]
        for loss in self.losses:
            sums.append(sums[-1] + loss)
        means = [(sums[step] - sums[max(0, step - 100)]) / min(step, 100) for step in steps]
        figure, axes = pyplot.subplots(figsize=(8, 4.5))
        axes.plot(steps, self.losses, ".", markersize=2, color="0.75", label="loss of a step")
        axes.plot(steps, means, color="tab:blue", label="mean of the last 100 steps")
        if self.validation:
            axes.plot(*zip(*self.validation), "o-", color="tab:orange", label="validation")
        axes.set(xlabel="step", ylabel="loss (nats per token)")
        axes.set_title(f"{os.path.basename(self.options.data)}, engine {self.options.engine}", parse_math=False)
        axes.legend(loc="upper right")
        figure.tight_layout()
        kind = os.path.splitext(path)[1][1:].lower()
        write_whole(path, lambda file: figure.savefig(file, dpi=120, format=kind), "wb")
        pyplot.close(figure)


# ======================================================================================================================
# Command line
# ======================================================================================================================


def make_parser() -> argparse.ArgumentParser:
    """The options. What is not one of them raises InputError."""
    default = GPTConfig()
    parser = argparse.ArgumentParser(prog="python -m engines.train", allow_abbrev=False,
                                     description="Train the GPT with any engine.",
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    def refuse(message: str) -> None:
        raise InputError(f"{message} (--help lists the options)")

    parser.error = refuse
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", default=argparse.SUPPRESS,
        help="a UTF-8 text file, one document a line; with --blocks any text (default: names.txt)")
    add("--engine", choices=ENGINES, default="numpy", help="what computes")
    add("--blocks", action="store_true", help="running text: train on blocks of it, not on its lines")
    for flag, value, meaning in (
        ("n-layer", default.n_layer, "transformer layers"),
        ("n-embd", default.n_embd, "numbers per token, a multiple of the heads"),
        ("n-head", default.n_head, "attention heads per layer"),
        ("block-size", default.block_size, "longest context, in tokens"),
        ("steps", default.num_steps, "training steps"),
        ("batch", 1, "documents or blocks computed at once"),
        ("accumulate", 1, "batches computed one after the other for one step"),
        ("seed", default.seed, "another number, another run"),
        ("warmup", 0, "steps in which the learning rate rises"),
        ("threads", 0, "threads for the library (0: it decides; on a busy machine 1 can be much faster)"),
        ("samples", default.num_samples, "names to invent at the end"),
        ("sample-every", 0, "also invent one every so many steps (0: never)"),
        ("validate-every", 0, "compute the validation loss every so many steps (0: ten times a run)"),
        ("save-every", 0, "save every so many steps, too (0: only at the end)"),
        ("learning-rate", default.learning_rate, "highest rate"),
        ("weight-decay", 0.0, "AdamW's weight decay"),
        ("clip", 0.0, "longest gradient: a longer one is scaled down to this norm (0: never)"),
        ("validation", 0.0, "share of the data held out, from its end"),
        ("temperature", default.temperature, "below 1 more typical names, above 1 stranger ones, 0: the likeliest"),
    ):
        add(f"--{flag}", type=type(value), default=value, metavar="N" if isinstance(value, int) else "X", help=meaning)
    add("--schedule", choices=SCHEDULES, default="linear", help="how the learning rate falls")
    add("--prompt", default="", metavar="TEXT", help="what every new name starts with")
    add("--dtype", choices=DTYPES, default="float64",
        help="precision; bfloat16 is for torch, and mlx always computes in float32")
    add("--device", default="cpu", help="torch: where to compute, such as cuda or mps")
    add("--compile", action="store_true", help="torch: compile the model first")
    add("--save", metavar="FILE", help="write the model here, with all that --resume needs")
    add("--load", metavar="FILE",
        help="start from the weights of this model, on the documents that come next; Adam starts afresh")
    add("--resume", metavar="FILE",
        help="go on with the run saved here, and save to it; it brings its options with it, but for the next three")
    add("--curve", metavar="FILE", help="draw the losses at the end (png, svg or pdf)")
    add("--csv", metavar="FILE", help="write the figures of all steps at the end")
    add("--force", action="store_true", help="let --save, --csv and --curve replace a file of another kind")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, with full paths. Raises InputError for what cannot be."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.resume is not None:
        unset = argparse.Namespace(**{name: None for name in vars(options) if name != "data"})
        given = {name for name, value in vars(parser.parse_args(arguments, unset)).items() if value is not None}
        if not given <= {"resume", "curve", "csv", "force"}:
            raise InputError("--resume brings its options with it, but for --curve, --csv and --force: leave the "
                             "others out")
    names = os.path.join(os.path.dirname(os.path.realpath(gpt.__file__)), "names.txt")
    options.data = os.path.abspath(getattr(options, "data", names))
    for name in ("save", "curve", "csv"):
        if getattr(options, name) is not None:
            setattr(options, name, os.path.abspath(getattr(options, name)))
    check_options(options)
    return options


def check_options(options: argparse.Namespace) -> None:
    """Raises InputError for what cannot be. (The sizes and rates of the model are checked by GPTConfig.)"""
    counts = ("batch", "accumulate")
    for name, choices in (("engine", ENGINES), ("schedule", SCHEDULES), ("dtype", DTYPES)):
        if getattr(options, name) not in choices:
            raise InputError(f"--{name} cannot be {getattr(options, name)}: choose from {', '.join(choices)}")
    for name in (*counts, "steps", "warmup", "threads", "samples", "sample_every", "validate_every", "save_every"):
        lowest, highest = 1 if name in counts else 0, 1024 if name == "threads" else 10**9
        if not lowest <= getattr(options, name) <= highest:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(options, name)}: it must be from {lowest} to "
                             f"{highest:,}")
    for name, highest in (("weight_decay", 1e9), ("clip", 1e9), ("validation", 0.9)):
        if not 0 <= getattr(options, name) <= highest:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(options, name)}: it must be 0 to {highest:g}")
    if options.engine != "torch" and (options.compile or options.device != "cpu"):
        raise InputError(f"--device and --compile are for the engine torch: leave them out with {options.engine}")
    if options.save_every and not options.save:
        raise InputError("--save-every needs --save FILE: say where")


BEGINNINGS = {  # how the file of an option begins: a regular expression
    "save": rb'\s*{\s*"format":\s*"%s"' % gpt.CHECKPOINT_FORMAT.encode(),
    "curve": rb"\x89PNG\r\n\x1a\n|%PDF-|(<\?xml.*)?<svg",
    "csv": ",".join(COLUMNS).encode(),
}


def check_outputs(options: argparse.Namespace, config: GPTConfig) -> None:
    """Raises InputError, before anything is computed, if a result could not be written, or read again, or would replace
    what it should not: the data, the model to load, another result, or, without --force, a file of another kind."""
    taken = {os.path.realpath(options.data): "the data"}
    if options.load is not None and options.save is None:
        taken[os.path.realpath(options.load)] = "the model to load"
    for name, beginning in BEGINNINGS.items():
        path = getattr(options, name)
        if path is not None:
            check_can_replace(path, beginning, options.force)
            if os.path.realpath(path) in taken:
                raise InputError(f"cannot write to {path}: it is for {taken[os.path.realpath(path)]}, choose another")
            taken[os.path.realpath(path)] = f"--{name}"
    parameters = 12 * config.n_layer * config.n_embd**2  # and some more
    if options.save is not None and 3 * 22 * parameters > gpt.MOST_CHARACTERS:  # a weight, and what Adam keeps for it
        raise InputError(f"{parameters:,} parameters make a checkpoint of more than {gpt.MOST_CHARACTERS:,} "
                         "characters, which could not be read again: choose smaller sizes, or leave --save out")
    if options.curve is not None:
        if os.path.splitext(options.curve)[1].lower() not in (".png", ".svg", ".pdf"):
            raise InputError(f"cannot draw {options.curve}: end its name in .png, .svg or .pdf")
        try:
            importlib.import_module("matplotlib")
        except ImportError as error:
            raise InputError("--curve needs matplotlib: python3 -m pip install matplotlib") from error


def processes() -> tuple[int, int]:
    """How many processes torchrun has started, and which of them this is; 1 and 0 without it."""
    world, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    if not (world.isdigit() and rank.isdigit() and int(rank) < int(world)):
        raise InputError(f"WORLD_SIZE is {world} and RANK {rank}: leave both to torchrun")
    return int(world), int(rank)


def batches(data: Data, options: argparse.Namespace, step: int) -> list[list[list[int]]]:
    """The documents of a step, cut into `accumulate` parts of `batch` documents."""
    documents = data.documents(step, options.batch * options.accumulate)
    return [documents[i : i + options.batch] for i in range(0, len(documents), options.batch)]


def validation_loss(trainer: Trainer, data: Data) -> float:
    """The mean loss over all tokens held out, in nats."""
    parts: Iterator = (data.validation[i : i + 64] for i in range(0, len(data.validation), 64))
    return sum(trainer.losses(part) for part in parts) / questions(data.validation, data.block_size)


@contextlib.contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Within, the first Ctrl-C only adds an entry to the list, so that what is under way can be finished; a second one
    interrupts as usual. Afterwards Ctrl-C does what it did before.

    Where Ctrl-C cannot be or is not asked for (outside the main thread, or if the program was told to ignore it), the
    list stays empty, and nothing is changed.
    """
    interrupts: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous in (signal.SIG_IGN, None):
        yield interrupts
        return

    def note(signal_number: int, frame: object) -> None:
        interrupts.append(signal_number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)


def take_up(options: argparse.Namespace) -> tuple[argparse.Namespace, dict]:
    """The options of the run that --resume names, and its checkpoint, which is where it saves. Other files it writes
    only if this command line says so. Raises InputError."""
    checkpoint = load(options.resume)
    if checkpoint.get("training") is None:
        raise InputError(f"{options.resume} holds a model but no run: start one from its weights with --load")
    here = {"save": os.path.abspath(options.resume), "curve": options.curve, "csv": options.csv, "force": options.force}
    return argparse.Namespace(**{**checkpoint["training"]["options"], **here}), checkpoint


def configure(options: argparse.Namespace, checkpoint: dict | None) -> GPTConfig:
    """The configuration. The sizes of a checkpoint go into the options. Raises InputError if others were asked for."""
    for name, size in (checkpoint["config"] if checkpoint else {}).items():
        if getattr(options, name) not in (size, getattr(GPTConfig, name)):
            raise InputError(f"the loaded model has {name} {size}, not {getattr(options, name)}: leave that option out")
        setattr(options, name, size)
    return GPTConfig(**{name: getattr(options, name) for name in gpt.SIZES}, learning_rate=options.learning_rate,
                     num_steps=options.steps, temperature=options.temperature, num_samples=options.samples,
                     seed=options.seed)


def visible(sample: str, blocks: bool) -> str:
    """A sample as it is printed: without what could act on a terminal. Running text keeps its lines."""
    return "\n".join(map(gpt.visible, sample.split("\n"))) if blocks else gpt.visible(sample)


def run(options: argparse.Namespace) -> None:
    """Train, validate, save, sample. What is wrong with the input is found before anything is printed or written."""
    checkpoint, training = None, None
    if options.resume is not None:
        path = options.resume
        options, checkpoint = take_up(options)
        training = checkpoint["training"]
    elif options.load is not None:
        checkpoint = load(options.load)
    config = configure(options, checkpoint)
    text, content = read_data(options.data)
    check_outputs(options, config)
    trainer_class = find_engine(options.engine, options.threads)
    world, rank = processes() if options.engine == "torch" else (1, 0)
    if options.batch % world:
        raise InputError(f"--batch {options.batch} must be a multiple of the {world} processes")

    if training is not None and training["data"] != content:
        raise InputError(f"{options.data} has changed since this run began: put it back, or start anew with --load")
    data, weights, rng = load_data(options, text, config, checkpoint)
    tokenizer = data.tokenizer
    prompt_tokens = gpt.encode_prompt(options.prompt, tokenizer, config)
    trainer = trainer_class(config, tokenizer.vocab_size, weights, options)
    first_step, losses, validation = 0, [], []
    if training is not None:
        first_step, losses, validation = training["step"], training["losses"], training["validation"]
        try:
            trainer.load_optimizer_state(training["optimizer"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path} holds a run that is not whole ({error}): name another file") from error

    if rank:  # the first process of torchrun speaks and writes for all
        sys.stdout = open(os.devnull, "w")
    print(f"num docs: {1 if data.blocks else len(data.training) + len(data.validation)}")
    print(f"vocab size: {tokenizer.vocab_size}")
    print(f"num params: {sum(len(row) for rows in weights.values() for row in rows)}")
    report = Report(options, first_step, losses, validation)
    before = checkpoint["step"] - first_step if checkpoint else 0  # the steps of runs before this one

    def keep(step: int) -> None:
        if options.save is not None and not rank:
            save(options.save, trainer, config, tokenizer.vocabulary, before + step,
                 {"options": kept_options(options), "data": content, "step": step, "losses": losses,
                  "validation": validation})

    def train(interrupts: Sequence) -> None:
        step = saved = first_step
        while step < options.steps and not interrupts:
            parts = batches(data, options, before + step)
            loss = trainer.step(parts, learning_rate(options, step))
            if not math.isfinite(loss):
                kept = f" {options.save} holds step {saved}." if saved else ""
                raise InputError(f"at step {step + 1} the loss became {loss}: lower --learning-rate, or add --clip 1 "
                                 f"or --warmup 100.{kept}")
            step += 1
            try:
                report.step(step, loss, sum(questions(part, config.block_size) for part in parts))
                every = options.validate_every or max(1, options.steps // 10)
                if data.validation and (step % every == 0 or step == options.steps):
                    report.validated(step, validation_loss(trainer, data))
                if options.sample_every and step % options.sample_every == 0:
                    own = random.Random(f"{options.seed} sample {step}")  # the run's own chance is not touched
                    sample = trainer.generate(prompt_tokens, tokenizer, options.temperature, own)
                    report.say(f"sample: {visible(sample, data.blocks)}")
            except BrokenPipeError:  # whoever read our output (`| head`) has gone: stop, and save what there is
                discard_output()
                break
            if options.save_every and step % options.save_every == 0:
                keep(step)
                saved = step
        keep(step)

    # Ctrl-C lets the step finish; but not under torchrun, where each process would stop at a step of its own.
    with noted_interrupts() if world == 1 else contextlib.nullcontext([]) as interrupts:
        try:
            train(interrupts)
        finally:
            report.close()
        if not rank:
            report.sum_up()
            if options.csv is not None:
                report.write_csv(options.csv)
            if options.curve is not None:
                report.draw(options.curve)
    print("--- new text ---" if options.blocks else "--- new names ---")
    for index in range(1, options.samples + 1):
        sample = visible(trainer.generate(prompt_tokens, tokenizer, options.temperature, rng), options.blocks)
        if options.blocks:  # a sample has lines of its own
            sample = "\n" + textwrap.indent(sample, "    ")
        print(f"sample {index:2d}: {sample}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program. Returns the exit code: 0, 2 for bad input, 130 after a second Ctrl-C."""
    return exit_code(lambda: run(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main())
