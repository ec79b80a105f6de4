"""levels/compare.py says of the levels what they print, and calls a difference within the noise just that."""
import os
import re
import subprocess
import sys

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
    ([2.5], [2.6], "one seed: no verdict")])
def test_the_verdict_on_a_difference(losses, before, word):
    mean, said = compare.verdict(losses, before)
    assert said == word and mean == pytest.approx(sum(losses) / len(losses) - sum(before) / len(before))


def test_the_table_says_mean_spread_and_difference():
    runs = {"1 count": [result(2.60), result(2.64)], "2 gradient": [result(2.50), result(2.56)]}
    even, first, second = compare.table(runs, 27)[1:]
    assert even.split() == ["even", "guess", "0", "3.2958"]
    assert first.split() == ["1", "count", "1,234", "2.6200", "±", "0.0283", "-0.6758", "emma"]
    assert second.split() == ["2", "gradient", "1,234", "2.5300", "±", "0.0424", "-0.0900", "better", "emma"]


def test_the_drawing_puts_each_loss_in_its_row_and_column():
    runs = {"1 count": [result(0, (3.0, 2.0))], "2 gradient": [result(0, (3.0, 1.0)), result(0, (3.0, 2.0))]}
    assert compare.drawing(runs, height=4) == [
        "  3.000 |12", "  2.500 |", "  2.000 |     1", "  1.500 |     2",
        "        +----------",
        "         each column: the mean of 100 steps, 200 in all; 67: levels 6 and 7, 1-4: 1 to 4"]
    assert compare.drawing({"1 count": [result(2.0, ())]}) == []


def test_all_levels_on_a_small_file(tmp_path):
    """More steps than names, so that script_gpt.py would come round to those held out if it were given them."""
    names = tmp_path / "few.txt"
    names.write_text("\n".join("anna emma ada otto bo eve ann nan ava bob lea leo".split()), encoding="utf-8")
    command = [sys.executable, os.path.join(compare.HERE, "compare.py"), str(names), "--steps", "100", "--seeds", "1"]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"})
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("few.txt: 12 documents, 100 steps of one; 1 seed (mean")
    rows = re.findall(r"(?m)^(\d \w+) +([\d,]+) +(\d\.\d{4})", process.stdout)
    assert [name for name, _, _ in rows] == ["1 count", "2 gradient", "3 autograd", "4 mlp", "5 attention", "6 block",
                                             "7 script_gpt"]
    for path, (_, size, loss) in zip(compare.LEVELS, rows):
        printed = subprocess.run([sys.executable, str(path), str(names), "--steps", "100"], capture_output=True,
                                 encoding="utf-8").stdout
        assert f"num params: {size.replace(',', '')}\nheld-out loss per token: {loss}\n" in printed
    training, unseen = compare.split(names, 42)
    assert len(unseen) == 1 and sorted(training + unseen) == sorted(names.read_text(encoding="utf-8").split())


def test_levels_that_share_a_place_are_written_short():
    assert [compare.short(digits) for digits in ("", "12", "123", "12347", "1234567", "13467")] == [
        "", "12", "1-3", "1-47", "1-7", "13467"]


@pytest.mark.parametrize("steps, read", [(10, 12), (12, 11)])
def test_script_gpt_never_comes_round_to_the_held_out_names(tmp_path, monkeypatch, steps, read):
    """12 names, one held out: within 11 steps it may have the file as it is, for it does not come that far."""
    import script_gpt

    names = tmp_path / "few.txt"
    names.write_text("\n".join("anna emma ada otto bo eve ann nan ava bob lea leo".split()), encoding="utf-8")
    real, given = script_gpt.main, []
    monkeypatch.setattr(script_gpt, "main", lambda arguments: (given.extend(script_gpt.load_dataset(arguments[0])),
                                                               real(arguments)))
    found = compare.run_script(compare.SCRIPT, names, steps, 42, 4)
    training, unseen = compare.split(names, 42)
    assert len(given) == read and set(training) <= set(given)
    assert found["loss"] > 0 and len(found["samples"]) == 5


@pytest.mark.parametrize("arguments, message", [
    (["none.txt"], "No such file"), (["few.txt", "--steps", "0"], "at least 1"),
    (["few.txt", "--n-head", "3"], "must divide 16"), (["two.txt"], "at least 7 words")])
def test_bad_input_is_refused_in_one_line(tmp_path, arguments, message):
    (tmp_path / "few.txt").write_text("\n".join("anna emma ada otto bo eve ann nan".split()), encoding="utf-8")
    (tmp_path / "two.txt").write_text("anna\nemma\n", encoding="utf-8")
    process = subprocess.run([sys.executable, os.path.join(compare.HERE, "compare.py"), *arguments], cwd=tmp_path,
                             capture_output=True, encoding="utf-8")
    assert process.returncode == 2 and process.stdout == "" and message in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
