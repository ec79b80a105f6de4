"""What the study guide says of training, measured: the command that makes tests/guide.json, and the tables made of it.

    python3 tests/guide_figures.py            trains everything again and writes tests/guide.json (some three minutes)
    python3 tests/guide_figures.py --show     prints the tables and drawings, as they stand in the guide
"""
import argparse
import gc
import json
import math
import os
import random
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import helpers  # noqa: E402

from engines.output import exit_code, write_whole  # noqa: E402
from labs.bugs import library  # noqa: E402

PATH = os.path.join(helpers.ROOT, "tests", "guide.json")
SEEDS = (42, 1, 2)
STEPS = 100  # of a run with a mistake
RIGHT = "no mistake"
MISTAKES = (
    RIGHT, "gradients never set to 0", "uphill", "a missing +=", "backward in the wrong order", "slopes of * swapped",
    "all weights equal", "no closing BOS", "sum of losses for their mean", "target off by one",
    "no residual around attention", "every position the same", "no positions", "no relu", "scores not divided",
    "own key not in the cache", "one head used for all", "query and key the same", "no norm before the MLP",
    "no bias correction", "Adam skips zero gradients")
WORD = "emily"  # the name that is drawn; the run below has not read it
BUGS = {bug.name: (bug.right, bug.wrong) for bug in library.BUGS}


def trained(docs, steps, seed=42, patch=(), **config):
    """A run of the refactored script, with a mistake in it or not: (module, config, tokenizer, weights, losses, "
    "rng)."""
    gpt = helpers.load("script_gpt_refactored", *patch)
    config = gpt.GPTConfig(num_steps=steps, seed=seed, **config)
    docs, rng = list(docs), random.Random(seed)
    rng.shuffle(docs)
    tokenizer = gpt.Tokenizer("".join(sorted(set("".join(docs)))))
    state_dict = gpt.initialize_parameters(config, tokenizer.vocab_size, rng)
    adam, losses = gpt.AdamOptimizer(state_dict, config), []
    gc.disable()
    for step in range(steps):
        rate = config.learning_rate * (1 - step / steps)
        losses.append(gpt.train_step(tokenizer.encode(docs[step % len(docs)]), state_dict, adam, rate, config))
    gc.enable()
    return gpt, config, tokenizer, state_dict, losses, rng


def names():
    return helpers.load("script_gpt_refactored").load_dataset(helpers.NAMES)


def measure_mistake(mistake, seeds=SEEDS):
    """First loss and mean of the last 50 of 100 steps with a mistake, for each seed, in nats."""
    found = []
    for seed in seeds:
        losses = trained(names(), STEPS, seed, BUGS.get(mistake, ()))[4]
        found.append([round(losses[0], 4), round(statistics.fmean(losses[-50:]), 3)])
    return found


def measure_default_run():
    """The losses and samples of the default run, as a script prints them."""
    lines = helpers.run("script_gpt").stdout.splitlines()
    return {"losses": [float(line.split()[-1]) for line in lines if line.startswith("step")],
            "samples": [line.split(": ", 1)[1] for line in lines if line.startswith("sample")]}


def repeated():
    """The documents of levels/data.py repeat: each name of five letters three times."""
    return [name * 3 for name in names() if len(name) == 5 and name.isalpha()]


def measure_attention():
    """One head after 1,000 steps on names three times: where it looks in one that it has not read, and six samples."""
    docs = repeated()
    gpt, config, tokenizer, state_dict, losses, rng = trained(docs, 1000, n_head=1)
    shuffled = list(docs)
    random.Random(42).shuffle(shuffled)
    if WORD * 3 in shuffled[:1000]:
        raise SystemExit(f"{WORD} is among the names that were read: choose another")
    rows, real = [], gpt.softmax

    def recording(x):
        rows.append([round(p.data, 2) for p in real(x)])
        return real(x)

    gpt.softmax = recording
    gpt.compute_loss(tokenizer.encode(WORD * 3), state_dict, config)
    gpt.softmax = real
    gpt.Value.tape.clear()
    return {"weights": rows, "last losses": round(statistics.fmean(losses[-100:]), 2), "names": len(docs),
            "samples": [gpt.generate_text([tokenizer.bos], state_dict, tokenizer, config, rng) for _ in range(6)]}


