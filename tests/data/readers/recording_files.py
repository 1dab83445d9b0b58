"""Write small recordings in the formats that laboratories use, without the packages that export them."""

from pathlib import Path

import numpy as np
import scipy.io

CH_NAMES = ["Fp1", "Cz", "O1", "O2"]
SFREQ = 250.0


def evoked_signals(rng, onsets, conditions, n_seconds=40):
    """Noise of 10 µV; condition "cat" adds 30 µV at O1 from 0.1 to 0.3 s, "dog" at O2. In volts."""
    signals = 1e-5 * rng.standard_normal((4, int(n_seconds * SFREQ)))
    for onset, condition in zip(onsets, conditions, strict=True):
        first = round((onset + 0.1) * SFREQ)
        signals[2 if condition == "cat" else 3, first : first + 50] += 3e-5
    return signals


def write_edf(path: Path, signals, *, bdf=False):
    """One-second records; physical range ±500 µV, so a step is 0.015 µV (EDF) or less (BDF)."""
    n_chans, n_records, rate = len(signals), signals.shape[1] // int(SFREQ), int(SFREQ)
    top = 2**23 - 1 if bdf else 2**15 - 1
    head = [("\xffBIOSEMI" if bdf else "0", 8), ("X X X X", 80), ("Startdate X X X X", 80)]
    head += [("01.01.20", 8), ("00.00.00", 8), (str(256 * (n_chans + 1)), 8), ("24BIT" if bdf else "", 44)]
    head += [(str(n_records), 8), ("1", 8), (str(n_chans), 4)]
    columns = [(CH_NAMES, 16), ([""] * n_chans, 80), (["uV"] * n_chans, 8)]
    columns += [([str(value)] * n_chans, 8) for value in (-500, 500, -top, top)]
    columns += [([""] * n_chans, 80), ([str(rate)] * n_chans, 8), ([""] * n_chans, 32)]
    text = "".join(value.ljust(width) for value, width in head)
    text += "".join(value.ljust(width) for values, width in columns for value in values)
    digital = np.round(signals * 1e6 / 500 * top).astype("<i4").reshape(n_chans, n_records, rate)
    samples = digital.transpose(1, 0, 2).ravel()
    content = (
        samples.view(np.uint8).reshape(-1, 4)[:, :3].tobytes() if bdf else samples.astype("<i2").tobytes()
    )
    path.write_bytes(text.encode("latin1") + content)


def write_brainvision(path: Path, signals, onsets=(), markers=()):
    """Header, markers and float32 microvolts."""
    lines = [
        "Brain Vision Data Exchange Header File Version 1.0",
        "[Common Infos]",
        f"DataFile={path.stem}.eeg",
    ]
    lines += [f"MarkerFile={path.stem}.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED"]
    lines += [f"NumberOfChannels={len(signals)}", f"SamplingInterval={1e6 / SFREQ:g}"]
    lines += ["[Binary Infos]", "BinaryFormat=IEEE_FLOAT_32", "[Channel Infos]"]
    lines += [f"Ch{i + 1}={name},,1,µV" for i, name in enumerate(CH_NAMES)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    marks = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", "Codepage=UTF-8"]
    marks += [f"DataFile={path.stem}.eeg", "[Marker Infos]"]
    for i, (onset, marker) in enumerate(zip(onsets, markers, strict=True)):
        marks.append(f"Mk{i + 1}=Stimulus,{marker},{round(onset * SFREQ) + 1},1,0")
    path.with_suffix(".vmrk").write_text("\n".join(marks) + "\n", encoding="utf-8")
    path.with_suffix(".eeg").write_bytes((signals.T * 1e6).astype("<f4").tobytes())


def write_eeglab(path: Path, signals):
    """An EEGLAB structure with the samples inside, microvolts."""
    places = np.array(
        [(name, 0.0, 0.0, 0.0) for name in CH_NAMES], dtype=[(k, "O") for k in ("labels", "X", "Y", "Z")]
    )
    content = {"setname": "x", "nbchan": 4, "trials": 1, "pnts": signals.shape[1], "srate": SFREQ}
    content |= {"xmin": 0.0, "xmax": (signals.shape[1] - 1) / SFREQ, "data": signals * 1e6}
    content |= {
        "chanlocs": places,
        "event": [],
        "icawinv": [],
        "icaweights": [],
        "icasphere": [],
        "icachansind": [],
    }
    scipy.io.savemat(path, {"EEG": content}, appendmat=False)
