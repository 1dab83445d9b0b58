"""A trained decoder as one object: brain response in, pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from neurodec.class_descriptions import described, packages_of
from neurodec.class_paths import build
from neurodec.data import Study, Trials
from neurodec.data.intake import support_of
from neurodec.data.predictions import Predictions
from neurodec.decoders import Decoder, GuidedDiffusion, check_conditions
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import Adapts, require
from neurodec.features import Features, as_targets, embed_pictures
from neurodec.files import atomic_path, key_of, read_json, write_json
from neurodec.linear.voxel_encoders import require_unit
from neurodec.preprocessing.eeg import EEGPreprocessing
from neurodec.prior_fit import fitted_prior, prior_of
from neurodec.priors import LinearPrior, Prior, load_prior
from neurodec.systems import LightningSystem, System, load_system
from neurodec.systems.of_recordings import intake_of, predictions_of

if TYPE_CHECKING:
    from neurodec.systems.of_recordings import Recording

_SAMPLING = {"n_steps": 20, "guidance": 2.0, "prior_n_steps": 20, "prior_guidance": 1.0}

CARD = """# A neurodec decoder

From {modality} responses of subject(s) {subjects} to pictures: encoder `{encoder}`, prior `{prior}`, decoder
`{decoder}`, image embeddings of `{space}`.

Give it a recording (`mne.io.Raw`) or epochs in volts or tesla, which get the preprocessing of its training ({steps}),
or arrays of responses that had it: {shape}.

    from neurodec import NeuralDecoder
    pictures = NeuralDecoder.from_pretrained("this folder").decode(epochs, subject="{subject}")

