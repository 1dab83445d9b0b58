"""Studies of simple pictures in one file per person: responses, the pictures as arrays, and labels, set by set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.patterns import find_files
from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.readers.arrays import finite_voxels, refuse_repeated
from neurodec.data.trial_tables import require_splits, with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError

_LEVELS = 255
_HASH = 10  # characters of a picture's hash in the name of its stimulus


@dataclass(frozen=True)
class ArrayPictures(Dataset):
    """Read voxels, pictures and labels that lie under several keys of one file.

    Parameters
    ----------
    file : str
        Path below the data root, of any kind that `ArrayFile` reads (``.mat``, 7.3 too, ``.npz``, ``.h5``, ...). With
        ``*`` or ``{subject}``, every file that fits is one person.
    responses : dict of str
        Set to the key of its responses, one row per trial; further axes (a volume) are flattened. Sets are called
        `train`, `validation` and `test`, unless `split` says that they are no split.
    pictures : dict of str
        Set to the key of what was shown in its trials: (n, h * w) with `picture_shape`, (n, h, w) or (n, h, w, 3).
    concepts : dict of str, optional
        Set to the key of the class of every trial; without, every picture is its own.
    concept_names : dict of str, optional
        What classes are called, by their value in the file: ``{"1": six, "2": nine}``.
    picture_shape : list of int, optional
        Height and width, where a picture is a row of numbers.
    picture_order : {"C", "F"}
        How such a row runs through its picture: "C" line by line, "F" column by column, as MATLAB writes.
    white : float, optional
        The number that is white; 0 is black. By default 1 where no number is larger, else 255.
    split : {"own", "none"}
        Take the sets for training and test, or put all trials together, for a recipe's `cross_validation`.
    subject : str
        Whose file it is, where no field of `file` tells.

    Notes
    -----
    A stimulus is called after its class and content, so equal pictures are repetitions of one, in all files. The
    pictures are written into the prepared folder (PNG), where every target finds them. Voxels that are not finite in
    every trial are left out and counted. Memory: the arrays as stored, and the responses once more as float32.
    """

    file: str
    responses: dict[str, str]
    pictures: dict[str, str]
    concepts: dict[str, str] = field(default_factory=dict)
    concept_names: dict[str, str] = field(default_factory=dict)
    picture_shape: list[int] | None = None
    picture_order: Literal["C", "F"] = "C"
    white: float | None = None
    split: Literal["own", "none"] = "own"
    subject: str = "01"

    def parts(self, root: Path) -> list[Part]:
        """List the files; each is a person."""
        self._check_sets()
        return [
            Part(f"sub-{subject}", subject, (file,)) for file, subject in sorted(self._files(root).items())
        ]

    def load(self, part: Part, root: Path) -> Trials:
        """Read the trials of one file, set after set."""
        file, account = part.files[0], Account()
        content = ArrayContent.read(file)
        blocks = [self._responses(content, key) for key in self.responses.values()]
        shapes = {block.shape[1:] for block in blocks}
        if len(shapes) > 1:
            raise NeurodecError(
                f"{file}: the sets {', '.join(self.responses)} have responses of {len(shapes)} shapes, "
                f"{' and '.join(map(str, sorted(shapes)[:2]))} per trial; give the same voxels in all."
            )
        volume = shapes.pop()
        responses = np.concatenate([block.reshape(len(block), -1) for block in blocks])
        table = with_defaults(self._shown(content)[0].assign(subject=part.subject))
        if len(table) != len(responses):
            raise NeurodecError(
                f"{file} has {len(responses)} responses and {len(table)} pictures; give one for each."
            )
        n_voxels = responses.shape[1]
        info: dict[str, Any] = {"modality": "fmri", "units": "a.u.", "affine": np.eye(4).tolist()}
        info |= {"mask_shape": list(volume) if len(volume) == 3 else [n_voxels, 1, 1], "provenance": {}}
        info |= {"voxel_indices": list(range(n_voxels))}
        account.channels = n_voxels
        responses = finite_voxels(responses, info, account, file)
        refuse_repeated(responses, table, file)
        info["account"] = [account.entry(part.name, len(table), responses.shape[1])]
        return Trials(responses, table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the pictures of all files, each once."""
        tables = [self._shown(ArrayContent.read(file))[0] for file in sorted(self._files(root))]
        table = pd.concat(tables, ignore_index=True)
        told = ["stimulus", *(["concept"] if self.concepts else [])]
        return table.drop_duplicates("stimulus")[told].reset_index(drop=True)

    def pictures_in_files(self, root: Path) -> dict[str, np.ndarray]:
        """Return the pictures by stimulus; see `Dataset.pictures_in_files`."""
        found: dict[str, np.ndarray] = {}
        for file in sorted(self._files(root)):
            table, pictures = self._shown(ArrayContent.read(file))
            found |= dict(zip(table["stimulus"], pictures, strict=True))
        return found

    def _check_sets(self) -> None:
        for name, own in (("pictures", self.pictures), ("concepts", self.concepts)):
            if set(own) != set(self.responses) and (own or name == "pictures"):
                raise NeurodecError(
                    f"`{name}` names the sets {', '.join(own) or 'none'}, `responses` {', '.join(self.responses)}; "
                    "name the same sets in both."
                )
        if self.split == "own":
            require_splits(pd.Series(list(self.responses)), "`responses`")

    def _files(self, root: Path) -> dict[Path, str]:
        """Return the files and whose they are."""
        if "*" in self.file or "{" in self.file:
            files = find_files(root, self.file)
            found = {file: fields.get("subject", file.stem) for file, fields in files}
            if len(set(found.values())) < len(found):
                raise NeurodecError(
                    f"Several files of {self.file} are of one subject; put the field {{subject}} where they differ."
                )
            return found
        if not (root / self.file).is_file():
            raise NeurodecError(
                f"{root / self.file} does not exist; correct --data-root or the recipe's `file`."
            )
        return {root / self.file: self.subject}

    def _responses(self, content: ArrayContent, key: str) -> np.ndarray:
        values = np.asarray(content.value(key))
        if values.ndim < 2 or values.dtype.kind not in "fiu" or not values.size:
            raise NeurodecError(
                f"{content.path}: {key} holds an array of shape {values.shape} ({values.dtype}); responses are "
                "numbers, one row per trial."
            )
        return values.astype(np.float32)

    def _shown(self, content: ArrayContent) -> tuple[pd.DataFrame, list[np.ndarray]]:
        """Return the table of the trials of all sets, and the picture that each showed, uint8."""
        sets = {name: self._arranged(content, key) for name, key in self.pictures.items()}
        highest = max(float(values.max()) for values in sets.values())
        white = self.white or (1.0 if highest <= 1 else float(_LEVELS))
        lowest = min(float(values.min()) for values in sets.values())
        if not (lowest >= 0 and highest <= white):
            raise NeurodecError(
                f"{content.path}: the pictures hold numbers from {lowest:g} to {highest:g}, and brightness goes from 0 "
                f"to {white:g}; say by `white` which number is white, and leave no NaN."
            )
        tables, pictures = [], []
        for name, values in sets.items():
            levels = np.round(values * (_LEVELS / white)).astype(np.uint8)
            concepts = self._concepts(content, name, len(levels))
            stimuli = [
                f"{concept or 'picture'}-{_hash_of(one)}"
                for concept, one in zip(concepts, levels, strict=True)
            ]
            table = pd.DataFrame({"stimulus": stimuli, "split": name if self.split == "own" else "cv"})
            tables.append(table.assign(concept=concepts) if self.concepts else table)
            pictures += list(levels)
        joined = pd.concat(tables, ignore_index=True)
        self._refuse_two_classes(joined, content.path)
        return joined, pictures

    def _refuse_two_classes(self, table: pd.DataFrame, path: Path) -> None:
        contents = table["stimulus"].str[-_HASH:]
        several = contents[~table["stimulus"].eq(table.groupby(contents)["stimulus"].transform("first"))]
        if len(several):
            rows = contents.index[contents == several.iloc[0]]
            names = ", ".join(dict.fromkeys(table["concept"][rows]))
            raise NeurodecError(
                f"{path} shows one picture (trials {rows[0] + 1} and {several.index[0] + 1}) under several classes, "
                f"{names}; correct the labels."
            )

    def _concepts(self, content: ArrayContent, name: str, n_trials: int) -> list[str]:
        if not self.concepts:
            return [""] * n_trials
        labels = content.texts(self.concepts[name])
        if len(labels) != n_trials:
            raise NeurodecError(
                f"{content.path}: {self.concepts[name]} has {len(labels)} labels for {n_trials} pictures; give one for "
                "each."
            )
        unknown = [label for label in dict.fromkeys(labels) if label not in self.concept_names]
        if self.concept_names and unknown:
            raise NeurodecError(
                f"{content.path}: {self.concepts[name]} holds the class {unknown[0]}, which `concept_names` does not "
                f"name ({', '.join(self.concept_names)}); add it there."
            )
        return [self.concept_names.get(label, label) for label in labels]

    def _arranged(self, content: ArrayContent, key: str) -> np.ndarray:
        """Return pictures (n, h, w) or (n, h, w, 3), in the numbers of the file."""
        values = np.asarray(content.value(key))
        if values.dtype.kind not in "fiub" or not values.size:
            raise NeurodecError(
                f"{content.path}: {key} holds {values.dtype} of shape {values.shape}; pictures are numbers."
            )
        if values.ndim == 2 and self.picture_shape is not None:
            height, width = self._height_and_width()
            if values.shape[1] != height * width:
                raise NeurodecError(
                    f"{content.path}: {key} has {values.shape[1]} numbers per picture, and {height} x {width} are "
                    f"{height * width}; correct `picture_shape`."
                )
            if self.picture_order == "F":
                return values.reshape(len(values), width, height).transpose(0, 2, 1)
            return values.reshape(len(values), height, width)
        colour = values.ndim == 4 and values.shape[3] == 3
        if values.ndim == 3 or colour:
            return values
        raise NeurodecError(
            f"{content.path}: {key} has the shape {values.shape}; pictures are (n, h, w), (n, h, w, 3), or rows of "
            "numbers, whose height and width `picture_shape` tells."
        )

    def _height_and_width(self) -> tuple[int, int]:
        shape = self.picture_shape or []
        if len(shape) != 2 or min(shape) < 1:
            raise NeurodecError(f"`picture_shape` is {shape}; give height and width.")
        return shape[0], shape[1]


def _hash_of(picture: np.ndarray) -> str:
    digest = hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()[:_HASH]
