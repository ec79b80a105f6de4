"""What several tests need: where things are, and how to load or run a script."""
import contextlib
import io
import itertools
import os
import subprocess
import sys
import types

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = ("script_gpt", "script_gpt_refactored", "script_gpt_educational")
NAMES = os.path.join(ROOT, "names.txt")
_copies = itertools.count()


def source(name):
    """The text of one script."""
    with open(os.path.join(ROOT, f"{name}.py"), encoding="utf-8") as file:
        return file.read()


def load(name, old="", new=""):
    """A fresh module made from a script, with one piece of its text replaced."""
    module = types.ModuleType(f"{name}_copy{next(_copies)}")
    module.__file__ = os.path.join(ROOT, f"{name}.py")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    text = source(name)
    exec(compile(text.replace(old, new) if old else text, module.__file__, "exec"), module.__dict__)
    return module


def run(name, *arguments, **options):
    """A script in a process of its own. Returns the finished process, with its output as text."""
    command = [sys.executable, os.path.join(ROOT, f"{name}.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300, **options)


def start(name, *arguments):
    """A script started in a process of its own. Returns the process, whose output is to be read as text."""
    command = [sys.executable, os.path.join(ROOT, f"{name}.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                            env={**os.environ, "PYTHONIOENCODING": "utf-8"})


def transcript(module, *arguments):
    """What main prints, in this process."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        module.main([str(argument) for argument in arguments])
    return output.getvalue()


def without_lecture(text):
    """The program's own lines of the educational transcript: the lecture's begin with a bar."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(("│", "|")))
