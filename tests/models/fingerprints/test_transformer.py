from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.fingerprints.fingerprinter import Fingerprinter
from graphium.models.fingerprints.transformer import FingerprintTransformer, InputError
from graphium.models.saved import save_model
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks

TEXTS = ["CCO", "c1ccccc1O", "CC(=O)N", "CCN(CC)CC", "C", "OCC(O)CO", "Clc1ccccc1", "CC#N", "CCCCCC", "O=C=O"]
# Every check that gives fit or transform numbers, in place of texts.
FEEDS_NUMBERS = [
    "check_fit_score_takes_y",
    "check_estimators_overwrite_params",
    "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self",
    "check_readonly_memmap_input",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
    "check_estimators_dtypes",
    "check_dtype_object",
    "check_complex_data",
    "check_estimators_empty_data_messages",
    "check_pipeline_consistency",
    "check_estimators_nan_inf",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_transformers_unfitted_stateless",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_fit2d_1sample",
    "check_fit2d_1feature",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_n_features_in",
    "check_fit2d_predict1d",
]


class OfNumbers(FingerprintTransformer):
    """Lets the checks run that feed numbers: writes every row of numbers as a chain of atoms, one for each number."""

    def fit(self, X: Any, y: Any = None) -> OfNumbers:
        self._written(X, reset=True)
        features = self.n_features_in_
        super().fit(["C"])
        self.n_features_in_ = features
        return self

    def transform(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "n_features_in_")
        return super().transform(self._written(X, reset=False))

    def _written(self, X: Any, reset: bool) -> list[str]:
        cells = np.abs(validate_data(self, X, reset=reset) * 1000).astype(int) % 4
        return ["".join(np.array(list("CNOS"))[row]) for row in cells]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def write_model(folder: Path) -> Path:
    torch.manual_seed(0)
    featurizer = Featurizer(encodings=[])
    tasks = [Task("y", "demo", "graph", "regression"), Task("q", "demo", "node", "regression")]
    heads = group_tasks(tasks)
    save_model(folder, build_network(featurizer.spec, heads, width=8, depth=2), featurizer, heads)
    return folder


@pytest.fixture(scope="module", autouse=True)
def model_of_checks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder that estimators name which were made before any fixture was."""
    folder = tmp_path_factory.mktemp("checks")
    write_model(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@parametrize_with_checks(
    [FingerprintTransformer("model")],
    expected_failed_checks=lambda _: dict.fromkeys(FEEDS_NUMBERS, "feeds numbers, which are no molecules"),
)
def test_checks_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


@parametrize_with_checks([OfNumbers("model", layer="gnn")])
def test_checks_that_feed_numbers(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


def test_columns_of_every_kind(folder: Path) -> None:
    transformer = FingerprintTransformer(folder, layer=["gnn", "readout"], pooling=["sum", "max"])
    expected = Fingerprinter(folder, ["gnn", "readout"], ["sum", "max"]).fingerprint(TEXTS)
    table = pd.DataFrame({"smiles": TEXTS}, index=range(5, 15))
    for given in (
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object)[:, None],
        [[text] for text in TEXTS],
        pd.Series(TEXTS, index=range(3, 13)),
        pd.Series(TEXTS, dtype="string"),
        table,
    ):
        found = transformer.fit_transform(given)
        assert found.dtype == np.float32 and np.array_equal(found, expected)
    frame = transformer.set_output(transform="pandas").transform(table)
    assert list(frame.columns) == list(transformer.get_feature_names_out()) and frame.index.equals(table.index)
    assert np.array_equal(frame.to_numpy(), expected)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("CCO", "is one text"),
        (None, "the molecules are a NoneType"),
        ([], "0 samples"),
        ([1.5, 2.5], "first at position 0: 1.5"),
        (np.zeros((3, 1)), "numbers of type float64"),
        (pd.DataFrame({"a": TEXTS, "b": TEXTS}), "a table of 2 columns"),
        (np.array(TEXTS)[:, None, None], r"of shape \(10, 1, 1\)"),
    ],
)
def test_what_is_no_column_of_texts(folder: Path, given: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        FingerprintTransformer(folder).fit_transform(given)


def test_bad_molecules(folder: Path) -> None:
    texts = ["CCO", None, "C(", "C"]
    with pytest.raises(ValueError, match=r"2 of 4 molecules cannot be used, the first at position 1: None"):
        FingerprintTransformer(folder).fit(texts).transform(texts)
    found = FingerprintTransformer(folder, on_bad_molecule="nan").transform(texts)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, True, False] and not np.isnan(found[[0, 3]]).any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"on_bad_molecule": "skip"}, "on_bad_molecule is 'skip'"),
        ({"layer": "gnn:9"}, "gnn:0 to gnn:1"),
        ({"pooling": "maks"}, "unknown pooling 'maks'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": "5"}, "batch_size is '5'"),
        ({"model": None}, "model is a NoneType"),
    ],
)
def test_arguments_are_judged_by_fit(folder: Path, arguments: dict[str, Any], sentence: str) -> None:
    transformer = FingerprintTransformer(**{"model": folder, **arguments})
    with pytest.raises(GraphiumError, match=sentence):
        transformer.fit(TEXTS)


def test_copies_hold_no_network(folder: Path, tmp_path: Path) -> None:
    transformer = FingerprintTransformer(str(folder), layer="gnn").fit(TEXTS)
    expected = transformer.transform(TEXTS)
    assert len(pickle.dumps(transformer)) < 2000
    joblib.dump(transformer, tmp_path / "transformer.joblib")
    for copied in (pickle.loads(pickle.dumps(transformer)), joblib.load(tmp_path / "transformer.joblib")):
        assert copied.n_features_in_ == 1 and np.array_equal(copied.transform(TEXTS), expected)
    assert np.array_equal(clone(transformer).transform(TEXTS), expected)


def test_new_arguments_count_at_once(folder: Path) -> None:
    transformer = FingerprintTransformer(folder, layer="gnn").fit(TEXTS)
    transformer.set_params(layer="encoders", pooling="sum")
    assert np.array_equal(transformer.transform(TEXTS), Fingerprinter(folder, "encoders", "sum").fingerprint(TEXTS))
    assert transformer.get_feature_names_out()[0] == "encoders_sum_0"


def test_pipelines_and_searches(folder: Path, tmp_path: Path) -> None:
    y = np.array([len(text) for text in TEXTS], float)
    transformer = FingerprintTransformer(str(folder))
    pipeline = make_pipeline(transformer, StandardScaler(), Ridge(), memory=str(tmp_path))
    assert np.isfinite(pipeline.fit(TEXTS, y).predict(TEXTS)).all()
    grid = {"fingerprinttransformer__layer": ["readout", "gnn:0", ["gnn:1", "encoders"]], "ridge__alpha": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(TEXTS, y)
    assert search.best_params_["fingerprinttransformer__layer"] in grid["fingerprinttransformer__layer"]
    union = make_union(transformer, FingerprintTransformer(str(folder), layer="gnn"))
    assert union.fit_transform(TEXTS).shape == (10, 16)
    scores = [cross_val_score(pipeline.set_params(memory=None), TEXTS, y, cv=2, n_jobs=jobs) for jobs in (1, 2)]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "graphium.models.fingerprints.transformer")
    with pytest.raises(GraphiumError, match=r"pip install graphium\[sklearn\]"):
        importlib.import_module("graphium.models.fingerprints.transformer")
