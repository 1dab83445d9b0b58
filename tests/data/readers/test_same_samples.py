"""Which samples and which files a recording is made of: headers that point elsewhere, links, odd names."""

import os
import unicodedata

import mne
import numpy as np
import pandas as pd
import pytest
import scipy.io
from data.readers.recording_files import CH_NAMES, SFREQ, write_brainvision, write_edf

from neurodec import NeurodecError
from neurodec.data.account import Account
from neurodec.data.patterns import bids_files, files_below, find_files
from neurodec.data.readers.opening import open_epochs, open_raw
from neurodec.data.warned import heard
from neurodec.errors import require_fetched


@pytest.fixture
def signals(rng):
    return 1e-5 * rng.standard_normal((4, 2000))


def renamed(path, **names):
    text = path.read_text()
    for key, name in names.items():
        text = "\n".join(
            f"{key}={name}" if line.startswith(f"{key}=") else line for line in text.splitlines()
        )
    path.write_text(text)


def refused(path, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        open_raw(path, Account())


def test_a_header_copied_from_another_recording(tmp_path, signals):
    for name in ("a", "b"):
        write_brainvision(tmp_path / f"{name}.vhdr", signals)
    renamed(tmp_path / "b.vhdr", DataFile="a.eeg")
    refused(tmp_path / "b.vhdr", r"b.vhdr names a.eeg as its DataFile, though b.eeg lies beside it")
    (tmp_path / "b.eeg").unlink()  # the header alone was copied
    refused(tmp_path / "b.vhdr", r"though that belongs to a.vhdr")


def test_markers_of_another_recording(tmp_path, signals):
    for name in ("a", "b"):
        write_brainvision(tmp_path / f"{name}.vhdr", signals, [2.0], ["S  1"])
    renamed(tmp_path / "b.vhdr", MarkerFile="a.vmrk")
    refused(tmp_path / "b.vhdr", "names a.vmrk as its MarkerFile")


def test_samples_outside_the_folder(tmp_path, signals):
    inner = tmp_path / "inner"
    inner.mkdir()
    write_brainvision(tmp_path / "a.vhdr", signals)
    write_brainvision(inner / "b.vhdr", signals)
    renamed(inner / "b.vhdr", DataFile="../a.eeg")
    refused(inner / "b.vhdr", r"names ../a.eeg as its DataFile, which is not a file beside it")


def test_a_file_of_another_name_alone_is_no_fault(tmp_path, signals):
    write_brainvision(tmp_path / "a.vhdr", signals)
    (tmp_path / "a.vhdr").rename(tmp_path / "sub-01.vhdr")
    raw, _ = open_raw(tmp_path / "sub-01.vhdr", Account())
    np.testing.assert_allclose(raw.get_data(), signals, atol=1e-9)


def write_set(path, signals, samples):
    signals.astype("f4").T.tofile(path.with_suffix(".fdt"))
    places = np.array([(name,) for name in CH_NAMES], dtype=[("labels", object)])
    eeg = {"setname": "x", "nbchan": 4.0, "trials": 1.0, "pnts": float(signals.shape[1]), "srate": SFREQ}
    eeg |= {"xmin": 0.0, "xmax": (signals.shape[1] - 1) / SFREQ, "data": samples, "chanlocs": places[None]}
    eeg |= {"event": [], "epoch": [], "icawinv": [], "icasphere": [], "icaweights": [], "icachansind": []}
    scipy.io.savemat(path, {"EEG": {**eeg, "ref": "common"}}, oned_as="row")


def test_an_eeglab_set_that_names_other_samples(tmp_path, signals):
    write_set(tmp_path / "a.set", signals, "a.fdt")
    write_set(tmp_path / "b.set", signals, "a.fdt")
    refused(tmp_path / "b.set", "names a.fdt as its samples, though b.fdt lies beside it")
    write_set(tmp_path / "b.set", signals, "../other/a.fdt")
    refused(tmp_path / "b.set", "which is not a file beside it")


def test_a_renamed_eeglab_set_says_what_was_taken(tmp_path, signals):
    write_set(tmp_path / "a.set", signals, "rec_0815.fdt")
    account = Account()
    open_raw(tmp_path / "a.set", account)
    assert any("using the correct file name (a.fdt)" in note for note in account.notes)


def test_pieces_of_fif_under_a_new_name(tmp_path, rng):
    info = mne.create_info(CH_NAMES, 1000.0, "eeg")
    raw = mne.io.RawArray(1e-5 * rng.standard_normal((4, 500_000)), info, verbose="error")
    raw.save(tmp_path / "a_raw.fif", split_size="5MB", verbose="error")
    assert (tmp_path / "a_raw-1.fif").exists()
    open_raw(tmp_path / "a_raw.fif", Account())
    (tmp_path / "a_raw.fif").rename(tmp_path / "b_raw.fif")
    refused(tmp_path / "b_raw.fif", r"goes on in a_raw-1.fif, a piece of another recording")


def epochs_set(path, own):
    """Epochs of 100 samples from -0.1 s; `own` holds the events (name, ms) of each."""
    events = [
        (name, 100 * k + 26 + ms / 1000 * SFREQ, k + 1) for k, held in enumerate(own) for name, ms in held
    ]
    kinds = [("type", object), ("latency", object), ("epoch", object)]
    table = np.array([(np.array([name]), place, epoch) for name, place, epoch in events], dtype=kinds)
    names = [np.array([name for name, _ in held], object) for held in own]
    fields = [(held if len(held) > 1 else held[0], 0.0) for held in names]
    epoch = np.array(fields, dtype=[("eventtype", object), ("eventlatency", object)])
    places = np.array([(name,) for name in CH_NAMES], dtype=[("labels", object)])
    eeg = {
        "setname": "x",
        "nbchan": 4.0,
        "trials": float(len(own)),
        "pnts": 100.0,
        "srate": SFREQ,
        "ref": "common",
    }
    eeg |= {"xmin": -25 / SFREQ, "xmax": 74 / SFREQ, "chanlocs": places[None]}
    eeg |= {"data": np.ones((4, 100, len(own)), "f4"), "event": table[None], "epoch": epoch[None]}
    eeg |= {"icawinv": [], "icasphere": [], "icaweights": [], "icachansind": []}
    scipy.io.savemat(path, {"EEG": eeg}, oned_as="row")


def test_the_event_at_zero_names_an_epoch(tmp_path):
    epochs_set(tmp_path / "a.set", [[("cat", 0)], [("dog", 0), ("press", 180)], [("press", -60), ("cat", 0)]])
    account = Account()
    epochs = open_epochs(tmp_path / "a.set", account)
    names = {code: name for name, code in epochs.event_id.items()}
    assert [names[code] for code in epochs.events[:, 2]] == ["cat", "dog", "cat"]
    assert "2 further event(s) within epochs are not read; the event at 0 s names its epoch" in account.notes


def test_two_events_at_zero_are_a_question(tmp_path):
    epochs_set(tmp_path / "a.set", [[("cat", 0), ("trial", 0)], [("dog", 0)]])
    with pytest.raises(NeurodecError, match="epoch 1 holds cat, trial, of which 2 lie at 0 s"):
        open_epochs(tmp_path / "a.set", Account())


def test_events_without_times_keep_joined_names_and_are_told(tmp_path):
    epochs_set(tmp_path / "a.set", [[("cat", 0), ("press", np.nan)], [("dog", 0)]])
    account = Account()
    assert set(open_epochs(tmp_path / "a.set", account).event_id) == {"cat/press", "dog"}
    assert (
        "some epochs hold several events whose times are not told; their names are joined by /"
        in account.notes
    )


def test_markers_beyond_the_end_are_told(signals):
    info = mne.create_info(list(CH_NAMES), SFREQ, "eeg")
    account = Account()
    with heard(account, "x"):
        mne.io.RawArray(signals, info, verbose="error").set_annotations(
            mne.Annotations([1.0, 99.0], 0.0, ["a", "b"])
        )
    assert any("Omitted 1 annotation" in note for note in account.notes)


def test_linked_folders_are_entered_and_circles_are_not(tmp_path):
    disk, root = tmp_path / "disk/sub-02/eeg", tmp_path / "root"
    disk.mkdir(parents=True)
    (root / "sub-01/eeg").mkdir(parents=True)
    for folder in (disk, root / "sub-01/eeg"):
        (folder / "x_eeg.vhdr").touch()
    (root / "sub-02").symlink_to(tmp_path / "disk/sub-02")
    (root / "sub-01/again").symlink_to(root)
    found = bids_files(root, "sub-*/**/eeg/*_eeg.*")
    assert [path.relative_to(root).as_posix() for path in found] == [
        "sub-01/eeg/x_eeg.vhdr",
        "sub-02/eeg/x_eeg.vhdr",
    ]


def test_what_bids_leaves_open_is_not_read(tmp_path):
    for folder in (
        "sub-01/func",
        "sourcedata/sub-01/func",
        "code/sub-01/func",
        "derivatives/x/sourcedata/sub-01/func",
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "sub-01_bold.nii.gz").touch()
    assert len(bids_files(tmp_path, "**/sub-*_bold.nii*")) == 1


def test_hidden_files_and_brackets(tmp_path):
    for name in ("sub-01[1].edf", "._sub-01[1].edf", ".git/x.edf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in files_below(tmp_path, "**/*.edf")] == ["sub-01[1].edf"]
    assert find_files(tmp_path, "sub-{subject}[1].edf")[0][1] == {"subject": "01"}


def test_accents_of_macos(tmp_path):
    (tmp_path / unicodedata.normalize("NFD", "sub-Zoé.edf")).touch()
    ((_, fields),) = find_files(tmp_path, "sub-{subject}.edf")
    assert fields["subject"] == unicodedata.normalize("NFC", "Zoé")


def test_many_stars_end(tmp_path):
    folder = tmp_path
    for depth in range(30):
        folder = folder / f"d{depth}"
    folder.mkdir(parents=True)
    (folder / "x.edf").touch()
    assert len(files_below(tmp_path, "**/d*/**/d*/**/*.edf")) == 1
    with pytest.raises(NeurodecError, match=r"more than 3 times \*\*"):
        files_below(tmp_path, "**/a/**/b/**/c/**/*.edf")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"/annex/objects/SHA256E-s261--8fac.edf\n", "datalad get"),
    ],
)
def test_contents_that_were_not_fetched(tmp_path, content, sentence):
    (tmp_path / "a.edf").write_bytes(content)
    refused(tmp_path / "a.edf", sentence)


