"""The study guide is true: its sessions run, its arithmetic is evaluated, its code is the code, its figures hold."""
import ast
import builtins
import doctest
import gc
import glob
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap

import guide
import guide_figures
import helpers
import pytest
import test_planted_bugs

import script_gpt_refactored
from levels import data

with open(guide.PATH, encoding="utf-8") as file:
    GUIDE = file.read()
SECTIONS = guide.sections(GUIDE)
COMPONENTS = [title for title in SECTIONS if re.match(r"(?:3\.1|4\.[135]|5\.\d) ", title)]
PIECES = guide_figures.pieces()  # what is said of measured figures: the section, and {name: a piece of its text}
# Sentences and tables whose figures the test of that name computes again: the section, and what it looks like there.
HELD = {
    "test_the_table_of_the_three_versions": (
        "7.1 Side by side",
        r"(?m)^\| (?:lines|of these|functions|classes|Mermaid|lectures|calls)[^|]*(?:\| [\d,]+ ){3}\|$"),
    "test_the_changes_are_counted": (
        "7.2 What was refactored, and why", r"Six main changes take it to `script_gpt_refactored.py`, and a seventh "
        "adds"),
    "test_the_formula_for_the_number_of_parameters": ("11.1 Formulas", r"(?m)^\| parameters \| .*$"),
}
# Phrases in which a section names a size: numbers as numerals, <a size> of sizes(). Its numeral is held there only.
NAMED = {
    "1.1 What it does": "reads <names> given names|trains on <steps> of them|it has <parameters> numbers|"
        "each of the <tokens> *tokens*|the <letters> letters and one sign",
    "2.1 The whole in half a page": "Their sum, <width> numbers",
    "2.2 Forward": "<questions> questions: what comes after BOS, after e, m, m, and a|let the program answer the "
        "first 4|compares its query with <questions> keys|From an id to <width> numbers|Now all <questions> questions",
    "3.1 Cross-entropy and perplexity": "the list of the <tokens> logits|\\ln <tokens>",
    "3.2 Four baselines": "in the <steps> names that the default run reads, and are judged on <unseen>",
    "4.1 Tokenizer": "The alphabet has <letters> letters, so BOS is <letters>|<letters>, 0, 3, 0, <letters>.",
    "4.5 Value and the tape": "these <fields> fields|<parameters> parameters, <parameters> walks",
    "5.1 dot and linear": "from <width> numbers to <hidden>?|<hidden> rows, one for each output",
    "5.2 Parameters and their initialisation": "A mixing desk with <parameters> sliders|the standard deviation "
        "<weight_std>|Explaining <weight_std> by the rule|with <width> inputs, or <hidden> in `mlp_fc2`|"
        "\\mathcal N(0,\\ <weight_std>^2)|\\cdot <weight_std>^2|1/<tokens>|\\ln <tokens>|<width> numbers for one id|"
        "normalised vector of <width> numbers|the squares sum to <width>",
    "5.3 The MLP": "at a time, <width> numbers, spreads them over <hidden> neurons",
    "5.4 Attention": "<head_dim> numbers in a head|for each token; <heads> make <heads>|<head_dim> rows of <width> "
        "each",
    "5.6 gpt_forward": "and <tokens> logits come out|into the same <width> numbers|2 numbers in place of <width>|"
        "three values of <width> numbers each",
    "5.7 Adam": "there are <parameters> directions",
    "5.8 The training step": "it corrects <parameters> numbers|the last of <steps> steps|<steps> steps on <names> "
        "names",
    "6. What all of it is worth, on names": "on <unseen> names never trained on",
    "9. Exercises": "evenly among <tokens>?|<parameters> in <matrices>: wte, wpe, lm_head, <attention> of attention|"
        "<components> in all|But all <tokens> logits|4 levels",
    "11.2 Symbols": "the standard deviation <weight_std>|\\mathcal N(0, <weight_std>^2)",
    "12.1 Glossary": "the last <unseen> of the shuffled names",
    "What would it take to go past block_size?": "for each of <context> positions|the last <context> tokens",
    "What would have to change to make this ChatGPT?": "in place of <names> names",
}


def emma():
    """One training step of the default model on "emma": what section 2 speaks of."""
    gpt = helpers.load("script_gpt_refactored")
    config = gpt.GPTConfig()
    run = gpt.prepare_run(gpt.load_dataset(helpers.NAMES), config)
    tokens, weights, hidden, real = run.tokenizer.encode("emma"), [], [], (gpt.softmax, gpt.Value.relu)
    gpt.softmax = lambda x: weights.append([p.data for p in real[0](x)]) or real[0](x)
    gpt.Value.relu = lambda value: hidden.append(value.data) or real[1](value)
    loss = gpt.compute_loss(tokens, run.state_dict, config)
    gpt.softmax, gpt.Value.relu = real
    loss.backward()
    norms = {name.split(".")[-1]: math.sqrt(sum(weight.grad**2 for row in matrix for weight in row))
             for name, matrix in run.state_dict.items()}
    adam = gpt.AdamOptimizer(run.state_dict, config)
    before = [(parameter.data, parameter.grad) for parameter in adam.parameters]
    adam.step(0.01)
    moves = [parameter.data - old for parameter, (old, _) in zip(adam.parameters, before)]

    def change(part):
        for parameter, (old, _), move in zip(adam.parameters, before, moves):
            parameter.data = old + part * move
        return (part * sum(grad * move for (_, grad), move in zip(before, moves)),
                gpt.compute_loss(tokens, run.state_dict, config).data - loss.data)

    return {"loss": loss.data, "weights": weights[-4:],
            "lengths": [len(row) for row in weights[::4]], "speak": sum(h > 0 for h in hidden[-64:]) / 64,
            "norms": norms,
            "moves": moves, "grads": [grad for _, grad in before], "hundredth": change(0.01), "whole": change(1.0)}


EMMA = emma()


def gradients_of(build, *numbers):
    """The gradients of what build makes of Values with these numbers, lists of them kept as lists."""
    gpt = script_gpt_refactored
    gpt.Value.tape.clear()
    values = [[gpt.Value(float(x)) for x in n] if isinstance(n, tuple) else gpt.Value(float(n)) for n in numbers]
    build(*values).backward()
    return [[v.grad for v in value] if isinstance(value, list) else value.grad for value in values]


def mlp_gradients(c):
    """Those of the matrices of the small MLP of section 5.3, with W_1 multiplied and W_2 divided by c."""
    gpt = script_gpt_refactored
    first = [[gpt.Value(c * float(w)) for w in row] for row in ((1, 1), (1, -1), (-1, 0))]
    second = [[gpt.Value(w / c) for w in (1, 2, 3)]]
    gpt.linear([h.relu() for h in gpt.linear([gpt.Value(1.0), gpt.Value(-2.0)], first)], second)[0].backward()
    return [[w.grad for row in matrix for w in row] for matrix in (first, second)]


def moved(*gradients):
    """How far Adam moves a parameter, in all, for these gradients, at a learning rate of 0.01."""
    gpt = script_gpt_refactored
    parameter = gpt.Value(0.0)
    adam = gpt.AdamOptimizer({"w": [[parameter]]}, gpt.GPTConfig())
    for parameter.grad in gradients:
        adam.step(0.01)
    return parameter.data


def order_matters(n_layer):
    """Whether, without positions, the logits at the end depend on the order of the letters before the last one."""
    gpt, found = script_gpt_refactored, []
    config = gpt.GPTConfig(n_layer=n_layer)
    state_dict = gpt.initialize_parameters(config, 27, random.Random(1))
    state_dict["wpe"] = [[gpt.Value(0.0)] * 16 for _ in range(16)]
    for tokens in ([26, 4, 12, 0], [26, 12, 4, 0]):
        keys, values = {}, {}
        for position, token in enumerate(tokens):
            logits = gpt.gpt_forward(token, position, keys, values, state_dict, config)
        found.append([logit.data for logit in logits])
    gpt.Value.tape.clear()
    return max(abs(a - b) for a, b in zip(*found)) > 1e-9


