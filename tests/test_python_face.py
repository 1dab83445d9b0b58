"""Python in front: studies from what a notebook has, targets in any form, fits that keep nothing, scores as objects."""

import doctest
import importlib
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch import nn

import neurodec
from neurodec import (
    ATM,
    Features,
    LightningSystem,
    NeurodecError,
    Retrieval,
    RidgeSystem,
    Study,
    Trials,
    cross_validate,
    evaluate,
)
from neurodec.evaluation import Adaptation, Evaluation
from neurodec.features import as_targets
from neurodec.simulate.scenes import all_scenes, render
from neurodec.validation import Results

NAMES = [f"p{number:03d}" for number in range(60)]


class Flat(nn.Module):
    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, response):
        return self.layer(response.flatten(1))


def linear(seed=0, n=60, noise=1.0, signal=1.0):
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(n, 8))
    responses = signal * np.tensordot(targets, rng.normal(size=(8, 4, 20)), 1)
    return responses + noise * rng.normal(size=responses.shape), targets


@pytest.fixture
def study():
    responses, targets = linear()
    split = ["train"] * 40 + ["test"] * 20
    return Study.from_arrays(responses, NAMES, sfreq=100.0, split=split), targets


@pytest.mark.parametrize(
    "module",
    [
        "validation",
        "data.study",
        "data.trials",
        "encoders.atm",
        "encoders.neurobridge",
        "encoders.nice",
        "evaluation.classification.categories",
        "features.clip",
        "systems.ridge_system",
        "data.preprocessed",
        "features.table",
        "preprocessing.settings",
        "run.recipe.recipe_keys",
        "systems.lightning_system",
        "systems.embedding_decoder",
    ],
    ids=str,
)
def test_examples_of_docstrings_run(module):
    found = doctest.testmod(importlib.import_module(f"neurodec.{module}"))
    assert found.attempted
    assert not found.failed


