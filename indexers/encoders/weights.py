"""The weights of a BERT-like transformer, laid out for ``packed``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACTIVATIONS = {"gelu": ("gelu", "none"), "relu": ("relu", "")}
"""Activations that can be fused into a product, as transformers and as oneDNN name them."""
MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert")
BERT_LIKE = ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel")


class Linear:
    """x W' + b, its weight packed for oneDNN where this torch has it."""

    def __init__(self, weight: Any, bias: Any, dtype: Any) -> None:
        import torch

        self.bias = bias.to(dtype).contiguous()
        weight = weight.to(dtype).contiguous()
        self._packed = torch.backends.mkldnn.is_available() and (
            dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
        if self._packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, 4096)
        self.weight = weight

    def __call__(self, x: Any, activation: str | None = None) -> Any:
        """The product, (n, in) -> (n, out), and the activation over it."""
        import torch

        if self._packed:
            name, algorithm = ACTIVATIONS[activation] if activation else ("none", "")
            return torch.ops.mkldnn._linear_pointwise(
                x, self.weight, self.bias, name, [], algorithm
            )
        y = torch.nn.functional.linear(x, self.weight, self.bias)
        return getattr(torch.nn.functional, activation)(y) if activation else y


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm, in float32."""

    weight: Any
    bias: Any
    epsilon: float

    def __call__(self, x: Any) -> Any:
        """Normalised over the last dimension."""
        import torch

        return torch.nn.functional.layer_norm(
            x, self.weight.shape, self.weight, self.bias, self.epsilon
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; query, key and value are one product, the query scaled for the softmax."""

    query_key_value: Linear
    attention_out: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class Weights:
    """A transformer. ``positions`` holds the one token type's embedding too.

    ``padding``: the padding's number where positions count from it on (RoBERTa), else None.
    """

    words: Any
    positions: Any
    embedding_norm: Norm
    layers: tuple[Layer, ...]
    heads: int
    activation: str
    padding: int | None


def why_not(config: Mapping[str, Any]) -> str | None:
    """Why a transformer of this configuration cannot be run packed; None when it can."""
    if config.get("model_type") not in MODEL_TYPES:
        return f"a {config.get('model_type')} is not one of {', '.join(MODEL_TYPES)}"
    if (config.get("position_embedding_type") or "absolute") != "absolute":
        return "its positions are not absolute"
    if config.get("hidden_act") not in ACTIVATIONS:
        return f"its activation is {config.get('hidden_act')}"
    if config.get("is_decoder") or config.get("add_cross_attention"):
        return "it is a decoder"
    return None


def read_weights(tensors: Mapping[str, Any], config: Mapping[str, Any], dtype: Any) -> Weights:
    """The weights of a model that ``why_not`` accepts, rounded once to ``dtype``.

    ``tensors``: by the names that transformers gives them, float32; ``config``: its config.json.
    """
    import torch

    def norm(name: str) -> Norm:
        epsilon = config.get("layer_norm_eps", 1e-12)
        return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"], epsilon)

    def linear(name: str) -> Linear:
        return Linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"], dtype)

    def layer(number: int) -> Layer:
        name = f"encoder.layer.{number}"
        scale = (config["hidden_size"] // config["num_attention_heads"]) ** -0.5
        three = [
            (f"{name}.attention.self.{part}", scale if part == "query" else 1.0)
            for part in ("query", "key", "value")
        ]
        return Layer(
            query_key_value=Linear(
                torch.cat([tensors[f"{part}.weight"] * by for part, by in three]),
                torch.cat([tensors[f"{part}.bias"] * by for part, by in three]),
                dtype,
            ),
            attention_out=linear(f"{name}.attention.output.dense"),
            attention_norm=norm(f"{name}.attention.output.LayerNorm"),
            up=linear(f"{name}.intermediate.dense"),
            down=linear(f"{name}.output.dense"),
            norm=norm(f"{name}.output.LayerNorm"),
        )

    positions = tensors["embeddings.position_embeddings.weight"]
    return Weights(
        words=tensors["embeddings.word_embeddings.weight"].to(dtype),
        positions=positions + tensors["embeddings.token_type_embeddings.weight"][0],
        embedding_norm=norm("embeddings.LayerNorm"),
        layers=tuple(layer(number) for number in range(config["num_hidden_layers"])),
        heads=config["num_attention_heads"],
        activation=config["hidden_act"],
        padding=None if config["model_type"] == "bert" else config["pad_token_id"],
    )