def measure_without_attention():
    """Six samples of the same run on names three times, with what attention finds never added."""
    found = 'x = add(x, linear(attn_out, state_dict[f"layer{layer}.attn_wo"]))  # [n_embd]'
    gpt, config, tokenizer, state_dict, _, rng = trained(repeated(), 1000, 42, (found, "pass"), n_head=1)
    return [gpt.generate_text([tokenizer.bos], state_dict, tokenizer, config, rng) for _ in range(6)]


def measure_memory():
    """Megabytes by which a process grows that computes the losses of 400 names, without and with clearing the tape.

    What it holds is read from Linux's /proc: the largest it has ever held begins, in a child, with that of its parent.
    """
    found = []
    for clear in ("", "; gpt.Value.tape.clear()"):
        program = ("import os, script_gpt_refactored as gpt\n"
                   "def now(): return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')\n"
                   "config, docs = gpt.GPTConfig(), gpt.load_dataset('names.txt')\n"
                   "run = gpt.prepare_run(docs, config)\n"
                   "before = now()\n"
                   f"for tokens in run.documents[:400]: gpt.compute_loss(tokens, run.state_dict, config){clear}\n"
                   "print((now() - before) / 1024**2)")
        found.append(round(float(subprocess.run([sys.executable, "-c", program], cwd=helpers.ROOT, check=True,
                                                capture_output=True, encoding="utf-8").stdout)))
    return found


def measure():
    kept = {"command": "python3 tests/guide_figures.py", "seeds": SEEDS,
            "default run": measure_default_run(), "attention": measure_attention(), "megabytes": measure_memory(),
            "without attention": measure_without_attention()}
    kept["mistakes"] = {mistake: measure_mistake(mistake) for mistake in MISTAKES}
    return kept


# ---------------------------------------------------------------------------------------------------------------------
# What the guide says of these figures, and of those of labs/ablation.json: pieces of its text, by section.
# ---------------------------------------------------------------------------------------------------------------------

WORDS = "no one two three four five six seven eight nine ten eleven twelve".split()


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def spread(numbers, digits=3):
    """Mean ± standard deviation over the seeds."""
    return f"{statistics.fmean(numbers):.{digits}f} ± {statistics.stdev(numbers):.{digits}f}"


def percent(numbers):
    return f"{100 * statistics.fmean(numbers):.0f} %"


def more(row, other, digits=3):
    """The mean over the seeds of how much larger one row's loss is than another's."""
    return f"{statistics.fmean(a - b for a, b in zip(row['loss'], other['loss'])):.{digits}f}"


def table(head, rows):
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, *rows]).replace(
        "\n", "\n|" + "---|" * len(head) + "\n", 1)


def transcript(run):
    """The default run as it is printed, cut to what shows its course."""
    losses, samples = run["losses"], run["samples"]
    steps = [f"step {t:4d} / 1000 | loss {losses[t - 1]:.4f}" for t in (1, 2, 3)]
    names = [f"sample {i:2d}: {samples[i - 1]}" for i in (1, 2, 3, 4, 5)]
    return "\n".join(["num docs: 11611", "vocab size: 27", "num params: 4192", *steps, "...",
                      "--- new names ---", *names, "..."])


def drawing(rows):
    """Where one head looks: a row for each letter read, tenths of its weight on each letter so far."""
    read = "^" + WORD * 3
    lines = ["           looks at", "reads      " + " ".join(read) + "    next"]
    for position, weights in enumerate(rows):
        cells = ["#" if w >= 0.95 else "." if w < 0.05 else str(int(10 * w + 0.5)) for w in weights]
        lines.append(f"    {read[position]}      {' '.join(cells):{2 * len(read) + 3}}{(read + '^')[position + 1]}")
    return "\n".join(lines)


def on_the_answer(rows):
    """At each letter from the fifth on but the last, the weight on places where the letter stood that comes next."""
    return [sum(rows[position][place] for place in range(position - 4, 0, -5)) for position in range(5, 15)]


