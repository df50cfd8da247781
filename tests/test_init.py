from __future__ import annotations

import subprocess
import sys

import pytest

import graphium as gf


def test_import_brings_no_heavy_library() -> None:
    code = "import sys, graphium; print(sorted({'torch', 'rdkit', 'pandas', 'hydra', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(set(gf.__all__) - {"__version__"}))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(gf, name)
    assert value.__doc__, f"{name} needs a docstring"
    assert name in dir(gf)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Featuriser'"):
        gf.Featuriser  # noqa: B018
