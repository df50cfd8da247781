"""Fingerprints as a scikit-learn transformer: SMILES in, a matrix of numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from graphium.errors import GraphiumError
from graphium.models.fingerprints.fingerprinter import Fingerprinter
from graphium.registry import PartConfig

try:
    from scipy.sparse import issparse
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import Tags
except ImportError:
    raise GraphiumError("FingerprintTransformer needs scikit-learn; pip install graphium[sklearn]") from None


class InputError(GraphiumError, ValueError):
    """Molecules that the transformer cannot take; a ValueError too, as scikit-learn's conventions ask for."""


class FingerprintTransformer(TransformerMixin, BaseEstimator):
    """A scikit-learn transformer: SMILES -> fingerprints of a saved model, float32 ``[molecules, channels]``.

    It learns nothing: :meth:`fit` loads the model and judges the arguments, and may be left out. Molecules may be a
    list, a Series, a 1-D array, or a table of one column (DataFrame or array ``[n, 1]``). A copy of the transformer
    (a pickle, a clone, one in another process) holds the arguments alone and loads the model when it is used; in a
    search over the parameters of later steps, ``Pipeline(memory=...)`` computes every fingerprint once.

    Args:
        model: Path or name of a saved model, see :func:`graphium.load_model`.
        layer: As for :class:`~graphium.models.fingerprints.fingerprinter.Fingerprinter`.
        pooling: The same.
        batch_size: Molecules that the network sees at once.
        device: Where the network runs.
        on_bad_molecule: What to do with a text that cannot be used: ``raise`` an error, or give a row of ``nan``.
        trust_code: Allow a model with parts outside graphium, that is its author's own code.

    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(FingerprintTransformer("outputs/my_run/model", layer="gnn"), Ridge())
    """

    # The arguments with which the model was loaded, and what computes; not part of the state.
    _loaded: tuple[tuple[Any, ...], Fingerprinter] | None = None

    def __init__(
        self,
        model: str | Path = "minimol",
        layer: str | Sequence[str] | None = None,
        pooling: PartConfig | Sequence[PartConfig] | None = None,
        batch_size: int = 256,
        device: str = "cpu",
        on_bad_molecule: Literal["raise", "nan"] = "raise",
        trust_code: bool = False,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.batch_size = batch_size
        self.device = device
        self.on_bad_molecule = on_bad_molecule
        self.trust_code = trust_code

    def fit(self, X: Any, y: Any = None) -> FingerprintTransformer:
        """Load the model and judge the arguments; of ``X`` only its shape is looked at.

        Raises:
            GraphiumError: a model that cannot be loaded, an argument out of range.
            InputError: ``X`` is no column of texts.
        """
        _read_texts(X)
        self._fingerprinter()
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The fingerprints of molecules, float32 ``[molecules, channels]``, in their order.

        Raises:
            InputError: ``X`` is no column of texts, or a text cannot be used and ``on_bad_molecule`` is ``raise``.
        """
        texts = _read_texts(X)
        fingerprinter = self._fingerprinter()
        found = fingerprinter.fingerprint(texts)
        if fingerprinter.failures and self.on_bad_molecule == "raise":
            position, reason = fingerprinter.failures[0]
            raise InputError(
                f"{len(fingerprinter.failures)} of {len(texts)} molecules cannot be used, the first at position "
                f"{position}: {texts[position]!r} {reason}; leave them out, or give on_bad_molecule='nan'"
            )
        return found

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """A name for every channel, such as ``readout_graph_7``; ``input_features`` is not used."""
        return np.array(self._fingerprinter().names, dtype=object)

    def _fingerprinter(self) -> Fingerprinter:
        if self.on_bad_molecule not in ("raise", "nan"):
            raise GraphiumError(f"on_bad_molecule is {self.on_bad_molecule!r}; choose raise or nan")
        if not isinstance(self.model, str | Path):
            raise GraphiumError(
                f"model is a {type(self.model).__name__}; give the path or name of a saved model, from which copies "
                "of the transformer can load it"
            )
        options: dict[str, Any] = {"batch_size": self.batch_size, "device": self.device, "trust_code": self.trust_code}
        said = (self.model, repr(self.layer), repr(self.pooling), repr(options))
        if self._loaded is None or self._loaded[0] != said:
            self._loaded = said, Fingerprinter(self.model, self.layer, self.pooling, **options)
        return self._loaded[1]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_loaded", None)
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        # `one_d_array` would say that a table of one column is refused.
        tags.input_tags.two_d_array = True
        tags.input_tags.allow_nan = self.on_bad_molecule == "nan"
        tags.transformer_tags.preserves_dtype = []
        return tags


def _read_texts(X: Any) -> list[Any]:
    """The cells of a list, a Series, or a table of one column."""
    if isinstance(X, str):
        raise InputError(f"{X!r} is one text; give a list of them")
    if issparse(X):
        raise InputError("the molecules are a sparse matrix of numbers; give a list of SMILES")
    if not isinstance(X, Iterable):
        raise InputError(f"the molecules are a {type(X).__name__}; give a list of SMILES")
    if not hasattr(X, "shape"):
        X = np.array(list(X), dtype=object)
    if len(X.shape) == 2 and X.shape[1] != 1:
        raise InputError(f"the molecules are a table of {X.shape[1]} columns; give the column of SMILES alone")
    if len(X.shape) not in (1, 2) or not hasattr(X, "__array__"):
        raise InputError(f"the molecules are a {type(X).__name__} of shape {X.shape}; give a list of SMILES")
    cells = np.asarray(X)
    if cells.dtype.kind not in "OUT":
        raise InputError(f"the molecules are numbers of type {cells.dtype}; give a list of SMILES")
    if not cells.size:
        raise InputError("there are no molecules, 0 samples; give at least one SMILES")
    found: list[Any] = cells.reshape(-1).tolist()
    return found
