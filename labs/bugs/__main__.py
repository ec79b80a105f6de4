"""The bug library, and a doctor for your own GPT.

    python -m labs.bugs                          the list of bugs
    python -m labs.bugs show NAME                the lines, why it happens, how to find it
    python -m labs.bugs run NAME                 trains the healthy and the ill program side by side
    python -m labs.bugs quiz                     symptoms first: which bug is it?
    python -m labs.bugs report FILE              the whole library, with measured figures, as one page of Markdown
    python -m labs.bugs table                    which check finds which bug
    python -m labs.bugs diagnose MY_GPT.py       examines a GPT of your own
    python -m labs.bugs adapter MY_GPT.py        writes the file that tells the doctor the names you chose
    python -m labs.bugs mutants                  are ill programs caught that are not in the library?
    python -m labs.bugs measure                  examines the library anew, for the table and the doctor

diagnose ends with exit code 0 if nothing differs from script_gpt_refactored.py, 1 if something does, 2 for bad input.
"""
from __future__ import annotations

import argparse
import os
import sys
from typing import Sequence

from engines.output import exit_code
from labs.bugs import doctor, measure, mutants, planting, quiz, ranking, report, showing
from labs.bugs.apart import LIMIT
from labs.bugs.patient import ROOT
from script_gpt_refactored import InputError, load_dataset


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Raises InputError if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m labs.bugs", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name, meaning):
        return commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)

    def add_names(to):
        to.add_argument("--names", metavar="FILE", default=os.path.join(ROOT, "names.txt"),
                        help="the documents, one a line (default: names.txt)")

    command("list", "all bugs, a line each (the default)")
    named = [command("show", "one bug: the lines, why it happens, how to find it"),
             command("run", "train the healthy and the ill program side by side")]
    for each in named:
        each.add_argument("name", nargs="+", metavar="NAME", help="a bug's name, or part of it")
    named[1].add_argument("--steps", type=int, metavar="N", help="training steps (default: as many as it takes to see)")
    named[1].add_argument("--seed", type=int, default=42, metavar="N", help="another number, another run (default: 42)")
    add_names(named[1])
    asked = command("quiz", "symptoms first: which bug is it?")
    asked.add_argument("--questions", type=int, default=5, metavar="N", help="how many (default: 5)")
    asked.add_argument("--seed", type=int, metavar="N", help="the same number, the same questions")
    asked.add_argument("--steps", type=int, default=100, metavar="N", help="training steps at most (default: 100)")
    add_names(asked)
    written = command("report", "write the whole library, with measured figures, as Markdown")
    written.add_argument("file", metavar="FILE", help="the file to write")
    written.add_argument("--steps", type=int, metavar="N", help="training steps (default: as many as it takes to see)")
    written.add_argument("--force", action="store_true", help="write over a file that holds something else")
    add_names(written)
    command("table", "which check finds which bug")
    examined = command("diagnose", "examine a GPT of your own")
    examined.add_argument("file", metavar="MY_GPT.py", help="a Python file")
    examined.add_argument("--adapter", metavar="FILE", help="what tells the doctor your names (see adapter)")
    examined.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS",
                          help=f"how long one check may take (default: {LIMIT:g})")
    command("adapter", "write an adapter to fill in, beside your file").add_argument("file", metavar="MY_GPT.py")
    command("measure", "examine every ill program of the library anew, for the table and the doctor")
    mutated = command("mutants", "examine ill programs that are not in the library, made by a script")
    mutated.add_argument("--count", type=int, default=60, metavar="N", help="how many (default: 60)")
    mutated.add_argument("--seed", type=int, default=1, metavar="N", help="another number, another choice (default: 1)")

    def refuse(message):
        raise InputError(f"{message} (--help says what there is)")

    for each in (parser, *commands.choices.values()):
        each.error = refuse
    return parser.parse_args(arguments)


def check_ranges(options: argparse.Namespace) -> None:
    """Raises InputError for a number that cannot be."""
    for name, lowest, highest in (("steps", 1, 1e5), ("questions", 1, 1000), ("limit", 0.1, 3600), ("count", 1, 1e4)):
        value = getattr(options, name, None)
        if value is not None and not lowest <= value <= highest:
            raise InputError(f"--{name} is {value:g}: it must be from {lowest:g} to {highest:g}")
    if hasattr(options, "names"):
        load_dataset(options.names)


def run(options: argparse.Namespace) -> int:
    """Does what was asked. Returns the exit code."""
    check_ranges(options)
    if options.command in (None, "list"):
        showing.print_list()
    elif options.command == "show":
        showing.print_bug(planting.find_bug(" ".join(options.name)))
    elif options.command == "run":
        showing.run_bug(planting.find_bug(" ".join(options.name)), options.steps, options.seed, options.names)
    elif options.command == "quiz":
        quiz.play(options.questions, options.seed, options.names, options.steps)
    elif options.command == "report":
        report.write_report(options.file, options.names, options.steps, options.force)
    elif options.command == "table":
        print("\n".join(showing.table_lines(ranking.load_measured()["bugs"])))
    elif options.command == "diagnose":
        return doctor.diagnose(options.file, options.adapter, options.limit)
    elif options.command == "adapter":
        doctor.write_adapter(options.file)
    elif options.command == "measure":
        measure.write_measured()
    elif options.command == "mutants":
        mutants.print_share(options.count, options.seed)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the lab. Returns the exit code: 0, 1 if the doctor found something, 2 for bad input, 130 after Ctrl-C."""
    found = []
    return exit_code(lambda: found.append(run(parse_arguments(arguments)))) or sum(found)


if __name__ == "__main__":
    sys.exit(main())
