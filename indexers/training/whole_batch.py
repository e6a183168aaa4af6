"""One loss over a batch that lies in several processes, or is encoded piece by piece.

The loss sees every document's weights, so a mean over the batch (FLOPS) or a list of in-batch
documents (ranking) is the same however the batch is divided.

Pieces: each is encoded without a graph, the loss's gradient is taken at the weights, and each piece
is encoded again to carry it further (Gao et al. 2021, GradCache): memory for one piece at a time.
Processes: the weights are gathered, the loss is taken of all of them in each process, and a
process' gradient is that of its own part. Data-parallel training averages gradients over the
processes where the sum is wanted, so the gradient is multiplied by their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Encode = Callable[[Any], Any]
Loss = Callable[[Any], Any]


def whole_batch(pieces: Sequence[Any], encode: Encode, loss: Loss) -> Any:
    """The loss of all pieces together, to call ``backward`` on.

    ``encode``: a piece -> (documents, vocabulary). ``loss``: all documents' weights, in the order
    of processes and pieces -> a scalar. All processes have as many documents each.
    """
    import torch

    if not torch.is_grad_enabled():
        return loss(_gathered(torch.cat([encode(piece) for piece in pieces])))
    if len(pieces) == 1:
        return _scaled(loss(_gathered(encode(pieces[0]))))
    states = []
    parts = []
    with torch.no_grad():
        for piece in pieces:
            states.append(torch.get_rng_state())
            parts.append(encode(piece))
    after = torch.get_rng_state()
    weights = torch.cat(parts).requires_grad_()
    value = _scaled(loss(_gathered(weights)))
    (gradient,) = torch.autograd.grad(value, weights)
    gradients = gradient.split([len(part) for part in parts])

    def carry(above: Any) -> None:
        with torch.enable_grad():
            for piece, state, own in zip(pieces, states, gradients, strict=True):
                torch.set_rng_state(state)  # the dropout of the first time
                (encode(piece) * (own * above)).sum().backward()
        torch.set_rng_state(after)

    result = value.detach().requires_grad_()
    result.register_hook(carry)
    return result


def gather_numbers(numbers: Any) -> Any:
    """Document numbers (n,) of all processes, in their order."""
    import torch
    import torch.distributed as dist

    if not _several():
        return numbers
    found = [torch.empty_like(numbers) for _ in range(dist.get_world_size())]
    dist.all_gather(found, numbers)
    return torch.cat(found)


def _several() -> bool:
    import torch.distributed as dist

    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def _gathered(weights: Any) -> Any:
    import torch
    import torch.distributed as dist

    if not _several():
        return weights
    found = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
    dist.all_gather(found, weights.detach().contiguous())
    found[dist.get_rank()] = weights  # the only part with a graph
    return torch.cat(found)


def _scaled(value: Any) -> Any:
    """The value as it is, its gradient times the number of processes."""
    import torch.distributed as dist

    if not _several():
        return value
    many = dist.get_world_size()
    return value * many - value.detach() * (many - 1)
