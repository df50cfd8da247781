"""Known data sets by name, in a folder that holds the tables of several collections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphium as gf

# Data set -> folder of its table below the data folder.
FOLDERS = {
    "qm9": "toymix",
    "zinc12k": "toymix",
    "tox21": "toymix",
    "lipo": "moleculenet",
    "esol": "moleculenet",
    "bbbp": "moleculenet",
    "toxcast": "moleculenet",
    "muv": "moleculenet",
    "chembl_5thresh": "sparse_multitask",
    "ames": "tdc_admet",
    "cyp3a4_veith": "tdc_admet",
    "solubility_aqsoldb": "tdc_admet",
    "ld50_zhu": "tdc_admet",
}


def known(name: str, data_dir: Path) -> dict[str, Any]:
    """The fields of a data set as its configuration has them, with files in their folder below ``data_dir``."""
    fields: dict[str, Any] = gf.compose([f"data={name}"])["data"]["datasets"][name]
    folder = (data_dir / FOLDERS[name]).absolute()
    fields["path"] = str(folder / fields["path"])
    split = fields.get("split")
    if isinstance(split, dict) and "path" in split:
        fields["split"] = {"name": split["name"], "path": str(folder / split["path"])}
    fields.pop("url", None)
    fields.pop("sha256", None)
    return fields
