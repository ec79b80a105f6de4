"""The same GPT in MLX, Apple's array framework: modules, function transforms, and the library's fused attention.

    from engines.mlx_gpt import GPT, load_state_dict, pad
    model = GPT(config, vocab_size)
    load_state_dict(model, load_checkpoint("model.json")["state_dict"])
    loss, gradients = nn.value_and_grad(model, lambda *batch: model.loss(*batch))(*pad(documents, config.block_size))

On Apple silicon it runs on the GPU; on Linux, with `mlx[cpu]`, on the CPU. Here it computes in float32.

Needs the optional group mlx: python3 -m pip install "mlx[cpu]"   (on a Mac: mlx)
"""
from __future__ import annotations

import argparse
import math
import random
from typing import Sequence

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from script_gpt_refactored import GPTConfig, InputError, Tokenizer


def rmsnorm(x: mx.array) -> mx.array:
    """x scaled to a mean square of 1 along its last axis, without a learned gain."""
    return mx.fast.rms_norm(x, None, 1e-5)


class Layer(nn.Module):
    """Attention and MLP, each added to the residual stream. [batch][time][n_embd] -> the same."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        n_embd, self.n_head = config.n_embd, config.n_head
        self.attn_wq = nn.Linear(n_embd, n_embd, bias=False)
        self.attn_wk = nn.Linear(n_embd, n_embd, bias=False)
        self.attn_wv = nn.Linear(n_embd, n_embd, bias=False)
        self.attn_wo = nn.Linear(n_embd, n_embd, bias=False)
        self.mlp_fc1 = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.mlp_fc2 = nn.Linear(4 * n_embd, n_embd, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        normed = rmsnorm(x)
        q, k, v = (mx.unflatten(linear(normed), -1, (self.n_head, -1)).swapaxes(1, 2)  # [batch][n_head][time][head_dim]
                   for linear in (self.attn_wq, self.attn_wk, self.attn_wv))
        heads = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask="causal")
        x = x + self.attn_wo(heads.swapaxes(1, 2).flatten(2))
        return x + self.mlp_fc2(nn.relu(self.mlp_fc1(rmsnorm(x))))


class GPT(nn.Module):
    """The model of `script_gpt_refactored.gpt_forward`, for whole batches."""

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, vocab_size, bias=False)
        for layer in range(config.n_layer):
            self[f"layer{layer}"] = Layer(config)

    def __call__(self, tokens: mx.array) -> mx.array:
        """[batch][time] token ids -> [batch][time][vocab_size] logits."""
        x = rmsnorm(self.wte(tokens) + self.wpe(mx.arange(tokens.shape[1])))
        for layer in range(self.config.n_layer):
            x = self[f"layer{layer}"](x)
        return self.lm_head(x)

    def loss(self, tokens: mx.array, targets: mx.array, asked: mx.array) -> mx.array:
        """The sum of the cross-entropy over all targets where asked is 1, in nats. [batch][time] three times."""
        return (nn.losses.cross_entropy(self(tokens), targets) * asked).sum()


def pad(documents: Sequence[Sequence[int]], block_size: int) -> tuple[mx.array, mx.array, mx.array]:
    """Documents as token lists to tokens, targets, and 1 where something is asked, 0 where it is filled up.

    [batch][time] each. The filling stands after the end of a document, where the causal mask hides it.
    """
    cut = [document[: block_size + 1] for document in documents]
    time = max(len(document) for document in cut) - 1
    filling = [[0] * (time + 1 - len(document)) for document in cut]
    tokens = [document[:-1] + zeros for document, zeros in zip(cut, filling)]
    targets = [document[1:] + zeros for document, zeros in zip(cut, filling)]
    asked = [[1.0] * (len(document) - 1) + zeros for document, zeros in zip(cut, filling)]
    return mx.array(tokens), mx.array(targets), mx.array(asked)


def load_state_dict(model: GPT, state_dict: dict[str, list[list[float]]]) -> None:
    """Takes the weights of a checkpoint, rows of numbers by name. Raises ValueError if they do not fit."""
    model.load_weights([(f"{name}.weight", mx.array(rows)) for name, rows in state_dict.items()])


def state_dict(model: GPT) -> dict[str, list[list[float]]]:
    """The weights as a checkpoint holds them: name -> rows of numbers."""
    return {name.removesuffix(".weight"): weight.tolist() for name, weight in tree_flatten(model.parameters())}


def generate(
    model: GPT, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
) -> str:
    """A new document that starts with the prompt (BOS first), until BOS is drawn or after block_size characters.

    For each token the whole text so far is computed again. The draw is Python's, so that the same seed gives the names
    of the scalar program wherever float32 does not change them. A temperature of 0 takes the
    likeliest token each time.
    """
    tokens = list(prompt_tokens)
    while len(tokens) <= model.config.block_size:
        logits = model(mx.array([tokens]))[0, -1]
        probabilities = mx.softmax(logits / (temperature or 1e-9), precise=True).tolist()
        if not math.isfinite(sum(probabilities)):
            raise InputError("the probabilities are not finite: this model cannot be used, load another")
        tokens += rng.choices(range(len(probabilities)), weights=probabilities)
        if tokens[-1] == tokenizer.bos:
            break
    return tokenizer.decode(tokens)


class Trainer:
    """A model and mlx.optimizers.AdamW. See `engines.train.Trainer` for what each method promises."""

    def __init__(self, config: GPTConfig, vocab_size: int, weights: dict, options: argparse.Namespace) -> None:
        if options.dtype not in ("float64", "float32"):
            raise InputError(f"MLX computes in float32 here, not {options.dtype}: leave --dtype out")
        self.model = GPT(config, vocab_size)
        load_state_dict(self.model, weights)
        self.optimizer = optim.AdamW(config.learning_rate, betas=[config.beta1, config.beta2], eps=config.eps_adam,
                                     weight_decay=options.weight_decay, bias_correction=True)
        self.optimizer.init(self.model.trainable_parameters())
        self.loss_and_gradient = nn.value_and_grad(self.model, self.model.loss)
        self.clip = options.clip

    def step(self, parts: Sequence[Sequence[Sequence[int]]], learning_rate: float) -> float:
        block_size = self.model.config.block_size
        tokens = sum(min(block_size, len(document) - 1) for documents in parts for document in documents)
        total, gradients = mx.zeros(()), None
        for documents in parts:
            loss, gradient = self.loss_and_gradient(*pad(documents, block_size))
            total = total + loss
            gradients = gradient if gradients is None else tree_map(mx.add, gradients, gradient)
            mx.eval(total, gradients)  # MLX computes only what is asked for: now the memory of this part is free again
        gradients = tree_map(lambda gradient: gradient / tokens, gradients)
        if self.clip:
            gradients, _ = optim.clip_grad_norm(gradients, self.clip)
        self.optimizer.learning_rate = learning_rate
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self.optimizer.state, total)
        return total.item() / tokens

    def losses(self, documents: Sequence[Sequence[int]]) -> float:
        return self.model.loss(*pad(documents, self.model.config.block_size)).item()

    def generate(
        self, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
    ) -> str:
        return generate(self.model, prompt_tokens, tokenizer, temperature, rng)

    def state_dict(self) -> dict[str, list[list[float]]]:
        return state_dict(self.model)

    def optimizer_state(self) -> dict:
        return {name: value.tolist() for name, value in tree_flatten(self.optimizer.state)}

    def load_optimizer_state(self, state: dict) -> None:
        kept = dict(tree_flatten(self.optimizer.state))
        restored = {name: mx.array(value, dtype=kept[name].dtype) for name, value in state.items()}
        if any(restored[name].shape != value.shape or not mx.isfinite(restored[name]).all() for name, value in
               kept.items()):
            raise ValueError("Adam's means must be finite, and have the shapes of the weights")
        self.optimizer.state = tree_unflatten(list(restored.items()))
