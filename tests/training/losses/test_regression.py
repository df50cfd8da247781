from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn import metrics as sk

from graphium import registry
from graphium.training.losses.regression import Evidential, Gaussian, Quantile


def per_label(function):
    """A scikit-learn metric of each label by itself."""
    return lambda p, y, *_: np.array([function([b], [a]) for a, b in zip(p, y, strict=True)])


def allowed(error, bound):
    """The distance to the nearest value that the bound allows."""
    return np.where(bound > 0, np.minimum(error, 0), np.where(bound < 0, np.maximum(error, 0), error))


def huber(error, delta=1.0):
    return np.where(abs(error) < delta, error**2 / 2, delta * (abs(error) - delta / 2))


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("config", "reference"),
    [
        ("mae", per_label(sk.mean_absolute_error)),
        ("mse", per_label(sk.mean_squared_error)),
        ("huber", lambda p, y: huber(p - y)),
        ({"name": "huber", "delta": 0.3}, lambda p, y: huber(p - y, 0.3)),
    ],
)
def test_losses_of_one_number(config, reference, seed, make_labels, make_prediction, check_reference):
    loss = registry.build("loss", config)
    check_reference(loss, make_prediction("regression"), make_labels("regression", seed=seed), reference)


@pytest.mark.parametrize("levels", [[0.5], [0.1, 0.5, 0.9], [0.05, 0.25, 0.5, 0.6]])
def test_quantile_is_the_mean_pinball_loss(levels, make_labels, check_reference):
    def reference(p, y):
        return np.mean(
            [
                per_label(lambda b, a, q=q: sk.mean_pinball_loss(b, a, alpha=q))(p[:, i], y)
                for i, q in enumerate(levels)
            ],
            axis=0,
        )

    check_reference(Quantile(levels), torch.randn(40, 6, len(levels)), make_labels("regression"), reference)


def test_quantile_is_least_at_the_quantiles_of_its_labels():
    value = torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=4001)).float()
    best = torch.tensor(np.quantile(value, [0.1, 0.5, 0.9]), dtype=torch.float32)
    for shift in (-0.01, 0.0, 0.01):
        prediction = (best + shift).requires_grad_()
        Quantile().element(prediction.expand(len(value), 3), value, torch.zeros(len(value))).mean().backward()
        if shift:
            assert (prediction.grad * shift > 0).all()
        else:
            assert (prediction.grad.abs() < 1e-3).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_gaussian_is_that_of_torch(seed, make_labels, make_prediction, check_reference):
    torch_loss = torch.nn.GaussianNLLLoss(full=True, reduction="none")

    def reference(p, y):
        p = torch.from_numpy(p)
        return torch_loss(p[:, 0], torch.from_numpy(y), p[:, 1].exp()).numpy()

    check_reference(
        Gaussian(), make_prediction("regression", "gaussian"), make_labels("regression", seed=seed), reference
    )


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_bounds_under_a_gaussian_are_probabilities_of_a_side(beta, seed, make_labels, make_prediction, check_reference):
    def reference(p, y, bound):
        normal = stats.norm(p[:, 0], np.exp(p[:, 1] / 2))
        log_likelihood = np.where(bound > 0, normal.logsf(y), np.where(bound < 0, normal.logcdf(y), normal.logpdf(y)))
        return -np.exp(beta * p[:, 1]) * log_likelihood

    labels = make_labels("regression", seed=seed, bounds=True)
    check_reference(Gaussian(beta), make_prediction("regression", "gaussian"), labels, reference)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_far_on_the_wrong_side_keep_their_digits(dtype):
    deviations = torch.tensor([-1e4, -1e3, -40.0, -10.001, -9.999, -3.0, 0.0, 3.0, 40.0], dtype=dtype)
    prediction = torch.stack([deviations, torch.zeros_like(deviations)], dim=1).requires_grad_()
    zero = torch.zeros(len(deviations), dtype=dtype)
    found = Gaussian().bounded_element(prediction, zero, zero, torch.ones(len(deviations), dtype=torch.int8))
    found.sum().backward()
    z = deviations.double().numpy()
    np.testing.assert_allclose(found.detach(), -special.log_ndtr(z), rtol=2e-6)
    # phi(z) / Phi(z), the inverse of Mills' ratio
    expected = -np.sqrt(2 / np.pi) / special.erfcx(-z / np.sqrt(2))
    np.testing.assert_allclose(prediction.grad[:, 0], expected, rtol=1e-4, atol=1e-30)


