"""A GPT in one file of plain Python: it reads names, learns how they are spelled, invents new ones.
--save keeps the model, --load goes on with it (--steps 0: only samples), --prompt begins each name;
--temperature: below 1 more typical names, above 1 stranger ones, 0 always the likeliest letters."""
import argparse, gc, json, math, os, random, unicodedata
from operator import mul
from pathlib import Path

# Data: one document (here: a name) a line.
def load_dataset(path):
    text = unicodedata.normalize("NFC", Path(path).read_text("utf-8-sig"))
    return [line.strip() for line in text.split("\n") if line.strip()]

# Autograd: a number that remembers what it was computed from, and its slope in each of them.
class Value:
    __slots__ = ("data", "grad", "children", "local_grads")
    tape = []  # every Value with children, in order of birth

    def __init__(self, data, children=(), local_grads=()):
        self.data, self.grad = data, 0.0
        self.children, self.local_grads = children, local_grads
        if children: Value.tape.append(self)

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent):
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Value(float(self.data**exponent), (self,), (slope,))

    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def log(self): return Value(math.log(self.data), (self,), (1.0 / self.data,))
    def relu(self): return Value(self.data, (self,), (1.0,)) if self.data > 0 else Value(0.0)
    def __neg__(self): return self * -1.0
    def __sub__(self, other): return self + -other
    def __rsub__(self, other): return -self + other
    def __truediv__(self, other): return self * other**-1
    def __rtruediv__(self, other): return self**-1 * other
    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        nodes = Value.tape[::-1]  # each comes before the children it was computed from
        if self not in nodes:
            raise RuntimeError("not on the tape: a leaf, or the tape was cleared since")
        self.grad = 1.0
        for node in nodes:
            grad = node.grad
            if grad:
                for child, local_grad in zip(node.children, node.local_grads):
                    child.grad += local_grad * grad
        Value.tape.clear()

# Vector functions. A dot product is one node: the slope in a factor is the other factor.
sumprod = getattr(math, "sumprod", lambda a, b: sum(map(mul, a, b)))  # in math since Python 3.12
def linear(x, weights):  # [n_in], [n_out][n_in] -> [n_out]; row + x joins the lists
    x_data = [value.data for value in x]
    rows = [(row, [weight.data for weight in row]) for row in weights]
    return [Value(sumprod(row_data, x_data), row + x, x_data + row_data) for row, row_data in rows]
def dot(a, b): return linear(a, [b])[0]  # [n], [n] -> one Value
def add(a, b): return [left + right for left, right in zip(a, b)]  # [n], [n] -> [n]

def logsumexp(x):  # [n] -> one Value, whose slopes are exactly softmax(x)
    largest = max(value.data for value in x)
    powers = [math.exp(value.data - largest) for value in x]
    total = sum(powers)
    return Value(largest + math.log(total), x, [power / total for power in powers])
def softmax(x):  # [n] -> [n], probabilities that sum to 1
    minus_total = -logsumexp(x)
    return [(value + minus_total).exp() for value in x]
def rmsnorm(x, epsilon=1e-5):  # [n] -> [n], with a mean square of 1 (0 stays 0)
    scale = (dot(x, x) / len(x) + epsilon) ** -0.5
    return [value * scale for value in x]

# Parameters: each weight matrix by name, [n_out][n_in], drawn from a normal distribution.
def initialize_parameters(config, vocab_size, rng):
    n = config.n_embd  # the width of the model
    shapes = [("wte", vocab_size, n), ("wpe", config.block_size, n), ("lm_head", vocab_size, n)]
    for layer in range(config.n_layer):
        shapes += [(f"layer{layer}.attn_w{name}", n, n) for name in "qkvo"]
        shapes += [(f"layer{layer}.mlp_fc1", 4 * n, n), (f"layer{layer}.mlp_fc2", n, 4 * n)]
    return {name: [[Value(rng.gauss(0, config.weight_std)) for _ in range(n_in)]
                   for _ in range(n_out)] for name, n_out, n_in in shapes}

# Model: one token at one position -> the logits of the next. keys and values are its memory.
def gpt_forward(token_id, position, keys, values, state_dict, config):
    head_dim = config.n_embd // config.n_head
    x = rmsnorm(add(state_dict["wte"][token_id], state_dict["wpe"][position]))  # [n_embd]
    for layer in range(config.n_layer):
        # Attention: what do the tokens so far have to tell this one? q, k and v: [n_embd].
        normed = rmsnorm(x)  # [n_embd]
        q, k, v = (linear(normed, state_dict[f"layer{layer}.attn_w{name}"]) for name in "qkv")
        keys.setdefault(layer, []).append(k)
        values.setdefault(layer, []).append(v)
        attn_out = []  # [n_embd] when every head has added its part; zip(*rows) gives columns
        for head in range(config.n_head):
            part = slice(head * head_dim, (head + 1) * head_dim)
            scores = linear(q[part], [k[part] for k in keys[layer]])  # [position + 1]
            attn_weights = softmax([score / head_dim**0.5 for score in scores])  # [position + 1]
            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer]])))
        x = add(x, linear(attn_out, state_dict[f"layer{layer}.attn_wo"]))  # [n_embd]
        # MLP: this token on its own, 4 times wider (hidden: [4 * n_embd]) and back.
        hidden = [y.relu() for y in linear(rmsnorm(x), state_dict[f"layer{layer}.mlp_fc1"])]
        x = add(x, linear(hidden, state_dict[f"layer{layer}.mlp_fc2"]))  # [n_embd]
    return linear(x, state_dict["lm_head"])  # [vocab_size]

