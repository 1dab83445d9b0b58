"""A trained encoder and its objective on disk: `config.json` and safetensors, no pickle."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from neurodec.class_paths import build, named_classes, resolve_class, takes_argument
from neurodec.data import Study
from neurodec.data.noise import read_described, write_described
from neurodec.data.responses import View
from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, track
from neurodec.training.batch import Heads
from neurodec.training.fit_keys import written_files
from neurodec.training.gather import as_tensor
from neurodec.training.module import heads_of
from neurodec.training.objectives import Objective

_WEIGHTS = {"encoder": "model.safetensors", "objective": "objective.safetensors"}


def build_encoder(
    config: dict[str, Any], sizes: dict[str, Any], allow: frozenset[str] | set[str] = frozenset()
) -> tuple[nn.Module, dict[str, Any]]:
    """Build an encoder, telling it the sizes of the data that its constructor asks for.

    Parameters
    ----------
    config : dict
        `class_path` and `init_args`.
    sizes : dict
        Such as `n_chans`; those that the class takes are filled in.
    allow : set of str
        Further packages whose classes may be named.

    Returns
    -------
    encoder : nn.Module
    config : dict
        With the sizes, so that the same call without any rebuilds it; without `start`, the file of weights that it
        began with, since a trained one has its own.

    Raises
    ------
    NeurodecError
        If the class is not allowed, is not a module, or does not take the arguments.
    """
    try:
        path, arguments = config["class_path"], dict(config.get("init_args") or {})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise NeurodecError(
            "No encoder is named; write  encoder: {class_path: neurodec.encoders.ATM}."
        ) from error
    kind = resolve_class(path, nn.Module, allow, "encoder")
    arguments |= {name: value for name, value in sizes.items() if takes_argument(kind, name)}
    with reading(
        f"The encoder {path}", "", "its arguments do not fit the class, so correct them, or fit again"
    ):
        encoder = kind(**named_classes(kind, arguments, allow))
    arguments.pop("start", None)
    return encoder, {"class_path": path, "init_args": arguments}


def channels_of(info: dict[str, Any]) -> dict[str, Any]:
    """Return `ch_names`, and where the sensors' positions are known `chs_info` as MNE and braindecode have it (m).

    Parameters
    ----------
    info : dict
        `Trials.info`; of voxels nothing is returned.
    """
    names, positions = info.get("ch_names"), info.get("ch_pos")
    if names is None:
        return {}
    if positions is None or any(one is None for one in positions):
        return {"ch_names": list(names)}
    places = [[float(value) for value in one] + [0.0] * 9 for one in positions]
    chs_info = [{"ch_name": name, "loc": place} for name, place in zip(names, places, strict=True)]
    return {"ch_names": list(names), "chs_info": chs_info}


def positions_of(info: dict[str, Any]) -> Tensor | None:
    """Return the places of the sensors, shape (n_chans, 3), float32 (m, head frame); NaN where one is unknown.

    Parameters
    ----------
    info : dict
        `Trials.info`; None is returned where no position is known.
    """
    positions = info.get("ch_pos")
    if positions is None or all(one is None for one in positions):
        return None
    return torch.tensor(
        [[np.nan] * 3 if one is None else list(one) for one in positions], dtype=torch.float32
    )


def save_pretrained(
    folder: str | Path,
    encoder: nn.Module,
    objective: Objective,
    config: dict[str, Any],
) -> None:
    """Write an encoder and its objective so that `load_pretrained` and `load_objective` rebuild them.

    Parameters
    ----------
    folder : str or Path
    encoder : nn.Module
    objective : Objective
    config : dict
        `encoder` and `objective` (class path and arguments), and what a user must know to feed the encoder.
    """
    folder = Path(folder)
    for name, module in (("encoder", encoder), ("objective", objective)):
        state = {key: _stored(value) for key, value in module.state_dict().items()}
        with atomic_path(folder / _WEIGHTS[name]) as partial:
            save_file(state, partial)
    files = [name for name in written_files(folder) if name in _WEIGHTS.values()]
    write_described(folder / "config.json", {**config, "files": files})


def _stored(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is written: in single precision, whatever it was trained in."""
    value = value.detach().cpu().contiguous().clone()
    return value.float() if value.is_floating_point() else value


