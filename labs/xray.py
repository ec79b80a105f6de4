"""X-ray: one training step of the real program, and where each of its numbers came from.

    python -m labs.xray emma                                      the step as a report
    python -m labs.xray emma --steps 1000                         the same after training on 1,000 names
    python -m labs.xray emma --load model.json                    the same with a saved model
    python -m labs.xray emma --why "position_loss[1 'e']"         what a number was computed from
    python -m labs.xray emma --blame "layer0.q[3 'm'][5]"         what used it, and so where its gradient came from
    python -m labs.xray emma --html step.html                     the step as a page to click through
    python -m labs.xray emma --markdown step.md --json step.json  the report as a file, and all of it as data
    python -m labs.xray emma --compare other.json                 where two models part

Nothing here computes a number of the model: labs/trace.py watches script_gpt_refactored.py while it takes the step.
"""
from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import json
import math
import os
import re
import shlex
import sys
import textwrap
import unicodedata
from dataclasses import dataclass
from typing import Sequence

import script_gpt_refactored as gpt
from engines.output import check_can_replace, exit_code, write_whole
from labs.trace import (
    Number,
    Trace,
    Update,
    explain,
    formula,
    formula_in_numbers,
    formula_of,
    plain,
    record,
    silence,
    symbol,
    without_letters,
)
from labs.xray_page import page
from script_gpt_refactored import GPTConfig, InputError

WIDTH = 80  # columns of the report
BLOCK = 7  # positions side by side: as many as fit

# ======================================================================================================================
# Taking the step
# ======================================================================================================================


def take_step(options: argparse.Namespace, load: str | None) -> Trace:
    """The step that the options ask for, on a new model or on one from a checkpoint, trained first if they say so.

    Names, weights and training are those of the scripts with the same options, so `--steps N` traces the model that
    `script_gpt.py --steps N --save` saves. Raises InputError.
    """
    given = vars(options)
    checkpoint = gpt.load_checkpoint(load) if load is not None else None
    chosen = {name: value for name, value in given.items() if hasattr(GPTConfig, name)}
    sizes = checkpoint["config"] if checkpoint else {}
    for name, size in sizes.items():
        if chosen.get(name, size) != size:
            raise InputError(f"the model in {load} has {name} {size}, not {chosen[name]}: leave that option out")
    config = GPTConfig(**{"num_steps": 0, **sizes, **chosen})
    run = gpt.prepare_run(gpt.load_dataset(options.names), config, checkpoint)
    tokens = run.tokenizer.encode(unicodedata.normalize("NFC", options.document))  # as the names were read
    optimizer = gpt.AdamOptimizer(run.state_dict, config)
    train_first(run, optimizer, config)
    return record(tokens, run.state_dict, optimizer, config.learning_rate, config, run.tokenizer)


def train_first(run: gpt.Run, optimizer: gpt.AdamOptimizer, config: GPTConfig) -> None:
    """The steps before the one that is traced. Standard output is for the answers: the progress is told to whoever
    sits at the terminal, and not kept. A Ctrl-C, which gpt.train takes for the end of the training, ends the tool."""
    with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        taken = gpt.train(run.documents, run.state_dict, optimizer, config, run.step)
    if taken < config.num_steps:
        raise KeyboardInterrupt


# ======================================================================================================================
# Writing numbers
# ======================================================================================================================


@dataclass(frozen=True)
class Pen:
    """The characters that pictures are drawn with: blocks, or plain ASCII where the output cannot show them."""

    shades: str = " ░▒▓█"
    bar: str = "█"
    arrow: str = "←"
    line: str = "─"
    times: str = "×"


ASCII = Pen(shades=" .:*#", bar="#", arrow="<-", line="-", times="*")


def pen_for(stream) -> Pen:
    """The pen whose characters the stream can write."""
    try:
        "".join(vars(Pen()).values()).encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return ASCII
    return Pen()


def short(x: float) -> str:
    """A number in about four significant digits, with its sign: +0.1234, -1.2e-05."""
    return f"{x:+.4f}" if x == 0 or 1e-3 <= abs(x) < 1e4 else f"{x:+.2e}"


def size(x: float) -> str:
    """A number that is not negative, in about four significant digits."""
    return short(x)[1:]


def norm(numbers: Sequence[float]) -> float:
    """The length of a vector: the root of the sum of its squares."""
    return math.sqrt(math.fsum(x * x for x in numbers))


