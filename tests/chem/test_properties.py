"""From property values to columns."""

from __future__ import annotations

import numpy as np
import pytest

from graphium.chem.properties import UNIQUE, ChemicalProperty, PropertyColumns, find_properties
from graphium.errors import GraphiumError

LENGTH = ChemicalProperty("length", len, vocabulary=(1, 2, 3))
NUMBER = ChemicalProperty("number", int)
THIRD = ChemicalProperty("third", lambda text: int(text) / 3, dtype="float32")
FOREIGN = ChemicalProperty("foreign", lambda text: -int(text), is_local=False)


def test_a_value_outside_the_vocabulary_takes_the_last_code() -> None:
    assert LENGTH.spec.size == 4
    assert [LENGTH.stored(text) for text in ("7", "77", "777", "7777")] == [0, 1, 2, 3]


def test_integers_are_clipped_to_int8() -> None:
    assert (NUMBER.stored("1000"), NUMBER.stored("-1000"), NUMBER.stored("5")) == (127, -128, 5)


def test_columns_stand_in_order_of_their_storage_type() -> None:
    columns = PropertyColumns("atom", [THIRD, NUMBER, LENGTH])
    assert [p.name for p in columns.spec] == ["length", "number", "third"]
    assert [p.dtype for p in columns.spec] == ["uint8", "int8", "float32"]
    found = columns.read(np.array([7, 12]), lambda row: ["7", "12"][row])
    assert {name: (values.dtype.name, values.shape) for name, values in found.items()} == {
        "atom_codes": ("uint8", (2, 1)),
        "atom_ints": ("int8", (2, 1)),
        "atom_floats": ("float32", (2, 1)),
    }
    assert found["atom_floats"][:, 0] == pytest.approx([7 / 3, 4])


def test_equal_surroundings_are_read_once() -> None:
    columns = PropertyColumns("atom", [NUMBER, LENGTH])
    asked: list[int] = []

    def item(row: int) -> str:
        asked.append(row)
        return str(keys[row])

    keys = np.array([5, 30, 5, 30, 5])
    assert columns.read(keys, item)["atom_ints"][:, 0].tolist() == keys.tolist()
    assert asked == [0, 1]
    keys = np.array([30, 2, 5, 40])
    assert columns.read(keys, item)["atom_ints"][:, 0].tolist() == keys.tolist()
    assert asked == [0, 1, 1, 3]
    assert columns.read(keys, item)["atom_codes"][:, 0].tolist() == [1, 0, 0, 1]
    assert asked == [0, 1, 1, 3]


def test_unique_surroundings_and_foreign_properties_are_read_every_time() -> None:
    columns = PropertyColumns("bond", [NUMBER, FOREIGN])
    texts = ["1", "2", "3", "4"]
    keys = np.array([UNIQUE, 8, UNIQUE, 8])
    for _ in range(2):
        found = columns.read(keys, texts.__getitem__)["bond_ints"]
        assert found.tolist() == [[1, -1], [2, -2], [3, -3], [2, -4]]


def test_nothing_to_read() -> None:
    found = PropertyColumns("atom", [NUMBER, LENGTH]).read(np.empty(0, np.int64), lambda row: "")
    assert found["atom_ints"].shape == (0, 1)
    assert PropertyColumns("atom", []).read(np.array([1, 2]), lambda row: "") == {}


@pytest.mark.parametrize(
    ("kind", "names", "sentence"),
    [
        ("atom_onehot", ["atomic-numbr"], "did you mean 'atomic_number'"),
        ("atom_float", ["degree", "degree"], "'degree' stands twice in features.atom_float"),
        ("bond_float", ["conformer-bond-length"], "needs 3-D positions"),
        ("bond_onehot", ["math.pi"], "is not a ChemicalProperty"),
    ],
)
def test_a_wrong_list_is_an_error(kind: str, names: list[str], sentence: str) -> None:
    with pytest.raises(GraphiumError, match=sentence):
        find_properties(kind, names)


def test_names_are_forgiving() -> None:
    assert [p.name for p in find_properties("atom_float", ["in_ring", "Formal Charge"])] == ["in-ring", "formal-charge"]
