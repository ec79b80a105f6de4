"""One program, three voices: the same bits, tree and diagrams; and the lecture looks and never touches."""
import ast
import doctest
import re
import subprocess
import sys

import helpers
import pytest

SECTIONS = ["Configuration", "Data", "Tokenizer", "Autograd", "Vector functions", "Parameters", "Model", "Loss",
            "Optimizer", "Training", "Generation", "Checkpoint", "Command line"]
SHARED = ["Value", "dot", "linear", "logsumexp", "softmax", "rmsnorm"]
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


def without_annotations(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
    return tree


def test_the_educational_tree_is_the_refactored_tree():
    assert ast.unparse(bare_tree("script_gpt_educational")) == ast.unparse(bare_tree("script_gpt_refactored"))


def test_the_lecture_is_bare_statements_and_nothing_reads_it():
    tree = ast.parse(helpers.source("script_gpt_educational"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
             and ast.unparse(node.value.func).startswith("lecture.")]
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "lecture"]
    assert len(calls) > 20
    assert len(names) == len(calls) + 1, "each mention is a call that stands alone, or the one assignment"


@pytest.mark.parametrize("piece", SHARED)
def test_the_shared_pieces_are_the_same_code_in_all_three(piece):
    versions = {ast.unparse(node) for name in helpers.SCRIPTS for node in without_annotations(bare_tree(name)).body
                if getattr(node, "name", None) == piece}
    assert len(versions) == 1


def test_the_order_of_sections_is_the_same():
    found = re.findall(r"^# ([A-Z][a-z ]+)[:.]", helpers.source("script_gpt"), re.MULTILINE)
    assert found == SECTIONS
    for name in helpers.SCRIPTS[1:]:
        found = re.findall(r"^# =+\n# ([A-Z][a-z ]+)\n# =+$", helpers.source(name), re.MULTILINE)
        assert found == SECTIONS


def test_the_minimal_script_has_243_lines_at_most():
    assert len(helpers.source("script_gpt").splitlines()) <= 243


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


def test_everything_public_in_the_refactored_script_has_a_docstring_and_type_hints():
    for node in ast.walk(ast.parse(helpers.source("script_gpt_refactored"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in ("note", "refuse"):
            simple = node.name.startswith("__") or len(node.body) == 1
            assert ast.get_docstring(node) or simple, node.name
            if isinstance(node, ast.FunctionDef):
                hints = [a.annotation for a in node.args.args if a.arg != "self"] + [node.returns]
                assert None not in hints, node.name
