"""The system of all encoders that are trained in batches: encoder, objective, optimiser and Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from neurodec.class_descriptions import described, packages_of
from neurodec.class_paths import build, resolve_class, takes_argument
from neurodec.data import Study
from neurodec.data.noise import read_described
from neurodec.data.predictions import Predictions
from neurodec.data.splits import column_of
from neurodec.errors import NeurodecError
from neurodec.features import Features, as_targets
from neurodec.files import claim, key_of, require_file_name
from neurodec.systems.inspected import Inspected
from neurodec.systems.sizes import needed_of, sized, sizes_of
from neurodec.systems.system import (
    System,
    as_trained,
    facts_of,
    home_of,
    require_trials_to_fit,
    scales_of,
)
from neurodec.systems.validated import Validated
from neurodec.training.adapters import adapt, merge
from neurodec.training.batches import TrainingData, TrialBatches
from neurodec.training.fit import Selection, chosen_weights, train
from neurodec.training.fit_keys import content_key, is_whole, weights_key
from neurodec.training.module import EncoderModule, LRSchedulerCallable, OptimizerCallable
from neurodec.training.objectives import Objective, RetrievalObjective
from neurodec.training.saved_encoder import (
    build_encoder,
    embed,
    load_objective,
    load_pretrained,
    positions_of,
    require_readable,
    save_pretrained,
)
from neurodec.training.staging import (
    Stage,
    begin,
    filled_in,
    found_start,
    freeze,
    of_recipes,
    start_key,
    subjects_of,
)
from neurodec.training.trainer import telling

_EPOCHS = 1000  # Lightning's own number, where none is given


class LightningSystem(Validated, Inspected, System):
    """Any encoder, trained with any objective.

    Several processes train together what one would: they see the same batches, and losses and batch normalisation are
    over the rows of all. Only dropout, augmentations and hidden subjects differ, which every process draws for its own
    rows: drawing those of all rows everywhere would cost each process the memory of a whole batch.

    Parameters
    ----------
    encoder : type, nn.Module, str or dict
        A class (or `functools.partial` of one), an import path, or a dict of `class_path` and `init_args`; sizes of the
        data are filled in where its constructor takes them: `n_chans`, `n_times`, `n_outputs`, `n_subjects`, `sfreq`,
        `spaces` (name to number of channels or voxels), `heads` (target to shape), and `mask_shape` and `voxel_indices`
        of voxels on one grid. A network that is made already is
        copied at every fit; it can be used, but not read back from a folder.
    objective : type, str or dict, optional
        `RetrievalObjective` by default.
    optimizer : type, str or dict, optional
        AdamW with a rate of 3e-4 by default.
    lr_scheduler : type, str or dict, optional
        Stepped after every batch.
    data : TrainingData, optional
        Which trials a step of training sees.
    trainer : dict, optional
        Arguments of `lightning.Trainer`.
    stages : sequence of Stage
        One training on everybody by default.
    selection : {"validation", "last", "published_protocol"}
        Which epoch is taken; see `neurodec.training.fit.train`.
    seed : int
    allow : set of str
        Further packages whose classes may be named.
    max_epochs : int, optional
        Of the trainer.

    Examples
    --------
    >>> from neurodec import ATM, LightningSystem
    >>> system = LightningSystem(ATM, max_epochs=40)
    >>> system.get_params()["max_epochs"]
    40
    """

    def __init__(
        self,
        encoder: type[nn.Module] | nn.Module | str | dict[str, Any],
        objective: type[Objective] | str | dict[str, Any] | None = None,
        optimizer: type[torch.optim.Optimizer] | str | dict[str, Any] | None = None,
        lr_scheduler: type | str | dict[str, Any] | None = None,
        data: TrainingData | None = None,
        trainer: dict[str, Any] | None = None,
        stages: Sequence[Stage] = (),
        selection: Selection = "validation",
        seed: int = 42,
        allow: frozenset[str] | set[str] = frozenset(),
        max_epochs: int | None = None,
    ) -> None:
        self._params = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._network = encoder if isinstance(encoder, nn.Module) else None
        self._encoder = described(encoder if self._network is None else type(encoder), "encoder")
        self._objective = described(objective or RetrievalObjective, "objective")
        usual = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-4}}
        self._optimizer = described(optimizer or usual, "optimizer")
        self._lr_scheduler = None if lr_scheduler is None else described(lr_scheduler, "lr_scheduler")
        self._data, self._trainer = data or TrainingData(), dict(trainer or {})
        if max_epochs is not None:
            self._trainer["max_epochs"] = max_epochs
        self._stages, self._selection, self._seed = list(stages), selection, seed
        self._allow = frozenset(allow) | packages_of(encoder, objective, optimizer, lr_scheduler)

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
        """Train stage after stage; see `System.fit`. Finished stages are kept, a broken one goes on."""
        require_trials_to_fit(study)
        targets = as_targets(targets, study.stimuli)
        out, self._home = home_of(out)
        whole = self._data.cut(study)
        if selection_trials is not None:
            selection_trials = self._data.cut(selection_trials)
        key = self._key(whole, targets, new, selection_trials)
        if not (out / "models" / name / "config.json").exists():
            self._try(whole, targets)
        claim(out / "checkpoints" / require_file_name(name, "The fit"), key, "checkpoints")
        others = of_recipes(self._stages)  # trained before
        stages = [stage for stage in self._stages if stage not in others] or [Stage("")]
        last = stages[-1].name
        for stage in stages:
            folder = out / "models" / (name if stage.name == last else f"{name}.{stage.name}")
            if not self._done(stage, folder, key):
                self._run(stage, whole, targets, folder, out, name, list(new), selection_trials, key)
        final = out / "models" / name
        if (final / "config.json").exists():  # rank 0 may still be writing it
            self._take(final, self._allow)
        return self

    def check(self, study: Study) -> None:
        """Refuse voxels where the encoder reads sensors over time."""
        kind = resolve_class(self._encoder["class_path"], nn.Module, self._allow, "encoder")
        for space, trials in self._data.cut(study).spaces.items():
            if trials.responses.ndim == 2 and takes_argument(kind, "n_times"):
                raise NeurodecError(
                    f"{kind.__name__} reads sensors over time, and the trials ({space}) are patterns of "
                    f"{trials.responses.shape[1]} voxels; take an encoder of voxels (encoder: {{class_path: "
                    "neurodec.encoders.MindBridge}) or ridge (system: {class_path: neurodec.systems.RidgeSystem})."
                )

    def _try(self, study: Study, targets: dict[str, Features]) -> None:
        """Refuse what the untrained encoder cannot read."""
        objective = build(Objective, self._objective, "objective", self._allow)
        needed = needed_of(targets, objective, self._objective)
        sizes = sizes_of(study, needed, objective.head, study.subjects)
        objective = build(Objective, sized(self._objective, needed, self._allow), "objective", self._allow)
        require_readable(self._built(sizes)[0], study, objective, sizes["heads"])

    def _built(self, sizes: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
        """Return a new encoder, and what names it."""
        if self._network is None:
            return build_encoder(self._encoder, sizes, self._allow)
        return deepcopy(self._network), {**self._encoder, "instance": True}

    def _run(
        self,
        stage: Stage,
        study: Study,
        targets: dict[str, Features],
        folder: Path,
        out: Path,
        name: str,
        new: list[str],
        selection_trials: Study | None,
        key: str,
    ) -> None:
        study_of_stage = subjects_of(stage, study, new)
        subjects = study.subjects
        L.seed_everything(self._seed, workers=True, verbose=False)
        needed = needed_of(
            targets, build(Objective, self._objective, "objective", self._allow), self._objective
        )
        objective_config = sized(self._objective, needed, self._allow)
        objective = build(Objective, objective_config, "objective", self._allow)
        sizes = sizes_of(study_of_stage, needed, objective.head, subjects)
        encoder, encoder_config = self._built(sizes)
        places = {space: positions_of(trials.info) for space, trials in study_of_stage.spaces.items()}
        module = EncoderModule(
            encoder,
            objective,
            build(OptimizerCallable, self._optimizer, "optimizer", self._allow),
            None
            if self._lr_scheduler is None
            else build(LRSchedulerCallable, self._lr_scheduler, "lr_scheduler", self._allow),
            self._data.augmentations,
            self._data.hide_subject,
            list(study_of_stage.spaces),
            stage.rates,
            {space: own for space, own in places.items() if own is not None},
            self._seed,
        )
        spaces_of_new = [
            space for space, trials in study.spaces.items() if set(trials.table["subject"]) <= set(new)
        ]
        known_before: set[str] = (
            set()
        )  # of what is held out: that an earlier stage learned from these subjects
        met_before: list[str] = []  # people whose recordings an earlier training saw
        if stage.start is not None:
            start = found_start(stage.start, folder.parent / f"{name}.{stage.start}", out)
            before = begin(module, stage, start, spaces_of_new, encoder_config, self._allow)
            met_before = [*before.get("subjects", []), *before.get("met_before", [])]
            alike = before.get("held_out_by", "concept") == self._held_out_by(objective)
            if set(before.get("subjects", [])) & set(subjects) and alike:
                groups = column_of(study_of_stage.table, self._held_out_by(objective), study.stimuli)
                known_before = set(groups) - set(before.get("held_out", []))
        freeze(module, filled_in(stage.trained, spaces_of_new), stage.name, adapted=bool(stage.adapters))
        adapt(module, stage.adapters, stage.name)
        module.train()
        facts = facts_of(study_of_stage)
        facts["own_scale"] = getattr(encoder, "own_scale", False)
        scales, told = scales_of(facts), rank_zero_only(print)
        for space, scale in scales.items():
            if scale != 1.0:
                told(f"  {name}: inputs ({space}) are of size {scale:.2g}, and are divided by it", flush=True)
        data = TrialBatches(
            study_of_stage,
            needed,
            self._data,
            subjects,
            self._seed,
            selection_trials,
            scales,
            self._held_out_by(objective),
        )
        trainer_settings = dict(self._trainer)
        if stage.max_epochs is not None:
            trainer_settings["max_epochs"] = stage.max_epochs
        checkpoints = out / "checkpoints" / name / stage.name
        trainer, chosen = train(module, data, trainer_settings, checkpoints, self._selection)
        if trainer.is_global_zero:
            state, epoch = chosen_weights(chosen)
            module.load_state_dict(state)
            merge(module)
            config = {
                "system": "neurodec.systems.LightningSystem",
                "encoder": encoder_config,
                "objective": objective_config,
                "embedding_spaces": {target: own.embedding_space for target, own in needed.items()},
                "subjects": subjects,
                **facts,
                "epoch": epoch,
                "key": key,
                "max_epochs": trainer_settings.get("max_epochs"),
                "selection": self._selection if chosen.name != "last.ckpt" else "last",
                "held_out": sorted(data.held_out - known_before),
                "validation_is_marked": data.marked and selection_trials is None,
                "held_out_by": data.column if data.held_out else data.held_out_by,
                "met_before": sorted(set(met_before)),
                "companions": [
                    own.name for own in self._stages if own.companion and stage == self._stages[-1]
                ],
            }
            save_pretrained(folder, module.encoder, module.objective, config)
        trainer.strategy.barrier()  # the next stage starts from this one

    def _key(
        self, study: Study, targets: dict[str, Features], new: Sequence[str], selection_trials: Study | None
    ) -> str:
        """Return what the result follows from: parameters, weights to start from, trials and targets."""
        trainer = telling(self._trainer)
        if self.extends:
            trainer.pop("max_epochs", None)
        parts: list[Any] = [self._encoder, self._objective, self._optimizer, self._lr_scheduler, trainer]
        parts += [] if self._network is None else [weights_key(self._network)]
        starts = [start_key(stage.start) for stage in self._stages]
        content = [content_key(one, targets) for one in (study, selection_trials) if one is not None]
        options = [self._selection, self._seed, list(new)]
        return key_of([parts, self._data.parameters(), self._stages, starts, content, options])

    def _held_out_by(self, objective: Objective) -> str:
        return self._data.held_out_by or objective.held_out_by

    @property
    def extends(self) -> bool:
        """Whether a finished training goes on where `max_epochs` is raised: not if its course follows from the end."""
        return self._lr_scheduler is None and not self._stages

    def _done(self, stage: Stage, folder: Path, key: str) -> bool:
        """Return whether a stage is trained to its end; another training in its place is refused."""
        if not (folder / "config.json").exists():
            return False
        found = read_described(folder / "config.json")
        before = found.get("max_epochs") or _EPOCHS
        wanted = stage.max_epochs or self._trainer.get("max_epochs") or _EPOCHS
        if found.get("key") != key or (self.extends and wanted < before):
            what = "holds a training with another configuration or on other trials"
            if found.get("key") == key:
                what = f"holds a training of {before} epochs, more than the {wanted} that are asked for"
            raise NeurodecError(f"{folder} {what}; choose another folder, or delete it and its checkpoints.")
        return is_whole(folder, found) and (not self.extends or before == wanted)

    def _take(self, folder: str | Path, allow: frozenset[str] | set[str]) -> None:
        self.encoder, self.config = load_pretrained(folder, allow, self._network)
        self.objective = load_objective(folder, self.config, allow)
        self.head, self._folder = self.objective.head, Path(folder)

    @classmethod
    def of(
        cls, encoder: nn.Module, config: dict[str, Any], objective: Objective | None = None
    ) -> LightningSystem:
        """Make a system of a trained encoder.

        Parameters
        ----------
        encoder : nn.Module
        config : dict
            As `fit` writes it: `encoder` (class path and arguments), `subjects`, channels, rate and window, or voxels.
        objective : Objective, optional
            What it was trained with.
        """
        system, own = cls(encoder), {"class_path": "neurodec.training.RetrievalObjective"}
        system.encoder, system.objective = encoder.eval(), objective or RetrievalObjective()
        named = {"system": "neurodec.systems.LightningSystem", "objective": own, "space": "all"}
        system.config, system.head = {**named, **config}, system.objective.head
        return system

    def companions(self) -> dict[str, System]:
        """Return the stages that were trained to be compared with this one; see `Stage`."""
        folders = {
            name: self._folder.with_name(f"{self._folder.name}.{name}")
            for name in self.config.get("companions", [])
        }
        return {
            name: LightningSystem.from_pretrained(folder, self._allow)
            for name, folder in folders.items()
            if (folder / "config.json").exists()
        }

    def predict(self, study: Study) -> Predictions:
        """Predict every trial; see `System.predict`."""
        places = {subject: place for place, subject in enumerate(self.config["subjects"])}
        parts, scales = [], scales_of(self.config)
        for space, trials in as_trained(study, self.config).spaces.items():
            ids = np.array([places.get(name, -1) for name in trials.table["subject"]])
            heads = embed(
                self.encoder,
                trials.responses,
                ids,
                space=space,
                head=self.head,
                scale=scales.get(space, 1.0),
                positions=self._positions(trials, space),
            )
            parts.append(Predictions(heads, trials.table.assign(space=space)))
        return Predictions.concatenate(parts)

    @torch.no_grad()
    def project(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return targets as the objective compares them; see `System.project`."""
        device = next((tensor.device for tensor in self.objective.parameters()), torch.device("cpu"))
        rows = torch.as_tensor(np.array(values, dtype=np.float32), device=device)
        return self.objective.project(name, rows).float().cpu().numpy()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and the weights of encoder and objective."""
        save_pretrained(folder, self.encoder, self.objective, self.config)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, allow: frozenset[str] | set[str] = frozenset()
    ) -> LightningSystem:
        """Read a folder that `fit` wrote.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged, or names a class that is not allowed.
        """
        system = cls({}, allow=allow)
        system._take(folder, allow)
        return system

    @property
    def n_parameters(self) -> int:
        """Number of the encoder's parameters."""
        return sum(parameter.numel() for parameter in self.encoder.parameters())
