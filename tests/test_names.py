"""names.txt: the format that README describes."""
import re
import string

import helpers

with open(helpers.NAMES, encoding="ascii") as file:
    LINES = file.read().split("\n")


def test_one_name_a_line_of_2_to_15_letters():
    assert LINES[-1] == "", "the last line must end too"
    assert [line for line in LINES[:-1] if not re.fullmatch("[a-z]{2,15}", line)] == []


def test_at_least_6000_distinct_names_with_every_letter_in_use():
    assert len(set(LINES[:-1])) == len(LINES[:-1]) >= 6000
    assert set("".join(LINES)) == set(string.ascii_lowercase)


def test_the_most_common_come_first():
    assert {"maria", "muhammad", "wei", "jose", "anna", "john"} <= set(LINES[:25])
