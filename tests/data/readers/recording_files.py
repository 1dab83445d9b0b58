"""Write small recordings in the formats that laboratories use, without the packages that export them."""

import struct
from pathlib import Path

import nibabel
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


def write_edf(path: Path, signals, *, bdf=False, status=None, starts=None, marks=(), n_records=None):
    """One-second records; physical range ±500 µV, so a step is 0.015 µV (EDF) or less (BDF).

    `status` adds a BioSemi status channel; `starts` (clock seconds of the records) and `marks` (clock second, text)
    make it a discontinuous EDF+; `n_records` is what the header claims.
    """
    n_chans, rate = len(signals), int(SFREQ)
    n_written = signals.shape[1] // rate
    top, width = (2**23 - 1, 3) if bdf else (2**15 - 1, 2)
    digital = np.round(signals * 1e6 / 500 * top).astype("<i4")
    labels, units, samples = list(CH_NAMES[:n_chans]), ["uV"] * n_chans, [rate] * n_chans
    low, high = [-top] * n_chans, [top] * n_chans
    physical = [(-500, 500)] * n_chans
    if status is not None:
        digital = np.vstack([digital, np.asarray(status, dtype="<i4")])
        labels, units, samples = [*labels, "Status"], [*units, "Boolean"], [*samples, rate]
        low, high, physical = [*low, -8388608], [*high, 8388607], [*physical, (-8388608, 8388607)]
    tal = 64
    if starts is not None:
        labels, units, samples = [*labels, "EDF Annotations"], [*units, ""], [*samples, tal // width]
        low, high, physical = [*low, -32768], [*high, 32767], [*physical, (-1, 1)]
    n_signals = len(labels)
    kind = "24BIT" if bdf else ("EDF+D" if starts is not None else "")
    head = [("\xffBIOSEMI" if bdf else "0", 8), ("X X X X", 80), ("Startdate 01-JAN-2020 X X X", 80)]
    head += [("01.01.20", 8), ("00.00.00", 8), (str(256 * (n_signals + 1)), 8), (kind, 44)]
    head += [(str(n_written if n_records is None else n_records), 8), ("1", 8), (str(n_signals), 4)]
    columns = [(labels, 16), ([""] * n_signals, 80), (units, 8)]
    columns += [([str(pair[i]) for pair in physical], 8) for i in (0, 1)]
    columns += [([str(value) for value in values], 8) for values in (low, high)]
    columns += [([""] * n_signals, 80), ([str(count) for count in samples], 8), ([""] * n_signals, 32)]
    text = "".join(value.ljust(width) for value, width in head)
    text += "".join(value.ljust(width) for values, width in columns for value in values)
    body = b""
    for record in range(n_written):
        block = digital[:, record * rate : (record + 1) * rate].ravel()
        body += block.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
        if starts is not None:
            begin = starts[record]
            told = "".join(f"+{t:.3f}\x14{mark}\x14\x00" for t, mark in marks if begin <= t < begin + 1)
            body += f"+{begin}\x14\x14\x00{told}".encode().ljust(tal, b"\x00")
    path.write_bytes(text.encode("latin1") + body)


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


def write_xdf(path: Path, signals, onsets=(), markers=(), unit="microvolts"):
    """One EEG stream and one of markers, chunk by chunk as the format's specification has it."""

    def chunk(tag, content):
        body = struct.pack("<H", tag) + content
        return b"\x04" + struct.pack("<I", len(body)) + body

    def header(number, name, kind, n_chans, rate, form, desc=""):
        text = f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type>"
        text += f"<channel_count>{n_chans}</channel_count><nominal_srate>{rate}</nominal_srate>"
        text += f"<channel_format>{form}</channel_format>"
        text += f"<created_at>0</created_at><desc>{desc}</desc></info>"
        return chunk(2, struct.pack("<I", number) + text.encode())

    listed = "".join(
        f"<channel><label>{name}</label><unit>{unit}</unit><type>EEG</type></channel>" for name in CH_NAMES
    )
    content = b"XDF:" + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
    content += header(1, "amp", "EEG", len(signals), SFREQ, "double64", f"<channels>{listed}</channels>")
    content += header(2, "stim", "Markers", 1, 0, "string")
    samples = struct.pack("<IB", 1, 4) + struct.pack("<I", signals.shape[1])
    for i, values in enumerate(signals.T * 1e6):
        samples += b"\x08" + struct.pack("<d", 100 + i / SFREQ) + values.astype("<f8").tobytes()
    content += chunk(3, samples)
    texts = struct.pack("<IB", 2, 4) + struct.pack("<I", len(onsets))
    for onset, marker in zip(onsets, markers, strict=True):
        text = str(marker).encode()
        texts += b"\x08" + struct.pack("<d", 100 + onset) + b"\x04" + struct.pack("<I", len(text)) + text
    content += chunk(3, texts)
    for number, count in ((1, signals.shape[1]), (2, len(onsets))):
        footer = f"<?xml version='1.0'?><info><sample_count>{count}</sample_count></info>"
        content += chunk(6, struct.pack("<I", number) + footer.encode())
    path.write_bytes(content)


def write_bold(root: Path, n_volumes: int):
    """A run of noise around 100 on a grid of 3 x 3 x 2, one volume every 2 s, and a mask of all voxels."""
    series = 100 + np.random.default_rng(0).standard_normal((3, 3, 2, n_volumes)).astype(np.float32)
    for name, values in (("task-a_bold", series), ("desc-brain_mask", np.ones((3, 3, 2), np.uint8))):
        image = nibabel.Nifti1Image(values, np.eye(4))
        if values.ndim == 4:
            image.header.set_zooms((1, 1, 1, 2.0))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, root / f"sub-01_{name}.nii.gz")
