"""Distances to the nearest training molecules against scikit-learn, and what the file beside a model says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.predictor import Predictor
from graphium.models.saved import SavedModel, load_model, save_model
from graphium.models.trust import domain
from graphium.models.trust.domain import Domain, describe, fingerprinter, neighbour_distances
from graphium.models.trust.stored import DOMAIN, write_stored
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

KNOWN = ["C" * n + end for n in range(1, 9) for end in ("", "O", "N", "Cl")]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), many=st.integers(1, 60), k=st.integers(1, 5), own=st.booleans())
def test_distances_are_those_of_scikit_learn(seed: int, many: int, k: int, own: bool) -> None:
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(40, 7)).astype(np.float32)
    query = known if own else rng.normal(size=(many, 7)).astype(np.float32) * 3
    nearest = NearestNeighbors(n_neighbors=k).fit(known)
    expected = nearest.kneighbors(None if own else query)[0].mean(axis=1)
    found = neighbour_distances(torch.from_numpy(query), torch.from_numpy(known), k, own=own)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pieces_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    whole = neighbour_distances(known, known, 3, own=True)
    monkeypatch.setattr(domain, "_AT_ONCE", 7)
    torch.testing.assert_close(neighbour_distances(known, known, 3, own=True), whole)


def test_close_vectors_far_from_zero_keep_their_distance() -> None:
    known = torch.tensor([[1000.0, 0.0], [1000.0, 0.001]])
    assert neighbour_distances(known, known, 1, own=True).tolist() == pytest.approx([0.001, 0.001], rel=1e-3)


def make(folder: Path, level: str = "graph") -> SavedModel:
    """A saved random network with the domain of ``KNOWN``."""
    featurizer = Featurizer(encodings=[])
    heads = group_tasks([Task("y", "a", level, "regression")])  # type: ignore[arg-type]
    torch.manual_seed(0)
    save_model(folder, build_network(featurizer.spec, heads, width=16, depth=2), featurizer, heads)
    saved = load_model(folder)
    made_by = fingerprinter(saved)
    vectors = torch.from_numpy(np.asarray(made_by.fingerprint(KNOWN)))
    write_stored(folder, DOMAIN, *describe(vectors.split(10), made_by))
    return saved


@pytest.mark.parametrize("level", ["graph", "node"])
def test_columns(tmp_path: Path, level: str) -> None:
    saved = make(tmp_path, level)
    far = ["[Pt](Cl)(Cl)(N)N", "OS(=O)(=O)c1ccc(I)cc1"]
    found = Predictor(saved, extras=[Domain(saved)]).predict([*KNOWN, *far, "C("])
    vectors = np.asarray(fingerprinter(saved).fingerprint([*KNOWN, *far]), np.float64)
    known = vectors[: len(KNOWN)]
    scale = np.sqrt(((known - known.mean(axis=0)) ** 2).sum(axis=1).mean())
    apart = np.linalg.norm(vectors[:, None] - known, axis=-1) / scale
    expected = np.sort(apart, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(found["domain_distance"][:-1], expected, rtol=0.02, atol=2e-3)
    own = np.sort(apart[: len(KNOWN)], axis=1)[:, 1:6].mean(axis=1)
    share = (own[None] >= expected[:, None]).mean(axis=1)
    np.testing.assert_allclose(found["domain"][:-1], share, atol=0.1)
    assert found["domain"][:-1].between(0, 1).all() and (found["domain"][len(KNOWN) : -1] < 0.1).all()
    assert found[["domain", "domain_distance"]].iloc[-1].isna().all()
    assert Predictor(saved, extras=[Domain(saved)]).schema.field("domain").type == pa.float32()


def test_any_batch_gives_the_same(tmp_path: Path) -> None:
    saved = make(tmp_path)
    columns = ["domain", "domain_distance"]
    one, many = (Predictor(saved, extras=[Domain(saved)], batch_size=n).predict(KNOWN)[columns] for n in (1, 64))
    np.testing.assert_allclose(one, many, atol=2e-3)


def test_molecules_that_are_all_the_same(tmp_path: Path) -> None:
    saved = make(tmp_path)
    made_by = fingerprinter(saved)
    vectors = torch.from_numpy(np.asarray(made_by.fingerprint(["CCO"] * 3)))
    write_stored(tmp_path, DOMAIN, *describe([vectors], made_by))
    found = Predictor(saved, extras=[Domain(saved)]).predict(["CCO", "CCCCCC"])
    assert found["domain"][1] == 0 and found["domain_distance"][0] < 1e-3 < found["domain_distance"][1]
    with pytest.raises(GraphiumError, match="there is one; give more"):
        describe([vectors[:1]], made_by)


def test_sentences(tmp_path: Path) -> None:
    saved = make(tmp_path)
    (tmp_path / DOMAIN).unlink()
    with pytest.raises(GraphiumError, match=r"has no domain.safetensors, which its applicability domain needs; make"):
        Domain(saved)


@pytest.mark.parametrize("pooling", ['["evil_module.Pool"]', '[{"name": "evil_module.Pool"}]', "[3]", "{}", "3", "["])
def test_a_strangers_file_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: str) -> None:
    """The pooling is a part by its name, and the file comes with the model."""
    saved = make(tmp_path, "node")
    made_by = fingerprinter(saved)
    tensors, about = describe([torch.randn(20, made_by.num_channels)], made_by)
    write_stored(tmp_path, DOMAIN, tensors, about | {"pooling": pooling})
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(GraphiumError, match="is damaged"):
        Domain(saved)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change,words",
    [
        ({"mean": torch.zeros(3)}, {}),
        ({"scale": torch.ones(2)}, {}),
        ({"distances": torch.zeros(4)}, {}),
        ({"distances": torch.arange(32.0).flip(0)}, {}),
        ({"fingerprints": torch.full((32, 16), torch.nan)}, {}),
        ({}, {"neighbours": "32"}),
        ({}, {"neighbours": "many"}),
        ({}, {"layer": '["gnn:99"]'}),
        ({}, {"format": "one"}),
    ],
)
def test_content_that_is_not_ours(tmp_path: Path, change: dict[str, torch.Tensor], words: dict[str, str]) -> None:
    saved = make(tmp_path)
    made_by = fingerprinter(saved)
    tensors, about = describe([torch.from_numpy(np.asarray(made_by.fingerprint(KNOWN)))], made_by)
    write_stored(tmp_path, DOMAIN, tensors | change, about | words)
    with pytest.raises(GraphiumError, match=r"domain.safetensors' is damaged .*; make it again"):
        Domain(saved)


def test_a_model_by_its_place(tmp_path: Path) -> None:
    make(tmp_path)
    assert Domain(str(tmp_path)).key == Domain(tmp_path).key
    with pytest.raises(GraphiumError, match="the domain of a list is wanted; give a saved model"):
        Domain([tmp_path])  # type: ignore[arg-type]
