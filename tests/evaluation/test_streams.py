"""Attended streams: sums are Pearson's r, the null is calibrated, intervals cover, and the folder brings all back."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from neurodec import cross_validate
from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.trial_tables import with_defaults
from neurodec.errors import NeurodecError
from neurodec.evaluation import Streams
from neurodec.evaluation.section import Fitted
from neurodec.evaluation.stream_scores import StreamSums, null_shares, shifted_copies, smallest_p
from neurodec.features import Features
from neurodec.systems import LaggedRidgeSystem

N_TIMES, RATE = 160, 32.0  # windows of 5 s


def smooth(rng, *shape):
    """Series whose samples depend on those before, as envelopes do."""
    return lfilter([1.0], [1.0, -0.8], rng.normal(size=shape), axis=-1)


def party(rng, n_runs=2, n_windows=6, n_streams=30, follow=0.0, ignored=True):
    """Streams, and runs whose prediction follows the attended one; run i attends stream 2 i and ignores the next."""
    values = smooth(rng, n_streams, n_windows * N_TIMES).reshape(n_streams, n_windows, 1, N_TIMES)
    names = [f"s{s:02d}@{w}" for s in range(n_streams) for w in range(n_windows)]
    stimuli = pd.DataFrame(
        {
            "stimulus": names,
            "stream": [name[:3] for name in names],
            "concept": [name[:3] for name in names],
            "offset": [str(5.0 * w) for _ in range(n_streams) for w in range(n_windows)],
            "duration": "5.0",
        }
    )
    info = {"embedding_space": "envelope", "key": "x", "dims": ["stimulus", "value", "time"]}
    features = Features(values.reshape(-1, 1, N_TIMES).astype(np.float32), names, info)
    rows, found = [], []
    for run in range(n_runs):
        noise = smooth(rng, n_windows * N_TIMES).reshape(n_windows, 1, N_TIMES)
        found.append(follow * values[2 * run] + noise)
        for window in range(n_windows):
            told = {"ignored": f"s{2 * run + 1:02d}"} if ignored else {}
            rows.append(
                {"stimulus": f"s{2 * run:02d}@{window}", "run": f"r{run}", "onset": 5.0 * window, **told}
            )
    table = with_defaults(pd.DataFrame(rows), subject="01").assign(
        concept=lambda own: own["stimulus"].str[:3]
    )
    responses = np.concatenate(found).astype(np.float32)
    trials = Trials(
        responses, table, {"modality": "eeg", "sfreq": RATE, "tmin": 0.0, "ch_names": ["Cz"], "units": "V"}
    )
    return Study.of(trials, stimuli), features


def scored(study, features, evaluation, n_trained=0):
    """Score the responses as if they were predictions; the first windows are those of the training."""
    system = SimpleNamespace(head="image", project=lambda name, values: values)
    rows = {"all": np.arange(n_trained)}
    train = study.select(rows) if n_trained else Study({"all": study.trials.select([])}, study.stimuli)
    test = study.select({"all": np.arange(n_trained, len(study))})
    fitted = Fitted("x", system, train, {"image": features})
    predictions = {"single": Predictions({"image": test.trials.responses[:]}, test.table)}
    return evaluation.run(predictions, test, fitted)


def results(rng, evaluation=None, **options):
    evaluation = evaluation or Streams(n_permutations=200)
    return evaluation.results([scored(*party(rng, **options), evaluation)])["streams"]


def test_sums_give_the_r_of_every_stretch(rng):
    found, candidates = smooth(rng, 6, 2, 50) + 100, smooth(rng, 3, 6, 2, 50)
    sums = StreamSums.of("r", ["a", "b", "c"], False, 5.0, found, candidates)
    r = sums.correlations(2)
    assert r.shape == (3, 3)
    for stretch in range(3):
        for stream in range(3):
            part = slice(2 * stretch, 2 * stretch + 2)
            expected = [
                np.corrcoef(found[part, f].ravel(), candidates[stream, part, f].ravel())[0, 1] for f in (0, 1)
            ]
            assert r[stretch, stream] == pytest.approx(np.mean(expected))
    whole = [np.corrcoef(found[1:, f].ravel(), candidates[2, 1:, f].ravel())[0, 1] for f in (0, 1)]
    assert sums.without(0)[2] == pytest.approx(np.mean(whole))


def test_a_followed_stream_is_first_among_all(rng):
    own = results(rng, follow=0.5)
    assert own["r_attended"] > 0.3
    assert own["ahead_of"] == "the ignored stream"
    assert [one["rank"] for one in own["per_run"]] == [1.0, 1.0]
    # What another run ignored is still not played here.
    assert [one["n_candidates"] for one in own["per_run"]] == [30, 30]
    assert own["p_value_r_attended"] <= 0.03
    assert [one["seconds"] for one in own["windows"]] == [5, 10, 30]  # a run of 30 s has no stretch of 60
    assert [one["n"] for one in own["windows"]] == [12, 6, 2]
    assert own["interval_over"] == "windows of these runs"
    assert own["ci95_r_attended"][0] < own["r_attended"] < own["ci95_r_attended"][1]


def test_streams_that_were_trained_on_are_no_null(rng):
    study, features = party(rng)
    (part,) = scored(study, features, Streams(), n_trained=6)["decoder"]
    assert part.streams[:2] == ["s02", "s03"]
    assert not {"s00", "s01"} & set(part.streams)
    assert part.n_null == 26


def test_few_streams_are_replaced_by_shifts(rng):
    own = results(rng, n_streams=6, follow=0.5)
    assert own["null"] == "the attended stream, shifted"
    assert "rank" not in own["per_run"][0]
    assert own["per_run"][0]["n_others"] == 29  # whole seconds of 30
    assert own["p_value_r_attended"] <= 0.01
    assert own["p_floor"] == pytest.approx(1 / 201)
    copies = shifted_copies(np.arange(12)[None], 3, 99)
    np.testing.assert_array_equal(copies[:, 0, 0], [9, 6, 3])


def test_without_an_ignored_stream_others_are_the_rivals(rng):
    own = results(rng, ignored=False, follow=0.5)
    assert own["ahead_of"] == "other streams"
    assert own["r_ignored"] is None
    assert "ahead_of_ignored" not in own["windows"][0]
    assert own["attended_ahead"] > 0.8


def test_p_floor_of_two_runs_with_few_candidates():
    assert smallest_p([4, 4], 10_000) == pytest.approx(1 / 16)
    assert smallest_p([80, 80], 10_000) == pytest.approx(1 / 6400)
    assert smallest_p([80, 80], 100) == pytest.approx(1 / 101)


def test_the_folder_brings_a_run_back(rng, tmp_path):
    evaluation = Streams(n_permutations=100)
    run = scored(*party(rng), evaluation)
    evaluation.save(run, tmp_path / "x")
    again = evaluation.load(tmp_path / "x")
    assert evaluation.results([again]) == evaluation.results([run])


def test_cross_validation_scores_lagged_ridge_and_shows_it(rng):
    study, features = party(rng, n_runs=3, follow=1.0)
    found = cross_validate(
        LaggedRidgeSystem(stride=1), study, features, Streams(n_permutations=100), groups="run", n_folds=3
    )
    own = found.sections["streams"]
    assert own["n_runs"] == 3
    assert own["r_attended"] > 0.4
    assert found.score == own["attended_ahead"]
    assert "is followed" in found.shown.strong
    assert "Attended ahead" in found.shown.label
    assert found._repr_html_()


def test_refusals(rng):
    study, features = party(rng)
    with pytest.raises(NeurodecError, match="no column stream"):
        Streams().check(Study(study.spaces, study.stimuli.drop(columns="stream")))
    vectors = Features(np.zeros((len(features.stimuli), 3)), features.stimuli, {"embedding_space": "x"})
    with pytest.raises(NeurodecError, match="series over time"):
        scored(study, vectors, Streams())
    trials = study.trials
    trials.table["onset"] = trials.table["onset"] / 2
    with pytest.raises(NeurodecError, match="overlap"):
        scored(study, features, Streams())


def calibrated(n_seeds, n_streams):
    """Return p values of predictions that follow no stream."""
    p, shares = [], []
    for seed in range(n_seeds):
        own = results(
            np.random.default_rng(seed), Streams(n_permutations=200, seed=seed), n_streams=n_streams
        )
        p.append(own["p_value_r_attended"])
        shares += [own["p_value"], own["windows"][0]["p_value_ahead_of_others"]]
    return np.array(p), np.array(shares).reshape(-1, 2)


@pytest.mark.parametrize("n_streams", [30, 6])
def test_p_of_nothing_is_rarely_small(n_streams):
    p, shares = calibrated(60, n_streams)
    assert 0.35 < p.mean() < 0.65
    for own in (p, *shares.T):
        assert (own <= 0.05).mean() <= 0.15


@pytest.mark.quality
@pytest.mark.parametrize("n_streams", [30, 6])
def test_p_values_are_uniform_without_an_effect(n_streams):
    p, shares = calibrated(1000, n_streams)
    for own in (p, *shares.T):
        for level in (0.05, 0.1, 0.25, 0.5):
            assert (own <= level).mean() <= level + 3 * np.sqrt(level / 1000)
        assert (own <= 0.5).mean() >= 0.35  # ties of shares make p larger, not smaller


@pytest.mark.quality
@pytest.mark.parametrize(("n_runs", "n_windows"), [(2, 12), (8, 12)])
def test_intervals_cover_the_true_r(n_runs, n_windows):
    follow = 0.15
    true, covered, shares, truths = follow / np.sqrt(1 + follow**2), [], [], []
    for seed in range(500):
        options = {"n_runs": n_runs, "n_windows": n_windows, "follow": follow, "n_streams": 36}
        own = results(np.random.default_rng(seed), Streams(n_permutations=10, seed=seed), **options)
        low, high = own["ci95_r_attended"]
        covered.append(low <= true <= high)
        shares.append(own["ci95"])
        truths.append(own["attended_ahead"])
    assert 0.92 <= np.mean(covered) <= 0.99
    low, high = np.array(shares).T
    assert 0.92 <= ((low <= np.mean(truths)) & (np.mean(truths) <= high)).mean() <= 1


def test_drawn_pairs_are_ahead_half_of_the_time(rng):
    share = null_shares([rng.normal(size=(12, 40)), rng.normal(size=(12, 40))], 4000, rng)
    assert share.mean() == pytest.approx(0.5, abs=0.02)
