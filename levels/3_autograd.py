"""Level 3, autograd. The same table and the same steps, but each number finds its slope by itself.

A Value remembers what it was computed from. From here on a new model needs a new `forward`, and new slopes only for new
operations. Its figures are those of level 2, but for the last digits. Next: 4_mlp.py"""
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

class Value:  # a number, the numbers it was computed from (its children), and its slope in each of them
    tape = []  # every Value with children, in the order in which they were computed
    def __init__(self, data, children=(), local_grads=()):
        self.data, self.grad, self.children, self.local_grads = data, 0.0, children, local_grads
        if children: Value.tape.append(self)
    def __add__(self, other): return Value(self.data + other.data, (self, other), (1.0, 1.0))
    def __mul__(self, other): return Value(self.data * other.data, (self, other), (other.data, self.data))
    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def backward(self):
        self.grad = 1.0
        for node in reversed(Value.tape):  # results first, then what they were computed from
            for child, local_grad in zip(node.children, node.local_grads):
                child.grad += local_grad * node.grad

def logsumexp(x):  # [n] -> one Value, whose slopes are exactly softmax(x)
    largest = max(value.data for value in x)  # taken out, so that no power overflows
    powers = [math.exp(value.data - largest) for value in x]
    total = sum(powers)
    return Value(largest + math.log(total), x, [power / total for power in powers])
def softmax(x):  # [n] -> [n], probabilities that sum to 1
    minus_total = logsumexp(x) * Value(-1.0)
    return [(value + minus_total).exp() for value in x]

state_dict = {"table": [[Value(0.0) for _ in range(bos + 1)] for _ in range(bos + 1)]}
parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
def forward(token_id):  # -> the logits of the next token, [vocab_size]
    return state_dict["table"][token_id]
def position_losses(tokens):  # -> the loss at each position, -ln(probability of the token that came)
    Value.tape.clear()  # another document, another record
    losses = []
    for position, target in enumerate(tokens[1 : config.block_size + 1]):
        logits = forward(tokens[position])
        losses.append(logsumexp(logits) + logits[target] * Value(-1.0))  # -ln(e^target / (e^a + e^b + ...))
    return losses

history = []
for t in range(1, config.steps + 1):
    losses = position_losses(training[(t - 1) % len(training)])
    loss = sum(losses[1:], losses[0]) * Value(1 / len(losses))  # sum alone would start at 0, which is no Value
    loss.backward()
    learning_rate = 5.0 * (1 - (t - 1) / config.steps)
    for parameter in parameters:
        parameter.data -= learning_rate * parameter.grad
        parameter.grad = 0.0  # or the next slopes would be added to these
    history.append(loss.data)
    if t % 100 == 0: print(f"step {t:4d} / {config.steps} | mean loss of 100 {sum(history[-100:]) / 100:.4f}")
losses = [loss.data for tokens in unseen for loss in position_losses(tokens)]
print(f"num params: {len(parameters)}\nheld-out loss per token: {sum(losses) / len(losses):.4f}")
for _ in range(5):
    tokens = [bos]
    while bos not in tokens[1:] and len(tokens) <= config.block_size:
        tokens += rng.choices(range(bos + 1), [p.data for p in softmax(forward(tokens[-1]))])
    print("sample:", "".join(vocabulary[token] for token in tokens if token < bos))
