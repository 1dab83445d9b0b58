"""Systems to come, each as a toy of one file and one recipe, which run without an edit in the package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from linear_studies import write_study
from scipy.io import wavfile

from neurodec.cli import main

TOYS = Path(__file__).with_name("toys")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a toy on ``tmp_path / "data"`` and return its results; `main` sees the copy of its file alone."""

    def run_toy(name, *overrides):
        for file in TOYS.glob(f"{name}.*"):
            shutil.copy(file, tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        command = ["run", str(tmp_path / f"{name}.yaml"), "--data-root", str(tmp_path / "data")]
        assert main([*command, "--out", str(tmp_path / "out"), "--allow", name, *overrides]) == 0
        assert (tmp_path / "out/report.html").stat().st_size > 10_000
        return json.loads((tmp_path / "out/results.json").read_text())

    return run_toy


def write_speech(root, n_sentences=60, n_words=5, n_chans=12):
    """Two people hear sentences of words whose tones drive their sensors 100 ms later."""
    rng = np.random.default_rng(0)
    root.mkdir()
    vocabulary = [f"word{number}" for number in range(20)]
    tones = dict(zip(vocabulary, np.linspace(20, 320, 20), strict=True))
    rows, sentences = [], [rng.choice(vocabulary, n_words) for _ in range(n_sentences)]
    length, rate = n_words * 0.6 + 3.0, 800
    drive = np.zeros((4, round(n_sentences * length * 50) + 200))
    for place, words in enumerate(sentences):
        sound = 0.01 * rng.normal(size=round(length * rate))
        for number, word in enumerate(words):
            times = np.arange(round(0.55 * rate)) / rate
            begin = round(number * 0.6 * rate)
            sound[begin : begin + len(times)] += np.sin(2 * np.pi * tones[word] * times)
            onset = place * length + number * 0.6
            start = round((onset + 0.1) * 50)
            band = min(int(tones[word] // 80), 3)
            drive[band, start : start + 28] += 1 + vocabulary.index(word) % 5 / 5
            split = "train" if place < 0.8 * n_sentences else "test"
            name = (
                f"s{place:02d}-{number}",
                split,
                onset,
                word,
                f"sentence {place}",
                f"sound{place:02d}.wav",
            )
            rows.append((*name, number * 0.6))
        wavfile.write(root / f"sound{place:02d}.wav", rate, (8000 * sound).astype(np.int16))
    columns = ["stimulus", "split", "onset", "word", "sentence", "audio", "offset"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "words.csv", index=False)
    for subject in ("anna", "ben"):
        gains = rng.normal(size=(n_chans, 4))
        noise = rng.normal(size=(n_chans, drive.shape[1]))
        np.save(root / f"sub-{subject}.npy", gains @ drive + 0.5 * noise)


def test_speech_is_found_among_segments_and_words(tmp_path, run):
    write_speech(tmp_path / "data")
    found = run("toy_speech")["retrieval"]
    assert found["n_candidates"] == 60
    assert found["ci95_top1"][0] > 3 / 60
    words = found["answers"]
    assert words["column"] == "word"
    assert words["n_candidates"] <= 20
    assert words["ci95_top1"][0] > words["chance_top1"]
    assert words["p_value_top1"] < 0.05
    table = pd.read_csv(tmp_path / "out/prepared/stimuli.csv")
    assert {"word", "sentence", "audio", "offset", "duration"} <= set(table)
    values = np.load(tmp_path / "out/predictions/joint/averaged-all-0/sound.npy", mmap_mode="r")
    assert values.shape == (120, 4, 15)


def test_one_sentence_on_both_sides_of_a_split_is_refused(tmp_path, run, capsys):
    write_speech(tmp_path / "data", n_sentences=5)
    words = pd.read_csv(tmp_path / "data/words.csv")
    words.loc[0, "split"] = "test"
    words.to_csv(tmp_path / "data/words.csv", index=False)
    with pytest.raises(AssertionError):
        run("toy_speech")
    assert "Training and test share 1 sentence, first sentence 0" in capsys.readouterr().err


def test_parcels_over_volumes_are_contrasted_and_hidden(tmp_path, run):
    root, rng = tmp_path / "data", np.random.default_rng(0)
    root.mkdir()
    names = [f"p{number:03d}" for number in range(180)]
    split = np.where(np.arange(180) < 150, "train", "test")
    pd.DataFrame({"stimulus": names, "split": split}).to_csv(root / "stimuli.csv", index=False)
    values = rng.normal(size=(180, 8))
    np.savez(root / "embeddings.npz", values=values, names=np.array(names))
    for subject in ("anna", "ben"):
        weights = rng.normal(size=(8, 20, 5))
        responses = np.tensordot(values, weights, axes=1) + 2 * rng.normal(size=(180, 20, 5))
        content = {"responses": responses.astype(np.float32), "stimulus": np.array(names), "split": split}
        np.savez(root / f"sub-{subject}.npz", **content)
    found = run("toy_parcels", "--data.hide_subject", "0.1")
    assert found["retrieval"]["ci95_top1"][0] > 2 / 30
    history = pd.read_csv(tmp_path / "out/metrics.csv")
    assert {"train_masked", "train_contrast", "val_top1"} <= set(history)
    assert history["train_masked"].iloc[-1] < 0.8 * history["train_masked"].iloc[0]
    assert (tmp_path / "out/images/windows.png").exists()  # volumes of two seconds are times too


def test_mixed_voxels_tokens_and_a_prior_within_the_system(tmp_path, run):
    root = write_study(tmp_path / "data", patterns=True)
    with np.load(root / "targets/features.npz") as content:
        image, names = content["image"], content["names"]
    tokens = np.stack([image[:, :8], image[:, 8:], image[:, ::2]], axis=1)
    np.savez(root / "targets/tokens.npz", tokens=tokens, names=names)
    found = run("toy_mixing")
    assert found["retrieval"]["ci95_top1"][0] > 2 / 20
    history = pd.read_csv(tmp_path / "out/metrics.csv")
    assert history["train_prior"].iloc[-1] < 0.8 * history["train_prior"].iloc[0]
    pictures = found["reconstruction"]
    assert "prior_from" not in pictures or pictures["prior_from"] == "held_out"
    assert pictures["pixcorr"] <= 1
    kept = json.loads((tmp_path / "out/decoders/joint/prior/config.json").read_text())
    assert kept == {"class_path": "toy_mixing.TokenPrior", "embedding_space": "precomputed"}


def test_validation_holds_out_what_the_evaluation_generalises_over(tmp_path, run):
    write_speech(tmp_path / "data", n_sentences=20)
    found = run("toy_speech", "--trainer.max_epochs", "1", "--data.batch_size", "32")
    config = json.loads((tmp_path / "out/models/joint/config.json").read_text())
    assert config["held_out_by"] == "sentence"
    assert len(config["held_out"]) == 2  # a tenth of the 16 training sentences
    assert all(name.startswith("sentence ") for name in config["held_out"])
    assert found["selected_on"] == "sentences"
    assert "on sentences held out of training" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("change", "sentence", "last"),
    [
        (("answers: word", "answers: verb"), "`answers` is verb, and the stimulus table has", "prepare"),
        (("leakage: sentence", "leakage: verse"), "There is no column verse of trials or stimuli", "prepare"),
        (
            ('stimuli["stimulus"].tolist()', 'stimuli["stimulus"].tolist()[:-1]'),
            "Bands gives no target sound of 1 of 100",
            "targets",
        ),
        (
            ('heads["sound"]\n', 'heads["sound"][0] + 1, heads["sound"][1]\n'),
            "gives the head sound of shape",
            "fit",
        ),
        (('"units": "a.u.", "sfreq": SFREQ, ', '"units": "a.u.", '), "`info` lacks sfreq", "prepare"),
        (
            ("@dataclass(frozen=True)\nclass Listened", "class Listened"),
            "ListenedWords is not a dataclass",
            "prepare",
        ),
    ],
)
def test_what_a_system_of_ones_own_forgets_is_told_where_it_shows(
    tmp_path, monkeypatch, capsys, change, sentence, last
):
    write_speech(tmp_path / "data", n_sentences=20)
    name = "toy_" + "".join(letter for letter in str(change) if letter.isalnum())[:40]
    for suffix in ("py", "yaml"):
        text = (TOYS / f"toy_speech.{suffix}").read_text().replace(*change).replace("toy_speech", name)
        (tmp_path / f"{name}.{suffix}").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    more = ["--trainer.max_epochs", "1", "--data.batch_size", "32"]
    command = ["run", str(tmp_path / f"{name}.yaml"), "--data-root", str(tmp_path / "data"), *more]
    code = main([*command, "--out", str(tmp_path / "out"), "--allow", name])
    told = capsys.readouterr()
    stages = [line for line in told.out.splitlines() if line.endswith(" ...")]
    assert stages[-1] == f"{last} ..."
    assert code == 2
    assert sentence in told.err


@pytest.mark.quality
def test_code_that_was_edited_is_noticed(tmp_path):
    """Targets are made again; for a reader, and an encoder, another folder is asked for."""
    write_speech(tmp_path / "data", n_sentences=20)
    text, recipe = ((TOYS / f"toy_speech.{suffix}").read_text() for suffix in ("py", "yaml"))
    (tmp_path / "toy_edited.yaml").write_text(recipe.replace("toy_speech", "toy_edited"))
    more = ["--trainer.max_epochs", "1", "--data.batch_size", "32", "--allow", "toy_edited"]
    folders = ["--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "out")]

    def run_recipe(verb, *change):
        (tmp_path / "toy_edited.py").write_text(text.replace(*change) if change else text)
        command = [sys.executable, "-m", "neurodec", verb, str(tmp_path / "toy_edited.yaml"), *folders, *more]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert run_recipe("run")[0] == 0
    before = np.load(tmp_path / "out/targets/sound/values.npy")
    assert run_recipe("targets", "log1p", "sqrt")[0] == 0
    assert not np.allclose(np.load(tmp_path / "out/targets/sound/values.npy"), before)
    assert run_recipe("targets")[0] == 0
    code, told = run_recipe("fit", "nn.GELU()", "nn.ReLU()")
    assert code == 2
    assert "holds a training with another configuration" in told
    code, told = run_recipe("prepare", "windows.astype(np.float32)", "2 * windows.astype(np.float32)")
    assert code == 2
    assert "was prepared by other code of toy_edited.ListenedWords, whose text changed since" in told