def brief(trace: Trace, number: Number, write) -> str:
    """A formula; of more than four terms only the first and the last are written out."""
    texts = [write(trace.numbers[i]) for i in number.operands]
    products = number.operation == "linear"
    terms = len(texts) // 2 if products else len(texts)
    if terms <= 4:
        return formula(number.operation, texts, number.arguments)
    kept = [0, terms - 1]
    chosen = [texts[i] for i in kept] + ([texts[terms + i] for i in kept] if products else [])
    first, plus, last = formula(number.operation, chosen, number.arguments).rpartition(" + ")
    return f"{first}{plus}... + {last}   ({terms} terms)"


# ======================================================================================================================
# The report
# ======================================================================================================================


@dataclass(frozen=True)
class Section:
    """A piece of the report: its heading, a paragraph, and lines whose columns are aligned."""

    title: str
    text: str
    lines: list[str]


def report(trace: Trace, pen: Pen) -> list[Section]:
    """The whole step for a reader, from the question to the update. A picture whose variables the program does not have
    (because somebody has renamed them, say) is left out."""
    sections = [
        question(trace),
        vectors(trace, pen),
        attention(trace, pen),
        predictions(trace, pen),
        gradients(trace, pen),
        update(trace),
        ask_on(trace),
    ]
    return [section for section in sections if section.lines]


def shown(trace: Trace) -> list[str]:
    """The tokens as one character each, ^ for BOS: ["^", "e", "m", "m", "a", "^"]."""
    return ["^" if token == trace.tokenizer.bos else trace.tokenizer.vocabulary[token] for token in trace.tokens]


def code_at(trace: Trace, line: int) -> str:
    """A line of the source without its indentation and comment."""
    return trace.source.lines[line - 1].strip().split("  #")[0]


def cut(text: str) -> str:
    """The text, shortened to one line of the report."""
    return text if len(text) <= WIDTH else text[:WIDTH - 3] + "..."


def question(trace: Trace) -> Section:
    """What the model is asked, position by position."""
    tokens, count = shown(trace), trace.positions
    text = (
        f"{count} question{'s' if count > 1 else ''}, one at each position; ^ marks the beginning and the end. It is "
        f"update {trace.updates_before + 1} of this optimizer, at learning rate {trace.learning_rate:g}. The step made "
        f"{len(trace.computed):,} numbers from {len(trace.parameters):,} parameters. Each has a name, and can be "
        "asked where it came from."
    )
    if count < len(trace.tokens) - 1:
        text += f" What follows is left out: the context has {trace.config.block_size} tokens."
    lines = []
    for i in range(count):
        read = "".join(tokens[:i + 1])
        lines.append(f"{trace.where(i):<8} has read {read:<{count + 1}} what comes next? right: {tokens[i + 1]}")
    return Section(f"One training step on {trace.tokenizer.decode(trace.tokens)!r}", text, lines)


def vectors(trace: Trace, pen: Pen) -> Section:
    """Every vector of the model, a row for each position: up to 16 numbers in figures, wider ones shaded."""
    lines = []
    for label, numbers in trace.vectors().items():
        rows = trace.by_position(numbers)
        width = max(map(len, rows.values()))
        line = numbers[0].model_moment.statement.line
        largest = max(abs(number.value) for number in numbers)
        lines += ["", cut(f"{label} [{len(rows)}][{width}], line {line}: {code_at(trace, line)}")]
        if width > 16:
            lines += [f"  {where:<8}{shades([n.value for n in row], largest, pen)}" for where, row in rows.items()]
            zeros = sum(n.value == 0 for n in numbers)
            lines.append(f"  {'':8}{pen.shades[-1]} = {largest:.3g}; {zeros} of {len(numbers)} are 0")
        else:
            decimals = 1 - math.floor(math.log10(largest)) if largest else 0  # two digits for the largest,
            decimals -= round(largest * 10.0**decimals) > 99  # also if rounding would make it three
            lines += [f"  {where:<8}" + "".join(f"{round(n.value * 10.0**decimals):4}" for n in row)
                      for where, row in rows.items()]
            lines.append(f"  {'':8}in units of {10.0**-decimals:g}")
    text = "In the order the program computes them."
    inner = [label for label in trace.vectors() if "~" in label]
    if inner:
        made, giver = inner[-1].split("~")
        text += (f" A name with ~ is of a vector on the way to another: {inner[-1]} is what {giver} gave inside the "
                 f"line that makes {made}.")
    return Section("The vectors", text, lines[1:])


