"""The same GPT on NumPy arrays, with every gradient derived by hand. No autograd.

`script_gpt_refactored.py` computes one number at a time and lets `Value` find the slopes. Here each component computes
on whole arrays and knows its own backward pass; above each `backward` stands its derivation. With the same weights both
give the same logits, losses and gradients, up to the last bits of a double.

    from engines.numpy_gpt import GPT, make_batch
    from script_gpt_refactored import GPTConfig, Tokenizer, load_checkpoint
    saved = load_checkpoint("model.json")        # written by any of the scripts, or by engines.train, with --save
    config, tokenizer = GPTConfig(**saved["config"]), Tokenizer(saved["vocabulary"])
    model = GPT(config, tokenizer.vocab_size)    # all weights 0
    model.load_state_dict(saved["state_dict"])
    loss = model.loss(make_batch([tokenizer.encode("emma"), tokenizer.encode("ada")], config.block_size))
    model.backward()                             # model.gradients["layer0.attn_wq"] has the shape of the weight
    model.activations()["layer0.attn.weights"]   # every number on the way, by name

Letters in the comments: L is the loss. G is ∂L/∂y for the y that forward returned, in the code d_y; and ∂L/∂x is d_x.
[a = b] is 1 if a equals b, else 0. The chain rule adds up over all ways from x to L: ∂L/∂x = Σ G ∂y/∂x over every y
that x acts on.

Shapes are written [rows][n_embd]. A *row* is one real token: the tokens of all documents of a batch stand in one array,
one after another, without padding. Only attention, which looks along a document, lays them out as [batch][time].
"""
from __future__ import annotations

import argparse
import itertools
import math
import random
from dataclasses import dataclass
from typing import Sequence

import numpy as np
from numpy import vecdot  # row by row, Σ a_i b_i; NumPy 2.0 or newer has it

from script_gpt_refactored import GPTConfig, InputError, Tokenizer

# ======================================================================================================================
# Batch
# ======================================================================================================================


@dataclass(frozen=True)
class Batch:
    """What a training step reads: the tokens of several documents, and what comes after each of them.

    rows                         [rows] 0, 1, 2, ...: the number of each row
    tokens, positions, targets   [rows] whole numbers: the token, its place in its document, the token that follows it
    batch, time                  the number of documents, and the length of the longest
    slots                        [rows] where each row stands in the [batch * time] layout; None if there is no gap
    """

    rows: np.ndarray
    tokens: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    batch: int
    time: int
    slots: np.ndarray | None

    def spread(self, rows: np.ndarray) -> np.ndarray:
        """[rows][n] -> [batch][time][n], with zeros where a document has ended."""
        if self.slots is not None:
            padded = np.zeros((self.batch * self.time, rows.shape[1]), rows.dtype)
            padded[self.slots] = rows
            rows = padded
        return rows.reshape(self.batch, self.time, -1)

    def gather(self, padded: np.ndarray) -> np.ndarray:
        """The opposite: [batch][time][...] -> [rows][n], without what stands after the end of a document."""
        rows = padded.reshape(self.batch * self.time, -1)
        return rows if self.slots is None else rows[self.slots]


def make_batch(documents: Sequence[Sequence[int]], block_size: int) -> Batch:
    """Documents as lists of tokens, of different lengths, BOS at both ends; or blocks of running text, of one length.

    Each is cut to its first block_size tokens and what follows them, as `compute_loss` does. Raises ValueError if a
    document has fewer than two tokens, for then there is nothing to predict.
    """
    cut = [document[: block_size + 1] for document in documents]
    lengths = [len(document) - 1 for document in cut]
    if not lengths or min(lengths) < 1:
        raise ValueError("a batch needs documents of at least two tokens")
    batch, time, rows = len(cut), max(lengths), sum(lengths)
    flat = np.fromiter(itertools.chain.from_iterable(cut), np.intp, rows + batch)  # all tokens of all documents
    ends = np.cumsum(lengths)  # where each document's rows end
    last = ends + np.arange(batch)  # the place of each document's last token, which asks nothing
    first = last - lengths  # and of its first, which is no answer
    asks, answers = np.ones(len(flat), bool), np.ones(len(flat), bool)
    asks[last], answers[first] = False, False
    numbers = np.arange(rows)
    positions = numbers - np.repeat(ends - lengths, lengths)
    slots = None
    if rows < batch * time:
        slots = np.repeat(np.arange(0, batch * time, time), lengths) + positions
    return Batch(numbers, flat[asks], positions, flat[answers], batch, time, slots)


