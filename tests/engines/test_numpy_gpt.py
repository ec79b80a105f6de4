"""The NumPy engine: the scalar program's numbers, and each hand-derived gradient against central differences."""
import random

import helpers
import pytest
import scalar

np = pytest.importorskip("numpy", "2.0", reason="the numpy group is not installed")

import script_gpt_refactored as gpt  # noqa: E402
from engines import numpy_gpt  # noqa: E402

VOCAB_SIZE = len(scalar.VOCABULARY) + 1


def made(config, state_dict, dtype=np.float64):
    model = numpy_gpt.GPT(config, VOCAB_SIZE, dtype)
    model.load_state_dict(state_dict)
    return model


def gap(found, expected):
    """The largest difference, relative to the largest number."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30)


@pytest.mark.parametrize("case", scalar.CASES)
@pytest.mark.parametrize("count", [1, 5])
def test_logits_loss_and_every_gradient_are_those_of_the_scalar_program(case, count):
    config = gpt.GPTConfig(**scalar.CASES[case])
    docs, state_dict = scalar.documents(count, count), scalar.weights(config)
    logits, loss, gradients = scalar.answer(config, state_dict, docs)
    model = made(config, state_dict)
    found = model.loss(numpy_gpt.make_batch(docs, config.block_size))
    model.backward()
    assert found == pytest.approx(loss, rel=1e-10)
    assert gap(model.logits, [row for document in logits for row in document]) < 1e-10
    assert {name: gap(model.gradients[name], gradients[name]) for name in gradients if gap(
        model.gradients[name], gradients[name]) > 1e-10} == {}


def test_float32_agrees_to_its_precision():
    config = gpt.GPTConfig(n_layer=2)
    docs, state_dict = scalar.documents(3), scalar.weights(config)
    _, loss, gradients = scalar.answer(config, state_dict, docs)
    model = made(config, state_dict, np.float32)
    assert model.loss(numpy_gpt.make_batch(docs, 16)) == pytest.approx(loss, rel=1e-5)
    model.backward()
    assert all(gradient.dtype == np.float32 and gap(gradient, gradients[name]) < 1e-4
               for name, gradient in model.gradients.items())
    assert all(array.dtype == np.float32 for array in model.activations().values())


def slopes(f, array, nudge=1e-6):
    """Central differences of the number f() in every entry of an array."""
    found = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        middle = array[place]
        array[place] = middle + nudge
        up = f()
        array[place] = middle - nudge
        found[place] = (up - f()) / (2 * nudge)
        array[place] = middle
    return found


def parameter(rng, *shape):
    return numpy_gpt.Parameter(rng.normal(size=shape), np.zeros(shape))


def component(name, rng, batch):
    """A component, its input, and what else forward wants."""
    rows, mask = len(batch.tokens), np.triu(np.full((batch.time, batch.time), -np.inf), k=1)
    x = rng.normal(size=(rows, 6))
    attention = numpy_gpt.Attention(parameter(rng, 18, 6), parameter(rng, 6, 6), n_head=2)
    mlp = numpy_gpt.MLP(parameter(rng, 24, 6), parameter(rng, 6, 24))
    return {
        "norm": (numpy_gpt.RMSNorm(), x, ()),
        "linear": (numpy_gpt.Linear(parameter(rng, 5, 6)), x, ()),
        "attention": (attention, x, (batch, mask)),
        "mlp": (mlp, x, (batch, mask)),
        "residual attention": (numpy_gpt.ResidualBlock(attention), x, (batch, mask)),
        "residual mlp": (numpy_gpt.ResidualBlock(mlp), x, (batch, mask)),
    }[name]


@pytest.mark.parametrize("lengths", [(4,), (3, 3), (2, 5, 1)])
@pytest.mark.parametrize("name", ["norm", "linear", "attention", "mlp", "residual attention", "residual mlp"])
def test_each_component_alone_against_central_differences(name, lengths):
    rng = np.random.default_rng(len(name))
    batch = numpy_gpt.make_batch([[26] + [1] * n for n in lengths], 8)
    part, x, more = component(name, rng, batch)
    direction = rng.normal(size=part.forward(x, *more).shape)

    def number():
        return float((part.forward(x, *more) * direction).sum())

    expected = slopes(number, x)
    number()
    assert gap(part.backward(direction), expected) < 1e-7
    for weight in part.parameters():
        found = weight.gradient.copy()
        assert gap(found, slopes(number, weight.weight)) < 1e-7


def test_the_embedding_alone_against_central_differences():
    rng = np.random.default_rng(0)
    batch = numpy_gpt.make_batch([[3, 1, 1, 2], [0, 1], [3, 3, 3, 0]], 8)
    part = numpy_gpt.Embedding(parameter(rng, 4, 6), parameter(rng, 8, 6))
    direction = rng.normal(size=part.forward(batch).shape)
    part.backward(direction)
    for weight in part.parameters():
        expected = slopes(lambda: float((part.forward(batch) * direction).sum()), weight.weight)
        assert np.abs(weight.gradient - expected).max() < 1e-7


def test_cross_entropy_alone_against_central_differences():
    rng = np.random.default_rng(0)
    part, z, batch = numpy_gpt.CrossEntropy(), rng.normal(size=(5, 7)), numpy_gpt.make_batch([[0, 6, 3, 3, 1, 6]], 8)
    expected = slopes(lambda: part.forward(z, batch), z)
    part.forward(z, batch)
    assert gap(part.backward(), expected) < 1e-7
    assert part.forward(z + 1e4, batch) == pytest.approx(part.forward(z, batch))  # nothing overflows


def test_rows_far_apart_do_not_disturb_one_another():
    """The largest number is taken out of each row: one for all rows would leave nothing of the lower ones."""
    z = np.array([[0.0, 1.0, 2.0], [1000.0, 1001.0, 1002.0]])
    expected = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    assert gap(numpy_gpt.softmax(z), [expected, expected]) < 1e-12
    part = numpy_gpt.CrossEntropy()
    part.forward(z, numpy_gpt.make_batch([[0, 2, 0]], 8))
    assert gap(part.losses, -np.log(expected[[2, 0]])) < 1e-12
    assert gap(part.probabilities, [expected, expected]) < 1e-12


def test_every_activation_has_a_name_and_is_what_the_scalar_program_computed():
    config = gpt.GPTConfig(n_layer=2)
    docs, state_dict = scalar.documents(1, 1), scalar.weights(config)
    module = helpers.load("script_gpt_refactored")
    recorded, softmax, rmsnorm = {"softmax": [], "rmsnorm": []}, module.softmax, module.rmsnorm

    def note(name, function):
        def noting(x):
            result = function(x)
            recorded[name].append([value.data for value in result])
            return result
        return noting

    module.softmax, module.rmsnorm = note("softmax", softmax), note("rmsnorm", rmsnorm)
    values = {name: [[module.Value(x) for x in row] for row in rows] for name, rows in state_dict.items()}
    module.compute_loss(docs[0], values, config)
    model = made(config, state_dict)
    model.loss(numpy_gpt.make_batch(docs, 16))
    found = model.activations()
    time = len(docs[0][:17]) - 1
    weights = iter(recorded["softmax"])
    norms = iter(recorded["rmsnorm"])
    for position in range(time):
        assert gap(found["embedding.norm"][position], next(norms)) < 1e-10
        for layer in range(2):
            for head in range(4):
                row = found[f"layer{layer}.attn.weights"][0, head, position]
                assert gap(row[: position + 1], next(weights)) < 1e-10 and not row[position + 1 :].any()
            assert gap(found[f"layer{layer}.attn.norm"][position], next(norms)) < 1e-10
            assert gap(found[f"layer{layer}.mlp.norm"][position], next(norms)) < 1e-10
    assert next(weights, None) is None and next(norms, None) is None
    assert len(found) == 4 + 2 * 14 + 3 and all(isinstance(array, np.ndarray) for array in found.values())


def test_a_batch_gives_the_mean_over_all_its_tokens_and_padding_adds_nothing():
    config, docs = gpt.GPTConfig(), scalar.documents(7, 6)
    model = made(config, scalar.weights(config))
    batch = numpy_gpt.make_batch(docs, 16)
    total, gradient = 0.0, np.zeros_like(model.flat)
    for document in docs:
        alone = numpy_gpt.make_batch([document], 16)
        share = len(alone.tokens) / len(batch.tokens)
        total += share * model.loss(alone)
        model.backward()
        gradient += share * model.flat_gradient
    assert batch.slots is not None and model.loss(batch) == pytest.approx(total, rel=1e-12)
    model.backward()
    assert gap(model.flat_gradient, gradient) < 1e-12


def test_generation_with_the_cache_is_the_whole_prefix_computed_again():
    config = gpt.GPTConfig(n_layer=2, n_head=2)
    model, document = made(config, scalar.weights(config)), scalar.documents(2, 1)[0][:12]
    cache = model.empty_cache()
    rows = [model.next_logits(token, position, cache) for position, token in enumerate(document)]
    assert gap(rows, model.forward(numpy_gpt.make_batch([[*document, 0]], 16))) < 1e-12


def test_the_same_seed_draws_the_names_of_the_scalar_program():
    config, tokenizer = gpt.GPTConfig(temperature=0.9), gpt.Tokenizer(scalar.VOCABULARY)
    state_dict = scalar.weights(config)
    values = {name: [[gpt.Value(x) for x in row] for row in rows] for name, rows in state_dict.items()}
    prompt = tokenizer.encode("an")[:-1]
    expected = [gpt.generate_text(list(prompt), values, tokenizer, config, rng) for rng in [random.Random(3)]
                for _ in range(8)]
    model, rng = made(config, state_dict), random.Random(3)
    assert [model.generate(prompt, tokenizer, 0.9, rng) for _ in range(8)] == expected


def test_a_batch_needs_something_to_predict():
    for documents in ([], [[26]], [[26, 1], [26]]):
        with pytest.raises(ValueError, match="at least two tokens"):
            numpy_gpt.make_batch(documents, 16)


def test_weights_of_another_model_are_refused():
    model = numpy_gpt.GPT(gpt.GPTConfig(), VOCAB_SIZE)
    for sizes in (dict(n_embd=8), dict(n_layer=2)):
        with pytest.raises(ValueError, match="names and shapes"):
            model.load_state_dict(scalar.weights(gpt.GPTConfig(**sizes)))


def test_the_example_in_the_docstring_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    helpers.run("script_gpt", "--steps", 1, "--samples", 0, "--save", "model.json", cwd=tmp_path)
    example = "".join(line[4:] + "\n" for line in numpy_gpt.__doc__.splitlines() if line.startswith("    "))
    names = {}
    exec(example, names)
    assert 3 < names["loss"] < 4 and names["model"].gradients["layer0.attn_wq"].any()