def shades(numbers: Sequence[float], largest: float, pen: Pen) -> str:
    """A character for the size of each of the first 64 numbers, the darkest for the largest; signs do not show."""
    steps = len(pen.shades) - 1
    text = "".join(pen.shades[math.ceil(steps * abs(x) / largest) if largest else 0] for x in numbers[:64])
    return text + ("..." if len(numbers) > 64 else "")


def attention(trace: Trace, pen: Pen) -> Section:
    """For each head who looks at whom: a row for the position that looks, a column for each it may look at."""
    lines = []
    for label, numbers in trace.variables().items():
        if not label.endswith("attn_weights"):
            continue
        lines += ["", label]
        for first in range(0, trace.positions, BLOCK):
            columns = range(first, min(first + BLOCK, trace.positions))
            lines.append((f"{'':10}" + "".join(f"{trace.where(i):<9}" for i in columns)).rstrip())
            for where, row in trace.by_position(numbers).items():
                cells = [f"{n.value:.2f} {shades([n.value], 1.0, pen) * 2}" for n in row[first:first + BLOCK]]
                if cells:
                    lines.append(f"  {where:<8}" + "".join(f"{cell:<9}" for cell in cells).rstrip())
    text = "A row is a position that looks, its figures the share of each position looked at; they sum to 1."
    return Section("Attention: who looks at whom", text, lines[1:])


def predictions(trace: Trace, pen: Pen) -> Section:
    """The likeliest letters at each position, the right one marked, and what it cost."""
    lines = []
    tokens = shown(trace)
    for position in range(trace.positions):
        where = trace.where(position)
        loss = trace.find(f"position_loss[{where}]")
        total = trace.find(f"position_loss~logsumexp[{where}]")
        if not loss or not total:
            continue
        chances = sorted(zip(total.slopes, total.inputs), reverse=True)  # the slopes of logsumexp are softmax
        logits = total.inputs  # one for each token, in their order
        place = [logit for _, logit in chances].index(logits[trace.tokens[position + 1]])
        read = "".join(tokens[:position + 1])
        lines += ["", f"after {read}: loss {loss.value:.4f}, the right letter is in place {place + 1}"]
        for rank in sorted({0, 1, 2, place}):
            chance, logit = chances[rank]
            letter = trace.letter(logits.index(logit))
            mark = f" {pen.arrow} right" if rank == place else ""
            lines.append(f"  {rank + 1:2}. {letter:<4} logit {short(trace.numbers[logit].value):>8}  p {chance:.3f} "
                         f"{pen.bar * round(40 * chance)}{mark}")
    choices = trace.tokenizer.vocab_size
    text = (f"The loss is the mean over the positions: {trace.loss.value:.4f}. Guessing evenly among {choices} tokens "
            f"would cost {math.log(choices):.4f} at each.")
    return Section("Predictions", text, lines[1:])


def steepest(trace: Trace) -> list[Number]:
    """The ten parameters with the largest gradients."""
    return sorted((trace.numbers[i] for i in trace.parameters), key=lambda n: -abs(n.gradient))[:10]


def gradients(trace: Trace, pen: Pen) -> Section:
    """How much gradient there is along the residual stream and in each matrix, and where it is largest."""
    lines = []
    stream = {label: list(trace.by_position(numbers).values()) for label, numbers in trace.variables().items()
              if re.fullmatch(r"(.*\.)?x(\.\d+)?", label)}
    for first in range(0, trace.positions if stream else 0, BLOCK):
        columns = range(first, min(first + BLOCK, trace.positions))
        lines.append(f"{'residual stream':<17}" + "".join(f"{trace.where(i):>9}" for i in columns))
        for label, rows in stream.items():
            sizes = [norm([number.gradient for number in rows[i]]) for i in columns]
            lines.append(f"{label:<17}" + "".join(f"{size(x):>9}" for x in sizes))
    lines += ["", f"{'parameters':<18}{'norm':>9}{'largest':>10}  without a gradient"]
    for name in trace.shapes:
        slopes = [trace.numbers[i].gradient for i in trace.matrix(name)]
        largest = max(map(abs, slopes))
        lines.append(f"{name:<18}{size(norm(slopes)):>9}{size(largest):>10}  {slopes.count(0.0)} of {len(slopes)}")
    lines += ["", "the ten largest"]
    top = steepest(trace)
    largest = abs(top[0].gradient) or 1.0
    for number in top:
        lines.append(f"{number.name:<26} is {short(number.value):>9}, gradient {short(number.gradient):>9} "
                     f"{pen.bar * round(16 * abs(number.gradient) / largest)}")
    text = ("Slopes of the loss. For the residual stream: the length of the gradient vector at each position, from the "
            "embeddings to the last layer. For parameters: of the whole matrix.")
    return Section("Where the gradient flowed", text, lines)


