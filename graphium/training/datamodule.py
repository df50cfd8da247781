"""The Lightning data module: prepared datasets in, resumable loaders out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from graphium.data.batch import GraphBatch
from graphium.data.build import MixOptions, build_mix
from graphium.data.mix import Mix
from graphium.data.sampling.draws import Sampling
from graphium.data.sampling.loader import BatchLoader, one_sampling
from graphium.errors import GraphiumError
from graphium.types import FeatureSpec, HeadSpec

if TYPE_CHECKING:
    from graphium.chem.featurizer import Featurizer
    from graphium.data.datasets.dataset import Dataset


class DataModule(pl.LightningDataModule):
    """Datasets for ``pytorch_lightning.Trainer``.

    Args:
        datasets: Datasets in Python, a ``data`` section as a mapping, or a prepared :class:`Mix`.
        featurizer: Makes the features; not needed with a prepared mix.
        batch_size: Molecules per batch and device, 256 if nothing is said; the short form of ``sampling``.
        sampling: What an epoch of training draws, and how large a batch may be.
        seed: Draws the order of every epoch.
        data_dir: Folder of the source files.
        store_dir: Folder of the prepared stores; None is the cache.
        options: Limit, processes and policy of the preparation, for a list of datasets.
        progress: Show the preparation's progress.

    The mix is prepared at the first use of :attr:`mix`, :attr:`spec` or :attr:`heads`.
    """

    def __init__(
        self,
        datasets: Mix | Sequence[Dataset] | Mapping[str, Any],
        featurizer: Featurizer | None = None,
        *,
        batch_size: int | None = None,
        sampling: Sampling | None = None,
        seed: int = 42,
        data_dir: str | Path | None = None,
        store_dir: str | Path | None = None,
        options: MixOptions | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__()
        self.sampling = Sampling() if batch_size is None and sampling is None else one_sampling(batch_size, sampling)
        self.seed = seed
        self._mix = datasets if isinstance(datasets, Mix) else None
        self._source = datasets
        self._featurizer = featurizer
        self._build = {"data_dir": data_dir, "store_dir": store_dir, "options": options, "progress": progress}
        if self._mix is None and featurizer is None:
            raise GraphiumError("a DataModule of datasets needs a featurizer; give Featurizer(...) as second argument")

    @property
    def mix(self) -> Mix:
        """The prepared datasets."""
        if self._mix is None:
            assert self._featurizer is not None
            self._mix = build_mix(self._source, self._featurizer, **self._build)  # type: ignore[arg-type]
        return self._mix

    @property
    def spec(self) -> FeatureSpec:
        return self.mix.spec

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        return self.mix.heads

    def prepare_data(self) -> None:
        # One process prepares; the others find the stores complete.
        _ = self.mix

    def train_dataloader(self) -> EpochLoader:
        trainer = self._attached_trainer()
        loader = self.mix.loader(
            "train",
            sampling=self.sampling,
            shuffle=True,
            seed=self.seed,
            accumulate=trainer.accumulate_grad_batches,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return EpochLoader(loader, trainer)

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        return self._held_out("val")

    def test_dataloader(self) -> BatchLoader | list[BatchLoader]:
        return self._held_out("test")

    def _held_out(self, part: str) -> BatchLoader | list[BatchLoader]:
        trainer = self._attached_trainer()
        loader = self.mix.loader(part, sampling=self.sampling, rank=trainer.global_rank, world_size=trainer.world_size)
        return loader if len(loader) else []

    def _attached_trainer(self) -> pl.Trainer:
        if self.trainer is None:
            raise GraphiumError("this DataModule has no trainer yet; pass it to Trainer.fit, or use its .mix.loader")
        return self.trainer


class EpochLoader:
    """Starts every iteration where the trainer stands: at its epoch, after the batches that are done.

    So a resumed run needs nothing from the loader but its length.
    """

    def __init__(self, loader: BatchLoader, trainer: pl.Trainer) -> None:
        self.loader, self.trainer = loader, trainer

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[GraphBatch]:
        # A generator: nothing is read before the first batch is asked for, when the trainer has restored itself.
        yield from self._from(self.state_dict())

    def _from(self, state: Mapping[str, int]) -> Iterator[GraphBatch]:
        self.loader.load_state_dict(state)
        yield from self.loader

    def state_dict(self) -> dict[str, int]:
        """The epoch under way and the number of its batches that are done."""
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return {"epoch": self.trainer.current_epoch, "position": done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Nothing to do: the trainer's own counters say where to start."""
