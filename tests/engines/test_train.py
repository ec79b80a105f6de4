"""The trainer: with its defaults the program of the scripts, on every engine; and a run that is cut off goes on."""
import argparse
import contextlib
import csv
import importlib.util
import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import types
import unicodedata

import helpers
import pytest
import scalar  # noqa: F401  (puts the project on the path)

from engines import train

INSTALLED = {"scalar": True, "numpy": importlib.util.find_spec("numpy") is not None,
             "torch": importlib.util.find_spec("torch") is not None,
             "mlx": importlib.util.find_spec("mlx") is not None}
ENGINES = [pytest.param(name, marks=[] if there else pytest.mark.skip(reason=f"the {name} group is not installed"))
           for name, there in INSTALLED.items()]
each_engine = pytest.mark.parametrize("engine", ENGINES)
ENVIRONMENT = {**os.environ, "PYTHONIOENCODING": "utf-8"}


def command(*options):
    return [sys.executable, "-m", "engines.train", *map(str, options)]


def process(*options):
    return subprocess.run(command(*options), capture_output=True, encoding="utf-8", timeout=120, cwd=helpers.ROOT,
                          env=ENVIRONMENT)


def run(*options):
    """The same in this process, which is quicker."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = train.main(list(map(str, options)))
    return types.SimpleNamespace(returncode=code, stdout=output.getvalue(), stderr=errors.getvalue())


def refused(*options):
    """Runs what must be refused before anything is printed: exit code 2 and one line, which is returned."""
    return assert_refused(run(*options))


def assert_refused(done):
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done
    return done.stderr


@each_engine
def test_with_its_defaults_it_prints_what_the_scripts_print(engine, few_names):
    options = [few_names, "--steps", 12, "--samples", 4, "--seed", 7, "--temperature", 0.8]
    done = process(*options, "--engine", engine)
    assert done.returncode == 0, done.stderr
    assert done.stdout == helpers.run("script_gpt_refactored", *options).stdout


@pytest.mark.skipif(not INSTALLED["numpy"], reason="the numpy group is not installed")
def test_the_default_run_on_numpy_prints_the_same_losses_and_names_as_the_scalar_program(default_run):
    expected = helpers.without_lecture("\n".join(default_run) + "\n")
    assert run("--engine", "numpy").stdout == expected and expected.count("| loss ") == 1000


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_every_engine_trains_alike_with_every_option(engine, few_names):
    """Against the scalar engine, whose options are a few lines each."""
    options = [few_names, "--n-layer", 2, "--n-embd", 8, "--n-head", 2, "--steps", 8, "--batch", 3, "--accumulate", 2,
               "--schedule", "cosine", "--warmup", 3, "--weight-decay", 0.1, "--clip", 0.5, "--validation", 0.3,
               "--samples", 0]
    outputs = [run(*options, "--engine", name) for name in ("scalar", engine)]
    expected, found = ([float(word.strip(",")) for word in done.stdout.split() if "." in word]
                       for done in outputs)
    assert len(expected) == 8 + 2 * 8 and found == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("schedule, expected", [
    ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
    ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("cosine", [0.5, 1.0, 1.0, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
])
def test_the_learning_rate_rises_and_falls(schedule, expected):
    options = train.parse_arguments(["--steps", "6", "--warmup", "2", "--learning-rate", "1", "--schedule", schedule])
    assert [train.learning_rate(options, step) for step in range(6)] == pytest.approx(expected)


KILLED = """
import os, signal, sys
from engines import train
step = train.Report.step
def step_and_die(self, number, *more):
    step(self, number, *more)
    if number == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
train.Report.step = step_and_die
train.main(sys.argv[2:])
"""


def killed_at(step, *options):
    """The trainer in a process of its own, killed with SIGKILL right after this step."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(step), *map(str, options)], capture_output=True,
                          encoding="utf-8", timeout=120, cwd=helpers.ROOT, env=ENVIRONMENT)
    assert done.returncode == -signal.SIGKILL, done.stderr


