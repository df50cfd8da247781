import numpy as np
import pytest
import torch

from graphium.nn.outputs import EVIDENTIAL, GAUSSIAN, point, quantile_names, spreads

LEVELS = [[0.5], [0.1, 0.5, 0.9], [0.00001, 0.25, 0.5, 0.75, 0.9999999]]


def test_one_number_is_its_own_point():
    prediction = torch.randn(4, 3)
    assert point(prediction, ()) is prediction
    assert spreads(prediction, ()) == {}


def test_gaussian():
    prediction = torch.randn(4, 3, 2, dtype=torch.float64)
    assert torch.equal(point(prediction, GAUSSIAN), prediction[..., 0])
    (name, std), *others = spreads(prediction, GAUSSIAN).items()
    assert (name, others) == ("std", [])
    torch.testing.assert_close(std, prediction[..., 1].exp().sqrt())


def test_evidential_deviations_are_those_of_the_paper():
    prediction = torch.randn(4, 3, 4, dtype=torch.float64)
    assert torch.equal(point(prediction, EVIDENTIAL), prediction[..., 0])
    nu, alpha, beta = np.moveaxis(np.logaddexp(0, prediction[..., 1:].numpy()), -1, 0)
    found = spreads(prediction, EVIDENTIAL)
    assert list(found) == ["aleatoric_std", "epistemic_std"]
    np.testing.assert_allclose(found["aleatoric_std"], np.sqrt(beta / alpha), rtol=1e-4)
    np.testing.assert_allclose(found["epistemic_std"], np.sqrt(beta / (nu * alpha)), rtol=1e-4)


@pytest.mark.parametrize("levels", LEVELS)
def test_quantiles_do_not_cross(levels):
    outputs = quantile_names(levels)
    prediction = torch.randn(40, 3, len(levels))
    found = spreads(prediction, outputs)
    assert tuple(found) == outputs
    stacked = torch.stack(list(found.values()), dim=-1)
    assert (stacked.diff(dim=-1) >= 0).all()
    assert torch.equal(stacked, torch.from_numpy(np.sort(prediction.numpy(), axis=-1)))
    assert torch.equal(point(prediction, outputs), found["q0.5"])


def test_the_point_of_levels_without_a_half_is_the_nearest():
    prediction = torch.tensor([[0.0, 1.0, 2.0]])
    assert point(prediction, ("q0.1", "q0.4", "q0.9")).item() == 1


def test_outputs_of_another_loss_have_their_first_as_point_and_no_spread():
    prediction = torch.randn(4, 3, 2)
    for outputs in (("quality", "doubt"), ("q0.5", "doubt")):
        assert torch.equal(point(prediction, outputs), prediction[..., 0])
        assert spreads(prediction, outputs) == {}


@pytest.mark.parametrize("size", [50.0, 1e4, 1e6])
@pytest.mark.parametrize("outputs", [GAUSSIAN, EVIDENTIAL, quantile_names([0.1, 0.5, 0.9])])
def test_extreme_and_half_precision_predictions_have_finite_spreads(outputs, size):
    signs = torch.randint(-1, 2, (40, 3, len(outputs)), generator=torch.Generator().manual_seed(0))
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        prediction = (size * signs).to(dtype)
        if not prediction.isfinite().all():
            continue
        for spread in spreads(prediction, outputs).values():
            assert spread.dtype == torch.float32 and spread.shape == (40, 3) and spread.isfinite().all()
            assert (spread > 0).all() or outputs[0] == "q0.1"
