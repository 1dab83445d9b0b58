"""The readers of EEG with classes on generated trees in the official layouts: counts, labels, splits, values."""

import inspect
import pickle
from collections import Counter

import labelled_trees as trees
import numpy as np
import pytest
from labelled_trees import noise, write_edf
from scipy.signal import butter, lfilter, resample

from neurodec import data
from neurodec.data.readers.labelled import (
    BCIC2020,
    CHBMIT,
    FACED,
    HMC,
    ISRUC,
    SEEDV,
    SEEDVIG,
    SHUMI,
    TUAB,
    TUEV,
    TUSL,
    AnnotatedWindows,
    BCICIV2a,
    LabelledEEG,
    MentalArithmetic,
    Mumtaz2016,
    PhysioNetMI,
    Siena,
)
from neurodec.data.readers.labelled.published_splits import SPLITS, split_of, tables
from neurodec.encoders.csbrain.brain_regions import Montage, published_tables
from neurodec.errors import NeurodecError

BY_PEOPLE = {"split": "by_people"}


def read(reader, root, place=0):
    parts = reader.parts(root)
    return reader.load(parts[place], root)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def splits(reader, root):
    return Counter(source.split for source in reader.sources(root))


def account(trials):
    return trials.info["account"][0]


def test_every_reader_has_a_split_file_and_a_table_of_regions():
    readers = {
        name: kind
        for name, kind in vars(data).items()
        if inspect.isclass(kind) and issubclass(kind, LabelledEEG)
    }
    assert {name for name in readers if name != "LabelledEEG"} == set(tables())
    published = {tuple(table["channels"]) for table in published_tables().values()}
    for name, kind in readers.items():
        if name in ("LabelledEEG", "AnnotatedWindows"):
            continue
        montage = Montage.of(list(kind.ch_names))
        assert len(montage.regions) == len(kind.ch_names)
        assert kind.layout
        sizes = {len(channels) for channels in published}
        assert len(kind.ch_names) in sizes


def test_bciciv2a(tmp_path):
    runs, *_ = [trees.bciciv2a(tmp_path, person, "T") for person in range(1, 10)]
    touch(tmp_path, *(f"A{person:02d}E.mat" for person in range(1, 10)))
    reader = BCICIV2a()
    assert splits(reader, tmp_path) == {"train": 10, "validation": 4, "test": 4}
    trials = reader.load(reader.parts(tmp_path)[1], tmp_path)
    assert trials.responses.shape == (8, 22, 800)
    assert trials.table["concept"].tolist() == ["left hand", "right hand", "feet", "tongue"] * 2
    trial = runs[1]["X"][2000 : 2000 + 1500, :22].T
    filtered = lfilter(*butter(5, [0.3, 40], "bandpass", fs=250), trial - trial.mean(axis=0), axis=-1)
    np.testing.assert_allclose(
        trials.responses[1], resample(filtered[:, 500:], 800, axis=-1) / 100, atol=1e-4
    )
    clean = BCICIV2a(artifacts=False)
    few = clean.load(clean.parts(tmp_path)[1], tmp_path)
    assert len(few) == 6
    assert account(few)["events"]["left_out"] == {"marked as artefact": 2}
    trees.bciciv2a(tmp_path / "wrong", 1, "T", labels=(1, 7))
    with pytest.raises(NeurodecError, match=r"A01T.mat has the label 7"):
        read(reader, tmp_path / "wrong")


def test_physionet(tmp_path):
    names = PhysioNetMI.ch_names
    trees.physionet(tmp_path, names, 1, 4)
    trees.physionet(tmp_path, names, 2, 6)
    trees.physionet(tmp_path, names, 3, 3)  # a run of movement, not of imagery
    touch(tmp_path, "S003/S003R08.edf")
    reader = PhysioNetMI(**BY_PEOPLE)
    assert [part.name for part in reader.parts(tmp_path)] == ["S001R04", "S002R06", "S003R08"]
    first, second = (read(reader, tmp_path, place) for place in (0, 1))
    assert first.responses.shape == (2, 64, 800)
    assert first.table["concept"].tolist() == ["left fist", "right fist"]
    assert second.table["concept"].tolist() == ["both fists", "both feet"]
    assert account(first)["events"]["left_out"] == {"rest": 2}
    np.testing.assert_allclose(np.mean(first.responses, axis=1), 0, atol=1e-4)  # average reference
    with pytest.raises(
        NeurodecError, match=r"published split of PhysioNetMI is of 109 people, and there are 3"
    ):
        PhysioNetMI().parts(tmp_path)
    touch(tmp_path / "all", *(f"S{person:03d}/S{person:03d}R04.edf" for person in range(1, 110)))
    assert splits(PhysioNetMI(), tmp_path / "all") == {"train": 70, "validation": 19, "test": 20}


