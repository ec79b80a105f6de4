"""The lecture: every figure it states is computed again here, and what it draws can be read anywhere."""
import concurrent.futures
import fcntl
import gc
import inspect
import os
import pty
import random
import re
import select
import signal
import statistics
import subprocess
import sys
import termios
import time

import helpers
import pytest

NUMBER = r"(?<![\w.])\d+\.\d+(?![\w.]*\d)"


@pytest.fixture(scope="module")
def lecture_text():
    """The educational transcript of a short run that has every part in it."""
    process = helpers.run("script_gpt_educational", "--steps", 60, "--samples", 4)
    assert process.returncode == 0 and process.stderr == ""
    return process.stdout


def docstrings():
    module = helpers.load("script_gpt_educational")
    owners = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    owners += [member for owner in owners if isinstance(owner, type) for member in vars(owner).values()]
    return {owner.__qualname__: inspect.cleandoc(owner.__doc__) for owner in owners if getattr(owner, "__doc__", None)
            and "LECTURE:" in owner.__doc__}


def trained(config, patch=(), watched=()):
    """The losses of a run on names.txt, what is needed to sample from it, and the median move at the watched steps."""
    gpt = helpers.load("script_gpt_refactored", *patch)
    config = gpt.GPTConfig(**config)
    docs = gpt.load_dataset(helpers.NAMES)
    rng = random.Random(config.seed)
    rng.shuffle(docs)
    tokenizer = gpt.Tokenizer("".join(sorted(set("".join(docs)))))
    state_dict = gpt.initialize_parameters(config, tokenizer.vocab_size, rng)
    adam = gpt.AdamOptimizer(state_dict, config)
    gc.disable()
    losses, moves = [], []
    for step in range(config.num_steps):
        rate = config.learning_rate * (1 - step / config.num_steps)
        before = [p.data for p in adam.parameters] if step + 1 in watched else []
        losses.append(gpt.train_step(tokenizer.encode(docs[step % len(docs)]), state_dict, adam, rate, config))
        if before:
            moves.append(statistics.median(abs(p.data - old) / rate for p, old in zip(adam.parameters, before)))
    gc.enable()
    return gpt, losses, tokenizer, state_dict, rng, moves


def mean_of_the_last_100(settings, patch=()):
    return f"{statistics.fmean(trained(settings, patch)[1][-100:]):.2f}"


def default_run(temperatures):
    """Of the default run: the mean of the last 100 losses, how many of 20 samples differ, how far parameters move."""
    gpt, losses, tokenizer, state_dict, rng, moves = trained({}, watched=(1, 100, 500))
    state, counts = rng.getstate(), []
    for temperature in temperatures:
        rng.setstate(state)
        config = gpt.GPTConfig(temperature=temperature)
        names = {gpt.generate_text([tokenizer.bos], state_dict, tokenizer, config, rng) for _ in range(20)}
        counts.append(str(len(names)))
    return f"{statistics.fmean(losses[-100:]):.2f}", counts, [f"{move:.2f}" for move in moves]


def figures_from_training():
    """What the lectures say: (setting, value) -> mean loss; temperature -> names of 20; median moves; three roots."""
    adam, attention = (" ".join(docstrings()[name].split()) for name in ("AdamOptimizer", "gpt_forward"))
    moves = re.search(r"moves ([\d.]+) times the learning rate at step 1, ([\d.]+) times at step 100, ([\d.]+) times",
                      adam).groups()
    roots = re.search(r"average ([\d.]+) with it, ([\d.]+) without any division, ([\d.]+) with", attention).groups()
    text = " ".join(docstrings()["GPTConfig"].split())
    stated = {(name, value): figure for name, value, figure in
              re.findall(r"(\w+)=([\d.]+)(?: \([^)]*\))? gives (\d\.\d\d)", text)}
    stated["defaults", ""] = re.search(r"With the defaults the figure is (\d\.\d\d)", text)[1]
    seeds = re.search(r"Three other seeds give (\d\.\d\d), (\d\.\d\d) and (\d\.\d\d)", text)
    for seed in (1, 2, 3):
        stated["seed", str(seed)] = seeds[seed]
    colder = re.findall(r"at temperature=([\d.]+)(?: hold)? (\d+)", text)
    inputs = {"0.01", "0.85", "0.08", "0.99", "0.95", "0.02"}
    rest = set(re.findall(r"\b\d\.\d\d\b", text)) - set(stated.values()) - inputs
    assert (len(stated), len(colder), rest) == (22, 3, set()), "every figure must be in one of the forms above"
    return stated, colder, moves, roots


