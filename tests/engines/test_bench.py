"""The comparison of the engines: what it refuses, and that Ctrl-C ends it quietly. (The figures take minutes.)"""
import os
import signal
import subprocess
import sys
import time

import helpers
import pytest
import scalar  # noqa: F401  (puts the project on the path)

from engines import bench


@pytest.mark.parametrize("options, complaint", [
    (["--rounds", "0"], "--rounds is 0"), (["--rounds", "-1"], "--rounds is -1"), (["--rounds", "x"], "invalid int"),
    (["--text", "nowhere.txt"], "cannot read"), (["--no-such-option"], "--no-such-option")])
def test_bad_input_is_one_line(options, complaint, capsys):
    assert bench.main(options) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith("error: ") and errors.count("\n") == 1 and complaint in errors


def test_a_text_shorter_than_a_block_is_refused(tmp_path, capsys):
    (tmp_path / "short.txt").write_text("short")
    assert bench.main(["--text", str(tmp_path / "short.txt")]) == 2
    assert "has 5 characters" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="a group of processes is interrupted")
def test_ctrl_c_ends_it_without_a_traceback():
    with subprocess.Popen([sys.executable, "-m", "engines.bench"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          encoding="utf-8", cwd=helpers.ROOT, start_new_session=True,
                          env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        assert "rounds" in process.stdout.readline()
        time.sleep(0.5)  # until it measures
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130 and not errors.strip()
