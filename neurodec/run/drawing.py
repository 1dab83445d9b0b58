"""The stage ``reconstruct`` of a run: which prior, which decoder, which pictures, and where they go."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurodec.class_paths import build
from neurodec.data.predictions import Predictions
from neurodec.data.responses import select
from neurodec.errors import NeurodecError
from neurodec.evaluation import Retrieval
from neurodec.evaluation.reconstruction.judging_networks import sees_as
from neurodec.evaluation.reconstruction.native import PIXELS
from neurodec.features import Features
from neurodec.files import read_json, write_table
from neurodec.neural_decoder import NeuralDecoder, build_decoder
from neurodec.prior_fit import fitted_prior, prior_of
from neurodec.priors import IdentityPrior, Prior, load_prior
from neurodec.run.finished import Finished
from neurodec.run.folds import Fold
from neurodec.run.pixel_baselines import Draw, pixel_baselines
from neurodec.run.recipe.recipe_parser import sections_of
from neurodec.run.reconstruct import Seen, reconstruct, score

_FEWEST = 2  # pictures of a fold


class Drawing:
    """Draws and scores the pictures of a run.

    Parameters
    ----------
    run : Finished
    """

    def __init__(self, run: Finished) -> None:
        self.run, self.settings = run, run.objects.reconstruction
        self.sections = sections_of(run.recipe)

    def draw(self, folds: list[Fold]) -> None:
        """Draw the pictures of every fold whose configuration has changed, or that lacks some."""
        for fold in folds:
            stamp, key = f"reconstruct {fold.name}", self.run.keys.pictures(fold)
            folder = self.run.out / "images" / "reconstructed" / fold.name
            if self.run.stamps[stamp] == key and (folder / "pictures.csv").exists():
                continue
            self._make_room(fold, folder, key)
            system = self.run.system(fold)
            embedder = self.run.objects.targets[system.head]
            with self.run.stamps.making(stamp, key):
                seen = self._seen(fold, system.head)
                beside = self._baselines(fold, seen) if self.settings.protocol == "native" else {}
                reconstruct(self._decoder(fold), seen, self.settings, embedder, folder, key, beside)

    def check(self, folds: list[Fold]) -> None:
        """Refuse folds that test a single picture, before any training.

        Raises
        ------
        NeurodecError
            Naming the fold.
        """
        for fold in folds:
            if fold.testing(self.run.study).table["stimulus"].nunique() < _FEWEST:
                raise NeurodecError(
                    f"The fold {fold.name} tests one picture, and the control of a shuffled brain needs another; take "
                    "fewer folds."
                )

    def _make_room(self, fold: Fold, folder: Path, key: str) -> None:
        """Delete the pictures of a training that has gone on since; those of other settings are refused when drawn."""
        stamp, drawing = f"drawn {fold.name}", self.run.keys.drawing(fold)
        mark = folder / "made_with.json"
        if self.run.stamps[stamp] == drawing and mark.exists() and read_json(mark)["key"] != key:
            shutil.rmtree(folder)
        self.run.stamps[stamp] = drawing

    def score(self, folds: list[Fold], found: dict[str, Any]) -> None:
        """Add the scores of the pictures to the results, and write ``OUT/reconstructed.csv``."""
        folders = [self.run.out / "images" / "reconstructed" / fold.name for fold in folds]
        for fold in folds:
            self.run.require("reconstruct", f"reconstruct {fold.name}", self.run.keys.pictures(fold))
        section, table = score(folders, self.settings)
        space = self.run.features[self.run.system(folds[0]).head].embedding_space
        networks = [name for name in section["two_way"] if name != PIXELS]
        section["conditioned_by"] = [name for name in networks if sees_as(name, space)]
        if self._new_prior(folds[0]).learns:
            section["prior_from"] = self.settings.prior_from
        found["reconstruction"] = section
        metrics = ("pixcorr", "ssim", "two_way", "ci95", "n_images")
        shuffled = found.setdefault("controls", {}).setdefault("shuffled", {})
        shuffled |= {name: section["controls"]["shuffled"][name] for name in metrics}
        write_table(self.run.out / "reconstructed.csv", table)

    def _decoder(self, fold: Fold) -> NeuralDecoder:
        """Load system, prior and decoder of a fold; the prior is fitted first where it was not."""
        folder, run = self.run.out / "decoders" / fold.name, self.run
        stamp, key = f"prior {fold.name}", run.keys.prior(self.settings.prior_from)
        known = run.stamps[stamp] == key and folder.exists()
        prior = load_prior(folder / "prior", run.allow) if known else self._fit_prior(fold)
        own = {
            "decoder": self.sections["decoder"],
            "sampling": self.settings.sampling,
            "conditions": self.settings.conditions,
        }
        drawer = build_decoder(self.sections["decoder"], run.allow)
        decoder = NeuralDecoder(run.system(fold), prior, drawer, own)
        with run.stamps.making(stamp, key):
            decoder.save_pretrained(folder)
        if torch.cuda.is_available():
            decoder.prior.to("cuda")
        return decoder

    def _new_prior(self, fold: Fold) -> Prior:
        """Return the recipe's prior, not fitted; without one that of the system, or none."""
        if self.sections.get("prior"):
            return build(Prior, self.sections["prior"], "prior", self.run.allow)
        return prior_of(self.run.system(fold)) or IdentityPrior()

    def _fit_prior(self, fold: Fold) -> Prior:
        """Fit the prior as `prior_from` says: held out, averaged over repetitions; or to training predictions."""
        run = self.run
        return fitted_prior(
            self._new_prior(fold),
            run.system(fold),
            fold.training(run.study),
            run.features,
            seed=fold.seed,
            held_out=self.settings.prior_from == "held_out",
            checkpoints=run.out / "checkpoints" / f"{fold.name}-prior",
        )

    @property
    def _retrieval(self) -> Retrieval:
        """What averages trials to rows."""
        return next(one for one in self.run.objects.evaluation.values() if isinstance(one, Retrieval))

    def _baselines(self, fold: Fold, seen: Seen) -> dict[str, Draw]:
        study = self.run.study
        parts = fold.training(study), fold.testing(study)
        return pixel_baselines(*parts, seen.table, self._retrieval, self.run.root, self.run.system(fold))

    def _seen(self, fold: Fold, head: str) -> Seen:
        run, retrieval = self.run, self._retrieval
        predictions = run.predictions(fold)
        n_images, conditions = self.settings.n_images, self.settings.conditions
        z, table = retrieval.rows(predictions, head)
        others = {name: _averaged(retrieval, predictions, own)[:n_images] for name, own in conditions.items()}
        z, table = z[:n_images], table[:n_images].reset_index(drop=True)
        stimuli = fold.training(run.study).stimuli
        files = stimuli.set_index("stimulus")["image"].map(lambda image: run.root / image)
        shown = stimuli["stimulus"][stimuli["split"] == "train"].tolist()
        features = run.features[head]
        return Seen(
            z,
            table[["subject", "stimulus", "concept"]],
            features.of(table["stimulus"]),
            files[table["stimulus"]].tolist(),
            Features(select(features.values, features.rows(shown)), shown, features.info),
            files[shown].tolist(),
            others,
            {name: run.features[own].of(table["stimulus"]) for name, own in conditions.items()},
            {name: run.features[own].of(shown).mean(axis=0) for name, own in conditions.items()},
        )


def _averaged(retrieval: Retrieval, predictions: dict[str, Predictions], head: str) -> np.ndarray:
    """Return a head's predictions averaged over repetitions, without scaling them to unit length as embeddings are."""
    if retrieval.averaging == "response":
        return retrieval.rows(predictions, head)[0]
    found = predictions["single"]
    groups = found.table.groupby(["subject", "split", "stimulus"], sort=False).indices
    return np.stack([found.of(head)[rows].mean(axis=0) for rows in groups.values()])
