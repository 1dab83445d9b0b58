"""A study: trials of one or several measurement spaces, and the stimuli that they share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neurodec.data import at_hand
from neurodec.data.at_hand import Column, Images
from neurodec.data.own_pictures import located
from neurodec.data.splits import column_of
from neurodec.data.stimuli import OWN, complete_stimuli
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError, reading
from neurodec.files import read_json, read_own_table, require_file_name

if TYPE_CHECKING:
    import mne
    import nibabel

MARK = "study.json"  # written last: the folder is complete


@dataclass(frozen=True, repr=False)
class Study:
    """Trials by space, and the table of their stimuli.

    A *space* holds trials that were measured alike: one for a common montage or brain, one per subject for native
    voxels or montages of their own.

    Parameters
    ----------
    spaces : dict of Trials
        Space to trials; none is empty.
    stimuli : DataFrame
        `stimulus, concept, split, image, caption`, and any further columns, as text.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import Study
    >>> study = Study.from_arrays(np.random.randn(3, 300), ["cat", "dog", "owl"], split=["train", "train", "test"])
    >>> len(study.part("train"))
    2
    """

    spaces: dict[str, Trials]
    stimuli: pd.DataFrame

    def __len__(self) -> int:
        return sum(len(trials) for trials in self.spaces.values())

    def __repr__(self) -> str:
        spaces = "".join(f"\n  {name}: {trials!r}" for name, trials in self.spaces.items())
        return f"<Study: {len(self)} trials of {len(self.subjects)} subject(s), {len(self.stimuli)} stimuli{spaces}>"

    @cached_property
    def table(self) -> pd.DataFrame:
        """All trial tables, space after space, with the column `space`."""
        tables = [trials.table.assign(space=name) for name, trials in self.spaces.items()]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["subject", "space"])

    @property
    def subjects(self) -> list[str]:
        """Subjects in order of appearance."""
        return list(dict.fromkeys(self.table["subject"]))

    @property
    def trials(self) -> Trials:
        """The trials of a study with one space.

        Raises
        ------
        NeurodecError
            If there are several, or none.
        """
        if len(self.spaces) != 1:
            spaces = ", ".join(self.spaces) or "none"
            raise NeurodecError(
                f"This needs subjects who were measured alike, and there are {len(self.spaces)} spaces ({spaces}); "
                "take protocol: within_subject, or an encoder that takes `space`."
            )
        return next(iter(self.spaces.values()))

    @property
    def info(self) -> dict[str, Any]:
        """`Trials.info` of the first space: modality and the like, which all spaces share."""
        return next(iter(self.spaces.values())).info

    @property
    def account(self) -> list[dict[str, Any]]:
        """What was found and left out, of every part of every space."""
        return [entry for trials in self.spaces.values() for entry in trials.info.get("account", [])]

    def by_subject(self) -> Iterator[tuple[str, Trials]]:
        """Yield every subject's trials of one space, space after space."""
        for trials in self.spaces.values():
            for subject, rows in trials.table.groupby("subject", sort=False).indices.items():
                yield str(subject), trials.select(rows)

    def part(self, split: str | Sequence[str] | None = None, subjects: Iterable[str] | None = None) -> Study:
        """Return a view of the trials of some splits and subjects; spaces without any are left out.

        Parameters
        ----------
        split : str or sequence of str, optional
            Splits to keep; all by default.
        subjects : iterable of str, optional
            Labels of subjects; all by default.
        """
        splits = (split,) if isinstance(split, str) else split
        wanted = None if subjects is None else set(subjects)
        rows = {}
        for name, trials in self.spaces.items():
            keep = np.ones(len(trials), dtype=bool)
            if splits is not None:
                keep &= trials.table["split"].isin(splits).to_numpy()
            if wanted is not None:
                keep &= trials.table["subject"].isin(wanted).to_numpy()
            rows[name] = np.flatnonzero(keep)
        return self.select(rows)

    def select(self, rows: dict[str, np.ndarray]) -> Study:
        """Return a view of some rows of every space; spaces without any are left out.

        Parameters
        ----------
        rows : dict of ndarray
        """
        kept = {name: self.spaces[name].select(index) for name, index in rows.items() if len(index)}
        return replace(self, spaces=kept)

    def parted(self, groups: Collection[str], column: str = "concept") -> tuple[Study, Study]:
        """Return the trials without some concepts (or values of another column), and those of these.

        Parameters
        ----------
        groups : collection of str
            Values that are taken out.
        column : str
            Of the trials or stimuli.
        """
        rows = {
            name: column_of(trials.table, column, self.stimuli).isin(groups).to_numpy()
            for name, trials in self.spaces.items()
        }
        kept = self.select({name: np.flatnonzero(~out) for name, out in rows.items()})
        return kept, self.select({name: np.flatnonzero(out) for name, out in rows.items()})

    def average(self, n_repetitions: int | None = None, seed: int = 0) -> Study:
        """Average repetitions in every space; see `Trials.average`.

        Parameters
        ----------
        n_repetitions : int, optional
            Average this many, drawn; all by default.
        seed : int
            Of the draw.
        """
        return replace(
            self, spaces={name: trials.average(n_repetitions, seed) for name, trials in self.spaces.items()}
        )

    def cut(
        self, ch_names: Sequence[str] | None = None, tmin: float | None = None, tmax: float | None = None
    ) -> Study:
        """Return a view of some channels and of a window (s); see `Trials.pick` and `Trials.crop`.

        Parameters
        ----------
        ch_names : sequence of str, optional
            Channels to keep, in this order; all by default.
        tmin : float, optional
            First time (s); that of the trials by default.
        tmax : float, optional
            End of the window (s), not included; that of the trials by default.
        """
        spaces = {}
        for name, trials in self.spaces.items():
            trials = trials if ch_names is None else trials.pick(ch_names)
            spaces[name] = trials if tmin is None and tmax is None else trials.crop(tmin, tmax)
        return replace(self, spaces=spaces)

    def in_memory(self) -> Study:
        """Return the study with its responses read."""
        return replace(self, spaces={name: trials.in_memory() for name, trials in self.spaces.items()})

    @classmethod
    def of(cls, trials: Trials, stimuli: pd.DataFrame | None = None, space: str = "all") -> Study:
        """Make a study of trials in one space; without a table of stimuli, of their labels alone.

        Parameters
        ----------
        trials : Trials
        stimuli : DataFrame, optional
        space : str
            Name of the space.
        """
        if stimuli is None:
            names = trials.table[["stimulus"]].drop_duplicates().reset_index(drop=True)
            stimuli = complete_stimuli(names, trials.table)
        return cls({space: trials}, stimuli)

    @classmethod
    def from_epochs(
        cls,
        epochs: mne.BaseEpochs,
        stimulus: Column | None = None,
        *,
        images: Images | None = None,
        **columns: Column,
    ) -> Study:
        """Make a study of `mne.Epochs`.

        Parameters
        ----------
        epochs : mne.BaseEpochs
            Channels of one kind; bad ones are dropped. Columns of `metadata` are taken.
        stimulus : sequence of str, optional
            What was shown in every trial; by default `metadata["stimulus"]`, or the name of the event.
        images : folder, list of files, dict, Series or DataFrame, optional
            The pictures: a folder of files that are named as stimuli, one file per trial, files by stimulus, or a table
            with the columns `stimulus` and `image`.
        **columns
            Further columns, one value for all or one per trial: `concept`, `split`, `subject`, `session`, `run`, ...

        Raises
        ------
        NeurodecError
            If a length is wrong, or a stimulus has no picture.

        Examples
        --------
        >>> import mne, numpy as np
        >>> from neurodec import Study
        >>> info = mne.create_info(["Oz", "O1"], 100.0, "eeg")
        >>> epochs = mne.EpochsArray(np.random.randn(4, 2, 50), info, verbose="error")
        >>> Study.from_epochs(epochs, ["cat", "dog", "cat", "dog"], subject="01").subjects
        ['01']
        """
        trials = at_hand.trials_of_epochs(epochs, {"stimulus": stimulus, **columns})
        return cls.of(trials, at_hand.stimuli_with(trials, images))

    @classmethod
    def from_arrays(
        cls,
        responses: np.ndarray,
        stimulus: Column,
        *,
        sfreq: float | None = None,
        tmin: float = 0.0,
        ch_names: Sequence[str] | None = None,
        modality: str | None = None,
        dims: Sequence[str] | None = None,
        images: Images | None = None,
        **columns: Column,
    ) -> Study:
        """Make a study of an array; see `from_epochs`.

        Parameters
        ----------
        responses : ndarray, shape (n_trials, n_chans, n_times) or (n_trials, n_voxels)
        stimulus : sequence of str
        sfreq : float, optional
            Hertz; needed for responses over time.
        tmin : float
            Time of the first sample (s from the onset).
        ch_names : sequence of str, optional
        modality : {"eeg", "meg", "fmri"}, optional
            By default EEG over time, fMRI otherwise.
        dims : sequence of str, optional
            Names of the axes, where responses over time are not of channels: ``("trial", "parcel", "time")``.
        images, **columns
            See `from_epochs`.

        Examples
        --------
        >>> import numpy as np
        >>> from neurodec import Study
        >>> len(Study.from_arrays(np.random.randn(4, 300), ["cat", "dog", "cat", "dog"]))
        4
        """
        trials = at_hand.trials_of_array(
            responses, {"stimulus": stimulus, **columns}, sfreq, tmin, ch_names, modality, dims
        )
        return cls.of(trials, at_hand.stimuli_with(trials, images))

    @classmethod
    def from_nifti(
        cls,
        image: nibabel.Nifti1Image | str | Path,
        stimulus: Column,
        *,
        mask: nibabel.Nifti1Image | str | Path | None = None,
        images: Images | None = None,
        **columns: Column,
    ) -> Study:
        """Make a study of a 4-D image that holds one volume (a beta) per trial; see `from_epochs`.

        Parameters
        ----------
        image : Nifti1Image or path
        stimulus : sequence of str
        mask : Nifti1Image or path, optional
            On the same grid; all voxels that vary by default.
        images, **columns
            See `from_epochs`.

        Examples
        --------
        >>> import nibabel, numpy as np
        >>> from neurodec import Study
        >>> image = nibabel.Nifti1Image(np.random.randn(3, 3, 3, 4), np.eye(4))
        >>> Study.from_nifti(image, ["cat", "dog", "cat", "dog"]).trials.responses.shape
        (4, 27)
        """
        trials = at_hand.trials_of_image(image, {"stimulus": stimulus, **columns}, mask)
        return cls.of(trials, at_hand.stimuli_with(trials, images))

    @classmethod
    def load(cls, folder: str | Path) -> Study:
        """Read a folder written by `neurodec.data.prepare`; responses stay on the disk until they are asked for.

        Parameters
        ----------
        folder : str or Path

        Raises
        ------
        NeurodecError
            If it is missing, unfinished or damaged.
        """
        folder = Path(folder)
        about = read_json(folder / MARK)
        with reading(folder, "a prepared folder", "delete it and prepare again"):
            spaces = {
                name: Trials.load(folder / require_file_name(name, "The space")) for name in about["spaces"]
            }
            if not spaces:
                raise NeurodecError(f"The prepared folder {folder} is damaged; delete it and prepare again.")
        return cls(spaces, load_stimuli(folder))


def load_stimuli(folder: str | Path) -> pd.DataFrame:
    """Read the stimulus table of a prepared folder.

    Raises
    ------
    NeurodecError
        If it is missing or damaged.
    """
    file = Path(folder) / "stimuli.csv"
    with reading(file, "a prepared table", "delete the folder and prepare again"):
        stimuli = located(read_own_table(file, dtype=str), Path(folder))
        return stimuli[[*OWN, *(name for name in stimuli if name not in OWN)]]
