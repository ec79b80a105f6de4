"""Bugs of the library planted in script_gpt.py, whose lines are others: name -> (right text, wrong text). Those whose
text is the same in both scripts are not repeated here."""
ATTENTION_WEIGHTS = "attn_weights = softmax([dot(q[head], key[head]) / head_dim**0.5 for key in keys[layer]])"
RESIDUAL_ATTENTION = ('x = [residual + new for residual, new in zip(x, linear(attn_out, '
                      'state_dict[f"layer{layer}.attn_wo"]))]')
PATCHES = {
    "token ids from 1": ("*map(vocabulary.index, text)", "*(vocabulary.index(c) + 1 for c in text)"),
    "no closing BOS": ("*map(vocabulary.index, text), len(vocabulary)]", "*map(vocabulary.index, text)]"),
    "a sign: gradient of the wrong direction": ("return self * -1.0", "return self * 1.0"),
    "the tape never cleared": ("        Value.tape.clear()\n\n# Vector", "\n# Vector"),
    "all weights equal": ("Value(rng.gauss(0, WEIGHT_STD))", "Value(WEIGHT_STD)"),
    "weights too large": ("Value(rng.gauss(0, WEIGHT_STD))", "Value(rng.gauss(0, 1))"),
    "weights drawn in another order": ('"wpe": (config.block_size, n), "lm_head": (vocab_size, n)}',
                                       '"lm_head": (vocab_size, n), "wpe": (config.block_size, n)}'),
    "no positions": ("[t + p for t, p in zip", "[t for t, p in zip"),
    "no first norm": ('x = rmsnorm([t + p for t, p in zip(state_dict["wte"][token_id], '
                      'state_dict["wpe"][position])])',
                      'x = [t + p for t, p in zip(state_dict["wte"][token_id], state_dict["wpe"][position])]'),
    "no norm before attention": ("normed = rmsnorm(x)", "normed = x"),
    "query and key swapped": ('("wq", "wk", "wv"))  # [n_embd]', '("wk", "wq", "wv"))  # [n_embd]'),
    "query and key the same": ('("wq", "wk", "wv"))  # [n_embd]', '("wk", "wk", "wv"))  # [n_embd]'),
    "value from the key's matrix": ('("wq", "wk", "wv"))  # [n_embd]', '("wq", "wk", "wk"))  # [n_embd]'),
    "cache shared between layers": ("cache[layer].append(vector)",
                                    "cache[0 if cache is keys else layer].append(vector)"),
    "gradient cut at the cache": ("cache[layer].append(vector)",
                                  "cache[layer].append([Value(n.data) for n in vector] if cache is keys else vector)"),
    "heads sliced wrongly": ("head = slice(start, start + head_dim)",
                             "head = slice(start // head_dim, start // head_dim + head_dim)"),
    "one head used for all": ("head = slice(start, start + head_dim)", "head = slice(0, head_dim)"),
    "mask reversed": (ATTENTION_WEIGHTS + "  # [position + 1]\n"
                      "            attn_out.extend(dot(attn_weights, column) for column in "
                      "zip(*(value[head] for value in values[layer])))",
                      ATTENTION_WEIGHTS.replace("keys[layer]]", "keys[layer][position:]]") + "\n"
                      "            attn_out.extend(dot(attn_weights, column) for column in "
                      "zip(*(value[head] for value in values[layer][position:])))"),
    "scores not divided": ("dot(q[head], key[head]) / head_dim**0.5", "dot(q[head], key[head])"),
    "scores divided by head_dim": ("key[head]) / head_dim**0.5", "key[head]) / head_dim"),
    "no residual around attention": (RESIDUAL_ATTENTION,
                                     'x = linear(attn_out, state_dict[f"layer{layer}.attn_wo"])'),
    "residual added after the norm": (RESIDUAL_ATTENTION, RESIDUAL_ATTENTION.replace("zip(x,", "zip(normed,")),
    "no residual around the MLP": ("x = [residual + new for residual, new in zip(x, linear([hidden[i] for i in "
                                   "active], fc2))]", "x = linear([hidden[i] for i in active], fc2)"),
    "no norm before the MLP": ("linear(rmsnorm(x), state_dict", "linear(x, state_dict"),
    "relu after the second matrix too": ("zip(x, linear([hidden[i] for i in active], fc2))]",
                                         "zip(x, [n.relu() for n in linear([hidden[i] for i in active], fc2)])]"),
    "softmax in the model and in the loss": ('return linear(x, state_dict["lm_head"])',
                                             'return softmax(linear(x, state_dict["lm_head"]))'),
    "a norm before lm_head": ('return linear(x, state_dict["lm_head"])',
                              'return linear(rmsnorm(x), state_dict["lm_head"])'),
    "target off by one": ("logits[tokens[position + 1]])", "logits[tokens[position]])"),
    "target two ahead": ("logits[tokens[position + 1]])", "logits[tokens[min(position + 2, len(tokens) - 1)]])"),
    "logarithm to base 2": ("losses.append(logsumexp(logits) - logits[tokens[position + 1]])",
                            "losses.append((logsumexp(logits) - logits[tokens[position + 1]]) / math.log(2))"),
    "no bias correction": ("bias1, bias2 = 1.0 - BETA1**t, 1.0 - BETA2**t", "bias1, bias2 = 1.0, 1.0"),
    "no bias correction of m": ("(m[i] / bias1)", "m[i]"),
    "the step never counted": ("adam_step(parameters, m, v, step + 1,", "adam_step(parameters, m, v, 1,"),
    "no square root in Adam": ("(sqrt(v[i] / bias2) + EPS_ADAM)", "(v[i] / bias2 + EPS_ADAM)"),
    "epsilon inside Adam's root": ("(sqrt(v[i] / bias2) + EPS_ADAM)", "sqrt(v[i] / bias2 + EPS_ADAM)"),
    "Adam skips zero gradients": ("        m[i] = BETA1",
                                  "        if parameter.grad == 0.0: continue\n        m[i] = BETA1"),
    "gradients never set to 0": ("        parameter.grad = 0.0\n", ""),
    "the learning rate rises": ("(1 - step / config.steps)", "(1 + step / config.steps)"),
    "the learning rate never falls": ("config.learning_rate * (1 - step / config.steps)", "config.learning_rate"),
    "always the first document": ("documents[(first_step + step) % len(documents)]", "documents[0]"),
    "drawn without the seed": ("tokens += rng.choices(", "tokens += random.choices("),
    "a name never ends": ("        if tokens[-1] == len(vocabulary): break\n", ""),
    "sampling at position 0": ("gpt_forward(tokens[position], position, keys, values, state_dict, config)\n"
                               "        if position + 1 < len(tokens): continue",
                               "gpt_forward(tokens[position], 0, keys, values, state_dict, config)\n"
                               "        if position + 1 < len(tokens): continue"),
}
