from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graphium.errors import GraphiumError
from graphium.models.folder.config_file import ModelConfig, heads_from_plain, heads_to_plain, plain, read_config
from graphium.types import HeadSpec, Task, group_tasks

SECTIONS: dict[str, Any] = {"model": {"width": 8}, "features": {"form": "heavy"}, "spec": {"atoms": []}, "heads": []}


def _config(**more: Any) -> ModelConfig:
    return ModelConfig(**{**SECTIONS, "weights_sha256": "ab", **more})


def _heads() -> tuple[HeadSpec, ...]:
    loss = {"name": "bce", "pos_weight": {"a": 1.0, "b": 2.0}}
    knots = {"name": "rank_gauss", "values": [k / 7 for k in range(40)], "scores": [k / 3 for k in range(40)]}
    return group_tasks(
        [
            Task("a", "alpha", "graph", "binary", loss=loss),
            Task("b", "alpha", "graph", "binary", loss=dict(loss), qualifier="q"),
            Task("c", "alpha", "graph", "regression", transform=knots, unit="eV"),
            Task("d", "alpha", "graph", "regression", unit="eV", metrics=("mae", {"name": "rmse"})),
            Task("e", "beta", "node", "multiclass", num_classes=3, classes=("x", "y: z", "no")),
        ]
    )


def test_round_trip(tmp_path: Path) -> None:
    lists: dict[str, list[float]] = {}
    heads = heads_to_plain(_heads(), lists)
    assert sorted(lists) == ["heads/1/0/transform/scores", "heads/1/0/transform/values"]
    config = _config(heads=heads, facts={"name": "ä: - {", "n": 1e-07, "none": None, "on": "yes"})
    (tmp_path / "config.yaml").write_text(config.text())
    back = read_config(tmp_path / "config.yaml")
    assert heads_from_plain(back.heads, lists) == _heads()
    assert (back.facts, back.model, back.weights_sha256) == (config.facts, config.model, "ab")
    first, second, third = back.heads
    assert first["all"].keys() == {"dataset", "level", "kind", "loss"} and first["tasks"][0] == {"name": "a"}
    assert second["all"].keys() == {"dataset", "level", "kind", "unit"}
    assert third["tasks"] == [{"name": "e"}]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(facts=st.dictionaries(st.text(max_size=6), values, max_size=4), model=st.dictionaries(st.text(), values))
def test_any_plain_values_travel(tmp_path_factory: pytest.TempPathFactory, facts: Any, model: Any) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(_config(facts=facts, model=model).text(), encoding="utf-8", newline="")
    back = read_config(path)
    assert (back.facts, back.model) == (facts, model)


def test_what_only_people_read_may_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(_config(facts={"name": "mine"}).text().replace("name: mine", "name: yours"))
    assert read_config(path).facts == {"name": "yours"}


@pytest.mark.parametrize(
    "line,other", [("width: 8", "width: 9"), ("form: heavy", "form: Heavy"), ("heads: []", "heads: [] ")]
)
def test_what_decides_predictions_may_not(tmp_path: Path, line: str, other: str) -> None:
    path = tmp_path / "config.yaml"
    text = _config().text()
    assert line in text
    path.write_text(text.replace(line, other))
    with pytest.raises(GraphiumError, match="its checksum is another one: it was changed after it was saved"):
        read_config(path)


