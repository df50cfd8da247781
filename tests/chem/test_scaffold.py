"""Bemis-Murcko scaffolds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from graphium.chem.scaffold import murcko


@pytest.mark.parametrize(
    ("text", "scaffold"),
    [
        ("Cc1ccccc1", "c1ccccc1"),
        ("C[C@H](N)C(=O)NCCc1ccc(O)cc1", "c1ccccc1"),
        ("O=C(c1ccccc1)C1CCCN1C", "O=C(c1ccccc1)C1CCCN1"),
        ("C1CC1CC[C@H](F)CC1CC1", "C(CCC1CC1)CC1CC1"),
        ("[13CH2]1CC1C", "C1CC1"),
        ("[Na+].[O-]C(=O)c1ccccc1", "c1ccccc1"),
        ("C1CC1.c1ccccc1C", "C1CC1.c1ccccc1"),
        ("[CH3:1][c:2]1[cH:3][cH:4][cH:5][cH:6][cH:7]1", "c1ccccc1"),
        ("[H]c1ccccc1", "c1ccccc1"),
        (Chem.MolToMolBlock(Chem.MolFromSmiles("CC1CC1")), "C1CC1"),
        ("CC(C)CO", ""),
        ("[Na+].[Cl-]", ""),
        ("C", ""),
        ("C1CC", ""),
        ("", ""),
        (None, ""),
        ("broken\nblock\n\n", ""),
    ],
)
def test_known_scaffolds(text: object, scaffold: str) -> None:
    assert murcko(["CCO", text, "CC1CC1"]) == ["", scaffold and Chem.CanonSmiles(scaffold), "C1CC1"]


def test_nothing() -> None:
    assert murcko([]) == []


def test_rdkits_own_scaffolds(shared_data: Path) -> None:
    texts = pd.read_csv(shared_data / "toymix" / "Tox21-7k-12-labels.csv.gz")["smiles"].sample(300, random_state=0)
    with rdBase.BlockLogs():
        expected = [
            MurckoScaffold.MurckoScaffoldSmiles(mol=mol) if (mol := Chem.MolFromSmiles(text)) else "" for text in texts
        ]
    assert murcko(texts.tolist()) == expected


def test_the_way_of_writing_does_not_matter(shared_data: Path) -> None:
    texts = pd.read_csv(shared_data / "toymix" / "ZINC12k.csv.gz")["smiles"].sample(200, random_state=0).tolist()
    others = [Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(text), 1, randomSeed=5)[0] for text in texts]
    assert murcko(others) == murcko(texts)
