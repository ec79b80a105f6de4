"""Level 1, counting. After each letter, how often did each other one follow? The shares are its probabilities.

One letter is all it sees: what it says after an a is the same in every name. Next: 2_gradient.py"""
import argparse, math, pathlib, random
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("names", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parents[1] / "names.txt")
for flag, default in {"--steps": 1000, "--seed": 42}.items():
    parser.add_argument(flag, type=int, default=default)
config = parser.parse_args(namespace=argparse.Namespace(block_size=16))
docs = list(dict.fromkeys(config.names.read_text("utf-8-sig").split())) if config.names.is_file() else []
if len(docs) < 7: parser.error(f"{config.names}: no such file, or fewer than 7 words in it")
rng = random.Random(config.seed)
rng.shuffle(docs)
vocabulary = sorted(set("".join(docs)))
bos = len(vocabulary)  # the token that marks both ends of a name
documents = [[bos, *map(vocabulary.index, doc), bos] for doc in docs]
held_out = min(1000, len(docs) * 15 // 100)  # the last names, never trained on
training, unseen = documents[:-held_out], documents[-held_out:]

counts = [[1 for _ in range(bos + 1)] for _ in range(bos + 1)]  # 1: each pair is imagined once, so none is impossible
def forward(token_id):  # -> the probabilities of the next token, [vocab_size]
    return [count / sum(counts[token_id]) for count in counts[token_id]]
def position_losses(tokens):  # -> the loss at each position, -ln(probability of the token that came)
    losses = []
    for position, target in enumerate(tokens[1 : config.block_size + 1]):
        probabilities = forward(tokens[position])
        losses.append(-math.log(probabilities[target]))
    return losses

history = []
for t in range(1, config.steps + 1):
    tokens = training[(t - 1) % len(training)]
    losses = position_losses(tokens)
    loss = sum(losses) / len(losses)
    for position, target in enumerate(tokens[1 : config.block_size + 1]):
        counts[tokens[position]][target] += 1
    history.append(loss)
    if t % 100 == 0: print(f"step {t:4d} / {config.steps} | mean loss of 100 {sum(history[-100:]) / 100:.4f}")
losses = [loss for tokens in unseen for loss in position_losses(tokens)]
print(f"num params: {(bos + 1) ** 2}\nheld-out loss per token: {sum(losses) / len(losses):.4f}")
for _ in range(5):
    tokens = [bos]
    while bos not in tokens[1:] and len(tokens) <= config.block_size:
        tokens += rng.choices(range(bos + 1), forward(tokens[-1]))
    print("sample:", "".join(vocabulary[token] for token in tokens if token < bos))
