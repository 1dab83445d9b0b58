"""A trained decoder as one object: brain response in, pictures out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from neurodec.class_paths import resolve_class
from neurodec.data import Trials
from neurodec.data.trials import same_rate
from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_json, write_json
from neurodec.priors import DiffusionPrior, LinearPrior, load_prior
from neurodec.training import embed, load_pretrained, save_pretrained

if TYPE_CHECKING:
    import mne
    import nibabel

Prior = DiffusionPrior | LinearPrior

CARD = """# A neurodec decoder

From {modality} responses of subject(s) {subjects} to pictures: encoder `{encoder}`, prior `{prior}`, decoder
`{decoder}`, image embeddings of `{space}`.

Feed it responses that were preprocessed as in its training: {shape}.

    from neurodec import NeuralDecoder
    pictures = NeuralDecoder.from_pretrained("this folder").decode(epochs, subject="{subject}")

It was trained on recordings of the people named above and says little about others. Pictures are generated: what they
show beyond the embedding is the generator's invention. The licence of the recordings applies.
"""


class NeuralDecoder:
    """Encoder, prior and decoder together.

    Parameters
    ----------
    encoder : nn.Module
        From responses to brain embeddings.
    prior : DiffusionPrior or LinearPrior
        From brain embeddings to image embeddings.
    decoder : object
        With ``decode(image_embeds, *, generator, n_steps, guidance) -> list[PIL.Image]``, such as
        `neurodec.decoders.GuidedDiffusion`.
    config : dict
        ``encoder`` (class path and arguments) and what the encoder was trained on, as `load_pretrained` returns it
        (voxels without an ``affine`` are taken to be counted along RAS+ axes);
        ``decoder`` (class path and arguments); ``sampling`` (`n_steps`, `guidance`, `prior_n_steps`,
        `prior_guidance`).

    Raises
    ------
    NeurodecError
        If the prior makes embeddings of another space than the decoder reads.
    """

    def __init__(self, encoder: nn.Module, prior: Prior, decoder: Any, config: dict[str, Any]) -> None:
        if prior.embedding_space != decoder.embedding_space:
            raise NeurodecError(
                f"The prior makes embeddings of {prior.embedding_space}, the decoder reads {decoder.embedding_space}; "
                "train on the features that the decoder reads, or choose another decoder."
            )
        self.encoder, self.prior, self.decoder, self.config = encoder, prior, decoder, config

    @classmethod
    def from_pretrained(cls, folder: str | Path, allow: frozenset[str] = frozenset()) -> NeuralDecoder:
        """Read a folder written by `save_pretrained`, or by the stage ``reconstruct``.

        Parameters
        ----------
        folder : str or Path
        allow : set of str
            Further packages whose classes the folder may name; naming a class runs its code.

        Raises
        ------
        NeurodecError
            If a part is missing or damaged, or names a class that is not allowed.
        """
        folder = Path(folder)
        own = read_json(folder / "pipeline.json")
        if not isinstance(own, dict) or not {"decoder", "sampling"} <= set(own):
            raise NeurodecError(
                f"{folder / 'pipeline.json'} does not name a decoder and its sampling; save the decoder again."
            )
        encoder, config = load_pretrained(folder / "encoder", allow)
        decoder = build_decoder(own["decoder"], allow)
        return cls(encoder, load_prior(folder / "prior"), decoder, {**config, **own})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``encoder/``, ``prior/``, ``pipeline.json`` and a model card, the folder appearing at once.

        The decoder's own weights, often gigabytes, stay where they are: ``pipeline.json`` names them.
        """
        own = {name: self.config[name] for name in ("decoder", "sampling")}
        facts = {name: value for name, value in self.config.items() if name not in (*own, "encoder")}
        with atomic_path(folder) as partial:
            partial.mkdir()
            save_pretrained(partial / "encoder", self.encoder, self.config["encoder"], facts)
            self.prior.save_pretrained(partial / "prior")
            write_json(partial / "pipeline.json", own)
            (partial / "README.md").write_text(self._card(), encoding="utf-8")

    def embed(
        self,
        recording: Trials | mne.BaseEpochs | mne.Evoked | nibabel.Nifti1Image | np.ndarray | Tensor,
        subject: str | None = None,
    ) -> np.ndarray:
        """Return the brain embedding of every response, shape (n, D).

        Parameters
        ----------
        recording : Trials, mne.Epochs, mne.Evoked, 3-D or 4-D NIfTI image, ndarray or Tensor
            Preprocessed as in training, whitening included. Arrays are (n, n_chans, n_times) or (n, n_voxels);
            epochs may hold more channels than needed, in any order; images may be oriented otherwise than those of
            the training, as long as they lie on the same grid.
        subject : str, optional
            Whose responses; one that was not trained on is unknown to the encoder. Trials bring their own.

        Raises
        ------
        NeurodecError
            If channels, rate, window or voxels are not those of training, or a value is not finite.
        """
        responses, subjects = self._responses(recording)
        known = {name: place for place, name in enumerate(self.config["subjects"])}
        names = [subject] * len(responses) if subjects is None else subjects
        bad = np.flatnonzero(~np.isfinite(responses).all(axis=tuple(range(1, responses.ndim))))
        if len(bad):
            raise NeurodecError(
                f"{len(bad)} response(s), first number {bad[0]}, hold NaN or infinity; repair or drop them."
            )
        return embed(self.encoder, responses, np.array([known.get(name, -1) for name in names]))

    def image_embeddings(self, z: np.ndarray, seeds: Sequence[int]) -> Tensor:
        """Sample image embeddings (n, D) for brain embeddings (n, D), each row from its own seed."""
        sampling = self.config["sampling"]
        return self.prior.sample(
            torch.as_tensor(z, dtype=torch.float32),
            generators(seeds),
            n_steps=sampling["prior_n_steps"],
            guidance=sampling["prior_guidance"],
        )

    def pictures(self, image_embeds: Tensor, seeds: Sequence[int]) -> list[Image.Image]:
        """Draw one picture per image embedding, each from its own seed."""
        sampling = self.config["sampling"]
        return self.decoder.decode(
            image_embeds,
            generator=generators(seeds),
            n_steps=sampling["n_steps"],
            guidance=sampling["guidance"],
        )

    def decode(
        self,
        recording: Trials | mne.BaseEpochs | mne.Evoked | nibabel.Nifti1Image | np.ndarray | Tensor,
        subject: str | None = None,
        *,
        average: bool = False,
        seed: int = 0,
    ) -> list[Image.Image]:
        """Reconstruct what was seen.

        Parameters
        ----------
        recording, subject
            As for `embed`.
        average : bool
            Take all responses as showings of one picture: their embeddings are averaged and one picture is drawn.
        seed : int
            Response `i` is drawn from ``seed + i``: the same picture in whatever batch.

        Returns
        -------
        list of PIL.Image.Image
            One per response, or one.
        """
        z = self.embed(recording, subject)
        if average:
            z = (z / np.linalg.norm(z, axis=1, keepdims=True)).mean(axis=0, keepdims=True)
        seeds = range(seed, seed + len(z))
        return self.pictures(self.image_embeddings(z, seeds), seeds)

    def _responses(self, recording: Any) -> tuple[np.ndarray, list[str] | None]:
        if isinstance(recording, Tensor):
            recording = recording.detach().cpu().numpy()
        if isinstance(recording, np.ndarray):
            return self._require_shape(recording), None
        if hasattr(recording, "get_fdata"):
            return self._voxels(recording), None
        if isinstance(recording, Trials):
            trials, subjects = recording, recording.table["subject"].tolist()
        else:
            trials, subjects = Trials.from_epochs(self._epochs(recording)), None
        if "sfreq" in trials.info:
            trials = self._in_window(trials)
        elif self.config.get("voxel_indices") is not None and "voxel_indices" in trials.info:
            return self._same_voxels(trials), subjects
        return self._require_shape(trials.responses), subjects

    def _same_voxels(self, trials: Trials) -> np.ndarray:
        """Take the voxels of training from trials that may hold more, in their own order."""
        wanted, own = np.asarray(self.config["voxel_indices"]), np.asarray(trials.info["voxel_indices"])
        affines = self.config.get("affine"), trials.info.get("affine")
        moved = None not in affines and not np.allclose(*affines, atol=1e-2)
        if (
            list(self.config["mask_shape"]) != list(trials.info["mask_shape"])
            or moved
            or set(wanted) - set(own)
        ):
            raise NeurodecError(
                "The trials hold other voxels than the decoder was trained on (another grid, place or mask); prepare "
                "them with the mask of the training."
            )
        order = np.argsort(own)
        return np.asarray(
            trials.responses[:, order[np.searchsorted(own, wanted, sorter=order)]], dtype=np.float32
        )

    def _epochs(self, recording: Any) -> mne.BaseEpochs:
        """Return epochs of the channels of training; an average of trials is one epoch."""
        import mne

        if isinstance(recording, mne.Evoked):
            recording = mne.EpochsArray(
                recording.data[None], recording.info, tmin=recording.times[0], baseline=None, verbose="error"
            )
        wanted = self.config.get("ch_names")
        if not isinstance(recording, mne.BaseEpochs) or wanted is None:
            raise NeurodecError(
                f"{type(recording).__name__} cannot be decoded here; give Trials, mne.Epochs, a NIfTI image or an "
                "array of responses like those of the training."
            )
        missing = [name for name in wanted if name not in recording.ch_names]
        if missing:
            raise NeurodecError(
                f"Channel(s) {', '.join(missing)} are not in the recording, which has {', '.join(recording.ch_names)}; "
                "rename the channels as in training (epochs.rename_channels)."
            )
        bad = [name for name in wanted if name in recording.info["bads"]]
        if bad:
            raise NeurodecError(
                f"The channel(s) {', '.join(bad)} are marked as bad, and the decoder needs them; interpolate them "
                "first (epochs.interpolate_bads)."
            )
        return recording.copy().pick(wanted)

    def _in_window(self, trials: Trials) -> Trials:
        """Take the channels and samples of training."""
        wanted = self.config
        if not same_rate(trials.info["sfreq"], wanted["sfreq"]):
            raise NeurodecError(
                f"The recording has {trials.info['sfreq']:.9g} Hz, the decoder was trained at {wanted['sfreq']:.9g} "
                f"Hz; call epochs.resample({wanted['sfreq']:.9g}) first."
            )
        kinds, own = wanted.get("ch_types"), trials.info.get("ch_types")
        if kinds and own and set(kinds) != set(own):
            raise NeurodecError(
                f"The recording has {', '.join(sorted(set(own)))} channels, the decoder was trained on "
                f"{', '.join(sorted(set(kinds)))}; give responses like those of its training."
            )
        trials = trials.pick(wanted["ch_names"])
        return trials.crop(wanted["tmin"], wanted["tmin"] + wanted["n_times"] / wanted["sfreq"])

    def _voxels(self, image: nibabel.Nifti1Image) -> np.ndarray:
        """Take the voxels of training from an image, turned to the axes along which they are counted."""
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        shape, indices, affine = (self.config.get(name) for name in ("mask_shape", "voxel_indices", "affine"))
        if indices is not None and len(image.shape) in (3, 4):
            axes = axcodes2ornt("RAS") if affine is None else io_orientation(np.asarray(affine))
            image = image.as_reoriented(ornt_transform(io_orientation(image.affine), axes))
        if indices is None or tuple(image.shape[:3]) != tuple(shape) or len(image.shape) not in (3, 4):
            raise NeurodecError(
                f"The image has {image.shape[:3]} voxels, the decoder was trained on "
                f"{'sensors' if indices is None else tuple(shape)}; give responses like those of its training."
            )
        if affine is None:
            warnings.warn(
                "The decoder does not say where its voxels lie (no `affine` in its config), so the place of the image "
                "cannot be checked.",
                stacklevel=3,
            )
        elif not np.allclose(image.affine, affine, atol=1e-2):
            raise NeurodecError(
                "The image lies elsewhere than those of the training (another affine), so its voxels are others; "
                "resample it to their grid (nilearn.image.resample_img with the decoder's `affine`)."
            )
        volumes = np.asarray(image.get_fdata(dtype=np.float32))
        volumes = np.moveaxis(volumes, -1, 0) if volumes.ndim == 4 else volumes[None]
        return volumes.reshape(len(volumes), -1)[:, indices]

    def _require_shape(self, responses: np.ndarray) -> np.ndarray:
        wanted = self._shape()
        if responses.shape[1:] != wanted:
            raise NeurodecError(
                f"The responses have shape (n, {', '.join(map(str, responses.shape[1:]))}), the decoder was trained on "
                f"(n, {', '.join(map(str, wanted))}); cut them alike."
            )
        return np.asarray(responses, dtype=np.float32)

    def _shape(self) -> tuple[int, ...]:
        indices = self.config.get("voxel_indices")
        return (len(self.config["ch_names"]), self.config["n_times"]) if indices is None else (len(indices),)

    def _card(self) -> str:
        config, subjects = self.config, self.config["subjects"]
        names, shape = config.get("ch_names"), ", ".join(map(str, self._shape()))
        window = (
            f"; {len(names)} channels, {config['sfreq']:g} Hz, from {config['tmin']:g} s" if names else ""
        )
        return CARD.format(
            modality=config.get("modality"),
            subjects=", ".join(subjects),
            subject=subjects[0],
            encoder=config["encoder"]["class_path"],
            prior=type(self.prior).__name__,
            decoder=config["decoder"]["class_path"],
            space=self.prior.embedding_space,
            shape=f"(n, {shape}){window}",
        )


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return one CPU generator per row, so that a row does not depend on its batch."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def build_decoder(config: dict[str, Any], allow: frozenset[str] = frozenset()) -> Any:
    """Build a decoder from its class path and arguments.

    Raises
    ------
    NeurodecError
        If the class is outside the allowed packages, does not exist, or has no `decode`.
    """
    if not isinstance(config, dict) or "class_path" not in config:
        raise NeurodecError("The folder names no decoder; save it again with `save_pretrained`.")
    path = config["class_path"]
    kind = resolve_class(path, object, allow, "decoder")
    own = kind.__module__.startswith("neurodec.decoders") or kind.__module__.split(".")[0] in allow
    if not own or not hasattr(kind, "decode"):
        raise NeurodecError(f"{path} is no class with a `decode` method; name a decoder.")
    with reading(f"The decoder {path}", "", "its arguments do not fit, so correct them"):
        return kind(**(config.get("init_args") or {}))


def build_prior(config: dict[str, Any]) -> Prior:
    """Build an unfitted prior, `DiffusionPrior` or `LinearPrior`, from its class path and arguments."""
    kinds = {kind.__name__: kind for kind in (DiffusionPrior, LinearPrior)}
    return kinds[config["class_path"].rpartition(".")[2]](**(config.get("init_args") or {}))
