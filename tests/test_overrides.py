from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.errors import GraphiumError
from graphium.overrides import apply, merge, parse


def changed(config: dict[str, Any], *words: str) -> tuple[dict[str, Any], list[str]]:
    messages = apply(config, parse(words))
    return config, messages


def refused(*words: str) -> str:
    with pytest.raises(GraphiumError) as caught:
        parse(words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a.b=1", 1),
        ("a.b=1e-4", 1e-4),
        ("a.b=true", True),
        ("a.b=null", None),
        ("a.b=", ""),
        ("a.b=two words", "two words"),
        ("a.b='1'", "1"),
        ("a.b=[NR-AR,SR-p53]", ["NR-AR", "SR-p53"]),
        ("a.b=[*,-mw]", ["*", "-mw"]),
        ("a.b=['logP (mg/l)','x,y']", ["logP (mg/l)", "x,y"]),
        ("a.b={name: gine, eps: 0.1}", {"name": "gine", "eps": 0.1}),
        ("a.b=~/runs(1).csv", "~/runs(1).csv"),
        ("a.b=x=1", "x=1"),
        ("a.b=SMILES [canonical]", "SMILES [canonical]"),
        ("++a.b=1", 1),
        ("+a.b=1", 1),
    ],
)
def test_values(word: str, value: Any) -> None:
    (setting,) = parse([word])
    assert setting.value == value
    assert setting.path == ("a", "b")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("data.targets=[logP (mg/l),y]", ["logP (mg/l)", "y"]),
        ("data.targets=[log P [uM]]", ["log P [uM]"]),
        ("data.targets=[a=b,*,-mw]", ["a=b", "*", "-mw"]),
        ("data.targets=[it's,d (x)]", ["it's", "d (x)"]),
        ("data.path=it's (x).csv", "it's (x).csv"),
        ("data.path=a, b (x).csv", "a, b (x).csv"),
    ],
)
def test_the_quoted_form_in_the_sentence_works_when_pasted(word: str, value: Any) -> None:
    sentence = refused(word)
    (pasted,) = shlex.split(sentence.split("; write ", 1)[1])
    assert parse([pasted])[0].value == value


