from __future__ import annotations

from pathlib import Path

import pytest

from graphium.cli.train_help import _about, print_help
from graphium.config import options


def test_every_experiment_and_data_option_says_what_it_is() -> None:
    for group in ("data", "experiment", "features", "model", "optim", "trainer"):
        for name, file in options(group).items():
            assert _about(file), f"{group}/{name} needs a first comment line"


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("# @package _global_\n# A mix.\n# More.\ndefaults: []\n")
    assert _about(file) == "A mix."
    file.write_text("about: What it is\n# A remark on one key.\nsplit: random\n")
    assert _about(file) == "What it is"
    file.write_text("defaults: []\n")
    assert _about(file) == ""


def test_the_page_lists_mixes_and_says_where_the_data_sets_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_help()
    page = capsys.readouterr().out
    assert "data=largemix" in page
    assert "data=NAME" in page
    assert "data=caco2_wang" not in page
