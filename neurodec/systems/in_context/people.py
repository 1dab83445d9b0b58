"""What an in-context system knows of one person: which voxels, on what scale, and their encoders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file, save_file

from neurodec.data import Trials
from neurodec.data.descriptions import require_arrays
from neurodec.data.responses import blocks_of
from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_json, write_json
from neurodec.linear.features import linear_features
from neurodec.linear.voxel_encoders import Encoding, VoxelEncoders, noise_of, varying
from neurodec.linear.voxel_ridge import RidgeEncoding, solve_left_out

Choice = Literal["best", "random"]
_FEWEST = 8  # pictures from which noise is estimated
_MOST = 500  # shared patterns of noise


@dataclass(frozen=True)
class Scale:
    """What brings a person's responses to z-scores whose noise is independent from voxel to voxel.

    Parameters
    ----------
    mean, sd : ndarray, shape (n_voxels,)
        Over single trials of the context.
    own : ndarray, shape (n_voxels,)
        Standard deviation of the noise that is a voxel's own.
    shared : ndarray, shape (n_voxels, k)
        Orthonormal patterns of noise that voxels share, in units of `own`; k is 0 without whitening.
    taken : ndarray, shape (k,)
        Share of every pattern that is taken off.
    rest : ndarray, shape (2, n_voxels)
        Mean and standard deviation of what is left, over pictures of the context.
    """

    mean: np.ndarray
    sd: np.ndarray
    own: np.ndarray
    shared: np.ndarray
    taken: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, trials: Trials, images: np.ndarray | None = None) -> Scale:
        """Measure it on a context.

        Both networks take every voxel for itself, and closed-form inversion all that it can tell apart; but scanner,
        heart and vigilance move thousands of voxels together. What ridge leaves of left-out pictures tells how, and
        `S^-1/2` of that covariance takes it off, as multivariate noise normalisation does for sensors.

        Parameters
        ----------
        trials : Trials
            The context; read a few trials at a time.
        images : ndarray, shape (n, n_embed), optional
            Embeddings of its pictures, in order of appearance; voxels are z-scored and no more without.
        """
        total = squares = 0.0
        for rows in blocks_of(len(trials)):
            values = features_of(trials.select(rows)).astype(np.float64)
            total, squares = total + values.sum(axis=0), squares + np.square(values).sum(axis=0)
        mean = total / len(trials)
        bad = np.flatnonzero(~np.isfinite(mean))
        if len(bad):
            raise NeurodecError(
                f"{len(bad)} voxel(s) of the context, first number {bad[0]}, hold NaN or infinity; leave them out."
            )
        sd = np.sqrt(np.maximum(squares / len(trials) - mean**2, 0.0))
        sd = np.where(sd > 1e-6 * np.abs(mean).clip(min=1e-12), sd, 1.0)
        ones, none = np.ones(len(mean)), np.zeros((len(mean), 0))
        plain = cls(mean, sd, ones, none, np.zeros(0), np.stack([0 * ones, ones]))
        if images is None or len(images) < _FEWEST:
            return plain
        responses, _ = context_of(trials, plain)
        *_, residuals = solve_left_out(images, responses, RidgeEncoding().alphas)
        noise_var, factors = noise_of(residuals, min(_MOST, len(images) // 4))
        own = np.sqrt(noise_var)
        shared, strength, _ = np.linalg.svd(factors / own[:, None], full_matrices=False)
        taken = 1 - 1 / np.sqrt(1 + strength**2)
        whitened = replace(plain, own=own, shared=shared.astype(np.float32), taken=taken)
        values = whitened.applied(features_of(trials.average()))
        spread = values.std(axis=0)
        return replace(whitened, rest=np.stack([values.mean(axis=0), np.where(spread > 1e-6, spread, 1.0)]))

    def applied(self, values: np.ndarray) -> np.ndarray:
        """Return z-scores (n, n_voxels), float32, of responses of all the person's voxels."""
        if self.mean.shape != values.shape[1:]:
            raise NeurodecError(
                f"The responses have {values.shape[1]} voxels, those of the context {len(self.mean)}; give the same."
            )
        scores = (values - self.mean) / self.sd / self.own
        scores[:, hidden_voxels(values)] = 0.0
        scores -= (scores @ self.shared * self.taken) @ self.shared.T
        return ((scores - self.rest[0]) / self.rest[1]).astype(np.float32)


