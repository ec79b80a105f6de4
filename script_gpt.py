"""A whole GPT in one file of plain Python: it reads a list of names, learns how they are spelled, invents new ones."""
import argparse, gc, json, math, os, random, signal, sys, time
from operator import mul

# Configuration: every number that is chosen rather than learned. OPTIONS can be changed on the command line (--help).
OPTIONS = {  # name: (default, lowest, highest, meaning)
    "steps": (1000, 0, 1e9, "training steps, one document each"),
    "samples": (20, 0, 1e9, "names to invent"),
    "temperature": (0.5, 1e-9, 1e9, "below 1 more typical names, above 1 stranger ones"),
    "seed": (42, -math.inf, math.inf, "another number, another run"),
    "n_layer": (1, 1, math.inf, "transformer layers"),
    "n_embd": (16, 1, math.inf, "numbers per token, a multiple of the heads"),
    "n_head": (4, 1, math.inf, "attention heads per layer"),
    "block_size": (16, 1, math.inf, "longest context, in tokens"),
    "learning_rate": (0.01, 1e-9, 100.0, "size of the first steps; it falls to 0"),
}
BETA1, BETA2, EPS_ADAM, WEIGHT_STD = 0.85, 0.99, 1e-8, 0.08
SIZES, FORMAT = ("n_layer", "n_embd", "n_head", "block_size"), "script_gpt checkpoint 1"
def refuse(problem):  # bad input: one line that says what is wrong and what to do
    print("error:", " ".join(problem.split()), file=sys.stderr)
    sys.exit(2)

# Data: one document (here: a name) a line.
def load_dataset(path):
    with open(path, encoding="utf-8-sig") as file: docs = [line.strip() for line in file]
    return [doc for doc in docs if doc] or refuse(f"{path} is empty: it needs at least one document, one a line")

# Tokenizer: a character's token is its place in the vocabulary; the next one, BOS, marks both ends of a document.
def encode(text, vocabulary):
    if not set(text) <= set(vocabulary): refuse(f"{text!r} has characters not in the vocabulary: use {vocabulary!r}")
    return [len(vocabulary), *map(vocabulary.index, text), len(vocabulary)]

# Autograd: a number that remembers what it was computed from, so that the chain rule can walk back through it.
class Value:
    __slots__ = ("data", "grad", "children", "local_grads")
    tape = []  # every computed Value, in order of birth
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
        return Value(math.pow(self.data, exponent), (self,), (exponent * math.pow(self.data, exponent - 1),))
    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def log(self): return Value(math.log(self.data), (self,), (1.0 / self.data,))
    def relu(self): return Value(self.data, (self,), (1.0,)) if self.data > 0 else Value(0.0, (self,), (0.0,))
    def __neg__(self): return self * -1.0
    def __sub__(self, other): return self + -other
    def __truediv__(self, other): return self * other**-1
    def __radd__(self, other): return self + other
    def __rsub__(self, other): return -self + other
    def __rmul__(self, other): return self * other
    def __rtruediv__(self, other): return self**-1 * other
    def backward(self):
        if not any(node is self for node in reversed(Value.tape)):
            raise RuntimeError("backward needs a Value on the tape: this one is a leaf, or backward has cleared it")
        self.grad = 1.0
        for node in reversed(Value.tape):  # each node comes before the children it was computed from
            grad = node.grad
            if grad:
                for child, local_grad in zip(node.children, node.local_grads):
                    child.grad += local_grad * grad
        Value.tape.clear()

# Vector functions.
def dot(a, b):  # [n], [n] -> one Value: n products and their sum in one node; the slope in a factor is the other factor
    a_data, b_data = [value.data for value in a], [value.data for value in b]
    return Value(sum(map(mul, a_data, b_data)), (*a, *b), (*b_data, *a_data))
def linear(x, weights):  # [n_in], [n_out][n_in] -> [n_out]: y = W x, the dot product of each row with x
    x_data = [value.data for value in x]
    rows = zip(weights, [[weight.data for weight in row] for row in weights])
    return [Value(sum(map(mul, row_data, x_data)), row + x, x_data + row_data) for row, row_data in rows]  # + joins
