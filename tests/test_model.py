"""The model, its loss, its optimizer, its training and its samples."""
import contextlib
import functools
import io
import math
import os
import random
import tempfile

import pytest
import textbook_gpt

TINY = dict(n_layer=2, n_embd=4, n_head=2, block_size=5, weight_std=0.5)
DOCS = ["emma", "olivia", "ava", "noah", "liam", "zoe", "mia", "ivan"]


@functools.lru_cache(maxsize=None)
def textbook_results():
    """Two sets of sizes, and what the textbook form gives for each: 10 losses and 5 samples."""
    other = dict(n_layer=2, n_embd=8, n_head=2, block_size=4, seed=7, learning_rate=0.05, temperature=1.5)
    return [(sizes, list(textbook_gpt.run(DOCS, 10, 5, **sizes))) for sizes in ({}, other)]


def make(gpt, seed=1, vocab_size=6, **sizes):
    config = gpt.GPTConfig(**{**TINY, **sizes})
    return config, gpt.initialize_parameters(config, vocab_size, random.Random(seed))


def logits_of(gpt, tokens, state_dict, config):
    """The logits at every position, as floats."""
    keys, values = {}, {}
    rows = [gpt.gpt_forward(token, position, keys, values, state_dict, config) for position, token in enumerate(tokens)]
    numbers = [[logit.data for logit in row] for row in rows]
    gpt.Value.tape.clear()
    return numbers


def test_default_sizes(gpt):
    state_dict = gpt.initialize_parameters(gpt.GPTConfig(), 27, random.Random(0))
    layer = [f"layer0.{name}" for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo", "mlp_fc1", "mlp_fc2")]
    assert list(state_dict) == ["wte", "wpe", "lm_head", *layer]
    shapes = [(len(rows), {len(row) for row in rows}) for rows in state_dict.values()]
    assert shapes == [(27, {16}), (16, {16}), (27, {16}), *[(16, {16})] * 4, (64, {16}), (16, {64})]


def test_the_gradient_of_every_parameter_of_a_whole_model(gpt):
    """In the first model of every parameter, in two of other sizes of every fifth."""
    for seed, sizes, stride in ((1, {}, 1), (2, dict(n_layer=1, n_head=1), 5), (3, dict(n_head=4, block_size=3), 5)):
        config, state_dict = make(gpt, seed, **sizes)
        tokens = [5, 0, 3, 3, 1, 5]
        gpt.compute_loss(tokens, state_dict, config).backward()
        for name, matrix in state_dict.items():
            for weight in [weight for row in matrix for weight in row][::stride]:
                kept, step = weight.data, 1e-5
                weight.data = kept + step
                above = gpt.compute_loss(tokens, state_dict, config).data
                weight.data = kept - step
                below = gpt.compute_loss(tokens, state_dict, config).data
                weight.data = kept
                gpt.Value.tape.clear()
                assert weight.grad == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-7), (seed, name)


def test_a_later_token_changes_no_earlier_logits(gpt):
    config, state_dict = make(gpt)
    first = logits_of(gpt, [5, 0, 1, 2, 3], state_dict, config)
    other = logits_of(gpt, [5, 0, 1, 4, 4], state_dict, config)
    assert first[:3] == other[:3]
    assert first[3] != other[3] and first[4] != other[4]


def test_an_earlier_token_changes_later_logits(gpt):
    for n_head in (1, 2, 4):
        config, state_dict = make(gpt, n_head=n_head)
        assert logits_of(gpt, [5, 0, 2], state_dict, config)[2] != logits_of(gpt, [5, 1, 2], state_dict, config)[2]


def test_the_position_changes_the_logits(gpt):
    config, state_dict = make(gpt)
    rows = logits_of(gpt, [2, 2, 2], state_dict, config)
    assert rows[0] != rows[1] != rows[2]


