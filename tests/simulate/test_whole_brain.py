"""People in one space with planted networks: layout, what every network holds, what agrees at rest, resumption."""

import hashlib

import nibabel
import numpy as np
import pandas as pd
import pytest

from neurodec.cli import main
from neurodec.data.readers.atlases import Atlas
from neurodec.data.readers.bids_fmri import BidsFMRI
from neurodec.errors import NeurodecError
from neurodec.simulate import command_of, fmri_recording, simulate, whole_brain
from neurodec.simulate.rendered_stimuli import draw_study
from neurodec.simulate.sources import AREAS
from neurodec.simulate.whole_brain import EMPTY, NETWORKS, Parcellation

TINY = {"n_subjects": 2, "n_train_concepts": 16, "images_per_concept": 2, "n_test_concepts": 5}
TINY |= {"gallery_per_concept": 1, "train_repetitions": 1, "test_repetitions": 2, "n_rest": 1}


def hashes(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("simulated") / "whole_brain", "whole_brain", **TINY)


@pytest.fixture(scope="module")
def parcellation():
    return Parcellation.of_head()


@pytest.fixture(scope="module")
def study():
    return draw_study((16, 2, 5, 0), seed=0)


def of_parcels(values, parcellation):
    """Return the mean of every parcel (n, n_parcels)."""
    labels = parcellation.table["index"]
    return np.stack([values[:, parcellation.labels == label].mean(axis=1) for label in labels], axis=1)


def between(found, networks, name):
    """Return the mean correlation of a network's parcels with each other, and with those of other networks."""
    corr, own = np.corrcoef(found.T), networks == name
    within = corr[np.ix_(own, own)][~np.eye(own.sum(), dtype=bool)]
    return within.mean(), corr[np.ix_(own, ~own)].mean()


def test_layout(folder, parcellation):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    runs = ["task-images_run-01", "task-images_run-02", "task-rest_run-01"]
    own = [f"{run}_bold.nii.gz" for run in runs] + [f"{run}_events.tsv" for run in runs[:2]]
    expected = {f"sub-{n:02d}/func/sub-{n:02d}_{name}" for n in (1, 2) for name in own}
    expected |= {f"sub-{n:02d}/func/sub-{n:02d}_desc-brain_mask.nii.gz" for n in (1, 2)}
    expected |= {"atlas/parcels_dseg.nii.gz", "atlas/parcels_dseg.tsv", "stimuli.csv", "simulation.json"}
    expected |= {"dataset_description.json", "task-images_bold.json", "task-rest_bold.json"}
    assert {name for name in names if not name.startswith("image_set/")} == expected
    masks = [nibabel.load(path) for path in sorted(folder.glob("sub-*/func/*_mask.nii.gz"))]
    np.testing.assert_array_equal(masks[0].get_fdata(), masks[1].get_fdata())
    rest = nibabel.load(folder / "sub-01/func/sub-01_task-rest_run-01_bold.nii.gz")
    assert rest.shape == (*parcellation.mask.shape, 200)
    np.testing.assert_allclose(rest.header.get_zooms(), (6, 6, 6, 1.6), atol=1e-6)
    assert rest.get_fdata()[parcellation.mask].mean() == pytest.approx(fmri_recording.BASELINE, rel=0.01)


def test_training_and_test_pictures_have_runs_of_their_own(folder):
    splits = pd.read_csv(folder / "stimuli.csv").set_index("stimulus")["split"]
    shown = [pd.read_csv(file, sep="\t")["stim_file"] for file in sorted(folder.glob("sub-01/func/*.tsv"))]
    assert [set(splits[names]) for names in shown] == [{"train"}, {"test"}]
    assert sorted(shown[0]) == sorted(splits.index[splits == "train"])
    assert shown[1].value_counts().tolist() == [2] * 5
    assert set(shown[1][:5]) == set(shown[1][5:])
    other = pd.read_csv(folder / "sub-02/func/sub-02_task-images_run-01_events.tsv", sep="\t")["stim_file"]
    assert other.tolist() != shown[0].tolist()


def test_runs_are_balanced():
    sizes = [len(rows) for rows in whole_brain._order((600, 50), (1, 4), np.random.default_rng(0))]
    assert sizes == [60] * 10 + [50] * 4


