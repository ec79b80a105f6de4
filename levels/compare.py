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
sys.path.insert(0, str(HERE.parent))

import script_gpt  # noqa: E402
from engines.output import check_can_replace, exit_code, write_whole  # noqa: E402
from script_gpt_refactored import InputError  # noqa: E402

LEVELS = sorted(HERE.glob("[1-9]_*.py"))
LAST = f"{len(LEVELS) + 1} script_gpt"
FORMAT = "see-through-gpt levels 1"
RUNNING = []  # the processes under way


def read(names):
    """The documents of a file, each once. Raises InputError if the levels would read others than script_gpt.py."""
    try:
        docs = list(dict.fromkeys(script_gpt.load_dataset(names)))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {names} ({error}): name a UTF-8 text, a word a line") from error
    spaced = next((doc for doc in docs if len(doc.split()) > 1), None)
    if spaced is not None:
        raise InputError(f"{names} has {spaced[:60]!r}, and the levels read single words: write it without spaces")
    if len(docs) < 7:
        raise InputError(f"{names} has {len(docs)} different words: give at least 7")
    return docs


def split(docs, seed):
    """The documents that a level trains on, in its order, and those it holds out."""
    docs = list(docs)
    random.Random(seed).shuffle(docs)
    held_out = min(1000, len(docs) * 15 // 100)
    return docs[:-held_out], docs[-held_out:]


def run(path, names, steps, seed, n_head):
    """Runs a level, or script_gpt.py. Returns {"numbers", "loss", "curve", "samples"}; curve: the mean loss of each
    100 steps."""
    arguments = [str(names), "--steps", str(steps), "--seed", str(seed)]
    if path is None:
        code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import compare; compare.script_as_a_level(sys.argv[1:])"
        command = [sys.executable, "-c", code, *arguments, "--n-head", str(n_head)]
    else:
        heads = ["--n-head", str(n_head)] if "--n-head" in path.read_text("utf-8") else []
        command = [sys.executable, str(path), *arguments, *heads]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    RUNNING.append(process)
    text, problem = process.communicate()
    if process.returncode:
        raise InputError(f"{path.name if path else LAST}: {(problem.strip() or 'ended').splitlines()[-1]}")
    return {"numbers": int(re.search(r"num params: (\d+)", text)[1]),
            "loss": float(re.search(r"held-out loss per token: (.+)", text)[1]),
            "curve": [float(loss) for loss in re.findall(r"mean loss of 100 (.+)", text)],
            "samples": re.findall(r"sample: (.*)", text)}


def script_as_a_level(arguments):
    """Runs script_gpt.py, asks its functions for the held-out loss of what it saved, and prints all as a level does.

    It knows nothing of held-out documents. Where it would come round to them, it gets a file without them.
    """
    names, steps, seed = arguments[0], int(arguments[2]), int(arguments[4])
    training, unseen = split(read(names), seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
        if steps > len(training):
            names = Path(folder, "training.txt")
            names.write_text("\n".join(training), "utf-8")
        saved = Path(folder, "model.json")
        script_gpt.main([str(names), *arguments[1:], "--samples", "5", "--temperature", "1", "--save", str(saved)])
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
    for end in range(100, len(losses) + 1, 100):
        print(f"step {end:4d} / {steps} | mean loss of 100 {statistics.fmean(losses[end - 100 : end]):.4f}")
    print(f"num params: {sum(len(row) for rows in state_dict.values() for row in rows)}")
    print(f"held-out loss per token: {total / count:.4f}")
    print(re.sub(r"sample +\d+:", "sample:", printed.getvalue().split("names ---\n")[1]), end="")


def run_all(names, steps, seeds, n_head):
    """{level: what `run` returned, for each seed}. Raises InputError as soon as one fails; then none goes on."""
    paths = {f"{number} {path.stem[2:]}": path for number, path in enumerate(LEVELS, 1)} | {LAST: None}
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        tasks = {pool.submit(run, path, names, steps, seed, n_head): (level, seed)
                 for level, path in paths.items() for seed in seeds}
        found = {}
        for done in concurrent.futures.as_completed(tasks):
            found[tasks[done]] = done.result()
            if sys.stderr.isatty():
                print(f"{len(found)} of {len(tasks)} runs ...", end="\r", file=sys.stderr, flush=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in RUNNING:
            process.kill()
    return {level: [found[level, seed] for seed in seeds] for level in paths}


def verdict(losses, before):
    """The mean change from the level before, and whether it is better: from the held-out losses of the same seeds."""
    differences = [loss - other for loss, other in zip(losses, before)]
    mean = statistics.fmean(differences)
    if max(map(abs, differences)) < 0.0001:  # the levels print four decimals
        return mean, "the same numbers"
    if len(differences) < 3:
        return mean, "too few seeds to say"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return mean, "within the noise" if abs(mean) <= 2 * error else "better" if mean < 0 else "worse"


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
    """The curves as lines of text, at most 16 columns: the number of each level at its mean loss of so many steps."""
    lines = curves(runs)
    most = max(map(len, lines.values()))
    if not most:
        return []
    each = math.ceil(most / 16)
    lines = {level: [statistics.fmean(line[i : i + each]) for i in range(0, most, each)]
             for level, line in lines.items()}
    top, bottom = max(map(max, lines.values())), min(map(min, lines.values()))
    step = (top - bottom) / (height - 1) or 1.0
    cells = [[""] * math.ceil(most / each) for _ in range(height)]
    for level, line in lines.items():
        for column, loss in enumerate(line):
            cells[round((top - loss) / step)][column] += level[0]
    rows = ["".join(short(cell).ljust(width) for cell in row).rstrip() for row in cells]
    legend = f"each column: the mean of {100 * each:,} steps, {100 * most:,} in all; 67: levels 6 and 7, 1-3: 1, 2, 3"
    return [*(f"{top - k * step:7.3f} |{row}" for k, row in enumerate(rows)),
            f"        +{'-' * width * len(cells[0])}", f"         {legend}"]


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


def check(options):
    """Raises InputError, before the work, for what would fail after it. Returns the documents."""
    if options.steps < 1 or options.seeds < 1 or options.n_head not in (1, 2, 4, 8, 16):
        raise InputError("--steps and --seeds must be at least 1, and --n-head must divide 16")
    docs = read(options.names)
    for seed in range(42, 42 + options.seeds):
        training, unseen = split(docs, seed)
        lost = set("".join(unseen)) - set("".join(training))
        if options.steps > len(training) and lost:
            raise InputError(f"{sorted(lost)[0]!r} stands in held-out words only, so that script_gpt.py would not know "
                             "it: give more words, or fewer --steps")
    if options.image:
        if not options.image.endswith((".png", ".svg", ".pdf", ".jpg")):
            raise InputError(f"--image {options.image}: end it in .png, .svg, .pdf or .jpg")
        check_can_replace(options.image, rb"\x89PNG|<\?xml|%PDF|\xff\xd8", None)
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise InputError("--image needs matplotlib: python3 -m pip install matplotlib") from error
    if options.keep:
        check_can_replace(options.keep, b'\\{"format": "' + FORMAT.encode(), None)
    return docs


def keep(path, name, figures):
    """Puts what was measured into the file, in place of what it held of documents of that name."""
    kept = json.loads(Path(path).read_text("utf-8")) if os.path.exists(path) else {"format": FORMAT}
    kept[name] = figures
    parts = ",\n".join(f"{json.dumps(key)}: {json.dumps(part)}" for key, part in kept.items())
    write_whole(path, lambda file: file.write(f"{{{parts}}}\n"))


def measure(options):
    docs, seeds = check(options), range(42, 42 + options.seeds)
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, "words.txt")  # one text for all, whatever each makes of a byte order mark
        names.write_text("\n".join(docs), "utf-8")
        runs = run_all(names, options.steps, seeds, options.n_head)
    training, unseen = split(docs, 42)
    vocab_size = len(set("".join(docs))) + 1
    if options.keep:
        keep(options.keep, options.names.stem, {"steps": options.steps, "n_head": options.n_head, "seeds": list(seeds),
                                                "vocab_size": vocab_size, "levels": runs})
    print(f"{options.names.name}: {len(docs):,} words, {options.steps:,} steps of one; {len(seeds)} "
          f"seed{'s' * (len(seeds) > 1)} (mean ± standard deviation);\n"
          f"held-out loss per token, in nats, on the last {len(unseen):,} after shuffling\n")
    print("\n".join([*table(runs, vocab_size), "", *drawing(runs)]))
    if options.steps > len(training):
        print("script_gpt.py, which holds nothing out, was given the training words alone: so it shuffles them\n"
              "otherwise than level 6, and its numbers are not the same.")
    if options.image:
        picture(runs, options.image)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="?", default=HERE.parent / "names.txt", type=Path, help="a text, a word a line")
    parser.add_argument("--steps", type=int, default=1000, help="one document each (1000)")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 42, 43, 44 ... (3)")
    parser.add_argument("--n-head", type=int, default=4, help="of level 6 and script_gpt.py (4)")
    parser.add_argument("--image", help="write the curves into this file as well (needs matplotlib)")
    parser.add_argument("--keep", help="put what was measured into this file as well (levels/compare.json)")
    options = parser.parse_args(arguments)
    return exit_code(lambda: measure(options))


if __name__ == "__main__":
    sys.exit(main())
