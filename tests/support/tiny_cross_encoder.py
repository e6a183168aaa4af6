"""Cross-encoders of a few kilobytes with random weights."""

from __future__ import annotations

from pathlib import Path

from tiny_sparse import vocabulary


def make_cross_encoder(folder: Path, labels: int = 1, seed: int = 3) -> Path:
    """A random BERT that scores pairs."""
    import torch
    import transformers

    folder.mkdir()
    tokens = vocabulary()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
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
