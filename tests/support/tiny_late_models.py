"""Late-interaction models of a few kilobytes, their weights random, in each of three layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

PYLATE = {
    "prompts": {},
    "similarity_fn_name": "MaxSim",
    "query_prefix": "query ",
    "document_prefix": "passage ",
    "query_length": 12,
    "document_length": 20,
    "attend_to_expansion_tokens": False,
    "skiplist_words": ["the", "."],
    "do_query_expansion": True,
}
"""What PyLate writes into config_sentence_transformers.json."""


def make_late(
    folder: Path, bert: Path, *, expansion: bool = True, similarity: str = "maxsim"
) -> Path:
    """A late-interaction model as sentence-transformers saves it: marks, skip list, expansion."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize

    pad = {"strategy": "fixed", "attend": False, "length": 12}
    transformer = Transformer(
        str(bert), max_seq_length=40, document_length=20, query_expansion=pad if expansion else None
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        dense = Dense(
            32, 8, bias=False, activation_function=torch.nn.Identity(),
            module_input_name="token_embeddings",
        )  # fmt: skip
    mask = MultiVectorMask(skiplist_words=["the", "."])
    norm = Normalize(module_input_name="token_embeddings")
    model = MultiVectorEncoder(
        modules=[transformer, dense, mask, norm],
        device="cpu",
        prompts={"query": "query : ", "document": "passage : "},
        similarity_fn_name=similarity,
    )
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def make_pylate(folder: Path, late: Path, *, home: str, said: dict[str, Any]) -> Path:
    """A model as PyLate saves it: a transformer and a Dense, all else in the configuration."""
    shutil.copytree(late, folder)
    entries = json.loads((folder / "modules.json").read_text())[:2]
    entries[1]["type"] = home
    (folder / "modules.json").write_text(json.dumps(entries))
    config = folder / "sentence_bert_config.json"
    kept = json.loads(config.read_text())
    for key in ("query_expansion", "query_length", "document_length"):
        kept.pop(key, None)
    config.write_text(json.dumps(kept))
    dense = folder / entries[1]["path"] / "config.json"
    wired = json.loads(dense.read_text())
    dense.write_text(json.dumps({k: v for k, v in wired.items() if not k.startswith("module_")}))
    config = folder / "config_sentence_transformers.json"
    versions = json.loads(config.read_text())["__version__"]
    config.write_text(json.dumps({"__version__": versions, **said}))
    return folder


def make_stanford(folder: Path, bert: Path) -> Path:
    """A model in Stanford's own layout, as colbert-ir/colbertv2.0 has it."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(bert, folder)
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "1_Pooling")
    tensors = {
        f"bert.{name}": value for name, value in load_file(bert / "model.safetensors").items()
    }
    drawn = torch.Generator().manual_seed(5)
    tensors["linear.weight"] = torch.randn(8, 32, generator=drawn)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = folder / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "architectures": ["HF_ColBERT"]}))
    marks = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 12,
        "doc_maxlen": 20,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
    }
    (folder / "artifact.metadata").write_text(json.dumps(marks))
    return folder
