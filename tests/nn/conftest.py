"""Random molecules as batches, without RDKit and without a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from graphium.data.batch import GraphBatch, Labels
from graphium.types import EncodingColumn, FeatureSpec, HeadSpec, Property, Task, group_tasks

K, STEPS = 8, 16
SPEC = FeatureSpec(
    atoms=(
        Property("atomic-number", 44, "uint8"),
        Property("group", 19, "uint8"),
        Property("period", 8, "uint8"),
        Property("total-valence", 8, "uint8"),
        Property("degree", 0, "int8"),
        Property("formal-charge", 0, "int8"),
        Property("radical-electron", 0, "int8"),
        Property("aromatic", 0, "int8"),
        Property("in-ring", 0, "int8"),
    ),
    bonds=(Property("bond-type", 6, "uint8"), Property("stereo", 7, "uint8"), Property("in-ring", 0, "int8")),
    encodings=(
        EncodingColumn("laplacian_eigvec", "laplacian", K, "node"),
        EncodingColumn("laplacian_eigval", "laplacian", K, "component"),
        EncodingColumn("rw_return_probs", "rw_return_probs", STEPS, "node"),
    ),
)


@dataclass
class Molecule:
    """A random molecule: features per atom, bonds and pairs ``[..., 2]`` with ``i < j``, encodings per atom."""

    codes: np.ndarray
    numbers: np.ndarray
    bonds: np.ndarray
    bond_codes: np.ndarray
    bond_numbers: np.ndarray
    encodings: dict[str, np.ndarray]
    pairs: np.ndarray

    @property
    def num_atoms(self) -> int:
        return len(self.codes)

    def permuted(self, order: np.ndarray) -> Molecule:
        """The same molecule with atom ``order[i]`` at place ``i`` (bonds keep their order)."""
        place = np.argsort(order)
        return Molecule(
            self.codes[order],
            self.numbers[order],
            np.sort(place[self.bonds], axis=1).reshape(-1, 2),
            self.bond_codes,
            self.bond_numbers,
            {name: values[order] for name, values in self.encodings.items()},
            np.sort(place[self.pairs], axis=1).reshape(-1, 2),
        )


def random_molecule(
    rng: np.random.Generator, num_atoms: int, components: int = 1, spec: FeatureSpec = SPEC
) -> Molecule:
    """A random forest of ``components`` trees with a few ring closures."""
    pairs = {(int(rng.integers(max(0, j - 3), j)), j) for j in range(components, num_atoms)}
    if components == 1:
        pairs |= {(i, i + 4) for i in range(num_atoms - 4) if rng.random() < 0.3}
    bonds = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)

    def pick(rows: int, sizes: Sequence[int]) -> np.ndarray:
        return np.stack([rng.integers(0, size, rows) for size in sizes], 1) if sizes else np.zeros((rows, 0), np.int64)

    encodings = {name: rng.normal(size=(num_atoms, dim)) for name, dim in spec.encoding_dims().items()}
    for values in encodings.values():
        values[:, num_atoms:] = 0
    return Molecule(
        pick(num_atoms, spec.atom_sizes),
        rng.integers(0, 3, (num_atoms, spec.num_atom_numbers)),
        bonds,
        pick(len(bonds), spec.bond_sizes),
        rng.integers(0, 2, (len(bonds), spec.num_bond_numbers)),
        encodings,
        np.array([(0, j) for j in range(1, min(num_atoms, 4))], dtype=np.int64).reshape(-1, 2),
    )


def collate(molecules: Sequence[Molecule], labels: dict[str, Labels] | None = None) -> GraphBatch:
    """Put molecules into one batch, slowly and plainly."""
    sizes = [molecule.num_atoms for molecule in molecules]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    bonds = np.concatenate([m.bonds + start for m, start in zip(molecules, starts[:-1], strict=True)])
    num_bonds = len(bonds)
    both = np.concatenate([bonds, bonds[:, ::-1]])
    order = np.lexsort((both[:, 0], both[:, 1]))
    place = np.argsort(order)
    bond_of = np.concatenate([np.arange(num_bonds)] * 2)[order]
    rowptr = np.searchsorted(both[order, 1], np.arange(starts[-1] + 1))

    def stack(name: str) -> np.ndarray:
        return np.concatenate([getattr(molecule, name) for molecule in molecules])

    encodings = {
        name: torch.tensor(np.concatenate([m.encodings[name] for m in molecules]), dtype=torch.float16)
        for name in molecules[0].encodings
    }
    return GraphBatch(
        x=torch.tensor(stack("codes"), dtype=torch.uint8),
        x_num=torch.tensor(stack("numbers"), dtype=torch.float32),
        edge_index=torch.tensor(both[order].T.copy()),
        edge_attr=torch.tensor(stack("bond_codes")[bond_of], dtype=torch.uint8),
        edge_num=torch.tensor(stack("bond_numbers")[bond_of], dtype=torch.float32),
        rowptr=torch.tensor(rowptr),
        batch=torch.tensor(np.repeat(np.arange(len(sizes)), sizes)),
        ptr=torch.tensor(starts),
        bond_edges=torch.tensor(np.stack([place[:num_bonds], place[num_bonds:]])),
        table=torch.zeros(len(sizes), dtype=torch.long),
        row=torch.arange(len(sizes)),
        pair_index=torch.tensor(
            np.concatenate([m.pairs + start for m, start in zip(molecules, starts[:-1], strict=True)]).T.copy()
        ),
        encodings=encodings,
        labels=labels or {},
    )


def random_labels(rng: np.random.Generator, head: HeadSpec, num_entities: int) -> Labels:
    """A label for about half of the (entity, task) cells of a head."""
    entity, task = np.nonzero(rng.random((num_entities, head.num_tasks)) < 0.5)
    value = rng.integers(0, max(head.num_classes, 2), len(entity)).astype(np.float32)
    weight = rng.random(len(entity)).astype(np.float32) + 0.5
    total = np.bincount(task, weight, minlength=head.num_tasks)
    return Labels(
        torch.tensor(entity),
        torch.tensor(task),
        torch.tensor(value),
        torch.tensor(weight),
        torch.tensor(total, dtype=torch.float32),
    )


def make_heads() -> tuple[HeadSpec, ...]:
    return group_tasks(
        [
            *[Task(f"g{i}", "qm9", "graph", "regression") for i in range(3)],
            *[Task(f"b{i}", "tox", "graph", "binary") for i in range(2)],
            Task("c", "sol", "graph", "multiclass", num_classes=3),
            Task("n", "drugs", "node", "regression"),
            Task("e", "drugs", "edge", "regression"),
            Task("d", "drugs", "nodepair", "regression"),
            *[Task(f"q{i}", "assay", "graph", "regression", outputs=("q0.1", "q0.5", "q0.9")) for i in range(2)],
        ]
    )


def loss_of(predictions: dict[str, Tensor], batch: GraphBatch) -> Tensor:
    """A smooth loss over label triples: weighted squares, classes included as targets of each logit."""
    total = torch.zeros(())
    for name, labels in batch.labels.items():
        picked = predictions[name].float()[labels.entity, labels.task]
        value = labels.value if picked.ndim == 1 else labels.value.unsqueeze(1)
        weight = labels.weight if picked.ndim == 1 else labels.weight.unsqueeze(1)
        total = total + ((picked - value).square() * weight).sum()
    return total


@pytest.fixture
def make() -> SimpleNamespace:
    """What the tests of the network build their batches with."""
    return SimpleNamespace(
        spec=SPEC,
        heads=make_heads(),
        molecule=random_molecule,
        collate=collate,
        labels=random_labels,
        loss=loss_of,
        mixed=mixed_molecules,
    )


def mixed_molecules(seed: int = 0) -> list[Molecule]:
    """Molecules with rings, a single atom, two atoms without a bond, and a salt."""
    rng = np.random.default_rng(seed)
    plans: list[tuple[int, int]] = [(9, 1), (1, 1), (14, 1), (2, 2), (7, 2), (5, 1)]
    return [random_molecule(rng, atoms, components) for atoms, components in plans]


MoleculeMaker = Callable[..., Molecule]
