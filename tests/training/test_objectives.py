"""Objectives: closed forms, projectors of the target side, and what a system that reads nothing can reach."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from neurodec.encoders import MindBridge
from neurodec.training import (
    Batch,
    BridgeObjective,
    ReconstructionObjective,
    RetrievalObjective,
    SharedSpaceObjective,
    SquaredError,
    SumObjective,
)
from neurodec.training.module import takes
from neurodec.training.objectives.bridge import soft_clip, unit

N, D = 12, 6


@pytest.fixture
def batch():
    torch.manual_seed(0)
    targets, number = {"image": torch.randn(N, D), "text": torch.randn(N, D)}, torch.arange(N)
    return Batch({"all": torch.randn(N, 4)}, targets, number, 0 * number, 0 * number, number)


def test_squared_and_absolute_errors(batch):
    found = {name: batch[name] + 0.5 for name in ("image", "text")}
    squared = SquaredError({"image": 2.0, "text": 1.0})(found, batch, 0.0)
    assert {name: pytest.approx(value.item()) for name, value in squared.items()} == {
        "image": 0.5,
        "text": 0.25,
    }
    absolute = SquaredError({"image": 2.0}, absolute=True)(found, batch, 0.0)
    assert absolute["image"].item() == pytest.approx(1.0)


def test_a_sum_has_the_terms_heads_and_needs_of_its_parts(batch):
    parts = [RetrievalObjective(text="text"), SquaredError({"text": 3.0})]
    objective = SumObjective(parts)
    assert objective.head == "image"
    assert objective.needs == ("image", "text")
    found = {name: torch.randn(N, D) for name in ("image", "text")}
    terms = objective(found, batch, 0.0)
    assert set(terms) == {"image_loss", "text_text"}
    assert terms["image_loss"] == parts[0](found, batch, 0.0)["loss"]
    assert set(objective.guess(batch)) == {"image", "text"}
    assert [name for name, _ in objective.named_parameters()] == ["parts.0.scale.logit_scale"]


def test_a_sum_projects_as_the_part_of_that_head_does(batch):
    torch.manual_seed(1)
    shared = SharedSpaceObjective({"image": [D]}, projector_dim=4)
    objective = SumObjective([shared, SquaredError({"text": 1.0})])
    torch.testing.assert_close(objective.project("image", batch["image"]), shared.projector(batch["image"]))
    assert objective.project("text", batch["text"]) is batch["text"]


def test_the_mean_is_what_no_reader_can_beat(batch):
    for objective in (ReconstructionObjective(weight=1.0), SquaredError({"image": 1.0})):
        guessed = objective.guess(batch)
        loss = sum(objective(guessed, batch, 0.0).values())
        worse = {name: value + 0.1 * torch.randn(D) for name, value in guessed.items()}
        assert loss < sum(objective(worse, batch, 0.0).values())


@pytest.mark.parametrize("projector", ["linear", "mlp", "direct"])
def test_a_shared_space_is_that_of_the_gallery_too(batch, projector):
    """The brain's side meets projected pictures; the learned projector moves with the loss."""
    torch.manual_seed(0)
    objective = SharedSpaceObjective({"image": [D]}, projector=projector, projector_dim=D)
    perfect = {"image": 9 * F.normalize(objective.project("image", batch["image"]), dim=-1).detach()}
    wrong = {"image": perfect["image"].roll(1, 0)}
    assert objective(perfect, batch, 0.0)["loss"] < objective(wrong, batch, 0.0)["loss"]
    objective(wrong, batch, 0.0)["loss"].backward() if projector != "direct" else None
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_soft_contrast_of_distinct_targets_is_the_hard_one():
    """With orthogonal targets and a low temperature the soft labels are the identity."""
    targets = torch.eye(5)
    assert soft_clip(targets, targets, 0.01).item() == pytest.approx(0.0, abs=1e-6)
    uniform = soft_clip(torch.zeros(5, 5), targets, 0.01)
    assert uniform.item() == pytest.approx(torch.log(torch.tensor(5.0)).item(), rel=1e-5)


def bridge():
    torch.manual_seed(0)
    spaces, heads = {"a": 20, "b": 31}, {"image": [D], "text": [D]}
    return MindBridge(spaces, heads, in_dim=24, h=16, n_blocks=1, bottleneck=4)


def both_spaces(model, batch):
    half = N // 2
    found = [
        model(torch.randn(half, n), torch.zeros(half, dtype=torch.long), space=name)
        for name, n in (("a", 20), ("b", 31))
    ]
    space = torch.arange(2).repeat_interleave(half)
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}, replace(batch, space=space)


def test_a_step_over_two_brains_has_all_terms_and_reaches_both(batch):
    model, objective = bridge(), BridgeObjective(mse_weight=10.0)
    found, targets = both_spaces(model, batch)
    assert takes(objective.forward, "encoder")
    terms = objective(found, targets, 0.0, encoder=model)
    contrasts = {f"{name}_{term}" for name in ("image", "text") for term in ("contrast", "mse")}
    assert set(terms) == contrasts | {"reconstruction", "cycle"}
    expected = 10 * F.mse_loss(unit(found["image"]), unit(batch["image"]))
    assert terms["image_mse"].item() == pytest.approx(expected.item())
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in model.embedder.parameters())


def test_one_brain_has_no_cycle(batch):
    model = bridge()
    found = model(torch.randn(N, 20), batch["subject"], space="a")
    assert "cycle" not in BridgeObjective()(found, batch, 0.0, encoder=model)


def test_in_reset_tuning_the_cycle_ends_in_the_brain_that_is_trained(batch):
    model = bridge()
    for parameter in model.embedder["a"].parameters():
        parameter.requires_grad_(False)
    pairs = {BridgeObjective._pair(torch.tensor([0, 1]), model) for _ in range(20)}
    assert pairs == {(0, 1)}
