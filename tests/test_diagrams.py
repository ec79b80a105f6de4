"""Every Mermaid diagram of the project is one that Mermaid itself can read, and those of computations are true.

A diagram of a computation is run as a program, edge by edge: each node is an operation whose parameters are called as
the nodes that lead to it. If an edge leads elsewhere, the call fails; if a box says something else than the code does,
so does the comparison with the code.
"""
import json
import math
import os
import random
import re
import shutil
import subprocess
import textwrap

import helpers
import pytest

MODULES = os.environ.get("MERMAID_MODULES")
PARSE = """
const { JSDOM } = await import(process.argv[2] + "/jsdom/lib/api.js");
const { window } = new JSDOM("");
globalThis.window = window;
globalThis.document = window.document;
const mermaid = (await import(process.argv[2] + "/mermaid/dist/mermaid.core.mjs")).default;
let text = "";
for await (const chunk of process.stdin) text += chunk;
for (const diagram of JSON.parse(text)) {
  try { await mermaid.parse(diagram); console.log("read"); } catch (error) { console.log("refused: " + error); }
}
"""


def verdicts(diagrams, folder):
    script = folder / "parse.mjs"
    script.write_text(PARSE)
    process = subprocess.run(["node", str(script), os.path.abspath(MODULES)], input=json.dumps(diagrams),
                             capture_output=True, encoding="utf-8", timeout=120, check=True)
    return process.stdout.splitlines()


@pytest.mark.skipif(not (MODULES and shutil.which("node")), reason="MERMAID_MODULES names no node_modules folder")
def test_mermaid_reads_every_diagram(tmp_path):
    found = re.findall(r"```mermaid\n(.*?)```", helpers.source("script_gpt_refactored"), re.DOTALL)
    diagrams = [textwrap.dedent(diagram) for diagram in found]
    assert verdicts(diagrams, tmp_path) == ["read"] * 11
    assert verdicts(["flowchart LR\n a[[ --> b"], tmp_path)[0].startswith("refused")


NODE = r'(\w+)(?:\[\(?"([^"]*)"\)?\]|\(\("([^"]*)"\)\))?'
EDGE = re.compile(rf' *{NODE} <?-->(?:\|"([^"]*)"\|)? {NODE}')


def diagram(node):
    """The one diagram of the refactored script that has this node: {node: what stands in its box}, and its edges as
    (from, to, what stands on the arrow)."""
    for text in re.findall(r"```mermaid\n(.*?)```", helpers.source("script_gpt_refactored"), re.DOTALL):
        labels, edges = {}, []
        for line in filter(EDGE.fullmatch, text.splitlines()):
            start, box, circle, label, end, end_box, end_circle = EDGE.fullmatch(line).groups()
            edges.append((start, end, label))
            labels[start] = box or circle or labels.get(start)
            labels[end] = end_box or end_circle or labels.get(end)
        if node in labels:
            return labels, edges
    raise KeyError(node)


def run_diagram(node, inputs, operations):
    """What each node comes to. The parameters of a node's operation are called as the nodes that lead to it."""
    labels, edges = diagram(node)
    assert set(labels) == set(inputs) | set(operations)
    values, todo = dict(inputs), [name for name in labels if name not in inputs]
    while todo:
        name = todo.pop(0)
        before = {start for start, end, _ in edges if end == name}
        if before <= set(values):
            values[name] = operations[name](**{start: values[start] for start in before})
        else:
            todo.append(name)
    return values


def data(vector):
    return [value.data for value in vector]


def test_the_graph_of_the_autograd_diagram(gpt):
    labels, edges = diagram("sum")
    values = {"a": gpt.Value(2.0), "b": gpt.Value(1.0), "c": gpt.Value(4.0)}
    values["sum"] = values["a"] + values["b"]
    values["L"] = values["sum"] * values["c"]
    values["L"].backward()
    for name, value in values.items():
        assert re.search(r"= (\d+)<br>grad (\d+)", labels[name]).groups() == (f"{value.data:g}", f"{value.grad:g}")
    assert set(edges) == {(name, parent, f"local {slope:g}") for name, child in values.items()
                          for parent, value in values.items()
                          for node, slope in zip(value.children, value.local_grads) if node is child}


