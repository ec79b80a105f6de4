"""The same GPT in the form most often taught: a node for each + and *, and a depth-first sort before each backward.

It is here to be compared with. The benchmark measures how much slower it is; the tests hold the three scripts to its
losses and samples, for it shares no code with them and computes in another way (softmax by exponentials and a sum, the
loss by a logarithm, projections by products and sums).

    python3 tests/textbook_gpt.py NAMES STEPS SAMPLES        prints a transcript like that of the scripts
"""
import math
import random
import sys


class Value:
    def __init__(self, data, children=(), local_grads=()):
        self.data = data
        self.grad = 0.0
        self.children = children
        self.local_grads = local_grads

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent):
        return Value(self.data**exponent, (self,), (exponent * self.data ** (exponent - 1),))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self):
        return Value(math.log(self.data), (self,), (1.0 / self.data,))

    def relu(self):
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -other

    def __truediv__(self, other):
        return self * other**-1

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other

    def backward(self):
        order, seen = [], set()

        def visit(node):
            if node not in seen:
                seen.add(node)
                for child in node.children:
                    visit(child)
                order.append(node)

        visit(self)
        self.grad = 1.0
        for node in reversed(order):
            for child, local_grad in zip(node.children, node.local_grads):
                child.grad += local_grad * node.grad


def linear(x, weights):
    return [sum(w * value for w, value in zip(row, x)) for row in weights]


def softmax(x):
    largest = max(value.data for value in x)
    exponentials = [(value - largest).exp() for value in x]
    total = sum(exponentials)
    return [exponential / total for exponential in exponentials]


def rmsnorm(x):
    mean_square = sum(value * value for value in x) / len(x)
    return [value * (mean_square + 1e-5) ** -0.5 for value in x]


def forward(token, position, keys, values, weights, n_layer, n_head):
    x = rmsnorm([t + p for t, p in zip(weights["wte"][token], weights["wpe"][position])])
    size = len(x) // n_head
    for layer in range(n_layer):
        kinds = ("attn_wq", "attn_wk", "attn_wv", "attn_wo", "mlp_fc1", "mlp_fc2")
        w = {name: weights[f"layer{layer}.{name}"] for name in kinds}
        normed = rmsnorm(x)
        q = linear(normed, w["attn_wq"])
        keys[layer].append(linear(normed, w["attn_wk"]))
        values[layer].append(linear(normed, w["attn_wv"]))
        joined = []
        for h in range(0, len(x), size):
            scores = [sum(q[h + i] * key[h + i] for i in range(size)) / size**0.5 for key in keys[layer]]
            attention = softmax(scores)
            joined += [sum(a * value[h + i] for a, value in zip(attention, values[layer])) for i in range(size)]
        x = [old + new for old, new in zip(x, linear(joined, w["attn_wo"]))]
        hidden = [value.relu() for value in linear(rmsnorm(x), w["mlp_fc1"])]
        x = [old + new for old, new in zip(x, linear(hidden, w["mlp_fc2"]))]
    return linear(x, weights["lm_head"])


def run(docs, steps, samples, n_layer=1, n_embd=16, n_head=4, block_size=16, seed=42, learning_rate=0.01,
        temperature=0.5, batch=1):
    """Trains and samples. Yields each loss (a float, the mean over the tokens of a batch), then each sample (a str)."""
    sys.setrecursionlimit(100_000)  # the depth-first sort below goes as deep as the graph
    rng = random.Random(seed)
    docs = list(docs)
    rng.shuffle(docs)
    characters = sorted(set("".join(docs)))
    bos = len(characters)
    shapes = {"wte": (bos + 1, n_embd), "wpe": (block_size, n_embd), "lm_head": (bos + 1, n_embd)}
    for layer in range(n_layer):
        for name, n_out, n_in in (("attn_wq", 1, 1), ("attn_wk", 1, 1), ("attn_wv", 1, 1), ("attn_wo", 1, 1),
                                  ("mlp_fc1", 4, 1), ("mlp_fc2", 1, 4)):
            shapes[f"layer{layer}.{name}"] = (n_out * n_embd, n_in * n_embd)
    weights = {name: [[Value(rng.gauss(0, 0.08)) for _ in range(n_in)] for _ in range(n_out)]
               for name, (n_out, n_in) in shapes.items()}
    parameters = [p for matrix in weights.values() for row in matrix for p in row]
    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step in range(steps):
        names = [docs[(step * batch + i) % len(docs)] for i in range(batch)]
        asked, total = sum(min(block_size, len(name) + 1) for name in names), 0.0
        for name in names:
            tokens = [bos] + [characters.index(c) for c in name] + [bos]
            keys, values = [[] for _ in range(n_layer)], [[] for _ in range(n_layer)]
            losses = []
            for position in range(min(block_size, len(tokens) - 1)):
                logits = forward(tokens[position], position, keys, values, weights, n_layer, n_head)
                losses.append(-softmax(logits)[tokens[position + 1]].log())
            loss = sum(losses) / asked
            loss.backward()
            total += loss.data
        for i, p in enumerate(parameters):
            m[i] = 0.85 * m[i] + (1 - 0.85) * p.grad
            v[i] = 0.99 * v[i] + (1 - 0.99) * p.grad**2
            m_hat, v_hat = m[i] / (1 - 0.85 ** (step + 1)), v[i] / (1 - 0.99 ** (step + 1))
            p.data -= learning_rate * (1 - step / steps) * m_hat / (v_hat**0.5 + 1e-8)
            p.grad = 0.0
        yield total
    for _ in range(samples):
        tokens, text = [bos], ""
        keys, values = [[] for _ in range(n_layer)], [[] for _ in range(n_layer)]
        for position in range(block_size):
            logits = forward(tokens[-1], position, keys, values, weights, n_layer, n_head)
            probabilities = [p.data for p in softmax([logit / temperature for logit in logits])]
            tokens += rng.choices(range(bos + 1), weights=probabilities)
            if tokens[-1] == bos:
                break
            text += characters[tokens[-1]]
        yield text


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        documents = [line.strip() for line in file if line.strip()]
    for result in run(documents, int(sys.argv[2]), int(sys.argv[3])):
        print(f"loss {result:.4f}" if isinstance(result, float) else result)