def logsumexp(x):  # [n] -> one Value, whose slopes are exactly softmax(x); the largest is taken out against overflow
    largest = max(value.data for value in x)
    exponentials = [math.exp(value.data - largest) for value in x]
    total = sum(exponentials)
    return Value(largest + math.log(total), x, [exponential / total for exponential in exponentials])
def softmax(x):  # [n] -> [n]: probabilities that sum to 1
    minus_total = -logsumexp(x)
    return [(value + minus_total).exp() for value in x]
def rmsnorm(x, epsilon=1e-5):  # [n] -> [n]: scaled to a mean square of 1
    scale = (dot(x, x) / len(x) + epsilon) ** -0.5
    return [value * scale for value in x]

# Parameters: each weight matrix by name, [n_out][n_in], drawn from a normal distribution.
def parameter_shapes(config, vocab_size):
    n = config.n_embd
    shapes = {"wte": (vocab_size, n), "wpe": (config.block_size, n), "lm_head": (vocab_size, n)}
    for layer in range(config.n_layer):
        shapes.update({f"layer{layer}.attn_{name}": (n, n) for name in ("wq", "wk", "wv", "wo")})
        shapes.update({f"layer{layer}.mlp_fc1": (4 * n, n), f"layer{layer}.mlp_fc2": (n, 4 * n)})
    return shapes
def initialize_parameters(config, vocab_size, rng):
    return {name: [[Value(rng.gauss(0, WEIGHT_STD)) for _ in range(n_in)] for _ in range(n_out)]
            for name, (n_out, n_in) in parameter_shapes(config, vocab_size).items()}

# Model: one token at one position -> the logits of the next token. keys and values are the cache of all tokens so far.
def gpt_forward(token_id, position, keys, values, state_dict, config):
    head_dim = config.n_embd // config.n_head
    x = rmsnorm([t + p for t, p in zip(state_dict["wte"][token_id], state_dict["wpe"][position])])  # [n_embd]
    for layer in range(config.n_layer):
        normed = rmsnorm(x)  # attention: each head compares its query with every key so far, and mixes their values
        q, k, v = (linear(normed, state_dict[f"layer{layer}.attn_{name}"]) for name in ("wq", "wk", "wv"))  # [n_embd]
        for cache, vector in ((keys, k), (values, v)): cache[layer].append(vector)
        attn_out = []
        for start in range(0, config.n_embd, head_dim):
            head = slice(start, start + head_dim)
            attn_weights = softmax([dot(q[head], key[head]) / head_dim**0.5 for key in keys[layer]])  # [position + 1]
            attn_out.extend(dot(attn_weights, column) for column in zip(*(value[head] for value in values[layer])))
        x = [residual + new for residual, new in zip(x, linear(attn_out, state_dict[f"layer{layer}.attn_wo"]))]
        hidden = [neuron.relu() for neuron in linear(rmsnorm(x), state_dict[f"layer{layer}.mlp_fc1"])]  # [4 * n_embd]
        active = [i for i, neuron in enumerate(hidden) if neuron.data]  # the silent ones add 0: left out, for speed
        fc2 = [[row[i] for i in active] for row in state_dict[f"layer{layer}.mlp_fc2"]]  # [n_embd][active]
        x = [residual + new for residual, new in zip(x, linear([hidden[i] for i in active], fc2))]
    return linear(x, state_dict["lm_head"])  # [vocab_size]

# Loss: the mean over positions of -ln(probability of the token that really came next).
def compute_loss(tokens, state_dict, config):
    keys, values, losses = [[] for _ in range(config.n_layer)], [[] for _ in range(config.n_layer)], []
    for position in range(min(config.block_size, len(tokens) - 1)):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)
        losses.append(logsumexp(logits) - logits[tokens[position + 1]])
    return sum(losses) / len(losses)

