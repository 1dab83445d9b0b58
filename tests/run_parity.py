"""Compare our systems with golden outputs of the authors' code.

Usage: python tests/run_parity.py CASE_DIR [CASE_DIR ...]

Every case folder holds `case.json` (family, constructor, published tensors, inputs) and `golden.npz`; `fill.py` beside
the cases draws the weights. Prints one line per case and exits with 1 if any fails or is of an unknown family.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import parity_csbrain
import parity_encoders
import parity_in_context
import parity_metrics
import parity_priors
import parity_speech
import parity_wave
import torch
from parity_inputs import DEVICE, arrays_of, input_of, tensor_of

from neurodec.encoders import ATM
from neurodec.preprocessing.whitening import apply_whitener, inverse_square_root, mvnn_covariance
from neurodec.training.objectives.contrastive_losses import reconstruction_loss, retrieval_loss

Outputs = dict[str, np.ndarray]


def atms(case: dict, fill: ModuleType) -> Outputs:
    """Fill the published tensors, import them as an author's checkpoint, and run the inputs."""
    drawn = fill.filled_state(case["published"])
    state = {
        name: torch.from_numpy(np.asarray(value)) for name, value in drawn.items() if name not in case["kept"]
    }
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    revision = case["revision"].split("-")[0]
    # What tensors cannot tell.
    options = {
        name: case["constructor"][name] for name in ("n_heads", "activation") if name in case["constructor"]
    }
    model = ATM.from_published(state, revision, case["family"], **options).eval().to(DEVICE)
    response = tensor_of(case, fill, "x")
    subject = torch.tensor(case["inputs"]["subject_ids"]["values"], device=DEVICE)
    with torch.no_grad():
        embedded = model.embed(response, subject)
        tokens = model.attend(embedded)
        flat = model.conv(tokens)
        outputs = {"embedded_slice": embedded[..., :16], "tokens_slice": tokens[..., :16], "flat": flat}
        return arrays_of({**outputs, "out": model.projector(flat)})


def atms_losses(case: dict, fill: ModuleType) -> Outputs:
    """Run both objectives of ATM on one batch."""
    eeg, image, text = (torch.from_numpy(input_of(case, fill, name)) for name in ("eeg", "img", "txt"))
    options = case["constructor"]
    scale = torch.tensor(options["scale"])
    normalised = (torch.nn.functional.normalize(side, dim=-1) for side in (image, text))
    return {
        "retrieval": retrieval_loss(eeg, *normalised, scale, weight=options["alpha_retrieval"]).numpy(),
        "reconstruction": reconstruction_loss(
            eeg, image, scale, weight=options["alpha_reconstruction"], factor=options["factor"]
        ).numpy(),
    }


def mvnn(case: dict, fill: ModuleType) -> Outputs:
    """Whiten every session of a small recording."""
    mix = input_of(case, fill, "mix").astype(np.float64)
    mixing = np.eye(len(mix)) + 0.3 * mix
    outputs = {}
    for session in range(case["constructor"]["sessions"]):
        parts = {name: mixing @ input_of(case, fill, f"{name}_{session}") for name in ("train", "test")}
        train = parts["train"]
        conditions = np.repeat(np.arange(len(train)), train.shape[1])
        covariance = mvnn_covariance(
            train.reshape(-1, *train.shape[2:]), conditions, case["constructor"]["mvnn_dim"]
        )
        whitener = inverse_square_root(covariance)
        for name, part in parts.items():
            whitened = part.reshape(-1, *part.shape[2:])
            apply_whitener(whitened, whitener)
            outputs[f"whitened_{name}_{session}"] = whitened.reshape(part.shape)
    return outputs


FAMILIES: dict[str, Callable[[dict, ModuleType], Outputs]] = {
    "atms": atms,
    "atms-losses": atms_losses,
    "mvnn": mvnn,
    **parity_csbrain.FAMILIES,
    **parity_encoders.FAMILIES,
    **parity_in_context.FAMILIES,
    **parity_priors.FAMILIES,
    **parity_metrics.FAMILIES,
    **parity_speech.FAMILIES,
    **parity_wave.FAMILIES,
}


def check(folder: Path) -> tuple[bool, str]:
    """Run one case; return whether it passed and the line to print."""
    try:
        case = json.loads((folder / "case.json").read_text())
        if case["family"] not in FAMILIES:
            return False, f"{folder.name}: FAIL (family {case['family']} is not implemented)"
        spec = importlib.util.spec_from_file_location("fill", folder.resolve().parent / "fill.py")
        fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fill)
        outputs = FAMILIES[case["family"]](case, fill)
        golden = np.load(folder / "golden.npz")
        misshapen = [name for name in case["outputs"] if outputs[name].shape != golden[name].shape]
        if misshapen:
            return False, f"{folder.name}: FAIL (other shape: {', '.join(misshapen)})"
        errors = {name: float(np.abs(outputs[name] - golden[name]).max()) for name in case["outputs"]}
        limits = {name: case["tolerance"] * max(1.0, float(np.abs(golden[name]).max())) for name in errors}
    except Exception as error:  # one broken case must not hide the others
        return False, f"{folder.name}: FAIL ({type(error).__name__}: {error})"
    passed = all(errors[name] <= limits[name] for name in errors)  # a NaN error fails too
    verdict = "ok" if passed else "FAIL"
    return (
        passed,
        f"{folder.name}: max error {max(errors.values()):.2e}, tolerance {case['tolerance']:g}  {verdict}",
    )


def main(folders: list[str]) -> int:
    """Check every folder."""
    if not folders:
        print(__doc__)
        return 2
    results = [check(Path(folder)) for folder in folders]
    for _, line in results:
        print(line)
    return 0 if all(passed for passed, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