def rows_of_worth(tables):
    """Attention taken out and left in, on each kind of document."""
    kinds = (("names", "a name", "emma", "four heads"), ("repeat", "a name three times", "emilyemilyemily", "one head"),
             ("dial", "dial: four letters, then places and what stands there", "abcd2b1a4d3c", "one head"),
             ("sums", "sums, of pairs never shown", "7+5=12", "four heads"))
    for name, what, example, heads in kinds:
        without, whole = (tables[name]["rows"][row] for row in ("+ MLP, no attention", "the whole layer"))
        right = [percent(row["all right"]) if "all right" in row else "" for row in (without, whole)]
        yield [what, f"`{example}`", f"{tables[name]['setting']['steps']:,}, {heads}", spread(without["loss"]),
               spread(whole["loss"]), f"{right[0]} / {right[1]}" if right[0] else ""]


ENDLESS, SAME, SMALL, CLEAR = 1000, 0.04, 0.1, 0.1  # nats: where a verdict of section 8 ends and the next begins


def verdict(first, last, right_first, right_last):
    """What the loss shows of a mistake: its own first loss and mean of the last 50, and those of the right program."""
    more = last - right_last
    if last > ENDLESS:
        return "grows without end"
    if first > 2 * right_first:
        return "begins many times too high"
    if more < -CLEAR:
        return "far too good"
    if last > first + CLEAR:
        return "climbs above where it began"
    if last > first - CLEAR:
        return "learns nothing"
    return "nothing" if abs(more) < SAME else "a little worse" if more < SMALL else "worse"


RULE = (
    f"The verdict is the first that fits: *grows without end* if the last 50 are above {ENDLESS:,}; *begins many times "
    "too high* if the first loss is more than twice the right one; *far too good* if the last 50 are more than "
    f"{CLEAR} below the right ones; *climbs* if more than {CLEAR} above their own first loss, *learns nothing* if "
    f"within {CLEAR} of it; *nothing* if less than {SAME} from the right ones, *a little worse* if less than {SMALL}, "
    "else *worse*.")


def mistake_rows(kept):
    """mistake -> (first loss, mean of the last 50, how much more than the right program, verdict), means over seeds."""
    right = kept["mistakes"][RIGHT]
    right_first, right_last = (statistics.fmean(column) for column in zip(*right))
    found = {}
    for mistake, runs in kept["mistakes"].items():
        first, last = (statistics.fmean(column) for column in zip(*runs))
        found[mistake] = first, last, last - right_last, verdict(first, last, right_first, right_last)
    found[RIGHT] = (*found[RIGHT][:3], "it learns")
    return found


def mistakes_table(kept):
    rows = []
    for mistake, (first, last, more, what) in mistake_rows(kept).items():
        above = f"{round(more, 3) + 0.0:+.3f}".replace("-", "−")  # + 0.0 makes 0 of -0
        figures = ["thousands", ""] if last > 1000 else [f"{last:.2f}", above]
        rows.append([mistake, f"{first:.2f}", figures[0], "" if mistake == RIGHT else figures[1], what])
    return table(["what is wrong", "first loss", "last 50", "more", "what the loss shows"], rows)


def default_losses(run):
    rows = []
    for first, last in ((1, 100), (451, 550), (901, 1000)):
        part = run["losses"][first - 1 : last]
        rows.append([f"{first:,} to {last:,}", *(f"{f(part):.2f}" for f in (statistics.fmean, min, max))])
    return table(["steps", "mean loss", "smallest", "largest"], rows)


def by_chance(seeds):
    """How often the mean of so many differences is more than two standard errors from 0 where there is none (the
    differences as in a bell curve): the share of Student's t outside of -2 to 2, by sums of narrow strips."""
    strips = [(1 + ((i + 0.5) / 1000) ** 2 / (seeds - 1)) ** (-seeds / 2) for i in range(2000)]  # 0 to 2
    height = math.gamma(seeds / 2) / (math.sqrt((seeds - 1) * math.pi) * math.gamma((seeds - 1) / 2))
    return 1 - 2 * height * sum(strips) / 1000


def noise(row, other):
    """Whether a difference of held-out losses, seed by seed, is less than two standard errors."""
    found = [a - b for a, b in zip(row["loss"], other["loss"])]
    return abs(statistics.fmean(found)) <= 2 * statistics.stdev(found) / math.sqrt(len(found))