# Optimizer: Adam. m is a running mean of each gradient, v of its square; most steps are shorter than the learning rate.
def adam_step(parameters, m, v, t, learning_rate):
    new1, new2, sqrt = 1.0 - BETA1, 1.0 - BETA2, math.sqrt
    bias1, bias2 = 1.0 - BETA1**t, 1.0 - BETA2**t  # m and v start at 0; dividing by these corrects for it
    for i, parameter in enumerate(parameters):
        m[i] = BETA1 * m[i] + new1 * parameter.grad
        v[i] = BETA2 * v[i] + new2 * parameter.grad * parameter.grad
        parameter.data -= learning_rate * (m[i] / bias1) / (sqrt(v[i] / bias2) + EPS_ADAM)
        parameter.grad = 0.0

# Training: one document a step. Ctrl-C, or a reader that goes away, lets the step finish; a second Ctrl-C does not.
def train(documents, state_dict, config, first_step):
    parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]
    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    step, stop, started, live = 0, [], time.perf_counter(), sys.stdout.isatty()
    signal.signal(signal.SIGINT, lambda *_: stop.append(signal.signal(signal.SIGINT, signal.SIG_DFL)))
    if sys.implementation.name == "cpython": gc.disable()  # the graph has no cycles: nothing for it to find
    while step < config.steps and not stop:
        loss = compute_loss(documents[(first_step + step) % len(documents)], state_dict, config)
        if not math.isfinite(loss.data): refuse(f"the loss became {loss.data}: lower the learning rate")
        loss.backward()
        adam_step(parameters, m, v, step + 1, config.learning_rate * (1 - step / config.steps))
        step += 1
        line = f"step {step:4d} / {config.steps:4d} | loss {loss.data:.4f}"
        if live:  # on a terminal: rewritten in place, with a progress bar, elapsed and remaining time
            seconds, bar = time.perf_counter() - started, "#" * (20 * step // config.steps)
            line = f"\r{line} | [{bar:<20}] {seconds:4.0f} s, {seconds * (config.steps / step - 1):4.0f} s left"
            line = line[: os.get_terminal_size().columns or 80]
        try: print(line, end="" if live and step < config.steps and not stop else "\n", flush=True)
        except BrokenPipeError: stop.append(os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()))
    gc.enable()
    return step

# Generation: feed the prompt, then draw token after token, each by its probability, until BOS or block_size of them.
def generate_text(tokens, vocabulary, state_dict, config, rng):
    keys, values = ([[] for _ in range(config.n_layer)] for _ in range(2))
    for position in range(config.block_size):
        logits = gpt_forward(tokens[position], position, keys, values, state_dict, config)
        if position + 1 < len(tokens): continue  # still reading the prompt
        probabilities = [p.data for p in softmax([logit / config.temperature for logit in logits])]
        tokens += rng.choices(range(len(probabilities)), weights=probabilities)
        if tokens[-1] == len(vocabulary): break
    Value.tape.clear()  # nothing here is differentiated
    return "".join(vocabulary[token] for token in tokens if token < len(vocabulary))

# Checkpoint: one JSON file, written whole or not at all; opening one runs nothing of what it holds.
def save_checkpoint(path, state_dict, vocabulary, config, step):
    sizes = {name: getattr(config, name) for name in SIZES}
    numbers = {name: [[weight.data for weight in row] for row in matrix] for name, matrix in state_dict.items()}
    checkpoint = {"format": FORMAT, "config": sizes, "vocabulary": vocabulary, "step": step, "state_dict": numbers}
    with open(f"{path}.{os.getpid()}.tmp", "w", encoding="utf-8") as file: json.dump(checkpoint, file, allow_nan=False)
    os.replace(f"{path}.{os.getpid()}.tmp", path)
