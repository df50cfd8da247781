"""What the files of a model say of it, without loading it: no torch is imported, no weight is read."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphium.errors import GraphiumError
from graphium.models.folder.config_file import ModelConfig, heads_from_plain, read_config
from graphium.models.folder.names import CARD, CONFIG, FILES, WEIGHTS
from graphium.models.folder.tensors import first_line, read_header
from graphium.models.sources import find_model
from graphium.types import FeatureSpec, HeadSpec

# Some seconds of drawing.
_MOST_CARD_BYTES = 1 << 17


@dataclass(frozen=True)
class Description:
    """A model at rest.

    ``heads``: without the long lists of their transforms. ``num_weights``: numbers in its network. ``sizes``: its
    files and their bytes. ``card``: the README.md without its front matter, "" where there is none; nothing in it can
    steer a terminal.
    """

    folder: Path
    config: ModelConfig
    heads: tuple[HeadSpec, ...]
    num_weights: int
    sizes: dict[str, int]
    card: str

    @property
    def about(self) -> str:
        """What the model is, in the words of its author."""
        facts = self.config.facts
        said = next((facts[key] for key in ("about", "source", "name") if facts.get(key)), "")
        return plain_text(" ".join(str(said).split()))

    def tasks(self) -> dict[tuple[str, str, str], int]:
        """(data set, level, kind) -> number of tasks."""
        counts: dict[tuple[str, str, str], int] = defaultdict(int)
        for head in self.heads:
            counts[plain_text(head.dataset), head.level, head.kind] += head.num_tasks
        return dict(counts)


def describe(source: str | Path) -> Description:
    """Read what the files of a model say.

    Raises:
        GraphiumError: there is no such model, or its files cannot be read.
    """
    folder = find_model(source)
    config = read_config(folder / CONFIG)
    header = read_header(folder / WEIGHTS)
    try:
        heads = heads_from_plain(config.heads, defaultdict(list))
        FeatureSpec.from_dict(config.spec)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise GraphiumError(
            f"{str(folder / CONFIG)!r} is damaged ({first_line(error)}); copy the whole model/ folder again"
        ) from None
    # Labels' transforms and statistics lie beside the network, under names with a slash.
    weights = sum(math.prod(shape) for name, shape in header.shapes.items() if "/" not in name)
    sizes = {name: (folder / name).stat().st_size for name in FILES if (folder / name).is_file()}
    return Description(folder, config, heads, weights, sizes, _card(folder / CARD))


def _card(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        text = plain_text(file.read(_MOST_CARD_BYTES).decode("utf-8", errors="replace"))
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    return text.strip()


def plain_text(text: Any) -> str:
    """The text without signs that a terminal would obey.

    >>> plain_text("red \\x1b[31m, bell \\x07")
    'red [31m, bell '
    """
    return "".join(sign for sign in str(text) if sign.isprintable() or sign in "\n\t")
