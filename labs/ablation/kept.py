"""The file of measured figures, and the tables that are printed from it. Needs no NumPy."""
from __future__ import annotations

import json
import math
import statistics
import textwrap
from pathlib import Path
from typing import Sequence

from engines.output import write_whole
from script_gpt_refactored import InputError, read_text

KEPT = Path(__file__).resolve().parent.with_suffix(".json")  # labs/ablation.json
FORMAT = "see-through-gpt ablation 1"
WHOLE = "the whole layer"


def load(path: str | Path = KEPT) -> dict:
    """The kept figures: {"tables": {name: ...}, "statements": {name: ...}}. Raises InputError if it is no such file."""
    try:
        kept = json.loads(read_text(path, "a file written by --keep"))
        parts = [*kept["tables"].values(), *kept["statements"].values()]
        if kept["format"] != FORMAT or not all(part["rows"] and part["seeds"] and part["setting"] for part in parts):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a file of this lab: name one written by --keep") from error
    return kept


def save(path: str | Path, kept: dict) -> None:
    write_whole(path, lambda file: file.write(as_text(kept) + "\n"))


def as_text(value: object, indent: str = "") -> str:
    """JSON with a line for each row: an object whose members hold objects is written over several lines."""
    if not isinstance(value, dict) or not any(isinstance(member, dict) for member in value.values()):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    members = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {as_text(member, inner)}"
               for key, member in value.items()]
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def verdict(differences: Sequence[float]) -> str:
    """What several seeds say of a difference in loss, this model less the other, a number for each seed.

    "within the noise" if the mean is at most two standard errors from 0 (the standard error is the standard deviation
    divided by the root of the number of seeds), else "better" (a lower loss) or "worse". Nothing of fewer than 3 seeds.
    """
    if len(differences) < 3:
        return ""
    if abs(statistics.mean(differences)) <= 2 * standard_error(differences):
        return "within the noise"
    return "better" if statistics.mean(differences) < 0 else "worse"


def standard_error(numbers: Sequence[float]) -> float:
    return statistics.stdev(numbers) / math.sqrt(len(numbers))


def spread(numbers: Sequence[float], digits: int = 3) -> str:
    """The mean ± the standard deviation over the seeds (n - 1 in its denominator); of one seed, its number."""
    mean = f"{statistics.mean(numbers):.{digits}f}"
    return f"{mean} ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else mean


def percent(numbers: Sequence[float]) -> str:
    """Shares as a percentage, with their standard deviation."""
    return spread([100 * number for number in numbers], 0)


def against(row: dict, other: dict) -> list[str]:
    """The paired difference of two rows, seed by seed: mean, two standard errors, verdict ("noise" for short)."""
    differences = [a - b for a, b in zip(row["loss"], other["loss"])]
    margin = f"{2 * standard_error(differences):.3f}" if len(differences) > 1 else ""
    mean = round(statistics.mean(differences), 3) + 0.0  # -0.0 becomes 0.0
    return [f"{mean:+.3f}", margin, verdict(differences).replace("within the ", "")]


def headline(table: dict) -> str:
    """What was trained, on what, how often."""
    setting, seeds = table["setting"], table["seeds"]
    each = "1 document" if setting["batch"] == 1 else f"{setting['batch']} documents"
    decay = f", weight decay {setting['weight_decay']}" if setting["weight_decay"] else ""
    layers = "one layer" if setting["n_layer"] == 1 else f"{setting['n_layer']} layers"
    heads = "one head" if setting["n_head"] == 1 else f"{setting['n_head']} heads"
    runs = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"one run, seed {seeds[0]}"
    return (f"{setting['source']}: {setting['steps']:,} steps of {each}; {layers}, width {setting['n_embd']}, {heads}"
            f"{decay}; {runs}")


def table_lines(table: dict) -> list[str]:
    """The table of one study, at most 100 columns wide."""
    rows = table["rows"]
    certain = any("right" in row for row in rows.values())
    shown = certain and table["setting"]["source"] == "sums"
    header = ["", "trained", "held-out loss", "less whole", "2 s.e.", "verdict"]
    header += ["right %", "all %"] * certain + ["shown %"] * shown
    lines = [header]
    for name, row in rows.items():
        line = [name, f"{row['parameters']:,}" if "parameters" in row else "", spread(row["loss"])]
        line += against(row, rows[WHOLE]) if name != WHOLE else ["", "", ""]
        if certain:
            line += [percent(row["right"]), percent(row["all right"])] if "right" in row else ["", ""]
        if shown:
            line.append(percent(row["all right, shown"]) if "right" in row else "")
        lines.append(line)
    split = f"{table['held out']:,} documents held out, {table['shown']:,} to train on"
    return [headline(table), split, "", *aligned(lines)]


def statement_lines(statement: dict) -> list[str]:
    """What a statement measured: a table of its numbers, its words seed by seed, its weights line by line."""
    rows, first = statement["rows"], next(iter(statement["rows"].values()))
    differing = " (but for what a row says)" if len(rows) > 1 else ""
    lines = textwrap.wrap(statement["about"], 98) + textwrap.wrap(headline(statement) + differing, 98) + [""]
    numbers = [figure for figure, found in first.items() if isinstance(found[0], (int, float))]
    if numbers:
        compared = "loss" in numbers and len(rows) > 1
        table = [["", *numbers, *(["less first", "2 s.e.", "verdict"] if compared else [])]]
        for name, row in rows.items():
            digits = [1 if isinstance(row[figure][0], int) else 3 for figure in numbers]
            line = [name, *(spread(row[figure], places) for figure, places in zip(numbers, digits))]
            if compared:
                line += ["", "", ""] if row is first else against(row, first)
            table.append(line)
        lines += aligned(table)
    for name, row in rows.items():
        for figure, found in row.items():
            if isinstance(found[0], str):
                for seed, words in zip(statement["seeds"], found):
                    lines += textwrap.wrap(f"{name}, {figure}, seed {seed}: {words}", 98, subsequent_indent="  ")
            elif isinstance(found[0], list):
                lines += drawing(name, found)
    return lines


def drawing(document: str, weights: Sequence[Sequence[float]]) -> list[str]:
    """The weights in hundredths, one line for each token; ^ is BOS. 0 is left out."""
    tokens = "^" + document
    return ["  " + "".join(f"{token:>4}" for token in tokens)] + [
        f"{token} " + "".join(f"{round(100 * weight) or '':>4}" for weight in line).rstrip()
        for token, line in zip(tokens, weights)]


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """The first column and the words of a verdict to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    left = {0, lines[0].index("verdict") if "verdict" in lines[0] else 0}
    return ["  ".join(cell.ljust(width) if place in left else cell.rjust(width)
                      for place, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines]
