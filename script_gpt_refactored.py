"""A GPT from first principles, in one file of plain Python, structured to be built upon.

The program reads a list of names, one a line, learns how names are spelled, and invents new ones. A scalar autograd
engine (`Value`) finds the slope of the loss in each of the model's parameters; Adam moves the parameters downhill. The
model reads one token at a time and keeps the keys and values of the tokens before it in a cache.

Run it:              python3 script_gpt_refactored.py            (--help lists the options)
Build on it:         import script_gpt_refactored as gpt         (importing prints, reads and seeds nothing)
Read it beside:      script_gpt.py (the same program, minimal) and script_gpt_educational.py (the same, as a lecture)

Shapes are written [rows][columns]. A weight matrix is stored [n_out][n_in], so a layer computes y = W x. With the
default sizes and an alphabet of 26 letters the model has 27 tokens and 4,192 parameters.

The whole architecture, for one token at one position:

```mermaid
flowchart TB
    token["token id"] --> wte["row of wte [n_embd]"]
    position["position"] --> wpe["row of wpe [n_embd]"]
    wte --> add(("+"))
    wpe --> add
    add --> norm0["rmsnorm"]
    norm0 --> x
    cache[("cache: keys and values of this token and all before it")] <--> attention
    subgraph layer ["transformer layer, n_layer times"]
        x["x [n_embd], the residual stream"] --> norm1["rmsnorm"]
        norm1 --> attention["multi-head attention"]
        x --> add1(("+"))
        attention --> add1
        add1 --> norm2["rmsnorm"]
        norm2 --> mlp["MLP: fc1, relu, fc2"]
        add1 --> add2(("+"))
        mlp --> add2
    end
    add2 --> head["lm_head [vocab_size][n_embd]"]
    head --> logits["logits [vocab_size]"]
    logits --> softmax["softmax"]
    softmax --> next["probability of each next token"]
```

Sources: the transformer, Vaswani et al. 2017; a decoder that predicts the next token, Radford et al. 2018 and 2019
(GPT, GPT-2); RMSNorm, Zhang and Sennrich 2019; Adam, Kingma and Ba 2015; the list of elementary steps, Wengert 1964;
walking it backwards, Linnainmaa 1970.
"""
from __future__ import annotations

import argparse
import gc
import json
import math
import os
import random
import shutil
import sys
import time
import unicodedata
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import Sequence

# ======================================================================================================================
# Configuration
# ======================================================================================================================


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line: what is wrong, and what to do."""


SIZES = ("n_layer", "n_embd", "n_head", "block_size")  # what a checkpoint keeps of the configuration


@dataclass(frozen=True)
class GPTConfig:
    """Every number that is chosen rather than learned (but for rmsnorm's epsilon and the MLP's factor 4).

    n_layer, n_embd, n_head, block_size    depth, width, attention heads, longest context: the shape of the model
    learning_rate, beta1, beta2, eps_adam  Adam's constants; the rate falls linearly to 0 over the run
    num_steps, num_samples, seed           how many documents to train on, how many to invent, where chance starts
    temperature                            divides the logits when sampling: below 1 typical names, above 1 stranger;
                                           0 takes the likeliest token each time
    weight_std                             standard deviation of the initial weights

    Raises InputError for a size, rate or count out of range, or n_embd not a multiple of n_head. The betas, eps_adam
    and weight_std are not checked.
    """

    n_layer: int = 1
    n_embd: int = 16
    n_head: int = 4
    block_size: int = 16
    learning_rate: float = 0.01
    beta1: float = 0.85
    beta2: float = 0.99
    eps_adam: float = 1e-8
    num_steps: int = 1000
    temperature: float = 0.5
    num_samples: int = 20
    seed: int = 42
    weight_std: float = 0.08

    def __post_init__(self) -> None:
        for name in SIZES:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if not 1e-9 <= self.learning_rate <= 100.0:
            raise InputError(f"learning_rate is {self.learning_rate}: it must be positive, from 1e-09 to 100")
        if not (self.temperature == 0 or 1e-9 <= self.temperature <= 1e9):
            raise InputError(f"temperature is {self.temperature}: it must be 0, or from 1e-09 to 1e+09")
        for name in ("num_steps", "num_samples"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise InputError(f"{name} is {getattr(self, name)}: it must be from 0 to 1e9")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}")


# ======================================================================================================================
# Data
# ======================================================================================================================


MOST_CHARACTERS = 2**28  # of a file that is read: no program of this kind can train on more


def read_text(path: str | os.PathLike, wanted: str = "a UTF-8 text file") -> str:
    """The text of a UTF-8 file, in composed letters (Unicode NFC): é is one character, however it was typed.

    Raises InputError, saying what is wanted, if it cannot be read, is not UTF-8, or is larger than MOST_CHARACTERS.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        problem = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise InputError(f"cannot read {path} ({problem}): name {wanted}") from error
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"{path} has more than {MOST_CHARACTERS:,} characters: name a smaller file")
    return unicodedata.normalize("NFC", text)