def load_checkpoint(path):
    try:
        with open(path, encoding="utf-8") as file: checkpoint = json.load(file)
        sizes, vocabulary, step, matrices = (checkpoint[key] for key in ("config", "vocabulary", "step", "state_dict"))
        found = {name: (len(matrix), *{len(row) for row in matrix}) for name, matrix in matrices.items()}
        sound = (checkpoint["format"] == FORMAT and type(vocabulary) is str and len(set(vocabulary)) == len(vocabulary)
                 and set(sizes) == set(SIZES) and all(type(n) is int and 0 <= n < 1e15 for n in (*sizes.values(), step))
                 and len(found) == 3 + 6 * sizes["n_layer"]
                 and found == parameter_shapes(argparse.Namespace(**sizes), len(vocabulary) + 1)
                 and all(type(w) in (int, float) and math.isfinite(w) for m in matrices.values() for r in m for w in r))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError): sound = False
    return checkpoint if sound else refuse(f"{path} is not a whole and sound checkpoint: name a file written by --save")

# Command line.
def parse_arguments(arguments, checkpoint=None):
    loaded = checkpoint["config"] if checkpoint else {}
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=formatter)
    parser.error = refuse
    parser.add_argument("names", nargs="?", metavar="NAMES", help="a UTF-8 text file, one document a line",
                        default=os.path.join(os.path.dirname(os.path.realpath(__file__)), "names.txt"))
    for name, (value, _, _, text) in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=loaded.get(name, value), help=text)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what every new name starts with")
    parser.add_argument("--save", metavar="FILE", help="write the trained model to this file")
    parser.add_argument("--load", metavar="FILE", help="start from this model (--steps 0: only sample from it)")
    args = parser.parse_args(arguments)
    if args.load is not None and not checkpoint: return parse_arguments(arguments, load_checkpoint(args.load))
    for name, (_, lowest, highest, _) in OPTIONS.items():
        value = getattr(args, name)
        if not lowest <= value <= highest or value != loaded.get(name, value):
            refuse(f"{name} cannot be {value}: it must be {loaded.get(name, f'between {lowest} and {highest}')}")
    if args.n_embd % args.n_head: refuse(f"n_embd {args.n_embd} must be a multiple of n_head {args.n_head}")
    return args, checkpoint or {"step": 0}
def main(arguments=None):
    args, checkpoint = parse_arguments(arguments)
    docs, rng = load_dataset(args.names), random.Random(args.seed)
    rng.shuffle(docs)
    vocabulary = checkpoint.get("vocabulary", "".join(sorted(set("".join(docs)))))
    documents = [encode(doc, vocabulary) for doc in docs]
    prompt = encode(args.prompt, vocabulary)[:-1]  # the closing BOS is the model's to draw
    if len(prompt) > args.block_size: refuse(f"the prompt is too long: the context has room for {args.block_size - 1}")
    path = os.path.realpath(args.save) if args.save is not None else None
    if path and (os.path.exists(path) != os.path.isfile(path) or path == os.path.realpath(args.names)):
        refuse(f"cannot save to {path}: choose the name of a file that holds nothing else")
    if path: open(f"{path}.{os.getpid()}.tmp", "w").close(), os.remove(f"{path}.{os.getpid()}.tmp")  # can one?
    state_dict = initialize_parameters(args, len(vocabulary) + 1, rng)
    for name, matrix in checkpoint.get("state_dict", {}).items():  # after the draw, which keeps the order of randomness
        state_dict[name] = [[Value(float(weight)) for weight in row] for row in matrix]
    print(f"num docs: {len(docs)}\nvocab size: {len(vocabulary) + 1}")
    print(f"num params: {sum(len(row) for matrix in state_dict.values() for row in matrix)}")
    step = checkpoint["step"] + train(documents, state_dict, args, checkpoint["step"])
    if path: save_checkpoint(path, state_dict, vocabulary, args, step)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print("--- new names ---")
    for index in range(1, args.samples + 1):
        print(f"sample {index:2d}: {generate_text([*prompt], vocabulary, state_dict, args, rng)}", flush=True)
if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a letter this terminal cannot show is no reason to stop
    try: main()
    except BrokenPipeError: os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` has gone: leave
    except (OSError, ValueError) as error: refuse(f"{error}: choose another (UTF-8) file to read, or place to write")
