"""A trace as one self-contained page: xray.html with its script, xray.js, and the trace packed into it.

Everything the page shows is the trace's. To stay small, its numbers travel as binary arrays in base64, names as a
common beginning and a list of endings, the inputs of an operation as runs of neighbours, and slopes that are plainly 1,
or the other factor of a product, as one letter each; nothing is left to such a rule before it was compared. Above
`LIMIT` bytes the page keeps a summary in place of the largest tables, and says so.
"""
from __future__ import annotations

import array
import base64
import json
import math
import os
from dataclasses import dataclass
from typing import Iterable, Sequence

from labs.trace import Moment, Number, Trace, educational_path, explain, first_sentence, lectures

LIMIT = 4_500_000  # bytes of a page, about
BYTES = {"matrix": 80, "variable": 65, "inner": 65, "constant": 0}  # what a number takes of it, measured, rounded up


@dataclass
class Slot:
    """Numbers that share a name up to the first bracket: a weight matrix, or what a variable held at all positions."""

    label: str
    kind: str  # "matrix", "variable" (or a whole vector inside a line), "inner" (inside a line or helper), "constant"
    rows: list[list[Number]]  # a matrix: its rows; otherwise one for each position
    left_out: bool = False

    @property
    def numbers(self) -> list[Number]:
        return [number for row in self.rows for number in row]

    def weight(self) -> int:
        """Roughly how many bytes of a page its numbers take."""
        return len(self.numbers) * BYTES[self.kind]


def slots_of(trace: Trace) -> list[Slot]:
    """All numbers of a trace: matrices, then results in the order the program first made them, then constants."""
    found = []
    for name, (_, columns) in trace.shapes.items():
        numbers = [trace.numbers[i] for i in trace.matrix(name)]
        found.append(Slot(name, "matrix", [numbers[i:i + columns] for i in range(0, len(numbers), columns)]))
    variables = trace.variables().keys() | trace.vectors().keys()
    for label, numbers in trace.slots().items():
        rows = list(trace.by_position(numbers).values())
        found.append(Slot(label, "variable" if label in variables else "inner", rows))
    found.append(Slot("constants", "constant", [[n for n in trace.numbers if n.operation == "constant"]]))
    return found


