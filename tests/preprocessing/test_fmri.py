import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix, run_glm

from neurodec.errors import NeurodecError
from neurodec.preprocessing.fmri import block_means, clean_series, glm_betas, zscore_rows

T_R = 2.0


@pytest.fixture
def events():
    return pd.DataFrame({"onset": [6.0, 21.0, 40.0, 55.0], "duration": [3.0, 3.0, 3.0, 3.0]})


def design_of(events, n_volumes, high_pass=0.01):
    return make_first_level_design_matrix(
        np.arange(n_volumes) * T_R, events, hrf_model="spm", drift_model="cosine", high_pass=high_pass
    )


def test_block_means_take_the_volumes_after_the_delay():
    series = np.arange(20.0)[:, None]  # volume i holds i
    means = block_means(series, T_R, np.array([4.0, 10.0]), np.array([6.0, 0.5]), hrf_shift=4.0)
    # 8 to 14 s are volumes 4, 5, 6; an event shorter than a volume takes the nearest, at 14 s
    assert means[:, 0].tolist() == [5.0, 7.0]


def test_block_means_name_the_event_without_a_volume():
    with pytest.raises(NeurodecError, match=r"event at 36 s .* scan ends at 40 s"):
        block_means(np.zeros((20, 1)), T_R, np.array([4.0, 36.0]), np.array([2.0, 2.0]), hrf_shift=6.0)


def test_cleaning_removes_a_line_and_leaves_constant_voxels_at_zero(rng):
    series = np.stack([rng.normal(size=60), 5 * np.arange(60.0), np.full(60, 7.0)], axis=1)
    cleaned = clean_series(series + 100, T_R)
    assert cleaned[:, 0].std(ddof=1) == pytest.approx(1)
    assert np.polyfit(np.arange(60), cleaned[:, 0], 1) == pytest.approx([0, 0], abs=1e-9)
    assert not cleaned[:, 2].any()


def test_high_pass_removes_slow_waves(rng):
    times = np.arange(200) * T_R
    series = (np.cos(2 * np.pi * times / 400) * 50 + rng.normal(size=200))[:, None]
    cleaned = clean_series(series, T_R, high_pass=0.01)[:, 0]
    assert abs(np.corrcoef(cleaned, series[:, 0])[0, 1]) < 0.5


def test_lsa_equals_nilearn(events, rng):
    series = rng.normal(size=(50, 7))
    names = [f"trial_{row}" for row in range(len(events))]
    matrix = design_of(events.assign(trial_type=names), 50)
    labels, results = run_glm(series, matrix.to_numpy(), noise_model="ols")
    expected = results[labels[0]].theta[[matrix.columns.get_loc(name) for name in names]]
    assert np.allclose(glm_betas(series, T_R, events, mode="lsa"), expected, atol=1e-8)


def test_lss_equals_one_nilearn_model_per_event(events, rng):
    series = rng.normal(size=(50, 7))
    found = glm_betas(series, T_R, events, mode="lss")
    for row in range(len(events)):
        # as in the paper: the event's own regressor, and one that holds all the other events
        matrix = design_of(
            events.assign(trial_type=["own" if other == row else "other" for other in range(4)]), 50
        )
        labels, results = run_glm(series, matrix.to_numpy(), noise_model="ols")
        assert np.allclose(found[row], results[labels[0]].theta[matrix.columns.get_loc("own")], atol=1e-8)


@pytest.mark.parametrize("mode", ["lsa", "lss"])
def test_betas_recover_amplitudes_without_noise(events, mode):
    amplitudes = np.array([1.0, -2.0, 0.5, 3.0]) if mode == "lsa" else np.full(4, 1.5)
    matrix = design_of(events.assign(trial_type=list("abcd")), 50)
    series = (matrix[list("abcd")].to_numpy() @ amplitudes)[:, None] + 10
    assert glm_betas(series, T_R, events, mode=mode)[:, 0] == pytest.approx(amplitudes)


def test_one_event_is_the_same_in_both_modes(events, rng):
    series = rng.normal(size=(50, 3))
    lsa, lss = (glm_betas(series, T_R, events[:1], mode=mode) for mode in ("lsa", "lss"))
    assert np.allclose(lsa, lss)


@pytest.mark.filterwarnings("ignore:Matrix is singular")  # that is the point
def test_events_that_coincide_are_refused(events, rng):
    doubled = pd.concat([events, events[:1]])
    with pytest.raises(NeurodecError, match="cannot be distinguished"):
        glm_betas(rng.normal(size=(50, 2)), T_R, doubled, mode="lsa")


def test_zscore_over_events(rng):
    patterns = np.c_[rng.normal(3, 5, size=(8, 4)), np.full(8, 2.0)]
    scaled = zscore_rows(patterns)
    assert scaled[:, :4].mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-12)
    assert scaled[:, :4].std(axis=0) == pytest.approx(np.ones(4))
    assert not scaled[:, 4].any()
