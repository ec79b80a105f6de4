"""What each level is worth: all of them on one file, over several seeds, as a table and curves.

    python3 levels/compare.py                                     names.txt, 1,000 steps, three seeds: 2 to 4 minutes
    python3 levels/data.py repeat > repeat.txt
    python3 levels/compare.py repeat.txt --n-head 1               where attention is worth something
    python3 levels/compare.py repeat.txt --image curves.png       the curves as a picture (needs matplotlib)

Every level is run as it stands, and what it prints is read; script_gpt.py draws its samples as the levels do, at
temperature 1. All levels of one seed read the same documents in the same order and are judged on the same held-out
ones. So the change from one level to the next is taken seed by seed; a mean change smaller than two of its standard
errors is called noise.
"""
import argparse
import concurrent.futures
import contextlib
import io
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEVELS = sorted(HERE.glob("[1-9]_*.py"))
SCRIPT = HERE.parent / "script_gpt.py"


def run_level(path, names, steps, seed, n_head):
    """Runs one level. Returns {"numbers", "loss", "curve", "samples"}; curve: the mean loss of each 100 steps."""
    command = [sys.executable, str(path), str(names), "--steps", str(steps), "--seed", str(seed)]
    if "--n-head" in path.read_text(encoding="utf-8"):
        command += ["--n-head", str(n_head)]
    process = subprocess.run(command, capture_output=True, encoding="utf-8")
    if process.returncode:
        raise ValueError(process.stderr.strip().splitlines()[-1])
    text = process.stdout
    return {"numbers": int(re.search(r"num params: (\d+)", text)[1]),
            "loss": float(re.search(r"held-out loss per token: (.+)", text)[1]),
            "curve": [float(loss) for loss in re.findall(r"mean loss of 100 (.+)", text)],
            "samples": re.findall(r"sample: (.*)", text)}


