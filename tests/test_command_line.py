"""The command line: good input, bad input, and being interrupted."""
import json
import os
import signal
import subprocess
import sys
import time

import helpers
import pytest


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A checkpoint to load, and to spoil."""
    path = tmp_path_factory.mktemp("model") / "model.json"
    data = path.parent / "few.txt"
    data.write_text("emma\nava\nmia\n", encoding="utf-8")
    options = ["--steps", 2, "--samples", 0, "--n-embd", 4, "--n-head", 2]
    process = helpers.run("script_gpt", data, *options, "--save", path)
    assert process.returncode == 0
    return path


def refused(script, *arguments):
    """Runs, checks the manner of the refusal, and returns the line."""
    process = helpers.run(script, *arguments)
    assert process.returncode == 2, process.stdout + process.stderr
    assert process.stdout == "" and process.stderr.count("\n") == 1 and process.stderr.startswith("error: ")
    return process.stderr


BAD_OPTIONS = {
    "unknown option": ["--frobnicate"],
    "abbreviated option": ["--step", 3],
    "two files": ["a.txt", "b.txt"],
    "steps not a number": ["--steps", "many"],
    "steps missing": ["--steps"],
    "negative steps": ["--steps", -1],
    "negative samples": ["--samples", -3],
    "temperature zero": ["--temperature", 0],
    "temperature negative": ["--temperature", -0.5],
    "temperature not a number": ["--temperature", "nan"],
    "temperature infinite": ["--temperature", "inf"],
    "learning rate zero": ["--learning-rate", 0],
    "learning rate infinite": ["--learning-rate", "inf"],
    "no layers": ["--n-layer", 0],
    "no width": ["--n-embd", 0],
    "no heads": ["--n-head", 0],
    "no context": ["--block-size", 0],
    "heads that do not divide the width": ["--n-embd", 10, "--n-head", 4],
    "prompt with unknown characters": ["--prompt", "Zoë!"],
    "prompt longer than the context": ["--prompt", "a" * 16],
    "saving into a folder that is not there": ["--save", os.path.join("no", "such", "folder", "model.json")],
    "saving onto a folder": ["--save", "."],
    "saving under no name": ["--save", ""],
    "saving under a name too long": ["--save", "a" * 250],
    "loading no name": ["--load", ""],
    "steps without end": ["--steps", "1" + 400 * "0"],
    "loading a file that is not there": ["--load", "no-such-model.json"],
    "loading a folder": ["--load", "."],
    "loading a text": ["--load", os.path.abspath(__file__)],
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_get_one_line_and_exit_code_2(script, tmp_path, case):
    helpers_run = helpers.run(script, helpers.NAMES, "--steps", 0, "--samples", 0, *BAD_OPTIONS[case], cwd=tmp_path)
    assert helpers_run.returncode == 2, helpers_run.stdout
    assert helpers_run.stdout == "" and helpers_run.stderr.startswith("error: ")
    assert helpers_run.stderr.count("\n") == 1 and "Traceback" not in helpers_run.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("case, content", [
    ("no such file", None), ("empty", b""), ("only empty lines", b"\n  \n\t\n"), ("not UTF-8", b"emma\nol\xffvia\n"),
    ("not text at all", bytes(range(128, 256)))])
def test_bad_data_gets_one_line_and_exit_code_2(script, tmp_path, case, content):
    path = tmp_path / "names with a space.txt"
    if content is not None:
        path.write_bytes(content)
    line = refused(script, path, "--save", tmp_path / "model.json")
    assert "names with a space.txt" in line or "utf-8" in line
    assert not (tmp_path / "model.json").exists()
    assert "error" in refused(script, tmp_path)  # a folder


def spoil(checkpoint, case):
    """A checkpoint with one thing wrong."""
    weights = checkpoint["state_dict"]
    if case == "another format":
        checkpoint["format"] = "something else 1"
    elif case.startswith("without "):
        del checkpoint[case.split()[1]]
    elif case == "a matrix missing":
        del weights["layer0.attn_wq"]
    elif case == "a matrix too many":
        weights["layer1.attn_wq"] = weights["layer0.attn_wq"]
    elif case == "a row too few":
        weights["wte"].pop()
    elif case == "a number too few":
        weights["layer0.mlp_fc2"][0].pop()
    elif case == "a weight NaN":
        weights["wpe"][0][0] = float("nan")
    elif case == "a weight infinite":
        weights["wpe"][0][0] = float("inf")
    elif case == "a weight too large for a double":
        weights["wpe"][0][0] = 10**400
    elif case == "a weight that is true":
        weights["wpe"][0][0] = True
    elif case == "a step too large":
        checkpoint["step"] = 10**400
    elif case == "a character twice":
        checkpoint["vocabulary"] += "a"
        weights["wte"].append(weights["wte"][0])
        weights["lm_head"].append(weights["lm_head"][0])
    elif case == "a weight that is text":
        weights["wpe"][0][0] = "0.5"
    elif case == "a weight that is a list":
        weights["wpe"][0][0] = [0.5]
    elif case == "a matrix that is a number":
        weights["wpe"] = 3
    elif case == "weights that are a list":
        checkpoint["state_dict"] = [1, 2, 3]
    elif case == "a million layers":
        checkpoint["config"]["n_layer"] = 10**9
    elif case == "an enormous width":
        checkpoint["config"]["n_embd"] = 10**9
    elif case == "a width that is a fraction":
        checkpoint["config"]["n_embd"] = 4.0
    elif case == "heads that do not divide":
        checkpoint["config"]["n_head"] = 3
    elif case == "heads none":
        checkpoint["config"]["n_head"] = 0
    elif case == "an unknown size":
        checkpoint["config"]["n_wings"] = 2
    elif case == "config a list":
        checkpoint["config"] = [1, 4, 2, 16]
    elif case == "vocabulary of another length":
        checkpoint["vocabulary"] += "z"
    elif case == "vocabulary a number":
        checkpoint["vocabulary"] = 4
    elif case == "a list":
        return [1, 2, 3]
    return checkpoint


SPOILED = ["a weight that is true", "a step too large", "a character twice", "another format", "without format",
           "without config", "without vocabulary", "without step",
           "without state_dict", "a matrix missing", "a matrix too many", "a row too few", "a number too few",
           "a weight NaN", "a weight infinite", "a weight too large for a double", "a weight that is text",
           "a weight that is a list", "a matrix that is a number", "weights that are a list", "a million layers",
           "an enormous width", "a width that is a fraction", "heads that do not divide", "heads none",
           "an unknown size", "config a list", "vocabulary of another length", "vocabulary a number", "a list"]


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_checkpoint_gets_one_line_and_exit_code_2(script, model, tmp_path, case):
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(spoil(json.loads(model.read_text()), case)))
    refused(script, model.parent / "few.txt", "--load", path, "--save", tmp_path / "model.json")
    assert os.listdir(tmp_path) == ["spoiled.json"]


def test_a_checkpoint_cut_short_gets_one_line_and_exit_code_2(script, model, tmp_path):
    whole = model.read_bytes()
    path = tmp_path / "cut.json"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(script, model.parent / "few.txt", "--load", path)
    path.write_bytes(b"[" * 100_000)
    refused(script, model.parent / "few.txt", "--load", path)
    path.write_bytes(b"\xff\xfe\x00")
    refused(script, model.parent / "few.txt", "--load", path)


def test_a_checkpoint_that_does_not_know_a_character_of_the_data_is_refused(script, model, tmp_path):
    data = tmp_path / "other.txt"
    data.write_text("zoe\n")
    assert "vocabulary" in refused(script, data, "--load", model)


def test_sizes_that_contradict_the_loaded_model_are_refused(script, model):
    few = model.parent / "few.txt"
    for option in (["--n-embd", 16], ["--n-head", 1], ["--n-layer", 2], ["--block-size", 8]):
        refused(script, few, "--load", model, *option)
    for option in (["--n-embd", 4], ["--n-head", 2], ["--n-embd", 4, "--n-head", 2]):
        process = helpers.run(script, few, "--load", model, *option, "--steps", 0, "--samples", 0)
        assert process.returncode == 0  # saying what is so anyway is no contradiction


def test_help_names_every_option(script):
    process = helpers.run(script, "--help")
    assert process.returncode == 0
    for option in ("NAMES", "--steps", "--samples", "--temperature", "--prompt", "--seed", "--n-layer", "--n-embd",
                   "--n-head", "--block-size", "--learning-rate", "--save", "--load"):
        assert option in process.stdout


def test_the_default_data_is_the_names_beside_the_script_from_any_folder(script, tmp_path):
    process = helpers.run(script, "--steps", 0, "--samples", 0, cwd=tmp_path)
    assert helpers.without_lecture(process.stdout).startswith("num docs: 1")


def test_a_byte_order_mark_and_windows_line_ends_are_no_characters(script, tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffab\r\nba\r\n".encode())
    process = helpers.run(script, path, "--steps", 1, "--samples", 1)
    assert helpers.without_lecture(process.stdout).startswith("num docs: 2\nvocab size: 3\n")


def test_a_terminal_that_cannot_show_a_letter_does_not_stop_the_run(script, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("王秀英\n王\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = subprocess.run([sys.executable, os.path.join(helpers.ROOT, f"{script}.py"), str(path), "--steps", "3"],
                             capture_output=True, env=environment, timeout=60)
    assert process.returncode == 0 and process.stderr == b""
    assert process.stdout.isascii()


def test_every_sample_starts_with_the_prompt(script):
    process = helpers.run(script, helpers.NAMES, "--steps", 2, "--samples", 6, "--prompt", "ann")
    samples = [line for line in process.stdout.splitlines() if line.startswith("sample")]
    assert len(samples) == 6 and all(line.split(": ")[1].startswith("ann") for line in samples)
    process = helpers.run(script, helpers.NAMES, "--steps", 1, "--samples", 1, "--prompt", "abcdefghijklmno")
    assert process.returncode == 0  # 15 letters and BOS fill the context of 16, and leave one draw


def test_a_reader_that_goes_away_is_no_error(script):
    command = f'"{sys.executable}" "{helpers.ROOT}/{script}.py" --steps 400 --samples 0 | head -n 4'
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert process.stderr == "" and process.stdout.count("\n") == 4


def start(script, *arguments):
    """A script started in its own process group, read until it trains."""
    command = [sys.executable, os.path.join(helpers.ROOT, f"{script}.py"), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                               env={**os.environ, "PYTHONIOENCODING": "utf-8"}, preexec_fn=interruptible)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step    3 /"):
            return process, lines
    raise AssertionError("".join(lines))


def interruptible():
    """Ctrl-C may be switched off for processes started in the background; the scripts must see it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_stops_training_saves_and_samples(script, few_names, tmp_path):
    saved = tmp_path / "model.json"
    process, lines = start(script, few_names, "--steps", 100_000, "--samples", 2, "--save", saved)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    program_lines = helpers.without_lecture("".join(lines) + rest).splitlines()
    assert process.returncode == 0 and "Traceback" not in errors
    assert program_lines[-3:-2] == ["--- new names ---"] and program_lines[-1].startswith("sample  2: ")
    steps = [line for line in program_lines if line.startswith("step ")]
    assert json.loads(saved.read_text())["step"] == len(steps) == int(steps[-1].split()[1])
    assert helpers.run(script, few_names, "--load", saved, "--steps", 1, "--samples", 0).returncode == 0


