"""Train the embedded CLIP: a network of open_clip's own classes, small enough to ship, that knows rendered scenes.

The folder it writes is what open_clip loads under the name ``local-dir:FOLDER``: configuration, weights, and a
word-level tokenizer, because the usual 49,000 tokens would be most of the weights of a network that reads 46 words.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from safetensors.torch import save
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from neurodec.files import atomic_path, track, write_json
from neurodec.simulate.scenes import SCENE_ATTRIBUTES, Scene, all_scenes, caption, draw_scenes, scene_pixels

CONTEXT_LENGTH = 16
IMAGE_SIZE = 64
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
VARIANTS_PER_CONCEPT = 2
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WARMUP_STEPS = 100
TINT = 0.15  # standard deviation, in units of PIXEL_STD
VALUES_PER_BATCH = (
    {"kind": 4, "color": 3, "background": 2},
    {"color": 2, "place": 3, "background": 2},
    {"kind": 2, "background": 2},
    {},
)
"""How few values of some attributes a batch shows, in turn.

Random batches alone are distinguished without the place, which was then never learned.
"""


def _write_tokenizer(folder: Path) -> int:
    """Write a word-level tokenizer for scene captions and return its vocabulary size.

    The end token has the highest id because open_clip pools the text where the id is largest.
    """
    words = sorted(
        {word for scene in all_scenes(False) for word in caption(scene).replace(",", " ,").split()}
    )
    tokens = ["<pad>", "<unknown>", "<start>", *words, "<end>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[(t, vocabulary[t]) for t in ("<start>", "<end>")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=CONTEXT_LENGTH,
        pad_token="<pad>",
        unk_token="<unknown>",
        bos_token="<start>",
        eos_token="<end>",
    ).save_pretrained(folder)
    return len(tokens)


def _write_config(folder: Path, vocab_size: int) -> dict[str, Any]:
    """Write open_clip's description of network and pixels, and return the part that builds the network."""
    # four numbers of blocks choose open_clip's ResNet, which learns shapes in a tenth of a vision transformer's steps
    vision = {
        "image_size": IMAGE_SIZE,
        "patch_size": None,
        "width": 16,
        "layers": [1, 1, 1, 1],
        "head_width": 32,
    }
    text = {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": vocab_size,
        "width": 64,
        "heads": 2,
        "layers": 2,
        "hf_tokenizer_name": "local",  # any non-empty name: open_clip then reads the tokenizer beside the weights
    }
    pixels = {"mean": [PIXEL_MEAN] * 3, "std": [PIXEL_STD] * 3, "interpolation": "bicubic"}
    network = {"embed_dim": 128, "vision_cfg": vision, "text_cfg": text}
    write_json(folder / "open_clip_config.json", {"model_cfg": network, "preprocess_cfg": pixels})
    return network


def normalised(pixels: Tensor) -> Tensor:
    """Scale uint8 pixels of `IMAGE_SIZE` as the packaged networks' inference transform does."""
    return (pixels.float() / 255 - PIXEL_MEAN) / PIXEL_STD


def _draw_batch(
    concepts: Sequence[Scene], values_shown: dict[str, int], generator: torch.Generator
) -> Tensor:
    """Draw the rows of up to `BATCH_SIZE` concepts that are alike, so that telling them apart needs every attribute."""
    shown = {}
    for attribute, n_values in values_shown.items():
        values = SCENE_ATTRIBUTES[attribute]
        shown[attribute] = {values[i] for i in torch.randperm(len(values), generator=generator)[:n_values]}
    alike = [
        row
        for row, scene in enumerate(concepts)
        if all(getattr(scene, attribute) in values for attribute, values in shown.items())
    ]
    return torch.tensor(alike)[torch.randperm(len(alike), generator=generator)[:BATCH_SIZE]]


