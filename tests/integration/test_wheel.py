"""What is shipped: the wheel holds the package and its configuration files, and works from elsewhere."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling builds the wheel; pip install graphium[dev]")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_every_module_and_configuration_file(wheel: Path, repository: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"graphium/{file.relative_to(repository)}" for file in (repository / "configs").rglob("*.yaml")}
    expected |= {str(file.relative_to(repository)) for file in (repository / "graphium").rglob("*.py")}
    assert expected <= names
    assert not [name for name in names if name.startswith(("tests/", "expts/", "docs/"))]


def test_installed_package_finds_its_configs_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import graphium; from graphium.config import configs_dir; "
        "print(configs_dir()); print(graphium.compose(['model=gcn'])['name'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(site / "graphium" / "configs"), "micromix_gcn"], done.stderr
    assert list(elsewhere.iterdir()) == []


def test_wheel_asks_for_nothing_that_must_be_compiled(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    required = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    assert required
    assert not [line for line in required if any(w in line for w in ("torch-scatter", "torch-sparse", "torch-cluster"))]
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "graphium-train = graphium.cli.train:main" in archive.read(entry_points).decode()
