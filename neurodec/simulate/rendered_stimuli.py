"""The pictures of a simulated study, written as a THINGS image set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.files import atomic_path, track
from neurodec.simulate.drive import StimulusDrive
from neurodec.simulate.scenes import Scene, caption, concept, draw_scenes, render
from neurodec.simulate.sources import AREAS

FOLDERS = {"train": "training_images", "test": "test_images", "gallery": "center_images"}


@dataclass(frozen=True)
class Study:
    """What is shown.

    Attributes
    ----------
    scenes : dict of str to list of Scene
        "train", "test" and "gallery", in condition order.
    drive : StimulusDrive
        Of the training pictures, then the test pictures.
    """

    scenes: dict[str, list[Scene]]
    drive: StimulusDrive

    @property
    def n_train(self) -> int:
        """Training pictures."""
        return len(self.scenes["train"])

    @property
    def n_test(self) -> int:
        """Test pictures."""
        return len(self.scenes["test"])

    @cached_property
    def drives(self) -> list[np.ndarray]:
        """Per area, the drive of every training and then every test picture, (n_pictures, 2 * n_sources)."""
        return [self.drive.units(area.drive, 2 * area.n_sources, seed) for seed, area in enumerate(AREAS)]

    def table(self) -> pd.DataFrame:
        """Return `stimulus, concept, split, image, caption`; `image` is relative to the image set."""
        rows = [
            (Path(file).stem, concept(scene), split, file, caption(scene))
            for split, scenes in self.scenes.items()
            for file, scene in zip(files(scenes, split), scenes, strict=True)
        ]
        return pd.DataFrame(rows, columns=["stimulus", "concept", "split", "image", "caption"])


def files(scenes: list[Scene], split: str) -> list[str]:
    """Name one file per scene, ``training_images/00001_<concept>/<concept>_01.png``; sorting keeps the order."""
    numbered = enumerate(groupby(scenes, key=concept), start=1)
    return [
        f"{FOLDERS[split]}/{number:05d}_{name}/{name}_{scene.variant + 1:02d}.png"
        for number, (name, group) in numbered
        for scene in group
    ]


def draw_study(counts: tuple[int, int, int, int], seed: int) -> Study:
    """Draw the scenes and render those that are shown.

    Parameters
    ----------
    counts : tuple of int
        Training concepts, pictures of each, test concepts, gallery pictures of each.
    seed : int
    """
    scenes = dict(zip(FOLDERS, draw_scenes(*counts, seed), strict=True))
    shown = [*scenes["train"], *scenes["test"]]
    pictures = [render(scene) for scene in track(shown, "drawing scenes")]
    return Study(scenes, StimulusDrive(pictures, len(scenes["train"])))


def write_images(root: Path, study: Study) -> None:
    """Write ``image_set/`` with its captions in one go, unless it is there."""
    if (root / "image_set").exists():
        return
    shown = iter(study.drive.pictures)
    with atomic_path(root / "image_set") as folder:
        for split, scenes in study.scenes.items():
            for scene, file in zip(scenes, files(scenes, split), strict=True):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                picture = render(scene) if split == "gallery" else next(shown)
                picture.save(folder / file)
        study.table()[["image", "caption"]].to_csv(folder / "captions.csv", index=False)


def shuffled(rng: np.random.Generator, conditions: np.ndarray, repetitions: int) -> np.ndarray:
    """Return every condition `repetitions` times: one random order after another."""
    return np.concatenate([rng.permutation(conditions) for _ in range(repetitions)])