def _worn(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur half of the pictures and tint them in patches, each by its own share.

    Resizing blurs and decoders draw softly; an embedding that minds such traces cannot score reconstructions.
    """
    share = (2 * torch.rand(len(pixels), 1, 1, 1, generator=generator) - 1).clamp(min=0)
    means = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    tints = TINT * torch.randn(len(pixels), 3, 8, 8, generator=generator)
    tints = F.interpolate(tints, pixels.shape[-2:], mode="bilinear")
    return pixels + share * (means - pixels + tints)


def _optimise(
    model: nn.Module,
    concepts: Sequence[Scene],
    images: Tensor,
    tokens: Tensor,
    n_steps: int,
    generator: torch.Generator,
) -> None:
    """Symmetric InfoNCE on batches of distinct `concepts`; `images` (variants, concepts, 3, size, size).

    Only parameters that require a gradient are trained.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )
    warmup = min(WARMUP_STEPS, n_steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        LEARNING_RATE,
        total_steps=n_steps + 1,
        pct_start=warmup / (n_steps + 1),
        cycle_momentum=False,
    )
    contrast = ClipLoss()
    for step in track(range(n_steps), "Training the tiny CLIP"):
        rows = _draw_batch(concepts, VALUES_PER_BATCH[step % len(VALUES_PER_BATCH)], generator)
        variants = torch.randint(images.shape[0], (len(rows),), generator=generator)
        pictures = _worn(normalised(images[variants, rows]), generator)
        image_features, text_features, logit_scale = model(pictures, tokens[rows])
        loss = contrast(image_features, text_features, logit_scale)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))


@torch.no_grad()
def _scale_images(model: nn.Module, pixels: Tensor) -> None:
    """Bring image embeddings to unit variance per dimension: cosines do not notice, a decoder's layers do."""
    model.eval()
    length = model.encode_image(normalised(pixels)).norm(dim=1).mean()
    projection = model.visual.attnpool.c_proj
    for parameter in (projection.weight, projection.bias):
        parameter *= projection.out_features**0.5 / length


def _embed_captions(model: nn.Module, tokenizer: Any, scenes: Sequence[Scene]) -> Tensor:
    return model.encode_text(tokenizer([caption(scene) for scene in scenes]), normalize=True)


@torch.inference_mode()
def held_out_scores(
    model: nn.Module, tokenizer: Any, n_concepts: int = 200, n_variants: int = 5
) -> dict[str, Any]:
    """Score a scene CLIP on reserved concepts, none of whose pictures or captions it was trained on.

    Parameters
    ----------
    model : nn.Module
        An open_clip model for `IMAGE_SIZE` pixels.
    tokenizer : callable
        Texts to token ids.
    n_concepts : int
        Reserved concepts, also the number of candidates.
    n_variants : int
        Further pictures of every concept for `same_concept_nearest`.

    Returns
    -------
    dict
        ``caption_to_image`` and ``image_to_caption``: captions (pictures) whose own picture (caption) ranks first;
        ``same_concept_nearest``: share of further pictures whose nearest of the `n_concepts` pictures shows the same
        concept; ``best_caption``: for every attribute, the share of pictures whose best of all 8,640 captions tells it
        rightly.
    """
    _, test, gallery = draw_scenes(16, 1, n_concepts, n_variants, seed=0)
    texts = _embed_captions(model, tokenizer, test)
    images = model.encode_image(normalised(scene_pixels(test)), normalize=True)
    further = model.encode_image(normalised(scene_pixels(gallery)), normalize=True)
    candidates = all_scenes(False) + all_scenes(True)
    best = (images @ _embed_captions(model, tokenizer, candidates).T).argmax(1)
    own, own_further = torch.arange(n_concepts), torch.arange(n_concepts).repeat_interleave(n_variants)
    return {
        "n_concepts": n_concepts,
        "caption_to_image": int(((texts @ images.T).argmax(1) == own).sum()),
        "image_to_caption": int(((images @ texts.T).argmax(1) == own).sum()),
        "same_concept_nearest": float(((further @ images.T).argmax(1) == own_further).double().mean()),
        "best_caption": {
            name: float(
                np.mean(
                    [
                        getattr(candidates[i], name) == getattr(s, name)
                        for i, s in zip(best, test, strict=True)
                    ]
                )
            )
            for name in SCENE_ATTRIBUTES
        },
    }


