"""What Python users leave out is reported in a sentence, and shared concepts have a chance of their own."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from neurodec import NeurodecError
from neurodec.class_paths import resolve_class
from neurodec.evaluation import PredictedClasses, Retrieval
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import Gallery
from neurodec.run.picture_section import undrawable_in_words
from neurodec.training import Objective


def test_an_objective_that_forgot_its_head():
    class Forgetful(Objective):
        pass

    with pytest.raises(NeurodecError, match="Forgetful does not say its `head`"):
        _ = Forgetful().head
    with pytest.raises(AttributeError):
        _ = Forgetful().anything_else


@pytest.mark.parametrize("evaluation", [Retrieval(), PredictedClasses()])
def test_an_evaluation_without_what_was_fitted(evaluation):
    from linear_studies import study_of

    study, _ = study_of({"ben": 9})
    with pytest.raises(NeurodecError, match="scores a system; give `fitted`"):
        evaluation.run({}, study, None)


def test_names_that_do_not_exist_come_with_the_nearest():
    with pytest.raises(NeurodecError, match=r"neurodec.encoders.ATN does not exist; do you mean ATM"):
        resolve_class("neurodec.encoders.ATN", nn.Module, frozenset(), "encoder")


def test_chance_of_knowing_the_concept_alone():
    concepts = ["cat"] * 4 + ["dog"] * 2
    names = [f"{concept}{place}" for place, concept in enumerate(concepts)]
    table = pd.DataFrame({"subject": "1", "stimulus": names, "concept": concepts})
    scored = Scored(np.eye(6), table, Gallery(np.eye(6), names, concepts), 1)
    assert scored.chance_by_concept == pytest.approx((4 * 1 / 4 + 2 * 1 / 2) / 6)


def test_a_decoder_that_cannot_draw_such_pictures():
    def found(low):
        ceiling = {"two_way": {"clip": 0.5}, "ci95": {"two_way": {"clip": [low, 0.6]}}}
        return {"ceilings": {"true_through_decoder": ceiling}}

    assert "cannot draw such pictures" in undrawable_in_words(found(0.45))
    assert undrawable_in_words(found(0.55)) is None
    assert undrawable_in_words({}) is None
