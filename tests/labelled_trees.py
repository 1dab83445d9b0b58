"""Small trees in the official layouts of EEG data sets with classes, written by other libraries than read them."""

import pickle
import struct
from zlib import crc32

import h5py
import numpy as np
from edfio import Edf, EdfAnnotation, EdfSignal
from scipy.io import savemat


def noise(seed, n_chans, n_times, size=20.0):
    """Return microvolts (n_chans, n_times)."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(n_chans, n_times + 8))
    smooth = np.stack([white[:, place : place + n_times] for place in range(8)]).mean(axis=0)
    return size * smooth / smooth.std()


def write_edf(path, ch_names, values, sfreq, annotations=()):
    """Write microvolts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        EdfSignal(row, sfreq, label=name, physical_dimension="uV", physical_range=(-3000, 3000))
        for name, row in zip(ch_names, values, strict=True)
    ]
    Edf(signals, annotations=[EdfAnnotation(*one) for one in annotations]).write(path)


def write_cnt(path, ch_names, values, sfreq):
    """Write a Neuroscan file of 32-bit numbers: 900 bytes, 75 for every channel, samples, a table of events."""
    n_chans, n_times = values.shape
    header = bytearray(900)
    header[:12] = b"Version 3.0\0"
    header[225:235], header[235:247] = b"01/02/18\0\0", b"10:00:00\0\0\0\0"
    struct.pack_into("<H", header, 370, n_chans)
    struct.pack_into("<H", header, 376, int(sfreq))
    struct.pack_into("<l", header, 864, n_times)
    struct.pack_into("<l", header, 886, 900 + 75 * n_chans + n_times * n_chans * 4)
    resolution = 0.02  # microvolts
    blocks = b""
    for place, name in enumerate(ch_names):
        block = bytearray(75)
        block[: len(name)] = name.encode()
        struct.pack_into("<f", block, 19, float(place % 9))
        struct.pack_into("<f", block, 23, float(place // 9))
        struct.pack_into("<f", block, 59, 1.0)
        struct.pack_into("<f", block, 71, 204.8 * resolution)
        blocks += bytes(block)
    samples = np.round(values / resolution).astype("<i4").T.tobytes()
    table = struct.pack("<BLL", 1, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(header) + blocks + samples + table)


def bciciv2a(root, subject=1, session="T", n_runs=2, labels=(1, 2, 3, 4)):
    runs = []
    for run in range(n_runs + 1):  # the first holds no trial
        values = noise(run + 10 * subject, 25, 250 * 8 * len(labels)).T
        onsets = np.zeros(0) if run == 0 else 1.0 + 250 * 8 * np.arange(len(labels))
        codes = np.zeros(0) if run == 0 else np.array(labels, dtype=float)
        marked = np.zeros(len(onsets))
        marked[-1:] = 1
        runs.append(
            {
                "X": values,
                "trial": onsets[:, None],
                "y": codes[:, None],
                "fs": 250.0,
                "artifacts": marked[:, None],
            }
        )
    cells = np.empty((1, len(runs)), dtype=object)
    cells[0, :] = runs
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / f"A{subject:02d}{session}.mat", {"data": cells}, do_compression=True)
    return runs


def physionet(root, names, person=1, run=4, codes=("T0", "T1", "T0", "T2")):
    dotted = [f"{name[0]}{name[1:].lower()}".ljust(4, ".") for name in names]
    values = noise(person * 100 + run, len(names), 160 * 5 * len(codes))
    marks = [(5.0 * place, 4.1, code) for place, code in enumerate(codes)]
    write_edf(root / f"S{person:03d}/S{person:03d}R{run:02d}.edf", dotted, values, 160, marks)


def shu(root, person=1, session=1, n_trials=4):
    root.mkdir(parents=True, exist_ok=True)
    values = np.stack([noise(place, 32, 1000) for place in range(n_trials)])
    labels = np.arange(n_trials)[None] % 2 + 1
    file = f"sub-{person:03d}_ses-{session:02d}_task_motorimagery_eeg.mat"
    savemat(root / file, {"data": values, "labels": labels})
    return values


def faced(root, person=0):
    folder = root / "Processed_data"
    folder.mkdir(parents=True, exist_ok=True)
    values = noise(person, 28 * 32, 7500).reshape(28, 32, 7500)
    (folder / f"sub{person:03d}.pkl").write_bytes(pickle.dumps(values.astype(np.float32)))
    return values


def seedvig(root, name="1_20151124_noon_2", n_windows=5):
    values = noise(crc32(name.encode()), 17, 1600 * n_windows).T
    struct_ = {"data": values, "sample_rate": 200.0, "node_number": 17.0}
    perclos = np.linspace(0, 1, n_windows)[:, None]
    for folder, content in (("Raw_Data", {"EEG": struct_}), ("perclos_labels", {"perclos": perclos})):
        (root / folder).mkdir(parents=True, exist_ok=True)
        savemat(root / folder / f"{name}.mat", content)
    return values


def bcic2020(root, names, n_train=6, n_test=4):
    from openpyxl import Workbook

    for folder, key, n in (("Training set", "epo_train", n_train), ("Validation set", "epo_validation", 5)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        values = np.stack([noise(place, 64, 795) for place in range(n)])
        labels = np.eye(5)[:, np.arange(n) % 5]
        clab = np.array(names, dtype=object)
        content = {"clab": clab, "fs": 256.0, "x": values.transpose(2, 1, 0), "y": labels}
        savemat(root / folder / "Data_Sample01.mat", {key: content})
    (root / "Test set").mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "Test set/Data_Sample01.mat", "w", userblock_size=512) as file:
        file["epo_test/x"] = np.stack([noise(place, 64, 795) for place in range(n_test)])
    book = Workbook()
    sheet = book.active
    sheet.cell(1, 1, "Track 3")
    for column, sample in ((2, "Data_Sample01"), (4, "Data_Sample02")):
        sheet.cell(2, column, sample)
        sheet.cell(3, column, "Trial number")
        sheet.cell(3, column + 1, "True label")
        for trial in range(n_test):
            sheet.cell(4 + trial, column, trial + 1)
            sheet.cell(4 + trial, column + 1, 5 - trial)
    book.save(root / "Test set/Track3_Answer Sheet_Test.xlsx")


def chbmit(root, pairs, person="chb01", number=3, seconds=60, seizures=((12, 33),), doubled=True):
    names = [*pairs, "FZ-CZ", "T8-P8", "-"] if doubled else list(pairs)
    values = noise(crc32(person.encode()) + number, len(names), 256 * seconds)
    write_edf(root / f"{person}/{person}_{number:02d}.edf", names, values, 256)
    lines = [f"File Name: {person}_{number:02d}.edf", "File Start Time: 13:43:04", "File End Time: 14:43:04"]
    lines += [f"Number of Seizures in File: {len(seizures)}"]
    for place, (first, last) in enumerate(seizures, 1):
        which = "" if len(seizures) == 1 else f" {place}"
        lines += [f"Seizure{which} Start Time: {first} seconds", f"Seizure{which} End Time: {last} seconds"]
    with (root / f"{person}/{person}-summary.txt").open("a") as file:
        file.write("\n".join(["", *lines, ""]))


def siena(root, names, person="PN06", number=1, seconds=60, listed=None, shift=0):
    own = f"{person}-{number}"
    write_edf(
        root / f"{person}/{own}.edf",
        [f"EEG {name}" for name in names],
        noise(crc32(person.encode()) + number, len(names), 512 * seconds),
        512,
    )
    lines = [
        f"Seizure n {number}",
        f"File name: {listed or own}.edf",
        "Registration start time: 23.59.40",
        "Registration end time: 00.00.40",
        "Seizure start time: 23.59.52",
        f"Seizure end time: 0{shift}.00.13",
        "",
    ]
    with (root / f"{person}/Seizures-list-{person}.txt").open("a") as file:
        file.write("\n".join(lines))


def isruc(root, names, person=1, n_epochs=5, codes=(0, 1, 2, 3, 5)):
    folder = root / f"{person}"
    names = ["X1", "LOC-A2", *(f"{name}-{'A2' if name[1] == '3' else 'A1'}" for name in names)]
    write_edf(folder / "night.edf", names, noise(person, len(names), 200 * 30 * n_epochs), 200)
    (folder / "night.edf").rename(folder / f"{person}.rec")
    (folder / f"{person}_1.txt").write_text("\r\n".join(map(str, codes)) + "\r\n\r\n")


def hmc(root, names, person=1, stages=("W", "N1", "N2", "N3", "R")):
    references = {"F4": "M1", "C4": "M1", "O2": "M1", "C3": "M2"}
    own = [*(f"EEG {name}-{references[name]}" for name in names), "EMG chin"]
    folder = root / "recordings"
    write_edf(folder / f"SN{person:03d}.edf", own, noise(person, len(own), 256 * 30 * (len(stages) + 1)), 256)
    marks = [(30.0 * place, 30.0, f"Sleep stage {stage}") for place, stage in enumerate(stages)]
    marks += [
        (0.0, None, "Lights off@@EEG F4-A1"),
        (31.0, None, "Arousal"),
        (30.0 * len(stages), 12.0, "Sleep stage W"),
    ]
    write_edf(folder / f"SN{person:03d}_sleepscoring.edf", ["X"], noise(0, 1, 256 * 30), 256, marks)


def tuh_names(names, reference="REF"):
    return [f"EEG {name}-{reference}" for name in names]


UNIPOLAR = [
    "FP1",
    "FP2",
    "F3",
    "F4",
    "C3",
    "C4",
    "P3",
    "P4",
    "O1",
    "O2",
    "F7",
    "F8",
    "T3",
    "T4",
    "T5",
    "T6",
    "A1",
    "A2",
    "FZ",
    "CZ",
    "PZ",
]


def tuab(root, part, kind, person, seconds=25):
    path = root / f"edf/{part}/{kind}/01_tcp_ar/{person}_s004_t000.edf"
    write_edf(
        path,
        [*tuh_names(UNIPOLAR), "PHOTIC-REF"],
        noise(crc32(person.encode()), len(UNIPOLAR) + 1, 250 * seconds),
        250,
    )
    return path


def tuev(root, part, person, rows, seconds=20):
    path = root / f"edf/{part}/{person}/{person}_00000001.edf"
    write_edf(path, tuh_names(UNIPOLAR), noise(crc32(person.encode()), len(UNIPOLAR), 250 * seconds), 250)
    path.with_suffix(".rec").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def tusl(root, person, rows, seconds=40):
    path = root / f"edf/{person}/s005_2010/02_tcp_le/{person}_s005_t000.edf"
    write_edf(
        path, tuh_names(UNIPOLAR, "LE"), noise(crc32(person.encode()), len(UNIPOLAR), 400 * seconds), 400
    )
    lines = [
        "version = tse_v1.0.0",
        "",
        *(f"{first:.4f} {last:.4f} {label} 1.0000" for first, last, label in rows),
    ]
    path.with_suffix(".tse_agg").write_text("\n".join(lines) + "\n")
    return path
