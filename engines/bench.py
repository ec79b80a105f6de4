"""How fast is each engine? python -m engines.bench [--rounds N] [--text FILE]

Three pieces of work: the default model on one name a step, the same on 64 names a step, and a model of 4 layers and
width 128 on blocks of 128 characters of running text (the study guide, unless --text says otherwise), 16 a step. Every
engine that is installed does them with the same initial weights, on the same documents in the same order (the slow ones
on fewer of them), and so does the textbook form (tests/textbook_gpt.py: a node for each + and each *), where that ends
within a minute. Before anything is compared, the first two losses must agree: to 1e-9 in float64, to 1e-3 in float32.

Each measurement is a process of its own; in every round all engines run, one after the other, so that a machine that
slows down slows all of them. What is timed are whole steps (batch, forward, backward, update), after data and weights
are ready, and for the array engines after two steps in which libraries load. Every engine runs as it is written here:
PyTorch and MLX are not compiled, and each library decides how many threads it uses. The table gives medians over the
rounds; "ms a step" is the time for a token, times the mean number of tokens in a step. Memory is the highest peak of
the process, in MiB. A round takes about a minute.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from typing import Iterator, Sequence

import script_gpt_refactored as gpt
from engines.output import exit_code
from engines.train import ENGINES, find_engine
from script_gpt_refactored import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMES, GUIDE = os.path.join(ROOT, "names.txt"), os.path.join(ROOT, "REFACTORING_SUMMARY.md")
WARM_UP = 2  # steps that are not timed: libraries load in them
SMALL, LARGE = dict(), dict(n_layer=4, n_embd=128, n_head=4, block_size=128)
# Title: (sizes, documents a step, {engine and dtype: timed steps}). The first row is what the others are compared with.
WORK = {
    "default model, 1 name a step": (SMALL, 1, {
        "textbook float64": 15, "scalar float64": 150, "numpy float64": 3000, "numpy float32": 3000,
        "torch float64": 300, "torch float32": 300, "mlx float32": 300}),
    "default model, 64 names a step": (SMALL, 64, {
        "textbook float64": 1, "scalar float64": 3, "numpy float64": 400, "numpy float32": 400,
        "torch float64": 100, "torch float32": 100, "mlx float32": 50}),
    "4 layers, width 128, 16 blocks of 128 characters a step": (LARGE, 16, {
        "torch float32": 12, "torch float64": 6, "numpy float32": 12, "numpy float64": 6, "mlx float32": 2}),
}


def textbook_steps(batch: int, steps: int) -> Iterator[float]:
    """The losses of the textbook form, one for each step it takes."""
    sys.path.insert(0, os.path.join(ROOT, "tests"))
    import textbook_gpt

    return textbook_gpt.run(gpt.load_dataset(NAMES), steps, 0, batch=batch)


def documents_of(sizes: dict, text: str) -> list[str]:
    """The names, or of a text all blocks of the context's length. Raises InputError if it holds none."""
    if sizes is SMALL:
        return gpt.load_dataset(NAMES)
    characters, length = gpt.read_text(text), sizes["block_size"]
    if len(characters) <= length:
        raise InputError(f"{text} has {len(characters)} characters: name a text of more than {length}")
    return [characters[i : i + length] for i in range(0, len(characters) - length, length)]


def engine_steps(engine: str, dtype: str, sizes: dict, batch: int, steps: int, text: str) -> Iterator[float]:
    """0 when it is ready, and then the losses of an engine, one for each step it takes.

    Documents are shuffled and weights drawn as in the scripts.
    """
    config = gpt.GPTConfig(**sizes)
    run = gpt.prepare_run(documents_of(sizes, text), config)
    weights = {name: [[weight.data for weight in row] for row in rows] for name, rows in run.state_dict.items()}
    options = argparse.Namespace(dtype=dtype, device="cpu", compile=False, weight_decay=0.0, clip=0.0)
    trainer = find_engine(engine)(config, run.tokenizer.vocab_size, weights, options)
    docs = run.documents
    yield 0.0
    for step in range(steps):
        documents = [docs[(step * batch + i) % len(docs)] for i in range(batch)]
        yield trainer.step([documents], config.learning_rate * (1 - step / steps))


def tokens_in(sizes: dict, batch: int, first: int, last: int) -> int:
    """How many tokens the steps from first to last (not included) predict."""
    if sizes is LARGE:
        return sizes["block_size"] * batch * (last - first)
    config = gpt.GPTConfig()
    names = gpt.load_dataset(NAMES)
    random.Random(config.seed).shuffle(names)
    read = (names[i % len(names)] for i in range(first * batch, last * batch))
    return sum(min(config.block_size, len(name) + 1) for name in read)


