"""MiniMol, a published foundation model, as a model of ours: its wheel is read as data and never imported.

Kläser, Banaszewski et al. 2024, "MiniMol: A Parameter-Efficient Foundation Model for Molecular Learning",
arXiv 2404.14986. A GINE network of 10 million parameters, trained on LargeMix.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.config import cache_dir
from graphium.data.store.columns import disk_errors
from graphium.errors import GraphiumError
from graphium.messages import tell
from graphium.models.folder.names import CONFIG
from graphium.models.folder.tensors import file_sha256
from graphium.models.saved import save_model
from graphium.models.sources import models_dir
from graphium.nn.network import Network
from graphium.types import HeadSpec, Kind, Level, Task, group_tasks

VERSION = "1.3.5"
SHA256 = "faa431c550682dfeed9f5b5503e3efef2a3d85a782afa256150449bb209f9eda"
_STATE = "minimol/ckpts/minimol_v1/state_dict.pth"
_LICENCE = f"minimol-{VERSION}.dist-info/LICENSE"

# Data set -> (level, kind, classes, task names, activation of its head's hidden layer).
_DATASETS: dict[str, tuple[Level, Kind, int, list[str], str]] = {
    "l1000_vcap": ("graph", "ordinal", 3, [f"vcap_gene_{n:03}" for n in range(1, 979)], "none"),
    "l1000_mcf7": ("graph", "ordinal", 3, [f"mcf7_gene_{n:03}" for n in range(1, 979)], "none"),
    "pcba_1328": ("graph", "binary", 0, [f"assay_{n:04}" for n in range(1, 1329)], "relu"),
    "pcqm4m_g25": ("graph", "regression", 0, [f"g25_{n:02}" for n in range(1, 26)], "relu"),
    "pcqm4m_n4": ("node", "regression", 0, [f"n4_{n}" for n in range(1, 5)], "relu"),
}
_LOSSES: dict[str, dict[str, Any]] = {
    "ordinal": {"name": "hybrid_ce", "alpha": 0.5},
    "binary": {"name": "bce"},
    "regression": {"name": "mae"},
}
_FACTS: dict[str, Any] = {
    "name": "MiniMol",
    "about": "A foundation model (Kläser, Banaszewski et al. 2024, arXiv 2404.14986) whose fingerprints, the largest "
    "values over the atoms of gnn:15, serve as features of small data sets, and which can be fine-tuned on them.",
    "weights": "published",
    "source": f"the package minimol {VERSION} on PyPI, read as data",
    "licence": "MIT",
    "fingerprint": "gnn:15",
    "data": "LargeMix (Beaini et al. 2024): L1000 expression of 978 genes in two cell lines, 1,328 assays of PubChem, "
    "25 properties of molecules and 4 of atoms of PCQM4M.",
    "columns": "The package does not name genes, assays and properties: tasks are numbered in its order.",
    "units": "Properties of PCQM4M are z-scores: in deviations of the training labels from their mean.",
    "limits": "It sees no stereocentres and no 3-D. Its tasks have no names, and its properties no units. "
    "Eigenvectors of a molecule's graph have no sign, and no one basis where an eigenvalue repeats, and the weights "
    "depend a little on what is taken: fingerprints differ slightly from those of the original program, for some "
    "molecules by more than 2 % of their length.",
}
_OPTIONS: dict[str, Any] = {
    "width": 336,
    "in_width": 128,
    "out_width": 512,
    "depth": 16,
    "layer": {"name": "gine", "train_eps": True, "norm": "layer_norm", "edge_bias": True},
    "encoding_width": 32,
    "encoders": {
        "laplacian": {
            "name": "laplacian",
            "hidden": 64,
            "activation": "none",
            "flip_signs": False,
            "count_absent": True,
        },
        "rw_return_probs": {"name": "mlp", "hidden": 64, "depth": 2, "norm": "layer_norm", "input_norms": 2},
    },
    "inputs": {
        "atoms": {"hidden": [256], "norm": "layer_norm", "activation": "relu"},
        "bonds": {"hidden": [128], "norm": "layer_norm", "activation": "relu"},
    },
    "dropout": 0.02,
    "virtual_node": {"name": "logsum", "plus_one": False},
    "virtual_node_projection": True,
    "virtual_node_place": "after_residual",
    "edge_width": 168,
    "readouts": {
        "graph": {
            "width": 1024,
            "hidden_width": 512,
            "depth": 2,
            "pooling": "max",
            "activation": "relu",
            "norm": "layer_norm",
            "activate_last": False,
        },
        "node": {
            "width": 64,
            "hidden_width": 256,
            "depth": 2,
            "activation": "relu",
            "norm": "layer_norm",
            "activate_last": False,
            "norm_last": False,
        },
    },
    "head_width": 128,
    "head_norm": "layer_norm",
    "heads": {name: {"of": name, "activation": row[4]} for name, row in _DATASETS.items()},
}
# Width of the network over that of its base model, by which a muP readout divides its input.
_WIDTH_RATIO = 2.0
# Channels of the published first map: encodings, then atom numbers, then one-hots of these sizes.
_ENCODING, _NUMBERS, _ONE_HOTS = 32, 5, (44, 20, 8, 8)


def import_minimol(to: Path | None = None, wheel: Path | None = None) -> Path:
    """Make the published weights a model of ours, once.

    Args:
        to: Where the model goes; None is ``models/minimol`` in the cache, where ``load_model("minimol")`` looks.
        wheel: The wheel ``minimol-1.3.5-py3-none-any.whl``; None fetches it with pip into the cache.

    Returns:
        The folder of the model. One that is there already is left as it is.

    Raises:
        GraphiumError: the wheel cannot be had, or is not the one that was published.
    """
    target = Path(to) if to is not None else models_dir() / "minimol"
    if (target / CONFIG).is_file():
        return target
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise GraphiumError(f"{str(target)!r} exists and holds no model; give another place for the import")
    state, licence = read_wheel(Path(wheel) if wheel is not None else fetch_wheel())
    network = build_minimol(state)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # The folder gets its name when it is complete, so half an import is never found.
        half = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            # An ordinary folder, not one for this user alone.
            folder = half / "model"
            save_model(
                folder, network, minimol_featurizer(), network.head_specs, facts={**_FACTS, "licence_text": licence}
            )
            _rename(folder, target)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return target


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.replace(target)
    except OSError:
        # Another process was faster.
        if not (target / CONFIG).is_file():
            raise


def fetch_wheel() -> Path:
    """Fetch the wheel into the cache with pip, so that the user's own package index counts.

    Raises:
        GraphiumError: pip is missing or fails.
    """
    folder = cache_dir() / "downloads" / "minimol"
    path = folder / f"minimol-{VERSION}-py3-none-any.whl"
    if path.is_file() and file_sha256(path) == SHA256:
        return path
    tell([f"fetching the weights of minimol {VERSION} with pip, 19 MB"])
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as part:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", part, f"minimol=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = Path(part) / path.name
        if done.returncode != 0 or not found.is_file():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise GraphiumError(
                f"pip could not fetch minimol=={VERSION} ({reason}); check the connection, or download "
                f"{path.name} yourself and give its path"
            )
        os.replace(found, path)
    return path


def read_wheel(wheel: Path) -> tuple[dict[str, Tensor], str]:
    """The published tensors, float64, under their published names, and the text of their licence.

    Raises:
        GraphiumError: a missing file, or not the file that was published.
    """
    if not wheel.is_file():
        raise GraphiumError(f"{str(wheel)!r} does not exist; give the wheel minimol-{VERSION}-py3-none-any.whl")
    found = file_sha256(wheel)
    if found != SHA256:
        raise GraphiumError(
            f"{str(wheel)!r} is not the published wheel of minimol {VERSION} or is damaged (SHA-256 {found[:12]}..., "
            f"not {SHA256[:12]}...); download it again"
        )
    with zipfile.ZipFile(wheel) as archive:
        content, licence = io.BytesIO(archive.read(_STATE)), archive.read(_LICENCE).decode()
    state = torch.load(content, map_location="cpu", weights_only=True)
    return {name.removeprefix("model."): tensor.double() for name, tensor in state.items()}, " ".join(licence.split())


def minimol_featurizer() -> Featurizer:
    """The features that the published model reads; its degree counts hydrogens, which are a property apart here."""
    return Featurizer(
        atom_onehot=["atomic-number", "group", "period", "total-valence"],
        atom_float=["degree", "implicit-valence", "formal-charge", "radical-electron", "aromatic", "in-ring"],
        bond_onehot=["bond-type", "stereo", "in-ring"],
        bond_float=[],
        encodings=[{"name": "laplacian", "k": 8, "basis": "canonical"}, {"name": "rw_return_probs", "steps": 16}],
    )


def minimol_heads() -> tuple[HeadSpec, ...]:
    """Its five heads; tasks are named by their position."""
    tasks = []
    for dataset, (level, kind, classes, names, _) in _DATASETS.items():
        unit = "z-score" if kind == "regression" else ""
        tasks += [Task(name, dataset, level, kind, classes, unit=unit, loss=_LOSSES[kind]) for name in names]
    return group_tasks(tasks)


def build_minimol(state: Mapping[str, Tensor]) -> Network:
    """The published network as ours, in float32; what is linear in a row is multiplied out in float64."""
    network = Network(minimol_featurizer().spec, minimol_heads(), **_OPTIONS)
    network.load_state_dict({name: tensor.float() for name, tensor in _translate(state, network).items()})
    return network.eval()


def _translate(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Published names and shapes -> ours."""
    ours = {**_atoms(state), **_encoders(state)}
    _copy_layer(ours, "node_input.norm", state, "pre_nn.layers.0.normalization")
    _copy_normed(ours, "node_input.mlp.linears.0", state, "pre_nn.layers.1")
    ours["edge_input.mlp.linears.0.0.weight"] = _bond_columns(state["pre_nn_edges.layers.0.linear.weight"])
    ours["edge_input.mlp.linears.0.0.bias"] = state["pre_nn_edges.layers.0.linear.bias"]
    _copy_layer(ours, "edge_input.mlp.linears.0.1", state, "pre_nn_edges.layers.0.normalization")
    _copy_normed(ours, "edge_input.mlp.linears.1", state, "pre_nn_edges.layers.1")
    for step in range(len(network.blocks)):
        there, here = f"gnn.layers.{step}", f"blocks.{step}"
        ours[f"{here}.layer.eps"] = state[f"{there}.model.eps"].squeeze()
        ours[f"{here}.layer.table"] = state[f"{there}.model.lin.weight"].t()
        ours[f"{here}.layer.edge_bias"] = state[f"{there}.model.lin.bias"]
        _copy_normed(ours, f"{here}.layer.mlp.linears.0", state, f"{there}.model.nn.fully_connected.0")
        _copy_layer(ours, f"{here}.layer.mlp.linears.1", state, f"{there}.model.nn.fully_connected.1.linear")
        _copy_layer(ours, f"{here}.norm", state, f"{there}.norm_layer")
    for step in range(len(network.virtual_nodes)):
        there, here = f"gnn.virtual_node_layers.{step}", f"virtual_nodes.{step}"
        _copy_layer(ours, f"{here}.linear", state, f"{there}.fc_layer.linear")
        _copy_layer(ours, f"{here}.norm", state, f"{there}.fc_layer.normalization")
        _copy_readout(ours, f"{here}.projection", state, f"{there}.node_projection")
    for level in ("graph", "node"):
        there, here = f"task_heads.graph_output_nn.{level}.graph_output_nn.layers", f"readouts.{level}.mlp.linears"
        _copy_normed(ours, f"{here}.0", state, f"{there}.0")
        last = f"{here}.1.0" if level == "graph" else f"{here}.1"
        _copy_layer(ours, last, state, f"{there}.1.linear")
    # The published weights have none for this norm, which its code then left as it starts.
    ours["readouts.graph.mlp.linears.1.1.weight"] = torch.ones(1024)
    ours["readouts.graph.mlp.linears.1.1.bias"] = torch.zeros(1024)
    for head in network.head_specs:
        there, here = f"task_heads.task_heads.{head.dataset}.layers", f"heads.groups.{head.dataset}"
        _copy_normed(ours, f"{here}.hidden.linears.0", state, f"{there}.0")
        _copy_readout(ours, f"{here}.outputs.{head.name}", state, f"{there}.1.linear")
    return ours