@each_engine
def test_a_run_that_was_killed_goes_on_to_the_same_bits(engine, few_names, tmp_path):
    options = [few_names, "--engine", engine, "--steps", 30, "--samples", 3, "--batch", 2, "--validation", 0.25,
               "--clip", 1, "--weight-decay", 0.01, "--save-every", 7, "--n-embd", 4]
    whole, cut = tmp_path / "whole.json", tmp_path / "cut.json"
    assert run(*options, "--save", whole).returncode == 0

    def step():
        return json.loads(cut.read_text())["training"]["step"]

    killed_at(10, *options, "--save", cut)
    assert step() == 7
    killed_at(19, "--resume", cut)
    assert step() == 14
    assert run("--resume", cut).returncode == 0
    one, other = json.loads(whole.read_text()), json.loads(cut.read_text())
    for checkpoint in (one, other):
        del checkpoint["training"]["options"]["save"]
    assert one == other
    samples = [run("--resume", path).stdout.split("--- new names ---")[1] for path in (whole, cut)]
    assert samples[0] == samples[1] and samples[0].count("sample") == 3


@each_engine
def test_a_model_trained_here_is_opened_by_the_scripts_and_the_other_way(engine, few_names, tmp_path):
    saved = tmp_path / "model.json"
    done = run(few_names, "--engine", engine, "--steps", 5, "--save", saved, "--samples", 3)
    again = helpers.run("script_gpt", few_names, "--load", saved, "--steps", 0, "--samples", 3)
    assert again.returncode == 0 and again.stdout.split("---")[2] == done.stdout.split("---")[2]
    helpers.run("script_gpt", few_names, "--load", saved, "--steps", 5, "--save", saved)
    done = run(few_names, "--engine", engine, "--load", saved, "--steps", 3, "--save", saved)
    assert done.returncode == 0 and json.loads(saved.read_text())["step"] == 13


def test_running_text_is_read_in_blocks(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("to be, or not to be:\nthat is the question.\n" * 40, encoding="utf-8")
    options = ["--engine", "scalar", "--blocks", "--block-size", 8, "--batch", 2, "--steps", 5, "--validation", 0.1,
               "--n-embd", 4]
    done = run(text, *options, "--samples", 2, "--sample-every", 5)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0] == "num docs: 1"
    assert sum("validation loss" in line and "perplexity" in line for line in lines) == 5
    assert sum(line.startswith("sample: ") for line in lines) == 1


def loaded(options):
    """The data of these options."""
    text, _ = train.read_data(options.data)
    return train.load_data(options, text, train.configure(options, None))[0]


def test_the_blocks_of_a_step_are_the_same_whenever_it_is_asked(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("abcdefgh" * 50, encoding="utf-8")
    options = train.parse_arguments([str(text), "--blocks", "--block-size", "5", "--validation", "0.2"])
    data = loaded(options)
    assert data.documents(7, 3) == data.documents(7, 3) != data.documents(8, 3)
    for document in data.documents(7, 20) + data.validation:
        assert len(document) == 6 and document[0] == data.tokenizer.bos
        assert data.tokenizer.decode(document) in "abcdefgh" * 3
    assert len(data.training) == 320 and len(data.validation) == 16


@each_engine
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_model(engine, few_names, tmp_path):
    saved = tmp_path / "model.json"
    assert run(few_names, "--engine", engine, "--steps", 3, "--save", saved, "--samples", 0).returncode == 0
    wild = json.loads(saved.read_text())
    for rows in wild["state_dict"].values():
        for row in rows:
            row[:] = [1e200 * (-1) ** i for i in range(len(row))]
    del wild["training"]
    (tmp_path / "wild.json").write_text(json.dumps(wild))
    before = saved.read_bytes()
    done = run(few_names, "--engine", engine, "--load", tmp_path / "wild.json", "--save", saved, "--steps", 5)
    assert done.returncode == 2 and saved.read_bytes() == before
    assert re.search(r"at step [12] the loss became (nan|-?inf): lower --learning-rate", done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr


def test_the_figures_as_csv(few_names, tmp_path):
    path = tmp_path / "loss.csv"
    options = ["--engine", "scalar", "--steps", 10, "--n-embd", 4, "--validation", 0.2]
    assert run(few_names, *options, "--csv", path).returncode == 0
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 11))
    assert float(rows[0]["learning_rate"]) == 0.01
    last = rows[-1]
    assert math.exp(float(last["validation_loss"])) == pytest.approx(float(last["validation_perplexity"]))


