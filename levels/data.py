"""Three kinds of documents a person sees through at once, so that one can see whether a model does.

    python3 levels/data.py repeat > repeat.txt     emilyemilyemily: a name of five letters, three times
    python3 levels/data.py dial > dial.txt         abcd2b1a4d3c: four letters, then four times a place, 1 to 4, and
                                                   the letter that stands there
    python3 levels/data.py sums > sums.txt         7+5=12: two digits and their sum, in two digits; all 100

One document a line; any of the scripts trains on them: `python3 script_gpt.py dial.txt`. In each, some characters
follow for certain from those before them: `determined` says which.
"""
import argparse
import math
import os
import random
import re
import sys
import unicodedata
from pathlib import Path

NAMES = Path(__file__).resolve().parent.parent / "names.txt"
LETTERS = "abcdefghij"  # those of a dial, each equally likely in each place


def repeat(names):
    """The names of exactly five letters, each three times: emily -> emilyemilyemily."""
    return [name * 3 for name in names if len(name) == 5 and name.isalpha()]


def dial(rng, count):
    """count documents such as abcd2b1a4d3c. The letters and the places are drawn each for itself, so may repeat."""
    documents = []
    for _ in range(count):
        letters, places = rng.choices(LETTERS, k=4), rng.choices(range(1, 5), k=4)
        documents.append("".join(letters) + "".join(f"{place}{letters[place - 1]}" for place in places))
    return documents


def sums():
    """All 100 sums of two digits, the result with two digits: 7+5=12, 1+2=03."""
    return [f"{a}+{b}={a + b:02}" for a in range(10) for b in range(10)]


def kind(document):
    """Which of the three kinds the document is, "repeat", "dial" or "sums"; "" if none (a name, say)."""
    if re.fullmatch(r"\d\+\d=\d\d", document):
        return "sums"
    if re.fullmatch(r"[a-j]{4}([1-4][a-j]){4}", document):
        return "dial"
    return "repeat" if len(document) == 15 and document == document[:5] * 3 else ""


def determined(document):
    """The places, from 0, of the characters that follow from those before (+ and = always do, and are left out)."""
    return {"repeat": list(range(5, 15)), "dial": [5, 7, 9, 11], "sums": [4, 5], "": []}[kind(document)]


def floor(kind):
    """The lowest loss per token, in nats, that a model can expect: what has to be guessed, spread over all tokens.

    A dial has 4 letters of 10 and 4 places of 4 to guess, in 13 tokens (12 characters and the closing BOS); a sum two
    digits of 10, in 7. None for "repeat": nobody knows how hard names are to guess.
    """
    return {"dial": (4 * math.log(10) + 4 * math.log(4)) / 13, "sums": 2 * math.log(10) / 7}.get(kind)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and ends with exit code 2."""

    def error(self, message):
        self.exit(2, f"error: {' '.join(message.split())}\n")


def documents(arguments):
    """The documents that the command line asks for. Raises OSError or ValueError if the names cannot be read."""
    if arguments.kind != "repeat":
        return sums() if arguments.kind == "sums" else dial(random.Random(arguments.seed), arguments.count)
    text = unicodedata.normalize("NFC", Path(arguments.names).read_text(encoding="utf-8-sig"))
    found = repeat(line.strip() for line in text.split("\n"))
    if not found:
        raise ValueError("it has no name of five letters")
    return found


def main(arguments=None):
    parser = Parser(description="Prints documents to train on, one a line.")
    parser.add_argument("kind", choices=["repeat", "dial", "sums"])
    parser.add_argument("--count", type=int, default=10000, help="how many, for dial (default 10000)")
    parser.add_argument("--seed", type=int, default=42, help="where chance starts, for dial (default 42)")
    parser.add_argument("--names", default=NAMES, help="a file of names, for repeat (default names.txt)")
    arguments = parser.parse_args(arguments)
    if not 1 <= arguments.count <= 10**7:
        parser.error(f"--count is {arguments.count}: it must be from 1 to 10000000")
    try:
        lines = "\n".join(documents(arguments)) + "\n"
    except (OSError, ValueError) as error:
        parser.error(f"cannot use {arguments.names} ({error}): name a UTF-8 text file, one name a line")
    try:
        sys.stdout.buffer.write(lines.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever read them (`| head`) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        parser.error(f"{error}: let the output go elsewhere")


if __name__ == "__main__":
    main()
