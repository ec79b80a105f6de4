"""What `python -m labs.xray` prints and writes, and what it says to bad input."""
import contextlib
import io
import json
import math
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import types

import helpers
import pytest

import script_gpt_refactored as gpt
from labs import trace as tracing
from labs import xray
from labs.trace import without_letters

QUESTIONS = {"why", "depth", "blame", "markdown", "json", "html", "compare", "tolerance", "force"}


@pytest.fixture(autouse=True, scope="module")
def each_step_is_taken_once():
    """Many tests ask other questions of the same step: it is remembered."""
    take_step, taken = xray.take_step, {}

    def remembered(options, load):
        asked = {name: value for name, value in vars(options).items() if name not in QUESTIONS}
        key = xray.gpt, load, repr(sorted(asked.items()))  # the module, not its id, which another may get
        if key not in taken:
            taken[key] = take_step(options, load)
        return taken[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xray, "take_step", remembered)
        yield


def ask(*arguments):
    """What the tool prints. It must succeed."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(output):
        assert xray.main([str(argument) for argument in arguments]) == 0
    output.seek(0)
    return output.read()


def refused(capsys, *arguments):
    """The one line the tool says instead."""
    assert xray.main([str(argument) for argument in arguments]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1
    return error


@pytest.fixture(scope="module")
def report():
    return ask("emma")


@pytest.fixture(scope="module")
def trace():
    return xray.take_step(xray.parse_arguments(["emma"]), None)


def test_the_report_tells_the_whole_step(report, trace):
    titles = re.findall(r"^── (.*?) ─+$", report, re.MULTILINE)
    assert titles == ["One training step on 'emma'", "The vectors", "Attention: who looks at whom", "Predictions",
                      "Where the gradient flowed", "What Adam did", "Ask on"]
    assert f"mean over the positions: {trace.loss.value:.4f}" in report
    assert "would cost 3.2958" in report.replace("\n", " ")
    for label, numbers in trace.variables().items():
        if not label.startswith(("loss", "position_loss", "logits")) and not label.endswith("scores"):
            assert re.search(rf"^{re.escape(label)}\b", report, re.MULTILINE), label
    for label in ("x.1~add", "layer0.x.2~linear", "layer0.hidden~linear", "layer0.x.3~linear"):
        assert re.search(rf"^{re.escape(label)} \[5\]", report, re.MULTILINE), label


def test_the_report_fits_a_terminal_of_80_columns(report):
    for text in (report, ask("alexandria", "--n-embd", 8, "--n-layer", 2), ask("a" * 16, "--n-embd", 8)):
        lines = [line for line in text.splitlines() if not line.startswith("python3 ")]  # a command may be longer
        assert [line for line in lines if len(line) > 80] == []


def test_the_report_tells_what_adam_did_to_the_ten_with_the_largest_gradients(report, trace):
    rows = re.findall(r"^(\S.*?) +from +(\S+) to +(\S+), by +(\S+)$", report, re.MULTILINE)
    slopes = sorted((abs(trace.numbers[i].gradient) for i in trace.parameters), reverse=True)
    assert [abs(trace.find(name).gradient) for name, *_ in rows] == slopes[:10]
    for name, before, after, by in rows:
        number = trace.find(name)
        assert [float(before), float(after)] == pytest.approx([number.value, trace.after[number.index]], abs=1e-4)
        assert float(by) == pytest.approx(trace.after[number.index] - number.value, abs=1e-4)


def test_the_attention_figures_of_a_row_sum_to_one(report):
    rows = re.findall(r"^  \d (?:BOS|'.') +((?:\d\.\d\d \S* *)+)$", report, re.MULTILINE)
    assert len(rows) == 4 * 5
    for row in rows:
        assert sum(map(float, re.findall(r"\d\.\d\d", row))) == pytest.approx(1, abs=0.025)


def test_the_probabilities_are_the_models(report, trace):
    for where, position in ((trace.where(p), p) for p in range(trace.positions)):
        logits = [trace.find(f"logits[{position}][{token}]").value for token in range(27)]
        total = math.fsum(math.exp(x) for x in logits)
        right = trace.tokens[position + 1]
        place = sorted(logits, reverse=True).index(logits[right]) + 1
        line = rf"{place}\. {re.escape(trace.letter(right))} +logit +\S+ +p {math.exp(logits[right]) / total:.3f} "
        assert re.search(line, report), where


def test_the_commands_it_proposes_work(report):
    commands = [shlex.split(line)[3:] for line in report.splitlines() if line.startswith("python3 -m labs.xray")]
    assert len(commands) == 4
    for option, name, document in commands[:3]:
        assert without_letters(ask(option, name, document).split(" = ")[0]) == name


@pytest.mark.parametrize("document", ["", "-a b", "'$(x)\"", "\\"])
def test_the_commands_it_proposes_work_whatever_the_document(document, tmp_path):
    (tmp_path / "odd.txt").write_text("-a b'$(x)\"\\\n", encoding="utf-8")
    options = ["--names", tmp_path / "odd.txt", "--n-embd", 4, "--n-head", 1]
    text = ask(*options, "--", document)
    commands = [shlex.split(line)[3:] for line in text.splitlines() if line.startswith("python3 -m labs.xray")]
    for arguments in commands[:3]:
        assert ask(*options, *arguments)
    assert commands[0][2:] == (["--", document] if document.startswith("-") else [document])


def test_a_letter_is_the_same_however_it_was_typed(tmp_path):
    (tmp_path / "odd.txt").write_text("zoe\u0301\n", encoding="utf-8")
    options = ["--names", tmp_path / "odd.txt", "--n-embd", 4, "--n-head", 1]
    assert ask("zoe\u0301", *options) == ask("zo\u00e9", *options)


def test_why_gives_formula_line_and_inputs_down_to_the_depth(trace):
    loss = trace.find("position_loss[2]")
    flat = ask("emma", "--why", "position_loss[2]", "--depth", 1)
    assert flat.splitlines()[0] == f"{loss.name} = {loss.value!r}"
    assert f"line {loss.line} of compute_loss: position_loss = logsumexp(logits) - logits[tokens[" in flat
    assert "add = position_loss~logsumexp[2 'm'] + position_loss~mul[2 'm']" in flat
    deep = ask("emma", "--why", "position_loss[2]", "--depth", 3)
    assert "logits[2 'm'][12 'm'] = " in deep and len(deep) > 4 * len(flat)
    for line in deep.splitlines():
        found = re.match(r" *([\w.~]+(?:\[[^]]*\])*) = (-?[\d.e-]+)$", line)
        if found:
            assert trace.find(found[1]).value == float(found[2])


def test_why_sums_the_terms_of_a_product_to_the_number(trace):
    text = ask("emma", "--why", "layer0.q[3][5]", "--depth", 1)
    terms = re.findall(r"^    +([+-][\d.e+-]+)  ", text, re.MULTILINE)
    assert len(terms) == 6  # the five largest, and the rest together
    assert sorted(terms[:5], key=lambda term: -abs(float(term))) == terms[:5]
    assert sum(map(float, terms)) == pytest.approx(trace.find("layer0.q[3][5]").value, abs=3e-4)


def test_why_of_a_parameter_tells_what_adam_made_of_it(trace):
    text = ask("emma", "--why", "wte[12][5]")
    number = trace.find("wte[12][5]")
    assert len(trace.updates[number.index]) == 4
    assert "parameter.data - learning_rate * (m[i] / bias1) / (sqrt(v[i] / bias2) + eps_adam)" in text
    for done in trace.updates[number.index]:
        assert f".{done.line.name:<6} = {done.line.formula.format(*done.line.symbols)}" in text
        assert f"{done.result:.5g}" in text


def test_why_and_blame_of_a_silent_neuron_say_that_it_is_silent(trace):
    number = next(number for number in trace.slots()["layer0.hidden"] if not number.inputs)
    neuron = trace.numbers[number.unlinked[0]]
    text = ask("emma", "--why", number.name)
    assert f"line {number.line} of gpt_forward: hidden = [y.relu() for y in " in text
    assert f"relu = max({neuron.name}, 0.0)\n" in text and f"= max({neuron.value:.4g}, 0.0)\n" in text
    assert f"A silent neuron: relu read {neuron.name}" in text
    assert f"{neuron.name} = {neuron.value!r}" in text  # explained in its turn
    flat = " ".join(ask("emma", "--blame", neuron.name).split())
    assert f"Only relu read it, and gave {number.name}, a constant" in flat and "gradient 0.0" in flat


@pytest.mark.parametrize("name", ["layer0.q[3][5]", "wte[26][4]", "x.1.scale[0]", "layer0.x.2[1][2]"])
def test_blame_adds_up_to_the_gradient_and_leads_to_the_loss(name, trace):
    text = ask("emma", "--blame", name)
    number = trace.find(name)
    assert f"gradient {number.gradient!r}" in text
    products = [float(x) for x in re.findall(r"× .* = +([+-][\d.e+-]+)$", text, re.MULTILINE)]
    total = float(re.search(r"the sum, which is its gradient +([+-][\d.e+-]+)", text)[1])
    assert sum(products) == pytest.approx(total, rel=0.02, abs=1e-4)
    assert total == pytest.approx(number.gradient, rel=0.01, abs=1e-4)
    path = re.findall(r"^ +([+-][\d.e+-]+)  (\S.*)$", text.split("heaviest path")[1], re.MULTILINE)
    assert path[-1][1] == "loss"
    product = 1.0
    for slope, step in path:  # each is one of the users of the one before
        used = dict(trace.uses[number.index])
        number = trace.find(step)
        assert used[number.index] == pytest.approx(float(slope), rel=0.01, abs=1e-4)
        product *= used[number.index]
    assert f"along this path: {xray.short(product)};" in text


def test_no_path_to_the_loss_is_heavier_than_the_heaviest(trace):
    """Against random walks from the number to the loss, and the walk that always takes the weightiest use."""
    rng = random.Random(0)
    for number in rng.sample(trace.numbers, 40):
        heaviest = abs(math.prod(slope for slope, _ in xray.heaviest_path(trace, number)))
        for attempt in range(20):
            at, product = number.index, 1.0
            while trace.uses[at]:
                weigh = (lambda use: abs(use[1] * trace.numbers[use[0]].gradient)) if not attempt else None
                at, slope = max(trace.uses[at], key=weigh) if weigh else rng.choice(trace.uses[at])
                product *= slope
            if at == trace.loss.index:
                assert abs(product) <= heaviest * (1 + 1e-12)


def test_blame_of_the_loss_and_of_what_nothing_used():
    assert "its slope in itself is 1" in ask("emma", "--n-embd", 8, "--blame", "loss")
    assert "its gradient is 0" in " ".join(ask("zoe", "--n-embd", 8, "--blame", "wte[0 'a'][0]").split())


def test_the_json_holds_all_of_the_trace(tmp_path, trace):
    assert "wrote" in ask("emma", "--json", tmp_path / "t.json")
    data = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert data["tokens"] == trace.tokens and len(data["numbers"]) == len(trace.numbers)
    for entry, number in zip(data["numbers"], trace.numbers):
        assert (entry["name"], entry["output"], entry["gradient"]) == (number.name, number.value, number.gradient)
        if number.is_computed:
            assert eval(entry["in_numbers"], vars(math)) == pytest.approx(entry["output"], rel=1e-12, abs=1e-14)
            assert entry["inputs"] == [trace.numbers[i].name for i in number.inputs]
            assert entry["unlinked"] == [trace.numbers[i].name for i in number.unlinked]
            assert entry["source"] in trace.source.lines[entry["line"] - 1] and entry["explanation"]
    shapes = {entry["name"]: entry.get("shape") for entry in data["numbers"]}
    assert shapes["layer0.q[3 'm'][5]"] == [16] and shapes["layer0.mlp_fc2[0][0]"] == [16, 64]
    assert shapes["layer0.head0.attn_weights[2 'm' -> 0 BOS]"] == [3] and shapes["position_loss[0 BOS]"] == []
    assert shapes["layer0.attn_out[2 'm'][9]"] == [16] and shapes["layer0.hidden[2 'm'][9]"] == [64]
    assert len(data["updates"]) == 4 * 4192
    for entry in data["updates"][::97]:
        assert eval(entry["in_numbers"], vars(math)) == entry["output"]


def test_the_markdown_is_the_report_and_the_loss_explained(tmp_path, report):
    ask("emma", "--markdown", tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0 and text.startswith("# One training step on 'emma'\n")
    table = report[report.index("layer0.q ["):report.index("layer0.k [")]
    assert table in text and "## Why the loss is what it is" in text and "loss~add[4] * 0.2" in text


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a checkpoint of the real program after 3 steps."""
    folder = tmp_path_factory.mktemp("models")
    with contextlib.redirect_stdout(io.StringIO()):
        gpt.main(["--steps", "3", "--samples", "0", "--n-embd", "8", "--save", str(folder / "3.json")])
    return folder