def test_killed_while_saving_the_old_file_is_whole(gpt, model, tmp_path):
    """The process dies in the middle of writing: what was there before can still be loaded."""
    path = tmp_path / "model.json"
    path.write_bytes(model.read_bytes())
    few = str(model.parent / "few.txt")
    code = (f"import sys, json, os; sys.path.insert(0, {helpers.ROOT!r}); import {script_name(gpt)} as gpt\n"
            "def dying_dump(checkpoint, file, **options):\n    file.write('{\"format\": '); file.flush(); os._exit(9)\n"
            "gpt.json.dump = dying_dump\n"
            f"gpt.main([{few!r}, '--load', {str(path)!r}, '--steps', '1', '--save', {str(path)!r}])")
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert process.returncode == 9
    assert path.read_bytes() == model.read_bytes()


def script_name(module):
    return os.path.basename(module.__file__)[:-3]


def test_killed_at_any_moment_the_saved_file_is_absent_or_whole(script, few_names, tmp_path):
    path = tmp_path / "model.json"
    for delay in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
        options = ["--steps", "1", "--samples", "0", "--save", str(path)]
        command = [sys.executable, os.path.join(helpers.ROOT, f"{script}.py"), str(few_names), *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        if path.exists():
            assert json.loads(path.read_text())["step"] == 1


def test_a_device_is_not_replaced_by_a_checkpoint(script, few_names):
    if os.path.exists(os.devnull) and not os.path.isfile(os.devnull):
        refused(script, few_names, "--steps", 1, "--save", os.devnull)
        assert not os.path.isfile(os.devnull)


def test_saving_through_a_link_keeps_the_link(script, few_names, tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    assert helpers.run(script, few_names, "--steps", 1, "--samples", 0, "--save", link).returncode == 0
    assert link.is_symlink() and json.loads(target.read_text())["step"] == 1


def test_a_loaded_model_samples_what_it_sampled_when_saved(script, few_names, tmp_path):
    saved = tmp_path / "model.json"
    first = helpers.run(script, few_names, "--steps", 20, "--samples", 8, "--save", saved)
    again = helpers.run(script, few_names, "--steps", 0, "--samples", 8, "--load", saved)
    assert first.stdout.count("sample ") == 8 and first.returncode == again.returncode == 0
    assert [line for line in first.stdout.splitlines() if line.startswith("sample ")] == [
        line for line in again.stdout.splitlines() if line.startswith("sample ")]


def test_memory_does_not_grow_with_the_number_of_steps(script, few_names):
    code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    peaks = []
    for steps in (30, 600):
        command = [sys.executable, os.path.join(helpers.ROOT, f"{script}.py"), str(few_names), "--steps", str(steps),
                   "--n-embd", "8", "--n-head", "2", "--samples", "0"]
        process = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, check=True)
        peaks.append(int(process.stdout))
    assert peaks[1] < 1.2 * peaks[0]


def test_the_model_is_saved_when_the_reader_of_the_output_goes_away(script, few_names, tmp_path):
    saved = tmp_path / "model.json"
    arguments = f'"{few_names}" --steps 100000 --samples 1 --save "{saved}"'
    lines = 1500 if script == "script_gpt_educational" else 20  # the lecture before the second step is long
    command = f'"{sys.executable}" "{helpers.ROOT}/{script}.py" {arguments} | head -n {lines} | grep -c "step    2 /"'
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (process.stdout, process.stderr) == ("1\n", "")
    assert json.loads(saved.read_text())["step"] >= 3


def test_a_model_whose_numbers_overflow_is_refused_and_overwrites_nothing(script, model, tmp_path):
    """Finite weights, but so large that the loss is not."""
    checkpoint = json.loads(model.read_text())
    for matrix in checkpoint["state_dict"].values():
        for row in matrix:
            row[:] = [1e200 * (-1) ** i for i in range(len(row))]
    path = tmp_path / "wild.json"
    path.write_text(json.dumps(checkpoint))
    before = path.read_bytes()
    for steps in (3, 0):
        few = model.parent / "few.txt"
        process = helpers.run(script, few, "--load", path, "--steps", steps, "--samples", 1, "--save", path)
        assert process.returncode == 2 if steps else process.returncode in (0, 2)
        assert process.stderr.count("\n") == process.returncode // 2 and "Traceback" not in process.stderr
    assert json.loads(before) == json.loads(path.read_text())


def test_the_names_are_not_overwritten_by_the_model(script, few_names):
    before = few_names.read_bytes()
    refused(script, few_names, "--steps", 1, "--save", few_names)
    assert few_names.read_bytes() == before


def test_a_script_behind_a_link_finds_its_names(script, tmp_path):
    link = tmp_path / "linked.py"
    link.symlink_to(os.path.join(helpers.ROOT, f"{script}.py"))
    process = subprocess.run([sys.executable, str(link), "--steps", "0", "--samples", "0"], capture_output=True)
    assert (process.returncode, process.stderr) == (0, b"")