def test_the_loss_curve_is_a_picture(few_names, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "loss.png"
    done = run(few_names, "--engine", "scalar", "--steps", 10, "--validation", 0.2, "--curve", path)
    assert done.returncode == 0 and path.read_bytes().startswith(b"\x89PNG")


BAD = [
    (["nowhere.txt"], "cannot read"),
    (["--engine", "abacus"], "invalid choice"),
    (["--batch", "0"], "--batch is 0"),
    (["--steps", "-1"], "--steps is -1"),
    (["--validation", "0.95"], "--validation is 0.95"),
    (["--validation", "0.01"], "too few for --validation"),
    (["--clip", "nan"], "--clip is nan"),
    (["--learning-rate", "0"], "learning_rate is 0"),
    (["--n-embd", "6"], "multiple of n_head"),
    (["--prompt", "Å"], "not in the vocabulary"),
    (["--save-every", "5"], "say where"),
    (["--save", "."], "cannot write to"),
    (["--save", "nowhere/model.json"], "choose another place"),
    (["--threads", "1000000"], "from 0 to 1,024"),
    (["--batch", "100000000000"], "from 1 to 1,000,000,000"),
    (["--batch", "999999999"], "GiB"),
    (["--accumulate", "999999999"], "GiB"),
    (["--n-embd", "100000000"], "GiB"),
    (["--n-embd", "2000", "--n-layer", "2", "--save", "m.json"], "could not be read again"),
    (["--blocks", "--block-size", "10000000"], "GiB"),
    (["/dev/zero"], "not an ordinary file"),
    (["--curve", "loss.txt"], ".png"),
    (["--blocks", "--block-size", "9999"], "smaller --block-size"),
    (["--resume", "nowhere.json"], "cannot read"),
    (["--resume", "model.json", "--steps", "9"], "leave the others out"),
    (["--engine", "scalar", "--dtype", "float32"], "leave --dtype out"),
    (["--engine", "scalar", "--device", "cuda"], "are for the engine torch"),
    (["--engine", "scalar", "--compile"], "are for the engine torch"),
    (["--no-such-option"], "--no-such-option"),
]


@pytest.mark.parametrize("options, complaint", BAD)
def test_bad_input_gets_one_line_and_writes_nothing(options, complaint, few_names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    arguments = options if "resume" in options[0] or options[0][0] != "-" else [str(few_names), *options]
    if "--engine" not in arguments and "resume" not in arguments[0]:
        arguments = [*arguments, "--engine", "scalar"]
    assert complaint in refused(*arguments)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_run_is_not_resumed_on_other_data(few_names, tmp_path, capsys):
    saved = tmp_path / "model.json"
    run(few_names, "--engine", "scalar", "--steps", 3, "--save", saved)
    with open(few_names, "a", encoding="utf-8") as file:
        file.write("zara\n")
    assert train.main(["--resume", str(saved)]) == 2
    assert "has changed since this run began" in capsys.readouterr().err


@pytest.fixture
def after_step(monkeypatch):
    """Sets what is to happen right after a step has been reported, in this process."""
    report = train.Report.step

    def when(step, act):
        def reporting(self, number, *more):
            report(self, number, *more)
            if number == step:
                act()

        monkeypatch.setattr(train.Report, "step", reporting)

    return when


def test_data_that_goes_away_during_a_run_loses_nothing(few_names, tmp_path, after_step):
    saved = tmp_path / "model.json"
    after_step(2, lambda: os.remove(few_names))
    done = run(few_names, "--engine", "scalar", "--steps", 6, "--samples", 1, "--save", saved)
    assert done.returncode == 0 and json.loads(saved.read_text())["training"]["step"] == 6


def test_a_model_without_a_run_cannot_be_resumed(few_names, tmp_path, capsys):
    saved = tmp_path / "model.json"
    helpers.run("script_gpt", few_names, "--steps", 2, "--samples", 0, "--save", saved)
    assert train.main(["--resume", str(saved)]) == 2
    assert "start one from its weights with --load" in capsys.readouterr().err


@pytest.mark.parametrize("engine, module", [("numpy", "numpy"), ("torch", "torch"), ("mlx", "mlx")])
def test_a_missing_library_is_one_clear_line(engine, module, few_names, tmp_path):
    (tmp_path / "hide" / module).mkdir(parents=True)
    (tmp_path / "hide" / module / "__init__.py").write_text(f"raise ModuleNotFoundError('no', name='{module}')")
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path / "hide")}
    process = subprocess.run(command(few_names, "--engine", engine), capture_output=True, encoding="utf-8", timeout=60,
                             cwd=helpers.ROOT, env=environment)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith(f"error: the engine {engine} needs {module}: {sys.executable} -m pip install ")
    assert process.stderr.count("\n") == 1


