"""The one function behind ``graphium-train``: from a composed configuration to a finished run folder."""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from rich.console import Console
from torch import Tensor

import graphium
from graphium.chem.featurizer import Featurizer
from graphium.data.build import MixOptions, build_mix, check_data
from graphium.data.mix import Mix
from graphium.data.store.columns import disk_errors
from graphium.errors import GraphiumError, suggest
from graphium.models.saved import plain, save_model
from graphium.nn.network import Network, build_network, check_network
from graphium.registry import check_arguments
from graphium.training.callbacks import Averaging, BestCheckpoint, History, Interrupted, InterruptGuard, LastCheckpoint
from graphium.training.checkpoint import check_fits, network_weights, read_checkpoint
from graphium.training.datamodule import DataModule
from graphium.training.display import TrainingBar, print_results, quiet_lightning
from graphium.training.environment import describe_environment
from graphium.training.judging import judge_datasets, judge_heads, judge_monitor
from graphium.training.losses.heads import check_bounds
from graphium.training.module import Module
from graphium.training.nonfinite import NonFiniteLoss
from graphium.training.optim import check_optim
from graphium.training.options import TrainerOptions
from graphium.training.plan import decisions, print_plan
from graphium.training.predictions import PredictionTable
from graphium.training.results import evaluate, training_statistics
from graphium.training.run_folder import bring_along, choose_run_dir, write_data, write_json
from graphium.training.trainer import make_logger, make_trainer
from graphium.types import PARTS

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


def check_config(config: Mapping[str, Any]) -> Settings:
    """Judge a whole configuration without touching a file.

    Raises:
        GraphiumError: an unknown key, a wrong type or an unknown part, anywhere.
    """
    for key in config:
        if key not in _TOP:
            raise GraphiumError(f"unknown key {key}; {suggest(str(key), _TOP)}")
    sections = {key: _section(config, key) for key in ("features", "data", "model", "optim", "trainer")}
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
    )


