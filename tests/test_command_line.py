"""The command line: good input, bad input, being interrupted, and all the places where people run the scripts.

script_gpt.py, which is there to be read, refuses what people really get wrong, in argparse's words; the other two
refuse all that is here, in one line.
"""
import contextlib
import io
import json
import os
import subprocess
import sys
import threading

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


def refused(script, *arguments, **options):
    """Runs, checks the manner of the refusal, and returns the line."""
    process = helpers.run(script, *arguments, **options)
    assert process.returncode == 2, process.stdout + process.stderr
    assert process.stdout == "" and "Traceback" not in process.stderr
    *usage, line = process.stderr.splitlines()
    if script == "script_gpt":
        assert usage[0].startswith("usage: script_gpt.py") and line.startswith("script_gpt.py: error: ")
    else:
        assert usage == [] and line.startswith("error: ")
    return line


BAD_OPTIONS = {
    "unknown option": ["--frobnicate"],
    "abbreviated option": ["--step", 3],
    "two files": ["a.txt", "b.txt"],
    "steps not a number": ["--steps", "many"],
    "steps missing": ["--steps"],
    "negative steps": ["--steps", -1],
    "negative samples": ["--samples", -3],
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
    "saving onto a folder": ["--save", os.path.dirname(os.path.abspath(__file__))],
    "saving onto this folder": ["--save", "."],
    "saving under no name": ["--save", ""],
    "saving under a name too long": ["--save", "a" * 250],
    "loading no name": ["--load", ""],
    "steps without end": ["--steps", "1" + 400 * "0"],
    "sizes without end": ["--n-embd", 10**8],
    "loading a file that is not there": ["--load", "no-such-model.json"],
    "loading a folder": ["--load", "."],
    "loading a text": ["--load", os.path.abspath(__file__)],
}


BEYOND_THE_MINIMAL = {
    "negative steps", "negative samples", "temperature negative", "temperature not a number",
    "temperature infinite", "learning rate zero", "learning rate infinite", "no layers", "no width", "no context",
    "saving under no name", "saving onto this folder",
    "saving under a name too long", "loading no name", "steps without end", "sizes without end"}


def refuses(module, capsys, *arguments):
    """The same in this process: the one line on standard error."""
    with pytest.raises(SystemExit) as stop:
        module.main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    assert stop.value.code == 2 and output.out == ""
    *usage, line = output.err.splitlines()
    assert bool(usage) is (module.__name__.split("_copy")[0] == "script_gpt"), output.err
    return line


def with_scripts(cases, minimal):
    """Each case for the two larger scripts, and those in `minimal` for script_gpt.py too."""
    return pytest.mark.parametrize("script, case", [
        (name, case) for name in helpers.SCRIPTS for case in cases if name != "script_gpt" or case in minimal],
        indirect=["script"], scope="session")


@with_scripts(BAD_OPTIONS, set(BAD_OPTIONS) - BEYOND_THE_MINIMAL)
def test_bad_options_get_one_line_and_exit_code_2(engine, tmp_path, case, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuses(engine, capsys, helpers.NAMES, "--steps", 0, "--samples", 0, *BAD_OPTIONS[case])
    assert os.listdir(tmp_path) == []


def test_a_refusal_is_the_end_of_the_process(script):
    refused(script, helpers.NAMES, "--frobnicate")


@pytest.mark.parametrize("case, content", [
    ("no such file", None), ("empty", b""), ("only empty lines", b"\n  \n\t\n"), ("not UTF-8", b"emma\nol\xffvia\n"),
    ("not text at all", bytes(range(128, 256)))])
def test_bad_data_gets_one_line_and_exit_code_2(script, tmp_path, case, content):
    path = tmp_path / "names with a space.txt"
    if content is not None:
        path.write_bytes(content)
    line = refused(script, path, "--save", tmp_path / "model.json")
    assert "names with a space.txt" in line or "utf-8" in line or "no names" in line
    assert not (tmp_path / "model.json").exists()
    refused(script, tmp_path)  # a folder


def test_data_without_end_is_refused(gpt, tmp_path, monkeypatch):
    monkeypatch.setattr(gpt, "MOST_CHARACTERS", 1000)
    path = tmp_path / "large.txt"
    path.write_text("anna\n" * 200, encoding="utf-8")
    assert len(gpt.load_dataset(path)) == 200
    path.write_text("anna\n" * 200 + "a", encoding="utf-8")
    with pytest.raises(gpt.InputError, match="more than 1,000 characters"):
        gpt.load_dataset(path)
    if os.path.exists("/dev/zero"):
        with pytest.raises(gpt.InputError, match="more than 1,000 characters"):
            gpt.load_checkpoint("/dev/zero")


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
SPOILED_FOR_ALL = {"without config", "without vocabulary", "without step", "without state_dict", "a matrix missing",
                   "a row too few", "a number too few", "a matrix that is a number",
                   "weights that are a list", "heads that do not divide", "heads none", "config a list",
                   "vocabulary of another length", "vocabulary a number", "a list"}


@with_scripts(SPOILED, SPOILED_FOR_ALL)
def test_a_spoiled_checkpoint_gets_one_line_and_exit_code_2(engine, model, tmp_path, case, capsys):
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(spoil(json.loads(model.read_text()), case)))
    refuses(engine, capsys, model.parent / "few.txt", "--load", path, "--save", tmp_path / "model.json")
    assert os.listdir(tmp_path) == ["spoiled.json"]


