"""The ladder of levels: each is short, runs alone, and with its new idea switched off is the level before."""
import contextlib
import difflib
import io
import json
import math
import os
import random
import re
import subprocess
import sys
from types import SimpleNamespace

import helpers
import pytest

FOLDER = os.path.join(helpers.ROOT, "levels")
LEVELS = sorted(name for name in os.listdir(FOLDER) if re.match(r"\d_", name))
PARAMETERS = "parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]\n"


def source(number):
    with open(os.path.join(FOLDER, LEVELS[number - 1]), encoding="utf-8") as file:
        return file.read()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a level with some of its lines replaced, as a script would be run; returns its variables and its lines."""
    def run_level(number, documents, *patches, steps=40):
        text = source(number)
        for old, new in patches:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        names = tmp_path / "names.txt"
        names.write_text("\n".join(documents), encoding="utf-8")
        path = os.path.join(FOLDER, LEVELS[number - 1])
        monkeypatch.setattr(sys, "argv", [path, str(names), "--steps", str(steps)])
        variables = {"__file__": path, "__name__": "__main__", "start": start, "identity": identity}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(text, path, "exec"), variables)
        return SimpleNamespace(printed=printed.getvalue().splitlines(), **variables)
    return run_level


def identity(n, Value):
    return [[Value(float(row == column)) for column in range(n)] for row in range(n)]


def start(state_dict, **given):
    """Gives some matrices the values given and leaves them out of training; draws the others, each by its name alone.

    Returns the weights of those others. So models with other matrices besides begin with the same numbers in these.
    """
    for name, matrix in state_dict.items():
        rng = random.Random(name)
        for row in matrix:
            for weight in row:
                weight.data = rng.gauss(0, 0.3)
    state_dict.update(given)
    return [weight for name, matrix in state_dict.items() if name not in given for row in matrix for weight in row]


def numbers(matrix):
    return [[weight.data for weight in row] for row in matrix]


def names_txt():
    with open(helpers.NAMES, encoding="ascii") as file:
        return file.read().split()


def some_names():
    return names_txt()[:60]


def without_repeats():
    """Names in which no letter comes twice: the terms of each slope are then added in one order in all levels."""
    return [name for name in names_txt() if len(set(name)) == len(name)][:60]


@pytest.mark.parametrize("number", range(1, 7))
def test_a_level_is_short_and_needs_nothing(number):
    lines = source(number).splitlines()
    assert len(lines) <= 100 and max(map(len, lines)) <= 120
    assert re.findall(r"(?m)^ *(?:import|from) .*", source(number)) == ["import argparse, math, pathlib, random"]


def test_there_are_six_levels_each_naming_the_next():
    assert [name[:2] for name in LEVELS] == ["1_", "2_", "3_", "4_", "5_", "6_"]
    for number, following in enumerate([*LEVELS[1:], "../script_gpt.py"], 1):
        docstring = source(number).split('"""')[1]
        assert docstring.startswith(f"Level {number}, ") and docstring.endswith(f"Next: {following}")


CHANGED = {1: {"forward", "position_losses"}, 2: {"softmax", "position_losses"}, 3: {"forward", "position_losses"},
           4: {"forward", "position_losses"}, 5: {"forward"}}


@pytest.mark.parametrize("number", range(1, 6))
def test_what_two_neighbours_share_is_one_text(number):
    """Most lines of the lower level stand in the higher one, in order; a function that is not part of the new idea is
    the same text in both, and Value only gains operations."""
    lower, higher = source(number).splitlines(), source(number + 1).splitlines()
    matches = difflib.SequenceMatcher(None, lower, higher, autojunk=False).get_matching_blocks()
    assert sum(match.size for match in matches) >= (0.5 if number == 2 else 0.7) * len(lower)
    pieces = [dict(re.findall(r"(?ms)^(?:def|class) (\w+)(.*?)(?=^\S)", "\n".join(lines))) for lines in (lower, higher)]
    for name in set(pieces[0]) & set(pieces[1]) - CHANGED[number] - {"Value"}:
        assert pieces[0][name].strip() == pieces[1][name].strip(), name
    methods = [piece.get("Value", "").splitlines() for piece in pieces]
    assert [line for line in methods[1] if line in methods[0]] == methods[0]


@pytest.mark.parametrize("number", range(1, 7))
def test_a_level_prints_its_losses_its_size_its_held_out_loss_and_samples(number, run):
    printed = run(number, some_names(), steps=100).printed
    assert re.fullmatch(r"step  100 / 100 \| mean loss of 100 \d\.\d{4}\nnum params: \d+\n"
                        r"held-out loss per token: \d\.\d{4}(\nsample: [a-z]{0,16}){5}", "\n".join(printed))


