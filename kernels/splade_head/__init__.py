"""The SPLADE head: each text's largest logit of every term, never (texts, tokens, vocabulary).

Texts lie packed: ``hidden`` (n_tokens, dim), text i has the tokens ``starts[i]:starts[i + 1]``
(starts int64, from 0, ascending, to n_tokens). ``weight`` (vocabulary, dim) and ``bias``
(vocabulary,) are the vocabulary head. All are torch tensors on one device; hidden and weight have
one type (float32, bfloat16 or float16), the bias is float32 or None for none.

    m[i, v] = max over the tokens t of text i of <hidden[t], weight[v]> + bias[v]
    w[i, v] = log(1 + relu(m[i, v]))                          "log1p"        (SPLADE, v2's max)
    w[i, v] = log(1 + log(1 + relu(m[i, v])))                 "log1p_log1p"  (2504.14839, l0)

Both grow with m, so the maximum may be taken first. A text without tokens weighs nothing: w = 0.
Of equal products the first token counts. ``hidden`` must be finite, and the products within the
type's reach. Products are summed in float32 or wider and, with 16-bit inputs on a CPU, rounded to
16 bits before the bias is added in float32.

* ``reference.py``: float64, obvious; the specification.
* ``cpu.py``: products over chunks of the vocabulary, the maximum of a chunk while it is in cache.
* ``gpu.py``: Triton; a program holds a tile of products in registers, never in memory.

``weights`` is differentiable (``gradient.py``): a gradient reaches only the token at the maximum.
"""

from __future__ import annotations

from typing import Any

ACTIVATIONS = ("log1p", "log1p_log1p")


def maxima(hidden: Any, starts: Any, weight: Any, bias: Any | None) -> tuple[Any, Any]:
    """Largest logits and their places: (n, vocabulary) float32 and int32.

    A place is the token's number in ``hidden``; where a text has no tokens: -inf and -1. Runs on
    the GPU where the tensors are, else on the CPU.

    Raises:
        ValueError: shapes, types or starts that do not fit, or a number in ``hidden`` that is not
            finite.
    """
    from .checking import check

    check(hidden, starts, weight, bias)
    if hidden.device.type == "cuda":
        from .gpu import maxima as on_gpu

        found: tuple[Any, Any] = on_gpu(hidden, starts, weight, bias)
        return found
    from .cpu import maxima as on_cpu

    return on_cpu(hidden, starts, weight, bias)


def activate(largest: Any, activation: str) -> Any:
    """The weights of largest logits; -inf (no tokens) becomes 0."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    weights = largest.relu().log1p()
    return weights.log1p() if activation == "log1p_log1p" else weights


def weights(hidden: Any, starts: Any, weight: Any, bias: Any | None, activation: str) -> Any:
    """Weights of terms, (n, vocabulary) float32, with gradients for hidden, weight and bias.

    Raises:
        ValueError: see :func:`maxima`; an unknown activation.
    """
    from .gradient import head_function

    return activate(head_function().apply(hidden, starts, weight, bias), activation)