def first_loss(**settings):
    gpt = script_gpt_refactored
    config = gpt.GPTConfig(**settings)
    state_dict = gpt.initialize_parameters(config, 27, random.Random(42))
    loss = gpt.compute_loss([26, 4, 12, 12, 0, 26], state_dict, config).data
    gpt.Value.tape.clear()
    return loss


def softmax_of(*scores):
    found = [p.data for p in script_gpt_refactored.softmax([script_gpt_refactored.Value(s) for s in scores])]
    script_gpt_refactored.Value.tape.clear()
    return found


def overflows(number):
    try:
        math.exp(number)
    except OverflowError:
        return True
    return False


def ten_and_unseen():
    """The losses that the session on capacity shows, line by line: the ten names, and unseen ones."""
    return [tuple(map(float, pair)) for pair in re.findall(
        r"'the ten ([\d.]+), unseen ([\d.]+)'", SECTIONS["Is 4,192 parameters much, or little?"])]


def after_a_backward():
    """The gradient of w after (c * c).backward() and (c * 5).backward(), with c = w * 2 computed once."""
    w = script_gpt_refactored.Value(3.0)
    c = w * 2
    (c * c).backward()
    (c * 5).backward()
    return w.grad


def with_bug(name):
    """The refactored script with this mistake of the library planted."""
    return helpers.load("script_gpt_refactored", *test_planted_bugs.BUGS[name])


def gradients_with(name, zero=()):
    """The gradients of the model on "emma", by matrix, with a mistake planted, and with these matrices all 0."""
    gpt = with_bug(name) if name else script_gpt_refactored
    state_dict = gpt.initialize_parameters(gpt.GPTConfig(), 27, random.Random(42))
    for matrix in zero:
        state_dict[f"layer0.{matrix}"] = [[gpt.Value(0.0) for _ in row] for row in state_dict[f"layer0.{matrix}"]]
    gpt.compute_loss([26, 4, 12, 12, 0, 26], state_dict, gpt.GPTConfig()).backward()
    return {key.split(".")[-1]: [weight.grad for row in matrix for weight in row] for key, matrix in state_dict.items()}


def a_missing_plus():
    """a.grad for L = (a + b) * a, where backward sets a gradient in place of adding to it."""
    gpt = with_bug("a missing +=")
    a = gpt.Value(2.0)
    ((a + gpt.Value(1.0)) * a).backward()
    return a.grad


