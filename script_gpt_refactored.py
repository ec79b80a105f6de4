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
import signal
import sys
import time
from dataclasses import dataclass
from operator import mul
from typing import Sequence

# ======================================================================================================================
# Configuration
# ======================================================================================================================


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line: what is wrong, and what to do."""


@dataclass(frozen=True)
class GPTConfig:
    """Every number that is chosen rather than learned (but for rmsnorm's epsilon and the MLP's factor 4).

    n_layer, n_embd, n_head, block_size    depth, width, attention heads, longest context: the shape of the model
    learning_rate, beta1, beta2, eps_adam  Adam's constants; the rate falls linearly to 0 over the run
    num_steps, num_samples, seed           how many documents to train on, how many to invent, where chance starts
    temperature                            divides the logits when sampling: below 1 typical names, above 1 stranger
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
        for name in ("n_layer", "n_embd", "n_head", "block_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name, highest in (("learning_rate", 100.0), ("temperature", 1e9)):
            if not 1e-9 <= getattr(self, name) <= highest:
                raise InputError(f"{name} is {getattr(self, name)}: it must be positive, from 1e-09 to {highest:g}")
        for name in ("num_steps", "num_samples"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise InputError(f"{name} is {getattr(self, name)}: it must be from 0 to 1e9")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}")

    @property
    def head_dim(self) -> int:
        """Numbers per head: each head works on its own slice of the n_embd numbers."""
        return self.n_embd // self.n_head


# ======================================================================================================================
# Data
# ======================================================================================================================


def load_dataset(path: str) -> list[str]:
    """The documents of a UTF-8 text file, one a line, in file order, stripped, without empty lines.

    Raises InputError if the file cannot be read, is not UTF-8, or holds no document.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            docs = [line.strip() for line in file]
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): name a text file, one document a line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8 first") from error
    docs = [doc for doc in docs if doc]
    if not docs:
        raise InputError(f"{path} is empty: it needs at least one document, one a line")
    return docs


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
            raise InputError(f"{text!r} has {''.join(unknown)!r}, not in the vocabulary: use only {self.vocabulary!r}")
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

    Every computed Value is appended to `Value.tape`, so the tape holds them in order of birth, and each stands after
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

    A Value computed before the last `backward` has left the tape: from then on it counts as a constant.
    """

    __slots__ = ("data", "grad", "children", "local_grads")
    tape = []  # every computed Value, in order of birth

    def __init__(self, data: float, children: Sequence[Value] = (), local_grads: Sequence[float] = ()) -> None:
        self.data, self.grad = data, 0.0
        self.children, self.local_grads = children, local_grads
        if children:
            Value.tape.append(self)

    def __add__(self, other: Value | float) -> Value:
        """a + b: ∂/∂a = 1, ∂/∂b = 1."""
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other: Value | float) -> Value:
        """a * b: ∂/∂a = b, ∂/∂b = a."""
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent: float) -> Value:
        """a ** n for a constant n: ∂/∂a = n * a ** (n - 1). Raises ValueError where either is not a real number."""
        return Value(math.pow(self.data, exponent), (self,), (exponent * math.pow(self.data, exponent - 1),))

    def exp(self) -> Value:
        """e ** a: ∂/∂a = e ** a. Raises OverflowError above about 709.78."""
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self) -> Value:
        """ln a: ∂/∂a = 1 / a. Raises ValueError for a <= 0."""
        return Value(math.log(self.data), (self,), (1.0 / self.data,))

    def relu(self) -> Value:
        """a if a > 0, else 0: ∂/∂a = 1 if a > 0, else 0 (at 0 itself, where there is no slope, 0 is the custom)."""
        return Value(self.data, (self,), (1.0,)) if self.data > 0 else Value(0.0, (self,), (0.0,))

    # The rest is said in terms of + and * and **; the __r...__ forms serve a plain number on the left, as in 2 - a.

    def __neg__(self) -> Value:
        return self * -1.0

    def __sub__(self, other: Value | float) -> Value:
        return self + -other

    def __truediv__(self, other: Value | float) -> Value:
        return self * other**-1

    def __radd__(self, other: float) -> Value:
        return self + other

    def __rsub__(self, other: float) -> Value:
        return -self + other

    def __rmul__(self, other: float) -> Value:
        return self * other

    def __rtruediv__(self, other: float) -> Value:
        return self**-1 * other

    def backward(self) -> None:
        """Adds ∂self/∂v to the grad of every Value v that self was computed from, and clears the tape.

        The chain rule: ∂L/∂child = sum over its parents of ∂L/∂parent * ∂parent/∂child. A parent stands later on the
        tape than its children, so when the walk from the end reaches a Value, its grad is complete.

        Raises RuntimeError if self is not on the tape: it is a leaf, or a backward has cleared the tape since.
        """
        if not any(node is self for node in reversed(Value.tape)):
            raise RuntimeError("backward needs a Value on the tape: this one is a leaf, or backward has cleared it")
        self.grad = 1.0
        for node in reversed(Value.tape):  # each node comes before the children it was computed from
            grad = node.grad
            if grad:  # 0 for what self does not depend on, and behind a silent relu: nothing to pass on
                for child, local_grad in zip(node.children, node.local_grads):
                    child.grad += local_grad * grad
        Value.tape.clear()