def _atoms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first map of atom features: a table of categories and a map of numbers and encodings."""
    weight, bias = state["pre_nn.layers.0.linear.weight"], state["pre_nn.layers.0.linear.bias"]
    encodings, numbers, *one_hots = weight.split([_ENCODING, _NUMBERS, *_ONE_HOTS], dim=1)
    degree = numbers[:, :1]
    element, group, period, valence = (columns.t() for columns in one_hots)
    # The published degree is that of all bonds less 2. There is one element per atom: it takes the constants.
    element = element + (bias - 2 * degree.squeeze(1))
    # Neither has a code of its own: groups beyond the 19th, and valences from 7 on.
    table = torch.cat([element, group[:19], period, valence, valence[-1:]])
    # What is added up of the two encodings there stands side by side here; hydrogens are bonds of the degree.
    linear = torch.cat([degree, numbers, encodings, encodings], dim=1)
    linear[:, 1] = degree.squeeze(1)
    return {"node_input.table": table, "node_input.linear.weight": linear}


def _bond_columns(weight: Tensor) -> Tensor:
    """Columns of the one-hot bond features: whether a bond is in a ring, a number there, is a category here."""
    zero = torch.zeros_like(weight[:, :1])
    return torch.cat([weight[:, :12], zero, weight[:, 12:], zero], dim=1)


def _encoders(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    there, here = "encoder_manager.pe_encoders.la_pos", "node_input.encoders.laplacian"
    # Two maps without activation between them, before the sum over the eigenpairs and around it.
    first, second, third, last = (
        (state[f"{there}.{name}.linear.weight"], state[f"{there}.{name}.linear.bias"])
        for name in (
            "linear_in",
            "pe_encoder.fully_connected.0",
            "pe_encoder.fully_connected.1",
            "post_mlp.fully_connected.0",
        )
    )
    weight, bias = second[0] @ first[0], second[0] @ first[1] + second[1]
    # Published columns are eigenvalue, eigenvector; ours eigenvector, eigenvalue, one.
    ours[f"{here}.pair.weight"] = torch.stack([weight[:, 1], weight[:, 0], bias], dim=1)
    ours[f"{here}.linear.weight"] = last[0] @ third[0]
    ours[f"{here}.linear.bias"] = last[0] @ third[1] * 8 + last[1]
    there, here = "encoder_manager.pe_encoders.rw_pos", "node_input.encoders.rw_return_probs"
    _copy_layer(ours, f"{here}.input_norms.0", state, f"{there}.first_normalization")
    _copy_layer(ours, f"{here}.input_norms.1", state, f"{there}.pe_encoder.first_normalization")
    for number in range(2):
        _copy_normed(ours, f"{here}.mlp.linears.{number}", state, f"{there}.pe_encoder.fully_connected.{number}")
    return ours


def _copy_layer(ours: dict[str, Tensor], here: str, state: Mapping[str, Tensor], there: str) -> None:
    for name in ("weight", "bias"):
        ours[f"{here}.{name}"] = state[f"{there}.{name}"]


def _copy_normed(ours: dict[str, Tensor], here: str, state: Mapping[str, Tensor], there: str) -> None:
    """A linear map and the norm after it."""
    _copy_layer(ours, f"{here}.0", state, f"{there}.linear")
    _copy_layer(ours, f"{here}.1", state, f"{there}.normalization")


def _copy_readout(ours: dict[str, Tensor], here: str, state: Mapping[str, Tensor], there: str) -> None:
    """A muP readout (Yang et al. 2022, table 8): its input is divided by the ratio of widths."""
    ours[f"{here}.weight"] = state[f"{there}.weight"] / _WIDTH_RATIO
    ours[f"{here}.bias"] = state[f"{there}.bias"]
