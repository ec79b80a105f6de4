"""The bug library and the doctor. What takes long (all bugs, all mutants) runs with ALL_FIGURES=1 only."""
import concurrent.futures
import contextlib
import io
import itertools
import os
import random
import re
import subprocess
import sys

import helpers
import minimal_bugs
import own_bugs
import pytest

from labs.bugs import (
    apart,
    checks,
    doctor,
    drawing,
    library,
    measure,
    mutants,
    patient,
    planting,
    quiz,
    ranking,
    report,
    showing,
    training,
)
from labs.bugs.__main__ import main
from script_gpt_refactored import InputError

HERE = os.path.dirname(os.path.abspath(__file__))
ALL = bool(os.environ.get("ALL_FIGURES"))
with open(os.path.join(helpers.ROOT, "README.md"), encoding="utf-8") as file:
    README = " ".join(file.read().split())
BY_NAME = {bug.name: bug for bug in library.BUGS}
MEASURED = ranking.load_measured()
CASES = [
    checks.Case(),
    checks.Case(n_layer=1, n_embd=6, n_head=3, block_size=4, seed=7, docs=("ab", "ba", "abc", "c", "cab", "bac")),
    checks.Case(n_layer=3, n_embd=4, n_head=1, block_size=9, seed=3, docs=("zoë", "Ανα", "李王", "o'neil", "a b")),
    checks.Case(n_layer=1, n_embd=16, n_head=4, block_size=16, seed=42),
]
few_cases = CASES if ALL else CASES[1:3]


def few(things, count, seed=0):
    """Some of them, and all in CI."""
    things = list(things)
    return things if ALL else random.Random(seed).sample(things, count)


def pool():  # of as many processes as there are processors
    return concurrent.futures.ProcessPoolExecutor(os.cpu_count())


def run(*arguments, **options):
    """The lab in a process of its own."""
    command = [sys.executable, "-m", "labs.bugs", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **options.pop("environment", {})}
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=helpers.ROOT, env=environment, **options)


def examine(text, path, adapter):
    """All checks on a program, in this process: what was found, and the names of the checks that could be made."""
    results = []
    with contextlib.redirect_stderr(io.StringIO()):
        for name in checks.CHECKS:
            healthy, ill = patient.the_healthy(), patient.connect(text, path, adapter)
            results.append(checks.make_check(name, ill, healthy, checks.Case()))
    return ranking.signature(results), [result.check for result in results if result.compared]


# ======================================================================================================================
# The library
# ======================================================================================================================


def test_the_readme_counts_the_bugs_and_the_checks():
    assert f"There are {len(library.BUGS)} of them here" in README
    assert f"The doctor makes {len(checks.CHECKS)} checks" in README


def test_the_diagnosis_in_the_readme_is_the_doctors(capsys, tmp_path):
    text = helpers.source("script_gpt")
    assert text.count("child.grad +=") == 1
    (tmp_path / "my_gpt.py").write_text(text.replace("child.grad +=", "child.grad ="), encoding="utf-8")
    _, output, _ = diagnosis(capsys, tmp_path / "my_gpt.py")
    with open(os.path.join(helpers.ROOT, "README.md"), encoding="utf-8") as file:
        shown = re.search(r"```\n(  loading  .*?)```", file.read(), re.DOTALL)[1]
    for part in shown.split("  ...\n"):
        assert part.strip("\n") in output


def test_there_are_at_least_thirty_bugs_each_with_a_name_of_its_own():
    assert len(BY_NAME) == len(library.BUGS) >= 30


@pytest.mark.parametrize("bug", library.BUGS, ids=lambda bug: bug.name)
def test_a_bug_is_a_patch_of_one_to_three_lines_that_applies_once(bug):
    healthy = patient.healthy_text()
    assert healthy.count(bug.right) == 1
    patch = planting.patch_of(bug)
    assert 1 <= max(len(patch.right), len(patch.wrong)) <= 3
    assert healthy.splitlines()[patch.line - 1 : patch.line - 1 + len(patch.right)] == patch.right
    assert patch.wrong != patch.right
    rebuilt = healthy.splitlines()
    rebuilt[patch.line - 1 : patch.line - 1 + len(patch.right)] = patch.wrong
    assert rebuilt == planting.plant(bug).splitlines()


