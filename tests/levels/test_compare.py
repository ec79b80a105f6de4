"""levels/compare.py says of the levels what they print, and calls a difference within the noise just that."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import helpers
import pytest

sys.path.insert(0, os.path.join(helpers.ROOT, "levels"))
import compare  # noqa: E402


def result(loss, curve=(3.0, 2.5)):
    return {"numbers": 1234, "loss": loss, "curve": list(curve), "samples": ["emma", "ada"]}


@pytest.mark.parametrize("losses, before, word", [
    ([2.50, 2.52, 2.51], [2.60, 2.61, 2.62], "better"), ([2.60, 2.61, 2.62], [2.50, 2.52, 2.51], "worse"),
    ([2.50, 2.58, 2.54], [2.60, 2.60, 2.60], "better"),  # 2.6 standard errors
    ([2.50, 2.62, 2.56], [2.60, 2.60, 2.60], "within the noise"),  # 1.2
    ([2.50, 2.62, 2.51], [2.60, 2.52, 2.56], "within the noise"), ([2.5, 2.6], [2.50004, 2.6], "the same numbers"),
    ([2.5, 2.5], [2.6, 2.7], "too few seeds to say")])
def test_the_verdict_on_a_difference(losses, before, word):
    mean, said = compare.verdict(losses, before)
    assert said == word and mean == pytest.approx(sum(losses) / len(losses) - sum(before) / len(before))


def test_the_table_says_mean_spread_and_difference():
    runs = {"1 count": [result(2.60), result(2.64)], "2 gradient": [result(2.50), result(2.56)]}
    even, first, second = compare.table(runs, 27)[1:]
    assert even.split() == ["even", "guess", "0", "3.2958"]
    assert first.split() == ["1", "count", "1,234", "2.6200", "±", "0.0283", "-0.6758", "emma"]
    assert second.split() == [*"2 gradient 1,234 2.5300 ± 0.0424 -0.0900 too few seeds to say emma".split()]


def test_the_drawing_puts_each_loss_in_its_row_and_column():
    runs = {"1 count": [result(0, (3.0, 2.0))], "2 gradient": [result(0, (3.0, 1.0)), result(0, (3.0, 2.0))]}
    assert compare.drawing(runs, height=4) == [
        "  3.000 |12", "  2.500 |", "  2.000 |     1", "  1.500 |     2",
        "        +----------",
        "         each column: the mean of 100 steps, 200 in all; 67: levels 6 and 7, 1-3: 1, 2, 3"]
    assert compare.drawing({"1 count": [result(2.0, ())]}) == []


def test_levels_that_share_a_place_are_written_short():
    assert [compare.short(digits) for digits in ("", "12", "123", "12347", "1234567", "13467")] == [
        "", "12", "1-3", "1-47", "1-7", "13467"]


WORDS = "anna emma ada otto bo eve ann nan ava bob lea leo".split()


@pytest.fixture
def few(tmp_path):
    """A file of twelve words, two of them twice, the first after a byte order mark."""
    path = tmp_path / "few.txt"
    path.write_text("\ufeff" + "\n".join([*WORDS, "anna", "bo"]), encoding="utf-8")
    return path


def compared(path, *options, cwd=None):
    command = [sys.executable, os.path.join(compare.HERE, "compare.py"), str(path), *map(str, options)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=cwd,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8"})


def test_all_levels_on_a_small_file(few, tmp_path):
    """More steps than words, so that script_gpt.py would come round to those held out if it were given them."""
    kept = tmp_path / "kept.json"
    process = compared(few, "--steps", 100, "--seeds", 1, "--keep", kept)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("few.txt: 12 words, 100 steps of one; 1 seed (mean")
    rows = re.findall(r"(?m)^(\d \w+) +([\d,]+) +(\d\.\d{4})", process.stdout)
    assert [name for name, _, _ in rows] == ["1 count", "2 gradient", "3 autograd", "4 mlp", "5 attention", "6 block",
                                             "7 script_gpt"]
    for path, (_, size, loss) in zip(compare.LEVELS, rows):
        printed = subprocess.run([sys.executable, str(path), str(few), "--steps", "100"], capture_output=True,
                                 encoding="utf-8").stdout
        assert f"num params: {size.replace(',', '')}\nheld-out loss per token: {loss}\n" in printed
    assert "shuffles them\notherwise than level 6" in process.stdout
    measured = json.loads(kept.read_text(encoding="utf-8"))
    assert measured["format"] == compare.FORMAT
    assert [f"{found[0]['loss']:.4f}" for found in measured["few"]["levels"].values()] == [loss for _, _, loss in rows]


@pytest.mark.parametrize("steps, given", [(11, 12), (12, 11)])
def test_script_gpt_never_comes_round_to_the_held_out_words(few, tmp_path, monkeypatch, capsys, steps, given):
    """12 words, one held out: within 11 steps it may have them all, for it does not come that far."""
    docs = compare.read(few)
    clean = tmp_path / "clean.txt"
    clean.write_text("\n".join(docs), encoding="utf-8")
    real, seen = compare.script_gpt.main, []
    monkeypatch.setattr(compare.script_gpt, "main", lambda arguments: (
        seen.extend(compare.script_gpt.load_dataset(arguments[0])), real(arguments)))
    compare.script_as_a_level([str(clean), "--steps", str(steps), "--seed", "42", "--n-head", "4"])
    training, unseen = compare.split(docs, 42)
    assert len(seen) == given and set(training) <= set(seen) and len(unseen) == 1
    printed = capsys.readouterr().out
    assert re.search(r"num params: \d+\nheld-out loss per token: \d\.\d{4}\n(sample: .*\n){5}$", printed)


def test_documents_are_read_once_and_split_by_the_seed(few):
    docs = compare.read(few)
    assert docs == WORDS
    training, unseen = compare.split(docs, 42)
    assert sorted(training + unseen) == sorted(WORDS) and unseen != compare.split(docs, 44)[1]


@pytest.mark.parametrize("arguments, message", [
    (["none.txt"], "No such file"), (["few.txt", "--steps", "0"], "at least 1"),
    (["few.txt", "--n-head", "3"], "must divide 16"), (["two.txt"], "give at least 7"),
    (["spaces.txt"], "write it without spaces"), (["bytes.txt"], "name a UTF-8 text"),
    (["few.txt", "--image", "curves"], "end it in .png"), (["few.txt", "--image", "nowhere/a.png"], "cannot write"),
    (["few.txt", "--keep", "few.txt"], "it holds something else"),
    (["odd.txt", "--steps", "100"], "held-out words only")])
def test_bad_input_is_refused_in_one_line_and_nothing_is_lost(few, tmp_path, arguments, message):
    (tmp_path / "two.txt").write_text("anna\nemma\n", encoding="utf-8")
    (tmp_path / "spaces.txt").write_text("\n".join([*WORDS, "anna maria"]), encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    places = [[*WORDS[:place], "zoe", *WORDS[place:]] for place in range(13)]
    odd = next(words for words in places if "zoe" in compare.split(words, 42)[1])
    (tmp_path / "odd.txt").write_text("\n".join(odd), encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    process = compared(*arguments, cwd=tmp_path)
    assert process.returncode == 2 and process.stdout == "" and message in process.stderr
    assert process.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_ctrl_c_ends_it_and_what_it_has_started(few):
    command = [sys.executable, os.path.join(compare.HERE, "compare.py"), str(few), "--steps", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, problem = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in problem
