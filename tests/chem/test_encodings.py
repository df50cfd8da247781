"""What every registered encoding must do; a new one is tested by being registered."""

from __future__ import annotations

import numpy as np
import pytest

from graphium.chem.featurizer import Featurizer
from graphium.registry import names

TEXTS = ["C", "[H][H]", "CCO", "c1ccc2ccccc2c1", "CC(C)(C)c1ccccc1", "CCCCCCCCCCCCCCCCCC#N", "N->[Pt](Cl)Cl"]


def encode(name: str, texts: list[str]) -> dict[str, np.ndarray]:
    featurizer = Featurizer(encodings=[name])
    found = featurizer.molecules(texts)
    return featurizer.encode(
        found.num_atoms, found.num_components, found.component_size, found.num_bonds, found.bond_index
    )


@pytest.mark.parametrize("name", names("encoding"))
class TestEveryEncoding:
    def test_columns_are_as_declared(self, name: str) -> None:
        texts = [*TEXTS, "[Na+].[Cl-].O"]
        featurizer = Featurizer(encodings=[name])
        found = featurizer.molecules(texts)
        columns = encode(name, texts)
        rows = {"node": int(found.num_atoms.sum()), "component": len(found.component_size)}
        assert list(columns) == [column.name for column in featurizer.spec.encodings]
        for column in featurizer.spec.encodings:
            assert columns[column.name].shape == (rows[column.entity], column.dim)
            assert columns[column.name].dtype == np.float16
            assert np.isfinite(columns[column.name]).all()

    def test_batch_is_loop(self, name: str) -> None:
        together = encode(name, TEXTS)
        alone = [encode(name, [text]) for text in TEXTS]
        for column, values in together.items():
            assert np.array_equal(values, np.concatenate([one[column] for one in alone]))

    def test_components_do_not_see_each_other(self, name: str) -> None:
        # In this order their canonical strings are sorted, as they are in the mixture's.
        together, alone = encode(name, ["CC(C)=O.CCCl.O"]), encode(name, ["CC(C)=O", "CCCl", "O"])
        for column, values in together.items():
            assert np.array_equal(values, alone[column])

    def test_the_order_of_the_text_does_not_matter(self, name: str) -> None:
        one, other = encode(name, ["OC(=O)c1ccccc1N"]), encode(name, ["Nc1ccccc1C(O)=O"])
        for column, values in one.items():
            assert np.array_equal(values, other[column])
