"""The weights of a BERT-like transformer, laid out for ``packed``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ACTIVATIONS = {"gelu": ("gelu", "none"), "relu": ("relu", "")}
"""Activations that can be fused into a product, as transformers and as oneDNN name them."""
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


def why_not(model: Any) -> str | None:
    """Why a transformer cannot be run packed; None when it can."""
    config = model.config
    if type(model).__name__ not in BERT_LIKE or not type(model).__module__.startswith(
        "transformers."
    ):
        return f"{type(model).__name__} is not one of {', '.join(BERT_LIKE)}"
    if (getattr(config, "position_embedding_type", None) or "absolute") != "absolute":
        return "its positions are not absolute"
    if config.hidden_act not in ACTIVATIONS:
        return f"its activation is {config.hidden_act}"
    if config.is_decoder or getattr(config, "add_cross_attention", False):
        return "it is a decoder"
    if model.embeddings.position_embeddings.weight.dtype.itemsize > 4:
        return "its weights are float64"
    return None


def read_weights(model: Any, dtype: Any) -> Weights:
    """The weights of a model that ``why_not`` accepts, rounded once to ``dtype``."""
    import torch

    config, embeddings = model.config, model.embeddings

    def norm(module: Any) -> Norm:
        return Norm(module.weight.detach(), module.bias.detach(), module.eps)

    def linear(module: Any) -> Linear:
        return Linear(module.weight.detach(), module.bias.detach(), dtype)

    def layer(module: Any) -> Layer:
        attention = module.attention.self
        scale = (config.hidden_size // config.num_attention_heads) ** -0.5
        three = (attention.query, attention.key, attention.value)
        scales = (scale, 1.0, 1.0)
        return Layer(
            query_key_value=Linear(
                torch.cat([x.weight.detach() * s for x, s in zip(three, scales, strict=True)]),
                torch.cat([x.bias.detach() * s for x, s in zip(three, scales, strict=True)]),
                dtype,
            ),
            attention_out=linear(module.attention.output.dense),
            attention_norm=norm(module.attention.output.LayerNorm),
            up=linear(module.intermediate.dense),
            down=linear(module.output.dense),
            norm=norm(module.output.LayerNorm),
        )

    positions = embeddings.position_embeddings.weight.detach()
    return Weights(
        words=embeddings.word_embeddings.weight.detach().to(dtype),
        positions=positions + embeddings.token_type_embeddings.weight.detach()[0],
        embedding_norm=norm(embeddings.LayerNorm),
        layers=tuple(layer(module) for module in model.encoder.layer),
        heads=config.num_attention_heads,
        activation=config.hidden_act,
        padding=None if type(model).__name__ == "BertModel" else embeddings.padding_idx,
    )
