"""Real tables as they are: levels, long form, 3-D structures, thousands of sparse columns, repeats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from graphium.chem.featurizer import Featurizer
from graphium.data.build import build_mix
from graphium.data.mix import Mix

PLAIN = Featurizer(encodings=[])
Prepare = Callable[..., Mix]


@pytest.fixture
def prepare(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    monkeypatch.setenv("GRAPHIUM_CACHE", str(tmp_path / "cache"))

    def make(path: str, featurizer: Featurizer = PLAIN, limit: int | None = 400, **dataset: Any) -> Mix:
        section = {"limit": limit, "datasets": {"real": {"path": path, **dataset}}}
        return build_mix(section, featurizer, data_dir=shared_data, store_dir=tmp_path / "stores", progress=False)

    return make


def per_atom(mix: Mix, head: int, task: int, row: int) -> dict[int, float]:
    """Labels of a row by the user's own number of the atom or bond."""
    dataset = mix.datasets[0]
    entity, tasks, value = dataset.blocks[dataset.heads[head].name].select(np.array([row]))
    order = dataset.store.atom_order(row) if dataset.heads[head].level == "node" else dataset.store.bond_order(row)
    mine = tasks == task
    return dict(zip(np.asarray(order)[entity[mine]].tolist(), value[mine].tolist(), strict=True))


def test_qm9_charges_and_bond_lengths(prepare: Prepare, shared_data: Path) -> None:
    mix = prepare("qm9_node_edge/qm9_node_edge.parquet", targets=["*"])
    (dataset,) = mix.datasets
    assert [(head.level, head.num_tasks) for head in dataset.heads] == [("node", 2), ("edge", 1)]
    table = pd.read_parquet(shared_data / "qm9_node_edge" / "qm9_node_edge.parquet").head(400)
    for row in range(0, 400, 23):
        for task, name in enumerate(("mulliken_q", "mulliken_q_united")):
            np.testing.assert_allclose(list(_sorted(per_atom(mix, 0, task, row))), table[name][row], rtol=1e-6)
        np.testing.assert_allclose(list(_sorted(per_atom(mix, 1, 0, row))), table["bond_length"][row], rtol=1e-6)


def test_shifts_with_missing_values(prepare: Prepare, shared_data: Path) -> None:
    mix = prepare("nmr_cascade/nmr_node_edge.parquet", targets=["*"])
    table = pd.read_parquet(shared_data / "nmr_cascade" / "nmr_node_edge.parquet").head(400)
    names = [task.name for task in mix.datasets[0].heads[0].tasks]
    assert names == ["c13_dft", "h1_dft", "c13_exp"]
    for row in range(0, 400, 29):
        for task, name in enumerate(names):
            cells = dict(enumerate(table[name][row]))
            expected = {atom: value for atom, value in cells.items() if not np.isnan(value)}
            found = per_atom(mix, 0, task, row)
            assert found.keys() == expected.keys()
            np.testing.assert_allclose([found[atom] for atom in expected], list(expected.values()), rtol=1e-5)


LONG = {
    "path": "nmr_cascade/DFT8K.csv.gz",
    "key": "mol_id",
    "molecule_key": "title",
    "atom": "atom_index",
    "values": ["Shift"],
    "task": "atom_type",
}


