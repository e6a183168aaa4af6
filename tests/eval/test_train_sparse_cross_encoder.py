"""Cross-encoders as teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sparse import vocabulary

from cormorant.errors import InputError
from cormorant.eval.training.pair_scorers import CrossEncoderScorer


def _make(folder: Path, labels: int) -> Path:
    import transformers

    folder.mkdir()
    tokens = vocabulary()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = transformers.BertConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=0.5,
            num_labels=labels,
        )
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
    transformers.BertTokenizer(
        vocab=str(folder / "vocab.txt"), model_max_length=64
    ).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_pairs_are_scored_as_sentence_transformers_scores_them(tmp_path):
    from sentence_transformers import CrossEncoder

    folder = _make(tmp_path / "model", 1)
    pairs = [("fish", "the deep fish"), ("query", "cormorant dives"), ("a", "b c d")]
    found = CrossEncoderScorer(str(folder)).score_pairs(pairs)
    assert found.dtype == np.float32
    wanted = CrossEncoder(str(folder), device="cpu").predict(pairs)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert len(set(found.tolist())) == 3
    alone = [CrossEncoderScorer(str(folder)).score_pairs([pair])[0] for pair in pairs]
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)
    assert CrossEncoderScorer(str(folder)).score_pairs([]).shape == (0,)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_models_that_are_no_teachers_are_refused(tmp_path):
    with pytest.raises(InputError, match="3 labels"):
        CrossEncoderScorer(str(_make(tmp_path / "classes", 3)))
    pickled = _make(tmp_path / "pickled", 1)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        CrossEncoderScorer(str(pickled))