@pytest.mark.quality
def test_every_folder_can_be_imported_first():
    folders = [path.parent.name for path in Path(neurodec.__file__).parent.glob("*/__init__.py")]
    assert len(folders) > 10
    for name in folders:
        done = subprocess.run(
            [sys.executable, "-c", f"import neurodec.{name}"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    for name in neurodec.__all__:
        assert getattr(neurodec, name) is not None


def test_epochs_with_pictures_in_a_folder(tmp_path, rng):
    scenes = list(all_scenes(False))[:4]
    (tmp_path / "below").mkdir()
    for name, scene in zip("abcd", scenes, strict=True):
        render(scene).save(tmp_path / f"below/{name}.png")
    info = mne.create_info(["Oz", "O1", "EOG"], 100.0, ["eeg", "eeg", "eog"])
    events = np.c_[np.arange(8) * 100, np.zeros(8, int), np.tile([1, 2, 3, 4], 2)]
    kinds = {"a": 1, "b": 2, "c": 3, "d": 4}
    data = rng.normal(size=(8, 3, 50))
    epochs = mne.EpochsArray(data, info, events, -0.1, kinds, verbose="error")
    made = Study.from_epochs(epochs, images=tmp_path, subject="anna", run=["1"] * 4 + ["2"] * 4)
    assert made.trials.table["stimulus"].tolist() == list("abcdabcd")
    assert made.trials.table["repetition"].tolist() == [0] * 4 + [1] * 4
    assert made.trials.table["run"].tolist() == ["1"] * 4 + ["2"] * 4
    np.testing.assert_array_equal(made.trials.responses, data[:, :2].astype(np.float32))
    assert made.trials.times[0] == -0.1
    embedded = as_targets(neurodec.OpenClip(model="neurodec/tiny-clip"), made.stimuli)["image"]
    assert embedded.values.shape == (4, 128)
    named = Study.from_epochs(epochs, list("wxyzwxyz"), concept="thing")
    assert named.trials.table["stimulus"].tolist() == list("wxyzwxyz")
    assert set(named.trials.table["concept"]) == {"thing"}
    with pytest.raises(NeurodecError, match=r"4 of 4 stimuli have no picture, first w \(pictures: none\)"):
        Study.from_epochs(epochs, list("wxyzwxyz"), images=tmp_path)
    with pytest.raises(NeurodecError, match="`run` has 3 values for 8 trials"):
        Study.from_epochs(epochs, run=["1", "2", "3"])
    epochs.metadata = pd.DataFrame({"concept": ["beast"] * 8, "stimulus": list("abababab")})
    people = Study.from_epochs(epochs, subject=["anna"] * 4 + ["ben"] * 4).trials.table
    assert people["repetition"].tolist() == [0, 0, 1, 1] * 2  # counted within people
    renamed = Study.from_epochs(epochs, list("wxyzwxyz")).trials.table
    assert renamed["stimulus"].tolist() == list("wxyzwxyz")
    assert set(renamed["concept"]) == {"beast"}  # of the metadata


def test_pictures_as_list_dict_series_and_table(tmp_path, rng):
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, scene in zip(files, list(all_scenes(False))[:2], strict=True):
        render(scene).save(file)
    responses, shown = rng.normal(size=(4, 9)), ["cat", "dog", "cat", "dog"]
    by_name = dict(zip(["cat", "dog"], files, strict=True))
    table = pd.DataFrame({"stimulus": ["dog", "cat"], "image": files[::-1]})
    for images in (by_name, pd.Series(by_name), table, [*files, *files]):
        made = Study.from_arrays(responses, shown, images=images)
        assert made.stimuli["image"].tolist() == [str(file.resolve()) for file in files]
    with pytest.raises(NeurodecError, match="The stimulus cat has two pictures"):
        Study.from_arrays(responses, shown, images=[files[0], files[1], files[1], files[1]])
    with pytest.raises(NeurodecError, match="2 pictures were given for 4 trials"):
        Study.from_arrays(responses, shown, images=files)
    with pytest.raises(NeurodecError, match="1 of 2 stimuli have no picture, first dog"):
        Study.from_arrays(responses, shown, images={"cat": files[0], "dog": tmp_path / "none.png"})


def test_images_of_voxels(tmp_path, rng):
    volumes = rng.normal(size=(3, 4, 5, 6))
    volumes[0] = 0
    image = nibabel.Nifti1Image(volumes, np.eye(4))
    made = Study.from_nifti(image, list("abcdef")).trials
    np.testing.assert_array_equal(made.responses, volumes[1:].reshape(-1, 6).T.astype(np.float32))
    inside = np.zeros((3, 4, 5), np.uint8)
    inside[2] = 1
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), tmp_path / "mask.nii.gz")
    nibabel.save(image, tmp_path / "betas.nii.gz")
    made = Study.from_nifti(tmp_path / "betas.nii.gz", list("abcdef"), mask=tmp_path / "mask.nii.gz").trials
    np.testing.assert_array_equal(made.responses, volumes[2].reshape(-1, 6).T.astype(np.float32))
    np.testing.assert_allclose(made.to_nifti().get_fdata()[2], volumes[2], rtol=1e-6)
    with pytest.raises(NeurodecError, match="3 dimensions; give a 4-D image"):
        Study.from_nifti(image.slicer[..., 0], ["a"])
    with pytest.raises(NeurodecError, match="lies on another grid"):
        Study.from_nifti(image, list("abcdef"), mask=nibabel.Nifti1Image(inside[:2], np.eye(4)))


def test_parcels_over_time_at_a_slow_rate(tmp_path):
    responses, targets = linear()
    axes = ("trial", "parcel", "time")
    made = Study.from_arrays(responses, NAMES, sfreq=1 / 0.72, dims=axes, modality="fmri")
    assert made.trials.dims == axes
    assert made.trials.times[1] == pytest.approx(0.72)
    found = cross_validate(RidgeSystem(), made, targets)
    assert found.sections["retrieval"]["p_value"] < 0.01
    made.trials.save(tmp_path / "kept")
    assert Trials.load(tmp_path / "kept").dims == axes
    assert LightningSystem(Flat, max_epochs=1).fit(made, targets).config["dims"] == list(axes)
    plain = Study.from_arrays(responses[..., 0], NAMES).trials
    assert plain.dims == ("trial", "voxel")
    with pytest.raises(
        NeurodecError, match=r"The axes are called trial, time, and the responses have the shape"
    ):
        Study.from_arrays(responses, NAMES, sfreq=1.0, dims=("trial", "time"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"responses": np.zeros((2, 3, 4, 5))}, r"shape \(2, 3, 4, 5\); give numbers as"),
        ({"responses": np.full((2, 3), np.nan)}, "hold NaN or infinity"),
        ({"responses": np.array([["a"], ["b"]])}, "array of <U1"),
        ({"responses": np.zeros((2, 3, 4))}, "need `sfreq`"),
        ({"responses": np.zeros((2, 3, 4)), "sfreq": 100, "ch_names": ["a"]}, "1 channel names were given"),
        ({"stimulus": ["a"]}, "`stimulus` has 1 values for 2 trials"),
        ({"stimulus": None}, "The stimuli are unknown; give `stimulus`"),
        ({"split": "exam"}, "has the split 'exam'"),
        ({"images": "nowhere"}, "nowhere is not a folder"),
    ],
)
def test_arrays_that_do_not_fit_are_told(change, sentence):
    given = {"responses": np.zeros((2, 3)), "stimulus": ["a", "b"], **change}
    with pytest.raises(NeurodecError, match=sentence):
        Study.from_arrays(given.pop("responses"), given.pop("stimulus"), **given)


