"""What an epoch of training draws: an endless sequence of rows that is a pure function of the seed.

Nothing is held per row: a permutation is computed where it is asked for, so any stretch of the
sequence can be had at once, on any rank and after any resume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from graphium.errors import GraphiumError

# Rounds of the shuffle; over a short range each one can do little, and only more of them make every
# permutation as likely as any other.
_ROUNDS, _MORE_ROUNDS, _SHORT = 6, 18, 1024
# Odd constants of SplitMix64 (Steele et al. 2014).
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
# Rows of a block that go into one window: with the next windows the block is read to its end.
_RUN = 64
# What a key is for, so that equal numbers in different places give different permutations.
_PASS, _SHIFT, _WINDOW, _ROUND = 1, 2, 3, 4


@dataclass(frozen=True)
class Sampling:
    """How the rows of several datasets are drawn in training.

    Args:
        batch_size: Molecules per batch and device, at most.
        max_nodes: Atoms per batch and device, at most; None is no limit.
        temperature: With weights w and n rows, a dataset's share of an epoch is in proportion to
            ``w * n ** (1 / temperature)``: 1 draws by size, infinity all datasets alike.
        epoch_fraction: Rows of an epoch, as a fraction of the rows of all datasets.
        shuffle: ``full`` draws from all rows. ``block`` reads blocks of neighbouring rows in random
            order and shuffles within a window of several blocks, for stores larger than memory.
        block_rows: Rows of a block, which are read one after another.
        window_blocks: Blocks that are shuffled together, 64 rows of each at a time, so that a window stays
            in the processor's cache.

    >>> Sampling(batch_size=128, max_nodes=4000).shuffle
    'full'
    """

    batch_size: int = 256
    max_nodes: int | None = None
    temperature: float = 1.0
    epoch_fraction: float = 1.0
    shuffle: Literal["full", "block"] = "full"
    block_rows: int = 1024
    window_blocks: int = 128

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_nodes", "block_rows", "window_blocks"):
            value = getattr(self, name)
            if not (name == "max_nodes" and value is None) and value < 1:
                raise GraphiumError(f"{name} is {value}; give a whole number of at least 1")
        if not self.temperature > 0:
            raise GraphiumError(f"temperature is {self.temperature}; give a number above 0, 1 to draw by size")
        if not 0 < self.epoch_fraction < math.inf:
            raise GraphiumError(f"epoch_fraction is {self.epoch_fraction}; give a number above 0, 1 for all rows")
        if self.shuffle not in ("full", "block"):
            raise GraphiumError(f"shuffle is {self.shuffle!r}; choose full or block")


class Order(Protocol):
    """An endless sequence of places, one epoch after another.

    A place is the number of a row in a part, the datasets one after another. ``sizes`` int64
    ``[datasets]``: rows of the part; ``rows`` int64 ``[datasets]``: draws of an epoch; ``num_rows``:
    their sum.
    """

    sizes: np.ndarray
    rows: np.ndarray
    num_rows: int

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Places, int64 ``[n]``, at some positions of the sequence, int64 ``[n]``; epochs follow each other."""
        ...

    def stream(self, table: int, positions: np.ndarray) -> np.ndarray:
        """Places at some positions of the endless sequence of one dataset."""
        ...


