"""Bugs of the library planted in script_gpt.py where its lines are others: name -> (right text, wrong text). Those
whose text is the same in both scripts are not repeated here."""
import helpers

VOCABULARY = 'sorted(set("".join(docs)))'
ENCODED = "[bos, *map(vocabulary.index, doc), bos]"
RATE = "config.learning_rate * (1 - (t - 1) / config.steps)"
BACKWARD = "            loss.backward()\n"
CLEAR = "                parameter.grad = 0.0\n"
UPDATE = helpers.source("script_gpt").split(BACKWARD)[1].split("            step += 1\n")[0]
DRAWING = ("        for position in range(config.block_size):\n"
           "            logits = gpt_forward(tokens[position], position, keys,")
PATCHES = {
    "vocabulary from a part of the data": (VOCABULARY, 'sorted(set("".join(docs[: len(docs) * 9 // 10])))'),
    "vocabulary not sorted": (VOCABULARY, 'list(set("".join(docs)))'),
    "documents not shuffled": ("        rng.shuffle(docs)\n", ""),
    "shuffled without the seed": ("        rng.shuffle(docs)\n", "        random.shuffle(docs)\n"),
    "token ids from 1": (ENCODED, "[bos, *(vocabulary.index(c) + 1 for c in doc), bos]"),
    "no closing BOS": (ENCODED, "[bos, *map(vocabulary.index, doc)]"),
    "the step never counted": ("1 - beta1**t, 1 - beta2**t", "1 - beta1, 1 - beta2"),
    "Adam skips zero gradients": ("                grad = parameter.grad\n",
                                  "                grad = parameter.grad\n                if grad == 0.0: continue\n"),
    "gradients never set to 0": (CLEAR, ""),
    "gradients cleared too early": (BACKWARD, BACKWARD
                                    + "            for parameter in parameters: parameter.grad = 0.0\n"),
    "a stale gradient": (BACKWARD + UPDATE, UPDATE + BACKWARD),
    "the learning rate rises": (RATE, RATE.replace("1 -", "1 +", 1)),
    "the learning rate never falls": (RATE, "config.learning_rate"),
    "always the first document": ("documents[step % len(documents)]", "documents[0]"),
    "a name never ends": ("            if tokens[-1] == bos: break\n", ""),
    "one letter too few": (DRAWING, DRAWING.replace("block_size)", "block_size - 1)")),
    "the context limit forgotten": (DRAWING, DRAWING.replace("config.block_size", "1000")),
    "the context wraps round": (DRAWING, DRAWING.replace("config.block_size", "4 * config.block_size").replace(
        "], position,", "], position % config.block_size,")),
    "sampling at position 0": (DRAWING, DRAWING.replace("], position,", "], 0,")),
    "sampling leaves its graph behind": ("        Value.tape.clear()  # nothing here is differentiated\n", ""),
}
