from __future__ import annotations

from typing import Any

import pytest

from graphium.errors import GraphiumError
from graphium.training.options import TrainerOptions


@pytest.mark.parametrize(
    "section,message",
    [
        ({"max_epoch": 3}, "unknown key trainer.max_epoch; did you mean 'max_epochs'"),
        ({"accumulate": 0}, "trainer.accumulate is 0"),
        ({"max_epochs": -1}, "without a trainer.max_steps"),
        ({"averaging": 1.5}, "trainer.averaging is 1.5"),
        ({"gradient_clip": 0.0}, "trainer.gradient_clip is 0.0"),
        ({"gradient_clip": float("nan")}, "trainer.gradient_clip is nan"),
        ({"gradient_clip": float("inf")}, "trainer.gradient_clip is inf"),
        ({"val_every": 1.5}, "trainer.val_every is 1.5"),
        ({"val_every": float("nan")}, "trainer.val_every is nan"),
        ({"val_every": float("inf")}, "trainer.val_every is inf"),
        ({"precision": "16"}, "trainer.precision is '16'"),
        ({"mode": "maximum"}, "trainer.mode is 'maximum'"),
        ({"patience": "long"}, "trainer.patience is 'long'"),
        ({"weighting": "uncertain"}, "unknown weighting 'uncertain' at trainer.weighting; did you mean 'uncertainty'"),
        ({"weighting": {"name": "dwa", "temperatur": 1}}, "trainer.weighting.temperatur; did you mean 'temperature'"),
        ({"weighting": {"name": "fixed", "datasets": ["qm9"]}}, "trainer.weighting.datasets is"),
        ({"weighting": {"name": "fixed", "tasks": {"homo": "high"}}}, "trainer.weighting.tasks is"),
    ],
)
def test_a_wrong_option_is_one_sentence(section: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphiumError, match=message):
        TrainerOptions.from_config(section)


def test_yaml_writes_precision_as_a_number() -> None:
    assert TrainerOptions.from_config({"precision": 32}).lightning_arguments()["precision"] == "32-true"


@pytest.mark.parametrize(
    "monitor,direction",
    [("val/loss", "min"), ("val/qm9/mae", "min"), ("val/tox21/auroc", "max"), ("val/a/r2", "max"), ("val/a/ap", "max")],
)
def test_direction_follows_the_name(monitor: str, direction: str) -> None:
    assert TrainerOptions(monitor=monitor).direction == direction


def test_mode_overrules_the_name() -> None:
    assert TrainerOptions(monitor="val/loss", mode="max").direction == "max"


@pytest.mark.parametrize("val_every,interval,epochs", [(1, 1.0, 1), (3, 1.0, 3), (0.25, 0.25, 1)])
def test_val_every(val_every: float, interval: float, epochs: int) -> None:
    arguments = TrainerOptions.from_config({"val_every": val_every}).lightning_arguments()
    assert (arguments["val_check_interval"], arguments["check_val_every_n_epoch"]) == (interval, epochs)
