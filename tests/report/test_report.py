"""The report from a made-up run, written with the very classes that write a real one."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neurodec.errors import NeurodecError
from neurodec.evaluation import Classification, Retrieval, RetrievalRun
from neurodec.evaluation.presentation import p_value
from neurodec.evaluation.retrieval import retrieval_figures as figures
from neurodec.evaluation.retrieval.kept_folds import KeptFolds
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import Gallery
from neurodec.files import read_json, write_json
from neurodec.report import write_report
from neurodec.run.compare import compare
from neurodec.run.reporting import shown_sections

N_STIMULI, SUBJECTS = 24, ("01", "02")
CHANS = ["Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "Oz", "O2"]


class Page(HTMLParser):
    """Collects images and visible text of a page, and which open tags were never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _points(chosen, decoders=("ATM", "ridge")):
    return [
        {"decoder": name, "top1": 0.3 - 0.1 * place, "ci95": [0.15, 0.4], **about}
        for place, name in enumerate(decoders)
        for about in chosen
    ]


def _run(rng, gallery, subjects, noise=1.4) -> RetrievalRun:
    truth = np.tile(np.arange(N_STIMULI), len(subjects))
    table = pd.DataFrame(
        {
            "subject": np.repeat(subjects, N_STIMULI),
            "stimulus": np.array(gallery.stimuli)[truth],
            "concept": np.array(gallery.concepts)[truth],
        }
    )
    scored = [
        Scored.of(gallery.values[truth] + level * rng.normal(size=(len(truth), 16)), table, gallery)
        for level in (noise, 2 * noise, 1000)
    ]
    windows = [
        {"kind": kind, "tmin": start, "tmax": stop}
        for kind in ("growing", "sliding")
        for start, stop in ((-0.2, 0.0), (-0.2 if kind == "growing" else 0.0, 0.2))
    ]
    regions = [{"region": name, "n_chans": 3} for name in ("frontal", "central", "occipital")]
    curves = {
        "repetitions": _points([{"n": n} for n in (1, 2, 4)]),
        "windows": _points(windows),
        "regions": _points(regions),
        "regions_left_out": _points(regions),
        "channels": [{"ch_name": name, "importance": 0.1 * name.startswith("O") - 0.01} for name in CHANS],
        "k_way": [],
    }
    return RetrievalRun(*scored, curves)


def _prepare(out: Path, images: Path) -> None:
    positions = mne.channels.make_standard_montage("biosemi64").get_positions()["ch_pos"]
    info = {
        "modality": "eeg",
        "ch_names": CHANS,
        "ch_pos": [positions[name].tolist() for name in CHANS],
        "provenance": {"sources": [{"file": "raw_eeg_test.npy", "sha256": "ab" * 32}]},
    }
    write_json(out / "prepared" / "all" / "info.json", info)
    write_json(
        out / "prepared" / "study.json", {"spaces": {"all": []}, "provenance": info.get("provenance", {})}
    )
    names = [f"{place:02d}_thing.png" for place in range(N_STIMULI)]
    for place, name in enumerate(names):
        images.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (10 * place, 200 - 8 * place, 90)).save(images / name)
    pd.DataFrame(
        {
            "stimulus": [f"s{place:02d}" for place in range(N_STIMULI)],
            "concept": [f"thing_{place:02d}" for place in range(N_STIMULI)],
            "split": "test",
            "image": [f"images/{name}" for name in names],
            "caption": "",
        }
    ).to_csv(out / "prepared" / "stimuli.csv", index=False)
    write_json(out / "stages.json", {"data_root": str(images.parent), "fit": "key"})


def retrieval_folder(root: Path, folds: dict[str, tuple[str, ...]] | None = None) -> Path:
    """Write a folder as a retrieval recipe leaves it."""
    rng = np.random.default_rng(0)
    out = root / "out"
    _prepare(out, root / "images")
    gallery = Gallery(
        rng.normal(size=(N_STIMULI, 16)),
        [f"s{place:02d}" for place in range(N_STIMULI)],
        [f"thing_{place:02d}" for place in range(N_STIMULI)],
        "stimulus",
    )
    runs = {name: _run(rng, gallery, subjects) for name, subjects in (folds or {"joint": SUBJECTS}).items()}
    for name, run in runs.items():
        run.save(out / "evaluation" / name)
    history = pd.DataFrame({"epoch": range(3), "train_loss": [4, 3, 2.5], "val_loss": [4, 3.5, 3.4]})
    history["val_top1"] = [0.02, 0.1, 0.15]
    pd.concat([history.assign(fold=name) for name in runs]).to_csv(out / "metrics.csv", index=False)
    (out / "config.yaml").write_text("name: made-up <retrieval>\nseed: 42\n")
    header = {
        "schema": 1,
        "recipe": "made-up <retrieval>",
        "dataset": "ThingsEEG2",
        "system": "ATM",
        "subjects": list(SUBJECTS),
        "simulated": True,
        "selection": "validation",
        "protocol": "joint",
    }
    speed = {
        "seconds": {"prepare": 12.3, "fit": 80.0},
        "n_parameters": 1234567,
        "train_samples_per_s": 1500.0,
    }
    found = Retrieval(n_permutations=200).results(list(runs.values()))
    write_json(out / "results.json", {**header, **found, "speed": speed})
    return out