def test_the_cache_gives_what_recomputing_from_the_start_gives(gpt):
    """A reference without a cache: all positions at once, layer by layer, on plain floats."""
    rng = random.Random(5)
    for _ in range(5):
        config, state_dict = make(gpt, seed=rng.random())
        head_dim = config.n_embd // config.n_head
        tokens = [rng.randrange(6) for _ in range(config.block_size)]
        floats = {name: [[w.data for w in row] for row in matrix] for name, matrix in state_dict.items()}

        def times(matrix, x):
            return [sum(w * a for w, a in zip(row, x)) for row in matrix]

        def norm(x):
            return [a / math.sqrt(sum(b * b for b in x) / len(x) + 1e-5) for a in x]

        stream = [norm([a + b for a, b in zip(floats["wte"][t], floats["wpe"][p])]) for p, t in enumerate(tokens)]
        for layer in range(config.n_layer):
            w = {name.split(".")[1]: matrix for name, matrix in floats.items() if name.startswith(f"layer{layer}.")}
            q, k, v = ([times(w[f"attn_w{kind}"], norm(x)) for x in stream] for kind in "qkv")
            for p in reversed(range(len(stream))):
                out = []
                for h in range(0, config.n_embd, head_dim):
                    part = range(h, h + head_dim)
                    products = [sum(q[p][i] * k[t][i] for i in part) for t in range(p + 1)]
                    scores = [math.exp(product / math.sqrt(head_dim)) for product in products]
                    out += [sum(s * v[t][i] for t, s in enumerate(scores)) / sum(scores) for i in part]
                x = [a + b for a, b in zip(stream[p], times(w["attn_wo"], out))]
                hidden = [max(0.0, a) for a in times(w["mlp_fc1"], norm(x))]
                stream[p] = [a + b for a, b in zip(x, times(w["mlp_fc2"], hidden))]
        for position, logits in enumerate(logits_of(gpt, tokens, state_dict, config)):
            assert logits == pytest.approx(times(floats["lm_head"], stream[position]), rel=1e-9, abs=1e-12)


def test_the_loss_is_the_mean_of_minus_log_probability(gpt):
    config, state_dict = make(gpt)
    tokens = [5, 1, 4, 5]
    expected = 0.0
    for row, target in zip(logits_of(gpt, tokens[:-1], state_dict, config), tokens[1:]):
        expected -= math.log(math.exp(row[target]) / sum(map(math.exp, row))) / 3
    assert gpt.compute_loss(tokens, state_dict, config).data == pytest.approx(expected, rel=1e-12)
    gpt.Value.tape.clear()


def test_all_weights_zero_guess_evenly(gpt):
    config, state_dict = make(gpt, vocab_size=27, weight_std=0.0)
    assert gpt.compute_loss([26, 4, 12, 12, 0, 26], state_dict, config).data == pytest.approx(math.log(27))
    gpt.Value.tape.clear()


def test_a_long_document_is_cut_to_the_context(gpt):
    config, state_dict = make(gpt, block_size=3)
    long, cut = (gpt.compute_loss(tokens, state_dict, config).data for tokens in ([5, 0, 1, 2, 3, 4, 5], [5, 0, 1, 2]))
    gpt.Value.tape.clear()
    assert long == cut


def test_adam_against_a_case_worked_by_hand(gpt):
    """beta1 0.5, beta2 0.75, eps 0, rate 0.1; gradients 4 then -2.

    Step 1: m = 2, v = 4, m_hat = 4, v_hat = 16, step 0.1 * 4 / 4 = 0.1.
    Step 2: m = 0, v = 4 * 0.75 + 4 * 0.25 = 4, m_hat = 0, v_hat = 4 / (1 - 0.5625), step 0.
    Step 3, gradient 0: m = 0, so no step. Gradient 8: m = 4, m_hat = 4 / (1 - 0.0625), v = 0.75 * 3 + 16 = 18.25, ...
    """
    config = gpt.GPTConfig(beta1=0.5, beta2=0.75, eps_adam=0.0)
    p = gpt.Value(1.0)
    adam = gpt.AdamOptimizer({"p": [[p]]}, config)
    for gradient, expected in ((4.0, 0.9), (-2.0, 0.9), (0.0, 0.9),
                               (8.0, 0.9 - 0.1 * (4 / 0.9375) / math.sqrt(18.25 / (1 - 0.75**4)))):
        p.grad = gradient
        adam.step(0.1)
        assert p.data == pytest.approx(expected, rel=1e-12)
        assert p.grad == 0.0


def test_a_parameter_without_a_gradient_still_moves_by_momentum(gpt):
    p = gpt.Value(1.0)
    adam = gpt.AdamOptimizer({"p": [[p]]}, gpt.GPTConfig())
    p.grad = 1.0
    adam.step(0.01)
    before = p.data
    adam.step(0.01)
    assert p.data < before


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_gradient(gpt):
    for gradient in (100.0, -3.0, 0.001):
        p = gpt.Value(0.0)
        p.grad = gradient
        gpt.AdamOptimizer({"p": [[p]]}, gpt.GPTConfig()).step(0.01)
        assert p.data == pytest.approx(-math.copysign(0.01, gradient), rel=1e-4)