def settings(name, value):
    config = {"num_steps": 300}
    if name != "defaults":
        config[name] = float(value) if "." in value else int(value)
    return config


def test_a_figure_that_comes_from_training():
    stated, _, _, _ = figures_from_training()
    assert mean_of_the_last_100(settings("n_head", "1")) == stated["n_head", "1"]


@pytest.mark.skipif(not os.environ.get("ALL_FIGURES"), reason="ALL_FIGURES is not set: one of the lectures' training "
                                                              "runs is repeated, and not all 26")
def test_every_figure_that_comes_from_training():
    stated, colder, moves, roots = figures_from_training()
    scale = " / head_dim**0.5 for"
    patches = [(), (scale, " for"), (scale, " / head_dim for")]
    stated_for_default_run = stated.pop(("num_steps", "1000"))
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        default = pool.submit(default_run, [float(temperature) for temperature, _ in colder])
        found = pool.map(mean_of_the_last_100, [settings(name, value) for name, value in stated])
        assert dict(zip(stated, found)) == stated
        assert default.result() == (stated_for_default_run, [count for _, count in colder], list(moves))
        assert tuple(pool.map(mean_of_the_last_100, [{"num_steps": 300}] * 3, patches)) == roots


def test_every_decimal_figure_of_the_other_lectures_stands_in_a_session_that_is_run():
    for name, text in docstrings().items():
        if name == "GPTConfig":
            continue
        sessions, prose, in_session = "", "", False
        for line in text.split("LECTURE:", 1)[1].splitlines():
            in_session = line.strip().startswith(">>>") or in_session and line.strip() != ""
            if in_session:
                sessions += line + "\n"
            else:
                prose += line + "\n"
        by_the_test_above = {"AdamOptimizer": {"1.00", "0.17", "0.10"}, "gpt_forward": {"2.52"}}
        checked = by_the_test_above.get(name, set())
        allowed = {"0.08", "0.5", "1.0", "2.1", "2.6", "12.5", "3.536"}  # defaults, inputs, and what is checked below
        assert set(re.findall(NUMBER, prose)) <= set(re.findall(NUMBER, sessions)) | allowed | checked, name
    assert round(12.5**0.5, 3) == 3.536 and (9 + 16) / 2 == 12.5


def test_ten_lectures_in_four_levels():
    titles = []
    for text in docstrings().values():
        for lecture in text.split("LECTURE: ")[1:]:
            titles.append(lecture.splitlines()[0])
            if titles[-1] != "Hyperparameters":
                for level in ("WHAT.", "WHY.", "HOW.", "DEEPER."):
                    assert f"\n{level} " in lecture, (titles[-1], level)
    assert len(titles) >= 11


def test_the_run_tells_every_lecture_once_and_asks_at_least_15_questions(lecture_text):
    for text in docstrings().values():
        for lecture in text.split("LECTURE: ")[1:]:
            assert lecture_text.count(f"│ {lecture.splitlines()[0]}\n│ ─") == 1
    assert lecture_text.count("PAUSE AND THINK: ") == lecture_text.count("ANSWER: ") >= 15
    assert lecture_text.index("PAUSE AND THINK") < lecture_text.index("ANSWER: ")


def test_the_narrated_steps(lecture_text):
    found = re.findall(r"│ Step (\d+) of 60, looked at closely", lecture_text)
    assert found == ["1", "2", "50", "60"]


