"""README.md: what it says about the program is so."""
import doctest
import json
import os
import re
import statistics
import subprocess
import sys

import bench_scalar
import helpers
import pytest

sys.path.insert(0, os.path.join(helpers.ROOT, "levels"))
with open(os.path.join(helpers.ROOT, "README.md"), encoding="utf-8") as file:
    README = file.read()


def test_the_transcript_is_what_the_command_prints(default_run):
    block = re.search(r"```\n(num docs.*?)```", README, re.DOTALL)[1].splitlines()
    assert len(block) == 13 and block.count("...") == 2
    for line in block:
        assert line == "..." or line in default_run, line


def test_the_figures_about_that_run(default_run):
    losses = [float(line.split()[-1]) for line in default_run if line.startswith("step")]
    samples = [line.split(": ")[1] for line in default_run if line.startswith("sample")]
    with open(helpers.NAMES, encoding="ascii") as file:
        known = set(file.read().split())
    old = [sample for sample in samples if sample in known]
    text = " ".join(README.split())
    lecture = " ".join(line.lstrip("│ ") for line in default_run)
    first, last = re.search(r"The first 100 losses average ([\d.]+), the last 100 ([\d.]+)\.", lecture).groups()
    assert float(first) == pytest.approx(statistics.fmean(losses[:100]), abs=1e-4)
    assert float(last) == pytest.approx(statistics.fmean(losses[-100:]), abs=1e-4)
    assert f"the first 100 steps of this run average {first}, the last 100 average {last}." in text
    read = re.search(r"of which this run has read 1 \((\w+)\)", lecture)[1]
    assert f"Only {read} is among the 1,000 names it has read." in text
    assert f"Of the 20 samples {20 - len(old)} are new and {len(old)} stand in the data: {', '.join(old)}." in text


def test_the_table_of_files():
    rows = dict(re.findall(r"^\| `(\w+)\.py` \| (\d+) \|", README, re.MULTILINE))
    assert rows == {name: str(len(helpers.source(name).splitlines())) for name in helpers.SCRIPTS}