def test_the_tokenizer_gives_back_what_it_was_given(gpt):
    rng = random.Random(6)
    for _ in range(100):
        vocabulary = "".join(sorted(rng.sample("abcdefghijklmnopqrstuvwxyzéß 'अआ王李", rng.randint(1, 20))))
        tokenizer = gpt.Tokenizer(vocabulary)
        text = "".join(rng.choices(vocabulary, k=rng.randint(0, 20)))
        tokens = tokenizer.encode(text)
        assert tokens[0] == tokens[-1] == tokenizer.bos == len(vocabulary)
        assert tokenizer.decode(tokens) == text
        assert tokenizer.vocab_size == len(vocabulary) + 1


def test_emma(gpt):
    assert gpt.Tokenizer("abcdefghijklmnopqrstuvwxyz").encode("emma") == [26, 4, 12, 12, 0, 26]


def test_the_tokenizer_refuses_what_it_does_not_know(gpt):
    with pytest.raises(gpt.InputError, match="é"):
        gpt.Tokenizer("abc").encode("caé")


def test_sampling_is_reproducible_and_keeps_to_prompt_and_context(gpt):
    config, state_dict = make(gpt, block_size=5)
    tokenizer = gpt.Tokenizer("abcde")
    prompt = gpt.encode_prompt("ba", tokenizer, config)
    names = [[gpt.generate_text(prompt, state_dict, tokenizer, config, random.Random(seed)) for seed in range(40)]
             for _ in range(2)]
    assert names[0] == names[1]
    assert all(name.startswith("ba") and 2 <= len(name) <= 5 for name in names[0])
    assert max(map(len, names[0])) == 5 and len(set(names[0])) > 3
    assert gpt.Value.tape == []


def test_sampling_draws_with_the_probabilities_of_the_model(gpt):
    """The first token of many samples against softmax(logits / temperature)."""
    config, state_dict = make(gpt, temperature=0.7, n_layer=1, block_size=1)
    tokenizer = gpt.Tokenizer("abcde")
    logits = logits_of(gpt, [5], state_dict, config)[0]
    powers = [math.exp(logit / 0.7) for logit in logits]
    rng = random.Random(7)
    drawn = [gpt.generate_text([5], state_dict, tokenizer, config, rng) for _ in range(4000)]
    for token, text in enumerate(["a", "b", "c", "d", "e", ""]):
        assert drawn.count(text) / 4000 == pytest.approx(powers[token] / sum(powers), abs=0.035)


def test_temperature_0_takes_the_likeliest_token_each_time(gpt):
    tokenizer = gpt.Tokenizer("abcde")
    for seed in range(5):
        config, state_dict = make(gpt, seed, temperature=0.0)
        drawn = {gpt.generate_text([5], state_dict, tokenizer, config, random.Random(chance)) for chance in range(20)}
        tokens = [5]
        while len(tokens) <= config.block_size and (tokens[-1] != 5 or len(tokens) == 1):
            logits = logits_of(gpt, tokens, state_dict, config)[-1]
            tokens.append(logits.index(max(logits)))
        assert drawn == {tokenizer.decode(tokens)}


@pytest.mark.parametrize("moment", ["compute_loss", "backward", "step", "print_step"])
def test_an_interrupted_step_does_not_count(gpt, moment, monkeypatch):
    """Ctrl-C at that moment of step 4, here in the middle of the update: everything is as step 3 left it."""
    def trained(steps, interrupted):
        config = gpt.GPTConfig(**{**TINY, "num_steps": 8})
        state_dict = gpt.initialize_parameters(config, 6, random.Random(1))
        optimizer, calls = gpt.AdamOptimizer(state_dict, config), []

        def interrupting(real):
            def call(*arguments):
                calls.append(moment)
                if len(calls) == 4 and moment == "step":
                    optimizer.parameters[7].data += 1.0  # as if some parameters had been updated, and others not
                    optimizer.m[3] += 1.0
                    optimizer.t += 1
                if len(calls) == 4:
                    raise KeyboardInterrupt
                return real(*arguments)
            return call

        with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            if interrupted:
                owner = {"backward": gpt.Value, "step": gpt.AdamOptimizer}.get(moment, gpt)
                patch.setattr(owner, moment, interrupting(getattr(owner, moment)))
            else:
                rate = [config.learning_rate * (1 - i / 8) for i in range(steps)]
                for i in range(steps):
                    gpt.train_step([5, 1, 2, i % 3, 5], state_dict, optimizer, rate[i], config)
                return optimizer.snapshot()
            documents = [[5, 1, 2, i % 3, 5] for i in range(8)]
            assert gpt.train(documents, state_dict, optimizer, config) == steps
        assert all(parameter.grad == 0.0 for parameter in optimizer.parameters) and gpt.Value.tape == []
        return optimizer.snapshot()

    steps = 4 if moment == "print_step" else 3  # when its line is printed, a step is over
    assert trained(steps, True) == trained(steps, False)