@pytest.mark.parametrize("number", range(1, 7))
def test_the_held_out_documents_are_never_trained_on(number, run):
    """With other held-out names the losses in training are the same, and the held-out loss is another."""
    names = some_names()
    order = list(range(60))
    random.Random(42).shuffle(order)
    other = ["zz" + name if place in order[-9:] else name for place, name in enumerate(names)]  # 9: 15 in 100
    patch = ('set("".join(docs))', 'set("abcdefghijklmnopqrstuvwxyz")')
    first, second = run(number, names, patch, steps=60), run(number, other, patch, steps=60)
    assert first.history == second.history and len(first.history) == 60
    assert sum(first.losses) / len(first.losses) != sum(second.losses) / len(second.losses)


def test_level_1_counts_each_pair_once_on_top_of_the_one_imagined(run):
    """Each of the six names that are not held out is met once in six steps."""
    one = run(1, ["ab", "aab", "abb", "b", "bb", "ba", "aaa"], steps=6)
    pairs = [pair for tokens in one.training for pair in zip(tokens, tokens[1:])]
    assert len(one.training) == 6 and len(one.unseen) == 1
    assert one.counts == [[1 + pairs.count((token, target)) for target in range(3)] for token in range(3)]
    assert one.forward(0) == [count / sum(one.counts[0]) for count in one.counts[0]]
    assert one.losses[0] == -math.log(one.forward(2)[one.unseen[0][1]])


@pytest.mark.parametrize("number", range(1, 7))
def test_a_name_that_occurs_twice_counts_once(number, run):
    """So none can be held out and trained on as well; and a byte order mark at the beginning is no letter."""
    level = run(number, ["\ufeff" + some_names()[0], *some_names()[1:20], *some_names()[:20]], steps=1)
    assert sorted(level.docs) == sorted(some_names()[:20]) and "\ufeff" not in level.vocabulary
    assert not [tokens for tokens in level.unseen if tokens in level.training]


@pytest.mark.parametrize("number", range(2, 7))
def test_softmax_of_large_numbers_does_not_overflow(number, run):
    level = run(number, some_names(), steps=1)
    given = [1000.0, 999.0] if number == 2 else [level.Value(1000.0), level.Value(999.0)]
    p = [float(getattr(value, "data", value)) for value in level.softmax(given)]
    assert p == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])


def test_level_2_with_the_logarithms_of_the_counts_is_level_1(run):
    one = run(1, some_names())
    logarithms = [[math.log(count) for count in row] for row in one.counts]
    two = run(2, some_names(), ("history = []\n", f"history = []\nstate_dict['table'] = {logarithms}\n"),
              ("learning_rate = 5.0", "learning_rate = 0.0"))
    assert two.losses == pytest.approx(one.losses, abs=1e-12)


def test_level_2_arrives_at_the_counts(run):
    """With names of one length, so that each pair weighs the same, and three letters, so that each is met often."""
    rng = random.Random(1)
    names = ["".join(rng.choices("abc", weights=(5, 3, 2), k=4)) for _ in range(200)]
    one = run(1, names, ("[[1 for _", "[[1e-9 for _"), steps=170)

    def gap(passes):
        two = run(2, names, ("learning_rate = 5.0", "learning_rate = 2.0"), steps=170 * passes)
        tables = [(one.forward(token), two.softmax(two.forward(token))) for token in range(4)]
        return max(abs(p - q) for counted, learnt in tables for p, q in zip(counted, learnt))

    assert gap(60) < 0.01 < gap(1)


def test_level_3_is_level_2_but_for_the_last_digits(run):
    two, three = run(2, some_names()), run(3, some_names())
    assert three.history == pytest.approx(two.history, abs=1e-12) and three.printed == two.printed
    for row, other in zip(numbers(three.state_dict["table"]), two.state_dict["table"]):
        assert row == pytest.approx(other, abs=1e-12)


ONE_LETTER = ("letters[-3:]", "letters[-1:]")