def update(trace: Trace) -> Section:
    """How far Adam moved the parameters of each matrix, and those with the largest gradients; its lines for one."""
    moves = [after - trace.numbers[i].value for i, after in enumerate(trace.after)]
    lines = [f"{'parameters':<18}{'moved':>14}  {'mean distance':>13}  {'farthest':>9}"]
    for name in trace.shapes:
        distances = [abs(moves[i]) for i in trace.matrix(name)]
        moved = sum(distance > 0 for distance in distances)
        mean = math.fsum(distances) / moved if moved else 0.0
        lines.append(f"{name:<18}{f'{moved} of {len(distances)}':>14}  {mean:13.6f}  {max(distances):9.6f}")
    lines += ["", "the ten with the largest gradients"]
    top = steepest(trace)
    for number in top:
        after = trace.after[number.index]
        lines.append(f"{number.name:<26} from {short(number.value):>9} to {short(after):>9}, by "
                     f"{short(after - number.value):>9}")
    lines += ["", f"what the lines of Adam computed for {top[0].name}:"]
    for done in trace.updates.get(top[0].index, ()):
        right, result = update_in_numbers(done)
        whole = f"{done.line.line:5}  {done.line.name:<5} = {right}" + (f" = {result}" if result else "")
        lines += textwrap.wrap(whole, WIDTH, subsequent_indent=" " * 15)
    idle = sum(1 for i in trace.parameters if not trace.numbers[i].gradient and moves[i])
    text = (f"Update {trace.updates_before + 1} at learning rate {trace.learning_rate:g}. "
            f"{sum(1 for move in moves if move):,} of {len(moves):,} parameters moved, {idle:,} of them without a "
            "gradient in this step, by the momentum of earlier ones.")
    return Section("What Adam did", text, lines)


def ask_on(trace: Trace) -> Section:
    """Commands to go on with, made of names of this trace."""
    document = trace.tokenizer.decode(trace.tokens)
    document = ("-- " if document.startswith("-") else "") + shlex.quote(document)
    heads = [numbers for label, numbers in trace.variables().items() if label.endswith("attn_weights")]
    losses = trace.variables().get("position_loss", [])
    questions = [("--why", max(losses, key=lambda n: n.value))] if losses else []
    questions += [("--why", heads[0][-1])] if heads else []
    questions += [("--blame", steepest(trace)[0])]
    lines = [f'python3 -m labs.xray {option} "{without_letters(number.name)}" {document}'
             for option, number in questions]
    lines.append(f"python3 -m labs.xray --html step.html {document}")
    return Section("Ask on", "With the options you gave for this one:", lines)


def as_text(sections: Sequence[Section], pen: Pen) -> str:
    """The report for a terminal."""
    parts = []
    for section in sections:
        head = f"{pen.line * 2} {section.title} "
        parts.append(head + pen.line * (WIDTH - len(head)))
        parts.append(textwrap.fill(section.text, WIDTH))
        parts.append("\n".join(section.lines) + "\n")
    return "\n".join(parts)


def as_markdown(sections: Sequence[Section], trace: Trace) -> str:
    """The report as Markdown, with the loss explained three levels deep at the end."""
    parts = []
    for section in sections:
        parts += [f"{'#' if section is sections[0] else '##'} {section.title}", section.text]
        parts.append("\n".join(["```text", *section.lines, "```"]))
    parts += ["## Why the loss is what it is", "\n".join(["```text", *why(trace, trace.loss, 3, Pen()), "```"])]
    return "\n\n".join(parts) + "\n"


# ======================================================================================================================
# One number
# ======================================================================================================================


def why(trace: Trace, number: Number, depth: int, pen: Pen) -> list[str]:
    """What a number was computed from, its inputs explained in the same way down to the depth (1: the number alone)."""
    lines: list[str] = []
    told: set[int] = set()

    def tell(number: Number, level: int) -> None:
        told.add(number.index)
        indent = "    " * level
        lines.extend(indent + line for line in card(trace, number, pen))
        if level == 0:
            lines.extend(textwrap.wrap(explain(trace, number), WIDTH - 4, initial_indent="  ", subsequent_indent="  "))
        if level + 1 == depth:
            return
        for index in weightiest(number)[:4 if len(number.operands) <= 4 else 2]:
            child = trace.numbers[index]
            if child.is_computed:
                lines.append("")
                if index in told:
                    lines.append(f"{indent}    {child.name} = {short(child.value)}, see above")
                else:
                    tell(child, level + 1)

    tell(number, 0)
    return lines


