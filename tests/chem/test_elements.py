"""The periodic table, spot-checked and against RDKit."""

from __future__ import annotations

import pytest
from rdkit import Chem

from graphium.chem import elements


@pytest.mark.parametrize(
    ("symbol", "group", "period", "category", "phase"),
    [
        ("H", 1, 1, "nonmetal", "gas"),
        ("He", 18, 1, "noble gas", "gas"),
        ("C", 14, 2, "nonmetal", "solid"),
        ("Na", 1, 3, "alkali metal", "solid"),
        ("Si", 14, 3, "metalloid", "solid"),
        ("Fe", 8, 4, "transition metal", "solid"),
        ("Zn", 12, 4, "transition metal", "solid"),
        ("Br", 17, 4, "halogen", "liquid"),
        ("Sn", 14, 5, "post-transition metal", "solid"),
        ("La", 0, 6, "lanthanide", "solid"),
        ("Yb", 0, 6, "lanthanide", "solid"),
        ("Lu", 3, 6, "transition metal", "solid"),
        ("Pt", 10, 6, "transition metal", "solid"),
        ("Hg", 12, 6, "transition metal", "liquid"),
        ("U", 0, 7, "actinide", "solid"),
        ("Og", 18, 7, "noble gas", ""),
    ],
)
def test_places(symbol: str, group: int, period: int, category: str, phase: str) -> None:
    number = Chem.GetPeriodicTable().GetAtomicNumber(symbol)
    assert elements.GROUP[number] == group
    assert elements.PERIOD[number] == period
    assert elements.CATEGORY[number] == category
    assert elements.PHASE[number] == phase


def test_outer_electrons_follow_from_the_group() -> None:
    table = Chem.GetPeriodicTable()
    for number in range(1, 19):
        if number != 2:
            assert table.GetNOuterElecs(number) == elements.GROUP[number] % 10


def test_columns_are_complete() -> None:
    for column in (elements.ELECTRONEGATIVITY, elements.IONIZATION, elements.MELTING_POINT):
        assert len(column) == elements.NUM_ELEMENTS + 1
        assert column[0] == 0
        assert column[103] > 0
    assert elements.ELECTRONEGATIVITY[9] == max(elements.ELECTRONEGATIVITY) == 3.98
    assert max(range(119), key=elements.MELTING_POINT.__getitem__) == 6
    assert elements.IONIZATION[2] == max(elements.IONIZATION)
    # The alkali metals have the lowest ionisation energy of their rows.
    for noble, alkali in ((2, 3), (10, 11), (18, 19), (36, 37), (54, 55)):
        following = {2: 10, 10: 18, 18: 36, 36: 54, 54: 86}[noble]
        assert elements.IONIZATION[alkali] == min(elements.IONIZATION[noble + 1 : following + 1])
        assert elements.IONIZATION[following] == max(elements.IONIZATION[noble + 1 : following + 1])


def test_a_dummy_atom_has_no_values() -> None:
    assert elements.GROUP[0] == elements.PERIOD[0] == 0
    assert elements.CATEGORY[0] == elements.PHASE[0] == ""
