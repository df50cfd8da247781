"""The notebooks of the documents run from top to bottom, on little data."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def notebooks(repository: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that executes them."""
    spec = importlib.util.spec_from_file_location("notebooks", repository / "docs" / "notebooks" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("GRAPHIUM_SMALL", "1")
    monkeypatch.setenv("PYTHONPATH", str(repository))
    return module


def test_every_notebook_is_a_page_and_shows_what_it_prints(repository: Path) -> None:
    pages = (repository / "mkdocs.yml").read_text()
    found = sorted((repository / "docs" / "notebooks").glob("*.ipynb"))
    assert len(found) == 3
    for path in found:
        assert f"notebooks/{path.name}" in pages
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] == number for number, cell in enumerate(cells, 1)), path.name
        assert sum(bool(cell["outputs"]) for cell in cells) >= 4


@pytest.mark.parametrize("name", ["train_on_your_table", "trust_and_pictures"])
def test_they_run(name: str, notebooks: Any) -> None:
    notebooks.execute(notebooks.FOLDER / f"{name}.ipynb")


def test_minimol_is_fine_tuned(
    notebooks: Any, minimol: Path, shared_data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(minimol, cache / "models" / "minimol", dirs_exist_ok=True)
    monkeypatch.setenv("GRAPHIUM_DATA", str(shared_data / "tdc_admet"))
    notebooks.execute(notebooks.FOLDER / "finetune_minimol.ipynb")
