"""Small trees in the official layouts of data sets of speech: tones for words, noise for the brain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import mne
import numpy as np
import pandas as pd
import scipy.io
from scipy.io import wavfile

RATE = 8000  # Hz, of sounds
LEXICON = ("the", "old", "man", "sat", "on", "a", "boat", "and", "it's", "gone")
EXPECTED = [str(number) for number in range(1, 62) if number != 29]


@dataclass
class Told:
    """What a sound says: `words` with `start`, `duration`, `word`, `number` (of the sentence), and its seconds."""

    words: pd.DataFrame
    seconds: float


def tell(rng: np.random.Generator, n_sentences: int, n_words: int = 6) -> Told:
    """Draw sentences of words of 0.4 s, with pauses of 0.7 s between sentences."""
    time, rows = 0.3, []
    for number in range(n_sentences):
        for place in rng.integers(0, len(LEXICON), n_words):
            rows.append((round(time, 3), 0.36, LEXICON[place], number))
            time += 0.4
        time += 0.7
    return Told(pd.DataFrame(rows, columns=["start", "duration", "word", "number"]), time)


def texts_of(told: Told) -> list[str]:
    """Return the sentences."""
    return told.words.groupby("number")["word"].agg(" ".join).tolist()


def write_sound(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 9000 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * RATE)) / RATE)
    wavfile.write(path, RATE, tone.astype(np.int16))


def write_textgrid(
    path: Path, told: Told, *, short: bool = False, encoding: str = "utf-8", stop: str = ""
) -> None:
    """Write the tiers words and phones, with silence between words; `stop` follows the last word of a sentence."""
    words, last = told.words, told.words["number"] != told.words["number"].shift(-1)
    labels = [word + stop if end else word for word, end in zip(words["word"], last, strict=True)]
    time, cells = 0.0, []
    for start, duration, label in zip(words["start"], words["duration"], labels, strict=True):
        cells += [(time, start, "sp"), (start, start + duration, label)]
        time = start + duration
    cells.append((time, told.seconds, ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {told.seconds}",
    ]
    lines += ["tiers? <exists>", "size = 2", "item []:"]
    for place, (name, tier) in enumerate((("words", cells), ("phones", cells[:2]))):
        lines += [f"    item [{place + 1}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += [
            "        xmin = 0",
            f"        xmax = {told.seconds}",
            f"        intervals: size = {len(tier)}",
        ]
        for row, (begin, end, label) in enumerate(tier):
            lines += [f"        intervals [{row + 1}]:", f"            xmin = {begin:.6f}"]
            lines += [f"            xmax = {end:.6f}", f'            text = "{label}"']
    if short:  # the values alone
        kept = [line.split("=", 1)[-1].replace("tiers?", "").strip() for line in lines if "[" not in line]
        lines = [line for line in kept if line]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)


def noise(rng: np.random.Generator, n_chans: int, n_samples: int, scale: float) -> np.ndarray:
    """Return noise that changes slowly, as the brain's does."""
    white = rng.standard_normal((n_chans, n_samples // 8 + 2))
    return scale * np.repeat(white, 8, axis=1)[:, :n_samples]


def meg_raw(
    rng: np.random.Generator, n_chans: int, seconds: float, sfreq: float, n_refs: int = 0
) -> mne.io.RawArray:
    """Return magnetometers around a head, and references."""
    names = [f"MEG{number:03d}" for number in range(n_chans)] + [
        f"REF{number:03d}" for number in range(n_refs)
    ]
    info = mne.create_info(names, sfreq, ["mag"] * n_chans + ["ref_meg"] * n_refs)
    for number, channel in enumerate(info["chs"]):
        turn, height = 2.4 * number, 0.1 * (1 - number / len(names))
        channel["loc"][:3] = [0.08 * np.cos(turn), 0.08 * np.sin(turn), height + 0.01]
    info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    return mne.io.RawArray(noise(rng, len(names), round(seconds * sfreq), 3e-13), info, verbose="error")


def gwilliams(
    root: Path, runs: tuple[tuple[str, str, str], ...], n_sentences: int = 8, *, marked: bool = False
) -> dict:
    """Write MEG-MASC runs (subject, session, task) of two sounds each; `marked` puts events into annotations."""
    stories = {}
    for subject, session, task in runs:
        rng = np.random.default_rng(int(task))
        story = [tell(rng, n_sentences), tell(rng, n_sentences)]
        stories[task] = story
        begin, rows = 1.0 + 0.2 * int(subject), []
        for number, told in enumerate(story):
            sound = f"stimuli/audio/LW{task}_{number}.wav"
            write_sound(root / "stimuli" / "audio" / f"lw{task}_{number}.wav", told.seconds)
            shared = {"story": f"lw{task}", "sound": sound}
            rows.append((begin, 0.0, {**shared, "kind": "sound", "start": 0.0}))
            for place, word in told.words.iterrows():
                own = {**shared, "kind": "word", "word": word["word"], "sequence_id": float(word["number"])}
                own |= {"condition": "sentence", "speech_rate": 205.0}
                rows.append((begin + word["start"], word["duration"], own))
                if place < 5:
                    rows.append(
                        (begin + word["start"], 0.08, {**shared, "kind": "phoneme", "phoneme": "t_B"})
                    )
            begin += told.seconds + 0.5
        raw = meg_raw(rng, 208, begin + 3, 250.0)
        folder = root / f"sub-{subject}" / f"ses-{session}" / "meg"
        folder.mkdir(parents=True)
        name = f"sub-{subject}_ses-{session}_task-{task}"
        if marked:
            raw.set_annotations(mne.Annotations(*zip(*((a, b, str(c)) for a, b, c in rows), strict=True)))
        else:
            table = pd.DataFrame(
                [(a, b, str(c)) for a, b, c in rows], columns=["onset", "duration", "trial_type"]
            )
            table.to_csv(folder / f"{name}_events.tsv", sep="\t", index=False)
        raw.save(folder / f"{name}_meg.fif", verbose="error")
    return stories


def schoffelen(root: Path, subjects: dict[str, list[int]], seconds: float = 6.0) -> dict[int, Told]:
    """Write MOUS listeners and the numbers of the sounds that each hears."""
    rng = np.random.default_rng(3)
    told = {
        number: tell(rng, 1, 12) for number in sorted({own for heard in subjects.values() for own in heard})
    }
    for number, own in told.items():
        stem = root / "stimuli" / "audio_files" / f"EQ_Ramp_Int2_Int1LPF{number:03d}"
        write_sound(stem.with_suffix(".wav"), own.seconds)
        write_textgrid(stem.with_suffix(".TextGrid"), own, short=number % 2 == 0)
    for subject, heard in subjects.items():
        rows, time = [(0.0, 10.0, "trial", "n/a"), (1.0, "n/a", "Picture", "ZINNEN")], 2.0
        for number in heard:
            rows += [
                (time, "n/a", "Sound", f"14 Start File {number:03d}.wav"),
                (time, "n/a", "UPPT001", "14"),
            ]
            rows += [(time + 0.05, "n/a", "Nothing", "1 Audio onset")]
            rows += [(time + 0.05 + told[number].seconds, "n/a", "Nothing", "15 End of file")]
            time += seconds + 1
        folder = root / f"sub-{subject}" / "meg"
        folder.mkdir(parents=True)
        name = folder / f"sub-{subject}_task-auditory"
        table = pd.DataFrame(rows, columns=["onset", "duration", "type", "value"])
        table.to_csv(f"{name}_events.tsv", sep="\t", index=False)
        meg_raw(rng, 273, time + 2, 240.0, n_refs=28).save(f"{name}_meg.fif", verbose="error")
    return told


def write_vhdr(path: Path, signals: np.ndarray, names: list[str], sfreq: float) -> None:
    lines = [
        "Brain Vision Data Exchange Header File Version 1.0",
        "[Common Infos]",
        f"DataFile={path.stem}.eeg",
    ]
    lines += [f"MarkerFile={path.stem}.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED"]
    lines += [f"NumberOfChannels={len(names)}", f"SamplingInterval={1e6 / sfreq!r}"]
    lines += ["[Binary Infos]", "BinaryFormat=IEEE_FLOAT_32", "[Channel Infos]"]
    lines += [f"Ch{place + 1}={name},,1,µV" for place, name in enumerate(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    marks = "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
    path.with_suffix(".vmrk").write_text(
        f"{marks}DataFile={path.stem}.eeg\n[Marker Infos]\n", encoding="utf-8"
    )
    path.with_suffix(".eeg").write_bytes((signals.T * 1e6).astype("<f4").tobytes())


def biosemi() -> list[str]:
    return mne.channels.make_standard_montage("biosemi128").ch_names


def broderick(root: Path, subjects: tuple[str, ...] = ("001", "002"), n_runs: int = 2) -> list[Told]:
    """Write ds004408: runs at 512 Hz with two channels more than the cap has."""
    rng = np.random.default_rng(4)
    runs = [tell(rng, 10) for _ in range(n_runs)]
    for number, told in enumerate(runs, 1):
        write_sound(root / "stimuli" / f"audio{number:02d}.wav", told.seconds)
        write_textgrid(
            root / "stimuli" / f"audio{number:02d}.TextGrid", told, short=number == 2, encoding="utf-16"
        )
        for subject in subjects:
            signals = noise(rng, 130, round((told.seconds + 1.3) * 512), 1e-5)
            name = f"sub-{subject}_task-listening_run-{number:02d}_eeg.vhdr"
            write_vhdr(root / f"sub-{subject}" / "eeg" / name, signals, [*biosemi(), "EXG1", "EXG2"], 512.0)
    return runs


def broderick_mat(root: Path, n_runs: int = 2, *, fs: bool = True) -> list[Told]:
    """Write the older layout of one person, with alignments by Gentle: the second word of a run was not found."""
    rng = np.random.default_rng(5)
    runs = [tell(rng, 10) for _ in range(n_runs)]
    for number, told in enumerate(runs, 1):
        folder = root / "Natural Speech"
        write_sound(folder / "Stimuli" / f"audio{number}.wav", told.seconds)
        transcript, words = "", []
        last = told.words["number"] != told.words["number"].shift(-1)
        for place, row in told.words.iterrows():
            own = {"word": row["word"], "startOffset": len(transcript), "case": "success"}
            transcript += row["word"]
            own |= {"endOffset": len(transcript)}
            if place == 1:
                own["case"] = "not-found-in-audio"
            else:
                own |= {
                    "start": row["start"],
                    "end": row["start"] + row["duration"],
                    "alignedWord": row["word"],
                }
            transcript += ". " if last[place] else " "
            words.append(own)
        content = {"transcript": transcript, "words": words}
        (folder / "Stimuli" / f"audio{number}.json").write_text(json.dumps(content))
        signals = noise(rng, 128, round((told.seconds + 1) * 128), 10.0).T
        arrays = {"eegData": signals, "mastoids": signals[:, :2]} | ({"fs": 128.0} if fs else {})
        path = folder / "EEG" / "Subject1" / f"Subject1_Run{number}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, arrays)
    return runs


def brennan(root: Path, subjects: tuple[str, ...] = ("S01", "S03"), *, rate: bool = True) -> list[Told]:
    """Write two segments of the story, FieldTrip structures and the words' table."""
    rng = np.random.default_rng(6)
    segments = [tell(rng, 8), tell(rng, 8)]
    rows = []
    for segment, told in enumerate(segments, 1):
        write_sound(root / "audio" / f"DownTheRabbitHoleFinal_SoundFile{segment}.wav", told.seconds)
        for row in told.words.itertuples():
            sentence = row.number + 1 + 8 * (segment - 1)
            rows.append((row.word, segment, row.start, row.start + row.duration, len(rows) + 1, sentence))
    names = ["Word", "Segment", "onset", "offset", "Order", "Sentence"]
    story = pd.DataFrame(rows, columns=names)
    story["Position"] = story.groupby("Sentence").cumcount() + 1
    story.to_csv(root / "AliceChapterOne-EEG.csv", index=False)
    (root / "proc").mkdir()
    for place, subject in enumerate(subjects):
        begins = np.array([1.5, 1.5 + segments[0].seconds + 1.0]) + 0.25 * place
        moments = np.round((story["onset"] + begins[story["Segment"] - 1]) * 500).astype(int)
        trl = np.stack([moments + 1 - 150, moments + 350, np.full(len(moments), -150)], axis=1)
        trl = np.hstack([trl, story[["Segment", "onset", "Order"]]]).astype(float)
        cells = np.array(["segment", "tmin", "Order"], dtype=object)
        scipy.io.savemat(root / "proc" / f"{subject}.mat", {"proc": {"trl": trl, "varnames": cells}})
        signals = noise(rng, 62, round((begins[1] + segments[1].seconds + 2) * 500), 10.0)
        header = {"label": np.array([*EXPECTED, "VEOG", "AUD"], dtype=object)} | (
            {"Fs": 500.0} if rate else {}
        )
        trial = np.empty((1, 1), dtype=object)
        trial[0, 0] = signals
        scipy.io.savemat(root / f"{subject}.mat", {"raw": {"hdr": header, "trial": trial}})
    return segments


def libribrain(root: Path, n_runs: int = 2) -> list[Told]:
    """Write serialised runs of 306 sensors at 250 Hz."""
    rng = np.random.default_rng(7)
    layout = mne.channels.read_layout("Vectorview-all")
    names = [name.replace(" ", "") for name in layout.names]
    kinds = ["mag" if name.endswith("1") else "grad" for name in names]
    runs = [tell(rng, 10) for _ in range(n_runs)]
    for number, told in enumerate(runs, 1):
        name = f"sub-0_ses-{number}_task-Sherlock1_run-1"
        folder = root / "Sherlock1" / "derivatives"
        write_sound(root / "audio" / f"chapter{number}.wav", told.seconds)
        rows = [("sound", f"chapter{number}.wav", 2.0, 0.0, "n/a"), ("silence", "sil", 0.0, 2.0, "n/a")]
        rows += [
            ("word", row.word, 2.0 + row.start, row.duration, str(row.number))
            for row in told.words.itertuples()
        ]
        (folder / "events").mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(rows, columns=["kind", "segment", "timemeg", "duration", "sentenceidx"])
        table.to_csv(folder / "events" / f"{name}_events.tsv", sep="\t", index=False)
        (folder / "serialised").mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / "serialised" / f"{name}_proc-bads+sss+ds_meg.h5", "w") as file:
            file["data"] = noise(rng, 306, round((told.seconds + 4) * 250), 3e-13).astype(np.float32)
            file.attrs["sample_frequency"] = 250.0
            file.attrs["channel_names"], file.attrs["channel_types"] = ", ".join(names), ", ".join(kinds)
    return runs