def page(trace: Trace) -> str:
    """The page as HTML, at most about LIMIT bytes."""
    parts = []
    for name in ("xray.html", "xray.js"):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), encoding="utf-8") as file:
            parts.append(file.read())
    # No letter of a document may look like markup to the browser: inside JSON, < can be written as its code.
    data = json.dumps(pack(trace), separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return parts[0].replace("SCRIPT_OF_THE_PAGE", parts[1]).replace("TRACE_OF_ONE_STEP", data)


def pack(trace: Trace) -> dict:
    """What the page needs, as plain data. Numbers are numbered anew: slot by slot, those left out last."""
    slots = slots_of(trace)
    # The largest tables first, weights before what was computed with them; constants never.
    for slot in sorted(slots, key=lambda slot: (slot.kind != "matrix", slot.kind == "constant", -slot.weight())):
        if sum(s.weight() for s in slots if not s.left_out) <= LIMIT - 250_000:  # the rest is not numbers
            break
        slot.left_out = True
    order = [number for left_out in (False, True) for s in slots if s.left_out == left_out for number in s.numbers]
    place = {number.index: i for i, number in enumerate(order)}
    kept = order[:sum(len(s.numbers) for s in slots if not s.left_out)]
    endings: dict[tuple[str, ...], int] = {}
    return {
        "document": trace.tokenizer.decode(trace.tokens),
        "where": [trace.where(i) for i in range(trace.positions)],
        "shown": [trace.letter(token) for token in trace.tokens[:trace.positions + 1]],
        "letters": [trace.letter(token) for token in range(trace.tokenizer.vocab_size)],
        "rate": trace.learning_rate,
        "update": trace.updates_before + 1,
        "loss": place[trace.loss.index],
        "source": source_of(trace),
        "slots": [pack_slot(trace, slot, place, endings) for slot in slots],
        "aliases": [[place[n.index], alias] for n in kept for alias in n.aliases],
        "endings": [list(names) for names in endings],
        "values": floats(number.value for number in kept),
        "gradients": floats(number.gradient for number in kept),
        "born": integers(number.index for number in kept),
        "inputs": pack_inputs(kept, place),
        "slopes": pack_slopes(trace, kept),
        "unlinked": [[place[n.index], [place[i] for i in n.unlinked]] for n in kept if n.unlinked],  # their operands
        "moments": [[moment.statement.line, moment.first, title_of(moment)] for moment in trace.moments],
        "updates": pack_updates(trace, kept),
    }


def title_of(moment: Moment) -> str:
    """What a statement computes, and where: "layer0.q, k, v at 3 'm'"."""
    computed = ", ".join([moment.label, *moment.statement.targets[1:]])
    return " at ".join(filter(None, (computed, moment.where)))


def pack_slot(trace: Trace, slot: Slot, place: dict[int, int], endings: dict[tuple[str, ...], int]) -> dict:
    """A slot: where its numbers came from, and its rows: first number, how many, beginning of the names, endings."""
    rows = []
    for row in slot.rows:
        names = [number.name for number in row]
        start = os.path.commonprefix(names) if len(names) > 1 else names[0] if names else ""
        which = endings.setdefault(tuple(name[len(start):] for name in names), len(endings))
        rows.append([place[row[0].index] if row else 0, len(row), start, which])
    packed = {"label": slot.label, "kind": slot.kind, "rows": rows}
    if slot.left_out:
        values, slopes = [n.value for n in slot.numbers], [n.gradient for n in slot.numbers]
        packed["summary"] = [min(values), max(values), math.hypot(*values), math.hypot(*slopes)]
    if slot.kind in ("variable", "inner"):
        first = slot.numbers[0]
        packed.update(
            operation=first.operation, arguments=first.arguments, line=first.line, made_at=first.made_at,
            model_line=first.model_moment.statement.line, callers=first.callers,
        )
    packed["explanation"] = explain(trace, slot.numbers[0]) if slot.numbers else ""
    return packed


def source_of(trace: Trace) -> dict:
    """The functions that ran, in the order they were first called: code without docstrings, how often each line ran."""
    taught = lectures(educational_path())
    functions = {}
    for line in trace.runs:
        function = trace.source.function_at(line)
        functions.setdefault(function.name, function)
    packed = []
    for name, function in functions.items():
        lines = [line for line in range(function.first_line, function.last_line + 1)
                 if line not in function.docstring_lines]
        packed.append({
            "name": name,
            "says": first_sentence(function.docstring),
            "lectures": taught.get(name, taught.get(name.split(".")[0], [])),
            "lines": [[line, trace.source.lines[line - 1], trace.runs.get(line, 0)] for line in lines],
        })
    return {"name": os.path.basename(trace.source.path), "functions": packed}


def pack_inputs(order: Sequence[Number], place: dict[int, int]) -> str:
    """For each number how many runs of neighbours its inputs form, then each run's first number and length."""
    flat = []
    for number in order:
        runs: list[list[int]] = []
        for child in (place[index] for index in number.inputs):
            if runs and child == runs[-1][0] + runs[-1][1]:
                runs[-1][1] += 1
            else:
                runs.append([child, 1])
        flat += [len(runs), *(x for run in runs for x in run)]
    return integers(flat)


def pack_slopes(trace: Trace, order: Sequence[Number]) -> dict:
    """For each number a letter: 1 if all its slopes are 1, x if each is the value of the other factor, or else =, and
    then the slopes stand in `written`."""
    letters, written = [], []
    for number in order:
        values = [trace.numbers[index].value for index in number.inputs]
        half = len(values) // 2
        if all(slope == 1.0 for slope in number.slopes):
            letters.append("1")
        elif list(number.slopes) == values[half:] + values[:half]:
            letters.append("x")
        else:
            letters.append("=")
            written += number.slopes
    return {"letters": "".join(letters), "written": floats(written)}


def pack_updates(trace: Trace, order: Sequence[Number]) -> list[dict]:
    """The lines of Adam. Operands and results that are the same for all parameters, or stand in the page already, are
    told as such: a number, or the name of the array. NaN stands for a line that passed a parameter over."""
    parameters = [number.index for number in order if number.operation == "parameter"]
    known = {"value": [trace.numbers[i].value for i in parameters],
             "gradient": [trace.numbers[i].gradient for i in parameters]}

    def told(name: str, numbers: list[float]):
        for other, same in known.items():
            if numbers == same:
                return other
        if numbers and numbers.count(numbers[0]) == len(numbers):
            return numbers[0]
        known[name] = numbers
        return {"name": name, "numbers": floats(numbers)}

    packed = []
    for k, line in enumerate(trace.update_lines):
        done = [{update.line: update for update in trace.updates.get(i, ())}.get(line) for i in parameters]
        operands = [told(f"{k}.{j}", [update.operands[j] if update else math.nan for update in done])
                    for j in range(len(line.symbols))]
        result = told(f"{k}", [update.result if update else math.nan for update in done])
        packed.append({"line": line.line, "name": line.name, "formula": line.formula, "symbols": line.symbols,
                       "operands": operands, "result": result})
    return packed


def floats(numbers: Iterable[float]) -> str:
    """Doubles as base64, every bit of them."""
    return base64.b64encode(_little(array.array("d", numbers))).decode()


def integers(numbers: Iterable[int]) -> str:
    """Whole numbers of 32 bits as base64."""
    return base64.b64encode(_little(array.array("i", numbers))).decode()


def _little(numbers: array.array) -> bytes:
    """The bytes in the order browsers use, whatever this machine's."""
    if array.array("H", [1]).tobytes() != b"\1\0":
        numbers.byteswap()
    return numbers.tobytes()