def only(rows, word):
    """The one row, or column, whose name has this word in it."""
    found, = (row for name, row in rows.items() if word in name)
    return found


ABLATED = ("names", "names, 10,000 steps", "names, 32 a step")


def ablation_table(tables):
    """Parts taken out, at three amounts of training."""
    rows = []
    for name, row in tables["names"]["rows"].items():
        losses = [spread(tables[table]["rows"][name]["loss"]) for table in ABLATED]
        rows.append([name, f"{row['parameters']:,}" if "parameters" in row else "", *losses])
    settings = [tables[name]["setting"] for name in ABLATED]
    names_each = {1: "1 name each", 32: "32 names each"}
    head = [f"{setting['steps']:,} steps, {names_each[setting['batch']]}" for setting in settings]
    return table(["what is left", "parameters", *head], rows)


def ablation_sentences(tables):
    """What the table says, part by part."""
    rows = [tables[name]["rows"] for name in ABLATED]

    def three(row, other):
        found = ["nothing" if noise(r[row], r[other]) else more(r[row], r[other]) for r in rows]
        return f"{found[0]}, {found[1]} and {found[2]}"

    whole = "the whole layer"
    gaps = [float(more(row[whole], row["best n-gram"])) for row in rows]
    words = [f"{abs(gap):.3f} {'more' if gap > 0 else 'less'}" for gap in gaps]
    return (f"At the three amounts of training the MLP is worth {three('+ attention, no MLP', whole)}; attention "
            f"{three('+ MLP, no attention', whole)}; the layer, both, {three('+ position', whole)}; a second layer "
            f"{three(whole, 'two layers')}. (*Nothing*: within the noise.) And the whole layer pays {words[0]}, "
            f"{words[1]} and {words[2]} than the best of these counts.")


def silent(row):
    """What became of neurons that were silent on every name."""
    again, end = sum(only(row, "spoke again")), sum(only(row, "at the end"))
    return (f"In ten default runs, looked at every 50 steps, {WORDS[again]} such neurons were seen that spoke again "
            f"later; at the end {WORDS[end] if end else 'none'} was silent on all names.")


def of_division(rows):
    """What dividing the scores of a head of 64 numbers does at the start, and after training."""
    root, nothing, d = (rows[name] for name in ("sqrt(d) = 8", "nothing", "d = 64"))
    before, after, loss = ([f"{statistics.fmean(row[figure]):.{digits}f}" for row in (root, nothing, d)]
                           for figure, digits in (("before", 2), ("after", 2), ("loss", 3)))
    apart = "less" if noise(nothing, root) and noise(d, root) else "little more"
    return (f"But that is the start. On names, with one head of 64 numbers, its largest weight at the end of a name is "
            f"{before[0]} before training; without the division {before[1]}; divided by d {before[2]}, where an even "
            f"share is {statistics.fmean(root['even']):.2f}. After 1,000 steps it is {after[0]}, {after[1]} and "
            f"{after[2]}, and the held-out losses, {loss[0]}, {loss[1]} and {loss[2]}, differ by {apart} than the "
            "noise (five seeds).")


def pieces():
    """section of the guide -> {name: a piece of its text with measured figures or verdicts}."""
    kept, ablation = load(PATH), load(os.path.join(helpers.ROOT, "labs", "ablation.json"))
    tables = ablation["tables"]
    said = {name: statement["rows"] for name, statement in ablation["statements"].items()}
    rows, repeat, dial = (tables[name]["rows"] for name in ("names", "repeat", "dial"))
    loss = {name: spread(row["loss"]) for name, row in rows.items()}
    found = {}
    for part in (of_the_run, of_counting, of_parts, of_names):
        found.update(part(kept, tables, said, rows, repeat, dial, loss))
    return found


