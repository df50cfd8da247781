"""What the ``finetune`` section may say, judged before a model or a table is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from graphium.errors import GraphiumError
from graphium.registry import check_arguments

_STAGE = re.compile(r"encoders|gnn(:-?\d+)?|readout|head")


@dataclass(frozen=True)
class LoraOptions:
    """Small matrices beside frozen linear layers, ``W + alpha / rank * B A`` (Hu et al. 2022, eq. 3).

    Args:
        rank: Rows of A, columns of B.
        alpha: Weight of the product is ``alpha / rank``.
        dropout: Share of the layer's input that the small matrices do not see in training.
        layers: Names of linear layers, with ``*`` and ``?``, e.g. ``blocks.3.*``.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    layers: list[str] = field(default_factory=lambda: ["blocks.*", "virtual_nodes.*"])

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise GraphiumError(f"finetune.lora.rank is {self.rank}; give a whole number of at least 1")
        if not 0 < self.alpha < math.inf:
            raise GraphiumError(f"finetune.lora.alpha is {self.alpha}; give a positive number, e.g. 16")
        if not 0 <= self.dropout < 1:
            raise GraphiumError(f"finetune.lora.dropout is {self.dropout}; give a share from 0 up to, not including, 1")


@dataclass(frozen=True)
class FinetuneOptions:
    """What to take from which model, and what of it to train when.

    A stage is ``encoders`` (all that makes the first node vectors), ``gnn:K`` (message-passing block K, from 0;
    ``gnn`` is the last one, ``gnn:-2`` the one before), ``readout`` (of all levels) or ``head`` (all heads).

    Args:
        source: The model, ``finetune.from``: a model folder, a run folder, ``hub:ORG/NAME`` or the name of an
            imported model.
        up_to: The last stage that is taken from the model; None takes what fits: heads of inherited tasks, and
            everything below.
        rest: What becomes of the blocks after ``up_to``: ``new`` weights, or ``drop``: the network ends there.
            Readouts and heads after ``up_to`` are new.
        heads: Tasks that go on from a task of the model: own name -> its name there (``task`` or ``dataset/task``),
            or a list of names that are the same in both, with ``*`` and ``?``. Tasks with equal names of dataset and
            task need not be named.
        freeze: The last stage that is not trained, with everything below it; what is new is trained all the same.
        unfreeze: Epochs done -> the lowest stage that is trained from then on.
        gradual: Train one more stage after every so many epochs, from the top (Howard & Ruder 2018); begins above
            ``freeze``, by default with the heads.
        lr_decay: Factor on the learning rate from a stage to the one below, 1 for equal rates (Howard & Ruder 2018).
        head_lr: Factor on the learning rate of the heads.
        lora: Train small matrices beside linear layers, and nothing of the model but its heads.
        trust_code: Allow parts of the model that are its author's own code.
    """

    source: str
    up_to: str | None = None
    rest: Literal["new", "drop"] = "new"
    heads: dict[str, str] | list[str] | str | None = None
    freeze: str | None = None
    unfreeze: dict[int, str] | None = None
    gradual: int | None = None
    lr_decay: float = 1.0
    head_lr: float = 1.0
    lora: LoraOptions | None = None
    trust_code: bool = False

    def __post_init__(self) -> None:
        stages = {"up_to": self.up_to, "freeze": self.freeze}
        stages |= {f"unfreeze[{epoch}]": stage for epoch, stage in (self.unfreeze or {}).items()}
        for name, stage in stages.items():
            if stage is not None and not _STAGE.fullmatch(stage):
                raise GraphiumError(
                    f"finetune.{name} is {stage!r}; give a stage: encoders, gnn:K with the number of a block, "
                    "readout or head"
                )
        if self.rest == "drop" and not (self.up_to or "").startswith("gnn"):
            raise GraphiumError(
                f"finetune.rest is drop and finetune.up_to is {self.up_to}; say after which block the network ends, "
                "e.g. finetune.up_to=gnn:7"
            )
        if any(epoch < 1 for epoch in self.unfreeze or {}):
            raise GraphiumError(
                "finetune.unfreeze counts the epochs that are done; begin with 1, and use freeze before"
            )
        if self.gradual is not None and self.gradual < 1:
            raise GraphiumError(f"finetune.gradual is {self.gradual}; give a number of epochs of at least 1")
        if self.unfreeze and not self.freeze:
            raise GraphiumError("finetune.unfreeze is said and nothing is frozen; say finetune.freeze=STAGE too")
        if self.unfreeze and self.gradual:
            raise GraphiumError("finetune.unfreeze and finetune.gradual are two ways to say one thing; keep one")
        if self.lora is not None and (self.freeze or self.gradual):
            said = "freeze" if self.freeze else "gradual"
            raise GraphiumError(f"finetune.lora freezes the whole model; leave finetune.{said} out")
        if not 0 < self.lr_decay <= 1:
            raise GraphiumError(f"finetune.lr_decay is {self.lr_decay}; give a factor above 0 and up to 1, e.g. 0.8")
        if not 0 < self.head_lr < math.inf:
            raise GraphiumError(f"finetune.head_lr is {self.head_lr}; give a positive factor")

    @classmethod
    def from_config(cls, section: Mapping[str, Any], *, where: str = "finetune") -> FinetuneOptions | None:
        """Judge a ``finetune`` section; None where it says nothing, and a network is trained from scratch.

        Raises:
            GraphiumError: an unknown key, a wrong value, settings that contradict each other, or no model.
        """
        if not section:
            return None
        given = {key: value for key, value in section.items() if key != "from"}
        if isinstance(given.get("lora"), Mapping):
            given["lora"] = LoraOptions(**check_arguments(LoraOptions, given["lora"], where=f"{where}.lora"))
        checked = check_arguments(cls, given, where=where, given=("source",), beside=("from",))
        source = section.get("from")
        if source is None or source == "":
            raise GraphiumError(
                f"{where}.from is missing; name the model to go on from: a model or run folder, hub:ORG/NAME, or an "
                "imported model"
            )
        return cls(source=str(source), **checked)

    @property
    def renamed(self) -> dict[str, str]:
        """Own task -> task of the model, for tasks that are named; a name may be a pattern."""
        if self.heads is None or isinstance(self.heads, dict):
            return dict(self.heads or {})
        return {name: name for name in ([self.heads] if isinstance(self.heads, str) else self.heads)}


def stage_depth(text: str, num_blocks: int, *, where: str) -> int:
    """How deep a stage lies, as :func:`graphium.nn.stages.depths` counts.

    Raises:
        GraphiumError: the network has no such block.
    """
    kind, _, at = text.partition(":")
    if kind != "gnn":
        return {"encoders": 0, "readout": num_blocks + 1, "head": num_blocks + 2}[kind]
    number = int(at or -1)
    if not -num_blocks <= number < num_blocks:
        raise GraphiumError(
            f"{where} is {text!r} and the network has {num_blocks} blocks, gnn:0 to gnn:{num_blocks - 1}; choose one"
        )
    return number % num_blocks + 1


def stage_name(depth: int, num_blocks: int) -> str:
    """The inverse of :func:`stage_depth`."""
    if depth == 0:
        return "encoders"
    return {num_blocks + 1: "readout", num_blocks + 2: "head"}.get(depth, f"gnn:{depth - 1}")
