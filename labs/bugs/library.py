"""The bug library: mistakes people make when they write a GPT, each a small patch to script_gpt_refactored.py.

A bug is plain data. `right` is a piece of the script's text that occurs there exactly once, `wrong` what stands in its
place in the ill program; no more than three lines change. What a bug does to a run is not written here: it is measured
(`python -m labs.bugs run NAME`).
"""
from __future__ import annotations

from dataclasses import dataclass

DEFAULT_STEPS = 200


@dataclass(frozen=True)
class Bug:
    """One mistake.

    name, title   what it is called, and what is wrong in one line
    group         the part of the program it sits in
    right, wrong  the patch
    why, find     why it happens and what follows from it; how to find it
    steps         how many training steps it takes to see
    options       what else to give the program on its command line, for a bug that the default sizes hide
    """

    name: str
    title: str
    group: str
    right: str
    wrong: str
    why: str
    find: str
    steps: int = DEFAULT_STEPS
    options: tuple[str, ...] = ()


BUGS = [
    # ------------------------------------------------------------------------------------------------------------------
    # Data and tokens
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="vocabulary from a part of the data",
        title="the vocabulary is built after the split, from nine tenths of the documents",
        group="data",
        right='"".join(sorted(set("".join(docs))))',
        wrong='"".join(sorted(set("".join(docs[: len(docs) * 9 // 10]))))',
        why="The data is cut into training and validation first, and the vocabulary is then taken from the training "
            "part. It works as long as every character occurs there; a rare one is refused, or worse, dropped.",
        find="Run the program on a few lines of which only the last has some letter, with several seeds.",
    ),
    Bug(
        name="vocabulary not sorted",
        title="the vocabulary is taken from a set as it comes",
        group="data",
        right='"".join(sorted(set("".join(docs))))',
        wrong='"".join(set("".join(docs)))',
        why="Python orders the characters of a set differently in each process, so a token id means another letter "
            "each time: the same seed gives another run, and a saved model is nonsense unless its vocabulary was "
            "saved too.",
        find="Start the program twice with the same seed. The first losses must be equal to the last digit.",
    ),
    Bug(
        name="documents not shuffled",
        title="the documents are trained on in the order of the file",
        group="data",
        right="    rng.shuffle(docs)\n",
        wrong="",
        why="Files are often sorted. Then the model sees all the names with A first, learns that names begin with A, "
            "and unlearns it later; a short run never sees the rest.",
        find="Print the first documents that training takes. Compare the first losses with a run you trust.",
    ),
    Bug(
        name="shuffled without the seed",
        title="the documents are shuffled by another generator than the seeded one",
        group="data",
        right="    rng.shuffle(docs)\n",
        wrong="    random.shuffle(docs)\n",
        why="The random module has a generator of its own, which nobody seeded. Each run is a different one, and no "
            "result can be repeated.",
        find="Start the program twice with the same seed. The first losses must be equal to the last digit.",
    ),
    Bug(
        name="token ids from 1",
        title="characters are counted from 1, and the last one gets the number of BOS",
        group="data",
        right="for token_id, character in enumerate(vocabulary)}",
        wrong="for token_id, character in enumerate(vocabulary, start=1)}",
        why="Counting from 1 is a habit of people. Here the last letter falls onto BOS, so each z ends a name, and "
            "row 0 of the embedding is never trained.",
        find="Encode a word and decode it: the same word must come back. Look at the ids of the first and the last "
             "letter.",
    ),
    Bug(
        name="no closing BOS",
        title="a document has no end token",
        group="data",
        right="for character in text] + [self.bos]",
        wrong="for character in text]",
        why="BOS marks the beginning, so it seems enough to put it there. But the model learns to end a name only by "
            "being asked for the end.",
        find="Encode a word: it must begin and end with BOS. Samples that run until the context is full say the same.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Autograd
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="a sign: a - b is a + b",
        title="subtraction adds",
        group="autograd",
        right="return self + -other",
        wrong="return self + other",
        why="The operators are written one after the other by copying, and one stays as it was copied. Here the loss "
            "becomes logsumexp plus the logit, which falls without limit as all logits fall.",
        find="Compute 6 - (-4) with Values. Each operator has an answer you know.",
    ),
    Bug(
        name="a sign: gradient of the wrong direction",
        title="-a is a",
        group="autograd",
        right="return self * -1.0",
        wrong="return self * 1.0",
        why="Subtraction is said in terms of negation, so one lost sign reaches everything that subtracts: softmax "
            "and the loss.",
        find="-a at a = 3 is -3, and its slope is -1.",
    ),
    Bug(
        name="slopes of * swapped",
        title="the slope of a product in a factor is the factor itself, not the other one",
        group="autograd",
        right="(self, other), (other.data, self.data))",
        wrong="(self, other), (self.data, other.data))",
        why="It looks tidy to list the numbers in the order of the children. The values are right; only the slopes "
            "are wrong, and only where the factors differ.",
        find="Compare the slopes with central differences, (f(x + h) - f(x - h)) / 2h, at factors that differ.",
    ),
    Bug(
        name="the power not reduced by one",
        title="the slope of a ** n is n * a ** n",
        group="autograd",
        right="exponent * self.data ** (exponent - 1)",
        wrong="exponent * self.data**exponent",
        why="Half of the rule was remembered. At a = 1 the two agree, so a test at 1 does not see it; and rmsnorm, "
            "which uses the power, two times of three meets a mean square near 1.",
        find="Compare the slope of a ** 3 with central differences at a = 2, not at 1.",
    ),
    Bug(
        name="relu slope inverted",
        title="relu passes the gradient back where it is silent, and not where it is active",
        group="autograd",
        right="Value(self.data, (self,), (1.0,)) if self.data > 0 else Value(0.0)",
        wrong="Value(self.data, (self,), (0.0,)) if self.data > 0 else Value(0.0, (self,), (1.0,))",
        why="A comparison turned round, or the 0 and the 1 exchanged. The values stay right; here the layer before "
            "relu gets no gradient from its active neurons, and a wrong one from the silent.",
        find="Compare the slope of relu with central differences at 2 and at -2.",
    ),
    Bug(
        name="relu turned round",
        title="relu passes negative numbers and stops positive ones",
        group="autograd",
        right="(1.0,)) if self.data > 0",
        wrong="(1.0,)) if self.data < 0",
        why="A comparison turned round. The result is still bent at 0, so the model trains; its hidden numbers are "
            "all zero or negative.",
        find="relu of 6 is 6, and of -4 it is 0.",
    ),
    Bug(
        name="a missing +=",
        title="backward sets the gradient instead of adding to it",
        group="autograd",
        right="child.grad += local_grad * grad",
        wrong="child.grad = local_grad * grad",
        why="With `=` the last effect of a number overwrites the others. A chain in which each value is used once "
            "comes out right, and so do most first tests; in a GPT nearly everything is used more than once.",
        find="The slope of a * a + a at 3 is 7.",
    ),
    Bug(
        name="backward in the wrong order",
        title="the tape is walked from the front",
        group="autograd",
        right="nodes = Value.tape[::-1]  #",
        wrong="nodes = Value.tape[:]  #",
        why="Without `[::-1]` every node but the loss passes on its gradient before it has received any.",
        find="After one backward, count the parameters whose gradient is not 0.",
    ),
    Bug(
        name="the tape never cleared",
        title="backward leaves the graph behind, and the next one walks through it again",
        group="autograd",
        right="local_grad * grad\n"
              "        Value.tape.clear()\n",
        wrong="local_grad * grad\n",
        why="The graph of each step must be given up. Here it stays, with the gradients it had: each step is slower "
            "than the one before, and passes old gradients on once more.",
        find="Watch memory and time per step, which must not grow; or compare the gradients of the second step.",
        steps=20,
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Vector functions
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="slopes of dot swapped",
        title="the slopes of a dot product are in the order of the children",
        group="vectors",
        right="row + x, x_data + row_data)",
        wrong="row + x, row_data + x_data)",
        why="The mistake of the product again: the slope in a factor is the other factor. It hides where a vector is "
            "multiplied by itself, as in rmsnorm.",
        find="Compare the slopes of dot with central differences, for two vectors that differ.",
    ),
    Bug(
        name="the matrix read the other way",
        title="linear multiplies by the columns of a square matrix, not by its rows",
        group="vectors",
        right="    rows = [(row, [weight.data for weight in row]) for row in weights]\n",
        wrong="    weights = list(weights)\n"
              "    if len(weights) == len(x): weights = [list(column) for column in zip(*weights)]\n"
              "    rows = [(row, [weight.data for weight in row]) for row in weights]\n",
        why="Some texts store a matrix [n_in][n_out] and write y = x W; this program stores [n_out][n_in] and writes "
            "y = W x. In a square matrix nothing complains, and training does not mind.",
        find="Multiply a matrix of which you know the product, and which is not symmetric.",
    ),
    Bug(
        name="softmax without the maximum",
        title="the largest score is not taken out before the exponential",
        group="vectors",
        right="largest = max(value.data for value in x)",
        wrong="largest = 0.0",
        why="The formula in the books does not have it. It works until a score passes 709, where math.exp raises "
            "OverflowError (arrays give infinity, and then NaN).",
        find="softmax of (1000, 0) must be (1, 0), and softmax of (-1000, -1000) must be (1/2, 1/2).",
        options=("--temperature", "0.001"),
    ),
    Bug(
        name="slopes of logsumexp not divided",
        title="the slopes of logsumexp are the exponentials, not their shares",
        group="vectors",
        right="[power / total for power",
        wrong="[power for power",
        why="The derivative was taken of the sum and not of its logarithm. The slopes then do not sum to 1: the wrong "
            "letters are pushed down too hard, and the right one is not pulled up once it is likely.",
        find="The slopes of logsumexp are softmax: they must sum to 1.",
    ),
    Bug(
        name="epsilon outside the root",
        title="rmsnorm adds epsilon after the root, where it protects nothing",
        group="vectors",
        right="(dot(x, x) / len(x) + epsilon) ** -0.5",
        wrong="(dot(x, x) / len(x)) ** -0.5 + epsilon",
        why="A bracket in the wrong place. For ordinary vectors the result hardly differs; a vector of zeros is "
            "divided by zero.",
        find="rmsnorm of a vector of zeros must be zeros.",
    ),
    Bug(
        name="sum of squares for their mean",
        title="rmsnorm divides by the length of the vector",
        group="vectors",
        right="dot(x, x) / len(x) + epsilon",
        wrong="dot(x, x) + epsilon",
        why="The word root-mean-square has a mean in it. Without it everything comes out smaller by the root of n.",
        find="The mean square of what rmsnorm returns must be 1.",
    ),
    Bug(
        name="rmsnorm takes the mean away",
        title="the mean is subtracted, as LayerNorm does",
        group="vectors",
        right="    return [value * scale for value in x]\n",
        wrong="    mean = sum(x) / len(x)\n    return [(value - mean) * scale for value in x]\n",
        why="The two norms are easily mixed up. LayerNorm removes the mean and divides by the standard deviation; "
            "RMSNorm leaves the mean where it is.",
        find="rmsnorm of (3, 3, 3, 3) is (1, 1, 1, 1), not zeros.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Parameters
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="all weights equal",
        title="every weight starts at the same number",
        group="parameters",
        right="Value(rng.gauss(0, config.weight_std))",
        wrong="Value(config.weight_std)",
        why="A constant seems as good a start as any. But neurons that start equal get equal gradients and stay "
            "equal for ever: a wide layer is then one neuron.",
        find="The first loss is exactly ln(vocab_size), to every digit. Count the different weights of a matrix.",
    ),
    Bug(
        name="weights too large",
        title="the weights are drawn with a standard deviation of 1",
        group="parameters",
        right="Value(rng.gauss(0, config.weight_std))",
        wrong="Value(rng.gauss(0, 1))",
        why="1 is what a library's randn gives. The untrained model is then very sure of very wrong answers.",
        find="The first loss must be near ln(vocab_size), the loss of guessing evenly.",
    ),
    Bug(
        name="weights drawn in another order",
        title="lm_head is drawn before wpe",
        group="parameters",
        right='("wpe", config.block_size, n), ("lm_head", vocab_size, n)]',
        wrong='("lm_head", vocab_size, n), ("wpe", config.block_size, n)]',
        why="The order of the matrices seems to be a matter of taste. It is, but for one thing: the same seed no "
            "longer gives the same model, and nothing can be compared number by number.",
        find="Compare the first weights of each matrix with those of a program you trust, at the same seed.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Embedding
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="no positions",
        title="the position embedding is not added",
        group="embedding",
        right='add(state_dict["wte"][token_id], state_dict["wpe"][position])',
        wrong='state_dict["wte"][token_id]',
        why="The line was forgotten. One layer of attention then sees which letters came before and how many of "
            "each, but not in which order.",
        find="The gradient of wpe must not be 0. Feed one token again and again: its logits must change.",
    ),
    Bug(
        name="every position the same",
        title="each token gets the embedding of position 0",
        group="embedding",
        right='state_dict["wpe"][position]',
        wrong='state_dict["wpe"][0]',
        why="Written while only one token was tried, and never changed. Something is added, but always the same.",
        find="The gradient of each row of wpe: a position that occurs must have one.",
    ),
    Bug(
        name="position one too far",
        title="the first token gets position 1, and the last one wraps round",
        group="embedding",
        right='state_dict["wpe"][position]',
        wrong='state_dict["wpe"][(position + 1) % config.block_size]',
        why="The position was taken after it had been counted up, and an index error at the end was cured with a "
            "remainder. A model trained so works as well as the right one, until its weights meet another program.",
        find="Compare the logits with a program you trust on the same weights. Row 0 of wpe must get a gradient.",
    ),
    Bug(
        name="no first norm",
        title="the sum of the embeddings is not normalised",
        group="embedding",
        right='x = rmsnorm(add(state_dict["wte"][token_id], state_dict["wpe"][position]))',
        wrong='x = add(state_dict["wte"][token_id], state_dict["wpe"][position])',
        why="A line was left out. The blocks normalise their own input, so nothing breaks; but the residual stream "
            "starts small, and what the layers add weighs more than it should.",
        find="Print the mean square of x before the first layer: it must be nearly 1.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Attention
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="no norm before attention",
        title="attention reads the residual stream and not its normalised copy",
        group="attention",
        right="normed = rmsnorm(x)",
        wrong="normed = x",
        why="In the first layer x has just been normalised, so almost nothing can be seen there. In deeper layers the "
            "stream has grown, and the scores grow with it.",
        find="Compare the logits of a model of two layers with a program you trust.",
        options=("--n-layer", "2"),
    ),
    Bug(
        name="query and key swapped",
        title="the query is computed with attn_wk, and the key with attn_wq",
        group="attention",
        right='for name in "qkv")',
        wrong='for name in "kqv")',
        why="The two look alike, and a model trained from the start only gives the matrices each other's work. It "
            "matters as soon as weights come from elsewhere.",
        find="Compare the logits with a program you trust on the same weights, from the second position on.",
    ),
    Bug(
        name="query and key the same",
        title="the query is computed with attn_wk, as the key is",
        group="attention",
        right='for name in "qkv")',
        wrong='for name in "kkv")',
        why="One wrong letter of three. What one position thinks of another is then what the other thinks of it, and "
            "attn_wq is never used.",
        find="The gradient of attn_wq is 0 everywhere.",
    ),
    Bug(
        name="value from the key's matrix",
        title="the value is computed with attn_wk",
        group="attention",
        right='for name in "qkv")',
        wrong='for name in "qkk")',
        why="One wrong letter of three. What is looked for and what is handed over are then the same, and attn_wv is "
            "never used.",
        find="The gradient of attn_wv is 0 everywhere.",
    ),
    Bug(
        name="own key not in the cache",
        title="a token cannot look at itself (but for the first)",
        group="attention",
        right="for k in keys[layer]])  # [position + 1]\n"
              "            attn_weights = softmax([score / head_dim**0.5 for score in scores])  # [position + 1]\n"
              "            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer]])))",
        wrong="for k in keys[layer][:-1] or keys[layer]])  # [position + 1]\n"
              "            attn_weights = softmax([score / head_dim**0.5 for score in scores])  # [position + 1]\n"
              "            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer][:-1] or "
              "values[layer]])))",
        why="The scores are computed before the token's own key and value are appended, and the empty cache at "
            "position 0 is treated as a special case.",
        find="At the second position a head must have two weights.",
    ),
    Bug(
        name="mask reversed",
        title="a token sees itself and nothing before it",
        group="attention",
        right="for k in keys[layer]])  # [position + 1]\n"
              "            attn_weights = softmax([score / head_dim**0.5 for score in scores])  # [position + 1]\n"
              "            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in values[layer]])))",
        wrong="for k in keys[layer][position:]])  # [position + 1]\n"
              "            attn_weights = softmax([score / head_dim**0.5 for score in scores])  # [position + 1]\n"
              "            attn_out += linear(attn_weights, map(list, zip(*[v[part] for v in "
              "values[layer][position:]])))",
        why="A mask has two triangles, and the wrong one was taken. With a cache there is nothing after the token, "
            "so what remains is the token itself: the model knows one letter and its place.",
        find="Change the first token: the logits at every later position must change.",
    ),
    Bug(
        name="softmax over the wrong axis",
        title="the scores are normalised over the heads and not over the positions",
        group="attention",
        right="            attn_weights = softmax([score / head_dim**0.5 for score in scores])",
        wrong="            parts = [slice(i, i + head_dim) for i in range(0, config.n_embd, head_dim)]\n"
              "            attn_weights = [softmax([dot(q[p], k[p]) / head_dim**0.5 for p in parts])[head]\n"
              "                            for k in keys[layer]]",
        why="With arrays it is one digit, axis=0 for axis=-1. The weights of a position then sum to 1 over the "
            "heads, and those of a head sum to anything.",
        find="At the first position a head has one weight, and it must be 1.",
    ),
    Bug(
        name="cache shared between layers",
        title="all layers append their keys to the cache of the first",
        group="attention",
        right="keys.setdefault(layer, []).append(k)",
        wrong="keys.setdefault(0, []).append(k)",
        why="Written while the model had one layer, where it is right. With two, the second layer finds no keys of "
            "its own in the cache, which is a KeyError.",
        find="Run a model of two layers. One layer does not show it.",
        options=("--n-layer", "2"),
    ),
    Bug(
        name="one list for all layers",
        title="the cache is made with dict.fromkeys(layers, []): the same list for every layer",
        group="attention",
        right="        keys.setdefault(layer, []).append(k)\n"
              "        values.setdefault(layer, []).append(v)\n",
        wrong="        for cache, vector in ((keys, k), (values, v)):\n"
              "            if not cache: cache.update(dict.fromkeys(range(config.n_layer), []))\n"
              "            cache[layer].append(vector)\n",
        why="dict.fromkeys gives every key the very same list, as [[]] * n_layer would hold one list n_layer times. "
            "Every layer appends to it, keys to keys and values to values. With one layer nothing is wrong.",
        find="Append to the list of one layer and look at that of another.",
        options=("--n-layer", "2"),
    ),
    Bug(
        name="gradient cut at the cache",
        title="the cache keeps the numbers of the keys and not the keys themselves",
        group="attention",
        right="keys.setdefault(layer, []).append(k)",
        wrong="keys.setdefault(layer, []).append([Value(number.data) for number in k])",
        why="When sampling, only the numbers matter, and a cache written for sampling was used for training. The "
            "forward pass is right to the last digit; attn_wk never learns.",
        find="The gradient of attn_wk is 0 everywhere.",
    ),
    Bug(
        name="heads sliced wrongly",
        title="head h begins at number h and not at h * head_dim",
        group="attention",
        right="slice(head * head_dim, (head + 1) * head_dim)",
        wrong="slice(head, head + head_dim)",
        why="The number of the head was taken for the place where it begins. The slices overlap, and the last "
            "numbers of q, k and v belong to no head.",
        find="Change one row of attn_wv after the other: each must change the logits.",
    ),
    Bug(
        name="one head used for all",
        title="every head reads the slice of head 0",
        group="attention",
        right="slice(head * head_dim, (head + 1) * head_dim)",
        wrong="slice(0, head_dim)",
        why="Written for one head, then put into a loop. All heads compute the same, and most of q, k and v is never "
            "used.",
        find="Change a row of attn_wv that belongs to the last head: the logits must change.",
    ),
    Bug(
        name="scores not divided",
        title="the scores are not divided by the root of head_dim",
        group="attention",
        right="softmax([score / head_dim**0.5 for score in scores])",
        wrong="softmax(scores)",
        why="The scale was forgotten. It keeps the scores of wide heads from growing; these heads are narrow, and "
            "training makes up for it.",
        find="Compare the logits with a program you trust on the same weights.",
    ),
    Bug(
        name="scores divided by head_dim",
        title="the scores are divided by head_dim, not by its root",
        group="attention",
        right="score / head_dim**0.5 for",
        wrong="score / head_dim for",
        why="The root was forgotten, or the division was made in the query and again in the score.",
        find="Compare the logits with a program you trust on the same weights.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # The layer around them
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="no residual around attention",
        title="attention replaces the residual stream instead of adding to it",
        group="layer",
        right='x = add(x, linear(attn_out, state_dict[f"layer{layer}.attn_wo"]))',
        wrong='x = linear(attn_out, state_dict[f"layer{layer}.attn_wo"])',
        why="The output of attention looks like the thing to pass on. Without the sum the token itself is lost but for "
            "what attention carries over, and the gradient has no direct way back.",
        find="With attn_wo all zero, the logits must still depend on the token.",
    ),
    Bug(
        name="no residual around the MLP",
        title="the MLP replaces the residual stream instead of adding to it",
        group="layer",
        right='x = add(x, linear(hidden, state_dict[f"layer{layer}.mlp_fc2"]))',
        wrong='x = linear(hidden, state_dict[f"layer{layer}.mlp_fc2"])',
        why="The output of the MLP looks like the thing to pass on. But what the stream held before it is then lost.",
        find="With mlp_fc2 all zero, the logits must still depend on the token.",
    ),
    Bug(
        name="residual added after the norm",
        title="attention is added to the normalised copy of x and not to x",
        group="layer",
        right="x = add(x, linear(attn_out,",
        wrong="x = add(normed, linear(attn_out,",
        why="The variable that is at hand is the normalised one. In the first layer the two are all but equal; in "
            "deeper ones the stream is scaled back each time.",
        find="Compare the logits of a model of two layers with a program you trust.",
        options=("--n-layer", "2"),
    ),
    Bug(
        name="no norm before the MLP",
        title="the MLP reads the residual stream and not its normalised copy",
        group="layer",
        right="linear(rmsnorm(x), state_dict",
        wrong="linear(x, state_dict",
        why="The norm before attention was written, and the second forgotten. The stream has a mean square near 1 "
            "anyway in a model of one layer.",
        find="Compare the logits with a program you trust on the same weights.",
    ),
    Bug(
        name="no relu",
        title="the MLP is two matrices with nothing between",
        group="layer",
        right="[y.relu() for y in",
        wrong="[y for y in",
        why="The call was left out. Two linear maps in a row are one: the wide layer is for nothing.",
        find="Multiply mlp_fc1 by -1 and mlp_fc2 too: without relu the logits do not change.",
    ),
    Bug(
        name="relu after the second matrix too",
        title="what the MLP adds to the stream can never be negative",
        group="layer",
        right='x = add(x, linear(hidden, state_dict[f"layer{layer}.mlp_fc2"]))',
        wrong='x = add(x, [y.relu() for y in linear(hidden, state_dict[f"layer{layer}.mlp_fc2"])])',
        why="A layer and its activation come in pairs in many drawings, so the second matrix got one as well. The "
            "MLP can then only add, and half of its outputs get no gradient.",
        find="Compare the logits with a program you trust on the same weights.",
    ),
    Bug(
        name="softmax in the model and in the loss",
        title="the model returns probabilities, and the loss takes them for logits",
        group="layer",
        right='return linear(x, state_dict["lm_head"])',
        wrong='return softmax(linear(x, state_dict["lm_head"]))',
        why="A model ends in softmax in many drawings, and a loss that takes logits does it again. Numbers from 0 to "
            "1 are a flat softmax: even a certain and right model keeps a high loss.",
        find="The loss falls, but stays far above what it should reach. Do the model's outputs sum to 1?",
    ),
    Bug(
        name="a norm before lm_head",
        title="the residual stream is normalised once more at the end",
        group="layer",
        right='return linear(x, state_dict["lm_head"])',
        wrong='return linear(rmsnorm(x), state_dict["lm_head"])',
        why="GPT-2 has a last norm, and this program has none. Neither is wrong; but weights of one do not fit the "
            "other.",
        find="Compare the logits with a program you trust on the same weights.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Loss
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="target off by one",
        title="the model is asked for the token it was shown: the targets are not shifted",
        group="loss",
        right="logits[tokens[position + 1]]",
        wrong="logits[tokens[position]]",
        why="Input and target are the same list, and the shift was forgotten. The answer stands in the question, so "
            "the loss falls far below what is possible.",
        find="A loss that is too good is a mistake too. Print question and answer side by side.",
    ),
    Bug(
        name="target two ahead",
        title="the targets are shifted twice: the model is asked for the token after the next",
        group="loss",
        right="logits[tokens[position + 1]]",
        wrong="logits[tokens[min(position + 2, len(tokens) - 1)]]",
        why="The data was shifted when it was prepared, and the loss shifts once more. The model learns to skip a "
            "letter.",
        find="Print question and answer side by side for one document.",
    ),
    Bug(
        name="last position not trained",
        title="the end token is never a target",
        group="loss",
        right="min(config.block_size, len(tokens) - 1)",
        wrong="min(config.block_size, len(tokens) - 2)",
        why="One was taken away twice, once for the shift and once more for safety. The model never learns where a "
            "name ends.",
        find="Count the losses of one document: emma has five. Samples run until the context is full.",
    ),
    Bug(
        name="only the last position trained",
        title="the loss is that of the last position alone",
        group="loss",
        right="return sum(losses) / len(losses)",
        wrong="return losses[-1]",
        why="It is what a classifier of whole texts does. Here each position is a question, and the last one is "
            "always answered by BOS: that is all the model learns.",
        find="The loss falls to almost 0 and every name is empty. Count the losses in the mean: emma has five.",
    ),
    Bug(
        name="sum of losses for their mean",
        title="the loss of a document is the sum over its positions",
        group="loss",
        right="return sum(losses) / len(losses)",
        wrong="return sum(losses)",
        why="The division was forgotten. Long names then count more than short ones, and losses of different names "
            "cannot be compared.",
        find="The first loss must be near ln(vocab_size), not a multiple of it.",
    ),
    Bug(
        name="mean taken twice",
        title="the loss is divided by the number of positions twice",
        group="loss",
        right="return sum(losses) / len(losses)",
        wrong="return sum(losses) / len(losses) / len(losses)",
        why="The mean was taken in the loss and once more by its caller. Adam does not care about the scale of a "
            "gradient, so the model learns almost as if nothing were wrong; the printed figure is too good.",
        find="The first loss must be near ln(vocab_size), not a fraction of it.",
    ),
    Bug(
        name="logarithm to base 2",
        title="the loss is in bits and not in nats",
        group="loss",
        right="position_loss = logsumexp(logits) - logits[tokens[position + 1]]",
        wrong="position_loss = (logsumexp(logits) - logits[tokens[position + 1]]) / math.log(2)",
        why="Both units are in use. The training is the same but for a factor in the gradient, which Adam divides "
            "out; the figure cannot be compared with anyone else's.",
        find="With all weights zero the loss must be ln(vocab_size).",
    ),
    Bug(
        name="mask absent",
        title="the cache is filled ahead: every token sees those after it",
        group="loss",
        right="    keys, values, losses = {}, {}, []\n",
        wrong="    keys, values, losses = {}, {}, []\n"
              "    for ahead, token in enumerate(tokens[: config.block_size]):\n"
              "        gpt_forward(token, ahead, keys, values, state_dict, config)\n",
        why="Keys and values of the whole document are computed first, as one does with arrays, and the mask is "
            "forgotten. The answer stands in the cache, and the model learns to read it there; when sampling it is "
            "not there.",
        find="Change a later token: the loss at earlier positions must not change.",
    ),
    Bug(
        name="cache not cleared between documents",
        title="one cache serves all documents",
        group="loss",
        right="    keys, values, losses = {}, {}, []\n",
        wrong='    keys, values = vars(compute_loss).setdefault("cache", ({}, {}))\n'
              "    losses = []\n",
        why="The cache is made once, outside the function. Each name then sees all the names before it, and each "
            "step is slower than the last.",
        find="Compute the loss of a document twice: the two must be equal.",
        steps=60,
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Optimizer
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="no bias correction",
        title="Adam's means are not corrected for their start at 0",
        group="optimizer",
        right="bias1, bias2 = 1 - beta1**t, 1 - beta2**t",
        wrong="bias1, bias2 = 1, 1",
        why="Two lines of the algorithm that look like decoration. Without them the first steps are too long, as v "
            "is behind m.",
        find="The first step of each parameter must be as long as the learning rate.",
    ),
    Bug(
        name="no bias correction of m",
        title="only the second mean is corrected",
        group="optimizer",
        right="learning_rate * (m[i] / bias1)",
        wrong="learning_rate * m[i]",
        why="One of two similar lines was forgotten. The first steps are too short.",
        find="The first step of each parameter must be as long as the learning rate.",
    ),
    Bug(
        name="the step never counted",
        title="the bias correction is always that of the first step",
        group="optimizer",
        right="        self.t += 1\n",
        wrong="        self.t = 1\n",
        why="The counter is set where it should be counted up. The first step is right; all later ones are corrected "
            "far too much.",
        find="Compare two or three steps of one parameter with a calculation by hand; the first one agrees.",
    ),
    Bug(
        name="no square root in Adam",
        title="the step is divided by the second moment and not by its root",
        group="optimizer",
        right="(math.sqrt(v[i] / bias2) + eps_adam)",
        wrong="(v[i] / bias2 + eps_adam)",
        why="Then the step is the longer the smaller the gradient is. With the root it would depend on the "
            "gradient's sign and steadiness, and not on its size.",
        find="The first step must be as long as the learning rate whatever the gradient.",
    ),
    Bug(
        name="epsilon inside Adam's root",
        title="epsilon is added under the root",
        group="optimizer",
        right="(math.sqrt(v[i] / bias2) + eps_adam)",
        wrong="math.sqrt(v[i] / bias2 + eps_adam)",
        why="Both forms are found in texts. Under the root 1e-8 acts like 1e-4, so parameters with small gradients "
            "move less.",
        find="Give a parameter a gradient of 1e-5: its first step must still be the learning rate.",
    ),
    Bug(
        name="the betas exchanged",
        title="beta1 is used for the squares, and beta2 for the gradients",
        group="optimizer",
        right="beta1, beta2, eps_adam = ",
        wrong="beta2, beta1, eps_adam = ",
        why="Two numbers below 1 with names that differ in one digit. The momentum then lasts a hundred steps, and "
            "the scale only a few.",
        find="Compare two or three steps of one parameter with a calculation by hand; the first one agrees.",
    ),
    Bug(
        name="Adam skips zero gradients",
        title="a parameter without a gradient is left alone",
        group="optimizer",
        right="            grad = parameter.grad\n",
        wrong="            grad = parameter.grad\n            if grad == 0.0: continue\n",
        why="It looks like time saved. But such a parameter still moves by momentum, and its means must fade.",
        find="Give one parameter a gradient, then none: it must move at the second step too.",
    ),
    Bug(
        name="gradients never set to 0",
        title="the gradients of all steps add up",
        group="optimizer",
        right="            parameter.grad = 0.0\n",
        wrong="",
        why="backward adds to the gradients, and nobody clears them. It works for a while, as old gradients point "
            "roughly the same way, and then it does not.",
        find="After a step every gradient must be 0. Do a step with two documents and compare the second gradient.",
    ),
    Bug(
        name="uphill",
        title="the parameters move with the gradient",
        group="optimizer",
        right="parameter.data -= (learning_rate",
        wrong="parameter.data += (learning_rate",
        why="A sign: plus where minus should be. Every step makes the loss larger.",
        find="The loss after one small step on the same document must be lower.",
    ),
    Bug(
        name="the optimizer holds copies",
        title="the optimizer moves numbers that the model does not use",
        group="optimizer",
        right="parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]",
        wrong="parameters = [Value(weight.data) for matrix in state_dict.values() for row in matrix for weight in row]",
        why="The list of parameters is made from copies, or before the weights are loaded. Everything runs, and "
            "nothing changes.",
        find="Print one weight before and after a step.",
    ),
    Bug(
        name="embeddings not trained",
        title="the optimizer is given only the matrices of the layers, not the embeddings and not lm_head",
        group="optimizer",
        right="parameters = [weight for matrix in state_dict.values() for row in matrix for weight in row]",
        wrong='parameters = [weight for name, matrix in state_dict.items() if "layer" in name\n'
              "                      for row in matrix for weight in row]",
        why="The list of parameters was written before the embeddings and lm_head were. The layers do what they can "
            "between random vectors.",
        find="Which parameters have changed after a step? Every group must.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Training
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="a stale gradient",
        title="the update comes before backward, and uses the gradient of the document before",
        group="training",
        right="    loss.backward()\n    optimizer.step(learning_rate)\n",
        wrong="    optimizer.step(learning_rate)\n    loss.backward()\n",
        why="Two lines exchanged. Each step goes where the last document pointed, which is a fair direction too.",
        find="After a step every gradient must be 0, and the first step must change the weights.",
    ),
    Bug(
        name="gradients cleared too early",
        title="the gradients are set to 0 between backward and the update",
        group="training",
        right="    loss.backward()\n    optimizer.step(learning_rate)\n",
        wrong="    loss.backward()\n    for parameter in optimizer.parameters: parameter.grad = 0.0\n"
              "    optimizer.step(learning_rate)\n",
        why="Clearing belongs before backward or after the update. Between the two it wipes out what was just "
            "computed.",
        find="Print one weight before and after a step.",
    ),
    Bug(
        name="the learning rate rises",
        title="the rate grows over the run instead of falling",
        group="training",
        right="(1 - (t - 1) / config.num_steps)",
        wrong="(1 + (t - 1) / config.num_steps)",
        why="A sign. At the end, where the steps should be the finest, they are twice as long as at the start.",
        find="Print the learning rate of the first and the last step.",
    ),
    Bug(
        name="the learning rate never falls",
        title="the rate is the same at all steps",
        group="training",
        right="config.learning_rate * (1 - (t - 1) / config.num_steps)",
        wrong="config.learning_rate",
        why="The schedule was left out. The model learns, but never comes to rest, and the last names count the most.",
        find="Print the learning rate of the first and the last step.",
    ),
    Bug(
        name="always the first document",
        title="every step trains on the same document",
        group="training",
        right="documents[(first_step + t - 1) % len(documents)]",
        wrong="documents[0]",
        why="One document was used to see whether it can be learnt by heart, as one should, and then left in.",
        find="A loss that is too good is a mistake too: it goes to 0, and every sample is the same name.",
    ),
    # ------------------------------------------------------------------------------------------------------------------
    # Sampling
    # ------------------------------------------------------------------------------------------------------------------
    Bug(
        name="temperature multiplied",
        title="the logits are multiplied by the temperature",
        group="sampling",
        right="[logit / (config.temperature or 1e-9) for logit in logits]",
        wrong="[logit * config.temperature for logit in logits]",
        why="Cold then means wild. At a temperature of 1 nothing can be seen.",
        find="At a temperature near 0 every sample must be the same.",
    ),
    Bug(
        name="temperature on the probabilities",
        title="the temperature divides the probabilities and not the logits",
        group="sampling",
        right="softmax([logit / (config.temperature or 1e-9) for logit in logits])",
        wrong="[p / (config.temperature or 1e-9) for p in softmax(logits)]",
        why="Only proportions matter when drawing, so dividing all probabilities by one number changes nothing: the "
            "temperature has no effect.",
        find="At a temperature near 0 every sample must be the same.",
    ),
    Bug(
        name="sampling from logits",
        title="the logits themselves are used as weights for the draw",
        group="sampling",
        right="softmax([logit / (config.temperature or 1e-9) for logit in logits])",
        wrong="[logit / (config.temperature or 1e-9) for logit in logits]",
        why="softmax was forgotten. Logits may be negative, which no probability is; random.choices does not check "
            "each weight, and draws nonsense or raises ValueError.",
        find="Print the numbers that go into the draw: none may be negative, and they must sum to 1.",
    ),
    Bug(
        name="always the most likely token",
        title="the largest probability is taken and nothing is drawn",
        group="sampling",
        right="tokens += rng.choices(range(len(logits)), weights=[p.data for p in probabilities])",
        wrong="tokens.append(max(range(len(logits)), key=lambda token: probabilities[token].data))",
        why="It seems the best choice. But with the same beginning there is then only one end: all samples are one "
            "name.",
        find="Sample ten times at a temperature of 1: the names must differ.",
    ),
    Bug(
        name="drawn without the seed",
        title="tokens are drawn with another generator than the seeded one",
        group="sampling",
        right="tokens += rng.choices(",
        wrong="tokens += random.choices(",
        why="The random module has a generator of its own, which nobody seeded. The losses can be repeated, the "
            "names cannot.",
        find="Sample twice with the same seed: the names must be equal.",
    ),
    Bug(
        name="a name never ends",
        title="BOS is drawn and does not stop the name",
        group="sampling",
        right="        if tokens[-1] == bos: break\n",
        wrong="",
        why="The condition was forgotten. The next name begins inside the old one, until the context is full.",
        find="Sample from a model that has learnt short names, and look at the lengths.",
    ),
    Bug(
        name="one letter too few",
        title="the last place of the context is not used",
        group="sampling",
        right="    for position in range(config.block_size):\n        logits",
        wrong="    for position in range(config.block_size - 1):\n        logits",
        why="One was taken away for the BOS at the beginning, which is already counted.",
        find="Sample from a model that never ends: a name must have block_size letters.",
        options=("--temperature", "5"),
    ),
    Bug(
        name="the context limit forgotten",
        title="sampling goes on past block_size",
        group="sampling",
        right="    for position in range(config.block_size):\n        logits",
        wrong="    for position in range(1000):\n        logits",
        why="A well trained model ends its names early, so the limit seems not to be needed. The first long one asks "
            "for a position that has no embedding.",
        find="Sample from a model that never ends: it must stop after block_size letters, without an error.",
        options=("--temperature", "5"),
    ),
    Bug(
        name="the context wraps round",
        title="past block_size the positions start again, and names become too long",
        group="sampling",
        right="    for position in range(config.block_size):\n"
              "        logits = gpt_forward(tokens[position], position, keys,",
        wrong="    for position in range(4 * config.block_size):\n"
              "        logits = gpt_forward(tokens[position], position % config.block_size, keys,",
        why="An index error was cured with a remainder. The cache goes on growing, with several tokens at a position.",
        find="Sample from a model that never ends: it must stop after block_size letters.",
        options=("--temperature", "5"),
    ),
    Bug(
        name="sampling at position 0",
        title="when sampling, every token is said to stand at position 0",
        group="sampling",
        right="gpt_forward(tokens[position], position, keys, values, state_dict, config)\n"
              "        if",
        wrong="gpt_forward(tokens[position], 0, keys, values, state_dict, config)\n"
              "        if",
        why="Training and sampling have a loop each, and the second was written in a hurry. The loss is right; only "
            "the names are worse than they could be.",
        find="Compare the probabilities in sampling with those of the training loop, on the same tokens.",
    ),
    Bug(
        name="sampling leaves its graph behind",
        title="the tape is not cleared after a sample",
        group="sampling",
        right="    Value.tape.clear()  # nothing here is differentiated\n",
        wrong="",
        why="Nothing is differentiated when sampling, but the Values are recorded all the same. Memory grows with "
            "each name.",
        find="Look at the length of the tape after a sample.",
        steps=50,
    ),
]

GROUPS = list(dict.fromkeys(bug.group for bug in BUGS))
