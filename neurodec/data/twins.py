"""Equal pictures under several names, and one name for several things."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from neurodec.data.splits import SHARED, TRAINING, Level
from neurodec.errors import NeurodecError
from neurodec.files import sha256_of


def check_pictures(table: pd.DataFrame, stimuli: pd.DataFrame, root: Path, level: Level) -> list[str]:
    """Refuse pictures that were shown in training and in the test under different names.

    Parameters
    ----------
    table : DataFrame
        Of all trials: `stimulus` and `split`.
    stimuli : DataFrame
        `stimulus` and `image` (path below `root`, or "").
    root : Path
    level : str
        What training and test must not share; pictures count where stimuli do.

    Returns
    -------
    list of str
        Sentences for the account.

    Raises
    ------
    NeurodecError
        Naming the first such pair.

    Notes
    -----
    Cost: the sizes of all pictures, and the content of those whose sizes are equal.
    """
    shown = {
        name: set(table["stimulus"][table["split"].isin(splits)])
        for name, splits in (("train", TRAINING), ("test", ("test",)))
    }
    notes, leaked = [], []
    for names in twin_pictures(stimuli, root):
        train, test = (sorted(shown[name].intersection(names)) for name in ("train", "test"))
        if len(test) > 1:
            notes.append(
                f"the test pictures {' and '.join(test[:4])} are one and the same, and cannot be told apart"
            )
        if train and test:
            leaked.append((train[0], test[0]))
    if not leaked:
        return notes
    first = f"{leaked[0][1]} as {leaked[0][0]}"
    said = f"{len(leaked)} test picture(s) were shown in training under another name, first {first}"
    if SHARED[level]:
        raise NeurodecError(
            f"{said}; decoding them is no zero-shot decoding, so take them out of training by the stimulus table, or "
            "set the evaluation's `leakage: none`."
        )
    return [*notes, said]


def twin_pictures(stimuli: pd.DataFrame, root: Path) -> list[list[str]]:
    """Return the groups of stimuli whose pictures have the same content."""
    pictured = stimuli[stimuli["image"] != ""]
    sizes = pd.Series([(root / image).stat().st_size for image in pictured["image"]], index=pictured.index)
    alike = pictured[sizes.duplicated(keep=False) & (sizes > 0)]  # an empty file is refused when it is opened
    contents = {image: sha256_of(root / image) for image in alike["image"].unique()}
    groups = alike.groupby(alike["image"].map(contents), sort=False)["stimulus"].agg(list)
    return [names for names in groups if len(names) > 1]


def note_concepts(table: pd.DataFrame) -> list[str]:
    """Tell of stimuli that stand under several concepts, as base names do (``cat/1.png``, ``dog/1.png``)."""
    counts = table.groupby("stimulus")["concept"].nunique()
    several = counts.index[counts > 1]
    if not len(several):
        return []
    first = several[0]
    own = sorted(set(table["concept"][table["stimulus"] == first].astype(str)))
    return [
        f"{len(several)} stimuli stand under several concepts, first {first} ({', '.join(own[:4])}); if one name "
        "stands for several pictures, give each a name of its own (such as its path)"
    ]
