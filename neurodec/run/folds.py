"""The fits of a protocol: who is trained on, who is tested, and who is new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from neurodec.data import Study
from neurodec.data.fold_whitening import whitened
from neurodec.data.folding import CrossValidation, drawn, labels_of, marked
from neurodec.data.splits import TRAINING, Level, check_leakage
from neurodec.errors import NeurodecError
from neurodec.files import file_names
from neurodec.preprocessing.eeg import Whitening
from neurodec.systems import System

Protocol = Literal["within_subject", "leave_one_subject_out", "joint", "new_subject"]


@dataclass(frozen=True)
class Fold:
    """One fit.

    Parameters
    ----------
    name : str
        Of its folders.
    train, test : list of str
        Subjects whose training trials are learned from, and whose test trials are scored.
    seed : int
    new : list of str
        Those of `train` to whom a trained system is adapted.
    groups : str
        Column of the trials, in a cross-validation ...
    left_out : set of str
        ... its values that this fold tests, ...
    whiten : str
        ... and how the trials are whitened; see `CrossValidation`.
    """

    name: str
    train: list[str]
    test: list[str]
    seed: int
    new: tuple[str, ...] = ()
    groups: str = ""
    left_out: frozenset[str] = frozenset()
    whiten: Whitening = "none"

    def training(self, study: Study) -> Study:
        """Return the trials that are learned from."""
        return self._divided(study).part(TRAINING, self.train)

    def testing(self, study: Study) -> Study:
        """Return the trials that are scored."""
        return self._divided(study).part("test", self.test)

    def _divided(self, study: Study) -> Study:
        if not self.left_out:
            return study
        known = vars(self).get("_known", (None, None))
        if known[0] is not study:  # once per command: whitening is fitted
            people = study.part(subjects={*self.train, *self.test})
            known = study, whitened(marked(people, self.groups, self.left_out), self.whiten)
            object.__setattr__(self, "_known", known)
        return known[1]


def require_trials(fold: Fold, study: Study, system: System) -> None:
    """Refuse a fit that would train on nothing, score nothing, or predict what no training has seen the like of.

    Raises
    ------
    NeurodecError
        Naming the subjects and what to do.
    """
    parts = {"train": (fold.training(study), fold.train), "test": (fold.testing(study), fold.test)}
    for split, (part, subjects) in parts.items():
        if not len(part):
            raise NeurodecError(
                f"Subject(s) {', '.join(subjects)} have no trial with the split {split!r}; mark trials by a column "
                "`split` (train or test) in the events or in the table of stimuli, or add  cross_validation: {groups: "
                "concept}."
            )
    if not system.reads_strangers and set(fold.test) - set(fold.train):
        raise NeurodecError(
            f"Subject {fold.test[0]} is left out, and {type(system).__name__} reads only people whom it was adapted "
            "to; take protocol: new_subject, which adapts it to them."
        )
    learned, asked = (set(part.spaces) for part, _ in parts.values())
    if asked - learned:
        raise NeurodecError(
            f"Subject {fold.test[0]} was measured with sensors or voxels of their own ({min(asked - learned)}), of "
            "which nothing is learned where they are left out; take protocol: within_subject, joint, or new_subject "
            "with a system that adapts."
        )


def cross_validated(
    folds: list[Fold], study: Study, by: CrossValidation | None, levels: Iterable[Level]
) -> list[Fold]:
    """Return every fit once per fold of a cross-validation, if there is one.

    Parameters
    ----------
    folds : list of Fold
    study : Study
    by : CrossValidation, optional
    levels : iterable of str
        What training and test must not share; see `check_leakage`.

    Raises
    ------
    NeurodecError
        If the trials have a split of their own, there are fewer groups than folds, or folds share what they must not.
    """
    if by is None:
        return folds
    official = sorted(set(study.table["split"]) - {"cv"})
    if official:
        raise NeurodecError(
            f"The trials have a split of their own ({', '.join(official)}), which `cross_validation` would break up; "
            "remove that section, or the column `split`."
        )
    parts = [frozenset(own) for own in drawn(labels_of(study, by.groups), by.n_folds, by.seed)]
    for left_out in parts:
        for level in levels:
            check_leakage(marked(study, by.groups, left_out).table, level, study.stimuli)
    return [
        replace(fold, name=_numbered(fold, number), groups=by.groups, left_out=left_out, whiten=by.whiten)
        for fold in folds
        for number, left_out in enumerate(parts, start=1)
    ]


def _numbered(fold: Fold, number: int) -> str:
    """Name one fold of a cross-validation; a seed stays at the end, where reports look for it."""
    end = f"-seed{fold.seed}"
    stem = fold.name.removesuffix(end)
    return f"{stem}.fold{number}{fold.name[len(stem) :]}"


def folds_of(protocol: Protocol, subjects: list[str], seeds: Sequence[int]) -> list[Fold]:
    """Return the fits of a protocol, seed after seed.

    Parameters
    ----------
    protocol : {"within_subject", "leave_one_subject_out", "joint", "new_subject"}
        One fit per subject; one per left-out subject, of whom nothing is learned; one for all; or one per subject whose
        training trials only the stages of training see that are on new subjects.
    subjects : list of str
    seeds : sequence of int
        With several, the names of folds end in them.

    Raises
    ------
    NeurodecError
        If a subject is to be left out and there is only one.
    """
    if protocol in ("leave_one_subject_out", "new_subject") and len(subjects) < 2:
        raise NeurodecError(f"{protocol} needs at least two subjects; add one or use within_subject.")
    found, folders = [], file_names(subjects)
    for seed in seeds:
        end = f"-seed{seed}" if len(seeds) > 1 else ""
        if protocol == "joint":
            found.append(Fold(f"joint{end}", subjects, subjects, seed))
            continue
        for subject, own in folders.items():
            others = [name for name in subjects if name != subject]
            found.append(
                {
                    "within_subject": Fold(f"sub-{own}{end}", [subject], [subject], seed),
                    "leave_one_subject_out": Fold(f"without-{own}{end}", others, [subject], seed),
                    "new_subject": Fold(f"new-{own}{end}", subjects, [subject], seed, (subject,)),
                }[protocol]
            )
    return found