@pytest.mark.parametrize("bug", library.BUGS, ids=lambda bug: bug.name)
def test_a_bug_says_what_is_wrong_why_and_how_to_find_it(bug):
    assert bug.group in library.GROUPS and bug.title and not bug.title.endswith(".")
    assert len(bug.why) > 60 and len(bug.find) > 20 and bug.why[-1] == "." and bug.find[-1] in ".?"


def test_a_patch_that_no_longer_fits_is_an_error_with_the_bugs_name():
    bug = library.Bug("old", "t", "data", "no such text", "x", "w", "f")
    with pytest.raises(InputError, match="'old' does not fit"):
        planting.plant(bug)


@pytest.mark.parametrize("words, name", [
    ("scores-not-divided", "scores not divided"), ("NO relu", "no relu"), ("a missing", "a missing +="),
    ("uphill", "uphill")])
def test_a_bug_is_found_by_part_of_its_name(words, name):
    assert planting.find_bug(words).name == name


@pytest.mark.parametrize("words, message", [
    ("cache", "may be 4 bugs"), ("uphil1", "did you mean 'uphill'"), ("zzz", "there is no bug"), (" ", "no bug")])
def test_a_name_that_fits_none_or_several_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        planting.find_bug(words)


# ======================================================================================================================
# The checks
# ======================================================================================================================


@pytest.mark.parametrize("case", few_cases, ids=lambda case: f"{case.n_layer} layers, {case.n_head} heads")
def test_the_healthy_program_passes_every_check(case):
    results = measure.examine(patient.healthy_text(), case)
    assert [result.check for result in results] == list(checks.CHECKS)
    assert [finding for result in results for finding in result.findings] == []
    assert all(result.compared and not result.absent for result in results)


def test_every_bug_fails_at_least_one_check():
    assert list(MEASURED["bugs"]) == list(BY_NAME)
    assert [name for name, found in MEASURED["bugs"].items() if not found] == []


def test_every_check_finds_a_bug():
    assert {check for found in MEASURED["bugs"].values() for check in found} == set(checks.CHECKS)


def test_the_measurement_is_of_this_program_these_bugs_and_these_checks():
    assert MEASURED["digest"] == measure.digest(), "run python -m labs.bugs measure"


def test_what_was_measured_is_measured_again():
    """Some bugs, and all in CI: the same checks fail, as often, with the same numbers."""
    bugs = few(library.BUGS, 2)
    with pool() as workers:
        for bug, found in zip(bugs, workers.map(measure.measure_text, map(planting.plant, bugs))):
            known = MEASURED["bugs"][bug.name]
            assert list(found) == list(known), bug.name
            for check, findings in found.items():
                assert findings["count"] == known[check]["count"], (bug.name, check)
                assert ranking.likeness(findings, known[check]) == pytest.approx(1.0), (bug.name, check)


def test_the_healthy_program_is_the_one_that_was_measured():
    assert measure.golden_lines() == MEASURED["golden"]
    with pytest.raises(InputError, match="not as it was"):
        measure.check_golden([*MEASURED["golden"][:-1], "sample  3: zzz"])


def test_the_table_says_what_was_measured():
    lines = showing.table_lines(MEASURED["bugs"])
    assert max(map(len, lines)) < 80
    rows = [re.fullmatch(r"(.+?) {2,}([X.]{20})  +(\d+)", line) for line in lines]
    rows = {row[1]: (row[2], int(row[3])) for row in rows if row}
    assert list(rows) == list(BY_NAME)
    for name, (marks, count) in rows.items():
        failing = [check for check, mark in zip(checks.CHECKS, marks) if mark == "X"]
        assert set(failing) == set(MEASURED["bugs"][name]) and len(failing) == count


