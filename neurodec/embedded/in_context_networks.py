"""Train the in-context networks that are included, on simulated people, so that a new one can be adapted to at once.

``python -m neurodec.embedded.in_context_networks --out FOLDER`` simulates four people with fMRI, reads them as any BIDS
folder is read, and runs the curriculum: a quarter of an hour on two cores. The networks know the embedded CLIP's space
of rendered scenes and nothing else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from neurodec.data import BidsFMRI, Study, prepare
from neurodec.features import OpenClip
from neurodec.files import write_json
from neurodec.simulate import simulate
from neurodec.systems import InContextSystem, MetaStage

SIMULATION: dict[str, Any] = {"seed": 11, "n_subjects": 4, "n_train_concepts": 600, "n_test_concepts": 10}
"""Nobody else is simulated with this seed: evaluations use others."""
N_VOXELS = 1000
ENCODER = {"width": 96, "n_layers": 3, "ffn_dim": 128, "n_heads": 4, "hidden": 192, "n_registers": 4}
INVERTER = {
    "width": 128,
    "n_layers": 2,
    "ffn_dim": 256,
    "n_heads": 4,
    "hidden": 512,
    "n_registers": 8,
    "dropout": 0.05,
}
ENCODER_STAGES = [
    MetaStage("synthetic", 400, (100, 100), "estimated", n_queries=30, lr=2e-3),
    MetaStage("extension", 300, (20, 400), "estimated", n_queries=30),
    MetaStage("subjects", 600, (20, 400), "subjects", n_queries=30),
]
INVERTER_STAGES = [  # wide layers and few voxels first: products of weights and responses are what is hard to learn
    MetaStage("synthetic", 700, (60, 60), "isotropic"),
    MetaStage("extension", 400, (40, 300), "estimated", batch_size=32, lr=7e-4),
    MetaStage("subjects", 1000, (40, 400), "subjects", batch_size=32, lr=7e-4),
]

CARD = """# In-context encoder and inverter of simulated voxels

Two small networks of the classes `InContextEncoder` ({n_encoder:,} parameters) and `InContextInverter`
({n_inverter:,}), with the population prior and the gallery that their closed-form companions need. Picture embeddings
are those of the embedded CLIP (`{space}`).

Trained by `python -m neurodec.embedded.in_context_networks` on {n_subjects} people with fMRI, simulated by
`neurodec simulate fmri --seed {seed}`, {n_voxels} voxels of each. **They know rendered scenes and simulated voxels, and
nothing of real brains**: for real recordings train networks on real people (`configs/in_context/`).

Scores while training, on fixed tasks: {scores}
"""


def train(work: Path, out: Path) -> None:
    """Simulate, read and train below `work`, and write the system to `out`.

    Parameters
    ----------
    work : Path
        Kept: a killed run goes on from it.
    out : Path
        Replaced.
    """
    seed = SIMULATION["seed"]
    sizes = {name: value for name, value in SIMULATION.items() if name != "seed"}
    root = simulate(work / "data", "fmri", seed, **sizes)
    prepare(BidsFMRI(stimuli_table="stimuli.csv"), root, work / "prepared", "none")
    study = Study.load(work / "prepared")
    targets = {"image": OpenClip(model="neurodec/tiny-clip").extract(study.stimuli, root)}
    system = InContextSystem(ENCODER, INVERTER, None, ENCODER_STAGES, INVERTER_STAGES, n_voxels=N_VOXELS)
    scores = system.meta_fit(study.part("train"), targets, work / "checkpoints")
    system.save_pretrained(out)
    write_card(system, {name: float(table["val_score"].iloc[-1]) for name, table in scores.items()}, out)


def write_card(system: InContextSystem, scores: dict[str, float], out: Path) -> None:
    """Write ``scores.json`` and the model card.

    Parameters
    ----------
    system : InContextSystem
    scores : dict of float
        Explained variance of the encoder, cosine of the inverter.
    out : Path
    """
    told = {name: round(score, 3) for name, score in scores.items()}
    write_json(out / "scores.json", told)
    networks = {"n_encoder": system.learned.encoder, "n_inverter": system.learned.inverter}
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    card = CARD.format(
        **counts,
        space=system.learned.embedding_space,
        n_voxels=N_VOXELS,
        scores=json.dumps(told),
        **{name: SIMULATION[name] for name in ("seed", "n_subjects")},
    )
    (out / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--work", type=Path, default=Path("in-context-work"), help="folder for what comes between"
    )
    arguments = parser.parse_args()
    train(arguments.work, arguments.out)
