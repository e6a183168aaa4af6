"""The losses equal values made by hand, and do not depend on how a batch is divided."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.eval.training.teachers import ensemble
from cormorant.indexers.training.losses import (
    distillation,
    flops,
    ranking,
    scores_of_queries,
)
from cormorant.indexers.training.whole_batch import whole_batch

WEIGHTS = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]])


def test_flops_by_hand():
    # means 2, 0, 1: 4 + 0 + 1
    assert float(flops(WEIGHTS)) == 5.0


def test_idf_aware_flops_by_hand():
    """Of w a common and a rare term cost the same; of u = idf w the rare one costs more."""
    idf = torch.tensor([0.5, 1.0, 3.0])
    assert float(flops(WEIGHTS)) == 4.0 + 1.0
    assert float(flops(WEIGHTS, idf)) == (0.5 * 2) ** 2 + (3.0 * 1) ** 2


def test_l0_mask_by_hand():
    # The second document has one term, no more than the threshold: only (1/2, 0, 2/2) is left.
    assert float(flops(WEIGHTS, threshold=1)) == 0.25 + 1.0
    assert float(flops(WEIGHTS, threshold=2)) == 0.0
    free = WEIGHTS.clone().requires_grad_()
    flops(free, threshold=1).backward()
    assert free.grad is not None
    assert free.grad[1].tolist() == [0.0, 0.0, 0.0]
    assert free.grad[0].tolist() == [2 * 0.5 / 2, 0.0, 2 * 1.0 / 2]


def test_ensemble_by_hand():
    first = np.array([0.0, 5.0, 10.0], np.float32)
    second = np.array([3.0, 1.0, 2.0], np.float32)
    wanted = [(0 + 1) / 2, (0.5 + 0) / 2, (1 + 0.5) / 2]
    np.testing.assert_allclose(ensemble([first, second]), wanted, rtol=1e-5)


def test_ensemble_of_a_teacher_that_scores_all_alike_adds_nothing():
    flat, other = np.full(3, 7.0, np.float32), np.array([0.0, 1.0, 2.0], np.float32)
    np.testing.assert_allclose(ensemble([flat, other]), [0.0, 0.25, 0.5], atol=1e-5)


def test_distillation_by_hand():
    scores, teacher = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[0.0, 0.0]])
    wanted = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(distillation(scores, teacher)) == pytest.approx(wanted, rel=1e-5)
    assert float(distillation(teacher, teacher)) == 0.0
    cool = distillation(scores, teacher, temperature=2.0)
    share = 1 / (1 + math.sqrt(3.0))
    wanted = 0.5 * math.log(0.5 / share) + 0.5 * math.log(0.5 / (1 - share))
    assert float(cool) == pytest.approx(wanted, rel=1e-5)


def test_distillation_leaves_out_what_is_not_listed():
    scores = torch.tensor([[0.0, math.log(3.0), 50.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 0.0, -math.inf]])
    loss = distillation(scores, teacher)
    loss.backward()
    wanted = 0.5 * math.log(2.0) + 0.5 * math.log(2 / 3)
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert scores.grad is not None
    assert scores.grad[0, 2] == 0.0
    assert torch.isfinite(scores.grad).all()


def test_lists_of_one_cost_nothing():
    scores = torch.tensor([[1.0, 5.0], [0.0, math.log(3.0)]])
    teacher = torch.tensor([[3.0, -math.inf], [0.0, 0.0]])
    wanted = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 2
    assert float(distillation(scores, teacher)) == pytest.approx(wanted, rel=1e-5)
    nobody = torch.full((2, 2), -math.inf)
    assert float(distillation(scores, nobody)) == 0.0


def test_ranking_by_hand():
    scores = torch.log(torch.tensor([[1.0, 2.0, 5.0]]))
    gains = torch.tensor([[2.0, 1.0, 0.0]])
    wanted = -(2 / 3) * math.log(1 / 8) - (1 / 3) * math.log(2 / 8)
    assert float(ranking(scores, gains)) == pytest.approx(wanted, rel=1e-5)


def test_no_queries_lose_nothing():
    empty = torch.zeros((0, 3), requires_grad=True)
    for loss in (distillation(empty, torch.zeros((0, 3))), ranking(empty, torch.zeros((0, 3)))):
        loss.backward()
        assert float(loss.detach()) == 0.0


@given(seed=st.integers(0, 500), queries=st.integers(0, 4), documents=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_scores_of_queries_are_inner_products(seed, queries, documents):
    random = np.random.default_rng(seed)
    weights = random.random((documents, 7)).astype(np.float32)
    asked = random.random((queries, 7)).astype(np.float32) * (random.random((queries, 7)) < 0.4)
    rows = [np.flatnonzero(row) for row in asked]
    lengths = [len(row) for row in rows]
    starts = torch.from_numpy(np.cumsum([0, *lengths])[:-1][:queries].astype(np.int64))
    terms = np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)
    values = np.concatenate([asked[i][row] for i, row in enumerate(rows)] + [np.zeros(0)])
    found = scores_of_queries(
        torch.from_numpy(weights),
        starts,
        torch.from_numpy(terms),
        torch.from_numpy(values.astype(np.float32)),
    )
    np.testing.assert_allclose(found.reshape(queries, documents), asked @ weights.T, rtol=1e-4)


def _loss(weights: torch.Tensor) -> torch.Tensor:
    """All parts at once, on a batch of 4 documents and 3 terms."""
    teacher = torch.tensor([[1.0, 3.0, 0.0, 2.0], [0.0, 0.0, 4.0, 1.0]])
    gains = torch.tensor([[0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.0]])
    scores = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.5, 0.5]]) @ weights.T
    return (
        distillation(scores, teacher)
        + ranking(scores, gains)
        + 0.7 * flops(weights, threshold=1)
        + 0.3 * flops(weights, torch.tensor([0.5, 1.0, 2.0]))
    )


INPUTS = torch.tensor([[0.3, 1.0, -1.0], [2.0, 0.1, 0.4], [-0.5, 0.9, 1.1], [0.2, -0.6, 0.8]])


def _layer() -> torch.nn.Linear:
    torch.manual_seed(5)
    return torch.nn.Linear(3, 3)


@pytest.mark.parametrize("split", [[4], [2, 2], [1, 3], [1, 1, 1, 1]])
def test_the_batch_split_changes_neither_loss_nor_gradient(split):
    layer = _layer()
    _loss(layer(INPUTS).relu()).backward()
    wanted = [parameter.grad.clone() for parameter in layer.parameters()]
    value = float(_loss(layer(INPUTS).relu()).detach())
    layer.zero_grad()
    pieces = list(INPUTS.split(split))
    loss = whole_batch(pieces, lambda piece: layer(piece).relu(), _loss)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(value, rel=1e-6)
    for parameter, grad in zip(layer.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-5, atol=1e-6)


def test_dropout_falls_the_same_way_when_a_piece_is_encoded_again():
    layer = _layer()
    seen: list[torch.Tensor] = []

    def encode(piece: torch.Tensor) -> torch.Tensor:
        out = torch.nn.functional.dropout(layer(piece).relu(), 0.5)
        seen.append(out.detach())
        return out

    whole_batch(list(INPUTS.split(2)), encode, _loss).backward()
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])


PROCESS = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch, torch.distributed as dist
from test_train_sparse_losses import INPUTS, _layer, _loss
from cormorant.indexers.training.whole_batch import gather_numbers, whole_batch
rank = int(sys.argv[2])
dist.init_process_group("gloo", init_method="file://" + sys.argv[3], rank=rank, world_size=2)
layer = torch.nn.parallel.DistributedDataParallel(_layer())
own = INPUTS[2 * rank : 2 * rank + 2]
assert gather_numbers(torch.tensor([rank, rank + 5])).tolist() == [0, 5, 1, 6]
loss = whole_batch([own], lambda piece: layer(piece).relu(), _loss)
loss.backward()
single = _layer()
expected = _loss(single(INPUTS).relu())
expected.backward()
torch.testing.assert_close(loss.detach(), expected.detach())
for ours, theirs in zip(layer.parameters(), single.parameters(), strict=True):
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)
dist.destroy_process_group()
print("same")
"""


def test_the_number_of_processes_changes_neither_loss_nor_gradient(tmp_path):
    here = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                PROCESS,
                str(here),
                str(rank),
                str(tmp_path / "store"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in (0, 1)
    ]
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert out.strip() == "same"
