"""Somebody's own GPT, with globals and names of its own, for the tests of the doctor. Its Value walks a graph, depth
first, and has a node for each + and *; its names are those that the template of an adapter guesses."""
import math
import random

n_layer, n_embd, n_head, block_size, head_dim, temperature = 1, 16, 4, 16, 4, 0.5
vocabulary, state_dict = "abcdefghijklmnopqrstuvwxyz", {}


class Value:
    def __init__(self, data, children=(), slopes=()):
        self.data, self.grad, self.children, self.slopes = data, 0.0, children, slopes

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n):
        return Value(self.data**n, (self,), (n * self.data ** (n - 1),))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self):
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def relu(self):
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + -other

    def __truediv__(self, other):
        return self * other**-1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        order, seen, stack = [], set(), [(self, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack += [(child, False) for child in node.children]
        self.grad = 1.0
        for node in reversed(order):
            for child, slope in zip(node.children, node.slopes):
                child.grad += slope * node.grad


def encode(text):
    return [len(vocabulary)] + [vocabulary.index(c) for c in text] + [len(vocabulary)]


def decode(tokens):
    return "".join(vocabulary[t] for t in tokens if t < len(vocabulary))


def dot(a, b):
    return sum((x * y for x, y in zip(a, b)), Value(0.0))


def linear(x, weights):
    return [dot(row, x) for row in weights]


def softmax(x):
    largest = max(v.data for v in x)
    powers = [(v - largest).exp() for v in x]
    total = sum(powers, Value(0.0))
    return [p / total for p in powers]


def rmsnorm(x):
    scale = (sum(v * v for v in x) / len(x) + 1e-5) ** -0.5
    return [v * scale for v in x]


def initialize(vocab_size):
    shapes = {"wte": (vocab_size, n_embd), "wpe": (block_size, n_embd), "lm_head": (vocab_size, n_embd)}
    for i in range(n_layer):
        shapes.update({f"layer{i}.attn_w{c}": (n_embd, n_embd) for c in "qkvo"})
        shapes.update({f"layer{i}.mlp_fc1": (4 * n_embd, n_embd), f"layer{i}.mlp_fc2": (n_embd, 4 * n_embd)})
    return {name: [[Value(random.gauss(0, 0.08)) for _ in range(n)] for _ in range(m)]
            for name, (m, n) in shapes.items()}


def gpt(token, position, keys, values):
    x = rmsnorm([a + b for a, b in zip(state_dict["wte"][token], state_dict["wpe"][position])])
    for i in range(n_layer):
        y = rmsnorm(x)
        q, k, v = (linear(y, state_dict[f"layer{i}.attn_w{c}"]) for c in "qkv")
        keys[i].append(k)
        values[i].append(v)
        out = []
        for h in range(n_head):
            a, b = h * head_dim, (h + 1) * head_dim
            weights = softmax([dot(q[a:b], key[a:b]) / head_dim**0.5 for key in keys[i]])
            out += [dot(weights, [value[j] for value in values[i]]) for j in range(a, b)]
        x = [r + n for r, n in zip(x, linear(out, state_dict[f"layer{i}.attn_wo"]))]
        hidden = [n.relu() for n in linear(rmsnorm(x), state_dict[f"layer{i}.mlp_fc1"])]
        x = [r + n for r, n in zip(x, linear(hidden, state_dict[f"layer{i}.mlp_fc2"]))]
    return linear(x, state_dict["lm_head"])


def loss(tokens):
    keys, values, losses = [[] for _ in range(n_layer)], [[] for _ in range(n_layer)], []
    for position in range(min(block_size, len(tokens) - 1)):
        probabilities = softmax(gpt(tokens[position], position, keys, values))
        losses.append(-probabilities[tokens[position + 1]].log())
    return sum(losses) / len(losses)


class Adam:
    def __init__(self, parameters):
        self.parameters, self.t = parameters, 0
        self.m, self.v = [0.0] * len(parameters), [0.0] * len(parameters)

    def step(self, rate):
        self.t += 1
        for i, p in enumerate(self.parameters):
            self.m[i] = 0.85 * self.m[i] + 0.15 * p.grad
            self.v[i] = 0.99 * self.v[i] + 0.01 * p.grad**2
            p.data -= rate * self.m[i] / (1 - 0.85**self.t) / ((self.v[i] / (1 - 0.99**self.t)) ** 0.5 + 1e-8)
            p.grad = 0.0


def train(documents):
    adam = Adam([p for rows in state_dict.values() for row in rows for p in row])
    losses = []
    for step in range(num_steps):
        document_loss = loss(documents[step % len(documents)])
        document_loss.backward()
        adam.step(learning_rate * (1 - step / num_steps))
        losses.append(document_loss.data)
    return losses


def sample(tokens):
    tokens, keys, values = list(tokens), [[] for _ in range(n_layer)], [[] for _ in range(n_layer)]
    for position in range(block_size):
        logits = gpt(tokens[position], position, keys, values)
        if position + 1 == len(tokens):
            weights = [p.data for p in softmax([logit / temperature for logit in logits])]
            tokens += random.choices(range(len(weights)), weights=weights)
            if tokens[-1] == len(vocabulary):
                break
    return decode(tokens)


num_steps, learning_rate = 1000, 0.01
if __name__ == "__main__":
    state_dict = initialize(len(vocabulary) + 1)
    print(train([encode(name) for name in ("emma", "olivia", "ava")])[-1], sample([26]))
