"""The stage ``reconstruct``: from brain embeddings to pictures, with every control and ceiling beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from neurodec.decoders import select
from neurodec.evaluation.reconstruction.picture_scores import score_sets
from neurodec.evaluation.retrieval.centring import mean_of
from neurodec.evaluation.retrieval.similarity import similarity
from neurodec.features import Extractor, Features
from neurodec.files import (
    atomic_path,
    claim,
    file_name,
    read_own_table,
    remove_partials,
    track,
    write_table,
)
from neurodec.neural_decoder import NeuralDecoder
from neurodec.picture_opening import open_picture
from neurodec.run.pixel_baselines import BASELINES, TRUE_LATENTS, Draw

CONTROLS = ("shuffled", "mean_embedding", "nearest_training")
CEILINGS = ("true_through_prior", "true_through_decoder", "autoencoder")
SETS = ("brain", *CONTROLS, *CEILINGS)
"""Kinds of pictures: reconstructed from the brain; from nothing, the wrong or another picture; from the true one."""

_BLOCK = 50  # pictures drawn together and written; a killed run loses one block
_SHUFFLE_SEED = 1


@dataclass(frozen=True)
class Reconstruction:
    """The `reconstruction:` section of a recipe.

    Parameters
    ----------
    n_steps, guidance : int and float
        Of the decoder's diffusion.
    prior_n_steps, prior_guidance : int and float
        Of the prior's sampling.
    n_samples : int
        Pictures drawn per response; the one most similar to the *decoded* embedding is kept. The true picture plays no
        part.
    conditions : dict of str
        Further condition of the decoder to the target, and head, that it is: ``{latents: latents}`` starts from
        predicted latents.
    strength : float
        How much of the diffusion is run where a condition is a first picture.
    n_images : int, optional
        Reconstruct the first so many test rows; all by default.
    prior_from : {"held_out", "training"}
        What the prior is fitted on: predictions of trials that the system has not learned from (its validation trials,
        or cross-fitted), or as many papers do of those that it has, which are better than any that it will be given.
    protocol : str
        Name of the metrics' protocol: "mindeye", "braindiffuser", "takagi", "mindvis", or "native" for digits, letters
        and figures, which puts mean pictures and plain ridge to pixels beside the brain's.
    seed : int
        Row `i` is drawn from ``seed + i``: the same picture in whatever batch, and after a broken run.
    """

    n_steps: int = 20
    guidance: float = 1.5
    prior_n_steps: int = 50
    prior_guidance: float = 1.0
    n_samples: int = 1
    conditions: dict[str, str] = field(default_factory=dict)
    strength: float = 0.5
    n_images: int | None = None
    prior_from: Literal["held_out", "training"] = "held_out"
    protocol: str = "mindeye"
    seed: int = 0

    @property
    def sampling(self) -> dict[str, Any]:
        """What `NeuralDecoder` needs to know."""
        names = ("n_steps", "guidance", "prior_n_steps", "prior_guidance", "strength")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Seen:
    """The test rows of one fold and what was truly seen.

    Parameters
    ----------
    z : ndarray, shape (n, D)
        Brain embeddings.
    table : DataFrame
        `subject, stimulus, concept` of every row.
    true : ndarray, shape (n, D)
        Image embeddings of the seen pictures.
    files : list of Path
        The seen pictures.
    train : Features
        Image embeddings of the training pictures.
    train_files : list of Path
        The training pictures.
    others, true_others : dict of ndarray, shape (n, ...)
        Further conditions of the decoder: predicted, and true.
    mean_others : dict of ndarray
        Their means over the training pictures.
    """

    z: np.ndarray
    table: pd.DataFrame
    true: np.ndarray
    files: list[Path]
    train: Features
    train_files: list[Path]
    others: dict[str, np.ndarray] = field(default_factory=dict)
    true_others: dict[str, np.ndarray] = field(default_factory=dict)
    mean_others: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)


def reconstruct(
    decoder: NeuralDecoder,
    seen: Seen,
    settings: Reconstruction,
    features: Extractor,
    out: Path,
    key: str,
    baselines: dict[str, Draw] | None = None,
) -> pd.DataFrame:
    """Draw every set of pictures of one fold into ``out/<set>/``; pictures that are there are kept.

    Parameters
    ----------
    decoder : NeuralDecoder
    seen : Seen
    settings : Reconstruction
    features : Extractor
        Embeds the samples to choose among.
    out : Path
        Folder of the fold's pictures. It also gets ``pictures.csv``.
    key : str
        Of the configuration: inputs and parameters.
    baselines : dict of callable, optional
        Further sets to draw; see `pixel_baselines`.

    Returns
    -------
    DataFrame
        `subject, stimulus, concept`, the `file` of the row in every set, and the `seen` picture.

    Raises
    ------
    NeurodecError
        If `out` holds pictures of another configuration.
    """
    seeds = np.arange(settings.seed, settings.seed + len(seen))
    names = [
        f"{i:04d}_{file_name(f'{row.subject}_{row.stimulus}')}.png"
        for i, row in enumerate(seen.table.itertuples())
    ]
    claim(out, key, "pictures")
    decoded = decoder.image_embeddings(seen.z, seeds)
    true = torch.as_tensor(seen.true)
    best = _best_of(decoder, decoded, seen, seeds, settings, features, out)
    drawing: dict[str, Draw] = {
        "brain": best,
        "true_through_prior": lambda rows: decoder.pictures(
            decoder.image_embeddings(seen.true[rows], seeds[rows]), seeds[rows], _part(seen.true_others, rows)
        ),
        "true_through_decoder": lambda rows: decoder.pictures(
            true[rows], seeds[rows], _part(seen.true_others, rows)
        ),
        "autoencoder": lambda rows: decoder.decoder.autoencode([open_picture(seen.files[i]) for i in rows]),
        "nearest_training": lambda rows: [open_picture(file) for file in _nearest(decoded[rows], seen)],
    }
    for name, draw in {**drawing, **(baselines or {})}.items():
        _fill(out / name, names, draw, name.replace("_", " "))
    _write_mean(decoder, seen, settings, out / "mean_embedding" / "mean.png")
    table = seen.table.assign(file=names, seen=[str(file) for file in seen.files])
    write_table(out / "pictures.csv", table)
    return table


def score(folders: Sequence[Path], settings: Reconstruction) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score every set of pictures, over all folds.

    Parameters
    ----------
    folders : sequence of Path
        Written by `reconstruct`, one per fold.
    settings : Reconstruction

    Returns
    -------
    section : dict
        The `reconstruction` part of ``results.json``, with `controls`, `ceilings` and `baselines` in the same form.
    table : DataFrame
        Per picture, the scores of the set "brain".
    """
    tables = [read_own_table(folder / "pictures.csv", dtype=str) for folder in folders]
    rows = pd.concat(
        [table.assign(folder=str(folder)) for folder, table in zip(folders, tables, strict=True)],
        ignore_index=True,
    )
    further = [
        name for name in (*BASELINES, TRUE_LATENTS) if all((folder / name).is_dir() for folder in folders)
    ]
    files = {
        name: [
            file
            for folder, table in zip(folders, tables, strict=True)
            for file in picture_files(folder, name, table)
        ]
        for name in (*SETS, *further)
    }
    opened = {
        file: open_picture(file)
        for file in track({file for own in files.values() for file in own}, "pictures")
    }
    found = score_sets(
        [open_picture(file) for file in rows["seen"]],
        {name: [opened[file] for file in own] for name, own in files.items()},
        protocol=settings.protocol,
        seed=settings.seed,
        rows=rows,
    )
    section = {
        **found["brain"].summary(),
        "controls": {name: found[name].summary() for name in CONTROLS},
        "ceilings": {name: found[name].summary() for name in CEILINGS},
    }
    for name in further:
        kind = "ceilings" if name == TRUE_LATENTS else "baselines"
        section.setdefault(kind, {})[name] = found[name].summary()
    return section, found["brain"].table


