import mne
import numpy as np
import pytest

from neurodec import NeurodecError
from neurodec.preprocessing.channels import check_channels, sensor_positions, standard_positions
from neurodec.preprocessing.eeg import EEGPreprocessing, clean_raw, whiten
from neurodec.preprocessing.epoching import cut_epochs, epoch_times, resample
from neurodec.preprocessing.triggers import stim_events
from neurodec.preprocessing.whitening import whiten_by

NAMES = ["Fp1", "Cz", "Oz", "O2"]


def _raw(rng, n_samples=20_000, sfreq=1000.0, scale=1e-5):
    signals = np.cumsum(rng.standard_normal((4, n_samples)), axis=1) * scale * 0.02 + 2e-3
    return mne.io.RawArray(signals, mne.create_info(NAMES, sfreq, "eeg"), verbose="error")


@pytest.mark.parametrize("sfreq", [250.0, 100.0, 128.0, 1500.0, None])
@pytest.mark.parametrize("baseline", [(None, 0.0), (-0.1, None), None])
@pytest.mark.parametrize("n_events", [1, 33, 70])
def test_cutting_equals_mne(rng, sfreq, baseline, n_events):
    """At any number of events, whose offset of 2 mV stays in where no baseline is taken off."""
    raw = _raw(rng)
    onsets = np.sort(rng.choice(np.arange(300, 18_000), n_events, replace=False))
    events = np.column_stack([onsets, np.zeros_like(onsets), np.ones_like(onsets)])
    epochs = mne.Epochs(raw, events, tmin=-0.2, tmax=1.0, baseline=baseline, preload=True, verbose="error")
    if sfreq is not None:
        epochs.resample(sfreq)
    settings = EEGPreprocessing(sfreq=sfreq, baseline=baseline)
    order = rng.permutation(len(onsets))
    found = cut_epochs(raw.get_data(), onsets[order], 1000.0, settings, "x")
    expected = epochs.get_data()[order]
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())
    times, rate = epoch_times(1000.0, settings)
    np.testing.assert_allclose(times, epochs.times, atol=1e-12)
    assert rate == epochs.info["sfreq"]


def test_an_epoch_does_not_depend_on_the_others(rng):
    raw = _raw(rng)
    settings = EEGPreprocessing(baseline=None)
    onsets = np.sort(rng.choice(np.arange(300, 18_000), 40, replace=False))
    whole = cut_epochs(raw.get_data(), onsets, 1000.0, settings, "x")
    for row in (0, 17, 39):
        alone = cut_epochs(raw.get_data(), onsets[[row]], 1000.0, settings, "x")
        np.testing.assert_allclose(whole[[row]], alone, atol=1e-9)


def test_picks_and_dropped_prestimulus(rng):
    signals = rng.standard_normal((4, 5000))
    settings = EEGPreprocessing(sfreq=250.0, keep_from=0.0, tmax=0.5)
    whole = cut_epochs(signals, np.array([1000, 3000]), 1000.0, EEGPreprocessing(sfreq=250.0, tmax=0.5), "x")
    found = cut_epochs(signals, np.array([1000, 3000]), 1000.0, settings, "x", picks=np.array([2, 0]))
    np.testing.assert_array_equal(found, whole[:, [2, 0], 50:])
    assert epoch_times(1000.0, settings)[0][0] == pytest.approx(0)


def test_resampling_keeps_a_slow_sine(rng):
    times = np.arange(1200) / 1000
    sine = np.sin(2 * np.pi * 7 * times)
    found = resample(np.stack([sine, np.ones(1200)]), 0.25)
    np.testing.assert_allclose(found[0, 25:-25], sine[::4][25:-25], atol=2e-3)
    np.testing.assert_allclose(found[1], 1, atol=1e-12)


def test_events_beyond_the_recording_are_named(rng):
    signals = rng.standard_normal((2, 3000))
    with pytest.raises(
        NeurodecError, match=r"1 epoch\(s\) reach beyond the recording of 3 s.*event 1 at 2.5 s"
    ):
        cut_epochs(signals, np.array([1000, 2500]), 1000.0, EEGPreprocessing(), "sub-01")
    with pytest.raises(NeurodecError, match=r"first event 0 at 0\.1 s"):
        cut_epochs(signals, np.array([100]), 1000.0, EEGPreprocessing(), "sub-01")
    with pytest.raises(NeurodecError, match=r"baseline -0\.5 to 0\.0 s does not lie in the epoch"):
        cut_epochs(signals, np.array([1000]), 1000.0, EEGPreprocessing(baseline=(-0.5, 0.0)), "sub-01")


def test_stim_events_are_onsets_of_new_values():
    onsets, codes = stim_events(np.array([0.0, 3, 3, 0, 5, 7, 7, 0, 3]))
    assert onsets.tolist() == [1, 4, 5, 8]
    assert codes.tolist() == [3, 5, 7, 3]


def test_cleaning_chain_picks_filters_and_rereferences(rng):
    times = np.arange(20_000) / 1000
    raw = _raw(rng)
    raw.apply_function(lambda x: x + 1e-4 * np.sin(2 * np.pi * 50 * times))
    settings = EEGPreprocessing(
        ch_names=["Oz", "Fp1", "Cz"], notch=50.0, l_freq=0.5, h_freq=40.0, reference="average"
    )
    clean_raw(raw, settings, "eeg", "x")
    assert raw.ch_names == ["Oz", "Fp1", "Cz"]
    data = raw.get_data()[:, 2000:-2000]
    np.testing.assert_allclose(data.mean(axis=0), 0, atol=1e-12)
    spectrum = np.abs(np.fft.rfft(data))
    line = round(50 * data.shape[1] / 1000)
    assert spectrum[:, line].max() < 0.01 * spectrum.max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EEGPreprocessing(ch_names=["Oz", "Pz"]), "4 channels but not Pz"),
        (EEGPreprocessing(h_freq=600.0), "h_freq 600 Hz is not below half"),
        (EEGPreprocessing(reference=["M1"]), "reference M1 is not among"),
    ],
)
def test_cleaning_refuses(rng, settings, message):
    with pytest.raises(NeurodecError, match=message):
        clean_raw(_raw(rng), settings, "eeg", "sub-01.edf")