# Loss: the mean over positions of -ln(probability of the token that really came next).
def compute_loss(tokens, state_dict, config):
    keys, values, losses = {}, {}, []
    for position in range(min(config.block_size, len(tokens) - 1)):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)
        position_loss = logsumexp(logits) - logits[tokens[position + 1]]
        losses.append(position_loss)
    return sum(losses) / len(losses)

# The program: settings, data, weights; training, saving, sampling.
def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="?", default=Path(
        globals().get("__file__", "pasted")).resolve().with_name("names.txt"))
    for flag, default in {"--steps": 1000, "--samples": 20, "--temperature": 0.5, "--prompt": "",
                          "--seed": 42, "--n-layer": 1, "--n-embd": 16, "--n-head": 4,
                          "--block-size": 16, "--learning-rate": 0.01, "--save": "",
                          "--load": ""}.items():
        parser.add_argument(flag, type=type(default), default=default, help="default: %(default)r")
    config = parser.parse_args(arguments, argparse.Namespace(weight_std=0.08))
    try:
        docs = load_dataset(config.names)
        rng = random.Random(config.seed)
        rng.shuffle(docs)
        vocabulary, step = sorted(set("".join(docs))), 0
        save = Path(config.save)
        if save.name in os.listdir(save.parent):
            json.loads(save.read_bytes())["state_dict"]  # only such a file is replaced
        if config.load:
            checkpoint = json.loads(Path(config.load).read_bytes())
            vars(config).update(checkpoint["config"])
            vocabulary, step = checkpoint["vocabulary"], checkpoint["step"]
        bos = len(vocabulary)
        documents = [[bos, *map(vocabulary.index, doc), bos] for doc in docs]
        prompt = [bos, *map(vocabulary.index, config.prompt)]
        if not docs or config.n_embd % config.n_head or len(prompt) > config.block_size:
            raise ValueError("no names, --n-embd no multiple of --n-head, or --prompt too long")
        state_dict = initialize_parameters(config, bos + 1, rng)
        for name, rows in state_dict.items() if config.load else ():
            numbers = checkpoint["state_dict"][name]
            if list(map(len, rows)) != list(map(len, numbers)):
                raise ValueError("the weights of the model have other shapes than its sizes say")
            state_dict[name] = [[Value(number) for number in row] for row in numbers]
    except Exception as error:
        parser.error(f"{error} (NAMES is a text, one name a line; --load and --save take a model)")
    if hasattr(gc, "set_threshold"): gc.set_threshold(100_000)  # the graph has no cycles to find
    parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    print(f"num docs: {len(docs)}\nvocab size: {bos + 1}\nnum params: {len(parameters)}")
    # Training by Adam: m is a running mean of each gradient, v of its square.
    beta1, beta2, eps_adam = 0.85, 0.99, 1e-8
    new1, new2 = 1 - beta1, 1 - beta2
    try:
        for t in range(1, config.steps + 1):
            loss = compute_loss(documents[step % len(documents)], state_dict, config)
            loss.backward()
            learning_rate = config.learning_rate * (1 - (t - 1) / config.steps)
            bias1, bias2 = 1 - beta1**t, 1 - beta2**t
            for i, parameter in enumerate(parameters):
                grad = parameter.grad
                m[i] = beta1 * m[i] + new1 * grad
                v[i] = beta2 * v[i] + new2 * grad * grad
                parameter.data -= (learning_rate * (m[i] / bias1)
                                   / (math.sqrt(v[i] / bias2) + eps_adam))
                parameter.grad = 0.0
            step += 1
            print(f"step {t:4d} / {config.steps:4d} | loss {loss.data:.4f}",
                  end="\r" if os.isatty(1) else "\n", flush=True)
    except KeyboardInterrupt: pass  # what has been learned so far is kept, half an update too
    if save.name:
        checkpoint = {"format": "script_gpt checkpoint 1", "config": {
            key: getattr(config, key) for key in ("n_layer", "n_embd", "n_head", "block_size")},
            "vocabulary": "".join(vocabulary), "step": step, "state_dict": state_dict}
        temporary = Path(f"{save}.tmp")
        temporary.write_text(json.dumps(checkpoint, default=lambda v: v.data, allow_nan=False))
        temporary.replace(save)
    print("\n" * os.isatty(1) + "--- new names ---")  # on a terminal, below the step line
    for index in range(config.samples):
        tokens, keys, values = list(prompt), {}, {}
        for position in range(config.block_size):
            logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)
            if position + 1 < len(tokens): continue  # still reading the prompt
            probabilities = softmax([logit / (config.temperature or 1e-9) for logit in logits])
            tokens += rng.choices(range(len(logits)), weights=[p.data for p in probabilities])
            if tokens[-1] == bos: break
        Value.tape.clear()  # nothing here is differentiated
        sample = "".join(vocabulary[token] for token in tokens if token < bos)
        print(f"sample {index + 1:2d}: {sample if sample.isprintable() else repr(sample)}")

if __name__ == "__main__":
    main(None if "__file__" in globals() else [])  # pasted into a notebook: no arguments