def test_targets_in_every_form(study):
    study, targets = study
    table = pd.DataFrame(targets, index=NAMES)
    forms = [targets, table, table.sample(frac=1, random_state=0), {"image": Features.given(targets, NAMES)}]
    for form in forms:
        found = as_targets(form, study.stimuli)["image"]
        np.testing.assert_allclose(found.of(NAMES), targets, rtol=1e-6)
    assert as_targets(table[0], study.stimuli)["image"].values.shape == (60, 1)
    with pytest.raises(NeurodecError, match="The targets have 59 rows, and the study has 60 stimuli"):
        as_targets(targets[1:], study.stimuli)
    with pytest.raises(NeurodecError, match="1 of 60 stimuli have no target, first p059"):
        as_targets(table[:59], study.stimuli)
    with pytest.raises(NeurodecError, match="The stimulus p000 has several rows"):
        Features.given(targets[:2], ["p000", "p000"])


def test_evaluate_is_what_retrieval_finds(study):
    study, targets = study
    system = RidgeSystem().fit(study.part("train"), targets)
    found = evaluate(system, study, targets, Retrieval(n_permutations=200))
    z = system.predict(study.part("test")).of("image")
    centred = z - system.predict(study.part("train")).of("image").mean(axis=0)
    gallery = targets[40:] - targets[:40].mean(axis=0)
    cosine = (centred @ gallery.T) / np.outer(
        np.linalg.norm(centred, axis=1), np.linalg.norm(gallery, axis=1)
    )
    assert found.score == pytest.approx((cosine.argmax(axis=1) == np.arange(20)).mean())
    table = found.to_frame()
    assert table["name"].tolist() == ["RidgeSystem", "control: shuffled labels"]
    assert table["chance"].iloc[0] == 1 / 20
    assert "top1" in repr(found)
    assert "<table" in found._repr_html_()
    assert "<img src=" in found._repr_html_()
    assert found.figure().axes


@pytest.mark.parametrize("form", [Flat, partial(Flat), Flat(4, 20, 8), f"{__name__}.Flat"], ids=str)
def test_encoders_as_class_partial_instance_or_path(study, form, tmp_path):
    study, targets = study
    allow = {__name__.split(".")[0]}
    system = LightningSystem(form, max_epochs=4, allow=allow, data=None)
    assert system.fit(study.part("train"), targets) is system
    first = system.encoder.layer.weight.clone()
    system.fit(study.part("train"), targets)
    torch.testing.assert_close(system.encoder.layer.weight, first)  # seeded, and trained from the start again
    other = linear(seed=1)[0][:40]
    changed = Study.from_arrays(other, NAMES[:40], sfreq=100.0, split="train")
    assert not torch.equal(system.fit(changed, targets[:40]).encoder.layer.weight, first)
    found = evaluate(system, study, targets)
    assert found.name in ("Flat", "flat")
    assert set(found.to_frame()["kind"]) == {"decoder", "baseline", "control"}
    system.save_pretrained(tmp_path / "kept")
    if isinstance(form, nn.Module):
        with pytest.raises(NeurodecError, match="handed over as a finished network"):
            LightningSystem.from_pretrained(tmp_path / "kept", allow)
    else:
        again = LightningSystem.from_pretrained(tmp_path / "kept", allow)
        torch.testing.assert_close(again.encoder.layer.weight, system.encoder.layer.weight)