def test_steps_gives_the_model_that_the_script_saves(saved):
    trained = xray.take_step(xray.parse_arguments(["emma", "--steps", "3", "--n-embd", "8"]), None)
    loaded = xray.take_step(xray.parse_arguments(["emma"]), str(saved / "3.json"))
    assert [number.value for number in trained.numbers] == [number.value for number in loaded.numbers]
    assert trained.updates_before == 3 and loaded.updates_before == 0  # a checkpoint has no memory of Adam's
    idle = [i for i in trained.parameters if not trained.numbers[i].gradient]
    moved = [i for i in idle if trained.updates[i][-1].result != trained.numbers[i].value]
    assert moved and f"{len(moved):,} of them without" in " ".join(ask("emma", "--steps", 3, "--n-embd", 8).split())


def test_training_first_prints_nothing_and_a_ctrl_c_in_it_ends_the_tool(monkeypatch, capsys):
    assert "step    1" not in ask("emma", "--steps", 3, "--n-embd", 8)
    train_step, calls = gpt.train_step, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_step(*arguments)

    monkeypatch.setattr(gpt, "train_step", interrupted)
    assert xray.main(["emma", "--steps", "4", "--n-embd", "8"]) == 130
    assert capsys.readouterr() == ("", "\n") and len(calls) == 2


