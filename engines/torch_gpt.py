"""The same GPT in PyTorch, as one writes it there: modules, autograd, and the library's own attention and optimizer.

    from engines.torch_gpt import GPT, load_state_dict, pad
    model = GPT(config, vocab_size).double()
    load_state_dict(model, load_checkpoint("model.json")["state_dict"])
    loss = model.loss(*pad(documents, config.block_size)) / number_of_tokens
    loss.backward()                              # model.layer0.attn_wq.weight.grad

Runs on any device that torch knows. What the scalar program does token by token is done here for whole documents at
once, so attention needs a mask (`is_causal=True`). In float64 the logits, losses and gradients are the scalar program's
to about 1e-15.

Needs the optional group torch: python3 -m pip install torch
"""
from __future__ import annotations

import argparse
import atexit
import math
import os
import random
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from script_gpt_refactored import GPTConfig, InputError, Tokenizer

IGNORED = -100  # as a target: nothing is asked here (padding)


def rmsnorm(x: torch.Tensor) -> torch.Tensor:
    """x scaled to a mean square of 1 along its last axis, without a learned gain."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-5)


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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = rmsnorm(x)
        q, k, v = (linear(normed).unflatten(-1, (self.n_head, -1)).transpose(1, 2)  # [batch][n_head][time][head_dim]
                   for linear in (self.attn_wq, self.attn_wk, self.attn_wv))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_wo(heads.transpose(1, 2).flatten(2))
        return x + self.mlp_fc2(F.relu(self.mlp_fc1(rmsnorm(x))))


class GPT(nn.Module):
    """The model of `script_gpt_refactored.gpt_forward`, for whole batches."""

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, vocab_size, bias=False)
        for layer in range(config.n_layer):
            self.add_module(f"layer{layer}", Layer(config))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[batch][time] token ids -> [batch][time][vocab_size] logits."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = rmsnorm(self.wte(tokens) + self.wpe(positions))
        for layer in range(self.config.n_layer):
            x = getattr(self, f"layer{layer}")(x)
        return self.lm_head(x)

    def loss(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The sum of the cross-entropy over all targets that are not IGNORED, in nats. [batch][time] twice."""
        logits = self(tokens)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def pad(documents: Sequence[Sequence[int]], block_size: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Documents as token lists to tokens and targets, [batch][time] each; short ones are filled up with IGNORED.

    The filling stands after the end of a document, where the causal mask hides it from what comes before.
    """
    cut = [document[: block_size + 1] for document in documents]
    time = max(len(document) for document in cut) - 1
    tokens = [document[:-1] + [0] * (time + 1 - len(document)) for document in cut]
    targets = [document[1:] + [IGNORED] * (time + 1 - len(document)) for document in cut]
    return torch.tensor(tokens, device=device), torch.tensor(targets, device=device)


def load_state_dict(model: GPT, state_dict: dict[str, list[list[float]]]) -> None:
    """Takes the weights of a checkpoint, rows of numbers by name. Raises RuntimeError if they do not fit."""
    model.load_state_dict({f"{name}.weight": torch.tensor(rows, dtype=torch.float64)
                           for name, rows in state_dict.items()})


def state_dict(model: GPT) -> dict[str, list[list[float]]]:
    """The weights as a checkpoint holds them: name -> rows of numbers."""
    return {name.removesuffix(".weight"): weight.tolist() for name, weight in model.state_dict().items()}


@torch.no_grad()
def generate(
    model: GPT, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
) -> str:
    """A new document that starts with the prompt (BOS first), until BOS is drawn or after block_size characters.

    For each token the whole text so far is computed again: simple, and quick enough for a short context. The draw is
    Python's, so that the same seed gives the same names as in the scalar program. A temperature of 0 takes the
    likeliest token each time.
    """
    tokens = list(prompt_tokens)
    device = model.lm_head.weight.device
    while len(tokens) <= model.config.block_size:
        logits = model(torch.tensor([tokens], device=device))[0, -1].cpu().double()
        probabilities = torch.softmax(logits / (temperature or 1e-9), dim=-1)
        if not math.isfinite(probabilities.sum()):
            raise InputError("the probabilities are not finite: this model cannot be used, load another")
        tokens += rng.choices(range(len(probabilities)), weights=probabilities.tolist())
        if tokens[-1] == tokenizer.bos:
            break
    return tokenizer.decode(tokens)


class Trainer:
    """A model and torch.optim.AdamW. See `engines.train.Trainer` for what each method promises.

    Under torchrun each process takes its share of every batch, and DistributedDataParallel averages the gradients.
    """

    def __init__(self, config: GPTConfig, vocab_size: int, weights: dict, options: argparse.Namespace) -> None:
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = options.device
        if self.world > 1 and self.device == "cuda":
            self.device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"torch cannot use {self.device} ({str(error).splitlines()[0]}): try another") from error
        if self.device.startswith("mps") and options.dtype == "float64":
            raise InputError("mps has no float64: add --dtype float32")
        if self.world > 1:
            torch.distributed.init_process_group("nccl" if self.device.startswith("cuda") else "gloo")
            atexit.register(torch.distributed.destroy_process_group)
        # With bfloat16 the weights stay float32; in training, matrix products and attention are done in bfloat16.
        self.autocast = options.dtype == "bfloat16"
        self.model = GPT(config, vocab_size)
        self.model.to(self.device, torch.float64 if options.dtype == "float64" else torch.float32)
        load_state_dict(self.model, weights)
        forward = _Loss(self.model)
        if self.world > 1:
            forward = nn.parallel.DistributedDataParallel(forward)
        self.forward = torch.compile(forward, dynamic=True) if options.compile else forward
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate, eps=config.eps_adam,
                                           betas=(config.beta1, config.beta2), weight_decay=options.weight_decay)
        self.clip = options.clip

    def step(self, parts: Sequence[Sequence[Sequence[int]]], learning_rate: float) -> float:
        block_size = self.model.config.block_size
        tokens = sum(min(block_size, len(document) - 1) for documents in parts for document in documents)
        total = torch.zeros((), dtype=self.model.lm_head.weight.dtype, device=self.device)
        for documents in parts:
            loss = self._loss(documents[self.rank :: self.world]) / tokens
            (loss * self.world).backward()  # DistributedDataParallel divides by the number of processes
            total += loss.detach()
        if self.world > 1:
            torch.distributed.all_reduce(total)
        if self.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total.item()

    def _loss(self, documents: Sequence[Sequence[int]]) -> torch.Tensor:
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.autocast):
            return self.forward(*pad(documents, self.model.config.block_size, self.device))

    @torch.no_grad()
    def losses(self, documents: Sequence[Sequence[int]]) -> float:
        return self.model.loss(*pad(documents, self.model.config.block_size, self.device)).item()

    def generate(
        self, prompt_tokens: Sequence[int], tokenizer: Tokenizer, temperature: float, rng: random.Random
    ) -> str:
        return generate(self.model, prompt_tokens, tokenizer, temperature, rng)

    def state_dict(self) -> dict[str, list[list[float]]]:
        return state_dict(self.model)

    def optimizer_state(self) -> dict:
        return {name: {key: value.tolist() for key, value in self.optimizer.state[parameter].items()}
                for name, parameter in self.model.named_parameters() if parameter in self.optimizer.state}

    def load_optimizer_state(self, state: dict) -> None:
        for name, parameter in self.model.named_parameters() if state else ():  # empty before the first step
            if set(state[name]) != {"step", "exp_avg", "exp_avg_sq"}:
                raise ValueError(f"of {name} Adam must have step, exp_avg and exp_avg_sq")
            wide = {key: torch.tensor(value, dtype=torch.float64) for key, value in state[name].items()}
            if any(value.shape != parameter.shape for key, value in wide.items() if key != "step"):
                raise ValueError("Adam's means must have the shapes of the weights")
            self.optimizer.state[parameter] = {
                key: value.float() if key == "step" else value.to(parameter) for key, value in wide.items()
            }


class _Loss(nn.Module):
    """GPT.loss as a module's forward, which is what DistributedDataParallel and torch.compile wrap."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.model.loss(tokens, targets)