def weightiest(number: Number) -> list[int]:
    """What its formula reads; of a wide operation by the size of the slope, the largest first."""
    if len(number.operands) <= 4:
        return list(number.operands)
    slopes = dict(zip(number.inputs, number.slopes))
    return sorted(slopes, key=lambda index: -abs(slopes[index]))


def card(trace: Trace, number: Number, pen: Pen) -> list[str]:
    """All there is to say about one number: value, line, formula with names and with numbers, gradient."""
    lines = [f"{number.name} = {number.value!r}"]
    if number.aliases:
        lines.append(f"  also called {', '.join(number.aliases[:2])}" + (" ..." if number.aliases[2:] else ""))
    if number.is_computed:
        for line in (number.line, *number.callers):
            function = trace.source.function_at(line)
            lines.append(f"  line {line} of {function.name}: {code_at(trace, line)}")
            if function.has_model:
                break
        lines.append(f"  {number.operation} = {brief(trace, number, symbol)}")
        lines.append(f"  {'':{len(number.operation)}} = {brief(trace, number, lambda n: f'{n.value:.4g}')}")
        lines += terms(trace, number, pen)
    lines.append(f"  gradient {number.gradient!r}")
    lines += textwrap.wrap(silence(trace, number), WIDTH - 4, initial_indent="  ", subsequent_indent="  ")
    if number.operation == "parameter":
        lines.append("  what Adam made of it:")
        for done in trace.updates.get(number.index, ()):
            right, result = update_in_numbers(done)
            lines.append(f"    .{done.line.name:<6} = {done.line.formula.format(*done.line.symbols)}")
            lines.append(f"     {'':6} = {right}" + (f" = {result}" if result else ""))
    return lines


def terms(trace: Trace, number: Number, pen: Pen) -> list[str]:
    """The terms of a wide operation, the largest first: products of a dot product, shares of a logsumexp."""
    half = len(number.inputs) // 2
    if number.operation == "linear":
        pairs = [(trace.numbers[a], trace.numbers[b]) for a, b in zip(number.inputs[:half], number.inputs[half:])]
        parts = [(a.value * b.value, f"{a.name} {short(a.value)} {pen.times} {b.name} {short(b.value)}")
                 for a, b in pairs]
    elif number.operation == "logsumexp":
        parts = [(slope, f"share of {trace.numbers[i].name} {short(trace.numbers[i].value)}")
                 for i, slope in zip(number.inputs, number.slopes)]
    else:
        return []
    parts.sort(key=lambda part: -abs(part[0]))
    lines = [f"    {short(size):>9}  {text}" for size, text in parts[:5]]
    if parts[5:]:
        lines.append(f"    {short(math.fsum(size for size, _ in parts[5:])):>9}  the other {len(parts) - 5} together")
    return lines


def update_in_numbers(done: Update) -> tuple[str, str]:
    """A line of Adam with its numbers, and its result if that is not the same: ("0.85 * 0 + 0.15 * 0.5", "0.075")."""
    right = done.line.formula.format(*(f"{x:.5g}" for x in done.operands))
    result = f"{done.result:.5g}"
    return right, "" if right == result else result


def blame(trace: Trace, number: Number, pen: Pen) -> list[str]:
    """Where the gradient of a number came from: the chain rule over all that used it, then the heaviest path onward."""
    lines = [f"{number.name} = {number.value!r}", f"  gradient {number.gradient!r}"]
    if number is trace.loss:
        return [*lines, "  This is the loss: its slope in itself is 1, and backward begins here."]
    uses = sorted(trace.uses[number.index], key=lambda use: -abs(use[1] * trace.numbers[use[0]].gradient))
    if not uses:
        said = silence(trace, number) or ("Nothing in this step used it, so the loss does not depend on it: its "
                                          "gradient is 0.")
        return lines + textwrap.wrap(said, WIDTH - 4, initial_indent="  ", subsequent_indent="  ")
    products = [(slope * trace.numbers[user].gradient, slope, trace.numbers[user]) for user, slope in uses]
    wide = max(len(user.name) for _, _, user in products[:20])
    lines += ["", f"  {'used by':<{wide}} {'slope':>10}   {'its gradient':>12}   {'product':>10}"]
    for product, slope, user in products[:20]:
        sizes = f"{short(slope):>10} {pen.times} {short(user.gradient):>12} = {short(product):>10}"
        lines.append(f"  {user.name:<{wide}} {sizes}")
    if products[20:]:
        rest = math.fsum(product for product, _, _ in products[20:])
        lines.append(f"  {f'the other {len(products) - 20} together':<{wide}}{'':29}{short(rest):>10}")
    total = math.fsum(product for product, _, _ in products)
    lines.append(f"  {'the sum, which is its gradient':<{wide}}{'':29}{short(total):>10}")
    path = heaviest_path(trace, number)
    if not path:
        return [*lines, "", "  Every way from here to the loss is cut by a slope of 0."]
    lines += ["", "  the heaviest path to the loss, each number with its slope in the one before"]
    through = 1.0
    for slope, user in path:
        through *= slope
        lines.append(f"    {short(slope):>10}  {user.name}")
    lines.append(f"  the product of the slopes along this path: {short(through)}; no other path has a larger one")
    return lines