def test_the_session_is_true():
    session = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    test = doctest.DocTestParser().get_doctest(session, {}, "README", None, 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted == 5 and result.failed == 0


def test_every_option_it_shows_exists():
    shown = set(re.findall(r"(?<=[ `])--[a-z][a-z-]*", README))
    known = helpers.run("script_gpt_educational", "--help").stdout
    for command in (["-m", "engines.train"], ["-m", "labs.xray"], ["-m", "labs.bugs"], ["-m", "labs.ablation"],
                    ["levels/compare.py"]):
        known += subprocess.run([sys.executable, *command, "--help"], capture_output=True, encoding="utf-8",
                                cwd=helpers.ROOT).stdout
    assert {"--save", "--load", "--pause", "--resume"} <= shown
    others = {"--no-index", "--quiet", "--nproc-per-node"}  # of git, pip and torchrun
    assert [option for option in shown - others if option not in known] == []


def test_links_resolve():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert os.path.exists(os.path.join(helpers.ROOT, target)), target
    for path in re.findall(r"`((?:tests/)?\w+\.(?:py|txt))`", README):
        assert os.path.exists(os.path.join(helpers.ROOT, path)), path


def test_the_picture_is_from_that_run(default_run):
    picture = re.search(r"```\n(│.*?)```", README, re.DOTALL)[1].splitlines()
    assert len(picture) == 8
    first = default_run.index("│ Step 1000 of 1000, looked at closely")
    start = default_run.index(picture[0], first)
    assert default_run[start : start + 8] == picture


def test_what_it_says_about_the_names():
    with open(helpers.NAMES, encoding="ascii") as file:
        lengths = {len(line) for line in file.read().split()}
    assert f"{min(lengths)} to {max(lengths)} letters, one a line" in " ".join(README.split())


def test_the_table_of_speeds_is_what_was_measured():
    """No test can measure the speeds again; but every figure is computed again from the rounds that were kept."""
    with open(os.path.join(helpers.ROOT, "tests", "bench_scalar.json"), encoding="utf-8") as file:
        kept = json.load(file)
    assert len(kept) >= 4 and all(len(own) >= 5 for measured in kept.values()
                                  for own in measured["milliseconds"].values())
    assert "\n" + "\n".join(bench_scalar.readme_table(kept)) + "\n" in README
    peaks = kept["CPython 3.11.7"]["peaks"]
    textbook, *scripts = (f"{peak:.0f}" for peak in peaks.values())
    assert f"at most {', '.join(scripts[:2])} and {scripts[2]} MB, against {textbook} MB" in " ".join(README.split())


def test_the_excerpt_of_the_diff_is_what_the_command_prints():
    command = re.search(r"`(diff -t -y -w -W 112 [^`]*)`", README)[1]
    process = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", cwd=helpers.ROOT)
    excerpt = re.search(r"```\n( *tokens, keys, values = .*?)```", README, re.DOTALL)[1]
    assert [line.rstrip() for line in process.stdout.splitlines()] == excerpt.splitlines() and excerpt.count("\n") > 8


def test_what_it_says_about_the_study_guide():
    with open(os.path.join(helpers.ROOT, "REFACTORING_SUMMARY.md"), encoding="utf-8") as file:
        guide = file.read()
    exercises = guide.split("## 9. Exercises")[1].split("## 10. ")[0]
    of_components = int(re.search(r"at the end of each component, (\d+) in all", exercises)[1])
    asked = re.sub(r"(?s)<details>.*?</details>", "", exercises)
    own = len(re.findall(r"(?m)^(?:\d\. .*[?.]|\*\*\d\.\*\* .*)$", asked))
    assert of_components == len(re.findall(r"\*\*Questions\.\*\* 1\. ", guide)) * 3
    assert f"questions with answers ({of_components + own} in all" in " ".join(README.split())


def test_the_table_of_levels():
    rows = re.findall(r"(?m)^\| `levels/(\w+\.py)` \| (\d+) \|", README)
    files = sorted(name for name in os.listdir(os.path.join(helpers.ROOT, "levels")) if re.match(r"\d_", name))
    assert [name for name, _ in rows] == files
    for name, lines in rows:
        with open(os.path.join(helpers.ROOT, "levels", name), encoding="utf-8") as file:
            assert len(file.read().splitlines()) == int(lines)


def test_what_it_says_the_levels_are_worth():
    """The tables and the drawing are those of levels/compare.json, and the sentence between them is what they say."""
    import compare

    with open(os.path.join(helpers.ROOT, "levels", "compare.json"), encoding="utf-8") as file:
        kept = json.load(file)
    for name in ("names", "repeat"):
        table = compare.table(kept[name]["levels"], kept[name]["vocab_size"])
        assert f"```\n{chr(10).join(table)}\n" in README
    assert f"\n{chr(10).join(compare.drawing(kept['repeat']['levels']))}\n```" in README
    losses = {name: {level: [run["loss"] for run in runs] for level, runs in kept[name]["levels"].items()}
              for name in ("names", "repeat")}
    words = {name: compare.verdict(found["5 attention"], found["4 mlp"])[1] for name, found in losses.items()}
    assert words == {"names": "within the noise", "repeat": "better"}
    assert len(kept["names"]["seeds"]) == 3
    text = " ".join(README.split())
    assert "makes no difference that three seeds could show" in text
    assert compare.verdict(losses["names"]["2 gradient"], losses["names"]["1 count"])[1] == "worse"
    assert "Level 2 has not quite arrived at the counts" in text
    with open(os.path.join(helpers.ROOT, "labs", "ablation.json"), encoding="utf-8") as file:
        tables = json.load(file)["tables"]

    def gap(name, window):
        rows = tables[name]["rows"]
        return statistics.fmean(rows[window]["loss"]) - statistics.fmean(rows["the whole layer"]["loss"])

    assert gap("repeat", "MLP on the last 5") < 0.2 and gap("repeat", "+ MLP, no attention") > 1.5
    assert gap("dial", "MLP on the last 11") > 0.5
    assert "an MLP that is handed five letters would do nearly as well; where only the text says how far" in text


@pytest.mark.skipif(not os.environ.get("ALL_FIGURES"), reason="ALL_FIGURES is not set: levels 1 to 6 are not run")
@pytest.mark.parametrize("number", range(6))
def test_the_kept_figures_of_a_level(number):
    import compare

    with open(os.path.join(helpers.ROOT, "levels", "compare.json"), encoding="utf-8") as file:
        kept = json.load(file)["names"]
    again = compare.run(compare.LEVELS[number], helpers.NAMES, kept["steps"], kept["seeds"][0], kept["n_head"])
    stated = [*kept["levels"].values()][number][0]
    assert again["loss"] == pytest.approx(stated["loss"], abs=0.001) and again["numbers"] == stated["numbers"]
    assert again["curve"] == pytest.approx(stated["curve"], abs=0.001)


def test_the_table_of_engines_agrees_with_itself():
    """The bench measures; here only: the ratio lies between lowest and highest, and is that of the milliseconds."""
    pattern = r"^\| (\w+ float\d\d) \| ([\d.,]+) \| ([\d.,]+) \(([\d.,]+), ([\d.,]+)\) \|"
    rows = re.findall(pattern, README, re.MULTILINE)
    slowest = float(re.search(r"^\| textbook float64 \| ([\d.,]+) \| 1 \|", README, re.MULTILINE)[1])
    assert {row[0].split()[0] for row in rows} == {"scalar", "numpy", "torch", "mlx"}
    for _, *figures in rows:
        milliseconds, ratio, low, high = (float(figure.replace(",", "")) for figure in figures)
        assert low <= ratio <= high
        assert low * 0.8 <= slowest / milliseconds <= high * 1.25


def test_what_it_says_about_precision_is_what_the_tests_of_the_engines_ask():
    sources = {}
    for name in ("numpy", "torch", "mlx"):
        with open(os.path.join(helpers.ROOT, "tests", "engines", f"test_{name}_gpt.py"), encoding="utf-8") as file:
            sources[name] = file.read()
    text = " ".join(README.split())
    assert "to 1e-10 in float64, and within 2e-5 for MLX" in text
    assert "LIMIT = 2e-5" in sources["mlx"]
    assert "< 1e-10" in sources["torch"] and "< 1e-10" in sources["numpy"]
