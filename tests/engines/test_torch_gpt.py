"""The PyTorch engine: the scalar program's numbers; and two processes are one."""
import math
import os
import random
import subprocess
import sys

import helpers
import pytest
import scalar

torch = pytest.importorskip("torch", reason="the torch group is not installed")

import script_gpt_refactored as gpt  # noqa: E402
from engines import torch_gpt  # noqa: E402

VOCAB_SIZE = len(scalar.VOCABULARY) + 1


def made(config, state_dict, dtype=torch.float64):
    model = torch_gpt.GPT(config, VOCAB_SIZE).to(dtype)
    torch_gpt.load_state_dict(model, state_dict)
    return model


def gap(found, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    assert found.shape == expected.shape
    return ((found.double() - expected).abs().max() / max(expected.abs().max(), 1e-30)).item()


@pytest.mark.parametrize("case", scalar.CASES)
def test_logits_loss_and_every_gradient_are_those_of_the_scalar_program(case):
    config = gpt.GPTConfig(**scalar.CASES[case])
    docs, state_dict = scalar.documents(1), scalar.weights(config)
    logits, loss, gradients = scalar.answer(config, state_dict, docs)
    model = made(config, state_dict)
    tokens, targets = torch_gpt.pad(docs, config.block_size)
    asked = targets != torch_gpt.IGNORED
    found = model.loss(tokens, targets) / asked.sum()
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-10)
    assert gap(model(tokens)[asked], [row for document in logits for row in document]) < 1e-10
    gaps = {name: gap(model.get_parameter(f"{name}.weight").grad, rows) for name, rows in gradients.items()}
    assert max(gaps.values()) < 1e-10, gaps


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_lower_precision_comes_as_close_as_it_can(dtype, limit):
    config = gpt.GPTConfig(n_layer=2)
    docs, state_dict = scalar.documents(1), scalar.weights(config)
    _, loss, _ = scalar.answer(config, state_dict, docs)
    tokens, targets = torch_gpt.pad(docs, config.block_size)
    found = made(config, state_dict, dtype).loss(tokens, targets).item() / (targets != torch_gpt.IGNORED).sum().item()
    assert found == pytest.approx(loss, rel=limit) and found != loss


def test_a_checkpoint_goes_in_and_out_unchanged():
    state_dict = scalar.weights(gpt.GPTConfig())
    assert torch_gpt.state_dict(made(gpt.GPTConfig(), state_dict)) == state_dict


def test_weights_of_another_model_are_refused():
    for sizes in (dict(n_embd=8), dict(n_layer=2), dict(block_size=1)):
        with pytest.raises(RuntimeError, match="size mismatch|Missing|Unexpected"):
            made(gpt.GPTConfig(), scalar.weights(gpt.GPTConfig(**sizes)))


def test_the_same_seed_draws_the_names_of_the_scalar_program():
    config, tokenizer = gpt.GPTConfig(temperature=0.9), gpt.Tokenizer(scalar.VOCABULARY)
    state_dict = scalar.weights(config)
    values = {name: [[gpt.Value(x) for x in row] for row in rows] for name, rows in state_dict.items()}
    prompt, rng, other = tokenizer.encode("an")[:-1], random.Random(3), random.Random(3)
    model = made(config, state_dict)
    for _ in range(8):
        assert torch_gpt.generate(model, prompt, tokenizer, 0.9, rng) == gpt.generate_text(
            list(prompt), values, tokenizer, config, other)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_print_the_losses_of_one_with_the_same_global_batch(tmp_path, few_names, accumulate):
    options = ["-m", "engines.train", str(few_names), "--engine", "torch", "--steps", "6", "--samples", "2",
               "--batch", "4", "--accumulate", str(accumulate), "--clip", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    outputs = []
    for launcher in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        process = subprocess.run([sys.executable, *launcher, *options, "--save", str(tmp_path / "model.json")],
                                 capture_output=True, encoding="utf-8", timeout=120, cwd=helpers.ROOT, env=environment)
        assert process.returncode == 0, process.stderr
        outputs.append((process.stdout, gpt.load_checkpoint(tmp_path / "model.json")["state_dict"]))
    (one, weights), (two, others) = outputs
    assert one == two and one.count("| loss ") == 6
    for name, rows in weights.items():
        for row, other in zip(rows, others[name]):
            assert all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(row, other)), name