def measure(title: str, row: str, text: str) -> dict:
    """One measurement, in this process: seconds for a token and for a step of mean length, and the first two losses."""
    sizes, batch, rows = WORK[title]
    engine, dtype = row.split()
    warm_up = WARM_UP if engine not in ("textbook", "scalar") else 0
    steps = warm_up + rows[row]
    if engine == "textbook":
        taken = textbook_steps(batch, steps)
    else:
        taken = engine_steps(engine, dtype, sizes, batch, steps, text)
        next(taken)
    losses = [next(taken) for _ in range(warm_up)]
    started = time.perf_counter()
    losses += taken
    seconds = time.perf_counter() - started
    token = seconds / tokens_in(sizes, batch, warm_up, steps)
    return {"step": token * tokens_in(sizes, batch, 0, 1000) / 1000, "token": token, "losses": losses[:2]}


def in_a_process(title: str, row: str, text: str) -> dict:
    """The same in a process of its own, with its peak memory in MiB. Raises InputError if it fails."""
    # A small parent with one child tells the child's peak from everything else.
    code = ("import resource, subprocess, sys\n"
            "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
            "sys.stdout.flush(); sys.stdout.buffer.write(done.stdout); sys.exit(done.returncode)")
    command = [sys.executable, "-m", "engines.bench", "--text", text, "--measure", title, row]
    process = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, encoding="utf-8", cwd=ROOT)
    if process.returncode:
        raise InputError(f"{row} failed on: {title}")
    peak, result = process.stdout.splitlines()
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kilobytes
    return {**json.loads(result), "peak": int(peak) / unit}


def installed(row: str) -> bool:
    engine = row.split()[0]
    return engine in ("textbook", "scalar") or importlib.util.find_spec(engine) is not None


def check_agreement(title: str, results: dict[str, list[dict]]) -> None:
    """Raises InputError unless all engines saw the same losses: to 1e-9 in float64, to 1e-3 in float32."""
    first = next(row for row in results if row.endswith("float64"))
    for row, found in results.items():
        limit = 1e-9 if row.endswith("float64") else 1e-3
        pairs = [(a, b) for result in found for a, b in zip(results[first][0]["losses"], result["losses"])]
        for expected, loss in pairs:
            if abs(loss - expected) > limit * expected:
                raise InputError(f"{row} does not compute the losses of {first} on: {title}: there is nothing to "
                                 "compare")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises InputError for what cannot be."""
    parser = argparse.ArgumentParser(prog="python -m engines.bench", description=__doc__.splitlines()[0],
                                     allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--text", default=GUIDE, help="a UTF-8 text to read in blocks (default: the study guide)")
    parser.add_argument("--measure", nargs=2, metavar=("WORK", "ROW"), help=argparse.SUPPRESS)

    def refuse(message: str) -> None:
        raise InputError(f"{message} (--help lists the options)")

    parser.error = refuse
    options = parser.parse_args(arguments)
    if not 1 <= options.rounds <= 1000:
        raise InputError(f"--rounds is {options.rounds}: it must be from 1 to 1000")
    return options


def run(options: argparse.Namespace) -> None:
    """Measures, and prints the tables; or, in a process of its own, one measurement as JSON."""
    if options.measure:
        print(json.dumps(measure(*options.measure, options.text)))
        return
    documents_of(LARGE, options.text)  # better before the measurements than after them
    missing = [name for name in ENGINES if not installed(name)]
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
          f"{options.rounds} rounds" + (f"; not installed: {', '.join(missing)}" if missing else ""))
    for title, (_, _, rows) in WORK.items():
        results = {row: [] for row in rows if installed(row)}
        for _ in range(options.rounds):
            for row, found in results.items():
                found.append(in_a_process(title, row, os.path.abspath(options.text)))
        check_agreement(title, results)
        first = next(iter(results))
        print(f"\n{title}\n\n| engine | ms a step | tokens/s | times as fast (lowest, highest) | peak MiB |\n"
              "|---|---|---|---|---|")
        for row, found in results.items():
            per_token = [result["token"] for result in found]
            ratios = [slow["token"] / fast for slow, fast in zip(results[first], per_token)]
            middle, low, high = (f"{f(ratios):,.{1 if f(ratios) < 100 else 0}f}" for f in (statistics.median, min, max))
            milliseconds = 1000 * statistics.median(result["step"] for result in found)
            print(f"| {row} | {milliseconds:,.{3 if milliseconds < 10 else 0}f} | "
                  f"{1 / statistics.median(per_token):,.0f} | "
                  f"{'1' if row == first else f'{middle} ({low}, {high})'} | "
                  f"{max(result['peak'] for result in found):.0f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program. Returns the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    return exit_code(lambda: run(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main())