# ======================================================================================================================
# Vector functions
# ======================================================================================================================


def dot(a: Sequence[Value], b: Sequence[Value]) -> Value:
    """a · b = Σ a_i b_i as one node with 2n children: ∂/∂a_i = b_i, ∂/∂b_i = a_i. [n], [n] -> one Value.

    The same as n products and a sum, in one node in place of 2n: here and in `linear` lies most of the program's speed.
    """
    a_data, b_data = [value.data for value in a], [value.data for value in b]
    return Value(sum(map(mul, a_data, b_data)), (*a, *b), (*b_data, *a_data))


def linear(x: list[Value], weights: list[list[Value]]) -> list[Value]:
    """y = W x: a dot product of x with each row of W. [n_in], [n_out][n_in] -> [n_out].

    ∂L/∂W[i][j] = ∂L/∂y_i * x_j, and ∂L/∂x_j = Σ_i ∂L/∂y_i * W[i][j].
    """
    x_data = [value.data for value in x]  # read once here, where dot would read it for each row
    rows = zip(weights, [[weight.data for weight in row] for row in weights])
    # Here + joins lists: the children are the row and then x, the slopes x and then the row.
    return [Value(sum(map(mul, row_data, x_data)), row + x, x_data + row_data) for row, row_data in rows]


def logsumexp(x: Sequence[Value]) -> Value:
    """ln Σ e^x_i as one node; its slopes are exactly softmax(x). [n] -> one Value.

    Taking the largest x_i out first changes nothing in exact arithmetic, ln Σ e^x_i = m + ln Σ e^(x_i - m), and keeps
    every exponent at 0 or below, so nothing overflows.
    """
    largest = max(value.data for value in x)
    exponentials = [math.exp(value.data - largest) for value in x]
    total = sum(exponentials)
    return Value(largest + math.log(total), x, [exponential / total for exponential in exponentials])


def softmax(x: Sequence[Value]) -> list[Value]:
    """Any n numbers to n probabilities that sum to 1: p_i = e^x_i / Σ e^x_j = e^(x_i - logsumexp(x)). [n] -> [n].

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


def rmsnorm(x: list[Value], epsilon: float = 1e-5) -> list[Value]:
    """x scaled to a mean square of 1 (Zhang and Sennrich, 2019), here without a learned gain. [n] -> [n].

    y_i = x_i * s with s = (mean(x²) + epsilon)^(-1/2), and ∂L/∂x_j = s * (g_j - y_j * mean(g * y)) with g = ∂L/∂y. The
    mean is not removed, and no |y_i| exceeds sqrt(n). epsilon keeps a vector of zeros at zero.

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


def parameter_shapes(config: GPTConfig, vocab_size: int) -> dict[str, tuple[int, int]]:
    """The name and the shape (n_out, n_in) of each weight matrix, in the order they are drawn and saved."""
    n_embd = config.n_embd
    shapes = {"wte": (vocab_size, n_embd), "wpe": (config.block_size, n_embd), "lm_head": (vocab_size, n_embd)}
    for layer in range(config.n_layer):
        for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):
            shapes[f"layer{layer}.{name}"] = (n_embd, n_embd)
        shapes[f"layer{layer}.mlp_fc1"] = (4 * n_embd, n_embd)
        shapes[f"layer{layer}.mlp_fc2"] = (n_embd, 4 * n_embd)
    return shapes