def test_load_goes_on_from_the_checkpoint_with_the_documents_that_follow(saved):
    by_hand = xray.take_step(xray.parse_arguments(["emma", "--load", "x", "--steps", "1"]), str(saved / "3.json"))
    with contextlib.redirect_stdout(io.StringIO()):
        gpt.main(["--load", str(saved / "3.json"), "--steps", "1", "--samples", "0", "--save", str(saved / "4.json")])
    matrices = gpt.load_checkpoint(str(saved / "4.json"))["state_dict"]
    weights = [weight for matrix in matrices.values() for row in matrix for weight in row]
    assert [by_hand.numbers[i].value for i in by_hand.parameters] == weights


def test_compare_names_the_first_number_that_differs(saved, tmp_path):
    same = ask("emma", "--steps", 3, "--n-embd", 8, "--compare", saved / "3.json")
    assert "No number differs by more than 1e-09." in same
    checkpoint = json.loads((saved / "3.json").read_text())
    checkpoint["state_dict"]["layer0.attn_wv"][6][2] += 1e-3
    (tmp_path / "touched.json").write_text(json.dumps(checkpoint))
    text = ask("emma", "--load", saved / "3.json", "--compare", tmp_path / "touched.json")
    assert "1 of 1,328 parameters and " in text
    assert "The first parameter: layer0.attn_wv[6][2] " in text
    assert "The first computed number: layer0.v[0 BOS][6] " in text and "q, k, v = (linear(normed" in text
    assert "No number differs" in ask("emma", "--load", saved / "3.json", "--compare", tmp_path / "touched.json",
                                      "--tolerance", 1)


