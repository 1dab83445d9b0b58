"""Encoders: one file per published network.

Any `torch.nn.Module` is an encoder. Of these arguments its constructor receives those that it has: `n_chans`,
`n_times`, `n_outputs` (of the main target), `n_subjects`, `sfreq` (Hz), `spaces` (name to number of channels or
voxels), `heads` (target to shape), `ch_names` and, where positions are known, `chs_info` (as braindecode has it).
`montages` are the names in every space. It may take `start`, a file of weights to begin with; what is kept of a
trained encoder does not name it. One with ``own_scale = True`` reads responses in their own unit, whatever their size.

``forward(response, subject, space)`` gets what it takes of them, by these names: responses (B, n_chans, n_times) or
(B, n_voxels), subject numbers (B,) where -1 is unknown, and the name of the space. It returns the predicted embedding,
or a dict of heads.
"""

from neurodec.encoders.atm import ATM
from neurodec.encoders.atm_low_level import ATMLowLevel
from neurodec.encoders.csbrain.csbrain import CSBrain
from neurodec.encoders.csbrain.pretraining import CSBrainPretraining
from neurodec.encoders.in_context.inverter import InContextInverter
from neurodec.encoders.in_context.voxel_encoder import InContextEncoder
from neurodec.encoders.mindbridge import MindBridge
from neurodec.encoders.neurobridge import NeuroBridge
from neurodec.encoders.nice import NICE
from neurodec.encoders.simple_conv import SimpleConv
from neurodec.encoders.simple_conv_pooled import SimpleConvPooled
from neurodec.encoders.together import Together
from neurodec.encoders.wave import WAVE
from neurodec.encoders.wave_pretraining import WAVEPretraining
from neurodec.encoders.whole_volume import WholeVolume
from neurodec.linear import RidgeClassifier

__all__ = [
    "ATM",
    "NICE",
    "WAVE",
    "ATMLowLevel",
    "CSBrain",
    "CSBrainPretraining",
    "InContextEncoder",
    "InContextInverter",
    "MindBridge",
    "NeuroBridge",
    "RidgeClassifier",
    "SimpleConv",
    "SimpleConvPooled",
    "Together",
    "WAVEPretraining",
    "WholeVolume",
]