def picture_files(folder: Path, name: str, rows: pd.DataFrame) -> list[Path]:
    """Return the picture of every row in a set.

    One picture stands for the whole set "mean_embedding"; "shuffled" are the brain's own pictures, each of another
    stimulus, of the same person where there is one, the same every time.

    Parameters
    ----------
    folder : Path
    name : str
        Of `SETS`.
    rows : DataFrame
        `file, subject, stimulus`, as ``pictures.csv`` has them.
    """
    files = rows["file"].tolist()
    if name == "mean_embedding":
        return [folder / name / "mean.png"] * len(files)
    if name != "shuffled":
        return [folder / name / file for file in files]
    stimuli = np.random.default_rng(_SHUFFLE_SEED).permutation(rows["stimulus"].unique()).tolist()
    partner = dict(zip(stimuli, [*stimuli[1:], stimuli[0]], strict=True))  # one cycle through all of them
    own = dict(zip(zip(rows["subject"], rows["stimulus"], strict=True), files, strict=True))
    anybody = dict(zip(rows["stimulus"], files, strict=True))
    pairs = zip(rows["subject"], rows["stimulus"].map(partner), strict=True)
    return [folder / "brain" / own.get(pair, anybody[pair[1]]) for pair in pairs]


def _part(others: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, Tensor]:
    return {name: torch.as_tensor(np.array(values[rows])) for name, values in others.items()}


