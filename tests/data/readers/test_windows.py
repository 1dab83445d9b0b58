"""Windows of a folder of EDF recordings: what is cut, kept, left out, and listed."""

import shutil

import mne
import numpy as np
import pytest
from csbrain_corpus import FIRST, READER, SECOND, signals, write_corpus, write_edf

from neurodec.data import EEGWindows, Study, prepare
from neurodec.errors import NeurodecError

pytest.importorskip("edfio", reason="edfio writes the EDF files of these tests")


def prepared(tmp_path, root, **changes):
    folder = prepare(EEGWindows(**{**READER, **changes}), root, tmp_path / "prepared")
    return Study.load(folder)


def test_a_corpus_becomes_windows_of_every_montage(tmp_path):
    root = write_corpus(tmp_path / "data")
    study = prepared(tmp_path, root)
    assert len(study.table) == 10 * 12
    assert [name[:5] for name in study.spaces] == [
        "eeg8-",
        "eeg7-",
    ]  # people of one montage are read together
    assert {tuple(trials.ch_names) for trials in study.spaces.values()} == {
        ("FP1", "FP2", "C3", "C4", "T3", "T4", "O1", "O2"),
        tuple(name.upper() for name in SECOND),
    }
    tested = study.part("test").table["subject"].unique().tolist()
    assert tested == ["04"]
    assert study.info["units"] == "100 uV"
    assert study.info["sfreq"] == 200
    sizes = [float(np.std(trials.responses)) for trials in study.spaces.values()]
    assert 0.03 < min(sizes) < max(sizes) < 0.5


def test_values_are_those_of_mne_in_the_published_order(tmp_path):
    values = signals(np.random.default_rng(0), FIRST, 40)
    write_edf(tmp_path / "data/sub-a/a.edf", FIRST, values)
    write_edf(tmp_path / "data/sub-b/b.edf", FIRST, signals(np.random.default_rng(1), FIRST, 40))
    study = prepared(tmp_path, tmp_path / "data", held_out=["b"])
    raw = mne.io.read_raw(tmp_path / "data/sub-a/a.edf", preload=True, verbose="error")
    with mne.utils.use_log_level("error"):
        raw.resample(200).filter(0.3, 75).notch_filter(60)
    wanted = raw.get_data()[:, 400 : 400 + 7 * 1000].reshape(8, 7, 1000).swapaxes(0, 1) * 1e4
    found = study.part(subjects=["a"]).trials.responses
    np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-5)


def test_loud_flat_and_damaged_recordings_are_counted_and_listed(tmp_path):
    root = write_corpus(tmp_path / "data", 4, 0)
    rng = np.random.default_rng(5)
    loud = signals(rng, FIRST, 64)
    loud[3, 5000:5010] += 400e-6  # 40 ms at 19.5 s
    write_edf(root / "sub-10/loud.edf", FIRST, loud)
    write_edf(root / "sub-11/micro.edf", FIRST, signals(rng, FIRST, 64) * 1e3)  # a header in the wrong unit
    write_edf(root / "sub-12/short.edf", FIRST, signals(rng, FIRST, 6))
    write_edf(root / "sub-13/slow.edf", FIRST, signals(rng, FIRST, 64)[:, ::2], 128.0)
    write_edf(root / "sub-14/strange.edf", ["E1", "E2"], signals(rng, FIRST[:2], 64))
    write_edf(root / "sub-15/twice.edf", ["C3", "EEG C3-REF"], signals(rng, FIRST[:2], 64))
    whole = (root / "sub-00/sub-00_ses-0_eeg.edf").read_bytes()
    (root / "sub-16").mkdir()
    (root / "sub-16/cut.edf").write_bytes(whole[: len(whole) // 2])
    study = prepared(tmp_path, root, held_out=["03"])
    account = {entry["part"]: entry for entry in study.account}
    loud_entry = account["sub-10_loud"]
    assert loud_entry["events"]["left_out"] == {"reaching 100 microvolts": 1}
    lost = {name: entry["notes"][0] for name, entry in account.items() if entry["events"]["kept"] == 0}
    sentences = {
        "sub-11_micro": "typical size",
        "sub-12_short": "less than 10 s",
        "sub-13_slow": "has 128 Hz",
        "sub-14_strange": "no channel whose name tells an electrode",
        "sub-15_twice": "two channels C3",
        "sub-16_cut": "length of",
    }
    assert set(lost) == set(sentences)
    for name, sentence in sentences.items():
        assert sentence in lost[name], lost[name]
        assert lost[name].startswith("left out: ")
    assert set(study.subjects) == {"00", "01", "02", "03", "10"}


def test_a_montage_that_all_must_have(tmp_path):
    root = write_corpus(tmp_path / "data", 3, 2)
    study = prepared(tmp_path, root, ch_names=["O1", "T7", "C3"], held_out=["02"])
    assert study.trials.ch_names == ["O1", "T7", "C3"]
    assert set(study.subjects) == {"00", "01", "02"}  # the others lack O1 and T7


def test_bad_input(tmp_path):
    with pytest.raises(NeurodecError, match="No file below"):
        EEGWindows().parts(tmp_path)
    root = write_corpus(tmp_path / "data", 2, 0, seconds=8)
    with pytest.raises(
        NeurodecError, match=r"None of 3 recordings can be used; the first: .*less than 300 s"
    ):
        prepare(EEGWindows(), root, tmp_path / "prepared")
    write_edf(
        tmp_path / "tueg/edf/000/aaaa/s1/01_tcp_ar/t0.edf", FIRST, signals(np.random.default_rng(0), FIRST, 8)
    )
    with pytest.raises(
        NeurodecError, match=r"The subject of the .* is unknown.* put \{subject\} into `files`"
    ):
        EEGWindows().parts(tmp_path / "tueg")
    (part,) = EEGWindows("edf/*/{subject}/*/*/*.edf").parts(tmp_path / "tueg")
    assert part.subject == "aaaa"
    with pytest.raises(NeurodecError, match=r"\(after `exclude`\)"):
        EEGWindows("edf/*/{subject}/*/*/*.edf", exclude=["01_tcp_ar"]).parts(tmp_path / "tueg")
    with pytest.raises(NeurodecError, match="names subject 77"):
        EEGWindows(held_out=["77"]).stimuli(root)


def test_the_tree_is_searched_once(tmp_path, monkeypatch):
    """Every recording asks who is tested; of 69,000 the tree would be walked 69,000 times."""
    root = write_corpus(tmp_path / "data")
    searched, search = [], EEGWindows._search
    monkeypatch.setattr(EEGWindows, "_search", lambda self, root: searched.append(1) or search(self, root))
    prepared(tmp_path, root)
    assert len(searched) == 1


def test_recordings_that_were_added_are_listed(tmp_path):
    """The list is kept for the recordings that ask who is tested, not from one preparation to the next."""
    root = write_corpus(tmp_path / "data")
    reader = EEGWindows()
    before = reader.parts(root)
    first = before[0].files[-1]
    shutil.copy(first, first.with_name(f"more-{first.name}"))
    assert len(reader.parts(root)) == len(before) + 1
