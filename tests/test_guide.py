"""The study guide is true: its sessions run, its arithmetic is evaluated, its code is the code, its figures hold."""
import ast
import concurrent.futures
import doctest
import gc
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import textwrap

import guide
import helpers
import pytest
import test_lecture
import test_planted_bugs

with open(guide.PATH, encoding="utf-8") as file:
    GUIDE = file.read()
SECTIONS = guide.sections(GUIDE)
COMPONENTS = [title for title in SECTIONS if re.match(r"2\.(?!0 |15 )\d+ ", title)]
# Sentences and tables whose figures a test below computes again; each must stand in the guide, once.
HELD = {
    "test_the_table_of_the_three_versions": r"(?m)^\| (?:lines|of these|functions|classes|Mermaid|lectures|calls).*$",
    "test_the_table_of_mistakes": r"(?m)^\| [^|`\n]+ \| \d+\.\d{4} \| .*$|end within 0\.04 of the right program",
    "test_the_table_of_losses": r"(?m)^\| [\d,]+ to [\d,]+ \| .*$",
    "test_the_samples_that_stand_in_the_data": r"Of the 20 samples of the default run, 3 stand in names\.txt: .*\.",
    "test_one_head_and_four": r"`python3 script_gpt_educational\.py --steps 300 .* hundred steps\.",
    "test_the_formula_for_the_number_of_parameters": r"(?m)^\| parameters \| .*$",
}


def facts():
    """Numbers any section may name without a session: sizes and constants of the default model, and of the data."""
    gpt = helpers.load("script_gpt_refactored")
    config = gpt.GPTConfig()
    docs = gpt.load_dataset(helpers.NAMES)
    vocab_size = len(set("".join(docs))) + 1
    shapes = gpt.parameter_shapes(config, vocab_size).values()
    numbers = [value for value in vars(config).values()] + [config.head_dim, 4 * config.n_embd, vocab_size,
                                                            vocab_size - 1, len(docs)]
    return {guide.plain(repr(number)) for number in [*numbers, sum(a * b for a, b in shapes)]} | {"0", "1", "2"}


FACTS = facts()


def unheld(section):
    """The figures of a section that stand neither in a session, arithmetic or code of it, nor in a sentence of HELD."""
    shown = set(FACTS)
    for info, content in guide.fences(section):
        if info.startswith(("python", "text", "sh")):
            shown.update(guide.numerals(content))
    for pattern in HELD.values():
        section = re.sub(pattern, "", section)
    words = guide.numerals(re.sub(guide.MATH, "", guide.prose(section)))
    formulas = [n for formula in re.findall(guide.MATH, section) for n in guide.numerals(formula)]
    formulas = [n for n in formulas if "." in n or len(n) > 1]  # an exponent or a half is no figure
    return [n for n in words + formulas if n not in shown]


def sessions(section):
    return "\n".join(content for info, content in guide.fences(section) if content.startswith(">>> "))


def arithmetic(text):
    return [line for info, content in guide.fences(text) if info == "text" for line in content.splitlines()]


def false_equations(lines):
    """The lines in which two sides of a sign do not agree; ≈ allows for rounding in the last decimal shown."""
    wrong = []
    for line in lines:
        sides, signs = guide.chain(line), re.findall("[=≈]", line.split("  ", 1)[-1])
        for left, right, sign in zip(sides, sides[1:], signs[-len(sides) + 1:]):
            exact, decimals = sign == "=", len(right.strip().partition(".")[2])
            a, b = guide.evaluate(left), guide.evaluate(right)
            if not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15 if exact else 0.5001 * 10**-decimals):
                wrong.append(line)
    return wrong


@pytest.mark.parametrize("title", [title for title in SECTIONS if sessions(SECTIONS[title])])
def test_the_sessions_of(title, monkeypatch):
    monkeypatch.chdir(helpers.ROOT)
    test = doctest.DocTestParser().get_doctest(sessions(SECTIONS[title]), {}, title, guide.PATH, 0)
    written = sum(line.startswith(">>> ") for line in SECTIONS[title].splitlines())
    gc.disable()
    result = doctest.DocTestRunner().run(test)
    gc.enable()
    assert (result.attempted, result.failed) == (written, 0)


