"""One program, three voices: the same bits, tree and diagrams; and the lecture looks and never touches."""
import ast
import difflib
import doctest
import io
import re
import subprocess
import sys
import tokenize

import helpers
import pytest

SECTIONS = ["Configuration", "Data", "Tokenizer", "Autograd", "Vector functions", "Parameters", "Model", "Loss",
            "Command line", "Preparation", "Optimizer", "Training", "Checkpoint", "Generation", "Program"]
CORE = ["Value", "sumprod", "linear", "dot", "add", "logsumexp", "softmax", "rmsnorm", "initialize_parameters",
        "gpt_forward", "compute_loss"]
# Inside a function of the core's own in one file, and in main or a method in another: the first line of each piece, and
# how many lines it has.
ARITHMETIC = {"Adam": ("bias1, bias2 = ", 8), "the drawing of a token": ("probabilities = ", 1),
              "a token drawn": ("tokens += ", 2)}
DIAGRAMS = ["the whole architecture", "training pipeline", "tokenization", "computation graph", "transformer layer",
            "multi-head attention", "RMSNorm", "softmax", "Adam", "one training step", "generation"]


def bare_tree(name):
    """The syntax tree without docstrings, annotations, and the lecturer with its calls."""

    class Strip(ast.NodeTransformer):
        def visit_Expr(self, node):
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return None
            if isinstance(value, ast.Call) and ast.unparse(value.func).startswith("lecture."):
                return None
            return node

        def visit_Assign(self, node):
            return None if ast.unparse(node.targets[0]) == "lecture" else node

        def visit_ClassDef(self, node):
            return None if node.name == "Lecture" else self.generic_visit(node)

    return Strip().visit(ast.parse(helpers.source(name)))


def piece_of(name, piece):
    """The text of one piece of a script without docstrings: comments, blank lines and all."""
    text = helpers.source(name)
    node = next(node for node in ast.parse(text).body if getattr(node, "name", None) == piece
                or isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == piece)
    dropped = set()
    for inner in ast.walk(node):
        if isinstance(inner, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(inner) is not None:
            dropped.update(range(inner.body[0].lineno, inner.body[0].end_lineno + 1))
            if isinstance(inner, ast.ClassDef):
                dropped.add(inner.body[0].end_lineno + 1)  # the blank line below it
        if piece == "Value" and getattr(inner, "name", None) == "__repr__":  # for those who build on it; not in the
            dropped.update((inner.lineno, inner.lineno - 1))  # minimal script, where nobody prints a Value
    lines = text.splitlines()
    return [lines[number - 1] for number in range(node.lineno, node.end_lineno + 1) if number not in dropped]


def code_lines(name):
    """The lines of code of a script, stripped, without docstrings and comments."""
    text = helpers.source(name)
    documentation = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            documentation.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    numbers = {number for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in silent
               for number in range(token.start[0], token.end[0] + 1)} - documentation
    return [text.splitlines()[number - 1].split("  # ")[0].strip() for number in sorted(numbers)]


def test_the_educational_tree_is_the_refactored_tree():
    assert ast.unparse(bare_tree("script_gpt_educational")) == ast.unparse(bare_tree("script_gpt_refactored"))


def test_the_lecture_is_bare_statements_and_nothing_reads_it():
    tree = ast.parse(helpers.source("script_gpt_educational"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
             and ast.unparse(node.value.func).startswith("lecture.")]
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "lecture"]
    assert len(calls) > 20
    assert len(names) == len(calls) + 1, "each mention is a call that stands alone, or the one assignment"


@pytest.mark.parametrize("piece", CORE)
def test_the_core_is_one_text_in_all_three(piece):
    minimal, refactored, educational = (piece_of(name, piece) for name in helpers.SCRIPTS)
    assert minimal == refactored
    assert refactored == [line for line in educational if "lecture." not in line]


def test_the_core_stands_in_one_order_with_nothing_between():
    """From Value to the loss there is nothing else in any of the three files."""
    for name in helpers.SCRIPTS:
        body = ast.parse(helpers.source(name)).body
        names = [getattr(node, "name", None) or ast.unparse(node.targets[0]) for node in body
                 if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.Assign))]
        assert names[names.index("Value") : names.index("compute_loss") + 1] == CORE


@pytest.mark.parametrize("piece", ARITHMETIC)
def test_the_arithmetic_of_optimizer_and_sampling_is_one_text(piece):
    start, count = ARITHMETIC[piece]
    versions = set()
    for name in helpers.SCRIPTS:
        lines = [line.split("  # ")[0].strip() for line in helpers.source(name).splitlines() if "lecture." not in line]
        first = next(number for number, line in enumerate(lines) if line.startswith(start))
        versions.add(tuple(lines[first : first + count]))
    assert len(versions) == 1


def test_seventy_percent_of_the_minimal_script_stand_in_order_in_the_refactored_one():
    small, large = code_lines("script_gpt"), code_lines("script_gpt_refactored")
    blocks = difflib.SequenceMatcher(None, small, large, autojunk=False).get_matching_blocks()
    in_order = {number for block in blocks for number in range(block.a, block.a + block.size)}
    assert len(in_order) >= 0.7 * len(small)
    core = [line for piece in CORE for line in piece_of("script_gpt", piece)]
    core = {line.split("  # ")[0].strip() for line in core} - {""}
    assert [small[number] for number in range(len(small)) if small[number] in core and number not in in_order
            and small.count(small[number]) == 1] == []


