from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from graphium.errors import GraphiumError
from graphium.models.folder.described import describe, plain_text
from graphium.models.saved import load_model, save_model

EVERY_LEVEL = "tests/models_at_rest/format_2/every_level"


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository / EVERY_LEVEL, tmp_path / "model"))


def test_it_says_what_loading_finds(folder: Path) -> None:
    saved, found = load_model(folder), describe(folder)
    state = saved.network.state_dict()
    assert found.num_weights == sum(tensor.numel() for tensor in state.values())
    assert [(h.name, h.num_tasks, h.level) for h in found.heads] == [
        (h.name, h.num_tasks, h.level) for h in saved.heads
    ]
    assert found.tasks()["beta", "graph", "binary"] == 5 and sum(found.tasks().values()) == 13
    assert found.sizes["model.safetensors"] == (folder / "model.safetensors").stat().st_size
    assert found.card.startswith("# every_level\n") and found.about == "every_level"


def test_statistics_and_knots_are_no_weights(folder: Path) -> None:
    saved, before = load_model(folder), describe(folder).num_weights
    statistics = {saved.heads[0].name: torch.zeros(saved.heads[0].num_tasks)}
    save_model(folder, saved.network, saved.featurizer, saved.heads, statistics=statistics)
    assert describe(folder).num_weights == before


def test_no_torch_is_imported(folder: Path) -> None:
    code = f"import sys; from graphium.models.folder.described import describe; describe({str(folder)!r}); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_card_does_not_steer_the_terminal(folder: Path) -> None:
    saved = load_model(folder)
    about = "\x1b]0;owned\x07red \x1b[31m\u202e"
    save_model(folder, saved.network, saved.featurizer, saved.heads, facts={"about": about})
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# x\x1b[2J\n\ttext\x07\n")
    found = describe(folder)
    assert found.card == "# x[2J\n\ttext"
    assert found.about.isprintable()
    assert plain_text("a\x9bb\u200bc\r") == "abc"


def test_a_model_without_a_card_or_without_weights(folder: Path) -> None:
    (folder / "README.md").unlink()
    assert describe(folder).card == "" and "README.md" not in describe(folder).sizes
    (folder / "model.safetensors").unlink()
    with pytest.raises(GraphiumError, match="is missing"):
        describe(folder)


def test_features_that_are_none(folder: Path, repository: Path) -> None:
    # That of format 1 has no checksum.
    older = repository / "tests/models_at_rest/format_1/every_level"
    shutil.copytree(older, folder, dirs_exist_ok=True)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("  atoms:", "  atoms: 5\n  others:", 1))
    with pytest.raises(GraphiumError, match="is damaged"):
        describe(folder)
