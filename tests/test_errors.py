from __future__ import annotations

from graphium.errors import GraphiumError, suggest


def test_nearest_choice_comes_first_and_all_are_listed() -> None:
    assert suggest("widht", ["width", "depth"]) == "did you mean 'width'? Choices: depth, width"
    assert suggest("colour", ["width", "depth"]) == "choices: depth, width"
    assert suggest("x", []) == "choices: (none)"


def test_choices_are_sorted_and_listed_once() -> None:
    assert suggest("zz", ["b", "a", "b"]) == "choices: a, b"


def test_it_is_an_exception_with_its_sentence() -> None:
    assert str(GraphiumError("a is 1; give 2")) == "a is 1; give 2"


def test_case_does_not_hide_the_nearest_name():
    assert suggest("Y", ["y", "z"]).startswith("did you mean 'y'?")


def test_hundreds_of_choices_are_counted_not_listed() -> None:
    sentence = suggest("task_7x", [f"task_{number}" for number in range(1328)])
    assert "did you mean 'task_7" in sentence and sentence.endswith("(1,328 in all)") and len(sentence) < 1000
