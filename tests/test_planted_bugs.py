"""Do the tests of Value and of the model catch mistakes? Each bug here is planted in a copy of the refactored script,
and at least one of those tests must fail on the copy. On the script as it is, all of them pass."""
import inspect

import helpers
import pytest
import test_model
import test_value

BUGS = {
    "a sign: a - b is a + b": ("return self + -other", "return self + other"),
    "a sign: gradient of the wrong direction": ("def __neg__(self) -> Value:\n        return self * -1.0",
                                                "def __neg__(self) -> Value:\n        return self * 1.0"),
    "slopes of * swapped": ("(self, other), (other.data, self.data))", "(self, other), (self.data, other.data))"),
    "the power not reduced by one": ("exponent * math.pow(self.data, exponent - 1)",
                                     "exponent * math.pow(self.data, exponent)"),
    "relu slope inverted": ("(1.0,)) if self.data > 0", "(1.0,)) if self.data < 0"),
    "a missing +=": ("child.grad += local_grad * grad", "child.grad = local_grad * grad"),
    "backward in the wrong order": ("for node in reversed(Value.tape):  #", "for node in Value.tape:  #"),
    "the tape never cleared": ("        Value.tape.clear()\n\n\n# ===", "\n\n# ==="),
    "slopes of dot swapped": ("(*a, *b), (*b_data, *a_data))", "(*a, *b), (*a_data, *b_data))"),
    "softmax without the maximum": ("largest = max(value.data for value in x)", "largest = 0.0"),
    "slopes of logsumexp not divided": ("[exponential / total for exponential", "[exponential for exponential"),
    "epsilon outside the root": ("(dot(x, x) / len(x) + epsilon) ** -0.5", "(dot(x, x) / len(x)) ** -0.5 + epsilon"),
    "sum of squares for their mean": ("dot(x, x) / len(x) + epsilon", "dot(x, x) + epsilon"),
    "all weights equal": ("Value(rng.gauss(0, config.weight_std))", "Value(config.weight_std)"),
    "weights drawn in another order": ('"wpe": (config.block_size, n_embd), "lm_head": (vocab_size, n_embd)}',
                                       '"lm_head": (vocab_size, n_embd), "wpe": (config.block_size, n_embd)}'),
    "no positions": ("x = [t + p for t, p in zip(token_embedding, position_embedding)]", "x = list(token_embedding)"),
    "every position the same": ('state_dict["wpe"][position]', 'state_dict["wpe"][0]'),
    "no first norm": ("    x = rmsnorm(x)\n\n    for layer", "\n    for layer"),
    "no norm before the MLP": ("        normed = rmsnorm(x)  # [n_embd]\n        hidden",
                               "        normed = x\n        hidden"),
    "query and key the same": ('q = linear(normed, state_dict[f"layer{layer}.attn_wq"])',
                               'q = linear(normed, state_dict[f"layer{layer}.attn_wk"])'),
    "own key not in the cache": ("keys[layer]]  # [position + 1][head_dim]\n"
                                 "            v_head = [value[head_slice] for value in values[layer]]",
                                 "keys[layer][:-1] or keys[layer]]\n"
                                 "            v_head = [value[head_slice] for value in values[layer][:-1] or "
                                 "values[layer]]"),
    "cache shared between layers": ("        keys[layer].append(k)", "        keys[0].append(k)"),
    "one head used for all": ("slice(head * config.head_dim, (head + 1) * config.head_dim)",
                              "slice(0, config.head_dim)"),
    "scores not divided": ("dot(q_head, key) / config.head_dim**0.5", "dot(q_head, key)"),
    "scores divided by head_dim": ("config.head_dim**0.5 for", "config.head_dim for"),
    "no residual around attention": ("x = [residual + new for residual, new in zip(x, attn_proj)]", "x = attn_proj"),
    "no residual around the MLP": ("x = [residual + new for residual, new in zip(x, mlp_out)]", "x = mlp_out"),
    "no relu": ("[neuron.relu() for neuron in", "[neuron for neuron in"),
    "target off by one": ("target = tokens[position + 1]", "target = tokens[position]"),
    "last position not trained": ("min(config.block_size, len(tokens) - 1)", "min(config.block_size, len(tokens) - 2)"),
    "sum of losses for their mean": ("return sum(losses) / len(losses)", "return sum(losses)"),
    "no bias correction": ("bias1, bias2 = 1.0 - beta1**self.t, 1.0 - beta2**self.t", "bias1, bias2 = 1.0, 1.0"),
    "no bias correction of m": ("m_hat = m[i] / bias1", "m_hat = m[i]"),
    "no square root in Adam": ("m_hat / (sqrt(v_hat) + eps)\n", "m_hat / (v_hat + eps)\n"),
    "Adam skips zero gradients": ("            grad = parameter.grad\n",
                                  "            grad = parameter.grad\n            if grad == 0.0: continue\n"),
    "gradients never set to 0": ("            parameter.grad = 0.0\n", ""),
    "uphill": ("parameter.data -= learning_rate", "parameter.data += learning_rate"),
    "the learning rate rises": ("(1 - steps_taken / config.num_steps)", "(1 + steps_taken / config.num_steps)"),
    "always the first document": ("documents[(first_step + steps_taken) % len(documents)]", "documents[0]"),
    "temperature multiplied": ("[logit / config.temperature for logit in logits]",
                               "[logit * config.temperature for logit in logits]"),
    "a name never ends": ("        if token == tokenizer.bos:\n            break\n", ""),
    "one letter too few": ("    for position in range(config.block_size):\n        logits",
                           "    for position in range(config.block_size - 1):\n        logits"),
    "no closing BOS": ("for character in text] + [self.bos]", "for character in text]"),
}
CHECKS = [function for module in (test_model, test_value) for name, function in vars(module).items()
          if name.startswith("test_")]
# The comparison with the textbook form catches most, and quickly.
CHECKS.sort(key=lambda check: "textbook" not in check.__name__)


def run_checks(module):
    """Runs every test that wants nothing but the script under test. Returns the names of those that fail."""
    failed = []
    for check in CHECKS:
        wanted = list(inspect.signature(check).parameters)
        if wanted not in (["engine"], ["gpt"], ["engine", "name"]):
            continue
        for name in check.pytestmark[0].args[1] if "name" in wanted else [None]:
            module.Value.tape.clear()
            try:
                check(module, name) if name else check(module)
            except pytest.fail.Exception:  # pytest.raises saw no error
                failed.append(check.__name__)
            except Exception:
                failed.append(check.__name__)
        if failed:
            return failed
    return failed


def test_the_script_as_it_is_passes():
    assert run_checks(helpers.load("script_gpt_refactored")) == []


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug):
    right, wrong = BUGS[bug]
    assert helpers.source("script_gpt_refactored").count(right) == 1, "the patch must apply exactly once"
    assert run_checks(helpers.load("script_gpt_refactored", right, wrong)) != []
