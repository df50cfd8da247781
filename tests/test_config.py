from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from graphium import config
from graphium.config import GROUPS, SCALARS, SECTIONS, compose, compose_run, configs_dir, options
from graphium.errors import GraphiumError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(*words: str, config_dir: Path | None = None) -> str:
    with pytest.raises(GraphiumError) as caught:
        compose(list(words), config_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_default_run_is_plain_and_complete() -> None:
    run = compose()
    assert list(run) == [*SCALARS, *SECTIONS]
    assert run["seed"] == 42
    assert run["name"] == "micromix_gine"
    assert yaml.safe_load(yaml.safe_dump(run)) == run


def test_constants_are_what_the_root_file_says() -> None:
    root = yaml.safe_load((configs_dir() / "train.yaml").read_text())
    groups = {group for entry in root.pop("defaults") if isinstance(entry, dict) for group in entry}
    assert groups == set(GROUPS)
    assert set(root) == set(SCALARS)
    assert set(SECTIONS) == groups - {"experiment"}


@pytest.mark.parametrize("group", GROUPS)
def test_every_shipped_option_composes(group: str) -> None:
    for name in options(group):
        run = compose([f"{group}={name}"])
        assert set(run) == {*SCALARS, *SECTIONS}


def test_a_model_is_no_way_to_fine_tune() -> None:
    assert "finetune.from=minimol" in refused("finetune=minimol")


def test_values_are_added_and_typed() -> None:
    run = compose(["model.width=64", "model.dropout=0.1", "data.targets=[*,-mw]", "trainer.averaging=null", "++seed=7"])
    assert run["model"]["width"] == 64
    assert run["model"]["dropout"] == 0.1
    assert run["data"]["targets"] == ["*", "-mw"]
    assert run["trainer"]["averaging"] is None
    assert run["seed"] == 7


def test_the_star_alone() -> None:
    assert compose(["data=table", "data.targets=*"])["data"]["targets"] == "*"


def test_naming_a_part_replaces_it_and_says_so() -> None:
    composed = compose_run(["optim.name=sgd", "optim.lr=0.1"])
    assert composed.config["optim"]["name"] == "sgd"
    assert composed.config["optim"]["lr"] == 0.1
    assert "weight_decay" not in composed.config["optim"]
    assert composed.config["optim"]["schedule"]["name"] == "cosine"
    (message,) = composed.messages
    assert "sgd instead of adamw" in message
    assert "weight_decay" in message


def test_name_of_a_run_comes_from_the_choices() -> None:
    assert compose(["experiment=toymix_gine"])["name"] == "toymix_gine"
    assert compose(["model=gcn"])["name"] == "micromix_gcn"
    assert compose(["name=mine"])["name"] == "mine"
    assert compose(["name=12"])["name"] == "12"


def test_experiment_yields_to_words() -> None:
    run = compose(["experiment=toymix_gine", "model=gcn", "trainer.max_epochs=1"])
    assert run["trainer"]["max_epochs"] == 1
    assert set(run["data"]["datasets"]) == {"qm9", "tox21", "zinc12k"}
    assert compose(["experiment=null"]) == compose()


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("modle.width=3", ["'modle'", "did you mean 'model'"]),
        ("model=gien", ["'gien'", "did you mean 'gin", "gcn"]),
        ("lr=0.1", ["optim.lr=0.1"]),
        ("batch_size=3", ["data.batch_size=3"]),
        ("colour=3", ["choices", "ckpt_path"]),
        ("dataset=qm9", ["dataset@data.datasets"]),
        ("data=my.csv", ["data=table data.path=my.csv"]),
        ("data=no/such.yaml", ["no/such.yaml", "path"]),
        ("toymixes", ["key=value"]),
        ("toymix", ["write data=toymix"]),
        ("qm9", ["write data=qm9"]),
        ("seed.x=1", ["42"]),
        ("~model.no_such=1", ["not set"]),
        ("hydra.run.dir=x", ["run_dir="]),
        ("model.pooling=mean,max", ['"model.pooling=[mean,max]"']),
        ("model=gcn,gin", ["choose one of them"]),
        ("data=toymix,freesolv", ["+dataset@data.datasets.NAME=NAME"]),
        ("data=[toymix,freesolv]", ["data is ['toymix', 'freesolv']"]),
        ("+dataset@data.datasets.a=freesolve", ["'freesolve'", "did you mean 'freesolv'", "graphium data list"]),
        ("+dataset@data.datasets.a=no_such", ["unknown dataset 'no_such'; for the data sets, graphium data list"]),
        ("data=qm8", ["'qm8'", "did you mean 'qm9'", "largemix", "graphium data list", "path/to/mine.yaml"]),
        ("data=lagremix", ["did you mean 'largemix'"]),
        ("smiles=Drug", ["data.smiles=Drug"]),
        ("data.x=${no_such}", ["no_such"]),
    ],
)
def test_wrong_words_get_a_sentence(word: str, parts: list[str]) -> None:
    sentence = refused(word)
    for part in parts:
        assert part in sentence


