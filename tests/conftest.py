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


def pytest_collection_finish(session):
    """The longest run is started before the first test, on another core, where a test is going to ask for it."""
    if any("default_run" in getattr(item, "fixturenames", ()) for item in session.items):
        if not session.config.option.collectonly:
            session.config.default_run = helpers.start("script_gpt_educational")


@pytest.fixture(scope="session")
def default_run(pytestconfig):
    """What the educational script prints on names.txt, line by line."""
    return pytestconfig.default_run.communicate(timeout=300)[0].splitlines()