# ======================================================================================================================
# Components: each has forward, backward and parameters; forward keeps what backward needs, and what `activations` shows
# ======================================================================================================================


class Parameter:
    """One weight matrix and its gradient, both views into the two long vectors of the model. [n_out][n_in]."""

    __slots__ = ("weight", "gradient")

    def __init__(self, weight: np.ndarray, gradient: np.ndarray) -> None:
        self.weight, self.gradient = weight, gradient


class Embedding:
    """y = wte[token] + wpe[position]: two rows of two tables. [rows], [rows] -> [rows][n_embd]."""

    def __init__(self, wte: Parameter, wpe: Parameter) -> None:
        self.wte, self.wpe = wte, wpe

    def parameters(self) -> list[Parameter]:
        return [self.wte, self.wpe]

    def forward(self, batch: Batch) -> np.ndarray:
        self.batch = batch
        self.token = self.wte.weight[batch.tokens]
        self.position = self.wpe.weight[batch.positions]
        return self.token + self.position

    # y_r = wte[token_r] + wpe[position_r]. With E_rv = [row r holds token v], y_rj = Σ_v E_rv wte_vj + ..., so
    #   ∂L/∂wte_vj = Σ_r E_rv G_rj     ∂L/∂wte = Eᵀ G     [vocab_size][n_embd]
    # Each token's row gets the sum of G over the rows where it stands. wpe likewise, by position: in the [batch][time]
    # layout a position is a column, padded with 0, so it is the sum over the documents; what none reaches gets 0.
    def backward(self, d_y: np.ndarray) -> None:
        batch = self.batch
        one_hot = np.zeros((len(batch.tokens), len(self.wte.weight)), d_y.dtype)  # [rows][vocab_size]
        one_hot[batch.rows, batch.tokens] = 1.0  # in each row r, the place of its token
        np.matmul(one_hot.T, d_y, out=self.wte.gradient)
        np.add.reduce(batch.spread(d_y), axis=0, out=self.wpe.gradient[: batch.time])
        self.wpe.gradient[batch.time :] = 0.0


class RMSNorm:
    """y = x s, s = (mean(x²) + epsilon)^(-1/2), a scale for each row. [rows][n] -> [rows][n]. No parameters."""

    epsilon = 1e-5

    def parameters(self) -> list[Parameter]:
        return []

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        self.scale = 1.0 / np.sqrt(vecdot(x, x) / x.shape[1] + self.epsilon)[:, None]  # [rows][1]
        self.y = x * self.scale
        return self.y

    # In a row of n numbers let u = mean(x²) + epsilon, s = u^(-1/2), with the slopes ∂u/∂x_j = 2 x_j / n and
    # ds/du = -½ u^(-3/2) = -½ s³. Together ∂s/∂x_j = -s³ x_j / n.
    # y_i = x_i s depends on x_j directly, if i = j, and through s: ∂y_i/∂x_j = [i = j] s + x_i ∂s/∂x_j. So
    #   ∂L/∂x_j = s G_j - (s³ x_j / n) Σ_i G_i x_i = s (G_j - y_j mean_i(G_i y_i))     since s x = y, used twice
    def backward(self, d_y: np.ndarray) -> np.ndarray:
        mean = vecdot(d_y, self.y)[:, None] / d_y.shape[1]  # [rows][1]
        d_x = d_y - self.y * mean
        d_x *= self.scale
        return d_x


class Linear:
    """y = x Wᵀ: in each row, y = W x. [rows][n_in], W [n_out][n_in] -> [rows][n_out]."""

    def __init__(self, parameter: Parameter) -> None:
        self.w = parameter

    def parameters(self) -> list[Parameter]:
        return [self.w]

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x @ self.w.weight.T

    # y_ri = Σ_j x_rj W_ij. W_ij acts on y_ri in every row r, with slope x_rj; x_rj acts on every y_ri of its own row,
    # with slope W_ij. So
    #   ∂L/∂W_ij = Σ_r G_ri x_rj     ∂L/∂W = Gᵀ x     [n_out][n_in]
    #   ∂L/∂x_rj = Σ_i G_ri W_ij     ∂L/∂x = G W      [rows][n_in]
    def backward(self, d_y: np.ndarray) -> np.ndarray:
        np.matmul(d_y.T, self.x, out=self.w.gradient)
        return d_y @ self.w.weight


