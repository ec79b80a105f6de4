"""Examining a program in a process of its own, so that nothing it does can end or hang the doctor."""
from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from typing import Iterator

from labs.bugs.checks import CHECKS, Finding, Result
from labs.bugs.patient import new_process

LIMIT = 15.0  # seconds for a check
AFTER_A_HANG = 8.0  # seconds for each of those that follow one that did not end
HANGS, TOTAL = 2, 45.0  # so many checks without an end, or so many seconds, and the rest is not made: somebody waits
CHECK_NAMES = ["loading", *CHECKS]


def examine_apart(text: str, path: str, adapter: str, adapter_path: str, limit: float = LIMIT) -> Iterator[Result]:
    """The result of each check in turn, each within `limit` seconds, and all that can be made within TOTAL seconds.

    A check that does not end, or ends the process, is a finding; the checks after it are made in a new process.
    """
    request = {"text": text, "path": path, "adapter": adapter, "adapter_path": adapter_path}
    rest = list(CHECKS)
    loaded_before, loading_limit, hangs = False, limit, 0
    end = time.monotonic() + TOTAL
    while rest and hangs < HANGS:
        process, lines = start({**request, "checks": rest})
        current, deadline = "loading", time.monotonic() + loading_limit
        try:
            while True:
                line = next_line(lines, deadline)
                if line is None:
                    break
                if "begins" in line:
                    current = line["begins"]
                    deadline = time.monotonic() + (loading_limit if current == "loading" else limit)
                    continue
                if current == "loading" and not line["loaded"]:
                    rest = []
                if current != "loading" or not loaded_before:
                    yield result_of(line)
                loaded_before = loaded_before or current == "loading"
                rest = rest[rest.index(current) + 1 :] if current in rest else rest
                if not rest or time.monotonic() > end:
                    return
        finally:
            stop(process)
        hung = time.monotonic() >= deadline
        got = f"no end within {limit:g} seconds" if hung else f"it ended the process (exit code {process.returncode})"
        yield Result(current, 1, [Finding(current, "does the check end?", got, "an answer")], [])
        if current == "loading":
            return
        rest = rest[rest.index(current) + 1 :]
        hangs += hung
        limit = min(limit, AFTER_A_HANG) if hung else limit


def start(request: dict) -> tuple[subprocess.Popen, queue.Queue]:
    """A process at work on this request, and the queue in which its answers arrive; None at the end."""
    process, lines = new_process(), queue.Queue()
    try:
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    except BrokenPipeError:  # it is gone already; the queue will say so
        pass

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return process, lines


def next_line(lines: queue.Queue, deadline: float) -> dict | None:
    """The next answer; None if there is none before the deadline, or none any more."""
    try:
        line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        return json.loads(line) if line else None
    except (queue.Empty, ValueError):
        return None


def result_of(line: dict) -> Result:
    findings = [Finding(**finding) for finding in line["findings"]]
    return Result(line["check"], line["compared"], findings, line["absent"])


def stop(process: subprocess.Popen) -> None:
    """Ends the process, and whatever it started."""
    try:
        process.wait(timeout=0.2)  # one that ends by itself is to tell how
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (OSError, AttributeError):  # it has ended, or this system has no process groups
        process.kill()
    process.wait()