def heaviest_path(trace: Trace, number: Number) -> list[tuple[float, Number]]:
    """The way to the loss whose product of slopes is largest in size: each step's slope, and the number it leads to.

    The gradient is the sum of these products over all ways (the chain rule), so this is the largest part of it. It is
    found from the loss backwards: the best way from a number goes over the use for which |slope * best of the user| is
    largest. A number is used only by later ones, so one walk from the end is enough.
    """
    best = [0.0] * len(trace.numbers)
    best[trace.loss.index] = 1.0
    for index in range(trace.loss.index - 1, number.index - 1, -1):
        best[index] = max((abs(slope) * best[user] for user, slope in trace.uses[index]), default=0.0)
    path = []
    while number is not trace.loss:
        if not best[number.index]:
            return []  # no way there, or each is cut by a slope of 0
        user, slope = max(trace.uses[number.index], key=lambda use: abs(use[1]) * best[use[0]])
        number = trace.numbers[user]
        path.append((slope, number))
    return path


def find(trace: Trace, name: str) -> Number:
    """The number of this name. Raises InputError with the nearest names if there is none."""
    number = trace.find(name)
    if number:
        return number
    names = {plain(number.name): number.name for number in trace.numbers if number.operation != "constant"}
    label, bracket, indices = plain(name).partition("[")
    labels = {known.partition("[")[0] for known in names}
    # The whole name with its beginning left out, the rest of a vector's name, or a variable with nearly this name.
    near = [known for known in names if known.endswith("." + plain(name)) or known.startswith(plain(name) + "[")]
    near += [known for known in names if f".{plain(name)}[" in known or known.startswith(f"{plain(name)}.")]
    for close in [k for k in sorted(labels) if k.endswith("." + label)] + difflib.get_close_matches(label, labels):
        same = [known for known in names if known.partition("[")[0] == close]
        near += difflib.get_close_matches(close + bracket + indices, same, n=2, cutoff=0.0)
    near = list(dict.fromkeys(near))[:3] or ["loss"]
    offered = ", ".join(f'"{names.get(known, known)}"' for known in near)
    raise InputError(f"no number in this trace is called {name!r}: did you mean {offered}?")


# ======================================================================================================================
# Data
# ======================================================================================================================


def as_data(trace: Trace) -> dict:
    """The trace as plain data, ready for JSON. Formulas are Python: `in_numbers` evaluates to `output`,
    up to rounding."""
    lengths: dict[tuple[str, str], int] = {}  # (variable, position) -> how many numbers it held there

    def key(number: Number) -> tuple[str, str]:
        return number.name.split("[")[0], number.moment.where

    for number in trace.computed:
        lengths[key(number)] = lengths.get(key(number), 0) + 1
    numbers = []
    for number in trace.numbers:
        entry = {"name": number.name, "aliases": number.aliases, "operation": number.operation,
                 "output": number.value, "gradient": number.gradient, "explanation": explain(trace, number)}
        if number.operation == "parameter":
            entry["after"] = trace.after[number.index]
            entry["shape"] = list(trace.shapes[number.name.split("[")[0]])
        if number.is_computed:
            entry.update(
                formula=formula_of(trace, number),
                in_numbers=formula_in_numbers(trace, number),
                inputs=[trace.numbers[i].name for i in number.inputs],
                slopes=list(number.slopes),
                unlinked=[trace.numbers[i].name for i in number.unlinked],
                shape=[count] if (count := lengths[key(number)]) > 1 or number.dims else [],
                line=number.line,
                source=trace.source.lines[number.line - 1].strip(),
                called_from=list(number.callers),
            )
        numbers.append(entry)
    updates = [
        {"name": f"{trace.numbers[i].name}.{done.line.name}", "output": done.result, "line": done.line.line,
         "formula": done.line.formula.format(*done.line.symbols),
         "in_numbers": done.line.formula.format(*map(repr, done.operands)),
         "source": trace.source.lines[done.line.line - 1].strip()}
        for i, lines in trace.updates.items() for done in lines
    ]
    return {
        "format": "see-through-gpt trace 1",
        "document": trace.tokenizer.decode(trace.tokens),
        "tokens": trace.tokens,
        "vocabulary": trace.tokenizer.vocabulary,
        "config": {name: getattr(trace.config, name) for name in ("n_layer", "n_embd", "n_head", "block_size")},
        "source": os.path.basename(trace.source.path),
        "learning_rate": trace.learning_rate,
        "update": trace.updates_before + 1,
        "numbers": numbers,
        "updates": updates,
    }