def test_bad_input_gets_one_line(capsys, tmp_path, saved):
    assert "not in the vocabulary" in refused(capsys, "Emma!")
    for wrong, right in (("layer0.q[2]", "layer0.q[2 'm'][0]"), ("layer0.q[2][77]", "layer0.q[2 'm'][7]"),
                         ("layr0.head2.attn_weights[3->1]", "layer0.head2.attn_weights[3 'm' -> 1 'e']"),
                         ("lossy", "loss")):
        assert f'"{right}"' in refused(capsys, "emma", "--n-embd", 8, "--why", wrong)
    assert '"loss"' in refused(capsys, "emma", "--n-embd", 8, "--blame", "lossy")
    assert '"wte[4 \'e\'][0]"' in refused(capsys, "emma", "--n-embd", 8, "--why", "wte[4 'a'][0]")  # a wrong letter
    assert '"layer0.q[3 \'m\'][5]"' in refused(capsys, "emma", "--n-embd", 8, "--why", "q[3 'm'][5]")
    assert "depth" in refused(capsys, "emma", "--why", "loss", "--depth", 0)
    assert "tolerance" in refused(capsys, "emma", "--compare", saved / "3.json", "--tolerance", "nan")
    assert "cannot read" in refused(capsys, "emma", "--load", tmp_path / "none.json")
    assert "cannot read" in refused(capsys, "emma", "--load", "")
    assert "cannot write" in refused(capsys, "emma", "--html", tmp_path / "no folder" / "x.html")
    assert "not an ordinary file" in refused(capsys, "emma", "--json", tmp_path)
    assert "name another" in refused(capsys, "emma", "--json", tmp_path / "a", "--html", tmp_path / "a")
    assert "name another" in refused(capsys, "emma", "--load", saved / "3.json", "--json", saved / "3.json")
    assert "leave that option out" in refused(capsys, "emma", "--load", saved / "3.json", "--n-embd", 16)
    assert "n_embd 10 must be a multiple" in refused(capsys, "emma", "--n-embd", 10)
    assert "--help" in refused(capsys, "emma", "--nonsense")
    assert sorted(os.listdir(tmp_path)) == []