def test_the_diagram_of_tokens(gpt):
    labels, edges = diagram("ends")
    tokenizer = gpt.Tokenizer("abcdefghijklmnopqrstuvwxyz")
    tokens = tokenizer.encode(labels["text"])
    assert labels["split"] == ", ".join(labels["text"]) and labels["ids"] == ", ".join(map(str, tokens[1:-1]))
    assert labels["ends"] == ", ".join(map(str, tokens)) and labels["bos"] == f"BOS = {tokenizer.bos}"
    assert labels["pairs"].split(": ")[1] == ", ".join(f"{a}→{b}" for a, b in zip(tokens, tokens[1:]))
    assert {edge[:2] for edge in edges} == {("text", "split"), ("split", "ids"), ("ids", "ends"), ("bos", "ends"),
                                            ("ends", "pairs")}


def test_the_diagrams_of_softmax_and_rmsnorm(gpt):
    numbers = [0.5, -1.0, 2.0]
    found = run_diagram("lse", {"x": numbers}, {
        "lse": lambda x: math.log(sum(map(math.exp, x))), "minus": lambda x, lse: [number - lse for number in x],
        "exp": lambda minus: list(map(math.exp, minus)), "p": lambda exp: exp})
    assert found["p"] == pytest.approx(data(gpt.softmax([gpt.Value(number) for number in numbers])))
    found = run_diagram("square", {"x": numbers}, {
        "square": lambda x: sum(number**2 for number in x) / len(x), "epsilon": lambda square: square + 1e-5,
        "root": lambda epsilon: epsilon**-0.5, "times": lambda x, root: [number * root for number in x],
        "y": lambda times: times})
    assert found["y"] == pytest.approx(data(gpt.rmsnorm([gpt.Value(number) for number in numbers])))


def test_the_diagrams_of_the_model(gpt):
    """A model of one layer and one head, whose lm_head hands x on as it is, reads a second token."""
    config = gpt.GPTConfig(n_embd=4, n_head=1, block_size=3, weight_std=0.7)
    weights = gpt.initialize_parameters(config, 4, random.Random(3))
    weights["lm_head"] = [[gpt.Value(float(i == j)) for j in range(4)] for i in range(4)]
    keys, values = {}, {}
    gpt.gpt_forward(3, 0, keys, values, weights, config)
    first_key, first_value = keys[0][0], values[0][0]
    expected = data(gpt.gpt_forward(1, 1, keys, values, weights, config))

    def attend(normed):
        return run_diagram("scores", {"x": normed}, {
            "q": lambda x: gpt.linear(x, weights["layer0.attn_wq"]),
            "k": lambda x: gpt.linear(x, weights["layer0.attn_wk"]),
            "v": lambda x: gpt.linear(x, weights["layer0.attn_wv"]),
            "keys": lambda k: [first_key, k], "values": lambda v: [first_value, v],
            "scores": lambda q, keys: [gpt.dot(q, key) for key in keys],
            "weights": lambda scores: gpt.softmax([score / 2.0 for score in scores]),  # the root of head_dim = 4
            "out": lambda weights, values: [gpt.dot(weights, list(column)) for column in zip(*values)],
            "concat": lambda out: out, "wo": lambda concat: gpt.linear(concat, weights["layer0.attn_wo"])})["wo"]

    def think(normed):
        hidden = [value.relu() for value in gpt.linear(normed, weights["layer0.mlp_fc1"])]
        return gpt.linear(hidden, weights["layer0.mlp_fc2"])

    whole = run_diagram("norm0", {"token": 1, "position": 1, "cache": None}, {
        "wte": lambda token: weights["wte"][token], "wpe": lambda position: weights["wpe"][position],
        "add": lambda wte, wpe: gpt.add(wte, wpe), "norm0": lambda add: gpt.rmsnorm(add), "x": lambda norm0: norm0,
        "norm1": lambda x: gpt.rmsnorm(x), "attention": lambda norm1, cache: attend(norm1),
        "add1": lambda x, attention: gpt.add(x, attention), "norm2": lambda add1: gpt.rmsnorm(add1),
        "mlp": lambda norm2: think(norm2), "add2": lambda add1, mlp: gpt.add(add1, mlp),
        "head": lambda add2: gpt.linear(add2, weights["lm_head"]), "logits": lambda head: head,
        "softmax": lambda logits: gpt.softmax(logits), "next": lambda softmax: softmax})
    assert data(whole["logits"]) == pytest.approx(expected)
    layer = run_diagram("plus1", {"x0": whole["x"]}, {
        "norm1": lambda x0: gpt.rmsnorm(x0), "attention": lambda norm1: attend(norm1),
        "plus1": lambda x0, attention: gpt.add(x0, attention), "norm2": lambda plus1: gpt.rmsnorm(plus1),
        "fc1": lambda norm2: gpt.linear(norm2, weights["layer0.mlp_fc1"]),
        "relu": lambda fc1: [value.relu() for value in fc1],
        "fc2": lambda relu: gpt.linear(relu, weights["layer0.mlp_fc2"]),
        "plus2": lambda plus1, fc2: gpt.add(plus1, fc2), "x1": lambda plus2: plus2})
    assert data(layer["x1"]) == pytest.approx(expected)
    gpt.Value.tape.clear()