It was trained on recordings of the people named above and says little about others. Pictures are generated: what they
show beyond the embedding is the generator's invention. The licence of the recordings applies.
"""


class NeuralDecoder:
    """System, prior and decoder together.

    Parameters
    ----------
    system : System or nn.Module
        From responses to predicted targets; an encoder alone needs a `config` as `LightningSystem.of` takes it.
    prior : Prior
        From the system's head to image embeddings.
    decoder : Decoder
        Such as `neurodec.decoders.GuidedDiffusion`.
    config : dict
        ``decoder`` (class path and arguments); ``sampling`` (`n_steps`, `guidance`, `prior_n_steps`, `prior_guidance`,
        `strength`); ``conditions`` (further condition of the decoder to the head that it is).

    Raises
    ------
    NeurodecError
        If `system` is none, or the prior or a head makes embeddings of another space than the decoder reads.

    Examples
    --------
    >>> from neurodec import NeuralDecoder
    >>> decoder = NeuralDecoder.from_pretrained("OUT/decoders/sub-01")  # doctest: +SKIP
    >>> z = decoder.embed(epochs, subject="01")  # doctest: +SKIP
    >>> pictures = decoder.decode(epochs, subject="01")  # doctest: +SKIP
    """

    def __init__(
        self, system: System | nn.Module, prior: Prior, decoder: Decoder, config: dict[str, Any]
    ) -> None:
        if isinstance(system, nn.Module) and "subjects" in config:
            system = LightningSystem.of(system, config)
        if not isinstance(system, System):
            raise NeurodecError(
                f"A decoder is made of a system, not of a {type(system).__name__}; wrap an encoder by  "
                "neurodec.systems.LightningSystem.of(encoder, config)."
            )
        own = {"conditions": config.get("conditions") or {}, "sampling": config["sampling"]}
        spaces = system.config.get("embedding_spaces", {})
        made = {next(iter(decoder.reads)): str(prior.embedding_space)}
        made |= {name: spaces.get(head, "?") for name, head in own["conditions"].items()}
        check_conditions(decoder, decoder.reads, made)
        self.system, self.prior, self.decoder = system, prior, decoder
        self.config = {**system.config, "decoder": config["decoder"], **own}

    @classmethod
    def of(
        cls,
        system: System,
        train: Study,
        targets: Any,
        *,
        prior: Prior | None = None,
        decoder: type[Decoder] | str | dict[str, Any] = GuidedDiffusion,
        **sampling: float,
    ) -> NeuralDecoder:
        """Make a decoder of a fitted system.

        Parameters
        ----------
        system : System
            Fitted to `train`.
        train : Study
            Its training trials.
        targets : Features, Extractor, or dict of these
        prior : Prior, optional
            By default that of the system's objective, or a `LinearPrior`; fitted to predictions of trials that the
            system has not learned from.
        decoder : type, functools.partial, str or dict
            A class, or `class_path` and `init_args`; by default the small one that is included.
        **sampling
            `n_steps`, `guidance`, `prior_n_steps`, `prior_guidance`, `strength`.
        """
        named = described(decoder, "decoder")
        drawer = build_decoder(named, packages_of(decoder))
        prior = prior or prior_of(system) or LinearPrior()
        fitted = fitted_prior(prior, system, train, as_targets(targets, train.stimuli))
        return cls(system, fitted, drawer, {"decoder": named, "sampling": {**_SAMPLING, **sampling}})

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
        return cls(system, load_prior(folder / "prior", allow), build_decoder(own["decoder"], allow), own)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``system/``, ``prior/``, ``pipeline.json`` and a model card, the folder appearing at once.

        The decoder's own weights, often gigabytes, stay where they are: ``pipeline.json`` names them.

        Parameters
        ----------
        folder : str or Path
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
        recording: Recording,
        subject: str | None = None,
        *,
        events: np.ndarray | None = None,
        preprocessed: bool = False,
    ) -> np.ndarray:
        """Return the brain embedding of every response, shape (n, D).

        Parameters
        ----------
        recording : Trials, mne.io.Raw, mne.Epochs, mne.Evoked, 3-D or 4-D NIfTI image, ndarray or Tensor
            Raw recordings and epochs are in SI units, as MNE has them, and get the reference, rate, baseline and
            whitening of the training, raw ones its filter too. They may hold more channels than needed, in any order.
            Arrays (n, n_chans, n_times) or (n, n_voxels) and images are preprocessed as in training, whitening
            included; images may be oriented otherwise than those of the training, as long as they lie on the same grid.
        subject : str, optional
            Whose responses; one that was not trained on is unknown to the encoder, and whitened by the noise of these
            very responses; one that was, by the mean noise of the recordings of the training, each of which was
            whitened by its own. Trials bring their own subject.
        events : ndarray of int, shape (n, 3), optional
            Of a raw recording, as `mne.find_events` gives them; its own markers by default.
        preprocessed : bool
            Epochs are whitened already.

        Raises
        ------
        NeurodecError
            If channels, rate, window, size or voxels are not those of training, or a value is not finite.
        """
        found = self.predict(recording, subject, events=events, preprocessed=preprocessed)
        return found.of(self.system.head)

    def predict(
        self,
        recording: Recording,
        subject: str | None = None,
        *,
        events: np.ndarray | None = None,
        preprocessed: bool = False,
    ) -> Predictions:
        """Return every head's prediction of every response; see `embed`. Trials keep their table.

        Parameters
        ----------
        recording : Recording
            `mne.io.Raw`, `mne.Epochs`, Trials, an array or a NIfTI image.
        subject : str, optional
            Zero-based ids, shape (B,); -1 is unknown.
        events : ndarray, optional
            As `mne.find_events` gives them.
        preprocessed : bool
        """
        return predictions_of(self.system, recording, subject, events=events, preprocessed=preprocessed)

    def adapt(
        self,
        images: np.ndarray | Tensor | Sequence[Image.Image | str | Path],
        responses: Recording,
        subject: str = "new",
        *,
        normalize: bool = False,
    ) -> NeuralDecoder:
        """Return a decoder that knows a new participant, from what they answered to some pictures; nothing is trained.

        Parameters
        ----------
        images : ndarray or Tensor, shape (n, D), or sequence of pictures or files
            What was shown, in the order of the responses: embeddings of unit length in the space of the system, or
            pictures, which are embedded here. The same picture may occur several times.
        responses : Trials, mne.Epochs, 4-D NIfTI image, ndarray or Tensor, shape (n, n_voxels)
            One per picture shown, of any number of voxels of their own. Of an image all voxels that vary are taken.
        subject : str
            Name of the new person.
        normalize : bool
            Bring embeddings to unit length first.

        Raises
        ------
        NeurodecError
            If the system does not adapt, numbers of pictures and responses differ, embeddings have not unit length, or
            a response is not finite.

        Notes
        -----
        Takes seconds to minutes: one pass of the network over pictures times voxels.
        """
        space = self.config["embedding_spaces"][self.system.head]
        embeddings = _embeddings(images, space, normalize)
        trials = support_of(responses, subject)
        if not len(trials):
            raise NeurodecError(
                "The context holds 0 pictures; give at least one, and what was answered to it."
            )
        if len(trials) != len(embeddings):
            raise NeurodecError(
                f"{len(embeddings)} pictures and {len(trials)} responses were given; every response needs its picture."
            )
        shown = np.unique(embeddings, axis=0, return_inverse=True)[1].reshape(-1)
        table = trials.table.assign(stimulus=[f"picture-{number}" for number in shown])
        trials = Trials(trials.responses, table, trials.info)
        first = table.drop_duplicates("stimulus")
        told = {"embedding_space": space, "key": key_of(embeddings.tolist())}
        features = Features(embeddings[first.index], first["stimulus"].tolist(), told)
        return self.adapted_to(Study.of(trials, space=f"sub-{subject}"), features)

    def adapted_to(self, support: Study, features: Features) -> NeuralDecoder:
        """Return a decoder that knows the people of a study, by what they answered to pictures; see `adapt`.

        Parameters
        ----------
        support : Study
        features : Features
            Embeddings of its stimuli.
        """
        adapted = adapted_system(self.system, support, features)
        own = {name: self.config[name] for name in ("decoder", "sampling", "conditions")}
        return NeuralDecoder(adapted, self.prior, self.decoder, own)

    def image_embeddings(self, z: np.ndarray, seeds: Sequence[int]) -> Tensor:
        """Sample embeddings (n, ...) for what the system predicts (n, ...), each row from its own seed.

        Parameters
        ----------
        z : ndarray
            Predicted embeddings, shape (n, n_dims).
        seeds : sequence of int
            One per picture.
        """
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
        """Draw one picture per image embedding, each from its own seed; `others` are further conditions.

        Parameters
        ----------
        image_embeds : Tensor
            Shape (n, n_dims).
        seeds : sequence of int
            One per picture.
        others : dict of Any, optional
            Further conditions of the decoder, by name.
        """
        sampling = self.config["sampling"]
        return self.decoder.decode(
            {next(iter(self.decoder.reads)): image_embeds, **(others or {})},
            generator=generators(seeds),
            n_steps=sampling["n_steps"],
            guidance=sampling["guidance"],
            strength=sampling.get("strength", 0.5),
        )

    def others(self, predictions: Predictions) -> dict[str, Tensor]:
        """Return the decoder's further conditions from what the system predicts.

        Parameters
        ----------
        predictions : Predictions
        """
        heads = self.config["conditions"]
        return {name: torch.as_tensor(np.array(predictions.of(head))) for name, head in heads.items()}

    def decode(
        self,
        recording: Recording,
        subject: str | None = None,
        *,
        events: np.ndarray | None = None,
        preprocessed: bool = False,
        average: bool = False,
        seed: int = 0,
    ) -> list[Image.Image]:
        """Reconstruct what was seen.

        Parameters
        ----------
        recording, subject, events, preprocessed
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
        predictions = self.predict(recording, subject, events=events, preprocessed=preprocessed)
        z, others = predictions.of(self.system.head), self.others(predictions)
        if average:
            z = z.mean(axis=0, keepdims=True)
            others = {name: rows.mean(dim=0, keepdim=True) for name, rows in others.items()}
        seeds = range(seed, seed + len(z))
        return self.pictures(self.image_embeddings(z, seeds), seeds, others)

    def _card(self) -> str:
        config, subjects = self.config, self.config["subjects"]
        done = config.get("preprocessing")
        names, shape = config.get("ch_names"), ", ".join(map(str, intake_of(config, subjects[0]).shape))
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
            steps="; ".join(EEGPreprocessing(**done).in_words()) if done else "none is known",
        )


