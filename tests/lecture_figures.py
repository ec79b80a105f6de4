"""Measures what the lectures of script_gpt_educational.py say about training, and keeps it in tests/lecture.json.

    python3 tests/lecture_figures.py [ROW ...]     (all of it takes a quarter of an hour; a ROW, n_embd=8 say, alone)
    python3 tests/lecture_figures.py --show        (prints what the lectures must say: sentences, table, drawing)

Each row is the default run with one thing changed, trained with each seed in SEEDS. Kept is the loss per token (to 4
decimals) on 1,000 names that no run reads, the last ones of the list as seed 42 shuffles it: the measure and the names
of labs/ablation. Kept too is a picture of attention, in percent: a run with one head that reads every name of five
letters three times, on such a document that it has not read.
"""
import argparse
import gc
import json
import os
import statistics
import sys

import helpers

sys.path.insert(0, helpers.ROOT)
from engines.output import InputError, exit_code, write_whole  # noqa: E402

FILE = os.path.join(helpers.ROOT, "tests", "lecture.json")
SEEDS = range(42, 47)
SHOWN = "emily" * 3  # the document whose attention is kept
SCALE = " / head_dim**0.5 for"
ROWS = {  # name: (options of GPTConfig, a piece of script_gpt_refactored.py and what it is replaced with)
    "default": ({}, ()),
    "n_layer=2": ({"n_layer": 2}, ()),
    "n_embd=8": ({"n_embd": 8}, ()),
    "n_embd=32": ({"n_embd": 32}, ()),
    "n_head=1": ({"n_head": 1}, ()),
    "n_head=8": ({"n_head": 8}, ()),
    "block_size=32": ({"block_size": 32}, ()),
    "learning_rate=0.001": ({"learning_rate": 0.001}, ()),
    "learning_rate=0.1": ({"learning_rate": 0.1}, ()),
    "beta1=0": ({"beta1": 0.0}, ()),
    "beta1=0.95": ({"beta1": 0.95}, ()),
    "beta2=0.9": ({"beta2": 0.9}, ()),
    "beta2=0.999": ({"beta2": 0.999}, ()),
    "eps_adam=0.01": ({"eps_adam": 0.01}, ()),
    "num_steps=300": ({"num_steps": 300}, ()),
    "num_steps=3000": ({"num_steps": 3000}, ()),
    "weight_std=0.01": ({"weight_std": 0.01}, ()),
    "weight_std=0.5": ({"weight_std": 0.5}, ()),
    "scores not divided": ({}, (SCALE, " for")),
    "scores divided by head_dim": ({}, (SCALE, " / head_dim for")),
    "no norm": ({}, ("scale = (dot(x, x) / len(x) + epsilon) ** -0.5", "scale = 1.0")),
    "no residual": ({}, ("x = add(x, linear(", "x = (linear(")),
}


def names():
    """The documents of names.txt, in file order."""
    with open(helpers.NAMES, encoding="utf-8") as file:
        return file.read().split()


def loss_of(tokens, gpt, state_dict, config):
    """The loss of a document, with nothing left on the tape, and how many tokens it is the mean over."""
    loss = gpt.compute_loss(tokens, state_dict, config).data
    gpt.Value.tape.clear()
    return loss, min(config.block_size, len(tokens) - 1)