class Attention:
    """Multi-head attention, each token to itself and those before it. [rows][n_embd] -> [rows][n_embd].

    attn_wq, attn_wk and attn_wv stand one after another in the model's vector, so one matrix [3 n_embd][n_embd] makes
    queries, keys and values at once.
    """

    def __init__(self, wqkv: Parameter, wo: Parameter, n_head: int) -> None:
        self.qkv, self.out, self.n_head = Linear(wqkv), Linear(wo), n_head

    def parameters(self) -> list[Parameter]:
        return self.qkv.parameters() + self.out.parameters()

    def forward(self, x: np.ndarray, batch: Batch, mask: np.ndarray) -> np.ndarray:
        """mask: [time][time], 0 where row t may look at column u, -inf where u lies after t.

        Padding stands after the end of its document, so the same mask hides it.
        """
        self.batch = batch
        qkv = batch.spread(self.qkv.forward(x))  # [batch][time][3 n_embd]
        qkv = qkv.reshape(batch.batch, batch.time, 3, self.n_head, -1).transpose(2, 0, 3, 1, 4)
        self.q, self.k, self.v = qkv  # [batch][n_head][time][head_dim] each
        self.scaled = self.q / math.sqrt(self.q.shape[-1])  # Q / √d, in place of dividing Q Kᵀ
        self.logits = self.scaled @ self.k.swapaxes(-1, -2)  # [batch][n_head][time][time]
        self.logits += mask
        self.weights = softmax(self.logits)
        heads = self.weights @ self.v  # [batch][n_head][time][head_dim]
        self.heads = batch.gather(heads.swapaxes(1, 2))  # [rows][n_embd], the heads side by side
        return self.out.forward(self.heads)

    # For one head of one document: Q, K, V [time][head_dim], S = Q Kᵀ / √d + mask, A = softmax(S) row by row, O = A V.
    # Let D = ∂L/∂O, in the code d_heads.
    #   O_ti = Σ_u A_tu V_ui              ∂L/∂V = Aᵀ D     ∂L/∂A = D Vᵀ     (as in Linear)
    #   A_tw = e^S_tw / Σ_v e^S_tv        ∂A_tw/∂S_tu = A_tw ([w = u] - A_tu), and summed over w
    #                                     ∂L/∂S_tu = A_tu (∂L/∂A_tu - Σ_w A_tw ∂L/∂A_tw): 0 where A is 0
    #   S_tu = Σ_i Q_ti K_ui / √d         ∂L/∂Q = ∂L/∂S K / √d     ∂L/∂K = (∂L/∂S)ᵀ Q / √d
    # Rows of padding have D = 0, and no real row looks at them: they add nothing.
    def backward(self, d_y: np.ndarray) -> np.ndarray:
        batch, (_, n_head, _, head_dim) = self.batch, self.q.shape
        d_heads = batch.spread(self.out.backward(d_y))  # [batch][time][n_embd]
        d_heads = d_heads.reshape(batch.batch, batch.time, n_head, head_dim).swapaxes(1, 2)
        d_weights = d_heads @ self.v.swapaxes(-1, -2)
        d_logits = d_weights - vecdot(self.weights, d_weights)[..., None]
        d_logits *= self.weights
        d_qkv = np.empty((batch.batch, batch.time, 3, n_head, head_dim), d_y.dtype)
        d_q, d_k, d_v = d_qkv.transpose(2, 0, 3, 1, 4)  # views: what is written to them lands in d_qkv
        d_q[:] = d_logits @ self.k / math.sqrt(head_dim)
        d_k[:] = d_logits.swapaxes(-1, -2) @ self.scaled
        d_v[:] = self.weights.swapaxes(-1, -2) @ d_heads
        return self.qkv.backward(batch.gather(d_qkv))


