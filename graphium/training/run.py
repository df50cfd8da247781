"""The one function behind ``graphium-train``: from a composed configuration to a finished run folder."""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from rich.console import Console
from torch import Tensor

from graphium.chem.featurizer import Featurizer
from graphium.data.build import MixOptions, build_mix, check_data
from graphium.data.mix import Mix
from graphium.data.store.columns import disk_errors
from graphium.errors import GraphiumError, suggest
from graphium.models.saved import SavedModel, load_model, plain, save_model
from graphium.nn.network import Network, build_network, check_network
from graphium.registry import check_arguments
from graphium.training.calibration import calibrate
from graphium.training.callbacks import Averaging, BestCheckpoint, History, Interrupted, InterruptGuard, LastCheckpoint
from graphium.training.checkpoint import check_fits, network_weights, read_checkpoint
from graphium.training.datamodule import DataModule
from graphium.training.display import TrainingBar, quiet_lightning
from graphium.training.environment import describe_environment
from graphium.training.finetuning.options import FinetuneOptions
from graphium.training.finetuning.start import Finetuning, Origin, load_origin
from graphium.training.judging import judge_datasets, judge_heads, judge_monitor
from graphium.training.losses.heads import check_bounds
from graphium.training.module import Module
from graphium.training.nonfinite import NonFiniteLoss
from graphium.training.optim import check_optim, learning_rate
from graphium.training.options import TrainerOptions
from graphium.training.plan import print_plan, run_facts
from graphium.training.predictions import PredictionTable
from graphium.training.result_table import print_results
from graphium.training.results import evaluate, training_statistics
from graphium.training.run_folder import bring_along, choose_run_dir, data_facts, write_data, write_json
from graphium.training.trainer import make_logger, make_trainer
from graphium.types import PARTS, HeadSpec

_TOP = (
    "seed",
    "name",
    "data_dir",
    "store_dir",
    "run_dir",
    "ckpt_path",
    "features",
    "data",
    "model",
    "optim",
    "trainer",
    "finetune",
)
_REPORT = "nonfinite_loss.json"
_EVALUATED = ("val", "test", "test_seen")
_PREDICTED = ("test", "test_seen")


@dataclass(frozen=True)
class RunResult:
    """What a finished run gives back: its folder, ``metrics.json`` and the network with the kept weights."""

    run_dir: Path
    metrics: dict[str, Any]
    network: Network

    @cached_property
    def model(self) -> SavedModel:
        """The saved model, as :func:`graphium.models.saved.load_model` gives it."""
        return load_model(self.run_dir / "model", trust_code=True)


@dataclass(frozen=True)
class Settings:
    """A configuration that has been judged, section by section."""

    config: dict[str, Any]
    seed: int
    options: TrainerOptions
    data: MixOptions
    features: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | str | None
    finetune: FinetuneOptions | None
    datasets: tuple[str, ...]


def check_config(config: Mapping[str, Any]) -> Settings:
    """Judge a whole configuration without touching a file.

    Raises:
        GraphiumError: an unknown key, a wrong type or an unknown part, anywhere.
    """
    for key in config:
        if key not in _TOP:
            raise GraphiumError(f"unknown key {key}; {suggest(str(key), _TOP)}")
    sections = {key: _section(config, key) for key in _TOP[_TOP.index("features") :]}
    seed = config.get("seed", 42)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise GraphiumError(f"seed is {seed!r}; give a whole number from 0 to {2**32 - 1}")
    data, datasets = check_data(sections["data"])
    check_network([dataset.name for dataset in datasets], **sections["model"])
    optimizer, schedule = check_optim(sections["optim"])
    options = TrainerOptions.from_config(sections["trainer"])
    judge_datasets(datasets, options.weighting)
    return Settings(
        config=dict(config),
        seed=seed,
        options=options,
        data=data,
        features=check_arguments(Featurizer, sections["features"], where="features"),
        optimizer=optimizer,
        schedule=schedule,
        finetune=FinetuneOptions.from_config(sections["finetune"]),
        datasets=tuple(dataset.name for dataset in datasets),
    )