def test_what_the_run_states_is_so(lecture_text):
    """The figures of step 1 against the model itself."""
    gpt = helpers.load("script_gpt_refactored")
    docs = gpt.load_dataset(helpers.NAMES)
    rng = random.Random(42)
    rng.shuffle(docs)
    tokenizer = gpt.Tokenizer("".join(sorted(set("".join(docs)))))
    config = gpt.GPTConfig()
    state_dict = gpt.initialize_parameters(config, tokenizer.vocab_size, rng)
    tokens = tokenizer.encode(docs[0])
    loss = gpt.compute_loss(tokens, state_dict, config)
    text = " ".join(line.lstrip("│ ") for line in lecture_text.splitlines())
    nodes, edges = len(gpt.Value.tape), sum(len(node.children) for node in gpt.Value.tape)
    assert f"The tape holds {nodes:,} computed Values, joined to what they were computed from by {edges:,} edges." in (
        text)
    loss.backward()
    weights = [weight for matrix in state_dict.values() for row in matrix for weight in row]
    without = sum(weight.grad == 0.0 for weight in weights)
    unread = 16 * (27 - len(set(tokens[:-1])))
    unused = 16 * (16 - len(tokens) + 1)
    assert f"{without:,} of 4,192 parameters got no gradient at all" in text
    assert f"{unread:,} stand in the rows of wte" in text and f"{unused:,} in the rows of wpe" in text
    silent = without - unread - unused
    assert (f"{silent:,} lead to or from neurons whose relu was silent" in text) is (silent > 0)
    assert f"the mean of that column: {loss.data:.4f} nats" in text
    samples = re.findall(r"^sample +\d+: (.*)$", lecture_text, re.MULTILINE)
    new = [sample for sample in samples if sample not in set(docs)]
    assert f"Of 4 samples {len(new)} are new, {4 - len(new)} stand in the data" in text
    read = [sample for sample in samples if sample in docs[:60]]
    assert f", of which this run has read {len(read)}" in text


def test_attention_rows_sum_to_100(lecture_text):
    rows = re.findall(r"(?<= )\d+ [a-z^] ((?:[ ░▒▓█][ \d]{2}\d)+)", lecture_text)
    assert len(rows) > 4 * 4 * 5
    for row in rows:
        figures = [int(figure) for figure in re.findall(r"\d+", row)]
        assert 100 - len(figures) <= sum(figures) <= 100 + len(figures)


def test_a_terminal_without_unicode_gets_plain_ascii(few_names):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, os.path.join(helpers.ROOT, "script_gpt_educational.py"), str(few_names), "--steps", "3"]
    process = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert process.returncode == 0 and process.stdout.isascii()
    lines = process.stdout.decode().splitlines()
    assert all(line.startswith(("|", "num ", "vocab ", "step ", "sample ", "---")) for line in lines)


