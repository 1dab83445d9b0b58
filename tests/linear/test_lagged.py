import mne
import numpy as np
import pytest

from neurodec.data.responses import select
from neurodec.errors import NeurodecError
from neurodec.linear import LaggedRidge, lagged


def _series(rng, n_segments=6, n_features=3, n_times=80):
    x = rng.normal(size=(n_segments, n_features, n_times))
    x -= x.mean(axis=(0, 2), keepdims=True)
    return x / x.std(axis=(0, 2), keepdims=True)


@pytest.mark.parametrize(("tmin", "tmax"), [(-0.05, 0.0), (0.0, 0.04), (-0.02, 0.03)])
def test_equals_the_receptive_field_of_mne(rng, tmin, tmax):
    x, y = _series(rng), rng.normal(size=(6, 2, 80)) + 3
    model = LaggedRidge(tmin, tmax, 100.0, alphas=[25 / 480]).fit(x, y)
    other = mne.decoding.ReceptiveField(tmin, tmax, 100.0, estimator=25.0)
    turned = x.transpose(2, 0, 1)
    other.fit(turned, y.transpose(2, 0, 1))
    assert model.alpha_ == pytest.approx(25)
    np.testing.assert_array_equal(model.lags_, other.delays_)
    np.testing.assert_allclose(model.coef_, other.coef_.transpose(1, 2, 0), atol=1e-8)
    np.testing.assert_allclose(model.predict(x).transpose(2, 0, 1), other.predict(turned), atol=1e-8)


def test_the_penalty_has_the_least_error_of_refits(rng, monkeypatch):
    monkeypatch.setattr(lagged, "_DESIGN", 1000)  # a design of one or two segments
    monkeypatch.setattr(lagged, "_READ", 700)
    x = _series(rng, n_segments=9)
    y = np.roll(x[:, :1], 2, axis=-1) + 2 * rng.normal(size=(9, 1, 80))
    alphas, groups = np.array([1e-3, 0.3, 10.0]), np.repeat([0, 1, 2], 3)
    model = LaggedRidge(0, 0.05, 100.0, alphas=alphas, n_folds=3).fit(x, y, groups)
    errors = np.zeros(3)
    for group in range(3):
        kept, out = groups != group, groups == group
        for place, alpha in enumerate(alphas):
            one = LaggedRidge(0, 0.05, 100.0, alphas=[alpha]).fit(x[kept], y[kept])
            errors[place] += np.square(one.predict(x[out]) - y[out]).sum()
    assert model.alpha_ == pytest.approx(alphas[errors.argmin()] * 720)


def test_arrays_lists_and_views_give_one_model(rng):
    x, y = _series(rng), rng.normal(size=(6, 2, 80))
    settings = {"tmin": -0.1, "tmax": 0.0, "sfreq": 100.0, "step": 3}
    array = LaggedRidge(**settings).fit(x, y)
    assert array.lags_.tolist() == [-10, -7, -4, -1]
    for own, wanted in ((list(x), list(y)), (select(x, np.arange(6)), select(y, np.arange(6)))):
        other = LaggedRidge(**settings).fit(own, wanted)
        np.testing.assert_allclose(other.coef_, array.coef_, atol=1e-10)
    longer = LaggedRidge(**settings).fit([*x, x[0][:, :31]], [*y, y[0][:, :31]])
    assert [one.shape for one in longer.predict([x[0], x[1][:, :7]])] == [(2, 80), (2, 7)]


def test_a_backward_model_finds_the_response_that_follows(rng):
    sound = rng.normal(size=(8, 1, 200))
    sensors = np.roll(sound, 4, axis=-1) * 1e-6 + 1e-7 * rng.normal(size=(8, 5, 200))
    model = LaggedRidge(-0.1, 0, 100.0).fit(sensors, sound)
    assert model.lags_[np.abs(model.coef_[:, :, 0]).sum(axis=0).argmax()] == -4
    assert model.score(sensors, sound) > 0.95


def test_refusals_are_one_sentence(rng):
    x, y = _series(rng), rng.normal(size=(6, 2, 80))
    for own, wanted, word in (
        (x, y[:5], "6 segments"),
        (x, y[..., :70], "same times"),
        (x[:1], y[:1], "left-out"),
        (x * np.nan, y, "NaN"),
        (0 * x, y, "do not vary"),
    ):
        with pytest.raises(NeurodecError, match=word) as told:
            LaggedRidge(0, 0.05, 100.0).fit(own, wanted)
        assert "\n" not in str(told.value)
    with pytest.raises(NeurodecError, match="no lag"):
        LaggedRidge(0.1, 0, 100.0).fit(x, y)