def classification_folder(root: Path) -> Path:
    """Write a folder as a category-decoding recipe leaves it."""
    out = root / "out"
    classes = ["cat", "face", "house"]
    found = {
        "accuracy": 0.62,
        "chance": 1 / 3,
        "ci95": [0.55, 0.7],
        "auc": 0.78,
        "ci95_auc": [0.7, 0.85],
        "balanced_accuracy": 0.61,
        "p_value": 0.005,
        "n_trials": 120,
        "scheme": "leave_one_run_out",
        "classes": classes,
        "confusion": [[25, 10, 5], [6, 24, 10], [4, 11, 25]],
        "per_fold": [
            {"group": f"01/01/{run:02d}", "accuracy": 0.5 + run / 50, "n_trials": 10} for run in range(12)
        ],
        "per_subject": {"01": {"accuracy": 0.62, "balanced_accuracy": 0.61, "auc": 0.78, "n_trials": 120}},
    }
    shuffled = {"accuracy": 0.33, "chance": 1 / 3, "ci95": [0.25, 0.41], "auc": 0.5, "ci95_auc": [0.4, 0.6]}
    results = {
        "schema": 1,
        "recipe": "made-up/classification",
        "dataset": "Bids",
        "subjects": ["01"],
        "simulated": False,
        "selection": "last",
        "classification": found,
        "controls": {"shuffled": shuffled},
    }
    write_json(out / "results.json", results)
    return out


def written_page(out: Path, **further) -> Path:
    """Write the report of a folder, as a run does."""
    results = read_json(out / "results.json")
    first = Retrieval() if "retrieval" in results else Classification()
    return write_report(out, shown_sections(out, results, {"main": first, **further}))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, str]:
    """A retrieval run's folder and its page."""
    out = retrieval_folder(tmp_path_factory.mktemp("run"))
    return out, written_page(out).read_text(encoding="utf-8")


def test_retrieval_page_holds_every_part(written):
    out, raw = written
    assert (out / "report.html").stat().st_size < 5e6
    page = Page(raw)
    assert page.open == []
    assert raw.startswith("<!doctype html>")
    body = page.text.removeprefix("made-up <retrieval> – neurodec ")
    assert body.startswith("SIMULATED")
    results = read_json(out / "results.json")
    assert f"{100 * results['retrieval']['top1']:.1f} % of cases" in body
    assert "ATM finds what was seen among 24 candidates" in body
    for part in (
        "ridge (linear)",
        "control: shuffled labels",
        "control: before onset",
        "1,234,567 parameters",
    ):
        assert part in body
    assert "ab" * 32 in body
    titles = [
        "Scores",
        "Subjects",
        "Candidates",
        "Repetitions",
        "Time",
        "Regions",
        "Training",
        "Channels",
        "Similarity",
    ]
    assert all(title.lower() in body.lower() for title in titles)
    assert {path.stem for path in (out / "images").glob("*.png")} == {
        "scores", "subjects", "k-way", "repetitions", "windows", "regions", "topography", "similarity", "training"
    }  # fmt: skip


def test_page_needs_nothing_from_elsewhere(written):
    _, raw = written
    page = Page(raw)
    assert all(image["alt"] and image["src"].startswith("data:image/") for image in page.images)
    assert "http" not in re.sub(r"base64,[^\"]*", "", raw)
    for image in page.images:
        content = base64.b64decode(image["src"].partition(",")[2])
        assert content.startswith((b"\x89PNG", b"\xff\xd8"))


def test_panels_frame_the_right_picture(written):
    out, raw = written
    page = Page(raw)
    seen = [image for image in page.images if image["alt"].startswith("seen")]
    assert len(seen) == 15  # five best, five random, five worst
    best = page.images[page.images.index(seen[0]) :][:6]
    ranks = pd.read_csv(out / "evaluation" / "joint" / "ranks.csv")
    assert ranks["rank"].min() == 1
    assert [image.get("class") for image in best] == ["seen", "right", *[None] * 4]
    assert best[0]["src"] == best[1]["src"]
    framed = sum(image.get("class") == "right" for image in page.images)
    assert 5 <= framed < len(seen)