def trainer(engine, config, **options):
    """An engine's Trainer with weights of its own, and those weights."""
    weights = scalar.weights(config)
    settings = {"dtype": "float64", "device": "cpu", "compile": False, "weight_decay": 0.0, "clip": 0.0, **options}
    made = train.find_engine(engine)(config, len(scalar.VOCABULARY) + 1, weights, argparse.Namespace(**settings))
    return made, weights


def flat(state_dict):
    return [number for name in sorted(state_dict) for row in state_dict[name] for number in row]


@pytest.mark.parametrize("engine", ENGINES[1:])
@pytest.mark.parametrize("options", [dict(), dict(clip=0.5), dict(clip=1.5), dict(clip=4.0), dict(weight_decay=0.3)])
def test_ten_updates_leave_the_weights_of_the_scalar_engine(engine, options):
    config = train.GPTConfig(n_embd=8, n_head=2)
    found = []
    for name in ("scalar", engine):
        model, _ = trainer(name, config, **options)
        for step in range(10):
            model.step([scalar.documents(step, 2), scalar.documents(100 + step, 1)], 0.01 * (1 - step / 10))
        found.append(flat(model.state_dict()))
    limit = {"numpy": 1e-11, "torch": 1e-6, "mlx": 2e-3}[engine]  # torch and mlx clip to a norm less 1e-6
    assert max(abs(a - b) for a, b in zip(*found)) < limit


PRECISIONS = {"scalar": ["float64"], "numpy": ["float64", "float32"], "torch": train.DTYPES, "mlx": ["float32"]}


@pytest.mark.parametrize("engine, dtype", [pytest.param(*engine.values, dtype, marks=engine.marks)
                                           for engine in ENGINES for dtype in PRECISIONS[engine.values[0]]])
def test_what_the_optimizer_remembers_survives_a_checkpoint_bit_for_bit(engine, dtype):
    config = train.GPTConfig(n_embd=8, n_head=2)
    one, _ = trainer(engine, config, dtype=dtype)
    for step in range(4):
        one.step([scalar.documents(step, 2)], 0.01)
    saved = json.loads(json.dumps([one.state_dict(), one.optimizer_state()]))
    settings = argparse.Namespace(dtype=dtype, device="cpu", compile=False, weight_decay=0.0, clip=0.0)
    other = train.find_engine(engine)(config, len(scalar.VOCABULARY) + 1, saved[0], settings)
    other.load_optimizer_state(saved[1])
    for step in range(4, 8):
        assert one.step([scalar.documents(step, 2)], 0.01) == other.step([scalar.documents(step, 2)], 0.01)
    assert one.state_dict() == other.state_dict() and one.optimizer_state() == other.optimizer_state()


@each_engine
def test_the_validation_loss_is_the_mean_over_all_tokens_held_out(engine):
    config = train.GPTConfig(n_embd=4, n_head=1, block_size=5)
    model, weights = trainer(engine, config)
    held_out = scalar.documents(5, 70)  # more than are computed at once
    data = train.Data(train.Tokenizer(scalar.VOCABULARY), [], held_out, False, 1, config.block_size)
    _, expected, _ = scalar.answer(config, weights, held_out)
    assert train.validation_loss(model, data) == pytest.approx(expected, rel=1e-5 if engine == "mlx" else 1e-10)


