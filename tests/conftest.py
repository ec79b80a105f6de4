import os
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import helpers  # noqa: E402


@pytest.fixture(params=helpers.SCRIPTS, scope="session")
def script(request):
    """The name of each of the three scripts in turn."""
    return request.param


@pytest.fixture(scope="session")
def engine(script):
    """Each of the three as a module, for what all have in common: Value and the vector functions."""
    return helpers.load(script)


@pytest.fixture(params=helpers.SCRIPTS[1:], scope="session")
def gpt(request):
    """The refactored and the educational script as modules: they share every name."""
    return helpers.load(request.param)


@pytest.fixture
def few_names(tmp_path):
    """A small data file."""
    path = tmp_path / "few.txt"
    path.write_text("emma\nolivia\nava\nnoah\nliam\nzoe\nmia\nivan\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def default_run():
    """What the educational script prints on names.txt, line by line."""
    return helpers.run("script_gpt_educational").stdout.splitlines()
