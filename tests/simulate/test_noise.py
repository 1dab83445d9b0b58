import numpy as np
import pytest
from scipy.signal import welch

from neurodec.simulate.sensor_noise import band, blinks, bursting, mains, pink, shaped, slow


@pytest.mark.parametrize("spectrum", [pink(1.2), band(10.0, 0.8), slow(0.3)])
def test_shaped_noise_has_unit_variance(spectrum, rng):
    noise = shaped(40, 50_000, 250.0, spectrum, rng)
    assert noise.dtype == np.float32
    assert 0.8 < noise.astype(float).var() < 1.25


def test_pink_noise_falls_as_asked(rng):
    frequency, power = welch(shaped(20, 50_000, 250.0, pink(1.2), rng), 250.0, nperseg=1000)
    used = (frequency > 2) & (frequency < 80)
    slope = np.polyfit(np.log(frequency[used]), np.log(power.mean(axis=0)[used]), 1)[0]
    assert abs(slope + 1.2) < 0.05


def test_bursting_keeps_the_mean_power_and_makes_heavy_tails(rng):
    plain = shaped(40, 50_000, 250.0, pink(1.0), rng)
    kurtosis = [np.mean(x**4) / np.mean(x**2) ** 2 for x in (plain, bursting(plain.copy(), 250.0, 0.8, rng))]
    assert kurtosis[0] < 3.2 < 6.0 < kurtosis[1]
    assert 0.6 < np.var(bursting(plain.copy(), 250.0, 0.6, rng)) / np.var(plain) < 1.5


def test_blinks_come_at_their_rate(rng):
    trace = blinks(250 * 600, 250.0, 12.0, rng)
    peaks = ((trace[1:-1] > trace[:-2]) & (trace[1:-1] >= trace[2:]) & (trace[1:-1] > 0.2)).sum()
    assert 90 < peaks < 150
    assert trace.min() == 0.0


def test_mains_is_all_at_fifty_hertz_and_its_harmonic(rng):
    spectrum = np.abs(np.fft.rfft(mains(3, 1000, 1000.0, rng))) ** 2
    np.testing.assert_allclose(spectrum[:, [50, 100]].sum(axis=1), spectrum.sum(axis=1), rtol=1e-4)
