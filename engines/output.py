"""What a program writes, and how it ends: files whole and in place of nothing else, problems in one line."""
from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import IO, Callable, Iterator

import script_gpt_refactored as gpt
from script_gpt_refactored import InputError


def check_can_replace(path: str, beginning: bytes, force: bool | None = False) -> None:
    """Raises InputError, better before the work than after it, if `write_whole` could not write to this path, or if
    what is there now would be lost: it may only be replaced if its first 1,000 bytes match `beginning`, a regular
    expression that tells the files of this kind from others, or with force (None: the program has no such option).
    """
    try:
        path = os.path.realpath(path)
        if os.path.exists(path):
            if not os.path.isfile(path):
                raise InputError(f"cannot write to {path}: it is not an ordinary file, choose another name")
            with open(path, "rb") as file:
                if not (force or re.match(beginning, file.read(1000), re.DOTALL)):
                    advice = "choose another name" if force is None else "choose another name, or add --force"
                    raise InputError(f"cannot write to {path}: it holds something else, which would be lost; {advice}")
        with open(gpt.temporary_name(path), "w"):
            pass
        os.remove(gpt.temporary_name(path))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write to {path} ({problem}): choose another place") from error


def write_whole(path: str, write: Callable[[IO], None], mode: str = "w") -> None:
    """A file written beside `path` and then renamed onto it: there whole, or as before.

    `write` gets the open file; mode is "w" (UTF-8) or "wb". What killed processes have left of this name is removed.
    Raises InputError if it cannot be written.
    """
    path = os.path.realpath(path)
    temporary = gpt.temporary_name(path)
    remove_left_behind(path)
    try:
        with open(temporary, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}): it is as it was, choose another place") from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def remove_left_behind(path: str) -> None:
    """Removes the temporary files of `path` whose processes are gone: a process that is killed (`kill -9`) while it
    writes cannot. On POSIX only: elsewhere to ask for a process (os.kill) would end it."""
    if os.name != "posix":
        return
    folder, name = os.path.split(path)
    with contextlib.suppress(OSError):  # what cannot be listed or removed stays
        for other in os.listdir(folder):
            match = re.fullmatch(re.escape(name) + r"\.([0-9]+)\.tmp", other)
            if match and is_gone(int(match[1])):
                os.remove(os.path.join(folder, other))


def is_gone(process: int) -> bool:
    """Whether no process of this machine has this number. If in doubt, False."""
    try:
        os.kill(process, 0)  # asks, and does nothing
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is somebody else's; it is no number of a process
        return False
    return False


def discard_output() -> None:
    """From now on nothing is printed: whoever read the output (`| head`) has gone, which is no error."""
    try:
        gpt.discard_output()
    except (AttributeError, OSError, ValueError):  # the output is no file
        sys.stdout = open(os.devnull, "w")


@contextlib.contextmanager
def usable_streams() -> Iterator[None]:
    """Where standard output or error is closed, nobody wants to read it: within, what is printed there is lost."""
    streams = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), streams):
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, open(os.devnull, "w"))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter that cannot be shown is no reason to stop
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def exit_code(program: Callable[[], None]) -> int:
    """Runs a program. What stops it becomes one line on standard error, and the exit code that is returned: 0 if
    nothing does, 2 for input, output or memory that does not do, 130 for Ctrl-C."""
    with usable_streams():
        try:
            program()
            return 0
        except InputError as error:
            problem = error
        except (MemoryError, RuntimeError) as error:
            words = "out of memory|to allocate"  # of torch and MLX, whose errors are RuntimeErrors
            if not (isinstance(error, MemoryError) or re.search(words, str(error))):
                raise
            problem = "the memory is full: choose smaller sizes, a smaller --batch, or less data"
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return 130
        except BrokenPipeError:
            discard_output()
            return 0
        except OSError as error:  # a full disk behind our output, say
            problem = f"{error}: let the output go elsewhere"
        print("error:", " ".join(str(problem).split()), file=sys.stderr)
        return 2
