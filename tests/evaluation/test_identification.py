"""Who a half of a recording is of: halves apart, plain connectivity, exchanges by hand, null data, real people."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from torch import nn

from neurodec import LightningSystem, Study, Trials, cross_validate, evaluate, prepare
from neurodec.data import ParcelSeries
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.evaluation import PersonIdentification, identification
from neurodec.evaluation.identification import IdentificationRun, marks_of
from neurodec.evaluation.recording_halves import connectivity_of, halves_of, standardised
from neurodec.evaluation.section import Fitted
from neurodec.systems.inspected import Inspected

PARCELS = Path(__file__).resolve().parents[3] / "shared/data/hcp-parcels"
N_PARCELS, N_VOLUMES = 6, 5


class Encoder(nn.Module):
    """What a person's parcels have in common on average, of what is not hidden."""

    def __init__(self):
        super().__init__()
        self.n_rows = []

    def states(self, response):
        self.n_rows.append(len(response))
        seen = response[..., :-1]
        return (seen[:, :, None] * seen[:, None]).mean(dim=-1).flatten(1).double()


class Silent(nn.Module):
    pass


class System(Inspected):
    head = "parcels"

    def __init__(self, encoder):
        self.encoder, self.config = encoder, {"space": "all"}

    def get_params(self):
        return {"encoder": self.encoder}

    def predict(self, study):
        return Predictions({}, study.table)

    def project(self, name, values):
        return values


def series(seed, n_times):
    """A person's own connectivity."""
    mixing = np.random.default_rng(seed).normal(size=(N_PARCELS, N_PARCELS))
    return mixing @ np.random.default_rng(100 + seed).normal(size=(N_PARCELS, n_times))