@pytest.mark.parametrize("got, expected, found", [
    (1.0, 1.0 + 1e-9, None), (1.0, 1.001, ("", 1.0, 1.001)), (float("nan"), float("nan"), "any"),
    ([1.0, 2.0], [1.0, 3.0], ("[1]", 2.0, 3.0)), ([1.0], [1.0, 2.0], (" length", 1, 2)),
    ({"a": [1.0]}, {"a": [2.0]}, ("[a][0]", 1.0, 2.0)), ({}, {"a": 1.0}, ("[a]", "missing", "there")),
    ("emma", "emma", None), (0.5, checks.Range(0.0, 1.0), None), (2.0, checks.Range(0.0, 1.0), ("", 2.0, "0 to 1")),
    (None, 1.0, ("", None, 1.0)), (True, True, None)])
def test_the_first_difference_between_two_answers(got, expected, found):
    answer = checks.difference(got, expected)
    assert answer == found or found == "any" and answer is not None


# ======================================================================================================================
# Which bug is it?
# ======================================================================================================================


def first_of(found, made):
    return ranking.rank(found, made, MEASURED["bugs"])[0][0]


def test_every_bug_of_the_library_is_ranked_first_by_what_was_measured_of_it():
    assert [name for name, found in MEASURED["bugs"].items() if first_of(found, list(checks.CHECKS)) != name] == []


def test_the_probabilities_sum_to_one_and_fall():
    ranked = ranking.rank(MEASURED["bugs"]["no relu"], list(checks.CHECKS), MEASURED["bugs"])
    assert sum(probability for _, probability in ranked) == pytest.approx(1.0)
    assert [probability for _, probability in ranked] == sorted((p for _, p in ranked), reverse=True)
    assert len(ranked) == len(BY_NAME) + 1


def test_findings_like_none_of_the_library_are_another_mistake():
    odd = {check: {"count": 1, "first": [["something else", 1.0]]} for check in ("tokens", "softmax", "sampling")}
    assert first_of(odd, list(checks.CHECKS)) == ranking.ANOTHER


def planted(file, patches):
    """Each bug that can be planted in this file, by name, with the text of the ill program."""
    text = helpers.source(file) if file == "script_gpt" else patient_text(file)
    return {name: text.replace(right, wrong) for name, (right, wrong) in patches.items() if text.count(right) == 1}


def patient_text(file):
    with open(os.path.join(HERE, f"{file}.py"), encoding="utf-8") as opened:
        return opened.read()


def share_ranked_first(texts, path, adapter):
    """Of the ill programs, how many have their bug first, and which do not."""
    with pool() as workers:
        jobs = [workers.submit(examine, text, path, adapter) for text in texts.values()]
        missed = [name for name, job in zip(texts, jobs) if first_of(*job.result()) != name]
    return len(texts) - len(missed), missed


def test_the_bugs_planted_in_script_gpt_are_recognised():
    patches = {bug.name: minimal_bugs.PATCHES.get(bug.name, (bug.right, bug.wrong)) for bug in library.BUGS}
    texts = planted("script_gpt", patches)
    assert list(texts) == list(BY_NAME)
    some = {name: texts[name] for name in few(texts, 2)}
    path = os.path.join(helpers.ROOT, "script_gpt.py")
    first, missed = share_ranked_first(some, path, patient.adapter_text("minimal"))
    assert missed == []
    assert not ALL or f"names {first} of {len(some)} first" in README


@pytest.mark.skipif(not ALL, reason="ALL_FIGURES is not set: no bug is planted in a GPT of one's own")
def test_the_bugs_planted_in_a_gpt_of_ones_own_are_recognised():
    texts = planted("own_gpt", own_bugs.PATCHES)
    assert set(texts) == set(own_bugs.PATCHES) and len(texts) == 19
    first, missed = share_ranked_first(texts, os.path.join(HERE, "own_gpt.py"), patient.adapter_text("template"))
    # dot is made of * there, so this mistake reaches further than in the program that was measured; it comes second.
    assert missed == ["slopes of * swapped"] and f"in a GPT of another make, {first} of {len(texts)}." in README


