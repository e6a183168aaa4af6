"""Sentence encoders of a few kilobytes with random weights, in sentence-transformers' layout."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path

WORDS = ("cormorant", "dives", "deep", "the", "fish", "search", "query", "passage", ":", ".", "我")


def make_model(
    folder: Path,
    kind: str = "bert",
    *,
    pooling: str = "mean",
    normalize: bool = True,
    dense: bool = False,
    prompts: Mapping[str, str] | None = None,
    activation: str = "gelu",
    window: int = 48,
) -> Path:
    """A random model: kind is bert, roberta or distilbert."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        Pooling,
        Transformer,
    )

    letters = [*string.ascii_lowercase, *string.digits]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    raw = folder / "raw"
    raw.mkdir(parents=True)
    (raw / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    size = {"vocab_size": len(vocabulary), "pad_token_id": 0}
    common = {
        **size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": activation,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
    }
    with torch.random.fork_rng():
        torch.manual_seed(7)
        if kind == "distilbert":
            config = transformers.DistilBertConfig(
                **size, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
            )
            model = transformers.DistilBertModel(config)
        elif kind == "roberta":
            model = transformers.RobertaModel(
                transformers.RobertaConfig(**common, type_vocab_size=1), add_pooling_layer=False
            )
        else:
            model = transformers.BertModel(
                transformers.BertConfig(**common), add_pooling_layer=False
            )
        model.save_pretrained(raw)
        transformers.BertTokenizer(
            vocab=str(raw / "vocab.txt"), model_max_length=64
        ).save_pretrained(raw)
        modules = [Transformer(str(raw), max_seq_length=window), Pooling(32, pooling)]
        if dense:
            modules.append(Dense(32, 16))
        if normalize:
            modules.append(Normalize())
        path = folder / "model"
        whole = SentenceTransformer(modules=modules, device="cpu", prompts=dict(prompts or {}))
        whole.save_pretrained(str(path), create_model_card=False)
    return path