def test_the_atlas_covers_the_mask_and_names_all_networks(folder):
    image = nibabel.load(folder / "atlas/parcels_dseg.nii.gz")
    mask = nibabel.load(folder / "sub-02/func/sub-02_desc-brain_mask.nii.gz")
    labels = np.asarray(image.dataobj)
    np.testing.assert_array_equal(labels > 0, mask.get_fdata() > 0)
    np.testing.assert_array_equal(image.affine, mask.affine)
    np.testing.assert_array_equal(labels > 0, (labels > 0)[::-1])
    table = pd.read_csv(folder / "atlas/parcels_dseg.tsv", sep="\t")
    assert list(table) == ["index", "name", "network"]
    assert table["index"].tolist() == list(range(1, 101)) == np.unique(labels)[1:].tolist()
    assert table["name"].is_unique
    assert table["name"][0] == "Vis-01"
    assert table["network"].drop_duplicates().tolist() == list(NETWORKS)
    assert table["network"].value_counts().min() >= 6
    assert np.bincount(labels[labels > 0])[1:].min() >= 20
    heights = [np.argwhere(labels == label)[:, 1].mean() for label in table["index"]]
    assert table["network"][np.argsort(heights)[:8]].eq("Vis").all()  # the back of the head


def test_networks_answer_to_what_was_planted(study, parcellation):
    found = of_parcels(whole_brain.patterns(study, parcellation, 1, seed=0), parcellation)
    networks = parcellation.table["network"].to_numpy()
    deviation = {name: found.std(axis=0)[networks == name] for name in NETWORKS}
    mean = {name: found.mean(axis=0)[networks == name] for name in NETWORKS}
    assert deviation["Vis"].min() > 6
    assert deviation["Default"].min() > 6
    assert 0.2 < deviation["DorsAttn"].mean() / deviation["Vis"].mean() < 0.45
    for name in ("SomMot", "SalVentAttn", "Limbic", "Cont"):
        np.testing.assert_allclose(deviation[name], 0, atol=1e-5)
    np.testing.assert_allclose(mean["SomMot"], whole_brain.MEAN["SomMot"], rtol=1e-5)
    assert not found[:, networks == EMPTY].any()


def test_the_default_network_holds_what_visual_parcels_do_not(parcellation):
    """Embedding axes are told from the default network; of visual parcels a part remains untold."""
    study = draw_study((60, 2, 5, 0), seed=0)
    found = of_parcels(whole_brain.patterns(study, parcellation, 1, seed=0), parcellation)
    networks = parcellation.table["network"].to_numpy()
    visual, default = (
        found[:, networks == name] - found[:, networks == name].mean(0) for name in ("Vis", "Default")
    )
    rest = default - visual @ np.linalg.lstsq(visual, default, rcond=None)[0]
    assert 0.2 < (rest**2).sum() / (default**2).sum() < 0.9


def test_parcels_of_different_people_answer_alike(study, parcellation):
    driven = parcellation.table["network"].isin(["Vis", "Default"]).to_numpy()
    first, second = (
        of_parcels(whole_brain.patterns(study, parcellation, subject, seed=0), parcellation)[:, driven]
        for subject in (1, 2)
    )
    alike = [np.corrcoef(*pair)[0, 1] for pair in zip(first.T, second.T, strict=True)]
    assert 0.7 < np.mean(alike) < 0.98


def test_parcels_of_a_network_agree_at_rest(folder, parcellation):
    image = nibabel.load(folder / "sub-01/func/sub-01_task-rest_run-01_bold.nii.gz")
    series = of_parcels(np.asarray(image.dataobj)[parcellation.mask].T.astype(float), parcellation)
    networks = parcellation.table["network"].to_numpy()
    for name in NETWORKS:
        within, others = between(series, networks, name)
        assert abs(others) < 0.15
        if name == EMPTY:
            assert abs(within) < 0.15
        else:
            assert within > 0.25


def test_the_empty_network_knows_nothing_of_its_neighbours(parcellation):
    """Noise is smooth, so that voxels side by side agree; not so where one of them is in the empty network."""
    series = whole_brain.background(parcellation, 200, np.random.default_rng(0))
    volume = np.zeros((*parcellation.mask.shape, 199))
    volume[parcellation.mask] = np.diff(series, axis=0).T  # without drift
    empty = np.zeros(parcellation.mask.shape, dtype=bool)
    empty[parcellation.mask] = parcellation.voxels(EMPTY)
    lower, upper = volume[:, :, :-1], volume[:, :, 1:]
    norms = np.linalg.norm(lower, axis=3) * np.linalg.norm(upper, axis=3)
    alike = (lower * upper).sum(axis=3) / np.maximum(norms, 1e-9)
    both = parcellation.mask[:, :, :-1] & parcellation.mask[:, :, 1:]
    border = empty[:, :, :-1] != empty[:, :, 1:]
    assert (both & border).sum() > 50
    assert abs(alike[both & border].mean()) < 0.03
    assert alike[both & ~border].mean() > 0.3


