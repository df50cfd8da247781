"""``environment.json``: what is needed to say under which circumstances a run was made."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import graphium

_PACKAGES = (
    "torch",
    "torch-geometric",
    "pytorch-lightning",
    "torchmetrics",
    "rdkit",
    "datamol",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "hydra-core",
)


def describe_environment(
    summary: Mapping[str, Mapping[str, Any]], *, seed: int, device: torch.device
) -> dict[str, Any]:
    """Versions, git revision, data hashes, seed, device and thread count, as plain values."""
    return {
        "graphium": graphium.__version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "data": {name: dataset["key"] for name, dataset in summary.items()},
        "seed": seed,
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Revision of the checkout that this code runs from; None for an installed package."""
    folder = Path(graphium.__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
