"""Reading authors' checkpoints: safely, completely, or not at all."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from neurodec.errors import NeurodecError


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or a PyTorch file, never unpickling foreign objects.

    Parameters
    ----------
    path : str or Path
        A nested ``state_dict`` entry and the prefix ``module.`` of parallel training are taken off.

    Raises
    ------
    NeurodecError
        If the file is missing, cut short, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise NeurodecError(f"The checkpoint {path} does not exist; give the path of the weights file.")
    try:
        state = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        )
    except Exception as error:  # pickles fail in every way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NeurodecError(
            f"{path} is not a readable checkpoint of tensors ({reason}); fetch it again."
        ) from error
    for name in ("state_dict", "model_state_dict"):
        state = state.get(name, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise NeurodecError(f"{path} holds something else than a state dict; save `model.state_dict()`.")
    return {name.removeprefix("module."): value for name, value in state.items()}


def take_exactly(model: nn.Module, state: dict[str, Tensor], source: str) -> nn.Module:
    """Load a state dict whose names and shapes must all fit.

    Raises
    ------
    NeurodecError
        Naming every tensor that is missing, unknown or of another shape; the model is left as it was.
    """
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    problems = [f"{name} is missing" for name in sorted(set(own) - set(state) - counters)]
    problems += [f"{name} is unknown" for name in sorted(set(state) - set(own))]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, the model {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(state))
        if own[name].shape != state[name].shape
    ]
    if problems:
        raise NeurodecError(f"{source} does not fit the model ({'; '.join(problems)}); nothing was loaded.")
    model.load_state_dict(state, strict=False)
    return model