def load_pretrained(
    folder: str | Path, allow: frozenset[str] | set[str] = frozenset(), network: nn.Module | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild an encoder written by `save_pretrained`.

    Parameters
    ----------
    folder : str or Path
    allow : set of str
        Further packages whose classes the folder may name.
    network : nn.Module, optional
        Of which a copy takes the weights; otherwise the class that the folder names is built.

    Returns
    -------
    encoder : nn.Module
        In evaluation mode.
    config : dict

    Raises
    ------
    NeurodecError
        If a file is missing, the class is not allowed, or any tensor does not fit (every one is named).
    """
    config = read_described(Path(folder) / "config.json")
    if not isinstance(config, dict) or "encoder" not in config:
        raise NeurodecError(f"{folder}/config.json names no encoder; give a folder made by `fit`.")
    if network is None and config["encoder"].get("instance"):
        raise NeurodecError(
            f"The encoder in {folder} was handed over as a finished network, so nothing tells how to make it again; "
            "fit with its class, or functools.partial(Class, name=value), to keep it."
        )
    encoder = deepcopy(network) if network is not None else build_encoder(config["encoder"], {}, allow)[0]
    state = read_checkpoint(Path(folder) / _WEIGHTS["encoder"])
    return take_exactly(encoder, state, str(folder)).eval(), config


def load_objective(
    folder: str | Path, config: dict[str, Any], allow: frozenset[str] | set[str] = frozenset()
) -> Objective:
    """Rebuild the objective that an encoder was trained with: its projectors apply to galleries."""
    objective = build(Objective, config.get("objective"), "objective", allow)
    state = read_checkpoint(Path(folder) / _WEIGHTS["objective"])
    return take_exactly(objective, state, str(folder)).eval()


@torch.no_grad()
def embed(
    encoder: nn.Module,
    responses: np.ndarray | View,
    subject: np.ndarray,
    batch_size: int = 256,
    device: str = "auto",
    space: str = "all",
    head: str = "image",
    scale: float = 1.0,
    positions: Tensor | None = None,
) -> dict[str, np.ndarray]:
    """Predict the targets of responses of one space, in batches.

    Parameters
    ----------
    encoder : nn.Module
    responses : ndarray or View, shape (n_trials, n_chans, n_times) or (n_trials, n_voxels)
        May be memory-mapped.
    subject : ndarray of int, shape (n_trials,)
        Subject ids; -1 is unknown.
    batch_size : int
        Does not change the result.
    device : str
        A torch device, or "auto": the first GPU if there is one.
    space : str
        Where the responses are from.
    head : str
        Name of the prediction of an encoder that makes one only.
    scale : float
        What the responses are divided by first.
    positions : Tensor, shape (n_chans, 3), optional
        Places of the sensors; see `positions_of`.

    Returns
    -------
    dict of ndarray, shape (n_trials, ...), float32
        Head to predictions; what an encoder gives its objective alone (names with an underscore) is left out.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = encoder.to(device).eval()
    found: list[dict[str, Tensor]] = []
    for start in track(range(0, len(responses), batch_size), "embedding"):
        batch = as_tensor(np.ascontiguousarray(responses[start : start + batch_size])).to(device)
        batch = batch if scale == 1.0 else batch / scale
        ids = torch.as_tensor(subject[start : start + batch_size], device=device)
        heads = heads_of(encoder, batch, ids, space, head, positions=positions)
        found.append({name: values.float().cpu() for name, values in heads.items() if name[0] != "_"})
    return {name: torch.cat([part[name] for part in found]).numpy() for name in found[0]}


@torch.no_grad()
def require_readable(
    encoder: nn.Module, study: Study, objective: Objective, shapes: dict[str, list[int]]
) -> None:
    """Run two trials of every space through an encoder, to refuse before a training what stops it.

    Parameters
    ----------
    encoder : nn.Module
    study : Study
    objective : Objective
    shapes : dict of list of int
        Of the targets that it learns.

    Raises
    ------
    NeurodecError
        Naming the space and the encoder, or a head of another size than its target.
    """
    encoder.eval()
    for space, trials in study.spaces.items():
        rows = as_tensor(np.array(trials.responses[:2], dtype=np.float32))
        nobody, places = torch.zeros(len(rows), dtype=torch.long), positions_of(trials.info)
        try:
            found = heads_of(encoder, rows, nobody, space, objective.head, positions=places)
        except NeurodecError:
            raise
        except Exception as error:  # every network fails in its own way
            lengths = " by ".join(str(length) for length in rows.shape[1:])
            way = "take another encoder, or other preprocessing"
            if len(study.spaces) > 1:
                way = "subjects were measured with sensors or voxels of their own, so take protocol: within_subject"
            raise NeurodecError(
                f"{type(encoder).__name__} cannot read the trials of {space} ({lengths}; {type(error).__name__}: "
                f"{' '.join(str(error).split())[:160]}); {way}."
            ) from error
        _require_fitting(encoder, found, objective, shapes)


def _require_fitting(
    encoder: nn.Module, found: Heads, objective: Objective, shapes: dict[str, list[int]]
) -> None:
    """Refuse a head that is compared with its target and has another number of values."""
    head = objective.head
    if head not in found:
        raise NeurodecError(
            f"{type(encoder).__name__} gives the heads {', '.join(found)}, and {type(objective).__name__} compares "
            f"{head}; name one of the heads so."
        )
    if head in shapes:
        wanted = objective.project(head, torch.zeros(1, *shapes[head])).shape[1:]
        if wanted.numel() != found[head].shape[1:].numel():
            raise NeurodecError(
                f"{type(encoder).__name__} gives the head {head} of shape {tuple(found[head].shape[1:])}, and the "
                f"target is {tuple(wanted)}; let its constructor take `heads` (target to shape) or `n_outputs`."
            )