def test_every_line_of_arithmetic():
    lines = arithmetic(GUIDE)
    assert len(lines) > 100 and all(re.search("[=≈]", line) for line in lines)
    assert false_equations(lines) == []


def test_no_figure_stands_outside_a_session_arithmetic_code_or_a_sentence_that_is_computed():
    assert {title: unheld(section) for title, section in SECTIONS.items()
            if unheld(section) and title != "8.2 Sources"} == {}
    for name, pattern in HELD.items():
        assert name in globals() and re.search(pattern, GUIDE), name


def test_a_changed_figure_is_noticed():
    """Each figure of two decimals or more with one digit more, each result of arithmetic with another last digit."""
    noticed = {}
    for title, section in SECTIONS.items():
        for figure in re.findall(r"(?<![\w.])\d+\.\d{2,}(?![\w.])", guide.prose(section)):
            if title != "8.2 Sources":
                noticed[title, figure] = figure + "7" in unheld(f"{section}\n{figure}7")
    for line in arithmetic(GUIDE):
        changed = re.sub(r"\d$", lambda digit: str((int(digit[0]) + 4) % 10), line)
        noticed[line] = false_equations([changed]) != []
    assert len(noticed) > 110 and [figure for figure, found in noticed.items() if not found] == []


def test_every_snippet_is_the_code_in_the_file():
    named = []
    for info, content in guide.fences(GUIDE):
        if info.startswith("python "):
            spec = info[len("python "):]
            named.append(spec)
            if spec.endswith(" (part)"):
                whole = guide.snippet(spec[: -len(" (part)")])
                assert any(textwrap.indent(content, indent) in whole for indent in ("", " " * 4, " " * 8)), spec
                assert content.count("\n") > 3
            else:
                assert content == guide.snippet(spec), spec
    assert {"Tokenizer", "Value", "dot", "linear", "logsumexp", "softmax", "rmsnorm", "initialize_parameters",
            "gpt_forward", "compute_loss", "Value.backward", "AdamOptimizer", "train_step",
            "generate_text"} <= set(named)
    assert sum(spec.startswith("script_gpt.py ") for spec in named) >= 5
    assert "script_gpt_educational.py train_step" in named


def test_a_snippet_is_the_function_without_its_docstrings():
    gpt = helpers.load("script_gpt_refactored")
    for name in ("softmax", "GPTConfig", "Value", "AdamOptimizer"):
        assert '"""' not in guide.snippet(name)
        bare = ast.parse(guide.snippet(name))
        tree = ast.parse(textwrap.dedent(helpers.source("script_gpt_refactored")))
        original = next(node for node in tree.body if getattr(node, "name", None) == name)
        for node in ast.walk(original):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        assert ast.dump(bare.body[0]) == ast.dump(original) and hasattr(gpt, name)


def test_the_eleven_diagrams_are_those_of_the_refactored_script():
    found = [content for info, content in guide.fences(GUIDE) if info == "mermaid"]
    assert sorted(found) == sorted(guide.diagrams()) and len(found) == 11
    rows = re.findall(r"(?m)^\| [^|]+ \| \[([^\]]+)\]", SECTIONS["4. The diagrams"])
    places = [title for title, section in SECTIONS.items() for _ in range(section.count("```mermaid"))]
    assert sorted(rows) == sorted(places)


def test_every_component_has_all_its_parts_in_one_order():
    assert len(COMPONENTS) == 14
    parts = ["**Purpose.**", "**Analogy.**", "Where it stops:", "**Formula.**", "**Code.**", "**By pencil.**",
             "**In Python.**", "**Gradient.**", "**Usual mistakes.**", "**Questions.**"]
    for title in COMPONENTS:
        places = [SECTIONS[title].find(part) for part in parts]
        assert -1 not in places and places == sorted(places), title
        assert re.findall(r"<details><summary><b>(\d)\.", SECTIONS[title]) == ["1", "2", "3"], title
        assert "```math" in SECTIONS[title] and "```python " in SECTIONS[title], title