def test_the_diagram_of_adam(gpt):
    """Its boxes are formulas: each is computed as it is written, from what the arrows bring."""
    labels, _ = diagram("mhat")
    config = gpt.GPTConfig()
    known = {"beta1": config.beta1, "beta2": config.beta2, "eps": config.eps_adam, "rate": 0.01, "sqrt": math.sqrt}
    names = {"mhat": "m_hat", "vhat": "v_hat"}

    def formula(node, **before):
        """The operation of a box, which also reads what it had computed at the step before."""
        text = labels[node].split(" = ")[1].replace("g²", "g**2").replace("^", "**")
        text = re.sub(r"(beta\d|\)) (?=[mvg])", r"\1 * ", text)  # a product is written without a sign
        return lambda **arrows: eval(text, {}, {**known, **before, **{names.get(key, key): value
                                                                      for key, value in arrows.items()}})

    parameter, m, v = gpt.Value(0.5), 0.0, 0.0
    adam = gpt.AdamOptimizer({"p": [[parameter]]}, config)
    for t, gradient in enumerate((2.0, -0.5, 0.25), start=1):
        found = run_diagram("mhat", {"g": gradient}, {
            "m": formula("m", m=m), "v": formula("v", v=v), "mhat": formula("mhat", t=t), "vhat": formula("vhat", t=t),
            "update": formula("update", p=parameter.data), "zero": lambda update: 0.0})
        parameter.grad = gradient
        adam.step(0.01)
        m, v = found["m"], found["v"]
        assert (adam.m[0], adam.v[0], parameter.data) == pytest.approx((m, v, found["update"]), rel=1e-12)
        assert parameter.grad == found["zero"]


def test_the_diagrams_of_the_program_name_its_functions_in_their_order(gpt):
    for node, order in (("backward", ["tokens", "forward", "loss", "backward", "update", "tokens"]),
                        ("report", ["names", "shuffle", "pick", "step", "report", "pick", "save", "sample"]),
                        ("draw", ["start", "forward", "divide", "softmax", "draw", "forward", "done"])):
        labels, edges = diagram(node)
        path = [edges[0][0]] + [end for _, end, _ in edges]
        assert path == order
