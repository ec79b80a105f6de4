"""A GPT from first principles, taught by running it: the program of script_gpt_refactored.py with a lecture around it.

The program reads a list of names, one a line, learns how names are spelled, and invents new ones. The docstrings hold
the lectures, each in four levels: WHAT it is, WHY it is there, HOW it works on small numbers you can check by hand, and
what lies DEEPER. PAUSE AND THINK puts a question before its answer. Every statement that starts with `lecture.` only
reads values and prints (one adds the option --pause); take them all away and the program is that of
script_gpt_refactored.py, to the last bit.

Run it:    python3 script_gpt_educational.py | less       (or let it scroll by: the figures stay)
           python3 script_gpt_educational.py --pause      (waits for your guess at each question)
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
    These numbers are chosen before training. What each does, why it has its value, what happens when it is raised or
    lowered, and where it comes from. The figures are the mean loss of the last 100 of 300 steps on names.txt, lower is
    better, as `python3 script_gpt_educational.py --steps 300 --n-embd 32 | grep "after step 300"` prints it; what has
    no option was changed in GPTConfig. With the defaults the figure is 2.52. Three other seeds give 2.60, 2.48 and
    2.53, mostly because they read other names. All the runs below read the same names, but one run proves little:
    before you believe in a small difference, repeat it with other seeds.

    n_layer = 1, the depth. Each layer is one round of looking around (attention) and thinking it over (MLP). One is
    enough to see everything, and trains in seconds. Raised: n_layer=2 gives 2.52: no gain in 300 steps, at about twice
    the work. GPT-2 small has 12 (Radford et al., 2019).

    n_embd = 16, the width: how many numbers describe a token at each stage. Lowered: n_embd=8 gives 2.54. Raised:
    n_embd=32 gives 2.54, with four times the numbers in each square matrix: no gain in 300 steps. GPT-2 small has 768.

    n_head = 4, the attention heads: each looks in its own way, on a slice of n_embd / n_head numbers. The count of
    parameters does not change with it. n_head=1 gives 2.52, n_head=8 gives 2.52: on this task it matters little.
    Several heads come from Vaswani et al. (2017), who used 8.

    block_size = 16, the longest context in tokens, and so the number of rows in wpe. No name in names.txt has more
    than 15 letters, so with BOS each one fits. Lowered: block_size=4 gives 2.73, but that is another task: only the
    first 4 letters of a name are asked, and beginnings are harder to guess than ends. Raised: block_size=32 gives
    2.52; the new rows of wpe are never used (only the draw of the random weights differs). GPT-2 has 1,024.

    learning_rate = 0.01, how far each parameter with a gradient moves in the very first step; it falls linearly to 0.
    Lowered: learning_rate=0.001 gives 2.76, too slow for 300 steps. Raised: learning_rate=0.1 gives 2.65: its first
    steps are so long that the run spends itself in coming back. Adam's authors suggest 0.001 (Kingma and Ba, 2015);
    small models on short runs can take more.

    beta1 = 0.85, how much of the running mean of the gradient is kept at each step: a memory of about 1 / (1 - beta1),
    here 7 steps. beta1=0.0 (no memory) gives 2.52, beta1=0.95 gives 2.53. The paper uses 0.9.

    beta2 = 0.99, the same for the running mean of the squared gradient: a memory of about 100 steps. beta2=0.9 gives
    2.52, beta2=0.999 (the paper's value, a memory of 1,000 steps) gives 2.52.

    eps_adam = 1e-8 keeps a division by 0 away where a parameter has never had a gradient. Raised, it makes the steps
    depend on the gradient's size again, as in plain descent: eps_adam=0.01 gives 2.51, no worse here. The value is the
    paper's.

    num_steps = 1000, one name each. num_steps=100 gives 2.80 over its 100 steps, num_steps=1000 gives 2.47 over its
    last 100. (Those are other names than the last 100 of 300, so compare with care.)

    weight_std = 0.08, the spread of the first weights. Lowered: weight_std=0.01 gives 2.53. Raised: weight_std=0.5
    gives 3.21: the first guesses are then sure of themselves and wrong. GPT-2 uses 0.02. It follows no rule such as 1
    / sqrt(fan-in); it was found to work, as a good range of values does.

    temperature = 0.5 divides the logits when names are drawn; training never sees it. After the default run, 20
    samples at temperature=0.1 hold 10 different names, at temperature=0.5 20, at temperature=2.0 20. num_samples = 20
    says how many to draw, seed = 42 where chance starts: the same seed, the same run.

    PAUSE AND THINK: which of these changes clearly did harm?
    ANSWER: few: a learning rate ten times too low or too high, and first weights far too large (block_size=4 and
    num_steps=100 were asked other questions). The rest are a few hundredths in a single run. Whether those are real,
    only more seeds can tell; try n_embd=8 with a few.
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
    WHAT. A model works on numbers, so text becomes numbers first. Here each character is one token, and its number is
    its place in the vocabulary. BOS, the next number after them, marks both ends of a document.

    WHY. With characters the vocabulary is small, and no name written in them is unknown. The price is length: GPT-2
    uses pieces of words instead (byte-pair encoding, Sennrich et al., 2016), which makes texts shorter and the
    embedding table far longer.

    HOW. With the 26 letters, a is 0, e is 4, m is 12, z is 25, and BOS is 26:

    >>> Tokenizer("abcdefghijklmnopqrstuvwxyz").encode("emma")
    [26, 4, 12, 12, 0, 26]

    DEEPER. The numbers are names, not quantities: that m is three times e means nothing. The first thing the model
    does with a token is to fetch its row of wte, n_embd learned numbers, and to add the row of wpe for its position.
    Only that sum is computed with. Without wpe the last letter would see what stands before it as a bag of letters.
    One token does the work of two, start and end, because the two never meet: as a question it says a name begins, as
    an answer it says the name is over.

    PAUSE AND THINK: how many questions does the name "emma" put to the model?
    ANSWER: five, one a position: what follows BOS, e, m, m, a? The last answer is BOS.
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
    WHAT. A Value is a number that knows which numbers it was computed from, and how steeply it changes with each of
    them. Joined together they are a graph, from the parameters at one end to the loss at the other. The numbers a
    Value was computed from are called its children, and it is a parent of each.

    WHY. To lower the loss we need its slope in every parameter, called the gradient: raise a parameter by a tiny h,
    and the loss changes by h times its gradient. So where it is positive, lower the parameter a little; where it is
    negative, raise it. That, repeated, is all of training. Nudging them one at a time would take a whole forward pass
    for each; the chain rule gives all the slopes in a single walk back.

    HOW. Slopes multiply along a path and add up over paths. In L = a * a + a the number a reaches L by three ways,
    with slopes a, a and 1; at a = 3 they add up to 7:

    >>> a = Value(3.0)
    >>> L = a * a + a
    >>> L.backward()
    >>> L.data, a.grad
    (12.0, 7.0)

    DEEPER. Walking from the loss to the parameters is reverse mode: right where one output depends on many inputs. It
    costs a small constant times the forward pass, however many parameters there are (Baur and Strassen, 1983). Walking
    the other way, forward mode, gives the slopes of all outputs in one input, and would need a walk for each
    parameter.

    PAUSE AND THINK: why does backward say `child.grad += ...` and not `child.grad = ...`?
    ANSWER: because a number may be used more than once. Each use is a path to the loss, and slopes add over paths;
    with = the last path would wipe out the others (a above would get 3).

    PAUSE AND THINK: and why must the optimizer set the gradients back to 0?
    ANSWER: for the same reason: the next backward adds to what it finds, and the slopes of two different names would
    mix.
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
        WHAT. Every computed Value is appended to one list, the tape, at its birth. backward walks it from the end.

        WHY. A Value may hand its gradient down only when it is complete, after everything computed from it has handed
        down its own. The usual way is to sort the graph depth first before each walk, with recursion and a set of what
        has been seen.

        HOW. No number can be computed before the numbers it is computed from exist. So the order of birth already has
        every child before its parents (in this family, the children are born first), and its reverse has every parent
        before its children: nothing is left to sort. A chain of 100,000 additions is no problem, where a recursive
        sort meets Python's recursion limit:

        >>> total = x = Value(1.0)
        >>> for _ in range(100_000):
        ...     total = total + x
        >>> total.backward()
        >>> x.grad
        100001.0

        DEEPER. The tape is what training pays in memory: everything computed on the way is kept until the walk back.
        (Generating records one here too, and clears it after each name; most engines then record nothing.) Large
        models throw part of it away and compute it a second time (Chen et al., 2016). The list of elementary steps is
        Wengert's (1964), who walked it forwards; walking it backwards is Linnainmaa's (1970).

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
    WHAT. y = W x: each number of y is a weighted sum of all the numbers of x, with one row of W for its weights.

    WHY. It is the simplest way to make new numbers out of old ones that can be learned: a weight says how much one
    number counts for another. Of the 4,192 parameters 3,504 are such weights; the others are the rows of wte and wpe.

    HOW. The first row gives 1 * 5 + 2 * 6 = 17, the second 3 * 5 + 4 * 6 = 39:

    >>> W = [[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]]
    >>> [y.data for y in linear([Value(5.0), Value(6.0)], W)]
    [17.0, 39.0]

    DEEPER. A sum of products is one node here, not a node for each product and each sum: the slope in one factor is
    simply the other factor. Most of this program's speed comes from that. And since W is stored [n_out][n_in], this is
    W x; libraries that store vectors as rows write the same as x times the transpose of W.

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
    WHAT. A logit is a raw score for one token: any number, larger for likelier. softmax turns a list of them into
    probabilities: e to the power of each, divided by the sum of these powers. That makes each positive, keeps their
    order, and turns a difference of 1 between two logits into a ratio of e between their probabilities. logsumexp is
    the logarithm of that sum, computed so that it cannot overflow.

    WHY. The exponential grows fast. Python raises OverflowError from about 710 on; arrays give infinity, and then NaN:

    >>> math.exp(1000.0)
    Traceback (most recent call last):
    OverflowError: math range error

    HOW. Taking the same amount off every number changes no probability, since e^(x - m) = e^x / e^m and the divisor
    cancels. With m the largest, every power is at most 1:

    >>> [round(p.data, 3) for p in softmax([Value(1000.0), Value(999.0)])]
    [0.731, 0.269]

    DEEPER. On paper a softmax of two or more numbers is never exactly 0 or 1; in floating point it gets there. The
    logarithm of that 0 would be an error, so the loss never takes it: it is logsumexp(logits) - logits[target], which
    knows no 0:

    >>> logits = [Value(1000.0), Value(0.0)]
    >>> [p.data for p in softmax(logits)]
    [1.0, 0.0]
    >>> (logsumexp(logits) - logits[1]).data
    1000.0

    PAUSE AND THINK: softmax([1, 2, 3]) or softmax([101, 102, 103]): which is more even?
    ANSWER: they are the same. Only the differences between logits count.

    PAUSE AND THINK: and softmax([10, 20, 30])?
    ANSWER: far less even: the differences are ten times as large. That is what a low temperature does.
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
    WHAT. rmsnorm scales a vector so that the mean of its squares is 1. Its direction stays.

    WHY. Every layer adds to x, so the size of x changes from layer to layer and from step to step. Dot products change
    with it, and large ones make attention all-or-nothing. Behind a norm, attention and MLP always read numbers of the
    same size. (lm_head reads x as it is. And in the first layer the norm follows another at once and changes almost
    nothing: it is there because every layer begins with one.)

    HOW. For [3, 4] the mean square is (9 + 16) / 2 = 12.5, its root 3.536, and both numbers are divided by that:

    >>> [round(y.data, 3) for y in rmsnorm([Value(3.0), Value(4.0)])]
    [0.849, 1.131]

    DEEPER. LayerNorm (Ba et al., 2016) also takes the mean off and has learned gains; RMSNorm (Zhang and Sennrich,
    2019) leaves the mean, and this model has no gains. So the values need not have variance 1, and they are not
    bounded by 2 but by sqrt(n), reached when all the size sits in one number:

    >>> [round(y.data, 3) for y in rmsnorm([Value(x) for x in (9, 0, 0, 0)])]
    [2.0, 0.0, 0.0, 0.0]

    PAUSE AND THINK: x becomes ten times as large. What does rmsnorm(x) do?
    ANSWER: almost nothing: the scale becomes ten times as small. Only epsilon, 1e-5 beside the mean square, makes a
    trace of a difference. So the gradient has (almost) no part along x.
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
    WHAT. Each weight starts as a random number from a normal distribution around 0, here with standard deviation 0.08.

    WHY. They must differ, or equal neurons would get equal gradients and stay equal for ever. They must not be large,
    or the first guesses are sure of themselves and wrong. Very small ones do little harm in one layer; in deep
    networks without norms and residual connections, signals and gradients would fade on their way.

    HOW. A sum of n products has about sqrt(n) times the size of one. Weights of 1 / sqrt(n) would keep the size as it
    is: for 16 and for 64 inputs that would be

    >>> 16 ** -0.5, 64 ** -0.5
    (0.25, 0.125)

    DEEPER. 0.08 is smaller than either; it was found to work. Rules that keep the size through many layers are due to
    Glorot and Bengio (2010) and He et al. (2015).

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
        q --> scores["scores: q · key<br>one for each cached position"]
        keys --> scores
        scores --> weights["attn_weights = softmax(scores / sqrt(head_dim))"]
        weights --> out["sum of weight * value [head_dim]"]
        values --> out
        out --> concat["attn_out: all heads side by side [n_embd]"]
        concat --> wo["attn_wo attn_out [n_embd]"]
    ```

    LECTURE: Why residual connections
    WHAT. Attention and MLP do not replace x, they add to it: x = x + f(x). The running sum is called the residual
    stream.

    WHY. What a layer cannot use it can leave alone. And since the slope of x + f(x) is 1 + f'(x), the gradient reaches
    every depth, however small f' is: of all the paths back, one has slope exactly 1. Without the 1, a chain of small
    f' multiplies to almost nothing.

    HOW. A layer whose own slope is only 0.001 still passes the gradient on:

    >>> x = Value(2.0)
    >>> y = x + x * 0.001
    >>> y.backward()
    >>> x.grad
    1.001

    DEEPER. The idea comes from image recognition (He et al., 2015). Here the norm stands inside, x + f(rmsnorm(x)), as
    in GPT-2: from layer to layer nothing scales the stream, which makes deep models easier to train (Xiong et al.,
    2020). Unlike GPT-2, this model normalises the embeddings once at the start, and not the stream at the end.

    PAUSE AND THINK: could many linear layers in a row do without the relu?
    ANSWER: no: a linear map of a linear map is one linear map. The relu between them makes the difference.

    LECTURE: Query, key and value
    WHAT. Each position makes three vectors of itself: a query (what do I look for?), a key (what can I be found by?)
    and a value (what do I pass on?). A head compares the query of this position with the keys of all positions so far,
    and takes a mean of their values, weighted by how well they fit.

    WHY. The answer to "what comes next" lies in other letters, and which of them matters depends on what they are.
    Weights fixed by position could not know that; these are computed anew for each name.

    HOW. With query [1, 0] and two cached keys [1, 0] and [0, 1] the scores are 1 and 0. Divided by sqrt(2):

    >>> scores = [Value(1 / math.sqrt(2)), Value(0.0)]
    >>> [round(weight.data, 2) for weight in softmax(scores)]
    [0.67, 0.33]

    so the head passes on two thirds of the first value and one third of the second.

    DEEPER. Without the story: q . k multiplies number by number and adds up. It is large where both are large in the
    same places with the same sign, 0 where they have nothing in common, negative where they disagree. With x and x'
    the normalised vectors of two positions it is (W_q x) . (W_k x'): learned, and not the same in both directions.
    Keys and values of past positions never change, so they are kept (the cache), and each new token costs one row of
    scores rather than all of them. Its own key is appended before it looks, so there is always something to look at;
    and since later keys are not there yet, no mask is needed.

    PAUSE AND THINK: what are a head's weights at position 0?
    ANSWER: [1.0]. There are as many weights as positions so far, and so far there is one: itself.

    PAUSE AND THINK: do the heads work at the same time?
    ANSWER: here one after another, in a loop. They do not depend on each other, so they could.

    LECTURE: Why divide by the square root of head_dim
    WHAT. Each score q . k is divided by sqrt(head_dim) before softmax.

    WHY. A sum of d independent products of size 1 has size sqrt(d): variances add. With wide heads the scores would
    grow, softmax would put nearly everything on one position, and its slopes would be close to 0.

    HOW. The spread of q . k for d = 64 random numbers of spread 1 is about sqrt(64) = 8:

    >>> rng = random.Random(0)
    >>> def score():
    ...     return sum(rng.gauss(0, 1) * rng.gauss(0, 1) for _ in range(64))
    >>> round(math.sqrt(sum(score() ** 2 for _ in range(4000)) / 4000))
    8

    DEEPER. That is Vaswani et al. (2017). With the default head_dim of 4 the factor is only 2, and it makes no
    difference one could see: the last 100 of 300 steps average 2.52 with it, 2.52 without any division, 2.52 with
    head_dim itself. The rule is for wide heads.

    PAUSE AND THINK: why the square root, and not head_dim itself?
    ANSWER: because variances add, not sizes. Dividing by d would leave wide heads with scores of size 1 / sqrt(d), and
    attention nearly even at the start; training can then still make the scores larger.

    LECTURE: The MLP and its relu
    WHAT. After attention each position thinks on its own: 4 n_embd weighted sums of its n_embd numbers, the negative
    ones set to 0 (relu), and n_embd weighted sums of what is left.

    WHY. Each of the 4 n_embd neurons is a detector that speaks only when its pattern is there. Attention carries
    numbers between positions; here something new is made of them. About half of this model's parameters, 2,048 of
    4,192, stand in the MLP.

    HOW. A neuron with weights 1 and -2 is silent for [1, 1] and speaks for [3, 1]:

    >>> [linear([Value(a), Value(b)], [[Value(1.0), Value(-2.0)]])[0].relu().data for a, b in ((1, 1), (3, 1))]
    [0.0, 1.0]

    DEEPER. Where a neuron is silent its slope is 0, so there it gets no gradient; in this program its output is then a
    constant 0, linked to nothing. That need not last, even if it is silent for every name: what it reads changes as
    the embeddings are trained, and it may speak again. The narrated steps count the parameters without a gradient.

    PAUSE AND THINK: what is the slope of relu at exactly 0?
    ANSWER: there is none: from the left it is 0, from the right 1. By custom 0 is taken; it hardly ever matters.
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
    WHAT. The loss at a position is -ln p, with p the probability the model gave to the token that really came. The
    loss of a document is the mean over its positions. exp(loss) is called perplexity.

    WHY. It asks for honest probabilities: in the mean, no other guess is better than the true distribution. And it is
    smooth, where counting right guesses is not.

    HOW. Being right with p = 0.5 costs little, being surprised costs a lot:

    >>> [round(-math.log(p), 3) for p in (0.99, 0.5, 0.01)]
    [0.01, 0.693, 4.605]

    Guessing evenly among 27 tokens costs ln 27, at every position, and its perplexity is 27: it does as badly as a fair
    choice among 27.

    >>> round(math.log(27), 4)
    3.2958

    DEEPER. The unit is the nat, because ln is used. The likelihood of a name is the product of its tokens'
    probabilities, and -ln of it the sum of their losses: so the lowest loss is the highest likelihood (up to the
    weighing: here each name counts the same, whatever its length). In bits (loss / ln 2) it is the length of the
    shortest code for the next token that knows only what the model knows (Shannon, 1948). The gradient in the logits
    is as simple as can be: the probabilities, with 1 taken off at the right token.

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
    WHAT. Adam moves each parameter by the running mean of its gradient divided by the root of the running mean of its
    square.

    WHY. Plain gradient descent, p = p - rate * g, has one rate for all parameters, though their gradients differ by
    orders of magnitude: what suits one is far too much or too little for another. Dividing by the gradient's own size
    removes that.

    HOW. Step 1: m = beta1 m + (1 - beta1) g, a running mean. Step 2: v = beta2 v + (1 - beta2) g², the same for
    squares. Step 3: both start at 0 and are too small at first; m_hat = m / (1 - beta1^t) and v_hat = v / (1 -
    beta2^t) make up for it. Step 4: p = p - rate * m_hat / (sqrt(v_hat) + eps). For the first update m_hat = g and
    v_hat = g², so the step has the size of the learning rate, against the gradient, whatever the gradient's size:

    >>> def first_step(gradient):
    ...     parameter = Value(1.0)
    ...     adam = AdamOptimizer({"p": [[parameter]]}, GPTConfig())
    ...     parameter.grad = gradient
    ...     adam.step(0.01)
    ...     return round(1.0 - parameter.data, 6)
    >>> first_step(100.0), first_step(0.001)
    (0.01, 0.01)

    DEEPER. What counts is not how large a gradient is but how it compares with its own past: if it keeps changing its
    sign, fades, or was once very large, m is small beside sqrt(v) and the step is short. In the default run the median
    parameter moves 1.00 times the learning rate at step 1, 0.17 times at step 100, 0.10 times at step 500. A parameter
    whose gradient is 0 at this step still moves, by what m remembers; leaving it out would be another run. Adam:
    Kingma and Ba (2015).

    PAUSE AND THINK: somebody multiplies the loss by 1,000. What changes in the steps?
    ANSWER: almost nothing: m and sqrt(v) both grow by 1,000, and only eps, 1e-8, now counts for even less.

    PAUSE AND THINK: after the update, where does training go?
    ANSWER: to the next document. The forward pass is then another one, of another name.
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
    WHAT. When a name is invented, the logits are divided by the temperature before softmax, and the next token is
    drawn by its probability.

    WHY. Always taking the likeliest token would give the same name every time. Drawing gives variety; the temperature
    says how much.

    HOW. Dividing by 0.5 doubles the differences between logits, so the likeliest gains:

    >>> def at(temperature):
    ...     scaled = [Value(logit / temperature) for logit in (2.0, 1.0, 0.1)]
    ...     return [round(p.data, 3) for p in softmax(scaled)]
    >>> at(1.0), at(0.5)
    ([0.659, 0.242, 0.099], [0.864, 0.117, 0.019])

    DEEPER. Towards 0 it becomes the likeliest token always, towards infinity an even draw. The name comes from
    physics: it is the temperature of a Boltzmann distribution. It does not touch the model, only the dice.

    PAUSE AND THINK: which temperature draws exactly what the model learned?
    ANSWER: 1. The default of 0.5 draws names that are more typical than those in the data.
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
    `begin`, and narrates a step in full only if that step is in `narrated`.
    """

    OBJECTIVES = (
        "What exactly does a GPT compute, from letters in to probabilities out?",
        "What does its loss measure, and which loss means that nothing has been learned?",
        "How does one walk back through the computation give the slope in every parameter at once?",
        "What does attention look at, and where can I see it?",
        "Does the model invent names, or does it repeat the ones it has read?",
    )

    def __init__(self):
        self.speaking = self.pausing = self.watching = self.choosing = self.line_open = False
        self.losses = []
        self.samples = []
        self.read = set()
        self.told = set()
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
                for part in textwrap.wrap(line, self.width, subsequent_indent=" " * hang) or [""]:
                    self.draw(part)

    def close_line(self):
        """Ends the progress line, which on a terminal stays open to be rewritten."""
        if self.line_open:
            print()
            self.line_open = False

    def title(self, text):
        """A heading, with an empty line before it."""
        self.say()
        if self.pausing and self.titled:
            self.wait("To go on, press Enter: ")
        self.titled = True
        self.say(text)
        self.draw(self.rule * len(text))

    def ask(self, question, answer):
        """PAUSE AND THINK: waits for a guess if someone is there to make one, then answers."""
        self.say()
        self.say(f"PAUSE AND THINK: {question}")
        if self.pausing:
            self.wait("Your guess, then press Enter: ")
        self.say(f"ANSWER: {answer}")

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

    def teach(self, heading):
        """Speaks the lecture of that title, once. It stands in the docstring of the code it is about."""
        if not self.speaking or heading in self.told or heading not in self.lectures:  # python -OO has no docstrings
            return
        self.told.add(heading)
        self.title(heading)
        for paragraph in self.lectures[heading]:
            if paragraph.startswith("PAUSE AND THINK:"):
                question, answer = paragraph.split("ANSWER:")
                self.ask(" ".join(question.split()[3:]), " ".join(answer.split()))
            else:
                self.say()
                session = paragraph.startswith(">>>")
                self.say(paragraph if session else " ".join(paragraph.splitlines()))

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
                lectures[heading] = [paragraph.strip("\n") for paragraph in body.split("\n\n") if paragraph.strip()]
        return lectures

    def bar(self, fraction, width=20):
        """A bar for a number from 0 to 1."""
        return self.full * round(width * max(0.0, min(1.0, fraction)))

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
        """The one option that this version adds."""
        parser.add_argument("--pause", action="store_true", default=False, help="wait for your guess at each question")

    def begin(self, options, config):
        """Opens the lecture: how it will be drawn, what it is for, and what each hyperparameter does."""
        self.__init__()  # a run of its own, even if main has run before in this session
        self.speaking, self.titled = True, False
        self.config = config
        self.loaded = "load" in options
        self.pausing = options["pause"] and on_terminal() and sys.stdin.isatty()
        self.narrated = {1, 2, 50, 100, 500, config.num_steps}
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
        self.say()
        first = run.documents[run.step % len(docs)][: self.config.block_size + 1]
        self.say(f"The first document of this run, {self.cut(self.tokenizer.decode(first))!r}, is {first}.")

    def meet_parameters(self, state_dict):
        """What will be learned: the groups of parameters and their sizes."""
        if not self.speaking:
            return
        self.names = [f"{name}[{row}][{column}]" for name, matrix in state_dict.items()
                      for row in range(len(matrix)) for column in range(len(matrix[0]))]
        self.state_dict = state_dict
        self.teach("First weights")
        self.say()
        self.draw(f"{'matrix':<18}{'shape':>12}{'numbers':>9}")
        for name, matrix in state_dict.items():
            shape = f"[{len(matrix)}][{len(matrix[0])}]"
            self.draw(f"{name:<18}{shape:>12}{len(matrix) * len(matrix[0]):>9,}")
        self.draw(f"{'together':<18}{'':>12}{len(self.names):>9,}")

    # ---- One step --------------------------------------------------------------------------------------------------

    def begin_step(self, step, tokens, learning_rate):
        """Decides whether to narrate this step; if so, says what it is about."""
        self.watching = self.speaking and step in self.narrated
        if not self.speaking:
            return
        self.step, self.learning_rate, self.tokens = step, learning_rate, tokens
        self.read.add(self.tokenizer.decode(tokens))
        if step == 1:
            self.waited = 0.0  # only the pauses while it trains are to be taken off the time
        if not self.watching:
            return
        self.vectors, self.attention, self.predictions = {}, {}, []
        self.close_line()
        self.title(f"Step {step} of {self.config.num_steps}, looked at closely")
        count = min(self.config.block_size, len(tokens) - 1)
        read = tokens[: count + 1]
        name = self.cut(self.tokenizer.decode(read))
        self.say(f"The document is {name!r}, its tokens {read}. It asks {count} question{'s' * (count > 1)}:")
        for position in range(count):
            context = "".join(self.letter(token) for token in tokens[: position + 1])
            answer = self.letter(tokens[position + 1])
            self.draw(f"  position {position:2d}: after {context:<{count + 1}} comes {answer}")
        if step == 1:
            self.say("(^ is BOS, the token that marks both ends.)")
        if step == 1 and not self.loaded:
            self.ask("nothing has been learned yet. What loss do you expect?",
                     f"near ln({self.tokenizer.vocab_size}) = {math.log(self.tokenizer.vocab_size):.4f}, the loss of "
                     "guessing evenly among all tokens; not exactly that, for the random weights are not zero.")

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

    def draw_head(self, layer, head):
        """One head's attention as lines: a row for each position, a column for each position it may look at."""
        rows = self.attention[layer, head]
        labels = [self.letter(token) for token in self.tokens]
        lines = [f"layer {layer}, head {head}", "     " + "".join(f"{label:>4}" for label in labels[: len(rows)])]
        for position, weights in enumerate(rows):
            percents = [round(100 * weight) for weight in weights]
            cells = "".join(f"{self.shades[min(4, percent // 20)]}{percent:3d}" for percent in percents)
            lines.append(f"{position:2d} {labels[position]} {cells}")
        return lines

    def explain_forward(self, loss):
        """Prints what the forward pass of a narrated step did."""
        if not self.watching:
            return
        self.say()
        self.say("Forward. The vectors of the last position in layer 0, in the order they arise:")
        self.draw(f"  {'name':<19}{'shape':>6}{'mean square':>13}   first numbers")
        for name, vector in self.vectors.items():
            square = sum(number * number for number in vector) / len(vector)
            shape = f"[{len(vector)}]"
            first = "  ".join(f"{round(number, 3) + 0.0:+.3f}" for number in vector[: (self.width - 43) // 8])
            self.draw(f"  {name:<19}{shape:>6}{square:13.4f}   {first}")
        for heading in ("What a layer computes", "Why normalise", "Why residual connections", "Query, key and value",
                        "Why divide by the square root of head_dim", "The MLP and its relu"):
            self.teach(heading)
        self.say()
        self.say("Attention. Each row is one position; its columns say how many % of its attention go to each position "
                 "so far, together 100 but for rounding. Before the figure, blank is below 20, then "
                 + ", ".join(f"{self.shades[level]} from {20 * level}" for level in range(1, 5)) + ".")
        drawings = [self.draw_head(layer, head) for layer, head in self.attention]
        column = max(len(line) for drawing in drawings for line in drawing) + 3
        beside = max(1, (self.width + 3) // column)
        for first in range(0, len(drawings), beside):
            self.say()
            for lines in zip(*drawings[first : first + beside]):
                self.draw("".join(f"{line:<{column}}" for line in lines).rstrip())
        self.teach("Why softmax subtracts the maximum")
        self.say()
        self.say("From logits to probabilities, position by position: the three likeliest tokens, and the right one.")
        self.draw(f"  {'after':<10}{'likeliest':<25}{'right':>5}{'logit':>7}{'p':>7}{'place':>6}{'loss':>7}")
        for position, (logits, target, position_loss) in enumerate(self.predictions):
            largest = max(logits)
            total = sum(math.exp(logit - largest) for logit in logits)
            probabilities = [math.exp(logit - largest) / total for logit in logits]
            ranked = sorted(range(len(logits)), key=lambda token: -logits[token])
            best = "  ".join(f"{self.letter(token)} {probabilities[token]:.3f}" for token in ranked[:3])
            context = "".join(self.letter(token) for token in self.tokens[: position + 1])[-9:]
            self.draw(f"  {context:<10}{best:<25}{self.letter(target):>5}{logits[target]:+7.2f}"
                      f"{probabilities[target]:7.3f}{ranked.index(target) + 1:6}{position_loss:7.3f} "
                      f"{self.bar(position_loss / 6, 8)}")
        self.teach("Cross-entropy and perplexity")
        even = math.log(self.tokenizer.vocab_size)
        self.say()
        vocab_size = self.tokenizer.vocab_size
        self.say(f"The loss of this document is the mean of that column: {loss.data:.4f} nats. Its perplexity is "
                 f"exp({loss.data:.4f}) = {self.perplexity(loss.data):.2f}: it does as badly as a fair choice among "
                 f"that many tokens. Guessing evenly costs ln({vocab_size}) = {even:.4f}, perplexity {vocab_size}.")
        nodes, edges = len(Value.tape), sum(len(node.children) for node in Value.tape)
        self.say()
        self.say(f"Backward. The tape holds {nodes:,} computed Values, joined to what they were computed from by "
                 f"{edges:,} edges. The last three, the loss itself at the end:")
        for node in Value.tape[-3:]:
            children = ", ".join(f"{child.data:.4f}" for child in node.children[:4])
            slopes = ", ".join(f"{slope:.4f}" for slope in node.local_grads[:4])
            self.draw(f"  {node.data:8.4f}  from {children}  with slopes {slopes}")
        self.teach("Computation graphs and the chain rule")
        self.teach("Why a tape")

    def explain_gradients(self):
        """Prints the gradient's statistics by parameter group, and who got none and why."""
        if not self.watching:
            return
        self.say()
        self.say("The gradient that came back, by group (the longest bar is the largest mean size):")
        self.draw(f"  {'group':<18}{'numbers':>8}{'mean |g|':>11}{'max |g|':>11}{'got none':>10}")
        groups = {name: [weight.grad for row in matrix for weight in row] for name, matrix in self.state_dict.items()}
        means = {name: sum(map(abs, grads)) / len(grads) for name, grads in groups.items()}
        for name, grads in groups.items():
            self.draw(f"  {name:<18}{len(grads):>8,}{means[name]:>11.5f}{max(map(abs, grads)):>11.5f}"
                     f"{grads.count(0.0):>10,}  {self.bar(means[name] / (max(means.values()) or 1.0), 15)}")
        without = {name: grads.count(0.0) for name, grads in groups.items()}
        silent = sum(count for name, count in without.items() if ".mlp" in name)
        others = sum(without.values()) - without["wte"] - without["wpe"] - silent
        if self.step > 1:
            self.say(f"{sum(without.values()):,} of {len(self.names):,} parameters got no gradient at all.")
            return
        self.ask(f"{sum(without.values()):,} of {len(self.names):,} parameters got no gradient at all. Which, and why?",
                 f"{without['wte']:,} stand in the rows of wte for tokens that this document does not read, "
                 f"{without['wpe']:,} in the rows of wpe for positions beyond its end: they took no part, so the loss "
                 "has no slope in them."
                 + (f" {silent:,} lead to or from neurons whose relu was silent at every position." if silent else "")
                 + (f" {others:,} stand elsewhere, where the slopes happen to vanish." if others else ""))

    def before_update(self, optimizer, learning_rate):
        """Picks parameters to follow through the update, and notes where they stand."""
        if not self.watching:
            return
        self.teach("Why Adam, step by step")
        grads = [parameter.grad for parameter in optimizer.parameters]
        strongest = sorted(range(len(grads)), key=lambda index: -abs(grads[index]))
        groups, picked = set(), []
        for index in strongest:  # the steepest of each of three groups, then one that got no gradient
            group = self.names[index].split("[")[0]
            if group not in groups and len(picked) < 3:
                groups.add(group)
                picked.append(index)
        picked += [index for index in reversed(strongest) if grads[index] == 0.0][:1]
        self.followed = [(index, optimizer.parameters[index].data, grads[index]) for index in picked]

    def after_update(self, optimizer):
        """Prints the followed parameters before and after, with Adam's running means."""
        if not self.watching:
            return
        beta1, beta2 = self.config.beta1, self.config.beta2
        self.say()
        self.say(f"Update {optimizer.t}, learning rate {self.learning_rate:.5f}: the steepest parameter in each of "
                 "three groups, and one that got no gradient, with Adam's figures:")
        columns = [["parameter", "", "before", "g", "m", "v", "m_hat", "v_hat", "after"]]
        for index, before, grad in self.followed:
            m, v = optimizer.m[index], optimizer.v[index]
            m_hat, v_hat = m / (1 - beta1**optimizer.t), v / (1 - beta2**optimizer.t)
            group, place = self.names[index].split("[", 1)
            figures = (before, grad, m, v, m_hat, v_hat, optimizer.parameters[index].data)
            columns.append([group, f"[{place}", *(f"{figure:+.6f}" for figure in figures)])
        for row in zip(*columns):
            self.draw(f"  {row[0]:<10}" + "".join(f"{cell:>16}" for cell in row[1:]))
        if optimizer.t == 1:
            self.say("At the first update m_hat = g and v_hat = g², so every parameter with a gradient moves by almost "
                     "exactly the learning rate, whatever the size of its gradient; one without stays where it is.")

    def end_step(self, step, loss, seconds):
        """Keeps the loss; says how it goes after every 50 steps."""
        self.losses.append(loss)
        if not self.speaking:
            return
        recent = self.losses[-100:]
        mean = sum(recent) / len(recent)
        self.line_open = on_terminal()
        last = self.line_open and step == self.config.num_steps  # then `look_back` says more
        if (step % 50 == 0 or self.watching) and not last:
            self.close_line()
            left = (seconds - self.waited) / step * (self.config.num_steps - step)
            of = f"mean of the last {len(recent)} losses" if len(recent) > 1 else "its loss"
            self.say(f"after step {step}: {of} {mean:.4f}, learning rate "
                     f"{self.learning_rate:.5f}, {100 * step / self.config.num_steps:.0f} % done, {left:.0f} s left")
        self.watching = False

    def look_back(self):
        """After training: the loss curve."""
        if not self.speaking or not self.losses:
            return
        self.title("How the loss fell")
        height, columns = 10, min(60, len(self.losses))
        size = len(self.losses) / columns
        means = []
        for column in range(columns):
            part = self.losses[int(column * size) : max(int((column + 1) * size), int(column * size) + 1)]
            means.append(sum(part) / len(part))
        top, bottom = max(means), min(means)
        for row in range(height):
            level = top - (top - bottom) * row / (height - 1)
            half = (top - bottom) / (height - 1) / 2
            marks = "".join(self.full if abs(mean - level) <= half else " " for mean in means)
            self.draw(f"  {level:6.3f} {self.margin}{marks}")
        self.draw(f"         +{'-' * columns}")
        self.draw(f"          step 1{'':<{max(1, columns - 11 - len(str(len(self.losses))))}}step {len(self.losses)}")
        few = min(100, len(self.losses))
        first, last = sum(self.losses[:few]) / few, sum(self.losses[-few:]) / few
        self.say(f"Each mark is the mean of about {size:.0f} steps. " if size > 1 else "Each mark is a step. ")
        if len(self.losses) >= 200:
            self.say(f"The first {few} losses average {first:.4f}, the last {few} {last:.4f}. Single steps jump about, "
                     "for each is another name; compare means only.")
        self.teach("Hyperparameters")

    # ---- Generation ------------------------------------------------------------------------------------------------

    def begin_sample(self):
        """Narrates the choices of the first name only."""
        self.choosing = self.speaking and not self.samples
        if self.choosing:
            self.teach("Temperature")
            self.title(f"Inventing the first name, choice by choice, at temperature {self.config.temperature}")

    def see_choice(self, tokens, values):
        """One draw: what came before, the likeliest tokens, and the one that was drawn, now the last of tokens."""
        if not self.choosing:
            return
        *tokens, token = tokens
        probabilities = [value.data for value in values]
        ranked = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
        context = "".join(self.letter(known) for known in tokens)
        self.say(f"after {context}: drawn {self.letter(token)}, which had p = {probabilities[token]:.3f} "
                 f"(place {ranked.index(token) + 1} of {len(ranked)})")
        for index in ranked[:5] + ([token] if token not in ranked[:5] else []):
            mark = "<- drawn" if index == token else ""
            bar = self.bar(probabilities[index])
            self.draw(f"    {self.letter(index)} {probabilities[index]:.3f} {bar:<20} {mark}".rstrip())

    def see_sample(self, sample):
        """Keeps a finished name."""
        self.samples.append(sample)

    def conclude(self):
        """Counts what is new, and answers the questions of the beginning."""
        if not self.speaking:
            return
        self.title("What was learned")
        known = set(self.docs)
        new = [sample for sample in self.samples if sample not in known]
        old = [sample for sample in self.samples if sample in known]
        read = [sample for sample in old if sample in self.read]
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
            f"A list of {self.tokenizer.vocab_size} logits at each position, made from the tokens so far by "
            f"{len(self.names):,} numbers; softmax turns them into the probability of each next token.",
            f"The mean surprise, -ln p, at what really came next. Guessing evenly costs {even:.4f} here{trained}.",
            "Slopes multiply along a path and add over paths. The tape, read backwards, does this for all at once.",
            f"Each of {self.config.n_head} heads weighs every position so far by softmax(q . k / sqrt(head_dim)). The "
            "pictures above are those weights; what a head is good for must be measured, not read off one picture.",
            f"{len(new)} of the {len(self.samples)} samples do not stand in the data. It keeps no list: its "
            f"{len(self.names):,} numbers hold how letters follow each other. (With few names and many steps it would "
            "learn them by heart.)",
        )
        for number, (objective, answer) in enumerate(zip(self.OBJECTIVES, answers), 1):
            self.say(f"{number}. {objective}", hang=3)
            self.say(f"   {answer}", hang=3)
        self.fall_silent()


lecture = Lecture()


if __name__ == "__main__":
    # Pasted into a notebook it has no file, and the arguments there are somebody else's.
    main(None if "__file__" in globals() else [])
