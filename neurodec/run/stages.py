"""Running a recipe: its stages in order, skipping what is done and unchanged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from jsonargparse import ArgumentParser, Namespace

from neurodec.data import Study, prepare
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.data.store import parameters_key, parameters_of
from neurodec.errors import NeurodecError
from neurodec.evaluation import Retrieval
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.section import Evaluation
from neurodec.features import Extractor, Features
from neurodec.files import (
    atomic_path,
    read_json,
    remove_partials,
    require_apart,
    write_json,
    write_table,
)
from neurodec.report import write_report
from neurodec.run.drawing import Drawing
from neurodec.run.folds import Fold, cross_validated, folds_of, require_trials
from neurodec.run.picture_section import save_grid
from neurodec.run.processes import Processes, alone_in
from neurodec.run.recipe.recipe_file import load_recipe
from neurodec.run.recipe.recipe_objects import built_objects, system_of
from neurodec.run.recipe.recipe_parser import sections_of
from neurodec.run.reporting import shown_sections
from neurodec.run.results import header_of, merged, speed_of, tell_account
from neurodec.run.scoring import Scoring
from neurodec.run.stage_keys import StageKeys
from neurodec.run.stamps import Stamps
from neurodec.simulate import command_of
from neurodec.systems import System, load_system
from neurodec.training import Stage
from neurodec.training.history import joined_history, nothing_learnt, training_summary
from neurodec.training.staging import of_recipes
from neurodec.training.trainer import (
    below_out,
    check_device,
    check_folders,
    check_hardware,
    check_packages,
)


def run_recipe(
    path: str | Path,
    data_root: str | Path,
    out: str | Path,
    *,
    overrides: list[str] | None = None,
    allow: list[str] | None = None,
    only: str | None = None,
    allow_outside: bool = False,
    whole_hashes: bool = False,
) -> Path:
    """Run the stages that a recipe names; running again resumes, or does nothing.

    Of several processes (Lightning's, torchrun's or Slurm's) the first does everything, the others fit with it.

    Parameters
    ----------
    path : str or Path
        The recipe.
    data_root : str or Path
        Folder of the raw data.
    out : str or Path
        Folder for everything that is written.
    overrides : list of str, optional
        Such as ``["--trainer.max_epochs", "20"]``.
    allow : list of str, optional
        Further packages whose classes the recipe may name.
    only : str, optional
        Run this one stage.
    allow_outside : bool
        Let loggers, profilers and callbacks of the recipe write outside `out`.
    whole_hashes : bool
        See `neurodec.data.prepare`.

    Returns
    -------
    Path
        `out`, with `results.json`, `report.html`, `config.yaml`, `metrics.csv`, `predictions/`, `checkpoints/`,
        `models/`, `images/`.

    Raises
    ------
    NeurodecError
        If the recipe or the data cannot be used, or another command works in `out`; see the message.
    """
    parser, recipe = load_recipe(path, overrides or [], allow or [])
    run = Run(parser, recipe, Path(data_root), Path(out), frozenset(allow or []), allow_outside, whole_hashes)
    stages = run.stages()
    if only is not None and only not in stages:
        raise NeurodecError(f"The recipe {path} has no stage {only}; it has {', '.join(stages)}.")
    wanted = [only] if only else stages
    processes = Processes()
    with processes.together():
        if not processes.first:
            processes.ready()
            if "fit" in wanted:
                run.train(processes.n_started)
            return run.out
        run.check(wanted)
        run.require_pretrained(wanted, processes.n_started)
        with alone_in(run.out):
            run.work(wanted, processes)
    return run.out


@dataclass(frozen=True)
class Run:
    """A recipe bound to its folders; every stage is a method that finds its input on the disk."""

    parser: ArgumentParser
    recipe: Namespace
    root: Path
    out: Path
    allow: frozenset[str]
    allow_outside: bool = False
    whole_hashes: bool = False

    def check(self, stages: list[str]) -> None:
        """Refuse what these stages cannot do on this machine, or would write elsewhere, before any work."""
        sections = sections_of(self.recipe)
        trainer = sections.get("trainer") or {}
        check_folders(trainer, self.out, allow_outside=self.allow_outside)
        require_apart(self.root, self.out)
        command_of(self.root)  # a mark that is none is told before any work
        if "fit" in stages:
            check_packages(trainer)
            check_hardware(trainer)
        named = {f"targets.{name}": target for name, target in (sections.get("targets") or {}).items()}
        for name, section in {**named, "decoder": sections.get("decoder")}.items():
            if section and ("reconstruct" if name == "decoder" else "targets") in stages:
                check_device((section.get("init_args") or {}).get("device"), f"{name}.device")

    def require_pretrained(self, stages: list[str], n_started: int) -> None:
        """Refuse several processes where a recipe of a stage is still to be run, which one process does."""
        for own in self._of_recipes if n_started > 1 and "pretrain" in stages else ():
            if not (self._of_stage(own) / "results.json").exists():
                raise NeurodecError(
                    f"The stage {own.name} is the recipe {own.recipe}, which one process runs; run that recipe by "
                    "itself and name its folder OUT/models/joint as `start`, or start one process."
                )

    def stages(self) -> list[str]:
        """Name the stages that the recipe's sections ask for."""
        trained = ["targets", "fit", "predict"] if self.trains else []
        trained = ["pretrain", *trained] if self._of_recipes else trained
        retrieves = any(isinstance(evaluation, Retrieval) for evaluation in self.evaluations.values())
        trained += ["retrieve"] if trained and retrieves else []
        trained += ["reconstruct"] if "reconstruction" in self.recipe else []
        scored = ["evaluate", "report"] if self.evaluations else []
        return ["prepare", *trained, *scored]

    def work(self, stages: list[str], processes: Processes) -> None:
        """Do some stages, one after the other."""
        with atomic_path(self.out / "config.yaml") as partial:
            partial.write_text(self.parser.dump(self.recipe), encoding="utf-8")
        remove_partials(self.out, depth=2)
        self.stamps["data_root"] = str(self.root.resolve())  # the report shows the pictures
        for stage in stages:
            started = time.perf_counter()
            print(f"{stage} ...", flush=True)
            if stage == "fit":
                self.fit(processes)
            else:
                getattr(self, stage)()
            self.stamps.add_seconds(stage, time.perf_counter() - started)
        if "fit" not in stages:
            processes.ready()

    def prepare(self) -> None:
        """Fill ``OUT/prepared``, and tell what was found there and what was left out."""
        folder = self.out / "prepared"
        prepare(self.objects.dataset, self.root, folder, self._levels, whole_hashes=self.whole_hashes)
        tell_account(self.study.account, folder)
        self._check_trials()

    def _check_trials(self) -> None:
        """Refuse trials that this recipe could train on and never score, or the reverse, before any training."""
        for fold in self.folds if self.trains else ():
            system = self.new_system(fold)
            require_trials(fold, self.study, system)
            system.check(fold.training(self.study))

    def pretrain(self) -> None:
        """Run the recipes that stages of training name, in ``OUT/stages/<name>``, on one device."""
        for stage in self._of_recipes:
            print(f"{stage.name}: {stage.recipe}", flush=True)
            run_recipe(
                stage.recipe,
                self.root,
                self._of_stage(stage),
                overrides=["--trainer.devices", "1"],
                allow=sorted(self.allow),
                allow_outside=self.allow_outside,
                whole_hashes=self.whole_hashes,
            )

    def targets(self) -> None:
        """Fill ``OUT/targets/<name>``."""
        stimuli = self.study.stimuli  # a missing prepared folder is told before any computation
        for name, extractor in self.extractors.items():
            kept = self.out / "targets" / name
            if self.stamps[f"targets {name}"] != self.keys.targets[name] or not kept.is_dir():
                with self.stamps.making(f"targets {name}", self.keys.targets[name]):
                    extractor.extract(stimuli, self.root).save(kept)

    def fit(self, processes: Processes) -> None:
        """Fit one system per fold and seed, and its linear baseline, into ``OUT/models`` and ``OUT/checkpoints``."""
        self._check_trials()
        if self.stamps["training"] not in (None, self.keys.training):
            places = [self.out / name for name in ("checkpoints", "models", "stages.json")]
            there = [str(place) for place in places if place.exists()]
            raise NeurodecError(
                f"{self.out} holds a training with another configuration; choose another --out, or delete "
                f"{' and '.join([', '.join(there[:-1]), there[-1]] if len(there) > 1 else there)}."
            )
        self.stamps["training"] = self.keys.training
        with self.stamps.making("fit", self.keys.fit):
            processes.ready()
            self.train(processes.n_started)
            for fold in self.folds:
                for evaluation in self.evaluations.values():
                    for head in evaluation.compared_heads(self._fitted_system(fold).head):
                        self.scoring.baseline(fold, head)
            self._write_history()

    def _write_history(self) -> None:
        """Write ``OUT/metrics.csv``, and tell what learnt nothing."""
        history = joined_history(self.out / "checkpoints", [fold.name for fold in self.folds])
        if history is None:
            return
        write_table(self.out / "metrics.csv", history)
        told = nothing_learnt(next(iter(self.study.spaces.values())).info.get("preprocessing"))
        for name, found in training_summary(history).items():
            if found["beats_mean_predictor"] is False:
                print(f"  {name}: {told}", flush=True)

    def train(self, n_started: int) -> None:
        """Fit every fold: what all processes do together."""
        trainer = self.recipe.get("trainer")
        if n_started > 1 and (trainer is None or trainer.strategy == "auto"):
            raise NeurodecError(
                f"{n_started} processes were started together, but the recipe trains in one; add  --trainer.devices N "
                "--trainer.strategy ddp, or start one process."
            )
        for fold in self.folds:
            published = self.recipe.selection == "published_protocol"
            self.new_system(fold).fit(
                fold.training(self.study),
                self.features,
                out=self.out,
                name=fold.name,
                new=fold.new,
                selection_trials=fold.testing(self.study) if published else None,
            )

    def predict(self) -> None:
        """Write ``OUT/predictions/<fold>/<rows>/``: what the system predicts of every test trial, once."""
        for fold in self.folds:
            wanted = {
                rows: study
                for evaluation in self.evaluations.values()
                for rows, study in evaluation.inputs(fold.testing(self.study)).items()
            }
            (self.out / "predictions" / fold.name).mkdir(parents=True, exist_ok=True)
            for rows, study in wanted.items():
                folder, name = self.out / "predictions" / fold.name / rows, f"predict {fold.name} {rows}"
                system = self.system(fold)
                if self.stamps[name] != self.keys.fit or not folder.exists():
                    with self.stamps.making(name, self.keys.fit):
                        system.predict(study).save(folder)

    def retrieve(self) -> None:
        """Write ``OUT/retrieved.csv``: for every test stimulus its rank and the five best candidates."""
        name, evaluation = next(own for own in self.evaluations.items() if isinstance(own[1], Retrieval))
        key = self.keys.evaluation(name)
        if self.stamps["retrieve"] == key and (self.out / "retrieved.csv").exists():
            return
        tables = []
        for fold in self.folds:
            fitted, test = self.scoring.fitted(fold), fold.testing(self.study)
            z, table, gallery = evaluation.compared(self.predictions(fold), test, fitted)
            tables.append(Scored.of(z, table, gallery).rank_table())
        with self.stamps.making("retrieve", key):
            write_table(self.out / "retrieved.csv", pd.concat(tables))

    def reconstruct(self) -> None:
        """Draw the seen pictures, with controls and ceilings, into ``OUT/images/reconstructed/<fold>/``."""
        self.drawing.draw(self.folds)

    def evaluate(self) -> None:
        """Write ``OUT/results.json`` and ``OUT/evaluation/<fold>/``, below ``further/<name>`` for later evaluations."""
        if self.stamps["evaluate"] == self.keys.results and (self.out / "results.json").exists():
            return
        with self.stamps.making("evaluate", self.keys.results):
            found = merged({name: self.scoring.evaluated(name) for name in self.evaluations})
            if "reconstruction" in self.recipe:
                self.drawing.score(self.folds, found)
            if self.trains and (self.out / "metrics.csv").exists():
                found["training"] = training_summary(pd.read_csv(self.out / "metrics.csv"))
            write_json(self.out / "results.json", {**header_of(self), **found, "speed": speed_of(self)})

    def report(self) -> None:
        """Write ``OUT/report.html``."""
        self.require("evaluate", "evaluate", self.keys.results)
        results = read_json(self.out / "results.json")
        write_json(self.out / "results.json", {**results, "speed": speed_of(self)})
        write_report(self.out, shown_sections(self.out, results, self.evaluations))
        save_grid(self.out, self.out / "images" / "reconstructions.png")

    def require(self, stage: str, stamp: str, key: str) -> None:
        """Refuse to go on from a stage that was not finished, or was done by another recipe or with other data."""
        if self.stamps[stamp] != key:
            raise NeurodecError(
                f"{self.out} does not hold the finished stage {stage} of this recipe with these data; run it first:  "
                f"neurodec {stage}, or neurodec run for all stages."
            )

    @cached_property
    def stamps(self) -> Stamps:
        """What stages were done with."""
        return Stamps(self.out)

    @cached_property
    def keys(self) -> StageKeys:
        """What stages are to be done with."""
        return StageKeys(self)

    @property
    def trains(self) -> bool:
        """Whether the recipe has a system of its own."""
        return "encoder" in self.recipe or "system" in self.recipe

    @cached_property
    def _of_recipes(self) -> list[Stage]:
        return of_recipes([Stage(**stage) for stage in sections_of(self.recipe).get("stages") or []])

    def _of_stage(self, stage: Stage) -> Path:
        return self.out / "stages" / stage.name

    @cached_property
    def objects(self) -> Namespace:
        """The dataset, targets, data and evaluations; systems are built fold by fold."""
        return built_objects(self.recipe)

    @property
    def extractors(self) -> dict[str, Extractor]:
        """What gives the targets, by name."""
        return self.objects.targets if self.trains else {}

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """What scores, by name."""
        return self.objects.evaluation

    @cached_property
    def study(self) -> Study:
        """All trials and stimuli."""
        study = Study.load(self.out / "prepared")
        about = read_json(self.out / "prepared" / "study.json")["provenance"]
        if parameters_key(about["parameters"]) != parameters_key(parameters_of(self.objects.dataset)):
            raise NeurodecError(
                f"{self.out / 'prepared'} was prepared with another section `dataset`; choose another --out or delete "
                "it."
            )
        return study

    @cached_property
    def features(self) -> dict[str, Features]:
        """The targets, by name."""
        for name in self.extractors:
            self.require("targets", f"targets {name}", self.keys.targets[name])
        return {name: Features.load(self.out / "targets" / name) for name in self.extractors}

    @cached_property
    def folds(self) -> list[Fold]:
        """All fits."""
        found = folds_of(self.recipe.protocol, self.study.subjects, self.recipe.seeds)
        return cross_validated(found, self.study, self.objects.cross_validation, self._levels)

    @property
    def _levels(self) -> set[Level]:
        """What training and test must not share, for any evaluation."""
        return {evaluation.level for evaluation in self.evaluations.values()} or {"concept"}

    @cached_property
    def scoring(self) -> Scoring:
        """What scores the folds."""
        return Scoring(self)

    @cached_property
    def drawing(self) -> Drawing:
        """What draws the pictures."""
        return Drawing(self)

    def new_system(self, fold: Fold) -> System:
        """Return the system of a fold, not fitted."""
        sections = sections_of(self.recipe)
        if "trainer" in sections:
            sections["trainer"] = below_out(sections["trainer"], self.out, allow_outside=self.allow_outside)
        return system_of(sections, self.objects, fold.seed, self.allow)

    def system(self, fold: Fold) -> System:
        """Return the fitted system of a fold, of a training that is finished."""
        self.require("fit", "fit", self.keys.fit)
        return self._fitted_system(fold)

    def _fitted_system(self, fold: Fold) -> System:
        return load_system(self.out / "models" / fold.name, self.allow)

    def predictions(self, fold: Fold) -> dict[str, Predictions]:
        """Return what the system of a fold predicts of its test trials, by what rows they are."""
        folder, found = self.out / "predictions" / fold.name, {}
        for evaluation in self.evaluations.values():
            for rows in evaluation.inputs(fold.testing(self.study)):
                self.require("predict", f"predict {fold.name} {rows}", self.keys.fit)
                found[rows] = Predictions.load(folder / rows)
        return found
