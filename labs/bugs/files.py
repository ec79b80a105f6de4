"""Writing a file whole or not at all."""
from __future__ import annotations

import os

from script_gpt_refactored import InputError, temporary_name


def write_whole(path: str, text: str) -> None:
    """A file written beside `path` and then renamed onto it: there whole, or as before. Raises InputError."""
    path = os.path.realpath(path)
    temporary = temporary_name(path)
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}): choose another place") from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
