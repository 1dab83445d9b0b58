"""A trained decoder as one object: brain response in, pictures out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from neurodec.class_paths import build
from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.trials import same_rate, with_defaults
from neurodec.decoders import Decoder, check_conditions
from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, read_json, write_json
from neurodec.priors import DiffusionPrior, IdentityPrior, LinearPrior, load_prior
from neurodec.training import System, load_system
from neurodec.training.system import FACTS

if TYPE_CHECKING:
    import mne
    import nibabel

Prior = DiffusionPrior | LinearPrior | IdentityPrior

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
    """System, prior and decoder together.

    Parameters
    ----------
    system : System
        From responses to predicted targets.
    prior : DiffusionPrior or LinearPrior
        From the system's head to image embeddings.
    decoder : Decoder
        Such as `neurodec.decoders.GuidedDiffusion`.
    config : dict
        ``decoder`` (class path and arguments); ``sampling`` (`n_steps`, `guidance`, `prior_n_steps`, `prior_guidance`,
        `strength`); ``conditions`` (further condition of the decoder to the head that it is).

    Raises
    ------
    NeurodecError
        If the prior, or a head, makes embeddings of another space than the decoder reads.
    """

    def __init__(self, system: System, prior: Prior, decoder: Decoder, config: dict[str, Any]) -> None:
        own = {"conditions": config.get("conditions") or {}, "sampling": config["sampling"]}
        spaces = system.config.get("embedding_spaces", {})
        made = {name: spaces.get(head, "?") for name, head in own["conditions"].items()}
        check_conditions(decoder, decoder.reads, {next(iter(decoder.reads)): prior.embedding_space, **made})
        self.system, self.prior, self.decoder = system, prior, decoder
        self.config = {**system.config, "decoder": config["decoder"], **own}

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
        system = load_system(folder / "system", allow)
        return cls(system, load_prior(folder / "prior"), build_decoder(own["decoder"], allow), own)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``system/``, ``prior/``, ``pipeline.json`` and a model card, the folder appearing at once.

        The decoder's own weights, often gigabytes, stay where they are: ``pipeline.json`` names them.
        """
        own = {name: self.config[name] for name in ("decoder", "sampling", "conditions")}
        with atomic_path(folder) as partial:
            partial.mkdir()
            self.system.save_pretrained(partial / "system")
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
        return self.predict(recording, subject).of(self.system.head)

    def predict(self, recording: Any, subject: str | None = None) -> Predictions:
        """Return every head's prediction of every response; see `embed`."""
        responses, subjects = self._responses(recording, subject)
        names = [subject or "unknown"] * len(responses) if subjects is None else subjects
        bad = np.flatnonzero(~np.isfinite(responses).all(axis=tuple(range(1, responses.ndim))))
        if len(bad):
            raise NeurodecError(
                f"{len(bad)} response(s), first number {bad[0]}, hold NaN or infinity; repair or drop them."
            )
        table = pd.DataFrame({"stimulus": [str(row) for row in range(len(responses))], "subject": names})
        facts = {key: value for key, value in self._facts(names[0]).items() if value is not None}
        trials = Trials(responses, with_defaults(table), {"modality": "?", **facts})
        return self.system.predict(Study.of(trials, space=self._space(names[0])))

    def _space(self, subject: str) -> str:
        """Return the space of a subject's responses."""
        spaces = self.config.get("spaces")
        if not spaces:
            return self.config["space"]
        if f"sub-{subject}" not in spaces:
            raise NeurodecError(
                f"Every subject was measured in a space of their own ({', '.join(spaces)}), and subject {subject} is "
                "none of them; say whose responses these are by `subject`."
            )
        return f"sub-{subject}"

    def _facts(self, subject: str | None) -> dict[str, Any]:
        """Return channels, rate and window, or voxels, of a subject's space."""
        names = (*FACTS, "n_times")
        facts = self.config.get("spaces", {}).get(f"sub-{subject}", self.config)
        return {name: facts.get(name) for name in names}

    def image_embeddings(self, z: np.ndarray, seeds: Sequence[int]) -> Tensor:
        """Sample image embeddings (n, D) for brain embeddings (n, D), each row from its own seed."""
        sampling = self.config["sampling"]
        return self.prior.sample(
            torch.tensor(np.asarray(z, dtype=np.float32)),
            generators(seeds),
            n_steps=sampling["prior_n_steps"],
            guidance=sampling["prior_guidance"],
        )

    def pictures(
        self, image_embeds: Tensor, seeds: Sequence[int], others: dict[str, Any] | None = None
    ) -> list[Image.Image]:
        """Draw one picture per image embedding, each from its own seed; `others` are further conditions."""
        sampling = self.config["sampling"]
        return self.decoder.decode(
            {next(iter(self.decoder.reads)): image_embeds, **(others or {})},
            generator=generators(seeds),
            n_steps=sampling["n_steps"],
            guidance=sampling["guidance"],
            strength=sampling.get("strength", 0.5),
        )

    def others(self, predictions: Predictions) -> dict[str, Tensor]:
        """Return the decoder's further conditions from what the system predicts."""
        heads = self.config["conditions"]
        return {name: torch.as_tensor(np.array(predictions.of(head))) for name, head in heads.items()}

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
        predictions = self.predict(recording, subject)
        z, others = predictions.of(self.system.head), self.others(predictions)
        if average:
            z = (z / np.linalg.norm(z, axis=1, keepdims=True)).mean(axis=0, keepdims=True)
            others = {name: rows.mean(dim=0, keepdim=True) for name, rows in others.items()}
        seeds = range(seed, seed + len(z))
        return self.pictures(self.image_embeddings(z, seeds), seeds, others)

    def _responses(self, recording: Any, subject: str | None) -> tuple[np.ndarray, list[str] | None]:
        facts = self._facts(_first_subject(recording) or subject)
        if isinstance(recording, Tensor):
            recording = recording.detach().cpu().numpy()
        if isinstance(recording, np.ndarray):
            return self._require_shape(facts, recording), None
        if hasattr(recording, "get_fdata"):
            return self._voxels(facts, recording), None
        if isinstance(recording, Trials):
            trials, subjects = recording, recording.table["subject"].tolist()
        else:
            trials, subjects = Trials.from_epochs(self._epochs(facts, recording)), None
        if "sfreq" in trials.info:
            trials = self._in_window(facts, trials)
        elif facts.get("voxel_indices") is not None and "voxel_indices" in trials.info:
            return self._same_voxels(facts, trials), subjects
        return self._require_shape(facts, trials.responses), subjects

    def _same_voxels(self, facts: dict[str, Any], trials: Trials) -> np.ndarray:
        """Take the voxels of training from trials that may hold more, in their own order."""
        wanted, own = np.asarray(facts["voxel_indices"]), np.asarray(trials.info["voxel_indices"])
        affines = facts.get("affine"), trials.info.get("affine")
        moved = None not in affines and not np.allclose(*affines, atol=1e-2)
        if list(facts["mask_shape"]) != list(trials.info["mask_shape"]) or moved or set(wanted) - set(own):
            raise NeurodecError(
                "The trials hold other voxels than the decoder was trained on (another grid, place or mask); prepare "
                "them with the mask of the training."
            )
        order = np.argsort(own)
        return np.asarray(
            trials.responses[:, order[np.searchsorted(own, wanted, sorter=order)]], dtype=np.float32
        )

    def _epochs(self, facts: dict[str, Any], recording: Any) -> mne.BaseEpochs:
        """Return epochs of the channels of training; an average of trials is one epoch."""
        import mne

        if isinstance(recording, mne.Evoked):
            recording = mne.EpochsArray(
                recording.data[None], recording.info, tmin=recording.times[0], baseline=None, verbose="error"
            )
        wanted = facts.get("ch_names")
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

    def _in_window(self, facts: dict[str, Any], trials: Trials) -> Trials:
        """Take the channels and samples of training."""
        wanted = facts
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

    def _voxels(self, facts: dict[str, Any], image: nibabel.Nifti1Image) -> np.ndarray:
        """Take the voxels of training from an image, turned to the axes along which they are counted."""
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        shape, indices, affine = (facts.get(name) for name in ("mask_shape", "voxel_indices", "affine"))
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

    def _require_shape(self, facts: dict[str, Any], responses: np.ndarray) -> np.ndarray:
        wanted = _shape(facts)
        if responses.shape[1:] != wanted:
            raise NeurodecError(
                f"The responses have shape (n, {', '.join(map(str, responses.shape[1:]))}), the decoder was trained on "
                f"(n, {', '.join(map(str, wanted))}); cut them alike."
            )
        return np.asarray(responses, dtype=np.float32)

    def _card(self) -> str:
        config, subjects = self.config, self.config["subjects"]
        names, shape = config.get("ch_names"), ", ".join(map(str, _shape(config)))
        window = (
            f"; {len(names)} channels, {config['sfreq']:g} Hz, from {config['tmin']:g} s" if names else ""
        )
        return CARD.format(
            modality=config.get("modality"),
            subjects=", ".join(subjects),
            subject=subjects[0],
            encoder=config.get("encoder", {}).get("class_path", config["system"]),
            prior=type(self.prior).__name__,
            decoder=config["decoder"]["class_path"],
            space=self.prior.embedding_space,
            shape=f"(n, {shape}){window}",
        )


def _first_subject(recording: Any) -> str | None:
    return (
        str(recording.table["subject"].iloc[0]) if isinstance(recording, Trials) and len(recording) else None
    )


def _shape(facts: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of one response."""
    indices = facts.get("voxel_indices")
    return (len(facts["ch_names"]), facts["n_times"]) if indices is None else (len(indices),)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return one CPU generator per row, so that a row does not depend on its batch."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def build_decoder(config: dict[str, Any], allow: frozenset[str] = frozenset()) -> Decoder:
    """Build a decoder from its class path and arguments.

    Raises
    ------
    NeurodecError
        If the class is outside the allowed packages, does not exist, or is no `neurodec.decoders.Decoder`.
    """
    if not isinstance(config, dict) or "class_path" not in config:
        raise NeurodecError("The folder names no decoder; save it again with `save_pretrained`.")
    return build(Decoder, config, "decoder", allow)


def build_prior(config: dict[str, Any]) -> Prior:
    """Build an unfitted prior of this package from its class path and arguments."""
    kinds = {kind.__name__: kind for kind in (DiffusionPrior, LinearPrior, IdentityPrior)}
    return kinds[config["class_path"].rpartition(".")[2]](**(config.get("init_args") or {}))
