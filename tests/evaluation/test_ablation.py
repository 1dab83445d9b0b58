import numpy as np
import pytest

from neurodec.data import Trials
from neurodec.data.readers.datasets.things_eeg2 import CHANNELS
from neurodec.encoders.csbrain.brain_regions import Montage
from neurodec.errors import NeurodecError
from neurodec.evaluation.retrieval.ablation import (
    Window,
    advantage,
    bin_width,
    keep_only,
    named_regions,
    regions_of,
    time_windows,
    without_chan,
)
from neurodec.linear.features import binned
from neurodec.preprocessing.electrodes import REGIONS


def test_every_channel_of_things_eeg2_is_in_exactly_one_region():
    groups = regions_of(CHANNELS)
    assert sorted(index for members in groups.values() for index in members) == list(range(63))
    assert {name: len(members) for name, members in groups.items()} == {
        "frontal": 22,
        "parietal": 9,
        "temporal": 10,
        "occipital": 8,
        "central": 14,
    }
    assert [CHANNELS[index] for index in groups["occipital"]] == [
        "PO7",
        "PO3",
        "POz",
        "PO4",
        "PO8",
        "O1",
        "Oz",
        "O2",
    ]


def test_other_name_schemes():
    assert regions_of(["FP1", "OZ", "MLO11", "MRF23-2908", "MZC01", "EOG1", "E12", "stim"]) == {
        "frontal": [0, 3],
        "central": [4],
        "occipital": [1, 2],
    }


def test_regions_are_those_that_csbrain_reads():
    montage = Montage.of(["Fz", "FC1", "CP1", "Pz", "Oz", "T7"])
    groups = regions_of(["Fz", "FC1", "CP1", "Pz", "Oz", "T7"])
    assert {place: name for name, members in groups.items() for place in members} == {
        place: REGIONS[region] for place, region in enumerate(montage.regions)
    }


def test_own_regions_are_named_by_channel():
    assert named_regions(["E1", "E2", "E3"], {"back": ["E3", "E1"]}) == {"back": [2, 0]}
    with pytest.raises(NeurodecError, match="E9, which the recording lacks"):
        named_regions(["E1"], {"back": ["E9"]})


def test_windows_start_at_onset_and_tile_the_epoch():
    windows = time_windows(-0.2 + np.arange(300) / 250, 250, 0.1)
    growing = [window for window in windows if window.kind == "growing"]
    sliding = [window for window in windows if window.kind == "sliding"]
    assert [window.tmax for window in growing] == pytest.approx(np.arange(1, 11) / 10)
    assert {window.tmin for window in growing} == {0.0}
    first = [(window.tmin, window.tmax) for window in sliding][:4]
    assert first == [(-0.2, -0.1), (-0.1, 0.0), (0.0, 0.1), (0.1, 0.2)]
    assert len(sliding) == 12
    with pytest.raises(NeurodecError, match="hold no sample"):
        time_windows(np.arange(10) / 100, 100, 0.001)


@pytest.mark.parametrize(("sfreq", "width"), [(250, 0.05), (200, 0.05), (64, 0.1)])
def test_bins_are_means_of_their_samples(recording, rng, sfreq, width):
    responses = rng.standard_normal((300, 2, int(sfreq))).astype(np.float32)
    table = recording.train.table.iloc[:300]
    trials = Trials(responses, table, {"sfreq": float(sfreq), "tmin": 0.0, "ch_names": ["a", "b"]})
    n_bins = int(1 / width)
    bins = binned(trials, 0.0, width, n_bins)
    for index in range(n_bins):
        inside = (trials.times >= index * width - 1e-9) & (trials.times < (index + 1) * width - 1e-9)
        np.testing.assert_allclose(bins[..., index], responses[..., inside].mean(axis=-1), atol=1e-5)


def test_bins_are_coarser_for_many_channels_or_slow_sampling():
    assert bin_width(63, 250, 0.1) == 0.05
    assert bin_width(271, 200, 0.1) == 0.1
    assert bin_width(63, 10, 0.1) == 0.1


def test_occlusion_zeroes_the_rest_and_leaves_the_input_alone(recording):
    before = recording.test.responses.copy()
    seen = keep_only(recording.test, window=Window("sliding", 0.1, 0.3), chans=[5])
    np.testing.assert_array_equal(seen.responses[:, 5, 15:25], before[:, 5, 15:25])
    assert np.count_nonzero(seen.responses.any(axis=0)) == 10
    assert not without_chan(recording.test, 3).responses[:, 3].any()
    assert without_chan(recording.test, 3).responses[:, 4].any()
    np.testing.assert_array_equal(recording.test.responses, before)


def test_advantage_in_closed_form():
    scores = np.array([[0.9, 0.0, 0.0], [0.0, 0.6, 0.3]])
    assert advantage(scores, np.array([0, 1])) == pytest.approx(((0.9 - 0.3) + (0.6 - 0.3)) / 2)
