"""Every command that the package prints, in README, site, help, recipes and hints, is run here as printed.

Recipes and simulations of real size stop where the work would begin: everything that can be refused beforehand is past.
"""

import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

from neurodec.cli import _parser, main
from neurodec.run.stages import Run
from neurodec.simulate import simulation

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SITE = sorted(
    page for page in (ROOT / "docs").rglob("*.md") if not {"_build", "_generated"} & set(page.parts)
)
VERBS = ("run", "prepare", "fit", "demo", "simulate", "compare", "adapt", "decode", "recipe")
SMALL = ["--n_subjects", "1", "--n_train_concepts", "40", "--n_test_concepts", "12"]
SMALL += ["--images_per_concept", "1", "--test_repetitions", "2"]
SHORT = ["--evaluation.adaptation.init_args.n_pictures", "[20]", "--reconstruction.n_images", "2"]
SHORT += ["--evaluation.adaptation.init_args.n_voxels", "[200]", "--reconstruction.n_steps", "2"]
DATA = (
    "DIR",
    "NSD",
    "BOLD5000",
    "TUEG",
    "THINGS-EEG2",
    "recordings",
    "bids",
    "sim-eeg",
    "sim-meg",
    "sim-fmri",
    "sim-states",
    "sim-speech",
)


def of_help():
    texts = [_parser().format_help()]
    verbs = next(action for action in _parser()._actions if action.choices)
    texts += [verb.format_help() for verb in verbs.choices.values()]
    return [line.strip() for text in texts for line in text.splitlines() if line.startswith("  neurodec ")]


