"""What the tests of the engines compare with: the scalar program, asked for logits, loss and every gradient."""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import script_gpt_refactored as gpt  # noqa: E402

VOCABULARY = "abcdefghijklmnopqrstuvwxyz"
CASES = {
    "default": dict(),
    "one head": dict(n_head=1, n_embd=8),
    "two layers, two heads": dict(n_layer=2, n_head=2, n_embd=12),
    "three layers, four heads, full context": dict(n_layer=3, n_head=4, n_embd=16, block_size=5),
    "context of one": dict(block_size=1, n_embd=4, n_head=2),
}


def documents(seed, count=4):
    """Names of uneven lengths, some longer than the context."""
    rng = random.Random(seed)
    tokenizer = gpt.Tokenizer(VOCABULARY)
    return [tokenizer.encode("".join(rng.choices(VOCABULARY, k=rng.randrange(1, 20)))) for _ in range(count)]


def weights(config, seed=0):
    """Weights as plain numbers, larger than the initial ones, so that nothing is nearly linear."""
    wide = gpt.GPTConfig(**{**vars(config), "weight_std": 0.3})
    drawn = gpt.initialize_parameters(wide, len(VOCABULARY) + 1, random.Random(seed))
    return {name: [[weight.data for weight in row] for row in rows] for name, rows in drawn.items()}


def answer(config, state_dict, docs):
    """logits [document][position][token], the mean loss over all tokens, and the gradient of every weight."""
    values = {name: [[gpt.Value(x) for x in row] for row in rows] for name, rows in state_dict.items()}
    logits, losses = [], []
    for document in docs:
        keys, cached = {}, {}
        logits.append([])
        for position in range(min(config.block_size, len(document) - 1)):
            scores = gpt.gpt_forward(document[position], position, keys, cached, values, config)
            losses.append(gpt.logsumexp(scores) - scores[document[position + 1]])
            logits[-1].append([score.data for score in scores])
    loss = sum(losses) / len(losses)
    loss.backward()
    return logits, loss.data, {name: [[v.grad for v in row] for row in rows] for name, rows in values.items()}
