import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from neurodec.data import ArrayFile, BidsFMRI, MuseCSV, Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.encoders import RidgeClassifier
from neurodec.errors import NeurodecError
from neurodec.evaluation import Classification
from neurodec.evaluation.classification.schemes import split
from neurodec.preprocessing.eeg import EEGPreprocessing
from neurodec.systems import ContrastiveClassifier

RIDGE = RidgeClassifier()


def trials_of(rng, strength=1.0, n_runs=5, n_per_run=24, n_classes=3, n_subjects=1, n_times=30):
    """Responses after onset carry the class, those before do not."""
    n = n_subjects * n_runs * n_per_run
    labels = rng.integers(n_classes, size=n)
    times = -0.1 + np.arange(n_times) / 100
    patterns = rng.normal(size=(n_classes, 4, 1)) * (times >= 0)
    responses = rng.normal(size=(n, 4, n_times)) + strength * patterns[labels]
    table = with_defaults(
        pd.DataFrame(
            {
                "stimulus": [f"kind{label}" for label in labels],
                "subject": np.repeat([f"{code + 1:02d}" for code in range(n_subjects)], n // n_subjects),
                "run": [str(code) for code in np.tile(np.repeat(np.arange(n_runs), n_per_run), n_subjects)],
            }
        )
    )
    info = {"modality": "eeg", "units": "a.u.", "sfreq": 100.0, "tmin": -0.1, "ch_names": list("abcd")}
    return Trials(responses.astype(np.float32), table, info)


def test_finds_what_is_there_and_controls_stay_at_chance(rng):
    found = Classification(RIDGE, n_shuffles=99).of_trials(trials_of(rng))
    result = found["classification"]
    assert result["accuracy"] > 0.8
    assert result["ci95"][0] > 1 / 3
    assert result["auc"] > 0.9
    assert result["p_value"] == pytest.approx(0.01)
    assert result["chance"] == pytest.approx(1 / 3)
    assert len(result["per_fold"]) == 5
    assert np.sum(result["confusion"]) == 120
    for control in found["controls"].values():
        assert control["ci95"][0] <= 1 / 3 <= control["ci95"][1]
    assert set(found["controls"]) == {"shuffled", "prestimulus"}
    assert "baselines" not in found
    json.dumps(found)


def test_noise_stays_at_chance(rng):
    result = Classification(RIDGE, n_shuffles=0).of_trials(trials_of(rng, strength=0.0))["classification"]
    assert result["ci95"][0] < 1 / 3 < result["ci95"][1]
    assert result["p_value"] > 0.01
    assert "exchanges" in result["p_method"]


def test_left_out_groups_are_never_trained_on(rng):
    seen = []

    class Spy(RidgeClassifier):
        def fit(self, responses, labels, groups, subjects):
            seen.append(set(groups))
            return super().fit(responses, labels, groups, subjects)

    trials = trials_of(rng, n_subjects=2)
    for scheme, n_fits, n_kept in (("leave_one_run_out", 10, 9), ("leave_one_subject_out", 2, 1)):
        seen.clear()
        Classification(Spy(), scheme=scheme, n_shuffles=0, prestimulus=False).of_trials(trials)
        assert [len(groups) for groups in seen] == [n_kept] * n_fits
        assert len(set.union(*seen)) == n_kept + 1


def test_folds_of_several_groups(rng):
    evaluation = Classification(RIDGE, n_folds=2, n_shuffles=0, prestimulus=False)
    assert (
        len(evaluation.of_trials(trials_of(rng))["classification"]["per_fold"]) == 5
    )  # still told group by group


def test_same_seed_same_numbers(rng):
    trials = trials_of(rng)
    evaluation = Classification(RIDGE, n_shuffles=3)
    assert evaluation.of_trials(trials) == evaluation.of_trials(trials)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"run": "1"}, "Only one group"), ({"stimulus": "x", "concept": "x"}, "All trials show x")],
)
def test_nothing_to_decode(rng, change, sentence):
    trials = trials_of(rng)
    with pytest.raises(NeurodecError, match=sentence):
        Classification(RIDGE).of_trials(Trials(trials.responses, trials.table.assign(**change), trials.info))