def _fill(
    folder: Path, names: list[str], draw: Callable[[np.ndarray], list[Image.Image]], description: str
) -> None:
    """Draw what is missing, block by block, so that a killed run goes on where it was.

    A block is drawn whole, or rounding would depend on what was missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_partials(folder)
    blocks = np.split(np.arange(len(names)), range(_BLOCK, len(names), _BLOCK))
    blocks = [rows for rows in blocks if not all((folder / names[row]).exists() for row in rows)]
    for rows in track(blocks, description):
        for row, picture in zip(rows, draw(rows), strict=True):
            with atomic_path(folder / names[row]) as partial:
                picture.save(partial)


def _best_of(
    decoder: NeuralDecoder,
    decoded: Tensor,
    seen: Seen,
    seeds: np.ndarray,
    settings: Reconstruction,
    features: Extractor,
    out: Path,
) -> Callable[[np.ndarray], list[Image.Image]]:
    """Return a function that draws the pictures of rows, the best of several where asked."""
    if settings.n_samples == 1:
        return lambda rows: decoder.pictures(decoded[rows], seeds[rows], _part(seen.others, rows))

    def draw(rows: np.ndarray) -> list[Image.Image]:
        candidates = []
        for sample in range(settings.n_samples):
            # samples of one row must not repeat another row's noise
            own = seeds[rows] + sample * 1_000_003
            candidates.append(decoder.pictures(decoded[rows], own, _part(seen.others, rows)))
        embedded = [_embedded(pictures, features, out / "samples") for pictures in candidates]
        flat = np.stack(embedded, axis=1).reshape(len(rows), settings.n_samples, -1)
        chosen = select(flat, decoded[rows].flatten(1).numpy())
        return [candidates[sample][place] for place, sample in enumerate(chosen)]

    return draw


def _embedded(pictures: list[Image.Image], features: Extractor, folder: Path) -> np.ndarray:
    """Embed pictures as stimuli are embedded: from files, which the cache knows by content."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{i}.png" for i in range(len(pictures))]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(folder / file)
    return features.extract(pd.DataFrame({"stimulus": files, "image": files}), folder).values


def _nearest(decoded: Tensor, seen: Seen) -> list[Path]:
    """Return the training picture whose embedding is most similar to each decoded one."""
    found = similarity(decoded.numpy(), seen.train.values)
    return [seen.train_files[i] for i in found.argmax(axis=1)]


def _write_mean(decoder: NeuralDecoder, seen: Seen, settings: Reconstruction, file: Path) -> None:
    """Draw the mean training embedding: what a decoder shows that knows nothing."""
    if file.exists():
        return
    mean = torch.as_tensor(mean_of(seen.train.values)[None], dtype=torch.float32)
    with atomic_path(file) as partial:
        others = {name: torch.as_tensor(rows[None]) for name, rows in seen.mean_others.items()}
        decoder.pictures(mean, [settings.seed], others)[0].save(partial)