@given(st.text(min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    for word in (text, f"data.path={text}", f"data.targets=[{text}]"):
        try:
            parse([word])
        except GraphiumError as error:
            assert str(error)


def test_words_that_are_no_settings() -> None:
    assert "key=value" in refused("toymix")
    assert "key=value" in refused("=3")
    assert "not closed" in refused("a=[1,2")
    assert '"a.b=[1,2]"' in refused("a.b=1,2")


@pytest.mark.parametrize(("value", "names"), [("*,-mw", ["*", "-mw"]), ("y1,y2", ["y1", "y2"]), ("*", "*")])
def test_targets_need_no_brackets(value: str, names: Any) -> None:
    (setting,) = parse([f"data.targets={value}"])
    assert setting.value == names


def test_missing_sections_are_made_and_short_forms_spelt_out() -> None:
    config, messages = changed({"model": {"layer": "gine"}}, "model.layer.eps=0.1", "model.head.width=8")
    assert config == {"model": {"layer": {"name": "gine", "eps": 0.1}, "head": {"width": 8}}}
    assert messages == []


@pytest.mark.parametrize("words", [("model.layer=gcn", "model.layer.a=1"), ("model.layer.a=1", "model.layer.name=gcn")])
def test_a_part_is_replaced_whatever_the_order(words: tuple[str, ...]) -> None:
    config, messages = changed({"model": {"layer": {"name": "gine", "eps": 0.1}, "width": 8}}, *words)
    assert config == {"model": {"layer": {"name": "gcn", "a": 1}, "width": 8}}
    (message,) = messages
    assert message == "model.layer is now gcn instead of gine; what was set for gine is dropped: eps=0.1"


def test_a_part_given_as_a_mapping_is_replaced() -> None:
    config, messages = changed({"model": {"layer": {"name": "gine", "eps": 0.1}}}, "model.layer={name: gcn, a: 1}")
    assert config == {"model": {"layer": {"name": "gcn", "a": 1}}}
    assert len(messages) == 1


def test_the_same_name_keeps_the_arguments() -> None:
    for word in ("model.layer=gine", "model.layer.name=GINE", "model.layer={name: gine}"):
        config, messages = changed({"model": {"layer": {"name": "gine", "eps": 0.1}}}, word)
        assert config["model"]["layer"]["eps"] == 0.1
        assert messages == []


def test_a_mapping_without_a_name_is_merged() -> None:
    config, _ = changed({"model": {"layer": {"name": "gine", "eps": 0.1}}}, "model.layer={eps: 0.2, b: 1}")
    assert config == {"model": {"layer": {"name": "gine", "eps": 0.2, "b": 1}}}


def test_labels_that_look_like_part_names_are_not() -> None:
    datasets = {"qm9": {"name": "x", "path": "a.csv"}}
    config, messages = changed({"name": "run", "data": {"datasets": datasets}}, "name=b", "data.datasets.qm9.name=c")
    assert config == {"name": "b", "data": {"datasets": {"qm9": {"name": "c", "path": "a.csv"}}}}
    assert messages == []


def test_the_schedule_stays_when_the_optimiser_is_replaced() -> None:
    optim = {"name": "adamw", "lr": 0.002, "schedule": {"name": "cosine", "warmup": 0.1}}
    config, messages = changed({"optim": optim}, "optim.name=sgd")
    assert config == {"optim": {"name": "sgd", "schedule": {"name": "cosine", "warmup": 0.1}}}
    assert "lr=0.002" in messages[0]


def test_what_a_word_says_of_the_labels_takes_the_place_of_what_the_file_says() -> None:
    config: dict[str, Any] = {"data": {"targets": "*", "datasets": {"qm9": {"tasks": [{"columns": ["A"]}]}}}}
    said = apply(config, parse(["data.tasks=[{columns: [y]}]", "data.datasets.qm9.targets=[homo]"]))
    assert config == {"data": {"tasks": [{"columns": ["y"]}], "datasets": {"qm9": {"targets": ["homo"]}}}}
    assert sorted(said) == [
        "data.datasets.qm9.targets takes the place of data.datasets.qm9.tasks",
        "data.tasks takes the place of data.targets",
    ]
    config = {"data": {"targets": "*"}}
    assert apply(config, parse(["~data.targets", "data.tasks=[{columns: [y]}]"])) == []
    assert list(config["data"]) == ["tasks"]


def test_positions_in_lists() -> None:
    config = {"features": {"encodings": [{"name": "laplacian", "k": 8}, "rw_return_probs"]}}
    changed(config, "features.encodings.0.k=4", "features.encodings.1.steps=5")
    assert config == {
        "features": {"encodings": [{"name": "laplacian", "k": 4}, {"name": "rw_return_probs", "steps": 5}]}
    }
    with pytest.raises(GraphiumError, match="list of 2"):
        changed(config, "features.encodings.2.k=4")


def test_removal_and_sections_that_are_values() -> None:
    config, _ = changed({"optim": {"name": "adamw", "schedule": "cosine"}}, "~optim.schedule")
    assert config == {"optim": {"name": "adamw"}}
    with pytest.raises(GraphiumError, match="not set"):
        changed(config, "~optim.schedule")
    with pytest.raises(GraphiumError, match="which is 96 and not a section"):
        changed({"model": {"width": 96}}, "model.width.x=1")


def test_merge_of_files_replaces_parts_and_merges_the_rest() -> None:
    base = {"a": {"split": {"name": "file", "path": "s.csv"}, "tasks": [1]}, "optim": {"name": "adamw", "lr": 1}}
    merge(base, {"a": {"split": {"name": "random"}, "tasks": [2]}, "optim": {"lr": 2}})
    assert base == {"a": {"split": {"name": "random"}, "tasks": [2]}, "optim": {"name": "adamw", "lr": 2}}
