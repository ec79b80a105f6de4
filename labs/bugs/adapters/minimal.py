"""How the doctor reaches into a GPT that has the names of script_gpt.py."""
import contextlib
import io
import random
import types

mine = None  # the doctor puts the program here


def reset():
    """Called between checks: nothing of the last one is to be left."""
    if hasattr(mine.Value, "tape"):
        mine.Value.tape.clear()


def left_over():
    """How many Values are still recorded."""
    return len(getattr(mine.Value, "tape", ()))


def value(number):
    return mine.Value(number)


def dot(a, b):
    return mine.dot(a, b)


def linear(x, weights):
    return mine.linear(x, weights)


def logsumexp(x):
    return mine.logsumexp(x)


def softmax(x):
    return mine.softmax(x)


def rmsnorm(x):
    return mine.rmsnorm(x)


def encode(text, vocabulary):
    return mine.encode(text, vocabulary)


def options(config):
    """The program's options are those of its command line, where num_steps is called steps."""
    return types.SimpleNamespace(steps=config["num_steps"], **config)


def initial_weights(config, vocab_size, seed):
    """The model as it is drawn: name -> rows of floats."""
    state_dict = mine.initialize_parameters(options(config), vocab_size, random.Random(seed))
    return {name: [[weight.data for weight in row] for row in rows] for name, rows in state_dict.items()}


def make(config, weights):
    """A model of these sizes with these weights."""
    state_dict = {name: [[mine.Value(number) for number in row] for row in rows] for name, rows in weights.items()}
    return state_dict, options(config)


def parameters(model):
    return model[0]


def new_cache(model):
    return [[] for _ in range(model[1].n_layer)], [[] for _ in range(model[1].n_layer)]


def forward(model, token, position, cache):
    return mine.gpt_forward(token, position, *cache, *model)


def loss(model, tokens):
    return mine.compute_loss(tokens, *model)


def new_optimizer(model):
    weights = [weight for rows in model[0].values() for row in rows for weight in row]
    return {"weights": weights, "m": [0.0] * len(weights), "v": [0.0] * len(weights), "steps": 0}


def update(model, optimizer, learning_rate):
    optimizer["steps"] += 1
    mine.adam_step(optimizer["weights"], optimizer["m"], optimizer["v"], optimizer["steps"], learning_rate)


def train(model, documents):
    """Trains for num_steps steps. Returns the losses that are printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        mine.train(documents, *model, 0)
    return [float(line.split()[-1]) for line in output.getvalue().splitlines() if line.startswith("step")]


def sample(model, prompt, vocabulary, seed):
    """One new document that begins with the prompt's tokens, BOS first."""
    return mine.generate_text(list(prompt), vocabulary, *model, random.Random(seed))


def main(arguments):
    """The lines that the whole program prints, up to where it refuses to go on, if it does."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        mine.main(arguments)
    return output.getvalue().splitlines()
