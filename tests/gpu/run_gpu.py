"""What only a GPU shows, in under eight minutes on one H100: rates, idle time, memory, and the CPU's numbers again.

Usage: python tests/gpu/run_gpu.py [--out FOLDER] [--parity FOLDER]

Prints one line per measurement and a table at the end; without a GPU it says so and does nothing. Needs the package's
dependencies and nothing else: no data, no weights, no network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

N_TRIALS, N_CHANS, N_TIMES, WIDTH = 66_160, 63, 250, 1024
N_STIMULI, BATCH = 16_540, 1024
N_FOLD = 9 * 16_540  # averaged training trials of a left-out subject

found: dict[str, float | str] = {}


def tell(name: str, value: float | str, unit: str = "") -> None:
    """Print a measurement and keep it."""
    found[f"{name} [{unit}]" if unit else name] = value
    print(f"  {name}: {value:.5g} {unit}" if isinstance(value, float) else f"  {name}: {value}", flush=True)


def seconds(run: Callable[[], object], n_runs: int = 3) -> float:
    """Return the median time of a call, after one that warms up."""
    run()
    times = []
    for _ in range(n_runs):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def generated() -> tuple:
    """A subject's training trials, and their targets."""
    from neurodec.data import Study, Trials
    from neurodec.features import Features

    generator = torch.Generator("cuda").manual_seed(0)
    responses = np.empty((N_TRIALS, N_CHANS, N_TIMES), dtype=np.float32)
    for start in range(0, N_TRIALS, 4096):
        block = responses[start : start + 4096]
        block[:] = torch.randn(block.shape, generator=generator, device="cuda").cpu().numpy()
    stimuli = [f"s{index}" for index in range(N_STIMULI)]
    shown = np.resize(stimuli, N_TRIALS)
    table = pd.DataFrame(
        {"stimulus": shown, "concept": shown, "split": "train", "subject": "01", "session": "1"}
    )
    table = table.assign(run="1", repetition=np.arange(N_TRIALS) // N_STIMULI)
    names = [f"E{index}" for index in range(N_CHANS)]
    info = {"modality": "eeg", "units": "a.u.", "sfreq": 250.0, "tmin": 0.0, "ch_names": names}
    values = np.random.default_rng(0).standard_normal((N_STIMULI, WIDTH), dtype=np.float32)
    targets = {"image": Features(values, stimuli, {"embedding_space": "generated", "key": "generated"})}
    return Study.of(Trials(responses, table, info)), targets


def train_atm(out: Path) -> None:
    """Two epochs in single and in mixed precision, and how much of a step is no kernel."""
    from neurodec.systems import LightningSystem
    from neurodec.training import TrainingData

    study, targets = generated()
    for precision in ("32-true", "bf16-mixed"):
        torch.cuda.reset_peak_memory_stats()
        system = LightningSystem(
            {"class_path": "neurodec.encoders.ATM"},
            data=TrainingData(BATCH, 0.0),
            trainer={"max_epochs": 3, "accelerator": "gpu", "devices": 1, "precision": precision},
            selection="last",
        )
        system.fit(study, targets, out=out / precision, name="gpu")
        history = pd.read_csv(out / precision / "checkpoints/gpu/metrics.csv")
        tell(f"ATM {precision}", float(history["samples_per_s"].iloc[1:].max()), "samples/s")
        tell(f"ATM {precision} loss of the last epoch", float(history["train_loss"].iloc[-1]))
        tell(f"ATM {precision} peak memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
    few = study.select({"all": np.arange(2048)})
    on_gpu = system.predict(few).of("image")
    system.encoder.cpu()
    from neurodec.training.saved_encoder import embed

    on_cpu = embed(system.encoder, few.trials.responses[:64], np.zeros(64, int), device="cpu")["image"]
    tell("ATM, largest difference of CPU and GPU", float(np.abs(on_cpu - on_gpu[:64]).max()))
    profile(study, targets)


def profile(study: object, targets: dict) -> None:
    """Run steps under the profiler: the share of time in which no kernel ran."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    from neurodec.encoders import ATM
    from neurodec.training import EncoderModule, RetrievalObjective, TrainingData, TrialBatches

    batches = TrialBatches(study, targets, TrainingData(BATCH, 0.0), ["01"])
    batches.setup("fit")
    gather = batches.training["all"].to(torch.device("cuda"))
    tell("trials lie on the GPU", str(gather.responses.is_cuda))
    module = EncoderModule(ATM(N_CHANS, N_TIMES, WIDTH), RetrievalObjective()).cuda()
    optimizer = torch.optim.AdamW(module.parameters(), 3e-4)
    order = np.random.default_rng(0).permutation(N_TRIALS)

    def step(place: int) -> None:
        batch = gather.batch(order[place * BATCH : (place + 1) * BATCH], "all")
        batch = batch.mapped(lambda rows: rows.to("cuda"))
        with torch.autocast("cuda", torch.bfloat16):
            heads = module(batch)
        loss = module.losses(heads, batch, alone=True)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for place in range(5):
        step(place)
    torch.cuda.synchronize()
    with profiled(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        started = time.perf_counter()
        for place in range(5, 35):
            step(place)
        torch.cuda.synchronize()
        wall = time.perf_counter() - started
    kernels = sorted(
        (event.time_range.start, event.time_range.end)
        for event in trace.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    busy, until = 0.0, 0.0
    for start, end in kernels:  # the union of their times
        busy += max(0.0, end - max(start, until)) / 1e6
        until = max(until, end)
    tell("ATM step, share of time outside kernels (profiled, 30 steps)", max(0.0, 1 - busy / wall))
    free = seconds(lambda: [step(place) for place in range(20)], 1)
    tell("ATM step, bare loop", 20 * BATCH / free, "samples/s")


def extract_features(out: Path) -> None:
    """Features of pictures on the disk against the bare network's rate."""
    import open_clip
    from safetensors.torch import save_file

    from neurodec.features import OpenClip
    from neurodec.features.weights import load_clip

    folder = out / "ViT-L-14"
    folder.mkdir()
    network = open_clip.create_model("ViT-L-14")
    config = {"model_cfg": open_clip.get_model_config("ViT-L-14"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    pictures = out / "pictures"
    pictures.mkdir()
    rng, n = np.random.default_rng(0), 8192
    for index in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        coarse.resize((256, 256)).save(pictures / f"{index}.jpg")
    stimuli = pd.DataFrame({"stimulus": [str(i) for i in range(n)], "image": [f"{i}.jpg" for i in range(n)]})
    os.environ["NEURODEC_CACHE"] = str(out / "cache")
    extractor = OpenClip(model=f"local-dir:{folder}", batch_size=256)
    extractor.extract(stimuli.head(256), pictures)
    started = time.perf_counter()
    extractor.extract(stimuli, pictures)
    rate = (n - 256) / (time.perf_counter() - started)
    bare, _ = load_clip(f"local-dir:{folder}")
    bare, batch = bare.cuda(), torch.randn(256, 3, 224, 224, device="cuda")
    with torch.inference_mode(), torch.autocast("cuda"):
        own = 256 / seconds(lambda: bare.encode_image(batch), 10)
    tell("features of ViT-L-14, from files", rate, "pictures/s")
    tell("features of ViT-L-14, network alone", own, "pictures/s")
    tell("features, share of the network's rate", rate / own)


def sample_and_draw() -> None:
    """Sample a prior and draw pictures, on the GPU and on the CPU."""
    from neurodec.decoders import GuidedDiffusion
    from neurodec.priors import DiffusionPrior

    rng = np.random.default_rng(0)
    z = rng.standard_normal((4096, WIDTH), dtype=np.float32)
    prior = DiffusionPrior(max_epochs=5).fit(z, z, embedding_space="generated")
    seeds = [torch.Generator().manual_seed(index) for index in range(200)]
    times = {}
    for device in ("cuda", "cpu"):
        prior.to(device)
        times[device] = seconds(lambda: prior.sample(z[:200], seeds, n_steps=50, guidance=2.0), 1)
        tell(f"prior, 200 samples of 50 steps on {device}", times[device], "s")
    embeddings = torch.from_numpy(rng.standard_normal((64, 128), dtype=np.float32))
    drawn = {}
    for device in ("cuda", "cpu"):
        decoder = GuidedDiffusion(device=device, dtype="float32", batch_size=64)

        def draw(decoder: GuidedDiffusion = decoder) -> list:
            own = [torch.Generator().manual_seed(index) for index in range(64)]
            return decoder.decode({"image": embeddings}, generator=own, n_steps=20, guidance=2.0)

        tell(f"decoder, 64 pictures of 20 steps on {device}", seconds(draw, 1), "s")
        drawn[device] = np.stack([np.asarray(picture) for picture in draw()]).astype(float)
    tell(
        "decoder, mean difference of CPU and GPU (of 255)", float(np.abs(drawn["cuda"] - drawn["cpu"]).mean())
    )


def solve_ridge() -> None:
    """The linear baseline of a left-out subject at full size, on generated features."""
    from neurodec.linear import Ridge

    rng = np.random.default_rng(0)
    features = rng.standard_normal((N_FOLD, 63 * 50), dtype=np.float32)
    targets = rng.standard_normal((N_FOLD, 64), dtype=np.float32)
    targets = np.concatenate([targets] * (WIDTH // 64), axis=1)
    started = time.perf_counter()
    Ridge().fit(features, targets, np.arange(N_FOLD) % N_STIMULI)
    tell(
        f"ridge, {N_FOLD} x {features.shape[1]} to {WIDTH} targets, 17 penalties, 5 folds",
        time.perf_counter() - started,
        "s",
    )


def score_pictures() -> None:
    """The seven picture sets of a report, at once against one by one, with networks of random weights."""
    from benchmarks.bench_scoring import main as compare

    for n, ratio in compare((50, 200)).items():
        tell(f"scoring seven sets of {n} at once, against one by one", ratio, "times")


def run_parity(folder: Path) -> None:
    """Golden outputs of the authors' code, on the GPU."""
    os.environ["NEURODEC_PARITY_DEVICE"] = "cuda"
    from run_parity import check

    torch.backends.cudnn.allow_tf32 = False
    lines = [check(case) for case in sorted(folder.glob("*/")) if (case / "case.json").exists()]
    for _, line in lines:
        print(f"  {line}")
    tell("parity cases ok on the GPU", f"{sum(passed for passed, _ in lines)} of {len(lines)}")


def main() -> int:
    """Run all parts; one that fails is reported and does not hide the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for gpu.json")
    parser.add_argument("--parity", type=Path, default=ROOT.parent / "shared" / "parity", help="golden cases")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing was run")
        return 0
    tell("device", torch.cuda.get_device_name())
    tell("torch", torch.__version__)
    parts: dict[str, Callable[[Path], None]] = {
        "train": train_atm,
        "features": extract_features,
        "sample and draw": lambda _: sample_and_draw(),
        "ridge": lambda _: solve_ridge(),
        "scoring": lambda _: score_pictures(),
    }
    if arguments.parity.is_dir():
        parts["parity"] = lambda _: run_parity(arguments.parity)
    failed = []
    for name, part in parts.items():
        print(f"{name} ...", flush=True)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                part(Path(folder))
            except Exception as error:
                failed.append(name)
                print(f"  FAILED ({type(error).__name__}: {error})", flush=True)
        tell(f"{name}, all in all", time.perf_counter() - started, "s")
    if arguments.out:
        (arguments.out / "gpu.json").write_text(json.dumps(found, indent=1))
    print(
        "\n".join(
            f"{name:75} {value if isinstance(value, str) else f'{value:.5g}'}"
            for name, value in found.items()
        )
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
