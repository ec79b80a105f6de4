"""Each sentence of the teaching texts has been read since it was last changed (see reading.py)."""
import pytest
import reading


def test_every_sentence_has_been_read_since_it_was_changed():
    found = [f"{name}: {sentence}" for name, sentence in reading.unread()]
    assert found == [], "read these again; if they are true: python3 tests/reading.py --read"


MARKDOWN = """# Title

Four heads look. They find more.

| less | 0.5 |

```math
W^T x
```

```python
1 + 1
```
"""
PYTHON = '''"""A module. It is small."""
x = 1  # never 2


class Lecture:
    """Speaks up."""

    def say(self):
        """Says it."""
        print(f"the loss is {x} and falls")
'''


@pytest.mark.parametrize("word", ["Four", "more", "less", "0.5", "W^T", "find"])
def test_a_changed_word_of_markdown_is_noticed(word):
    assert reading.of_markdown(MARKDOWN) != reading.of_markdown(MARKDOWN.replace(word, "other"))


@pytest.mark.parametrize("word", ["small", "never", "Speaks", "Says", "falls"])
def test_a_changed_word_of_a_docstring_a_comment_or_the_lecturer_is_noticed(word):
    assert reading.of_python(PYTHON) != reading.of_python(PYTHON.replace(word, "other"))


def test_code_is_left_to_other_tests():
    assert reading.of_markdown(MARKDOWN) == reading.of_markdown(MARKDOWN.replace("1 + 1", "1 + 2"))
    assert reading.of_python(PYTHON) == reading.of_python(PYTHON.replace("x = 1", "x = 7"))


def test_all_teaching_texts_are_among_them():
    names = set(reading.texts())
    assert {"README.md", "REFACTORING_SUMMARY.md", "script_gpt_educational.py", "levels/5_attention.py",
            "labs/ablation/training.py"} <= names and all(len(found) > 2 for found in reading.texts().values())
