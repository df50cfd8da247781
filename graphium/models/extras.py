"""What a table of predictions may hold beside them: intervals, spreads, distances to the training molecules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from torch import Tensor

from graphium.data.batch import GraphBatch
from graphium.nn.network import Network
from graphium.types import HeadSpec


class Extra(Protocol):
    """Further columns, computed batch by batch from what was predicted."""

    @property
    def key(self) -> str:
        """What the values depend on beside the molecules and the networks; another key, another table."""
        ...

    def columns(self, heads: Sequence[HeadSpec], names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Any]]:
        """The columns that are added: name -> (level, Arrow type of one entity's value).

        A name that begins with that of a task and ``[`` stands beside the task, the others behind all tasks.

        Args:
            heads: The heads that are predicted, each with those of its tasks that are wanted.
            names: Head name -> names of its tasks' columns, as
                :func:`~graphium.models.tables.columns.task_columns` gives.

        Raises:
            GraphiumError: there is nothing to compute them from.
        """
        ...

    def values(
        self,
        batch: GraphBatch,
        predictions: Mapping[str, Tensor],
        passes: Sequence[Mapping[str, Tensor]],
        network: Network,
    ) -> dict[str, np.ndarray | list[Any] | pa.Array]:
        """The values of every column for all entities of its level in a batch, in the order of the batch.

        Args:
            batch: On the device of the network.
            predictions: Head name -> what the first network gives for the tasks that are wanted, on the processor.
            passes: Head name -> numbers in label units, float64 ``[entities, tasks, columns]``, see
                :func:`~graphium.models.tables.columns.label_numbers`: of every network, or of every pass with dropout.
            network: The first network.
        """
        ...
