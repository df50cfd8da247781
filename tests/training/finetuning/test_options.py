from __future__ import annotations

from typing import Any

import pytest

from graphium.config import compose, compose_run, options
from graphium.errors import GraphiumError
from graphium.training.finetuning.options import FinetuneOptions, LoraOptions, stage_depth, stage_name


def _read(**section: Any) -> FinetuneOptions:
    found = FinetuneOptions.from_config({"from": "some/model", **section})
    assert found is not None
    return found


def test_nothing_said_is_training_from_scratch() -> None:
    assert FinetuneOptions.from_config({}) is None


def test_a_section_becomes_options() -> None:
    found = _read(lora={"rank": 4}, lr_decay=0.9)
    assert found.source == "some/model" and found.lora == LoraOptions(rank=4) and found.lr_decay == 0.9
    assert _read(freeze="gnn:2", unfreeze={"5": "gnn:0"}).unfreeze == {5: "gnn:0"}
    assert _read(heads=["a", "b/c"]).renamed == {"a": "a", "b/c": "b/c"}
    assert _read(heads="a").renamed == {"a": "a"}
    assert _read(heads={"mine": "theirs"}).renamed == {"mine": "theirs"}


@pytest.mark.parametrize(
    "section, words",
    [
        ({"from": None}, "finetune.from is missing"),
        ({"from": ""}, "finetune.from is missing"),
        ({"fom": "x"}, "unknown key finetune.fom; did you mean 'from'"),
        ({"source": "x"}, "unknown key finetune.source"),
        ({"frezze": "gnn"}, "did you mean 'freeze'"),
        ({"freeze": "block:3"}, "finetune.freeze is 'block:3'"),
        ({"up_to": "gnn:x"}, "finetune.up_to is 'gnn:x'"),
        ({"rest": "cut"}, "finetune.rest is 'cut'"),
        ({"rest": "drop"}, "say after which block"),
        ({"rest": "drop", "up_to": "encoders"}, "say after which block"),
        ({"gradual": 0}, "finetune.gradual is 0"),
        ({"unfreeze": {2: "gnn"}}, "nothing is frozen"),
        ({"freeze": "gnn", "unfreeze": {0: "gnn"}}, "begin with 1"),
        ({"freeze": "gnn", "unfreeze": {2: "gm"}}, r"finetune.unfreeze\[2\] is 'gm'"),
        ({"freeze": "gnn", "unfreeze": {2: "gnn"}, "gradual": 1}, "two ways"),
        ({"lora": {}, "freeze": "gnn"}, "leave finetune.freeze out"),
        ({"lora": {}, "gradual": 1}, "leave finetune.gradual out"),
        ({"lora": {"ranks": 2}}, "did you mean 'rank'"),
        ({"lora": {"rank": 0}}, "finetune.lora.rank is 0"),
        ({"lora": {"alpha": 0}}, "finetune.lora.alpha is 0"),
        ({"lora": {"dropout": 1.0}}, "finetune.lora.dropout is 1.0"),
        ({"lr_decay": 0}, "finetune.lr_decay is 0"),
        ({"lr_decay": 1.5}, "finetune.lr_decay is 1.5"),
        ({"head_lr": 0}, "finetune.head_lr is 0"),
    ],
)
def test_what_is_wrong_gets_a_sentence(section: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphiumError, match=words):
        FinetuneOptions.from_config({"from": "some/model", **section})


def test_stages_are_counted_from_the_input() -> None:
    texts = ["encoders", "gnn:0", "gnn:1", "gnn:2", "readout", "head"]
    assert [stage_depth(text, 3, where="x") for text in texts] == list(range(6))
    assert [stage_name(depth, 3) for depth in range(6)] == texts
    assert stage_depth("gnn", 3, where="x") == stage_depth("gnn:-1", 3, where="x") == 3
    for text in ("gnn:3", "gnn:-4"):
        with pytest.raises(GraphiumError, match="gnn:0 to gnn:2"):
            stage_depth(text, 3, where="finetune.freeze")


@pytest.mark.parametrize("mode", sorted(options("finetune")))
def test_the_shipped_ways_leave_model_and_features_to_the_model(mode: str) -> None:
    config = compose([f"finetune={mode}", "finetune.from=minimol", "data=lipo"])
    assert config["model"] == {} and config["features"] == {}
    assert config["name"] == f"lipo_finetune_{mode}"
    assert FinetuneOptions.from_config(config["finetune"]) is not None


def test_its_settings_alone_ask_for_it() -> None:
    config = compose(["finetune.from=minimol", "model.dropout=0.1"])
    assert config["model"] == {"dropout": 0.1} and config["features"] == {}
    assert config["optim"]["lr"] == compose(["finetune=full"])["optim"]["lr"]


def test_single_settings_and_the_data_s_own_batch_size_come_last() -> None:
    assert compose(["finetune=full", "data=lipo"])["data"]["batch_size"] == 64
    assert compose(["finetune=full", "data=toymix"])["data"]["batch_size"] == 256
    assert compose(["finetune=full", "optim.lr=0.1"])["optim"]["lr"] == 0.1
    assert compose_run(["finetune=lora", "finetune.lora.rank=2"]).config["finetune"]["lora"] == {"rank": 2}