def initialize_parameters(config: GPTConfig, vocab_size: int, rng: random.Random) -> dict[str, list[list[Value]]]:
    """The state_dict: each matrix by name, its weights drawn from a normal distribution N(0, weight_std²), row by row.

    The weights must differ: neurons that start equal get equal gradients and stay equal for ever.
    """
    return {
        name: [[Value(rng.gauss(0, config.weight_std)) for _ in range(n_in)] for _ in range(n_out)]
        for name, (n_out, n_in) in parameter_shapes(config, vocab_size).items()
    }


# ======================================================================================================================
# Model
# ======================================================================================================================


def empty_cache(config: GPTConfig) -> list[list[list[Value]]]:
    """A list for each layer, to which each token appends one vector of keys (or of values). [n_layer][0][n_embd]."""
    return [[] for _ in range(config.n_layer)]


def gpt_forward(
    token_id: int,
    position: int,
    keys: list[list[list[Value]]],
    values: list[list[list[Value]]],
    state_dict: dict[str, list[list[Value]]],
    config: GPTConfig,
) -> list[Value]:
    """One token at one position to the logits of the token after it: -> [vocab_size].

    `keys` and `values` are the cache (see `empty_cache`), n_layer lists of `position` vectors each; this call appends
    one vector to each list. Tokens are given in order, position 0, 1, 2, ... Only what came before is in the cache, so
    the model cannot look ahead, and no mask is needed.

    A transformer layer adds to the residual stream x twice, each time from a normalised copy of it (pre-norm, as in
    GPT-2; the residual connection is He et al., 2015). As y = x + f(x), ∂L/∂x = ∂L/∂y + what comes back through f: the
    gradient always has a direct way.

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
        q --> logits["attn_logits: q · key / sqrt(head_dim)<br>one for each cached position"]
        keys --> logits
        logits --> weights["attn_weights = softmax"]
        weights --> out["head_out: sum of weight * value [head_dim]"]
        values --> out
        out --> concat["attn_out: all heads side by side [n_embd]"]
        concat --> wo["attn_wo attn_out [n_embd]"]
    ```
    """
    token_embedding = state_dict["wte"][token_id]  # [n_embd]
    position_embedding = state_dict["wpe"][position]  # [n_embd]
    x = [t + p for t, p in zip(token_embedding, position_embedding)]  # [n_embd]
    x = rmsnorm(x)

    for layer in range(config.n_layer):
        # Attention: what do the tokens so far have to tell this one?
        normed = rmsnorm(x)  # [n_embd]
        q = linear(normed, state_dict[f"layer{layer}.attn_wq"])  # [n_embd]
        k = linear(normed, state_dict[f"layer{layer}.attn_wk"])  # [n_embd]
        v = linear(normed, state_dict[f"layer{layer}.attn_wv"])  # [n_embd]
        keys[layer].append(k)
        values[layer].append(v)
        attn_out = []  # [n_embd] once every head has added its slice
        for head in range(config.n_head):
            head_slice = slice(head * config.head_dim, (head + 1) * config.head_dim)
            q_head = q[head_slice]  # [head_dim]
            k_head = [key[head_slice] for key in keys[layer]]  # [position + 1][head_dim]
            v_head = [value[head_slice] for value in values[layer]]  # [position + 1][head_dim]
            attn_logits = [dot(q_head, key) / config.head_dim**0.5 for key in k_head]  # [position + 1]
            attn_weights = softmax(attn_logits)  # [position + 1]
            head_out = [dot(attn_weights, column) for column in zip(*v_head)]  # [head_dim]
            attn_out.extend(head_out)
        attn_proj = linear(attn_out, state_dict[f"layer{layer}.attn_wo"])  # [n_embd]
        x = [residual + new for residual, new in zip(x, attn_proj)]  # [n_embd]

        # MLP: this token on its own, 4 times wider and back.
        normed = rmsnorm(x)  # [n_embd]
        hidden = [neuron.relu() for neuron in linear(normed, state_dict[f"layer{layer}.mlp_fc1"])]  # [4 * n_embd]
        mlp_out = linear(hidden, state_dict[f"layer{layer}.mlp_fc2"])  # [n_embd]
        x = [residual + new for residual, new in zip(x, mlp_out)]  # [n_embd]

    logits = linear(x, state_dict["lm_head"])  # [vocab_size]
    return logits


