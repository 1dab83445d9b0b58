"""Write a simulated study to disk: what is seen or heard, then the recordings, in the layout of a real data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import neurodec
from neurodec.errors import NeurodecError
from neurodec.files import read_json, remove_partials, track, write_json
from neurodec.simulate import fmri_recording, meg_recording, speech_recording, states, whole_brain
from neurodec.simulate.eeg_recording import EEGSession, session_files
from neurodec.simulate.rendered_stimuli import Study, draw_study, write_images

MARK = "simulation.json"  # what lies beside this file is simulated, and reports say so


@dataclass(frozen=True)
class Size:
    """How much is simulated.

    Attributes
    ----------
    n_subjects : int
    n_train_concepts, images_per_concept : int
        Training pictures.
    n_test_concepts : int
        Test concepts with one picture each; their combinations of attributes never occur in training.
    gallery_per_concept : int
        Further pictures of every test concept, which nobody is shown.
    train_repetitions, test_repetitions : int
        Showings of every picture. As in THINGS-EEG2 an EEG session shows half of the training pictures twice, so there
        are as many sessions as training repetitions; as in THINGS-MEG the training pictures of MEG are shown once.
    """

    n_subjects: int
    n_train_concepts: int
    images_per_concept: int
    n_test_concepts: int
    gallery_per_concept: int
    train_repetitions: int
    test_repetitions: int


@dataclass(frozen=True)
class WholeBrainSize(Size):
    """How much is simulated: pictures as in `Size`, and rest.

    Attributes
    ----------
    n_rest : int
        Runs at rest of every person, without pictures, five minutes each.
    """

    n_rest: int = 1


AnySize = Size | states.StatesSize | speech_recording.SpeechSize
SIZES: dict[str, AnySize] = {
    "eeg": Size(1, 2000, 2, 200, 4, 2, 20),
    "meg": Size(2, 600, 2, 50, 4, 1, 8),
    "fmri": Size(3, 300, 2, 50, 4, 1, 4),
    "whole_brain": WholeBrainSize(4, 300, 2, 50, 4, 1, 4),
    "states": states.StatesSize(),
    "speech": speech_recording.SpeechSize(),
}
"""Sizes that `simulate` takes by default: those of the demo recipes."""


def simulate(
    root: str | Path,
    modality: Literal["eeg", "meg", "fmri", "whole_brain", "states", "speech"] = "eeg",
    seed: int = 0,
    **size: int,
) -> Path:
    """Simulate subjects who look at rendered scenes or listen to stories, or people in several states.

    Parameters
    ----------
    root : str or Path
        Folder to write. Files that are there from a broken run of the same call are kept.
    modality : {"eeg", "meg", "fmri", "whole_brain", "states", "speech"}
        ``eeg``: the raw layout of THINGS-EEG2; ``meg``: epochs as in THINGS-MEG; ``fmri``: a BIDS folder;
        ``whole_brain``: a BIDS folder of people in one space, with an atlas of networks and runs at rest (see
        `neurodec.simulate.whole_brain`); ``states``: continuous EEG as EDF, without labels and with (see
        `neurodec.simulate.states`); ``speech``: a BIDS folder of continuous MEG with the audio of stories (see
        `neurodec.simulate.speech_recording`).
    seed : int
        Same seed, same bits.
    **size : int
        Fields of `Size` (or `WholeBrainSize`, `StatesSize`, `SpeechSize`) that differ from ``SIZES[modality]``.

    Returns
    -------
    Path
        `root`, which also holds ``simulation.json``: the parameters, and the mark that this is no real brain.

    Raises
    ------
    NeurodecError
        If `root` holds something else, or the sizes do not fit.

    Notes
    -----
    Demo sizes take about a minute per EEG subject on two cores and 1 GB of disk; memory is that of one session.
    """
    strange = sorted(set(size) - set(asdict(SIZES[modality])))
    if strange:
        raise NeurodecError(
            f"{strange[0]} is not a size of a simulation of {modality}; it has {', '.join(asdict(SIZES[modality]))}."
        )
    root, chosen = Path(root), replace(SIZES[modality], **size)
    _require_fitting(modality, chosen)
    stamp = {
        "simulated": True,
        "modality": modality,
        "seed": seed,
        **asdict(chosen),
        "neurodec": neurodec.__version__,
    }
    recordings = _recordings(root, modality, chosen)
    begun = _begun(root, stamp)
    if begun and all(file.exists() for file in recordings):
        return root
    for folder in {root, *(file.parent for file in recordings)}:
        remove_partials(folder)
    if not isinstance(chosen, Size):
        write_json(root / MARK, stamp)
        _WITHOUT_PICTURES[modality](root, chosen, seed)
        return root
    counts = (
        chosen.n_train_concepts,
        chosen.images_per_concept,
        chosen.n_test_concepts,
        chosen.gallery_per_concept,
    )
    study = draw_study(counts, seed)  # refuses sizes that do not fit, so that nothing is written before
    if not begun:
        write_json(root / MARK, stamp)
    write_images(root, study)
    _WRITERS[modality](root, study, chosen, seed)
    return root


def command_of(root: str | Path) -> str | None:
    """Return the command that simulated a folder, or None if it is not simulated.

    Raises
    ------
    NeurodecError
        If the mark holds something else than numbers, which a report would show as a command to run.
    """
    mark = Path(root) / MARK
    if not mark.exists():
        return None
    told = read_json(mark)
    kind = told.get("modality") if isinstance(told, dict) else None
    usual = {"seed": 0, **asdict(SIZES[kind])} if isinstance(kind, str) and kind in SIZES else {}
    wrong = [name for name in usual if type(told.get(name)) not in (int, float)]
    if not usual or wrong:
        raise NeurodecError(
            f"{mark} marks the folder as simulated, but is not what `neurodec simulate` writes "
            f"({wrong[0] if wrong else 'modality'}); simulate it anew, or remove the file if these are real recordings."
        )
    options = [f"--{name} {told[name]}" for name, value in usual.items() if told[name] != value]
    return " ".join(["neurodec simulate", told["modality"], "--data-root DIR", *options])


def simulate_demo(root: str | Path) -> Path:
    """Write the recording of ``configs/demo/eeg.yaml``."""
    return simulate(root, "eeg")


def _begun(root: Path, stamp: dict[str, object]) -> bool:
    """Return whether the folder holds this very simulation; one that holds anything else is refused."""
    mark = root / MARK
    if mark.exists():
        if read_json(mark) != stamp:
            raise NeurodecError(
                f"{root} holds another simulation (see {MARK}); delete it or choose another folder."
            )
        return True
    if root.exists() and any(root.iterdir()):
        raise NeurodecError(
            f"{root} is not empty and holds no {MARK}; choose an empty folder for a simulation."
        )
    return False


def _require_fitting(modality: str, size: AnySize) -> None:
    may_lack = ("gallery_per_concept", "n_rest")
    low = [name for name, count in asdict(size).items() if count < (0 if name in may_lack else 1)]
    if low:
        raise NeurodecError(f"A simulation needs at least one of {', '.join(low)}; raise it.")
    if not isinstance(size, Size):
        return
    sessions = size.train_repetitions
    if modality == "eeg" and (sessions % 2 or size.test_repetitions % sessions):
        raise NeurodecError(
            f"{size.train_repetitions} training and {size.test_repetitions} test repetitions do not fit into sessions "
            "that show half of the training pictures twice; choose an even number of training repetitions that divides "
            "the test repetitions."
        )
    if modality == "meg" and (size.train_repetitions != 1 or size.test_repetitions < 2):
        raise NeurodecError(
            "In THINGS-MEG training pictures are shown once and test pictures more often; choose so."
        )


def _recordings(root: Path, modality: str, size: AnySize) -> list[Path]:
    """List the files that a finished simulation has."""
    if isinstance(size, states.StatesSize):
        return states.files(root, size)
    if isinstance(size, speech_recording.SpeechSize):
        return speech_recording.files(root, size)
    subjects = range(1, size.n_subjects + 1)
    if modality == "eeg":
        sessions = range(1, size.train_repetitions + 1)
        return [
            file
            for subject in subjects
            for session in sessions
            for file in session_files(root, subject, session)
        ]
    if modality == "meg":
        return [meg_recording.participant_file(root, subject) for subject in subjects]
    shown = (size.n_train_concepts * size.images_per_concept, size.n_test_concepts)
    repetitions = (size.train_repetitions, size.test_repetitions)
    if isinstance(size, WholeBrainSize):
        return whole_brain.files(root, size.n_subjects, shown, repetitions, size.n_rest)
    runs = range(1, fmri_recording.n_runs(shown, repetitions) + 1)
    return [fmri_recording.run_file(root, subject, run) for subject in subjects for run in runs]


def _write_eeg(root: Path, study: Study, size: Size, seed: int) -> None:
    sessions = [(i, j) for i in range(1, size.n_subjects + 1) for j in range(1, size.train_repetitions + 1)]
    for subject, session in track(sessions, "recording EEG"):
        EEGSession(study, subject, session, size.test_repetitions // size.train_repetitions, seed).write(root)


def _write_meg(root: Path, study: Study, size: Size, seed: int) -> None:
    meg_recording.write_picture_list(root, study)
    for subject in track(range(1, size.n_subjects + 1), "recording MEG"):
        meg_recording.write_participant(root, study, subject, size.test_repetitions, seed)


def _write_fmri(root: Path, study: Study, size: Size, seed: int) -> None:
    fmri_recording.write_tables(root, study)
    for subject in track(range(1, size.n_subjects + 1), "scanning"):
        fmri_recording.write_subject(
            root, study, subject, (size.train_repetitions, size.test_repetitions), seed
        )


def _write_whole_brain(root: Path, study: Study, size: WholeBrainSize, seed: int) -> None:
    parcellation = whole_brain.write_tables(root, study, size.n_rest)
    repetitions = (size.train_repetitions, size.test_repetitions)
    for subject in track(range(1, size.n_subjects + 1), "scanning"):
        whole_brain.write_subject(root, study, parcellation, subject, repetitions, size.n_rest, seed)


def _write_states(root: Path, size: states.StatesSize, seed: int) -> None:
    for number, file in track(list(enumerate(states.files(root, size))), "recording EEG"):
        if not file.exists():
            states.write(file, number, size, seed)


_WITHOUT_PICTURES: dict[str, Callable[[Path, Any, int], None]] = {
    "states": _write_states,
    "speech": speech_recording.write,
}
_WRITERS: dict[str, Callable[[Path, Study, Any, int], None]] = {
    "eeg": _write_eeg,
    "meg": _write_meg,
    "fmri": _write_fmri,
    "whole_brain": _write_whole_brain,
}