# ======================================================================================================================
# Mutants
# ======================================================================================================================


def test_mutants_are_many_and_differ_from_the_healthy_program_and_each_other():
    every = mutants.all_mutants()
    assert len({mutant.text for mutant in every} | {patient.healthy_text()}) == len(every) + 1 > 400
    assert mutants.some_mutants(10, 1) == mutants.some_mutants(10, 1) != mutants.some_mutants(10, 2)


def test_what_is_said_to_be_equivalent_is_a_mutant():
    after = [mutants.unparsed_alike(mutant.after) for mutant in mutants.all_mutants()]
    assert all(any(piece in text for text in after) for piece in mutants.EQUIVALENT)


def test_mutants_are_caught():
    """A few, and a hundred in CI: each fails a check, or is known to compute the same."""
    some = mutants.some_mutants(100 if ALL else 4, seed=1)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        caught = list(workers.map(mutants.is_caught, some))
    missed = [mutant.after for mutant, check in zip(some, caught) if not check and not mutants.why_equivalent(mutant)]
    assert missed == []
    assert sum(map(bool, caught)) > 0.9 * len(some)


# ======================================================================================================================
# The doctor
# ======================================================================================================================


def diagnosis(capsys, path, *options):
    code = main(["diagnose", str(path), *map(str, options)])
    output = capsys.readouterr()
    assert max(map(len, output.out.splitlines()), default=0) < 80
    return code, output.out, output.err


@pytest.mark.parametrize("script", helpers.SCRIPTS if ALL else helpers.SCRIPTS[:1])
def test_the_doctor_finds_nothing_wrong_with_a_healthy_script(capsys, tmp_path, script):
    copy = tmp_path / "my_gpt.py"
    copy.write_text(helpers.source(script), encoding="utf-8")
    code, output, _ = diagnosis(capsys, copy)
    assert code == 0 and "FAILS" not in output and "Nothing differs" in output and "Not made" not in output


def test_the_doctor_names_the_first_number_both_values_the_bug_and_the_place(capsys, tmp_path):
    ill = tmp_path / "mine.py"
    bug = BY_NAME["scores not divided"]
    ill.write_text(helpers.source("script_gpt").replace(bug.right, bug.wrong), encoding="utf-8")
    code, output, _ = diagnosis(capsys, ill)
    assert code == 1
    assert re.search(r"The first number that differs\n  check     logits\n"
                     r"  question  MLP switched off, position 1\[0\]\n"
                     r"  answer    -?[\d.]+\n  should be -?[\d.]+\n", output)
    assert re.search(r"\n\n  (over )?99\.\d %: scores not divided:", output)
    line = next(i for i, text in enumerate(ill.read_text().splitlines(), 1) if bug.wrong in text)
    assert f"line {line} of mine.py" in output and "show 'scores not divided'" in output


BAD_PROGRAMS = {
    # what it does: (text to replace, text in its place, what is said of it)
    "never ends": ("    minus_total = ", "    while x[0].data == 5.0: pass\n    minus_total = ",
                   "no end within 1 seconds"),
    "exits": ("    loss.backward()\n    optimizer", "    sys.exit(3)\n    optimizer", "SystemExit: 3"),
    "ends the process": ("    loss.backward()\n    optimizer", "    os._exit(3)\n    optimizer", "exit code 3"),
    "speaks for the doctor": ("    minus_total = ", "    os.write(1, b'nonsense')\n    minus_total = ",
                              "Nothing differs"),
    "prints when imported": ("from dataclasses", "print('hello')\nfrom dataclasses", "answer    hello"),
    "reads when imported": ("from dataclasses", "input('your name? ')\nfrom dataclasses", "EOFError"),
    "fails when imported": ("from dataclasses", "1 / 0\nfrom dataclasses", "ZeroDivisionError"),
    "exits when imported": ("from dataclasses", "raise SystemExit\nfrom dataclasses", "SystemExit"),
    "never ends when imported": ("from dataclasses", "while True: pass\nfrom dataclasses", "no end within 1 seconds"),
    "is not Python": ("from dataclasses", "def def\nfrom dataclasses", "it is not Python"),
    "draws without the seed": ("rng.choices(", "random.choices(", "drawn without the seed"),
    "recurses for ever": ("    minus_total = ", "    softmax(x)\n    minus_total = ", "RecursionError"),
    "takes all memory": ("    minus_total = ", "    x = [0] * 10**13\n    minus_total = ", "MemoryError"),
}