def train(docs, seed=42, options=None, patch=()):
    """A run that leaves the last of the documents, as seed 42 shuffles them, unread. Returns the module, the run, the
    config and the unread documents."""
    gpt = helpers.load("script_gpt_refactored", *patch)
    assert not patch or patch[0] in helpers.source("script_gpt_refactored")
    config = gpt.GPTConfig(seed=seed, **options or {})
    unread = gpt.prepare_run(docs, gpt.GPTConfig()).documents[-min(1000, len(docs) * 15 // 100) :]
    run = gpt.prepare_run(docs, config)
    left_out = set(map(tuple, unread))
    read = [tokens for tokens in run.documents if tuple(tokens) not in left_out]
    optimizer = gpt.AdamOptimizer(run.state_dict, config)
    gc.disable()
    for step in range(config.num_steps):
        rate = config.learning_rate * (1 - step / config.num_steps)
        gpt.train_step(read[step % len(read)], run.state_dict, optimizer, rate, config)
    gc.enable()
    return gpt, run, config, unread


def held_out(row, seed):
    """The loss per token on unread names of one row and seed, to 4 decimals."""
    options, patch = ROWS[row]
    gpt, run, config, unread = train(names(), seed, options, patch)
    found = [loss_of(tokens, gpt, run.state_dict, config) for tokens in unread]
    return round(sum(loss * count for loss, count in found) / sum(count for _, count in found), 4)


def attention():
    """Head 0 on SHOWN, which a run with one head on names three times did not read: each position's weights in percent.
    """
    gpt, run, config, unread = train([name * 3 for name in names() if len(name) == 5], options={"n_head": 1})
    tokens = run.tokenizer.encode(SHOWN)
    assert tokens in unread
    rows, softmax = [], gpt.softmax
    gpt.softmax = lambda scores: (rows.append(softmax(scores)), rows[-1])[1]
    loss_of(tokens, gpt, run.state_dict, config)
    return [[round(100 * weight.data) for weight in row] for row in rows]


PARAMETERS = (  # name, its value here, a lower and a higher one that were tried, what GPT-2 small or Adam's paper took
    ("n_layer", "1", "", "2", "12"), ("n_embd", "16", "8", "32", "768"), ("n_head", "4", "1", "8", "12"),
    ("block_size", "16", "", "32", "1,024"), ("learning_rate", "0.01", "0.001", "0.1", "0.001"),
    ("beta1", "0.85", "0", "0.95", "0.9"), ("beta2", "0.99", "0.9", "0.999", "0.999"),
    ("eps_adam", "1e-8", "", "0.01", "1e-8"), ("num_steps", "1000", "300", "3000", ""),
    ("weight_std", "0.08", "0.01", "0.5", "0.02"),
)


def change(kept, row):
    """How a row's loss differs from that of the default run with the same seed: mean and standard deviation."""
    found = [loss - kept["held out"]["default"][seed] for seed, loss in kept["held out"][row].items()]
    return statistics.fmean(found), statistics.stdev(found)


def is_clear(mean, spread):
    """Whether a difference deserves its star."""
    return abs(mean) > 2 * spread and abs(mean) >= 0.01


def table(kept):
    """The table of the lecture on hyperparameters, line by line."""
    def cell(name, value):
        if not value:
            return ""
        mean, spread = change(kept, f"{name}={value}")
        if name == "learning_rate" and float(value) >= 0.1:
            return f"{value:<6}+, unsteady"
        return f"{value:<6}{round(mean, 3) + 0.0:+.3f} ± {spread:.3f}{' *' * is_clear(mean, spread)}"

    lines = [("parameter", "here", "lowered to", "raised to", "others")]
    lines += [(name, here, cell(name, lower), cell(name, higher), others)
              for name, here, lower, higher, others in PARAMETERS]
    return [f"    {name:<14}{here:<5}{lower:<23}{higher:<23}{others}".rstrip()
            for name, here, lower, higher, others in lines]


def drawing(kept):
    """The picture of attention, line by line: the positions whose answer has stood before, blank below 2 %."""
    letters = "^" + SHOWN
    lines = ["         " + "".join(f"{letter:>4}" for letter in letters[:15])]
    for position in range(5, 15):
        row = kept["attention"][position]
        cells = "".join(f"{weight if weight >= 2 else '':>4}" for weight in row)
        lines.append(f"    {position:>3} {letters[position]}{cells}".rstrip())
    return lines


def sentences(kept, ablation):
    """What the lectures say of trained models, sentence by sentence, from tests/lecture.json and labs/ablation.json.

    A verdict that the figures do not bear is an AssertionError.
    """
    loss = {(table, row): statistics.fmean(found["loss"]) for tables in (ablation["tables"], ablation["statements"])
            for table, rows in tables.items() for row, found in rows["rows"].items() if "loss" in found}
    whole, no_mlp, neither = "the whole layer", "+ attention, no MLP", "+ MLP, no attention"
    worth = loss["names", neither] - loss["names", whole]
    later = loss["names, 10,000 steps", neither] - loss["names, 10,000 steps", whole]
    between_seeds = statistics.stdev(ablation["tables"]["names"]["rows"][whole]["loss"])
    assert 0 < worth < between_seeds < 0.01 and later > 3 * worth
    assert abs(loss["positions", "without positions"] - loss["positions", "with positions"]) < between_seeds
    assert loss["names", "token alone"] - loss["names", "+ position"] > 0.1
    assert abs(loss["names", no_mlp] - loss["names", whole]) < 0.001
    shares = [[100 * share for share in ablation["tables"]["sums"]["rows"][row]["right"]] for row in (whole, no_mlp)]
    right, wrong = ((statistics.fmean(share), statistics.stdev(share)) for share in shares)
    assert right[0] - wrong[0] > 2 * (right[1] + wrong[1])
    rates = ablation["statements"]["optimizers"]["rows"]
    adam, plain = (min((row for row in rates if row.startswith(kind)), key=lambda row: loss["optimizers", row])
                   for kind in ("Adam", "plain descent"))
    best = [row.split("rate ")[1] for row in (adam, plain)]
    tried = sorted(float(row.split("rate ")[1]) for row in rates if row.startswith("plain descent"))
    assert tried[0] < float(best[1]) < tried[-1], "the best rate of plain descent lies between others"
    assert 0 < loss["optimizers", plain] - loss["optimizers", adam] < statistics.stdev(rates[adam]["loss"])
    assert best[0] == "0.01", "the lecture's own rate"
    places = [sum(row[position - back] for back in (4, 9) if back < position)
              for position, row in enumerate(kept["attention"]) if 5 <= position < 15]
    changes = {row: change(kept, row)[0] for row in kept["held out"]}
    assert not any(is_clear(*change(kept, row)) for row in ("scores not divided", "scores divided by head_dim"))
    assert all(is_clear(*change(kept, row)) for row in ("no norm", "no residual", "weight_std=0.5"))
    assert min(changes, key=changes.get) == "num_steps=3000"
    assert {row for row in changes if "=" in row and changes[row] > 0.03} == {
        "learning_rate=0.001", "learning_rate=0.1", "num_steps=300", "weight_std=0.5"}
    said = {key: f"{loss[key]:.3f} ± {statistics.stdev(found['loss']):.3f}"
            for tables in (ablation["tables"], ablation["statements"]) for table, rows in tables.items()
            for row, found in rows["rows"].items() for key in [(table, row)] if key in loss}
    five = {row: f"{statistics.fmean(found.values()):.2f} ± {statistics.stdev(found.values()):.2f}"
            for row, found in kept["held out"].items()}
    instead = f"instead of {five['default'].split()[0]} (five seeds)"
    assert five["default"] == five["scores not divided"] == five["scores divided by head_dim"]
    return {
        "DEFAULT": f"The default run has a loss per token of {five['default']} on 1,000 names it did not read.",
        "BEST": f"num_steps: three times as many lower the loss by {-changes['num_steps=3000']:.2f}, more than any"
                "thing else in the table. Most harm, more than 0.03, is done by far too few steps, a rate ten times "
                "too low or too high, and large first weights.",
        "POSITIONS": "Positions count as little after 1,000 steps: without wpe the loss is "
                     f"{said['positions', 'without positions']}. But with neither attention nor MLP it is "
                     f"{said['names', '+ position']} with wpe and {said['names', 'token alone']} without (ten seeds).",
        "LARGE": "with a standard deviation of 0.5 the loss, which says how wrong the guesses are, is "
                 f"{five['weight_std=0.5']} on unread names after training, instead of {five['default']} (five seeds).",
        "NORM": f"Without any norm this small model has a loss of {five['no norm']} on unread names {instead}.",
        "RESIDUAL": "Without the two additions this model has a loss of "
                    f"{five['no residual']} on unread names {instead}.",
        "SCALES": f"it makes no difference beyond chance: the loss on unread names is {five['default']} with it, "
                  "without any division, and with head_dim itself (five seeds).",
        "WORTH": f"The loss per token on unread names is {said['names', whole]} with it and {said['names', neither]} "
                 f"without (ten seeds). The difference, {worth:.3f} before rounding, is less than the spread between "
                 f"seeds. After 10,000 steps it is {later:.3f} (five seeds).",
        "REPEAT": "On such documents that were not read the loss per token is "
                  f"{said['repeat', neither]} without attention and {said['repeat', whole]} with (ten seeds).",
        "LOOKS": f"In every row {min(places)} to {max(places)} % go four or nine places back, where the letter stands "
                 "that comes next.",
        "MLP": "On names, after 1,000 steps, they change the loss by less than 0.001 in the mean of ten seeds: no "
               "difference beyond chance. On sums such as 7+5=12 they count: "
               f"{right[0]:.0f} ± {right[1]:.0f} % of the digits right against {wrong[0]:.0f} ± {wrong[1]:.0f}, "
               "in sums never shown, after 5,000 steps (five seeds).",
        "ADAM": "On names hardly: each at the best of the rates tried, the loss per token on unread ones is "
                f"{said['optimizers', adam]} with Adam, at {best[0]}, and {said['optimizers', plain]} with plain "
                f"descent, at {best[1]} (ten seeds). At Adam's rate plain descent comes to "
                f"{said['optimizers', f'plain descent, rate {best[0]}']}.",
    }


def read_kept():
    """What tests/lecture.json and labs/ablation.json hold."""
    for path in (FILE, os.path.join(helpers.ROOT, "labs", "ablation.json")):
        try:
            with open(path, encoding="utf-8") as file:
                yield json.load(file)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path} ({error}): take the one of this project") from error


def measure(rows):
    """Measures these rows, or all and the picture, and keeps each figure as soon as it is there."""
    kept = {"held out": {}}
    if os.path.exists(FILE):
        kept, _ = read_kept()
    if not rows:
        kept["attention"] = attention()
    for seed in SEEDS:
        for row in rows or ROWS:
            kept["held out"].setdefault(row, {})[str(seed)] = loss = held_out(row, seed)
            print(f"{row}, seed {seed}: {loss:.4f}", flush=True)
            write_whole(FILE, lambda file: file.write(json.dumps(kept, indent=1) + "\n"))


def show():
    """Prints what the lectures must say."""
    kept, ablation = read_kept()
    print(*sentences(kept, ablation).values(), *table(kept), *drawing(kept), sep="\n")


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Measures what the lectures say about training.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure (default: all, and the picture)")
    parser.add_argument("--show", action="store_true", help="measure nothing; print what the lectures must say")
    options = parser.parse_args(arguments)

    def run():
        for row in options.rows:
            if row not in ROWS:
                raise InputError(f"there is no row {row!r}: choose among {', '.join(ROWS)}")
        show() if options.show else measure(options.rows)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
