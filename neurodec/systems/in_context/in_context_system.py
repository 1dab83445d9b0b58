"""The in-context system: meta-trained on some people, it reads a new one from a few hundred pictures, without a fit."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch

from neurodec.data import Study, Trials
from neurodec.data.noise import read_described, write_described
from neurodec.data.predictions import Predictions
from neurodec.encoders import InContextEncoder, InContextInverter
from neurodec.encoders.in_context.voxel_network import TOKENS, NetworkEncoding, NetworkInversion
from neurodec.errors import NeurodecError, reading
from neurodec.features import Features, as_targets
from neurodec.files import atomic_path, claim, key_of, require_file_name, sha256_of
from neurodec.linear.inversion import BayesianInversion, Gallery, Inversion
from neurodec.linear.voxel_encoders import EncodedTrials, Encoding
from neurodec.linear.voxel_prior import PopulationPrior, PriorEncoding
from neurodec.linear.voxel_ridge import RidgeEncoding
from neurodec.systems.in_context.curriculum import train_networks
from neurodec.systems.in_context.folder import SHIPPED, Learnt, start_folder
from neurodec.systems.in_context.people import (
    Choice,
    Person,
    Scale,
    chosen_voxels,
    context_of,
    first_pictures,
    person_of,
    unit_length,
)
from neurodec.systems.in_context.tasks import MetaStage, SubjectVoxels
from neurodec.systems.system import (
    RefitsApart,
    System,
    as_trained,
    facts_joined,
    facts_of,
    home_of,
    require_trials_to_fit,
)
from neurodec.training.batches import TrainingData
from neurodec.training.fit_keys import content_key, is_fitted, written_files
from neurodec.training.trainer import telling

Way = Literal["network", "ridge", "prior", "direct"]
Inverse = Literal["network", "bayes", "direct"]
PAIRS: dict[str, tuple[Way, Inverse]] = {
    "network": ("network", "network"),
    "network, Bayes": ("network", "bayes"),
    "ridge, Bayes": ("ridge", "bayes"),
    "prior, Bayes": ("prior", "bayes"),
    "direct ridge": ("direct", "direct"),
}
"""How encoders are made, and how they are inverted: the ways that stand beside each other in every evaluation."""
_OPTIONS = ("way", "inverse", "head", "n_support", "n_voxels", "choice", "whiten", "tokens_at_once", "seed")


class InContextSystem(RefitsApart, System):
    """Meta-trained networks, or their closed-form companions, adapted to people by contexts.

    Parameters
    ----------
    encoder, inverter : dict
        Sizes of `InContextEncoder` and `InContextInverter`.
    start : str, optional
        Folder of a system whose networks, prior and gallery are taken, such as the one that is included:
        ``neurodec/in-context``. Sizes are then its own.
    encoder_stages, inverter_stages : list of MetaStage
        The curriculum; without any, networks stay as `start` has them.
    way : {"network", "ridge", "prior", "direct"}
        What makes encoders; "direct" makes none, and is ridge from responses to embeddings.
    inverse : {"network", "bayes", "direct"}
        What inverts them.
    head : str
        Target that is decoded.
    n_support : int, optional
        Pictures of a context; all training pictures of the person by default.
    n_voxels : int, optional
        Voxels that are used; all that vary by default.
    choice : {"best", "random"}
        Which voxels: the most accurate on the context by leave-one-out ridge, or any, as published.
    whiten : bool
        Take noise off that voxels share, as the context tells it; not published. See `Scale`.
    tokens_at_once : int
        Bounds the memory of the networks.
    seed : int
    data : TrainingData, optional
        Its channels and window are used.
    trainer : dict, optional
        Further arguments of Lightning's Trainer, such as ``{precision: bf16-mixed}``.

    Notes
    -----
    Training subjects are those who are not new (protocol ``new_subject``); their voxels also give the population prior,
    and their pictures the gallery of Bayesian inversion. Every subject of the study is adapted to, by their training
    trials.

    References
    ----------
    Yu et al. (2025), Meta-learning an in-context transformer model of human higher visual cortex, arXiv 2505.15813;
    BrainCoDec (2026), arXiv 2604.08537.

    Examples
    --------
    >>> from neurodec import InContextSystem
    >>> system = InContextSystem.from_pretrained("neurodec/in-context")
    >>> adapted = system.adapt(context, targets)  # doctest: +SKIP
    >>> adapted.predict(others).of("image")  # doctest: +SKIP
    """

    reads_strangers = False

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        inverter: dict[str, Any] | None = None,
        start: str | None = None,
        encoder_stages: list[MetaStage] | None = None,
        inverter_stages: list[MetaStage] | None = None,
        way: Way = "network",
        inverse: Inverse = "network",
        head: str = "image",
        n_support: int | None = None,
        n_voxels: int | None = None,
        choice: Choice = "best",
        whiten: bool = True,
        tokens_at_once: int = TOKENS,
        seed: int = 42,
        data: TrainingData | None = None,
        trainer: dict[str, Any] | None = None,
    ) -> None:
        self._params = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._encoder, self._inverter, self._start = encoder or {}, inverter or {}, start
        self._stages = {"encoder": list(encoder_stages or []), "inverter": list(inverter_stages or [])}
        self.way, self.inverse, self.head = way, inverse, head
        self.n_support, self.n_voxels, self.choice = n_support, n_voxels, choice
        self.whiten, self.tokens_at_once, self.seed = whiten, tokens_at_once, seed
        self.data, self._trainer = data or TrainingData(), trainer or {}
        self.people: dict[str, Person] = {}
        self.config: dict[str, Any] = {}
        if "direct" in (way, inverse) and way != inverse:
            raise NeurodecError(
                "Ridge straight to embeddings has neither encoders nor an inversion; set both `way` and `inverse` to "
                "direct, or neither."
            )
        if start is None and not (self._stages["encoder"] and self._stages["inverter"]):
            used = {"network"} & {way, inverse}
            if used:
                raise NeurodecError(
                    "The in-context system has neither networks nor a curriculum for them; name `start: "
                    f"{SHIPPED}`, or give `encoder_stages` and `inverter_stages`."
                )

    def fit(
        self,
        study: Study,
        targets: dict[str, Features],
        *,
        out: str | Path | None = None,
        name: str = "all",
        new: Sequence[str] = (),
        selection_trials: Study | None = None,
    ) -> Self:
        """Meta-train on those who are not new, and adapt to everybody; see `System.fit`."""
        require_trials_to_fit(study)
        targets = as_targets(targets, study.stimuli)
        out, self._home = home_of(out)
        folder, study = out / "models" / require_file_name(name, "The fit"), self.data.cut(study)
        key = key_of([self._parameters(), list(new), content_key(study, {self.head: targets[self.head]})])
        if not is_fitted(folder, key):
            others = [subject for subject in study.subjects if subject not in new]
            claim(out / "checkpoints" / name, key, "checkpoints")
            self.meta_fit(study.part(subjects=others), targets, out / "checkpoints" / name)
            adapted = self.adapt(study, targets)
            adapted.config["key"] = key
            adapted.save_pretrained(folder)
        found = type(self).from_pretrained(folder)
        self.learned, self.people, self.config = found.learned, found.people, found.config
        return self

    def meta_fit(
        self, study: Study, targets: dict[str, Features], checkpoints: Path
    ) -> dict[str, pd.DataFrame]:
        """Train the networks on the subjects of a study, and estimate prior and gallery.

        Parameters
        ----------
        study : Study
            Training trials.
        targets : dict of Features
        checkpoints : Path
            What resumes a broken training.

        Returns
        -------
        dict of DataFrame
            History of ``encoder`` and ``inverter``; see `neurodec.systems.in_context.meta_training.meta_train`.
        """
        if self._start is not None:
            self.learned = type(self).from_pretrained(self._start).learned
        features = targets[self.head]
        trains = self._start is None or any(self._stages.values())
        subjects = self._subjects(study, features) if len(study) and trains else []
        pool = (
            unit_length(np.asarray(features.of(sorted(set(study.table["stimulus"]))))) if len(study) else None
        )
        if subjects and (self._start is None or self._stages["encoder"]):
            pairs = [(one.images.numpy(), one.responses.numpy().T) for one in subjects]
            known = (self.learned.encoder, self.learned.inverter) if self._start is not None else ()
            self.learned = Learnt(
                PopulationPrior.of(pairs), Gallery.of(pool), features.embedding_space, *known
            )
        if self._start is None and not subjects:
            raise NeurodecError(
                "There is nobody to train the in-context system on; take protocol: new_subject with several subjects, "
                "or start: neurodec/in-context."
            )
        torch.manual_seed(self.seed)
        n_embed = self.learned.gallery.mean.shape[0]
        if self._start is None and self._stages["encoder"]:
            self.learned.encoder = InContextEncoder(**{"n_embed": n_embed, **self._encoder})
        if self._start is None and self._stages["inverter"]:
            self.learned.inverter = InContextInverter(**{"n_embed": n_embed, **self._inverter})
        options = {"seed": self.seed, "trainer": self._trainer, "tokens_at_once": self.tokens_at_once}
        return train_networks(self.learned, self._stages, subjects, pool, checkpoints, **options)

    def _subjects(self, study: Study, features: Features) -> list[SubjectVoxels]:
        """Return the training subjects' z-scored responses and pictures, voxels first."""
        found = []
        for _, own in study.by_subject():
            scale, images, _ = self._scale(own, features)
            responses, _ = context_of(own, scale)
            voxels = np.ascontiguousarray(responses[:, self._columns(images, responses)].T)
            found.append(SubjectVoxels(torch.from_numpy(images), torch.from_numpy(voxels)))
        return found

    def adapt(self, support: Study, targets: dict[str, Features]) -> InContextSystem:
        """Return a system that knows the subjects of `support`, by one pass of the networks; see `Adapts`.

        Parameters
        ----------
        support : Study
            Their trials: the context.
        targets : dict of Features
            Embeddings of the pictures, of unit length or not, in the space that the system was trained in.

        Raises
        ------
        NeurodecError
            If embeddings are of another space, or a context is empty or holds NaN.
        """
        features = targets[self.head]
        self.learned.require_space(features.embedding_space)
        adapted, encodings = copy(self), self._encodings()
        adapted.people = dict(self.people)
        for subject, own in support.by_subject():
            own = first_pictures(own, self.n_support)
            adapted.people[subject] = self._person(own, features, encodings)
        adapted.config = facts_joined(self.config, facts_of(support))
        adapted.config = adapted._described()
        return adapted

    def _person(self, trials: Trials, features: Features, encodings: dict[str, Encoding]) -> Person:
        scale, images, stimuli = self._scale(trials, features)
        responses, _ = context_of(trials, scale)
        columns = self._columns(images, responses)
        about = {"embedding_space": self.learned.embedding_space, "stimuli": stimuli}
        person = person_of(trials, images, encodings, columns, scale, about)
        used = responses[:, columns]
        bayes, ridge = BayesianInversion(self.learned.gallery), RidgeEncoding()
        # Encoders are made anew in every fold by ridge, which is quick; the noise is the same for all ways.
        temperature = bayes.calibrated(ridge, images, used, range(len(columns))).temperature
        return replace(person, temperatures=dict.fromkeys(person.encoders, temperature))

    def _scale(self, trials: Trials, features: Features) -> tuple[Scale, np.ndarray, list[str]]:
        """Return the scale of a context, the embeddings of its pictures, and which pictures these are."""
        stimuli = list(dict.fromkeys(trials.table["stimulus"]))
        images = unit_length(np.asarray(features.of(stimuli)))
        return Scale.of(trials, images if self.whiten else None), images, stimuli

    def _columns(self, images: np.ndarray, responses: np.ndarray) -> np.ndarray:
        ranking = RidgeEncoding(rank=0).encode(images, responses, range(responses.shape[1]))
        return chosen_voxels(responses, ranking, self.n_voxels, self.choice, self.seed)

    def _encodings(self) -> dict[str, Encoding]:
        found: dict[str, Encoding] = {"ridge": RidgeEncoding(), "prior": PriorEncoding(self.learned.prior)}
        if self.learned.encoder is not None:
            found["network"] = NetworkEncoding(self.learned.encoder, self.tokens_at_once)
        return found

    def predict(self, study: Study) -> Predictions:
        """Decode every trial; see `System.predict`."""
        parts = []
        for space, trials in as_trained(study, self.config).spaces.items():
            found = np.empty((len(trials), self.learned.gallery.mean.shape[0]), dtype=np.float32)
            counts = trials.table.get("n_averaged", np.ones(len(trials)))
            groups = (
                trials.table.assign(count=np.asarray(counts))
                .groupby(["subject", "count"], sort=False)
                .indices
            )
            for (subject, count), rows in groups.items():
                person = self._known(subject)
                responses, shown = person.responses(trials.select(rows))
                if self.way == "direct":
                    found[rows] = responses @ person.direct[:, 1:].T + person.direct[:, 0]
                else:
                    encoders = person.encoders[self.way].take(shown).averaged(float(count))
                    found[rows] = self._inversion(person).decode(encoders, responses[:, shown])
            parts.append(Predictions({self.head: found}, trials.table.assign(space=space)))
        return Predictions.concatenate(parts)

    def known_stimuli(self, subject: str) -> set[str]:
        """Return the pictures of a person's context; see `Adapts`.

        Parameters
        ----------
        subject : str
            Zero-based ids, shape (B,); -1 is unknown.
        """
        return set(next(iter(self._known(subject).encoders.values())).about["stimuli"])

    def encoded(self, study: Study) -> list[EncodedTrials]:
        """Return everybody's responses on the scale of their encoders; see `Encodes`.

        Parameters
        ----------
        study : Study
        """
        found = []
        for trials in as_trained(study, self.config).spaces.values():
            for subject, rows in trials.table.groupby("subject", sort=False).indices.items():
                person, own = self._known(subject), trials.select(rows)
                responses, _ = person.responses(own)
                regions = person.regions(trials.info.get("roi") or {})
                attention = None
                if regions and self.learned.inverter is not None and "network" in person.encoders:
                    inversion = NetworkInversion(self.learned.inverter, self.tokens_at_once)
                    attention = inversion.attention(person.encoders["network"], responses)
                found.append(EncodedTrials(responses, own.table, person.encoders, regions, attention))
        return found

    def _known(self, subject: str) -> Person:
        if subject not in self.people:
            raise NeurodecError(
                f"The in-context system was not adapted to subject {subject}, only to "
                f"{', '.join(self.people) or 'nobody'}; adapt it first (a context of pictures and responses)."
            )
        return self.people[subject]

    def _inversion(self, person: Person) -> Inversion:
        if self.inverse == "network":
            return NetworkInversion(self.learned.inverter, self.tokens_at_once)
        return BayesianInversion(self.learned.gallery, person.temperatures.get(self.way, 1.0))

    def without(self, kept: Study, targets: dict[str, Features]) -> InContextSystem:
        """Return the system adapted to some of everybody's context; see `RefitsApart`."""
        return self.adapt(kept, targets)

    def companions(self) -> dict[str, System]:
        """Return the other ways to the same people's pictures, which stand beside this one in an evaluation."""
        others = {}
        for name, (way, inverse) in PAIRS.items():
            able = "network" not in (way, inverse) or None not in (
                self.learned.encoder,
                self.learned.inverter,
            )
            if (way, inverse) != (self.way, self.inverse) and able:
                others[name] = copy(self)
                others[name].way, others[name].inverse = way, inverse
        return others

    def mean_target(self, name: str) -> np.ndarray | None:
        """Return the mean embedding, to which all but the network shrink; see `System.mean_target`."""
        return None if self.inverse == "network" else self.learned.gallery.mean

    def project(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return embeddings of unit length; see `System.project`."""
        return unit_length(values)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write networks, prior, gallery and what is known of every person."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            self.learned.save(partial)
            for number, person in enumerate(self.people.values()):
                person.save(partial / "people" / str(number))
            write_described(partial / "config.json", {**self._described(), "files": written_files(partial)})

    def _parameters(self) -> dict[str, Any]:
        """Return what a fit follows from, as plain values."""
        start = [] if self._start is None else sorted(start_folder(self._start).glob("*.safetensors"))
        return {
            **{name: getattr(self, name) for name in _OPTIONS},
            "networks": [self._encoder, self._inverter],
            "start": [sha256_of(file) for file in start],
            "curriculum": {part: [asdict(stage) for stage in own] for part, own in self._stages.items()},
            "data": [self.data.ch_names, self.data.tmin, self.data.tmax],
            "trainer": telling(self._trainer),
        }

    def _described(self) -> dict[str, Any]:
        return {
            **self.config,
            "system": "neurodec.systems.InContextSystem",
            "networks": self.learned.sizes,
            "init_args": {name: getattr(self, name) for name in _OPTIONS},
            "subjects": list(self.people),
            "embedding_space": self.learned.embedding_space,
            "embedding_spaces": {self.head: self.learned.embedding_space},
        }

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, allow: frozenset[str] | set[str] = frozenset()
    ) -> InContextSystem:
        """Read a folder that `fit` or `save_pretrained` wrote, or the one that is included: ``neurodec/in-context``.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged.
        """
        folder = start_folder(folder)
        config = read_described(folder / "config.json")
        with reading(folder, "an in-context system", "delete it and fit again"):
            system = cls(**config["init_args"], start=str(folder))
            system.learned = Learnt.load(folder, config["networks"], config["embedding_space"])
            places = {who: folder / "people" / str(n) for n, who in enumerate(config["subjects"])}
            system.people = {who: Person.load(own) for who, own in places.items()}
        system.config = config
        return system

    @property
    def n_parameters(self) -> int:
        """Number of the networks' parameters."""
        networks = [
            network for network in (self.learned.encoder, self.learned.inverter) if network is not None
        ]
        return sum(parameter.numel() for network in networks for parameter in network.parameters())
