"""What the numbers of one prediction mean, where a loss asks for more than one.

``Task.outputs`` names them: ``("mean", "log_variance")``, ``("gamma", "nu", "alpha", "beta")``, or the levels of
quantiles, ``("q0.1", "q0.5", "q0.9")``. The network gives them as they are, without bounds.
"""

from __future__ import annotations

from torch import Tensor


def point(prediction: Tensor, outputs: tuple[str, ...]) -> Tensor:
    """The one number that is compared with labels: the mean, or the median.

    Args:
        prediction: ``[..., outputs]``, or ``[...]`` where ``outputs`` is empty.
        outputs: Names of the numbers.

    Returns:
        ``[...]``.
    """
    if not outputs:
        return prediction
    if outputs[0].startswith("q"):
        levels = [abs(float(name[1:]) - 0.5) for name in outputs]
        return prediction[..., levels.index(min(levels))]
    return prediction[..., 0]
