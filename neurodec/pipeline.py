"""A trained decoder as one object: brain response in, pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from neurodec.alignment import embed, load_pretrained, save_pretrained
from neurodec.alignment.pretrained import check_class_path
from neurodec.data import Trials
from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, read_json, write_json
from neurodec.priors import DiffusionPrior, LinearPrior, load_prior

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
        ``encoder`` (class path and arguments) and what the encoder was trained on, as `load_pretrained` returns it;
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
        recording: Trials | mne.BaseEpochs | nibabel.Nifti1Image | np.ndarray,
        subject: str | None = None,
    ) -> np.ndarray:
        """Return the brain embedding of every response, shape (n, D).

        Parameters
        ----------
        recording : Trials, mne.Epochs, 4-D NIfTI image or ndarray
            Preprocessed as in training, whitening included. Arrays are (n, n_chans, n_times) or (n, n_voxels);
            epochs may hold more channels than needed, in any order.
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
        recording: Trials | mne.BaseEpochs | nibabel.Nifti1Image | np.ndarray,
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
        if isinstance(recording, np.ndarray):
            return self._require_shape(recording), None
        if hasattr(recording, "get_fdata"):
            return self._voxels(recording), None
        from_epochs = not isinstance(recording, Trials)
        trials = Trials.from_epochs(recording) if from_epochs else recording
        if "sfreq" in trials.info:
            trials = self._in_window(trials)
        subjects = None if from_epochs else trials.table["subject"].tolist()
        return self._require_shape(trials.responses), subjects

    def _in_window(self, trials: Trials) -> Trials:
        """Take the channels and samples of training."""
        wanted = self.config
        if abs(trials.info["sfreq"] - wanted["sfreq"]) > 1e-6:
            raise NeurodecError(
                f"The recording has {trials.info['sfreq']:g} Hz, the decoder was trained at {wanted['sfreq']:g} Hz; "
                f"call epochs.resample({wanted['sfreq']:g}) first."
            )
        trials = trials.pick(wanted["ch_names"])
        return trials.crop(wanted["tmin"], wanted["tmin"] + wanted["n_times"] / wanted["sfreq"])

    def _voxels(self, image: nibabel.Nifti1Image) -> np.ndarray:
        shape, indices = self.config.get("mask_shape"), self.config.get("voxel_indices")
        if indices is None or tuple(image.shape[:3]) != tuple(shape):
            raise NeurodecError(
                f"The image has {image.shape[:3]} voxels, the decoder was trained on "
                f"{'sensors' if indices is None else tuple(shape)}; give responses like those of its training."
            )
        volumes = np.moveaxis(np.atleast_1d(image.get_fdata(dtype=np.float32)), -1, 0)
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
    path = config["class_path"]
    check_class_path(path, allow)
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NeurodecError(f"The decoder class {path} cannot be imported ({error}); install it.") from None
    if not (isinstance(kind, type) and hasattr(kind, "decode")):
        raise NeurodecError(f"{path} is no class with a `decode` method; name a decoder.")
    return kind(**(config.get("init_args") or {}))


def build_prior(config: dict[str, Any]) -> Prior:
    """Build an unfitted prior, `DiffusionPrior` or `LinearPrior`, from its class path and arguments."""
    kinds = {kind.__name__: kind for kind in (DiffusionPrior, LinearPrior)}
    return kinds[config["class_path"].rpartition(".")[2]](**(config.get("init_args") or {}))
