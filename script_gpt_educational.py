"""A GPT from first principles, taught by running it: the program of script_gpt_refactored.py with a lecture around it.

The program reads a list of names, one a line, learns how names are spelled, and invents new ones. The docstrings hold
the lectures: each asks a question, says what would go wrong without an answer, and checks the answer on numbers small
enough for a pencil, or on a run that was measured. PAUSE AND THINK is for you; the answers come a little later. Every
statement that starts with `lecture.` only reads values and prints (one adds two options); take them all away and the
program is that of script_gpt_refactored.py, to the last bit.

Run it:    python3 script_gpt_educational.py | grep -v ^step | less
           python3 script_gpt_educational.py --pause                   (waits for your guess at each question)
           python3 script_gpt_educational.py --close-ups 1,50,1000     (looks closely at these steps)
Read it:   from top to bottom; the lecturer's own code comes last, and you can leave it unread

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

    Raises InputError for a size, rate or count out of range, or n_embd not a multiple of n_head. The betas, eps_adam
    and weight_std are not checked.

    LECTURE: Hyperparameters
    Were the numbers that are not learned chosen well? The default run has a loss per token of 2.50 ± 0.01 on 1,000
    names it did not read. When one of them alone is changed, the loss changes by so much (mean ± standard deviation
    over five seeds; + is worse). A star marks at least 0.01 that is more than twice the standard deviation; the rest is
    smaller, or may be chance. (Unsteady: at a rate of 0.1 the last bits of sums, which differ between versions of
    Python, change its digits.) Others: GPT-2 small, and Adam's paper.

        parameter     here lowered to             raised to              others
        n_layer       1                           2     -0.003 ± 0.004   12
        n_embd        16   8     +0.015 ± 0.007 * 32    +0.000 ± 0.005   768
        n_head        4    1     +0.001 ± 0.004   8     -0.002 ± 0.004   12
        block_size    16                          32    -0.002 ± 0.003   1,024
        learning_rate 0.01 0.001 +0.072 ± 0.009 * 0.1   +, unsteady      0.001
        beta1         0.85 0     -0.003 ± 0.001   0.95  +0.003 ± 0.003   0.9
        beta2         0.99 0.9   +0.012 ± 0.003 * 0.999 -0.002 ± 0.003   0.999
        eps_adam      1e-8                        0.01  -0.001 ± 0.002   1e-8
        num_steps     1000 300   +0.064 ± 0.017 * 3000  -0.043 ± 0.006 *
        weight_std    0.08 0.01  +0.003 ± 0.004   0.5   +0.144 ± 0.027 * 0.02

    n_layer is how often a token looks around (attention) and thinks it over (MLP), n_embd how many numbers describe it,
    n_head how many heads share them, block_size how many tokens are read at most. beta1 and beta2 are memories of about
    1 / (1 - beta) steps, here 7 and 100. Training does not see temperature = 0.5 and num_samples = 20. The same seed,
    the same run.

    PAUSE AND THINK: which of these numbers would you change first?
    ANSWER: num_steps: three times as many lower the loss by 0.04, more than anything else in the table. Most harm, more
    than 0.03, is done by far too few steps, a rate ten times too low or too high, and large first weights.
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

    LECTURE: Tokens
    How does text become something to compute with? Each character is a token, and its number, the token id, is its
    place in the vocabulary. BOS, the next number after them, marks both ends. With the 26 letters, a is 0, e is 4, m is
    12, z is 25, and BOS is 26:

    >>> Tokenizer("abcdefghijklmnopqrstuvwxyz").encode("emma")
    [26, 4, 12, 12, 0, 26]

    The ids are names, not quantities: that m is three times e means nothing. So the model fetches a row of wte for the
    token and a row of wpe for its position, n_embd learned numbers each, and computes with their sum. Without wpe a
    single layer would see what stands before the last letter as a bag: which letters and how many, not in which order.
    (GPT-2 uses pieces of words instead of letters, byte-pair encoding, Sennrich et al., 2016: shorter texts, a far
    longer table.)

    PAUSE AND THINK: how many questions does the name "emma" put to the model?
    ANSWER: five, one a position: what follows BOS, e, m, m, a? The last answer is BOS.

    PAUSE AND THINK: how can one token mark both the start and the end?
    ANSWER: the two never meet: as a question it says that a name begins, as an answer that the name is over.
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

    LECTURE: Computation graphs and the chain rule
    In which direction must each parameter move for the loss to fall? Nudging them one at a time would take a whole
    forward pass for each. A Value therefore remembers which numbers it was computed from, its children, and how steeply
    it changes with each. One walk back through this graph gives the slope of the loss in every parameter, the gradient.
    Slopes multiply along a path and add up over paths. In L = a * a + a the number a reaches L by three ways, with
    slopes a, a and 1; at a = 3 they add up to 7:

    >>> a = Value(3.0)
    >>> L = a * a + a
    >>> L.backward()
    >>> L.data, a.grad
    (12.0, 7.0)

    So raise a by a tiny h, and L rises by 7 h. Where the slope is positive, lower the parameter a little; where it is
    negative, raise it: that, repeated, is all of training. The walk costs a small constant times the forward pass,
    however many parameters there are (reverse mode; Baur and Strassen, 1983).

    PAUSE AND THINK: why does backward say `child.grad += ...` and not `child.grad = ...`?
    ANSWER: because a number may be used more than once. Each use is a path to the loss, and slopes add over paths; with
    = the last path would wipe out the others (a above would get 3).

    PAUSE AND THINK: and why must the optimizer set the gradients back to 0?
    ANSWER: for the same reason: the next backward adds to what it finds, and the slopes of two names would mix.
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

        LECTURE: Why a tape
        In which order must the walk go? A Value may hand its gradient down only after everything computed from it has
        handed down its own. The usual way is to sort the graph first, by recursion; on a long chain that meets Python's
        recursion limit. But no number can be computed before those it is computed from exist. So every computed Value
        is appended to one list at its birth, the tape, where every child stands before its parents (in this family the
        children are born first). backward walks it from the end, with nothing left to sort:

        >>> total = x = Value(1.0)
        >>> for _ in range(100_000):
        ...     total = total + x
        >>> total.backward()
        >>> x.grad
        100001.0

        The tape costs memory: everything computed on the way is kept until the walk back. (Generating records one here
        too, and clears it after each name; most engines can be told to record nothing.)

        PAUSE AND THINK: what happens when backward is called twice on the same loss?
        ANSWER: here, an error: the first walk has used up the tape. A simple engine that sorts the graph would say
        nothing and give wrong slopes.
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

    LECTURE: What a layer computes
    How can new numbers be made of old ones in a way that can be learned? As weighted sums, y = W x: each number of y is
    a sum of all the numbers of x, with one row of W for its weights. Here 1 * 5 + 2 * 6 = 17 and 3 * 5 + 4 * 6 = 39:

    >>> W = [[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]]
    >>> [y.data for y in linear([Value(5.0), Value(6.0)], W)]
    [17.0, 39.0]

    A weight says how much one number counts for another, and learning changes it. Of the 4,192 parameters 3,504 are
    such weights; the others are the rows of wte and wpe.

    PAUSE AND THINK: how does the loss change with W[0][1]?
    ANSWER: by (slope of the loss in y[0]) times x[1]: the chain rule, one step.
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

    LECTURE: Why softmax subtracts the maximum
    How do scores become probabilities? A logit is a raw score for one token: any number, larger for likelier. softmax
    takes e to the power of each and divides by the sum of these powers: all become positive, their order stays, and a
    difference of 1 between two logits becomes a ratio of e. But the powers grow fast:

    >>> math.exp(1000.0)
    Traceback (most recent call last):
    OverflowError: math range error

    Taking the same amount off every number changes no probability, since e^(x - m) = e^x / e^m and the divisor cancels.
    With m the largest, every power is at most 1:

    >>> [round(p.data, 3) for p in softmax([Value(1000.0), Value(999.0)])]
    [0.731, 0.269]

    In floating point a probability can still reach 0. The loss never takes the logarithm of that: it is
    logsumexp(logits) - logits[target], where logsumexp is the logarithm of the sum:

    >>> logits = [Value(1000.0), Value(0.0)]
    >>> [p.data for p in softmax(logits)], (logsumexp(logits) - logits[1]).data
    ([1.0, 0.0], 1000.0)

    PAUSE AND THINK: softmax([1, 2, 3]), softmax([101, 102, 103]) or softmax([10, 20, 30]): which is the least even?
    ANSWER: the last: its differences are ten times as large. The first two are the same: only differences count.
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

    LECTURE: Why normalise
    What if x grew from layer to layer, since every layer adds to it? Dot products would grow with it, and large ones
    make attention all-or-nothing. rmsnorm (Zhang and Sennrich, 2019) scales a vector so that the mean of its squares is
    1; its direction stays. For [3, 4] the mean square is (9 + 16) / 2 = 12.5, its root 3.536, and both are divided by
    that:

    >>> [round(y.data, 3) for y in rmsnorm([Value(3.0), Value(4.0)])]
    [0.849, 1.131]

    The mean is not taken off, and no number can become larger than sqrt(n), reached when all the size sits in one:

    >>> [round(y.data, 3) for y in rmsnorm([Value(x) for x in (9, 0, 0, 0)])]
    [2.0, 0.0, 0.0, 0.0]

    Without any norm this small model has a loss of 2.52 ± 0.01 on unread names instead of 2.50 (five seeds). (lm_head
    reads x as it is. In the first layer the norm follows another at once and changes almost nothing.)

    PAUSE AND THINK: x becomes ten times as large. What does rmsnorm(x) do?
    ANSWER: almost nothing: the scale becomes ten times as small. Only epsilon, 1e-5 added to the mean square so that
    nothing is divided by 0, makes a trace of a difference. So the gradient has (almost) no part along x.
    """
    scale = (dot(x, x) / len(x) + epsilon) ** -0.5
    return [value * scale for value in x]


