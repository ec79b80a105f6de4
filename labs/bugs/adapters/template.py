"""How the doctor reaches into MY_GPT.py.

The doctor runs your program and puts it here as `mine`; then it asks through these functions. Each comes with a guess
at your names: put in your own. What your program does not have (yet), delete: the checks that need it are left out.

A number of yours is a `Value` with .data, .grad and .backward(). If you call them something else, say so in `reset`:
`mine.Num.data = property(lambda n: n.v, lambda n, x: setattr(n, "v", x))`, or `mine.Num.backward = mine.Num.back`. If
your cache is global, put it back at the beginning of `forward`: `mine.keys[:], mine.values[:] = cache`.

Weights are a dictionary of matrices, name -> rows, a matrix [n_out][n_in] (y = W x), with these names and shapes (n is
n_embd):

    wte [vocab_size][n]    wpe [block_size][n]    lm_head [vocab_size][n]
    layer0.attn_wq, layer0.attn_wk, layer0.attn_wv, layer0.attn_wo [n][n]
    layer0.mlp_fc1 [4 n][n]    layer0.mlp_fc2 [n][4 n]    and so on for layer1, ...

`config` is a dictionary: n_layer, n_embd, n_head, block_size, learning_rate, num_steps, temperature.
`vocabulary` is a text, each character of the data once, sorted; BOS is the token after the last character.
"""
import random

mine = None  # the doctor puts your program here

# If your file trains as soon as it is run, give the beginning of the first line that is not to be run: "for step in".
STOP_BEFORE = ""


def reset():
    """Called between checks. If your program records every Value in a list of its own, empty it here."""


def value(number):
    return mine.Value(number)


def softmax(x):
    return mine.softmax(x)


def rmsnorm(x):
    return mine.rmsnorm(x)


def linear(x, weights):
    return mine.linear(x, weights)


def dot(a, b):
    return mine.dot(a, b)


def logsumexp(x):
    return mine.logsumexp(x)


def encode(text, vocabulary):
    """The token ids of a text, BOS at both ends."""
    mine.vocabulary = vocabulary
    return mine.encode(text)


def decode(tokens, vocabulary):
    """The text of token ids, without BOS."""
    mine.vocabulary = vocabulary
    return mine.decode(tokens)


def make(config, weights):
    """Gives your model these sizes and these weights. What it returns comes back to the functions below as `model`."""
    mine.n_layer, mine.n_embd, mine.n_head = config["n_layer"], config["n_embd"], config["n_head"]
    mine.block_size, mine.head_dim = config["block_size"], config["n_embd"] // config["n_head"]
    mine.temperature, mine.num_steps = config["temperature"], config["num_steps"]
    mine.learning_rate = config["learning_rate"]
    mine.state_dict = {name: [[mine.Value(x) for x in row] for row in rows] for name, rows in weights.items()}
    return mine.state_dict


def parameters(model):
    """The weights as Values, with the names above."""
    return mine.state_dict


def initial_weights(config, vocab_size, seed):
    """The weights your program starts from, as floats, with the names above."""
    mine.n_layer, mine.n_embd, mine.block_size = config["n_layer"], config["n_embd"], config["block_size"]
    random.seed(seed)
    drawn = mine.initialize(vocab_size)
    return {name: [[weight.data for weight in row] for row in rows] for name, rows in drawn.items()}


def new_cache(model):
    """What your forward pass keeps from one token to the next, when it has seen none."""
    return [[] for _ in range(mine.n_layer)], [[] for _ in range(mine.n_layer)]


def forward(model, token, position, cache):
    """One token at one position to the logits of the next, a list of Values."""
    keys, values = cache
    return mine.gpt(token, position, keys, values)


def loss(model, tokens):
    """The mean loss of one document (with BOS at both ends), a Value."""
    return mine.loss(tokens)


def new_optimizer(model):
    """What your optimizer remembers between steps, when it has made none. Comes back to the function below."""
    return mine.Adam([weight for rows in mine.state_dict.values() for row in rows for weight in row])


def update(model, optimizer, learning_rate):
    """One update of all weights from their gradients, which are then 0 again."""
    optimizer.step(learning_rate)


def train(model, documents):
    """Trains for num_steps steps on documents of tokens. Returns the loss of each step."""
    return mine.train(documents)


def sample(model, prompt, vocabulary, seed):
    """One new document that begins with the tokens of the prompt (BOS first), as text."""
    mine.vocabulary = vocabulary
    random.seed(seed)
    return mine.sample(prompt)
