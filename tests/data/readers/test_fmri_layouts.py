"""What fMRI folders look like when they come from scanners, converters and fMRIPrep."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import compute_regressor

from neurodec.data import BidsFMRI, Study, prepare
from neurodec.errors import NeurodecError
from neurodec.preprocessing.fmri import glm_betas, has_response

SHAPE, N, T_R = (4, 3, 2), 120, 2.0
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
FMRIPREP = "derivatives/fmriprep/sub-01/func"
SPACE = "space-MNI152NLin2009cAsym_res-2"


def blocks(seed, n=10):
    kinds = np.random.default_rng(seed).permutation(["face", "house"] * (n // 2))
    return pd.DataFrame({"onset": 8 + 21.0 * np.arange(n), "duration": 10.0, "trial_type": kinds})


def series(events, seed=0, noise=0.1):
    """Faces raise the first half of the voxels, houses the other."""
    values = 100 + noise * np.random.default_rng(seed).standard_normal((24, N))
    times = np.arange(N) * T_R
    for half, kind in enumerate(("face", "house")):
        chosen = events[events["trial_type"] == kind]
        condition = np.array([chosen["onset"], chosen["duration"], np.ones(len(chosen))])
        values[12 * half : 12 * half + 12] += 4 * compute_regressor(condition, "spm", times)[0][:, 0]
    return values.reshape(*SHAPE, N).astype(np.float32)


def save(path, values, *, t_r=T_R, units=("mm", "sec"), affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    if values.ndim == 4 and t_r is not None:
        image.header.set_zooms((3, 3, 3, t_r))
    if units:
        image.header.set_xyzt_units(*units)
    nibabel.save(image, path)


def save_events(path, events):
    path.parent.mkdir(parents=True, exist_ok=True)
    events.to_csv(path, sep="\t", index=False)


@pytest.fixture
def root(tmp_path):
    """One run, with its mask above."""
    save(tmp_path / "sub-01/func/sub-01_task-a_bold.nii.gz", series(blocks(1)))
    save(tmp_path / "sub-01/sub-01_desc-brain_mask.nii.gz", np.ones(SHAPE, np.uint8))
    save_events(tmp_path / "sub-01/func/sub-01_task-a_events.tsv", blocks(1))
    return tmp_path


def load(root, **settings):
    dataset = BidsFMRI(**{"estimate": "block_mean", "standardise": "none", **settings})
    return dataset.load(dataset.parts(root)[0], root)


def separated(trials):
    """Whether every trial raises the half of the voxels that its concept is to raise."""
    halves = trials.responses[:, :12].mean(axis=1) - trials.responses[:, 12:].mean(axis=1)
    return np.array_equal(halves > 0, trials.table["concept"] == "face")


def fmriprep(root, *, masks=False, variants=False):
    for run in (1, 2, 3):
        stem, events = f"sub-01_task-view_run-{run}", blocks(run)
        save(root / f"sub-01/func/{stem}_bold.nii.gz", series(events, noise=50))
        save_events(root / f"sub-01/func/{stem}_events.tsv", events)
        clean = root / FMRIPREP / f"{stem}_{SPACE}_desc-preproc_bold.nii.gz"
        save(clean, series(events))
        mask = np.ones(SHAPE, np.uint8)
        mask[run, 0, 0] = not masks
        save(clean.with_name(f"{stem}_{SPACE}_desc-brain_mask.nii.gz"), mask)
        if variants:
            save(clean.with_name(f"{stem}_{SPACE}_desc-smooth_bold.nii.gz"), series(events, seed=9))
        drift = pd.DataFrame({"trans_x": np.r_[np.nan, np.linspace(0, 1, N - 1)], "csf": np.ones(N)})
        drift.to_csv(
            clean.with_name(f"{stem}_desc-confounds_timeseries.tsv"), sep="\t", index=False, na_rep="n/a"
        )


def test_fmriprep_as_it_comes_off_the_machine(tmp_path):
    fmriprep(tmp_path / "data", masks=True)
    dataset = BidsFMRI(
        estimate="block_mean", standardise="none", space="MNI152NLin2009cAsym", confounds=["trans_x"]
    )
    trials = Study.load(prepare(dataset, tmp_path / "data", tmp_path / "out")).trials
    assert len(trials) == 30
    assert trials.responses.shape[1] == 21  # what all three masks have
    lost = [int(np.ravel_multi_index((run, 0, 0), SHAPE)) for run in (1, 2, 3)]
    assert sorted(set(range(24)) - set(trials.info["voxel_indices"])) == lost
    halves = [np.array(trials.info["voxel_indices"]) < 12, np.array(trials.info["voxel_indices"]) >= 12]
    contrast = trials.responses[:, halves[0]].mean(axis=1) - trials.responses[:, halves[1]].mean(axis=1)
    assert np.array_equal(contrast > 0, trials.table["concept"] == "face")


def test_fmriprep_away_from_its_raw_data_says_where_to_put_it(tmp_path):
    fmriprep(tmp_path / "data", masks=True)
    parts = BidsFMRI(space="MNI152NLin2009cAsym").parts(tmp_path / "data" / FMRIPREP.split("/sub-")[0])
    assert len(parts) == 3  # below derivatives/ the raw data set is known
    moved = tmp_path / "prepared"
    (tmp_path / "data" / FMRIPREP.split("/sub-")[0]).rename(moved)
    with pytest.raises(NeurodecError, match="take the folder of the raw data set as --data-root"):
        BidsFMRI(space="MNI152NLin2009cAsym").parts(moved)


def test_the_same_scan_twice_is_a_question_that_entities_answer(tmp_path):
    fmriprep(tmp_path, variants=True)
    with pytest.raises(NeurodecError, match=r"3 files hold one and the same scan .*choose by `entities"):
        BidsFMRI().parts(tmp_path)  # raw, preprocessed and smoothed
    with pytest.raises(NeurodecError, match=r"2 files .*desc: ...}` \(preproc or smooth\)"):
        BidsFMRI(space="MNI152NLin2009cAsym").parts(tmp_path)
    chosen = BidsFMRI(entities={"desc": "smooth"}).parts(tmp_path)
    assert [part.files[0].name.split("desc-")[1] for part in chosen] == ["smooth_bold.nii.gz"] * 3
    raw = BidsFMRI(entities={"space": None}, mask="none").parts
    with pytest.raises(NeurodecError, match=r"run-1_bold.nii.gz has no brain mask"):
        raw(tmp_path)


def test_two_masks_are_a_question(root):
    save(root / "sub-01/sub-01_desc-vt_mask.nii.gz", np.eye(4, 3)[..., None].repeat(2, 2).astype(np.uint8))
    with pytest.raises(NeurodecError, match=r"sub-01_desc-brain_mask.nii.gz and sub-01_desc-vt_mask.nii.gz"):
        load(root)
    assert load(root, mask="desc-vt_mask.nii.gz").responses.shape[1] == 6
    assert load(root, mask="desc-brain_mask.nii.gz").responses.shape[1] == 24


def test_confounds_are_regressed_out(root):
    bold = root / "sub-01/func/sub-01_task-a_bold.nii.gz"
    drift = np.cumsum(np.random.default_rng(3).standard_normal(N))
    save(bold, series(blocks(1)) + (40 * drift).astype(np.float32))
    table = pd.DataFrame({"drift": drift, "text": "x"})
    file = bold.with_name("sub-01_task-a_desc-confounds_timeseries.tsv")
    table.to_csv(file, sep="\t", index=False)
    for estimate in ("block_mean", "lsa", "lss"):
        clean, dirty = (load(root, estimate=estimate, confounds=names) for names in (["drift"], None))
        true = np.where(clean.table["concept"] == "face", 1, -1)
        contrasts = [
            t.responses[:, :12].mean(axis=1) - t.responses[:, 12:].mean(axis=1) for t in (clean, dirty)
        ]
        assert np.corrcoef(contrasts[0], true)[0, 1] > 0.95
        spread = [t.responses.mean(axis=1).std() for t in (clean, dirty)]
        assert spread[0] < 0.3 * spread[1]
    with pytest.raises(NeurodecError, match="holds text in the column text"):
        load(root, confounds=["text"])
    table[:50].to_csv(file, sep="\t", index=False)
    with pytest.raises(NeurodecError, match="has 50 rows for 120 volumes"):
        load(root, confounds=["drift"])


@pytest.mark.parametrize(
    ("saved", "sidecar", "expected"),
    [
        ({}, None, T_R),
        ({"t_r": 2000.0, "units": ("mm", "msec")}, None, T_R),
        ({"t_r": None, "units": None}, {"RepetitionTime": 2.0}, T_R),
        ({}, {"RepetitionTime": 2.0}, T_R),
        ({}, {"VolumeTiming": [2.0 * i for i in range(N)]}, T_R),
        ({"t_r": None, "units": None}, None, "The repetition time of .* is unknown"),
        ({"t_r": 0.0}, None, "The repetition time of .* is unknown"),
        ({}, {"RepetitionTime": 1.0}, "gives a repetition time of 1 s, the image's header 2 s"),
        (
            {"t_r": None, "units": None},
            {"RepetitionTime": 2000},
            "gives 2000 s as repetition time, and it looks like mil",
        ),
        ({}, {"RepetitionTime": "2 s"}, "gives '2 s' as RepetitionTime; give seconds"),
        ({}, {"VolumeTiming": [0, 2, 4, 9]}, "volumes at uneven times"),
        ({}, {"VolumeTiming": "often"}, "its VolumeTiming must be a list of seconds"),
    ],
)
def test_a_repetition_time_must_have_been_stated(root, saved, sidecar, expected):
    bold = root / "sub-01/func/sub-01_task-a_bold.nii.gz"
    save(bold, series(blocks(1)), **saved)
    if sidecar is not None:
        (root / "task-a_bold.json").write_text(json.dumps(sidecar))
    if isinstance(expected, str):
        with pytest.raises(NeurodecError, match=expected):
            load(root)
    else:
        assert separated(load(root))


def test_events_whose_response_the_scan_does_not_hold(root):
    events = blocks(1)
    late = pd.DataFrame({"onset": [236.5, 150.0], "duration": [2.0, 2.0], "trial_type": ["face", "house"]})
    early = pd.DataFrame({"onset": [-4.0], "duration": [2.0], "trial_type": ["face"]})
    save_events(root / "sub-01/func/sub-01_task-a_events.tsv", pd.concat([events[:6], late, early]))
    for estimate in ("block_mean", "lsa", "lss"):
        trials = load(root, estimate=estimate, hrf_shift=6.0)
        assert trials.table["onset"].tolist() == [*events["onset"][:6], 150.0]
        (entry,) = trials.info["account"]
        assert entry["events"] == {"found": 9, "kept": 7, "left_out": {"with a response outside the scan": 2}}
        assert "face at 236.5 s is left out, as the scan of 240 s does not hold" in " ".join(entry["notes"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e.assign(onset=e["onset"] * 1000), "look like milliseconds, so divide them by 1000"),
        (lambda e: e.assign(onset=e["onset"] + 500), r"10 event\(s\) lie beyond the scan of 240 s"),
        (lambda e: e.assign(duration=10_000), "events last 10000 s in a scan of 240 s.*milliseconds"),
        (lambda e: pd.concat([e, e]), r"has face twice at .* \(10 such pair"),
        (lambda e: pd.concat([e, e.assign(trial_type="both")]), "has both"),
        (lambda e: e.assign(trial_type="n/a"), "has no event that is a trial"),
    ],
)
def test_tables_that_cannot_be_right(root, change, sentence):
    save_events(root / "sub-01/func/sub-01_task-a_events.tsv", change(blocks(1)))
    with pytest.raises(NeurodecError, match=sentence):
        load(root)


def test_rest_comments_and_missing_cells_are_counted(root):
    events = blocks(1).astype({"duration": object})
    events.loc[2, "duration"] = "n/a"
    more = pd.DataFrame(
        {
            "onset": [2.0, 3.0, "n/a", 5.0],
            "duration": "n/a",
            "trial_type": ["fixation", "n/a", "x", "comment"],
        }
    )
    save_events(root / "sub-01/func/sub-01_task-a_events.tsv", pd.concat([more, events]))
    trials = load(root, hrf_shift=6.0)
    assert separated(trials)
    (entry,) = trials.info["account"]
    assert entry["events"]["left_out"] == {
        "without an onset": 1,
        "of a concept in `ignore`": 1,
        "without a name": 1,
        "comment": 1,
    }
    assert entry["notes"] == ["3 events have no duration and count as brief (0 s)"]


def test_which_responses_a_scan_holds():
    onsets, durations = np.array([0.0, 100.0, 228.0, 233.0, 236.0]), np.full(5, 2.0)
    assert has_response(onsets, durations, 120, 2.0, "spm").tolist() == [True, True, True, False, False]
    assert has_response(onsets, durations, 120, 2.0, None, 5.0).tolist() == [True, True, True, True, False]
    assert has_response(onsets, np.full(5, 30.0), 120, 2.0, "spm").tolist() == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_confounds_in_a_model_are_those_of_least_squares(rng):
    events = blocks(2)
    y, confounds = rng.standard_normal((N, 3)), rng.standard_normal((N, 2))
    found = glm_betas(
        y, T_R, events, confounds=np.hstack([confounds, confounds[:, :1] * 3])
    )  # one of them twice
    times = np.arange(N) * T_R
    regressors = [
        compute_regressor(np.array([[t], [10.0], [1.0]]), "spm", times)[0][:, 0] for t in events["onset"]
    ]
    from nilearn.glm.first_level import make_first_level_design_matrix

    drifts = make_first_level_design_matrix(times, drift_model="cosine", high_pass=0.01).to_numpy()
    design = np.column_stack([*regressors, confounds, drifts])
    np.testing.assert_allclose(found, np.linalg.lstsq(design, y, rcond=None)[0][:10], atol=1e-8)
