from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graphium.errors import GraphiumError
from graphium.models import hub
from graphium.models.sources import cached_models, find_model


def _model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    return folder


def test_a_model_and_the_run_that_made_it(tmp_path: Path) -> None:
    model = _model(tmp_path / "run" / "model")
    # A run has a configuration of its own.
    (tmp_path / "run" / "config.yaml").touch()
    assert find_model(model) == find_model(str(model)) == find_model(tmp_path / "run") == model


def test_a_name_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert cached_models() == []
    with pytest.raises(GraphiumError, match="no model 'minimol'; graphium models import minimol brings it"):
        find_model("minimol")
    with pytest.raises(GraphiumError, match="no model 'other'; give a model's folder"):
        find_model("other")
    model = _model(tmp_path / "cache" / "models" / "minimol")
    (tmp_path / "cache" / "models" / "empty").mkdir()
    assert find_model("minimol") == model and cached_models() == ["minimol"]
    with pytest.raises(GraphiumError, match="no model 'minimool'; did you mean 'minimol'"):
        find_model("minimool")
    # What lies here comes first.
    assert find_model("minimol") != find_model(_model(tmp_path / "minimol"))


def test_no_name_leaves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    _model(tmp_path / "cache" / "secret")
    for name in ("../secret", "..", "a/../../secret"):
        with pytest.raises(GraphiumError):
            find_model(name)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(GraphiumError, match="there is no folder"):
        find_model(tmp_path / "none")
    with pytest.raises(GraphiumError, match="holds no model"):
        find_model(tmp_path)


def test_the_hub_is_asked_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "pull", lambda source: tmp_path / source.replace("/", "_"))
    assert find_model("hub:a/b@c") == tmp_path / "hub:a_b@c"


def test_finding_imports_no_torch() -> None:
    code = "import sys; from graphium.models.sources import cached_models; cached_models(); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["~nobody_of_this_name/model", "C" * 5000])
def test_names_that_no_system_takes(name: str) -> None:
    with pytest.raises(GraphiumError, match=r"cannot be opened \(.*\); give a model's folder"):
        find_model(name)


def test_no_name_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the shell that is empty means no folder, not this one."""
    _model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GraphiumError, match="the name of the model is empty"):
        find_model("")
    with pytest.raises(GraphiumError, match="not by a NoneType"):
        find_model(None)  # type: ignore[arg-type]
