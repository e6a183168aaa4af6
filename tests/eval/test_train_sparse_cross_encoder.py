"""Cross-encoders as teachers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_cross_encoder import make_cross_encoder

from cormorant.errors import InputError
from cormorant.eval.training.pair_scorers import cross_encoder_scorer


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_pairs_are_scored_as_sentence_transformers_scores_them(tmp_path):
    from sentence_transformers import CrossEncoder

    folder = make_cross_encoder(tmp_path / "model")
    pairs = [("fish", "the deep fish"), ("query", "cormorant dives"), ("a", "b c d")]
    scorer = cross_encoder_scorer(str(folder))
    found = scorer.score_pairs(pairs)
    assert found.dtype == np.float32
    wanted = CrossEncoder(str(folder), device="cpu").predict(
        pairs, activation_fn=torch.nn.Identity()
    )
    np.testing.assert_allclose(found, wanted, atol=0.05)  # bfloat16 where the processor has it
    assert len(set(found.tolist())) == 3
    assert scorer.score_pairs([]).shape == (0,)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_models_that_are_no_teachers_are_refused(tmp_path):
    with pytest.raises(InputError, match="3 labels"):
        cross_encoder_scorer(str(make_cross_encoder(tmp_path / "classes", 3)))
    pickled = make_cross_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        cross_encoder_scorer(str(pickled))
