"""What constructors of encoders and objectives receive of the data: sizes, channels, shapes of targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurodec.class_paths import resolve_class, takes_argument
from neurodec.data import Study
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.training.objectives import Objective
from neurodec.training.saved_encoder import channels_of

_VOLUME = ("mask_shape", "voxel_indices")


def sizes_of(
    study: Study, targets: dict[str, Features], head: str, subjects: Sequence[str]
) -> dict[str, Any]:
    """Return what an encoder's constructor may ask for; see `LightningSystem`."""
    shapes = {name: list(features.values.shape[1:]) for name, features in targets.items()}
    spaces = {name: trials.responses.shape[1] for name, trials in study.spaces.items()}
    first = next(iter(study.spaces.values()))
    main = shapes.get(head) or next(iter(shapes.values()), [])
    names = {name: trials.info.get("ch_names") for name, trials in study.spaces.items()}
    return {
        "n_chans": max(spaces.values()),
        "n_times": first.responses.shape[-1],
        "n_outputs": int(np.prod(main)),
        "n_subjects": len(subjects),
        "sfreq": first.info.get("sfreq"),
        "spaces": spaces,
        "heads": shapes,
        "units": first.info.get("units"),
        **({} if len(spaces) > 1 else {name: first.info[name] for name in _VOLUME if name in first.info}),
        **({} if None in names.values() else {"montages": names}),
        **(channels_of(first.info) if max(spaces.values()) == first.responses.shape[1] else {}),
    }


def needed_of(
    targets: dict[str, Features], objective: Objective, config: dict[str, Any]
) -> dict[str, Features]:
    """Return the targets that an objective needs; one that is absent is refused."""
    missing = [target for target in objective.needs if target not in targets]
    if missing:
        raise NeurodecError(
            f"{config['class_path']} needs the target {missing[0]}, and the recipe has "
            f"{', '.join(targets) or 'none'}; add it to `targets`, or tell the objective the name of another."
        )
    return {target: targets[target] for target in objective.needs}


def sized(
    config: dict[str, Any], targets: dict[str, Features], allow: frozenset[str] | set[str]
) -> dict[str, Any]:
    """Return an objective's configuration with the shapes of the targets, where it takes them."""
    kind = resolve_class(config["class_path"], Objective, allow, "objective")
    if not takes_argument(kind, "heads"):
        return config
    shapes = {name: list(own.values.shape[1:]) for name, own in targets.items()}
    return {**config, "init_args": {**(config.get("init_args") or {}), "heads": shapes}}