CARD = """# {name}

A CLIP for rendered scenes (`neurodec.simulate.scenes`), made of open_clip's own classes: image encoder 64 px,
ResNet of width 16 with one block per stage; text encoder width 64, 2 layers, vocabulary {vocab_size}; common space
128-d; {n_parameters:,} parameters, stored in half precision, {megabytes:.1f} MB. It exists so that the package works,
and can be tested, with nothing downloaded. It knows nothing about photographs.

| fact | value |
|---|---|
| made by | `python -m neurodec.embedded.tiny_clip {name} --seed {seed} --n_steps {n_steps}` |
| training data | {n_train} combinations of attributes, {n_variants} pictures each; {n_reserved} reserved, left out |
| augmentation | half of the pictures blurred and tinted |
| time | {minutes:.1f} minutes on {n_threads} CPU core(s) |
| caption finds its picture among {n_concepts} reserved concepts | {caption_to_image} of {n_concepts} |
| picture finds its caption | {image_to_caption} of {n_concepts} |
| nearest of {n_concepts} pictures shows the same concept | {same_concept_nearest:.1%} |
| best of all 8,640 captions is right about | {attributes} |

Load it with `open_clip.create_model_from_pretrained("local-dir:FOLDER")` and
`open_clip.get_tokenizer("local-dir:FOLDER")`. Licence: that of neurodec, which draws the training pictures itself.
"""


def train_tiny_clip(out: str | Path, seed: int = 0, n_steps: int = 4000) -> dict[str, Any]:
    """Train a CLIP on rendered scenes and write it as a folder that open_clip loads.

    Parameters
    ----------
    out : str or Path
        Folder to write (replaced when it exists): ``open_clip_config.json``, ``open_clip_model.safetensors`` (float16),
        tokenizer files, ``scores.json`` and a model card ``README.md``.
    seed : int
        Initial weights and order of the batches.
    n_steps : int
        Optimiser steps of 64 pairs, and then half as many that train the text encoder alone; 4,000 take about eleven
        minutes on two cores.

    Returns
    -------
    dict
        `held_out_scores` of the network as stored.
    """
    started = time.monotonic()
    with atomic_path(out) as folder:
        folder.mkdir()
        network = _write_config(folder, vocab_size=_write_tokenizer(folder))
        torch.manual_seed(seed)
        model = open_clip.CLIP(**network)
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        concepts = all_scenes(False)
        pixels = scene_pixels(concepts, VARIANTS_PER_CONCEPT)
        tokens = tokenizer([caption(scene) for scene in concepts])
        images = pixels.unflatten(0, (VARIANTS_PER_CONCEPT, -1))
        generator = torch.Generator().manual_seed(seed)
        _optimise(model, concepts, images, tokens, n_steps, generator)
        model.visual.requires_grad_(False).eval()  # captions settle better on pictures that stay put
        _optimise(model, concepts, images, tokens, n_steps // 2, generator)
        _scale_images(model, pixels[::40])
        weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
        model.load_state_dict(weights)  # the scores are those of the rounded weights
        (folder / "open_clip_model.safetensors").write_bytes(save(weights))
        scores = held_out_scores(model, tokenizer)
        write_json(folder / "scores.json", scores)
        card = CARD.format(
            name=Path(out).name,
            seed=seed,
            n_steps=n_steps,
            vocab_size=network["text_cfg"]["vocab_size"],
            n_parameters=sum(p.numel() for p in model.parameters()),
            megabytes=(folder / "open_clip_model.safetensors").stat().st_size / 1e6,
            n_train=len(concepts),
            n_variants=VARIANTS_PER_CONCEPT,
            n_reserved=len(all_scenes(True)),
            minutes=(time.monotonic() - started) / 60,
            n_threads=torch.get_num_threads(),
            attributes=", ".join(f"{name} {share:.1%}" for name, share in scores["best_caption"].items()),
            **scores,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
    return scores


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(train_tiny_clip)
