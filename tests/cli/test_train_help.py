from __future__ import annotations

from pathlib import Path

from graphium.cli.train_help import _about
from graphium.config import options


def test_every_experiment_and_data_option_says_what_it_is() -> None:
    for group in ("data", "experiment", "features", "model", "optim", "trainer"):
        for name, file in options(group).items():
            assert _about(file), f"{group}/{name} needs a first comment line"


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "dataset" / "a.yaml").write_text("about: Three molecules\npath: a.csv\n")
    commented, plain = tmp_path / "data" / "commented.yaml", tmp_path / "data" / "plain.yaml"
    commented.write_text("# @package _global_\n# A mix.\n# More.\ndefaults: []\n")
    plain.write_text("defaults:\n  - _self_\n  - /dataset@datasets.a: a\n")
    assert _about(commented) == "A mix."
    plain.write_text("about: What it is\n# A remark on one key.\nsplit: random\n")
    assert _about(plain) == "What it is"
    plain.write_text("defaults:\n  - _self_\n  - /dataset@datasets.a: a\n")
    assert _about(plain) == "Three molecules"
