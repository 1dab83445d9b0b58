"""The command line: every stage is a verb, and bad input ends in one sentence and exit code 2.

Nothing heavy is imported before a verb runs, so that ``neurodec --help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from neurodec import __version__
from neurodec.errors import NeurodecError
from neurodec.shipped import recipe_path, shipped

STAGES = {
    "prepare": "read the raw recording into the prepared store",
    "pretrain": "run the recipes that stages of training name, such as a pre-training",
    "targets": "compute (or find in the cache) what the system learns of the stimuli",
    "fit": "fit the system; goes on from the last checkpoint",
    "predict": "predict the targets of the test trials",
    "retrieve": "rank the seen stimulus among the candidates for every test stimulus, with all curves",
    "reconstruct": "draw the seen pictures from the brain embeddings, with controls and ceilings",
    "evaluate": "score all folds with chance, intervals, controls and the ridge baseline",
    "report": "write the HTML report",
}

SIMULATED_SIZES = (
    "n_subjects",
    "n_train_concepts",
    "images_per_concept",
    "n_test_concepts",
    "gallery_per_concept",
    "train_repetitions",
    "test_repetitions",
    "n_rest",
    "n_unlabelled",
    "minutes",
    "n_labelled",
    "n_stretches",
    "n_stories",
)

RECIPES = {
    "eeg": ("atm/simulated-eeg", "nice/simulated-eeg", "neurobridge/simulated-eeg"),
    "meg": ("atm/simulated-meg", "nice/simulated-meg", "neurobridge/simulated-meg"),
    "fmri": ("mindbridge/simulated-fmri", "brain_diffuser/simulated-fmri"),
    "whole_brain": ("wave/simulated",),
    "states": ("csbrain/simulated-states",),
    "speech": ("speech/simulated",),
}

EXAMPLES = """examples:
  neurodec demo --out demo
  neurodec run haxby/linear --data-root DIR --out OUT
  neurodec run my_recording.yaml --data-root recordings --out results --trainer.max_epochs 20
  neurodec fit atm/things-eeg2 --data-root DIR --out OUT --optimizer.init_args.lr 1e-4

A recipe is a file, or the name of one that comes with the package:
  {recipes}
"""

_DEBUG = "show the traceback beneath an error's sentence"
_SPACE = "free some space, or choose another folder to write to; the same command goes on from here"
_RIGHTS = "change the permissions, or choose another folder"
_IN_THE_WAY = "a file is in the way, so choose another folder"
OBSTACLES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), _IN_THE_WAY),
}

_READING = """Recordings are read as those of the training, where SYSTEM remembers how, or else as NIfTI runs with
events (BIDS); --recipe names another recipe, whose section `dataset` reads them. Its keys can be overridden:
--dataset.init_args.estimate lss"""

RECIPE_HELP = """Any key of the recipe can be overridden by its dotted name:
  --trainer.max_epochs 20  --encoder.init_args.n_heads 5  --evaluation.init_args.n_permutations 1000
  --protocol within_subject | leave_one_subject_out | joint | new_subject    who is trained on, and who is tested
  --selection validation | last | published_protocol    which epoch is scored
  --targets.image.init_args.model neurodec/tiny-clip    the small CLIP that is included, in place of a downloaded one
Running again resumes what was interrupted and skips what is done; with a higher max_epochs training goes on.
OUT then holds report.html, results.json, config.yaml (replays the run), metrics.csv, predictions/, checkpoints/,
models/ and images/.
Several processes: --trainer.devices 2 --trainer.strategy ddp, or torchrun or srun in front of the command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input, 130 interrupted."""
    parser = _parser()
    arguments, overrides = parser.parse_known_args(argv)
    if overrides and not hasattr(arguments, "recipe"):
        parser.error(f"unknown argument {overrides[0]}")
    _find_own(getattr(arguments, "allow", []))
    try:
        with _warnings_once(debug=arguments.debug):
            arguments.run(arguments, overrides)
    except NeurodecError as error:
        if arguments.debug:
            traceback.print_exc()
        return _fail(str(error))
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in OBSTACLES:
            raise
        return _fail(f"{error.filename or 'the output'}: {error.strerror}; {OBSTACLES[error.errno]}.")
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, and the same command goes on from here", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _warnings_once(*, debug: bool) -> Iterator[None]:
    """Print every warning once, as one line; what only concerns a library's developers, with ``--debug`` alone."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            print(f"neurodec: warning: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        if not debug:
            for kind in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
                warnings.simplefilter("ignore", kind)
        yield