SOON_SAID = ["never ends", "ends the process", "speaks for the doctor", "exits when imported", "is not Python"]


@pytest.mark.parametrize("what", BAD_PROGRAMS if ALL else SOON_SAID)
def test_whatever_the_program_does_is_a_finding_and_not_the_end_of_the_doctor(capsys, tmp_path, what):
    old, new, said = BAD_PROGRAMS[what]
    text = patient.healthy_text()
    assert text.count(old) == 1
    ill = tmp_path / "ill.py"
    ill.write_text(text.replace(old, new), encoding="utf-8")
    limit = ["--limit", 1] if "no end" in said else []
    code, output, errors = diagnosis(capsys, ill, *limit)
    assert said in output and errors == ""
    assert code == int("FAILS" in output) == int(said != "Nothing differs")
    if "imported" not in what and said != "it is not Python":
        lines = [line for line in output.splitlines() if re.match(r"  .{14} (passes|FAILS)", line)]
        assert [line[2:16].strip() for line in lines] == apart.CHECK_NAMES, "whatever happens in one, all are made"


def test_hardly_an_examination_is_not_a_clean_bill_of_health(capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def train_step(): pass\ndef encode_prompt(): pass\n", encoding="utf-8")
    code, output, _ = diagnosis(capsys, tmp_path / "mine.py")
    assert code == 1 and "hardly an examination" in output


def test_gradients_may_be_cleared_before_backward_as_well_as_after_the_update(capsys, tmp_path):
    text = helpers.source("script_gpt_refactored")
    for right, other in (("            parameter.grad = 0.0\n", ""),
                         ("    loss.backward()\n    optimizer", "    for parameter in optimizer.parameters:\n"
                          "        parameter.grad = 0.0\n    loss.backward()\n    optimizer")):
        assert text.count(right) == 1
        text = text.replace(right, other)
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    code, output, _ = diagnosis(capsys, tmp_path / "mine.py")
    assert code == 0 and "Nothing differs" in output


def test_what_explains_no_failure_is_no_candidate():
    found = {"sampling": MEASURED["bugs"]["a name never ends"]["sampling"]}
    candidates = {name for name, _ in ranking.rank(found, list(checks.CHECKS), MEASURED["bugs"])}
    assert "sampling at position 0" in candidates and "vocabulary not sorted" not in candidates
    assert ranking.rank({"loading": {}}, [], MEASURED["bugs"]) == [(ranking.ANOTHER, 1.0)]


def test_what_is_not_typed_yet_is_left_out(capsys, tmp_path):
    half = tmp_path / "half.py"
    text = patient.healthy_text()
    half.write_text(text[: text.index("# Model\n")], encoding="utf-8")
    code, output, _ = diagnosis(capsys, half)
    assert code == 0 and "Not made: first loss, causality" in output and "gradients      not made" in output


def test_the_adapter_that_is_written_fits_a_gpt_with_the_names_it_guesses(capsys, tmp_path):
    mine = tmp_path / "own_gpt.py"
    mine.write_text(patient_text("own_gpt"), encoding="utf-8")
    code, _, errors = diagnosis(capsys, mine)
    assert code == 2 and "has other names" in errors and "adapter" in errors
    assert main(["adapter", str(mine)]) == 0
    assert "own_gpt_adapter.py is written" in capsys.readouterr().out.replace("\n", "")
    assert main(["adapter", str(mine)]) == 2
    assert "exists" in capsys.readouterr().err
    code, output, _ = diagnosis(capsys, mine)
    assert code == 0 and "through own_gpt_adapter.py" in output and "Not made: whole program" in output


def test_an_adapter_may_be_as_short_as_the_program_allows():
    """No reset, no step: the first is then nothing, the second is put together."""
    adapter = patient.adapter_text("template")
    start, stop = adapter.index("def reset"), adapter.index("def value")
    short = adapter[:start] + adapter[stop : adapter.index("def train")]
    found = patient.connect(patient_text("own_gpt"), os.path.join(HERE, "own_gpt.py"), short)
    results = {name: checks.make_check(name, found, patient.the_healthy(), checks.Case())
               for name in ("logits", "steps", "sampling")}
    assert results["logits"].compared and results["steps"].compared and not results["sampling"].compared
    assert not any(result.findings for result in results.values())


def test_a_file_that_trains_as_it_is_run_is_cut_where_the_adapter_says(tmp_path):
    text = patient_text("own_gpt") + "for step in range(10**9):\n    pass\n"
    adapter = patient.adapter_text("template").replace('STOP_BEFORE = ""', 'STOP_BEFORE = "for step in"')
    found = patient.connect(text, str(tmp_path / "mine.py"), adapter)
    assert found.mine.encode("ab")[1:3] == [0, 1]


# ======================================================================================================================
# What is shown
# ======================================================================================================================


def test_the_list_names_every_bug(capsys):
    assert main([]) == 0
    output = capsys.readouterr().out
    assert all(f"\n  {name}: " in output for name in BY_NAME) and f"{len(BY_NAME)} bugs" in output


def test_show_has_both_lines_the_reason_and_the_way_to_find_it(capsys):
    assert main(["show", "scores", "not", "divided"]) == 0
    output = capsys.readouterr().out
    assert "softmax([score / head_dim**0.5 for score in scores])" in output and "softmax(scores)" in output
    assert "Why it happens" in output and "How to find it" in output and "logits, loss" in output


def test_run_trains_both_and_says_whether_training_works(capsys, few_names):
    assert main(["run", "uphill", "--steps", "12", "--names", str(few_names)]) == 0
    output = capsys.readouterr().out
    assert re.search(r"\n +1 +(\d\.\d{4}) +\1\n", output), "the first losses are equal"
    assert "samples: healthy" in output and "moves with a steady gradient" in output and "No, it gets worse" in output
    assert max(map(len, output.splitlines())) < 80


def test_run_draws_in_plain_ascii_where_nothing_else_can_be_shown(few_names):
    plain = run("run", "no", "relu", "--steps", 3, "--names", few_names, environment={"PYTHONIOENCODING": "ascii"})
    assert plain.returncode == 0 and plain.stdout.isascii() and "o healthy   x ill" in plain.stdout


def course(*losses, error="", judged=None):
    return training.Course(list(losses), [], error, judged)


@pytest.mark.parametrize("ill, said", [
    (course(3.3, 2.5, 2.0, 2.0), "Yes, and the loss does not show it"),
    (course(3.3, 2.5, 2.3, 2.3), "It learns, but worse"),
    (course(3.3, 3.2, 3.2, 3.2), "No, it hardly learns"),
    (course(3.3, 4.0, 5.0, 9.0), "No, it gets worse"),
    (course(3.3, 2.5, 2.0, 2.0, judged=2.2), "It learns, but worse, and its own loss does not show it"),
    (course(4.7, 3.6, 2.9, 2.9, judged=2.1), "Yes: what it predicts"),
    (course(3.3, 1.0, 0.1, 0.1, judged=9.0), "No, it gets worse"),
    (course(3.3, 1.0, 0.1, 0.1, judged=9.0), "Its own losses say another thing"),
    (course(3.3, 3.0, error="OverflowError: x"), "It stops after 2 steps. Then it fails: OverflowError: x"),
    (course(error="ValueError: y"), "It does not even begin: ValueError: y")])
def test_whether_training_still_works(ill, said):
    assert said in training.verdict(course(3.3, 2.5, 2.0, 2.0, judged=2.1), ill)


def test_what_was_learned_is_judged_alike_however_the_program_counts(few_names):
    arguments = [str(few_names), "--steps=8", "--samples=1"]
    healthy = training.healthy_course(tuple(arguments))
    for name in ("logarithm to base 2", "mean taken twice"):  # Adam does not care how long the gradients are
        ill = training.course_of(planting.plant(BY_NAME[name]), arguments)
        assert ill.judged == pytest.approx(healthy.judged, abs=0.02)
        assert abs(ill.losses[0] - healthy.losses[0]) > 0.5


def test_a_chart_of_two_curves():
    lines = drawing.chart([4.0, 3.0, 2.0], [4.0, 4.0, 40.0], drawing.PLAIN).splitlines()
    assert lines[0].endswith("mean of the last 1 step")
    assert lines[1] == "   6.00 |  x" and lines[12] == "   2.00 |  o"
    assert [line[9:] for line in lines[2:12] if line[9:]] == ["*x", " o"]


def test_a_probability_is_never_certain():
    assert [drawing.share(p) for p in (1.0, 0.5, 0.0)] == ["over 99.9 %", "50.0 %", "under 0.1 %"]


# ======================================================================================================================
# The quiz
# ======================================================================================================================


def answers(monkeypatch, *lines):
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def play(few_names, rounds=1):
    assert main(["quiz", "--questions", str(rounds), "--seed", "3", "--steps", "3", "--names", str(few_names)]) == 0


def place_of_the_answer(seed, rounds=1):
    """The number of the right choice in the first question of this seed."""
    rng = random.Random(seed)
    bug = rng.sample(library.BUGS, rounds)[0]
    return quiz.choices_for(bug, rng).index(bug) + 1


def test_the_right_answer_at_once_has_all_points(monkeypatch, capsys, few_names):
    answers(monkeypatch, place_of_the_answer(3))
    play(few_names)
    output = capsys.readouterr().out
    assert "Right: 3 points" in output and "The end: 3 of 3 points in 1 question." in output
    assert output.index("samples: healthy") < output.index("What is wrong?") < output.index("It was")


def test_a_hint_and_a_wrong_answer_cost_a_point_each(monkeypatch, capsys, few_names):
    right = place_of_the_answer(3)
    answers(monkeypatch, "h", "nonsense", right % quiz.CHOICES + 1, right)
    play(few_names)
    output = capsys.readouterr().out
    assert "It sits in the part" in output and "That is none of them" in output and "figure that is off" in output
    assert "The end: 1 of 3 points" in output


def test_the_line_is_shown_at_last(monkeypatch, capsys, few_names):
    answers(monkeypatch, "s")
    play(few_names)
    output = capsys.readouterr().out
    assert "It was" in output and "wrong   " in output and "The end: 0 of 3 points" in output


def test_the_quiz_ends_with_its_input(monkeypatch, capsys, few_names):
    answers(monkeypatch, "h")
    play(few_names, rounds=2)
    assert "The end: 0 of 0 points in 0 questions." in capsys.readouterr().out


def test_the_quiz_ends_where_there_is_no_input_at_all(few_names):
    command = f"{sys.executable} -m labs.bugs quiz --steps 3 --names {few_names} <&-"
    ended = subprocess.run(["bash", "-c", command], cwd=helpers.ROOT, capture_output=True, encoding="utf-8")
    assert ended.returncode == 0 and "Traceback" not in ended.stderr and "The end: 0 of 0" in ended.stdout


def test_the_choices_hold_the_answer_once():
    for seed, bug in itertools.product(range(3), library.BUGS):
        choices = [choice.name for choice in quiz.choices_for(bug, random.Random(seed))]
        assert len(set(choices)) == quiz.CHOICES and choices.count(bug.name) == 1


# ======================================================================================================================
# The report, and bad input
# ======================================================================================================================


def test_the_report_has_every_bug_with_its_figures(monkeypatch, capsys, tmp_path, few_names):
    bugs = [BY_NAME["uphill"], BY_NAME["no relu"]]
    monkeypatch.setattr(report, "BUGS", bugs)
    page = tmp_path / "bugs.md"
    assert main(["report", str(page), "--steps", "4", "--names", str(few_names)]) == 0
    text = page.read_text(encoding="utf-8")
    for bug in bugs:
        section = text.split(f"### {bug.name}\n")[1].split("\n### ")[0]
        healthy, ill = training.both_courses(bug, training.arguments_of(bug, 4, 42, str(few_names)))
        assert f"| first loss | {healthy.losses[0]:.4f} | {ill.losses[0]:.4f} |" in section
        assert f"| {training.last_mean(healthy.losses):.4f} | {training.last_mean(ill.losses):.4f} |" in section
        assert all(f"\n-{line}\n" in section for line in planting.patch_of(bug).right)
        assert bug.why in section and bug.find in section and "**The first figure that is off.**" in section
    assert "  T  whole program" in text and os.listdir(tmp_path).count("bugs.md") == 1
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def test_a_report_takes_the_place_of_nothing_but_a_report_unless_forced(monkeypatch, capsys, tmp_path, few_names):
    monkeypatch.setattr(report, "BUGS", [])
    page = tmp_path / "bugs.md"
    arguments = ["report", str(page), "--names", str(few_names)]
    assert main(arguments) == 0
    text = page.read_text(encoding="utf-8")
    page.write_text(text + "An old one.\n", encoding="utf-8")
    assert main(arguments) == 0 and page.read_text(encoding="utf-8") == text
    page.write_text("# My own notes\n", encoding="utf-8")
    assert main(arguments) == 2 and page.read_text(encoding="utf-8") == "# My own notes\n"
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0 and page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("arguments, said", [
    (["nonsense"], "invalid choice"), (["show"], "required"), (["show", "nothing like it"], "there is no bug"),
    (["run", "uphill", "--steps", "0"], "must be from 1"), (["run", "uphill", "--steps", "x"], "invalid int"),
    (["run", "uphill", "--names", "no/such"], "cannot read no/such"), (["quiz", "--questions", "0"], "must be from 1"),
    (["report", "no/such/place.md"], "cannot write"), (["report", "."], "not an ordinary file"),
    (["report", helpers.NAMES], "holds the names"), (["report", __file__], "holds something else"),
    (["diagnose", "no/such.py"], "cannot read"),
    (["diagnose", "."], "cannot read"), (["diagnose", os.path.join(HERE, "own_gpt.py")], "has other names"),
    (["diagnose", helpers.NAMES, "--limit", "nan"], "must be from"), (["adapter", "no/such.py"], "cannot read"),
    (["diagnose", os.path.join(HERE, "own_gpt.py"), "--adapter", helpers.NAMES], "is not Python"),
    (["diagnose", os.path.join(HERE, "own_gpt.py"), "--adapter", "no/such.py"], "cannot read")])
def test_bad_input_gets_one_line_and_exit_code_2(capsys, arguments, said):
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and re.fullmatch(r"error: [^\n]+\n", output.err) and said in output.err


def test_the_lab_runs_as_a_module_and_survives_a_reader_that_leaves():
    process = subprocess.Popen([sys.executable, "-m", "labs.bugs"], cwd=helpers.ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0
    process.stderr.close()


def test_the_doctor_knows_a_place_to_look_for_each_check():
    assert list(doctor.PLACES) == apart.CHECK_NAMES
