"""How the doctor reaches into a GPT that has the names of script_gpt_refactored.py (script_gpt_educational.py too)."""
import contextlib
import io
import random

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
    return mine.Tokenizer(vocabulary).encode(text)


def decode(tokens, vocabulary):
    return mine.Tokenizer(vocabulary).decode(tokens)


def initial_weights(config, vocab_size, seed):
    """The model as it is drawn: name -> rows of floats."""
    state_dict = mine.initialize_parameters(mine.GPTConfig(**config), vocab_size, random.Random(seed))
    return {name: [[weight.data for weight in row] for row in rows] for name, rows in state_dict.items()}


def make(config, weights):
    """A model of these sizes with these weights."""
    state_dict = {name: [[mine.Value(number) for number in row] for row in rows] for name, rows in weights.items()}
    return state_dict, mine.GPTConfig(**config)


def parameters(model):
    return model[0]


def new_cache(model):
    return {}, {}


def forward(model, token, position, cache):
    return mine.gpt_forward(token, position, *cache, *model)


def loss(model, tokens):
    return mine.compute_loss(tokens, *model)


def new_optimizer(model):
    return mine.AdamOptimizer(*model)


def update(model, optimizer, learning_rate):
    optimizer.step(learning_rate)


def step(model, optimizer, tokens, learning_rate):
    """One whole training step. Returns the loss before it."""
    state_dict, config = model
    return mine.train_step(tokens, state_dict, optimizer, learning_rate, config)


def train(model, documents):
    """Trains for num_steps steps. Returns the losses that are printed."""
    state_dict, config = model
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        mine.train(documents, state_dict, mine.AdamOptimizer(state_dict, config), config)
    return [float(line.split()[-1]) for line in output.getvalue().splitlines() if line.startswith("step")]


def sample(model, prompt, vocabulary, seed):
    """One new document that begins with the prompt's tokens, BOS first."""
    state_dict, config = model
    return mine.generate_text(list(prompt), state_dict, mine.Tokenizer(vocabulary), config, random.Random(seed))


def main(arguments):
    """The lines that the whole program prints, up to where it refuses to go on, if it does; no lines of a lecture."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        mine.main(arguments)
    return [line for line in output.getvalue().splitlines() if not line.startswith(("│", "|"))]