def rows_with_a_gradient(matrix):
    """The rows of this matrix that "emma" gives a gradient."""
    grads = gradients_with("")[matrix]
    return {i // 16 for i, grad in enumerate(grads) if grad}


def changed_logits(matrix, token):
    """Which logits after BOS change with the first number of one row of a matrix."""
    gpt, config, found = script_gpt_refactored, script_gpt_refactored.GPTConfig(), []
    state_dict = gpt.initialize_parameters(config, 27, random.Random(42))
    for nudge in (0.0, 0.5):
        state_dict[matrix][token][0].data += nudge
        found.append([logit.data for logit in gpt.gpt_forward(26, 0, {}, {}, state_dict, config)])
    gpt.Value.tape.clear()
    return [i for i in range(27) if found[0][i] != found[1][i]]


def earlier_tokens_matter(zero=()):
    """Whether the logits after a letter depend on the letter before, with these matrices all 0."""
    gpt, config, found = script_gpt_refactored, script_gpt_refactored.GPTConfig(), []
    state_dict = gpt.initialize_parameters(config, 27, random.Random(42))
    for matrix in zero:
        state_dict[f"layer0.{matrix}"] = [[gpt.Value(0.0) for _ in row] for row in state_dict[f"layer0.{matrix}"]]
    for before in (4, 12):
        keys, values = {}, {}
        gpt.gpt_forward(before, 0, keys, values, state_dict, config)
        found.append([logit.data for logit in gpt.gpt_forward(0, 1, keys, values, state_dict, config)])
    gpt.Value.tape.clear()
    return found[0] != found[1]


def in_order_of_birth():
    """Whether every Value on the tape stands after its children."""
    gpt = script_gpt_refactored
    gpt.Value.tape.clear()
    state_dict = gpt.initialize_parameters(gpt.GPTConfig(), 27, random.Random(42))
    gpt.compute_loss([26, 4, 26], state_dict, gpt.GPTConfig())
    place = {id(value): i for i, value in enumerate(gpt.Value.tape)}
    found = all(place.get(id(child), -1) < i for i, value in enumerate(gpt.Value.tape) for child in value.children)
    gpt.Value.tape.clear()
    return found


def mirrored():
    """Of the sums held out in the table of section 1.3, how many are shown with their digits exchanged, or are that."""
    sums = data.sums()
    random.Random(42).shuffle(sums)
    return sum(s[2] + "+" + s[0] + s[3:] in sums[:-15] or s[0] == s[2] for s in sums[-15:])


def variance_of_products(d):
    rng = random.Random(1)
    found = [sum(rng.gauss(0, 1) * rng.gauss(0, 1) for _ in range(d)) for _ in range(3000)]
    return sum(x * x for x in found) / len(found)


EVEN = math.log(27)
KEPT = guide_figures.load(guide_figures.PATH)
VERDICTS = {mistake: found[-1] for mistake, found in guide_figures.mistake_rows(KEPT).items()}
LOUD = ("gradients never set to 0", "uphill", "a missing +=", "backward in the wrong order", "slopes of * swapped")
SILENT = ("every position the same", "no relu", "scores not divided", "own key not in the cache",
          "one head used for all", "query and key the same", "no norm before the MLP")
ABLATION = guide_figures.load(os.path.join(helpers.ROOT, "labs", "ablation.json"))["tables"]
ROWS = {name: {row: sum(found["loss"]) / len(found["loss"]) for row, found in table["rows"].items()}
        for name, table in ABLATION.items()}
SMALLEST = sorted(EMMA["norms"], key=EMMA["norms"].get)[:2]
X, Y = (1.0, 2.0, 3.0, 4.0), (2.0, 4.0, 6.0, 8.0)
# Sentences with a verdict, a fraction or a figure: the section, and {what it says: whether that is so}. Figures and
# names are put in from what was computed.
CLAIMS = {
    "1.2 What its loss means": {
        "0 if it was certain, more the less likely the letter was held to be": -math.log(0.1) > -math.log(0.9) > 0,
        f"So a loss of {EVEN:.2f} is what one pays for guessing evenly among 27, and it is about where the program "
        f"begins":
            abs(KEPT["default run"]["losses"][0] - EVEN) < 0.3,
    },
    "1.3 What attention is worth": {
        "On names, after the default 1,000 steps, attention is worth next to nothing.":
            0 < ROWS["names"]["+ MLP, no attention"] - ROWS["names"]["the whole layer"] < 0.01,
        "with more training attention is worth more": ROWS["names, 32 a step"]["+ MLP, no attention"]
            - ROWS["names, 32 a step"]["the whole layer"] > 0.03,
        "Break attention in the default run, and neither its loss": all(
            VERDICTS[name] == "nothing" for name in ("one head used for all", "query and key the same")),
        "Attention is worth everything only where the text itself says where to look, as the dial does":
            abs(ROWS["dial"]["MLP on the last 11"] - ROWS["dial"]["the whole layer"]) > 0.3,
        "(Of the sums one set of 15 was held out, most of them mirror images of shown ones": 15 > mirrored() > 8,
        "The last y has nothing to look for: that the document ends here, its position says":
            {len(document) for document in data.repeat(["emily", "anna", "lucas"])} == {15},
        "in each name of five letters three times, say": data.repeat(["emily", "anna"]) == ["emily" * 3],
        "From the sixth letter on everything is known, to whoever can look five letters back":
            data.determined("emily" * 3) == list(range(5, 15)),
        "the figures are tenths of the attention, # is nearly all, and a point is less than half a tenth":
            guide_figures.drawing([[0.95], [0.04, 0.3]]).split("\n")[2:] == [
                f"    ^      {'#':35}e", f"    e      {'. 3':35}m"],
    },
    "2.1 The whole in half a page": {
        "in the table `wte` the row of the token, in the table `wpe` the row of its position":
            rows_with_a_gradient("wte") == {0, 4, 12, 26} and rows_with_a_gradient("wpe") == {0, 1, 2, 3, 4},
        "the table `lm_head` turns the 16 numbers into 27 scores": changed_logits("lm_head", 3) == [3],
    },
    "2.2 Forward": {
        "Untrained, all scores are near 0, so attention is nearly even, about a fifth each":
            all(0.1 < w < 0.3 for weights in EMMA["weights"] for w in weights) and len(EMMA["weights"][0]) == 5,
        "About half of the neurons speak: with random weights it is a coin toss for each":
            abs(EMMA["speak"] - 0.5) < 0.1,
        f"That is a little worse than guessing evenly, which costs {EVEN:.4f}": 0 < EMMA["loss"] - EVEN < 0.3,
        "and do the fifth ourselves: the a at position 4": "^emma"[4] == "a",
        "Row 0 of `wte` is the letter a, row 4 of `wpe` the fifth position": "abc".index("a") == 0 and 4 + 1 == 5,
    },
    "2.3 Backward": {
        f"`{SMALLEST[0]}` and `{SMALLEST[1]}` get next to nothing: the norm of their gradients is less than a "
        f"hundredth of "
        "that of `wte`": max(EMMA["norms"][name] for name in SMALLEST) < EMMA["norms"]["wte"] / 100,
        "The way back to `attn_wq` goes through `attn_wo`, through the differences between the values, and through "
        "the keys; "
        "all three are small, and they multiply": not any(
            any(gradients_with("", [zero])["attn_wq"]) for zero in ("attn_wo", "attn_wv", "attn_wk")),
        "Plain gradient descent at Adam's rate would leave these two nearly where they are": all(
            0.01 * max(map(abs, gradients_with("")[name])) < 0.0001 for name in SMALLEST),
    },
    "2.4 Adam": {
        "It moves by the learning rate, 0.01, against its gradient, and so does nearly every parameter that has a "
        "gradient, "
        "those of `attn_wq` too":
            sum(abs(m) > 0.0099 and m * g < 0 for m, g in zip(EMMA["moves"], EMMA["grads"]))
            > 0.98 * sum(g != 0 for g in EMMA["grads"]),
        "For a hundredth of the step, promise and reality agree to three digits":
            abs(EMMA["hundredth"][0] / EMMA["hundredth"][1] - 1) < 0.001,
        "For the whole step reality falls short": EMMA["whole"][0] < EMMA["whole"][1] < 0,
        "kept the better the smaller the step": abs(EMMA["hundredth"][0] / EMMA["hundredth"][1] - 1) < abs(
            EMMA["whole"][0] / EMMA["whole"][1] - 1),
        "After one step the loss on \"emma\" is lower than that of guessing evenly":
            EMMA["loss"] + EMMA["whole"][1] < EVEN,
    },
    "3.1 Cross-entropy and perplexity": {
        "the more the less likely he had called what happened": -math.log(0.1) > -math.log(0.9),
        "A perplexity of 10 means: it does as badly as a fair choice among 10":
            round(math.exp(-math.log(1 / 10))) == 10,
        "What the model gave too much is pushed down, what really came is pushed up, and the pushes of one position "
        "sum to 0":
            abs(sum(p - (j == 0) for j, p in enumerate(softmax_of(1, 2, 3)))) < 1e-12,
        "long names count more, and the first loss is about $`M \\ln 27`$": abs(
            KEPT["mistakes"]["sum of losses for their mean"][0][0] / (len("ngaire") + 1) / EVEN - 1) < 0.1,
        f"bits, not nats, and larger by the factor $`1 / \\ln 2`$, {1 / math.log(2):.2f}": math.log2(5) > math.log(5),
        "Not below 0, since a probability is at most 1. Above $`\\ln 27`$ easily: confidence in something wrong "
        "costs more "
        "than not knowing": -math.log(0.01) > EVEN and -math.log(1) == 0,
    },
    "4.1 Tokenizer": {
        "the z gets the number of BOS, and every z ends a name": "abcdefghijklmnopqrstuvwxyz".index("z") + 1 == 26,
        "368 numbers without any, which is 23 rows of 16": 27 - len(set("emma^")) == 23 and 23 * 16 == 368,
        "Five, one for each token but the last": len("^emma^") - 1 == 5,
        "At the beginning BOS is only read, at the end only predicted, so the two uses never meet: as input it picks "
        "a row of "
        "`wte`, as output a row of `lm_head`. Of a second token, the row in `wte` would never be read":
            len(changed_logits("wte", 26)) == 27 and changed_logits("lm_head", 26) == [26],
    },
    "4.2 Pairs, counted": {
        "On the names counted, no table does better than the plain shares": all(
            sum(share * math.log(share / other) for share, other in zip((0.6, 0.2, 0.2), p)) > 0
            for p in ((0.5, 0.3, 0.2), (0.7, 0.15, 0.15), (0.6, 0.3, 0.1))),
        "What it cannot say: anything that needs more than the letter just read. After \"emm\" and after \"am\" it "
        "gives the same "
        "probabilities": "emm"[-1] == "am"[-1],
    },
    "4.3 softmax and logsumexp": {
        "positive, with sum 1, larger for larger scores": sorted(softmax_of(-1, 0, 2)) == softmax_of(-1, 0, 2)
            and abs(sum(softmax_of(-1, 0, 2)) - 1) < 1e-12 and min(softmax_of(-1, 0, 2)) > 0,
        "A quarter each, whatever the score is": all(abs(p - 1 / 4) < 1e-12 for p in softmax_of(7, 7, 7, 7)),
        "Softmax stays as it is: $`e^c`$ cancels. logsumexp grows by $`c`$":
            all(abs(a - b) < 1e-12 for a, b in zip(softmax_of(1, 2), softmax_of(6, 7))),
        "from 709.79 on `math.exp` raises `OverflowError`": overflows(709.79) and not overflows(709.78),
        "it keeps each exponent at or below 0": max(x - max(X) for x in X) == 0,
        "Drawing is then as before: only proportions matter": all(
            random.Random(seed).choices("abc", [5, 3, 2]) == random.Random(seed).choices("abc", [10, 6, 4])
            for seed in range(50)),
    },
    "4.4 The same table by a gradient": {
        "The $`p`$ of what never came goes to 0 without arriving": min(softmax_of(0, 0, -50)) > 0,
        "Go a step *against* that": (3 - 0.1 * gradients_of(lambda a: a * a, 3)[0]) ** 2 < 3**2,
    },
    "4.5 Value and the tape": {
        "If one turn of the first makes three of the second, and one of the second four of the third, then one of "
        "the first "
        "makes twelve of the third": 3 * 4 == 12,
        "Now $`a`$ is used twice": gradients_of(lambda a, b: (a + b) * a, 2, 1) == [5.0, 2.0],
        f"of several effects only the last survives. In the example `a.grad` would be {a_missing_plus():.0f}, not "
        f"5": True,
        "The node has the child $`a`$ twice, with slopes 3 and 3; both are added to `a.grad`":
            gradients_of(lambda a: a * a, 3) == [6.0],
        "It should have added 10": gradients_of(lambda w: w * 2 * 5, 3) == [10.0],
        "So it stands after the ones it was computed from": in_order_of_birth(),
        "And a Value computed before a `backward` counts as a constant after it: the slope behind it is lost, "
        "*without a word*": after_a_backward() == 24.0,
        "in the model no parameter gets a gradient": not any(
            map(any, gradients_with("backward in the wrong order").values())),
    },
    "5.1 dot and linear": {
        "Its $`y_i`$ is 0. Its own gradient $`g_i x_j`$ is not 0 in general, so it can learn. It just sends nothing "
        "back":
            gradients_of(lambda w, x: script_gpt_refactored.dot(w, x), (0, 0), X[:2]) == [[1.0, 2.0], [0.0, 0.0]],
    },
    "5.2 Parameters and their initialisation": {
        "With all of them 0 the model can never start; with all of them equal its neurons stay equal for ever":
            abs(first_loss(weight_std=0.0) - EVEN) < 1e-9 and VERDICTS["all weights equal"] == "worse",
        "the loss starts far above $`\\ln 27`$": first_loss(weight_std=1.0) > 2 * EVEN,
        "it would give 0.25 or 0.125": 16**-0.5 == 0.25 and 64**-0.5 == 0.125,
        "The MLP: 2,048 of 4,192, a little less than half": 0.45 < 2048 / 4192 < 0.5,
        "Embeddings grow with $`n`$, the layers with $`n^2`$, so in large models nearly everything is in the layers, "
        "two thirds "
        "of it in the MLPs": 8 / 12 == 2 / 3,
    },
    "5.3 The MLP": {
        "`levels/4_mlp.py` takes the embeddings of the last three letters": "letters[-3:]" in guide.snippet(
            "levels/4_mlp.py forward"),
        "A table of pairs sees one letter; a table of three is too large": 27**4 > 500_000,
        "silences the negative ones, and brings the rest back to 16":
            script_gpt_refactored.Value(-1.0).relu().data == 0,
        "Why is the middle four times as wide?": 64 / 16 == 4,
        "Double all of $`W_1`$ and halve all of $`W_2`$": mlp_gradients(1) != mlp_gradients(2),
        "But the gradients of $`W_1`$ halve and those of $`W_2`$ double": all(
            changed == [g * factor for g in plain]
            for plain, changed, factor in zip(mlp_gradients(1), mlp_gradients(2), (0.5, 2))),
        "For $`L = y`$ only the second neuron passes anything on, with slope 2, to the row (1, −1)": [
            g != 0 for g in mlp_gradients(1)[0][::2]] == [False, True, False],
        "the MLP could then only add to the residual stream, never take away": min(max(h, 0) for h in (-1, 2)) >= 0,
    },
    "5.4 Attention": {
        "each on its own quarter of the vector": 4 / 16 == 1 / 4,
        "it takes 128 numbers and not 256": 2 * 4 * 16 == 128 and 16 * 16 == 256,
        "if taking more of $`v_j`$ and less of the present mixture would lower the loss, raise the score": (
            softmax_of(1.1, 0)[0] > softmax_of(1, 0)[0]),
        "At position 0 there is one key, the token's own, and its weight is 1 whatever the score":
            softmax_of(5) == [1.0],
        "when a query is compared, later keys do not exist yet": EMMA["lengths"] == [1, 2, 3, 4, 5],
        "One, two, three, four and five: one for each key in the cache": EMMA["lengths"] == [1, 2, 3, 4, 5],
        "the sum of $`d`$ of them has variance $`d`$. Dividing by $`\\sqrt d`$ brings it back to 1":
            abs(variance_of_products(16) / 16 - 1) < 0.1,
        "In the GPT attention is the only place where a token gets anything from tokens before it":
            earlier_tokens_matter() and not earlier_tokens_matter(["attn_wo"]),
        "With scores far apart softmax puts nearly all weight on one position, and its slopes approach 0":
            softmax_of(20, 0)[0] > 0.999 and softmax_of(20, 0)[0] * softmax_of(20, 0)[1] < 0.001,
    },
    "5.5 RMSNorm": {
        "The largest value there can be is $`\\sqrt n`$":
            gradients_of(lambda x: script_gpt_refactored.rmsnorm(x)[0] ** 2, (5, 0, 0, 0))[0][0] < 1e-3,
        "everything comes out smaller by $`\\sqrt n`$, 4 in this model": 16**0.5 == 4,
        "that it lies between −2 and 2: the bound is 4 for 16 numbers": 16**0.5 == 4,
        "Double $`x`$. What happens to $`y`$": Y == tuple(2 * x for x in X),
        "$`y`$ stays (but for $`\\varepsilon`$). The gradient halves, since $`r`$ does: a vector twice as long turns "
        "half as far "
        "for the same push": all(abs(a - 2 * b) < 1e-5 for a, b in zip(
            gradients_of(lambda x: script_gpt_refactored.rmsnorm(x)[0], X)[0],
            gradients_of(lambda x: script_gpt_refactored.rmsnorm(x)[0], Y)[0])),
        "In a model of one layer little depends on it": VERDICTS["no norm before the MLP"] == "nothing",
        "The mean square is 1; the mean is not 0, for nothing has removed it": sum(X) > 0,
    },
    "5.6 gpt_forward": {
        "without it attention sees a bag of letters, which and how many, not in which order (exactly so "
        "with one layer; with more, what a token has "
        "gathered depends on what stood before it)": not order_matters(1) and order_matters(2),
        "It trains, and here the loss does not show it": VERDICTS["no norm before the MLP"] == "nothing",
        "a key is used by its own position and every later one, so a later token's loss reaches back into an earlier "
        "token's "
        "key": EMMA["lengths"] == [1, 2, 3, 4, 5],
    },
    "5.7 Adam": {
        f"it moves a weight with a small gradient hardly at all, as `{SMALLEST[0]}` in": 0.01 * max(
            abs(g) for g in gradients_with("")[SMALLEST[0]]) < 0.0001,
        "The second gradient alone would push the parameter up. It still goes down: the mean remembers the first":
            moved(-0.2) > 0 > moved(0.5) > moved(0.5, -0.2),
        "Only a gradient that changes makes steps shorter, or, when it becomes larger than it has been, longer":
            abs(moved(1, -1)) < 0.02 and moved(*[0] * 200, 1) < -0.012,
        "A steady gradient of 100 and one of 0.001 move equally far":
            abs(moved(*[100] * 9) / moved(*[0.001] * 9) - 1) < 1e-4,
        f"About {1 / (1 - 0.85):.0f} and {1 / (1 - 0.99):.0f}": True,
        "The loss is multiplied by 10. What happens to Adam's steps?": abs(moved(1, 2) - moved(10, 20)) < 1e-9,
        "both grow by the factor 10": abs(moved(1, 2) - moved(10, 20)) < 1e-9,
        "they have momentum, and should move": moved(1, 0) < moved(1),
        "long strides where the slope has been steady, short ones where it keeps changing sign":
            abs(moved(*[1] * 6)) > 2 * abs(moved(*[1, -1] * 3)),
    },
    "5.8 The training step": {
        "with four names its standard deviation is halved. But a step costs four times as much": 4**-0.5 == 0.5,
        "At most once. The default run knows a small part of the data": 1000 < 11611 / 10,
        "Forward, loss, backward, update": True,
    },
    "5.9 Generation": {
        "$`\\tau < 1`$ favours the likely, $`\\tau > 1`$ evens the chances out; the order of the tokens stays":
            softmax_of(4, 2)[0] > softmax_of(2, 1)[0] > softmax_of(1, 0.5)[0] > 0.5,
        "cold then means wild": softmax_of(2 * 0.5, 1 * 0.5)[0] < softmax_of(2 / 0.5, 1 / 0.5)[0],
        "The product of four": len("ann") + 1 == 4,
        "the largest logit always wins": softmax_of(2 / 1e-9, 1 / 1e-9) == [1.0, 0.0],
        "gives one name only, over and over": True,
    },
    "6. What all of it is worth, on names": {
        "a mean difference of less than two standard errors is called noise":
            guide_figures.noise({"loss": [0.0, 1.0, 2.0]}, {"loss": [0.0, 0.0, 0.0]})
            and not guide_figures.noise({"loss": [1.0, 2.0, 3.0]}, {"loss": [0.0, 0.0, 0.0]}),
        "It mixes what followed the last letters in every length up to six": {
            n for table in guide_figures.ABLATED for n in ABLATION[table]["rows"]["best n-gram"]["letters"]} == {6},
        "compares the seven levels so": len(glob.glob(os.path.join(helpers.ROOT, "levels", "[0-9]_*.py"))) + 1 == 7,
        "if it starts within a few tenths of $`\\ln 27`$ and its mean over a hundred steps falls like this":
            abs(KEPT["default run"]["losses"][0] - EVEN) < 0.3,
        "most of what can be known about the next letter is in the last few, and counting those is hard to beat":
            ROWS["names, 10,000 steps"]["best n-gram"] < ROWS[
            "names, 10,000 steps"]["the whole layer"],
    },
    "Is 4,192 parameters much, or little?": {
        "it pays nearly what a model pays that knows exactly these ten": ten_and_unseen()[0][0] < 0.5,
        "it pays more than twice what guessing evenly costs": ten_and_unseen()[0][1] > 2 * EVEN,
        "its two figures are close": abs(ten_and_unseen()[1][0] - ten_and_unseen()[1][1]) < 0.3,
        "one model sees only ten names, again and again, another 300 different ones": True,
        "about forty names neither has seen": 1040 - 1000 == 40,
    },
    "7.2 What was refactored, and why": {
        "Ctrl-C ends the training in both, and what has been learned is kept. In the minimal version the step under "
        "way stops "
        "where it is, at worst with one part of the parameters updated and the other not. In the refactored one that "
        "step does "
        "not count": "half an update too" in helpers.source("script_gpt")
            and "optimizer.restore(finished[1])" in helpers.source("script_gpt_refactored"),
        "The minimal one does not notice that a learning rate or a temperature is negative, or that the loss is no "
        "longer finite":
            "isfinite" not in helpers.source("script_gpt") and "isfinite" in helpers.source("script_gpt_refactored"),
    },
    "8. What a mistake looks like from outside": {
        "After so few steps the damaged parts hardly matter, even when they are whole":
            ROWS["names"]["+ position"] - ROWS["names"]["the whole layer"] < 0.01,
        "A mistake in the gradients is often loud and one in the model often silent": all(
            VERDICTS[name] != "nothing" for name in LOUD) and all(VERDICTS[name] == "nothing" for name in SILENT),
        "A loss that is too good is a mistake as well. And a falling loss proves nothing":
            "far too good" in VERDICTS.values(),
        f"Here is the same run, {guide_figures.STEPS} steps on `names.txt`": True,
        "the mean of the last 50 losses, and by how much that lies above (+) or below (−) the right program":
            guide_figures.mistake_rows(KEPT)["a missing +="][2] > 0,
    },
    "9. Exercises": {
        f"$`\\ln 27`$, about {EVEN:.2f}": True,
        "Two models differ by 0.005 in held-out loss, each trained once": True,
        "another seed changes more": max(ABLATION["names"]["rows"]["the whole layer"]["loss"])
            - min(ABLATION["names"]["rows"]["the whole layer"]["loss"]) > 0.01,
        "so of ten names one has at most the probability 1/10: somewhere a letter has to be guessed. Giving each "
        "1/10 costs "
        "$`\\ln 10`$": True,
    },
    "What about dropout, a tied head, biases and gains?": {
        "saves 432 numbers of 4,192": 27 * 16 == 432,
        "Four of the things that GPT-2 has and this model has not": True,
    },
    "What would it take to go past block_size?": {
        "`--block-size 32` adds 16 rows": 32 - 16 == 16,
        "in training only the first 16 tokens of a name are read, and an invented name ends after 16 letters":
            script_gpt_refactored.GPTConfig().block_size == 16,
    },
    "What would have to change to make this ChatGPT?": {
        "has more than a thousand times as many": 175e9 > 1000 * 124_318_464,
    },
}


def sizes():
    """What NAMED speaks of, from the program and the data."""
    gpt = helpers.load("script_gpt_refactored")
    config, docs = gpt.GPTConfig(), gpt.load_dataset(helpers.NAMES)
    letters = len(set("".join(docs)))
    state_dict = gpt.initialize_parameters(config, letters + 1, random.Random(config.seed))
    shapes = {name: (len(matrix), len(matrix[0])) for name, matrix in state_dict.items()}
    found = {"width": config.n_embd, "hidden": shapes["layer0.mlp_fc1"][0], "context": config.block_size,
             "factor": shapes["layer0.mlp_fc1"][0] // config.n_embd, "heads": config.n_head,
             "head_dim": config.n_embd // config.n_head, "letters": letters, "tokens": letters + 1, "names": len(docs),
             "attention": sum(".attn" in name for name in shapes), "unseen": min(1000, len(docs) * 15 // 100),
             "weight_std": config.weight_std, "matrices": len(shapes),
             "questions": len("emma") + 1, "fields": len(gpt.Value.__slots__),
             "steps": config.num_steps, "components": 3 * len(COMPONENTS), "row": (letters + 1) * config.n_embd,
             "parameters": sum(n_out * n_in for n_out, n_in in shapes.values())}
    return {name: guide.plain(repr(number)) for name, number in found.items()}


SIZES = sizes()


def unheld(title, section):
    """The figures of a section that stand neither in a session, arithmetic or code of it, nor in a piece of text that
    is made of measured figures, a sentence that CLAIMS holds, NAMED or HELD.

    0 to 3 are language as often as figures, and are left to readers.
    """
    shown = {"0", "1", "2", "3"}
    remarks = []
    for info, content in guide.fences(section):
        if info.startswith(("python", "text")):
            shown.update(guide.numerals(re.sub(guide.COMMENT, "", content)))
            remarks += re.findall(guide.COMMENT, content) if content.startswith(">>> ") else []
    place, pattern = next(((place, pattern) for place, pattern in HELD.values() if place == title), ("", ""))
    section = re.sub(pattern, "", section) if place else section
    section = held_elsewhere(title, section)
    formulas = "\n".join(re.findall(guide.MATH, section))
    words = re.sub(guide.MATH, "", guide.prose(section))
    text = guide.flat(re.sub(r"(?<=\d),(?=\d{3})", "", "\n".join([guide.in_digits(words), formulas, *remarks])))
    for phrase in filter(None, NAMED.get(title, "").split("|")):
        phrase = re.sub("<(.*?)>", lambda name: SIZES[name[1]], phrase)
        assert phrase in text, (title, phrase)
        text = text.replace(phrase, "; ")
    return [n for n in guide.numerals(text) if n not in shown]


def held_elsewhere(title, section):
    """The section without its console blocks and without the sentences that are generated or asserted."""
    sentences = [text for text in PIECES.get(title, {}).values() if "\n" not in text]
    tables = [text for text in PIECES.get(title, {}).values() if "\n" in text]
    for text in tables:
        assert text in section, text
        section = section.replace(text, "")
    for sentence in [*sentences, *CLAIMS.get(title, {})]:
        section = re.sub(r"\s+".join(map(re.escape, sentence.split())), " ", section)
    return section


def sessions(section):
    return "\n".join(content for info, content in guide.fences(section) if content.startswith(">>> "))


def arithmetic(text):
    return [line for info, content in guide.fences(text) if info == "text" for line in content.splitlines()]


def false_equations(lines):
    """The lines in which two sides of a sign do not agree; ≈ allows for rounding in the last decimal shown."""
    wrong = []
    for line in lines:
        sides, signs = guide.chain(line)
        for left, sign, right in zip(sides, signs, sides[1:]):
            decimals = len(right.strip().partition(".")[2])
            tolerance = 1e-15 if sign == "=" else 0.5001 * 10**-decimals
            if not math.isclose(guide.evaluate(left), guide.evaluate(right), rel_tol=1e-9, abs_tol=tolerance):
                wrong.append(line)
    return wrong


SESSIONS = {}  # title -> its sessions; sections 2.2 to 2.4 are one session
for heading, content in SECTIONS.items():
    if sessions(content):
        key = "2.2 Forward" if heading.startswith("2.") else heading
        SESSIONS[key] = SESSIONS.get(key, "") + sessions(content)


@pytest.mark.parametrize("title", SESSIONS)
def test_the_sessions_of(title, monkeypatch):
    if title == "Is 4,192 parameters much, or little?" and not os.environ.get("ALL_FIGURES"):
        pytest.skip("ALL_FIGURES is not set: the four models of this session are not trained")
    monkeypatch.chdir(helpers.ROOT)
    text = SESSIONS[title]
    parts = doctest.DocTestParser().parse(text)
    assert "".join(part for part in parts if isinstance(part, str)).strip() == "", "a line that is not run"
    script_gpt_refactored.Value.tape.clear()  # whatever another test has left there
    gc.disable()  # as good as in the scripts, which raise its threshold: a quarter quicker
    try:
        result = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, {}, title, guide.PATH, 0))
    finally:
        gc.enable()
    written = sum(line.startswith(">>> ") for line in text.splitlines())
    assert (result.attempted, result.failed) == (written, 0)