# ======================================================================================================================
# Loss
# ======================================================================================================================


def compute_loss(tokens: list[int], state_dict: dict[str, list[list[Value]]], config: GPTConfig) -> Value:
    """The mean over positions of the cross-entropy -ln softmax(logits)[next token], in nats.

    Cross-entropy is computed as logsumexp(logits) - logits[next token]: the same, but it never takes the logarithm of a
    probability that was rounded to 0. ∂loss/∂logits = (softmax(logits) - 1 at the next token) / number of positions.
    Guessing evenly costs ln(vocab_size).
    A document of more than block_size tokens is cut to its first block_size.
    """
    keys, values = empty_cache(config), empty_cache(config)
    losses = []
    for position in range(min(config.block_size, len(tokens) - 1)):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)  # [vocab_size]
        target = tokens[position + 1]
        position_loss = logsumexp(logits) - logits[target]
        losses.append(position_loss)
    return sum(losses) / len(losses)


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
        self.parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
        self.config = config
        self.m = [0.0] * len(self.parameters)
        self.v = [0.0] * len(self.parameters)
        self.t = 0  # updates so far

    def step(self, learning_rate: float) -> None:
        """One update of every parameter from its grad, which is then set back to 0 for the next step."""
        self.t += 1
        beta1, beta2, eps = self.config.beta1, self.config.beta2, self.config.eps_adam
        new1, new2 = 1.0 - beta1, 1.0 - beta2
        bias1, bias2 = 1.0 - beta1**self.t, 1.0 - beta2**self.t
        m, v, sqrt = self.m, self.v, math.sqrt  # local names: this loop runs for every parameter at every step
        for i, parameter in enumerate(self.parameters):
            grad = parameter.grad
            m[i] = beta1 * m[i] + new1 * grad
            v[i] = beta2 * v[i] + new2 * grad * grad
            m_hat = m[i] / bias1
            v_hat = v[i] / bias2
            parameter.data -= learning_rate * m_hat / (sqrt(v_hat) + eps)
            parameter.grad = 0.0


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