def test_panels_are_left_out_without_pictures(tmp_path):
    out = retrieval_folder(tmp_path)
    write_json(out / "stages.json", {"data_root": str(tmp_path / "nowhere")})
    page = Page(written_page(out).read_text(encoding="utf-8"))
    assert not any(image["alt"].startswith("seen") for image in page.images)
    assert "What was seen" not in page.text


def test_folds_are_pooled_in_one_chart_each(tmp_path):
    out = retrieval_folder(tmp_path, {"sub-01": ("01",), "sub-02": ("02",)})
    page = Page(written_page(out).read_text(encoding="utf-8"))
    assert "Thin lines are single folds" in page.text
    assert len(list((out / "images").glob("*.png"))) == 9


def test_classification_page(tmp_path):
    out = classification_folder(tmp_path)
    page = Page(written_page(out).read_text(encoding="utf-8"))
    assert "SIMULATED" not in page.text
    assert "right one of 3 categories in 62.0 % of trials" in page.text
    assert "leave one run out" in page.text
    assert {path.stem for path in (out / "images").glob("*.png")} == {"scores", "folds", "confusion"}


def test_unbalanced_categories_lead_with_the_balanced_score(tmp_path):
    out = classification_folder(tmp_path)
    results = read_json(out / "results.json")
    more = {"unbalanced": True, "majority": 0.7, "ci95_balanced_accuracy": [0.5, 0.7]}
    results["classification"] |= more | {"p_value_balanced_accuracy": 0.02}
    results["controls"]["shuffled"] |= {"balanced_accuracy": 0.34, "ci95_balanced_accuracy": [0.25, 0.4]}
    write_json(out / "results.json", results)
    text = Page(written_page(out).read_text(encoding="utf-8")).text
    assert "in 61.0 % of trials of a category, on average over categories" in text
    assert "chance 33.3 %; p = 0.0200" in text
    assert "always naming the most frequent one would be right in 70.0 % of trials" in text
    assert "chance 33.33 % 70.00 % (most frequent)" in text
    table = compare([out], tmp_path / "comparison")
    assert table[["score", "value", "chance"]].to_numpy().tolist() == [["balanced_accuracy", 0.61, 1 / 3]]
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert any(
        "always naming the most frequent category would reach" in image["alt"] for image in page.images
    )


def test_the_chosen_classifiers_are_told(tmp_path):
    out = classification_folder(tmp_path / "run")
    results = read_json(out / "results.json")
    results["classification"]["chosen"] = {"ridge": 2, "window_means": 5}
    write_json(out / "results.json", results)
    page = written_page(out).read_text(encoding="utf-8")
    assert "chosen within the training trials: ridge in 2, window means in 5." in page


def test_several_divisions_are_told(tmp_path):
    out = classification_folder(tmp_path)
    results = read_json(out / "results.json")
    spread = {"accuracy": 0.031, "balanced_accuracy": 0.03, "auc": 0.01}
    results["classification"] |= {"n_repeats": 10, "sd_over_repeats": spread, "note": "Runs are cut."}
    write_json(out / "results.json", results)
    text = Page(written_page(out).read_text(encoding="utf-8")).text
    assert "(10 divisions, standard deviation 3.1 %)" in text
    assert "Runs are cut." in text


def test_further_evaluations_and_seeds_have_their_lines(tmp_path):
    out = retrieval_folder(tmp_path)
    results = read_json(out / "results.json")
    tokens = {
        "top1": 0.41,
        "ci95_top1": [0.3, 0.5],
        "chance_top1": 1 / 24,
        "n_candidates": 24,
        "p_value": 0.01,
    }
    results["further"] = {"image_tokens": {"retrieval": tokens}}
    results["over_seeds"] = {
        "seeds": [0, 1],
        "retrieval.top1": {"mean": 0.4, "sd": 0.02, "values": [0.38, 0.42]},
    }
    write_json(out / "results.json", results)
    text = Page(written_page(out, image_tokens=Retrieval()).read_text(encoding="utf-8")).text
    assert "image tokens ATM finds what was seen among 24 candidates in 41.0 % of cases" in text
    assert "(95 % interval 30.0 % to 50.0 %; chance 4.17 %; p = 0.0100)" in text
    assert "Over 2 seeds: top1 0.400 ± 0.020" in text


