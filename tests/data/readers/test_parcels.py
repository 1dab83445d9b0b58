"""Series of parcels from every kind of file, cut into windows; what is no series is one sentence."""

import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import ParcelsAxis, SeriesAxis
from scipy.io import savemat

from neurodec.data import ParcelSeries, Study, prepare
from neurodec.errors import NeurodecError

SERIES = 9600 + 30 * np.random.default_rng(0).normal(size=(4, 60)).cumsum(axis=1)  # parcels, volumes
NAMES = ["V1", "V2", "MT", "PFC"]


def _mat(folder):
    savemat(folder / "1.mat", {"tc": SERIES})


def _npy(folder):
    np.save(folder / "1.npy", SERIES.T)


def _csv(folder):
    pd.DataFrame(SERIES.T, columns=NAMES).to_csv(folder / "1.csv", index=False)


def _tsv(folder):
    pd.DataFrame(SERIES.T, columns=NAMES).to_csv(folder / "1.tsv", sep="\t", index=False)


def _cifti(folder):
    surface = {"CIFTI_STRUCTURE_CORTEX_LEFT": np.array([], dtype=int)}
    parcels = ParcelsAxis(
        NAMES,
        [np.zeros((0, 3), int)] * 4,
        [surface] * 4,
        np.eye(4),
        (2, 2, 2),
        {"CIFTI_STRUCTURE_CORTEX_LEFT": 10},
    )
    image = nibabel.Cifti2Image(SERIES.T.astype(np.float32), (SeriesAxis(0, 0.72, 60), parcels))
    nibabel.save(image, folder / "1.ptseries.nii")


KINDS = {
    "{subject}.mat": (_mat, {"key": "tc"}),
    "{subject}.npy": (_npy, {"axes": "time, parcel"}),
    "{subject}.csv": (_csv, {}),
    "{subject}.tsv": (_tsv, {}),
    "{subject}.ptseries.nii": (_cifti, {}),
}


@pytest.mark.parametrize("files", KINDS)
def test_every_kind_of_file_gives_the_same_windows(tmp_path, files):
    write, settings = KINDS[files]
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    reader = ParcelSeries(files, 0.72, n_volumes=6, step=2, **settings)
    trials = Study.load(prepare(reader, tmp_path / "data", tmp_path / "out", "subject")).trials
    scaled = (SERIES - SERIES.mean(axis=1, keepdims=True)) / SERIES.std(axis=1, keepdims=True)
    wanted = np.stack([scaled[:, start : start + 6] for start in range(0, 55, 2)])
    np.testing.assert_allclose(np.asarray(trials.responses), wanted, atol=2e-5)
    assert trials.dims == ("trial", "parcel", "time")
    assert trials.info["sfreq"] == pytest.approx(1 / 0.72)
    assert trials.table["onset"].tolist() == pytest.approx([0.72 * start for start in range(0, 55, 2)])
    assert trials.table["stretch"].nunique() == 10
    if files.endswith(("csv", "tsv", "nii")):
        assert trials.ch_names == NAMES


def test_parcels_are_named_by_a_table_and_people_held_out(tmp_path):
    for who in ("a", "b"):
        np.save(tmp_path / f"{who}.npy", SERIES + (who == "b"))
    networks = ["Vis", "Vis", "Vis", "Cont"]
    pd.DataFrame({"name": NAMES, "network": networks}).to_csv(tmp_path / "atlas.csv", index=False)
    np.save(tmp_path / "b.npy", SERIES[:, ::-1])
    reader = ParcelSeries("{subject}.npy", 2.0, names="atlas.csv", held_out=["b"])
    study = Study.load(prepare(reader, tmp_path, tmp_path / "out", "subject"))
    assert study.trials.ch_names == NAMES
    assert study.trials.info["roi"] == {"Vis": [0, 1, 2], "Cont": [3]}
    assert study.part("test").subjects == ["b"]
    assert study.part("train").subjects == ["a"]


def test_the_repetition_time_is_what_the_files_say(tmp_path):
    _cifti(tmp_path)
    _tsv(tmp_path)
    (tmp_path / "1.tsv").rename(tmp_path / "sub-1_task-rest_timeseries.tsv")
    (tmp_path / "sub-1_task-rest_timeseries.json").write_text('{"RepetitionTime": 1.5}')

    def rate(*settings):
        reader = ParcelSeries(*settings)
        return reader.load(reader.parts(tmp_path)[0], tmp_path).info["sfreq"]

    assert rate("{subject}.ptseries.nii") == pytest.approx(1 / 0.72)
    assert rate("sub-{subject}_task-rest_timeseries.tsv") == pytest.approx(1 / 1.5)
    with pytest.raises(NeurodecError, match=r"the file gives a repetition time of 0.72 s, `tr` 2 s"):
        rate("{subject}.ptseries.nii", 2.0)
    _csv(tmp_path)
    with pytest.raises(NeurodecError, match=r"repetition time of .*1\.csv is unknown; give `tr`"):
        rate("{subject}.csv")


def test_parcels_without_values_are_told_and_words_are_refused(tmp_path):
    """XCP-D writes n/a in all rows of a parcel that too few voxels cover."""
    table = pd.DataFrame(SERIES.T, columns=NAMES).astype(object)
    table["MT"] = "n/a"
    table.to_csv(tmp_path / "1.tsv", sep="\t", index=False)
    reader = ParcelSeries("{subject}.tsv", 2.0)
    trials = reader.load(reader.parts(tmp_path)[0], tmp_path)
    assert not np.asarray(trials.responses)[:, 2].any()
    assert any("no values, and tell nothing: MT" in note for note in trials.info["account"][0]["notes"])
    table["MT"] = "high"
    table.to_csv(tmp_path / "1.tsv", sep="\t", index=False)
    with pytest.raises(NeurodecError, match="holds text in the column MT"):
        reader.load(reader.parts(tmp_path)[0], tmp_path)


def _turned(folder):
    np.save(folder / "1.npy", SERIES[:, :5])


def _three(folder):
    np.save(folder / "1.npy", SERIES[None])


def _nan(folder):
    series = SERIES.copy()
    series[2, 7] = np.nan
    np.save(folder / "1.npy", series)


@pytest.mark.parametrize(
    ("write", "settings", "sentence"),
    [
        (_turned, {}, "fewer than a window of 6"),
        (_three, {}, "a series has parcels and volumes"),
        (_nan, {}, r"NaN or infinity in 1 parcel\(s\), first parcel-0003"),
        (_npy, {"axes": "time, parcel", "names": "atlas.csv"}, "names 3 parcels, and the recordings have 4"),
        (_npy, {"held_out": ["zoe"]}, "`held_out` names subject zoe"),
        (_npy, {"n_volumes": 1}, "`n_volumes` of 2 or more"),
    ],
)
def test_what_is_no_series_is_one_sentence(tmp_path, write, settings, sentence):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    pd.DataFrame({"name": NAMES[:3]}).to_csv(tmp_path / "data/atlas.csv", index=False)
    with pytest.raises(NeurodecError, match=sentence):
        prepare(
            ParcelSeries("{subject}.npy", 0.72, **settings), tmp_path / "data", tmp_path / "out", "subject"
        )
