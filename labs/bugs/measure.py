"""Makes every check on every ill program of the library, and keeps what they find for the doctor to compare with."""
from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from typing import Iterable, Iterator

from engines.output import write_whole
from labs.bugs import checks
from labs.bugs.checks import CHECKS, Case, Result, make_check
from labs.bugs.library import BUGS
from labs.bugs.patient import of_refactored, the_healthy
from labs.bugs.planting import plant
from labs.bugs.ranking import MEASURED, Signature, signature
from script_gpt_refactored import InputError


def examine(text: str, case: Case = Case()) -> list[Result]:
    """All checks on a program with the names of script_gpt_refactored.py, in this process: it must be one that ends."""
    results = []
    with contextlib.redirect_stderr(io.StringIO()):
        for name in CHECKS:
            patient = of_refactored(text)  # anew, so that no check depends on the ones before it
            results.append(make_check(name, patient, the_healthy(), case))
    return results


def measure_text(text: str) -> Signature:
    return signature(examine(text))


def measure_all() -> Iterator[tuple[str, Signature]]:
    """Each bug's name with its signature, in the order of the library."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from zip((bug.name for bug in BUGS), pool.map(measure_text, map(plant, BUGS)))


def golden_lines() -> list[str]:
    """What the healthy program prints on the documents of the checks."""
    with tempfile.TemporaryDirectory() as folder:
        names = os.path.join(folder, "names.txt")
        with open(names, "w", encoding="utf-8") as file:
            file.write("\n".join(Case().docs) + "\n")
        return the_healthy().main([names, "--steps=3", "--samples=3"])


def check_golden(golden: Iterable[str]) -> None:
    """Raises InputError if script_gpt_refactored.py does not print what it printed when the library was measured."""
    try:
        lines = golden_lines()
    except Exception as error:
        lines = [f"{type(error).__name__}: {error}"]
    for now, then in zip([*lines, "nothing more"], [*golden, "nothing more"]):
        if now != then:
            raise InputError(f"script_gpt_refactored.py, with which others are compared, is not as it was: it prints "
                             f"{now!r} where it printed {then!r}. Put it back, and examine a copy")


def digest() -> str:
    """A fingerprint of all that the measurement depends on: the healthy program, the patches, the checks."""
    parts = [the_healthy().request["text"], the_healthy().request["adapter"], inspect.getsource(checks)]
    parts += [f"{bug.name}{bug.right}{bug.wrong}" for bug in BUGS]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def write_measured() -> None:
    """Measures everything and writes measured.json, a bug a line."""
    bugs = []
    for name, found in measure_all():
        bugs.append(f"{json.dumps(name)}: {json.dumps(found)}")
        print(f"{len(bugs):3d} / {len(BUGS)} {name}: {len(found)} checks fail", file=sys.stderr)
    head = f'{{"digest": "{digest()}",\n"golden": {json.dumps(golden_lines())},\n"bugs": {{\n'
    text = head + ",\n".join(bugs) + "\n}}\n"
    write_whole(MEASURED, lambda file: file.write(text))
