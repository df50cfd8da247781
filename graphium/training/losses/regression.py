"""Losses of regression tasks: of one number, of quantiles, and of a number with its uncertainty."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from graphium.errors import GraphiumError
from graphium.nn.outputs import EVIDENTIAL, GAUSSIAN, evidential_parameters, gaussian_parameters, quantile_names
from graphium.registry import register
from graphium.training.losses.base import Loss


@register("loss", "mae")
class MeanAbsoluteError(Loss):
    """``|prediction - value|``."""

    takes_bounds = True

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return (prediction - value).abs()


@register("loss", "mse")
class MeanSquaredError(Loss):
    """``(prediction - value)^2``."""

    takes_bounds = True

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return (prediction - value).square()


@register("loss", "huber")
class Huber(Loss):
    """Squared below ``delta``, linear above (Huber 1964): ``e^2 / 2`` or ``delta (|e| - delta / 2)``.

    Args:
        delta: Where the two meet, in transformed label units; above 0.
    """

    takes_bounds = True

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not 0 < delta < math.inf:
            raise GraphiumError(f"the delta of the huber loss is {delta}; give a number above 0")
        self.delta = delta

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        return F.huber_loss(prediction, value.to(prediction.dtype), reduction="none", delta=self.delta)


@register("loss", "quantile")
class Quantile(Loss):
    """The pinball loss of several quantiles (Koenker & Bassett 1978): the mean of ``max(q e, (q - 1) e)`` over levels
    ``q``, where ``e = value - prediction``.

    A prediction is one number per level, the point is the median. Quantiles may cross while they are learned; those
    that :mod:`graphium.nn.outputs` hands out do not. Takes no bounds: what a bound says of a quantile depends on
    where all other labels are cut off (Powell 1986), which nobody knows here.

    Args:
        levels: Levels of the quantiles, rising, between 0 and 1; 0.5 must be among them.
    """

    levels: Tensor

    def __init__(self, levels: list[float] | tuple[float, ...] = (0.1, 0.5, 0.9)) -> None:
        super().__init__()
        levels = [float(level) for level in levels]
        said = f"the levels of the quantile loss are {', '.join(f'{level:g}' for level in levels) or 'none'}"
        if not all(0 < level < 1 for level in levels):
            raise GraphiumError(f"{said}; give numbers between 0 and 1, without these two")
        if any(low >= high for low, high in zip(levels, levels[1:], strict=False)):
            raise GraphiumError(f"{said}; give them once each, in rising order")
        if 0.5 not in levels:
            raise GraphiumError(f"{said}; add 0.5, the median, which is what metrics compare with the labels")
        self.outputs = quantile_names(levels)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        error = value - prediction.t()  # [levels, L]
        level = self.levels.to(error.dtype)[:, None]
        return (error * (level - (error < 0).to(error.dtype))).mean(0)


@register("loss", "gaussian")
class Gaussian(Loss):
    """Negative log-likelihood under a Gaussian whose mean and log-variance are predicted (Nix & Weigend 1994).

    A label that is a bound has the probability of its side instead of a density (Tobin 1958):
    ``-log P(Y >= value)`` or ``-log P(Y <= value)``.

    Args:
        beta: Each label's loss is multiplied by its variance to the power of ``beta``, which has no gradient of its
            own (beta-NLL, Seitzer et al. 2022, eq. 5): 0 is the likelihood, 1 fits the mean as mse does, and 0.5 is
            their advice where the likelihood neglects labels that are hard to fit. From 0 to 1.
    """

    takes_bounds = True
    may_be_negative = True
    outputs = GAUSSIAN

    def __init__(self, beta: float = 0.0) -> None:
        super().__init__()
        if not 0 <= beta <= 1:
            raise GraphiumError(f"the beta of the gaussian loss is {beta}; give a number from 0 to 1")
        self.beta = beta

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        mean, log_variance = gaussian_parameters(prediction)
        square = (mean - value).square() * (-log_variance).exp()
        return self._weigh(0.5 * (log_variance + square + math.log(2 * math.pi)), log_variance)

    def bounded_element(self, prediction: Tensor, value: Tensor, task: Tensor, bound: Tensor) -> Tensor:
        mean, log_variance = gaussian_parameters(prediction)
        deviations = (mean - value) * (-0.5 * log_variance).exp()
        side = self._weigh(-_log_normal_cdf(deviations * bound), log_variance)
        return torch.where(bound == 0, self.element(prediction, value, task), side)

    def _weigh(self, loss: Tensor, log_variance: Tensor) -> Tensor:
        return loss * (self.beta * log_variance.detach()).exp() if self.beta else loss


@register("loss", "evidential")
class Evidential(Loss):
    """Deep evidential regression: a Normal-Inverse-Gamma is predicted (Amini et al. 2020, eq. 8 to 10).

    The likelihood of the label is a Student's t with ``2 alpha`` degrees of freedom around ``gamma``; the regulariser
    ``|value - gamma| (2 nu + alpha)`` takes evidence away where the prediction is wrong. Takes no bounds: torch has
    no distribution function of Student's t.

    Args:
        regularization: Weight of the regulariser (their lambda), at least 0.
    """

    may_be_negative = True
    outputs = EVIDENTIAL

    def __init__(self, regularization: float = 0.01) -> None:
        super().__init__()
        if not 0 <= regularization < math.inf:
            raise GraphiumError(
                f"the regularization of the evidential loss is {regularization}; give a number of at least 0"
            )
        self.regularization = regularization

    def element(self, prediction: Tensor, value: Tensor, task: Tensor) -> Tensor:
        gamma, nu, alpha, beta = evidential_parameters(prediction)
        error = value - gamma
        omega = 2 * beta * (1 + nu)
        # Their -alpha log(omega) + (alpha + 1/2) log(error^2 nu + omega), without a difference of large numbers.
        spread = (alpha + 0.5) * torch.log1p(error.square() * nu / omega) + 0.5 * omega.log()
        likelihood = 0.5 * (math.log(math.pi) - nu.log()) + spread + _log_gamma_ratio(alpha)
        return likelihood + self.regularization * error.abs() * (2 * nu + alpha)


def _log_normal_cdf(x: Tensor) -> Tensor:
    """``log P(X <= x)`` of a standard normal ``X``.

    Below -10 by its asymptotic series, whose error is below 1e-7, because torch's gradient is wrong from -1000 on.
    """
    near, far = x.clamp(min=-10.0), x.clamp(max=-10.0)
    inverse = 1 / far.square()
    series = -inverse * (1 - inverse * (3 - inverse * (15 - inverse * 105)))
    tail = torch.log1p(series) - 0.5 * far.square() - (-far).log() - 0.5 * math.log(2 * math.pi)
    return torch.where(x < -10, tail, torch.special.log_ndtr(near))


def _log_gamma_ratio(alpha: Tensor) -> Tensor:
    """``log Gamma(alpha) - log Gamma(alpha + 1/2)`` for ``alpha > 0``.

    From 8 on by its asymptotic series, whose error is below 1e-9, because the difference of two large numbers and
    that of their gradients have few digits left in float32.
    """
    small, large = alpha.clamp(max=8.0), alpha.clamp(min=8.0)
    inverse = 1 / large
    series = -0.5 * large.log() + inverse / 8 - inverse**3 / 192 + inverse**5 / 640
    return torch.where(alpha < 8, small.lgamma() - (small + 0.5).lgamma(), series)