def test_the_name_of_a_data_set_means_that_data_set_alone() -> None:
    run = compose(["data=tox21", "data.limit=5"])
    assert run["name"] == "tox21_gine"
    assert set(run["data"]) == {"datasets", "limit"}
    assert set(run["data"]["datasets"]) == {"tox21"}
    assert compose_run(["data=tox21"]).choices["data"] == "tox21"
    more = compose(["data=tox21", "+dataset@data.datasets.freesolv=freesolv"])
    assert set(more["data"]["datasets"]) == {"tox21", "freesolv"}


def test_data_sets_of_ones_own_folder_by_name(tmp_path: Path) -> None:
    write(tmp_path / "dataset" / "lab.yaml", "path: lab.csv\ntargets: [y]\n")
    write(tmp_path / "experiment" / "screen.yaml", "# @package _global_\ndefaults:\n  - override /data: lab\n")
    alone = {"datasets": {"lab": {"path": "lab.csv", "targets": ["y"]}}}
    assert compose(["data=lab"], tmp_path)["data"] == alone
    assert compose(["experiment=screen"], tmp_path)["data"] == alone
    assert "did you mean 'lab'" in refused("data=labb", config_dir=tmp_path)
    assert "unknown data 'lab'" in refused("data=lab")
    # Where a mix has the name of a data set, the name means the mix.
    write(tmp_path / "data" / "lab.yaml", "defaults:\n  - /dataset@datasets.one: lab\n  - _self_\nlimit: 3\n")
    assert compose(["data=lab"], tmp_path)["data"] == {"datasets": {"one": alone["datasets"]["lab"]}, "limit": 3}


def test_file_given_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine.yaml", "# My table.\npath: my.csv\ntargets: [y]\n")
    run = compose([f"data={tmp_path}/mine.yaml", "data.limit=10"])
    assert run["data"] == {"path": "my.csv", "targets": ["y"], "limit": 10}
    assert run["name"] == "mine_gine"
    monkeypatch.chdir(tmp_path)
    assert compose(["data=mine.yaml", "data.limit=10"]) == run


def test_paths_in_a_file_of_ones_own_mean_what_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "my.csv", "smiles,y\nC,1\n")
    write(tmp_path / "split.csv", "train\n0\n")
    text = "datasets:\n  a: {path: my.csv, targets: [y], split: {name: file, path: split.csv}}\n  b: {path: far.csv}\n"
    data = compose([f"data={write(tmp_path / 'mine.yaml', text)}"])["data"]["datasets"]
    assert data["a"]["path"] == str(tmp_path / "my.csv")
    assert data["a"]["split"]["path"] == str(tmp_path / "split.csv")
    assert data["b"]["path"] == "far.csv"
    write(tmp_path / "part_1.csv", "smiles,y\nC,1\n")
    text = "path: [my.csv, 'part_*.csv', 'no_*.csv', 's3://a/b.csv']\nlong: {key: id, path: split.csv, values: y}\n"
    data = compose([f"data={write(tmp_path / 'mine.yaml', text)}"])["data"]
    assert data["path"] == [str(tmp_path / "my.csv"), str(tmp_path / "part_*.csv"), "no_*.csv", "s3://a/b.csv"]
    assert data["long"]["path"] == str(tmp_path / "split.csv")