def test_no_channel_of_the_kind(rng):
    with pytest.raises(NeurodecError, match=r"no meg channel \(only eeg\)"):
        clean_raw(_raw(rng), EEGPreprocessing(), "meg", "x")


def test_bad_channels_are_named(rng):
    good = 1e-5 * rng.standard_normal((5, 4, 100))
    check_channels(good, NAMES, "eeg", "x")
    for value, message in ((np.nan, r"Cz hold NaN"), (1e-3, r"Cz are flat")):
        bad = good.copy()
        bad[:, 1] = value
        with pytest.raises(NeurodecError, match=message):
            check_channels(bad, NAMES, "eeg", "x")
    for scale in (1e6, 1e-6):
        with pytest.raises(NeurodecError, match=r"units look wrong, often by 10\^6"):
            check_channels(good * scale, NAMES, "eeg", "x")
    check_channels(good * 1e-8, NAMES, "meg", "x")


def test_whitening_without_training_trials(rng):
    responses = (1 + rng.standard_normal((6, 3, 40))).astype(np.float32)
    stimuli, nobody = np.arange(6).astype(str), np.zeros(6, dtype=bool)
    with pytest.raises(NeurodecError, match="no training trial"):
        whiten(responses, stimuli, nobody, EEGPreprocessing(whiten="mvnn-epochs"), "x")
    assert whiten(responses, stimuli, nobody, EEGPreprocessing(whiten="none"), "x") is None
    before = responses.copy()
    noise = whiten(responses, stimuli, nobody, EEGPreprocessing(whiten="zscore"), "x")
    np.testing.assert_allclose(responses.mean(axis=(0, 2)), 0, atol=1e-6)
    whiten_by(before, noise)
    np.testing.assert_allclose(before, responses, atol=1e-5)


def test_steps_are_told_in_words():
    settings = EEGPreprocessing(
        notch=50, l_freq=0.1, h_freq=40, reference="average", sfreq=250, keep_from=0.0, whiten="mvnn-epochs"
    )
    assert settings.in_words() == [
        "50 Hz and harmonics removed",
        "band-pass 0.1 to 40 Hz",
        "reference: average",
        "epochs from -0.2 to 1 s",
        "baseline -0.2 to 0 s subtracted",
        "resampled to 250 Hz",
        "kept from 0 s on",
        "whitened by the noise covariance of the recording's training epochs (MVNN)",
    ]
    bare = EEGPreprocessing(l_freq=1, baseline=None, reference=["M1", "M2"]).in_words()
    assert bare == ["band-pass above 1 Hz", "reference: M1, M2", "epochs from -0.2 to 1 s", "not whitened"]
    assert EEGPreprocessing(baseline=None).in_words()[1:] == ["not whitened", "no filter here"]


def test_positions_come_from_the_file_or_the_standard_cap(rng):
    info = mne.create_info(NAMES, 100.0, "eeg")
    standard = np.array(sensor_positions(info))
    assert np.linalg.norm(standard, axis=1) == pytest.approx(0.12, abs=0.03)
    assert standard[0, 1] > 0 > standard[2, 1]  # Fp1 in front, Oz behind
    info.set_montage(
        mne.channels.make_dig_montage({name: [0.01, 0.02, 0.09] for name in NAMES}, coord_frame="head")
    )
    assert sensor_positions(info)[0] == pytest.approx([0.01, 0.02, 0.09])
    assert standard_positions(["Cz", "EEG 12"]) is None
    assert standard_positions(["CZ"]) == standard_positions(["Cz"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"l_freq": 30.0, "h_freq": 1.0}, r"`l_freq` 30 Hz is not below `h_freq` 1 Hz.*exchange"),
        ({"l_freq": -1.0}, "`l_freq` is -1"),
        ({"sfreq": 0.0}, "`sfreq` is 0"),
        ({"tmin": 0.5, "tmax": 0.1, "baseline": None}, "is empty"),
        ({"tmin": -200, "tmax": 800}, "is 1000 s long; give seconds"),
        ({"keep_from": 2.0}, "`keep_from` 2 s leaves nothing"),
        ({"tmin": 0.0}, "baseline is the single moment 0 s"),
        ({"baseline": (0.0, 2.0)}, "does not lie in the epoch"),
        ({"baseline": (0.0, -0.1)}, "does not lie in the epoch"),
    ],
)
def test_settings_that_no_recording_can_satisfy(settings, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        EEGPreprocessing(**settings).check()


@pytest.mark.parametrize("name", ["notch", "l_freq", "h_freq"])
def test_cut_offs_at_half_the_rate(name):
    EEGPreprocessing(**{name: 49.9}).check_rate(100.0, "x")
    with pytest.raises(
        NeurodecError, match=rf"x: {name} 50 Hz is not below half the sampling rate \(50 Hz\)"
    ):
        EEGPreprocessing(**{name: 50.0}).check_rate(100.0, "x")
