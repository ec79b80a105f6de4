"""Level 2, a gradient. The same table, not counted but learnt: small steps against a slope worked out by hand.

It says nothing that level 1 could not, and needs many steps to say it. But slopes can be had where there is nothing to
count. Put ln(count) into the table and take no steps: softmax gives back the shares. Next: 3_autograd.py"""
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

def softmax(x):  # [n] -> [n], probabilities that sum to 1
    powers = [math.exp(value - max(x)) for value in x]
    total = sum(powers)
    return [power / total for power in powers]

state_dict = {"table": [[0.0 for _ in range(bos + 1)] for _ in range(bos + 1)]}
def forward(token_id):  # -> the logits of the next token, [vocab_size]
    return state_dict["table"][token_id]
def position_losses(tokens):  # -> the loss at each position, -ln(probability of the token that came)
    losses = []
    for position, target in enumerate(tokens[1 : config.block_size + 1]):
        logits = forward(tokens[position])
        losses.append(-math.log(softmax(logits)[target]))
    return losses

# The loss at one position is ln(e^x_0 + e^x_1 + ...) - x_target, for x the row of logits. So its slope in x_j is
# e^x_j / (e^x_0 + e^x_1 + ...) = p_j, and 1 less for the target: what the table says minus what came. Where both agree
# in the mean the slope is 0. It moves towards the shares of level 1 (there each pair weighs the same, here each name).
history = []
for t in range(1, config.steps + 1):
    tokens = training[(t - 1) % len(training)]
    losses = position_losses(tokens)
    loss = sum(losses) / len(losses)
    learning_rate = 5.0 * (1 - (t - 1) / config.steps)  # 5.0 was found by trying, as those of the next levels
    slopes = {token: [0.0] * (bos + 1) for token in tokens}
    for position, target in enumerate(tokens[1 : config.block_size + 1]):
        for j, p in enumerate(softmax(forward(tokens[position]))):
            slopes[tokens[position]][j] += (p - (j == target)) / len(losses)
    for token, row in slopes.items():
        state_dict["table"][token] = [x - learning_rate * slope for x, slope in zip(forward(token), row)]
    history.append(loss)
    if t % 100 == 0: print(f"step {t:4d} / {config.steps} | mean loss of 100 {sum(history[-100:]) / 100:.4f}")
losses = [loss for tokens in unseen for loss in position_losses(tokens)]
print(f"num params: {(bos + 1) ** 2}\nheld-out loss per token: {sum(losses) / len(losses):.4f}")
for _ in range(5):
    tokens = [bos]
    while bos not in tokens[1:] and len(tokens) <= config.block_size:
        tokens += rng.choices(range(bos + 1), softmax(forward(tokens[-1])))
    print("sample:", "".join(vocabulary[token] for token in tokens if token < bos))
