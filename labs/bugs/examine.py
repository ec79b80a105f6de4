"""Makes the checks on one program, in a process of its own: the doctor starts it and reads one JSON object a line.

The request comes on standard input: the program's text and path, its adapter, and either `checks` (names) or `main`
(arguments). The program examined may print, read, exit or fail as it likes: its output goes
nowhere, there is nothing to read, and the answers have a channel of their own.
"""
from __future__ import annotations

import dataclasses
import io
import json
import os
import sys

from labs.bugs.checks import Case, Finding, Result, describe, make_check
from labs.bugs.patient import Program, connect, the_healthy

MEMORY = 4 << 30  # bytes: what a program under examination may take, where the system can say so


class FirstWords(io.TextIOBase):
    """An output that keeps only the beginning of what is written to it."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        if len(self.text) < 100:
            self.text += text
        return len(text)


def load(request: dict) -> tuple[Program | None, Result]:
    """Runs the program's text. Returns the patient (None if it cannot be examined), and what there is to say of it."""
    findings = []

    def find(what, got, expected):
        findings.append(Finding("loading", what, got, expected))

    patient, sys.stdout = None, FirstWords()
    try:
        patient = connect(request["text"], request["path"], request["adapter"], request["adapter_path"])
    except BaseException as error:  # whatever the program does when it is run, sys.exit too
        find("running the file as a module", describe(error, request["path"]), "no error")
    if sys.stdout.text:
        words = sys.stdout.text.strip().splitlines() or [""]
        find("what it prints when it is imported", words[0], 'nothing (use if __name__ == "__main__")')
    return patient, Result("loading", 1, findings, [])


def limit_memory() -> None:
    """So that a program that grows without end meets a MemoryError, and the machine goes on."""
    try:
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):  # not every system has it
        pass


def main() -> None:
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for channel in (0, 1, 2):
        os.dup2(nowhere, channel)
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), FirstWords(), FirstWords()
    limit_memory()

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    healthy = the_healthy()
    sys.path.insert(0, os.path.dirname(os.path.abspath(request["path"])))
    answer(begins="loading")
    patient, result = load(request)
    if patient is not None and "main" in request:
        answer(lines=patient.main(request["main"]))
        return
    answer(**dataclasses.asdict(result), loaded=patient is not None)
    for name in request["checks"] if patient is not None else ():
        answer(begins=name)
        patient, _ = load(request)  # anew, so that no check depends on the ones before it
        answer(**dataclasses.asdict(make_check(name, patient, healthy, Case())))


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0)  # a thread of the program examined is not waited for