class MLP:
    """y = relu(x W1ᵀ) W2ᵀ, four times wider in the middle. [rows][n_embd] -> [rows][n_embd]."""

    def __init__(self, fc1: Parameter, fc2: Parameter) -> None:
        self.fc1, self.fc2 = Linear(fc1), Linear(fc2)

    def parameters(self) -> list[Parameter]:
        return self.fc1.parameters() + self.fc2.parameters()

    def forward(self, x: np.ndarray, batch: Batch, mask: np.ndarray) -> np.ndarray:
        """Takes what attention takes, so that a ResidualBlock can hold either; it needs only x."""
        self.before_relu = self.fc1.forward(x)  # [rows][4 n_embd]
        self.hidden = np.maximum(self.before_relu, 0.0)
        return self.fc2.forward(self.hidden)

    # relu passes on what it let through: ∂L/∂h = ∂L/∂relu(h) where h > 0, else 0.
    def backward(self, d_y: np.ndarray) -> np.ndarray:
        d_hidden = self.fc2.backward(d_y)
        d_hidden *= self.hidden > 0
        return self.fc1.backward(d_hidden)


class ResidualBlock:
    """y = x + f(rmsnorm(x)), f being attention or the MLP. [rows][n_embd] -> [rows][n_embd]."""

    def __init__(self, f: Attention | MLP) -> None:
        self.norm, self.f = RMSNorm(), f

    def parameters(self) -> list[Parameter]:
        return self.f.parameters()

    def forward(self, x: np.ndarray, batch: Batch, mask: np.ndarray) -> np.ndarray:
        self.added = self.f.forward(self.norm.forward(x), batch, mask)
        self.y = x + self.added
        return self.y

    # x acts on y directly, with slope 1, and through f(rmsnorm(x)): both effects add up.
    def backward(self, d_y: np.ndarray) -> np.ndarray:
        return d_y + self.norm.backward(self.f.backward(d_y))


class CrossEntropy:
    """The mean over rows of -ln softmax(z)[target], as logsumexp(z) - z[target]. [rows][vocab_size] -> one number."""

    def parameters(self) -> list[Parameter]:
        return []

    def forward(self, z: np.ndarray, batch: Batch) -> float:
        largest = row_maximum(z)  # [rows][1], taken out first, so that exp never overflows
        exponentials = z - largest
        np.exp(exponentials, out=exponentials)
        totals = row_sum(exponentials)  # [rows][1]
        self.batch = batch
        exponentials /= totals
        self.probabilities = exponentials
        self.losses = (np.log(totals) + largest)[:, 0] - z[batch.rows, batch.targets]  # [rows]
        return float(np.add.reduce(self.losses)) / len(z)

    # The loss of a row is ln Σ_j e^z_rj - z_r[target], with the slopes e^z_rj / Σ e^z_r = p_rj, less 1 at the target.
    # Of the mean over R rows:
    #   ∂L/∂z_rj = (p_rj - [j = target_r]) / R
    def backward(self) -> np.ndarray:
        d_z = self.probabilities.copy()
        d_z[self.batch.rows, self.batch.targets] -= 1.0
        d_z /= len(d_z)
        return d_z


def row_maximum(x: np.ndarray) -> np.ndarray:
    """The largest number along the last axis. [...][n] -> [...][1].

    NumPy takes maxima along a short last axis row after row; turned round, it takes those of all rows at once.
    """
    turned = np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)  # [n][rows]
    return np.maximum.reduce(turned, axis=0).reshape(*x.shape[:-1], 1)


def row_sum(x: np.ndarray) -> np.ndarray:
    """The sum along the last axis, as a product with ones, for the same reason. [...][n] -> [...][1]."""
    return (x.reshape(-1, x.shape[-1]) @ np.ones((x.shape[-1], 1), x.dtype)).reshape(*x.shape[:-1], 1)


def softmax(x: np.ndarray) -> np.ndarray:
    """e^x_i / Σ e^x_j along the last axis; -inf becomes exactly 0."""
    y = x - row_maximum(x)
    np.exp(y, out=y)  # in place from here: new large arrays cost more than the arithmetic
    y /= row_sum(y)
    return y


# ======================================================================================================================
# Model
# ======================================================================================================================