def run(config: Mapping[str, Any]) -> RunResult:
    """Train as a composed configuration says, and leave a complete run folder.

    Args:
        config: Plain values: ``seed name data_dir store_dir run_dir ckpt_path`` and the sections
            ``features data model optim trainer finetune``.

    Raises:
        GraphiumError: anything that the user can mend, and an interruption (it says how to resume).
    """
    settings = check_config(config)
    options = settings.options
    console = Console(stderr=True, quiet=not (options.progress and _is_first_process()))
    checkpoint = read_checkpoint(config["ckpt_path"]) if config.get("ckpt_path") else None
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with quiet_lightning():
        # A device that is not there must not cost a preparation.
        make_trainer(options, [], default_root_dir=Path("."))
    origin = _origin(settings)
    featurizer = Featurizer(**settings.features) if origin is None else origin.featurizer
    mix = build_mix(
        _section(config, "data"),
        featurizer,
        data_dir=config.get("data_dir"),
        store_dir=config.get("store_dir"),
        judge=partial(_judge, settings, origin),
        progress=options.progress and _is_first_process(),
        heads=origin.offered or None if origin is not None else None,
        renamed=origin.options.renamed if origin is not None else None,
    )
    held_out = {d.name for d in mix.datasets if (d.parts == PARTS.index("val")).any()}
    judge_monitor(options.monitor, [head for head in mix.heads if head.dataset in held_out])
    check_bounds(mix.heads, {n for d in mix.datasets for n, block in d.blocks.items() if block.bound is not None})
    seed_everything(settings.seed)
    finetuning = None if origin is None else origin.start(mix)
    if finetuning is None:
        network = build_network(mix.spec, mix.heads, **_section(config, "model"))
    else:
        network = finetuning.network
    if checkpoint is not None:
        check_fits(checkpoint, network, config["ckpt_path"])

    run_dir = choose_run_dir(config)
    with quiet_lightning(), disk_errors(run_dir):
        return _train(_Job(settings, mix, featurizer, network, finetuning, run_dir, console))


def _origin(settings: Settings) -> Origin | None:
    """The model to go on from, where there is one."""
    if settings.finetune is None:
        return None
    options = settings.options
    section = _section(settings.config, "model")
    origin = load_origin(settings.finetune, section=section, features=settings.features, datasets=settings.datasets)
    several = options.devices * options.num_nodes > 1
    if several and len(origin.schedule.steps) > 1 and "find_unused" not in options.strategy:
        raise GraphiumError(
            "some weights are trained in later epochs only, which several devices must be told; set "
            "trainer.strategy=ddp_find_unused_parameters_true"
        )
    return origin


def _judge(settings: Settings, origin: Origin | None, heads: tuple[HeadSpec, ...]) -> None:
    """Judge everything that names tasks, before anything is prepared."""
    model = _section(settings.config, "model") if origin is None else origin.network_options(heads)
    judge_heads(heads, model=model, weighting=settings.options.weighting, monitor=settings.options.monitor)


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, numpy and python."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class _Job:
    """What is trained on what, and where everything goes."""

    settings: Settings
    mix: Mix
    featurizer: Featurizer
    network: Network
    finetuning: Finetuning | None
    run_dir: Path
    console: Console


def _train(job: _Job) -> RunResult:
    settings, mix, network, finetuning, run_dir = job.settings, job.mix, job.network, job.finetuning, job.run_dir
    options = settings.options
    folder = run_dir / "checkpoints"
    guard = InterruptGuard()
    best = BestCheckpoint(folder, options.monitor, options.direction, options.patience)
    last = LastCheckpoint(folder, save_every=options.save_every, guard=guard)
    callbacks: list[pl.Callback] = [History(run_dir / "metrics.csv"), best, last]
    if options.averaging is not None:
        callbacks.insert(0, Averaging(options.averaging))
    if finetuning is not None:
        callbacks.insert(0, finetuning.callback)
    if options.progress:
        callbacks.append(TrainingBar(job.console))
    logger = make_logger(options.logger, run_dir, settings.config) if _is_first_process() else False
    trainer = make_trainer(options, callbacks, default_root_dir=run_dir, logger=logger)
    statistics = training_statistics(mix)
    module = Module(
        network,
        mix.heads,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        weighting=options.weighting,
        statistics=statistics,
        scales=None if finetuning is None else finetuning.scales,
    )
    module.log_every = options.log_every
    data = DataModule(mix, sampling=settings.data, seed=settings.seed)
    if options.compile:
        network.compile(dynamic=True)

    summary = mix.summary()
    device = trainer.strategy.root_device
    if trainer.is_global_zero:
        facts = {} if finetuning is None else finetuning.plan(learning_rate(settings.optimizer))
        facts |= run_facts(options, settings.data, mix, network, device, trainer.world_size)
        print_plan(summary, {**facts, "run folder": run_dir}, job.console)
        run_dir.mkdir(parents=True, exist_ok=True)
        # That of a run which goes on here has been read.
        (run_dir / _REPORT).unlink(missing_ok=True)
        (run_dir / "config.yaml").write_text(
            yaml.safe_dump(plain(settings.config), sort_keys=False, allow_unicode=True)
        )
        write_data(run_dir, mix)
        write_json(run_dir / "environment.json", describe_environment(summary, seed=settings.seed, device=device))

    ckpt_path = settings.config.get("ckpt_path")
    if ckpt_path and trainer.is_global_zero:
        bring_along(ckpt_path, best.path, last.path)
    _fit(trainer, module, data, ckpt_path, guard, last, run_dir / _REPORT)
    if torch.distributed.is_initialized():
        # What follows is done once, and must not wait for other processes.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if not trainer.is_global_zero:
        return RunResult(run_dir, {}, network)
    try:
        kept = _kept(options, best)
        source = best.path if "chosen_by" in kept else last.path
        metrics = _finish(job, kept, source, statistics, device)
    except KeyboardInterrupt:
        raise _interrupted("after the training", last.path) from None
    return RunResult(run_dir, metrics, network)


