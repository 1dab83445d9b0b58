"""What pictures at their own size are to be better than: mean pictures, and plain ridge from responses to pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from neurodec.data import Study
from neurodec.evaluation import Retrieval
from neurodec.evaluation.reconstruction.native import PIXELS
from neurodec.features import Pixels
from neurodec.systems import PictureLatentRidge, RidgeSystem, System
from neurodec.training import TrainingData

BASELINES = ("mean_picture", "class_mean_picture", "pixel_ridge")
"""Sets of pictures beside the brain's: the same for all, that of the true class (which it is told), and ridge's."""
TRUE_LATENTS = "true_latents"
"""The set of true pictures that went through the latents of a system of its own."""

Draw = Callable[[np.ndarray], list[Image.Image]]


def pixel_baselines(
    train: Study, test: Study, table: pd.DataFrame, retrieval: Retrieval, root: Path, system: System
) -> dict[str, Draw]:
    """Return functions that draw the baselines of rows; that of the class is left out where training lacks a class.

    Parameters
    ----------
    train, test : Study
        Of one fold.
    table : DataFrame
        `subject, stimulus, concept` of the rows that are reconstructed.
    retrieval : Retrieval
        Averages trials to rows.
    root : Path
        The data root.
    system : System
        Fitted to the training trials; where it has latents of its own, what true pictures lose there is drawn too.
    """
    stimuli = train.stimuli.set_index("stimulus")
    shown = pd.unique(train.table["stimulus"])
    names = pd.unique(np.concatenate([shown, table["stimulus"].to_numpy()]))
    features = Pixels().extract(stimuli.loc[names].reset_index(), root)
    seen, classes = features.of(shown), train.table.drop_duplicates("stimulus")["concept"].to_numpy()
    mean = seen.mean(axis=0)
    rows = {"mean_picture": np.broadcast_to(mean, (len(table), *mean.shape))}
    if set(table["concept"]) <= set(classes):
        rows["class_mean_picture"] = np.stack(
            [seen[classes == concept].mean(axis=0) for concept in table["concept"]]
        )
    by = TrainingData(held_out_by="stimulus")
    ridge = RidgeSystem(head=PIXELS, data=by).fit(train, {PIXELS: features})
    predictions = {name: ridge.predict(own) for name, own in retrieval.inputs(test).items()}
    found, told = retrieval.rows(predictions, PIXELS)
    place = {key: row for row, key in enumerate(zip(told["subject"], told["stimulus"], strict=True))}
    order = [place[key] for key in zip(table["subject"], table["stimulus"], strict=True)]
    rows["pixel_ridge"] = found[order]
    if isinstance(system, PictureLatentRidge):
        rows[TRUE_LATENTS] = system.through_latents(features.of(table["stimulus"]))
    return {name: _drawing(values) for name, values in rows.items()}


def _drawing(values: np.ndarray) -> Draw:
    def draw(rows: np.ndarray) -> list[Image.Image]:
        levels = np.round(np.clip(values[rows], 0, 1) * 255).astype(np.uint8)
        return [Image.fromarray(one).convert("RGB") for one in levels]

    return draw