def test_nothing_is_written_without_a_name(study, tmp_path, monkeypatch):
    study, targets = study
    monkeypatch.chdir(tmp_path)
    RidgeSystem().fit(study.part("train"), targets)
    LightningSystem(Flat, max_epochs=1).fit(study.part("train"), targets)
    assert not list(tmp_path.iterdir())
    RidgeSystem().fit(study.part("train"), targets, out="named")
    with pytest.raises(NeurodecError, match="another configuration or to other trials"):
        RidgeSystem(n_folds=3).fit(study.part("train"), targets, out="named")


def test_results_without_a_leading_score_name_their_sections():
    points = [
        {"kind": "pictures", "size": 5, "decoder": "a", "top1": 0.5, "ci95": [0.4, 0.6], "chance_top1": 0.1}
    ]
    found = Results({"adaptation": {"points": points, "n_repeats": 2}}, "InContextSystem", Adaptation())
    assert np.isnan(found.score)
    assert found.to_frame().empty
    assert repr(found) == "<Results of InContextSystem: adaptation>"
    assert "adaptation" in found._repr_html_()


class Loudness(Evaluation):
    """An evaluation of one's own that says nothing of how it is shown."""

    needs_system = True

    def run(self, predictions, study, fitted):
        return {"loudness": {"mean": float(np.abs(fitted.system.predict(study).of("image")).mean())}}

    def results(self, runs):
        return runs[0]

    def save(self, run, folder):
        raise AssertionError("nothing is kept in Python")

    load = save


def test_an_evaluation_of_ones_own_is_shown_by_its_numbers(study):
    study, targets = study
    system = RidgeSystem().fit(study.part("train"), targets)
    found = neurodec.evaluate(system, study, targets, Loudness())
    value = found.sections["loudness"]["mean"]
    (table,) = found.shown.blocks
    assert table.lines == [("loudness mean", f"{value:g}")]
    assert f"{value:g}" in found._repr_html_()
    assert found.shown.title == "Loudness"


def test_a_decoder_of_a_fitted_system_draws_and_is_kept(tmp_path):
    scenes = list(all_scenes(False))[::40][:60]
    for name, scene in zip(NAMES, scenes, strict=False):
        render(scene).save(tmp_path / f"{name}.png")
    shown = {name: tmp_path / f"{name}.png" for name in NAMES[: len(scenes)]}
    rng = np.random.default_rng(0)
    responses = rng.normal(size=(len(scenes), 300))
    study = Study.from_arrays(responses, list(shown), images=shown, split="train")
    clip = neurodec.OpenClip(model="neurodec/tiny-clip", normalize=False).extract(study.stimuli, ".")
    system = RidgeSystem().fit(study, clip)
    decoder = neurodec.NeuralDecoder.of(system, study, clip, n_steps=2, prior_n_steps=2)
    (picture,) = decoder.decode(responses[:1].astype(np.float32), subject="01")
    decoder.save_pretrained(tmp_path / "kept")
    again = neurodec.NeuralDecoder.from_pretrained(tmp_path / "kept")
    (same,) = again.decode(responses[:1].astype(np.float32), subject="01")
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(same))
    with pytest.raises(NeurodecError, match="given"):
        neurodec.NeuralDecoder.of(system, study, Features.given(clip.values, clip.stimuli))


def test_parameters_and_clones():
    for system in (
        LightningSystem(Flat, max_epochs=3),
        RidgeSystem(n_folds=3),
        neurodec.InContextSystem(way="prior", inverse="bayes"),
    ):
        copy = clone(system)
        assert type(copy) is type(system)
        assert copy is not system
        assert set(copy.get_params()) == set(system.get_params())
    system = LightningSystem(Flat, max_epochs=3).set_params(max_epochs=7, seed=1)
    assert system.get_params()["max_epochs"] == 7
    with pytest.raises(NeurodecError, match="has no parameter depth"):
        system.set_params(depth=3)