def test_a_run_is_prepared_as_the_order_of_chance_demands(gpt):
    config = gpt.GPTConfig(n_embd=4, n_head=2, seed=5)
    run = gpt.prepare_run(DOCS, config)
    rng, docs = random.Random(5), list(DOCS)
    rng.shuffle(docs)
    state_dict = gpt.initialize_parameters(config, run.tokenizer.vocab_size, rng)
    assert run.docs == docs != DOCS and run.documents == [run.tokenizer.encode(doc) for doc in docs]
    assert [[w.data for w in row] for row in run.state_dict["wte"]] == [[w.data for w in row]
                                                                       for row in state_dict["wte"]]
    assert run.rng.random() == rng.random() and run.step == 0


def test_sizes_that_no_memory_holds_are_refused_with_the_estimate(gpt):
    with pytest.raises(gpt.InputError, match="parameters need about [0-9,]+ GiB"):
        gpt.prepare_run(DOCS, gpt.GPTConfig(n_embd=10**8))
    gpt.check_memory(gpt.GPTConfig(n_embd=64, n_head=4, n_layer=4), 100)


def test_training_and_sampling_agree_with_the_textbook_form(gpt):
    """The whole program against an implementation that shares no code with it."""
    for sizes, results in textbook_results():
        config = gpt.GPTConfig(num_steps=10, **sizes)
        rng = random.Random(config.seed)
        docs = list(DOCS)
        rng.shuffle(docs)
        tokenizer = gpt.Tokenizer("".join(sorted(set("".join(docs)))))
        state_dict = gpt.initialize_parameters(config, tokenizer.vocab_size, rng)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            taken = gpt.train([tokenizer.encode(doc) for doc in docs], state_dict,
                              gpt.AdamOptimizer(state_dict, config), config)
        assert taken == 10
        losses = [line.split()[-1] for line in output.getvalue().splitlines()]
        assert losses == [f"{loss:.4f}" for loss in results[:10]]
        samples = [gpt.generate_text([tokenizer.bos], state_dict, tokenizer, config, rng) for _ in range(5)]
        assert samples == results[10:]


def test_the_whole_program_agrees_with_the_textbook_form(gpt):
    """Reading, shuffling, the vocabulary and the order of chance: each document has letters that no other has."""
    docs = ["ab", "cd", "ef", "gh", "ij", "kl"]
    sizes = dict(n_layer=1, n_embd=4, n_head=2, block_size=4)
    options = [f"--{name.replace('_', '-')}={size}" for name, size in sizes.items()]
    output = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(output):
        path = os.path.join(folder, "names.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(docs))
        gpt.main([path, "--steps=3", "--samples=3", *options])
    answers = [line.split()[-1] for line in output.getvalue().splitlines() if line.startswith("step")]
    answers += [line.split(":")[1].strip() for line in output.getvalue().splitlines() if line.startswith("sample")]
    *losses, _, _, _ = expected = list(textbook_gpt.run(docs, 3, 3, **sizes))
    assert answers == [f"{loss:.4f}" for loss in losses] + expected[3:]


def test_one_document_can_be_learnt_by_heart(gpt):
    config = gpt.GPTConfig(n_embd=8, n_head=2, block_size=8)
    tokenizer = gpt.Tokenizer("aeimnov")
    state_dict = gpt.initialize_parameters(config, tokenizer.vocab_size, random.Random(8))
    adam = gpt.AdamOptimizer(state_dict, config)
    losses = [gpt.train_step(tokenizer.encode("avenim"), state_dict, adam, 0.03, config) for _ in range(60)]
    assert losses[0] > 1.5 and losses[-1] < 0.05


def test_training_leaves_nothing_on_the_tape_and_no_gradient(gpt):
    config, state_dict = make(gpt)
    gpt.train_step([5, 1, 2, 5], state_dict, gpt.AdamOptimizer(state_dict, config), 0.01, config)
    assert gpt.Value.tape == []
    assert all(weight.grad == 0.0 for matrix in state_dict.values() for row in matrix for weight in row)


@pytest.mark.parametrize("wrong", [
    dict(n_embd=10, n_head=4), dict(n_layer=0), dict(block_size=0), dict(temperature=-1.0), dict(num_samples=-1),
    dict(temperature=float("nan")), dict(num_steps=10**400), dict(learning_rate=-1.0), dict(num_steps=-1),
    dict(learning_rate=float("inf"))])
def test_a_configuration_that_cannot_be_is_refused(gpt, wrong):
    with pytest.raises(gpt.InputError):
        gpt.GPTConfig(**wrong)
