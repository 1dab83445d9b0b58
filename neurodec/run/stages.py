"""Running a recipe: its stages in order, skipping what is done and unchanged."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

import pandas as pd

from neurodec.data import prepare
from neurodec.errors import NeurodecError
from neurodec.evaluation import Retrieval
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
from neurodec.run.finished import Finished
from neurodec.run.folds import require_trials
from neurodec.run.picture_section import save_grid
from neurodec.run.processes import Processes, alone_in
from neurodec.run.recipe.recipe_file import load_recipe
from neurodec.run.recipe.recipe_parser import sections_of
from neurodec.run.reporting import shown_sections
from neurodec.run.results import header_of, merged, speed_of, tell_account
from neurodec.run.scoring import Scoring
from neurodec.simulate import command_of
from neurodec.training.history import joined_history, nothing_learned, training_summary
from neurodec.training.trainer import (
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

    Examples
    --------
    >>> from neurodec import run_recipe
    >>> out = run_recipe("haxby/linear", "recordings", "out")  # doctest: +SKIP
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


class Run(Finished):
    """Every stage is a method that finds its input on the disk."""

    def check(self, stages: list[str]) -> None:
        """Refuse what these stages cannot do on this machine, or would write elsewhere, before any work."""
        sections = sections_of(self.recipe)
        trainer = sections.get("trainer") or {}
        check_folders(trainer, self.out, allow_outside=self.allow_outside)
        require_apart(self.root, self.out)
        command_of(self.root)  # a mark that is none is reported before any work
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
        self._tell_preprocessing(self.out / "preprocessing.json")
        self._check_trials()

    def _tell_preprocessing(self, file: Path) -> None:
        """Write what is done to prepared trials, for the report; nothing where nothing is."""
        further, divided = self.objects.preprocessing, self.objects.cross_validation
        within = "none" if divided is None else divided.whiten
        if further is None and within == "none":
            file.unlink(missing_ok=True)
            return
        done, steps = self.study.info.get("preprocessing"), [] if further is None else further.in_words()
        steps += [] if within == "none" else [f"whitened in every fold, by its training trials ({within})"]
        told = {"further_steps": steps}
        if done is not None:
            told = {"preprocessing": done, "further_steps": steps[-1:] if within != "none" else []}
        write_json(file, {**told, "account": self.study.account})

    def _check_trials(self) -> None:
        """Refuse trials that this recipe could train on and never score, or the reverse, before any training."""
        for evaluation in self.evaluations.values():
            evaluation.check(self.study)
        for fold in self.folds if self.trains else ():
            system = self.new_system(fold)
            require_trials(fold, self.study, system)
            system.check(fold.training(self.study))
        if "reconstruction" in self.recipe:
            self.drawing.check(self.folds)

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
        stimuli = self.study.stimuli  # a missing prepared folder is reported before any computation
        for name, extractor in self.extractors.items():
            kept = self.out / "targets" / name
            if self.stamps[f"targets {name}"] != self.keys.targets[name] or not kept.is_dir():
                with self.stamps.making(f"targets {name}", self.keys.targets[name]):
                    found = extractor.extract(stimuli, self.root)
                    missing = sorted(set(stimuli["stimulus"]) - set(found.stimuli))
                    if missing:
                        raise NeurodecError(
                            f"{type(extractor).__name__} gives no target {name} of {len(missing)} of {len(stimuli)} "
                            f"stimuli, first {missing[0]}; give one of every stimulus of the table."
                        )
                    found.save(kept)

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
                    for head in evaluation.compared_heads(self.fitted_system(fold).head):
                        self.scoring.baseline(fold, head)
            self._write_history()

    def _write_history(self) -> None:
        """Write ``OUT/metrics.csv``, and tell what learned nothing."""
        history = joined_history(self.out / "checkpoints", [fold.name for fold in self.folds])
        if history is None:
            return
        write_table(self.out / "metrics.csv", history)
        told = nothing_learned(next(iter(self.study.spaces.values())).info.get("preprocessing"))
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
        name = next(own for own, evaluation in self.evaluations.items() if isinstance(evaluation, Retrieval))
        key = self.keys.evaluation(name)
        if self.stamps["retrieve"] == key and (self.out / "retrieved.csv").exists():
            return
        found = [self.scoring.run_of(name, fold) for fold in self.folds]
        with self.stamps.making("retrieve", key):
            write_table(self.out / "retrieved.csv", pd.concat([run.system.rank_table() for run in found]))

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

    @cached_property
    def scoring(self) -> Scoring:
        """What scores the folds."""
        return Scoring(self)

    @cached_property
    def drawing(self) -> Drawing:
        """What draws the pictures."""
        return Drawing(self)
