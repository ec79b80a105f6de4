"""Level 6, a block. Attention and MLP add to x (the residual stream), from a normalised copy; four heads, whose results
attn_wo mixes; Adam. Several ideas for once: with all of them taken out it is level 5. Next: ../script_gpt.py"""
import argparse, math, pathlib, random
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("names", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parents[1] / "names.txt")
for flag, default in {"--steps": 1000, "--seed": 42, "--n-head": 4}.items():
    parser.add_argument(flag, type=int, default=default)
config = parser.parse_args(namespace=argparse.Namespace(block_size=16, n_embd=16))
docs = list(dict.fromkeys(config.names.read_text("utf-8-sig").split())) if config.names.is_file() else []
if len(docs) < 7 or config.n_head not in (1, 2, 4, 8, 16): parser.error("under 7 words, or --n-head divides not 16")
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
    def __pow__(self, power): return Value(self.data**power, (self,), (power * self.data ** (power - 1),))
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
def rmsnorm(x):  # [n] -> [n], with a mean square of 1
    scale = (linear(x, [x])[0] * Value(1 / len(x)) + Value(1e-5)) ** -0.5
    return [value * scale for value in x]

n, head_dim = config.n_embd, config.n_embd // config.n_head
shapes = [("wte", bos + 1, n), ("wpe", config.block_size, n), ("lm_head", bos + 1, n)]
shapes += [(f"attn_w{name}", n, n) for name in "qkvo"] + [("mlp_fc1", 4 * n, n), ("mlp_fc2", n, 4 * n)]
state_dict = {name: [[Value(rng.gauss(0, 0.08)) for _ in range(n_in)] for _ in range(n_out)]
              for name, n_out, n_in in shapes}
parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
def forward(token_id, position, keys, values):  # -> the logits of the next token, [vocab_size]
    x = rmsnorm(add(state_dict["wte"][token_id], state_dict["wpe"][position]))  # [n_embd]
    normed = rmsnorm(x)  # [n_embd]
    q, k, v = (linear(normed, state_dict[f"attn_w{name}"]) for name in "qkv")
    keys.append(k)
    values.append(v)
    attn_out = []  # [n_embd] when every head has added its part
    for part in [slice(start, start + head_dim) for start in range(0, n, head_dim)]:
        scores = linear(q[part], [k[part] for k in keys])  # [position + 1]
        attn_weights = softmax([score * Value(head_dim**-0.5) for score in scores])  # [position + 1]
        attn_out += linear(attn_weights, [list(column) for column in zip(*[v[part] for v in values])])
    x = add(x, linear(attn_out, state_dict["attn_wo"]))  # [n_embd]
    hidden = [y.relu() for y in linear(rmsnorm(x), state_dict["mlp_fc1"])]  # [4 * n_embd]
    x = add(x, linear(hidden, state_dict["mlp_fc2"]))  # [n_embd]
    return linear(x, state_dict["lm_head"])
def position_losses(tokens):  # -> the loss at each position, -ln(probability of the token that came)
    Value.tape.clear()  # another document, another record
    keys, values, losses = [], [], []
    for position, target in enumerate(tokens[1 : config.block_size + 1]):
        logits = forward(tokens[position], position, keys, values)
        losses.append(logsumexp(logits) + logits[target] * Value(-1.0))  # -ln(e^target / (e^a + e^b + ...))
    return losses

history, m, v, beta1, beta2 = [], [0.0] * len(parameters), [0.0] * len(parameters), 0.85, 0.99
for t in range(1, config.steps + 1):
    losses = position_losses(training[(t - 1) % len(training)])
    loss = sum(losses[1:], losses[0]) * Value(1 / len(losses))  # sum alone would start at 0, which is no Value
    loss.backward()
    learning_rate = 0.01 * (1 - (t - 1) / config.steps)
    for i, parameter in enumerate(parameters):
        m[i] = beta1 * m[i] + (1 - beta1) * parameter.grad
        v[i] = beta2 * v[i] + (1 - beta2) * parameter.grad * parameter.grad
        parameter.data -= learning_rate * (m[i] / (1 - beta1**t)) / (math.sqrt(v[i] / (1 - beta2**t)) + 1e-8)
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
