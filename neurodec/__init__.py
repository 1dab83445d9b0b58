"""Decode what a person sees or hears from EEG, MEG and fMRI.

::

    recording            preprocessing          encoder            shared space             output
    mne.Raw / Epochs     filter, epoch, MVNN    ATM, ridge,                             .-> retrieval
    NIfTI / arrays  -->  baseline, z-score  --> your own class --> z (B, D)  -----------|
                                                                     |                  '-> prior -> decoder -> pictures
    stimuli (images, captions)  -->  frozen CLIP features, cached  --'                          report.html

Folders follow the data: `data`, `preprocessing`, `features`, `encoders`, `linear`, `training`, `systems`, `priors`,
`decoders`, `evaluation`, `report`; `neural_decoder` holds system, prior and decoder as one object; `simulate` makes
recordings; `embedded` are the small models that are included; `run` does the stages of a recipe; `validation` scores in
Python; `cli` is the command line.
"""

from importlib import import_module
from typing import Any

__version__ = "0.3.0"

_PUBLIC = {
    "NeurodecError": "neurodec.errors",
    "Study": "neurodec.data",
    "Trials": "neurodec.data",
    "prepare": "neurodec.data",
    "preprocess": "neurodec.data",
    "Features": "neurodec.features",
    "OpenClip": "neurodec.features",
    "ATM": "neurodec.encoders",
    "CSBrain": "neurodec.encoders",
    "MindBridge": "neurodec.encoders",
    "NICE": "neurodec.encoders",
    "NeuroBridge": "neurodec.encoders",
    "Ridge": "neurodec.linear",
    "EmbeddingDecoder": "neurodec.systems",
    "InContextSystem": "neurodec.systems",
    "LightningSystem": "neurodec.systems",
    "RidgeSystem": "neurodec.systems",
    "load_pretrained": "neurodec.training",
    "load_system": "neurodec.systems",
    "Classification": "neurodec.evaluation",
    "Retrieval": "neurodec.evaluation",
    "cross_validate": "neurodec.validation",
    "evaluate": "neurodec.validation",
    "NeuralDecoder": "neurodec.neural_decoder",
    "run_recipe": "neurodec.run.stages",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import neurodec` stays instant."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'neurodec' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
