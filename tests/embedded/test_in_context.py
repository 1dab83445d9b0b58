"""The in-context system that is included: what its card says, and the command that makes such a folder."""

import json

import numpy as np

from neurodec.embedded import in_context_networks
from neurodec.systems import InContextSystem, MetaStage
from neurodec.systems.in_context.folder import SHIPPED, start_folder

FOLDER = start_folder(SHIPPED)


def test_the_folder_is_small_and_says_what_it_knows():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) < 8e6
    card, scores = (FOLDER / "README.md").read_text(), json.loads((FOLDER / "scores.json").read_text())
    assert str(scores["inverter"]) in card
    assert "nothing of real brains" in card
    system = InContextSystem.from_pretrained(SHIPPED)
    assert not system.people
    sizes = {"n_embed": 128, **in_context_networks.ENCODER}
    assert {name: system.learned.encoder.sizes[name] for name in sizes} == sizes
    assert f"{sum(p.numel() for p in system.learned.inverter.parameters()):,}" in card


def test_the_command_makes_such_a_folder(tmp_path, monkeypatch):
    few = {"seed": 3, "n_subjects": 2, "n_train_concepts": 30, "n_test_concepts": 5, "gallery_per_concept": 1}
    monkeypatch.setattr(in_context_networks, "SIMULATION", few)
    monkeypatch.setattr(in_context_networks, "N_VOXELS", 60)
    for name in ("ENCODER_STAGES", "INVERTER_STAGES"):
        short = [
            MetaStage("synthetic", 2, (5, 9), "estimated", 4, 3),
            MetaStage("subjects", 2, (5, 9), "subjects", 4, 3),
        ]
        monkeypatch.setattr(in_context_networks, name, short)
    in_context_networks.train(tmp_path / "work", tmp_path / "made")
    made = InContextSystem.from_pretrained(tmp_path / "made")
    assert made.learned.embedding_space == "neurodec/tiny-clip/unit"
    assert {file.name for file in (tmp_path / "made").iterdir()} == {file.name for file in FOLDER.iterdir()}
    in_context_networks.train(tmp_path / "work", tmp_path / "again")  # finished: read, not trained
    again = InContextSystem.from_pretrained(tmp_path / "again")
    states = [one.learned.inverter.state_dict() for one in (made, again)]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