def test_published_protocol_says_what_it_looked_at(tmp_path, written):
    out = retrieval_folder(tmp_path)
    write_json(out / "results.json", read_json(out / "results.json") | {"selection": "published_protocol"})
    text = Page(written_page(out).read_text(encoding="utf-8")).text
    assert "the very test trials that are scored here, those of the tested subject" in text
    assert "test data play no part" not in text.lower()
    assert "test data were read once" not in text
    honest = Page(written[1]).text
    assert "Test data play no part here" in honest
    assert "the test data were read once, at the end" in honest


def test_what_cannot_be_told_is_not_called_nothing_learned(tmp_path):
    for beaten, told in ((None, False), (False, True), (True, False)):
        out = retrieval_folder(tmp_path / str(beaten))
        training = {"training": {"joint": {"beats_mean_predictor": beaten}}}
        write_json(out / "results.json", read_json(out / "results.json") | training)
        page = written_page(out).read_text(encoding="utf-8")
        assert ("Nothing was learned" in page) is told


def test_charts_are_of_the_first_seed(tmp_path):
    names = {f"joint-seed{seed}": SUBJECTS for seed in (1, 2)}
    out = retrieval_folder(tmp_path, names)
    write_json(out / "results.json", read_json(out / "results.json") | {"seeds": [1, 2]})
    page = Page(written_page(out).read_text(encoding="utf-8"))
    assert "Thin lines are single folds" not in page.text


def test_nothing_is_drawn_where_nothing_was_measured():
    """A head with channels at the back only: the front stays white."""
    names = ["P3", "Pz", "P4", "PO3", "POz", "PO4", "O1", "Oz", "O2"]
    positions = mne.channels.make_standard_montage("biosemi64").get_positions()["ch_pos"]
    figure = figures.topography(dict.fromkeys(names, 1.0), {name: positions[name].tolist() for name in names})
    axes = figure.axes[0]
    drawn = axes.images[0].get_clip_path().get_fully_transformed_path().vertices
    drawn = axes.transData.inverted().transform(drawn)
    head = np.linalg.norm(positions["Fpz"][:2])
    assert drawn[:, 1].min() < -0.8 * head
    assert drawn[:, 1].max() < 0.3 * head


def test_a_decoder_has_one_colour_in_every_panel():
    growing = [{"kind": "growing", "tmin": 0.0, "tmax": 0.1, "fold": "a"}]
    before = [{"kind": "sliding", "tmin": -0.1, "tmax": 0.0, "fold": "a"}]
    sliding = [{"kind": "sliding", "tmin": 0.0, "tmax": 0.1, "fold": "a"}]
    points = _points(growing) + _points(before, ["ridge"]) + _points(sliding)
    panels = figures.windows(pd.DataFrame(points), 0.05).axes
    colours = [
        {line.get_label(): line.get_color() for line in axes.lines if line.get_label()[0] != "_"}
        for axes in panels
    ]
    assert colours[0] == colours[1]
    assert len(set(colours[0].values())) == len(colours[0]) == 3


def test_fmri_map_has_the_spread_of_voxels(tmp_path):
    out = classification_folder(tmp_path)
    shape, voxels = (6, 5, 4), [0, 13, 40, 77, 119]
    info = {
        "modality": "fmri",
        "mask_shape": shape,
        "voxel_indices": voxels,
        "affine": np.eye(4),
        "units": "a.u.",
    }
    write_json(out / "prepared" / "all" / "info.json", info)
    write_json(
        out / "prepared" / "study.json", {"spaces": {"all": []}, "provenance": info.get("provenance", {})}
    )
    np.save(
        out / "prepared" / "all" / "responses.npy",
        np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32),
    )
    table = dict.fromkeys(("stimulus", "concept", "subject", "session", "run"), "01")
    pd.DataFrame([{**table, "split": "cv", "repetition": n} for n in range(8)]).to_csv(
        out / "prepared" / "all" / "trials.csv", index=False
    )
    page = Page(written_page(out).read_text(encoding="utf-8"))
    assert (out / "images" / "voxels.png").exists()
    assert page.open == []
    assert any("Which voxels were used" in image["alt"] for image in page.images)


def test_header_alone_makes_a_page(tmp_path):
    write_json(
        tmp_path / "results.json", {"recipe": "empty", "dataset": "x", "selection": "published_protocol"}
    )
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "Published protocol" in page.text
    assert page.images == []


def test_missing_results_are_told(tmp_path):
    with pytest.raises(NeurodecError, match=r"results\.json"):
        write_report(tmp_path)