def test_every_line_of_arithmetic():
    lines = arithmetic(GUIDE)
    assert len(lines) > 70 and all(len(guide.chain(line)[0]) > 1 for line in lines)
    assert false_equations(lines) == []


def test_no_figure_stands_outside_a_session_arithmetic_code_or_a_sentence_that_is_computed():
    found = {title: unheld(title, section) for title, section in SECTIONS.items() if title != "12.2 Sources"}
    assert {title: figures for title, figures in found.items() if figures} == {}
    assert len({title for title, _ in HELD.values()}) == len(HELD)
    for name, (title, pattern) in HELD.items():
        assert name in globals() and re.search(pattern, SECTIONS[title]), name


def test_a_figure_that_nothing_holds_is_noticed():
    """Each figure of two decimals or more with one digit more, each result of arithmetic with another last digit."""
    noticed = {}
    for title, section in SECTIONS.items():
        for figure in re.findall(r"(?<![\w.])\d+\.\d{2,}(?![\w.])", guide.prose(held_elsewhere(title, section))):
            if title != "12.2 Sources":
                noticed[title, figure] = figure + "7" in unheld(title, f"{section}\n{figure}7")
    for line in arithmetic(GUIDE):
        changed = re.sub(r"\d$", lambda digit: str((int(digit[0]) + 4) % 10), line)
        noticed[line] = false_equations([changed]) != []
    assert len(noticed) > 80 and [figure for figure, found in noticed.items() if not found] == []