def as_json(trace: Trace) -> str:
    """The data as JSON, a line for each number: `grep` finds one, `diff` compares two."""
    data = as_data(trace)
    long = {key: data.pop(key) for key in ("numbers", "updates")}
    lists = [f'"{key}": [\n' + ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries) + "\n]"
             for key, entries in long.items()]
    return ",\n".join([json.dumps(data, allow_nan=False)[:-1], *lists]) + "}\n"


# ======================================================================================================================
# Two models
# ======================================================================================================================


def compare(one: Trace, other: Trace, tolerance: float, titles: Sequence[str]) -> list[str]:
    """Two traces of one document side by side, and the first numbers that differ by more than the tolerance.

    Raises InputError if the models have other sizes or letters, so that their numbers do not correspond.
    """
    if one.config.block_size != other.config.block_size or one.shapes != other.shapes or (
            one.tokenizer.vocabulary != other.tokenizer.vocabulary or one.config.n_head != other.config.n_head):
        raise InputError("the two models differ in sizes or letters, so their numbers do not correspond: "
                         "compare models of one shape")
    titles = [title[-19:] for title in titles]
    lines = [f"{'':<36}{titles[0]:>20}{titles[1]:>20}"]
    for a in [one.loss, *one.variables().get("position_loss", [])]:
        lines.append(f"{a.name:<36}{a.value:20.10g}{other.numbers[a.index].value:20.10g}")
    apart = [(a, b) for a, b in zip(one.numbers, other.numbers) if not abs(a.value - b.value) <= tolerance]
    lines.append("")
    if not apart:
        return [*lines, f"No number differs by more than {tolerance:g}."]
    weights = [(a, b) for a, b in apart if a.operation == "parameter"]
    computed = [(a, b) for a, b in apart if a.is_computed]
    lines.append(f"{len(weights):,} of {len(one.parameters):,} parameters and {len(computed):,} of "
                 f"{len(one.computed):,} computed numbers differ by more than {tolerance:g}.")
    for what, pairs in (("parameter", weights), ("computed number", computed)):
        if pairs:
            a, b = pairs[0]
            lines.append(f"The first {what}: {a.name} is {a.value:.6g} and {b.value:.6g}.")
    if computed:
        line = computed[0][0].model_moment.statement.line
        lines.append(f"  line {line}: {code_at(one, line)}")
    lines += ["", f"{'largest difference by variable':<36}{titles[0]:>20}{titles[1]:>20}  at"]
    for label, numbers in one.variables().items():
        a, b = max(((n, other.numbers[n.index]) for n in numbers), key=lambda pair: abs(pair[0].value - pair[1].value))
        if abs(a.value - b.value) > tolerance:
            lines.append(f"{label:<36}{a.value:20.10g}{b.value:20.10g}  {a.name[len(label):]}")
    return lines