def test_links_to_nothing(tmp_path):
    os.symlink("../.git/annex/objects/8p/x.tsv", tmp_path / "a.tsv")
    os.symlink("elsewhere.tsv", tmp_path / "b.tsv")
    with pytest.raises(NeurodecError, match="datalad get"):
        require_fetched(tmp_path / "a.tsv")
    with pytest.raises(NeurodecError, match=r"is a link to a file that is not there .elsewhere.tsv."):
        require_fetched(tmp_path / "b.tsv")


def test_repeated_channel_names_are_told(tmp_path, signals):
    write_edf(tmp_path / "a.edf", signals)
    content = bytearray((tmp_path / "a.edf").read_bytes())
    content[256 : 256 + 32] = b"O1              O1              "
    (tmp_path / "a.edf").write_bytes(bytes(content))
    account = Account()
    open_raw(tmp_path / "a.edf", account)
    assert any("Channel names are not unique" in note for note in account.notes)


def test_a_marker_file_that_is_gone_is_told(tmp_path, signals):
    write_brainvision(tmp_path / "a.vhdr", signals, [2.0], ["S  1"])
    (tmp_path / "a.vmrk").unlink()
    account = Account()
    open_raw(tmp_path / "a.vhdr", account)
    assert any("not found" in note for note in account.notes)


