"""Labels that a network can learn: random smooth functions of a molecule or of an atom's surroundings, plus noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from molecules import FINGERPRINT_SIZE, Molecules
from scipy.special import ndtri

# Numbers that stand for a molecule: its descriptors, and projections of its fingerprint.
PROJECTIONS = 16
# What assays and genes respond to; every task responds to some of them.
PATHWAYS, PATHWAYS_OF_A_TASK = 48, 6
# Share of a label's variance that follows from the molecule; the rest is noise.
ASSAY_SIGNAL, GENE_SIGNAL, PROPERTY_SIGNAL = 0.75, 0.6, 0.97
# Correlation of the functions of one gene in two cell lines.
CELL_LINES_SHARE = 0.7
# Shares of the labels outside the neutral bracket, below and above together: 3 brackets, and the outer two of 5.
NOT_NEUTRAL, EXTREME = 0.08, 0.015
# Presence of an assay, between molecules measured often (a quarter) and seldom; the mean of both is 1.
PRESENT_RANGE, OFTEN, SELDOM = (0.004, 0.32), 2.8, 0.4
PREVALENCE_RANGE = (0.01, 0.3)
# No assay of a small table has fewer labels than this, on average.
LEAST_LABELS = 20


class Functions:
    """The functions of a seed; scales and thresholds are those of some reference molecules.

    Equal seeds and reference molecules give equal functions, whatever the number of rows that are made.
    """

    def __init__(self, reference: Molecules, seed: int) -> None:
        self.seed = seed
        self._reference = reference
        self._numbers = _Standardised(_with_projections(reference, self._rng("projections")))
        self._atoms = _Standardised(_surroundings(reference))

    def assays(self, molecules: Molecules, count: int, num_rows: int, noise: np.random.Generator) -> np.ndarray:
        """Binary labels of ``count`` assays, float64 ``[molecules, count]`` of 0, 1 and NaN (93 % of it)."""
        rng = self._rng("assays")
        signal = self._pathways(molecules) @ self._responses("assays", count)
        prevalence = _log_uniform(rng, PREVALENCE_RANGE, count)
        present = np.maximum(_log_uniform(rng, PRESENT_RANGE, count), LEAST_LABELS / num_rows)
        active = self._noisy(signal, ASSAY_SIGNAL, noise) > -_normal_quantile(prevalence)
        often = np.where(noise.random(len(molecules)) < 0.25, OFTEN, SELDOM)
        there = noise.random(active.shape, dtype=np.float32) < present * often[:, None]
        return np.where(there, active.astype(np.float64), np.nan)

    def genes(
        self, molecules: Molecules, count: int, cell_line: str, brackets: int, noise: np.random.Generator
    ) -> np.ndarray:
        """Brackets of ``count`` genes in a cell line, int64 ``[molecules, count]``, 0 to ``brackets - 1``."""
        shared, own = self._responses("genes", count), self._responses(f"genes {cell_line}", count)
        weights = np.sqrt(CELL_LINES_SHARE) * shared + np.sqrt(1 - CELL_LINES_SHARE) * own
        signal = self._pathways(molecules) @ weights
        shares = np.array([NOT_NEUTRAL] if brackets == 3 else [EXTREME, NOT_NEUTRAL])
        low = _normal_quantile(shares / 2)
        return np.searchsorted(np.concatenate([low, -low[::-1]]), self._noisy(signal, GENE_SIGNAL, noise))

    def properties(self, molecules: Molecules, count: int, name: str, noise: np.random.Generator) -> np.ndarray:
        """Real-valued properties of molecules, float64 ``[molecules, count]``, each in a unit of its own."""
        rng = self._rng(name)
        numbers = self._describe(molecules)
        width = numbers.shape[1]
        linear = rng.normal(size=(width, count)) / np.sqrt(width)
        bent = rng.normal(size=(width, 32)) / np.sqrt(width), rng.normal(size=(32, count)) / np.sqrt(32)
        value = self._noisy(numbers @ linear + 2 * np.tanh(numbers @ bent[0]) @ bent[1], PROPERTY_SIGNAL, noise)
        return _in_units(value, rng)

    def atom_properties(self, molecules: Molecules, count: int, name: str, noise: np.random.Generator) -> np.ndarray:
        """Real-valued properties of atoms, float64 ``[atoms, count]``: functions of two shells of neighbours."""
        rng = self._rng(name)
        numbers = self._atoms(_surroundings(molecules))
        hidden = np.tanh(numbers @ rng.normal(size=(numbers.shape[1], 32)) / 4)
        linear = numbers @ rng.normal(size=(numbers.shape[1], count)) / 8
        signal = linear + hidden @ rng.normal(size=(32, count)) / np.sqrt(32)
        return _in_units(self._noisy(signal, PROPERTY_SIGNAL, noise), rng)

    def _pathways(self, molecules: Molecules) -> np.ndarray:
        """How strongly a molecule acts on each pathway, ``[molecules, PATHWAYS]``, mean 0, variance 1."""
        return self._standard_pathways(self._raw_pathways(molecules))

    @cached_property
    def _standard_pathways(self) -> _Standardised:
        return _Standardised(self._raw_pathways(self._reference))

    def _raw_pathways(self, molecules: Molecules) -> np.ndarray:
        numbers = self._describe(molecules)
        weights = self._rng("pathways").normal(size=(numbers.shape[1], PATHWAYS))
        return np.tanh(numbers @ weights / np.sqrt(numbers.shape[1]))

    def _responses(self, name: str, count: int) -> np.ndarray:
        """``[PATHWAYS, count]``: a task responds to a few pathways; scaled so that the signal has variance 1."""
        rng = self._rng(f"responses {name}")
        weights = rng.normal(size=(PATHWAYS, count))
        weights[rng.random(weights.shape).argsort(axis=0) >= PATHWAYS_OF_A_TASK] = 0.0
        return weights / (self._pathways(self._reference) @ weights).std(axis=0)

    def _describe(self, molecules: Molecules) -> np.ndarray:
        return self._numbers(_with_projections(molecules, self._rng("projections")))

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *name.encode()])

    @staticmethod
    def _noisy(signal: np.ndarray, share: float, noise: np.random.Generator) -> np.ndarray:
        """``signal`` of variance about 1 -> the same with noise, of which it makes up ``share`` of the variance."""
        return np.sqrt(share) * signal + np.sqrt(1 - share) * noise.standard_normal(signal.shape, dtype=np.float32)


class _Standardised:
    """Columns with the mean and the deviation of a sample, which it remembers; outliers are drawn in."""

    def __init__(self, sample: np.ndarray) -> None:
        self.mean = sample.mean(axis=0)
        self.std = np.where(sample.std(axis=0) > 0, sample.std(axis=0), 1.0)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.clip((values - self.mean) / self.std, -4.0, 4.0)


def _with_projections(molecules: Molecules, rng: np.random.Generator) -> np.ndarray:
    weights = rng.normal(size=(FINGERPRINT_SIZE, PROJECTIONS))
    return np.concatenate([molecules.descriptors, molecules.environments @ weights], axis=1)


def _surroundings(molecules: Molecules) -> np.ndarray:
    """An atom's own features beside the sums over its neighbours and over theirs, ``[atoms, 3 * features]``."""
    shells = [molecules.atoms]
    for _ in range(2):
        sums = np.zeros_like(molecules.atoms)
        source, target = molecules.edges
        np.add.at(sums, target, shells[-1][source] * molecules.orders[:, None])
        shells.append(sums)
    return np.concatenate(shells, axis=1)


def _in_units(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values of variance about 1 -> the same, shifted and scaled column by column over five orders of magnitude."""
    scale = _log_uniform(rng, (1e-2, 1e3), values.shape[1])
    return scale * (values + rng.uniform(-3, 3, size=values.shape[1]))


def _log_uniform(rng: np.random.Generator, limits: Sequence[float], size: int) -> np.ndarray:
    return np.exp(rng.uniform(*np.log(limits), size=size))


def _normal_quantile(share: np.ndarray) -> np.ndarray:
    """The number that a standard normal variable falls below with probability ``share``."""
    return ndtri(share)
