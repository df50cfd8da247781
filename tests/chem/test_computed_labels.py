from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from graphium.chem.computed_labels import GasteigerCharges
from graphium.errors import GraphiumError
from graphium.registry import build


@pytest.mark.parametrize("text", ["CCO", "OCC", "[Na+].[Cl-]", "c1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "[H]OC"])
def test_charges_are_rdkits_in_the_order_of_the_text(text: str) -> None:
    mol = Chem.MolFromSmiles(text)
    AllChem.ComputeGasteigerCharges(mol)
    expected = [float(atom.GetProp("_GasteigerCharge")) for atom in mol.GetAtoms()]
    (charges,) = GasteigerCharges()([text])
    assert charges.shape == (mol.GetNumAtoms(),)
    np.testing.assert_allclose(charges, expected, rtol=1e-6)


def test_what_is_no_molecule_has_no_charges() -> None:
    assert [len(charges) for charges in GasteigerCharges()(["C", "not a molecule", float("nan"), ""])] == [1, 0, 0, 0]  # type: ignore[list-item]


def test_a_metal_without_parameters_gives_nan() -> None:
    (charges,) = GasteigerCharges()(["Cl[Pt]Cl"])
    assert np.isnan(charges).all()


def test_options_are_checked() -> None:
    assert build("computed_label", {"name": "gasteiger_charges", "iterations": 6}).iterations == 6
    with pytest.raises(GraphiumError, match="did you mean 'iterations'"):
        build("computed_label", {"name": "gasteiger_charges", "iteration": 6})