def test_the_checklist_has_at_least_forty_items_in_four_levels_each_with_an_answer():
    section = SECTIONS["6. Study checklist"]
    assert re.findall(r"(?m)^#### (.*)$", section) == ["Recall", "Understand", "Build", "Prove"]
    items = re.findall(r"(?s)<details><summary><b>(\d+)\. [^\n]+</b></summary>\n\n(.*?)\n\n</details>", section)
    assert [int(number) for number, _ in items] == list(range(1, len(items) + 1)) and len(items) >= 40
    assert min(len(answer) for _, answer in items) > 20
    assert GUIDE.count("<details>") == GUIDE.count("</details>") == len(items) + 3 * len(COMPONENTS)


def test_links_resolve():
    anchors = {guide.anchor(title) for title in re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", GUIDE))}
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^```.*?^```$", "", re.sub(guide.MATH, "", GUIDE)))
    assert len(targets) > 60
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert os.path.exists(os.path.join(helpers.ROOT, target)), target
    for path in re.findall(r"`((?:tests/)?\w+\.(?:py|txt))`", GUIDE):
        assert os.path.exists(os.path.join(helpers.ROOT, path)), path


def test_the_table_of_the_three_versions():
    rows = re.findall(HELD["test_the_table_of_the_three_versions"], SECTIONS["1.1 Side by side"])
    columns = [guide.counts(name) for name in helpers.SCRIPTS]
    assert rows == ["| " + " | ".join([what, *(f"{column[what]:,}" for column in columns)]) + " |"
                    for what in columns[0]]


def mistakes():
    """The rows of section 2.15: what is wrong, first loss, mean of the last 50."""
    rows = re.findall(r"(?m)^\| ([^|`\n]+) \| (\d+\.\d{4}) \| ([^|]+) \|", SECTIONS[
        "2.15 What a mistake looks like from outside"])
    return {what: (first, mean) for what, first, mean in rows}


def losses_with(mistake):
    patch = test_planted_bugs.BUGS[mistake] if mistake != "no mistake" else ()
    return test_lecture.trained({"num_steps": 100}, patch)[1]


def test_the_table_of_mistakes():
    stated, means = mistakes(), []
    assert len(stated) == 21 and next(iter(stated)) == "no mistake"
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for (mistake, (first, mean)), losses in zip(stated.items(), pool.map(losses_with, stated)):
            means.append(statistics.fmean(losses[-50:]))
            rounded = "thousands" if 1000 <= means[-1] < 10_000 else f"{means[-1]:.2f}"
            assert (mistake, f"{losses[0]:.4f}", rounded) == (mistake, first, mean)
    right, *wrong = means
    within = sum(abs(mean - right) < 0.04 for mean in wrong)
    numbers = {10: "ten", 20: "twenty"}
    assert f"{numbers[within]} of these {numbers[len(wrong)]} end within 0.04 of the right program" in GUIDE


def test_the_command_that_plants_a_mistake_finds_its_line():
    old, new = re.search(r"sed 's/(.*?)/(.*?)/'", GUIDE).groups()
    assert helpers.source("script_gpt_refactored").count(old) == 1
    right, wrong = test_planted_bugs.BUGS["gradients never set to 0"]
    assert right.strip() == old and wrong == "" and new == "pass"


def test_the_table_of_losses(default_run):
    losses = [float(line.split()[-1]) for line in default_run if line.startswith("step")]
    rows = re.findall(r"(?m)^\| ([\d,]+) to ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", GUIDE)
    assert len(rows) == 3
    for first, last, *stated in rows:
        part = losses[int(first.replace(",", "")) - 1 : int(last.replace(",", ""))]
        assert stated == [f"{statistics.fmean(part):.2f}", f"{min(part):.2f}", f"{max(part):.2f}"]
        assert len(part) == 100


def test_the_samples_that_stand_in_the_data(default_run):
    samples = [line.split(": ")[1] for line in default_run if line.startswith("sample")]
    with open(helpers.NAMES, encoding="ascii") as file:
        known = set(file.read().split())
    found = [sample for sample in samples if sample in known]
    assert len(samples) == 20 and len(found) == 3
    assert f"Of the 20 samples of the default run, 3 stand in names.txt: {', '.join(found)}." in GUIDE
    lecture = " ".join(line.lstrip("│ ") for line in default_run)
    assert f"of which this run has read 1 ({found[0]})" in lecture and f"has read only {found[0]}," in GUIDE


def test_one_head_and_four():
    """The two figures are those of the lecture on hyperparameters, which test_lecture computes."""
    lecture = " ".join(test_lecture.docstrings()["GPTConfig"].split())
    sentence = " ".join(re.search(HELD["test_one_head_and_four"], GUIDE)[0].split())
    figure = re.search(r"mean loss of (\d\.\d\d) over the last hundred", sentence)[1]
    assert f"n_head=1 gives {figure}" in lecture and f"With the defaults the figure is {figure}" in lecture
    assert 'grep "after step 300"' in lecture and 'grep "after step 300:"' in sentence


def test_the_formula_for_the_number_of_parameters():
    terms = re.search(r"\| parameters \| \$`(.*?)`\$", SECTIONS["5.1 Formulas"])[1]
    python = re.sub(r"(?<=[\dVTNn]) ?(?=[VTNn])", "*", terms).replace("^", "**")
    assert eval(python, {"V": 27, "n": 16, "T": 16, "N": 1}) == 4192


def test_the_dimensions_are_those_of_the_model():
    gpt = helpers.load("script_gpt_refactored")
    config = gpt.GPTConfig()
    shapes = {name.split(".")[-1]: shape for name, shape in gpt.parameter_shapes(config, 27).items()}
    table = SECTIONS["5.2 Dimensions through the network"]
    rows = re.findall(r"(?m)^\| ([^|]+) \| (\[[^|]+\]) \| ([^|]+) \|$", table)
    assert len(rows) >= 15
    sizes = {"n_embd": 16, "4 n_embd": 64, "vocab_size": 27, "block_size": 16, "head_dim": 4, "position + 1": "1 to 16"}
    for names, shape, by_default in rows:
        extents = [sizes[extent] for extent in re.findall(r"\[([^\]]+)\]", shape)]
        for name in names.split(", "):
            if name in shapes:
                assert (tuple(extents), by_default) == (shapes.pop(name), f"{extents[0]} x {extents[1]}")
        if extents and extents[0] == "1 to 16":
            assert by_default in ("1 to 16", f"1 to 16 vectors of {extents[-1]}")
        elif len(extents) == 1:
            assert by_default == str(extents[0])
    assert shapes == {}


KATEX = """
const katex = (await import(process.argv[2] + "/katex/dist/katex.mjs")).default;
let text = "";
for await (const chunk of process.stdin) text += chunk;
for (const formula of JSON.parse(text)) {
  try { katex.renderToString(formula, { throwOnError: true, strict: "error" }); console.log("read"); }
  catch (error) { console.log("refused: " + error); }
}
"""
MODULES = os.environ.get("MERMAID_MODULES")


@pytest.mark.skipif(not (MODULES and shutil.which("node")), reason="MERMAID_MODULES names no node_modules folder")
def test_a_mathematics_typesetter_reads_every_formula(tmp_path):
    """KaTeX, which comes with Mermaid; GitHub itself uses MathJax, which reads all that KaTeX reads here."""
    script = tmp_path / "read.mjs"
    script.write_text(KATEX)
    found = [formula.strip("`$").removeprefix("math").strip() for formula in re.findall(guide.MATH, GUIDE)]
    process = subprocess.run(["node", str(script), os.path.abspath(MODULES)], input=json.dumps([*found, "\\frac{1"]),
                             capture_output=True, encoding="utf-8", timeout=120, check=True)
    verdicts = process.stdout.splitlines()
    assert verdicts[-1].startswith("refused") and len(found) > 200
    assert [(formula, verdict) for formula, verdict in zip(found, verdicts) if verdict != "read"] == []


def test_what_one_types_fits_a_screen():
    typed = [line for line in GUIDE.splitlines() if line.startswith((">>> ", "... "))]
    assert [line for line in typed if len(line) > 114] == []
