"""A Llama that copies before it has learnt anything: an induction circuit as its first weights.

Gradient descent finds this circuit late and all at once (Olsson et al. 2022, "In-context learning
and induction heads"); here training begins with it. Each token's embedding has a code of random
signs. Two heads of the first layer look one and two tokens back and note those tokens' codes; one
of the second looks for places whose notes are the two tokens read last, and adds the code of the
token that stands there to what the output compares with every embedding; a further head takes away
the code of the last token itself. (With the last token alone, what follows "the" is the mean of all
that ever followed it, and a model in its first hours answers in loops.) Positions are rotary (Su et
al. 2021): looking back by an offset compares constants, which rotation turns; looking for a code
uses the pairs that hardly turn within the window.
"""

from __future__ import annotations

from typing import Any

COPYING_LAYERS = 2
_SIGN = 0.1
"""The numbers of a code; the rest of an embedding is drawn with a fifth of it."""
_CONSTANT = 0.3
_CERTAIN = 60.0
"""By how much what is looked for beats the mean of the rest, in nats; half of it for each token."""
_TURNED = 1.0
"""Radians within the window by which a pair may turn that compares codes."""
_COPIED = 6.0
"""The copied code, in codes."""


def begin_as_copying(model: Any, window: int) -> None:
    """Set some weights of the first two layers; the others stay as they were drawn.

    ``model``: a Llama with tied embeddings, two layers and four heads or more. The codes take the
    first dimensions of its embeddings, the notes twice as many behind, and the last is constant.
    """
    import torch

    config = model.config
    head, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    n = min(head, (config.hidden_size - 1) // 3)
    pairs = head // 2
    base = config.rope_parameters["rope_theta"]
    turns = base ** (-torch.arange(pairs) / pairs)
    count = max(1, min(n // 2, int((turns * window < _TURNED).sum())))
    still = torch.arange(pairs - count, pairs)
    first, second = (layer.self_attn for layer in model.model.layers[:COPYING_LAYERS])
    codes, before, constant = slice(0, n), slice(n, 2 * n), config.hidden_size - 1
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        table[:, codes] = _SIGN * (2.0 * torch.randint(2, table[:, codes].shape) - 1.0)
        table[:, n : 3 * n] = 0.0
        table[:, constant] = _CONSTANT
        rest = config.hidden_size - 3 * n - 1
        energy = n * _SIGN**2 + _CONSTANT**2 + rest * config.initializer_range**2
        noted = energy + 2 * n * _SIGN**2
        # what the norms before the two layers make of a number of 1
        one, two = ((each / config.hidden_size) ** -0.5 for each in (energy, noted))
        _carry(first, 0, codes, one * _SIGN)
        for number in range(2):
            _look_back(first, number, number + 1, turns, one * _CONSTANT, constant)
            _write(first, number, slice((number + 1) * n, (number + 2) * n), _SIGN)
        _look_back(second, group, 0, turns, two * _CONSTANT, constant)
        _carry(second, group, codes, two * _SIGN)
        _write(second, group, codes, -_SIGN)
        _carry(second, 0, codes, two * _SIGN)
        _write(second, 0, codes, _COPIED * _SIGN)
        scale = (_CERTAIN * head**0.5 / (2 * count)) ** 0.5 / (two * _SIGN)
        query, key = second.q_proj.weight[:head], second.k_proj.weight[:head]
        query.zero_()
        key.zero_()
        # one of a pair for the last token, which was noted one place further, the other for the one
        # before it
        for half, said in enumerate((codes, before)):
            places = said.start + torch.arange(count)
            query[still + half * pairs, places] = scale
            key[still + half * pairs, n + places] = scale


def _look_back(
    attention: Any, number: int, offset: int, turns: Any, one: float, constant: int
) -> None:
    """Head ``number`` attends to ``offset`` tokens before: a constant, turned by as much."""
    import torch

    head = 2 * len(turns)
    kept = number // (attention.q_proj.weight.shape[0] // attention.k_proj.weight.shape[0])
    nearest = float((1 - torch.cos(turns)).sum())
    size = (_CERTAIN * head**0.5 / nearest) ** 0.5 / one
    query = attention.q_proj.weight[number * head : (number + 1) * head]
    key = attention.k_proj.weight[kept * head : (kept + 1) * head]
    query.zero_()
    key.zero_()
    query[:, constant] = size * torch.cat([torch.cos(offset * turns), -torch.sin(offset * turns)])
    key[: len(turns), constant] = size


def _carry(attention: Any, number: int, codes: slice, size: float) -> None:
    """The values of a head's key are signs of the codes."""
    import torch

    head = attention.head_dim
    kept = number // (attention.q_proj.weight.shape[0] // attention.k_proj.weight.shape[0])
    value = attention.v_proj.weight[kept * head : (kept + 1) * head]
    value.zero_()
    value[codes, codes] = torch.eye(codes.stop) / size


def _write(attention: Any, number: int, into: slice, gain: float) -> None:
    """A head's values are added to ``into``, times ``gain``."""
    import torch

    head, n = attention.head_dim, into.stop - into.start
    output = attention.o_proj.weight[:, number * head : (number + 1) * head]
    output.zero_()
    output[into, :n] = gain * torch.eye(n)
