"""The run on the 32,033-name list that texts about this model use (not part of this project)."""
import hashlib
import os

import helpers
import pytest

PATH = os.environ.get("MAKEMORE_NAMES")
FIRST = "3.3660 3.4243 3.1778 3.0664 3.2209 2.9452 3.2894 3.3245 2.8990".split()
NAMES = ("kamon ann karai jaire vialan karia yeran anna areli kaina "
         "konna keylen liole alerin earan lenne kana lara alela anton").split()


@pytest.mark.skipif(not PATH, reason="MAKEMORE_NAMES does not name the list")
def test_the_known_losses_and_names_of_the_makemore_list(script):
    with open(PATH, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert digest == "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d", "another list"
    lines = helpers.without_lecture(helpers.run(script, PATH).stdout).splitlines()
    assert lines[:3] == ["num docs: 32033", "vocab size: 27", "num params: 4192"]
    assert [line.split("loss ")[1] for line in lines[3:12]] == FIRST
    assert lines[1002:1004] == ["step 1000 / 1000 | loss 2.6497", "--- new names ---"]
    assert [line.split(": ")[1] for line in lines[1004:]] == NAMES
    assert len(lines) == 1024
