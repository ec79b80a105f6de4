"""Level 5, attention. Not the last three letters: all so far, each weighed by how well its key fits this query.

So it need not be told how far to look. It must be told where a letter stands, for a mean has no order: wpe. compare.py
measures where that helps. Looking at itself alone it is level 4 with one letter. Next: 6_block.py"""
import argparse, math, pathlib, random
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("names", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parents[1] / "names.txt")
for flag, default in {"--steps": 1000, "--seed": 42}.items():
    parser.add_argument(flag, type=int, default=default)
config = parser.parse_args(namespace=argparse.Namespace(block_size=16, n_embd=16))
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
    def relu(self): return Value(self.data, (self,), (1.0,)) if self.data > 0 else Value(0.0)
    def backward(self):
        self.grad = 1.0
        for node in reversed(Value.tape):  # results first, then what they were computed from
            for child, local_grad in zip(node.children, node.local_grads):
                child.grad += local_grad * node.grad

def linear(x, weights):  # [n_in], [n_out][n_in] -> [n_out]; row + x joins the lists
    x_data = [value.data for value in x]
    rows = [(row, [weight.data for weight in row]) for row in weights]
    return [Value(sum(w * d for w, d in zip(row_data, x_data)), row + x, x_data + row_data) for row, row_data in rows]
def add(a, b): return [left + right for left, right in zip(a, b)]  # [n], [n] -> [n]
def logsumexp(x):  # [n] -> one Value, whose slopes are exactly softmax(x)
    largest = max(value.data for value in x)  # taken out, so that no power overflows
    powers = [math.exp(value.data - largest) for value in x]
    total = sum(powers)
    return Value(largest + math.log(total), x, [power / total for power in powers])
def softmax(x):  # [n] -> [n], probabilities that sum to 1
    minus_total = logsumexp(x) * Value(-1.0)
    return [(value + minus_total).exp() for value in x]

n = config.n_embd
shapes = [("wte", bos + 1, n), ("wpe", config.block_size, n)]  # a row for each token, and for each position
shapes += [(f"attn_w{name}", n, n) for name in "qkv"] + [("mlp_fc1", 4 * n, n), ("lm_head", bos + 1, 4 * n)]
state_dict = {name: [[Value(rng.gauss(0, 0.3)) for _ in range(n_in)] for _ in range(n_out)]
              for name, n_out, n_in in shapes}
parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
def forward(token_id, position, keys, values):  # -> the logits of the next token, [vocab_size]
    x = add(state_dict["wte"][token_id], state_dict["wpe"][position])  # [n_embd]
    q, k, v = (linear(x, state_dict[f"attn_w{name}"]) for name in "qkv")  # asks, is found by, hands on
    keys.append(k)
    values.append(v)
    scores = linear(q, keys)  # [position + 1], how well each key fits the query
    attn_weights = softmax([score * Value(n**-0.5) for score in scores])  # [position + 1]
    x = linear(attn_weights, [list(column) for column in zip(*values)])  # [n_embd], a weighted mean of the values
    hidden = [y.relu() for y in linear(x, state_dict["mlp_fc1"])]  # [4 * n_embd]
    return linear(hidden, state_dict["lm_head"])
def position_losses(tokens):  # -> the loss at each position, -ln(probability of the token that came)
    Value.tape.clear()  # another document, another record
    keys, values, losses = [], [], []
    for position, target in enumerate(tokens[1 : config.block_size + 1]):
        logits = forward(tokens[position], position, keys, values)
        losses.append(logsumexp(logits) + logits[target] * Value(-1.0))  # -ln(e^target / (e^a + e^b + ...))
    return losses

history = []
for t in range(1, config.steps + 1):
    losses = position_losses(training[(t - 1) % len(training)])
    loss = sum(losses[1:], losses[0]) * Value(1 / len(losses))  # sum alone would start at 0, which is no Value
    loss.backward()
    learning_rate = 0.3 * (1 - (t - 1) / config.steps)
    for parameter in parameters:
        parameter.data -= learning_rate * parameter.grad
        parameter.grad = 0.0  # or the next slopes would be added to these
    history.append(loss.data)
    if t % 100 == 0: print(f"step {t:4d} / {config.steps} | mean loss of 100 {sum(history[-100:]) / 100:.4f}")
losses = [loss.data for tokens in unseen for loss in position_losses(tokens)]
print(f"num params: {len(parameters)}\nheld-out loss per token: {sum(losses) / len(losses):.4f}")
for _ in range(5):
    tokens, keys, values = [bos], [], []
    while bos not in tokens[1:] and len(tokens) <= config.block_size:
        tokens += rng.choices(range(bos + 1), [p.data for p in softmax(forward(tokens[-1], len(keys), keys, values))])
    print("sample:", "".join(vocabulary[token] for token in tokens if token < bos))