def test_a_score_at_chance_is_not_called_finding(tmp_path):
    out = retrieval_folder(tmp_path)
    results = read_json(out / "results.json")
    results["retrieval"] |= {"p_value": 0.4, "collapsed": True}
    write_json(out / "results.json", results)
    text = Page(written_page(out).read_text(encoding="utf-8")).text
    assert "ATM finds" not in text
    assert "ATM does not find the seen stimulus more often than chance" in text
    assert "p = 0.4000" in text
    assert "Every response gives the same answer" in text
    named = classification_folder(tmp_path / "classes")
    results = read_json(named / "results.json")
    results["classification"]["p_value"] = 0.3
    write_json(named / "results.json", results)
    text = Page(written_page(named).read_text(encoding="utf-8")).text
    assert (
        "The decoder does not tell 3 categories apart better than chance: right in 62.0 % of trials" in text
    )


def test_p_values_at_the_floor_are_bounds(written):
    assert p_value(1 / 10_001, 1 / 10_001) == "< 0.0001"
    assert p_value(0.001, 0.001) == "< 0.001"
    assert p_value(1 / 201, 1 / 201) == "< 0.005"
    assert p_value(2 / 10_001, 1 / 10_001) == "= 0.0002"
    assert p_value(3e-5, 1e-5) == "= 3e-05"
    assert p_value(3e-5) == "< 0.0001"  # of a formula, which has no floor
    results = read_json(written[0] / "results.json")
    assert results["retrieval"]["p_value"] == results["retrieval"]["p_floor"] == 1 / 201
    assert "p < 0.005" in Page(written[1]).text


def test_what_was_read_when_and_on_what(tmp_path):
    out = retrieval_folder(tmp_path)
    results = read_json(out / "results.json")
    counts = {"train": {"trials": 320, "stimuli": 160}, "test": {"trials": 48, "stimuli": 24}}
    results |= {"counts": counts, "simulation": "neurodec simulate eeg --data-root DIR --seed 3"}
    results["speed"] |= {"date": "2026-01-02 03:04", "hardware": "2 CPU cores (x86_64)"}
    write_json(out / "results.json", results)
    info = read_json(out / "prepared/all/info.json")
    settings = {"l_freq": 0.1, "h_freq": 40.0, "tmin": -0.2, "tmax": 0.8, "whiten": "mvnn-epochs"}
    write_json(out / "prepared/all/info.json", {**info, "preprocessing": settings})
    text = Page(written_page(out).read_text(encoding="utf-8")).text
    assert (
        "320 training trials of 160 stimuli; 48 test trials of 24 stimuli. 2026-01-02 03:04, 2 CPU cores"
        in text
    )
    assert (
        "Done to the recordings: band-pass 0.1 to 40 Hz; epochs from -0.2 to 0.8 s; baseline -0.2 to 0 s"
        in text
    )
    assert "--data-root DIR --seed 3 neurodec run config.yaml" in text


def test_pictures_are_judged_in_words_and_beside_chance(tmp_path):
    out = retrieval_folder(tmp_path)
    results = read_json(out / "results.json")
    drawn = {
        "pixcorr": 0.6,
        "ssim": 0.7,
        "two_way": {"tiny_clip": 0.943},
        "n_images": 24,
        "protocol": "mindeye",
    }
    drawn |= {"ci95": {"pixcorr": [0.5, 0.7], "ssim": [0.6, 0.8], "two_way": {"tiny_clip": [0.93, 0.956]}}}
    drawn |= {"ssim_form": "2d", "unavailable": {}}
    nearest = {**drawn, "pixcorr": 0.58, "two_way": {"tiny_clip": 0.949}}
    results["reconstruction"] = {
        **drawn, "conditioned_by": ["tiny_clip"], "controls": {"nearest_training": nearest}
    }  # fmt: skip
    write_json(out / "results.json", results)
    text = Page(written_page(out).read_text(encoding="utf-8")).text
    assert "Two-way, tiny_clip (the decoder's own CLIP)" in text
    assert "no independent judgement" in text
    assert "identified no more often than the training picture" in text
    assert "(94.3 % and 94.9 % by tiny clip; pixel correlation 0.60 and 0.58)" in text
    assert "chance 0 50.0 %" in text
    nearest["two_way"]["tiny_clip"] = 0.8
    write_json(out / "results.json", results)
    assert "identified more often than the training" in Page(written_page(out).read_text()).text


def test_similarities_are_sorted_by_concept(tmp_path):
    out = retrieval_folder(tmp_path)
    values, rows, names = KeptFolds([out / "evaluation/joint"]).similarity()
    assert rows == names == sorted(names)
    assert values.shape == (N_STIMULI, N_STIMULI)
    assert (values.argmax(axis=1) == np.arange(N_STIMULI)).mean() > 0.5
