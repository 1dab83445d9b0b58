"""Every page of the site, run as printed: files are written, commands and Python are run, links and tables hold.

A page says by ``<!-- test: NAME -->`` which folder its blocks need. ``yaml`` blocks are written to the file that their
first line names, ``sh`` and ``python`` blocks are run in order, in one folder and one scope. ``console`` blocks, on
data that we do not hold, are run by test_printed_commands.py up to where their work begins.
"""

import importlib
import importlib.util
import json
import re
import shlex
import sys
import types
from pathlib import Path

import mne
import pytest
from lab_recordings import N_TEST, write_betas, write_epochs, write_pictures, write_recording
from linear_studies import write_recipe, write_study
from listeners import write_listeners

import neurodec
from neurodec import OpenClip, RidgeSystem, Study
from neurodec.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if not {"_build", "_generated"} & set(page.parts) and page.name != "changelog.md"
)
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SMALL = (
    "--n_subjects 1 --n_train_concepts 40 --n_test_concepts 12 --images_per_concept 1 --test_repetitions 2"
)


def epochs(home):
    write_epochs(home, write_pictures(home))
    (home / "pictures").mkdir()
    for picture in (home / "image_set").rglob("*.png"):
        (home / "pictures" / picture.name).write_bytes(picture.read_bytes())
    return {}


def own_encoder(home):
    epochs(home)
    (home / "data").mkdir()
    write_epochs(home / "data", write_pictures(home / "data"))
    study = Study.from_epochs(mne.read_epochs("sub-01-epo.fif", verbose="error"), images="pictures")
    return {"study": study, "targets": OpenClip(model="neurodec/tiny-clip").extract(study.stimuli, ".")}


def trained(home):
    scope = own_encoder(home)
    scope["targets"] = OpenClip(model="neurodec/tiny-clip", normalize=False).extract(
        scope["study"].stimuli, "."
    )
    return {**scope, "system": RidgeSystem().fit(scope["study"].part("train"), scope["targets"])}


def two_runs(home):
    write_study(home / "data", {"01": 9})
    ridge = {"class_path": "neurodec.systems.RidgeSystem"}
    for name, head in (("run-a", "image"), ("run-b", "text")):
        recipe = write_recipe(
            home / f"{name}.yaml", system={**ridge, "init_args": {"head": head, "targets": [head]}}
        )
        assert main(["run", str(recipe), "--data-root", "data", "--out", name]) == 0
    return {}


def own_recording(home):
    (home / "eeg").mkdir()
    pictures = write_pictures(home / "eeg")
    write_recording(home / "eeg", "sub-01", pictures)
    write_epochs(home / "eeg", pictures)
    (home / "betas").mkdir()
    write_betas(home / "betas", write_pictures(home / "betas"))
    assert main(["simulate", "fmri", "--data-root", "fmri", *SMALL.split()]) == 0
    return {}


def speech(home):
    write_listeners(home / "recordings", n_sentences=80)
    return {}


def contributing(home):
    return {}


def setup_of(page):
    found = re.match(r"<!-- test: (\w+) -->\n", page.read_text(encoding="utf-8"))
    return found[1] if found else None


RUN = [page for page in PAGES if setup_of(page)]
SLOW = [page for page in RUN if setup_of(page) == "own_recording"]


def follow(page, home, monkeypatch):
    """Run the blocks of a page; return the scope of its Python."""
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    module = types.ModuleType("page_of_docs")  # classes of a page are found there
    monkeypatch.setitem(sys.modules, "page_of_docs", module)
    scope = vars(module)
    scope |= globals()[setup_of(page)](home)
    for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", block)
            assert name, f"the first line of a yaml block of {page.name} names its file"
            (home / name[1]).write_text(block, encoding="utf-8")
        elif kind == "sh":
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                assert words[0] == "neurodec"
                assert main(words[1:]) == 0, line
        elif kind == "python":
            exec(compile(block, str(page), "exec"), scope)
    return scope


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if page not in SLOW], ids=lambda page: page.stem)
def test_a_page_runs_as_printed(page, tmp_path, monkeypatch):
    follow(page, tmp_path, monkeypatch)


