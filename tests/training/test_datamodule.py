from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

import graphium as gf
from graphium.data.sampling.draws import Sampling
from graphium.errors import GraphiumError
from graphium.training.datamodule import DataModule
from graphium.training.display import quiet_lightning
from graphium.types import PARTS


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "mine.csv"
    rows = [f"{'C' * (i % 7 + 1)}{'O' * (i % 2)},{i / 10},{i % 2}" for i in range(60)]
    path.write_text("smiles,y,active\n" + "\n".join(rows) + "\n")
    return path


def _trainer(path: Path, **options: object) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        default_root_dir=path, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_notebook_needs_no_hydra(table: Path, tmp_path: Path) -> None:
    with quiet_lightning():
        featurizer = gf.Featurizer(encodings=[{"name": "rw_return_probs", "steps": 4}])
        dataset = gf.Dataset("mine", str(table), targets=["y", "active"])
        data = gf.DataModule([dataset], featurizer, batch_size=16, store_dir=tmp_path / "stores", progress=False)
        network = gf.build_network(data.spec, data.heads, width=16, depth=2)
        module = gf.Module(network, data.heads, optimizer={"name": "adamw", "lr": 0.01}, schedule="linear")
        trainer = _trainer(tmp_path)
        trainer.fit(module, data)
    assert trainer.global_step == 2 * len(data.train_dataloader())
    assert {"val/loss", "val/mine/mae", "val/mine/auroc"} <= module.validation.keys()


@pytest.mark.parametrize(
    "sampling",
    [Sampling(batch_size=8), Sampling(batch_size=8, max_nodes=35, epoch_fraction=0.7, shuffle="block", block_rows=4)],
)
def test_a_checkpoint_of_lightnings_own_callback_resumes_exactly(
    table: Path, tmp_path: Path, sampling: Sampling
) -> None:
    """In a notebook the checkpoint may come from ModelCheckpoint, saved in the middle of an epoch."""

    def fit(path: Path, resume: str | None, every: int) -> tuple[pl.LightningModule, Path]:
        featurizer = gf.Featurizer(encodings=[])
        data = DataModule([gf.Dataset("mine", str(table), targets=["y"])], featurizer, sampling=sampling,
                          store_dir=tmp_path / "stores", progress=False)  # fmt: skip
        torch.manual_seed(1)
        network = gf.build_network(data.spec, data.heads, width=16, depth=2, dropout=0.2)
        saver = pl.callbacks.ModelCheckpoint(path, "{step}", every_n_train_steps=every, save_top_k=-1)
        trainer = pl.Trainer(max_epochs=3, logger=False, enable_progress_bar=False, enable_model_summary=False,
                             callbacks=[saver], default_root_dir=path)  # fmt: skip
        module = gf.Module(network, data.heads, optimizer={"name": "adamw", "lr": 0.05})
        trainer.fit(module, data, ckpt_path=resume, weights_only=True if resume else None)
        return module, path

    with quiet_lightning():
        whole, folder = fit(tmp_path / "whole", None, 4)
        for saved in sorted(folder.glob("*.ckpt")):
            resumed, _ = fit(tmp_path / saved.stem, str(saved), 1000)
            for name, value in whole.state_dict().items():
                assert torch.equal(value, resumed.state_dict()[name]), (saved, name)


def test_loaders_hold_their_own_part(table: Path, tmp_path: Path) -> None:
    data = DataModule([gf.Dataset("mine", str(table), targets=["y"])], gf.Featurizer(encodings=[]), batch_size=16,
                      store_dir=tmp_path, progress=False)  # fmt: skip
    data.trainer = _trainer(tmp_path)
    parts = data.mix.datasets[0].parts
    for part, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        rows = torch.cat([batch.row for batch in loader])  # type: ignore[union-attr]
        assert sorted(rows.tolist()) == [i for i, p in enumerate(parts) if p == PARTS.index(part)]
        assert len(loader) == -(-len(rows) // 16)


def test_an_epoch_is_drawn_as_the_sampling_says(table: Path, tmp_path: Path) -> None:
    sampling = Sampling(batch_size=8, max_nodes=30, epoch_fraction=0.5, shuffle="block", block_rows=4)
    data = DataModule([gf.Dataset("mine", str(table), targets=["y"])], gf.Featurizer(encodings=[]), sampling=sampling,
                      store_dir=tmp_path / "stores", progress=False)  # fmt: skip
    module = gf.Module(gf.build_network(data.spec, data.heads, width=8, depth=1), data.heads)
    trainer = _trainer(tmp_path)
    with quiet_lightning():
        trainer.fit(module, data)
    loader = data.train_dataloader().loader
    assert trainer.global_step == 2 * len(loader)
    sizes = torch.tensor([(batch.num_graphs, batch.num_nodes) for batch in loader])
    assert sizes[:, 0].max() <= 8 and sizes[:, 1].max() <= 30
    assert abs(sizes[:, 0].sum() - 0.5 * data.mix.count("train")) <= 8


def test_the_batch_size_is_said_once(table: Path) -> None:
    dataset = gf.Dataset("mine", str(table), targets=["y"])
    assert DataModule([dataset], gf.Featurizer()).sampling.batch_size == 256
    with pytest.raises(GraphiumError, match="give one of the two"):
        DataModule([dataset], gf.Featurizer(), batch_size=8, sampling=Sampling())


def test_an_empty_part_is_no_loader(table: Path, tmp_path: Path) -> None:
    split = {"name": "random", "val": 0.0, "test": 0.2}
    data = DataModule([gf.Dataset("mine", str(table), targets=["y"], split=split)], gf.Featurizer(encodings=[]),
                      store_dir=tmp_path, progress=False)  # fmt: skip
    with quiet_lightning():
        data.trainer = trainer = _trainer(tmp_path)
        assert data.val_dataloader() == []
        module = gf.Module(gf.build_network(data.spec, data.heads, width=8, depth=1), data.heads)
        trainer.fit(module, data)
    assert module.validation == {}


def test_datasets_need_a_featurizer() -> None:
    with pytest.raises(GraphiumError, match="needs a featurizer"):
        DataModule([])


def test_loaders_need_a_trainer(table: Path, tmp_path: Path) -> None:
    data = DataModule([gf.Dataset("mine", str(table), targets=["y"])], gf.Featurizer(encodings=[]),
                      store_dir=tmp_path, progress=False)  # fmt: skip
    with pytest.raises(GraphiumError, match="no trainer yet"):
        data.train_dataloader()
