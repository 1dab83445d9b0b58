"""What a step sees: rows of several spaces, and of several processes, belong together whoever asks."""

from dataclasses import replace

import torch

from neurodec.encoders import CSBrainPretraining
from neurodec.training import Batch, HiddenPatchesObjective


def batch_of(place, sizes):
    """One process's rows: every response holds its own row number."""
    parts, first = [], 10 * place
    for number, (space, (n_rows, n_chans)) in enumerate(sizes.items()):
        own = torch.arange(first, first + n_rows)
        response = own[:, None].expand(n_rows, n_chans).float()
        space_of = torch.full((n_rows,), number)
        parts.append(Batch({space: response}, {"image": response[:, :2]}, own, own, space_of, own))
        first += n_rows
    return Batch.joined(parts)


SIZES = {"anna": (3, 4), "ben": (2, 6)}


def test_rows_of_spaces_follow_each_other():
    batch = batch_of(1, SIZES)
    assert len(batch) == 5
    assert batch.row.tolist() == [10, 11, 12, 13, 14]
    for space, rows in batch.rows_of():
        torch.testing.assert_close(batch.responses[space][:, 0], batch.subject[rows].float())
    assert batch["image"] is batch.targets["image"]
    assert batch["stimulus"] is batch.stimulus
    moved = batch.mapped(lambda values: values.double())
    assert moved.responses["ben"].dtype == moved.targets["image"].dtype == torch.float64


def test_rows_of_processes_belong_to_their_responses():
    processes, asked = [batch_of(place, SIZES) for place in (0, 1)], []

    def gather_of(values):
        """Find the tensor in the first process, and join it with that of the second."""
        asked.append(values)
        whole = [[*one.responses.values(), *one.targets.values(), one.stimulus, one.subject, one.space, one.row]
                 for one in processes]  # fmt: skip
        place = next(at for at, own in enumerate(whole[0]) if own is values)
        return torch.cat([own[place] for own in whole])

    batch = processes[0].gathered(gather_of)
    n_asked = len(asked)
    assert not any(own is values for own in processes[0].responses.values() for values in asked)
    assert batch.row.tolist() == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    for space, rows in batch.rows_of():
        torch.testing.assert_close(batch.responses[space][:, 0], batch.subject[rows].float())
    assert len(asked) == n_asked + 2


def test_hidden_patches_of_two_processes_cost_what_those_of_one_do():
    torch.manual_seed(0)
    model = CSBrainPretraining({"all": ["C3", "C4", "O1"]}, 1000, n_layers=1, ffn_dim=50, n_heads=4).eval()
    x, number, objective = torch.randn(6, 3, 1000), torch.arange(6), HiddenPatchesObjective().eval()
    whole = objective.prepare(Batch({"all": x}, {}, number, number, 0 * number, number), 0.0, model)
    found = {"patches": torch.randn(6, 3, 1000)}
    expected = objective(found, whole, 0.0, model)["loss"]
    own = replace(
        whole, responses={"all": x[:4]}, mask={"all": whole.mask["all"][:4]}, subject=number[:4], space=0 * number[:4],
        stimulus=number[:4], row=number[:4],
    )  # fmt: skip
    rest = {"all": x[4:]}

    def gather(values):
        other = {torch.bool: whole.mask["all"][4:], torch.float32: rest["all"]}.get(values.dtype, values[:2])
        return torch.cat([values, other])

    torch.testing.assert_close(objective(found, own.gathered(gather), 0.0, model)["loss"], expected)