def study_of(root, people="abcde", held_out=("d", "e"), n_times=240, **settings):
    root.mkdir(exist_ok=True)
    for number, who in enumerate(people):
        np.save(root / f"{who}.npy", series(number, n_times))
    reader = ParcelSeries("{subject}.npy", 2.0, held_out=list(held_out), n_volumes=N_VOLUMES, **settings)
    return Study.load(prepare(reader, root, root / "prepared", "subject"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("people") / "root")


def run_of(similarities, tested, space="all", names=None):
    names = names or [f"person {number}" for number in range(len(tested))]
    people = pd.DataFrame({"subject": names, "space": space, "tested": tested})
    return IdentificationRun(people, {"network": np.array(similarities, dtype=float)})


def null_folds(seed, n_people, per_fold, *, shared):
    """Halves that say nothing of whom they are of; all folds see the same ones, or those of another network each."""
    rng = np.random.default_rng(seed)
    runs, first = [], rng.normal(size=(n_people, n_people))
    for start in range(0, n_people, per_fold):
        tested = (np.arange(n_people) // per_fold == start // per_fold).astype(int)
        runs.append(run_of(first if shared else rng.normal(size=first.shape), tested))
    return runs


def test_halves_share_no_volume(study):
    trials = study.part("test").trials
    onset = trials.table["onset"].to_numpy() / 2.0
    for early, late in halves_of(trials).values():
        volumes = [
            {int(first) + step for first in onset[rows] for step in range(N_VOLUMES)}
            for rows in (early, late)
        ]
        assert volumes[0] == set(range(120))
        assert volumes[1] == set(range(120, 240))


def test_every_recording_has_a_middle_of_its_own(study):
    """Two runs of unequal length: a window is of the half of its run, whatever the clock says."""
    trials = study.part(subjects=["a"]).trials.select(slice(0, 60))
    run = np.where(np.arange(60) < 20, "1", "2")
    early, late = halves_of(Trials(trials.responses, trials.table.assign(run=run), trials.info))["a"]
    assert early.tolist() == [*range(8), *range(20, 38)]
    assert late.tolist() == [*range(12, 20), *range(42, 60)]


def test_connectivity_is_the_correlation_of_volumes(study):
    trials = study.part(subjects=["b"]).trials
    early, _ = halves_of(trials)["b"]
    volumes = np.asarray(trials.responses)[early][..., -1]
    plain = np.corrcoef(volumes.T)[np.triu_indices(N_PARCELS, 1)]
    np.testing.assert_allclose(connectivity_of(trials.select(early)), plain, atol=1e-6)
    silent = np.array(trials.responses)
    silent[:, 2] = 0.3
    found = connectivity_of(Trials(silent, trials.table, trials.info).select(early))
    names = list(zip(*np.triu_indices(N_PARCELS, 1), strict=True))
    assert all((value == 0) == (2 in pair) for value, pair in zip(found, names, strict=True))


def test_three_people_by_hand():
    """Second halves in rows. Of 0 both halves are found, of 1 the second only, of 2 none."""
    similarities = [[0.9, 0.1, 0.2], [0.0, 0.5, 0.4], [0.1, 0.6, 0.3]]
    by_row, by_column = marks_of(np.array(similarities))
    assert by_row.argmax(axis=1).tolist() == [0, 1, 1]
    assert by_column.argmax(axis=0).tolist() == [0, 2, 1]
    found = PersonIdentification().results([run_of(similarities, [1, 1, 1])])["identification"]
    marks = by_row + by_column
    hits = [sum(marks[half, who] for who, half in enumerate(order)) for order in permutations(range(3))]
    assert hits[0] == 3
    assert found["share"] == pytest.approx(0.5)
    assert found["network"]["p_value"] == pytest.approx(np.mean([own >= 3 for own in hits]))
    assert found["network"]["p_method"] == "all 6 exchanges of people"
    assert {who: own["network"] for who, own in found["per_subject"].items()} == {
        "person 0": 1.0,
        "person 1": 0.5,
        "person 2": 0.0,
    }
    assert (found["n_queries"], found["n_candidates"], found["chance"]) == (6, 3, pytest.approx(1 / 3))
    drawn = PersonIdentification(n_permutations=5)  # fewer than there are
    assert (
        "5 exchanges"
        in drawn.results([run_of(similarities, [1, 1, 1])])["identification"]["network"]["p_method"]
    )


def test_ties_share_a_hit():
    found = PersonIdentification().results([run_of(np.ones((4, 4)), [1, 1, 0, 0])])["identification"]
    assert found["share"] == pytest.approx(0.25)
    assert found["network"]["p_value"] == 1


def test_folds_of_the_same_people_are_exchanged_together():
    """Leaving one of four out: nothing but the true order gives 8 of 8, so p is 1 / 24, not 1 / 24 to the fourth."""
    runs = [run_of(np.eye(4), np.eye(4, dtype=int)[number]) for number in range(4)]
    found = PersonIdentification().results(runs)["identification"]
    assert found["share"] == 1
    assert found["network"]["p_value"] == pytest.approx(1 / 24)
    turned = [3, 1, 0, 2]  # another order of rows changes nothing
    names = [f"person {number}" for number in turned]
    runs[2] = run_of(np.eye(4), [int(number == 2) for number in turned], names=names)
    assert PersonIdentification().results(runs)["identification"]["network"]["p_value"] == pytest.approx(
        1 / 24
    )


def test_a_network_beside_connectivity(study, tmp_path):
    evaluation = PersonIdentification()
    evaluation.check(study)
    system = System(Encoder())
    found = evaluate(system, study, {}, evaluation, name="net")
    told = found.sections["identification"]
    assert (told["n_people"], told["n_queries"], told["n_candidates"]) == (2, 4, 5)
    assert told["network"]["share"] == told["connectivity"]["share"] == found.score == 1
    assert told["connectivity"]["p_value"] < 0.1
    against = told["network_minus_connectivity"]
    assert (against["difference"], against["ci95"], against["p_value"]) == (
        0,
        [-1, 1],
        1,
    )  # two people tell little
    assert found.to_frame()["kind"].tolist() == ["decoder", "baseline"]
    assert "not seen the tested people" in found.shown.blocks[0].text
    assert found.shown.strong == "net identifies the person in 100.0 %."
    fitted = Fitted("net", system, study.part("train"), {})
    run = evaluation.run({}, study.part("test"), fitted)
    evaluation.save(run, tmp_path / "fold")
    assert evaluation.results([evaluation.load(tmp_path / "fold")])["identification"] == told
    (tmp_path / "fold" / "people.csv").write_text("subject,space,tested\na,all,1\n")
    with pytest.raises(NeurodecError, match="damaged"):
        evaluation.load(tmp_path / "fold")


def test_what_all_people_share_identifies_nobody(study):
    """A large common vector leaves the order as it was, since the mean of a half is taken off."""

    class Shifted(Encoder):
        def states(self, response):
            return super().states(response) + 1e3 * torch.arange(N_PARCELS**2, device=response.device)

    shares = [
        evaluate(System(encoder), study, {}, PersonIdentification()).score
        for encoder in (Encoder(), Shifted())
    ]
    assert shares == [1, 1]


def test_without_states_connectivity_stands_alone(study):
    found = evaluate(System(Silent()), study, {}, PersonIdentification())
    told = found.sections["identification"]
    assert "network" not in told
    assert "share" not in told
    assert "`states`" in told["note"]
    assert np.isnan(found.score)
    assert "functional connectivity" in found.shown.blocks[2].lines[0]


def test_windows_are_summarised_in_blocks(study):
    encoder = Encoder()
    trials = study.trials
    found = System(encoder).summaries(trials, "all")
    assert encoder.n_rows == [512, 512, len(trials) - 1024]
    assert found.dtype == np.float32
    one = System(encoder).summaries(trials.select([700]), "all")
    np.testing.assert_allclose(found[[700]], one, rtol=1e-5)


def test_a_trained_network_is_cross_validated(tmp_path):
    study = study_of(tmp_path / "root", "abcd", (), 120)
    sizes = {"width": 16, "depth": 1, "n_heads": 2}
    system = LightningSystem(
        {"class_path": "neurodec.encoders.WAVEPretraining", "init_args": sizes},
        {"class_path": "neurodec.training.HiddenVolumeObjective"},
        max_epochs=1,
    )
    found = cross_validate(system, study, {}, PersonIdentification(), groups="subject", n_folds=4)
    told = found.sections["identification"]
    assert (told["n_people"], told["n_queries"], told["n_candidates"], told["chance"]) == (4, 8, 4, 0.25)
    assert told["connectivity"]["share"] == 1
    assert told["connectivity"]["p_value"] == pytest.approx(1 / 24)
    assert 0 <= told["network"]["share"] <= 1
    assert len(found.folds) == 4


def test_people_are_sought_among_those_with_the_same_parcels():
    blocks = np.full((5, 5), -np.inf)
    blocks[:2, :2], blocks[2:, 2:] = np.eye(2), np.eye(3)
    run = run_of(blocks, [1, 0, 1, 1, 0], ["x", "x", "y", "y", "y"])
    found = PersonIdentification(n_permutations=3000).results([run])["identification"]
    assert found["share"] == 1
    assert found["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 3) / 3)
    assert found["n_candidates"] == pytest.approx(8 / 3)
    assert found["network"]["p_value"] == pytest.approx(
        1 / 12, abs=0.02
    )  # both of one space, both tested of the other


def test_what_cannot_be_halved_is_refused(study, tmp_path, rng):
    check = PersonIdentification().check
    with pytest.raises(
        NeurodecError, match=r"3 or more parcels over time, and trials have the shape \(20,\)"
    ):
        check(Study.from_arrays(rng.normal(size=(4, 20)), list("abcd")))
    dims = ["trial", "parcel", "time"]
    plain = Study.from_arrays(rng.normal(size=(4, 6, 5)), list("abcd"), sfreq=0.5, modality="fmri", dims=dims)
    with pytest.raises(NeurodecError, match="column `onset`"):
        check(plain)
    with pytest.raises(NeurodecError, match=r"chooses between people, and all has 1 \(a\)"):
        check(study.part(subjects=["a"]))
    short = study_of(tmp_path / "short", n_times=11)
    with pytest.raises(NeurodecError, match="Subject a has 1 and 1 windows in the halves"):
        check(short)
    with pytest.raises(NeurodecError, match="chooses between people"):
        PersonIdentification().run(
            {}, study.part(subjects=["a"]), Fitted("net", System(Encoder()), Study({}, study.stimuli), {})
        )
    with pytest.raises(NeurodecError, match="`n_permutations` is 0"):
        PersonIdentification(n_permutations=0)


class Moments(Encoder):
    """Means and squares of parcels, of which z-scored series have the same on the whole."""

    def states(self, response):
        seen = response[..., :-1].mean(dim=-1)
        return torch.cat([seen, seen.square()], dim=1)


def strangers(seed, n_people=6, n_times=80):
    """People who have nothing of their own, as they are read: z-scored over their recordings."""
    rng = np.random.default_rng(seed)
    people = []
    for who in range(n_people):
        values = rng.normal(size=(N_PARCELS, n_times)).cumsum(axis=1)  # slow
        values = values - values.mean(axis=1, keepdims=True)
        values /= values.std(axis=1, keepdims=True)
        starts = np.arange(n_times - N_VOLUMES + 1)
        windows = np.stack([values[:, start : start + N_VOLUMES] for start in starts])
        people.append((windows, [f"person {who}"] * len(starts), starts * 2.0))
    responses, who, onset = (np.concatenate(column) for column in zip(*people, strict=True))
    dims = ["trial", "parcel", "time"]
    about = {"sfreq": 0.5, "modality": "fmri", "dims": dims, "subject": who.tolist(), "onset": onset.tolist()}
    return Study.from_arrays(responses.astype(np.float32), who.tolist(), **about)


def found_of_strangers(seed):
    study = strangers(seed)
    fitted = Fitted("net", System(Moments()), Study({}, study.stimuli), {})
    run = PersonIdentification().run({}, study, fitted)
    return PersonIdentification(n_permutations=720).results([run])["identification"]


def test_a_half_is_z_scored_by_recording(study):
    trials = study.part(subjects=["a"]).trials.select(slice(0, 60))
    run = np.repeat(["1", "2"], 30)
    responses = np.array(trials.responses)
    responses[:, 3] = 0.1
    half = standardised(Trials(responses, trials.table.assign(run=run), trials.info))
    for rows in (slice(0, 30), slice(30, 60)):
        own = half.responses[rows]
        np.testing.assert_allclose(own.mean(axis=(0, 2)), 0, atol=1e-6)
        np.testing.assert_allclose(own.std(axis=(0, 2)), [1, 1, 1, 0, 1, 1], atol=1e-5)


def test_z_scored_recordings_do_not_set_their_halves_apart(monkeypatch):
    """Of strangers a sixth is found; halves that are not z-scored anew have opposite means, and next to none is."""
    anew = np.mean([found_of_strangers(seed)["network"]["share"] for seed in range(30)])
    monkeypatch.setattr(identification, "standardised", lambda half: half)
    plain = np.mean([found_of_strangers(seed)["network"]["share"] for seed in range(30)])
    assert plain < 0.05 < 0.11 < anew < 0.23


@pytest.mark.quality
def test_p_of_recorded_strangers_is_not_small():
    """300 data sets, from windows to p; slow series go on over the middle, which the network may tell a little of."""
    found = [found_of_strangers(seed) for seed in range(300)]
    for way in ("network", "connectivity"):
        p_values = np.array([own[way]["p_value"] for own in found])
        share = np.mean([own[way]["share"] for own in found])
        print(way, "share", share, [float((p_values <= level).mean()) for level in (0.05, 0.2, 0.5)])
        for level in (0.05, 0.2, 0.5):
            assert (p_values <= level).sum() <= binom.isf(1e-3, 300, level)


@pytest.mark.parametrize("shared", [True, False])
def test_p_of_strangers_is_not_small(shared):
    _require_conservative(60, 6, 1, shared)


@pytest.mark.quality
@pytest.mark.parametrize("shared", [True, False], ids=["one matrix", "a network per fold"])
@pytest.mark.parametrize(("n_people", "per_fold"), [(4, 1), (6, 1), (12, 3), (30, 6)])
def test_p_of_nothing_is_not_small(n_people, per_fold, shared):
    """400 null data sets per design; the interval holds chance."""
    _require_conservative(400, n_people, per_fold, shared)


def _require_conservative(n_sets, n_people, per_fold, shared):
    evaluation, p_values, held = PersonIdentification(n_permutations=999), [], 0
    for seed in range(n_sets):
        found = evaluation.results(null_folds(seed, n_people, per_fold, shared=shared))["identification"][
            "network"
        ]
        p_values.append(found["p_value"])
        held += found["ci95"][0] <= 1 / n_people <= found["ci95"][1]
    shares = {level: float(np.mean(np.array(p_values) <= level)) for level in (0.05, 0.2, 0.5)}
    print(n_people, per_fold, shared, shares, "interval", held / n_sets)
    for level, share in shares.items():
        assert share * n_sets <= binom.isf(1e-3, n_sets, level)
    assert held / n_sets >= 0.9


@pytest.mark.skipif(not PARCELS.is_dir(), reason="the resting recordings are not beside the project")
def test_four_people_at_rest(tmp_path):
    study = Study.load(
        prepare(ParcelSeries("sub-{subject}/*.mat", 0.72, "tc"), PARCELS, tmp_path / "p", "subject")
    )
    tested = study.part(subjects=study.subjects[:1])
    others = study.part(subjects=study.subjects[1:])
    run = PersonIdentification().run({}, tested, Fitted("net", System(Silent()), others, {}))
    first, second = (marks.diagonal() for marks in marks_of(run.similarities["connectivity"]))
    print(np.round(run.similarities["connectivity"], 2), first, second)
    assert first.mean() == second.mean() == 1
