"""Does a trace tell the truth? Nothing in it is taken on trust: every number is computed again from its inputs, every
gradient from what used it, the parameters' gradients by central differences, the names from the program's own calls."""
import copy
import itertools
import math
import random
import re

import pytest

import script_gpt_refactored as gpt
from labs.trace import (
    Source,
    educational_path,
    explain,
    formula_in_numbers,
    formula_of,
    lectures,
    plain,
    record,
    silence,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def prepare(document, vocabulary=LETTERS, steps=0, **sizes):
    """A model, trained a little if asked, and what train_step needs to go on with this document."""
    config = gpt.GPTConfig(**sizes)
    tokenizer = gpt.Tokenizer(vocabulary)
    state_dict = gpt.initialize_parameters(config, tokenizer.vocab_size, random.Random(7))
    optimizer = gpt.AdamOptimizer(state_dict, config)
    for step in range(steps):
        gpt.train_step(tokenizer.encode(vocabulary[step:step + 3]), state_dict, optimizer, 0.01, config)
    return tokenizer.encode(document), state_dict, optimizer, 0.01, config, tokenizer


STEPS = {
    "emma": dict(document="emma"),
    "two layers, trained": dict(document="olivia", steps=4, n_layer=2, n_embd=8, n_head=2, block_size=4),
    "one head, odd letters": dict(document="[']\"\\ é<", vocabulary=" \"'<[\\]é", n_embd=4, n_head=1),
    "nothing but the ends": dict(document="", n_embd=4, n_head=2),
}


@pytest.fixture(scope="module", params=STEPS)
def trace(request):
    return record(*prepare(**STEPS[request.param]))


@pytest.fixture(scope="module")
def emma():
    return record(*prepare(**STEPS["emma"]))


def test_every_number_is_what_its_formula_says(trace):
    for number in trace.computed:
        assert eval(formula_in_numbers(trace, number), vars(math)) == pytest.approx(number.value, rel=1e-12, abs=1e-14)


def test_every_slope_is_the_formulas_slope(trace):
    """By central differences of the printed formula, for some numbers of each operation."""
    chosen = {}
    for number in trace.computed:
        chosen.setdefault(number.operation, []).append(number)
    assert {"add", "mul", "pow", "exp", "relu", "linear", "logsumexp"} <= set(chosen)
    for number in itertools.chain.from_iterable(numbers[::len(numbers) // 3 + 1] for numbers in chosen.values()):
        for index in set(number.inputs):
            child = trace.numbers[index]
            value, h, ends = child.value, 1e-6 * max(1e-3, abs(child.value)), []
            for moved in (value + h, value - h):
                child.value = moved
                ends.append(eval(formula_in_numbers(trace, number), vars(math)))
            child.value = value
            slope = sum(slope for i, slope in zip(number.inputs, number.slopes) if i == index)
            assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_every_gradient_is_the_sum_over_what_used_the_number(trace):
    assert trace.loss.gradient == 1.0
    for number in trace.numbers:
        if number is not trace.loss:
            parts = [slope * trace.numbers[user].gradient for user, slope in trace.uses[number.index]]
            assert number.gradient == pytest.approx(math.fsum(parts), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", STEPS)
def test_the_parameters_gradients_are_central_differences_of_the_loss(name):
    """On the weights as they were before the step, which the trace has kept."""
    tokens, state_dict, optimizer, rate, config, tokenizer = prepare(**STEPS[name])
    before = {name: [[gpt.Value(weight.data) for weight in row] for row in matrix]
              for name, matrix in state_dict.items()}
    trace = record(tokens, state_dict, optimizer, rate, config, tokenizer)
    weights = [weight for matrix in before.values() for row in matrix for weight in row]
    by_size = sorted(trace.parameters, key=lambda i: -abs(trace.numbers[i].gradient))
    for i in by_size[:4] + random.Random(1).sample(list(trace.parameters), 12):
        ends = []
        for h in (1e-5, -1e-5):
            weights[i].data += h
            ends.append(gpt.compute_loss(tokens, before, config).data)
            weights[i].data -= h
        gpt.Value.tape.clear()
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(trace.numbers[i].gradient, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", STEPS)
def test_watching_changes_no_bit_of_the_step(name):
    watched, alone = prepare(**STEPS[name]), prepare(**STEPS[name])
    trace = record(*watched)
    assert gpt.train_step(*alone[:5]) == trace.loss.value
    for ours, theirs in zip(watched[2].parameters, alone[2].parameters):
        assert (ours.data, ours.grad) == (theirs.data, theirs.grad)
    assert (watched[2].m, watched[2].v, watched[2].t) == (alone[2].m, alone[2].v, alone[2].t)


def test_adams_lines_are_what_their_formulas_say_and_end_in_the_new_weights():
    arguments = prepare(**STEPS["two layers, trained"])
    trace = record(*arguments)
    assert [line.name for line in trace.update_lines] == ["grad", "m", "v", "data"]
    for i, weight in zip(trace.parameters, arguments[2].parameters):
        for line, done in zip(trace.update_lines, trace.updates[i]):
            assert eval(line.formula.format(*map(repr, done.operands)), vars(math)) == done.result
        assert trace.updates[i][0].result == trace.numbers[i].gradient
        assert trace.updates[i][-1].operands[0] == trace.numbers[i].value
        assert trace.updates[i][-1].result == weight.data
        assert [trace.updates[i][k].result for k in (1, 2)] == [arguments[2].m[i], arguments[2].v[i]]
    assert all(trace.runs[line.line] == len(trace.parameters) for line in trace.update_lines)  # the long one too


def test_each_number_has_a_name_of_its_own(trace):
    names = [number.name for number in trace.numbers]
    assert all(names) and len(set(names)) == len(names)
    for number in trace.numbers:
        assert all(trace.find(name) is number for name in [number.name, *number.aliases])


@pytest.mark.parametrize("name", ["emma", "two layers, trained"])
def test_a_name_is_what_the_program_called_the_number(name, monkeypatch):
    """The same step once more, with the helpers wrapped so that they note what they return, in order."""
    trace = record(*prepare(**STEPS[name]))
    again = prepare(**STEPS[name])
    returned = {helper: [] for helper in ("softmax", "rmsnorm", "linear", "add", "dot")}
    for helper, kept in returned.items():
        def noting(*arguments, _helper=getattr(gpt, helper), _kept=kept):
            result = _helper(*arguments)
            _kept.append([value.data for value in (result if isinstance(result, list) else [result])])
            return result
        monkeypatch.setattr(gpt, helper, noting)
    gpt.train_step(*again[:5])

    expected = {helper: [] for helper in returned}
    config = trace.config
    for p in range(trace.positions):
        here = trace.where(p)
        expected["rmsnorm"].append([f"x.1[{here}][{i}]" for i in range(config.n_embd)])
        expected["add"].append([f"x.1~add[{here}][{i}]" for i in range(config.n_embd)])
        for layer in range(config.n_layer):
            def vector(variable, n):
                return [f"layer{layer}.{variable}[{here}][{i}]" for i in range(n)]
            expected["rmsnorm"] += [vector("normed", config.n_embd), vector("hidden~rmsnorm", config.n_embd)]
            expected["linear"] += [vector(variable, config.n_embd) for variable in "qkv"]
            for head in range(config.n_head):
                scope, head_dim = f"layer{layer}.head{head}", config.n_embd // config.n_head
                expected["linear"].append([f"{scope}.scores[{here} -> {trace.where(t)}]" for t in range(p + 1)])
                expected["linear"].append([f"{scope}.attn_out[{here}][{i}]" for i in range(head_dim)])
            expected["linear"] += [vector("x.2~linear", config.n_embd), vector("hidden~linear", 4 * config.n_embd)]
            expected["linear"].append(vector("x.3~linear", config.n_embd))
            expected["add"] += [vector("x.2", config.n_embd), vector("x.3", config.n_embd)]
            expected["softmax"] += [
                [f"layer{layer}.head{head}.attn_weights[{here} -> {trace.where(t)}]" for t in range(p + 1)]
                for head in range(config.n_head)
            ]
        scales = ["x.1"] + [f"layer{layer}.{made}" for layer in range(config.n_layer) for made in ("normed", "hidden")]
        expected["dot"] += [[f"{made}.scale~dot[{here}]"] for made in scales]
        expected["linear"].append([f"logits[{here}][{i} {trace.letter(i)}]" for i in range(trace.tokenizer.vocab_size)])
    returned["linear"] = [vector for vector in returned["linear"] if [vector[0]] not in returned["dot"]]  # its own
    for helper, vectors in expected.items():
        assert [[trace.find(name).value for name in names] for names in vectors] == returned[helper]


def test_names_as_they_are_documented(emma):
    for name in ("layer0.head2.attn_weights[3 'm' -> 1 'e']", "layer0.head2.scores[3 'm' -> 1 'e']", "wte[12 'm'][5]",
                 "wpe[3][5]", "layer0.mlp_fc1[63][15]", "layer0.q[3 'm'][5]", "layer0.k[3 'm'][5]",
                 "layer0.attn_out[3 'm'][9]", "layer0.x.2~linear[3 'm'][9]", "logits[1 'e'][4 'e']",
                 "logits[0 BOS][26 BOS]", "x.1[0 BOS][0]", "layer0.x.3[0 BOS][0]", "layer0.normed.scale[0 BOS]",
                 "layer0.head2.attn_weights~mul[0 BOS -> 0 BOS]", "loss"):
        assert emma.find(name).name == name
    assert emma.find("layer0.head2.attn_out[3 'm'][1]").name == "layer0.attn_out[3 'm'][9]"
    assert emma.find("losses[2]").name == "position_loss[2 'm']"


def test_a_list_that_grows_is_named_as_a_whole_and_by_the_loop_that_made_each_part(trace):
    head_dim = trace.config.n_embd // trace.config.n_head
    for number in trace.slots()["layer0.attn_out"]:
        here, index = re.fullmatch(r"layer0\.attn_out\[(.*)\]\[(\d+)\]", number.name).groups()
        assert number.aliases == [f"layer0.head{int(index) // head_dim}.attn_out[{here}][{int(index) % head_dim}]"]


def test_every_vector_is_whole_at_every_position(trace):
    """Silent neurons too have their places among the others."""
    n_embd, rows = trace.config.n_embd, [trace.where(position) for position in range(trace.positions)]
    lengths = {"x.1~add": n_embd, "x.1": n_embd}
    for layer in range(trace.config.n_layer):
        for name in ("normed", "q", "k", "v", "attn_out", "x.2~linear", "x.2", "hidden~rmsnorm", "x.3~linear", "x.3"):
            lengths[f"layer{layer}.{name}"] = n_embd
        lengths[f"layer{layer}.hidden~linear"] = lengths[f"layer{layer}.hidden"] = 4 * n_embd
    assert trace.vectors().keys() == lengths.keys()
    for label, numbers in trace.vectors().items():
        names = [f"{label}[{where}][{i}]" for where in rows for i in range(lengths[label])]
        assert [number.name for number in numbers] == names


def test_a_silent_neuron_is_told_as_what_it_is(emma):
    silent = [number for number in emma.computed if not number.inputs]
    assert {number.operation for number in silent} == {"relu"}
    assert [number for number in emma.slots()["layer0.hidden"] if number.value == 0] == silent
    for number in silent:
        neuron = emma.numbers[number.unlinked[0]]
        assert neuron.name == number.name.replace("hidden", "hidden~linear") and neuron.value <= 0
        assert formula_of(emma, number) == f"max({neuron.name}, 0.0)"
        assert silence(emma, number).startswith(f"A silent neuron: relu read {neuron.name} = ")
        assert neuron.gradient == 0 and not emma.uses[neuron.index] and number.name in silence(emma, neuron)
        assert "y.relu()" in emma.source.lines[number.line - 1]
    assert sum(bool(silence(emma, number)) for number in emma.numbers) == 2 * len(silent)  # and of no other


def test_letters_and_blanks_may_be_left_out(trace):
    for number in trace.numbers:
        assert trace.find(plain(number.name)) is trace.find(number.name)
    position = trace.positions - 1
    short = trace.find(f"layer0.head0.attn_weights[{position} -> 0]")
    assert short.name == f"layer0.head0.attn_weights[{trace.where(position)} -> {trace.where(0)}]"
    assert trace.find("layer0.head0.attn_weights[99 -> 0]") is None


def test_constants_are_written_as_their_values(emma):
    assert formula_of(emma, emma.loss) == "loss~add[4] * 0.2"
    assert formula_of(emma, emma.find("x.1.scale[0]")) == "(x.1.scale~add[0 BOS]) ** -0.5"
    assert formula_in_numbers(emma, emma.find("x.1.scale~add[0]")).endswith(" + 1e-05")


def test_the_line_is_the_line_that_assigns_the_variable(emma):
    """Found in the source by its text, not by its number."""
    for name, text in (
        ("layer0.q[3][5]", "q, k, v = (linear("), ("layer0.v[3][5]", "q, k, v = (linear("),
        ("layer0.x.2~linear[1][2]", "linear(attn_out, "), ("layer0.x.3~linear[1][2]", "linear(hidden, "),
        ("layer0.head1.scores[2 -> 1]", "scores = "), ("layer0.attn_out[2][3]", "attn_out += linear("),
        ("layer0.head1.attn_weights~mul[2 -> 1]", "attn_weights = softmax("),
        ("layer0.head1.attn_weights[2 -> 1]", "(value + minus_total).exp()"), ("loss", "sum(losses)"),
        ("layer0.normed[1][3]", "value * scale"), ("logits[1][3]", "return linear(x, "),
        ("layer0.x.2[1][2]", "def add(a, b): return"), ("x.1.scale~dot[0]", "def dot(a, b): return"),
    ):
        assert text in emma.source.lines[emma.find(name).line - 1]
    for name, *texts in (
        ("x.1~add[0][0]", "x = rmsnorm(add("), ("layer0.x.2[1][2]", "x = add(x, linear(attn_out,"),
        ("layer0.x.3[1][2]", "x = add(x, linear(hidden,"), ("x.1.scale~dot[0]", "scale = ", "x = rmsnorm(add("),
    ):
        for line, text in zip(emma.find(name).callers, texts):
            assert text in emma.source.lines[line - 1]
    number = emma.find("layer0.head1.attn_weights[2 -> 1]")
    assert "attn_weights = softmax(" in emma.source.lines[number.callers[0] - 1]
    assert number.model_moment.statement.line == number.callers[0]


def test_explanations_are_the_sources_own_words(emma):
    assert "Attention: what do the tokens so far have to tell this one?" in explain(emma, emma.find("layer0.q[0][0]"))
    assert "a dot product of x with each row of W" in explain(emma, emma.find("layer0.q[0][0]"))
    assert "MLP: this token on its own" in explain(emma, emma.find("layer0.hidden[0][0]"))
    assert "scaled to a mean square of 1" in explain(emma, emma.find("layer0.normed[0][0]"))
    assert explain(emma, emma.find("layer0.x.2[0][0]")).endswith("a + b: ∂/∂a = 1, ∂/∂b = 1.")
    assert "a.relu(): a itself if a > 0" in explain(emma, emma.find("layer0.hidden[0][0]"))
    assert "MLP" not in explain(emma, emma.find("logits[0][0]"))  # a comment of the block above says nothing of it
    assert explain(emma, emma.find("logits[0][0]")).startswith("One token at one position to the logits")
    assert explain(emma, emma.loss).startswith("The mean over positions of the cross-entropy")
    text = " ".join(" ".join(line.strip("# ") for line in emma.source.lines).split())
    for number in emma.computed:
        for sentence in re.split(r"(?<=[.?]) ", explain(emma, number)):
            # A row of the table of operators, "a + b      ∂/∂a = 1", is written with a colon and a full stop.
            row = re.sub(r"^(a.{1,9}): (.*)\.$", r"\1 \2", sentence)
            assert sentence in text or row in text


def test_lectures_stand_beside_the_functions_they_speak_of():
    found = lectures(educational_path())
    functions = {function.name for function in Source(gpt.__file__).functions.values()}
    assert set(found) - functions == set()
    assert [title for title, _ in found["rmsnorm"]] == ["Why normalise"]
    assert "Query, key and value" in [title for title, _ in found["gpt_forward"]]


def test_the_moments_are_the_lines_that_ran_in_order(emma):
    lines = [moment.statement.line for moment in emma.moments]
    assert all(emma.runs[line] >= lines.count(line) for line in lines)
    assert emma.moments[0].function.name == "train_step" and emma.moments[-1].function.name == "train_step"
    q = next(line for line in lines if "q, k, v = (" in emma.source.lines[line - 1])
    assert lines.count(q) == emma.positions == emma.runs[q]
    births = [moment.first for moment in emma.moments]
    assert births == sorted(births)
    for number in emma.computed:
        assert number.moment.first <= number.index < number.moment.last


def test_a_trace_of_a_broken_step_is_no_trace():
    arguments = list(prepare("emma"))
    arguments[1]["lm_head"][0][0].data = math.inf
    weights = copy.deepcopy([weight.data for weight in arguments[2].parameters])
    with pytest.raises(gpt.InputError, match="the loss became"):
        record(*arguments)
    assert [weight.data for weight in arguments[2].parameters] == weights


def test_what_was_computed_before_is_not_part_of_the_step():
    gpt.Value(1.0) + gpt.Value(2.0)
    arguments = prepare("a", n_embd=4, n_head=1)
    again = prepare("a", n_embd=4, n_head=1)
    assert [n.name for n in record(*arguments).numbers] == [n.name for n in record(*again).numbers]
