"""Recordings, sounds and a table of words, by one recipe: words retrieved, sounds in the report, killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from command_line import arguments, refused
from listeners import write_listeners
from scipy.io import wavfile

from neurodec.cli import main

SIZES = {"attention_channels": 12, "position_dim": 128, "initial_channels": 12, "hidden": 16, "depth": 4}
RECIPE = {
    "name": "test/speech",
    "protocol": "joint",
    "dataset": {"class_path": "neurodec.data.BidsSpeech"},
    "targets": {
        "audio": {
            "class_path": "neurodec.features.SpeechNetwork",
            "init_args": {"model": "neurodec/tiny-speech", "layers": [1, 2, 3, 4]},
        }
    },
    "data": {"batch_size": 24},
    "encoder": {"class_path": "neurodec.encoders.SimpleConv", "init_args": SIZES},
    "objective": {"class_path": "neurodec.training.SequenceContrast", "init_args": {"negatives": 48}},
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.003}},
    "trainer": {"max_epochs": 4, "accelerator": "cpu", "enable_progress_bar": False},
    "evaluation": {"class_path": "neurodec.evaluation.Segments", "init_args": {"n_permutations": 199}},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("speech")
    write_listeners(root / "data", n_sentences=80)
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    assert main(arguments("run", root / "data", "whole")) == 0
    return root


def scores(root, out):
    results = json.loads((root / out / "results.json").read_text())
    return {name: part for name, part in results.items() if name != "speed"}


def test_one_recipe_leads_from_recordings_to_words(home):
    results = scores(home, "whole")
    own = results["segments"]
    assert own["ci95_top10"][0] > own["chance_top10"]
    assert own["words"]["top1"] > own["words"]["chance_top1"]
    assert results["baselines"]["ridge"]["n_candidates"] == own["n_candidates"]
    assert results["controls"]["noise"]["ci95_top10"][0] <= own["chance_top10"]
    assert results["counts"]["test"]["stimuli"] == own["n_candidates"]


def test_the_report_plays_what_was_heard_and_found(home):
    page = (home / "whole" / "report.html").read_text()
    assert page.count("<audio controls") >= 12
    assert "data:audio/wav;base64" in page
    assert "noise in place of the brain" in page
    assert "Evoked response" in page
    assert len(page) < 5_000_000


def test_running_again_changes_nothing(home):
    before = scores(home, "whole")
    assert main(arguments("run", home / "data", "whole")) == 0
    assert scores(home, "whole") == before


def test_texts_in_two_splits_are_refused_before_training(home, capsys):
    command = [*arguments("run", home / "data", "leaky"), "--dataset.init_args.same_blocks", "false"]
    command += ["--dataset.init_args.shortest_block", "11"]
    assert "in training under another name" in refused(capsys, command)
    assert not (home / "leaky" / "models").exists()


@pytest.mark.quality
def test_another_sound_under_the_same_name_is_not_answered_with_old_scores(home, capsys):
    shutil.copytree(home / "data", home / "other")
    assert main(arguments("run", home / "other", "other-out")) == 0
    file = home / "other" / "stimuli" / "story.wav"
    rate, sound = wavfile.read(file)
    wavfile.write(file, rate, sound[::-1])
    assert "holds a training with another configuration" in refused(
        capsys, arguments("run", home / "other", "other-out")
    )


@pytest.mark.quality
@pytest.mark.parametrize("landmark", ["checkpoints/joint/last.ckpt", "prepared/.parts/provenance.json"])
def test_a_killed_run_ends_with_the_same_scores(home, landmark):
    out = f"killed-{landmark.split('/')[0]}"
    command = [
        sys.executable,
        "-c",
        "import sys; from neurodec.cli import main; sys.exit(main(sys.argv[1:]))",
    ]
    process = subprocess.Popen([*command, *arguments("run", home / "data", out)], stdout=subprocess.DEVNULL)
    while not (home / out / landmark).exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (home / out / "results.json").exists()
    assert main(arguments("run", home / "data", out)) == 0
    assert scores(home, out) == scores(home, "whole")
