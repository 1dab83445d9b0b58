"""THINGS-MEG (Hebart et al. 2023, doi:10.7554/eLife.82580; OpenNeuro ds004212), from its own preprocessed epochs.

Four participants, 271 CTF gradiometers at 200 Hz. Which picture an event stands for comes from the tables of the THINGS
image list, never from a directory listing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.readers.datasets.things_images import picture_captions
from neurodec.data.readers.opening import load_samples, open_epochs
from neurodec.data.readers.raw_trials import whitened
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError, reading
from neurodec.preprocessing.channels import UNITS, check_channels, sensor_positions
from neurodec.preprocessing.eeg import EEGPreprocessing, Whitening

CATCH = 999999  # event id of the catch trials
BLOCK = 500  # epochs read at a time


@dataclass(frozen=True)
class ThingsMEG(Dataset):
    """Read THINGS-MEG, or epochs laid out like it.

    ``derivatives/preprocessed/preprocessed_P1-epo.fif`` (with its split files) and, below the root or its folder
    ``image_set``, ``image_paths.csv`` and ``image_concept_index.csv``: one line per picture of the THINGS list, without
    a header; event id ``i`` is line ``i``, from 1.

    Parameters
    ----------
    subjects : list of int, optional
        Which participants; all that are there by default.
    tmin, tmax : float
        First and last time to keep, both included: 201 samples at 200 Hz by default.
    test_repetitions : int, optional
        Test pictures are those shown exactly this often (12 in the full set); by default as often as the most shown.
    whiten : str
        "none" as ATM, "zscore" as NeuroBridge; fitted on the training trials of the participant.

    Notes
    -----
    Training pictures of test concepts are left out, as published: 22,248 - 2,400 = 19,848 trials remain. A full
    participant takes 5 GB of memory. A catch trial is dropped.
    """

    subjects: list[int] | None = None
    tmin: float = 0.0
    tmax: float = 1.0
    test_repetitions: int | None = None
    whiten: Whitening = "none"

    def parts(self, root: Path) -> list[Part]:
        """List the participants."""
        folder = root / "derivatives" / "preprocessed"
        numbers = self.subjects
        if numbers is None:
            found = (path.name[len("preprocessed_P") : -len("-epo.fif")] for path in folder.glob("*-epo.fif"))
            numbers = sorted(int(number) for number in found if number.isdigit())
        parts = []
        for number in numbers:
            first = folder / f"preprocessed_P{number}-epo.fif"
            if not first.is_file():
                raise NeurodecError(
                    f"{first} is missing; download it, or leave the participant out of the recipe."
                )
            files = (first, *sorted(folder.glob(f"preprocessed_P{number}-epo-*.fif")))
            parts.append(Part(f"sub-{number:02d}", f"{number:02d}", files, n_recordings=len(files)))
        if not parts:
            raise NeurodecError(f"{folder} holds no preprocessed_P1-epo.fif, ...; correct --data-root.")
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read one participant: crop, sort by picture, leave out catch trials and pictures of test concepts."""
        where, account = str(part.files[0]), Account()
        epochs = open_epochs(part.files[0], account)
        picks = mne.pick_types(epochs.info, meg=True, ref_meg=False, exclude="bads")
        if not len(picks):
            raise NeurodecError(f"{where} has no MEG channel; check that it is the preprocessed file.")
        info = mne.pick_info(epochs.info, picks)
        shown = self._shown(_image_list(root), epochs.events[:, 2], where)
        kept = shown[shown["split"] != "gallery"].sort_values(["train_first", "image_number"], kind="stable")
        window = (self.tmin, self.tmax)
        times = _cropped(epochs.times, *window)
        responses = np.empty((len(kept), len(picks), len(times)), dtype=np.float32)
        rows = np.full(len(epochs.events), -1)
        rows[kept["event"]] = np.arange(len(kept))
        for start in range(0, len(rows), BLOCK):  # in file order: the epochs stay on disk
            wanted = np.flatnonzero(rows[start : start + BLOCK] >= 0) + start
            if len(wanted):
                block = epochs[wanted]
                load_samples(block, where, account)
                block.crop(*window, verbose="error")
                responses[rows[wanted]] = block.get_data(picks=picks, verbose="error")
        check_channels(responses, info["ch_names"], "meg", where)

        table = kept[["stimulus", "concept", "split"]].reset_index(drop=True)
        metadata = pd.DataFrame(index=range(len(rows))) if epochs.metadata is None else epochs.metadata
        for name in ("session", "run"):
            values = metadata.get(f"{name}_nr", pd.Series(1, index=metadata.index))
            table[name] = [f"{int(value):02d}" for value in values.to_numpy()[kept["event"]]]
        table = table.assign(subject=part.subject, repetition=table.groupby("stimulus").cumcount())
        account.events, account.channels = len(rows), len(epochs.ch_names)
        account.leave_out("a catch trial", len(rows) - len(shown))
        account.leave_out("a training picture of a test concept", len(shown) - len(kept))
        kinds = [mne.channel_type(info, index) for index in range(len(info["chs"]))]
        if len(set(kinds)) > 1:
            raise NeurodecError(
                f"{where} holds magnetometers and gradiometers, which share no unit; keep one kind."
            )
        described = {
            "account": [account.entry(part.name, len(table), len(picks))],
            "modality": "meg",
            "units": UNITS[kinds[0]],
            "ch_types": kinds,
            "sfreq": float(epochs.info["sfreq"]),
            "tmin": float(times[0]),
            "ch_names": list(info["ch_names"]),
            "ch_pos": sensor_positions(info),
            "provenance": {},
        }
        settings = EEGPreprocessing(tmin=self.tmin, tmax=self.tmax, baseline=None, whiten=self.whiten)
        return whitened(Trials(responses, table, described), settings, where)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the shown pictures; the other pictures of test concepts are the gallery."""
        images = _image_list(root)
        tables = []
        for part in self.parts(root):
            epochs = open_epochs(part.files[0], Account())
            tables.append(self._shown(images, epochs.events[:, 2], str(part.files[0])))
        shown = pd.concat(tables).drop_duplicates("stimulus")
        shown = shown[shown["split"] != "gallery"]
        concepts = set(shown.loc[shown["split"] == "test", "concept"])
        others = images["concept"].isin(concepts) & ~images["stimulus"].isin(shown["stimulus"])
        table = pd.concat([shown, images[others].assign(split="gallery")], ignore_index=True)
        table["image"] = [_locate(root, image) for image in table["image"]]
        table["caption"] = picture_captions(root / "image_set", table["image"], table["concept"])
        return table[["stimulus", "concept", "split", "image", "caption"]]

    def _shown(self, images: pd.DataFrame, codes: np.ndarray, where: str) -> pd.DataFrame:
        """Give every event but the catch trials its picture and split; "gallery" marks those left out of training."""
        events = np.flatnonzero(codes != CATCH)
        if not len(events):
            raise NeurodecError(f"{where} holds no picture event.")
        numbers, counts = np.unique(codes[events], return_counts=True)
        unknown = numbers[(numbers < 1) | (numbers > len(images))]
        if len(unknown):
            raise NeurodecError(
                f"{where} shows picture number {unknown[0]}, but image_paths.csv lists {len(images)}; the image list "
                "of another set maps events to wrong pictures."
            )
        asked = self.test_repetitions or counts.max()
        tests = numbers[counts == asked]
        if asked < 2 or not len(tests):
            raise NeurodecError(
                f"{where} shows no picture exactly {asked} times (at most {counts.max()}), so it has no test pictures; "
                "correct `test_repetitions`."
            )
        table = images.iloc[codes[events] - 1].reset_index(drop=True)
        is_test = np.isin(codes[events], tests)
        of_test_concept = table["concept"].isin(set(table["concept"][is_test]))
        table["split"] = np.select([is_test, of_test_concept], ["test", "gallery"], "train")
        return table.assign(event=events, image_number=codes[events], train_first=is_test)


def _cropped(times: np.ndarray, tmin: float, tmax: float) -> np.ndarray:
    half = (times[1] - times[0]) / 2
    return times[(times > tmin - half) & (times < tmax + half)]


def _image_list(root: Path) -> pd.DataFrame:
    """Read the THINGS image list: `stimulus`, `concept`, `image`, one row per picture in the order of event ids."""
    tables = []
    for name in ("image_paths.csv", "image_concept_index.csv"):
        file = next((root / name for name in (name, f"image_set/{name}") if (root / name).is_file()), None)
        if file is None:
            raise NeurodecError(
                f"{root / name} is missing; it comes with the THINGS image set and maps events to pictures."
            )
        with reading(file, "a list of the THINGS pictures"):
            tables.append(pd.read_csv(file, header=None, dtype=str, keep_default_na=False)[0])
    paths, index = tables
    if len(paths) != len(index):
        raise NeurodecError(
            f"image_paths.csv lists {len(paths)} pictures, image_concept_index.csv {len(index)}; take both from "
            "one set."
        )
    parts = paths.str.split("/")
    table = pd.DataFrame({"stimulus": parts.str[-1].str.rsplit(".", n=1).str[0], "image": paths})
    table["concept"] = parts.str[-2].str.replace(r"^\d{5}_", "", regex=True)
    pairs = table.assign(number=index)[["number", "concept"]].drop_duplicates()
    if pairs["number"].duplicated().any():
        raise NeurodecError(
            "image_concept_index.csv gives one number to pictures of several folders; take it and image_paths.csv from "
            "one set."
        )
    return table


def _locate(root: Path, image: str) -> str:
    for candidate in (image, f"image_set/{image}"):
        if (root / candidate).is_file():
            return candidate
    raise NeurodecError(f"{root / image} is missing; put the THINGS pictures there (or below image_set/).")