def of_the_run(kept, tables, said, rows, repeat, dial, loss):
    run, whole, weights = kept["default run"], rows["the whole layer"], kept["attention"]["weights"]
    attention = more(rows["+ MLP, no attention"], whole)
    least = math.floor(100 * min(on_the_answer(weights))) / 100
    invented = [", ".join(samples[:3]) for samples in (kept["attention"]["samples"], kept["without attention"])]
    pairs, letters = (f"{statistics.fmean(rows[name]['loss']):.2f}" for name in ("pair counts", "best n-gram"))
    worth = table(["documents", "such as", "steps", "loss without attention", "with",
                   "documents with every predictable character right"],
                  rows_of_worth(tables))
    return {
        "1.1 What it does": {"RUN": transcript(run)},
        "1.2 What its loss means": {
            "LOSSES_SENTENCE":
                f"After 1,000 steps it pays {statistics.fmean(run['losses'][-100:]):.2f} on the names it reads, the "
                f"mean of the last hundred; on names that it has never read, {spread(whole['loss'], 2)}: the mean of "
                "ten *seeds* (runs that differ by chance alone) ± the standard deviation, their usual distance from "
                "it.",
            "COUNTS_SENTENCE":
                f"A table of which letter follows which, counted in as many names, pays {pairs}; of "
                f"the counts of several letters that were tried the best pays {letters}."},
        "1.3 What attention is worth": {
            "WORTH_TABLE": worth,
            "WORTH_SENTENCE":
                f"It takes {attention} nats off {statistics.fmean(rows['+ MLP, no attention']['loss']):.2f} (before "
                "rounding).",
            "DISTANCE_SENTENCE":
                "But that distance is always the same: positions tell it, and an MLP handed five letters pays "
                f"{statistics.fmean(repeat['MLP on the last 5']['loss']):.3f} ([5.4]).",
            "DIAGONAL_INTRO": f"This head, in one run, then reads {WORD * 3}, which it has not met:",
            "SAMPLES_SENTENCE":
                f"What it invents: {invented[0]}. The same run without attention invents {invented[1]}.",
            "DIAGONAL": drawing(weights),
            "DIAGONAL_SENTENCE":
                f"Each row from the first {WORD[-1]} to the last {WORD[-2]} puts at least {least:.2f} on places where "
                "the *next* letter has stood before."},
    }


def of_sums(rows):
    """What the MLP adds where something must be worked out, and what it is to know by heart."""
    alone, whole = rows["+ attention, no MLP"], rows["the whole layer"]
    figures = [f"{100 * statistics.fmean(row[kind]):.0f} ± {100 * statistics.stdev(row[kind]):.0f}"
               for kind in ("shown", "held out") for row in (alone, whole)]
    mirrored = round(statistics.fmean(whole["mirrored"]))
    return (f"It counts where more is asked than to fetch: of sums such as 7+5=12, attention alone gets {figures[0]} % "
            f"of those it is shown right, with the MLP {figures[1]}; of 15 never shown {figures[2]} and {figures[3]} "
            f"(ten seeds), though of about {mirrored} the mirror image, 5+7, was shown or is the same.")


def of_counting(kept, tables, said, rows, repeat, dial, loss):
    level = load(os.path.join(helpers.ROOT, "levels", "compare.json"))["names"]["levels"]["4 mlp"]
    pairs, letters = (f"{statistics.fmean(rows[name]['loss']):.2f}" for name in ("pair counts", "letter counts"))
    return {
        "3.1 Cross-entropy and perplexity": {
            "ENTROPY_SENTENCE":
                "No model that gives the same $`p`$ at every place can go below it; one that reads the letters before "
                f"can: on names, held out, pairs pay {pairs} where letter shares pay {letters}."},
        "3.2 Four baselines": {
            "NGRAM_SENTENCE":
                "The fourth counts what follows several letters: the best of the counts tried ([6]). Over ten seeds "
                f"the table of pairs pays {loss['pair counts']}, that count {loss['best n-gram']}, and the GPT, after "
                f"as many names, {loss['the whole layer']}."},
        "5.3 The MLP": {
            "MLP_SENTENCE":
                f"On names such a network, trained with Adam ([5.7]), pays {loss['MLP on the last 3']} after 1,000 "
                f"steps, where the table of pairs pays {loss['pair counts']} (ten seeds); the level itself, by plain "
                f"descent, {spread([run['loss'] for run in level])} ({WORDS[len(level)]} seeds).",
            "SUMS_SENTENCE": of_sums(said["other sums"]),
            "NEURON_SENTENCE":
                "Believing that a neuron which is silent on all data is dead for ever. It gets no gradient; but "
                "momentum still moves it, and what it reads changes as other weights learn. "
                + silent(said["silent neurons"]["64 neurons"])},
    }