def test_the_precision_is_the_one_asked_for():
    pytest.importorskip("numpy", reason="the numpy group is not installed")
    model, _ = trainer("numpy", train.GPTConfig(), dtype="float32")
    assert str(model.model.flat.dtype) == "float32" == str(model.optimizer.m.dtype)


def test_validation_comes_when_asked_and_at_the_end(few_names):
    options = ["--engine", "scalar", "--steps", 7, "--n-embd", 4, "--validate-every", 3, "--validation", 0.2]
    output = run(few_names, *options).stdout
    assert re.findall(r"step +(\d+) /    7 \| validation", output) == ["3", "6", "7"]


def test_samples_on_the_way_do_not_change_the_names_at_the_end(few_names):
    options = [few_names, "--engine", "scalar", "--steps", 4, "--n-embd", 4, "--samples", 5]
    plain, sampled = (run(*options, *more).stdout for more in ([], ["--sample-every", 1]))
    assert sampled.count("\nsample: ") == 4
    assert plain.split("---")[2] == sampled.split("---")[2]


def test_blocks_begin_anywhere_in_the_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("abcdefghij", encoding="utf-8")
    options = train.parse_arguments([str(text), "--blocks", "--block-size", "4"])
    data = loaded(options)
    starts = {document[1] for step in range(100) for document in data.documents(step, 2)}
    assert starts == set(range(7))


@pytest.mark.parametrize("way", ["Ctrl-C", "a reader that goes away"])
def test_a_run_that_is_stopped_keeps_what_it_has_learned(few_names, tmp_path, way):
    saved = tmp_path / "model.json"
    options = command(few_names, "--engine", "scalar", "--steps", 100_000, "--samples", 1, "--save", saved)
    with subprocess.Popen(options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=helpers.ROOT, encoding="utf-8",
                          env=ENVIRONMENT) as process:
        for line in process.stdout:
            if line.startswith("step    5 /"):
                break
        if way == "Ctrl-C":
            process.send_signal(signal.SIGINT)
            process.stdout.read()
        else:
            process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0 and "Traceback" not in errors
    assert 5 <= json.loads(saved.read_text())["training"]["step"] < 100_000


def test_a_perplexity_too_large_for_a_double_is_no_error():
    assert train.perplexity(1e4) == math.inf and train.perplexity(0.0) == 1.0


@pytest.mark.parametrize("options", [["--save", "a.json", "--csv", "a.json"], ["--csv", "a.png", "--curve", "a.png"],
                                     ["--csv", "few.txt"]])
