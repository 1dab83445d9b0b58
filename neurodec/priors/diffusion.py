"""The diffusion prior: samples of the image embedding that belongs to a brain embedding."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, SchedulerMixin, UniPCMultistepScheduler
from torch import Tensor
from torch.nn import functional as F

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError, reading
from neurodec.priors.embedding_rows import (
    Generators,
    blocks,
    check_generators,
    checked_pairs,
    checked_rows,
    noise,
)
from neurodec.priors.network import DiffusionPriorUNet, published_widths
from neurodec.priors.prior import Prior
from neurodec.priors.saved_prior import read_prior_config, require_fitted, write_prior
from neurodec.priors.training import Training, train

_N_TRAIN_STEPS = 1000
SchedulerName = Literal["ddpm", "ddim", "unipc"]
_SCHEDULERS = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "unipc": UniPCMultistepScheduler}


class DiffusionPrior(Prior):
    """Conditional diffusion over image embeddings, with guidance.

    Parameters
    ----------
    hidden_dim : sequence of int, optional
        Level widths of the network; by default in the published proportions, D, D/2, ..., D/16.
    time_embed_dim : int, optional
        Width of the code of the time step; by default D/2, as published.
    dropout : float
        In the network.
    scheduler : {"ddpm", "ddim", "unipc"}
        How it samples; training is the same for all. "unipc" does with the fewest steps.
    published : bool
        Train and sample as the authors do; see Notes.
    lr : float
        Of Adam. Gradients are clipped to norm 1.
    batch_size, max_epochs : int
        Published: 1024 and 150.
    warmup_steps : int
        Of the learning rate, before its cosine; at most a tenth of the run.
    condition_dropout : float
        Share of the rows (published: of the batches) trained without condition, which guidance needs.
    ema_decay : float
        Of the running average of the weights, which is what counts in the end.
    validation_fraction : float
        Share of the groups held out to choose the epoch; with 0 the last one is taken.
    seed : int
        Everything random in `fit` follows from it: on a CPU, the same seed and data give the same bits.

    Notes
    -----
    Published form: raw image embeddings as targets, the raw brain embedding as condition, noise as what the network
    predicts, conditions dropped for whole batches, samples clipped to +-1 at every step, no average of the weights, no
    validation. CLIP embeddings reach beyond +-1, and without the clip the form fails: a network whose levels are
    normalised cannot output its noisy input accurately, and at high noise the small error becomes a huge embedding.

    Corrected form (default): targets centred per dimension and divided by *one* scale, so that the loss stays a squared
    error in the embedding space, and no clip. The condition is the brain embedding's direction, centred and scaled
    likewise by training statistics: its length differs between encoders, and between single and averaged responses,
    for reasons that say nothing about the picture. The network predicts the velocity ``a noise - s target`` (Salimans
    and Ho 2022), which is the target where there is only noise and the noise where there is little. Conditions are
    dropped by row.

    Raises
    ------
    NeurodecError
        If the scheduler is unknown, or cannot do what the published form needs.

    References
    ----------
    Li et al. (2024), Visual decoding and reconstruction via EEG embeddings with guided diffusion, NeurIPS. Ho and
    Salimans (2022), Classifier-free diffusion guidance.
    """

    def __init__(
        self,
        hidden_dim: Sequence[int] | None = None,
        time_embed_dim: int | None = None,
        dropout: float = 0.1,
        scheduler: SchedulerName = "ddpm",
        published: bool = False,
        lr: float = 1e-3,
        batch_size: int = 256,
        max_epochs: int = 100,
        warmup_steps: int = 500,
        condition_dropout: float = 0.1,
        ema_decay: float = 0.999,
        validation_fraction: float = 0.1,
        seed: int = 42,
    ) -> None:
        super().__init__()
        if scheduler not in _SCHEDULERS:
            raise NeurodecError(
                f"{scheduler} is not a scheduler of the prior; choose {', '.join(_SCHEDULERS)}."
            )
        if scheduler == "unipc" and published:
            raise NeurodecError(
                "The published form clips every step, which the scheduler unipc cannot; choose ddpm or ddim."
            )
        self.hidden_dim = None if hidden_dim is None else list(hidden_dim)
        self.time_embed_dim, self.dropout = time_embed_dim, dropout
        self.scheduler, self.published = scheduler, published
        self.training_settings = Training(
            published=published,
            lr=lr,
            batch_size=batch_size,
            max_epochs=max_epochs,
            warmup_steps=warmup_steps,
            condition_dropout=condition_dropout,
            ema_decay=0.0 if published else ema_decay,
            validation_fraction=0.0 if published else validation_fraction,
            seed=seed,
        )
        self.embedding_space: str | None = None
        self.network: DiffusionPriorUNet | None = None
        for name in ("target_mean", "target_scale", "condition_mean", "condition_scale"):
            self.register_buffer(name, torch.zeros(()))

    @property
    def options(self) -> dict:
        """The constructor's arguments, JSON-able."""
        names = ("hidden_dim", "time_embed_dim", "dropout", "scheduler")
        return {**{name: getattr(self, name) for name in names}, **asdict(self.training_settings)}

    def fit(
        self,
        z: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        groups: Sequence[str] | np.ndarray | None = None,
        *,
        embedding_space: str,
        checkpoints: str | Path | None = None,
    ) -> DiffusionPrior:
        """Train on pairs of brain and image embeddings; see `Prior.fit`.

        A killed fit, called again with the same data, options and `checkpoints`, goes on from there and ends with the
        same weights. The prior is on the CPU afterwards.

        Raises
        ------
        NeurodecError
            If rows do not pair up, hold NaN or infinity, belong to one group only, or training diverges.
        """
        z, targets, groups = checked_pairs(z, targets, groups)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training_settings.seed)
            self._build(targets.shape[1], z.shape[1])
        if not self.published:
            self.target_mean, self.target_scale = _centre_and_scale(targets)
            self.condition_mean, self.condition_scale = _centre_and_scale(F.normalize(z, dim=1))
        scaled = (targets - self.target_mean) / self.target_scale
        train(
            self.network,
            DDPMScheduler(prediction_type=_predicted(self.published)),
            self._condition(z),
            scaled,
            groups,
            self.training_settings,
            None if checkpoints is None else Path(checkpoints),
        )
        self.embedding_space = embedding_space
        return self

    def sample(
        self,
        z: Tensor | np.ndarray,
        generator: Generators,
        n_steps: int = 50,
        guidance: float = 5.0,
    ) -> Tensor:
        """Draw one image embedding per brain embedding; see `Prior.sample`.

        Parameters
        ----------
        z, generator
            See `Prior.sample`.
        n_steps : int
            Steps of the scheduler, 1 to 1000.
        guidance : float
            Weight g of the condition, ``uncond + g (cond - uncond)``; 1 samples what was learned, more exaggerates
            what the brain tells (published: 5), 0 ignores it.

        Raises
        ------
        NeurodecError
            If `z` has another width or holds NaN or infinity, the generators are not one per row, `n_steps` is out of
            range, or the prior was never fitted.
        """
        require_fitted(self)
        rows = checked_rows(z, "brain embeddings", self.network.cond_dim)
        device = self.target_mean.device
        scheduler = make_scheduler(self.scheduler, self.published)
        network = self.network.eval()
        drawn = guided_sample(
            network, scheduler, self._condition(rows.to(device)), generator, n_steps, guidance
        )
        return (drawn * self.target_scale + self.target_mean).to(rows.device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`.

        Raises
        ------
        NeurodecError
            If the prior was never fitted.
        """
        require_fitted(self)
        sizes = {"embed_dim": self.network.embed_dim, "cond_dim": self.network.cond_dim}
        write_prior(folder, self, {"init_args": self.options, **sizes})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> DiffusionPrior:
        """Read a folder written by `save_pretrained`.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged, or any tensor does not fit (every one is named).
        """
        config = read_prior_config(folder, cls)
        with reading(Path(folder) / "config.json", "a prior", "fit it again"):
            prior = cls(**config["init_args"])
            prior._build(config["embed_dim"], config["cond_dim"])
        prior.embedding_space = config["embedding_space"]
        return take_exactly(prior, read_checkpoint(Path(folder) / "model.safetensors"), str(folder)).eval()

    @classmethod
    def load_published(cls, path: str | Path, embedding_space: str) -> DiffusionPrior:
        """Read a checkpoint of the authors' `DiffusionPriorUNet`, in the published form.

        Parameters
        ----------
        path : str or Path
            ``.pt`` (read with ``weights_only=True``) or ``.safetensors``.
        embedding_space : str
            Of its training targets, which the file does not tell. The authors':
            ``open_clip/ViT-H-14/laion2b_s32b_b79k``.

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        network = DiffusionPriorUNet.from_published(read_checkpoint(path), str(path))
        prior = cls(hidden_dim=network.hidden_dim, time_embed_dim=network.time_embed_dim, published=True)
        prior._take(network)
        prior.embedding_space = embedding_space
        return prior.eval()

    def _build(self, embed_dim: int, cond_dim: int) -> None:
        """Make an untrained network of these sizes."""
        self._take(
            DiffusionPriorUNet(
                embed_dim=embed_dim,
                cond_dim=cond_dim,
                hidden_dim=self.hidden_dim or published_widths(embed_dim),
                time_embed_dim=self.time_embed_dim or embed_dim // 2,
                dropout=self.dropout,
            )
        )

    def _take(self, network: DiffusionPriorUNet) -> None:
        """Take a network, and statistics that change nothing."""
        self.network = network
        self.target_mean, self.condition_mean = torch.zeros(network.embed_dim), torch.zeros(network.cond_dim)
        self.target_scale, self.condition_scale = torch.ones(()), torch.ones(())

    def _condition(self, z: Tensor) -> Tensor:
        """Return brain embeddings as the network reads them."""
        direction = z if self.published else F.normalize(z, dim=1)
        return (direction - self.condition_mean) / self.condition_scale


def make_scheduler(name: SchedulerName, published: bool) -> SchedulerMixin:
    """Return the sampler: as published, or with the first step at pure noise and without clip."""
    options = {
        "prediction_type": _predicted(published),
        "timestep_spacing": "leading" if published else "trailing",
    }
    if name != "unipc":  # it never clips
        options["clip_sample"] = published
    return _SCHEDULERS[name](num_train_timesteps=_N_TRAIN_STEPS, **options)


@torch.no_grad()
def guided_sample(
    network: DiffusionPriorUNet,
    scheduler: SchedulerMixin,
    condition: Tensor,
    generator: Generators,
    n_steps: int,
    guidance: float,
) -> Tensor:
    """Run a diffusers scheduler from noise to embeddings.

    Parameters
    ----------
    network : DiffusionPriorUNet
        In evaluation mode.
    scheduler : SchedulerMixin
        Any of diffusers'; its prediction type must be that of the network's training.
    condition : Tensor, shape (B, cond_dim)
    generator : torch.Generator or list of torch.Generator
        The first draw is the initial noise, then one per step that adds noise.
    n_steps : int
    guidance : float

    Returns
    -------
    Tensor, shape (B, embed_dim)

    Raises
    ------
    NeurodecError
        If the generators are not one per row or `n_steps` is out of range.

    Notes
    -----
    What the condition adds is computed once, and what the time adds once per step, not per row: with the published
    sizes that leaves a third of the multiplications.
    """
    n_rows, limit = len(condition), scheduler.config.num_train_timesteps
    check_generators(generator, n_rows)
    if not 1 <= n_steps <= limit:
        raise NeurodecError(f"n_steps is {n_steps}; the prior samples in 1 to {limit} steps.")
    scheduler.set_timesteps(n_steps, device=condition.device)
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generator} if takes_generator else {}
    conditions = [network.conditions(block) for block in blocks(condition)]
    x = noise((n_rows, network.embed_dim), generator, condition.device) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        times = network.times(t[None])
        found = [
            _guided(network, block, times, own, guidance)
            for block, own in zip(blocks(x), conditions, strict=True)
        ]
        x = scheduler.step(torch.cat(found)[:n_rows], t, x, **options).prev_sample
    return x


def _guided(
    network: DiffusionPriorUNet, x: Tensor, times: list[Tensor], conditions: list[Tensor], guidance: float
) -> Tensor:
    """Return the guided prediction of one block; a weight of 1 needs no unconditional one."""
    terms = [time + own for time, own in zip(times, conditions, strict=True)]
    if guidance == 1:
        return network.denoise(x, terms)
    # Both in one call: the weights pass through the cache once.
    both = [torch.cat([time.expand_as(term), term]) for time, term in zip(times, terms, strict=True)]
    unconditional, conditional = network.denoise(torch.cat([x, x]), both).chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def _predicted(published: bool) -> str:
    """Return diffusers' name for what the network tells."""
    return "epsilon" if published else "v_prediction"


def _centre_and_scale(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean row and one scale, the root mean square of what is left; never 0."""
    mean = rows.mean(dim=0)
    return mean, (rows - mean).square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
