import numpy as np
import pandas as pd
import pytest

from neurodec.data import Account, Trials, with_defaults
from neurodec.data.harmonise import common_space
from neurodec.errors import NeurodecError
from neurodec.preprocessing.whitening import inverse_square_root


def sensors(rng, names=("O1", "Oz", "O2"), sfreq=100.0, n_times=50, bads=(), run="1", tmin=-0.1):
    responses = rng.standard_normal((4, len(names), n_times)).astype(np.float32)
    table = with_defaults(pd.DataFrame({"stimulus": list("abab")}), run=run)
    entry = Account(bads=list(bads)).entry(run, 4, len(names))
    info = {"modality": "eeg", "units": "V", "sfreq": sfreq, "tmin": tmin, "ch_names": list(names)}
    return Trials(responses, table, {**info, "account": [entry]})


def voxels(rng, indices, shape=(2, 2, 2), affine=None, run="1"):
    responses = np.tile(np.asarray(indices, dtype=np.float32), (4, 1))
    table = with_defaults(pd.DataFrame({"stimulus": list("abab")}), run=run)
    info = {"modality": "fmri", "units": "a.u.", "mask_shape": list(shape), "voxel_indices": list(indices)}
    info["affine"] = (np.eye(4) if affine is None else affine).tolist()
    info["account"] = [Account().entry(run, 4, len(indices))]
    return Trials(responses, table, info)


def joined(parts):
    space = common_space(parts)
    return space, [
        np.concatenate(list(space.blocks(part, columns, turn)))
        for part, columns, turn in zip(parts, space.columns, space.turns, strict=True)
    ]


def test_bad_channels_of_any_run_are_left_out_of_all(rng):
    parts = [
        sensors(rng, ("O1", "O2"), bads=["Oz"]),
        sensors(rng, run="2"),
        sensors(rng, ("Oz", "O2"), bads=["O1"]),
    ]
    space, found = joined(parts)
    assert space.info["ch_names"] == ["O2"]
    np.testing.assert_array_equal(found[1][:, 0], parts[1].responses[:, 2])
    np.testing.assert_array_equal(found[2][:, 0], parts[2].responses[:, 1])
    assert "bad in another recording: O1, Oz" in space.info["account"][1]["notes"][0]


def test_another_order_of_channels_is_put_right(rng):
    parts = [sensors(rng), sensors(rng, ("O2", "O1", "Oz"))]
    _, found = joined(parts)
    np.testing.assert_array_equal(found[1], parts[1].responses[:, [1, 2, 0]])


def test_several_rates_become_the_lowest(rng):
    low, high = sensors(rng, n_times=60), sensors(rng, sfreq=250.0, n_times=150, run="2")
    times = np.arange(150) / 250 - 0.1
    high.responses[:] = np.sin(2 * np.pi * 8 * times)
    space, found = joined([low, high])
    assert space.info["sfreq"] == 100.0
    assert space.shape == (3, 60)
    expected = np.sin(2 * np.pi * 8 * (np.arange(60) / 100 - 0.1))
    assert (
        np.abs(found[1][:, :, 10:-10] - expected[10:-10]).max() < 0.06
    )  # the window is short for its filter
    assert "resampled from 250 to 100 Hz" in space.info["account"][1]["notes"][0]


def test_a_rate_that_lost_its_last_digits_is_the_same_rate(rng):
    exact, stored = sensors(rng, sfreq=199.8), sensors(rng, sfreq=float(np.float32(199.8)), run="2")
    space, found = joined([exact, stored])
    np.testing.assert_array_equal(found[1], stored.responses)
    assert space.info["account"][1]["notes"] == []


def test_voxels_that_all_masks_have(rng):
    parts = [voxels(rng, [0, 1, 3, 5]), voxels(rng, [1, 2, 3, 5], run="2")]
    space, found = joined(parts)
    assert space.info["voxel_indices"] == [1, 3, 5]
    assert found[0][0].tolist() == found[1][0].tolist() == [1, 3, 5]
    assert "1 voxels are left out" in space.info["account"][0]["notes"][0]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (lambda rng: sensors(rng, ("O1", "Oz")), r"differs from the first recording in `ch_names` \(O2 only"),
        (lambda rng: sensors(rng, tmin=0.0), "differs from the first recording in `tmin`"),
        (lambda rng: sensors(rng, n_times=40), "epochs of 40 samples at 100 Hz, others 50"),
    ],
)
def test_other_sensors_and_windows_are_refused(rng, other, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        common_space([sensors(rng), other(rng)])


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (lambda rng: voxels(rng, [1], affine=np.diag([3.0, 3, 3, 1])), "lies elsewhere .*another affine"),
        (lambda rng: voxels(rng, [1], shape=(3, 2, 2)), "differs from the first recording in `mask_shape`"),
        (lambda rng: voxels(rng, [7]), "share no voxel"),
    ],
)
def test_other_places_are_refused(rng, other, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        common_space([voxels(rng, [0, 1]), other(rng)])


def whitened_part(rng, names, run, bads=()):
    part = sensors(rng, names, run=run, bads=bads)
    mixed = (rng.normal(size=(len(names),) * 2) + 2 * np.eye(len(names))) @ np.asarray(part.responses)
    covariance = np.cov(mixed.swapaxes(0, 1).reshape(len(names), -1))
    done = {"whiten": "mvnn-epochs", "reference": None, "ch_names": list(names)}
    noise = np.column_stack([np.zeros(len(names)), covariance])
    info = {**part.info, "units": "a.u.", "noise": {"01": noise}, "preprocessing": done}
    responses = (inverse_square_root(covariance) @ mixed).astype(np.float32)
    return Trials(responses, part.table, info), mixed, covariance


def test_channels_left_out_after_whitening_leave_the_others_whitened_without_them(rng):
    """What a later recording gets that lacks the channel; the full whitener's rows were 17 % off."""
    first, mixed, covariance = whitened_part(rng, ("O1", "Oz", "O2"), "1")
    second, _, _ = whitened_part(rng, ("O1", "O2"), "2", bads=["Oz"])
    space, (found, other) = joined([first, second])
    kept = [0, 2]
    expected = inverse_square_root(covariance[np.ix_(kept, kept)]) @ mixed[:, kept]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(other, second.responses)  # nothing was left out of it
    noise = (covariance[np.ix_(kept, kept)] + second.info["noise"]["01"][:, 1:]) / 2
    np.testing.assert_allclose(space.info["noise"]["01"][:, 1:], noise)


def test_the_average_reference_is_of_the_channels_that_are_kept(rng):
    parts = [sensors(rng), sensors(rng, ("O1", "O2"), run="2", bads=["Oz"])]
    for part in parts:
        part.info["preprocessing"] = {"whiten": "none", "reference": "average", "ch_names": part.ch_names}
    values = np.asarray(parts[0].responses)
    referenced = values - values.mean(axis=1, keepdims=True)
    first = Trials(referenced, parts[0].table, parts[0].info)
    _, (found, _) = joined([first, parts[1]])
    kept = values[:, [0, 2]]
    np.testing.assert_allclose(found, kept - kept.mean(axis=1, keepdims=True), atol=1e-5)
