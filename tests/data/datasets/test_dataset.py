from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graphium.config import compose
from graphium.data.build import check_data
from graphium.data.datasets.dataset import Dataset, TaskGroup
from graphium.errors import GraphiumError


def from_config(**raw: Any) -> Dataset:
    return Dataset.from_config("mine", raw, "data.datasets.mine")


def test_the_short_form_is_one_group() -> None:
    dataset = from_config(path="t.csv", targets=["y1", "y2"], level="graph", kind="binary")
    assert dataset.groups == [TaskGroup(["y1", "y2"], "graph", "binary")]
    assert dataset.split == {"name": "random"}
    assert from_config(path="t.csv", targets="*,-mw").groups == [TaskGroup(["*,-mw"])]


def test_the_short_form_says_all_that_a_group_can() -> None:
    dataset = from_config(path="t.csv", targets="y", unit="ppm", classes=[0, 1, "x"], qualifier="sign")
    assert dataset.groups == [TaskGroup(["y"], unit="ppm", classes=["0", "1", "x"], qualifier="sign")]
    with pytest.raises(GraphiumError, match="has `tasks` and `qualifier` beside them"):
        from_config(path="t.csv", tasks=[{"columns": "y"}], qualifier="sign")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            {"atom": "a", "bond": "b"},
            r"mine\.long names `atom` and `bond`; give exactly one of `atom`, `bond` and `pair`",
        ),
        ({}, r"mine\.long names no column of numbers; give exactly one"),
        ({"pair": ["i"]}, r"mine\.long\.pair names 1 columns; give 2"),
        ({"bond": ["i", "j", "k"]}, r"mine\.long\.bond names 3 columns; give 1 or 2"),
        ({"atom": "a", "values": []}, r"mine\.long\.values names no column"),
        ({"atm": "a"}, r"unknown key data\.datasets\.mine\.long\.atm; did you mean 'atom'"),
    ],
)
def test_a_wrong_long_form_is_found_before_the_table_is_read(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        from_config(path="nowhere.csv", targets="y", long={"key": "id", "values": ["y"], **raw})


def test_a_typo_of_a_setting_of_the_whole_section_is_seen_beside_a_table() -> None:
    table = {"path": "t.csv", "targets": "y"}
    with pytest.raises(GraphiumError, match=r"unknown key data\.shufle; did you mean 'shuffle'"):
        check_data({**table, "shufle": "block"})
    with pytest.raises(GraphiumError, match=r"data\.path describes one table.*write data\.datasets\.NAME\.path"):
        check_data({**table, "datasets": {"other": table}})
    with pytest.raises(GraphiumError, match=r"write data\.datasets\.qm9\.targets$"):
        check_data({"targets": "y", "datasets": {"qm9": table}})
    with pytest.raises(GraphiumError, match=r"data\.datasets\.qm9\.limit is one setting for all.*write data\.limit"):
        check_data({"datasets": {"qm9": {**table, "limit": 3}}})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("my table.csv.gz", "my_table"),
        ("data/shard_*.parquet", "shard"),
        (["a/pm6_1.parquet", "a/pm6_2.parquet"], "pm6"),
        (["a.csv", "b.csv"], "table"),
        ("*.csv", "table"),
    ],
)
def test_a_table_is_named_after_its_files(path: Any, name: str) -> None:
    _, (dataset,) = check_data({"path": path, "targets": "y"})
    assert dataset.name == name


def test_the_long_form() -> None:
    dataset = from_config(
        path="t.csv",
        tasks=[
            {"columns": ["a", "b"], "kind": "regression", "unit": {"a": "eV"}, "transform": "none"},
            {"columns": "c", "kind": "multiclass", "classes": ["low", "high"]},
            {"columns": ["q"], "compute": {"name": "gasteiger_charges", "iterations": 3}},
        ],
        split={"name": "random", "train": 0.9, "val": 0.05, "test": 0.05},
    )
    assert [group.columns for group in dataset.groups] == [["a", "b"], ["c"], ["q"]]
    assert dataset.groups[0].unit_of("a") == "eV"
    assert dataset.groups[0].unit_of("b") == ""
    assert dataset.groups[1].classes == ["low", "high"]