def test_shu(tmp_path):
    values = trees.shu(tmp_path, 1, 1)
    touch(tmp_path, "sub-002_ses-01_task_motorimagery_eeg.mat", "sub-003_ses-01_task_motorimagery_eeg.mat")
    trials = read(SHUMI(**BY_PEOPLE), tmp_path)
    assert trials.responses.shape == (4, 30, 800)
    assert trials.table["concept"].tolist() == ["left hand", "right hand"] * 2
    np.testing.assert_allclose(trials.responses[2, 16], resample(values[2, 18], 800) / 100, atol=1e-5)  # CP1
    files = [f"sub-{p:03d}_ses-{s:02d}_task_motorimagery_eeg.mat" for p in range(1, 26) for s in range(1, 6)]
    touch(tmp_path / "all", *files)
    assert splits(SHUMI(), tmp_path / "all") == {"train": 75, "validation": 25, "test": 25}


def test_faced(tmp_path):
    values = trees.faced(tmp_path, 0)
    touch(tmp_path, "Processed_data/sub001.pkl", "Processed_data/sub002.pkl")
    trials = read(FACED(**BY_PEOPLE), tmp_path)
    assert trials.responses.shape == (84, 30, 2000)
    counts = Counter(trials.table["concept"])
    assert counts["neutral"] == 12
    assert counts["anger"] == counts["tenderness"] == 9
    whole = resample(values[5, 3].astype(np.float32), 6000) / 100
    np.testing.assert_allclose(trials.responses[16, 3], whole[2000:4000], atol=1e-4)
    (tmp_path / "Processed_data/sub001.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(NeurodecError, match=r"sub001.pkl .*(holds|print)"):
        read(FACED(**BY_PEOPLE), tmp_path, 1)
    touch(tmp_path / "all", *(f"Processed_data/sub{person:03d}.pkl" for person in range(123)))
    assert splits(FACED(), tmp_path / "all") == {"train": 80, "validation": 20, "test": 23}


def test_seedv(tmp_path):
    names = [*SEEDV.ch_names[:30], "M1", *SEEDV.ch_names[30:], "M2", "VEO", "HEO"]
    values = noise(0, len(names), 250 * 135)
    trees.write_cnt(tmp_path / "EEG_raw/1_1_20180804.cnt", names, values, 250)
    for person in (2, 10):
        touch(tmp_path, f"EEG_raw/{person}_2_20180810.cnt")
    reader = SEEDV()
    assert [part.subject for part in reader.parts(tmp_path)] == ["1", "2", "10"]
    trials = read(reader, tmp_path)
    assert trials.responses.shape == (72 + 3, 62, 200)  # the first film, and three seconds of the second
    assert trials.table["concept"].tolist() == ["happy"] * 72 + ["fear"] * 3
    assert set(trials.table["split"]) == {"train"}
    assert account(trials)["events"]["left_out"]["past an end of the recording"] > 2000
    assert np.std(trials.responses) == pytest.approx(0.2, rel=0.3)
    assert {source.split for source in SEEDV(**BY_PEOPLE).sources(tmp_path)} == set(SPLITS)


def test_seedvig(tmp_path):
    values = trees.seedvig(tmp_path)
    for name in ("2_20151106_noon", "3_20151024_noon"):
        trees.seedvig(tmp_path, name, 3)
    reader = SEEDVIG(**BY_PEOPLE)
    trials = read(reader, tmp_path)
    assert trials.responses.shape == (5, 17, 1600)
    assert trials.table["stimulus"].tolist() == ["0.000000", "0.250000", "0.500000", "0.750000", "1.000000"]
    np.testing.assert_allclose(trials.responses[1, 4], values[1600:3200, 4] / 100, atol=1e-6)
    assert reader.stimuli(tmp_path)["stimulus"].tolist() == trials.table["stimulus"].tolist()
    with pytest.raises(NeurodecError, match="is of 23 files, and there are 3"):
        SEEDVIG().parts(tmp_path)
    trees.savemat(tmp_path / "perclos_labels/2_20151106_noon.mat", {"perclos": np.ones((9, 1))})
    with pytest.raises(NeurodecError, match=r"3 windows of 8 s, and .* 9 labels"):
        read(reader, tmp_path, 1)


def test_mental_arithmetic(tmp_path):
    names = [f"EEG {name}" for name in (*MentalArithmetic.ch_names, "A2-A1")] + ["ECG ECG"]
    for person in range(3):
        for part in (1, 2):
            write_edf(tmp_path / f"Subject{person:02d}_{part}.edf", names, noise(part, 21, 500 * 17), 500)
    reader = MentalArithmetic(**BY_PEOPLE)
    assert splits(reader, tmp_path) == {"train": 2, "validation": 2, "test": 2}
    rest, busy = (read(reader, tmp_path, place) for place in (0, 1))
    assert rest.responses.shape == (3, 19, 1000)
    assert set(rest.table["concept"]) == {"rest"}
    assert set(busy.table["concept"]) == {"arithmetic"}
    assert account(rest)["events"]["left_out"] == {"shorter than a window": 1}
    touch(tmp_path / "all", *(f"Subject{person:02d}_{part}.edf" for person in range(36) for part in (1, 2)))
    assert splits(MentalArithmetic(), tmp_path / "all") == {"train": 56, "validation": 8, "test": 8}


def test_mumtaz(tmp_path):
    names = [f"EEG {name}-LE" for name in Mumtaz2016.ch_names] + ["EEG A2-A1"]
    for group in ("H", "MDD"):
        for person in (1, 2, 10):
            write_edf(tmp_path / f"{group} S{person} EC.edf", names, noise(person, 20, 256 * 11), 256)
    touch(tmp_path, "MDD S1 TASK.edf", "H S2 EO.edf")
    reader = Mumtaz2016(**BY_PEOPLE)
    sources = {source.name: source for source in reader.sources(tmp_path)}
    assert len(sources) == 7
    assert {who.split for who in sources.values() if who.subject == "H2"} == {"validation"}
    assert sources["H_S10_EC"].split == "test"  # after 1 and 2, not between
    trials = read(reader, tmp_path)
    assert trials.responses.shape == (2, 19, 1000)
    assert set(trials.table["concept"]) == {"healthy"}
    touch(tmp_path / "all", *(f"H S{n} {eyes}.edf" for n in range(1, 28) for eyes in ("EC", "EO")))
    touch(tmp_path / "all", *(f"MDD S{n} {eyes}.edf" for n in range(1, 33) for eyes in ("EC", "EO")))
    assert splits(Mumtaz2016(), tmp_path / "all") == {"train": 82, "validation": 18, "test": 18}


def test_chbmit(tmp_path):
    trees.chbmit(tmp_path, CHBMIT.ch_names, seizures=((12, 33),))
    trees.chbmit(tmp_path, CHBMIT.ch_names, number=4, seizures=((1, 4), (50, 58)))
    trees.chbmit(tmp_path, CHBMIT.ch_names, "chb21", 1, seizures=())
    trees.chbmit(tmp_path, CHBMIT.ch_names, "chb24", 1, seizures=((12, 33),), doubled=False)
    sources = {source.name: source.split for source in CHBMIT().sources(tmp_path)}
    assert sources == {"chb01_03": "train", "chb01_04": "train", "chb21_01": "validation", "chb24_01": "test"}
    together = {source.subject: source.split for source in CHBMIT(**BY_PEOPLE).sources(tmp_path)}
    assert together["chb21"] == "train"  # chb01 and chb21 are one child
    trials = read(CHBMIT(), tmp_path)
    assert trials.responses.shape == (6 + 5, 16, 2000)
    labels = trials.table["concept"].eq("seizure").tolist()
    assert labels[:6] == [False, True, True, True, False, False]  # 12 to 33 s
    assert all(labels[6:])  # further ones from 11 s, every 5 s
    published = read(CHBMIT(labels="published"), tmp_path)
    assert published.table["concept"].eq("seizure").tolist()[:6] == [False, True, False, True, False, False]
    two = read(CHBMIT(), tmp_path, 1)
    assert two.table["concept"].eq("seizure").tolist()[:6] == [True, False, False, False, False, True]
    assert account(two)["events"]["left_out"] == {"past an end of the recording": 1}
    assert len(read(CHBMIT(), tmp_path, 3)) == 6  # the test gets no further windows
    text = (tmp_path / "chb21/chb21-summary.txt").read_text()
    (tmp_path / "chb21/chb21-summary.txt").write_text(text.replace("File: 0", "File: 2"))
    with pytest.raises(NeurodecError, match=r"tells of 2 seizures in chb21_01.edf and gives the times of 0"):
        read(CHBMIT(), tmp_path, 2)


def test_siena(tmp_path):
    trees.siena(tmp_path, Siena.ch_names, "PN06", 1, listed="PNO6-1")  # the letter O
    trees.siena(tmp_path, Siena.ch_names, "PN06", 2, shift=1)  # an end that is an hour off
    trees.siena(tmp_path, Siena.ch_names, "PN11", 1)
    trees.siena(tmp_path, Siena.ch_names, "PN14", 1)
    people = {source.subject: source.split for source in Siena(**BY_PEOPLE).sources(tmp_path)}
    assert people == {"PN06": "train", "PN11": "validation", "PN14": "test"}
    for place in (0, 1):  # registered from 23.59.40, the seizure from 12 to 33 s, over midnight
        trials = read(Siena(**BY_PEOPLE), tmp_path, place)
        assert trials.responses.shape == (6 + 5, 29, 2000)
        assert trials.table["concept"].eq("seizure").tolist()[:6] == [False, True, True, True, False, False]
    assert any("whole hours off" in note for note in account(trials)["notes"])
    published = read(Siena(labels="published"), tmp_path)
    assert set(published.table["split"]) <= {"train", "validation"}
    (tmp_path / "PN14/Seizures-list-PN14.txt").write_text(
        "File name: PN14-1.edf\nRegistration start time: 10.00.00\nSeizure start time: 10.30.00\n"
        "Seizure end time: 10.31.00\n"
    )
    with pytest.raises(
        NeurodecError, match=r"puts a seizure of PN14-1.edf at 1800 to 1860 s, and the recording lasts 60"
    ):
        read(Siena(), tmp_path, 3)


def test_isruc(tmp_path):
    for person in (1, 2, 10):
        trees.isruc(tmp_path, ISRUC.ch_names, person)
    reader = ISRUC(**BY_PEOPLE)
    assert [part.name for part in reader.parts(tmp_path)] == ["1", "2", "10"]
    trials = read(reader, tmp_path)
    assert trials.responses.shape == (5, 6, 6000)
    assert trials.table["concept"].tolist() == ["W", "N1", "N2", "N3", "R"]
    assert 0.05 < np.std(trials.responses) < 0.5  # microvolts / 100
    pairs = ISRUC(sequence=2, **BY_PEOPLE)
    sequences = read(pairs, tmp_path)
    assert sequences.responses.shape == (2, 6, 12000)
    assert sequences.table["concept"].tolist() == ["W|N1", "N2|N3"]
    assert pairs.stimuli(tmp_path)["stimulus"].tolist() == ["N2|N3", "W|N1"]
    (tmp_path / "2/2_1.txt").write_text("0\n4\n")
    with pytest.raises(NeurodecError, match="has the code 4"):
        read(reader, tmp_path, 1)


def test_hmc(tmp_path):
    trees.hmc(tmp_path, HMC.ch_names, 1)
    touch(tmp_path, "recordings/SN002.edf", "recordings/SN003.edf", "recordings/SN002_sleepscoring.edf")
    reader = HMC(**BY_PEOPLE)
    with pytest.raises(NeurodecError, match=r"SN003_sleepscoring.edf is missing \(1 file\(s\) in all\)"):
        reader.parts(tmp_path)
    touch(tmp_path, "recordings/SN003_sleepscoring.edf")
    trials = read(reader, tmp_path)
    assert trials.responses.shape == (5, 4, 6000)
    assert trials.table["concept"].tolist() == ["W", "N1", "N2", "N3", "R"]
    assert account(trials)["events"]["left_out"] == {"of no known stage, or not of 30 s": 1}
    assert any("Arousal" in note for note in account(trials)["notes"])
    touch(tmp_path / "all", *(f"recordings/SN{person:03d}.edf" for person in range(1, 152)))
    assert splits(HMC(), tmp_path / "all") == {"train": 100, "validation": 25, "test": 26}


def test_bcic2020(tmp_path):
    pytest.importorskip("openpyxl", reason="openpyxl writes the sheet of answers")
    trees.bcic2020(tmp_path, BCIC2020.ch_names)
    reader = BCIC2020()
    assert splits(reader, tmp_path) == {"train": 1, "validation": 1, "test": 1}
    train, validation, test = (read(reader, tmp_path, place) for place in range(3))
    assert train.responses.shape == (6, 64, 600)
    assert train.table["concept"].tolist() == ["hello", "help me", "stop", "thank you", "yes", "hello"]
    assert set(validation.table["split"]) == {"validation"}
    assert test.table["concept"].tolist() == ["yes", "thank you", "stop", "help me"]
    trial = resample(noise(2, 64, 795)[:, -768:], 600, axis=-1) / 100
    for own in (train, test):
        np.testing.assert_allclose(own.responses[2], trial, atol=1e-5)


def test_tuab(tmp_path):
    for person in ("aaaaaaaa", "aaaaaaab", "aaaaaaac", "aaaaaaad", "aaaaaaae"):
        trees.tuab(tmp_path, "train", "normal", person)
    for person in ("aaaaaaba", "aaaaaabb"):
        trees.tuab(tmp_path, "train", "abnormal", person)
    trees.tuab(tmp_path, "eval", "abnormal", "aaaaaaca")
    assert splits(TUAB(), tmp_path) == {"train": 5, "validation": 2, "test": 1}
    trials = read(TUAB(), tmp_path, 0)
    assert trials.responses.shape == (2, 16, 2000)
    assert set(trials.table["concept"]) == {"abnormal"}
    assert trials.table["split"].tolist() == ["test"] * 2
    banana = np.asarray(trials.responses)
    whole = banana[:, :4].sum(axis=1) - banana[:, 8:12].sum(axis=1)  # FP1 to O1, on two ways
    np.testing.assert_allclose(whole, 0, atol=1e-5)
    trees.tuab(tmp_path, "eval", "normal", "aaaaaaaa")
    with pytest.raises(NeurodecError, match="aaaaaaaa is among the training and the evaluation"):
        TUAB().parts(tmp_path)


def test_tuev(tmp_path):
    for person in ("aaaaaaar", "aaaaaaas"):
        path = trees.tuev(
            tmp_path, "train", person, [(3, 0.0, 1.0, 6), (4, 10.0, 11.0, 1), (0, 19.0, 20.0, 5)]
        )
    trees.tuev(tmp_path, "eval", "000", [(3, 5.0, 6.0, 2)])
    assert splits(TUEV(), tmp_path) == {"train": 1, "validation": 1, "test": 1}
    trials = read(TUEV(), tmp_path, 1)
    assert trials.responses.shape == (3, 16, 1000)
    assert trials.table["concept"].tolist() == ["bckg", "spsw", "artf"]
    np.testing.assert_allclose(
        trials.responses[0, :, :400], trials.responses[2, :, 200:600], atol=1e-6
    )  # continued
    path.with_suffix(".rec").write_text("3,0.0,1.0,9\n")
    with pytest.raises(NeurodecError, match="has the label 9"):
        read(TUEV(), tmp_path, 2)
    path.with_suffix(".rec").write_text("3;0.0\n")
    with pytest.raises(NeurodecError, match="line 1: 4 numbers are expected"):
        read(TUEV(), tmp_path, 2)


def test_tusl(tmp_path):
    rows = [(0.0, 10.0, "bckg"), (12.5, 22.5, "slow"), (25.0, 35.0, "seiz")]
    for person in ("aaaaaaju", "aaaaaaka", "aaaaaakb"):
        path = trees.tusl(tmp_path, person, rows)
    assert splits(TUSL(), tmp_path) == {"train": 1, "validation": 1, "test": 1}
    trials = read(TUSL(), tmp_path)
    assert any("part of TUEG" in note for note in account(trials)["notes"])
    assert trials.responses.shape == (3, 19, 2000)
    assert trials.table["concept"].tolist() == ["bckg", "slow", "seiz"]
    path.with_suffix(".tse_agg").write_text("version = tse_v1.0.0\n\n0 10 eyes 1.0\n")
    with pytest.raises(NeurodecError, match="has the label eyes"):
        read(TUSL(), tmp_path, 2)


def test_annotated(tmp_path):
    names = ["EEG C3-REF", "EEG C4-REF", "Oz", "ECG"]
    marks = [
        (0.0, 12.0, "left"),
        (12.0, 3.0, "right"),
        (20.0, None, "right"),
        (26.0, 4.0, "pause"),
        (28.0, 5.0, "left"),
    ]
    for person in range(3):
        write_edf(tmp_path / f"sub-{person}_task-x.edf", names, noise(person, 4, 250 * 30), 250, marks)
    reader = AnnotatedWindows(labels={"left": "L", "right": "R"}, channels=["C3", "C4", "OZ"])
    trials = read(reader, tmp_path)
    assert trials.responses.shape == (3, 3, 1000)
    assert trials.table["concept"].tolist() == ["L", "L", "R"]
    assert account(trials)["events"]["left_out"] == {
        "annotations that are not in `labels`": 1,
        "shorter than a window": 2,  # one is cut off by the end of the recording
    }
    with pytest.raises(NeurodecError, match="it has left, pause, right"):
        read(AnnotatedWindows(labels={"up": "U"}, channels=["C3"]), tmp_path)
    with pytest.raises(NeurodecError, match="lacks the channel F9"):
        read(AnnotatedWindows(labels={"left": "L"}, channels=["F9"]), tmp_path)
    with pytest.raises(NeurodecError, match="needs `labels`"):
        AnnotatedWindows().parts(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda values: values / 1e4, "typical size"),
        (lambda values: np.where(np.arange(values.shape[1]) > 50, 0, values), "typical size"),
    ],
    ids=["a wrong unit", "nothing connected"],
)
def test_what_is_no_eeg_is_refused(tmp_path, change, sentence):
    names = [f"EEG {name}" for name in MentalArithmetic.ch_names]
    for person in range(3):
        values = change(noise(person, 19, 500 * 12))
        write_edf(tmp_path / f"Subject{person:02d}_1.edf", names, values, 500)
    with pytest.raises(NeurodecError, match=sentence):
        read(MentalArithmetic(**BY_PEOPLE), tmp_path)