def test_deep_decoder_beside_its_linear_baseline(rng):
    trials = trials_of(rng, n_times=80, n_runs=2, n_per_run=60, n_classes=2, strength=2.0)
    decoder = ContrastiveClassifier(n_epochs=30, n_outputs=8, batch_size=32)
    found = Classification(decoder, n_shuffles=1).of_trials(trials)
    assert found["classification"]["accuracy"] > 0.8
    assert found["baselines"]["ridge"]["accuracy"] > 0.8
    assert "difference" in found["baselines"]["ridge"]["difference_to_decoder"]
    assert abs(found["controls"]["prestimulus"]["accuracy"] - 0.5) < 0.2


# What a linear decoder must reach on the real recordings beside a developer's checkout; other runs and subjects of the
# same sets must do as well, so the bounds are loose.


def read(dataset, root):
    return Trials.concatenate([dataset.load(part, root) for part in dataset.parts(root)])


def test_haxby_left_out_runs(shared):
    trials = read(BidsFMRI(estimate="block_mean", hrf_shift=2.5), shared / "data/haxby2001-slice-fmri")
    found = Classification(RIDGE, n_shuffles=20).of_trials(trials)
    assert found["classification"]["accuracy"] >= 0.65
    low, high = found["controls"]["shuffled"]["ci95"]
    assert low <= 0.125 <= high


def test_n170_left_out_runs(shared):
    settings = EEGPreprocessing(
        l_freq=1.0, h_freq=30.0, reference="average", tmin=-0.1, tmax=0.6, baseline=(-0.1, 0.0), sfreq=64.0,
        whiten="robust", clamp=4.0,
    )  # fmt: skip
    dataset = MuseCSV(event_id={"house": 1, "face": 2}, preprocessing=settings)
    trials = read(dataset, shared / "data/muse-n170-eeg")
    found = Classification(RidgeClassifier(per_subject=True), n_shuffles=20).of_trials(trials)
    assert found["classification"]["auc"] >= 0.6
    assert found["classification"]["ci95_auc"][0] > 0.5
    for control in found["controls"].values():
        assert control["ci95_auc"][0] <= 0.5 <= control["ci95_auc"][1]


@pytest.mark.parametrize("n_subjects", [34, 15])
def test_things_eeg1_left_out_subjects(shared, n_subjects):
    dataset = ArrayFile(
        file="*.npz", responses="erp", axes=["subject", "concept", "channel", "time"], scale="subject",
        labels={"concept": "categories", "channel": "channels"}, times="times",
    )  # fmt: skip
    trials = read(dataset, shared / "data/things-eeg1-erps")
    kept = trials.select(np.arange(5 * n_subjects))
    found = Classification(RIDGE, scheme="leave_one_subject_out", n_shuffles=5).of_trials(kept)
    assert found["classification"]["accuracy"] >= 0.7
    assert found["controls"]["prestimulus"]["accuracy"] <= 0.3


# Schemes that cut through runs, and fixed splits


def test_stratified_folds_hold_every_category_in_equal_shares(rng):
    trials = trials_of(rng)
    found = Classification(
        RidgeClassifier(), scheme="stratified_k_fold", n_shuffles=5, prestimulus=False
    ).of_trials(trials)
    result = found["classification"]
    assert result["accuracy"] > 0.8
    assert [fold["group"] for fold in result["per_fold"]] == [f"fold {number}" for number in range(1, 6)]
    assert sum(fold["n_trials"] for fold in result["per_fold"]) == len(trials)
    assert "leave_one_run_out is the stricter test" in result["note"]
    labels = np.unique(trials.table["concept"], return_inverse=True)[1]
    _, folds = split(trials.table, labels, "stratified_k_fold", 4, 0)
    for _, test in folds:
        shares = np.bincount(labels[test]) / np.bincount(labels)
        np.testing.assert_allclose(shares, 0.25, atol=0.03)


def test_drifts_of_a_run_are_decoded_by_folds_that_cut_through_it(rng):
    """Why the note is there: categories in blocks and a level of each run, no answer of the brain at all."""
    trials = trials_of(rng, strength=0.0, n_runs=6, n_classes=2)
    runs = trials.table["run"].astype(int).to_numpy()
    kinds = np.where(runs % 2, "odd", "even")
    offsets = rng.normal(size=(6, 4, 1))[runs] * 3
    table = trials.table.assign(concept=kinds, stimulus=kinds)
    drifting = Trials((np.asarray(trials.responses) + offsets).astype(np.float32), table, trials.info)
    folds = Classification(
        RidgeClassifier(), scheme="stratified_k_fold", n_shuffles=0, prestimulus=False
    ).of_trials(drifting)
    runs_out = Classification(RIDGE, n_folds=3, n_shuffles=0, prestimulus=False).of_trials(drifting)
    assert folds["classification"]["accuracy"] > 0.95
    assert runs_out["classification"]["accuracy"] < 0.8