def test_a_checkpoint_cut_short_gets_one_line_and_exit_code_2(engine, model, tmp_path, capsys):
    whole = model.read_bytes()
    path = tmp_path / "cut.json"
    for content in (*(whole[:length] for length in (0, 1, 100, len(whole) // 2, len(whole) - 1)),
                    b"[" * 100_000, b"\xff\xfe\x00"):
        path.write_bytes(content)
        refuses(engine, capsys, model.parent / "few.txt", "--load", path)


def test_a_checkpoint_that_does_not_know_a_character_of_the_data_is_refused(script, model, tmp_path):
    data = tmp_path / "other.txt"
    data.write_text("zoe\n")
    assert "vocabulary" in refused(script, data, "--load", model) or script == "script_gpt"


def test_sizes_that_contradict_the_loaded_model_are_refused(gpt, model, capsys):
    few = model.parent / "few.txt"
    for option in (["--n-embd", 16], ["--n-head", 1], ["--n-layer", 2], ["--block-size", 8]):
        refuses(gpt, capsys, few, "--load", model, *option)
    for option in (["--n-embd", 4], ["--n-head", 2], ["--n-embd", 4, "--n-head", 2]):
        helpers.transcript(gpt, few, "--load", model, *option, "--steps", 0, "--samples", 0)  # no contradiction


def test_a_loaded_model_keeps_its_sizes_whatever_the_minimal_script_is_told(model):
    process = helpers.run("script_gpt", model.parent / "few.txt", "--load", model, "--n-embd", 16, "--steps", 0)
    assert process.returncode == 0 and "num params: 304\n" in process.stdout


def test_help_names_every_option(script):
    process = helpers.run(script, "--help")
    assert process.returncode == 0
    assert "NAMES" in process.stdout or script == "script_gpt" and "names" in process.stdout
    for option in ("--steps", "--samples", "--temperature", "--prompt", "--seed", "--n-layer", "--n-embd",
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


@pytest.mark.parametrize("name", helpers.SCRIPTS[1:])
def test_a_terminal_that_cannot_show_a_letter_does_not_stop_the_run(name, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("王秀英\n王\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = subprocess.run([sys.executable, os.path.join(helpers.ROOT, f"{name}.py"), str(path), "--steps", "3"],
                             capture_output=True, env=environment, timeout=60)
    assert process.returncode == 0 and process.stderr == b""
    assert process.stdout.isascii()


def test_every_sample_starts_with_the_prompt(script):
    process = helpers.run(script, helpers.NAMES, "--steps", 2, "--samples", 6, "--prompt", "ann")
    samples = [line for line in process.stdout.splitlines() if line.startswith("sample")]
    assert len(samples) == 6 and all(line.split(": ")[1].startswith("ann") for line in samples)
    process = helpers.run(script, helpers.NAMES, "--steps", 1, "--samples", 1, "--prompt", "abcdefghijklmno")
    assert process.returncode == 0  # 15 letters and BOS fill the context of 16, and leave one draw


@pytest.mark.parametrize("name", helpers.SCRIPTS[1:])
def test_a_reader_that_goes_away_is_no_error(name):
    command = f'"{sys.executable}" "{helpers.ROOT}/{name}.py" --steps 400 --samples 0 | head -n 4'
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert process.stderr == "" and process.stdout.count("\n") == 4


def in_a_process(script, code):
    """Python code in a process of its own, with the script imported as gpt. Returns the finished process."""
    code = f"import os, sys, signal; sys.path.insert(0, {helpers.ROOT!r}); import {script} as gpt\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8"})


def test_ctrl_c_stops_training_saves_and_samples(script, few_names, tmp_path):
    """The signal comes when step 3 has been printed."""
    saved = tmp_path / "model.json"
    arguments = [str(few_names), "--steps", "100000", "--samples", "2", "--save", str(saved)]
    process = in_a_process(script, f"""
def print_and_interrupt(*words, **options):
    print(*words, **options)
    if str(words[:1]).startswith("('step    3"):
        signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
gpt.print = print_and_interrupt
gpt.main({arguments!r})""")
    lines = helpers.without_lecture(process.stdout).splitlines()
    assert (process.returncode, process.stderr) == (0, "")
    assert [line[:10] for line in lines[3:]] == ["step    1 ", "step    2 ", "step    3 ", "--- new na", "sample  1:",
                                                "sample  2:"]
    assert json.loads(saved.read_text())["step"] == 3
    assert helpers.run(script, few_names, "--load", saved, "--steps", 1, "--samples", 0).returncode == 0


@pytest.mark.parametrize("moment", ["write_text", "replace"])
def test_killed_while_saving_the_old_file_is_whole(script, model, tmp_path, moment):
    """The process dies in the middle of writing, or before the new file is put in place of the old one."""
    path = tmp_path / "model.json"
    path.write_bytes(model.read_bytes())
    arguments = [str(model.parent / "few.txt"), "--load", str(path), "--steps", "1", "--save", str(path)]
    process = in_a_process(script, f"""
def die(path, *arguments):
    with open(path, "a") as file:
        file.write('{{"format": ')
    os._exit(9)
gpt.Path.{moment} = die
gpt.main({arguments!r})""")
    assert process.returncode == 9, process.stderr
    assert path.read_bytes() == model.read_bytes()


def test_a_save_that_fails_leaves_nothing_behind(gpt, model, tmp_path, capsys, monkeypatch):
    path = tmp_path / "model.json"
    path.write_bytes(model.read_bytes())

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gpt.Path, "replace", full)
    with pytest.raises(SystemExit) as stop:
        gpt.main([str(model.parent / "few.txt"), "--load", str(path), "--steps", "1", "--save", str(path)])
    assert stop.value.code == 2 and "No space left" in capsys.readouterr().err
    assert path.read_bytes() == model.read_bytes() and os.listdir(tmp_path) == ["model.json"]


def test_what_is_not_a_checkpoint_is_not_replaced_by_one(script, few_names, tmp_path, model):
    for name, content in (("README.md", b"# A readme\n"), ("data.json", b'{"rows": [1, 2]}'), ("empty", b""),
                          ("picture.png", bytes(range(256)))):
        path = tmp_path / name
        path.write_bytes(content)
        refused(script, few_names, "--steps", 1, "--save", path)
        assert path.read_bytes() == content
    refused(script, few_names, "--steps", 1, "--save", few_names)
    path = tmp_path / "model.json"
    path.write_bytes(model.read_bytes())
    assert helpers.run(script, few_names, "--steps", 1, "--samples", 0, "--save", path).returncode == 0
    assert json.loads(path.read_text())["step"] == 1


def test_a_device_is_not_replaced_by_a_checkpoint(script, few_names):
    if os.path.exists(os.devnull) and not os.path.isfile(os.devnull):
        refused(script, few_names, "--steps", 1, "--save", os.devnull)
        assert not os.path.isfile(os.devnull)


def test_a_loaded_checkpoint_chooses_no_file_to_write(script, model, tmp_path):
    """Whatever its config says: somebody else's checkpoint may be loaded without fear."""
    victim, path = tmp_path / "victim.json", tmp_path / "model.json"
    victim.write_text("precious")
    checkpoint = json.loads(model.read_text())
    checkpoint["config"].update(save=str(victim), names=str(victim))
    path.write_text(json.dumps(checkpoint))
    helpers.run(script, model.parent / "few.txt", "--load", path, "--steps", 1, "--samples", 0)
    assert victim.read_text() == "precious" and sorted(os.listdir(tmp_path)) == ["model.json", "victim.json"]


@pytest.mark.parametrize("name", helpers.SCRIPTS[1:])
def test_saving_through_a_link_keeps_the_link(name, few_names, tmp_path, model):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_bytes(model.read_bytes())
    link.symlink_to(target)
    assert helpers.run(name, few_names, "--steps", 1, "--samples", 0, "--save", link).returncode == 0
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
    for steps in (20, 200):
        command = [sys.executable, os.path.join(helpers.ROOT, f"{script}.py"), str(few_names), "--steps", str(steps),
                   "--n-embd", "8", "--n-head", "2", "--samples", "0"]
        process = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, check=True)
        peaks.append(int(process.stdout))
    assert peaks[1] < 1.2 * peaks[0]