# ======================================================================================================================
# Parameters
# ======================================================================================================================


def initialize_parameters(config, vocab_size, rng):
    """The state_dict: name -> weight matrix [n_out][n_in] of Values, drawn from N(0, weight_std²), row by row.

    The weights must differ: neurons that start equal get equal gradients and stay equal for ever.

    LECTURE: First weights
    Where does training start? Each weight is drawn at random around 0, from a normal distribution with standard
    deviation 0.08. They must differ, or equal neurons would get equal gradients and stay equal for ever. They must not
    be large, or the first guesses are sure of themselves and wrong: with a standard deviation of 0.5 the loss, which
    says how wrong the guesses are, is 2.64 ± 0.02 on unread names after training, instead of 2.50 ± 0.01 (five seeds).
    A sum of n products has about sqrt(n) times the size of one, so weights of 1 / sqrt(n) would keep the size as it is,
    for 16 and for 64 inputs

    >>> 16 ** -0.5, 64 ** -0.5
    (0.25, 0.125)

    and 0.08 is smaller than either; it was found to work. Glorot and Bengio (2010) and He et al. (2015, "Delving Deep
    into Rectifiers") have rules that keep the size through many layers.

    PAUSE AND THINK: what would the model learn if all weights started at 0?
    ANSWER: nothing: all logits are 0, and since every product has a factor 0, no gradient gets through to any weight.
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

    LECTURE: Why residual connections
    What if a layer replaced x by its result? Whatever it did not carry over would be lost, and the slopes of many
    layers would multiply, to almost nothing where they are small. So attention and MLP add to x: x = x + f(x). The
    running sum is called the residual stream; it begins with the normalised sum of the two embeddings. The slope of x +
    f(x) is 1 + f'(x): a layer whose own slope is only 0.001 still passes the gradient on:

    >>> x = Value(2.0)
    >>> y = x + x * 0.001
    >>> y.backward()
    >>> x.grad
    1.001

    Without the two additions this model has a loss of 2.56 ± 0.01 on unread names instead of 2.50 (five seeds). The
    idea comes from image recognition (He et al., 2015, "Deep Residual Learning"). Here the norm stands inside, x +
    f(rmsnorm(x)), as in GPT-2, which makes deep models easier to train (Xiong et al., 2020). Unlike GPT-2, this model
    normalises the embeddings once at the start, and not the stream at the end.

    LECTURE: Query, key and value
    What if the answer stands in another letter than the last? Then numbers must be carried from position to position,
    and which position matters depends on what stands there. So each position makes three vectors of itself: a query
    (what do I look for?), a key (what can I be found by?) and a value (what do I pass on?). A head compares the query
    of this position with the keys of all positions so far, and takes a mean of their values, weighted by how well they
    fit. With query [1, 0] and the cached keys [1, 0] and [0, 1] the scores q . k are 1 and 0; divided by sqrt(2):

    >>> scores = [Value(1 / math.sqrt(2)), Value(0.0)]
    >>> [round(weight.data, 2) for weight in softmax(scores)]
    [0.67, 0.33]

    so the head passes on two thirds of the first value and one third of the second. Keys and values of past positions
    never change, so they are kept (the cache). Its own key is appended before it looks, so there is always something to
    look at; later keys are not there yet, so none has to be hidden (no mask).

    PAUSE AND THINK: what are a head's weights at position 0?
    ANSWER: [1.0]. There are as many weights as positions so far, and so far there is one: itself.

    PAUSE AND THINK: do the heads work at the same time?
    ANSWER: here one after another, in a loop. They do not depend on each other, so they could.

    LECTURE: What attention is worth, and where to see it
    What breaks without attention? On names, after 1,000 steps, almost nothing. The loss per token on unread names is
    2.497 ± 0.007 with it and 2.502 ± 0.008 without (ten seeds). The difference, 0.004 before rounding, is less than the
    spread between seeds. After 10,000 steps it is 0.026 (five seeds). So do not read much into pictures of attention on
    names. Positions count as little after 1,000 steps: without wpe the loss is 2.502 ± 0.005. But with neither
    attention nor MLP it is 2.503 ± 0.007 with wpe and 2.610 ± 0.005 without (ten seeds).

    It counts where the answer stands elsewhere in the document. Let every document be a name of five letters three
    times, such as emilyemilyemily, and one head do the work. On such documents that were not read the loss per token is
    2.424 ± 0.006 without attention and 0.823 ± 0.004 with (ten seeds). See it yourself: `python3 levels/data.py repeat
    > repeat.txt`, then `python3 script_gpt_educational.py repeat.txt --n-head 1`. In one such run (seed 42) the head
    looked like this at a document that was not read; blank is below 2 %:

                ^   e   m   i   l   y   e   m   i   l   y   e   m   i   l
          5 y      93           6
          6 e          95   3
          7 m              98
          8 i                 100
          9 l                      99
         10 y      77                  19           2
         11 e          97
         12 m              82                  16
         13 i                  99
         14 l                      91                   9

    In every row 93 to 100 % go four or nine places back, where the letter stands that comes next. As the distance is
    always the same, it can be learned from the positions alone: this head might not find a repeat at another distance.

    PAUSE AND THINK: the name begins again after five letters. Why does the head look four places back, and not five?
    ANSWER: five places back stands the letter that was just read. The one after it is wanted.

    LECTURE: Why divide by the square root of head_dim
    What if the scores were not divided? A sum of d independent products of size 1 has size sqrt(d): variances add. So
    wide heads would begin with large scores, and the larger they are, the more softmax puts on one position alone,
    where its slopes are close to 0. For d = 64 random numbers of spread 1 the spread of q . k is about sqrt(64) = 8:

    >>> rng = random.Random(0)
    >>> def score():
    ...     return sum(rng.gauss(0, 1) * rng.gauss(0, 1) for _ in range(64))
    >>> round(math.sqrt(sum(score() ** 2 for _ in range(4000)) / 4000))
    8

    So each score is divided by sqrt(head_dim) (Vaswani et al., 2017). With the default head_dim of 4 the factor is only
    2, and it makes no difference beyond chance: the loss on unread names is 2.50 ± 0.01 with it, without any division,
    and with head_dim itself (five seeds).

    PAUSE AND THINK: why the square root, and not head_dim itself?
    ANSWER: because variances add, not sizes. Dividing by d would leave wide heads with scores of size 1 / sqrt(d), and
    attention nearly even at the start. (Only at the start: training can make the scores larger.)

    LECTURE: The MLP and its relu
    What makes something new of what attention has gathered? A head only takes means. So after attention each position
    thinks on its own: 4 n_embd weighted sums of its n_embd numbers, the negative ones set to 0 (relu), and n_embd
    weighted sums of what is left. A neuron speaks only when its pattern is there: with weights 1 and -2 it is silent
    for [1, 1] and speaks for [3, 1]:

    >>> neuron = [[Value(1.0), Value(-2.0)]]
    >>> [linear([Value(a), Value(1)], neuron)[0].relu().data for a in (1.0, 3.0)]
    [0.0, 1.0]

    2,048 of the 4,192 parameters, 48.9 %, stand in mlp_fc1 and mlp_fc2. On names, after 1,000 steps, they change the
    loss by less than 0.001 in the mean of ten seeds: no difference beyond chance. On sums such as 7+5=12 they count: 93
    ± 3 % of the digits right against 55 ± 10, in sums never shown, after 5,000 steps (five seeds). Where a neuron is
    silent its slope is 0, so there it gets no gradient. That need not last, even if it is silent for every name: what
    it reads changes as the embeddings are trained, and it may speak again.

    PAUSE AND THINK: could many linear layers do without the relu?
    ANSWER: no: a linear map of a linear map is one linear map. The relu between them makes the difference.
    """
    head_dim = config.n_embd // config.n_head
    x = rmsnorm(add(state_dict["wte"][token_id], state_dict["wpe"][position]))  # [n_embd]
    lecture.see_vector("token embedding", state_dict["wte"][token_id])
    lecture.see_vector("position embedding", state_dict["wpe"][position])
    lecture.see_vector("x", x)
    for layer in range(config.n_layer):
        # Attention: what do the tokens so far have to tell this one? q, k and v: [n_embd].
        normed = rmsnorm(x)  # [n_embd]
        q, k, v = (linear(normed, state_dict[f"layer{layer}.attn_w{name}"]) for name in "qkv")
        keys.setdefault(layer, []).append(k)
        values.setdefault(layer, []).append(v)
        lecture.see_vector("normed", normed)
        lecture.see_vector("q", q)
        lecture.see_vector("k", k)
        lecture.see_vector("v", v)
        attn_out = []  # [n_embd] when every head has added its part; zip(*rows) gives columns
        for head in range(config.n_head):
            part = slice(head * head_dim, (head + 1) * head_dim)
            scores = linear(q[part], [k[part] for k in keys[layer]])  # [position + 1]
            attn_weights = softmax([score / head_dim**0.5 for score in scores])  # [position + 1]
            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer]])))
            lecture.see_attention(layer, head, attn_weights)
        x = add(x, linear(attn_out, state_dict[f"layer{layer}.attn_wo"]))  # [n_embd]
        lecture.see_vector("attn_out", attn_out)
        lecture.see_vector("x after attention", x)
        # MLP: this token on its own, 4 times wider (hidden: [4 * n_embd]) and back.
        hidden = [y.relu() for y in linear(rmsnorm(x), state_dict[f"layer{layer}.mlp_fc1"])]
        x = add(x, linear(hidden, state_dict[f"layer{layer}.mlp_fc2"]))  # [n_embd]
        lecture.see_vector("hidden", hidden)
        lecture.see_vector("x after the MLP", x)
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

    LECTURE: Cross-entropy and perplexity
    How wrong was a guess? Counting right guesses says nothing of how sure they were, and has no slope. So the loss at a
    position is -ln p, with p the probability the model gave to the token that really came, and that of a document is
    the mean over its positions. Being right with p = 0.5 costs little, being surprised costs a lot:

    >>> [round(-math.log(p), 3) for p in (0.99, 0.5, 0.01)]
    [0.01, 0.693, 4.605]

    In the mean, no other guess is better than the true distribution. The unit is the nat, because ln is used. exp(loss)
    is called perplexity: with a perplexity of 27 a model does as badly as a fair choice among 27. The gradient in the
    logits is the probabilities, with 1 taken off at the right token (and all divided by the number of positions).

    PAUSE AND THINK: the loss of one step is 2.1 and of the next 2.6. Has the model become worse?
    ANSWER: one cannot say. They are the losses of two different names, and some names are harder. Judge by the mean
    over many.

    PAUSE AND THINK: can the loss fall to 0 on these names?
    ANSWER: no. After BOS any of many letters may follow; nobody could be sure which. What is left at the end is the
    uncertainty of the names themselves, and what the model has not learned.
    """
    keys, values, losses = {}, {}, []
    for position in range(min(config.block_size, len(tokens) - 1)):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)
        position_loss = logsumexp(logits) - logits[tokens[position + 1]]
        losses.append(position_loss)
        lecture.see_vector("logits", logits)
        lecture.see_prediction(logits, tokens[position + 1], position_loss)
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
    lecture.add_option(parser)
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

    LECTURE: Why Adam, step by step
    How far should each parameter move? Plain gradient descent, p = p - rate * g, has one rate for all, though their
    gradients differ by orders of magnitude. Adam (Kingma and Ba, 2015) divides by the gradient's own size:

        m = beta1 m + (1 - beta1) g       a running mean of the gradient
        v = beta2 v + (1 - beta2) g²      the same for its square
        m_hat = m / (1 - beta1^t)         both start at 0, too small at first;
        v_hat = v / (1 - beta2^t)         this makes up for it
        p = p - rate * m_hat / (sqrt(v_hat) + eps)    eps = 1e-8: no division by 0

    At the first update m_hat = g and v_hat = g², so the step has the size of the learning rate, against the gradient,
    whatever the gradient's size:

    >>> def first_step(gradient):
    ...     parameter = Value(1.0)
    ...     adam = AdamOptimizer({"p": [[parameter]]}, GPTConfig())
    ...     parameter.grad = gradient
    ...     adam.step(0.01)
    ...     return round(1.0 - parameter.data, 6)
    >>> first_step(100.0), first_step(0.001)
    (0.01, 0.01)

    Later a gradient counts by how it compares with its own past: if it keeps changing its sign, fades, or was once very
    large, m is small beside sqrt(v) and the step is short. A parameter whose gradient is 0 at this step still moves, by
    what m remembers; leaving it out would be another run. Is it better than plain descent? On names hardly: each at the
    best of the rates tried, the loss per token on unread ones is 2.497 ± 0.007 with Adam, at 0.01, and 2.503 ± 0.008
    with plain descent, at 0.3 (ten seeds). At Adam's rate plain descent comes to 2.684 ± 0.020.

    PAUSE AND THINK: somebody multiplies the loss by 1,000. What changes in the steps?
    ANSWER: almost nothing: m and sqrt(v) both grow 1,000 times, and only eps, 1e-8, now counts for even less.
    """

    def __init__(self, state_dict: dict[str, list[list[Value]]], config: GPTConfig) -> None:
        parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
        m, v = [0.0] * len(parameters), [0.0] * len(parameters)
        self.parameters, self.m, self.v, self.config = parameters, m, v, config
        self.t = 0  # updates so far

    def step(self, learning_rate: float) -> None:
        """One update of every parameter from its grad, which is then set back to 0 for the next step."""
        lecture.before_update(self, learning_rate)
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
        lecture.after_update(self)

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
    lecture.explain_forward(loss)
    loss.backward()
    lecture.explain_gradients()
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
            lecture.begin_step(t, tokens, learning_rate)
            loss = train_step(tokens, state_dict, optimizer, learning_rate, config)
            finished = t, optimizer.snapshot()
            print_step(t, loss, time.perf_counter() - started, config)
            lecture.end_step(t, loss, time.perf_counter() - started)
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

    LECTURE: Temperature
    How do probabilities become a name? A token is drawn by its probability, and fed back. Always taking the likeliest
    instead would give the same name every time. Between the two stands the temperature, which divides the logits before
    softmax: 0.5 doubles the differences between them, so the likeliest gains:

    >>> def at(temperature):
    ...     scaled = [Value(logit / temperature) for logit in (2.0, 1.0, 0.1)]
    ...     return [round(p.data, 3) for p in softmax(scaled)]
    >>> at(1.0), at(0.5)
    ([0.659, 0.242, 0.099], [0.864, 0.117, 0.019])

    Towards 0 it takes the likeliest always, towards infinity it draws evenly. It touches only the dice, not the model.

    PAUSE AND THINK: which temperature draws exactly what the model learned?
    ANSWER: 1. The default of 0.5 makes likely letters likelier still.
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
        lecture.see_choice(tokens, probabilities)
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
    lecture.begin(options, config)
    lecture.meet_data(run)
    lecture.meet_parameters(run.state_dict)

    print(f"num docs: {len(run.docs)}\nvocab size: {run.tokenizer.vocab_size}\nnum params: {len(optimizer.parameters)}",
          flush=True)
    step = run.step + train(run.documents, run.state_dict, optimizer, config, run.step)
    if "save" in options:
        save_checkpoint(options["save"], run.state_dict, run.tokenizer, config, step)
    lecture.look_back()
    print("--- new names ---")
    for index in range(config.num_samples):
        lecture.begin_sample()
        sample = generate_text(prompt, run.state_dict, run.tokenizer, config, run.rng)
        print(f"sample {index + 1:2d}: {visible(sample)}", flush=True)
        lecture.see_sample(sample)
    lecture.conclude()


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
        lecture.fall_silent()
        print(file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        discard_output()
    except OSError as error:  # a full disk behind our output, say
        refuse(f"{error}: let the output go elsewhere")


def refuse(problem: object) -> None:
    """Says in one line on standard error what is wrong, and ends the program with exit code 2."""
    lecture.fall_silent()
    print("error:", " ".join(str(problem).split()), file=sys.stderr)
    sys.exit(2)


# ======================================================================================================================
# The lecturer: it reads values and prints; nothing above depends on it
# ======================================================================================================================


class Lecture:
    """The professor's voice. Every line it prints starts with a bar, so that the program's own lines stand apart.

    The lectures themselves are written in the docstrings above, beside the code they are about. It is silent until
    `begin`, and looks closely at the steps in `close_ups` only.
    """

    OBJECTIVES = (
        "What exactly does a GPT compute, from letters in to probabilities out?",
        "What does its loss measure, and which loss means that nothing has been learned?",
        "How does one walk back through the computation give the slope in every parameter at once?",
        "What does attention look at, and when is it worth anything?",
        "Does the model invent names, or does it repeat the ones it has read?",
    )

    def __init__(self):
        self.speaking = self.pausing = self.watching = self.choosing = self.line_open = self.titled = False
        self.losses, self.samples = [], []
        self.read = []  # the token lists of the documents read, in order
        self.told = set()  # the lectures that have been told
        self.asked, self.answers = 0, []  # questions so far; answers still owed
        self.first_close_up = True
        self.untrained = self.gradients = None  # what later close-ups compare their figures with
        self.waited = 0.0

    # ---- Voice: how things are said --------------------------------------------------------------------------------

    def draw(self, line):
        """Prints one line behind the bar as it stands: a row of a table or a picture."""
        try:
            print(f"{self.margin} {line}".rstrip(), flush=True)
        except BrokenPipeError:  # nobody listens any more; the program will notice it too, and stop as it should
            self.fall_silent()

    def fall_silent(self):
        """Nothing more is told: the run is over, and what is computed after it is another matter."""
        self.speaking = self.watching = self.choosing = self.pausing = False

    def say(self, text="", hang=0):
        """Prints a text behind the bar, folded at spaces to fit the screen, all lines but the first moved in by `hang`.

        Python sessions are not folded.
        """
        import textwrap  # here and below, so that the imports above are those of the refactored script

        for line in text.splitlines() or [""]:
            if line.startswith((">>>", "...")):
                self.draw(line)
            else:
                parts = textwrap.wrap(line, self.width, subsequent_indent=" " * hang, break_on_hyphens=False)
                for part in parts or [""]:
                    self.draw(part)

    def close_line(self):
        """Ends the progress line, which on a terminal stays open to be rewritten."""
        if self.line_open:
            print()
            self.line_open = False

    def title(self, text):
        """A heading, with an empty line before it."""
        self.pause_before_heading()
        self.say(text)
        self.draw(self.rule * len(text))

    def pause_before_heading(self):
        """An empty line; and with --pause, before each heading but the first, time to look at what was said."""
        self.say()
        if self.pausing and self.titled:
            self.wait("To go on, press Enter: ")
        self.titled = True

    def ask(self, question, answer):
        """PAUSE AND THINK: answers after a guess if someone is there to make one, else in the next `give_answers`."""
        self.asked += 1
        self.say(f"PAUSE AND THINK {self.asked}: {question}")
        if self.pausing:
            self.wait("Your guess, then press Enter: ")
            self.say(f"ANSWER {self.asked}: {answer}")
        else:
            words = question.replace(": ", ". ").split(". ")[-1].split()
            reminder = "... " * (len(words) > 5) + " ".join(words[-5:])
            self.answers.append(f"ANSWER {self.asked} ({reminder}): {answer}")

    def give_answers(self):
        """The answers still owed: not directly under their questions, so that there is time to think."""
        if self.speaking and self.answers:
            self.say()
            for answer in self.answers:
                self.say(answer, hang=3)
            self.answers = []

    def wait(self, prompt):
        """Waits for Enter. Ctrl-C here ends the pauses, and then does what it does anywhere else."""
        started = time.perf_counter()
        try:
            input(f"{self.margin} {prompt}")
        except EOFError:
            self.pausing = False
            print()
        except KeyboardInterrupt:
            self.pausing = False
            print()
            raise
        self.waited += time.perf_counter() - started

    def teach(self, *headings):
        """Speaks the lectures of these titles, each once. They stand in the docstring of the code they are about."""
        for heading in headings:
            if not self.speaking or heading in self.told or heading not in self.lectures:  # python -OO has none
                continue
            self.told.add(heading)
            self.pause_before_heading()
            self.draw(f"{self.rule * 2} {heading} ".ljust(self.width, self.rule))
            before = ""
            for paragraph in self.lectures[heading]:
                kind = paragraph[:4]  # PAUS: a question; >>>: a Python session; blanks: a table or a drawing
                if before and kind != ">>> " and (self.pausing or (kind, before) != ("PAUS", "PAUS")):
                    self.say()
                before = kind
                if kind == "PAUS":
                    question, answer = paragraph.split("ANSWER:")
                    self.ask(" ".join(question.split()[3:]), " ".join(answer.split()))
                elif kind == "    ":
                    for line in paragraph.splitlines():
                        self.draw(line)
                else:
                    self.say(paragraph if kind == ">>> " else " ".join(paragraph.splitlines()))

    def find_lectures(self):
        """{title: paragraphs} of every lecture in this file's docstrings."""
        import inspect

        lectures = {}
        owners = [owner for owner in list(globals().values()) if getattr(owner, "__module__", "") == __name__]
        owners += [member for owner in owners if inspect.isclass(owner) for member in vars(owner).values()]
        for owner in owners:
            if not (inspect.isclass(owner) or inspect.isfunction(owner)) or not owner.__doc__:
                continue
            text = inspect.cleandoc(owner.__doc__)
            for lecture_text in text.split("LECTURE: ")[1:]:
                heading, body = lecture_text.split("\n", 1)
                if self.margin == "|":  # plain ASCII
                    body = body.replace("± ", "+-").replace("²", "^2")
                lectures[heading] = [paragraph.strip("\n") for paragraph in body.split("\n\n") if paragraph.strip()]
        return lectures

    def bar(self, fraction, width=20):
        """A bar for a number from 0 to 1."""
        return self.full * round(width * max(0.0, min(1.0, fraction)))

    def mean_square(self, vector):
        """The size of a vector: 1 after rmsnorm."""
        return sum(number * number for number in vector) / len(vector)

    def perplexity(self, loss):
        """exp(loss), or infinity where that is too large for a double."""
        return math.exp(loss) if loss < 700.0 else math.inf

    def cut(self, text):
        """A text of the data, as far as it fits a line."""
        return visible(text) if len(text) <= 60 else visible(text[:60]) + "..."

    def letter(self, token):
        """A token as one character; ^ stands for BOS."""
        character = "^" if token == self.tokenizer.bos else self.tokenizer.vocabulary[token]
        return "_" if character == " " else character if character.isprintable() else "?"

    # ---- Before training -------------------------------------------------------------------------------------------

    def add_option(self, parser):
        """The two options that this version adds."""
        def steps(text):
            try:
                numbers = {int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(",")}
            except ValueError:  # thousands of digits
                numbers = {0}
            if min(numbers) < 1:
                raise argparse.ArgumentTypeError(f"{text[:60]!r} is no list of steps such as 1,50,1000")
            return numbers

        parser.add_argument("--pause", action="store_true", default=False, help="wait for your guess at each question")
        parser.add_argument("--close-ups", type=steps, metavar="N,N", help="the steps to look at closely (default: the "
                                                                           "first and the last)")

    def begin(self, options, config):
        """Opens the lecture: how it will be drawn, and what it is for. Raises InputError for a close-up of no step."""
        self.__init__()  # a run of its own, even if main has run before in this session
        self.speaking = True
        self.config = config
        self.loaded = "load" in options
        self.pausing = options["pause"] and on_terminal() and sys.stdin.isatty()
        self.close_ups = options.get("close_ups", {1, config.num_steps})
        if "close_ups" in options and max(self.close_ups) > config.num_steps:
            raise InputError(f"--close-ups names step {max(self.close_ups)}, but --steps is {config.num_steps}: name "
                             "earlier steps, or take more")
        self.width = max(77, min(shutil.get_terminal_size((100, 24)).columns, 100) - 3)
        try:
            "│─█░▒▓".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
            self.margin, self.rule, self.full, self.shades = "│", "─", "█", " ░▒▓█"
        except UnicodeEncodeError:
            self.margin, self.rule, self.full, self.shades = "|", "-", "#", " .:*#"
        self.lectures = self.find_lectures()
        self.title("How a GPT works, all of it, on one small model that trains while you read")
        self.say("You need school mathematics and a little Python. By the end you should be able to answer:")
        for number, objective in enumerate(self.OBJECTIVES, 1):
            self.say(f"  {number}. {objective}", hang=5)
        self.say("Try what follows >>> yourself: `python3` in this folder, `from script_gpt_educational import *`.")

    def meet_data(self, run):
        """What the model will read."""
        if not self.speaking:
            return
        docs, self.docs, self.tokenizer = run.docs, run.docs, run.tokenizer
        lengths = [len(doc) for doc in docs]
        self.title("The data")
        mean = sum(lengths) / len(lengths)
        self.say(f"{len(docs):,} documents, {min(lengths)} to {max(lengths)} characters long, {mean:.1f} on average. "
                 f"The first five after shuffling: {', '.join(map(self.cut, docs[:5]))}.")
        long = sum(length > self.config.block_size for length in lengths)
        if long:
            self.say(f"{long:,} are longer than block_size = {self.config.block_size}: only their beginning is read.")
        self.teach("Tokens")

    def meet_parameters(self, state_dict):
        """What will be learned: the groups of parameters and their sizes."""
        if not self.speaking:
            return
        self.names = [f"{name}[{row}][{column}]" for name, matrix in state_dict.items()
                      for row in range(len(matrix)) for column in range(len(matrix[0]))]
        self.state_dict = state_dict
        self.first_weights = {name: [[weight.data for weight in row] for row in matrix]
                              for name, matrix in state_dict.items()}
        self.teach("First weights")
        self.say()
        self.draw(f"{'matrix':<18}{'shape':>12}{'numbers':>9}")
        for name, matrix in state_dict.items():
            shape = f"[{len(matrix)}][{len(matrix[0])}]"
            self.draw(f"{name:<18}{shape:>12}{len(matrix) * len(matrix[0]):>9,}")
        self.draw(f"{'together':<18}{'':>12}{len(self.names):>9,}")
        self.give_answers()

    # ---- One step --------------------------------------------------------------------------------------------------

    def begin_step(self, step, tokens, learning_rate):
        """Decides whether to look at this step closely; if so, says what it is about."""
        if not self.speaking:
            return
        self.step, self.learning_rate, self.tokens = step, learning_rate, tokens
        if step == 1:
            self.waited = 0.0  # only the pauses while it trains are to be taken off the time
        self.watching = step in self.close_ups
        if not self.watching:
            return
        self.close_line()
        self.title(f"Step {step} of {self.config.num_steps}, looked at closely")
        count = min(self.config.block_size, len(tokens) - 1)
        contexts = ["".join(map(self.letter, tokens[: position + 1])) for position in range(count)]
        if count > 4:
            contexts[3:-1] = ["..."]
        name = self.cut(self.tokenizer.decode(tokens[: count + 1]))
        self.say(f"The document is {name!r}, its tokens {tokens[: count + 1]}. {count} question{'s' * (count > 1)}: "
                 f"what follows {', '.join(contexts)}? (^ is BOS.)")
        if step > 1:
            self.compare_with_first_weights()
        elif not self.loaded:
            self.say()
            self.ask("nothing has been learned yet. What loss do you expect?",
                     f"near ln({self.tokenizer.vocab_size}) = {math.log(self.tokenizer.vocab_size):.4f}, the loss of "
                     "guessing evenly among all tokens; not exactly that, for the random weights are not zero.")
        self.forget()

    def forget(self):
        """Room for what the next forward pass shows."""
        self.vectors, self.attention, self.predictions = {}, {}, []

    def compare_with_first_weights(self):
        """The forward pass of this document as the weights were before step 1: the figures beside those of today."""
        first = {name: [[Value(number) for number in row] for row in rows] for name, rows in self.first_weights.items()}
        self.forget()
        compute_loss(self.tokens, first, self.config)
        Value.tape.clear()
        self.untrained = self.vectors, self.attention, self.predictions

    def see_vector(self, name, vector):
        """Notes a named vector of the forward pass: at each position the first of its name (layer 0, head 0)."""
        if not self.watching:
            return
        if name == "token embedding":
            self.vectors = {}  # a new position begins, so the last one is what remains
        if name not in self.vectors:
            self.vectors[name] = [value.data for value in vector]

    def see_attention(self, layer, head, attn_weights):
        """Notes one head's weights at one position."""
        if self.watching:
            self.attention.setdefault((layer, head), []).append([weight.data for weight in attn_weights])

    def see_prediction(self, logits, target, position_loss):
        """Notes what was predicted at one position."""
        if self.watching:
            self.predictions.append(([logit.data for logit in logits], target, position_loss.data))

    def explain_forward(self, loss):
        """Tells the forward pass of a step that is looked at closely, and what backward will walk."""
        if not self.watching:
            return
        self.show_vectors()
        self.teach("What a layer computes", "Why normalise", "Why residual connections", "Query, key and value",
                   "Why divide by the square root of head_dim", "The MLP and its relu")
        self.show_attention()
        self.give_answers()
        self.teach("What attention is worth, and where to see it", "Why softmax subtracts the maximum",
                   "Cross-entropy and perplexity")
        self.show_predictions(loss.data)
        self.give_answers()
        if self.first_close_up:
            self.show_tape()
        self.teach("Computation graphs and the chain rule", "Why a tape")

    def show_vectors(self):
        """A row for each vector of the last position."""
        self.say()
        self.say("Forward. The vectors of the last position in layer 0"
                 + (" (first: under the weights before step 1)" if self.untrained else ", in the order they arise")
                 + (f". The names are explained below; for now see that {self.config.n_embd} numbers go in and "
                    f"{self.tokenizer.vocab_size} come out, one for each token:" if self.first_close_up else ":"))
        first = f"{'first':>9}" * bool(self.untrained)
        self.draw(f"  {'name':<19}{'shape':>6}{'mean square':>13}{first}   first numbers")
        for name, vector in self.vectors.items():
            if self.untrained and name in ("x", "normed"):
                continue  # these are of mean square 1, as they always were
            shape = f"[{len(vector)}]"
            if self.untrained:
                first = f"{self.mean_square(self.untrained[0][name]):9.4f}"
            shown = vector[: (self.width - 43 - len(first)) // 8]
            numbers = "  ".join(f"{round(number, 3) + 0.0:+.3f}" for number in shown)
            self.draw(f"  {name:<19}{shape:>6}{self.mean_square(vector):13.4f}{first}   {numbers}")

    def show_attention(self):
        """The picture of the least even head: a row for each position, a column for each one it may look at."""
        def unevenness(rows):
            return sum(max(weights) - 1 / len(weights) for weights in rows)

        layer, head = max(self.attention, key=lambda place: unevenness(self.attention[place]))
        rows = self.attention[layer, head]
        count = len(self.attention)
        self.say()
        self.say(f"What head {head} of layer {layer} attends to"
                 + (f" (of {count} the one that is least even):" if count > 1 else ":"))
        shown = rows[: (self.width - 5) // 4]
        labels = [self.letter(token) for token in self.tokens[: len(shown)]]
        self.draw("     " + "".join(f"{label:>3} " for label in labels))
        for position, weights in enumerate(shown):
            percents = [round(100 * weight) for weight in weights]
            cells = "".join(f"{percent or '-':>3}{self.shades[min(4, percent // 20)]}" for percent in percents)
            self.draw(f"{position:2d} {labels[position]} {cells}")
        if self.first_close_up:
            self.say("A row is a position, a column one that it may look at, a figure the % of its attention that go "
                     "there: " + ", ".join(f"{self.shades[level]} from {20 * level}" for level in range(1, 5)) + ".")
        if self.untrained:
            self.say_what_it_finds(rows, self.untrained[1][layer, head])

    def say_what_it_finds(self, rows, before):
        """How much weight goes to where the right answer has stood before, if there are three such positions."""
        found = []
        for position, (now, then) in enumerate(zip(rows, before)):
            target = self.tokens[position + 1]
            places = [place for place in range(position + 1) if self.tokens[place] == target != self.tokenizer.bos]
            if places:
                found.append((sum(now[place] for place in places), sum(then[place] for place in places),
                              len(places) / (position + 1)))
        if len(found) > 2:
            now, then, even = (100 * sum(column) / len(found) for column in zip(*found))
            self.say(f"At {len(found)} of the {len(rows)} positions the right answer stands earlier in the document. "
                     f"There this head gives it {now:.0f} % of its attention in the mean ({then:.0f} % under the "
                     f"weights before step 1; {even:.0f} % if all positions so far got the same).")

    def show_predictions(self, loss):
        """A row for each position: what was likeliest, what was right, what that cost."""
        self.say()
        vocab_size = self.tokenizer.vocab_size
        self.say("From logits to probabilities p: the three likeliest tokens; the right one"
                 + (f" and its place among {vocab_size}." if self.first_close_up else "."))
        other = "first" if self.untrained else "logit"
        self.draw(f"  {'after':<10}{'likeliest':<25}{'right':>5}{'p':>7}{'place':>6}{other:>7}{'loss':>7}")
        for position, (logits, target, position_loss) in enumerate(self.predictions):
            largest = max(logits)
            total = sum(math.exp(logit - largest) for logit in logits)
            probabilities = [math.exp(logit - largest) / total for logit in logits]
            context = "".join(self.letter(token) for token in self.tokens[: position + 1])[-9:]
            other = f"{self.untrained[2][position][2]:7.3f}" if self.untrained else f"{logits[target]:+7.2f}"
            self.draw(f"  {context:<10}{self.ranking(probabilities, target)}{other}{position_loss:7.3f} "
                      f"{self.bar(position_loss / 6, 8)}")
        self.say()
        before = [position_loss for _, _, position_loss in self.untrained[2]] if self.untrained else []
        self.say(f"The loss of this document is the mean of the last column: {loss:.4f} nats. "
                 + (f"Under the weights before step 1 it was {sum(before) / len(before):.4f}." if before else
                    f"Its perplexity is exp({loss:.4f}) = {self.perplexity(loss):.2f}. Guessing evenly costs "
                    f"ln({vocab_size}) = {math.log(vocab_size):.4f}, perplexity {vocab_size}."))

    def show_tape(self):
        """What backward has to walk, and the end of it."""
        nodes, edges = len(Value.tape), sum(len(node.children) for node in Value.tape)
        self.say()
        self.say(f"Backward. The tape holds {nodes:,} computed Values, joined to what they were computed from by "
                 f"{edges:,} edges. The last three, the loss itself at the end:")
        for node in Value.tape[-3:]:
            children = ", ".join(f"{child.data:.4f}" for child in node.children[:4])
            slopes = ", ".join(f"{slope:.4f}" for slope in node.local_grads[:4])
            self.draw(f"  {node.data:8.4f}  from {children}  with slopes {slopes}")

    def explain_gradients(self):
        """The gradient's size by parameter group, and who got none."""
        if not self.watching:
            return
        earlier, groups = self.gradients, {
            name: [weight.grad for row in matrix for weight in row] for name, matrix in self.state_dict.items()}
        means = self.gradients = {name: sum(map(abs, grads)) / len(grads) for name, grads in groups.items()}
        self.say()
        self.say("The gradient g that came back, by group"
                 + (" (earlier: at the last close-up):" if earlier else
                    " (|g|: its size, the mean as a bar; got none: g is 0):"))
        other = f"{'earlier':>11}" * bool(earlier)
        self.draw(f"  {'group':<18}{'mean |g|':>11}{other}{'max |g|':>11}{'got none':>10}")
        for name, grads in groups.items():
            other = f"{earlier[name]:>11.5f}" if earlier else ""
            self.draw(f"  {name:<18}{means[name]:>11.5f}{other}{max(map(abs, grads)):>11.5f}"
                     f"{grads.count(0.0):>10,}  {self.bar(means[name] / (max(means.values()) or 1.0), 12)}")
        self.say_who_got_none({name: grads.count(0.0) for name, grads in groups.items()})

    def say_who_got_none(self, without):
        """How many parameters of each group got no gradient; the first time as a question."""
        count = f"{sum(without.values()):,} of {len(self.names):,} parameters got no gradient at all."
        if not self.first_close_up:
            self.say(count)
            return
        silent = sum(count for name, count in without.items() if ".mlp" in name)
        others = sum(without.values()) - without["wte"] - without["wpe"] - silent
        self.say()
        self.ask(f"{count} Which are these, and why?",
                 f"{without['wte']:,} stand in the rows of wte for tokens that this document does not read, "
                 f"{without['wpe']:,} in the rows of wpe for positions beyond its end: they took no part, so the loss "
                 "has no slope in them."
                 + (f" {silent:,} lead to or from neurons whose relu was silent at every position." if silent else "")
                 + (f" {others:,} stand elsewhere, where the slopes happen to vanish." if others else ""))

    def before_update(self, optimizer, learning_rate):
        """Picks parameters to follow through the update, and notes where all stand."""
        if not self.watching:
            return
        self.teach("Why Adam, step by step")
        grads = [parameter.grad for parameter in optimizer.parameters]
        strongest = sorted(range(len(grads)), key=lambda index: -abs(grads[index]))
        steepest = {}  # of each group, in the order of their size
        for index in strongest:
            steepest.setdefault(self.names[index].split("[")[0], index)
        picked = list(steepest.values())[:3] + [index for index in reversed(strongest) if grads[index] == 0.0][:1]
        self.followed = [(index, grads[index]) for index in picked]
        self.numbers = [parameter.data for parameter in optimizer.parameters]

    def after_update(self, optimizer):
        """Says how far the parameters moved."""
        if not self.watching:
            return
        moves = sorted(abs(parameter.data - before) for parameter, before in zip(optimizer.parameters, self.numbers))
        median = moves[len(moves) // 2] / self.learning_rate
        self.say()
        self.say(f"Update {optimizer.t}, learning rate {self.learning_rate:.5f}. The median parameter moved "
                 f"{median:.2f} times that.")
        if self.first_close_up:
            self.show_update(optimizer)
            self.give_answers()

    def show_update(self, optimizer):
        """A column for each followed parameter: before and after, with Adam's running means."""
        beta1, beta2 = self.config.beta1, self.config.beta2
        self.say("The steepest parameter in each of three groups, and one without a gradient, with Adam's figures:")
        columns = [["parameter", "", "before", "g", "m", "v", "m_hat", "v_hat", "after"]]
        for index, grad in self.followed:
            m, v = optimizer.m[index], optimizer.v[index]
            m_hat, v_hat = m / (1 - beta1**optimizer.t), v / (1 - beta2**optimizer.t)
            group, place = self.names[index].split("[", 1)
            figures = (self.numbers[index], grad, m, v, m_hat, v_hat, optimizer.parameters[index].data)
            columns.append([group, f"[{place}", *(f"{figure:+.6f}" for figure in figures)])
        for row in zip(*columns):
            self.draw(f"  {row[0]:<10}" + "".join(f"{cell:>16}" for cell in row[1:]))

    def end_step(self, step, loss, seconds):
        """Keeps the loss; says how it goes after each fifth of the training."""
        self.losses.append(loss)
        if not self.speaking:
            return
        self.read.append(self.tokens)
        recent, steps = self.losses[-100:], self.config.num_steps
        self.line_open = on_terminal()
        last = self.line_open and step == steps  # then `look_back` says more
        if (5 * step // steps > 5 * (step - 1) // steps or self.watching) and not last:
            self.close_line()
            left = (seconds - self.waited) / step * (steps - step)
            of = f"mean of the last {len(recent)} losses" if len(recent) > 1 else "its loss"
            mean = sum(recent) / len(recent)
            self.say(f"after step {step}: {of} {mean:.4f}, learning rate {self.learning_rate:.5f}, "
                     f"{100 * step / steps:.0f} % done, {left:.0f} s left")
        self.first_close_up = self.first_close_up and not self.watching
        self.watching = False

    # ---- After training --------------------------------------------------------------------------------------------

    def baselines(self, few):
        """{name: mean loss} of guessing without a network on the last few documents, by counts in those before them.

        Empty if they have been read before: then it would be no fair comparison.
        """
        from collections import Counter

        documents = [tokens[: self.config.block_size + 1] for tokens in self.read]
        counted, asked = documents[:-few], documents[-few:]
        if self.loaded or any(tokens in counted for tokens in asked):
            return {}
        vocab_size = self.tokenizer.vocab_size
        letters = Counter(token for tokens in counted for token in tokens[1:])
        pairs = Counter(pair for tokens in counted for pair in zip(tokens, tokens[1:]))
        followed = Counter(token for tokens in counted for token in tokens[:-1])
        guesses = {  # 1 is added to each count, so that none is 0
            "even": lambda token, answer: 1 / vocab_size,
            "letters": lambda token, answer: (letters[answer] + 1) / (sum(letters.values()) + vocab_size),
            "pairs": lambda token, answer: (pairs[token, answer] + 1) / (followed[token] + vocab_size),
        }
        return {name: sum(-sum(math.log(guess(*pair)) for pair in zip(tokens, tokens[1:])) / (len(tokens) - 1)
                          for tokens in asked) / few for name, guess in guesses.items()}

    def draw_curve(self, baselines):
        """The mean loss of up to 40 equal stretches of the training, and a line for each baseline."""
        columns, count = min(40, len(self.losses)), len(self.losses)
        parts = [self.losses[column * count // columns : (column + 1) * count // columns] for column in range(columns)]
        means = [sum(part) / len(part) for part in parts]
        levels = means + list(baselines.values())
        top, step = max(levels), (max(levels) - min(levels)) / 9
        for row in range(10):
            level = top - step * row
            names = [f"{name} {loss:.2f}" for name, loss in baselines.items() if abs(loss - level) <= step / 2]
            line = (self.full if abs(mean - level) <= step / 2 else self.rule if names else " " for mean in means)
            self.draw(f"  {level:6.3f} {self.margin}{''.join(line)} {', '.join(names)}")
        self.draw(f"         +{'-' * columns}")
        self.draw(f"          step 1{'':<{max(1, columns - 11 - len(str(count)))}}step {count}")

    def look_back(self):
        """After training: the loss curve, and what guessing without a network costs on the same documents."""
        if not self.speaking or not self.losses:
            return
        self.title("How the loss fell")
        few = min(100, len(self.losses))
        enough = len(self.losses) >= 200
        baselines = self.baselines(few) if enough else {}
        self.draw_curve(baselines)
        first, last = sum(self.losses[:few]) / few, sum(self.losses[-few:]) / few
        if enough:
            self.say(f"Each mark: the mean of about {len(self.losses) / 40:.0f} steps. The first {few} losses "
                     f"average {first:.4f}, the last {few} {last:.4f}.")
        if baselines:
            self.say()
            costs = ", ".join(f"{name} {loss:.4f}" for name, loss in baselines.items())
            self.say(f"Is that good? Each loss is taken before the step learns from its document, and the last {few} "
                     f"had not been read before. On them guesses without a network cost: {costs}. (letters: by how "
                     f"often each token stands in the {len(self.read) - few:,} documents before; pairs: by how often "
                     "it follows there the one before it; with 1 added to each count, so that none is 0.)")
        elif enough:
            self.say("(No comparison with counts: the last documents had been read before.)")
        self.teach("Hyperparameters")

    # ---- Generation ------------------------------------------------------------------------------------------------

    def begin_sample(self):
        """Narrates the choices of the first name only."""
        self.choosing = self.speaking and not self.samples
        if self.choosing:
            self.teach("Temperature")
            self.say()
            self.say(f"The first name, choice by choice, at temperature {self.config.temperature}:")
            self.draw(f"  {'after':<18}{'likeliest':<25}{'drawn':>5}{'p':>7}{'place':>6}")

    def see_choice(self, tokens, values):
        """One draw: what came before, the likeliest tokens, and the one that was drawn, now the last of tokens."""
        if not self.choosing:
            return
        *tokens, token = tokens
        context = "".join(map(self.letter, tokens))[-17:]
        self.draw(f"  {context:<18}{self.ranking([value.data for value in values], token)}")

    def ranking(self, probabilities, token):
        """The columns likeliest, one token, its p and its place."""
        ranked = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
        likeliest = "  ".join(f"{self.letter(index)} {probabilities[index]:.3f}" for index in ranked[:3])
        return f"{likeliest:<25}{self.letter(token):>5}{probabilities[token]:7.3f}{ranked.index(token) + 1:6}"

    def see_sample(self, sample):
        """Keeps a finished name."""
        self.samples.append(sample)

    def conclude(self):
        """Counts what is new, and answers the questions of the beginning."""
        if not self.speaking:
            return
        self.give_answers()
        self.title("What was learned")
        known, seen = set(self.docs), {self.tokenizer.decode(tokens) for tokens in self.read}
        new = [sample for sample in self.samples if sample not in known]
        old = [sample for sample in self.samples if sample in known]
        read = [sample for sample in old if sample in seen]
        if self.samples:
            self.say(f"Of {len(self.samples)} samples {len(new)} are new, {len(old)} stand in the data"
                     + (f" ({', '.join(old)})" if old else "")
                     + f", of which this run has read {len(read)}" + (f" ({', '.join(read)})." if read else "."))
            self.say()
        even = math.log(self.tokenizer.vocab_size)
        few = min(100, len(self.losses))
        mean = sum(self.losses[-few:]) / max(1, few)
        trained = f"; the last {few} steps averaged {mean:.4f}, perplexity {self.perplexity(mean):.2f}" if few else ""
        answers = (
            f"{self.tokenizer.vocab_size} logits at each position, made from the tokens so far by {len(self.names):,} "
            "numbers; softmax turns them into the probability of each next token.",
            f"The mean surprise, -ln p, at what really came next. Guessing evenly costs {even:.4f} here{trained}.",
            "Slopes multiply along a path and add over paths. The tape, read backwards, does this for all at once.",
            "Every position so far, each with its weight. It is worth much where the answer stands elsewhere in the "
            "document, and next to nothing on names in 1,000 steps.",
            "It can do both. It keeps no list; few names it can learn by heart, in many steps.",
        )
        for number, (objective, answer) in enumerate(zip(self.OBJECTIVES, answers), 1):
            self.say(f"{number}. {objective}", hang=3)
            self.say(f"   {answer}", hang=3)
        self.fall_silent()


lecture = Lecture()


if __name__ == "__main__":
    # Pasted into a notebook it has no file, and the arguments there are somebody else's.
    main(None if "__file__" in globals() else [])