def test_beta_weighs_a_label_by_its_variance_and_does_not_change_its_sign():
    prediction = torch.tensor([[0.0, 2.0], [1.0, -1.0]], requires_grad=True)
    value, task = torch.tensor([3.0, 0.0]), torch.zeros(2)
    (plain,) = torch.autograd.grad(Gaussian().element(prediction, value, task).sum(), prediction)
    (weighted,) = torch.autograd.grad(Gaussian(beta=0.5).element(prediction, value, task).sum(), prediction)
    torch.testing.assert_close(weighted, plain * prediction.detach()[:, 1:].exp().sqrt())
    (as_mse,) = torch.autograd.grad(Gaussian(beta=1.0).element(prediction, value, task).sum(), prediction)
    torch.testing.assert_close(as_mse[:, 0], prediction.detach()[:, 0] - value)


@pytest.mark.parametrize("log_variance", [-1e4, -100.0, 100.0, 1e4])
def test_a_variance_that_ran_away_is_called_back(log_variance):
    prediction = torch.tensor([[0.0, log_variance]], requires_grad=True)
    Gaussian().element(prediction, torch.ones(1), torch.zeros(1)).sum().backward()
    assert prediction.grad.isfinite().all()
    assert prediction.grad[0, 1] * log_variance > 0


@pytest.mark.parametrize("regularization", [0.0, 0.2])
def test_evidential_is_the_likelihood_of_a_students_t(regularization, make_labels, make_prediction, check_reference):
    def reference(p, y):
        gamma, (nu, alpha, beta) = p[:, 0], softplus(p[:, 1:]).T
        alpha = alpha + 1
        student = stats.t(2 * alpha, loc=gamma, scale=np.sqrt(beta * (1 + nu) / (nu * alpha)))
        return -student.logpdf(y) + regularization * abs(y - gamma) * (2 * nu + alpha)

    prediction = 2 * make_prediction("regression", "evidential")
    check_reference(Evidential(regularization), prediction, make_labels("regression"), reference)


@pytest.mark.parametrize("alpha", [7.9, 8.1, 1e2, 1e4, 1e6])
def test_evidence_without_end_is_a_gaussian(alpha):
    """With beta = alpha and much evidence for the mean, Student's t is a standard normal, in float32 too."""
    prediction = torch.tensor([[0.0, 1e6, alpha - 1, alpha]], requires_grad=True)
    value = torch.tensor([1.5])
    found = Evidential(0.0).element(prediction, value, torch.zeros(1))
    np.testing.assert_allclose(found.item(), -stats.t(2 * alpha).logpdf(1.5), rtol=5e-5)
    found.backward()
    double = prediction.detach().double().requires_grad_()
    Evidential(0.0).element(double, value.double(), torch.zeros(1)).backward()
    torch.testing.assert_close(prediction.grad[0, 0], double.grad[0, 0].float(), rtol=1e-4, atol=1e-12)
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "distance"), [("mae", np.abs), ("mse", np.square), ("huber", huber)], ids=["mae", "mse", "huber"]
)
def test_bounds_are_those_of_the_dense_formula(name, distance, seed, make_labels, make_prediction, check_reference):
    labels, prediction = make_labels("regression", seed=seed, bounds=True), make_prediction("regression") * 2
    loss = registry.build("loss", name)
    check_reference(loss, prediction, labels, lambda p, y, bound: distance(allowed(p - y, bound)))
    prediction.requires_grad_()
    loss(prediction, labels)[0].sum().backward()
    gradient = prediction.grad[labels.entity, labels.task]
    # The slope of the same loss of an exact label, and none where the bound is kept.
    exact = prediction.detach().clone().requires_grad_()
    loss(exact, replace(labels, bound=None))[0].sum().backward()
    picked = prediction.detach()[labels.entity, labels.task]
    kept = (picked - labels.value) * labels.bound > 0
    assert kept.any() and not kept.all()
    assert torch.equal(gradient, exact.grad[labels.entity, labels.task].masked_fill(kept, 0))


@pytest.mark.parametrize("name", ["mae", "mse", "huber", "gaussian"])
def test_bounds_of_zero_are_exact_labels(name, make_labels, make_prediction):
    labels, prediction = make_labels("regression"), make_prediction("regression", name)
    exact = replace(labels, bound=torch.zeros_like(labels.task, dtype=torch.int8))
    loss = registry.build("loss", name)
    for a, b in zip(loss(prediction, labels), loss(prediction, exact), strict=True):
        assert torch.equal(a, b)