def test_what_the_sentences_claim_is_so():
    for title, claims in CLAIMS.items():
        for sentence, so in claims.items():
            assert guide.flat(sentence) in guide.flat(SECTIONS[title]), (title, sentence)
            assert so, (title, sentence)


def test_every_fraction_in_words_stands_in_a_sentence_that_is_held():
    for title, section in SECTIONS.items():
        pattern = next((pattern for place, pattern in HELD.values() if place == title), "(?!)")
        words = guide.prose(held_elsewhere(title, re.sub(pattern, "", section)))
        assert re.findall(guide.FRACTIONS, words) == [], title


def test_every_block_is_of_a_kind_that_is_checked():
    found = guide.fences(GUIDE)
    for info, content in found:
        assert (info in ("math", "mermaid", "text", "sh", "diff", "console") or info.startswith("python ")
                or info == "python" and content.startswith(">>> ")), (info, content)
    assert GUIDE.count("```") == 2 * len(found)


def test_no_two_sections_have_one_title():
    titles = re.findall(r"(?m)^#{1,3} (.*)$", re.sub(r"(?ms)^```.*?^```$", "", GUIDE))
    assert len(titles) == len(set(titles)) and titles == list(SECTIONS)


def test_every_program_name_in_a_sentence_is_in_a_program():
    examples = ("emma", "emilyemilyemily", "abcd2b1a4d3c")  # documents
    known = set(re.findall(r"\w+", "".join(map(helpers.source, helpers.SCRIPTS)))) | set(dir(builtins))
    for title, section in SECTIONS.items():
        known_here = known | set(re.findall(r"\w+", sessions(GUIDE)))
        for name in re.findall(r"`([A-Za-z_][\w.]*)`", re.sub(guide.MATH, "", guide.prose(section))):
            if not name.endswith((".py", ".txt")) and name not in ("python3", "git", "less", *examples):
                assert set(name.split(".")) <= known_here, (title, name)