# ======================================================================================================================
# Command line
# ======================================================================================================================


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; a size that is not given is absent from the result. Raises InputError if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m labs.xray",
        description="One training step of the real program, and where each of its numbers came from.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    here = os.path.dirname(os.path.realpath(gpt.__file__))
    parser.add_argument("document", nargs="?", metavar="TEXT", default="emma",
                        help="the document to take the step on (default: emma)")
    for flag, field, kind, metavar, meaning in (
        ("--steps", "num_steps", int, "N", "train on N names first, as script_gpt.py --steps N does (default: 0)"),
        ("--load", "load", str, "FILE", "start from this model"),
        ("--names", "names", str, "FILE", "the data, one document a line (default: names.txt)"),
        ("--seed", "seed", int, "N", f"another number, other weights (default: {GPTConfig.seed})"),
        ("--n-layer", "n_layer", int, "N", f"transformer layers (default: {GPTConfig.n_layer})"),
        ("--n-embd", "n_embd", int, "N", f"numbers per token (default: {GPTConfig.n_embd})"),
        ("--n-head", "n_head", int, "N", f"attention heads per layer (default: {GPTConfig.n_head})"),
        ("--block-size", "block_size", int, "N", f"longest context (default: {GPTConfig.block_size})"),
        ("--learning-rate", "learning_rate", float, "X",
         f"of the step, and of the first one (default: {GPTConfig.learning_rate})"),
        ("--why", "why", str, "NAME", "explain one number: what it was computed from"),
        ("--depth", "depth", int, "N", "how many levels of inputs --why explains (default: 2)"),
        ("--blame", "blame", str, "NAME", "the other way: what used this number, up to the loss"),
        ("--markdown", "markdown", str, "FILE", "write the report as Markdown"),
        ("--json", "json", str, "FILE", "write the trace as data"),
        ("--html", "html", str, "FILE", "write the trace as a page to click through"),
        ("--compare", "compare", str, "FILE", "trace this model too, and show where the two part"),
        ("--tolerance", "tolerance", float, "X", "what --compare takes for equal (default: 1e-09)"),
    ):
        parser.add_argument(flag, dest=field, type=kind, metavar=metavar, help=meaning)
    parser.add_argument("--force", action="store_true", help="write over a file that holds something else")
    parser.set_defaults(names=os.path.join(here, "names.txt"), depth=2, tolerance=1e-9, force=False)

    def refuse(message):
        raise InputError(f"{message} (--help lists the options)")

    parser.error = refuse
    return parser.parse_args(arguments)


# How the files that are written begin: only such a one may be written over without --force.
BEGINNINGS = {
    "markdown": b"# One training step on ",
    "json": rb'\{"format": "see-through-gpt trace 1"',
    "html": b"<!doctype html>.*<title>X-ray of one training step</title>",
}


def check(options: argparse.Namespace) -> None:
    """Refuses, before any work, what cannot be done. Raises InputError."""
    given = vars(options)
    if not 1 <= options.depth <= 20:
        raise InputError(f"depth is {options.depth}: it must be from 1 to 20")
    if not 0 <= options.tolerance < math.inf:
        raise InputError(f"tolerance is {options.tolerance}: it must be 0 or more")
    inputs = {os.path.realpath(given[name]): name for name in ("names", "load", "compare") if name in given}
    outputs: dict[str, str] = {}
    for name, beginning in BEGINNINGS.items():
        if name not in given:
            continue
        path = os.path.realpath(given[name])
        if path in inputs or path in outputs:
            raise InputError(f"--{name} {given[name]} is also the file of --{inputs.get(path) or outputs.get(path)}: "
                             "name another")
        check_can_replace(given[name], beginning, options.force)
        outputs[path] = name


def run(options: argparse.Namespace) -> None:
    """Take the step and answer what was asked; without a question, print the report."""
    check(options)
    given = vars(options)
    pen = pen_for(sys.stdout)
    trace = take_step(options, given.get("load"))
    answers: list[list[str]] = []
    if "why" in given:
        answers.append(why(trace, find(trace, options.why), options.depth, pen))
    if "blame" in given:
        answers.append(blame(trace, find(trace, options.blame), pen))
    if "compare" in given:
        other = argparse.Namespace(**{name: value for name, value in given.items() if name != "num_steps"})
        first = os.path.basename(given["load"]) if "load" in given else f"seed {trace.config.seed}"
        first += f", {trace.config.num_steps} steps" if trace.config.num_steps else ""
        titles = (first, os.path.basename(options.compare))
        answers.append(compare(trace, take_step(other, options.compare), options.tolerance, titles))
    makers = {
        "markdown": lambda: as_markdown(report(trace, Pen()), trace),
        "json": lambda: as_json(trace),
        "html": lambda: page(trace),
    }
    written = []
    for name in makers:
        if name in given:
            text = makers[name]()
            write_whole(given[name], lambda file: file.write(text))
            written.append([f"wrote {given[name]} ({len(text.encode()) / 1e6:.2f} MB)"])
    if not answers and not written:
        answers.append([as_text(report(trace, pen), pen)])
    print("\n\n".join("\n".join(lines) for lines in answers + written), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program. Returns the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    return exit_code(lambda: run(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main())
