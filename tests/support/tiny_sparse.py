"""Sparse encoders of a few kilobytes with random weights, as sentence-transformers saves them."""

from __future__ import annotations

import string
from pathlib import Path

from tiny_models import WORDS


def vocabulary() -> list[str]:
    """The tokens, special ones first."""
    letters = [*string.ascii_lowercase, *string.digits]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters]
    return tokens + [f"##{letter}" for letter in letters]


def make_masked_model(folder: Path, *, window: int = 48, spread: float = 0.5) -> Path:
    """A BERT with a vocabulary head, random, in transformers' layout."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    tokens = vocabulary()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = transformers.BertConfig(
            vocab_size=len(tokens),
            pad_token_id=0,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=spread,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        model = transformers.BertForMaskedLM(config)
        torch.nn.init.normal_(model.get_output_embeddings().bias)
        model.save_pretrained(folder)
    transformers.BertTokenizer(
        vocab=str(folder / "vocab.txt"), model_max_length=window
    ).save_pretrained(folder)
    return folder


def make_sparse_model(
    folder: Path, *, inference_free: bool, activation: str = "relu", window: int = 48
) -> Path:
    """A sparse encoder as sentence-transformers saves one."""
    import torch
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import (
        SparseStaticEmbedding,
        SpladePooling,
        Transformer,
    )

    raw = make_masked_model(folder / "raw", window=window)
    transformer = Transformer(str(raw), transformer_task="fill-mask", max_seq_length=window)
    modules = [transformer, SpladePooling("max", activation_function=activation)]
    if inference_free:
        weights = torch.linspace(0.1, 3.0, len(vocabulary()))
        table = SparseStaticEmbedding(transformer.tokenizer, weights, frozen=True)
        modules = [Router.for_query_document(query_modules=[table], document_modules=modules)]
    path = folder / "model"
    SparseEncoder(modules=modules, similarity_fn_name="dot", device="cpu").save_pretrained(
        str(path), create_model_card=False
    )
    return path


def make_causal_model(folder: Path) -> Path:
    """A causal language model (GPT-2's shape), random, in transformers' layout."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    tokens = vocabulary()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(9)
        config = transformers.GPT2Config(
            vocab_size=len(tokens),
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=64,
            bos_token_id=2,
            eos_token_id=3,
            initializer_range=0.5,
        )
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    transformers.BertTokenizer(
        vocab=str(folder / "vocab.txt"), model_max_length=64
    ).save_pretrained(folder)
    return folder
