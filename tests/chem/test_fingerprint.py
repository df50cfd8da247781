"""Fingerprints as packed bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, DataStructs

from graphium.chem import fingerprint
from graphium.chem.fingerprint import ecfp
from graphium.errors import GraphiumError


@pytest.mark.parametrize(("radius", "size"), [(2, 1024), (3, 2048), (0, 8), (1, 200)])
def test_the_bits_are_rdkits(shared_data: Path, radius: int, size: int) -> None:
    texts = pd.read_csv(shared_data / "toymix" / "ZINC12k.csv.gz")["smiles"].sample(40, random_state=0).tolist()
    packed = ecfp(texts, radius, size)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(texts), size // 8)
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    for text, row in zip(texts, bits, strict=True):
        expected = np.zeros(size, np.uint8)
        reference = AllChem.GetMorganFingerprintAsBitVect(Chem.MolFromSmiles(text), radius, nBits=size)
        DataStructs.ConvertToNumpyArray(reference, expected)
        assert np.array_equal(row, expected)


def test_texts_of_all_kinds_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Chem.MolToMolBlock(Chem.AddHs(Chem.MolFromSmiles("CCO")))
    texts = ["CCO", "C1CC", "[H]OCC", block, "[CH3:1]CO |(0,0,;1,0,;2,0,)|", None, "CCN"]
    packed = ecfp(texts)
    for same in (2, 3, 4):
        assert np.array_equal(packed[same], packed[0])
    assert not packed[[1, 5]].any()
    assert not np.array_equal(packed[6], packed[0])
    monkeypatch.setattr(fingerprint, "_BLOCK", 2)
    assert np.array_equal(ecfp(texts), packed)


def test_nothing() -> None:
    assert ecfp([], size=64).shape == (0, 8)
    assert not ecfp(["", "C1CC"], size=64).any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 100}, "the size of a fingerprint is 100; give a positive multiple of 8"),
        ({"size": 0}, "the size of a fingerprint is 0"),
        ({"radius": -1}, "the radius of a fingerprint is -1; give 0 or more"),
    ],
)
def test_wrong_options(options: dict[str, int], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        ecfp(["C"], **options)