def print_step(step: int, loss: float, seconds: float, config: GPTConfig) -> None:
    """The step's line of the transcript; on a terminal rewritten in place, with a progress bar and the time."""
    line = f"step {step:4d} / {config.num_steps:4d} | loss {loss:.4f}"
    if not sys.stdout.isatty():
        print(line, flush=True)
        return
    bar = "#" * (20 * step // config.num_steps)
    remaining = seconds * (config.num_steps / step - 1)
    line = f"\r{line} | [{bar:<20}] {seconds:4.0f} s, {remaining:4.0f} s left"
    print(line[: os.get_terminal_size().columns or 80], end="", flush=True)  # a longer line could not be rewritten


def catch_interrupts() -> list[int]:
    """From now on Ctrl-C only adds an entry to the list that is returned; a second Ctrl-C interrupts as usual."""
    interrupts = []

    def note(signal_number, frame):
        interrupts.append(signal_number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    return interrupts


def train(
    documents: list[list[int]],
    state_dict: dict[str, list[list[Value]]],
    config: GPTConfig,
    first_step: int,
    interrupts: list[int],
) -> int:
    """Trains on one document a step, for num_steps steps. Returns the number of steps taken.

    `documents` are token lists in shuffled order; step i takes document (first_step + i) % len(documents), and the
    learning rate falls linearly, learning_rate * (1 - i / num_steps). It ends early, after a whole step, once there is
    an entry in `interrupts` (see `catch_interrupts`) or nobody reads the output any more.

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
    optimizer = AdamOptimizer(state_dict, config)
    steps_taken = 0
    started = time.perf_counter()
    # The graph has no cycles, so CPython frees it without its cycle collector; PyPy has no other collector.
    pause_collector = sys.implementation.name == "cpython" and gc.isenabled()
    if pause_collector:
        gc.disable()
    try:
        while steps_taken < config.num_steps and not interrupts:
            tokens = documents[(first_step + steps_taken) % len(documents)]
            learning_rate = config.learning_rate * (1 - steps_taken / config.num_steps)
            loss = train_step(tokens, state_dict, optimizer, learning_rate, config)
            steps_taken += 1
            try:
                print_step(steps_taken, loss, time.perf_counter() - started, config)
            except BrokenPipeError:  # whoever read our output (`| head`) has gone: stop, and save what there is
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                break
    finally:
        if pause_collector:
            gc.enable()
        if steps_taken and sys.stdout.isatty():
            print()
    return steps_taken


# ======================================================================================================================
# Generation
# ======================================================================================================================


def encode_prompt(prompt: str, tokenizer: Tokenizer, config: GPTConfig) -> list[int]:
    """BOS and the prompt's tokens; the closing BOS is the model's to draw.

    Raises InputError if the prompt has an unknown character, or leaves no room in the context.
    """
    tokens = tokenizer.encode(prompt)[:-1]
    if len(tokens) > config.block_size:
        raise InputError(f"the prompt has {len(prompt)} characters: the context has room for {config.block_size - 1}")
    return tokens


def generate_text(
    prompt_tokens: list[int],
    state_dict: dict[str, list[list[Value]]],
    tokenizer: Tokenizer,
    config: GPTConfig,
    rng: random.Random,
) -> str:
    """A new document that starts with the prompt (see `encode_prompt`): token after token is drawn, until BOS or
    block_size characters.

    The logits are divided by the temperature before softmax, p_i ∝ e^(logit_i / T).

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
    tokens = list(prompt_tokens)
    keys, values = empty_cache(config), empty_cache(config)
    for position in range(config.block_size):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)  # [vocab_size]
        if position + 1 < len(tokens):
            continue  # still reading the prompt
        probabilities = [p.data for p in softmax([logit / config.temperature for logit in logits])]  # [vocab_size]
        if not math.isfinite(sum(probabilities)):
            raise InputError("the probabilities are not finite: this model cannot be used, load another")
        token = rng.choices(range(tokenizer.vocab_size), weights=probabilities)[0]
        if token == tokenizer.bos:
            break
        tokens.append(token)
    Value.tape.clear()  # nothing here is differentiated
    return tokenizer.decode(tokens)


# ======================================================================================================================
# Checkpoint
# ======================================================================================================================

CHECKPOINT_FORMAT = "script_gpt checkpoint 1"


def temporary_name(path: str) -> str:
    """Where a checkpoint is written before it takes the place of `path`: in the same folder, so that it can."""
    return f"{path}.{os.getpid()}.tmp"


def check_can_save(path: str) -> None:
    """Raises InputError if a file could not be written to this path: better before training than after it."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"cannot save to {path}: it is not an ordinary file, choose another name")
    try:
        with open(temporary_name(path), "w"):
            pass
        os.remove(temporary_name(path))
    except OSError as error:
        raise InputError(f"cannot save to {path} ({error.strerror}): choose another place") from error


def save_checkpoint(
    path: str, state_dict: dict[str, list[list[Value]]], tokenizer: Tokenizer, config: GPTConfig, step: int
) -> None:
    """Writes the model as one JSON file, whole or not at all: first beside the path, then renamed onto it.

    Python writes a double with as many digits as it takes to read the same double back. Raises InputError if the file
    cannot be written; what was there before is then still there.
    """
    checkpoint = {
        "format": CHECKPOINT_FORMAT,
        "config": {name: getattr(config, name) for name in ("n_layer", "n_embd", "n_head", "block_size")},
        "vocabulary": tokenizer.vocabulary,
        "step": step,
        "state_dict": {
            name: [[weight.data for weight in row] for row in matrix] for name, matrix in state_dict.items()
        },
    }
    path = os.path.realpath(path)  # if it is a link, replace the file and keep the link
    temporary = temporary_name(path)
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(checkpoint, file, allow_nan=False)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot save to {path} ({error}): choose another place, or train another model") from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def load_checkpoint(path: str) -> dict:
    """The checkpoint as plain data: config, vocabulary, step, and state_dict with floats in place of Values.

    Reading it runs nothing of what it holds (JSON, not pickle). Raises InputError if it cannot be read, is not a
    checkpoint, is cut short, or has weights that are missing, of the wrong shape or not finite.
    """
    try:
        with open(path, encoding="utf-8") as file:
            checkpoint = json.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): name a file written by --save") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a checkpoint, or is cut short: name a file written by --save") from error
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != CHECKPOINT_FORMAT:
        raise InputError(f"{path} is not a checkpoint of this program: name a file written by --save")
    try:
        sizes, vocabulary, step, matrices = (checkpoint[key] for key in ("config", "vocabulary", "step", "state_dict"))
        whole = all(type(sizes[name]) is int for name in ("n_layer", "n_embd", "n_head", "block_size"))
        if not whole or len(sizes) != 4 or sizes["n_layer"] > len(matrices):
            raise ValueError("config must hold n_layer, n_embd, n_head and block_size, all whole numbers")
        if not isinstance(vocabulary, str) or len(set(vocabulary)) != len(vocabulary):
            raise ValueError("vocabulary must be a text in which no character occurs twice")
        if type(step) is not int or not 0 <= step < 1e15:
            raise ValueError("step must be a whole number, 0 or more")
        shapes = parameter_shapes(GPTConfig(**sizes), len(vocabulary) + 1)
        if set(matrices) != set(shapes):
            odd = ", ".join(sorted(set(matrices) ^ set(shapes))[:3])
            raise ValueError(f"{odd} are missing or not expected among the weights")
        for name, (n_out, n_in) in shapes.items():
            if len(matrices[name]) != n_out or any(len(row) != n_in for row in matrices[name]):
                raise ValueError(f"{name} must have {n_out} rows of {n_in} numbers")
            numbers = [number for row in matrices[name] for number in row]
            if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
                raise ValueError(f"{name} has a weight that is not a finite number")
    except KeyError as error:
        raise InputError(f"{path} is not a checkpoint, {error} is missing: name a file written by --save") from error
    except (TypeError, AttributeError, ValueError, OverflowError, InputError) as error:
        raise InputError(f"{path} is not a sound checkpoint ({error}): name a file written by --save") from error
    return checkpoint


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
    here = os.path.dirname(os.path.realpath(__file__))
    parser.add_argument("names", nargs="?", metavar="NAMES", default=os.path.join(here, "names.txt"),
                        help="a UTF-8 text file, one document a line (default: the names.txt beside this script)")
    for flag, field, kind, metavar, meaning in (
        ("--steps", "num_steps", int, "N", "training steps, one document each"),
        ("--samples", "num_samples", int, "N", "names to invent"),
        ("--temperature", "temperature", float, "T", "below 1 more typical names, above 1 stranger ones"),
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
        if os.path.realpath(options["save"]) == os.path.realpath(options["names"]):
            raise InputError(f"cannot save to {options['save']}: that file holds the names, choose another")
    docs = load_dataset(options["names"])
    rng = random.Random(config.seed)
    rng.shuffle(docs)
    tokenizer = Tokenizer(checkpoint["vocabulary"] if checkpoint else "".join(sorted(set("".join(docs)))))
    documents = [tokenizer.encode(doc) for doc in docs]
    prompt_tokens = encode_prompt(options.get("prompt", ""), tokenizer, config)
    # Drawn even when a checkpoint replaces them, so that a loaded model samples what it would have sampled when saved.
    state_dict = initialize_parameters(config, tokenizer.vocab_size, rng)
    step = 0
    if checkpoint:
        step = checkpoint["step"]
        for name, matrix in checkpoint["state_dict"].items():
            state_dict[name] = [[Value(float(number)) for number in row] for row in matrix]

    print(f"num docs: {len(docs)}")
    print(f"vocab size: {tokenizer.vocab_size}")
    print(f"num params: {sum(len(row) for matrix in state_dict.values() for row in matrix)}")
    interrupts = catch_interrupts()
    step += train(documents, state_dict, config, step, interrupts)
    if "save" in options:
        save_checkpoint(options["save"], state_dict, tokenizer, config, step)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is left can be interrupted
    print("--- new names ---")
    for index in range(1, config.num_samples + 1):
        sample = generate_text(prompt_tokens, state_dict, tokenizer, config, rng)
        print(f"sample {index:2d}: {sample}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program. Returns the exit code: 0, 2 for bad input, 130 after a second Ctrl-C."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter this terminal cannot show is no reason to stop
    try:
        run(parse_arguments(arguments))
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone: leave quietly
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk behind our output, say
        print(f"error: {error}: let the output go elsewhere", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
