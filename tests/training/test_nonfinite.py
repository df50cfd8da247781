"""A loss or gradient that is not finite: which step, which tasks, which molecules, and no checkpoint after it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.data.batch import GraphBatch
from graphium.data.build import build_mix
from graphium.data.mix import Mix
from graphium.data.sampling.loader import BatchLoader
from graphium.errors import GraphiumError
from graphium.nn.network import build_network
from graphium.training.callbacks import Averaging, BestCheckpoint, LastCheckpoint
from graphium.training.datamodule import DataModule, EpochLoader
from graphium.training.display import quiet_lightning
from graphium.training.module import Module
from graphium.training.nonfinite import LossWatch, NonFiniteLoss
from graphium.training.options import TrainerOptions

ROWS, BATCH = 40, 4
# Where the label that breaks the loss stands; every row comes by in its own order, 10 batches an epoch.
BAD_ROW = 26
BAD_BATCH = BAD_ROW // BATCH


def _index(count: int) -> Tensor:
    rows = torch.arange(count)
    return torch.stack([torch.zeros_like(rows), rows], dim=1)


@pytest.fixture
def bad_batch(make_batch: Callable, fake_heads: Sequence[Any]) -> Callable[[Tensor], GraphBatch]:
    """As ``make_batch``, but the second task of the first head has an endless label in one row."""

    def build(index: Tensor) -> GraphBatch:
        batch = make_batch(index)
        name = fake_heads[0].name
        labels = batch.labels[name]
        entity = torch.cat([labels.entity, (index[:, 1] == BAD_ROW).nonzero()[:, 0]])
        new = len(entity) - len(labels.entity)
        changed = replace(
            labels,
            entity=entity,
            task=torch.cat([labels.task, torch.ones(new, dtype=torch.int64)]),
            value=torch.cat([labels.value, torch.full((new,), float("inf"))]),
            weight=torch.cat([labels.weight, torch.ones(new)]),
            total=labels.total + torch.tensor([0.0, new, 0.0]),
        )
        return replace(batch, labels={**batch.labels, name: changed})

    return build


@pytest.fixture
def fit(tiny_network: Callable, fake_heads: tuple, tmp_path: Path) -> Callable[..., Module]:
    """Train until something is not finite; ``held_out``: validate twice an epoch."""

    def run(
        gather: Callable[[Tensor], GraphBatch],
        *,
        held_out: Callable[[Tensor], GraphBatch] | None = None,
        broken: Callable[[Module], None] = lambda module: None,
        log_every: int = 50,
        save_every: int | None = None,
        averaging: float | None = None,
        **options: Any,
    ) -> Module:
        chosen = TrainerOptions(progress=False, max_epochs=2, log_every=log_every, averaging=averaging,
                                val_every=0.5 if held_out else 1.0, **options)  # fmt: skip
        module = Module(tiny_network(0, noise=False), fake_heads, schedule=None)
        module.log_every = log_every
        broken(module)
        callbacks: list[pl.Callback] = [Averaging(averaging)] if averaging else []
        callbacks += [BestCheckpoint(tmp_path, "val/loss", "min"), LastCheckpoint(tmp_path, save_every=save_every)]
        with quiet_lightning():
            trainer = pl.Trainer(callbacks=callbacks, default_root_dir=tmp_path, **chosen.lightning_arguments())
            trainer.fit(module, _Data(gather, held_out))
        return module

    return run


class _Data(pl.LightningDataModule):
    """The rows one after the other, shared by ranks."""

    def __init__(self, gather: Callable[[Tensor], GraphBatch], held_out: Any) -> None:
        super().__init__()
        self.gather, self.held_out = gather, held_out

    def train_dataloader(self) -> EpochLoader:
        t = self.trainer
        assert t is not None
        loader = BatchLoader(self.gather, _index(ROWS), batch_size=BATCH // t.world_size, rank=t.global_rank,
                             accumulate=t.accumulate_grad_batches, world_size=t.world_size)  # fmt: skip
        return EpochLoader(loader, t)

    def val_dataloader(self) -> Any:
        return [] if self.held_out is None else BatchLoader(self.held_out, _index(8), batch_size=8)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("log_every", [1, 2, 50])
@pytest.mark.parametrize("gradient_clip", [None, 1.0])
def test_the_first_bad_step_is_named(
    fit: Callable, bad_batch: Callable, accumulate: int, log_every: int, gradient_clip: float | None
) -> None:
    with pytest.raises(NonFiniteLoss) as caught:
        fit(bad_batch, accumulate=accumulate, log_every=log_every, gradient_clip=gradient_clip)
    error = caught.value
    assert error.step == BAD_BATCH // accumulate + 1
    assert [(task.dataset, task.name) for task in error.tasks] == [("alpha", "y1")]
    # The micro-batch that has it, not the whole step.
    assert error.rows[:, 1].tolist() == list(range(BAD_BATCH * BATCH, (BAD_BATCH + 1) * BATCH))
    assert "at step" in str(error) and "(alpha/y1); use a smaller optim.lr" in str(error)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_is_not_finite_is_found_in_its_step(
    fit: Callable, make_batch: Callable, accumulate: int
) -> None:
    """The loss says so one step too late, with the molecules of another step."""
    calls: list[int] = []

    def spoil(gradient: Tensor) -> Tensor:
        calls.append(1)
        return gradient * float("nan") if len(calls) == 4 * accumulate else gradient

    with pytest.raises(NonFiniteLoss, match="gradient of the training loss is not finite at step 4") as caught:
        fit(make_batch, broken=lambda m: m.network.mix.weight.register_hook(spoil), accumulate=accumulate)
    assert caught.value.tasks == ()
    first = 3 * accumulate * BATCH
    assert caught.value.rows[:, 1].tolist() == list(range(first, first + accumulate * BATCH))


@pytest.mark.parametrize("averaging", [None, 0.9])
@pytest.mark.parametrize("save_every", [1, 4, 100])
def test_no_checkpoint_holds_what_came_after(
    fit: Callable, bad_batch: Callable, make_batch: Callable, tmp_path: Path, averaging: float | None, save_every: int
) -> None:
    with pytest.raises(NonFiniteLoss) as caught:
        fit(bad_batch, held_out=make_batch, log_every=1000, save_every=save_every, averaging=averaging)
    assert caught.value.step == BAD_BATCH + 1
    files = sorted(path.name for path in tmp_path.glob("*.ckpt*"))
    assert files == ["best.ckpt", "last.ckpt"]
    for name, steps in (("best.ckpt", 5), ("last.ckpt", {1: BAD_BATCH, 4: 5, 100: 5}[save_every])):
        checkpoint = torch.load(tmp_path / name, weights_only=True)
        assert checkpoint["global_step"] == steps
        assert all(bool(value.isfinite().all()) for value in checkpoint["state_dict"].values())


def test_the_end_of_a_run_looks_too(fit: Callable, bad_batch: Callable) -> None:
    with pytest.raises(NonFiniteLoss):
        fit(bad_batch, max_steps=BAD_BATCH + 2, log_every=1000)


@pytest.mark.timeout(120)
def test_all_ranks_stop_with_the_molecules_of_all(fit: Callable, bad_batch: Callable) -> None:
    with pytest.raises(
        Exception, match=r"(?s)ValueError: \[24, 25, 26, 27\].*NonFiniteLoss: .* at step 7 \(alpha/y1\)"
    ):
        fit(bad_batch, devices=2, strategy="ddp_fork", broken=_print_rows, log_every=3)


def _print_rows(module: Module) -> None:
    """Another process hands back text only."""
    found = module.watch.look

    def look() -> None:
        try:
            found()
        except NonFiniteLoss as error:
            raise NonFiniteLoss(error.step, error.tasks, error.rows) from ValueError(sorted(error.rows[:, 1].tolist()))

    module.watch.look = look  # type: ignore[method-assign]


def test_a_watch_forgets_the_steps_it_has_seen(fake_heads: Sequence[Any], make_batch: Callable) -> None:
    watch, batch, norm = LossWatch(fake_heads), make_batch(_index(2)), torch.tensor(1.0)
    watch.look()
    for number in range(1, 4):
        watch.note(torch.ones(len(watch.tasks)), batch)
        watch.close_step(number, norm)
    watch.look()
    watch.note(torch.full((len(watch.tasks),), float("nan")), batch)
    # A step that is under way has changed no weight.
    watch.look()
    watch.close_step(4, norm)
    with pytest.raises(NonFiniteLoss, match=r"step 4 \(alpha/y0, alpha/y1, alpha/y2 and 4 more tasks\)"):
        watch.look()
    watch.look()


TABLE = """smiles,charge,y,z,part
CCO,0,1,2,train
CCN,1,3,1,train
CCCl,0,1e25,,train
c1ccccc1,1,-2,5,train
CC,0,3,2,val
CCC,1,3,2,test
"""


@pytest.fixture
def mix(tmp_path: Path) -> Mix:
    """A table with a label that is out of all proportion, and another one."""
    (tmp_path / "a.csv").write_text(TABLE)
    (tmp_path / "b.csv").write_text("smiles,w\nCO,1\nCOC,2\nCCOC,3\nCCCO,4\n")
    regression = {"columns": ["y", "z"], "transform": "none", "loss": "mse"}
    data = {
        "datasets": {
            "a": {
                "path": str(tmp_path / "a.csv"),
                "smiles": "smiles",
                "split": {"name": "column", "column": "part"},
                "tasks": [regression, {"columns": ["charge"], "kind": "binary"}],
            },
            "b": {"path": str(tmp_path / "b.csv"), "smiles": "smiles", "targets": ["w"]},
        }
    }
    return build_mix(data, Featurizer(encodings=[]), store_dir=tmp_path / "stores", progress=False)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_real_run_says_which_molecules(mix: Mix, tmp_path: Path, accumulate: int) -> None:
    torch.manual_seed(0)
    module = Module(build_network(mix.spec, mix.heads, width=8, depth=1), mix.heads)
    options = TrainerOptions(max_epochs=3, progress=False, accumulate=accumulate)
    with quiet_lightning(), pytest.raises(NonFiniteLoss) as caught:
        trainer = pl.Trainer(
            default_root_dir=tmp_path, **{**options.lightning_arguments(), "enable_checkpointing": False}
        )
        trainer.fit(module, DataModule(mix, batch_size=3))
    sentence = caught.value.report(mix, tmp_path / "nonfinite_loss.json")
    assert isinstance(sentence, GraphiumError)
    assert "(a/y)" in str(sentence) and str(tmp_path / "nonfinite_loss.json") in str(sentence)
    found = json.loads((tmp_path / "nonfinite_loss.json").read_text())
    assert (found["not_finite"], found["datasets"], found["tasks"]) == ("loss", ["a"], {"a": ["y"]})
    assert found["step"] == caught.value.step
    assert len(found["molecules"]) == len(caught.value.rows)
    assert found["molecules"][0] == {
        "dataset": "a", "row": 2, "smiles": "CCCl", "finite_features": True, "task": "y", "label": 1e25,
    }  # fmt: skip


def test_every_molecule_is_described_though_no_task_is_bad(mix: Mix, tmp_path: Path) -> None:
    error = NonFiniteLoss(3, [], mix.index("train"))
    assert "gradient" in str(error.report(mix, tmp_path / "x.json"))
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["not_finite"] == "gradient" and set(found["datasets"]) == {"a", "b"}
    assert found["tasks"] == {"a": [], "b": []}
    assert {(m["dataset"], m["smiles"]) for m in found["molecules"]} >= {("a", "CCO"), ("a", "c1ccccc1")}
    assert found["molecules"][0]["label"] == 1e25