def own_terminal():
    """In the child: make the pseudo-terminal its own, so that a typed Ctrl-C becomes a signal."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def in_a_terminal(arguments, typed, wait_for, script="script_gpt_educational"):
    """Runs a script on a pseudo-terminal, types one thing after each prompt (the last again and again).

    Returns what the screen received, how many prompts were answered, and the exit code.
    """
    master, slave = pty.openpty()
    command = [sys.executable, os.path.join(helpers.ROOT, f"{script}.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True,
                               preexec_fn=own_terminal)
    os.close(slave)
    received, answered, deadline = b"", 0, time.time() + 60
    while time.time() < deadline:
        ready, _, _ = select.select([master], [], [], 0.5)
        if ready:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            received += part
        while received.count(wait_for) > answered:
            os.write(master, typed[min(answered, len(typed) - 1)])
            answered += 1
        if process.poll() is not None and not ready:
            break
    process.wait(timeout=10)
    os.close(master)
    return received.decode(), answered, process.returncode


def test_pause_waits_for_a_guess_at_each_question(few_names):
    options = ["--steps", 2, "--samples", 1, "--pause"]
    text, answered, code = in_a_terminal([few_names, *options], [b"a guess\n"], b"Enter: ")
    assert code == 0
    assert text.count("Your guess") == text.count("PAUSE AND THINK: ") >= 15
    assert answered > text.count("Your guess"), "it also waits before each new heading"
    assert text.index("Your guess") < text.index("ANSWER: ")


def test_on_a_terminal_the_step_line_is_rewritten_in_place(script, few_names):
    text, _, code = in_a_terminal([few_names, "--steps", 20, "--samples", 1], [b""], b"never asked", script)
    assert code == 0 and "Your guess" not in text
    if script == "script_gpt":
        assert re.search(r"\rstep    7 /   20 \| loss \d\.\d{4}\rstep    8 /   20 \| ", text)
        assert re.search(r"\rstep   20 /   20 \| loss \d\.\d{4}\r\r?\n--- new names ---\r\n", text)
    else:
        assert re.search(r"\rstep   20 /   20 \| loss \d\.\d{4} \| \[#{20}\] +\d+ s, +0 s left", text)
        assert re.search(r"\rstep    7 /   20 \| [^\n]*\rstep    8 /   20 \| ", text), "no new line between steps"


def test_a_long_document_fills_no_screen(tmp_path):
    """Of one line of 100,000 characters, what is read is told, and no more."""
    path = tmp_path / "long.txt"
    path.write_text("ab" * 50_000 + "\nba\n", encoding="utf-8")
    text = helpers.run("script_gpt_educational", path, "--steps", 2, "--samples", 1).stdout
    lines = [line for line in text.splitlines() if ">>>" not in line]  # Python sessions are not folded
    assert len(lines) < 1000 and max(map(len, lines)) <= 100


def test_waits_before_training_are_not_taken_off_the_time_left(few_names, monkeypatch):
    """The clock stands still but for a pause of 1,000 seconds before training, and one second for each step."""
    gpt = helpers.load("script_gpt_educational")
    clock = [0.0]
    monkeypatch.setattr(gpt, "time", type("Clock", (), {"perf_counter": staticmethod(lambda: clock[0])}))
    gpt.lecture.begin = lambda options, config: (type(gpt.lecture).begin(gpt.lecture, options, config),
                                                 setattr(gpt.lecture, "waited", 1000.0))
    real = gpt.train_step
    monkeypatch.setattr(gpt, "train_step", lambda *args: (clock.__setitem__(0, clock[0] + 1.0), real(*args))[1])
    text = helpers.transcript(gpt, few_names, "--steps", 60, "--samples", 0)
    text = " ".join(line.lstrip("│ ") for line in text.splitlines())
    assert re.findall(r"(-?\d+) s left", text) == ["59", "58", "10", "0"]
    assert "after step 1: its loss " in text and "after step 2: mean of the last 2 losses" in text


def test_ctrl_c_at_a_question_stops_the_training(few_names, tmp_path):
    saved = tmp_path / "model.json"
    text, _, code = in_a_terminal([few_names, "--steps", 3000, "--samples", 1, "--save", saved, "--pause"],
                                  [b"\n"] * 8 + [b"\x03"], b"Enter: ")
    assert code == 0 and "KeyboardInterrupt" not in text and saved.exists()
    assert "sample  1: " in text and "step    2 /" not in text


@pytest.mark.parametrize("options", [["--learning-rate", 100], ["--n-embd", 4, "--n-head", 1, "--block-size", 1],
                                     ["--temperature", 1e-9], ["--seed", -5]])
def test_the_lecture_survives_extremes(tmp_path, few_names, options):
    process = helpers.run("script_gpt_educational", few_names, "--steps", 5, "--samples", 2, *options)
    assert (process.returncode, process.stderr) == (0, "")


def test_without_docstrings_the_program_runs_without_lectures(few_names):
    script = os.path.join(helpers.ROOT, "script_gpt_educational.py")
    process = subprocess.run([sys.executable, "-OO", script, str(few_names), "--steps", "3"], capture_output=True)
    assert (process.returncode, process.stderr) == (0, b"")


def test_the_shares_of_the_parameters_that_the_lectures_state():
    gpt = helpers.load("script_gpt_refactored")
    sizes = {name: len(rows) * len(rows[0])
             for name, rows in gpt.initialize_parameters(gpt.GPTConfig(), 27, random.Random(0)).items()}
    total = sum(sizes.values())
    mlp = sum(size for name, size in sizes.items() if "mlp" in name)
    linear, model = (" ".join(docstrings()[name].split()) for name in ("linear", "gpt_forward"))
    assert f"About half of this model's parameters, {mlp:,} of {total:,}, stand in the MLP." in model
    assert f"Of the {total:,} parameters {total - sizes['wte'] - sizes['wpe']:,} are such weights" in linear