def _fit(
    trainer: pl.Trainer,
    module: Module,
    data: DataModule,
    ckpt_path: Any,
    guard: InterruptGuard,
    last: LastCheckpoint,
    report: Path,
) -> None:
    """Train; an interruption, or a loss that is not finite, becomes one sentence that says how to go on."""
    try:
        with guard:
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    except NonFiniteLoss as error:
        if not _is_first_process():
            raise SystemExit(1) from None
        raise error.report(data.mix, report) from None
    except (Interrupted, KeyboardInterrupt, SystemExit) as error:
        # Lightning answers a KeyboardInterrupt with SystemExit.
        if isinstance(error, SystemExit) and not trainer.interrupted:
            raise
        if not _is_first_process():
            raise SystemExit(1) from None
        if not last.path.exists():
            raise GraphiumError("interrupted before the first checkpoint; start again") from None
        where = f"in epoch {trainer.current_epoch + 1}, after step {trainer.global_step}"
        raise _interrupted(where, last.path) from None


def _interrupted(where: str, checkpoint: Path) -> GraphiumError:
    word = shlex.quote(f"ckpt_path={checkpoint}")
    return GraphiumError(f"interrupted {where}; go on with the same command and {word}")


def _is_first_process() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _kept(options: TrainerOptions, best: BestCheckpoint) -> dict[str, Any]:
    """Which weights are kept, in words and numbers."""
    kept: dict[str, Any] = {"weights": "last"}
    if best.value is not None and best.path.exists():
        chosen = {"chosen_by": options.monitor, "value": best.value, "epoch": best.epoch, "step": best.step}
        kept = {"weights": "best", **chosen}
    if options.averaging is not None:
        kept.update(weights=f"{kept['weights']}, averaged", decay=options.averaging)
    return kept


def _finish(
    job: _Job, kept: Mapping[str, Any], source: Path, statistics: Mapping[str, Tensor], device: torch.device
) -> dict[str, Any]:
    """Load the kept weights, evaluate the held-out parts, write metrics, predictions and the model."""
    settings, mix, network, folder = job.settings, job.mix, job.network, job.run_dir / "model"
    network.load_state_dict(network_weights(read_checkpoint(source)))
    if job.finetuning is not None:
        job.finetuning.finish()
    network.to(device)
    metrics = {part: _evaluate(job, part, statistics, device) for part in _EVALUATED if mix.count(part)}
    write_json(job.run_dir / "metrics.json", {**metrics, "weights": kept})
    origin = {} if job.finetuning is None else job.finetuning.facts()
    facts = {"name": settings.config.get("name"), "data": data_facts(mix), **origin, **kept}
    save_model(folder, network, job.featurizer, mix.heads, facts=facts, metrics=metrics, statistics=statistics)
    if settings.options.calibrate:
        saved = SavedModel(network, job.featurizer, mix.heads, facts, statistics, folder)
        for sentence in calibrate(saved, mix, batch_size=settings.data.batch_size):
            job.console.print(f"  {sentence}", markup=False, highlight=False, soft_wrap=True)
    if metrics:
        print_results(metrics, mix.heads, job.console)
    words = f"weights: {kept['weights']}; everything is in {job.run_dir}"
    job.console.print(words, highlight=False, soft_wrap=True)
    return metrics


def _evaluate(job: _Job, part: str, statistics: Mapping[str, Tensor], device: torch.device) -> dict[str, Any]:
    """Metrics of one part; predictions of some are written."""
    file = job.run_dir / "predictions" / f"{part}.parquet"
    table = PredictionTable(job.mix, part, file) if part in _PREDICTED else None
    found = evaluate(
        job.network,
        job.mix,
        part,
        sampling=job.settings.data,
        device=device,
        precision=job.settings.options.precision,
        statistics=statistics,
        writer=table,
    )
    if table is not None:
        table.close()
    return found


def _section(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    section = config.get(key)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise GraphiumError(f"{key} is {section!r}; it is a section of settings, written {key}.<setting>=<value>")
    return dict(section)