def test_two_results_cannot_go_into_one_file(options, few_names, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = few_names.read_bytes()
    assert train.main([str(few_names), "--engine", "scalar", "--steps", "1", *options]) == 2
    assert "choose another" in capsys.readouterr().err
    assert few_names.read_bytes() == before and os.listdir(tmp_path) == ["few.txt"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run of three steps, as saved."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "few.txt").write_text("emma\nava\nmia\nzoe\n", encoding="utf-8")
    options = ["--engine", "scalar", "--steps", 3, "--n-embd", 4, "--samples", 0, "--save", folder / "m.json"]
    run(folder / "few.txt", *options)
    return json.loads((folder / "m.json").read_text())


def with_training(kept, tmp_path, **changed):
    """The path of that checkpoint, something in its run changed."""
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({**kept, "training": {**kept["training"], **changed}}))
    return path


UNSOUND = [("step", 4), ("step", "3"), ("losses", [1.0, 2.0, None]), ("losses", [1.0, 2.0, math.nan]), ("losses", {}),
           ("validation", [None]), ("validation", {}), ("validation", [[1, 2.0, 3.0]]), ("validation", [[1, math.inf]]),
           ("data", "0"), ("optimizer", {"t": 3, "m": [1.0], "v": [1.0]})]


@pytest.mark.parametrize("key, value", UNSOUND)
def test_a_run_that_is_not_whole_is_not_resumed(key, value, kept, tmp_path):
    path = with_training(kept, tmp_path, **{key: value})
    before = path.read_bytes()
    refused("--resume", path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name, value", [("t", 2), ("m", "none")])
def test_an_optimizer_of_another_run_is_not_resumed(name, value, kept, tmp_path):
    refused("--resume", with_training(kept, tmp_path, optimizer={**kept["training"]["optimizer"], name: value}))


@pytest.mark.parametrize("name, value", [("engine", "abacus"), ("schedule", "x"), ("batch", 0), ("batch", "1"),
                                         ("dtype", "x"), ("clip", "nan"), ("threads", 10**9), ("n_embd", 8)])
def test_options_that_cannot_be_are_not_resumed(name, value, kept, tmp_path):
    refused("--resume", with_training(kept, tmp_path, options={**kept["training"]["options"], name: value}))


@pytest.mark.parametrize("value", [None, -1, "x", [], {}, math.inf, math.nan, True, 1e300, "\0", [[1]]])
def test_whatever_stands_in_a_checkpoint_it_is_resumed_or_refused_in_one_line(value, kept, tmp_path):
    training = kept["training"]
    refusals = 0
    for part in (training, training["options"], training["optimizer"]):
        for name in part:
            if part is training:
                changed = {name: value}
            else:
                whole = "options" if part is training["options"] else "optimizer"
                changed = {whole: {**part, name: value}}
            path = with_training(kept, tmp_path, **changed)
            before = path.read_bytes()
            done = run("--resume", path)
            if done.returncode:  # a seed of -1, for example, is sound
                assert_refused(done)
                assert path.read_bytes() == before
                refusals += 1
    assert refusals >= 20


def test_a_resumed_run_writes_only_what_this_command_line_names(few_names, tmp_path, after_step):
    saved, table, other = (tmp_path / name for name in ("m.json", "loss.csv", "other.csv"))
    after_step(2, lambda: signal.raise_signal(signal.SIGINT))
    run(few_names, "--engine", "scalar", "--steps", 4, "--samples", 0, "--save", saved, "--csv", table)
    assert json.loads(saved.read_text())["training"]["step"] == 2
    table.write_text("mine")
    assert run("--resume", saved, "--csv", other).returncode == 0
    assert table.read_text() == "mine" and other.read_text().count("\n") == 5
    assert json.loads(saved.read_text())["training"]["step"] == 4


@pytest.mark.parametrize("option", ["--save", "--csv"])
def test_a_file_of_another_kind_is_only_replaced_with_force(option, few_names, tmp_path):
    path, options = tmp_path / "README.md", [few_names, "--engine", "scalar", "--steps", 1, "--samples", 0]
    path.write_text("# Mine\n")
    assert "--force" in refused(*options, option, path)
    assert path.read_text() == "# Mine\n"
    for more in (["--force"], []):  # the second time it is such a file already
        assert run(*options, option, path, *more).returncode == 0
        assert path.read_text() != "# Mine\n"


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_replaced_by_a_picture_and_nothing_else_is(ending, few_names, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / f"loss.{ending}"
    options = [few_names, "--engine", "scalar", "--steps", 2, "--samples", 0, "--curve", path]
    assert [run(*options).returncode for _ in range(2)] == [0, 0]
    path.write_text('<?xml version="1.0"?><notes>mine</notes>')
    assert "--force" in refused(*options) and "mine" in path.read_text()


def test_a_signal_is_noted_only_where_the_main_thread_can_be_interrupted():
    handler = signal.getsignal(signal.SIGINT)
    with train.noted_interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
        with train.noted_interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert interrupts == [] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)


def test_ctrl_c_ends_the_run_after_the_step_and_works_as_before_afterwards(few_names, tmp_path, after_step):
    saved, handler = tmp_path / "m.json", signal.getsignal(signal.SIGINT)
    after_step(3, lambda: signal.raise_signal(signal.SIGINT))
    done = run(few_names, "--engine", "scalar", "--steps", 9, "--samples", 1, "--save", saved)
    assert done.returncode == 0 and "sample  1: " in done.stdout and "step    4" not in done.stdout
    assert json.loads(saved.read_text())["training"]["step"] == 3
    assert signal.getsignal(signal.SIGINT) is handler


def test_it_runs_in_a_thread(few_names):
    done, options = [], [str(few_names), "--engine", "scalar", "--steps", "2", "--samples", "1"]
    thread = threading.Thread(target=lambda: done.append(run(*options)))
    thread.start()
    thread.join()
    assert done[0].returncode == 0 and done[0].stdout == run(*options).stdout


@each_engine
def test_a_temperature_of_0_takes_the_likeliest_token(engine):
    config = train.GPTConfig(n_embd=8, n_head=2, temperature=0)
    model, weights = trainer(engine, config)
    tokenizer = train.Tokenizer(scalar.VOCABULARY)
    values = {name: [[train.Value(x) for x in row] for row in rows] for name, rows in weights.items()}
    for letter in "aghmz":
        tokens, keys, cached = tokenizer.encode(letter)[:-1], {}, {}
        for position in range(config.block_size):
            logits = train.gpt.gpt_forward(tokens[position], position, keys, cached, values, config)
            if position:
                tokens.append(max(range(len(logits)), key=lambda token: logits[token].data))
                if tokens[-1] == tokenizer.bos:
                    break
        found = {model.generate(tokenizer.encode(letter)[:-1], tokenizer, 0.0, random.Random(seed))
                 for seed in range(3)}
        assert found == {tokenizer.decode(tokens)}
    train.Value.tape.clear()


def test_letters_are_composed_wherever_they_are_read(tmp_path):
    data = tmp_path / "names.txt"
    data.write_text(unicodedata.normalize("NFD", "zoé\nélia\nrené\n"), encoding="utf-8")
    options = ["--engine", "scalar", "--steps", 2, "--samples", 2, "--n-embd", 4]
    for more in ([], ["--blocks", "--block-size", 4]):
        samples = {run(data, *options, *more, "--prompt", prompt).stdout for prompt in ("é", "e\u0301")}
        assert len(samples) == 1 and "é" in samples.pop().split("---")[2]


def test_what_could_act_on_a_terminal_is_escaped_and_running_text_keeps_its_lines(tmp_path):
    data = tmp_path / "text.txt"
    data.write_text("\x1b[2J\n" * 40, encoding="utf-8")
    options = [data, "--engine", "scalar", "--steps", 5, "--samples", 3, "--temperature", 9, "--sample-every", 1]
    names, blocks = run(*options), run(*options, "--blocks", "--block-size", 9)
    for done in (names, blocks):
        assert done.returncode == 0 and "\x1b" not in done.stdout and "\\x1b" in done.stdout
    assert any(line.startswith("    ") for line in blocks.stdout.splitlines()) and "\\n" not in blocks.stdout


@pytest.mark.parametrize("stream", ["closed", "none", "bare"])
def test_it_runs_with_any_standard_output(stream, few_names, tmp_path, monkeypatch):
    saved = tmp_path / "m.json"

    class Bare:  # no fileno, no isatty, no reconfigure
        text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    bare, closed = Bare(), io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", {"closed": closed, "none": None, "bare": bare}[stream])
    code = train.main([str(few_names), "--engine", "scalar", "--steps", "2", "--samples", "1", "--save", str(saved)])
    assert code == 0 and saved.exists() and (stream != "bare" or "sample  1: " in bare.text)


@pytest.mark.parametrize("error, refusal", [(MemoryError(), True), (RuntimeError("CUDA out of memory"), True),
                                            (RuntimeError("[malloc] Unable to allocate 9 bytes."), True),
                                            (RuntimeError("another"), False)])
def test_a_full_memory_is_one_line(error, refusal, few_names, monkeypatch, capsys):
    def step(*arguments):
        raise error

    monkeypatch.setattr(train.ScalarTrainer, "step", step)
    arguments = [str(few_names), "--engine", "scalar", "--steps", "1"]
    if refusal:
        assert train.main(arguments) == 2 and "the memory is full" in capsys.readouterr().err
    else:
        with pytest.raises(RuntimeError, match="another"):
            train.main(arguments)