def _fail(sentence: str) -> int:
    print(f"neurodec: error: {sentence}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neurodec",
        description="Decode what a person sees or hears from EEG, MEG and fMRI.",
        epilog=EXAMPLES.format(
            recipes="\n  ".join(textwrap.wrap(", ".join(shipped()), 100, break_on_hyphens=False))
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"neurodec {__version__}")
    parser.add_argument("--debug", action="store_true", help=_DEBUG)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_recipe_verb(verbs, "run", "run every stage that a recipe names", _run)
    for stage, summary in STAGES.items():
        _add_recipe_verb(verbs, stage, summary, _run_stage)
    _add_demo(verbs)
    _add_simulate(verbs)
    _add_compare(verbs)
    _add_recipe(verbs)
    _add_adapt(verbs)
    _add_decode(verbs)
    return parser


def _verb(
    verbs: argparse._SubParsersAction, name: str, summary: str, run: Callable, epilog: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=_DEBUG)
    parser.set_defaults(run=run, verb=name)
    return parser


def _add_recipe_verb(verbs: argparse._SubParsersAction, name: str, summary: str, run: Callable) -> None:
    recipe = {"run": "n170/linear", "pretrain": "csbrain/simulated-states"}.get(name, "demo/eeg")
    example = f"example:\n  neurodec {name} {recipe} --data-root DIR --out OUT\n\n{RECIPE_HELP}"
    parser = _verb(verbs, name, summary, run, example)
    parser.add_argument("recipe", type=Path, help="the recipe: a YAML file, or a name such as n170/linear")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the raw data")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is written")
    _add_allow(parser)
    parser.add_argument(
        "--whole-hashes",
        action="store_true",
        help="hash all of every source file for the provenance; by default large ones are sampled",
    )
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="let loggers, profilers and callbacks that the recipe names write outside OUT",
    )


def _add_demo(verbs: argparse._SubParsersAction) -> None:
    summary = "simulate a subject and decode it, with nothing downloaded"
    example = f"example:\n  neurodec demo --out demo --trainer.max_epochs 5\n\n{RECIPE_HELP}"
    parser = _verb(verbs, "demo", summary, _demo, example)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write, ./demo by default")
    parser.set_defaults(recipe=None)


def _add_simulate(verbs: argparse._SubParsersAction) -> None:
    summary = "write a simulated recording in the layout of a real data set"
    example = """examples:
  neurodec simulate eeg --data-root sim-eeg
  neurodec simulate fmri --data-root sim-fmri --seed 1 --n_subjects 2 --n_train_concepts 60
  neurodec simulate whole_brain --data-root sim-whole-brain
  neurodec simulate states --data-root sim-states
  neurodec simulate speech --data-root sim-speech

Sizes that can be changed: --n_subjects, --n_train_concepts, --images_per_concept, --n_test_concepts,
--gallery_per_concept, --train_repetitions, --test_repetitions; of whole_brain (fMRI of people in one space, with an
atlas of networks and runs at rest) also --n_rest; of states (continuous EEG of people in four states, without and
with labels): --n_unlabelled, --minutes, --n_labelled, --n_stretches; of speech (MEG of listeners to stories):
--n_subjects, --n_stories, --minutes (of a story)."""
    parser = _verb(verbs, "simulate", summary, _simulate, example)
    parser.add_argument("modality", choices=list(RECIPES))
    parser.add_argument("--data-root", type=Path, required=True, help="empty folder to write")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bits")
    for name in SIMULATED_SIZES:
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)


def _add_compare(verbs: argparse._SubParsersAction) -> None:
    summary = "print the scores of several runs as one table, and draw them"
    example = "example:\n  neurodec compare sim-eeg-atm sim-eeg-nice --out comparison"
    parser = _verb(verbs, "compare", summary, _compare, example)
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, with its results.json"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("comparison"), help="folder to write, ./comparison by default"
    )


def _add_recipe(verbs: argparse._SubParsersAction) -> None:
    summary = "print a recipe, or all keys that it may have"
    example = "examples:\n  neurodec recipe atm/things-eeg2 > my_recipe.yaml\n  neurodec recipe atm/things-eeg2 --keys"
    parser = _verb(verbs, "recipe", summary, _recipe, example)
    parser.add_argument("name", help="a YAML file, or a name such as n170/linear")
    parser.add_argument("--keys", action="store_true", help="every key with its type, default and meaning")
    _add_allow(parser)