def of_rules(rows):
    """Adam, momentum and plain descent, each at the best rate of those that were tried."""
    tried = {rule: {name.rsplit(" ", 1)[1]: row for name, row in rows.items() if name.startswith(rule)}
             for rule in ("Adam", "momentum", "plain descent")}
    best = {rule: min(found, key=lambda rate: statistics.fmean(found[rate]["loss"])) for rule, found in tried.items()}
    said = [f"{rule} {spread(found[best[rule]]['loss'])} ({best[rule]})" for rule, found in tried.items()]
    counts = [WORDS[len(found)] for found in tried.values()]
    adam, plain = (tried[rule][best[rule]] for rule in ("Adam", "plain descent"))
    ahead = "no more than noise ahead of" if noise(adam, plain) else f"{more(plain, adam)} ahead of"
    slow = statistics.fmean(tried["plain descent"]["0.01"]["loss"])
    return (f"({counts[0]}, {counts[1]} and {counts[2]}): {', '.join(said)}. So Adam is {ahead} plain descent; "
            f"but the rate matters: at 0.01 plain descent only gets to {slow:.3f}.")


def of_parts(kept, tables, said, rows, repeat, dial, loss):
    heads, adam, positions = said["heads"], said["optimizers"], said["positions"]
    count = [f"{statistics.fmean(heads[name]['loss']):.3f}" for name in ("1 head", "2 heads", "4 heads", "8 heads")]
    trained = only(said["previous letter"], "1,000")
    looked, untrained = ([share for name, shares in row.items() if name.startswith("head") for share in shares]
                         for row in (trained, said["previous letter"]["untrained"]))
    with_, without = positions["with positions"], positions["without positions"]
    right = [percent(dial[name]["right"]) for name in ("MLP on the last 11", "the whole layer")]
    within = all(noise(heads[name], heads["4 heads"]) for name in ("2 heads", "8 heads"))
    if noise(heads["1 head"], heads["4 heads"]):
        raise ValueError("one head is no worse than four: the sentence on heads has to be written anew")
    schedules, both = said["schedules"], said["positions, longer"]
    longer = more(both["without positions"], both["with positions"])
    batches = [f"{statistics.fmean(row['loss']):.3f}" for row in (
        said["batches"]["4 a step"], said["batches"]["1 a step"], said["lengths"]["3,000 steps"])]
    return {
        "5.4 Attention": {
            "FAR_SENTENCE":
                "Given the last five letters it does well on a name three times: "
                f"{spread(repeat['MLP on the last 5']['loss'])}, against {spread(repeat['the whole layer']['loss'])} "
                "with attention. But let a digit say which letter is to come, as in a dial: an MLP on all eleven "
                f"characters before is right {right[0]} of the time, one head {right[1]} (ten seeds).",
            "DIVIDE_SENTENCE": of_division(said["scales"]),
            "HEADS_SENTENCE":
                f"On names one, two, four and eight heads reach {count[0]}, {count[1]}, {count[2]} and {count[3]} "
                f"held out (ten seeds; from seed to seed {statistics.stdev(heads['4 heads']['loss']):.3f}): one is "
                f"{more(heads['1 head'], heads['4 heads'])} worse than four; the others differ from four "
                f"{'within' if within else 'beyond'} the noise ([6]).",
            "ROLE_SENTENCE":
                "On names no head looks at the letter before in particular: in five runs of four heads a head puts "
                f"{min(looked):.2f} to {max(looked):.2f} of its weight there, {statistics.fmean(looked):.2f} in the "
                f"mean; an untrained one puts {min(untrained):.2f} to {max(untrained):.2f}, even attention "
                f"{statistics.fmean(trained['even']):.2f}."},
        "5.6 gpt_forward": {
            "POSITION_SENTENCE":
                f"On names positions are worth {more(without, with_)} of {statistics.fmean(without['loss']):.3f} held "
                f"out; without attention and MLP {more(rows['token alone'], rows['+ position'])} (ten seeds); and "
                f"after 3,000 steps of 32 names {longer}."},
        "5.7 Adam": {
            "ADAM_SENTENCE":
                "On names that is worth little. Held out, ten seeds, each at the best of the rates tried "
                f"{of_rules(adam)}"},
        "5.8 The training step": {
            "SCHEDULE_SENTENCE":
                f"Held out, that costs {more(schedules['never falling'], schedules['falling to 0'])} (ten seeds).",
            "BATCH_SENTENCE":
                f"On names four a step reach {batches[0]} in 1,000 steps, which read 4,000 names; one a step reaches "
                f"{batches[1]} with 1,000 names (ten seeds each) and {batches[2]} with 3,000 (three seeds)."},
    }


