"""The page of labs.xray in a real browser: what it shows is the trace, by mouse and by keyboard, on any screen."""
import ast
import json
import random
import re
import textwrap

import browser
import pytest

from labs import xray, xray_page
from labs.trace import formula_in_numbers, formula_of
from labs.xray_page import page

needs_browser = pytest.mark.skipif(browser.CHROMIUM is None, reason="CHROMIUM names no browser: the page is not opened")


def trace_of(*arguments):
    return xray.take_step(xray.parse_arguments([str(argument) for argument in arguments]), None)


@pytest.fixture(scope="module")
def trace():
    return trace_of("emma", "--steps", 2)


@pytest.fixture(scope="module")
def path(trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "step.html"
    path.write_text(page(trace), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def window(path):
    """One wide window for all tests that only look; each opens the page anew."""
    with browser.Browser(1400, 900) as window:
        yield window
        assert window.errors == []


def click(window, selector, text=None):
    """A real click on the element, scrolled into view; of several the one with this text."""
    place = window.run(f"""(() => {{
        const all = [...document.querySelectorAll({json.dumps(selector)})];
        const text = {json.dumps(text)};
        const found = all.find(e => text === null || e.textContent.replace(/\\u00a0/g, " ") === text);
        if (!found) return "there are: " + all.map(e => e.textContent).join(", ");
        found.scrollIntoView({{ block: "center", inline: "center" }});
        const box = found.getClientRects()[0];  // of a link on two lines the first: between them is nothing to click
        return [box.left + Math.min(box.width / 2, 20), box.top + box.height / 2];
    }})()""")
    assert isinstance(place, list), f"no {selector} {text}: {place}"
    window.click(*place)


def heading(window):
    return window.run("document.querySelector('#card h2').textContent")


# What the file is ----------------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_fetches_nothing(trace):
    text = page(trace)
    assert "TRACE_OF_ONE_STEP" not in text
    shell = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(r"https?:|\bsrc=|<link|@import|url\(|fetch\(|XMLHttp|import\(", shell)


@pytest.mark.parametrize("limit", [xray_page.LIMIT, 900_000, 500_000])
def test_a_page_that_would_be_too_large_keeps_summaries_and_says_so(limit, monkeypatch):
    """With the limit lowered, so that a model of moderate size is too large."""
    monkeypatch.setattr(xray_page, "LIMIT", limit)
    trace = trace_of("emma", "--n-layer", 2, "--n-embd", 24)
    text = page(trace)
    assert len(text.encode()) < limit + 200_000
    data = json.loads(re.search(r'id="trace">(.*?)</script>', text, re.DOTALL)[1])
    left_out = {slot["label"]: slot["summary"] for slot in data["slots"] if "summary" in slot}
    assert bool(left_out) == (limit < 1_000_000)
    assert not {"logits", "loss", "layer0.head0.attn_weights", "constants"} & set(left_out)
    for name in set(left_out) & set(trace.shapes):
        values = [trace.numbers[i].value for i in trace.matrix(name)]
        assert left_out[name][:2] == [min(values), max(values)]


def test_the_source_on_the_page_is_whole_but_for_the_docstrings(trace):
    functions = xray_page.source_of(trace)["functions"]
    assert {"gpt_forward", "add", "dot", "Value.__add__", "Value.relu", "AdamOptimizer.step"} <= {
        function["name"] for function in functions}
    for function in functions:
        lines = [line for line, _, _ in function["lines"]]
        code = "\n".join(text for _, text, _ in function["lines"])
        whole = ast.parse(textwrap.dedent("\n".join(trace.source.lines[lines[0] - 1:lines[-1]]))).body[0]
        if ast.get_docstring(whole):
            del whole.body[0]
        assert ast.unparse(ast.parse(textwrap.dedent(code))) == ast.unparse(whole)


# What it shows -------------------------------------------------------------------------------------------------------


@needs_browser
def test_the_page_holds_the_trace_number_by_number(window, path, trace):
    window.open(path)
    shown = window.run("""({ names, values: [...values], gradients: [...gradients],
        aliases: names.map((_, id) => called.filter(([of, name]) => of === id && name !== names[id]).map(c => c[1])),
        inputs: names.map((_, id) => inputsOf(id).map(child => names[child])),
        operands: names.map((_, id) => operandsOf(id).map(child => names[child])),
        slopes: names.map((_, id) => slopesOf(id)) })""")
    ids = {name: i for i, name in enumerate(shown["names"])}
    assert sorted(ids) == sorted(number.name for number in trace.numbers)
    for number in trace.numbers:
        i = ids[number.name]
        assert (shown["values"][i], shown["gradients"][i]) == (number.value, number.gradient)
        assert shown["aliases"][i] == number.aliases
        assert shown["inputs"][i] == [trace.numbers[child].name for child in number.inputs]
        assert shown["operands"][i] == [trace.numbers[child].name for child in number.operands]
        assert shown["slopes"][i] == list(number.slopes)
    adam = window.run("updates.map(line => ({ results: names.map((_, id) => isParameter(id) ? line.result(id) : null),"
                      "operands: names.map((_, id) => isParameter(id) ? line.operands.map(f => f(id)) : null) }))")
    for k, line in enumerate(adam):
        for i in trace.parameters:
            done, at = trace.updates[i][k], ids[trace.numbers[i].name]
            assert (line["results"][at], line["operands"][at]) == (done.result, list(done.operands))


@needs_browser
def test_a_card_says_what_the_trace_says(window, path, trace):
    window.open(path)
    chosen = {}
    for number in trace.computed:
        chosen.setdefault((number.operation, len(number.inputs) > 4, bool(number.unlinked)), number)
    assert any(number.unlinked for number in chosen.values())
    for number in [*chosen.values(), trace.find("wte[12][5]"), trace.find("layer0.mlp_fc1[3][7]")]:
        window.run(f"choose(byName.get({json.dumps(number.name)}))")
        card = window.run("document.querySelector('#card').textContent").replace("\u00a0", " ")
        assert heading(window) == number.name
        assert window.run("[values[state.chosen], gradients[state.chosen]]") == [number.value, number.gradient]
        if number.is_computed and len(number.inputs) <= 4:
            assert f"{number.operation} = {formula_of(trace, number)}" in card
            assert eval(formula_in_numbers(trace, number), vars(xray.math)) == pytest.approx(number.value)
        if number.is_computed:
            assert f"line {number.line}" in card
        assert ("A silent neuron" in card) == bool(number.unlinked)
        for line in trace.update_lines if number.operation == "parameter" else ():
            assert f"{line.name} = {line.formula.format(*line.symbols)}" in card
        sums = [float(text.replace("−", "-")) for text in
                window.run("[...document.querySelectorAll('#card tr.sum td:last-child')].map(e => e.textContent)")]
        for total, right in zip(sums[::-1], (number.gradient, number.value)):
            assert total == pytest.approx(right, abs=1e-4)


@needs_browser
def test_from_a_silent_neuron_to_what_silenced_it_and_back(window, path, trace):
    window.open(path)
    silent = next(number for number in trace.slots()["layer0.hidden"] if number.unlinked)
    neuron = trace.numbers[silent.unlinked[0]]
    window.run(f"choose(byName.get({json.dumps(silent.name)}))")
    assert "no link" in window.run("document.querySelector('#card .terms').textContent")
    click(window, "#card .terms a", neuron.name)
    assert heading(window) == neuron.name
    assert "Only relu read it" in window.run("document.querySelector('#card').textContent")
    click(window, "#card p a", silent.name)
    assert heading(window) == silent.name


@needs_browser
def test_clicking_from_the_loss_to_a_weight_and_back_along_the_trail(window, path, trace):
    window.open(path)
    click(window, "#start button")
    assert heading(window) == "loss"
    way = ["loss~add[4]", "position_loss[4 'a']", "position_loss~mul[4 'a']", "logits[4 'a'][26 BOS]"]
    for name in way:
        click(window, "#card .terms a", name)
        assert heading(window) == name
    weight = window.run("[...document.querySelectorAll('#card .terms a')].map(a => a.textContent)"
                        ".find(name => name.startsWith('lm_head'))").replace("\u00a0", " ")
    click(window, "#card .terms a", weight)
    assert heading(window) == weight
    assert window.run("document.querySelector('#card code').textContent") == str(trace.find(weight).value)
    for name in way[::-1] + ["loss"]:
        click(window, "#back")
        assert window.run("new Promise(done => setTimeout(() => done(state.chosen), 60)) ") is not None
        assert heading(window) == name
    assert window.run("document.getElementById('back')") is None


@needs_browser
def test_clicking_a_line_shows_the_numbers_it_made_at_each_position(window, path, trace):
    window.open(path)
    number = trace.find("layer0.q[3][5]")  # and k and v: one line makes all three
    window.run(f"lineButtons.get({number.line}).scrollIntoView({{block: 'center'}})")
    click(window, ".code button .no", str(number.line))
    rows = window.run("""[...document.querySelectorAll('#all .slot:not([hidden]) tr')].map(row =>
        [row.querySelector('th').textContent, [...row.querySelectorAll('button')].map(b => b.textContent)])""")
    assert [where for where, _ in rows] == 3 * [f"[{trace.where(p)}]" for p in range(trace.positions)]
    for k, (_, cells) in enumerate(rows):
        name, p = "qkv"[k // trace.positions], k % trace.positions
        values = [trace.find(f"layer0.{name}[{p}][{i}]").value for i in range(16)]
        assert [float(cell.replace("−", "-")) for cell in cells] == pytest.approx(values, abs=1e-4)


@needs_browser
def test_clicking_a_line_of_a_helper_shows_what_each_of_its_callers_had_of_it(window, path, trace):
    window.open(path)
    for name, labels in (
        ("x.1.scale~dot[0]", {"x.1.scale~dot", "layer0.normed.scale~dot", "layer0.hidden.scale~dot"}),
        ("layer0.x.2[0][0]", {"x.1~add", "layer0.x.2", "layer0.x.3"}),
    ):
        number = trace.find(name)
        window.run(f"chooseLine({number.line})")
        assert set(window.run(f"slotsOfLine({number.line}).map(slot => slot.label)")) == labels
        for line in number.callers[:-2]:  # from the line of the model, compute_loss and train_step are reached
            assert name.split("[")[0] in window.run(f"slotsOfLine({line}).map(slot => slot.label)")


@needs_browser
def test_nothing_is_shown_before_it_was_computed(window, path, trace):
    window.open(path)
    forward, backward, update = window.run("['forward', 'backward', 'update'].map(endOf)")
    assert forward == len(trace.moments) - 1 and update - backward == len(trace.update_lines)
    born = {number.name: number.index for number in trace.numbers}
    for time in random.Random(0).sample(range(backward + 1), 12) + [0, forward, forward + 1, backward]:
        window.run(f"go({time})")
        now = window.run("({ view: step().view, line: step().line, from: step().from, to: step().to })")
        shown = window.run("names.map((name, id) => [name, shownNumber(id) ?? null])")
        for name, number in shown:
            parameter = born[name] in trace.parameters
            if now["view"] == "forward":
                assert number == (trace.find(name).value if parameter or born[name] < now["to"] else None)
            else:
                there = time == backward if parameter else born[name] >= now["from"]
                assert number == (trace.find(name).gradient if there else None)
        assert window.run("document.querySelector('.code .now')") is not None or time == forward
    for k in range(len(trace.update_lines)):
        window.run(f"go({backward + 1 + k})")
        i = trace.find("wte[12][5]").index
        result = trace.updates[i][k].result
        if trace.update_lines[k].name == "data":
            result -= trace.numbers[i].value
        assert window.run("shownNumber(byName.get(\"wte[12 'm'][5]\"))") == result


@needs_browser
def test_the_pictures_have_their_numbers_as_text(window, path, trace):
    window.open(path)
    click(window, "[data-tab=attention]")
    cells = window.run("[...document.querySelectorAll('#picture td button')].map(b => b.getAttribute('aria-label'))")
    expected = [n for label, numbers in trace.variables().items() if label.endswith("attn_weights") for n in numbers]
    assert [label.rpartition(", ")[0] for label in cells] == [number.name for number in expected]
    click(window, "[data-tab=predictions]")
    text = window.run("document.querySelector('#picture').textContent")
    total = trace.find("position_loss~logsumexp[2]")
    assert f"{total.slopes[trace.tokens[3]]:.3f} ← right" in text
    click(window, "[data-tab=stream]")
    assert f"{xray.norm([trace.find(f'x.1[2][{i}]').value for i in range(16)]):.3f}" in window.run(
        "document.querySelector('#picture').textContent")


# By keyboard, on other screens, with odd letters ---------------------------------------------------------------------


def focused(window):
    return window.run("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
                      " || document.activeElement.id").replace("\u00a0", " ")


def tab_to(window, wanted, presses=200):
    for _ in range(presses):
        window.press("Tab")
        if wanted in focused(window):
            return
    raise AssertionError(f"{presses} times Tab did not reach {wanted}")


@needs_browser
def test_the_keyboard_alone_is_enough(window, path, trace):
    window.open(path)
    tab_to(window, "Where does the loss", presses=8)
    window.press("Enter")
    assert heading(window) == "loss"
    tab_to(window, "loss~add[4]")
    window.press("Enter")
    assert heading(window) == focused(window) == "loss~add[4]"  # on the new card, not lost
    window.run("document.getElementById('name').focus()")
    for key in "q[3][5]":
        window.press(key)
    window.press("Enter")
    assert heading(window) == "layer0.q[3 'm'][5]"
    tab_to(window, "layer0.q[3 'm'][5], ")  # its cell among the figures
    window.press("ArrowRight")
    window.press("ArrowUp")
    assert focused(window).startswith("layer0.q[2 'm'][6], ")
    window.press("Enter")
    assert heading(window) == "layer0.q[2 'm'][6]"
    assert "layer0.q[2 'm'][6], value" in window.run("document.getElementById('spoken').textContent")
    window.run("document.getElementById('time').focus()")
    before = window.run("state.time")
    window.press("ArrowLeft")
    assert window.run("state.time") == before - 1


@needs_browser
def test_an_address_leads_to_its_number_and_the_browsers_back_button_works(window, path):
    for fragment, name in (("#layer0.q[3][5]", "layer0.q[3 'm'][5]"),
                           ("#layer0.head2.attn_out[3][1]", "layer0.attn_out[3 'm'][9]"), ("#wpe[0][1]", "wpe[0][1]")):
        window.open(path, fragment)
        assert heading(window) == name
    window.run("new Promise(done => { onhashchange = done; location.hash = '#LOSS' })")
    assert heading(window) == "loss"
    window.run("new Promise(done => { onhashchange = done; history.back() })")
    assert heading(window) == "wpe[0][1]"
    window.run("new Promise(done => { onhashchange = done; location.hash = '#%' })")
    assert heading(window) == "wpe[0][1]"


@needs_browser
@pytest.mark.parametrize("typed, first", [
    ("q[3][5]", "layer0.q[3 'm'][5]"), ("LOSS", "loss"), ("logits[3][0]", "logits[3 'm'][0 'a']"),
    ("position_loss", "position_loss[0 BOS]"), ("head2.attn_out[3][1]", "layer0.head2.attn_out[3 'm'][1]"),
    ("wq[1][2]", "layer0.attn_wq[1][2]"),
])
def test_the_search_offers_first_what_was_meant(typed, first, window, path):
    window.open(path)
    window.run(f"$('name').value = {json.dumps(typed)}; $('name').oninput()")
    assert window.run("document.querySelector('#found button').textContent") == first
    window.run("$('name').value = 'no such thing'; $('name').oninput()")
    assert "no number" in window.run("$('found').textContent")


@needs_browser
def test_choosing_a_computed_number_leaves_the_update_where_it_has_no_part(window, path):
    window.open(path)
    window.run("setView('update')")
    assert window.run("[...document.querySelectorAll('.slot.variable:not([hidden])')].length") == 0
    window.run("choose(byName.get('loss'))")
    assert window.run("step().view") == "forward"
    window.run("setView('update'); choose(byName.get('wpe[0][1]'))")
    assert window.run("step().view") == "update"
    click(window, "[data-tab=attention]")
    assert window.run("document.querySelector('#picture td button').textContent") == "+1.0000"


@needs_browser
@pytest.mark.parametrize("size", [(360, 740), (900, 1100), (1920, 1080)])
def test_no_screen_is_too_narrow(size, path):
    with browser.Browser(*size, dark=True) as window:
        window.open(path, "#layer0.q[3%20'm'][5]")
        assert heading(window) == "layer0.q[3 'm'][5]"
        for script in (
            "setView('update')", "state.tab = 'predictions'; refresh()", "state.tab = 'attention'; refresh()",
            "choose(byName.get(\"wte[26 BOS][4]\"))", "chooseLine(lineButtons.keys().next().value)",
        ):
            window.run(script)
            assert window.run("document.documentElement.scrollWidth") <= size[0]
        if size[0] < 720:
            click(window, "[data-pane=source]")
            assert window.run("getComputedStyle(document.getElementById('source')).display") == "block"
            assert window.run("getComputedStyle(document.getElementById('card')).display") == "none"
        assert window.errors == []


@needs_browser
def test_letters_that_mean_something_to_html_are_only_letters(window, tmp_path):
    names = tmp_path / "odd.txt"
    names.write_text("</script><b>&\n<!--<script>\n\"quoted\" 'x'\n[3]\\#~->,\n日本 é😀\n", encoding="utf-8")
    for document in ("</script>", "<!--<script>", "'\"[]\\", "日é😀->", "b>&"):
        trace = trace_of(document, "--names", names, "--n-embd", 4, "--n-head", 1)
        (tmp_path / "odd.html").write_text(page(trace), encoding="utf-8")
        window.open(tmp_path / "odd.html")
        assert window.run("trace.document") == document
        assert sorted(window.run("names")) == sorted(number.name for number in trace.numbers)
        name = trace.find(f"layer0.q[{len(document)}][2]").name
        window.run(f"choose(byName.get({json.dumps(name)}))")
        assert heading(window) == name