def test_the_minimal_script_is_minimal():
    text = helpers.source("script_gpt")
    assert len(text.splitlines()) <= 200
    assert sum(1 for _ in ast.walk(ast.parse(text))) <= 2600
    assert max(map(len, text.splitlines())) <= 100


def test_the_first_screen_of_the_minimal_script_says_what_it_is_and_reads_the_data():
    screen = "\n".join(helpers.source("script_gpt").splitlines()[:24])
    assert screen.startswith('"""A GPT') and "def load_dataset(path):" in screen and "class Value:" in screen


def test_the_order_of_sections_is_the_same():
    found = re.findall(r"^# ([A-Z][a-z ]+)[:.]", helpers.source("script_gpt"), re.MULTILINE)
    assert found == ["Data", "Autograd", "Vector functions", "Parameters", "Model", "Loss", "The program"]
    for name in helpers.SCRIPTS[1:]:
        found = re.findall(r"^# =+\n# ([A-Z][a-z ]+)\n# =+$", helpers.source(name), re.MULTILINE)
        assert found == SECTIONS


def test_no_line_is_longer_than_120_characters():
    for name in helpers.SCRIPTS:
        assert [line for line in helpers.source(name).splitlines() if len(line) > 120] == []


def diagrams(name):
    return re.findall(r"```mermaid\n(.*?)```", helpers.source(name), re.DOTALL)


def test_eleven_diagrams_the_same_in_both():
    assert len(diagrams("script_gpt_refactored")) == len(DIAGRAMS) == 11
    assert diagrams("script_gpt_refactored") == diagrams("script_gpt_educational")


RUNS = [
    ([], 30),
    (["--steps", 12, "--samples", 5, "--seed", 7, "--temperature", 1.3], None),
    (["--steps", 8, "--n-layer", 2, "--n-embd", 8, "--n-head", 2, "--block-size", 5, "--learning-rate", 0.05], None),
    (["--steps", 6, "--n-embd", 9, "--n-head", 3, "--prompt", "a", "--samples", 3], None),
    (["--steps", 5, "--n-layer", 3, "--n-embd", 4, "--n-head", 1, "--block-size", 1], None),
    (["--steps", 0, "--samples", 4], None),
]


@pytest.mark.parametrize("options, steps", RUNS)
def test_the_three_write_the_same_bits_and_lines(tmp_path, few_names, options, steps):
    data = helpers.NAMES if steps else few_names
    options = ["--steps", steps, *options] if steps else options
    results = []
    for name in helpers.SCRIPTS:
        saved = tmp_path / f"{name}.json"
        process = helpers.run(name, data, *options, "--save", saved)
        assert (process.returncode, process.stderr) == (0, "")
        results.append((helpers.without_lecture(process.stdout), saved.read_bytes()))
    assert results[0] == results[1] == results[2]
    assert results[0][0].startswith("num docs: ")


def test_the_three_are_the_same_on_other_scripts_and_go_on_alike_from_a_checkpoint(tmp_path):
    data = tmp_path / "world.txt"
    data.write_text("josé maría\nzoë\n\n  अनिता  \n王秀英\nдмитрий\nأحمد\nnoël\n", encoding="utf-8")
    start = tmp_path / "start.json"
    assert helpers.run("script_gpt", data, "--steps", 9, "--samples", 0, "--save", start).returncode == 0
    results = []
    for name in helpers.SCRIPTS:
        saved = tmp_path / f"{name}.json"
        options = ["--steps", 4, "--samples", 6, "--prompt", "z"]
        process = helpers.run(name, data, "--load", start, *options, "--save", saved)
        assert (process.returncode, process.stderr) == (0, "")
        results.append((helpers.without_lecture(process.stdout), saved.read_bytes()))
    assert results[0] == results[1] == results[2]
    assert b'"step": 13' in results[0][1]


def test_silencing_the_lecture_changes_no_bit(tmp_path, few_names):
    files = []
    for silent in (False, True):
        module = helpers.load("script_gpt_educational")
        if silent:
            module.lecture.begin = lambda *arguments: None
        saved = tmp_path / f"{silent}.json"
        text = helpers.transcript(module, few_names, "--steps", 12, "--samples", 6, "--save", saved)
        files.append((helpers.without_lecture(text), saved.read_bytes()))
        assert (text == helpers.without_lecture(text)) is silent
    assert files[0] == files[1]


def test_importing_prints_nothing_reads_nothing_and_seeds_nothing(script):
    code = ("import argparse, builtins, json, random; random.seed(1); before = random.getstate()\n"
            "def refuse(*arguments, **options): raise AssertionError('a file was opened')\n"
            f"builtins.open = refuse\nimport {script}\n"
            f"assert random.getstate() == before and not {script}.Value.tape")
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=helpers.ROOT)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


@pytest.mark.parametrize("name", helpers.SCRIPTS[1:])
def test_the_sessions_in_the_docstrings_are_true(name):
    result = doctest.testmod(helpers.load(name))
    assert result.attempted > 0 and result.failed == 0


def test_everything_public_in_the_refactored_script_has_a_docstring_and_all_round_the_core_type_hints():
    tree = ast.parse(helpers.source("script_gpt_refactored"))
    core = {inner for node in tree.body if getattr(node, "name", None) in CORE for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name != "refuse":
            simple = node.name.startswith("__") or node.lineno == node.end_lineno or node in core and node.name in (
                "exp", "log", "relu")
            assert ast.get_docstring(node) or simple, node.name
            if isinstance(node, ast.FunctionDef) and node not in core:
                hints = [a.annotation for a in node.args.args if a.arg != "self"] + [node.returns]
                assert None not in hints, node.name