def of_names(kept, tables, said, rows, repeat, dial, loss):
    run, mistakes = kept["default run"], mistake_rows(kept)
    with open(helpers.NAMES, encoding="ascii") as file:
        real = set(file.read().split())
    shuffled = names()
    random.Random(42).shuffle(shuffled)
    known = [sample for sample in run["samples"] if sample in real]
    met = [sample for sample in known if sample in shuffled[:1000]]
    lasts = [last for _, last in kept["mistakes"][RIGHT]]
    within = sum(what == "nothing" for *_, what in mistakes.values())
    larger, width = tables["names, larger"]["rows"], tables["names, larger"]["setting"]["n_embd"]
    found, no_attention, mlp = (larger[n] for n in ("the whole layer", "+ MLP, no attention", "MLP on the last 5"))
    steps = ("100", "300", "1,000", "3,000", "10,000")
    seeds = [WORDS[len(tables[name]["seeds"])] for name in ABLATED]
    lengths = ", ".join(f"{n} steps {statistics.fmean(said['lengths'][f'{n} steps']['loss']):.2f}" for n in steps)
    return {
        "6. What all of it is worth, on names": {
            "SEEDS": f"over {seeds[0]}, {seeds[1]} and {seeds[2]} seeds",
            "CHANCE_SENTENCE":
                f"Where there is no difference, chance alone exceeds that in {100 * by_chance(3):.0f} % of comparisons "
                f"with three seeds, {100 * by_chance(5):.0f} % with five, {100 * by_chance(10):.0f} % with ten.",
            "ABLATION": ablation_table(tables), "LOSSTABLE": default_losses(run),
            "ABLATION_SENTENCES": ablation_sentences(tables),
            "LARGER_SENTENCE":
                f"Two layers of width {width} with weight decay (its size was chosen on these names too), "
                f"{found['parameters']:,} parameters, reach "
                f"{spread(found['loss'])} in 10,000 steps of 32 names, without attention "
                f"{spread(no_attention['loss'])}; and an MLP of that width on the last five letters "
                f"{spread(mlp['loss'])} (three seeds).",
            "STEPS_SENTENCE": f"On names, held out: {lengths} (three seeds)."},
        "8. What a mistake looks like from outside": {
            "RULE":
                f"{RULE} (From seed to seed the right program itself differs by {max(lasts) - min(lasts):.2f}.)",
            "MISTAKES": mistakes_table(kept),
            "NOTHING_SENTENCE": f"{WORDS[within]} of these twenty end within 0.04 of the right program."},
        "How do I evaluate without filling the memory?": {
            "MEMORY_SENTENCE":
                "After 400 losses and none of these, the process is about "
                f"{round(kept['megabytes'][0], -2)} MB larger."},
        'What does "hallucination" mean here?': {
            "COPIES_SENTENCE":
                f"Of the 20 samples of the default run, {len(known)} stand in names.txt: {', '.join(known)}. The run "
                f"has read {len(met)} of them ({', '.join(met)}), so it is mostly not memory: there are not so many "
                "short names made of common pieces."},
    }


def show():
    for title, texts in pieces().items():
        for name, text in texts.items():
            print(f"--- {title}: {name}\n{text}\n")


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--show", action="store_true", help="train nothing; print what the guide must say")
    if parser.parse_args().show:
        show()
        return
    text = json.dumps(measure(), ensure_ascii=False).replace('], "', '],\n"').replace('}, "', '},\n"')
    write_whole(PATH, lambda file: file.write(text + "\n"))


if __name__ == "__main__":
    sys.exit(exit_code(main))
