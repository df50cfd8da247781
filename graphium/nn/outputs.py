"""What the numbers of one prediction mean, where a loss asks for more than one.

``Task.outputs`` names them: :data:`GAUSSIAN`, :data:`EVIDENTIAL`, or the levels of quantiles, ``("q0.1", "q0.5",
"q0.9")``. The network gives them as they are, any real numbers; the functions here say how they become a point and
its spread, so that the loss, the metrics and the predictions cannot disagree about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

GAUSSIAN = ("mean", "log_variance")
EVIDENTIAL = ("gamma", "nu", "alpha", "beta")

# Deviations from 4.5e-5 to 2.2e4 in units of the transformed labels: beyond them squares leave float32.
_LOG_VARIANCE = (-20.0, 20.0)
# The least value of what must be above 0.
_LEAST = 1e-6


def point(prediction: Tensor, outputs: tuple[str, ...]) -> Tensor:
    """The one number that is compared with labels: the mean, or the median.

    Args:
        prediction: ``[..., outputs]``, or ``[...]`` where ``outputs`` is empty.
        outputs: Names of the numbers. Of names that are not known here the first is the point.

    Returns:
        ``[...]``.
    """
    if not outputs:
        return prediction
    levels = _levels(outputs)
    if levels is None:
        return prediction[..., 0]
    distances = [abs(level - 0.5) for level in levels]
    return sorted_quantiles(prediction)[..., distances.index(min(distances))]


def spreads(prediction: Tensor, outputs: tuple[str, ...]) -> dict[str, Tensor]:
    """What a prediction says beside its point, in the units of the transformed labels.

    Args:
        prediction: ``[..., outputs]``, any float type.
        outputs: Names of the numbers.

    Returns:
        Suffix -> ``[...]`` in at least float32: ``std`` of a Gaussian; ``aleatoric_std`` and ``epistemic_std`` of an
        evidential prediction (Amini et al. 2020, eq. 5); every level of quantiles, ``q0.1`` and so on, which never
        cross: they are sorted here, which brings them no further from the true ones (Chernozhukov et al. 2010).
        Nothing where ``outputs`` is empty or not known here.
    """
    prediction = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
    if outputs == GAUSSIAN:
        _, log_variance = gaussian_parameters(prediction)
        return {"std": (0.5 * log_variance).exp()}
    if outputs == EVIDENTIAL:
        _, nu, alpha, beta = evidential_parameters(prediction)
        aleatoric = beta / (alpha - 1)
        return {"aleatoric_std": aleatoric.sqrt(), "epistemic_std": (aleatoric / nu).sqrt()}
    if _levels(outputs) is None:
        return {}
    return dict(zip(outputs, sorted_quantiles(prediction).unbind(-1), strict=True))


def quantile_names(levels: Iterable[float]) -> tuple[str, ...]:
    """The outputs of quantiles.

    >>> quantile_names([0.1, 0.5, 0.9])
    ('q0.1', 'q0.5', 'q0.9')
    """
    return tuple(f"q{level}" for level in levels)


def sorted_quantiles(prediction: Tensor) -> Tensor:
    """The same quantiles ``[..., levels]`` in rising order: what users see, while the loss sees what the net says."""
    return prediction.sort(-1).values


def gaussian_parameters(prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance ``[...]`` of ``[..., 2]``; the latter is kept within limits, its gradient is not.

    A variance that has run away can so come back, where the gradient of a plain clamp would be 0 for ever.
    """
    mean, log_variance = prediction.movedim(-1, 0)
    kept = log_variance.detach()
    return mean, kept.clamp(*_LOG_VARIANCE) + (log_variance - kept)


def evidential_parameters(prediction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``gamma``, ``nu > 0``, ``alpha > 1``, ``beta > 0``, ``[...]`` each, of raw ``[..., 4]`` through a softplus."""
    gamma, *raw = prediction.movedim(-1, 0)
    nu, alpha, beta = (F.softplus(number) + _LEAST for number in raw)
    return gamma, nu, alpha + 1, beta


def _levels(outputs: tuple[str, ...]) -> list[float] | None:
    """The levels that outputs name, None where they are something else."""
    found = [re.fullmatch(r"q(0\.\d+|\d\S*e-\d+)", name) for name in outputs]
    return [float(match[1]) for match in found if match] if outputs and all(found) else None