def test_the_model_is_saved_when_the_reader_of_the_output_goes_away(gpt, few_names, tmp_path):
    saved = tmp_path / "model.json"
    process = in_a_process(os.path.basename(gpt.__file__)[:-3], f"""
def print_until_step_3(*words, **options):
    if str(words[:1]).startswith("('step    3"):
        raise BrokenPipeError
    print(*words, **options)
gpt.print = print_until_step_3
gpt.main([{str(few_names)!r}, "--steps", "100000", "--samples", "1", "--save", {str(saved)!r}])""")
    assert (process.returncode, process.stderr) == (0, "")
    assert "step    2 /" in process.stdout and "sample" not in helpers.without_lecture(process.stdout)
    assert json.loads(saved.read_text())["step"] == 3


def test_a_model_whose_numbers_overflow_is_refused_and_overwrites_nothing(script, model, tmp_path):
    """Finite weights, but so large that the loss is not."""
    checkpoint = json.loads(model.read_text())
    for matrix in checkpoint["state_dict"].values():
        for row in matrix:
            row[:] = [1e200 * (-1) ** i for i in range(len(row))]
    path = tmp_path / "wild.json"
    path.write_text(json.dumps(checkpoint))
    few, before = model.parent / "few.txt", path.read_bytes()
    for steps in (3, 0):
        process = helpers.run(script, few, "--load", path, "--steps", steps, "--samples", 1, "--save", path)
        if script != "script_gpt":
            assert process.returncode == 2 if steps else process.returncode in (0, 2)
            assert process.stderr.count("\n") == process.returncode // 2 and "Traceback" not in process.stderr
        assert path.read_bytes() == before or json.loads(before) == json.loads(path.read_text())


