from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import AllChem

from graphium.chem.featurizer import Featurizer
from graphium.data.store.columns import Kept, slices
from graphium.data.store.stages import DEADLY, edge_places, graph_chunk


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_edge_places_are_those_of_a_plain_sort(sizes: list[int], random: Any) -> None:
    graphs = []
    for size in sizes:
        pairs = [(i, j) for i in range(size) for j in range(i + 1, size) if random.random() < 0.6]
        graphs.append(pairs)
    flat = np.array([pair for pairs in graphs for pair in pairs], np.int16).reshape(-1, 2)
    found = edge_places(np.array(sizes), np.array([len(pairs) for pairs in graphs]), flat)
    expected = []
    for pairs in graphs:
        edges = sorted([(j, i) for i, j in pairs] + pairs)
        expected += [(edges.index((j, i)), edges.index((i, j))) for i, j in pairs]
    assert found.tolist() == [list(pair) for pair in expected]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6))
def test_kept_slices_are_those_of_a_loop(entries: list[tuple[int, bool]]) -> None:
    counts = np.array([count for count, _ in entries], np.int32)
    chosen = np.array([place for place, (_, keep) in enumerate(entries) if keep], np.int64)
    flat = np.arange(counts.sum()) * 10
    pieces = np.split(flat, np.cumsum(counts)[:-1]) if len(counts) else []
    expected = [value for place in chosen for value in pieces[place].tolist()]
    kept = Kept(counts, chosen)
    assert kept(flat).tolist() == expected
    assert kept.counts.tolist() == counts[chosen].tolist()
    start = np.cumsum(counts) - counts
    assert slices(start[chosen], counts[chosen]).tolist() == [value // 10 for value in expected]


def test_a_repeated_molecule_stands_in_a_chunk_once(texts: list[str], featurizer: Featurizer) -> None:
    chunk = graph_chunk(featurizer, 40, texts)
    molecule = chunk.columns["row_molecule"].tolist()
    shown = [number for number in molecule if number >= 0]
    assert list(dict.fromkeys(shown)) == list(range(chunk.about["molecules"])) and len(shown) == 18
    assert chunk.about["molecules"] < len(shown)
    once = [texts[molecule.index(number)] for number in range(chunk.about["molecules"])]
    alone = graph_chunk(featurizer, 0, once)
    for name in ("id", "flat_id", "size", "component_size", "bonds", *featurizer.block_keys()):
        assert np.array_equal(chunk.columns[name], alone.columns[name]), name
    assert [failure[0] for failure in chunk.about["failures"]] == [45, 52]


def test_a_deadly_text_is_not_read(featurizer: Featurizer) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    chunk = graph_chunk(featurizer, 0, ["C", block, "CC"], deadly=[1, 2])
    assert chunk.columns["row_molecule"].tolist() == [0, -1, -1]
    assert [(row, reason) for row, _, reason in chunk.about["failures"]] == [(1, DEADLY), (2, DEADLY)]
    assert "\n" not in chunk.about["failures"][0][1]


def test_numbers_take_one_byte_while_all_of_them_fit(featurizer: Featurizer) -> None:
    # The chain of 129 atoms has 128 bonds, so its last edge has the place 255.
    for atoms, dtype in ((129, np.uint8), (130, np.int16)):
        bonds = graph_chunk(featurizer, 0, ["C" * atoms]).columns["bonds"]
        assert bonds.dtype == dtype
        assert bonds.max() == 2 * (atoms - 1) - 1
        order = graph_chunk(featurizer, 0, ["C" * atoms + "O"]).columns["order"]
        assert order.dtype == (np.uint8 if atoms < 129 else np.int16)


def test_long_texts_of_failures_are_cut(featurizer: Featurizer) -> None:
    failure = graph_chunk(featurizer, 0, ["x" * 200_000]).about["failures"][0]
    assert len(failure[1]) < 11_000


def test_coordinates_follow_the_canonical_order() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("OCC"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    chunk = graph_chunk(Featurizer(encodings=[], positions=True), 0, [Chem.MolToMolBlock(mol), "CCO"])
    order = chunk.columns["order"][: chunk.columns["size"][0, 0]]
    given_points = Chem.RemoveHs(mol).GetConformer().GetPositions()
    assert np.allclose(chunk.columns["positions"], given_points[order], atol=1e-4)
    assert chunk.columns["position_size"].tolist() == [3, 0]
    assert "coordinates" in chunk.about["failures"][0][2]