def _recipe(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.run.recipe.recipe_keys import keys_text

    if arguments.keys:
        print(keys_text(arguments.name, set(arguments.allow)))
    else:
        print(recipe_path(arguments.name).read_text(encoding="utf-8"), end="")


def _add_adapt(verbs: argparse._SubParsersAction) -> None:
    summary = "let a system know a new participant by a few hundred pictures and responses, without training"
    example = f"""examples:
  neurodec adapt neurodec/in-context --data-root DIR --out adapted
  neurodec adapt OUT/decoders/sub-01 --data-root DIR --out adapted --dataset.init_args.stimuli_table stimuli.csv

The context is made of the trials with the split train, which all have unless a column says otherwise.
{_READING}"""
    parser = _verb(verbs, "adapt", summary, _adapt, example)
    parser.add_argument(
        "system", help="neurodec/in-context, OUT/models/FOLD or OUT/decoders/FOLD of an in-context run"
    )
    _add_recordings(parser)


def _add_decode(verbs: argparse._SubParsersAction) -> None:
    summary = "decode a folder of recordings by a system that knows the person"
    example = f"""examples:
  neurodec decode adapted/decoder --data-root DIR --out decoded
  neurodec decode adapted/decoder --data-root DIR --out decoded --candidates my_pictures --n-pictures 8

Writes embeddings/, retrieved.csv (the five nearest pictures) and, where SYSTEM draws, pictures/.
{_READING}"""
    parser = _verb(verbs, "decode", summary, _decode, example)
    parser.add_argument("system", help="what adapt made, or OUT/models/FOLD or OUT/decoders/FOLD of a run")
    _add_recordings(parser)
    parser.add_argument(
        "--split", choices=["test", "train", "all"], help="whose trials; of the test, if there are any"
    )
    parser.add_argument("--single", action="store_true", help="every trial, not the mean over showings")
    parser.add_argument(
        "--candidates", type=Path, metavar="FOLDER", help="pictures to search; those shown by default"
    )
    parser.add_argument("--n-pictures", type=int, help="how many to draw, 24 by default, where SYSTEM draws")


def _add_recordings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--recipe", type=Path, help="whose section dataset reads them; as those of the training, or BIDS fMRI"
    )
    _add_allow(parser)


def _adapt(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.data import Study
    from neurodec.run.adapting import RecordingsFolder, adapt

    recordings = RecordingsFolder(arguments.recipe, arguments.data_root, overrides, arguments.allow)
    decoder = adapt(arguments.system, recordings, arguments.out)
    tested = (Study.load(arguments.out / "prepared").table["split"] == "test").any()
    trials = "the trials with the split test" if tested else "other recordings, in DIR,"
    words = ["neurodec", "decode", str(decoder), "--data-root", str(arguments.data_root) if tested else "DIR"]
    words += ["--out", f"{arguments.out}-decoded", *(f"--allow={name}" for name in arguments.allow)]
    if arguments.recipe is not None:
        words += ["--recipe", str(arguments.recipe), *overrides]
    print(f"adapted: {decoder}; decode {trials} by\n  {shlex.join(words)}")


def _decode(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.run.adapting import RecordingsFolder, decode

    recordings = RecordingsFolder(arguments.recipe, arguments.data_root, overrides, arguments.allow)
    decode(
        arguments.system,
        recordings,
        arguments.out,
        split=arguments.split,
        single=arguments.single,
        candidates=arguments.candidates,
        n_pictures=arguments.n_pictures,
    )


def _compare(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.files import read_own_table
    from neurodec.run.compare import compare

    table = compare(arguments.runs, arguments.out)
    differences = read_own_table(arguments.out / "differences.csv")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if len(differences):
        print("on the same test rows, first minus second:")
        print(differences.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    print(f"figure: {arguments.out / 'comparison.png'}")


def _add_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let the recipe name classes of this package too (it runs their code), also of a file PACKAGE.py or a "
        "folder PACKAGE in the current folder",
    )


def _find_own(allow: list[str]) -> None:
    """Let allowed packages be imported from the current folder, which a console script does not look into."""
    here = Path.cwd()
    for name in allow:
        if (here / f"{name}.py").is_file() or (here / name).is_dir():
            sys.path.append(str(here))  # last, so that nothing that is installed is replaced
            return


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.run.processes import Processes
    from neurodec.run.stages import run_recipe

    run_recipe(
        arguments.recipe,
        arguments.data_root,
        arguments.out,
        overrides=overrides,
        allow=arguments.allow,
        allow_outside=arguments.allow_outside,
        whole_hashes=arguments.whole_hashes,
    )
    if Processes().first:
        print(f"report: {arguments.out / 'report.html'}")


def _run_stage(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.run.stages import run_recipe

    run_recipe(
        arguments.recipe,
        arguments.data_root,
        arguments.out,
        overrides=overrides,
        allow=arguments.allow,
        only=arguments.verb,
        allow_outside=arguments.allow_outside,
        whole_hashes=arguments.whole_hashes,
    )


def _demo(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.run.stages import run_recipe
    from neurodec.simulate import simulate_demo

    print("simulate ...", flush=True)
    data_root = simulate_demo(arguments.out / "data")
    run_recipe("demo/eeg", data_root, arguments.out, overrides=overrides)
    print(f"report: {arguments.out / 'report.html'}")


def _simulate(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from neurodec.simulate import simulate

    size = {name: getattr(arguments, name) for name in SIMULATED_SIZES}
    size = {name: count for name, count in size.items() if count is not None}
    root = simulate(arguments.data_root, arguments.modality, arguments.seed, **size)
    print(f"simulated {arguments.modality} in {root}; decode it with")
    for recipe in RECIPES[arguments.modality]:
        print(f"  neurodec run {recipe} --data-root {root} --out {root}-{recipe.split('/')[0]}")