def test_python_and_yaml_make_the_same() -> None:
    group = TaskGroup(["y"], "graph", "regression", unit="eV")
    raw = {"columns": ["y"], "level": "graph", "kind": "regression", "unit": "eV"}
    assert from_config(path="t.csv", tasks=[raw]) == Dataset("mine", "t.csv", tasks=[group])
    assert from_config(path="t.csv", tasks=[group]) == Dataset("mine", "t.csv", tasks=[group])


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"targets": "y"}, r"data\.datasets\.mine\.path is missing"),
        ({"path": "t.csv"}, "names no label column; give `targets`"),
        ({"path": "t.csv", "targets": []}, "names no label column"),
        ({"path": "t.csv", "tasks": []}, "names no label column"),
        ({"path": "t.csv", "targest": "y"}, r"unknown key data\.datasets\.mine\.targest; did you mean 'targets'"),
        ({"path": "t.csv", "targets": "y", "kind": "binray"}, "kind is 'binray'.*'binary'"),
        ({"path": "t.csv", "targets": "y", "level": "atom"}, "level is 'atom'.*'node'"),
        ({"path": "t.csv", "targets": "y", "split": "randm"}, "unknown split 'randm'.*did you mean 'random'"),
        ({"path": "t.csv", "targets": "y", "split": {"name": "random", "trian": 1}}, "did you mean 'train'"),
        ({"path": "t.csv", "targets": "y", "split": {"name": "file"}}, "split.path is missing"),
        ({"path": "t.csv", "targets": "y", "transform": "zscores"}, "unknown transform 'zscores'"),
        ({"path": "t.csv", "targets": "y", "tasks": [{"columns": ["x"]}]}, "both `targets` and `tasks`"),
        ({"path": "t.csv", "level": "node", "tasks": [{"columns": ["x"]}]}, "say it in each task group"),
        ({"path": "t.csv", "tasks": {"columns": ["x"]}}, "give a list of task groups"),
        ({"path": "t.csv", "tasks": ["x"]}, r"tasks\[0\] is 'x'; give a mapping"),
        (
            {"path": "t.csv", "tasks": [{"columns": "x"}, {"colums": "x"}]},
            r"tasks\[1\]\.colums; did you mean 'columns'",
        ),
        ({"path": "t.csv", "tasks": [{"columns": "x", "compute": "charge"}]}, "unknown computed_label 'charge'"),
        ({"path": "t.csv", "tasks": [{"columns": ["x", "y"], "compute": "gasteiger_charges"}]}, "give one name"),
    ],
)
def test_wrong_fields_end_in_a_sentence(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        from_config(**raw)
    with pytest.raises(GraphiumError, match="give the fields of a dataset"):
        Dataset.from_config("mine", "t.csv", "data.datasets.mine")  # type: ignore[arg-type]


def test_settings_of_the_split_without_a_name_are_those_of_the_default() -> None:
    assert from_config(path="t.csv", targets="y", split={"seed": 3}).split == {"name": "random", "seed": 3}
    with pytest.raises(GraphiumError, match="unknown key .*split.sed; did you mean 'seed'"):
        from_config(path="t.csv", targets="y", split={"sed": 3})
    with pytest.raises(GraphiumError, match=r"split=\{name: file, path: rows.csv\}"):
        from_config(path="t.csv", targets="y", split="rows.csv")


def test_columns_named_by_a_number() -> None:
    assert from_config(path="t.csv", targets=[1, "y"]).groups[0].columns == ["1", "y"]
    assert from_config(path="t.csv", targets=7).groups[0].columns == ["7"]
    assert from_config(path="t.csv", tasks=[{"columns": [1]}, {"columns": "y"}]).groups[0].columns == ["1"]
    with pytest.raises(GraphiumError, match="names no label column"):
        from_config(path="t.csv", targets="")


@pytest.mark.parametrize("name", ["micromix", "toymix", "qm9", "tox21", "zinc12k", "freesolv", "solubility", "drugs"])
def test_shipped_data_files_are_good(name: str) -> None:
    _, datasets = check_data(compose([f"data={name}"])["data"])
    assert {dataset.name for dataset in datasets} == {
        "micromix": {"freesolv", "solubility", "drugs"},
        "toymix": {"qm9", "tox21", "zinc12k"},
    }.get(name, {name})


def test_transforms_are_one_or_a_list() -> None:
    fields = {"path": "a.csv", "targets": ["y"]}
    for transform in ("log1p", {"name": "clip", "low": 0}, ["clip", {"name": "min_max", "range": [-1, 1]}, "none"]):
        _, (dataset,) = check_data({**fields, "transform": transform})
        assert dataset.transform == transform
    (dataset,) = check_data(compose(["data=table", "data.path=a.csv", "data.transform=[clip,log1p,zscore]"])["data"])[1]
    assert dataset.transform == ["clip", "log1p", "zscore"]


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        ([], "data.transform is ..; name at least one transform"),
        (["log1p", "zscor"], r"'zscor' at data.transform\[1\]; did you mean 'zscore'"),
        (["log1p", ["zscore"]], r"data.transform\[1\] is \['zscore'\]; give the name of a transform"),
        (["log1p", {"name": "clip", "low": 2, "high": 1}], r"data.transform\[1\]: low and high of clip are"),
        ({"name": "rank_gauss", "knots": 5000}, "data.transform: rank_gauss has 5000 knots"),
    ],
)
def test_transforms_are_judged_without_a_file(transform: Any, sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        check_data({"path": "a.csv", "targets": ["y"], "transform": transform})
    group = {"columns": ["y"], "transform": transform}
    with pytest.raises(GraphiumError, match=sentence.replace("data.tr", r"data.tasks\[0\].tr")):
        check_data({"path": "a.csv", "tasks": [group]})


def test_toymix_is_as_published() -> None:
    _, datasets = check_data(compose(["data=toymix"])["data"])
    labels = {d.name: (sum(len(g.columns) for g in d.groups), d.groups[0].kind) for d in datasets}
    assert labels == {"qm9": (19, "regression"), "tox21": (12, "binary"), "zinc12k": (3, "regression")}
    for dataset in datasets:
        assert isinstance(dataset.split, dict)
        for url in (dataset.url, dataset.split["url"]):
            assert url.startswith("https://storage.valencelabs.com/graphium/datasets/neurips_2023/Small-dataset/")
        assert dataset.split["url"].endswith(f"/{dataset.split['path']}.pt")
        assert dataset.url.endswith(f"/{dataset.path}")


def test_the_table_file_takes_every_word() -> None:
    words = ["data.path=my.csv", "data.targets=[a,b]", "data.kind=binary", "data.limit=3", "data.split.name=random"]
    options, (dataset,) = check_data(compose(["data=table", *words])["data"])
    assert (options.limit, dataset.name, dataset.kind) == (3, "my", "binary")
    _, (dataset,) = check_data(compose(["data=table", "data.path=my.csv"])["data"])
    assert dataset.groups[0].columns == ["*"]


def test_a_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("datasets:\n  lab:\n    path: lab.csv\n    targets: [y]\n    split: {name: column, column: part}\n")
    _, (dataset,) = check_data(compose([f"data={path}"])["data"])
    assert dataset == Dataset("lab", "lab.csv", targets=["y"], split={"name": "column", "column": "part"})
