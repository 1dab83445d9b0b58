"""Parcels of BIDS fMRI, against nilearn's maskers as they are."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

from neurodec.data import Atlas, BidsFMRI, Study, prepare
from neurodec.errors import NeurodecError
from neurodec.preprocessing.parcellation import Parcels, grid_labels

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (6, 5, 4)
N_VOLUMES = 40


def image(values, affine=AFFINE):
    return nibabel.Nifti1Image(values, affine)


@pytest.fixture
def root(tmp_path, rng):
    """One person: two runs with events, one at rest, a mask with a hole."""
    mask = np.ones(SHAPE, np.uint8)
    mask[0, 0] = 0
    nibabel.save(image(mask), tmp_path / "sub-01_desc-brain_mask.nii.gz")
    for task in ("view", "rest"):
        series = rng.normal(1000, 10, (*SHAPE, N_VOLUMES)).astype(np.float32)
        nibabel.save(image(series), tmp_path / f"sub-01_task-{task}_bold.nii.gz")
    (tmp_path / "task-view_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    (tmp_path / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    events = pd.DataFrame({"onset": [4.0, 20.0, 40.0], "duration": 2.0, "trial_type": ["cat", "dog", "cat"]})
    events.to_csv(tmp_path / "sub-01_task-view_events.tsv", sep="\t", index=False)
    return tmp_path


def write_labels(root, values, name="atlas_dseg", affine=AFFINE, table=None):
    nibabel.save(image(values.astype(np.int16), affine), root / f"{name}.nii.gz")
    if table is not None:
        pd.DataFrame(table).to_csv(root / f"{name}.tsv", sep="\t", index=False)


def halves():
    labels = np.zeros(SHAPE, int)
    labels[:3], labels[3:, :3], labels[3:, 3:] = 7, 2, 4
    return labels


def three_parcels():
    return {"index": [2, 4, 7], "name": ["b", "c", "a"], "network": ["Vis", "Default", "Vis"]}


def read(root, task="view", **changes):
    settings = {"tasks": [task], "estimate": "volumes", "hrf_shift": 4.0, "n_volumes": 3, "detrend": False}
    reader = BidsFMRI(**{**settings, **changes})
    return reader.load(reader.parts(root)[0], root)


def series_of(root, masker):
    masker.set_params(mask_img=str(root / "sub-01_desc-brain_mask.nii.gz"), standardize="zscore_sample")
    return masker.fit_transform(str(root / "sub-01_task-view_bold.nii.gz"))


def test_labels_are_those_of_nilearn(root):
    write_labels(root, halves(), table=three_parcels())
    trials = read(root, atlas=Atlas("atlas_dseg.nii.gz"))
    masker = NiftiLabelsMasker(str(root / "atlas_dseg.nii.gz"), resampling_target=None)
    expected = series_of(root, masker)  # in the order of the labels 2, 4, 7
    assert trials.dims == ("trial", "parcel", "time")
    assert trials.ch_names == ["b", "c", "a"]
    assert trials.info["roi"] == {"Vis": [0, 2], "Default": [1]}
    for row, onset in enumerate((4.0, 20.0, 40.0)):
        first = int((onset + 4.0) / 2.0)
        np.testing.assert_allclose(trials.responses[row], expected[first : first + 3].T, atol=2e-4)


def test_maps_are_those_of_nilearn(root, rng):
    maps = np.abs(rng.normal(size=(*SHAPE, 5))).astype(np.float32)
    maps[maps < 0.8] = 0
    nibabel.save(image(maps), root / "maps.nii.gz")
    trials = read(root, atlas=Atlas("maps.nii.gz"))
    expected = series_of(root, NiftiMapsMasker(str(root / "maps.nii.gz"), resampling_target=None))
    np.testing.assert_allclose(trials.responses[1], expected[12:15].T, atol=2e-4)


def test_an_atlas_of_another_grid_is_resampled_as_nilearn_does(root):
    fine = halves().repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = -0.75
    write_labels(root, fine, affine=affine, table=three_parcels())
    trials = read(root, atlas=Atlas("atlas_dseg.nii.gz"))
    masker = NiftiLabelsMasker(str(root / "atlas_dseg.nii.gz"), resampling_target="data")
    np.testing.assert_allclose(trials.responses[0], series_of(root, masker)[4:7].T, atol=2e-4)
    assert any("was resampled to the grid" in note for note in trials.info["account"][0]["notes"])


def test_parcels_of_events_at_once_and_of_cubes(root):
    trials = read(root, atlas=Atlas(side=9.0), estimate="lsa", standardise="none")
    assert trials.dims == ("trial", "parcel")
    assert trials.responses.shape == (3, len(trials.ch_names))
    study = Study.load(
        prepare(BidsFMRI(tasks=["view"], atlas=Atlas(side=9.0)), root, root.parent / "p", "concept")
    )
    assert study.trials.ch_names == trials.ch_names
    assert study.trials.take(np.array([1])).ch_names == trials.ch_names[1:2]


def test_runs_at_rest_become_windows(root):
    write_labels(root, halves(), table=three_parcels())
    trials = read(root, "rest", atlas=Atlas("atlas_dseg.nii.gz"), estimate="windows", n_volumes=6, step=2)
    assert trials.responses.shape == (18, 3, 6)
    assert trials.table["stretch"].nunique() == 9
    whole = np.asarray(trials.responses)
    np.testing.assert_array_equal(whole[0][:, 2:], whole[1][:, :4])
    with pytest.raises(NeurodecError, match="has 40 volumes, fewer than a window of 50"):
        read(root, "rest", atlas=Atlas("atlas_dseg.nii.gz"), estimate="windows", n_volumes=50)


def test_runs_are_joined_by_their_parcels_and_at_one_repetition_time(root, rng):
    events = (root / "sub-01_task-view_events.tsv").read_text()
    (root / "sub-01_task-rest_events.tsv").write_text(events)
    for estimate in ("lsa", "volumes"):
        reader = BidsFMRI(atlas=Atlas(side=9.0), estimate=estimate, n_volumes=3)
        study = Study.load(prepare(reader, root, root.parent / estimate, "concept"))
        assert len(study.trials) == 6
    (root / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    with pytest.raises(NeurodecError, match=r"has a repetition time of 2 s, the first recording 1\.5 s"):
        prepare(reader, root, root.parent / "other", "concept")


def test_parcels_without_a_voxel_are_named(root):
    labels = halves()
    labels[0, 0, 0] = 9  # in the hole of the mask
    table = {"index": [2, 4, 7, 9], "name": ["b", "c", "a", "lost"]}
    write_labels(root, labels, table=table)
    trials = read(root, atlas=Atlas("atlas_dseg.nii.gz"))
    assert not trials.responses[:, 3].any()
    assert any("zero: lost" in note for note in trials.info["account"][0]["notes"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"file": "none.nii.gz"}, "none.nii.gz is missing; put it there"),
        ({"file": "elsewhere.nii.gz"}, "2 of 3 parcels of elsewhere.nii.gz have no voxel in the mask"),
        ({"file": "space-MNI152_dseg.nii.gz"}, "scanner's own space .*, and the atlas"),
        (
            {"file": "atlas_dseg.nii.gz", "names": "short.tsv"},
            "holds the label 7, which .*short.tsv does not name",
        ),
        ({"file": "atlas_dseg.nii.gz", "networks": "unknown.csv"}, "unknown.csv names the parcel other"),
        ({"file": "decimals.nii.gz"}, "holds numbers that are no labels"),
        ({"side": 0.0}, "0 mm; give a length above 0"),
    ],
)
def test_an_atlas_that_does_not_fit_is_refused(root, changes, match):
    write_labels(root, halves(), table=three_parcels())
    moved = AFFINE.copy()
    moved[0, 3] = 9.0
    write_labels(root, halves(), name="elsewhere", affine=moved)
    write_labels(root, halves(), name="space-MNI152_dseg", affine=moved)
    nibabel.save(image(halves() + 0.5), root / "decimals.nii.gz")
    pd.DataFrame({"index": [2, 4], "name": ["b", "c"]}).to_csv(root / "short.tsv", sep="\t", index=False)
    (root / "unknown.csv").write_text("name,network\nother,Vis\n")
    with pytest.raises(NeurodecError, match=match):
        read(root, atlas=Atlas(**changes))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "difumo.csv",
            "Component,Difumo_names,Yeo_networks7,GM\n2,b,VisCent,1\n4,c,DefaultB,1\n7,a,VisCent,0\n",
        ),
        (
            "schaefer.txt",
            "2\t7Networks_LH_Vis_1\t1\t2\t3\t0\n4\t7Networks_RH_Default_PFC_2\t1\t2\t3\t0\n"
            "7\t7Networks_LH_Vis_2\t0\t0\t0\t0\n",
        ),
        ("xcpd.tsv", "index\tlabel\tnetwork_label\n2\tb\tVis\n4\tc\tDefault\n7\ta\tVis\n"),
    ],
)
def test_tables_of_atlases_as_they_come(root, name, content):
    write_labels(root, halves())
    (root / name).write_text(content)
    found = read(root, atlas=Atlas("atlas_dseg.nii.gz", names=name)).info["roi"]
    assert list(found.values()) == [[0, 2], [1]]


def test_a_grid_is_the_same_for_all_people_of_a_space():
    one, two = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[:4], two[2:] = True, True
    labels, names = grid_labels(one, AFFINE, 6.0)
    other_names = grid_labels(two, AFFINE, 6.0)[1]
    assert len(set(names)) == len(names) == labels.max()
    assert set(names) & set(other_names)
    means = Parcels.of_labels(labels, range(1, len(names) + 1)).series(
        np.argwhere(one).T[:1].astype(np.float32) * 3.0
    )
    centres = [float(name.split("_")[0][1:]) for name in names]
    np.testing.assert_allclose(means[0], np.array(centres) - 1.5, atol=1e-5)
