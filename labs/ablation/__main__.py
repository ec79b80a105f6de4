"""An ablation study: what is each part of the model worth?

    python -m labs.ablation                            names, 1,000 steps, 3 seeds: a table (10 to 20 s)
    python -m labs.ablation dial --steps 1500 --n-head 1 --seeds 10
    python -m labs.ablation my.txt --steps 3000 --batch 32
    python -m labs.ablation --show                     the figures that are kept in labs/ablation.json (no NumPy needed)
    python -m labs.ablation --study "names, 32 a step" one of the kept tables anew
    python -m labs.ablation --statement heads          one of the smaller measurements anew
    python -m labs.ablation --everything --keep labs/ablation.json

The same model is trained with some of its parts held at 0, with several seeds, and measured on documents that no run
was shown. DATA is names, repeat, dial or sums (see levels/data.py), or a file, one document a line.

How to read the table:
  trained         parameters that training changes
  held-out loss   nats per token on the held-out documents; mean ± standard deviation over the seeds
  less whole      this loss less that of the whole layer with the same seed; the mean over the seeds
  2 s.e.          two standard errors of that mean: a difference that is no larger is within the noise
  verdict         better, worse, or noise
  right %         of the characters that can be known for certain, those that the model finds likeliest
  all %           documents in which all of these are right; shown %: the same, of documents it was trained on
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from engines.output import check_can_replace, exit_code
from labs.ablation import kept
from script_gpt_refactored import InputError

OPTIONS = (  # the flag, its kind, the default, the least it may be, what it means
    ("--steps", int, 1000, 1, "training steps"),
    ("--batch", int, 1, 1, "documents in each step"),
    ("--n-layer", int, 1, 1, "transformer layers"),
    ("--n-embd", int, 16, 1, "numbers per token, a multiple of the heads"),
    ("--n-head", int, 4, 1, "attention heads per layer"),
    ("--weight-decay", float, 0.0, 0, "how fast weights shrink by themselves"),
    ("--seeds", int, 3, 1, "how many runs for each row, with seeds 42, 43, ..."),
)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Raises InputError if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m labs.ablation", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", metavar="DATA", default="names",
                        help="names, repeat, dial, sums, or a file (default: names)")
    for flag, kind, default, _, meaning in OPTIONS:
        parser.add_argument(flag, type=kind, default=default, metavar="N" if kind is int else "X",
                            help=f"{meaning} (default: {default})")
    parser.add_argument("--show", nargs="?", const=str(kept.KEPT), metavar="FILE", help="print kept figures")
    parser.add_argument("--study", metavar="NAME", help="measure one of the kept tables (--show prints their names)")
    parser.add_argument("--statement", metavar="NAME", help="measure one of the smaller things (the names too)")
    parser.add_argument("--statements", action="store_true", help="measure all of these")
    parser.add_argument("--everything", action="store_true", help="measure all that is kept (some 20 minutes)")
    parser.add_argument("--keep", metavar="FILE", help="put what is measured into this file too")

    def refuse(message):
        raise InputError(f"{message} (--help lists the options)")

    parser.error = refuse
    return parser.parse_args(arguments)


def check(options: argparse.Namespace) -> None:
    """Raises InputError, before any work, for a number that cannot be, or a file that would be lost."""
    for flag, _, _, least, _ in OPTIONS:
        value = getattr(options, flag[2:].replace("-", "_"))
        if not least <= value <= 1e6:
            raise InputError(f"{flag} is {value:g}: it must be from {least} to 1000000")
    if options.keep:
        check_can_replace(options.keep, b'\\{\n "format": "' + kept.FORMAT.encode(), None)
        if Path(options.keep).exists():
            kept.load(options.keep)  # that it is cut short should be said before the work


def show(path: str) -> None:
    """Prints everything that is kept."""
    figures = kept.load(path)
    for name, table in figures["tables"].items():
        print(f"== {name}", *kept.table_lines(table), "", sep="\n")
    for name, statement in figures["statements"].items():
        print(f"== {name}", *kept.statement_lines(statement), "", sep="\n")


def keep(path: str, part: str, name: str, figures: dict) -> None:
    """Puts a table or a statement into the file, in place of what had its name."""
    there = kept.load(path) if Path(path).exists() else {"format": kept.FORMAT, "tables": {}, "statements": {}}
    there[part][name] = figures
    kept.save(path, there)


def measure(options: argparse.Namespace) -> None:
    """Measures what was asked, prints it, keeps it."""
    try:
        from labs.ablation.statements import STATEMENTS, measure_statement
        from labs.ablation.study import STUDIES, Study, measure_study
        from labs.ablation.training import Setting
    except ImportError as error:
        raise InputError(f"{error}: python -m pip install 'numpy>=2.0' (--show works without)") from error
    studies = dict(STUDIES) if options.everything else {}
    statements = list(STATEMENTS) if options.everything or options.statements else []
    for wanted, known in ((options.study, STUDIES), (options.statement, STATEMENTS)):
        if wanted is not None and wanted not in known:
            raise InputError(f"there is no {wanted!r}: choose one of {', '.join(map(repr, known))}")
    if options.study:
        studies[options.study] = STUDIES[options.study]
    if options.statement:
        statements.append(options.statement)
    if not studies and not statements:
        setting = Setting(options.source, options.steps, options.batch, options.n_layer, options.n_embd,
                          options.n_head, options.weight_decay)
        setting.config()  # refuses sizes that do not fit
        studies[f"{options.source}, {options.steps} x {options.batch}"] = Study(setting, options.seeds)
    for name, study in studies.items():
        figures = measure_study(study, lambda line: print(line, file=sys.stderr, flush=True))
        print(*kept.table_lines(figures), "", sep="\n", flush=True)
        if options.keep:
            keep(options.keep, "tables", name, figures)
    for name in statements:
        figures = measure_statement(name)
        print(f"== {name}", *kept.statement_lines(figures), "", sep="\n", flush=True)
        if options.keep:
            keep(options.keep, "statements", name, figures)


def run(options: argparse.Namespace) -> None:
    check(options)
    if options.show:
        show(options.show)
    else:
        measure(options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the lab. Returns the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    return exit_code(lambda: run(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main())