def test_unfitted_systems_and_studies_without_test_trials_are_told(study):
    study, targets = study
    with pytest.raises(NeurodecError, match="RidgeSystem is not fitted"):
        evaluate(RidgeSystem(), study, targets)
    fitted = RidgeSystem().fit(study.part("train"), targets)
    with pytest.raises(NeurodecError, match="is not fitted"):
        evaluate(clone(fitted), study, targets)
    with pytest.raises(NeurodecError, match="take cross_validate"):
        evaluate(fitted, study.part("train"), targets)
    with pytest.raises(NeurodecError, match="Classification fits decoders of its own"):
        evaluate(fitted, study, targets, neurodec.Classification())
    with pytest.raises(NeurodecError, match="give a class"):
        LightningSystem(ATM.forward)
    with pytest.raises(NeurodecError, match="no column colour"):
        cross_validate(RidgeSystem(), study, targets, groups="colour")
    with pytest.raises(NeurodecError, match="60 groups cannot be drawn into 61 folds"):
        cross_validate(RidgeSystem(), study, targets, n_folds=61)


def test_cross_validation_tests_every_trial_once_and_leaves_the_system_alone():
    responses, targets = linear(noise=2.0)
    study = Study.from_arrays(responses, NAMES, sfreq=100.0)
    seen = []

    class Spy(RidgeSystem):
        def fit(self, study, targets, **more):
            seen.append(set(study.table["stimulus"]))
            return super().fit(study, targets, **more)

    system = Spy()
    found = cross_validate(system, study, targets, n_folds=4)
    assert not hasattr(system, "config")
    left_out = [set(fold["left_out"]) for fold in found.folds]
    assert set.union(*left_out) == set(NAMES)
    assert sum(map(len, left_out)) == 60
    assert all(not fitted & out for fitted, out in zip(seen, left_out, strict=True))
    assert len(found.fold_scores()) == 4
    assert found.score == pytest.approx(found.fold_scores()["score"].mean())  # folds of equal size
    assert found.to_frame()["chance"].iloc[0] == pytest.approx(1 / 15)
    assert found.sections["retrieval"]["p_value"] < 0.01
    again = cross_validate(Spy(), study, targets, n_folds=4)
    assert again.sections == found.sections


def test_people_left_out_share_their_candidates():
    responses, targets = linear(n=30)
    stacked = np.concatenate(
        [responses, responses + 0.5 * np.random.default_rng(1).normal(size=responses.shape)]
    )
    study = Study.from_arrays(stacked, NAMES[:30] * 2, sfreq=100.0, subject=["a"] * 30 + ["b"] * 30)
    with pytest.raises(NeurodecError, match="Training and test share"):
        cross_validate(RidgeSystem(), study, targets, groups="subject", n_folds=2)
    found = cross_validate(
        RidgeSystem(), study, targets, Retrieval(leakage="none"), groups="subject", n_folds=2
    )
    assert found.sections["retrieval"]["n_candidates"] == 30


@pytest.mark.quality
def test_cross_validated_noise_is_told_as_noise():
    """Over 100 null studies p is uniform or too large, and intervals hold chance."""
    p, covered = [], 0
    for seed in range(100):
        responses, targets = linear(seed, n=40, signal=0.0)
        study = Study.from_arrays(responses, NAMES[:40], sfreq=100.0)
        found = cross_validate(RidgeSystem(), study, targets, Retrieval(n_permutations=300), n_folds=4)
        section = found.sections["retrieval"]
        p.append(section["p_value"])
        covered += section["ci95_top1"][0] <= section["chance_top1"] <= section["ci95_top1"][1]
    assert covered >= 91
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 100)
    assert np.mean(np.array(p) <= 0.5) > 0.25


def test_what_a_notebook_shows_is_short(study):
    study, targets = study
    assert re.match(r"<Study: \d+ trials of 1 subject\(s\), \d+ stimuli\n  all: <Trials: ", repr(study))
    assert re.match(
        r"<Features: \d+ stimuli, \d+ values, \w+>", repr(as_targets(targets, study.stimuli)["image"])
    )
    tokens = Features.given(np.zeros((2, 3, 4)), ["a", "b"], "x")
    assert repr(tokens) == "<Features: 2 stimuli, 3 tokens x 4 values, x>"
    assert tokens.dims == ("stimulus", "token", "value")
    system = LightningSystem(Flat, max_epochs=3)
    assert repr(system).startswith("LightningSystem(encoder=<class '")
    assert "max_epochs=3" in repr(system)
    assert len(repr(RidgeSystem())) < 600
