"""Steps that hold nothing twice, batches that are read from views, and candidates of earlier steps."""

import numpy as np
import pytest
import torch

from neurodec import Features, Study
from neurodec.data.responses import View
from neurodec.errors import NeurodecError
from neurodec.features import cache
from neurodec.training import SequenceContrast, TrainingData, TrialBatches


class Squares(View):
    """Rows that are computed when they are read."""

    dtype = np.dtype(np.float32)

    def __init__(self, n, *shape):
        self.shape, self.asked = (n, *shape), []

    def read(self, rows):
        self.asked.append(len(rows))
        return np.stack([np.full(self.shape[1:], row**2, dtype=np.float32) for row in rows])


def _batches(n_texts=12, size=8, **settings):
    names = [f"word {number}" for number in range(48)]
    rng = np.random.default_rng(0)
    texts = [f"text {number % n_texts}" for number in range(48)]
    study = Study.from_arrays(rng.normal(size=(48, 3, 10)), names, sfreq=10.0, split="train", text=texts)
    targets = {"image": Features(np.eye(48, dtype=np.float32), names, {"embedding_space": "x"})}
    data = TrainingData(size, validation_fraction=0.0, **settings)
    batches = TrialBatches(study, targets, data, ["01"])
    batches.setup("fit")
    return batches, np.array(texts)


def test_no_step_holds_a_text_twice():
    batches, texts = _batches(distinct_by="text")
    steps = list(batches.train_dataloader())
    assert len(steps) >= 5
    seen = np.concatenate([step.stimulus.numpy() for step in steps])
    assert len(set(seen.tolist())) == len(seen)
    for step in steps:
        assert len(step) == 8
        assert len(set(texts[step.stimulus.numpy()])) == 8
    plain, _ = _batches()
    assert any(len(set(texts[step.stimulus.numpy()])) < 8 for step in plain.train_dataloader())


def test_batches_of_more_than_there_are_texts_are_refused():
    batches, _ = _batches(n_texts=4, distinct_by="text")
    with pytest.raises(NeurodecError, match=r"lower data\.batch_size, or leave data\.distinct_by out"):
        batches.train_dataloader()


def test_views_of_more_than_a_gigabyte_are_read_batch_by_batch(monkeypatch):
    monkeypatch.setattr(cache, "_IN_MEMORY", 100)
    names = [f"word {number}" for number in range(40)]
    study = Study.from_arrays(np.zeros((40, 2, 5)), names, sfreq=10.0, split="train")
    trials = study.trials
    responses, values = Squares(40, 2, 5), Squares(40, 3)
    study = Study.of(type(trials)(responses, trials.table, trials.info))
    targets = {"image": Features(values, names, {"embedding_space": "x"})}
    batches = TrialBatches(study, targets, TrainingData(10, validation_fraction=0.0), ["01"])
    batches.setup("fit")
    for step in batches.train_dataloader():
        rows = step.stimulus.numpy()
        np.testing.assert_array_equal(step["image"][:, 0], rows**2)
        np.testing.assert_array_equal(step.responses["all"][:, 0, 0], rows**2)
    assert set(responses.asked) == {10}
    assert set(values.asked) == {10}


def test_earlier_targets_are_further_candidates_in_training_alone():
    torch.manual_seed(0)
    objective = SequenceContrast(negatives=10, pool_size=12)
    batches = torch.randn(4, 6, 3, 5)
    sizes = [len(objective._with_earlier(batch)) for batch in batches]
    assert sizes == [6, 10, 10, 10]
    pool = torch.cat(objective._earlier)[-12:]
    assert torch.equal(pool, torch.cat([batches[2], batches[3]]))  # the newest
    objective.eval()
    assert len(objective._with_earlier(batches[0])) == 6
    objective.train()
    assert len(objective._with_earlier(batches[0])) == 6  # a validation empties it