def test_the_changes_are_counted():
    assert len(re.findall(r"(?m)^\*\*[^*]+\.\*\* ", SECTIONS["7.2 What was refactored, and why"])) == 6 + 1


def test_every_snippet_is_the_code_in_the_file():
    named = []
    for info, content in guide.fences(GUIDE):
        if info.startswith("python "):
            spec = info[len("python "):]
            named.append(spec)
            if spec.endswith(" (part)"):
                whole = guide.snippet(spec[: -len(" (part)")])
                assert any(textwrap.indent(content, indent) in whole for indent in ("", " " * 4, " " * 8)), spec
                assert content.count("\n") > 3
            else:
                assert content == guide.snippet(spec), spec
    assert {"Tokenizer", "Value", "linear", "logsumexp", "softmax", "rmsnorm", "initialize_parameters",
            "gpt_forward", "compute_loss", "AdamOptimizer.step", "train_step",
            "generate_text"} <= {spec.replace(" (part)", "") for spec in named}
    assert sum(spec.startswith("script_gpt.py ") for spec in named) >= 1
    assert "script_gpt_educational.py train_step (part)" in named and any(spec.startswith("levels/") for spec in named)
    pairs = [pair for info, content in guide.fences(GUIDE) if info.startswith("python ") and "script_gpt.py" not in info
             for pair in zip(content.split("\n"), content.split("\n")[1:]) if len("".join(pair)) > 90]
    assert [pair for pair in pairs if pairs.count(pair) > 1] == [], "code that is shown twice"


@pytest.mark.skipif("GNU" not in guide.printed("diff --version"), reason="the columns are those of GNU diff: not here")
def test_every_piece_of_a_diff_is_what_its_command_prints():
    pieces = re.findall(r"(?ms)^```sh\n([^`]*?)```\n\n```diff\n(.*?)^```$", GUIDE)
    assert len(pieces) == GUIDE.count("```diff\n") == 1
    for command, piece in pieces:
        assert guide.printed(command) == piece != ""


def test_a_snippet_is_the_function_without_its_docstrings():
    gpt = helpers.load("script_gpt_refactored")
    for name in ("softmax", "GPTConfig", "Value", "AdamOptimizer"):
        assert '"""' not in guide.snippet(name)
        bare = ast.parse(guide.snippet(name))
        tree = ast.parse(textwrap.dedent(helpers.source("script_gpt_refactored")))
        original = next(node for node in tree.body if getattr(node, "name", None) == name)
        for node in ast.walk(original):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        assert ast.dump(bare.body[0]) == ast.dump(original) and hasattr(gpt, name)


def test_the_diagrams_are_those_of_the_refactored_script():
    found = [content for info, content in guide.fences(GUIDE) if info == "mermaid"]
    assert sorted(found) == sorted(guide.diagrams()) and len(found) == 11


def test_every_component_has_all_its_parts_in_one_order():
    assert len(COMPONENTS) == 13
    parts = ["**Without it.**", "**Analogy.**", "Where it stops:", "**Formula.**", "**Code.**", "**By pencil.**",
             "**In Python.**", "**Gradient.**", "**Usual mistakes.**", "**Questions.**"]
    for title in COMPONENTS:
        places = [SECTIONS[title].find(part) for part in parts]
        assert -1 not in places and places == sorted(places), title
        questions, answers = SECTIONS[title].split("**Questions.**")[1].split("<details><summary>Answers</summary>")
        assert re.findall(r"(?:^|(?<=\?)) (\d)\. [^\n]*?\?", questions.replace(". Which", "? Which")) or questions
        assert re.findall(r" ([123])\. (?=[\"A-Z0-9])", questions) == ["1", "2", "3"], title
        assert re.findall(r"(?m)^(\d)\. ", answers) == ["1", "2", "3"], title
        assert "```math" in SECTIONS[title] and "```python " in SECTIONS[title], title


def test_the_exercises_have_four_levels_and_all_are_answered():
    section = SECTIONS["9. Exercises"]
    assert re.findall(r"(?m)^#### (.*)$", section) == ["Recall", "Understand", "Build", "Prove"]
    count = 0
    for level in section.split("#### ")[1:]:
        if level.startswith("Build"):
            tasks = re.findall(r"(?m)^\*\*(\d)\.\*\* ", level)
            answers = [str(i + 1) for i in range(level.count("<summary>Answer</summary>"))]
        else:
            tasks, answers = (re.findall(r"(?m)^(\d)\. ", part) for part in level.split("<summary>Answers</summary>"))
        assert tasks == answers == [str(i + 1) for i in range(len(tasks))] != []
        count += len(tasks)
    assert count + 3 * len(COMPONENTS) >= 50
    folded = 3 + section.count("Answer</summary>") + len(COMPONENTS)
    assert GUIDE.count("<details>") == GUIDE.count("</details>") == folded


