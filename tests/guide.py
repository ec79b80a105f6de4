"""How REFACTORING_SUMMARY.md is read by its tests: sections, sessions, snippets, arithmetic, figures."""
import ast
import math
import os
import re
import subprocess
import textwrap

import helpers

PATH = os.path.join(helpers.ROOT, "REFACTORING_SUMMARY.md")
SUPERSCRIPTS = {"²": "**2", "³": "**3"}


def sections(text):
    """Title -> text of each part of the guide that begins with a heading of level 2 or 3, in order."""
    parts = re.split(r"(?m)^(?=#{2,3} )", text)
    return {part.split("\n", 1)[0].lstrip("# "): part for part in parts}


def fences(text):
    """(info, content) of each fenced block."""
    return re.findall(r"(?ms)^```([^\n]*)\n(.*?)^```$", text)


def diagrams():
    """The Mermaid diagrams of the refactored script, in the order of the file."""
    found = re.findall(r"(?ms)^( *)```mermaid\n(.*?)^ *```$", helpers.source("script_gpt_refactored"))
    return [textwrap.dedent(diagram) for _, diagram in found]


def snippet(spec):
    """The code that a fence "python SPEC" must hold.

    SPEC is [FILE.py] NAME: a function, a class, a method (Class.method) or a constant of that file, without its
    docstrings. FILE.py, a path from the root, is script_gpt_refactored.py where it is not said.
    """
    words = spec.split()
    text = helpers.source(words.pop(0)[:-3] if words[0].endswith(".py") else "script_gpt_refactored")
    body = ast.parse(text).body
    for name in words[0].split("."):
        node = next(node for node in body if getattr(node, "name", None) == name
                    or isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name)
        body = getattr(node, "body", [])
    lines = text.splitlines()
    first = min([node.lineno] + [decorator.lineno for decorator in getattr(node, "decorator_list", [])])
    dropped = set()
    for inner in ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(inner) is not None:
            docstring = inner.body[0]
            dropped.update(range(docstring.lineno, docstring.end_lineno + 1))
            if isinstance(inner, ast.ClassDef) and not lines[docstring.end_lineno].strip():
                dropped.add(docstring.end_lineno + 1)
    kept = [lines[number - 1] for number in range(first, node.end_lineno + 1) if number not in dropped]
    return textwrap.dedent("\n".join(kept)) + "\n"


def chain(line):
    """One line of arithmetic, "label  a = b ≈ c": its expressions, and the signs between them."""
    parts = re.split("([=≈])", re.split(r"\s{2,}", line.strip(), maxsplit=1)[-1])
    return parts[::2], parts[1::2]


def evaluate(expression):
    """The value of an expression in school notation: × ² ³ ^, e^, ln, sqrt, and commas in thousands."""
    for sign, python in SUPERSCRIPTS.items():
        expression = expression.replace(sign, python)
    expression = expression.replace("×", "*").replace("−", "-")
    expression = re.sub(r"(?<=\d),(?=\d{3})", "", expression)
    expression = re.sub(r"\be\^\(", "exp(", expression)
    expression = re.sub(r"\be\^(-?[\d.]+)", r"exp(\1)", expression)
    expression = expression.replace("^", "**")
    names = {"ln": math.log, "exp": math.exp, "sqrt": math.sqrt, "__builtins__": {}}
    return float(eval(expression, names))


def printed(command):
    """What a line for the shell prints in the folder of the scripts."""
    return subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
                          cwd=helpers.ROOT).stdout


NUMERAL = r"(?<![\w.,])\.?\d[\d,]*(?:\.\d+)*"
MATH = r"(?s)```math\n.*?```|\$`.*?`\$"
LINK = r"\[(?:[Ss]ection )?(\d[\d.]*)[^\]]*\]\(#([^)]*)\)"  # a link to a numbered section: its number, its target
REFERENCE = r"\[(?:[Ss]ection (\d[\d.]*)\]\[)?(\d+(?:\.\d+)?)\](?![(:\w])"  # with its target at the end of the file
TARGET = r"(?m)^\[([^\]\n]+)\]: (\S+)$"  # a line at the end of the file: what a reference stands for
COMMENT = r"(?m)(?<=\S)  # (.*)$"
WORDS = "four five six seven eight nine ten eleven twelve".split()


def in_digits(text):
    """A text with its number words from four to twelve as numerals."""
    return re.sub(rf"(?i)\b(?:{'|'.join(WORDS)})\b", lambda word: str(4 + WORDS.index(word[0].lower())), text)


def plain(numeral):
    """A numeral as it is compared: without commas, and without zeros at the end of its decimals."""
    numeral = numeral.strip(",").replace(",", "")
    return numeral.rstrip("0").rstrip(".") if "." in numeral else numeral


def numerals(text):
    """Every number written in a text, as it is compared."""
    return [plain(numeral) for numeral in re.findall(NUMERAL, text.replace("−", " ").replace("-", " "))]


def prose(section):
    """What a person reads of a section as sentences and tables: without headings, fences, links and commands."""
    text = re.sub(r"(?ms)^```.*?^```$", "", section)
    text = re.sub(r"(?m)^#.*$", "", text)
    text = re.sub(TARGET, "", text)
    text = re.sub(f"{LINK}|{REFERENCE}", "", text)  # a test of its own compares number and target
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"(?m)^\d\. |(?<=[.?*] )[1-9]\. (?=[A-Z0-9\"`$])|^\*\*\d\.\*\*", "", text)  # questions
    text = re.sub(r"\b(?:GPT|UTF)-\d\b|levels/\d_", "", text)  # a name
    text = re.sub(r"\bPython 3\.\d+\b", "", text)  # a name
    text = re.sub(r"(?m)\b[A-Z][\w-]+ et al\.,? \(?(?:19|20)\d\d\)?", "", text)  # a source, listed in section 12.2
    return text


FRACTIONS = (r"(?i)\b(?:half|halves?|halved|thirds?|quarters?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|"
             r"hundredths?|thousandths?|twice|doubles?|dozens?)\b")

def flat(text):
    """A text with single spaces, as one reads it."""
    return " ".join(text.split())


def without(text, sentences):
    """The text, flattened, with these sentences cut out. Raises AssertionError for one that is not there."""
    text = flat(text)
    for sentence in sorted(sentences, key=len, reverse=True):
        assert flat(sentence) in text, sentence
        text = text.replace(flat(sentence), "; ")
    return text


def counts(name):
    """What the table of section 7.1 says of one script, as a dictionary in the order of its rows."""
    text = helpers.source(name)
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    documentation = set()
    for node in nodes:
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            documentation.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = dict(enumerate(text.splitlines(), start=1))
    documentation.update(number for number, line in lines.items() if line.strip().startswith("#"))
    empty = {number for number, line in lines.items() if not line.strip()} - documentation
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    return {
        "lines": len(lines),
        "of these, code": len(lines) - len(documentation) - len(empty),
        "of these, docstrings and comments": len(documentation),
        "of these, empty": len(empty),
        "functions and methods": sum(isinstance(node, ast.FunctionDef) for node in nodes),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
        "Mermaid diagrams": text.count("```mermaid"),
        "lectures": len(re.findall(r"(?m)^ *LECTURE: ", text)),
        "calls of `print`": len(calls),
    }


def anchor(heading):
    """The name GitHub gives to a heading: lower case, no punctuation, hyphens for spaces."""
    text = re.sub(r"[^\w\- ]", "", heading.lower())
    return text.replace(" ", "-")
