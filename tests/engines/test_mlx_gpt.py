"""The MLX engine: the scalar program's numbers, as far as float32 goes."""
import random

import pytest
import scalar

mx = pytest.importorskip("mlx.core", reason="the mlx group is not installed")

import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402

import script_gpt_refactored as gpt  # noqa: E402
from engines import mlx_gpt  # noqa: E402

LIMIT = 2e-5  # of the largest number: float32 has 7 digits, and the sums lose some of them


def made(config, state_dict):
    model = mlx_gpt.GPT(config, len(scalar.VOCABULARY) + 1)
    mlx_gpt.load_state_dict(model, state_dict)
    return model


def gap(found, expected):
    expected = mx.array(expected)
    assert found.shape == expected.shape
    return (mx.abs(found - expected).max() / mx.maximum(mx.abs(expected).max(), 1e-30)).item()


@pytest.mark.parametrize("case", scalar.CASES)
def test_logits_loss_and_every_gradient_are_those_of_the_scalar_program(case):
    config = gpt.GPTConfig(**scalar.CASES[case])
    docs, state_dict = scalar.documents(1), scalar.weights(config)
    logits, loss, gradients = scalar.answer(config, state_dict, docs)
    model = made(config, state_dict)
    tokens, targets, asked = mlx_gpt.pad(docs, config.block_size)
    count = asked.sum()
    found, tree = nn.value_and_grad(model, lambda *batch: model.loss(*batch) / count)(tokens, targets, asked)
    assert found.item() == pytest.approx(loss, rel=LIMIT)
    rows = [row for sheet, flags in zip(model(tokens).tolist(), asked.tolist())
            for row, flag in zip(sheet, flags) if flag]
    assert gap(mx.array(rows), [row for document in logits for row in document]) < LIMIT
    gaps = {name: gap(gradient, gradients[name.removesuffix(".weight")]) for name, gradient in tree_flatten(tree)}
    assert max(gaps.values()) < LIMIT and len(gaps) == len(gradients), gaps


def test_a_checkpoint_goes_in_and_out_to_the_precision_of_float32():
    state_dict = scalar.weights(gpt.GPTConfig())
    found = mlx_gpt.state_dict(made(gpt.GPTConfig(), state_dict))
    assert set(found) == set(state_dict)
    for name, rows in state_dict.items():
        assert found[name] == [pytest.approx(row, rel=1e-6) for row in rows]


def test_weights_of_another_model_are_refused():
    for sizes in (dict(n_embd=8), dict(n_layer=2), dict(block_size=1)):
        with pytest.raises(ValueError):
            made(gpt.GPTConfig(), scalar.weights(gpt.GPTConfig(**sizes)))


def test_the_same_seed_draws_the_names_of_the_scalar_program():
    config, tokenizer = gpt.GPTConfig(temperature=0.9), gpt.Tokenizer(scalar.VOCABULARY)
    state_dict = scalar.weights(config)
    values = {name: [[gpt.Value(x) for x in row] for row in rows] for name, rows in state_dict.items()}
    prompt, rng, other = tokenizer.encode("an")[:-1], random.Random(3), random.Random(3)
    model = made(config, state_dict)
    for _ in range(8):
        assert mlx_gpt.generate(model, prompt, tokenizer, 0.9, rng) == gpt.generate_text(
            list(prompt), values, tokenizer, config, other)
