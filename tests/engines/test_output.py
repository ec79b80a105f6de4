"""Files that are written whole and in place of nothing else, and what a killed process leaves."""
import io
import os
import subprocess
import sys

import pytest
import scalar  # noqa: F401  (puts the project on the path)

from engines import output

BEGINNING = rb"figures,"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "result.csv"


def test_what_is_not_there_yet_can_be_written(path):
    output.check_can_replace(path, BEGINNING)
    assert not os.listdir(path.parent)


@pytest.mark.parametrize("content", ["", "my notes", " figures,"])
def test_another_file_is_not_replaced_but_with_force(content, path):
    path.write_text(content)
    with pytest.raises(output.InputError, match="--force"):
        output.check_can_replace(path, BEGINNING)
    output.check_can_replace(path, BEGINNING, force=True)
    path.write_text("figures,1")
    output.check_can_replace(path, BEGINNING)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_never_replaced(force, tmp_path):
    for place in (tmp_path, os.devnull, tmp_path / "nowhere" / "result.csv", "a\0b"):
        with pytest.raises(output.InputError):
            output.check_can_replace(place, BEGINNING, force)


def test_a_write_that_fails_leaves_what_was_there(path):
    path.write_text("before")

    def write(file):
        file.write("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(output.InputError, match="No space left"):
        output.write_whole(path, write)
    assert path.read_text() == "before" and os.listdir(path.parent) == ["result.csv"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX can be asked for a process")
def test_what_killed_processes_have_left_is_removed_and_nothing_else(path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        names = [f"result.csv.{gone.pid}.tmp", f"result.csv.{living.pid}.tmp", f"other.csv.{gone.pid}.tmp",
                 f"result.csv.{gone.pid}.tmp.bak", "result.csv.x.tmp", f"result_csv.{gone.pid}.tmp",
                 f"result.csv.{10**30}.tmp", "result.csv.0.tmp"]
        for name in names:
            (path.parent / name).write_text("half")
        output.write_whole(path, lambda file: file.write("whole"))
        living.communicate(b"\n")
    assert sorted(os.listdir(path.parent)) == sorted(names[1:] + ["result.csv"])
    assert path.read_text() == "whole"


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_process_that_was_killed_while_it_wrote_loses_nothing(path):
    path.write_text("before")
    code = """if True:
        import os, signal, sys
        from engines.output import write_whole
        write_whole(sys.argv[1], lambda file: (file.write("half"), file.flush(), os.kill(os.getpid(), signal.SIGKILL)))
    """
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=os.path.dirname(os.path.dirname(output.__file__)))
    assert path.read_text() == "before" and len(os.listdir(path.parent)) == 2
    output.write_whole(path, lambda file: file.write("whole"))
    assert path.read_text() == "whole" and os.listdir(path.parent) == ["result.csv"]


def test_output_that_nobody_reads_is_no_error_even_where_it_is_no_file(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    stream = Gone()
    monkeypatch.setattr(sys, "stdout", stream)

    def program():
        try:
            print("x")
        except BrokenPipeError:
            output.discard_output()
            print("y")
            raise

    assert output.exit_code(program) == 0 and sys.stdout is stream