def test_the_reader_takes_parcels_of_pictures_and_rest(folder):
    atlas = Atlas("atlas/parcels_dseg.nii.gz")
    reader = BidsFMRI(tasks=["images"], stimuli_table="stimuli.csv", atlas=atlas)
    trials = reader.load(reader.parts(folder)[0], folder)
    assert trials.responses.shape == (32, 100)
    assert list(trials.info["roi"]) == list(NETWORKS)
    reader = BidsFMRI(tasks=["rest"], estimate="windows", atlas=atlas)
    parts = reader.parts(folder)
    assert len(parts) == 2
    assert reader.load(parts[0], folder).responses.shape == (196, 100, 5)


def test_same_seed_same_bits_also_after_an_interruption(folder, tmp_path):
    again = simulate(tmp_path / "again", "whole_brain", **TINY)
    before = hashes(again)
    assert before == hashes(folder)
    func = again / "sub-02" / "func"
    (func / "sub-02_task-images_run-02_bold.nii.gz").unlink()
    (func / "sub-02_task-rest_run-01_bold.nii.gz").unlink()
    (func / "sub-02_desc-brain_mask.nii.gz").unlink()
    (again / "atlas/parcels_dseg.tsv").unlink()
    (again / "atlas" / ".1.partial.x").write_text("left by a killed run")
    kept = (func / "sub-02_task-images_run-01_bold.nii.gz").stat().st_mtime_ns
    simulate(again, "whole_brain", **TINY)
    assert hashes(again) == before
    assert (func / "sub-02_task-images_run-01_bold.nii.gz").stat().st_mtime_ns == kept


def test_sizes_and_their_refusals(folder, tmp_path):
    assert command_of(folder).startswith("neurodec simulate whole_brain --data-root DIR --n_subjects 2 ")
    assert "--n_rest" not in command_of(folder)
    with pytest.raises(NeurodecError, match="n_rest is not a size of a simulation of fmri"):
        simulate(tmp_path / "new", "fmri", n_rest=1)
    with pytest.raises(NeurodecError, match="at least one of n_subjects"):
        simulate(tmp_path / "new", "whole_brain", n_subjects=0)
    assert not (tmp_path / "new").exists()


def test_without_rest_there_is_no_run_of_it(tmp_path, capsys):
    options = [
        word
        for name, count in {**TINY, "n_subjects": 1, "n_rest": 0}.items()
        for word in (f"--{name}", str(count))
    ]
    root = tmp_path / "sim"
    assert main(["simulate", "whole_brain", "--data-root", str(root), *options]) == 0
    assert f"neurodec run wave/simulated --data-root {root} --out {root}-wave" in capsys.readouterr().out
    assert not list(root.rglob("*rest*"))
    assert len(list(root.rglob("*_bold.nii.gz"))) == 2


def test_fmri_is_as_before(tmp_path):
    """What README and benchmarks show: numbers drawn before the whole brain was."""
    root = tmp_path / "fmri"
    sizes = {name: count for name, count in TINY.items() if name != "n_rest"}
    simulate(root, "fmri", **sizes)
    brain = fmri_recording.Brain.draw(np.random.default_rng([0, 2002]), fmri_recording.head_size(2, 0))
    assert brain.mask.shape == (29, 33, 20)
    assert [len(voxels) for voxels, _ in brain.weights] == [110, 94, 124, 116, 120, 72]
    events = pd.read_csv(root / "sub-02/func/sub-02_task-images_run-01_events.tsv", sep="\t")
    np.testing.assert_allclose(events["onset"][:3], [5.002, 9.292, 13.006])
    assert events["stim_file"][0] == "small_black_tree_middle_checks_01"
    noise = fmri_recording.scanner_noise(brain.mask, 20, np.random.default_rng(0))
    np.testing.assert_allclose(
        noise[[0, 7, 19], [0, 100, 2000]], [12.450768, -26.275452, 8.888947], rtol=1e-3
    )
    assert (root / "desc-areas_dseg.tsv").read_text().split()[2:] == [
        word for number, area in enumerate(AREAS, start=1) for word in (str(number), area.name)
    ]