def test_links_resolve():
    anchors = {guide.anchor(title) for title in re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", GUIDE))}
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^```.*?^```$", "", re.sub(guide.MATH, "", GUIDE)))
    named = dict(re.findall(guide.TARGET, GUIDE))
    words = re.sub(r"(?ms)^```.*?^```$|`[^`\n]*`", "", re.sub(guide.TARGET, "", re.sub(guide.MATH, "", GUIDE)))
    used = set(re.findall(guide.REFERENCE, words))
    assert {target for _, target in used} | {"bugs"} == set(named)
    assert all(number in ("", target) for number, target in used)
    assert all(target.startswith("#" + number.replace(".", "")) for number, target in named.items() if number != "bugs")
    assert set(re.findall(r"\]\[([a-z]+)\]", words.replace("[n_out][n_in]", ""))) == {"bugs"}
    targets += named.values()
    assert len(targets) > 40
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert os.path.exists(os.path.join(helpers.ROOT, target)), target
    numbered = re.findall(guide.LINK, GUIDE)
    assert len(numbered) >= 12
    for number, target in numbered:
        assert target.startswith(number.replace(".", "") + "-"), (number, target)
    for path in re.findall(r"`((?:tests/)?\w+\.(?:py|txt))`", GUIDE):
        assert os.path.exists(os.path.join(helpers.ROOT, path)), path


def test_the_table_of_the_three_versions():
    rows = re.findall(HELD["test_the_table_of_the_three_versions"][1], SECTIONS["7.1 Side by side"])
    columns = [guide.counts(name) for name in helpers.SCRIPTS]
    assert rows == ["| " + " | ".join([what, *(f"{column[what]:,}" for column in columns)]) + " |"
                    for what in columns[0]]


def test_mistakes_named_from_the_library_are_there():
    linked = re.findall(r"\(\[([^\]]+)\]\[bugs\]\)", GUIDE)
    commands = re.findall(r'labs\.bugs (?:show|run) "([^"]+)"', GUIDE)
    assert len(linked) > 30 and commands
    named = linked + commands + [*guide_figures.MISTAKES][1:]
    assert [name for name in named if name not in test_planted_bugs.BUGS] == []


def test_a_row_of_the_table_of_mistakes_is_what_its_run_gives():
    """One row, with one seed; all rows with all seeds where ALL_FIGURES is set."""
    kept = guide_figures.load(guide_figures.PATH)["mistakes"]
    assert [*kept] == [*guide_figures.MISTAKES] and len(kept) == 21
    every = bool(os.environ.get("ALL_FIGURES"))
    for mistake in kept if every else ["no residual around attention"]:
        seeds = guide_figures.SEEDS if every else guide_figures.SEEDS[:1]
        for measured, (first, last) in zip(guide_figures.measure_mistake(mistake, seeds), kept[mistake]):
            assert measured == pytest.approx([first, last], rel=1e-3, abs=0.002), mistake


@pytest.mark.skipif(not os.environ.get("ALL_FIGURES"), reason="ALL_FIGURES is not set: the long runs are not repeated")
def test_the_kept_figures_are_what_the_runs_give():
    kept = guide_figures.load(guide_figures.PATH)
    run = guide_figures.measure_default_run()
    assert run["samples"] == kept["default run"]["samples"]
    assert run["losses"] == pytest.approx(kept["default run"]["losses"], abs=0.002)
    attention = guide_figures.measure_attention()
    assert attention["samples"] == kept["attention"]["samples"]
    for row, stated in zip(attention["weights"], kept["attention"]["weights"]):
        assert row == pytest.approx(stated, abs=0.03)
    assert guide_figures.measure_without_attention() == kept["without attention"]
    if os.path.exists("/proc/self/statm"):
        assert guide_figures.measure_memory() == pytest.approx(kept["megabytes"], rel=0.2, abs=5)


def test_every_piece_of_measured_text_stands_in_its_section():
    for title, texts in PIECES.items():
        for name, text in texts.items():
            found = text in SECTIONS[title] if "\n" in text else guide.flat(text) in guide.flat(SECTIONS[title])
            assert found, (title, name, text)
    console = [content for info, content in guide.fences(GUIDE) if info == "console"]
    assert [content.rstrip("\n") for content in console] == [
        PIECES["1.1 What it does"]["RUN"], PIECES["1.3 What attention is worth"]["DIAGONAL"]]


def test_three_losses_of_a_session_are_those_of_the_kept_run():
    kept = [f"{loss:.4f}" for loss in guide_figures.load(guide_figures.PATH)["default run"]["losses"][:3]]
    assert re.findall(r"1000 \| loss (\d\S+)", sessions(SECTIONS["5.8 The training step"])) == kept


def leaves(*tuples):
    """A list of Values for each tuple of numbers, a matrix of them for each tuple of such tuples."""
    return [[leaves(x)[0] if isinstance(x, tuple) else script_gpt_refactored.Value(float(x)) for x in one]
            for one in tuples]


def numbers(values):
    return [numbers(value) if isinstance(value, list) else value.data for value in values]


def grads(values):
    return [grads(value) if isinstance(value, list) else value.grad for value in values]


def total(vectors):
    """The sum of vectors."""
    return [sum(column) for column in zip(*vectors)]


def times(c, vector):
    return [c * x for x in vector]


def inner(a, b):
    return sum(x * y for x, y in zip(a, b))


BAR = (0.5, -2.0, 3.0)  # what comes back to a component: the gradient of its result


def result_of(values):
    """The numbers of a component's result, after BAR has gone back from it."""
    gpt = script_gpt_refactored
    sum((value * bar for value, bar in zip(values, BAR)), gpt.Value(0.0)).backward()
    return numbers(values)


def rules_of_linear():
    x, W = leaves((1, 2), ((1, 2), (3, -4), (5, 6)))
    y = result_of(script_gpt_refactored.linear(x, W))
    yield "y = W x", y, [inner(row, numbers(x)) for row in numbers(W)]
    yield r"\bar W = \bar y\, x^\top", grads(W), [times(bar, numbers(x)) for bar in BAR]
    yield r"\bar x = W^\top \bar y", grads(x), [inner(column, BAR) for column in zip(*numbers(W))]


def rules_of_logsumexp():
    x, = leaves((2, 1, -1))
    (ell,), powers = result_of([script_gpt_refactored.logsumexp(x)]), [math.exp(z - 2) for z in numbers(x)]
    yield r"\ell = x_{\max} + \ln \sum_j e^{x_j - x_{\max}}", [ell], [2 + math.log(sum(powers))]
    yield r"\bar x_i = p_i\, \bar \ell", grads(x), [power / sum(powers) * BAR[0] for power in powers]


def rules_of_softmax():
    x, = leaves((2, 1, -1))
    p = result_of(script_gpt_refactored.softmax(x))
    yield r"p_i = e^{x_i - \ell}", p, [
        math.exp(z - math.log(sum(map(math.exp, numbers(x))))) for z in numbers(x)]
    yield r"\bar x_j = p_j\,(\bar p_j - \sum_i p_i \bar p_i)", grads(x), [
        share * (bar - inner(p, BAR)) for share, bar in zip(p, BAR)]


def rules_of_rmsnorm():
    x, = leaves((1, 2, -4))
    y, r = result_of(script_gpt_refactored.rmsnorm(x)), (inner(numbers(x), numbers(x)) / 3 + 1e-5) ** (-1 / 2)
    yield "y = r x", y, times(r, numbers(x))
    yield r"r = (\mathrm{mean}(x^2) + \varepsilon)^{-1/2}", y, times(r, numbers(x))
    yield r"\bar x_j = r\,(\bar y_j - y_j\, (\bar y \cdot y) / n)", grads(x), [
        r * (bar - y_j * inner(BAR, y) / 3) for bar, y_j in zip(BAR, y)]


def rules_of_attention():
    gpt, root = script_gpt_refactored, 3**0.5
    (q,), keys, values = leaves((1, -1, 2)), leaves((1, 0, 2), (0, 1, -1)), leaves((1, 2, 0), (3, 0, -1))
    scores = [score / root for score in gpt.linear(q, keys)]
    alpha = gpt.softmax(scores)
    o = result_of(gpt.linear(alpha, [list(column) for column in zip(*values)]))
    a, s = numbers(alpha), grads(scores)
    yield r"s_j = q \cdot k_j / \sqrt d", numbers(scores), [inner(numbers(q), k) / root for k in numbers(keys)]
    yield r"\alpha = \mathrm{softmax}(s)", a, softmax_of(*numbers(scores))
    yield r"o = \sum_j \alpha_j v_j", o, total(map(times, a, numbers(values)))
    yield r"\bar v_j = \alpha_j \bar o", grads(values), [times(share, BAR) for share in a]
    yield r"\bar s_j = \alpha_j\, \bar o \cdot (v_j - o)", s, [
        share * inner(BAR, [v - o_ for v, o_ in zip(value, o)]) for share, value in zip(a, numbers(values))]
    yield r"\bar q = \sum_j \bar s_j k_j / \sqrt d", grads(q), times(1 / root, total(map(times, s, numbers(keys))))
    yield r"\bar k_j = \bar s_j\, q / \sqrt d", grads(keys), [times(bar / root, numbers(q)) for bar in s]


def rules_of_relu():
    h, = leaves((2, -1, 0.5))
    yield r"y = \max(h, 0)", result_of([x.relu() for x in h]), [max(x, 0) for x in numbers(h)]
    yield r"\bar h = [\,h > 0\,]\, \bar y", grads(h), [(x > 0) * bar for x, bar in zip(numbers(h), BAR)]


def rules_of_residual():
    x, J = leaves((1, 2, 3), ((1, 2, 0), (0, 1, 5), (-1, 0, 2)))
    gpt, J = script_gpt_refactored, numbers(J)
    y = result_of(gpt.add(x, gpt.linear(x, leaves(*map(tuple, J)))))  # a sublayer whose slopes are J
    yield r"y = x + \mathrm{sub}(x)", y, [x_i + inner(row, numbers(x)) for x_i, row in zip(numbers(x), J)]
    yield r"\bar x = \bar y + J^\top \bar y", grads(x), [
        bar + inner(column, BAR) for bar, column in zip(BAR, zip(*J))]


def rules_of_embedding():
    token, position = leaves((1, 2, 3), (4, 5, 6))
    x = result_of(script_gpt_refactored.add(token, position))
    yield r"x = \mathrm{wte}_{token} + \mathrm{wpe}_{position}", x, total([numbers(token), numbers(position)])
    yield r"+\bar x", [grads(token), grads(position)], [[*BAR], [*BAR]]


def rules_of_cross_entropy():
    gpt, z, following = script_gpt_refactored, leaves((2, 1, 0), (0, -1, 3)), (1, 2)
    loss = sum((gpt.logsumexp(row) - row[j] for row, j in zip(z, following)), gpt.Value(0.0)) / 2
    loss.backward()
    yield r"L = \frac1M \sum_i (\ell_i - z_i[\mathrm{next}_i])", [loss.data], [
        -sum(math.log(softmax_of(*row)[j]) for row, j in zip(numbers(z), following)) / 2]
    yield r"\bar z_i[j] = (p_i[j] - [\,j = \mathrm{next}_i\,]) / M", grads(z), [
        [(p - (j == right)) / 2 for j, p in enumerate(softmax_of(*row))] for row, right in zip(numbers(z), following)]


def rules_of_adam():
    m, u = (0.85 * 0.15 * 2 + 0.15 * 5) / (1 - 0.85**2), (0.99 * 0.01 * 4 + 0.01 * 25) / (1 - 0.99**2)
    yield r"w \leftarrow w - \eta\, \hat m / (\sqrt{\hat u} + \varepsilon)", [moved(2, 5)], [
        moved(2) - 0.01 * m / (math.sqrt(u) + 1e-8)]


def rules_of_chain_rule():
    a, = leaves((3,))
    uses = [a[0] * a[0], a[0] * 5.0]
    result_of(uses)
    yield r"L(a, b, \dots)", [], []
    yield r"\bar a = \sum_i \bar b_i\, \partial b_i / \partial a", grads(a), [inner(grads(uses), (2 * 3, 5))]
    yield "b_i", grads(uses), [*BAR[:2]]


def test_the_table_of_formulas_forward_and_backward():
    """Each formula of the table, as it stands there, worked out in plain numbers, against the program and autograd."""
    rows = re.findall(r"(?m)^\| ([\w -]+) \| (\$.*?) \|(.*)\|$", SECTIONS["11.1 Formulas"])
    assert len(rows) == sum(name.startswith("rules_of_") for name in globals()) + 1 == 12
    for title, *columns in rows:
        if title == "parameters":  # a test of its own computes it
            continue
        rules = [*globals()["rules_of_" + re.sub(r"\W", "_", title.lower())]()]
        assert re.findall(r"\$`(.*?)`\$", " ".join(columns)) == [formula for formula, _, _ in rules], title
        for formula, found, stated in rules:
            assert numbers_of(found) == pytest.approx(numbers_of(stated), abs=1e-12), (title, formula)


def numbers_of(nested):
    """Every number of lists in lists, in order."""
    return [x for part in nested for x in (numbers_of(part) if isinstance(part, (list, tuple)) else [part])]


def test_the_formula_for_the_number_of_parameters():
    terms = re.search(r"\| parameters \| \$`(.*?)`\$", SECTIONS["11.1 Formulas"])[1]
    python = re.sub(r"(?<=[\dVTNn]) ?(?=[VTNn])", "*", terms).replace("^", "**")
    assert eval(python, {"V": 27, "n": 16, "T": 16, "N": 1}) == 4192


def test_the_shapes_are_those_the_forward_pass_makes():
    """The shape comments of gpt_forward, as the guide shows it, against what is in the variables."""
    gpt = helpers.load("script_gpt_refactored")
    config = gpt.GPTConfig(n_embd=12, n_head=2, block_size=5)  # sizes of which no two are equal
    sizes = {"n_embd": 12, "vocab_size": 7, "position + 1": 2}
    state_dict = gpt.initialize_parameters(config, 7, random.Random(1))
    keys, values, seen = {}, {}, {}

    def watch(frame, event, result):
        if event == "return" and frame.f_code.co_name == "gpt_forward":
            seen.update(frame.f_locals, logits=result)

    gpt.gpt_forward(1, 0, keys, values, state_dict, config)
    sys.setprofile(watch)
    gpt.gpt_forward(1, 1, keys, values, state_dict, config)
    sys.setprofile(None)
    code = "".join(content for info, content in guide.fences(GUIDE) if info == "python gpt_forward (part)")
    found = re.findall(r"(?m)^ *(\w+)(?: = |\b).*# \[([^\]]+)\]", code)
    assert len(found) >= 7
    for name, extent in found:
        assert len(seen["logits" if name == "return" else name]) == sizes[extent], name
    assert len(seen["hidden"]) == 4 * 12 and all(len(seen[name]) == 12 for name in "qkv")


KATEX = """
const katex = (await import(process.argv[2] + "/katex/dist/katex.mjs")).default;
let text = "";
for await (const chunk of process.stdin) text += chunk;
for (const formula of JSON.parse(text)) {
  try { katex.renderToString(formula, { throwOnError: true, strict: "error" }); console.log("read"); }
  catch (error) { console.log("refused: " + error); }
}
"""
MODULES = os.environ.get("MERMAID_MODULES")


@pytest.mark.skipif(not (MODULES and shutil.which("node")), reason="MERMAID_MODULES names no node_modules folder")
def test_a_mathematics_typesetter_reads_every_formula(tmp_path):
    """KaTeX, which comes with Mermaid; GitHub itself uses MathJax, which reads all that KaTeX reads here."""
    script = tmp_path / "read.mjs"
    script.write_text(KATEX)
    found = [formula.strip("`$").removeprefix("math").strip() for formula in re.findall(guide.MATH, GUIDE)]
    process = subprocess.run(["node", str(script), os.path.abspath(MODULES)], input=json.dumps([*found, "\\frac{1"]),
                             capture_output=True, encoding="utf-8", timeout=120, check=True)
    verdicts = process.stdout.splitlines()
    assert verdicts[-1].startswith("refused") and len(found) > 200
    assert [(formula, verdict) for formula, verdict in zip(found, verdicts) if verdict != "read"] == []


def test_what_one_types_fits_a_screen():
    typed = [line for line in GUIDE.splitlines() if line.startswith((">>> ", "... "))]
    assert [line for line in typed if len(line) > 114] == []