def adapted_system(system: System, support: Study, features: Features) -> System:
    """Return a system that knows the people of a study.

    Raises
    ------
    NeurodecError
        If it does not adapt to people.
    """
    able = require(system, Adapts, "does not adapt to people, so fit it with their trials")
    return cast(System, able.adapt(support, {system.head: features}))


def _embeddings(images: Any, space: str, normalize: bool) -> np.ndarray:
    """Return embeddings of unit length of what was shown."""
    if isinstance(images, Tensor):
        images = images.detach().cpu().numpy()
    if not isinstance(images, np.ndarray):
        return embed_pictures(list(images), space)
    values = np.asarray(images, dtype=np.float32)
    if normalize:
        values = values / np.linalg.norm(values, axis=1, keepdims=True).clip(min=1e-12)
    require_unit(values)
    return values


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return one CPU generator per row, so that a row does not depend on its batch."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def build_decoder(config: dict[str, Any], allow: frozenset[str] | set[str] = frozenset()) -> Decoder:
    """Build a decoder from its class path and arguments.

    Raises
    ------
    NeurodecError
        If the class is outside the allowed packages, does not exist, or is no `neurodec.decoders.Decoder`.
    """
    if not isinstance(config, dict) or "class_path" not in config:
        raise NeurodecError("The folder names no decoder; save it again with `save_pretrained`.")
    return build(Decoder, config, "decoder", allow)