def run(config: Mapping[str, Any]) -> RunResult:
    """Train as a composed configuration says, and leave a complete run folder.

    Args:
        config: Plain values: ``seed name data_dir store_dir run_dir ckpt_path`` and the sections
            ``features data model optim trainer``.

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
    featurizer = Featurizer(**settings.features)
    mix = build_mix(
        _section(config, "data"),
        featurizer,
        data_dir=config.get("data_dir"),
        store_dir=config.get("store_dir"),
        judge=partial(
            judge_heads, model=_section(config, "model"), weighting=options.weighting, monitor=options.monitor
        ),
        progress=options.progress and _is_first_process(),
    )
    held_out = {d.name for d in mix.datasets if (d.parts == PARTS.index("val")).any()}
    judge_monitor(options.monitor, [head for head in mix.heads if head.dataset in held_out])
    check_bounds(mix.heads, {n for d in mix.datasets for n, block in d.blocks.items() if block.bound is not None})
    seed_everything(settings.seed)
    network = build_network(mix.spec, mix.heads, **_section(config, "model"))
    if checkpoint is not None:
        check_fits(checkpoint, network, config["ckpt_path"])

    run_dir = choose_run_dir(config)
    with quiet_lightning(), disk_errors(run_dir):
        return _train(settings, mix, featurizer, network, run_dir, console)


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, numpy and python."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _train(
    settings: Settings, mix: Mix, featurizer: Featurizer, network: Network, run_dir: Path, console: Console
) -> RunResult:
    options = settings.options
    folder = run_dir / "checkpoints"
    guard = InterruptGuard()
    best = BestCheckpoint(folder, options.monitor, options.direction, options.patience)
    last = LastCheckpoint(folder, save_every=options.save_every, guard=guard)
    callbacks: list[pl.Callback] = [History(run_dir / "metrics.csv"), best, last]
    if options.averaging is not None:
        callbacks.insert(0, Averaging(options.averaging))
    if options.progress:
        callbacks.append(TrainingBar(console))
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
    )
    module.log_every = options.log_every
    data = DataModule(mix, sampling=settings.data, seed=settings.seed)
    if options.compile:
        network.compile(dynamic=True)

    summary = mix.summary()
    device = trainer.strategy.root_device
    if trainer.is_global_zero:
        print_plan(summary, {**_facts(settings, mix, network, trainer), "run folder": run_dir}, console)
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
        metrics, kept = _finish(settings, mix, module, statistics, best, last, run_dir, device)
    except KeyboardInterrupt:
        raise _interrupted("after the training", last.path) from None
    save_model(
        run_dir / "model",
        network,
        featurizer,
        mix.heads,
        facts={"name": settings.config.get("name"), "graphium": graphium.__version__, **kept},
        metrics=metrics,
    )
    if metrics:
        print_results(metrics, mix.heads, console)
    console.print(f"weights: {kept['weights']}; everything is in {run_dir}", highlight=False, soft_wrap=True)
    return RunResult(run_dir, metrics, network)


def _facts(settings: Settings, mix: Mix, network: Network, trainer: pl.Trainer) -> dict[str, Any]:
    """What the plan says beyond the data, in order."""
    options = settings.options
    loader = mix.loader("train", sampling=settings.data, shuffle=True, world_size=trainer.world_size)
    steps = -(-len(loader) // options.accumulate)
    weights = {dataset.name: dataset.resolved.dataset.sample_weight for dataset in mix.datasets}
    row_weights = {name: column for name, column in weights.items() if column is not None}
    draws = mix.draws(settings.data)
    return {
        **decisions(mix.heads, weighting=options.weighting, row_weights=row_weights),
        "parameters": f"{network.num_parameters():,}",
        "device": f"{trainer.strategy.root_device.type} x {trainer.world_size}, precision {options.precision}, "
        f"{torch.get_num_threads()} CPU threads",
        "steps": f"{steps:,} per epoch of {_rows_in_step(settings, trainer.world_size)}, "
        f"{_steps_in_all(options, steps):,} in all",
        **({"drawn": "; ".join(draws)} if draws else {}),
        "kept weights": (f"the best by {options.monitor} ({options.direction})" if mix.count("val") else "the last")
        + (f", averaged with decay {options.averaging}" if options.averaging else ""),
    }


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


def _rows_in_step(settings: Settings, world_size: int) -> str:
    several = world_size * settings.options.accumulate
    bound = f" and {settings.data.max_nodes * several:,} atoms" if settings.data.max_nodes is not None else ""
    return f"{'at most ' * bool(bound)}{settings.data.batch_size * several:,} rows{bound}"


def _steps_in_all(options: TrainerOptions, per_epoch: int) -> int:
    limits = [per_epoch * options.max_epochs if options.max_epochs >= 0 else None, options.max_steps]
    return min(limit for limit in limits if limit is not None)


def _is_first_process() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _finish(
    settings: Settings,
    mix: Mix,
    module: Module,
    statistics: Mapping[str, Tensor],
    best: BestCheckpoint,
    last: LastCheckpoint,
    run_dir: Path,
    device: torch.device,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the kept weights, evaluate the held-out parts, write metrics and predictions."""
    options, network = settings.options, module.network
    kept: dict[str, Any] = {"weights": "last"}
    source = last.path
    if best.value is not None and best.path.exists():
        source = best.path
        kept = {
            "weights": "best",
            "chosen_by": options.monitor,
            "value": best.value,
            "epoch": best.epoch,
            "step": best.step,
        }
    if options.averaging is not None:
        kept.update(weights=f"{kept['weights']}, averaged", decay=options.averaging)
    network.load_state_dict(network_weights(read_checkpoint(source)))
    network.to(device)
    metrics: dict[str, Any] = {}
    for part in _EVALUATED:
        if not mix.count(part):
            continue
        table = PredictionTable(mix, part, run_dir / "predictions" / f"{part}.parquet") if part in _PREDICTED else None
        metrics[part] = evaluate(
            network,
            mix,
            part,
            sampling=settings.data,
            device=device,
            precision=options.precision,
            statistics=statistics,
            writer=table,
        )
        if table is not None:
            table.close()
    write_json(run_dir / "metrics.json", {**metrics, "weights": kept})
    return metrics, kept


def _section(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    section = config.get(key)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise GraphiumError(f"{key} is {section!r}; it is a section of settings, written {key}.<setting>=<value>")
    return dict(section)