def test_long_form_beside_structures_under_both_forms(prepare: Prepare, shared_data: Path) -> None:
    lines = pd.read_csv(shared_data / "nmr_cascade" / "DFT8K.csv.gz")
    section: dict[str, Any] = {"long": LONG, "targets": ["Shift_6", "Shift_1"], "kind": "regression"}
    file = "nmr_cascade/DFT8K_DFT.sdf.gz"
    whole = prepare(file, Featurizer(encodings=[], form="explicit_h", positions=True), limit=60, **section)
    heavy = prepare(file, limit=60, h_labels="mean", **section)
    titles = pd.concat(frame for _, frame in whole.datasets[0].resolved.table.chunks(["title"], 1000))["title"]
    store = whole.datasets[0].store
    assert store.num_failures == 0 and store.positions is not None
    for row, title in enumerate(titles):
        mine = lines[lines["mol_id"].astype(str) == str(title)]
        for task, element in enumerate((6, 1)):
            shifts = mine[mine["atom_type"] == element].set_index("atom_index")["Shift"]
            found = per_atom(whole, 0, task, row)
            assert found == pytest.approx(shifts.to_dict(), rel=1e-5)
            if element == 6:
                carbon = per_atom(heavy, 0, task, row)
                assert sorted(carbon.values()) == pytest.approx(sorted(shifts), rel=1e-5)
    # Coordinates are those of the file, in canonical order.
    block = store.text(0)
    mol = Chem.MolFromMolBlock(block, removeHs=False)
    expected = mol.GetConformer().GetPositions()[store.atom_order(0)]
    np.testing.assert_allclose(store.positions[: len(expected)], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "targets", "limit", "tasks"),
    [
        ("moleculenet/toxcast.csv.gz", ["*"], None, 617),
        ("moleculenet/muv.csv.gz", ["MUV-*"], 3000, 17),
        ("sparse_multitask/chembl_5thresh.csv.gz", ["*"], None, 610),
    ],
)
def test_wide_sparse_tables(
    prepare: Prepare, shared_data: Path, path: str, targets: list[str], limit: int | None, tasks: int
) -> None:
    """``chembl_5thresh`` has 691 columns, of which 81 are empty: a pattern leaves these out, and says so."""
    mix = prepare(path, limit=limit, targets=targets)
    (dataset,) = mix.datasets
    assert sum(head.num_tasks for head in dataset.heads) == tasks
    table = pd.read_csv(shared_data / path, nrows=limit)
    usable = np.asarray(dataset.store.row_molecule) >= 0
    for head in dataset.heads:
        names = [task.name for task in head.tasks]
        _, task, value = dataset.blocks[head.name].select(np.flatnonzero(usable))
        expected = table.loc[usable, names].to_numpy(float)
        present = ~np.isnan(expected)
        assert len(value) == present.sum()
        np.testing.assert_array_equal(np.bincount(task, minlength=len(names)), present.sum(0))
        sums = np.bincount(task, value, len(names))
        np.testing.assert_allclose(sums, np.nansum(expected, 0), rtol=1e-6)


def test_repeated_molecules_are_counted_and_merged(prepare: Prepare) -> None:
    file, section = "tdc_admet/clearance_hepatocyte_az.csv.gz", {"smiles": "Drug", "targets": ["Y"]}
    mixes = {policy: prepare(file, limit=None, repeats=policy, **section) for policy in ("keep", "first", "mean")}
    used = {policy: int((mix.datasets[0].parts >= 0).sum()) for policy, mix in mixes.items()}
    assert used == {"keep": 1213, "first": 1020, "mean": 1020}
    for mix in mixes.values():
        assert any("in several rows" in said for said in mix.summary()["real"]["messages"])


def test_cxsmiles_with_coordinates(prepare: Prepare, shared_data: Path) -> None:
    file = "graphium_examples/pcqm4mv2_2k.csv.gz"
    featurizer = Featurizer(encodings=[], form="explicit_h", positions=True)
    mix = prepare(file, featurizer, limit=50, targets=["homo"])
    batch = mix.gather(mix.index("train")[:8])
    assert batch.pos is not None and batch.pos.shape == (batch.num_nodes, 3)
    # Bonded atoms are about an Angstrom apart.
    ends = batch.pos[batch.edge_index]
    length = (ends[0] - ends[1]).norm(dim=1)
    assert float(length.min()) > 0.6 and float(length.max()) < 3.0
    # Some texts of this table leave hydrogens to be implied, and give no coordinates for them.
    failures = list(mix.datasets[0].store.failures())
    assert len(failures) == 6
    assert all(failure.reason.startswith("writes no coordinates for") for failure in failures)
    heavy = prepare(file, Featurizer(encodings=[], positions=True), limit=50, targets=["homo"])
    assert heavy.datasets[0].store.num_failures == 0


def _sorted(labels: dict[int, float]) -> Any:
    return (labels[key] for key in sorted(labels))