@dataclass(frozen=True)
class Person:
    """Encoders of a person's voxels, by how they were made.

    Parameters
    ----------
    scale : Scale
    columns : ndarray of int
        The voxels that are used, among all of the person's.
    encoders : dict of VoxelEncoders
        ``network``, ``ridge``, ``prior``.
    temperatures : dict of float
        What Bayesian inversion multiplies the noise with, by encoders.
    direct : ndarray, shape (n_embed, 1 + n_used)
        Intercept and weights of ridge from the responses straight to embeddings.
    """

    scale: Scale
    columns: np.ndarray
    encoders: dict[str, VoxelEncoders]
    temperatures: dict[str, float]
    direct: np.ndarray

    def responses(self, trials: Trials) -> tuple[np.ndarray, np.ndarray]:
        """Return z-scored responses of the voxels that are used, and which of them are not hidden.

        Returns
        -------
        responses : ndarray, shape (n, n_used)
        shown : ndarray of int
            Positions; both networks and Bayes read any part of the voxels, so what is hidden is left out.
        """
        voxels = voxels_of(trials)
        known = next(iter(self.encoders.values()))
        known.require_voxels(
            [voxels[column] for column in self.columns] if len(voxels) > max(self.columns) else voxels
        )
        values = features_of(trials)
        shown = np.flatnonzero(~hidden_voxels(values)[self.columns])
        if not len(shown):
            raise NeurodecError("None of the voxels that the person was adapted with is left to decode from.")
        return self.scale.applied(values)[:, self.columns], shown

    def regions(self, roi: dict[str, list[int]]) -> dict[str, np.ndarray]:
        """Return, of columns of all voxels by region, the positions among those that are used."""
        places = {int(column): place for place, column in enumerate(self.columns)}
        return {
            name: np.array([places[column] for column in own if column in places], dtype=int)
            for name, own in roi.items()
        }

    def save(self, folder: Path) -> None:
        """Write the folder."""
        arrays = {**vars(self.scale), "columns": self.columns, "direct": self.direct}
        with atomic_path(folder / "person.safetensors") as partial:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, partial)
        for name, own in self.encoders.items():
            own.save(folder / name)
        write_json(
            folder / "person.json", {"encoders": list(self.encoders), "temperatures": self.temperatures}
        )

    @classmethod
    def load(cls, folder: Path) -> Person:
        """Read the folder.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged.
        """
        told = read_json(folder / "person.json")
        with reading(folder, "what a system knows of a person", "delete it and adapt again"):
            arrays = load_file(folder / "person.safetensors")
            encoders = {name: VoxelEncoders.load(folder / name) for name in told["encoders"]}
            columns, direct = arrays.pop("columns"), arrays.pop("direct")
            n_voxels, n_patterns = arrays["mean"].shape[0], arrays["taken"].shape[0]
            shapes = {"shared": (n_voxels, n_patterns), "taken": (n_patterns,), "rest": (2, n_voxels)}
            wanted = {name: (own, shapes.get(name, (n_voxels,))) for name, own in arrays.items()}
            require_arrays(
                folder, {**wanted, "columns": (columns, (None,)), "direct": (direct, (None, None))}
            )
            if len(columns) and not 0 <= columns.min() <= columns.max() < n_voxels:
                raise NeurodecError(f"{folder} names voxels that the person does not have; adapt again.")
            return cls(Scale(**arrays), columns, encoders, told["temperatures"], direct)


def hidden_voxels(values: np.ndarray) -> np.ndarray:
    """Tell which voxels are zero in every response: those that an occlusion hides."""
    return ~values.any(axis=0)


def features_of(trials: Trials) -> np.ndarray:
    """Return voxels as they are, and of sensors the means of bins of 20 ms, shape (n, n_voxels).

    A sensor at one time is taken for a voxel: its answer is assumed to be linear in the embedding, and the same
    function of it in every trial. Responses whose phase or latency changes from trial to trial are noise to it.
    """
    return np.asarray(linear_features(trials)).reshape(len(trials), -1)


def voxels_of(trials: Trials) -> list[Any]:
    """Return which voxels the features of trials are: flat indices, or sensors at times such as ``Oz@0.12``."""
    info = trials.info
    if not has_time(info):
        indices = info.get("voxel_indices")
        return (
            list(range(trials.responses.shape[1])) if indices is None else [int(index) for index in indices]
        )
    n_bins = linear_features(trials.select(slice(0, 1))).shape[-1]
    starts = info["tmin"] + np.arange(n_bins) * max(0.02, 1 / info["sfreq"])
    return [f"{name}@{start:.3g}" for name in info["ch_names"] for start in starts]


def context_of(trials: Trials, scale: Scale) -> tuple[np.ndarray, list[str]]:
    """Return z-scored responses averaged over repetitions (n, n_voxels), and the picture of each row."""
    averaged = trials.average()
    return scale.applied(features_of(averaged)), averaged.table["stimulus"].tolist()


def chosen_voxels(
    responses: np.ndarray, encoders: VoxelEncoders, n_voxels: int | None, choice: Choice, seed: int
) -> np.ndarray:
    """Return the voxels to use: all that vary, or so many, the most accurate on the context or any (as published)."""
    usable = np.flatnonzero(varying(responses))
    if not len(usable):
        raise NeurodecError("No voxel of the context varies over its pictures; check the responses.")
    if n_voxels is None or n_voxels >= len(usable):
        return usable
    if choice == "random":
        return np.sort(np.random.default_rng(seed).choice(usable, n_voxels, replace=False))
    order = usable[np.argsort(-encoders.accuracy[usable], kind="stable")]
    return np.sort(order[:n_voxels])


def person_of(
    trials: Trials,
    images: np.ndarray,
    encodings: dict[str, Encoding],
    columns: np.ndarray,
    scale: Scale,
    about: dict[str, Any],
) -> Person:
    """Encode the chosen voxels of a context in every way."""
    responses, _ = context_of(trials, scale)
    voxels = voxels_of(trials)
    names = [voxels[column] for column in columns]
    encoders = {
        name: encoding.encode(images, responses[:, columns], names, about)
        for name, encoding in encodings.items()
    }
    weights, bias, _ = solve_left_out(responses[:, columns], images, RidgeEncoding().alphas)
    return Person(scale, columns, encoders, {}, np.column_stack([bias, weights]).astype(np.float32))


def first_pictures(trials: Trials, n_pictures: int | None) -> Trials:
    """Return the trials of the first so many pictures, in order of appearance."""
    if n_pictures is None:
        return trials
    kept = list(dict.fromkeys(trials.table["stimulus"]))[:n_pictures]
    return trials.select(np.flatnonzero(trials.table["stimulus"].isin(kept)))


def unit_length(values: np.ndarray) -> np.ndarray:
    """Return embeddings of unit length, float32."""
    values = np.asarray(values, dtype=np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True).clip(min=1e-12)