def test_level_4_with_one_letter_whose_row_holds_a_single_1_is_level_3(run):
    """The hidden layer then says which letter it is, and lm_head is the table, its rows as columns. Bit for bit."""
    three = run(3, without_repeats())
    four = run(4, without_repeats(), ONE_LETTER, ("n = config.n_embd", "n = bos + 1"),
               ("learning_rate = 0.3", "learning_rate = 5.0"),
               (PARAMETERS, "table = [[Value(0.0) for _ in range(n)] for _ in range(n)]\n"
                            "start(state_dict, wte=identity(n, Value), mlp_fc1=identity(n, Value), lm_head=table)\n"
                            "parameters = [weight for row in table for weight in row]\n"))
    assert four.history == three.history
    assert [list(row) for row in zip(*numbers(four.state_dict["lm_head"]))] == numbers(three.state_dict["table"])


def test_level_5_that_looks_at_itself_alone_is_level_4_with_one_letter(run):
    """Attention gives 1 to the letter itself and 0 to the others; values are the rows, positions 0. Bit for bit."""
    four = run(4, without_repeats(), ONE_LETTER, ("4 * n, 3 * n)", "4 * n, n)"),
               (PARAMETERS, "parameters = start(state_dict)\n"))
    five = run(5, without_repeats(),
               ("attn_weights = softmax([score * Value(n**-0.5) for score in scores])",
                "attn_weights = [Value(float(key is k)) for key in keys]"),
               (PARAMETERS, "nowhere = [[Value(0.0) for _ in range(n)] for _ in range(config.block_size)]\n"
                            "parameters = start(state_dict, attn_wv=identity(n, Value), wpe=nowhere)\n"))
    assert five.history == four.history
    for name, matrix in four.state_dict.items():
        assert numbers(five.state_dict[name]) == numbers(matrix), name


def test_level_6_without_norms_heads_stream_and_adam_is_level_5(run):
    """Each new part is taken out by a change of its own; attn_wo and mlp_fc2, new as well, hand on what they are given.
    Bit for bit."""
    five = run(5, without_repeats(), (PARAMETERS, "parameters = start(state_dict)\n"))
    adams_step = re.search(r"(?m)^        parameter\.data -= (.*)$", source(6))[1]
    six = run(6, without_repeats(), ("return [value * scale for value in x]", "return list(x)"),
              ('"--n-head": 4', '"--n-head": 1'), ("x = add(x, linear(attn_out, ", "x = (linear(attn_out, "),
              ("x = add(x, linear(hidden, ", "x = (linear(hidden, "), (adams_step, "learning_rate * parameter.grad"),
              ("learning_rate = 0.01", "learning_rate = 0.3"),
              ('("lm_head", bos + 1, n)', '("lm_head", bos + 1, 4 * n)'),
              (PARAMETERS, "handed_on = {'attn_wo': identity(n, Value), 'mlp_fc2': identity(4 * n, Value)}\n"
                           "parameters = start(state_dict, **handed_on)\n"))
    assert six.history == five.history
    for name, matrix in five.state_dict.items():
        assert numbers(six.state_dict[name]) == numbers(matrix), name


def test_script_gpt_is_level_6(run, tmp_path):
    """Weight by weight; from Python 3.12 on it adds up with math.sumprod, so that the last digits differ."""
    six = run(6, some_names())
    printed = helpers.transcript(helpers.load("script_gpt"), tmp_path / "names.txt", "--steps", 40, "--samples", 0,
                                 "--save", tmp_path / "model.json")
    assert re.findall(r"loss (\S+)", printed) == [f"{loss:.4f}" for loss in six.history]
    saved = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["state_dict"]
    for name, matrix in saved.items():
        rows = numbers(six.state_dict[name.replace("layer0.", "")])
        if hasattr(math, "sumprod"):
            assert sum(rows, []) == pytest.approx(sum(matrix, []), abs=1e-9), name
        else:
            assert rows == matrix, name


@pytest.mark.parametrize("number", range(1, 7))
def test_a_file_without_enough_names_is_refused(number, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("emma\nada\n", encoding="utf-8")
    for path in (few, tmp_path / "none.txt"):
        process = subprocess.run([sys.executable, os.path.join(FOLDER, LEVELS[number - 1]), str(path)],
                                 capture_output=True, encoding="utf-8")
        assert process.returncode == 2 and process.stdout == "" and "Traceback" not in process.stderr
        assert "7 words" in process.stderr


@pytest.mark.parametrize("n_head", [-4, 0, 3, 5, 32])
def test_level_6_refuses_heads_that_do_not_share_16_numbers_evenly(n_head):
    process = subprocess.run([sys.executable, os.path.join(FOLDER, LEVELS[5]), "--n-head", str(n_head)],
                             capture_output=True, encoding="utf-8")
    assert process.returncode == 2 and "--n-head divides not 16" in process.stderr
