"""WAVE (Wang et al. 2024, arXiv 2411.07121): whole-brain parcels over a few volumes, read by a causal transformer.

Every volume is a token: its parcels, embedded, with the time of its acquisition. A learned token after the last volume
gathers them; what it becomes is brought to the space of the stimuli.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError
from neurodec.files import read_json


class ParcelTransformer(nn.Module):
    """GPT-2 over volumes of parcels, with a learned token after the last of them.

    Parameters
    ----------
    n_parcels : int
    width, depth, n_heads : int
        Of the transformer.
    n_positions : int
        Volumes and token, at most.
    widening : int
        Of its inner layers.
    time_step, longest : float
        Seconds between the times that are told apart, and the last of them.
    dropout : float

    References
    ----------
    Thomas, Ré & Poldrack (2022), Self-supervised learning of brain dynamics from broad neuroimaging data, NeurIPS.
    """

    def __init__(
        self,
        n_parcels: int,
        width: int = 768,
        depth: int = 4,
        n_heads: int = 12,
        n_positions: int = 512,
        widening: int = 4,
        time_step: float = 0.2,
        longest: float = 300.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2Model  # not at the top: seconds

        self.hidden = nn.Parameter(torch.zeros(1, 1, n_parcels))  # stands for a volume that may not be seen
        self.gathering = nn.Parameter(torch.zeros(1, 1, n_parcels))
        self.embed = nn.Sequential(nn.Linear(n_parcels, width), nn.LayerNorm(width))
        self.dropout, self.time_step = nn.Dropout(dropout), time_step
        self.times = nn.Embedding(
            round(longest / time_step) + 1, width
        )  # the last is that of the gathering token
        config = GPT2Config(
            vocab_size=1,
            n_positions=n_positions,
            n_embd=width,
            n_layer=depth,
            n_head=n_heads,
            n_inner=widening * width,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
        )
        self.transformer = GPT2Model(config)
        self.pooler = nn.Linear(width, width)
        self.unembed = nn.Linear(width, n_parcels)
        for token in (self.hidden, self.gathering):
            nn.init.normal_(token, std=0.02)

    def forward(self, volumes: Tensor, seconds: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return what every volume and the token become, shape (B, n_volumes + 1, width).

        Parameters
        ----------
        volumes : Tensor, shape (B, n_volumes, n_parcels)
        seconds : Tensor, shape (n_volumes,)
            When each was acquired, from the first on.
        valid : Tensor of bool, shape (B, n_volumes), optional
            Volumes that there are, the first ones of every row; all by default.
        """
        n_rows, n_volumes, _ = volumes.shape
        if valid is None:
            valid = torch.ones(n_rows, n_volumes, dtype=torch.bool, device=volumes.device)
        last = valid.sum(dim=1)  # where the token comes
        rows = torch.arange(n_rows, device=volumes.device)
        places = torch.round(seconds / self.time_step).long()
        if int(places.max()) >= self.times.num_embeddings - 1:
            raise NeurodecError(
                f"Windows of {float(seconds.max()):g} s are longer than the times that the network knows; cut shorter "
                "ones."
            )
        tokens = torch.cat(
            [volumes * valid[..., None], volumes.new_zeros(n_rows, 1, volumes.shape[2])], dim=1
        )
        tokens[rows, last] = self.gathering[0, 0].to(tokens)
        times = torch.cat([places * valid, places.new_zeros(n_rows, 1)], dim=1)
        times[rows, last] = self.times.num_embeddings - 1
        seen = torch.cat(
            [valid.new_ones(n_rows, 1), valid], dim=1
        )  # as many as there are volumes, and the token
        embedded = self.dropout(self.embed(tokens)) + self.times(times)
        return self.transformer(inputs_embeds=embedded, attention_mask=seen.long()).last_hidden_state

    def pooled(self, states: Tensor, n_volumes: Tensor | int) -> Tensor:
        """Return the token's vector, shape (B, width).

        Parameters
        ----------
        states : Tensor, shape (B, n_volumes + 1, width)
            From `forward`.
        n_volumes : Tensor, shape (B,), or int
            Of every row.
        """
        rows = torch.arange(len(states), device=states.device)
        return torch.tanh(self.pooler(states[rows, n_volumes]))

    @classmethod
    def from_published(cls, state: dict[str, Tensor], source: str, *, n_heads: int = 12) -> ParcelTransformer:
        """Build the network from the authors' tensors; sizes follow from them.

        Parameters
        ----------
        state : dict of Tensor
            By their published names.
        source : str
            Names the file in messages.
        n_heads : int
            Tensors do not show it.

        Raises
        ------
        NeurodecError
            If it is not this network, or a tensor does not fit.
        """
        first = state.get("embedder.embed_model.model.0.weight")
        if first is None or "decoder.transformer.wpe.weight" not in state:
            raise NeurodecError(f"{source} is not a checkpoint of WAVE's encoder; give the authors' file.")
        width, n_parcels = first.shape
        depth = sum(name.endswith(".attn.c_attn.weight") for name in state)
        model = cls(
            n_parcels,
            width,
            depth,
            n_heads,
            state["decoder.transformer.wpe.weight"].shape[0],
            state["decoder.transformer.h.0.mlp.c_fc.weight"].shape[1] // width,
            longest=(state["embedder.wt_re.weight"].shape[0] - 1) * 0.2,
        )
        renamed = {_renamed(name): tensor for name, tensor in state.items()}
        # Biases of GPT-2's attention may be left out where they are zero.
        zeros = {
            name: torch.zeros_like(value)
            for name, value in model.state_dict().items()
            if name.endswith("c_attn.bias") and name not in renamed
        }
        return take_exactly(model, renamed | zeros, source)


