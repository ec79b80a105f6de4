"""levels/data.py: three kinds of documents, and what can be known for certain in each."""
import math
import os
import random
import subprocess
import sys
from collections import Counter

import helpers
import pytest

from levels import data


def run(*arguments):
    """The finished process of `python levels/data.py ...`."""
    command = [sys.executable, os.path.join(helpers.ROOT, "levels", "data.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60)


def printed(*arguments):
    process = run(*arguments)
    assert (process.returncode, process.stderr) == (0, b"")
    return process.stdout.decode().split("\n")[:-1]


def test_repeat_takes_the_names_of_five_letters_three_times():
    assert data.repeat(["emily", "eve", "maria", "x-ray", "robert"]) == ["emily" * 3, "maria" * 3]
    with open(helpers.NAMES, encoding="utf-8") as file:
        names = file.read().split()
    assert printed("repeat") == [name * 3 for name in names if len(name) == 5]


def test_repeat_reads_another_file_as_the_scripts_do(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffemily\r\n  rene\u0301e \n\nZoe\n".encode())  # é in two parts, as some programs write it
    assert printed("repeat", "--names", path) == ["emily" * 3, "ren\u00e9e" * 3]


def test_a_dial_names_a_place_and_the_letter_that_stands_there():
    documents = data.dial(random.Random(1), 2000)
    assert len(documents) == 2000 and len(set(documents)) > 1990
    for document in documents:
        assert [document[index] for index in (5, 7, 9, 11)] == [document[int(document[i]) - 1] for i in (4, 6, 8, 10)]
    for place in range(4):  # each letter equally likely in each place, and each place in each of the four questions
        letters, places = (Counter(d[i] for d in documents) for i in (place, 4 + 2 * place))
        assert set(letters) == set("abcdefghij") and max(letters.values()) < 260
        assert set(places) == set("1234") and max(places.values()) < 580
    assert any(len(set(document[:4])) < 4 for document in documents)  # letters may repeat, or the floor would be lower


def test_the_number_and_the_seed_choose_the_dials():
    assert printed("dial", "--count", 3) == data.dial(random.Random(42), 3) == printed("dial")[:3]
    assert len(printed("dial")) == 10000
    assert printed("dial", "--count", 3, "--seed", 1) == data.dial(random.Random(1), 3) != printed("dial", "--count", 3)


def test_sums_are_all_hundred_and_right():
    documents = printed("sums")
    assert documents == data.sums() and len(set(documents)) == 100
    assert {"7+5=12", "1+2=03", "0+0=00", "9+9=18"} <= set(documents)
    assert all(int(d[0]) + int(d[2]) == int(d[4:]) and len(d) == 6 for d in documents)


@pytest.mark.parametrize("document, kind, places", [
    ("emilyemilyemily", "repeat", range(5, 15)), ("abcd2b1a4d3c", "dial", [5, 7, 9, 11]), ("7+5=12", "sums", [4, 5]),
    ("emilyemilyemila", "", []), ("emily", "", []), ("abcd5b1a4d3c", "", []), ("7+5=2", "", [])])
def test_determined_are_the_places_that_follow_from_what_stands_before(document, kind, places):
    assert data.kind(document) == kind and data.determined(document) == list(places)


def test_what_is_determined_is_so_and_what_is_not_is_not():
    """Of all documents with the same beginning, the next character is one and the same exactly at these places."""
    documents = data.sums()
    for place in range(6):
        followers = {}
        for document in documents:
            followers.setdefault(document[:place], set()).add(document[place])
        certain = all(len(found) == 1 for found in followers.values())
        assert certain == (place in [1, 3, *data.determined("7+5=12")])  # + and = always stand there


def test_the_floors_are_the_entropies():
    assert round(data.floor("dial"), 3) == 1.135 and round(data.floor("sums"), 3) == 0.658
    assert data.floor("repeat") is None
    followers = Counter(d[0] for d in data.sums())
    assert 7 * data.floor("sums") == pytest.approx(-2 * sum(n / 100 * math.log(n / 100) for n in followers.values()))


@pytest.mark.parametrize("arguments, said", [
    ([], "kind"), (["names"], "choose from"), (["dial", "--count", "x"], "--count"),
    (["dial", "--count", "0"], "--count is 0: it must be from 1"), (["dial", "--what"], "--what"),
    (["repeat", "--names", "missing.txt"], "cannot use missing.txt"), (["repeat", "--names", "."], "cannot use .")])
def test_bad_input_is_refused_in_one_line(arguments, said):
    process = run(*arguments)
    assert process.returncode == 2 and process.stdout == b""
    assert process.stderr.startswith(b"error: ") and process.stderr.count(b"\n") == 1
    assert said in process.stderr.decode()


def test_a_file_without_a_name_of_five_letters_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("eve\nada\n")
    assert "no name of five letters" in run("repeat", "--names", tmp_path / "short.txt").stderr.decode()


def test_it_is_short():
    with open(data.__file__, encoding="utf-8") as file:
        assert len(file.readlines()) <= 110


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_and_a_reader_that_leaves_are_no_tracebacks():
    for shell, code in (("{} > /dev/full", 2), ("{} | head -n 1; exit ${{PIPESTATUS[0]}}", 0)):
        command = f"{sys.executable} {os.path.join(helpers.ROOT, 'levels', 'data.py')} dial --count 20000"
        process = subprocess.run(["bash", "-c", shell.format(command)], capture_output=True, encoding="utf-8")
        assert process.returncode == code and "Traceback" not in process.stderr