@pytest.mark.quality
def test_own_recordings_end_above_chance(tmp_path, monkeypatch):
    (page,) = SLOW
    follow(page, tmp_path, monkeypatch)
    for out in ("out-eeg", "out-epochs", "out-betas"):
        found = json.loads((tmp_path / out / "results.json").read_text())["retrieval"]
        assert found["n_candidates"] == N_TEST
        assert found["p_value"] < 0.01, out
        assert found["ci95_top1"][0] > 1 / N_TEST, out
    assert json.loads((tmp_path / "out-fmri/results.json").read_text())["retrieval"]["n_candidates"] == 12
    settings = ["--dataset.init_args.preprocessing.whiten", "none"]  # volts train too
    command = ["run", "my_eeg.yaml", "--data-root", "eeg", "--out", "volts", *settings]
    assert main(command) == 0
    found = json.loads((tmp_path / "volts/results.json").read_text())["retrieval"]
    assert found["ci95_top1"][0] > 1 / N_TEST
    assert not found["collapsed"]


def test_blocks_have_a_kind_that_is_run_or_known():
    known = {"python", "yaml", "sh", "console", "text", "toctree"}
    for page in PAGES:
        kinds = {kind for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
        assert kinds <= known, page
        assert not kinds & {"python", "yaml", "sh"} or setup_of(page), f"{page} has blocks that nothing runs"


@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.stem)
def test_links_inside_the_repository_hold(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http|#)([^)#]+)\)", text):
        assert (page.parent / link).exists() or link.endswith("recipe_keys.md"), link
    for name in re.findall(r"\{doc\}`([^`<]+)`", text):
        made = ("recipe_keys", "changelog")
        assert (page.parent / f"{name}.md").exists() or name.endswith(made), name
    for name in re.findall(r"\{class\}`([^`<]+)`", text):
        module, _, own = name.rpartition(".")
        assert hasattr(importlib.import_module(module), own), name


def test_every_page_is_reached():
    trees = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for page in PAGES:
        assert page.stem in ("index",) or re.search(rf"^{page.stem}$|/{page.stem}$", trees, re.MULTILINE), (
            page
        )


def test_every_public_name_is_in_the_reference():
    listed = set((DOCS / "reference/api.md").read_text(encoding="utf-8").split())
    assert {f"neurodec.{name}" for name in neurodec.__all__} - {"neurodec.__version__"} <= listed


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = epochs(tmp_path)
    (block,) = re.findall(
        r"## In Python\n\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    exec(block, scope)
    table = scope["found"].to_frame()
    assert table["ci95_low"][0] > table["chance"][0]


def test_benchmarks_are_generated():
    """The page and the README's table are what the kept results of runs give: nothing is typed."""
    spec = importlib.util.spec_from_file_location("make_benchmarks", DOCS / "make_benchmarks.py")
    benchmarks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmarks)
    runs = json.loads(benchmarks.KEPT.read_text(encoding="utf-8"))
    assert benchmarks.page(runs) == benchmarks.PAGE.read_text(encoding="utf-8")
    assert benchmarks.readme_table(runs) in README.read_text(encoding="utf-8")
    assert any(not run["simulated"] for run in runs.values())


def test_results_of_a_run_are_documented(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two_runs(tmp_path)
    page = (DOCS / "reference/results.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`([\w.]+)`", page))
    known |= {part for name in known for part in name.split(".")}
    results = json.loads((tmp_path / "run-a/results.json").read_text())

    def keys(value):
        for name, own in value.items() if isinstance(value, dict) else ():
            yield name
            if name not in ("per_subject", "counts", "folds", "seconds", "targets", "training"):
                yield from keys(own)

    assert sorted(set(keys(results)) - known) == []
    written = {path.relative_to(tmp_path / "run-a").parts[0] for path in (tmp_path / "run-a").rglob("*")}
    told = (DOCS / "reference/out_folder.md").read_text(encoding="utf-8")
    assert [name for name in sorted(written) if f"`{name}" not in told and name != ".lock"] == []
