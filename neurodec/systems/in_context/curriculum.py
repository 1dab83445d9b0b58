"""The two curricula: what each stage of the in-context networks' training draws its tasks from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from neurodec.encoders import InContextEncoder, InContextInverter
from neurodec.encoders.in_context.voxel_network import NetworkEncoding
from neurodec.errors import NeurodecError
from neurodec.linear.voxel_prior import PopulationPrior
from neurodec.systems.in_context.folder import Learnt
from neurodec.systems.in_context.meta_training import meta_train
from neurodec.systems.in_context.tasks import (
    Batch,
    EncodedSubject,
    MetaStage,
    SubjectVoxels,
    Voxels,
    encoder_batch,
    encoder_loss,
    inverter_batch,
    inverter_loss,
)

_CONTEXTS = 6  # contexts from which every training subject is encoded for the second stage


def train_networks(
    learned: Learnt,
    stages: Mapping[str, Sequence[MetaStage]],
    subjects: Sequence[SubjectVoxels],
    pool: np.ndarray,
    checkpoints: Path,
    *,
    seed: int,
    trainer: dict[str, Any],
    tokens_at_once: int,
) -> dict[str, pd.DataFrame]:
    """Train both networks, those that have stages.

    Parameters
    ----------
    learned : Learnt
        Its networks are trained in place.
    stages : dict of sequence of MetaStage
        Of `encoder` and `inverter`.
    subjects : sequence of SubjectVoxels
        Training subjects.
    pool : ndarray, shape (N, E)
        Pictures that made-up voxels are shown.
    checkpoints : Path
    seed, trainer
        See `meta_train`.
    tokens_at_once : int
        See `NetworkEncoding`.

    Returns
    -------
    dict of DataFrame
        History of each.

    Raises
    ------
    NeurodecError
        If there are stages and nobody to train on.
    """
    if any(stages.values()) and not subjects:
        raise NeurodecError(
            "The curriculum needs training subjects, and all are new; take protocol: new_subject with several "
            "subjects, or leave the stages out."
        )
    history: dict[str, pd.DataFrame] = {}
    given = (pool, learned.prior)
    if own := stages["encoder"]:
        folder = checkpoints / "encoder"
        history["encoder"] = train_encoder(learned.encoder, own, subjects, *given, folder, seed, trainer)
    if own := stages["inverter"]:
        encoded, folder = [], checkpoints / "inverter"
        if any(stage.source == "subjects" for stage in own):
            most = max((stage.size[1] for stage in stages["encoder"]), default=None)
            encoded = encode_subjects(subjects, NetworkEncoding(learned.encoder, tokens_at_once), most, seed)
        history["inverter"] = train_inverter(
            learned.inverter, own, encoded, *given, folder, seed + 1, trainer
        )
    return history


def train_encoder(
    network: InContextEncoder,
    stages: Sequence[MetaStage],
    subjects: Sequence[SubjectVoxels],
    pool: np.ndarray,
    prior: PopulationPrior,
    folder: Path,
    seed: int,
    trainer: dict[str, Any],
) -> pd.DataFrame:
    """Train stage 1 through its curriculum; see `meta_train`.

    Parameters
    ----------
    network : InContextEncoder
    stages : sequence of MetaStage
    subjects : sequence of SubjectVoxels
        Training subjects.
    pool : ndarray, shape (N, E)
        Pictures that made-up voxels are shown.
    prior : PopulationPrior
        Of the training subjects, for made-up voxels that are like theirs.
    folder, seed, trainer
        See `meta_train`.
    """
    made = _made(stages, pool, prior)
    drawn = [(stage, partial(_encoder_tasks, made.get(stage.source, subjects), stage)) for stage in stages]
    return meta_train(network, drawn, encoder_loss, folder, seed, trainer)


def train_inverter(
    network: InContextInverter,
    stages: Sequence[MetaStage],
    encoded: Sequence[EncodedSubject],
    pool: np.ndarray,
    prior: PopulationPrior,
    folder: Path,
    seed: int,
    trainer: dict[str, Any],
) -> pd.DataFrame:
    """Train stage 2 through its curriculum; see `train_encoder`. `encoded` are from `encode_subjects`."""
    made = _made(stages, pool, prior)
    drawn = [(stage, partial(_inverter_tasks, made.get(stage.source, encoded), stage)) for stage in stages]
    return meta_train(network, drawn, inverter_loss, folder, seed, trainer)


def encode_subjects(
    subjects: Sequence[SubjectVoxels], encoding: NetworkEncoding, most: int | None, seed: int
) -> list[EncodedSubject]:
    """Encode every training subject from several contexts of different sizes.

    Parameters
    ----------
    subjects : sequence of SubjectVoxels
    encoding : NetworkEncoding
        Stage 1.
    most : int, optional
        Pictures of the largest context; never more than 70 % of what a subject saw, since the others are decoded.
    seed : int
        Of the contexts.
    """
    rng, found = np.random.default_rng(seed), []
    for subject in subjects:
        n = len(subject.images)
        ends = max(2, min(50, n // 8)), max(3, min(most or n, int(0.7 * n)))
        sizes = np.unique(np.geomspace(*ends, _CONTEXTS).astype(int))
        contexts = [np.sort(rng.choice(n, size, replace=False)) for size in sizes]
        encoders = [
            torch.from_numpy(
                encoding.weights(subject.images[context].numpy(), subject.responses[:, context].numpy().T)
            )
            for context in contexts
        ]
        found.append(EncodedSubject(subject, contexts, encoders))
    return found


def _made(stages: Sequence[MetaStage], pool: np.ndarray, prior: PopulationPrior) -> dict[str, Voxels]:
    """Return the sources of made-up voxels that a curriculum uses, each factorised once."""
    sources = {stage.source for stage in stages} - {"subjects"}
    return {source: Voxels(pool, prior if source == "estimated" else None) for source in sources}


def _encoder_tasks(source: Any, stage: MetaStage, size: int, random: torch.Generator) -> Batch:
    return encoder_batch(source, size, stage.n_queries, stage.batch_size, random)


def _inverter_tasks(source: Any, stage: MetaStage, size: int, random: torch.Generator) -> Batch:
    return inverter_batch(source, size, stage.batch_size, random)