@pytest.mark.parametrize("word", ["~model", "model=null", "features=null", "data=null", "run_dir=", "~seed"])
def test_a_section_that_is_taken_away_is_empty(word: str) -> None:
    run = compose([word])
    assert set(SECTIONS) <= set(run)
    assert all(isinstance(run[section], dict) for section in SECTIONS)
    assert "None" not in run["name"]
    assert run["run_dir"] is None


def test_file_given_by_its_path_builds_on_shipped_data_sets(tmp_path: Path) -> None:
    text = """
        defaults:
          - /dataset@datasets.zinc: zinc12k
          - _self_
        datasets:
          zinc:
            split: {name: random}
        """
    run = compose([f"data={write(tmp_path / 'mine.yaml', text)}"])
    assert run["data"]["datasets"]["zinc"]["split"] == {"name": "random"}
    assert run["data"]["datasets"]["zinc"]["path"]


def test_file_with_a_fault_is_named(tmp_path: Path) -> None:
    broken = write(tmp_path / "broken.yaml", "path: [1\nb: 2\n")
    assert str(broken) in refused(f"data={broken}")
    listing = write(tmp_path / "listing.yaml", "- 1\n")
    assert str(listing) in refused(f"data={listing}")
    stray = write(tmp_path / "stray.yaml", "# @package _global_\nmodle: {width: 3}\n")
    assert "did you mean 'model'" in refused(f"experiment={stray}")
    lost = write(tmp_path / "lost.yaml", "defaults:\n  - /dataset@datasets.a: no_such\n")
    assert "no_such" in refused(f"data={lost}")


def test_own_folder_adds_options(tmp_path: Path) -> None:
    write(tmp_path / "model" / "tiny.yaml", "# Tiny.\nwidth: 8\n")
    write(tmp_path / "experiment" / "mine.yaml", "# @package _global_\ndefaults:\n  - override /model: tiny\n")
    run = compose(["experiment=mine"], tmp_path)
    assert run["model"] == {"width": 8}
    assert run["name"] == "mine"
    assert "tiny" in refused("model=tyni", config_dir=tmp_path)
    assert "tiny" in options("model", tmp_path)


def test_own_folder_may_not_shadow_a_shipped_file(tmp_path: Path) -> None:
    write(tmp_path / "model" / "gine.yaml", "width: 8\n")
    assert "another name" in refused(config_dir=tmp_path)
    assert "does not exist" in refused(config_dir=tmp_path / "nowhere")


def test_folder_with_awkward_name(tmp_path: Path) -> None:
    folder = tmp_path / "my configs (new), 'v1'=b"
    write(folder / "model" / "tiny.yaml", "width: 8\n")
    assert compose(["model=tiny"], folder)["model"] == {"width": 8}


def test_data_set_placed_into_a_mix() -> None:
    run = compose(["data=toymix", "+dataset@data.datasets.freesolv=freesolv"])
    assert set(run["data"]["datasets"]) == {"qm9", "tox21", "zinc12k", "freesolv"}


def test_home_is_expanded() -> None:
    assert compose(["data_dir='~/x'"])["data_dir"] == str(Path.home() / "x")


def test_composing_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    compose(["model=gcn"])
    assert not GlobalHydra.instance().is_initialized()
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_configs_are_found_beside_the_package_and_inside_it(tmp_path: Path) -> None:
    assert configs_dir() == Path(config.__file__).resolve().parent.parent / "configs"
    installed = tmp_path / "graphium"
    shutil.copytree(Path(config.__file__).parent, installed, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(configs_dir(), installed / "configs")
    code = "from graphium.config import configs_dir; print(configs_dir())"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == installed / "configs"


def test_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path))
    assert config.cache_dir() == tmp_path
    monkeypatch.delenv("GRAPHIUM_CACHE")
    assert config.cache_dir() == Path.home() / ".cache" / "graphium"