def test_numbers_that_are_not_finite_are_not_traced(capsys, tmp_path, saved):
    checkpoint = json.loads((saved / "3.json").read_text())
    checkpoint["state_dict"]["wte"][26][0] = 1e200  # its square is infinite, and the loss still a number
    (tmp_path / "huge.json").write_text(json.dumps(checkpoint))
    assert "not a step to learn from" in refused(capsys, "emma", "--load", tmp_path / "huge.json")


def test_a_wrong_name_leaves_no_file(capsys, tmp_path):
    refused(capsys, "emma", "--why", "nonsense", "--json", tmp_path / "t.json")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("option", ["--markdown", "--json", "--html"])
def test_a_file_of_its_own_is_written_over_and_no_other_unless_forced(option, capsys, tmp_path):
    path = tmp_path / "diary"
    path.write_text("Dear diary,\n")
    assert "holds something else" in refused(capsys, "emma", "--n-embd", 8, option, path)
    assert path.read_text() == "Dear diary,\n"
    ask("emma", "--n-embd", 8, option, path, "--force")
    first = path.read_bytes()
    ask("emma", "--n-embd", 8, "--seed", 1, option, path)
    assert path.read_bytes() not in (first, b"Dear diary,\n")


def test_plain_characters_where_the_output_has_no_others():
    run = subprocess.run([sys.executable, "-m", "labs.xray", "emma"], capture_output=True, cwd=helpers.ROOT,
                         env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert run.returncode == 0
    assert run.stdout.decode("ascii").count("##") > 4 and "\\x" not in run.stdout.decode("ascii")


def test_when_the_program_changes_the_xray_changes_with_it(tmp_path):
    """A copy of the project in which the model is another: the names, lines and formulas follow."""
    for name in ("script_gpt_educational.py", "names.txt"):
        shutil.copy(os.path.join(helpers.ROOT, name), tmp_path)
    for folder in ("labs", "engines"):
        shutil.copytree(os.path.join(helpers.ROOT, folder), tmp_path / folder)
    source = helpers.source("script_gpt_refactored")
    tanh = """    def tanh(self) -> Value:
        \"\"\"tanh a: 1 - tanh² a.\"\"\"
        return Value(math.tanh(self.data), (self,), (1 - math.tanh(self.data) ** 2,))

"""
    for old, new in (
        ("    x = rmsnorm(add(", "    embedded = rmsnorm(add("),
        ("[position]))  # [n_embd]\n",
         "[position]))  # [n_embd]\n    x = [value * 0.5 for value in embedded]  # half of it\n"),
        ('mlp_fc2"]))  # [n_embd]', 'mlp_fc2"]))  # [n_embd] the thought is added'),
        ("    def log(self)", tanh + "    def log(self)"),
        ("y.relu()", "y.tanh()"),
    ):
        assert source.count(old) == 1
        source = source.replace(old, new)
    (tmp_path / "script_gpt_refactored.py").write_text(source, encoding="utf-8")

    def asked(*arguments):
        run = subprocess.run([sys.executable, "-m", "labs.xray", "emma", *arguments], cwd=tmp_path, capture_output=True,
                             encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"})
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert "mul = embedded[3 'm'][5] * 0.5" in asked("--why", "x.1[3][5]")
    assert "half of it" in asked("--why", "x.1[3][5]")
    assert "tanh = tanh(layer0.hidden~linear[3 'm'][5])" in asked("--why", "layer0.hidden[3][5]")
    assert "tanh a: 1 - tanh² a." in asked("--why", "layer0.hidden[3][5]")
    assert "the thought is added" in asked("--why", "layer0.x.3[0][0]")
    assert "embedded [5][16]" in asked()


@pytest.mark.parametrize("old, new", [
    ("attn_weights", "shares"), ("position_loss", "cost"), ("loss = compute_loss(", "cost = loss = compute_loss("),
    ("for i, parameter in enumerate(parameters):\n            grad = parameter.grad",
     "for i, weight in enumerate(parameters):\n            parameter = weight\n            grad = weight.grad"),
    ("            grad = parameter.grad\n", "            grad = parameter.grad\n            if not grad: continue\n"),
    ("        q, k, v = (", "        for _ in [0]: pass\n        def nothing():\n            return 0\n"
                           "        q, k, v = ("),
    ('x = rmsnorm(add(state_dict["wte"][token_id], state_dict["wpe"][position]))',
     'x = rmsnorm(rmsnorm(add(state_dict["wte"][token_id], state_dict["wpe"][position])))'),
    ('"""y = W x: a dot', '"""\n# not a comment\ny = W x: a dot'),
    ("    def relu(self): return Value(self.data, (self,), (1.0,)) if self.data > 0 else Value(0.0)\n",
     "    def relu(self):\n        on = float(self.data > 0)\n        return Value(on * self.data, (self,), (on,))\n"),
    ("            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer]])))\n",
     "            columns = map(list, zip(*[v[part] for v in values[layer]]))\n"
     "            for column in columns: attn_out.append(dot(attn_weights, column))\n"),
])
def test_a_changed_program_is_traced_all_the_same(old, new, monkeypatch, tmp_path):
    data = use_changed_program(monkeypatch, tmp_path, (old, new))
    text = ask("emma", *data)
    assert "What Adam did" in text and "Where the gradient flowed" in text
    ask("emma", *data, "--json", tmp_path / "t.json", "--html", tmp_path / "t.html", "--blame", "wte[4][0]")


def use_changed_program(monkeypatch, tmp_path, *changes):
    """From here on the X-ray watches a copy of the program with these changes. Returns options for a small model."""
    source = helpers.source("script_gpt_refactored")
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    shutil.copy(os.path.join(helpers.ROOT, "script_gpt_educational.py"), tmp_path)
    changed = types.ModuleType("changed")
    changed.__file__ = str(tmp_path / "changed.py")
    (tmp_path / "changed.py").write_text(source, encoding="utf-8")
    monkeypatch.setitem(sys.modules, "changed", changed)  # where dataclasses look for it
    exec(compile(source, changed.__file__, "exec"), vars(changed))
    for module in (xray, tracing):
        monkeypatch.setattr(module, "gpt", changed)
    for name in ("GPTConfig", "InputError"):
        monkeypatch.setattr(xray, name, getattr(changed, name))
    return ["--names", os.path.join(helpers.ROOT, "names.txt"), "--n-embd", 8]


def test_what_grows_step_by_step_is_named_for_where_it_grew(monkeypatch, tmp_path):
    """A list by append, in a loop over vectors, and a number by +=."""
    data = use_changed_program(
        monkeypatch, tmp_path,
        ("attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer]])))",
         "for column in zip(*[v[part] for v in values[layer]]):\n"
         "                attn_out.append(dot(attn_weights, list(column)))"),
        ("keys, values, losses = {}, {}, []\n    for", "keys, values, losses, total = {}, {}, [], Value(0.0)\n    for"),
        ("losses.append(position_loss)\n", "losses.append(position_loss)\n        total += position_loss\n"),
        ("return sum(losses) / ", "return total / "),
    )
    assert "also called layer0.head2.attn_out[3 'm'][1]" in ask("emma", *data, "--why", "layer0.attn_out[3][5]")
    assert "linear = layer0.v[0 BOS][5] * layer0.head2." in ask("emma", *data, "--why", "layer0.head2.attn_out[3][1]")
    assert "add = total[1 'e'] + position_loss[2 'm']" in ask("emma", *data, "--why", "total[2]")
    assert "add = 0.0 + position_loss[0 BOS]" in ask("emma", *data, "--why", "total[0]")
    assert "mul = total[4 'a'] * 0.2" in ask("emma", *data, "--why", "loss")