def test_ends_of_lines_of_another_system(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(_config().text().replace("\n", "\r\n").encode())
    assert read_config(tmp_path / "config.yaml").model == {"width": 8}


def _signed(below: str, above: str = "format: 2\n") -> str:
    return above + f"checksums: {{weights: ab, config: {hashlib.sha256(below.encode()).hexdigest()}}}\n" + below


REST = "features: {}\nspec: {}\nheads: []\n"
LAUGHS = "".join(
    f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "  a0: &a0 [1, 1, 1]\n" for n in range(30)
)
MERGES = "".join(
    f"  a{n}: &a{n}\n    <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "  a0: &a0 {x: 1}\n" for n in range(30)
)
CHAIN = "".join(f"  a{n}: &a{n} [{f'*a{n - 1}' if n else 1}]\n" for n in range(3000))
HEAD = "features: {}\nspec: {}\nheads:\n"


@pytest.mark.parametrize(
    "below",
    [
        f"model:\n{LAUGHS}{REST}",
        f"model:\n{MERGES}{REST}",
        f"model:\n{CHAIN}{REST}",
        f"model: {'[' * 100_000}\n{REST}",
        f"model: {'{a: ' * 100_000}\n{REST}",
        f"model:\n{'- ' * 100_000}1\n{REST}",
        f"model: {'[' * 80}{']' * 80}\n{REST}",
        f"model: &a {{b: *a}}\n{REST}",
        f"model: {{width: {'9' * 5000}}}\n{REST}",
        f"model: {{width: {'1:' * 100_000}1}}\n{REST}",
        f"model: {{width: {'1:' * 100_000}1.5}}\n{REST}",
        f"model: {{1: 2}}\n{REST}",
        f"model: {{[1, 2]: 2}}\n{REST}",
        f"model: {{width: 2001-01-01}}\n{REST}",
        f"model: {{width: !!binary aGVsbG8=}}\n{REST}",
        f"model: {{width: !!set {{a, b}}}}\n{REST}",
        f"model: {{width: !!python/object/apply:os.system [ls]}}\n{REST}",
        f"model: !!python/name:os.system\n{REST}",
        f"model: {{width: !own 3}}\n{REST}",
        f"model: {{}}\n{HEAD}- &h {{name: a, tasks: [{{name: b}}]}}\n" + "- *h\n" * 1000,
        f"model: {{}}\n{HEAD}- {{name: a, tasks: &t [{{name: b}}]}}\n" + "- {name: b, tasks: *t}\n" * 1000,
        f"model: {{x: &l [{'1, ' * 1000}]}}\n{HEAD}- name: a\n  tasks:\n  - {{name: [{'*l, ' * 500}]}}\n",
    ],
    ids=range(22),
)
def test_files_that_are_made_to_harm_are_refused(tmp_path: Path, below: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(_signed(below))
    tracemalloc.start()
    try:
        with pytest.raises(GraphiumError, match="cannot be read") as caught:
            read_config(path)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "is not the configuration of a saved model"),
        ("3", "is not the configuration of a saved model"),
        ("seed: 1\nmodel: {}\ndata: {}\n", "is not the configuration of a saved model"),
        ("format: 2\nmodel: {}\n", "has no checksums"),
        ("format: 2\nchecksums: {weights: 3, config: 3}\nmodel: {}\n", "has no checksums"),
        ("format: 2\n", "is not the configuration"),
        ("format: 3\n", "has format 3 and this graphium reads up to 2; install a newer graphium"),
        ("format: 999999999\n", "has format 999999999"),
        ("format: 99\nlayout: of the future\nmodel: !new 3", "has format 99"),
        ("format: 0\nmodel: {}\n" + REST, "is not the configuration"),
        ("format: 1\nweights: ../../other\nmodel: {}\n" + REST, "is not the configuration"),
        ("format: 1\nchecksums: {}\nmodel: {}\n" + REST, "is not the configuration"),
        (_signed("model: {}\n" + REST, "format: 2\nweights: ../../other\n"), "is not the configuration"),
        (_signed("model: 3\n" + REST), "is not the configuration"),
        (_signed("model: {}\n" + REST, "format: 2\nfacts: [1]\n"), "is not the configuration"),
        (_signed("model: {}\n" + REST, "format: 2\nfacts: {a: [}\n"), "cannot be read"),
        ("\x00\x01", "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(GraphiumError, match=message):
        read_config(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"format: 2\n\xff\xfe")
    with pytest.raises(GraphiumError, match="cannot be read"):
        read_config(tmp_path / "config.yaml")


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.yaml").open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(GraphiumError, match="has more than"):
        read_config(tmp_path / "config.yaml")


def test_nothing_is_put_in_the_place_of_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "value")
    path = tmp_path / "config.yaml"
    path.write_text(_signed("model: {a: '${oc.env:SECRET}', b: $SECRET, c: '${model.a}'}\n" + REST))
    assert read_config(path).model == {"a": "${oc.env:SECRET}", "b": "$SECRET", "c": "${model.a}"}


@pytest.mark.parametrize(
    "head",
    [
        {"name": "y", "tasks": []},
        {"name": "y"},
        {"tasks": [{"name": "y"}]},
        3,
        {"name": "y", "tasks": [{"name": 5, "dataset": "a", "level": "graph", "kind": "binary"}]},
        {"name": "y", "tasks": [{"name": "y", "dataset": "a", "level": "graph", "kind": "binary", "classes": "abc"}]},
        {"name": "y", "tasks": [{"name": "y", "dataset": "a", "level": "graph", "kind": "binary", "transform": [1]}]},
        {
            "name": "y",
            "all": {"dataset": "a", "level": "graph", "kind": "regression"},
            "tasks": [{"name": "y", "transform": {"name": "zscore", "mean": float("nan"), "scale": 1.0}}],
        },
        {"name": "y", "tasks": [{"name": {"tensor": "none"}, "dataset": "a", "level": "graph", "kind": "binary"}]},
    ],
)
def test_heads_that_are_none(head: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        heads_from_plain([head], {})


def test_two_heads_of_one_name() -> None:
    head = {"name": "y", "tasks": [{"name": "y", "dataset": "a", "level": "graph", "kind": "binary"}]}
    with pytest.raises(ValueError, match="one name"):
        heads_from_plain([head, dict(head)], {})


def test_values_that_tasks_share_stay_one_object() -> None:
    heads = heads_to_plain(_heads(), {})
    back = heads_from_plain(
        yaml.safe_load(yaml.safe_dump(heads)), {"heads/1/0/transform/values": [], "heads/1/0/transform/scores": []}
    )
    assert back[0].tasks[0].loss is back[0].tasks[1].loss


def test_plain_values() -> None:
    import numpy as np

    value = {"a": (1, np.float32(0.5)), 2: [np.int64(3), None, True], "p": Path("x")}
    assert plain(value) == {"a": [1, 0.5], "2": [3, None, True], "p": "x"}
