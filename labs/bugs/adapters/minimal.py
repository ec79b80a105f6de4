"""How the doctor reaches into a GPT that has the names of script_gpt.py.

There the whole program is one function, main. What goes on inside it is seen by running it with other functions in the
places of some of its own: main calls compute_loss once a step, and gpt_forward once for each token of a sample.
"""
import argparse
import contextlib
import io
import json
import os
import random
import tempfile

mine = None  # the doctor puts the program here

LOSS_MAY_BE_NAN = True  # the program does not look whether its loss is a number


class Enough(Exception):
    """Raised inside main when it has gone far enough."""


class Weight:
    """A parameter whose gradient is the given one, whatever main does with gradients before and after an update."""

    def __init__(self, data):
        self.data, self.given = data, 0.0

    grad = property(lambda self: self.given, lambda self, gradient: None)


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


def options(config):
    """What main hands to the functions that want a configuration."""
    return argparse.Namespace(weight_std=0.08, **config)


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
    return {}, {}


def forward(model, token, position, cache):
    return mine.gpt_forward(token, position, *cache, *model)


def loss(model, tokens):
    return mine.compute_loss(tokens, *model)


def main(arguments, **parts):
    """The lines that the whole program prints, up to where it refuses to go on, if it does.

    `parts` are functions that stand, while it runs, in the places of its own of the same names.
    """
    own, output = {name: getattr(mine, name) for name in parts}, io.StringIO()
    vars(mine).update(parts)
    try:
        with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit, Enough):
            mine.main(arguments)
    finally:
        vars(mine).update(own)
    return [line for line in output.getvalue().splitlines() if line]  # on a terminal there is an empty one


def main_on(docs, state_dict, arguments, **parts):
    """The same for these documents, with these weights in the place of those that it would draw."""
    return main(arguments, load_dataset=lambda path: list(docs), initialize_parameters=lambda *_: state_dict, **parts)


def main_loaded(vocabulary, sizes, state_dict, doc, arguments, **parts):
    """The same for one document, with a model loaded from a file: then the vocabulary is that of the file."""
    checkpoint = {"format": "script_gpt checkpoint 1", "config": sizes, "vocabulary": vocabulary, "step": 0,
                  "state_dict": state_dict}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(checkpoint, file, default=lambda weight: weight.data)
        return main_on([doc], dict(state_dict), [f"--load={path}", *arguments], **parts)


def encode(text, vocabulary):
    """The tokens that main hands to compute_loss."""
    seen = []

    def compute_loss(tokens, *rest):
        seen.extend(tokens)
        raise Enough

    main_loaded(vocabulary, no_sizes(), {}, text, ["--steps=1"], compute_loss=compute_loss)
    return seen


def decode(tokens, vocabulary):
    """What main prints when the model is sure of each of these tokens in turn."""
    coming = iter(tokens[1:])

    def gpt_forward(*anything):
        token = next(coming)
        return [mine.Value(100.0 * (each == token)) for each in range(len(vocabulary) + 1)]

    sizes = no_sizes(block_size=len(tokens) - 1)
    return one_sample(main_loaded(vocabulary, sizes, {}, "", ["--steps=0", "--samples=1"], gpt_forward=gpt_forward))


def no_sizes(**changes):
    """The sizes of a model of which nothing is asked."""
    return {"n_layer": 1, "n_embd": 1, "n_head": 1, "block_size": 1, **changes}


def one_sample(lines):
    """The text of the only sample that was printed."""
    return lines[-1][len("sample  1: "):]


def steps(model, documents, learning_rate):
    """Some training steps, each on the next of these documents, all with one learning rate. Returns their losses."""
    own, losses = mine.compute_loss, []

    def compute_loss(*anything):
        if len(losses) == len(documents):
            raise Enough
        losses.append(own(documents[len(losses)], *model))
        return losses[-1]

    main_for_ever(model, learning_rate, compute_loss)
    return [each.data for each in losses]


def moves(model, name, gradients, learning_rate):
    """How far each update moves the first weight of a matrix, if these are its gradients in turn."""
    row, places = model[0][name][0], []
    weight = row[0] = Weight(row[0].data)

    def compute_loss(*anything):
        places.append(weight.data)
        if len(places) > len(gradients):
            raise Enough
        weight.given = gradients[len(places) - 1]
        return argparse.Namespace(data=0.0, backward=lambda: None)

    main_for_ever(model, learning_rate, compute_loss)
    return [after - before for before, after in zip(places, places[1:])]


def main_for_ever(model, learning_rate, compute_loss):
    """Main with so many steps ahead of it that its learning rate does not fall."""
    arguments = ["--steps=1000000000", f"--learning-rate={learning_rate}"]
    main_on(["a", "a"], model[0], arguments, compute_loss=compute_loss)


def train(model, documents):
    """Trains for num_steps steps. Returns the losses that are printed."""
    own, order = mine.compute_loss, {}

    def compute_loss(tokens, *rest):
        # Main shuffles its documents: the one it takes first is our first, and so on.
        index = order.setdefault(tuple(tokens), len(order))
        return own(documents[index], *model)

    docs = ["a" * count for count in range(1, len(documents) + 1)]
    arguments = [f"--steps={model[1].num_steps}", f"--learning-rate={model[1].learning_rate}", "--samples=0"]
    lines = main_on(docs, model[0], arguments, compute_loss=compute_loss)
    return [float(line.split()[-1]) for line in lines if line.startswith("step")]


def sample(model, prompt, vocabulary, seed):
    """One new document that begins with the prompt's tokens, BOS first."""
    state_dict, config = model
    sizes = {name: getattr(config, name) for name in ("n_layer", "n_embd", "n_head", "block_size")}
    letters = "".join(vocabulary[token] for token in prompt[1:])
    arguments = ["--steps=0", "--samples=1", f"--prompt={letters}", f"--temperature={config.temperature}",
                 f"--seed={seed}"]
    return one_sample(main_loaded(vocabulary, sizes, state_dict, vocabulary[0], arguments))
