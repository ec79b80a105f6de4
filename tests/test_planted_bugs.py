"""Do the tests of Value and of the model catch mistakes? Each bug of the library (labs/bugs) is planted in a copy of
the refactored script, and at least one of those tests must fail on the copy. On the script as it is, all pass.
Without ALL_FIGURES every third bug is planted."""
import inspect
import os

import helpers
import pytest
import test_model
import test_value

from labs.bugs import library

BUGS = {bug.name: (bug.right, bug.wrong) for bug in library.BUGS}
CHECKS = [function for module in (test_model, test_value) for name, function in vars(module).items()
          if name.startswith("test_")]
# The comparison with the textbook form catches most, and quickly; the gradient of every parameter takes the longest.
CHECKS.sort(key=lambda check: ("textbook" not in check.__name__, "every_parameter" in check.__name__))


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
            except (Exception, SystemExit, pytest.fail.Exception):  # the last: pytest.raises saw no error
                failed.append(check.__name__)
        if failed:
            return failed
    return failed


def test_the_script_as_it_is_passes():
    assert run_checks(helpers.load("script_gpt_refactored")) == []


@pytest.mark.parametrize("bug", list(BUGS)[:: 1 if os.environ.get("ALL_FIGURES") else 3])
def test_a_planted_bug_is_caught(bug):
    right, wrong = BUGS[bug]
    assert helpers.source("script_gpt_refactored").count(right) == 1, "the patch must apply exactly once"
    assert run_checks(helpers.load("script_gpt_refactored", right, wrong)) != []