# ---- Where people run it ---------------------------------------------------------------------------------------------

OPTIONS = ["--steps", "3", "--samples", "2"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A small data file, and what the program prints on it with OPTIONS."""
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("emma\nolivia\nava\nnoah\n", encoding="utf-8")
    return path, helpers.run("script_gpt", path, *OPTIONS).stdout


def test_in_a_thread(engine, expected):
    path, lines = expected
    printed = []
    thread = threading.Thread(target=lambda: printed.append(helpers.transcript(engine, path, *OPTIONS)))
    thread.start()
    thread.join()
    assert helpers.without_lecture(printed[0]) == lines


def test_pasted_where_there_is_no_file_and_the_arguments_are_somebody_elses(script, tmp_path, expected, monkeypatch):
    """As in the cell of a notebook: the text alone, run as __main__; names.txt is looked for in the current folder."""
    (tmp_path / "names.txt").write_bytes(expected[0].read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    text = helpers.source(script)
    for option, value in (("1000", "3"), ("20", "2")):  # fewer steps and samples, whose options nobody can give
        for name in ("steps", "samples"):
            text = text.replace(f'"--{name}": {option}', f'"--{name}": {value}')
            text = text.replace(f"num_{name}: int = {option}", f"num_{name}: int = {value}")
    namespace = {"__name__": "__main__"}
    module = type(sys)("__main__")
    namespace = module.__dict__
    monkeypatch.setitem(sys.modules, "__main__", module)  # dataclasses look their module up
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(text, "<cell>", "exec"), namespace)
        namespace["main"]([])
    printed = helpers.without_lecture(output.getvalue())
    assert printed == 2 * expected[1]


class Window(io.StringIO):
    """What IDLE and some notebooks put in the place of standard output: it says it is a terminal, and is no file."""

    def isatty(self):
        return True


def test_in_a_window_that_says_it_is_a_terminal(engine, expected, monkeypatch):
    window = Window()
    monkeypatch.setattr(sys, "stdout", window)
    engine.main([str(expected[0]), *OPTIONS])
    monkeypatch.undo()
    assert helpers.without_lecture(window.getvalue()) == expected[1]


def test_with_a_closed_output_the_model_is_saved(script, expected, tmp_path):
    saved = tmp_path / "model.json"
    arguments = f'"{expected[0]}" --steps 2 --samples 1 --save "{saved}"'
    command = f'"{sys.executable}" "{helpers.ROOT}/{script}.py" {arguments} >&-'
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(saved.read_text())["step"] == 2


def test_letters_are_composed_on_reading_and_control_characters_are_shown_as_escapes(script, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("zoe\u0308\nzoe\u0308\n", encoding="utf-8")  # an e, and two dots to be put on it
    process = helpers.run(script, path, "--steps", 1, "--samples", 1, "--prompt", "zo\u00eb")  # typed as one letter
    assert process.returncode == 0 and "vocab size: 4\n" in process.stdout and "sample  1: zoë" in process.stdout
    path.write_bytes(b"a\x1b[2Jb\n" * 3)
    process = helpers.run(script, path, "--steps", 1, "--samples", 1, "--prompt", "a\x1b[2J")
    assert process.returncode == 0 and "\x1b" not in process.stdout and "a\\x1b[2J" in process.stdout


def test_a_script_behind_a_link_finds_its_names(script, tmp_path):
    link = tmp_path / "linked.py"
    link.symlink_to(os.path.join(helpers.ROOT, f"{script}.py"))
    process = subprocess.run([sys.executable, str(link), "--steps", "0", "--samples", "0"], capture_output=True)
    assert (process.returncode, process.stderr) == (0, b"")