def load_dataset(path: str | os.PathLike) -> list[str]:
    """The documents of a text file, one a line, in file order, stripped, without empty lines.

    Raises InputError if the file cannot be read (see `read_text`), or holds no document.
    """
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path} is empty: it needs at least one document, one a line")
    return [line.strip() for line in text.split("\n") if line.strip()]


# ======================================================================================================================
# Tokenizer
# ======================================================================================================================


class Tokenizer:
    """Characters to token ids and back; one more token, BOS, marks both ends of a document.

    A character's id is its place in `vocabulary`; the next id after them is `bos`. With the 26 letters, a is 0 and BOS
    is 26:

    ```mermaid
    flowchart LR
        text["emma"] --> split["e, m, m, a"]
        split --> ids["4, 12, 12, 0"]
        ids --> ends["26, 4, 12, 12, 0, 26"]
        bos["BOS = 26"] --> ends
        ends --> pairs["asked, answer: 26→4, 4→12, 12→12, 12→0, 0→26"]
    ```
    """

    def __init__(self, vocabulary: str) -> None:
        self.vocabulary = vocabulary
        self.token_ids = {character: token_id for token_id, character in enumerate(vocabulary)}
        self.bos = len(vocabulary)
        self.vocab_size = len(vocabulary) + 1

    def encode(self, text: str) -> list[int]:
        """The ids of the text's characters between two BOS. Raises InputError for a character it does not know."""
        unknown = sorted(set(text) - set(self.token_ids))
        if unknown:
            raise InputError(f"{text[:60]!r} has {''.join(unknown)[:20]!r}, not in the vocabulary: use only "
                             f"{self.vocabulary[:100]!r}")
        return [self.bos] + [self.token_ids[character] for character in text] + [self.bos]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of the tokens, BOS left out: decode(encode(text)) == text."""
        return "".join(self.vocabulary[token] for token in tokens if token != self.bos)


# ======================================================================================================================
# Autograd
# ======================================================================================================================


class Value:
    """A number that remembers what it was computed from, so that the chain rule can walk back through it.

    data         the number
    grad         ∂L/∂data, the slope of the loss L in this number; `backward` on L adds it up
    children     the Values it was computed from (its inputs); empty for a leaf (a parameter or a constant)
    local_grads  its own slope in each child, ∂data/∂child, in the same order

    Every Value with children is appended to `Value.tape`: the tape holds them in order of birth, and each stands after
    its children. Read backwards it is a valid order for the chain rule (Linnainmaa, 1970). For
    L = (a + b) * c with a = 2, b = 1, c = 4:

    ```mermaid
    flowchart LR
        a["a = 2<br>grad 4"] -->|"local 1"| sum["a + b = 3<br>grad 4"]
        b["b = 1<br>grad 4"] -->|"local 1"| sum
        sum -->|"local 4"| L["L = 12<br>grad 1"]
        c["c = 4<br>grad 3"] -->|"local 3"| L
    ```

    >>> a, b, c = Value(2.0), Value(1.0), Value(4.0)
    >>> L = (a + b) * c
    >>> L.backward()
    >>> L.data, a.grad, b.grad, c.grad
    (12.0, 4.0, 4.0, 3.0)

    When the tape is cleared, by `backward` or after generating, the Values on it count as constants from then on. There
    is one tape: compute in one thread at a time.

    The operators, each with its slopes. A plain number may stand on either side, and becomes a Value of its own.

    a + b      ∂/∂a = 1, ∂/∂b = 1
    a * b      ∂/∂a = b, ∂/∂b = a
    a ** n     ∂/∂a = n a^(n - 1), for a plain number n. Raises TypeError where the result is not a real number,
               ZeroDivisionError where it or its slope is infinite (so for division by 0 too), OverflowError where
               either is too large for a double
    a.exp()    ∂/∂a = e^a. Raises OverflowError above about 709.78
    a.log()    ∂/∂a = 1 / a. Raises ValueError for a <= 0
    a.relu()   a itself if a > 0, ∂/∂a = 1; else 0, and as its slope is 0, it keeps no link to a (at a = 0 there is no
               slope; 0 is the custom)
    -a, a - b, a / b are said in terms of these.
    """

    __slots__ = ("data", "grad", "children", "local_grads")
    tape = []  # every Value with children, in order of birth

    def __init__(self, data, children=(), local_grads=()):
        self.data, self.grad = data, 0.0
        self.children, self.local_grads = children, local_grads
        if children: Value.tape.append(self)

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent):
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Value(float(self.data**exponent), (self,), (slope,))

    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def log(self): return Value(math.log(self.data), (self,), (1.0 / self.data,))
    def relu(self): return Value(self.data, (self,), (1.0,)) if self.data > 0 else Value(0.0)
    def __neg__(self): return self * -1.0
    def __sub__(self, other): return self + -other
    def __rsub__(self, other): return -self + other
    def __truediv__(self, other): return self * other**-1
    def __rtruediv__(self, other): return self**-1 * other
    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self): return f"Value(data={self.data}, grad={self.grad})"

    def backward(self):
        """Adds ∂self/∂v to the grad of every Value v that self was computed from, and clears the tape.

        The chain rule: ∂L/∂child = sum over its parents of ∂L/∂parent * ∂parent/∂child. A parent stands later on the
        tape than its children, so when the walk from the end reaches a Value, its grad is complete. A grad of 0, of
        what self does not depend on, has nothing to pass on.

        Raises RuntimeError if self is not on the tape: it is a leaf, or the tape has been cleared since.
        """
        nodes = Value.tape[::-1]  # each comes before the children it was computed from
        if self not in nodes:
            raise RuntimeError("not on the tape: a leaf, or the tape was cleared since")
        self.grad = 1.0
        for node in nodes:
            grad = node.grad
            if grad:
                for child, local_grad in zip(node.children, node.local_grads):
                    child.grad += local_grad * grad
        Value.tape.clear()


# ======================================================================================================================
# Vector functions
# ======================================================================================================================

sumprod = getattr(math, "sumprod", lambda a, b: sum(map(mul, a, b)))  # in math since Python 3.12


def linear(x, weights):  # [n_in], [n_out][n_in] -> [n_out]; row + x joins the lists
    """y = W x: a dot product of x with each row of W, each as one node.

    A dot product Σ W_ij x_j is one node with 2n children in place of n products and a sum: the slope in a factor is the
    other factor. Most of the program's speed comes from this. x and the rows must be lists: the children are those of
    the row and then x, the slopes x and then the row. ∂L/∂W[i][j] = ∂L/∂y_i * x_j, and ∂L/∂x_j = Σ_i ∂L/∂y_i * W[i][j].
    """
    x_data = [value.data for value in x]
    rows = [(row, [weight.data for weight in row]) for row in weights]
    return [Value(sumprod(row_data, x_data), row + x, x_data + row_data) for row, row_data in rows]


def dot(a, b): return linear(a, [b])[0]  # [n], [n] -> one Value
def add(a, b): return [left + right for left, right in zip(a, b)]  # [n], [n] -> [n]


def logsumexp(x):  # [n] -> one Value, whose slopes are exactly softmax(x)
    """ln Σ e^x_i as one node; its slopes are exactly softmax(x).

    Taking the largest x_i out first changes nothing in exact arithmetic, ln Σ e^x_i = m + ln Σ e^(x_i - m), and keeps
    every exponent at 0 or below, so nothing overflows.
    """
    largest = max(value.data for value in x)
    powers = [math.exp(value.data - largest) for value in x]
    total = sum(powers)
    return Value(largest + math.log(total), x, [power / total for power in powers])


def softmax(x):  # [n] -> [n], probabilities that sum to 1
    """Any n numbers to n probabilities that sum to 1: p_i = e^x_i / Σ e^x_j = e^(x_i - logsumexp(x)).

    ∂p_i/∂x_j = p_i (1 - p_i) for i = j, else -p_i p_j; autograd finds it through the two steps.

    ```mermaid
    flowchart LR
        x["x [n]<br>any numbers"] --> lse["logsumexp(x)<br>one number"]
        x --> minus["x_i - logsumexp(x)<br>ln p_i, at most 0"]
        lse --> minus
        minus --> exp["exp"]
        exp --> p["p [n]<br>0 to 1, sum 1"]
    ```
    """
    minus_total = -logsumexp(x)
    return [(value + minus_total).exp() for value in x]


def rmsnorm(x, epsilon=1e-5):  # [n] -> [n], with a mean square of 1 (0 stays 0)
    """x scaled to a mean square of 1 (Zhang and Sennrich, 2019), here without a learned gain.

    y_i = x_i * s with s = (mean(x²) + epsilon)^(-1/2), and ∂L/∂x_j = s * (g_j - y_j * mean(g * y)) with g = ∂L/∂y. The
    mean is not removed, and no |y_i| exceeds sqrt(n). epsilon keeps a vector of zeros at zero, and a tiny one small.

    ```mermaid
    flowchart LR
        x["x [n]"] --> square["mean of x_i²"]
        square --> epsilon["+ epsilon"]
        epsilon --> root["to the power -1/2:<br>the scale s"]
        root --> times["x_i * s"]
        x --> times
        times --> y["y [n], mean square 1"]
    ```
    """
    scale = (dot(x, x) / len(x) + epsilon) ** -0.5
    return [value * scale for value in x]


# ======================================================================================================================
# Parameters
# ======================================================================================================================


def initialize_parameters(config, vocab_size, rng):
    """The state_dict: name -> weight matrix [n_out][n_in] of Values, drawn from N(0, weight_std²), row by row.

    The weights must differ: neurons that start equal get equal gradients and stay equal for ever.
    """
    n = config.n_embd  # the width of the model
    shapes = [("wte", vocab_size, n), ("wpe", config.block_size, n), ("lm_head", vocab_size, n)]
    for layer in range(config.n_layer):
        shapes += [(f"layer{layer}.attn_w{name}", n, n) for name in "qkvo"]
        shapes += [(f"layer{layer}.mlp_fc1", 4 * n, n), (f"layer{layer}.mlp_fc2", n, 4 * n)]
    return {name: [[Value(rng.gauss(0, config.weight_std)) for _ in range(n_in)]
                   for _ in range(n_out)] for name, n_out, n_in in shapes}


# ======================================================================================================================
# Model
# ======================================================================================================================


def gpt_forward(token_id, position, keys, values, state_dict, config):
    """One token at one position to the logits of the token after it: -> [vocab_size].

    `keys` and `values` are the cache: for each layer a list of `position` vectors; both are {} before the first token,
    and this call appends one vector to each list. Tokens are given in order, position 0, 1, 2, ... Only what came
    before is in the cache, so the model cannot look ahead, and no mask is needed.

    A transformer layer adds to the residual stream x twice, each time from a normalised copy of it (pre-norm, as in
    GPT-2; residual connections: He et al., 2015, "Deep Residual Learning"). As y = x + f(x), ∂L/∂x = ∂L/∂y + what comes
    back through f: the gradient always has a direct way.

    ```mermaid
    flowchart TB
        x0["x [n_embd]"] --> norm1["rmsnorm"]
        norm1 --> attention["multi-head attention, attn_wo"]
        x0 -->|"residual"| plus1(("+"))
        attention --> plus1
        plus1 --> norm2["rmsnorm"]
        norm2 --> fc1["mlp_fc1 [4 n_embd]"]
        fc1 --> relu["relu"]
        relu --> fc2["mlp_fc2 [n_embd]"]
        plus1 -->|"residual"| plus2(("+"))
        fc2 --> plus2
        plus2 --> x1["x [n_embd], to the next layer"]
    ```

    Attention(q, K, V) = Σ_t a_t v_t with a = softmax(q · k_t / sqrt(head_dim)) over the cached positions t (Vaswani et
    al., 2017). Each head does this on its own slice of head_dim numbers:

    ```mermaid
    flowchart TB
        x["normalised x [n_embd]"] --> q["q = attn_wq x"]
        x --> k["k = attn_wk x"]
        x --> v["v = attn_wv x"]
        k -->|"append"| keys[("cached keys, 0 to position")]
        v -->|"append"| values[("cached values, 0 to position")]
        q --> scores["scores: q · key<br>one for each cached position"]
        keys --> scores
        scores --> weights["attn_weights = softmax(scores / sqrt(head_dim))"]
        weights --> out["sum of weight * value [head_dim]"]
        values --> out
        out --> concat["attn_out: all heads side by side [n_embd]"]
        concat --> wo["attn_wo attn_out [n_embd]"]
    ```
    """
    head_dim = config.n_embd // config.n_head
    x = rmsnorm(add(state_dict["wte"][token_id], state_dict["wpe"][position]))  # [n_embd]
    for layer in range(config.n_layer):
        # Attention: what do the tokens so far have to tell this one? q, k and v: [n_embd].
        normed = rmsnorm(x)  # [n_embd]
        q, k, v = (linear(normed, state_dict[f"layer{layer}.attn_w{name}"]) for name in "qkv")
        keys.setdefault(layer, []).append(k)
        values.setdefault(layer, []).append(v)
        attn_out = []  # [n_embd] when every head has added its part; zip(*rows) gives columns
        for head in range(config.n_head):
            part = slice(head * head_dim, (head + 1) * head_dim)
            scores = linear(q[part], [k[part] for k in keys[layer]])  # [position + 1]
            attn_weights = softmax([score / head_dim**0.5 for score in scores])  # [position + 1]
            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer]])))
        x = add(x, linear(attn_out, state_dict[f"layer{layer}.attn_wo"]))  # [n_embd]
        # MLP: this token on its own, 4 times wider (hidden: [4 * n_embd]) and back.
        hidden = [y.relu() for y in linear(rmsnorm(x), state_dict[f"layer{layer}.mlp_fc1"])]
        x = add(x, linear(hidden, state_dict[f"layer{layer}.mlp_fc2"]))  # [n_embd]
    return linear(x, state_dict["lm_head"])  # [vocab_size]


# ======================================================================================================================
# Loss
# ======================================================================================================================


def compute_loss(tokens, state_dict, config):
    """The mean over positions of the cross-entropy -ln softmax(logits)[next token], in nats.

    Cross-entropy is computed as logsumexp(logits) - logits[next token]: the same, but it never takes the logarithm of a
    probability that was rounded to 0. ∂loss/∂logits = (softmax(logits) - 1 at the next token) / number of positions.
    Guessing evenly costs ln(vocab_size).
    A document of more than block_size tokens is cut to its first block_size.
    """
    keys, values, losses = {}, {}, []
    for position in range(min(config.block_size, len(tokens) - 1)):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)
        position_loss = logsumexp(logits) - logits[tokens[position + 1]]
        losses.append(position_loss)
    return sum(losses) / len(losses)


# ======================================================================================================================
# Command line
# ======================================================================================================================


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; an option that is not given is absent from the result. Raises InputError if it is wrong."""
    parser = argparse.ArgumentParser(
        description="Train a GPT on a list of names, and invent new ones.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    meaning = "a UTF-8 text file, one document a line (default: the names.txt beside this script)"
    parser.add_argument("names", nargs="?", metavar="NAMES", help=meaning, default=Path(
        globals().get("__file__", "pasted")).resolve().with_name("names.txt"))
    for flag, field, kind, metavar, meaning in (
        ("--steps", "num_steps", int, "N", "training steps, one document each"),
        ("--samples", "num_samples", int, "N", "names to invent"),
        ("--temperature", "temperature", float, "T", "below 1 more typical names, above 1 stranger ones, 0: likeliest"),
        ("--prompt", "prompt", str, "TEXT", "what every new name starts with"),
        ("--seed", "seed", int, "N", "another number, another run"),
        ("--n-layer", "n_layer", int, "N", "transformer layers"),
        ("--n-embd", "n_embd", int, "N", "numbers per token, a multiple of the heads"),
        ("--n-head", "n_head", int, "N", "attention heads per layer"),
        ("--block-size", "block_size", int, "N", "longest context, in tokens"),
        ("--learning-rate", "learning_rate", float, "X", "size of the first steps; it falls to 0"),
        ("--save", "save", str, "FILE", "write the trained model here"),
        ("--load", "load", str, "FILE", "start from this model and train it for --steps more (0: only sample)"),
    ):
        default = f" (default: {getattr(GPTConfig, field)})" if hasattr(GPTConfig, field) else ""
        parser.add_argument(flag, dest=field, type=kind, metavar=metavar, help=meaning + default)

    def refuse(message):
        raise InputError(f"{message} (--help lists the options)")

    parser.error = refuse
    return parser.parse_args(arguments)


# ======================================================================================================================
# Preparation
# ======================================================================================================================


@dataclass
class Run:
    """What a run begins with: the documents shuffled, as text and as tokens; the weights, drawn or loaded; the number
    of steps already taken; and the generator of chance, as it stands after the draw."""

    docs: list[str]
    documents: list[list[int]]
    tokenizer: Tokenizer
    state_dict: dict[str, list[list[Value]]]
    step: int
    rng: random.Random


def prepare_run(docs: list[str], config: GPTConfig, checkpoint: dict | None = None) -> Run:
    """The beginning of a run on these documents, from random weights or from a checkpoint (see `load_checkpoint`).

    The weights are drawn even when a checkpoint replaces them, so that a loaded model samples what it would have
    sampled when saved. Raises InputError if a document has a character that the checkpoint does not know, if the
    checkpoint's weights are not of the shapes its sizes say, or if the machine has not the memory for these sizes. The
    threshold of Python's cyclic garbage collector is raised, for the whole process: looking for cycles takes time.
    """
    docs = list(docs)
    rng = random.Random(config.seed)
    rng.shuffle(docs)
    tokenizer = Tokenizer(checkpoint["vocabulary"] if checkpoint else "".join(sorted(set("".join(docs)))))
    documents = [tokenizer.encode(doc) for doc in docs]
    check_memory(config, tokenizer.vocab_size)
    state_dict = initialize_parameters(config, tokenizer.vocab_size, rng)
    if checkpoint:
        if set(checkpoint["state_dict"]) != set(state_dict):
            odd = ", ".join(sorted(set(checkpoint["state_dict"]) ^ set(state_dict))[:3])
            raise InputError(f"the checkpoint's weights are not those of its sizes: {odd} are missing or too many")
        for name, rows in state_dict.items():
            numbers = checkpoint["state_dict"][name]
            if list(map(len, rows)) != list(map(len, numbers)):
                raise InputError(f"the checkpoint's {name} must have {len(rows)} rows of {len(rows[0])} numbers")
            state_dict[name] = [[Value(number) for number in row] for row in numbers]
    if hasattr(gc, "set_threshold"): gc.set_threshold(100_000)  # the graph has no cycles to find
    return Run(docs, documents, tokenizer, state_dict, checkpoint["step"] if checkpoint else 0, rng)


BYTES_PER_PARAMETER = 250  # a Value with its numbers, and what Adam and a step keep for it


def machine_memory() -> int:
    """The memory of this machine in bytes; 16 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**34


def check_memory(config: GPTConfig, vocab_size: int) -> None:
    """Raises InputError, with the estimate, if the parameters alone would fill the memory of this machine."""
    n_embd, memory = config.n_embd, machine_memory()
    parameters = n_embd * (2 * vocab_size + config.block_size + 12 * n_embd * config.n_layer)
    if parameters * BYTES_PER_PARAMETER > memory:
        raise InputError(f"{parameters:,} parameters need about {parameters * BYTES_PER_PARAMETER / 2**30:,.0f} GiB, "
                         f"and this machine has {memory / 2**30:,.0f}: choose smaller sizes")


# ======================================================================================================================
# Optimizer
# ======================================================================================================================


class AdamOptimizer:
    """Adam (Kingma and Ba, 2015): each parameter moves against the running mean of its gradient.

    The first step is as long as the learning rate, whatever the gradient's size; later ones are mostly shorter. m is a
    running mean of the gradient, v of its square; both start at 0, which the division by 1 - beta^t corrects.

    ```mermaid
    flowchart TB
        g["g: gradient, ∂L/∂p"] --> m["m = beta1 m + (1 - beta1) g"]
        g --> v["v = beta2 v + (1 - beta2) g²"]
        m --> mhat["m_hat = m / (1 - beta1^t)"]
        v --> vhat["v_hat = v / (1 - beta2^t)"]
        mhat --> update["p = p - rate * m_hat / (sqrt(v_hat) + eps)"]
        vhat --> update
        update --> zero["gradient back to 0"]
    ```
    """

    def __init__(self, state_dict: dict[str, list[list[Value]]], config: GPTConfig) -> None:
        parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
        m, v = [0.0] * len(parameters), [0.0] * len(parameters)
        self.parameters, self.m, self.v, self.config = parameters, m, v, config
        self.t = 0  # updates so far

    def step(self, learning_rate: float) -> None:
        """One update of every parameter from its grad, which is then set back to 0 for the next step."""
        self.t += 1
        parameters, m, v, t = self.parameters, self.m, self.v, self.t
        beta1, beta2, eps_adam = self.config.beta1, self.config.beta2, self.config.eps_adam
        new1, new2 = 1 - beta1, 1 - beta2
        bias1, bias2 = 1 - beta1**t, 1 - beta2**t
        for i, parameter in enumerate(parameters):
            grad = parameter.grad
            m[i] = beta1 * m[i] + new1 * grad
            v[i] = beta2 * v[i] + new2 * grad * grad
            parameter.data -= (learning_rate * (m[i] / bias1)
                               / (math.sqrt(v[i] / bias2) + eps_adam))
            parameter.grad = 0.0

    def snapshot(self) -> tuple:
        """All that a step changes, as it stands now."""
        return self.t, list(self.m), list(self.v), [parameter.data for parameter in self.parameters]

    def restore(self, snapshot: tuple) -> None:
        """Puts everything back to where it stood then, with no gradient."""
        self.t, m, v, numbers = snapshot
        self.m, self.v = list(m), list(v)
        for parameter, number in zip(self.parameters, numbers):
            parameter.data, parameter.grad = number, 0.0
        Value.tape.clear()


# ======================================================================================================================
# Training
# ======================================================================================================================


def train_step(
    tokens: list[int],
    state_dict: dict[str, list[list[Value]]],
    optimizer: AdamOptimizer,
    learning_rate: float,
    config: GPTConfig,
) -> float:
    """One document forward, backward, update. Returns its loss before the update, in nats.

    Raises InputError, with no parameter changed, if the loss is not finite.

    ```mermaid
    flowchart TB
        tokens["tokens of one document"] --> forward["forward: gpt_forward at each position"]
        forward --> loss["loss: mean cross-entropy"]
        loss --> backward["backward: grad of each parameter"]
        backward --> update["Adam: new parameters, grads to 0"]
        update -->|"next document"| tokens
    ```
    """
    loss = compute_loss(tokens, state_dict, config)
    if not math.isfinite(loss.data):
        raise InputError(f"the loss became {loss.data}: lower the learning rate, or start from other weights")
    loss.backward()
    optimizer.step(learning_rate)
    return loss.data


def on_terminal() -> bool:
    """Whether the output goes to a terminal, where a line can be rewritten. (IDLE's window says it is one.)"""
    try:
        return os.isatty(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):  # there is no output, or it is no file
        return False


def print_step(step: int, loss: float, seconds: float, config: GPTConfig) -> None:
    """The step's line of the transcript; on a terminal rewritten in place, with a progress bar and the time."""
    line = f"step {step:4d} / {config.num_steps:4d} | loss {loss:.4f}"
    if not on_terminal():
        print(line, flush=True)
        return
    bar = "#" * (20 * step // config.num_steps)
    remaining = seconds * (config.num_steps / step - 1)
    line = f"\r{line} | [{bar:<20}] {seconds:4.0f} s, {remaining:4.0f} s left"
    print(line[: shutil.get_terminal_size().columns], end="", flush=True)  # a longer line could not be rewritten


def train(
    documents: list[list[int]],
    state_dict: dict[str, list[list[Value]]],
    optimizer: AdamOptimizer,
    config: GPTConfig,
    first_step: int = 0,
) -> int:
    """Trains on one document a step, for num_steps steps. Returns the number of steps taken.

    `documents` are token lists in shuffled order; the step that i steps precede takes document
    (first_step + i) % len(documents), and the learning rate falls linearly, learning_rate * (1 - i / num_steps). It
    ends early on Ctrl-C, or when nobody reads the output any more; the step that is then under way does not count, and
    weights and optimizer are as the last whole step left them.

    ```mermaid
    flowchart TB
        names["names.txt"] --> shuffle["shuffle once, tokenize"]
        shuffle --> pick["next document"]
        pick --> step["train_step"]
        step --> report["print the loss"]
        report -->|"until num_steps"| pick
        report -->|"done"| save["save the checkpoint, if asked"]
        save --> sample["invent names"]
    ```
    """
    started, finished = time.perf_counter(), (0, optimizer.snapshot())
    try:
        for t in range(1, config.num_steps + 1):
            tokens = documents[(first_step + t - 1) % len(documents)]
            learning_rate = config.learning_rate * (1 - (t - 1) / config.num_steps)
            loss = train_step(tokens, state_dict, optimizer, learning_rate, config)
            finished = t, optimizer.snapshot()
            print_step(t, loss, time.perf_counter() - started, config)
    except KeyboardInterrupt:
        optimizer.restore(finished[1])
    except BrokenPipeError:
        discard_output()
    if finished[0] and on_terminal():
        print()
    return finished[0]


def discard_output() -> None:
    """From now on nothing is printed: whoever read the output (`| head`) has gone, which is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ======================================================================================================================
# Checkpoint
# ======================================================================================================================


CHECKPOINT_FORMAT = "script_gpt checkpoint 1"  # what `load_checkpoint` expects of `save_checkpoint`


def temporary_name(path: str) -> str:
    """Where a checkpoint is written before it takes the place of `path`: in the same folder, so that it can."""
    return f"{path}.{os.getpid()}.tmp"


def check_can_save(path: str) -> None:
    """Raises InputError if a checkpoint could not be written to this path, or would replace what is not a checkpoint:
    better before training than after it."""
    path = os.path.realpath(path)
    if os.path.exists(path):
        if not os.path.isfile(path):
            raise InputError(f"cannot save to {path}: it is not an ordinary file, choose another name")
        try:
            load_checkpoint(path)
        except InputError as error:
            raise InputError(f"cannot save to {path}: it holds something else than a checkpoint, and would be lost; "
                             "choose another name") from error
    try:
        with open(temporary_name(path), "w"):
            pass
        os.remove(temporary_name(path))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot save to {path} ({error}): choose another place") from error


def save_checkpoint(
    path: str, state_dict: dict[str, list[list[Value]]], tokenizer: Tokenizer, config: GPTConfig, step: int
) -> None:
    """Writes the model as one JSON file, whole or not at all: first beside the path, then renamed onto it.

    Python writes a double with as many digits as it takes to read the same double back. Raises InputError if the file
    cannot be written; what was there before is then still there.
    """
    checkpoint = {"format": "script_gpt checkpoint 1", "config": {
        key: getattr(config, key) for key in ("n_layer", "n_embd", "n_head", "block_size")},
        "vocabulary": tokenizer.vocabulary, "step": step, "state_dict": state_dict}
    path = os.path.realpath(path)  # if it is a link, replace the file and keep the link
    temporary = Path(temporary_name(path))
    try:
        temporary.write_text(json.dumps(checkpoint, default=lambda v: v.data, allow_nan=False))
        temporary.replace(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot save to {path} ({error}): choose another place, or train another model") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def load_checkpoint(path: str) -> dict:
    """The checkpoint as plain data: config, vocabulary, step, and state_dict with numbers in place of Values.

    Reading it runs nothing of what it holds (JSON, not pickle). Raises InputError if it cannot be read, is not a
    checkpoint, is cut short, or has weights that are not finite numbers. Their shapes are for `prepare_run` to check.
    """
    hint = "name a file written by --save"
    try:
        checkpoint = json.loads(read_text(path, "a file written by --save"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a checkpoint, or is cut short: {hint}") from error
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != CHECKPOINT_FORMAT:
        raise InputError(f"{path} is not a checkpoint of this program: {hint}")
    try:
        sizes, vocabulary, step, matrices = (checkpoint[key] for key in ("config", "vocabulary", "step", "state_dict"))
        if set(sizes) != set(SIZES) or not all(type(size) is int for size in sizes.values()):
            raise ValueError(f"config must hold {', '.join(SIZES)}, all whole numbers")
        GPTConfig(**sizes)
        if not isinstance(vocabulary, str) or len(set(vocabulary)) != len(vocabulary):
            raise ValueError("vocabulary must be a text in which no character occurs twice")
        if type(step) is not int or not 0 <= step < 1e15:
            raise ValueError("step must be a whole number, 0 or more")
        for name, matrix in matrices.items():
            numbers = [number for row in matrix for number in row]
            if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
                raise ValueError(f"{name} has a weight that is not a finite number")
    except KeyError as error:
        raise InputError(f"{path} is not a checkpoint, {error} is missing: {hint}") from error
    except (TypeError, AttributeError, ValueError, OverflowError, InputError) as error:
        raise InputError(f"{path} is not a sound checkpoint ({error}): {hint}") from error
    return checkpoint


# ======================================================================================================================
# Generation
# ======================================================================================================================


def encode_prompt(prompt: str, tokenizer: Tokenizer, config: GPTConfig) -> list[int]:
    """BOS and the prompt's tokens; the closing BOS is the model's to draw.

    Raises InputError if the prompt has an unknown character, or leaves no room in the context.
    """
    tokens = tokenizer.encode(unicodedata.normalize("NFC", prompt))[:-1]
    if len(tokens) > config.block_size:
        raise InputError(f"the prompt has {len(tokens) - 1} characters: the context has room for "
                         f"{config.block_size - 1}")
    return tokens


def generate_text(
    prompt: list[int],
    state_dict: dict[str, list[list[Value]]],
    tokenizer: Tokenizer,
    config: GPTConfig,
    rng: random.Random,
) -> str:
    """A new document that starts with the prompt (see `encode_prompt`): token after token is drawn, until BOS or
    block_size characters.

    The logits are divided by the temperature before softmax, p_i ∝ e^(logit_i / T). A temperature of 0 is taken as
    1e-9: so cold that only the likeliest token has any probability.

    ```mermaid
    flowchart TB
        start["BOS and the prompt"] --> forward["gpt_forward, one token at a time"]
        forward --> divide["logits / temperature"]
        divide --> softmax["softmax"]
        softmax --> draw["draw one token by its probability"]
        draw -->|"a character: append it, feed it back"| forward
        draw -->|"BOS, or block_size characters"| done["the new name"]
    ```
    """
    bos = tokenizer.bos
    tokens, keys, values = list(prompt), {}, {}
    for position in range(config.block_size):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)
        if position + 1 < len(tokens): continue  # still reading the prompt
        probabilities = softmax([logit / (config.temperature or 1e-9) for logit in logits])
        if not math.isfinite(sum(p.data for p in probabilities)):
            raise InputError("the probabilities are not finite: this model cannot be used, load another")
        tokens += rng.choices(range(len(logits)), weights=[p.data for p in probabilities])
        if tokens[-1] == bos: break
    Value.tape.clear()  # nothing here is differentiated
    return tokenizer.decode(tokens)


# ======================================================================================================================
# Program
# ======================================================================================================================


def visible(text: str) -> str:
    """The text as it is, or quoted and with escapes if it has characters that cannot be shown, such as a tab."""
    return text if text.isprintable() else repr(text)


def run(arguments: argparse.Namespace) -> None:
    """Train, save, sample. Whatever is wrong with the input is found before anything is printed or written."""
    options = vars(arguments)
    checkpoint = load_checkpoint(options["load"]) if "load" in options else None
    chosen = {name: value for name, value in options.items() if hasattr(GPTConfig, name)}
    sizes = checkpoint["config"] if checkpoint else {}
    for name, size in sizes.items():
        if chosen.get(name, size) != size:
            raise InputError(f"the loaded model has {name} {size}, not {chosen[name]}: leave that option out")
    config = GPTConfig(**{**sizes, **chosen})
    if "save" in options:
        check_can_save(options["save"])
    run = prepare_run(load_dataset(options["names"]), config, checkpoint)
    prompt = encode_prompt(options.get("prompt", ""), run.tokenizer, config)
    optimizer = AdamOptimizer(run.state_dict, config)

    print(f"num docs: {len(run.docs)}\nvocab size: {run.tokenizer.vocab_size}\nnum params: {len(optimizer.parameters)}",
          flush=True)
    step = run.step + train(run.documents, run.state_dict, optimizer, config, run.step)
    if "save" in options:
        save_checkpoint(options["save"], run.state_dict, run.tokenizer, config, step)
    print("--- new names ---")
    for index in range(config.num_samples):
        sample = generate_text(prompt, run.state_dict, run.tokenizer, config, run.rng)
        print(f"sample {index + 1:2d}: {visible(sample)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the program. Bad input ends in one line on standard error, and SystemExit with exit code 2; a Ctrl-C
    outside training in exit code 130."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter this terminal cannot show is no reason to stop
    try:
        run(parse_arguments(arguments))
    except InputError as error:
        refuse(error)
    except MemoryError:
        refuse("the memory of this machine is full: choose smaller sizes, or less data")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        discard_output()
    except OSError as error:  # a full disk behind our output, say
        refuse(f"{error}: let the output go elsewhere")


def refuse(problem: object) -> None:
    """Says in one line on standard error what is wrong, and ends the program with exit code 2."""
    print("error:", " ".join(str(problem).split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    # Pasted into a notebook it has no file, and the arguments there are somebody else's.
    main(None if "__file__" in globals() else [])
