"""Which atoms a prediction rests on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from rdkit import rdBase
from torch import Tensor

from graphium.chem.parse import read_molecule, readable
from graphium.data.batch import GraphBatch
from graphium.data.concat import concat
from graphium.data.molecules import Molecules
from graphium.errors import GraphiumError, suggest
from graphium.messages import listed
from graphium.models.attribution.drawing import METHODS, AtomContributions, Method
from graphium.models.device import find_device
from graphium.models.members import Chosen, Member, choose_tasks
from graphium.models.ready import ready_model
from graphium.models.saved import SavedModel
from graphium.models.tables.columns import class_names
from graphium.models.trust.conformal import probabilities
from graphium.nn.network import Network

# Points between baseline and molecule at which gradients are taken.
STEPS = 64
# Texts that are parsed together, and atoms that the network reads together.
_CHUNK = 2048
_MOST_ATOMS = 1 << 14


@overload
def explain(model: Any, molecules: str, task: str | None = None, **options: Any) -> AtomContributions: ...


@overload
def explain(
    model: Any, molecules: Sequence[str], task: str | None = None, **options: Any
) -> list[AtomContributions]: ...


def explain(
    model: str | Path | SavedModel, molecules: str | Sequence[str], task: str | None = None, **options: Any
) -> AtomContributions | list[AtomContributions]:
    """Tell which atoms a prediction rests on; the methods and options are those of :class:`Explainer`.

    Args:
        model: What :func:`~graphium.models.saved.load_model` takes, or what it gave.
        molecules: A SMILES, CXSMILES or molblock, or several.
        task: ``task`` or ``dataset/task``; needed where the model has several.

    Returns:
        One result for one text, a list for a list; texts of a list that could not be used have a ``status`` that
        says why.

    Raises:
        GraphiumError: a model, task, class, option or (alone) text that cannot be used.

    >>> explain("outputs/esol/model", "CCO").values.round(2)  # doctest: +SKIP
    array([-0.21, -0.04,  1.35])
    """
    explainer = Explainer(model, task, **options)
    if not isinstance(molecules, str):
        return list(explainer.contributions(_texts(molecules)))
    (found,) = explainer.contributions([molecules])
    if found.status != "ok":
        raise GraphiumError(f"{readable(molecules)!r} {found.status}; give a valid SMILES or molblock")
    return found


def _texts(molecules: Any) -> list[Any]:
    """The texts of a list, a Series, an array or whatever gives one after the other."""
    if len(getattr(molecules, "shape", (0,))) > 1:
        raise GraphiumError("the molecules are a table; give its column of SMILES alone")
    if not isinstance(molecules, Iterable):
        raise GraphiumError(f"the molecules are a {type(molecules).__name__}; give a SMILES, or a list of them")
    return list(molecules)


class Explainer:
    """Tells what every atom contributes to a prediction.

    Both methods work on the first vectors of the atoms, which the network makes of each atom's own properties and of
    its encodings; bonds stay as they are. ``baseline`` is the prediction with all of these vectors 0: a skeleton of
    atoms that have no properties. Atoms that are the same by symmetry may differ a little: eigenvectors, as encodings
    hold them, are not symmetric.

    ``gradient``: integrated gradients (Sundararajan, Taly and Yan 2017, equation 1) on the straight line from 0 to the
    vectors, by Gauss-Legendre quadrature. The contributions add up to ``prediction - baseline``, but for the error of
    the quadrature. ``masking``: how much the prediction falls when the vector of that atom alone becomes 0; what two
    atoms do together counts for both, so that these do not add up.

    Args:
        model: What :func:`~graphium.models.saved.load_model` takes, or what it gave.
        task: ``task`` or ``dataset/task``; None where the model has one task.
        method: ``gradient`` or ``masking``.
        of_class: The class whose probability is explained; None is the most probable class of each molecule, of a
            binary task the second one.
        entity: For tasks of atoms, bonds or pairs: which one's prediction, by its number in the lists that a
            prediction of the molecule gives.
        steps: Points of the quadrature.
        batch_size: Molecules that are worked on together.
        device: Where the network computes.
        trust_code: Allow a model that names code of its author.

    Raises:
        GraphiumError: a model, task, class, method or number that cannot be used.
    """

    def __init__(
        self,
        model: str | Path | SavedModel,
        task: str | None = None,
        *,
        method: Method = "gradient",
        of_class: str | None = None,
        entity: int | None = None,
        steps: int = STEPS,
        batch_size: int = 64,
        device: str | torch.device = "cpu",
        trust_code: bool = False,
    ) -> None:
        if method not in METHODS:
            raise GraphiumError(f"method is {method!r}; {suggest(str(method), METHODS)}")
        for name, value in (("steps", steps), ("batch_size", batch_size)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise GraphiumError(f"{name} is {value!r}; give a whole number of at least 1")
        self.device = find_device(device)
        saved = ready_model(model, trust_code, self.device)
        self.saved, self.method, self.steps, self.batch_size = saved, method, steps, batch_size
        self.network = saved.network
        self._member = Member(saved, [_chosen(saved, task)])
        self.head = self._member.chosen[0].head
        (self.task,) = self.head.tasks
        #: Names of the classes, none of a number.
        self.classes = (class_names(self.head, self.task) or ("0", "1")) if self.head.kind != "regression" else ()
        if of_class is not None and of_class not in self.classes:
            what = suggest(of_class, self.classes) if self.classes else "leave it out, the task is a number"
            raise GraphiumError(f"task {self.task.name!r} has no class {of_class!r}; {what}")
        self.of_class = of_class if of_class is not None or self.head.kind != "binary" else self.classes[1]
        thing = {"node": "atom", "edge": "bond", "nodepair": "pair"}.get(self.head.level)
        if entity is None and thing:
            raise GraphiumError(
                f"task {self.task.name!r} predicts {thing}s; say by its number which {thing}'s prediction to explain"
            )
        if entity is not None and (not thing or entity < 0):
            raise GraphiumError(
                f"entity is {entity} and task {self.task.name!r} predicts {thing or 'whole molecule'}s; "
                + ("count from 0" if thing else "leave it out")
            )
        self.entity = entity

    def contributions(self, molecules: Sequence[Any]) -> Iterator[AtomContributions]:
        """A result for every text (SMILES, CXSMILES or molblock), in their order.

        Raises:
            GraphiumError: a molecule that has no such entity.
        """
        for start in range(0, len(molecules), _CHUNK):
            texts = list(molecules[start : start + _CHUNK])
            read = Molecules(texts, self.saved.featurizer)
            found = {position: self._result(texts[position], status=reason) for position, reason in read.failures}
            for batch in read.batches(self.batch_size, pairs=self.head.level == "nodepair"):
                found |= self._of_batch(read, batch.to(self.device), texts)
            yield from (found[position] for position in range(len(texts)))

    def _of_batch(self, read: Molecules, batch: GraphBatch, texts: Sequence[Any]) -> dict[int, AtomContributions]:
        """Position of a text -> its result."""
        rows = self._rows(read, batch, texts)
        with torch.no_grad():
            first: Tensor = self.network.node_input(batch)
            numbers = self._numbers(batch, rows)
            chosen = self._chosen_classes(numbers)
            prediction = self._explained(numbers, chosen)
            with _replaced(self.network, torch.zeros_like(first)):
                baseline = self._explained(self._numbers(batch, rows), chosen)
        if self.method == "gradient":
            values = self._integrated_gradients(batch, rows, chosen, first)
        else:
            values = self._masked(batch, rows, chosen, first, prediction)
        atoms = read.places("node", batch)
        of_text = np.split(values.numpy()[atoms.entity], np.cumsum(atoms.counts)[:-1])
        return {
            position: self._result(
                texts[position],
                None if chosen is None else self.classes[int(chosen[graph])],
                values=of_text[graph],
                prediction=float(prediction[graph]),
                baseline=float(baseline[graph]),
            )
            for graph, position in enumerate(batch.row.tolist())
        }

    def _rows(self, read: Molecules, batch: GraphBatch, texts: Sequence[Any]) -> Tensor:
        """Which rows of the predictions are explained, int64 ``[graphs]``."""
        places = read.places(self.head.level, batch)
        number = self.entity or 0
        short = np.flatnonzero(number >= places.counts)
        if len(short):
            text = readable(texts[int(batch.row[short[0]])])
            raise GraphiumError(
                f"entity is {number} and {text!r} has {places.counts[short[0]]} that task {self.task.name!r} predicts; "
                "count from 0"
            )
        first = np.cumsum(places.counts) - places.counts
        return torch.from_numpy(places.entity[first + number])

    def _numbers(self, batch: GraphBatch, rows: Tensor) -> Tensor:
        """What is predicted of some rows in label units, float64 ``[rows, columns]``, on the processor."""
        return self._member.numbers(self._member.forward(batch))[self.head.name][rows, 0]

    def _chosen_classes(self, numbers: Tensor) -> Tensor | None:
        """The class that is explained of every row, int64 ``[rows]``; None for numbers."""
        if not self.classes:
            return None
        if self.of_class is not None:
            return torch.full((len(numbers),), self.classes.index(self.of_class))
        return numbers[:, 0].long()

    def _explained(self, numbers: Tensor, chosen: Tensor | None) -> Tensor:
        """The number that is explained of every row, float64 ``[rows]``."""
        if chosen is None:
            return numbers[:, 0]
        return probabilities(self.head, numbers).gather(1, chosen.unsqueeze(1)).squeeze(1)

    def _integrated_gradients(self, batch: GraphBatch, rows: Tensor, chosen: Tensor | None, first: Tensor) -> Tensor:
        """Contribution of every node, float64 ``[nodes]``."""
        places, weights = np.polynomial.legendre.leggauss(self.steps)
        total = torch.zeros_like(first, dtype=torch.float64)
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            point = (first * float(place)).requires_grad_()
            with torch.enable_grad(), _replaced(self.network, point):
                # Graphs do not see each other, so the gradient of their sum is that of each.
                explained = self._explained(self._numbers(batch, rows), chosen)
                (gradient,) = torch.autograd.grad(explained.sum(), point)
            total += float(weight) * gradient
        return (total * first).sum(1).cpu()

    def _masked(
        self, batch: GraphBatch, rows: Tensor, chosen: Tensor | None, first: Tensor, prediction: Tensor
    ) -> Tensor:
        """Contribution of every node, float64 ``[nodes]``, of copies of the batch that lack one atom of every graph."""
        size = batch.ptr.diff().cpu()
        begin = batch.ptr[:-1].cpu()
        entities = batch.num_entities(self.head.level)
        at_once = max(1, _MOST_ATOMS // batch.num_nodes)
        values = torch.zeros(batch.num_nodes, dtype=torch.float64)
        for start in range(0, int(size.max()), at_once):
            copies = torch.arange(min(at_once, int(size.max()) - start))
            atom = (start + copies).unsqueeze(1)  # [copies, 1]
            is_there = atom < size  # [copies, graphs]
            node = (begin + atom)[is_there]
            copy = copies.unsqueeze(1).expand_as(is_there)[is_there]
            vectors = first.repeat(len(copies), 1)
            vectors[(copy * batch.num_nodes + node).to(vectors.device)] = 0
            with torch.no_grad(), _replaced(self.network, vectors):
                numbers = self._numbers(
                    concat([batch] * len(copies), ()), (copies.unsqueeze(1) * entities + rows).flatten()
                )
                without = self._explained(numbers, None if chosen is None else chosen.repeat(len(copies)))
            values[node] = (prediction - without.view(len(copies), -1))[is_there]
        return values

    def _result(self, text: Any, of_class: str | None = None, **found: Any) -> AtomContributions:
        return AtomContributions(
            text,
            self.task.name,
            self.method,
            units="probability" if self.classes else self.task.unit,
            of_class=of_class,
            form=self.saved.spec.form,
            **found,
        )


def _chosen(saved: SavedModel, task: str | None) -> Chosen:
    """The one task that a name means."""
    chosen = choose_tasks(saved.heads, None if task is None else [task])
    names = [f"{t.dataset}/{t.name}" for one in chosen for t in one.head.tasks]
    if len(names) > 1:
        who = "the model has" if task is None else f"{task!r} means"
        raise GraphiumError(f"{who} {len(names):,} tasks; name one of them: {listed(names, most=5)}")
    return chosen[0]


@contextmanager
def _replaced(network: Network, vectors: Tensor) -> Iterator[None]:
    """The network with other first vectors of the atoms."""
    handle = network.node_input.register_forward_hook(lambda module, args, out: vectors)
    try:
        yield
    finally:
        handle.remove()


def symbols(found: AtomContributions) -> list[str]:
    """The elements of the atoms, in the order of ``found.values``."""
    with rdBase.BlockLogs():
        return [atom.GetSymbol() for atom in read_molecule(found.text, found.form).GetAtoms()]