class RowOrder:
    """Every row once per epoch, in the order of the tables."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = self.rows = np.asarray(sizes, dtype=np.int64)
        self.num_rows = int(self.rows.sum())
        self._first = np.cumsum(self.sizes) - self.sizes

    def places(self, positions: np.ndarray) -> np.ndarray:
        return positions % self.num_rows

    def stream(self, table: int, positions: np.ndarray) -> np.ndarray:
        return self._first[table] + positions % self.sizes[table]


class Draws:
    """The random order of training.

    Each dataset has an endless sequence of passes over its rows, every pass in another order; an epoch
    takes up where the one before ended. An epoch is cut into windows (one, when the shuffle is full), each
    takes from every dataset in proportion, and is shuffled by itself.

    Args:
        sizes: Rows of every dataset.
        sampling: Temperature, length of an epoch and kind of shuffle.
        weights: Weight of every dataset; None is 1.
        seed: Draws all of it.
    """

    def __init__(
        self, sizes: Sequence[int], sampling: Sampling, *, weights: Sequence[float] | None = None, seed: int = 0
    ) -> None:
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.rows = rows_per_epoch(self.sizes, sampling, weights)
        self.num_rows = int(self.rows.sum())
        self._seed = seed
        self._first = np.cumsum(self.sizes) - self.sizes
        full = sampling.shuffle == "full"
        self._block = 1 if full else min(sampling.block_rows, _RUN)
        self._runs = 1 if full else max(1, sampling.block_rows // self._block)
        window_rows = self.num_rows if full else self._block * sampling.window_blocks
        self._windows = max(1, round(self.num_rows / max(1, window_rows)))
        per_window = np.round(self.rows / (self._windows * self._block)).astype(np.int64)
        self._strata = np.ones_like(self.rows) if full else np.maximum(1, per_window)
        # [windows + 1, datasets]: draws of an epoch before each window, and [windows + 1] of all datasets
        self._before = self.rows * np.arange(self._windows + 1)[:, None] // self._windows
        self._starts = self._before.sum(axis=1)

    def places(self, positions: np.ndarray) -> np.ndarray:
        epoch, inside = np.divmod(positions, self.num_rows)
        window = np.searchsorted(self._starts, inside, side="right") - 1
        places = np.empty(len(positions), np.int64)
        for number in np.unique(epoch * self._windows + window):
            e, w = divmod(int(number), self._windows)
            here = np.flatnonzero((epoch == e) & (window == w))
            places[here] = self._window(e, w, inside[here] - self._starts[w])
        return places

    def _window(self, epoch: int, window: int, inside: np.ndarray) -> np.ndarray:
        """Places at some positions of one window."""
        size = int(self._starts[window + 1] - self._starts[window])
        slot = permute(inside, size, make_key(self._seed, _WINDOW, epoch, window))
        before = self._before[window]
        stops = np.cumsum(self._before[window + 1] - before)
        table = np.searchsorted(stops, slot, side="right")
        # Draws of the dataset's endless sequence that come before the slot 0 of the window.
        shift = epoch * self.rows + self._before[window + 1] - stops
        places = np.empty_like(slot)
        for t in np.unique(table):
            mine = table == t
            places[mine] = self.stream(int(t), slot[mine] + shift[t])
        return places

    def stream(self, table: int, positions: np.ndarray) -> np.ndarray:
        size, block = int(self.sizes[table]), self._block
        number, offset = np.divmod(positions, size)
        inside, blocks = offset, size // block
        if blocks > 1:
            moved = self._block_at(table, number, np.minimum(offset // block, blocks - 1), blocks)
            # The rows that fill no block come last.
            inside = np.where(offset < blocks * block, moved * block + offset % block, offset)
        # Every pass cuts its blocks elsewhere.
        shift = make_key(self._seed, _SHIFT, table, number) % np.uint64(size)
        return self._first[table] + (inside + shift.astype(np.int64)) % size

    def _block_at(self, table: int, number: np.ndarray, turn: np.ndarray, blocks: int) -> np.ndarray:
        """The blocks whose ``turn`` it is in some passes.

        Tables are often sorted. So they are divided in as many strata as a window takes blocks, and each round
        takes one block at random from every stratum, in random order: a window shows the whole table.
        """
        strata = min(int(self._strata[table]), blocks)
        turn, stratum = np.divmod(turn, strata)
        # Some strata, evenly spread, have a block more, for a last round without the others.
        least, longer = divmod(blocks, strata)
        if strata > 1:
            drawn = permute(stratum, strata, make_key(self._seed, _ROUND, table, number, turn))
            last = -(-(stratum + 1) * strata // max(1, longer)) - 1
            stratum = np.where(turn < least, drawn, last)
        before = stratum * longer // strata
        is_longer = (stratum + 1) * longer // strata > before
        found = stratum * least + before
        key = make_key(self._seed, _PASS, table, number, stratum)
        for length, mine in ((least + 1, is_longer), (least, ~is_longer)):
            found[mine] += self._run_at(turn[mine], length, key[mine])
        return found

    def _run_at(self, turn: np.ndarray, length: int, key: np.ndarray) -> np.ndarray:
        """The runs of a stratum of ``length`` runs whose turn it is: those of one block after another."""
        blocks = length // self._runs
        if self._runs == 1 or blocks < 2:
            return permute(turn, length, key)
        block, inside = np.divmod(turn, self._runs)
        # Every block has its runs in another order.
        inner = key ^ make_key(_ROUND, block)
        moved = permute(np.minimum(block, blocks - 1), blocks, key) * self._runs + permute(inside, self._runs, inner)
        # The runs that fill no block come last.
        return np.where(block < blocks, moved, turn)

    def sentences(self, names: Sequence[str]) -> list[str]:
        """What an epoch draws of every dataset; nothing where it is every row once."""
        if (self.rows == self.sizes).all():
            return []
        return [
            f"{name}: {100 * rows / self.num_rows:.3g} % of an epoch, "
            + (f"each row {rows / size:.3g} times" if rows else "no row is drawn")
            for name, rows, size in zip(names, self.rows.tolist(), self.sizes.tolist(), strict=True)
            if size
        ]


def rows_per_epoch(sizes: np.ndarray, sampling: Sampling, weights: Sequence[float] | None = None) -> np.ndarray:
    """Draws of every dataset in an epoch, int64 ``[datasets]``: the share to within one row, at least one.

    Raises:
        GraphiumError: a weight is negative, or no dataset with rows has a weight above 0.
    """
    weight = np.ones(len(sizes)) if weights is None else np.asarray(weights, dtype=np.float64)
    wrong = weight[~((weight >= 0) & (weight < math.inf))]
    if len(wrong):
        raise GraphiumError(f"the weight of a dataset is {wrong[0]:g}; give a number of at least 0, 1 draws by size")
    drawn = (weight > 0) & (sizes > 0)
    if not drawn.any():
        if sizes.any():
            raise GraphiumError("the weight of every dataset is 0; give one of them a weight above 0")
        return np.zeros(len(sizes), np.int64)
    total = max(1, round(sampling.epoch_fraction * int(sizes[drawn].sum())))
    share = np.where(drawn, weight * np.maximum(sizes, 1) ** (1 / sampling.temperature), 0.0)
    wanted = total * (share / share.sum())
    rows = np.floor(wanted).astype(np.int64)
    # What is left after rounding down goes to the largest remainders.
    rows[np.argsort(rows - wanted, kind="stable")[: total - int(rows.sum())]] += 1
    return np.where(drawn, np.maximum(rows, 1), 0)


def make_key(*numbers: int | np.ndarray) -> np.ndarray:
    """A key for :func:`permute`, uint64 ``[1]``, or ``[n]`` where one of the numbers is int64 ``[n]``."""
    key = np.zeros(1, np.uint64)
    for number in numbers:
        word = number.astype(np.uint64) if isinstance(number, np.ndarray) else np.uint64(number % 2**64)
        key = (key ^ word) + np.uint64(_GOLDEN)
        key = (key ^ (key >> np.uint64(30))) * np.uint64(_MIX1)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(_MIX2)
        key ^= key >> np.uint64(31)
    return key


def permute(index: np.ndarray, size: int, key: np.ndarray) -> np.ndarray:
    """Some values of a pseudo-random permutation of ``range(size)``, without the others.

    A Feistel network over a rectangle that just holds the range, walked until the value lies inside it
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").

    Args:
        index: Where, int64 ``[n]``.
        size: Length of the permutation, below 2**62.
        key: Which permutation, uint64 ``[1]``, or ``[n]`` for another one at every index.

    Returns:
        int64 ``[n]``.

    >>> sorted(permute(np.arange(5), 5, make_key(7)).tolist())
    [0, 1, 2, 3, 4]
    """
    if size < 2:
        return np.zeros_like(index)
    width = math.isqrt(size - 1) + 1
    height = -(-size // width)
    value = _feistel(index.astype(np.uint64), height, width, key)
    while len(outside := np.flatnonzero(value >= np.uint64(size))):
        value[outside] = _feistel(value[outside], height, width, key[outside] if len(key) > 1 else key)
    return value.astype(np.int64)


def _feistel(value: np.ndarray, height: int, width: int, key: np.ndarray) -> np.ndarray:
    """A permutation of ``range(height * width)``, uint64: row and column are shifted by each other's hash in turn."""
    row = value // np.uint64(width)
    column = value - row * np.uint64(width)
    sides = [(row, np.uint64(height)), (column, np.uint64(width))]
    for number in range(_ROUNDS if height * width > _SHORT else _MORE_ROUNDS):
        (moving, extent), (other, _) = sides[number % 2], sides[1 - number % 2]
        hashed = other + (key + np.uint64(_GOLDEN * (number + 1) % 2**64))
        hashed *= np.uint64(_MIX1)
        hashed ^= hashed >> np.uint64(32)
        hashed *= np.uint64(_MIX2)
        hashed >>= np.uint64(32)
        # The upper half of a product maps 32 random bits to [0, extent).
        hashed *= extent
        hashed >>= np.uint64(32)
        moving += hashed
        # Unsigned numbers wrap around: the smaller one is the sum modulo `extent`.
        np.minimum(moving, moving - extent, out=moving)
    return row * np.uint64(width) + column