class GPT:
    """The model of `script_gpt_refactored.gpt_forward`, for whole batches.

    parameters, gradients   name -> array [n_out][n_in], as in the scalar state_dict; views into the two vectors
    flat, flat_gradient     all weights, and all gradients of the last backward, as one vector each: what Adam works on

    dtype is np.float64, or np.float32 for half the memory and less than half the digits.
    """

    def __init__(self, config: GPTConfig, vocab_size: int, dtype: type = np.float64) -> None:
        self.config, self.vocab_size, self.dtype = config, vocab_size, np.dtype(dtype)
        n = config.n_embd
        shapes = {"wte": (vocab_size, n), "wpe": (config.block_size, n), "lm_head": (vocab_size, n)}
        for layer in range(config.n_layer):
            shapes.update({f"layer{layer}.attn_w{name}": (n, n) for name in "qkvo"})
            shapes.update({f"layer{layer}.mlp_fc1": (4 * n, n), f"layer{layer}.mlp_fc2": (n, 4 * n)})
        total = sum(n_out * n_in for n_out, n_in in shapes.values())
        self.flat, self.flat_gradient = np.zeros(total, dtype), np.zeros(total, dtype)
        self.parameters: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}
        starts, start = {}, 0
        for name, shape in shapes.items():
            starts[name], stop = start, start + shape[0] * shape[1]
            self.parameters[name] = self.flat[start:stop].reshape(shape)
            self.gradients[name] = self.flat_gradient[start:stop].reshape(shape)
            start = stop

        def parameter(first: str, rows: int | None = None) -> Parameter:
            n_out, n_in = shapes[first]
            piece = slice(starts[first], starts[first] + (rows or n_out) * n_in)
            return Parameter(self.flat[piece].reshape(-1, n_in), self.flat_gradient[piece].reshape(-1, n_in))

        self.embedding = Embedding(parameter("wte"), parameter("wpe"))
        self.norm = RMSNorm()
        self.blocks: list[ResidualBlock] = []  # attention, MLP, attention, MLP, ...
        for layer in range(config.n_layer):
            wqkv = parameter(f"layer{layer}.attn_wq", 3 * config.n_embd)
            wo = parameter(f"layer{layer}.attn_wo")
            self.blocks.append(ResidualBlock(Attention(wqkv, wo, config.n_head)))
            self.blocks.append(ResidualBlock(MLP(parameter(f"layer{layer}.mlp_fc1"),
                                                 parameter(f"layer{layer}.mlp_fc2"))))
        self.lm_head = Linear(parameter("lm_head"))
        self.cross_entropy = CrossEntropy()
        self.mask = np.triu(np.full((config.block_size, config.block_size), -np.inf, dtype), k=1)

    def load_state_dict(self, state_dict: dict[str, list[list[float]]]) -> None:
        """Takes the weights of a checkpoint, rows of numbers by name. Raises ValueError if they do not fit."""
        arrays = {name: np.asarray(rows, self.dtype) for name, rows in state_dict.items()}
        shapes = {name: weight.shape for name, weight in self.parameters.items()}
        if {name: array.shape for name, array in arrays.items()} != shapes:
            raise ValueError(f"the weights must have the names and shapes {shapes}")
        for name, weight in self.parameters.items():
            weight[:] = arrays[name]

    def forward(self, batch: Batch) -> np.ndarray:
        """The logits of the token after each row. -> [rows][vocab_size]."""
        self.batch = batch
        x = self.norm.forward(self.embedding.forward(batch))
        mask = self.mask[: batch.time, : batch.time]
        for block in self.blocks:
            x = block.forward(x, batch, mask)
        self.logits = self.lm_head.forward(x)
        return self.logits

    def loss(self, batch: Batch) -> float:
        """The mean cross-entropy over all rows, in nats."""
        return self.cross_entropy.forward(self.forward(batch), batch)

    def backward(self) -> None:
        """∂loss/∂weight for every weight, into `gradients`, from what the last `loss` computed."""
        d_x = self.lm_head.backward(self.cross_entropy.backward())
        for block in reversed(self.blocks):
            d_x = block.backward(d_x)
        self.embedding.backward(self.norm.backward(d_x))

    def activations(self) -> dict[str, np.ndarray]:
        """Every array between tokens and loss, by name, as the last `loss` left it. Not asking costs nothing.

        [rows][...] for what belongs to a token, [batch][n_head][time][...] inside attention, where the times after the
        end of a document are padding. They are the model's own arrays: copy what you want to keep.
        """
        found = {"embedding.token": self.embedding.token, "embedding.position": self.embedding.position,
                 "embedding.sum": self.norm.x, "embedding.norm": self.norm.y}
        for layer in range(self.config.n_layer):
            attn, mlp = self.blocks[2 * layer], self.blocks[2 * layer + 1]
            for name in ("q", "k", "v", "logits", "weights"):
                found[f"layer{layer}.attn.{name}"] = getattr(attn.f, name)
            found.update({
                f"layer{layer}.attn.norm": attn.norm.y, f"layer{layer}.attn.heads": attn.f.heads,
                f"layer{layer}.attn.out": attn.added, f"layer{layer}.attn.residual": attn.y,
                f"layer{layer}.mlp.norm": mlp.norm.y, f"layer{layer}.mlp.before_relu": mlp.f.before_relu,
                f"layer{layer}.mlp.hidden": mlp.f.hidden, f"layer{layer}.mlp.out": mlp.added,
                f"layer{layer}.mlp.residual": mlp.y,
            })
        found.update({"logits": self.logits, "probabilities": self.cross_entropy.probabilities,
                      "losses": self.cross_entropy.losses})
        return found

    # Generation: one token at a time, with a cache of keys and values as in the scalar program.

    def empty_cache(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each layer room for block_size keys and as many values. [n_head][block_size][head_dim] each."""
        n_head = self.config.n_head
        shape = (n_head, self.config.block_size, self.config.n_embd // n_head)
        return [(np.zeros(shape, self.dtype), np.zeros(shape, self.dtype)) for _ in range(self.config.n_layer)]

    def next_logits(self, token: int, position: int, cache: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """One token at one position to the logits of the next; its keys and values enter the cache. -> [vocab_size]."""
        norm = RMSNorm()
        x = norm.forward((self.embedding.wte.weight[token] + self.embedding.wpe.weight[position])[None])  # [1][n_embd]
        for layer, (keys, values) in enumerate(cache):
            attention, mlp = self.blocks[2 * layer].f, self.blocks[2 * layer + 1].f
            qkv = norm.forward(x) @ attention.qkv.w.weight.T
            q, keys[:, position], values[:, position] = qkv.reshape(3, self.config.n_head, -1)
            seen = slice(0, position + 1)
            logits = (keys[:, seen] @ q[:, :, None])[..., 0] / math.sqrt(q.shape[-1])  # [n_head][position + 1]
            heads = softmax(logits)[:, None] @ values[:, seen]  # [n_head][1][head_dim]
            x = x + heads.reshape(1, -1) @ attention.out.w.weight.T
            hidden = np.maximum(norm.forward(x) @ mlp.fc1.w.weight.T, 0.0)
            x = x + hidden @ mlp.fc2.w.weight.T
        return (x @ self.lm_head.w.weight.T)[0]

    def generate(
        self, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
    ) -> str:
        """A new document that starts with the prompt (BOS first), until BOS is drawn or after block_size characters.

        A temperature of 0 takes the likeliest token each time.
        """
        tokens, cache = list(prompt_tokens), self.empty_cache()
        for position in range(self.config.block_size):
            logits = self.next_logits(tokens[position], position, cache)
            if position + 1 < len(tokens):
                continue  # still reading the prompt
            probabilities = softmax(logits.astype(np.float64) / (temperature or 1e-9))
            if not math.isfinite(probabilities.sum()):
                raise InputError("the probabilities are not finite: this model cannot be used, load another")
            tokens += rng.choices(range(self.vocab_size), weights=probabilities.tolist())
            if tokens[-1] == tokenizer.bos:
                break
        return tokenizer.decode(tokens)


# ======================================================================================================================
# Optimizer
# ======================================================================================================================


class AdamW:
    """Adam (Kingma and Ba, 2015) on one long vector; with weight decay apart from the gradient (Loshchilov and Hutter,
    2019). With weight_decay 0 it is the Adam of the scalar program, but for rounding."""

    def __init__(self, parameters: np.ndarray, config: GPTConfig, weight_decay: float = 0.0) -> None:
        self.parameters, self.config, self.weight_decay = parameters, config, weight_decay
        self.m, self.v, self.t = np.zeros_like(parameters), np.zeros_like(parameters), 0
        self.work = np.empty_like(parameters)  # room for what is computed on the way, made once

    def step(self, gradient: np.ndarray, learning_rate: float) -> None:
        """p -= rate * (m_hat / (sqrt(v_hat) + eps) + weight_decay * p), with m and v as in the scalar AdamOptimizer."""
        beta1, beta2, eps = self.config.beta1, self.config.beta2, self.config.eps_adam
        m, v, work = self.m, self.v, self.work
        self.t += 1
        m *= beta1
        m += np.multiply(gradient, 1.0 - beta1, out=work)
        v *= beta2
        np.multiply(gradient, gradient, out=work)
        work *= 1.0 - beta2
        v += work
        # With root = sqrt(1 - beta2^t), m_hat / (sqrt(v_hat) + eps) is root / (1 - beta1^t) * m / (sqrt(v) + eps root).
        root = math.sqrt(1.0 - beta2**self.t)
        np.sqrt(v, out=work)
        work += eps * root
        np.divide(m, work, out=work)
        work *= learning_rate * root / (1.0 - beta1**self.t)
        if self.weight_decay:
            self.parameters *= 1.0 - learning_rate * self.weight_decay
        self.parameters -= work


# ======================================================================================================================
# What engines/train.py asks of an engine
# ======================================================================================================================


class Trainer:
    """A model and its optimizer. See `engines.train.Trainer` for what each method promises."""

    def __init__(self, config: GPTConfig, vocab_size: int, state_dict: dict, options: argparse.Namespace) -> None:
        if options.dtype not in ("float64", "float32"):
            raise InputError(f"NumPy has no dtype {options.dtype} here: use float64 or float32")
        # glibc, the C library of most Linuxes, asks the system for memory for every array above 128 kB, and gives it
        # back at once. Freeing one large block raises that limit to its size: a quarter less time for 64 names a step.
        np.empty(24 * 2**20, np.uint8)
        self.model = GPT(config, vocab_size, np.dtype(options.dtype).type)
        self.model.load_state_dict(state_dict)
        self.optimizer = AdamW(self.model.flat, config, options.weight_decay)
        self.clip = options.clip

    def step(self, parts: Sequence[Sequence[Sequence[int]]], learning_rate: float) -> float:
        model = self.model
        batches = [make_batch(documents, model.config.block_size) for documents in parts]
        rows = sum(len(batch.tokens) for batch in batches)
        loss, gradient = 0.0, np.zeros_like(model.flat) if len(batches) > 1 else model.flat_gradient
        with np.errstate(all="ignore"):  # what overflows makes the loss infinite or nan, and is seen there
            for batch in batches:
                share = len(batch.tokens) / rows
                loss += share * model.loss(batch)
                model.backward()
                if len(batches) > 1:
                    gradient += share * model.flat_gradient
            norm = math.sqrt(vecdot(gradient, gradient)) if self.clip else 0.0
            if norm > self.clip:
                gradient *= self.clip / norm
            self.optimizer.step(gradient, learning_rate)
        return loss

    def losses(self, documents: Sequence[Sequence[int]]) -> float:
        batch = make_batch(documents, self.model.config.block_size)
        return self.model.loss(batch) * len(batch.tokens)

    def generate(
        self, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
    ) -> str:
        return self.model.generate(prompt_tokens, tokenizer, temperature, rng)

    def state_dict(self) -> dict[str, list[list[float]]]:
        return {name: weight.tolist() for name, weight in self.model.parameters.items()}

    def optimizer_state(self) -> dict:
        return {"t": self.optimizer.t, "m": self.optimizer.m.tolist(), "v": self.optimizer.v.tolist()}

    def load_optimizer_state(self, state: dict) -> None:
        m, v = (np.asarray(state[name], self.model.dtype) for name in ("m", "v"))
        if m.shape != v.shape or m.shape != self.optimizer.m.shape:
            raise ValueError("Adam's means must be as many as the weights")
        self.optimizer.t, self.optimizer.m[:], self.optimizer.v[:] = state["t"], m, v