class WAVE(nn.Module):
    """Parcels over a few volumes to the embeddings of what was seen.

    Parameters
    ----------
    n_chans : int
        Parcels.
    sfreq : float
        Volumes per second.
    heads : dict of list of int
        Target to its shape; filled in.
    width, depth, n_heads, dropout
        See `ParcelTransformer`.
    start : str, optional
        Published checkpoint to begin with, or the folder of a pre-training.
    one_head : bool
        Give every target the same vector, as published for picture and text; their shapes must be equal.

    References
    ----------
    Wang et al. (2024), Decoding visual experience and mapping semantics through whole-brain analysis using fMRI
    foundation models, arXiv 2411.07121.
    """

    def __init__(
        self,
        n_chans: int,
        sfreq: float,
        heads: dict[str, list[int]],
        *,
        width: int = 768,
        depth: int = 4,
        n_heads: int = 12,
        dropout: float = 0.1,
        start: str | None = None,
        one_head: bool = False,
    ) -> None:
        super().__init__()
        self.sfreq, self.shapes = sfreq, heads
        self.backbone = ParcelTransformer(n_chans, width, depth, n_heads, dropout=dropout)
        if start is not None:
            self.start_from(start)
        if one_head and len({tuple(shape) for shape in heads.values()}) > 1:
            raise NeurodecError(
                f"`one_head` gives all targets one vector, and they have the shapes {heads}; leave it out."
            )
        own = dict(list(heads.items())[:1]) if one_head else heads
        self.outputs = nn.ModuleDict(
            {name: nn.Linear(width, math.prod(shape)) for name, shape in own.items()}
        )

    def forward(self, response: Tensor) -> dict[str, Tensor]:
        """Predict every target.

        Parameters
        ----------
        response : Tensor, shape (B, n_parcels, n_volumes)
            Z-scored.

        Returns
        -------
        dict of Tensor, shape (B, ...)
        """
        volumes = response.transpose(1, 2)
        seconds = torch.arange(volumes.shape[1], device=volumes.device) / self.sfreq
        pooled = self.backbone.pooled(self.backbone(volumes, seconds), volumes.shape[1])
        found = {name: head(pooled).unflatten(1, self.shapes[name]) for name, head in self.outputs.items()}
        return {name: found.get(name, next(iter(found.values()))) for name in self.shapes}

    def start_from(self, start: str) -> None:
        """Take the transformer of a published checkpoint, or of a folder that a pre-training wrote.

        Parameters
        ----------
        start : str
            File, or folder of weights.

        Raises
        ------
        NeurodecError
            If it reads other parcels, was trained at another repetition time, or is of another size.
        """
        folder = Path(start)
        if folder.is_dir():
            told = (read_json(folder / "config.json").get("encoder") or {}).get("init_args") or {}
            other = told.get("sfreq")
            if other is not None and abs(other - self.sfreq) > 0.01 * self.sfreq:
                raise NeurodecError(
                    f"{start} was trained at a repetition time of {1 / other:g} s, and the recordings have "
                    f"{1 / self.sfreq:g} s; resample them, or leave `start` out."
                )
            state = read_checkpoint(folder / "model.safetensors")
            state = {
                name.removeprefix("backbone."): own for name, own in state.items() if "backbone." in name
            }
        else:
            state = load_published(start, n_heads=self.backbone.transformer.config.n_head).state_dict()
        own, given = (one["embed.0.weight"].shape for one in (self.backbone.state_dict(), state))
        if own[1] != given[1]:
            raise NeurodecError(
                f"The checkpoint {start} reads {given[1]} parcels, and the recording has {own[1]}; parcellate it with "
                "the atlas of the checkpoint, or leave `start` out."
            )
        take_exactly(self.backbone, state, start)


def load_published(path: str | Path, *, n_heads: int = 12) -> ParcelTransformer:
    """Read a checkpoint of WAVE's encoder, or of the pre-training that it begins with.

    Parameters
    ----------
    path : str or Path
    n_heads : int

    Raises
    ------
    NeurodecError
        If the file is missing, damaged, or of another network.
    """
    state = read_checkpoint(path)
    for key in ("model", "state_dict"):
        state = state[key] if isinstance(state.get(key), dict) else state
    return ParcelTransformer.from_published(state, str(path), n_heads=n_heads)


def _renamed(name: str) -> str:
    for old, new in (
        ("embedder.msk_embed", "hidden"),
        ("embedder.cls_embed", "gathering"),
        ("embedder.embed_model.model.", "embed."),
        ("embedder.wt_re.", "times."),
        ("decoder.transformer.", "transformer."),
        ("decoder.pooler_layer.0.", "pooler."),
        ("unembedder.model.0.", "unembed."),
    ):
        name = name.replace(old, new)
    return name