def test_people_whose_channels_differ_in_case_share_a_space(tmp_path, signals):
    from neurodec.data import Recordings, Study, prepare
    from neurodec.preprocessing.eeg import EEGPreprocessing

    for subject, names in (("1", CH_NAMES), ("2", [name.upper() for name in CH_NAMES])):
        raw = mne.io.RawArray(
            signals * (1 + int(subject)), mne.create_info(list(names), SFREQ, "eeg"), verbose="error"
        )
        raw.save(tmp_path / f"s{subject}_raw.fif", verbose="error")
        pd.DataFrame({"onset": [2.0, 4.0], "stimulus": ["cat", "dog"]}).to_csv(
            tmp_path / f"s{subject}.csv", index=False
        )
    reader = Recordings(
        "s{subject}_raw.fif", events="s{subject}.csv", preprocessing=EEGPreprocessing(tmax=0.3)
    )
    study = Study.load(prepare(reader, tmp_path, tmp_path.parent / "prepared", "none"))
    assert list(study.spaces) == ["all"]
    assert study.trials.ch_names == list(CH_NAMES)
    assert any("FP1 as Fp1" in note for entry in study.account for note in entry["notes"])


def test_samples_that_were_not_fetched_beside_a_header_that_was(tmp_path, signals):
    write_brainvision(tmp_path / "a.vhdr", signals)
    (tmp_path / "a.eeg").unlink()
    os.symlink(".git/annex/objects/8p/x.eeg", tmp_path / "a.eeg")
    refused(tmp_path / "a.vhdr", r"a.eeg is known to git-annex, but its content was not fetched")
