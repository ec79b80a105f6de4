"""The sentences of the teaching texts that somebody has read and found true. A changed one has to be read again.

    python3 tests/reading.py          shows the sentences that are not in tests/read.json
    python3 tests/reading.py --read   puts them there: only after reading them

What can be computed is computed by other tests. This is for the rest: names, words such as "more" and "never",
formulas, years. tests/read.json holds a short digest of each sentence, so that no change of a text goes unnoticed.
"""
import ast
import hashlib
import io
import json
import os
import re
import sys
import tokenize

import helpers

LEDGER = os.path.join(helpers.ROOT, "tests", "read.json")
MARKDOWN = ("README.md", "REFACTORING_SUMMARY.md")
PYTHON = ("script_gpt.py", "script_gpt_refactored.py", "script_gpt_educational.py", "levels", "labs/ablation")


def python_files():
    for place in PYTHON:
        path = os.path.join(helpers.ROOT, place)
        names = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
        yield from (os.path.join(place, name).rstrip("/") for name in names if not name or name.endswith(".py"))


def sentences(text):
    """A text cut at the ends of sentences and of table rows, each with single spaces."""
    parts = re.split(r"(?<=[.?!:;])\s+|\n\s*\n|\n(?=\s*(?:\||- |>>>))", text)
    return [sentence for sentence in (" ".join(part.split()) for part in parts) if re.search(r"\w", sentence)]


def of_markdown(text):
    """Prose, tables and formulas. Sessions, code and what a command prints are compared by other tests."""
    return sentences(re.sub(r"(?ms)^```(?!math)[^\n]*\n.*?^```$", "\n\n", text))


def of_python(text):
    """Docstrings, comments, and the texts that the lecturer speaks."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.name == "Lecture":
            words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            spoken = [word for word in words if isinstance(word, str) and " " in word.strip()]
            found += [sentence for word in spoken for sentence in sentences(word)]
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            found += sentences(ast.get_docstring(node) or "")
    comments = [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)
                if token.type == tokenize.COMMENT]
    return found + [" ".join(comment.split()) for comment in comments if re.search(r"\w", comment)]


def texts():
    """{file: its sentences}."""
    found = {}
    for name in [*MARKDOWN, *python_files()]:
        with open(os.path.join(helpers.ROOT, name), encoding="utf-8") as file:
            found[name.replace(os.sep, "/")] = (of_markdown if name in MARKDOWN else of_python)(file.read())
    return found


def digest(sentence):
    return hashlib.sha256(sentence.encode()).hexdigest()[:8]


def unread():
    """[(file, sentence)] of what is not in the ledger."""
    with open(LEDGER, encoding="utf-8") as file:
        known = json.load(file)
    return [(name, sentence) for name, found in texts().items() for sentence in found
            if digest(sentence) not in known.get(name, "").split()]


def main():
    if sys.argv[1:] == ["--read"]:
        known = {name: sorted(set(map(digest, found))) for name, found in texts().items()}
        with open(LEDGER, "w", encoding="utf-8") as file:
            file.write("{" + ",\n".join(f'"{name}": "{" ".join(found)}"' for name, found in known.items()) + "}\n")
        return
    for name, sentence in unread():
        print(f"{name}: {sentence}")


if __name__ == "__main__":
    main()