def of_recipes():
    files = sorted((ROOT / "configs").glob("*/*.yaml"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [re.split(r" {3,}", line[4:])[0] for line in lines if line.startswith("#   neurodec ")]


def of_pages():
    """Return the commands of the README, and those of the site on data that we do not hold."""
    blocks = [block for kind, block in re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL) if not kind]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    for page in SITE:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines += [line.removeprefix("$ ") for line in block.splitlines()]
    return [line for line in lines if line.startswith("neurodec ")]


def printed():
    every = dict.fromkeys([*of_help(), *of_recipes(), *of_pages()])
    return [line for line in every if line.split()[1] in VERBS or line.split()[1] in ("targets", "report")]


PRINTED = printed()
RUNS = [
    line
    for line in PRINTED
    if line.split()[1] not in ("simulate", "compare", "adapt", "decode", "demo", "recipe")
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change to a folder with what commands name: empty data roots and the README's recipe."""
    monkeypatch.chdir(tmp_path)
    for name in DATA:
        (tmp_path / name).mkdir()
    page = (ROOT / "docs/tutorials/own_recording.md").read_text(encoding="utf-8")
    for name, recipe in re.findall(r"```yaml\n# (\S+)\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(recipe, encoding="utf-8")
    shutil.copy(tmp_path / "my_eeg.yaml", tmp_path / "my_recording.yaml")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


@pytest.fixture
def begun(monkeypatch):
    """Collect the runs that get to their work."""
    found = []
    monkeypatch.setattr(Run, "work", lambda self, stages, processes: found.append((self.out, stages)))
    return found


def test_commands_are_found_everywhere():
    assert len(of_help()) > 15
    assert len(of_recipes()) > 50
    assert {line.split()[1] for line in of_pages()} >= {
        "run",
        "adapt",
        "decode",
        "simulate",
        "compare",
        "recipe",
    }
    assert {line.split()[1] for line in PRINTED} >= set(VERBS)


@pytest.mark.parametrize("line", RUNS)
def test_runs_get_to_their_work(line, here, begun, capsys):
    words = shlex.split(line)[1:]
    code = main(words)
    told = capsys.readouterr().err
    assert code == 0, told
    ((out, stages),) = begun
    assert out == Path(words[words.index("--out") + 1]) if "--out" in words else out
    assert stages


def test_demo_as_printed(here, begun, monkeypatch):
    monkeypatch.setattr("neurodec.simulate.simulate_demo", lambda root: here / "sim-eeg")
    for line in PRINTED:
        if line.split()[1] == "demo":
            assert main(shlex.split(line)[1:]) == 0
    assert begun


def test_what_simulations_print_runs(here, begun, monkeypatch, capsys):
    """Sizes are checked and nothing is drawn; the hints are then run as printed."""
    asked = []
    monkeypatch.setattr(simulation, "draw_study", lambda counts, seed: asked.append(counts))
    monkeypatch.setattr(simulation, "write_images", lambda root, study: None)
    monkeypatch.setattr(simulation, "_WRITERS", dict.fromkeys(simulation._WRITERS, lambda *given: None))
    monkeypatch.setattr(simulation.states, "write", lambda file, *given: asked.append(file))
    monkeypatch.setitem(simulation._WITHOUT_PICTURES, "speech", lambda *given: asked.append(given))
    lines = [line for line in PRINTED if line.split()[1] == "simulate"]
    assert len(lines) >= 6
    for number, line in enumerate(lines):
        folder = here / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        words = shlex.split(line)[1:]
        root = [] if "--data-root" in words else ["--data-root", "DIR"]  # README names the verb alone
        capsys.readouterr()
        assert main([*words, *root]) == 0
        hints = [own.strip() for own in capsys.readouterr().out.splitlines() if own.startswith("  neurodec")]
        assert hints
        for hint in hints:
            before = len(begun)
            assert main(shlex.split(hint)[1:]) == 0
            assert len(begun) == before + 1
    assert asked


def test_recipes_as_printed(tmp_path, monkeypatch, capsys):
    lines = [line for line in PRINTED if line.split()[1] == "recipe"]
    assert any("--keys" in line for line in lines)
    for line in lines:
        capsys.readouterr()
        assert main(shlex.split(line.split(">")[0])[1:]) == 0
        assert "class_path" in capsys.readouterr().out or "--keys" in line


@pytest.fixture(scope="module")
def adaptable(tmp_path_factory):
    """Return a folder with DIR, a small simulation, and OUT, a run of the in-context system that is included."""
    home = tmp_path_factory.mktemp("adaptable")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["simulate", "fmri", "--data-root", "DIR", *SMALL]) == 0
        line = "run in_context/simulated-fmri-shipped --data-root DIR --out OUT"
        assert main([*line.split(), *SHORT]) == 0
        shutil.copytree("DIR", "BIDS")
        Path("sim-fmri").symlink_to("DIR")
        for events in Path("BIDS").rglob("*_events.tsv"):
            table = pd.read_csv(events, sep="\t")
            table.assign(stim_file=table["stim_file"] + ".png").to_csv(events, sep="\t", index=False)
        Path("BIDS/stimuli").mkdir()
        for picture in Path("BIDS/image_set").rglob("*.png"):
            picture.rename(Path("BIDS/stimuli") / picture.name)
    return home


@pytest.mark.slow
def test_adapt_and_decode_as_printed(adaptable, monkeypatch, capsys):
    monkeypatch.chdir(adaptable)
    adapt, decode = ([line for line in PRINTED if line.split()[1] == verb] for verb in ("adapt", "decode"))
    assert len(adapt) >= 2
    (adaptable / "my_pictures").symlink_to(adaptable / "DIR/image_set")
    for number, line in enumerate(adapt):
        if "neurodec/in-context" in line and "DIR" in line:  # reads BIDS with its pictures below stimuli/
            line = line.replace("DIR", "BIDS")
        assert main(shlex.split(line)[1:]) == 0, line
        if "OUT/decoders" in line:
            assert (adaptable / "adapted/decoder/prior").exists()
        (adaptable / "adapted").rename(adaptable / f"adapted-{number}")
    draws = next(number for number, line in enumerate(adapt) if "OUT/decoders" in line)
    (adaptable / "adapted").symlink_to(adaptable / f"adapted-{draws}")
    for number, line in enumerate(decode):
        assert main(shlex.split(line)[1:]) == 0, line
        (adaptable / "decoded").rename(adaptable / f"decoded-{number}")


@pytest.mark.slow
def test_compare_as_printed(adaptable, monkeypatch, capsys):
    monkeypatch.chdir(adaptable)
    for name in ("sim-eeg-atm", "sim-eeg-nice", "OTHER"):
        (adaptable / name).symlink_to(adaptable / "OUT")
    for line in PRINTED:
        if line.split()[1] == "compare":
            assert main(shlex.split(line)[1:]) == 0, line


@pytest.mark.slow
def test_a_report_tells_how_to_repeat_it(adaptable, monkeypatch, begun):
    monkeypatch.chdir(adaptable)
    report = (adaptable / "OUT/report.html").read_text(encoding="utf-8")
    (block,) = re.findall(r"How to reproduce</h2>.*?<pre>(.*?)</pre>", report, re.DOTALL)
    simulated, line = block.splitlines()
    assert simulated == f"neurodec simulate fmri --data-root DIR {' '.join(sorted_like(simulated))}"
    (adaptable / "config.yaml").write_bytes((adaptable / "OUT/config.yaml").read_bytes())
    assert main(shlex.split(line)[1:]) == 0
    assert begun


def sorted_like(simulated):
    """Return the sizes of `SMALL` in the order in which the report has them."""
    told = shlex.split(simulated)[5:]
    assert sorted(told) == sorted(SMALL)
    return told
