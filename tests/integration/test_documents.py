"""What the documents show is true: the commented configuration, the Python example, the links."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml


def blocks(file: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", file.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def documented(repository: Path) -> dict[str, Any]:
    block = blocks(repository / "docs" / "config.md", "yaml")[0]
    return yaml.safe_load(block)


def test_the_commented_configuration_is_accepted(documented: dict[str, Any]) -> None:
    from graphium.training.finetuning.options import FinetuneOptions
    from graphium.training.run import check_config

    # A model to go on from brings its own features and network.
    finetune = documented["finetune"]
    check_config({key: section for key, section in documented.items() if key != "finetune"})
    assert FinetuneOptions.from_config(finetune)


def test_the_commented_configuration_is_complete_and_shows_the_defaults(documented: dict[str, Any]) -> None:
    from graphium.chem.featurizer import Featurizer
    from graphium.config import SCALARS, SECTIONS
    from graphium.data.build import MixOptions
    from graphium.nn.network import Network
    from graphium.training.finetuning.options import FinetuneOptions
    from graphium.training.options import TrainerOptions

    assert set(documented) == {*SCALARS, *SECTIONS}

    def defaults(target: Any) -> dict[str, Any]:
        parameters = inspect.signature(target).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in ("spec", "head_specs")}

    assert set(documented["features"]) == set(defaults(Featurizer))
    assert set(documented["data"]) - {"datasets"} == {field.name for field in dataclasses.fields(MixOptions)}
    assert set(documented["model"]) == {*defaults(Network), "budget"}
    assert set(documented["trainer"]) == set(defaults(TrainerOptions))
    finetune = {key: value for key, value in defaults(FinetuneOptions).items() if key != "source"}
    assert set(documented["finetune"]) == {"from", *finetune}
    for section, target in (("model", Network), ("trainer", TrainerOptions), ("data", MixOptions)):
        for key, value in defaults(target).items():
            assert documented[section][key] == value, f"{section}.{key} of docs/config.md is not the default"


def test_the_python_example_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks(repository / "README.md", "python")
    assert len(example.strip().splitlines()) < 15
    monkeypatch.chdir(tmp_path)
    small = re.sub(r"max_epochs=\d+", "max_epochs=1, limit_train_batches=2, limit_val_batches=1, logger=False", example)
    exec(compile(small, "README.md", "exec"), {})
    assert (tmp_path / "my_model" / "model.safetensors").is_file()


def test_commands_of_the_documents_compose(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    from graphium.config import compose

    monkeypatch.chdir(tmp_path)
    commands = []
    for file in (
        repository / "README.md",
        *((repository / "docs" / name) for name in ("quickstart.md", "data.md", "models.md", "finetune.md")),
    ):
        for block in blocks(file, "bash"):
            commands += [line for line in block.splitlines() if line.startswith(("graphium-train", "graphium config"))]
    (tmp_path / "mine.yaml").write_text("path: my.csv\ntargets: [y]\n")
    for command in commands:
        words = shlex.split(command.replace("<", "_").replace(">", "_"), comments=True)
        words = [word for word in words if "=" in word]
        assert set(compose(words))


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md", "docs/data.md"])
def test_data_sections_of_the_documents_are_accepted(name: str, repository: Path, tmp_path: Path) -> None:
    from graphium.config import compose
    from graphium.data.build import check_data

    sections = blocks(repository / name, "yaml")
    assert sections
    for number, section in enumerate(sections):
        file = tmp_path / f"{number}.yaml"
        file.write_text(section)
        assert check_data(compose([f"data={file}"])["data"])


def test_many_tasks_are_documented_whole(repository: Path) -> None:
    from graphium import registry
    from graphium.data.build import check_data
    from graphium.nn.network import check_network
    from graphium.training.judging import judge_datasets

    page = repository / "docs" / "multitask.md"
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", page.read_text()))))
    for kind in ("loss", "weighting", "transform", "metric"):
        assert set(registry.names(kind)) <= words, f"docs/multitask.md leaves out a {kind}"
    for example in re.findall(r"^\|[^|]*\| `(\{name: .*?\})`", page.read_text(), re.MULTILINE):
        name = yaml.safe_load(example)["name"]
        assert any(name in registry.names(kind) for kind in ("loss", "weighting", "transform")), example
    data, model = (yaml.safe_load(block) for block in blocks(page, "yaml"))
    judge_datasets(check_data(data)[1], "tasks")
    check_network(["l1000_vcap", "l1000_mcf7", "pcba_1328", "qm9", "tox21"], **model["model"])


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{page}.md" for page in ("index", "quickstart", "data", "multitask", "models", "finetune")),
    ],
)
def test_links_lead_to_files(name: str, repository: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (repository / name).read_text()):
        assert ((repository / name).parent / target).exists(), f"{name} links to {target}"