def test_dead_and_clipped_channels_are_noted(tmp_path):
    names = [f"EEG {name}" for name in MentalArithmetic.ch_names]
    for person in range(3):
        values = noise(person, 19, 500 * 12)
        values[3] = 0
        values[5, :2500] = np.clip(values[5, :2500], -8, 8)
        write_edf(tmp_path / f"Subject{person:02d}_1.edf", names, values, 500)
    notes = account(read(MentalArithmetic(**BY_PEOPLE), tmp_path))["notes"]
    assert "in 2 of 2 windows a channel never changes" in notes


def test_slow_recordings_and_empty_folders(tmp_path):
    names = [f"EEG {name}" for name in MentalArithmetic.ch_names]
    for person in range(3):
        write_edf(tmp_path / f"Subject{person:02d}_1.edf", names, noise(person, 19, 128 * 12), 128)
    with pytest.raises(NeurodecError, match=r"Subject00_1.edf has 128 Hz, less than the 200 Hz"):
        read(MentalArithmetic(**BY_PEOPLE), tmp_path)
    for kind in (CHBMIT, Siena, TUAB, SEEDVIG, HMC, BCIC2020):
        with pytest.raises(NeurodecError, match=f"is a recording of {kind.__name__}, whose files are"):
            kind().parts(tmp_path / "nothing")


def test_splits_that_do_not_fit():
    with pytest.raises(NeurodecError, match="does not know chb99"):
        split_of("CHBMIT", "published", ["chb01", "chb99"])
    with pytest.raises(NeurodecError, match="3 splits need as many people, and there are 2"):
        split_of("HMC", "by_people", ["a", "b"])
    assert list(split_of("HMC", "by_people", list("abcdefghij")).values()).count("test") == 2
    assert split_of("TUSL", "published", list("abcdef")) == split_of("TUSL", "published", list("fedcba"))