def test_repeated_folds_average_their_divisions(rng):
    trials = trials_of(rng, strength=0.3)
    settings = {"n_shuffles": 20, "prestimulus": False, "n_folds": 3}
    found = Classification(RIDGE, scheme="repeated_k_fold", n_repeats=3, **settings).of_trials(trials)
    each = [
        Classification(RIDGE, scheme="stratified_k_fold", seed=seed, **settings).of_trials(trials)[
            "classification"
        ]
        for seed in range(3)
    ]
    result = found["classification"]
    for name in ("accuracy", "balanced_accuracy", "auc"):
        values = [one[name] for one in each]
        assert result[name] == pytest.approx(np.mean(values))
        assert result["sd_over_repeats"][name] == pytest.approx(np.std(values, ddof=1))
    assert result["p_value"] == max(one["p_value"] for one in each)
    assert result["n_repeats"] == 3
    json.dumps(found)


def test_fixed_split_tests_what_is_marked_and_nothing_else(rng):
    trials = trials_of(rng)
    marks = np.where(trials.table["run"].astype(int) < 3, "train", "test")
    marked = Trials(trials.responses, trials.table.assign(split=marks), trials.info)
    seen = []

    class Spy(RidgeClassifier):
        def fit(self, responses, labels, groups, subjects):
            seen.append(np.array(responses))
            return super().fit(responses, labels, groups, subjects)

    found = Classification(Spy(), scheme="fixed_split", n_shuffles=99, prestimulus=False)
    result = found.of_trials(marked)["classification"]
    assert result["n_trials"] == (marks == "test").sum() == np.sum(result["confusion"])
    assert result["accuracy"] > 0.8
    assert result["p_value"] == pytest.approx(0.01)
    (trained,) = seen
    np.testing.assert_array_equal(trained, np.asarray(trials.responses)[marks == "train"])


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [
        ("fixed_split", "needs training and test trials, and there are 0 and 0"),
        ("stratified_k_fold", "fewer than the 100 folds"),
        ("leave_one_out", "is unknown; use leave_one_run_out"),
    ],
)
def test_schemes_that_the_trials_cannot_fill(rng, scheme, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        Classification(RIDGE, scheme=scheme, n_folds=100).of_trials(trials_of(rng))


def test_unbalanced_categories_are_told_and_scored_class_by_class(rng):
    trials = trials_of(rng, strength=0.0, n_classes=2, n_per_run=40)
    kinds = np.where(np.arange(len(trials)) % 8 == 0, "rare", "common")
    table = trials.table.assign(concept=kinds, stimulus=kinds)
    result = Classification(RIDGE, n_shuffles=20).of_trials(Trials(trials.responses, table, trials.info))
    result = result["classification"]
    assert result["unbalanced"]
    assert result["majority"] == pytest.approx(0.875)
    assert result["ci95_balanced_accuracy"][0] < 0.5 < result["ci95_balanced_accuracy"][1]
    assert result["p_value_balanced_accuracy"] > 0.05  # labels that nothing follows
    assert not Classification(RIDGE, n_shuffles=0).of_trials(trials_of(rng))["classification"]["unbalanced"]


def test_shuffles_are_what_the_decoder_can_afford(rng):
    trials = trials_of(rng, n_times=80, n_runs=2, n_per_run=20, n_classes=2)
    linear = Classification(RIDGE, prestimulus=False).of_trials(trials)
    deep = ContrastiveClassifier(n_epochs=1, n_outputs=4)
    found = Classification(deep, prestimulus=False).of_trials(trials)
    assert linear["controls"]["shuffled"]["n_refits"] == 199
    assert found["controls"]["shuffled"]["n_refits"] == 2
    assert "ci95" not in found["controls"]["shuffled"]  # two refits have no 95 %
    assert found["classification"]["p_method"].endswith("p is rather too large")


def test_further_decoders_stand_beside_it(rng):
    others = {"the same": RidgeClassifier()}
    same = Classification(RIDGE, n_shuffles=0, others=others).of_trials(trials_of(rng))
    own, other = same["classification"], same["controls"]["the same"]
    assert other["accuracy"] == own["accuracy"]
    assert other["difference_to_decoder"]["difference"] == 0


def fixed(rng, n_train=60, n_test=80, strength=1.0, validation=False):
    trials = trials_of(rng, n_runs=1, n_per_run=n_train + n_test, n_classes=2, strength=strength)
    split = np.where(np.arange(len(trials)) < n_train, "train", "test").astype(object)
    if validation:
        split[: n_train // 2] = "validation"
    return Trials(trials.responses, trials.table.assign(split=split), trials.info)


def test_a_fixed_split_has_intervals_of_its_trials(rng):
    """One cluster of all test trials had no width, and p its floor."""
    trials = fixed(rng, strength=0.4)
    others = {"two channels": TwoChannels()}
    found = Classification(
        RidgeClassifier(), scheme="fixed_split", n_shuffles=0, prestimulus=False, others=others
    ).of_trials(trials)
    own = found["classification"]
    low, high = own["ci95"]
    expected = beta.ppf([0.025, 0.975], own["accuracy"] * 80 + 0.5, 80 - own["accuracy"] * 80 + 0.5)
    assert (low, high) == pytest.approx(tuple(expected), abs=0.02)
    difference = found["controls"]["two channels"]["difference_to_decoder"]
    assert difference["ci95"][0] < difference["difference"] < difference["ci95"][1]


def test_all_of_ten_is_clopper_pearson(rng):
    found = Classification(
        RidgeClassifier(), scheme="fixed_split", n_shuffles=0, prestimulus=False
    ).of_trials(fixed(rng, n_test=10, strength=5.0))["classification"]
    assert found["accuracy"] == 1
    assert found["ci95"] == pytest.approx([0.6915, 1], abs=1e-3)
    assert found["ci95_balanced_accuracy"][0] < 0.72


def test_a_fixed_split_trains_on_validation_trials_too(rng):
    whole, marked = (
        Classification(RIDGE, scheme="fixed_split", n_shuffles=0, prestimulus=False).of_trials(
            fixed(np.random.default_rng(1), validation=validation)
        )["classification"]
        for validation in (False, True)
    )
    assert whole["accuracy"] == marked["accuracy"]
    assert whole["confusion"] == marked["confusion"]


class TwoChannels(RidgeClassifier):
    """Ridge that reads half of the channels."""

    def fit(self, responses, labels, groups, subjects):
        return super().fit(responses[:, :2], labels, groups, subjects)

    def scores(self, responses, subjects):
        return super().scores(responses[:, :2], subjects)


def test_people_with_one_label_exchange_it(rng):
    """Shuffled within people, who are left out one by one, nothing would change, and p would be 1."""
    trials = trials_of(rng, n_runs=1, n_per_run=8, n_subjects=12, n_classes=2)
    who = trials.table["subject"].astype(int).to_numpy() % 2
    responses = np.array(trials.responses)
    responses[:, 0] += np.where(who, 3, -3)[:, None]
    table = trials.table.assign(concept=np.where(who, "patient", "control"))
    found = Classification(
        RidgeClassifier(), scheme="leave_one_subject_out", prestimulus=False, n_shuffles=99
    ).of_trials(Trials(responses, table, trials.info))["classification"]
    assert found["accuracy"] > 0.9
    assert found["p_value"] <= 0.02


@pytest.mark.quality
@pytest.mark.parametrize(("n_runs", "n_per_run", "n_features"), [(8, 15, 10), (3, 20, 5)])
def test_cross_validated_noise_is_told_as_noise(n_runs, n_per_run, n_features):
    """Over 200 null data sets: p by refits is uniform, by exchanged test labels rather too large; intervals hold."""
    refits, exchanged, covered = [], [], 0
    for seed in range(200):
        trials = trials_of(
            np.random.default_rng(seed),
            n_times=n_features,
            n_runs=n_runs,
            n_per_run=n_per_run,
            n_classes=2,
            strength=0.0,
        )
        for n_shuffles, p_values in ((99, refits), (0, exchanged)):
            evaluation = Classification(
                RIDGE, prestimulus=False, n_shuffles=n_shuffles, n_permutations=199, seed=seed
            )
            found = evaluation.of_trials(trials)["classification"]
            p_values.append(found["p_value"])
            if n_shuffles:
                covered += found["ci95"][0] <= 0.5 <= found["ci95"][1]
    assert 0.92 <= covered / 200 <= 0.99
    for level in (0.05, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / 200)
        share = np.mean(np.array(refits) <= level)
        assert level - 3.3 * error <= share + 0.03
        assert share <= level + 3.3 * error
        assert np.mean(np.array(exchanged) <= level) <= level + 3.3 * error
