from dataclasses import replace

import numpy as np
import pytest

from neurodec.data import Trials
from neurodec.errors import NeurodecError
from neurodec.evaluation.retrieval import curves
from neurodec.evaluation.retrieval.curves import (
    Ablation,
    averages,
    predict_rows,
    repetition_counts,
    repetition_curve,
)
from neurodec.evaluation.retrieval.zero_shot import Retrieval


@pytest.fixture
def ablation(recording):
    test = recording.test.average()
    gallery = Retrieval().candidates(test, recording.stimuli, recording.features)
    trained = (recording.predict, recording.train, recording.train_targets)
    return Ablation(test, gallery, gallery, test, *trained, "known", 0.1)


def test_blocks_give_what_one_pass_gives(recording, monkeypatch):
    whole = predict_rows(recording.predict, recording.test)
    monkeypatch.setattr(curves, "ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(predict_rows(recording.predict, recording.test), whole, rtol=1e-6)


def test_a_decoder_that_loses_rows_is_refused(recording):
    with pytest.raises(NeurodecError, match="returned 2 embeddings for 360 trials"):
        predict_rows(lambda trials: np.zeros((2, 8)), recording.test)


def test_averaging_before_or_after_a_linear_decoder(recording):
    """A linear decoder commutes with the mean."""
    decoders = {"known": recording.predict}
    before, table = averages(recording.test, decoders, "response")(None, 0)
    after, same = averages(recording.test, decoders, "embedding")(None, 0)
    np.testing.assert_array_equal(table["stimulus"], same["stimulus"])
    single = recording.predict(recording.test)
    np.testing.assert_allclose(before["known"][0], single[:6].mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["known"], before["known"], rtol=1e-3, atol=1e-4)


def test_repetition_counts_stop_at_the_poorest_stimulus(recording):
    assert repetition_counts(recording.test, True, None) == {1: 3, 2: 3, 5: 3, 6: 1}
    assert repetition_counts(recording.test, [1, 3, 80], None) == {1: 3, 3: 3}
    assert repetition_counts(recording.test, True, 4) == {1: 3, 2: 3, 4: 3}
    assert repetition_counts(recording.test.select(slice(1, None)), True, None) == {1: 3, 2: 3, 5: 3}
    assert repetition_counts(recording.test, False, None) == {}
    assert repetition_counts(recording.test.average(), True, None) == {}


@pytest.mark.parametrize("averaging", ["response", "embedding"])
def test_more_repetitions_decode_better(recording, ablation, averaging):
    average = averages(recording.test, {"known": recording.predict}, averaging)
    points = repetition_curve(average, {1: 3, 3: 3, 6: 1}, {"known": ablation.gallery}, 0)
    assert [point["n"] for point in points] == [1, 3, 6]
    assert points[0]["top1"] < points[1]["top1"] < points[2]["top1"]
    for point in points:
        assert point["ci95"][0] <= point["top1"] <= point["ci95"][1]


def test_windows_find_when(ablation):
    points = ablation.windows()
    sliding = {
        (point["decoder"], point["tmin"]): point["top1"] for point in points if point["kind"] == "sliding"
    }
    for decoder in ("known", "ridge"):
        inside = min(sliding[decoder, 0.1], sliding[decoder, 0.2])
        outside = max(sliding[decoder, 0.0], sliding[decoder, 0.3], sliding[decoder, 0.4])
        assert inside > outside + 0.1
    growing = [
        point["top1"] for point in points if point["decoder"] == "known" and point["kind"] == "growing"
    ]
    assert growing[0] == pytest.approx(1 / 30)  # nothing seen: every candidate ties, which is chance
    assert growing[2] == growing[-1]  # nothing more after 0.3 s


def test_regions_find_where(ablation):
    groups = ablation.groups(True)
    only = {(point["decoder"], point["region"]): point for point in ablation.regions(groups)}
    rest = {(point["decoder"], point["region"]): point for point in ablation.regions(groups, left_out=True)}
    assert only["ridge", "occipital"]["n_chans"] == 2
    assert rest["ridge", "occipital"]["n_chans"] == 5
    for decoder in ("known", "ridge"):
        best = only[decoder, "occipital"]["top1"]
        assert best > 0.5
        assert all(
            point["top1"] < best / 2
            for (name, region), point in only.items()
            if name == decoder and region != "occipital"
        )
        assert rest[decoder, "occipital"]["top1"] < best / 2 < rest[decoder, "frontal"]["top1"]


def test_important_channels_are_those_that_carry_the_signal(ablation):
    importance = {point["ch_name"]: point["importance"] for point in ablation.channels()}
    assert min(importance["O1"], importance["Oz"]) > 0.05
    assert all(abs(importance[name]) < 1e-6 for name in ("Fp1", "Fz", "Cz", "T7", "Pz"))


def test_single_trials_are_hidden_from_one_by_one_and_averaged_after(recording, ablation):
    """With everything left to see, occlusion gives what averaging embeddings gives."""
    single = replace(ablation, shown=recording.test)
    everything = range(recording.test.responses.shape[1])
    expected, _ = averages(recording.test, {"known": recording.predict}, "embedding")(None, 0)
    np.testing.assert_allclose(single._occluded(chans=everything), expected["known"], atol=1e-6)
    np.testing.assert_allclose(
        ablation._occluded(chans=everything), recording.predict(ablation.test), atol=1e-6
    )


def test_nothing_is_decoded_before_onset(recording, ablation):
    z = ablation.before_onset()
    assert z.shape == (60, 8)
    assert ablation._score(z, ablation.linear_gallery)["ci95"][0] <= 1 / 30


def test_no_time_before_onset_no_control(recording):
    after = recording.test.average().crop(0.0, None)
    trained = (recording.predict, recording.train, recording.train_targets)
    ablation = Ablation(after, None, None, after, *trained, "a", 0.1)
    assert ablation.before_onset() is None


def test_voxels_have_regions_but_no_windows(recording):
    """fMRI: columns are voxels, regions are the recording's ROIs."""
    info = {"modality": "fmri", "roi": {"V1": [5 * 35 + t for t in range(15, 25)], "V2": [0, 1, 2]}}
    train, test = (
        Trials(part.responses.reshape(len(part), -1), part.table, info)
        for part in (recording.train, recording.test)
    )
    run = Retrieval(n_permutations=99).of_trials(
        test,
        recording.stimuli,
        recording.features,
        lambda trials: trials.responses @ recording.weights,
        train=train,
        train_targets=recording.train_targets,
    )
    assert "windows" not in run.curves
    assert "channels" not in run.curves
    found = {(point["decoder"], point["region"]): point["top1"] for point in run.curves["regions"]}
    assert found["ridge", "V1"] > 2 * found["ridge", "V2"]
    assert run.prestimulus is None