def split(names, seed):
    """The documents that a level trains on, in its order, and those it holds out."""
    docs = Path(names).read_text("utf-8").split()
    if len(docs) < 7:
        raise ValueError("give a text of at least 7 words")
    random.Random(seed).shuffle(docs)
    held_out = min(1000, len(docs) * 15 // 100)
    return docs[:-held_out], docs[-held_out:]


def run_script(path, names, steps, seed, n_head):
    """Runs script_gpt.py in the same way, and asks its functions for the held-out loss of what it has saved.

    It knows nothing of held-out documents. Where it would come round to them, it gets a file without them.
    """
    sys.path.insert(0, str(HERE.parent))
    import script_gpt

    training, unseen = split(names, seed)
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(printed):
        if steps > len(training):
            names = Path(folder, "training.txt")
            names.write_text("\n".join(training), "utf-8")
        saved = Path(folder, "model.json")
        script_gpt.main([str(names), "--steps", str(steps), "--seed", str(seed), "--n-head", str(n_head),
                         "--samples", "5", "--temperature", "1", "--save", str(saved)])
        model = json.loads(saved.read_text("utf-8"))
    config, vocabulary = argparse.Namespace(**model["config"]), model["vocabulary"]
    state_dict = {name: [[script_gpt.Value(number) for number in row] for row in rows]
                  for name, rows in model["state_dict"].items()}
    total = count = 0
    for doc in unseen:
        tokens = [len(vocabulary), *map(vocabulary.index, doc), len(vocabulary)]
        asked = min(config.block_size, len(tokens) - 1)
        total += script_gpt.compute_loss(tokens, state_dict, config).data * asked
        count += asked
        script_gpt.Value.tape.clear()
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", printed.getvalue())]
    return {"numbers": sum(len(row) for rows in state_dict.values() for row in rows), "loss": round(total / count, 4),
            "curve": [round(statistics.fmean(losses[i : i + 100]), 4) for i in range(0, len(losses) - 99, 100)],
            "samples": re.findall(r"sample +\d+: (.*)", printed.getvalue())}


def verdict(losses, before):
    """Whether a level is better than the one before: in words, from the held-out losses of the same seeds."""
    differences = [loss - other for loss, other in zip(losses, before)]
    mean = statistics.fmean(differences)
    if max(map(abs, differences)) < 0.0001:  # the levels print four decimals
        return mean, "the same numbers"
    if len(differences) < 2:
        return mean, "one seed: no verdict"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return mean, "within the noise" if abs(mean) < 2 * error else "better" if mean < 0 else "worse"


def table(runs, vocab_size):
    """The lines of the table. runs: {level: [what run_level returned, for each seed]}."""
    lines = [f"{'level':<16}{'numbers':>8}   {'held-out loss':<17}{'change':<10}{'verdict':<22}a sample",
             f"{'even guess':<16}{0:>8}   {math.log(vocab_size):.4f}"]
    before = None
    for level, results in runs.items():
        losses = [result["loss"] for result in results]
        spread = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
        mean, word = verdict(losses, before) if before else (statistics.fmean(losses) - math.log(vocab_size), "")
        lines.append(f"{level:<16}{results[0]['numbers']:>8,}   {statistics.fmean(losses):.4f}{spread:<11}"
                     f"{round(mean, 4) + 0.0:<+10.4f}{word:<22}{results[0]['samples'][0][:20]}")
        before = losses
    return lines


def curves(runs):
    """{level: the mean over seeds of the loss of each 100 steps}."""
    return {level: [statistics.fmean(part) for part in zip(*[result["curve"] for result in results])]
            for level, results in runs.items()}


def drawing(runs, height=16, width=5):
    """The curves as lines of text: the number of each level at the mean loss of each 100 steps."""
    lines = curves(runs)
    losses = [loss for line in lines.values() for loss in line]
    if not losses:
        return []
    top, bottom, columns = max(losses), min(losses), max(map(len, lines.values()))
    step = (top - bottom) / (height - 1) or 1.0
    cells = [[""] * columns for _ in range(height)]
    for level, line in lines.items():
        for column, loss in enumerate(line):
            cells[round((top - loss) / step)][column] += level[0]
    rows = ["".join(short(cell).ljust(width) for cell in row).rstrip() for row in cells]
    return [*(f"{top - k * step:7.3f} |{row}" for k, row in enumerate(rows)), f"        +{'-' * width * columns}",
            f"         each column: the mean of 100 steps, {100 * columns:,} in all; 67: levels 6 and 7, 1-4: 1 to 4"]


def short(digits):
    """Rising digits with each run of three or more as its ends: 12347 -> 1-47."""
    for length in range(len(digits), 2, -1):
        for start in range(len(digits) - length + 1):
            run = digits[start : start + length]
            if run in "123456789":
                return short(digits[:start]) + f"{run[0]}-{run[-1]}" + short(digits[start + length :])
    return digits


def picture(runs, path):
    """The curves, and how far the seeds lie apart, as an image."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for number, (level, line) in enumerate(curves(runs).items()):
        steps = range(100, 100 * len(line) + 1, 100)
        axes.plot(steps, line, label=level, linestyle=("-", "--")[number % 2])  # equal curves can both be seen
        parts = list(zip(*[result["curve"] for result in runs[level]]))
        axes.fill_between(steps, [min(part) for part in parts], [max(part) for part in parts], alpha=0.15)
    axes.set(xlabel="step", ylabel="loss, mean of 100 steps (nats)")
    axes.legend()
    figure.savefig(path, dpi=150)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="?", default=HERE.parent / "names.txt", type=Path, help="a text, a word a line")
    parser.add_argument("--steps", type=int, default=1000, help="one document each (1000)")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 42, 43, 44 ... (3)")
    parser.add_argument("--n-head", type=int, default=4, help="of level 6 and script_gpt.py (4)")
    parser.add_argument("--image", help="write the curves into this file as well (needs matplotlib)")
    parser.add_argument("--keep", type=Path, help="add what was measured to this JSON file (levels/compare.json)")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.seeds < 1 or options.n_head not in (1, 2, 4, 8, 16):
        parser.error("--steps and --seeds must be at least 1, and --n-head must divide 16")
    try:
        training, unseen = split(options.names, 42)
        vocab_size = len(set("".join(training + unseen))) + 1
        if options.image:
            import matplotlib  # noqa: F401  that it is missing should be said before the work, not after it
    except (OSError, ValueError) as error:
        parser.error(f"{options.names}: {error}")
    except ImportError:
        parser.error("--image needs matplotlib: python3 -m pip install matplotlib")
    seeds = range(42, 42 + options.seeds)
    runs = {}
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        tasks = {path: [pool.submit(run_script if path == SCRIPT else run_level, path, options.names, options.steps,
                                    seed, options.n_head) for seed in seeds] for path in [*LEVELS, SCRIPT]}
        for number, (path, futures) in enumerate(tasks.items(), 1):
            if sys.stderr.isatty():
                print(f"level {number} of {len(tasks)} ...", end="\r", file=sys.stderr, flush=True)
            try:
                runs[f"{number} {path.stem.split('_', path != SCRIPT)[-1]}"] = [future.result() for future in futures]
            except ValueError as error:
                parser.error(str(error))
    print(f"{options.names.name}: {len(training) + len(unseen):,} documents, {options.steps:,} steps of one; "
          f"{len(seeds)} seed{'s' * (len(seeds) > 1)} (mean ± standard deviation);\n"
          f"held-out loss per token, in nats, on the last {len(unseen):,} after shuffling\n")
    print("\n".join([*table(runs, vocab_size), "", *drawing(runs)]))
    if options.steps > len(training):
        print("script_gpt.py, which holds nothing out, was given the training documents alone: so it shuffles them\n"
              "otherwise than level 6, and its numbers are not the same.")
    if options.image:
        picture(runs, options.image)
    if options.keep:
        kept = json.loads(options.keep.read_text("utf-8")) if options.keep.exists() else {}
        kept[options.names.stem] = {"steps": options.steps, "n_head": options.n_head, "seeds": list(seeds),
                                    "vocab_size": vocab_size, "levels": runs}
        parts = ",\n".join(f"{json.dumps(name)}: {json.dumps(part)}" for name, part in kept.items())
        options.keep.write_text(f"{{{parts}}}\n", "utf-8")


if __name__ == "__main__":
    main()
