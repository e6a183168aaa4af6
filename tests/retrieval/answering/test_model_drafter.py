"""A model that drafts, on a prompt that was shortened: against plain forwards of the same model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drafting import ENDS, PAD, VOCABULARY, model, tokenizer
from oracle import Forgetful, check

from cormorant.errors import InputError
from cormorant.rankers.language_models.local import LocalModel
from cormorant.retrieval.answering.decoding.engine import Decoder
from cormorant.retrieval.answering.decoding.policy import Always
from cormorant.retrieval.answering.decoding.types import Budget, Passage, Prompt, Sampling, Tools
from cormorant.retrieval.answering.drafters.fuse import Fused
from cormorant.retrieval.answering.drafters.model import Drafts, Model, shortened
from cormorant.retrieval.answering.drafters.passages import Passages
from cormorant.retrieval.answering.drafters.text import Text
from cormorant.retrieval.answering.drafters.transfer import KnowledgeTransfer, transferred
from cormorant.retrieval.answering.drafters.trimming import frequent, trimmed

TOOLS = Tools(VOCABULARY, frozenset({PAD}), frozenset(ENDS), seed=2, memory=Forgetful())
TOKENS = np.random.default_rng(1).integers(2, VOCABULARY, 30)
PROMPT = Prompt(TOKENS, (Passage("a", 2, 12), Passage("b", 12, 20)))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = tmp_path_factory.mktemp("draft")
    model("llama").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return LocalModel(str(folder))


@lru_cache(maxsize=500)
def plain_logits(name: str, tokens: tuple[int, ...]) -> np.ndarray:
    with torch.inference_mode():
        return model(name)(torch.tensor([tokens])).logits[0, -1].double().numpy()


def law_of(logits: np.ndarray, temperature: float) -> np.ndarray:
    scores = logits.copy()
    scores[PAD] = -np.inf
    weights = np.exp((scores - scores.max()) / temperature)
    return weights / weights.sum()


def drafts(name: str, **settings: Any) -> Drafts:
    return Drafts(Model(LocalModel("any"), **settings), model(name), PROMPT, TOOLS)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_every_node_has_the_law_of_a_plain_forward_of_its_path(name, temperature):
    drafting = drafts(name, temperature=temperature, branching=(3, 2))
    text = TOKENS.tolist()
    for new in ([5], [6, 7, 8], [9]):
        drafting.commit(new, None)
        text += new
        proposal = drafting.proposal(Budget(20, 4))
        draft = proposal.draft
        check(draft, Budget(20, 4), TOOLS)
        paths: dict[int, list[int]] = {-1: []}
        for node, parent in enumerate(draft.parents.tolist()):
            paths[node] = [*paths[parent], int(draft.tokens[node])]
            expected = law_of(plain_logits(name, (*text, *paths[parent])), temperature or 1.0)
            np.testing.assert_allclose(drafting.laws[parent], expected, atol=1e-5)
            assert proposal.shares[node] == pytest.approx(expected[draft.tokens[node]], abs=1e-5)
            if temperature:
                np.testing.assert_array_equal(draft.laws[node], drafting.laws[parent])
        if not temperature:
            assert draft.laws is None
            order = np.argsort(-law_of(plain_logits(name, tuple(text)), 1.0))
            assert draft.tokens[draft.parents == -1].tolist() == order[:3].tolist()


def test_the_target_itself_on_the_whole_prompt_is_right_each_time(local):
    """Every draft of the equal model is accepted: a forward gives one token and the draft."""
    decoder = Decoder(model("llama"), tokenizer(), sizing=lambda: Always(Budget(4, 4)))
    drafter = Model(local)
    sampling = Sampling(max_tokens=40)
    prompt = Prompt(np.array([9, 3, 22, 14]))
    plain = decoder.generate([prompt], sampling)[0]
    found = decoder.generate([prompt], sampling, [drafter])[0]
    assert found.tokens == plain.tokens
    assert found.statistics.drafted == found.statistics.accepted
    assert found.statistics.forwards <= 1 + -(-plain.statistics.plain_forwards // 2)


@pytest.mark.parametrize("rule", ["match", "p_over_q", "without_replacement"])
def test_drawn_drafts_go_through_the_engine(local, rule):
    """The equal model's law is the target's: a first sibling drawn from it is always accepted."""
    decoder = Decoder(model("llama"), tokenizer(), sizing=lambda: Always(Budget(6, 3)))
    drafter = Fused((Passages(), Text(), Model(local, temperature=1.0, branching=(2,))))
    sampling = Sampling(temperature=1.0, seed=4, max_tokens=30, rule=rule)
    found = decoder.generate([PROMPT], sampling, [drafter])[0].statistics
    assert found.drafted["model"] > 0
    if rule != "match":
        assert found.forwards < found.plain_forwards
        assert found.accepted["model"] >= (found.forwards - 1) // 2


def test_a_trimmed_head_drafts_what_it_has_and_leaves_the_model_alone(local):
    before = plain_logits("llama", (9, 3, 22, 14))
    kept = (4, 5, 6)
    drafting = drafts("llama", vocabulary=kept, temperature=3.0, branching=(4,))
    own = sorted({*kept, *TOKENS.tolist(), *ENDS})
    drafting.commit([8], None)
    proposal = drafting.proposal(Budget(8, 2))
    assert set(proposal.draft.tokens.tolist()) <= set(own)
    logits = np.full(VOCABULARY, -np.inf)
    logits[own] = plain_logits("llama", (*TOKENS.tolist(), 8))[own]
    np.testing.assert_allclose(drafting.laws[-1], law_of(logits, 3.0), atol=1e-5)
    plain_logits.cache_clear()
    np.testing.assert_array_equal(plain_logits("llama", (9, 3, 22, 14)), before)
    assert trimmed(model("llama"), np.array([3])).get_output_embeddings().out_features == 1
    assert model("llama").get_output_embeddings().out_features == VOCABULARY


def test_the_most_frequent_tokens():
    texts = [np.array([5, 5, 9, 9, 2]), np.array([9, 7])]
    assert frequent(texts, 2) == (5, 9)
    assert frequent(texts, 3) == (2, 5, 9)


def test_a_shortened_prompt_keeps_the_first_passages_that_fit():
    tokens = TOKENS.tolist()
    assert shortened(PROMPT, 30).tolist() == tokens
    assert shortened(PROMPT, 29).tolist() == tokens[:12] + tokens[20:]
    assert shortened(PROMPT, 16).tolist() == tokens[:2] + tokens[20:]


def test_a_model_of_another_vocabulary_is_refused():
    with pytest.raises(InputError, match="tokenizer"):
        Drafts(Model(LocalModel("any")), model("llama"), PROMPT, TOOLS._replace(vocabulary=9_000))


def test_asked_twice_it_drafts_the_same():
    drafting = drafts("llama", temperature=1.0, branching=(2, 2))
    first, second = drafting.propose(Budget(9, 3)), drafting.propose(Budget(9, 3))
    assert len(first) > 3
    assert first.tokens.tolist() == second.tokens.tolist()
    np.testing.assert_allclose(first.laws, second.laws, atol=1e-6)


def test_nothing_is_drafted_beyond_the_models_context():
    drafting = drafts("llama")
    drafting.commit([5] * (256 - 31), None)
    assert len(drafting.propose(Budget(4, 4))) == 0
    assert len(drafting.propose(Budget(4, 1))) == 1


def test_drawn_nodes_are_offered_whatever_they_are(local):
    """Beside drafts that agree with some of them, and under a budget: all are there, in their law.

    Where one were left out for what it is, p-over-q would not keep the target's law.
    """
    name = "llama"
    passages = np.array([5, 6, 7, 8, 9, 5, 6, 11, 12])
    prompt = Prompt(np.concatenate([passages, TOKENS[:6]]), (Passage("a", 0, 9),))
    fused = Fused((Passages(), Model(local, temperature=1.5, branching=(2,))))
    law = law_of(plain_logits(name, (*prompt.tokens.tolist(), 5, 6)), 1.5)
    firsts = np.zeros(VOCABULARY)
    for seed in range(300):
        drafting = fused.begin(prompt, TOOLS._replace(seed=seed))
        drafting._model_gain = 99.0  # so that the model is asked, whatever the passages promise
        drafting.commit([5, 6], None)
        draft = drafting.propose(Budget(6, 2))
        assert draft.laws is not None
        drawn = np.flatnonzero(draft.laws.any(axis=1))
        at_root = drawn[draft.parents[drawn] == -1]
        assert len(at_root) == 2
        np.testing.assert_allclose(draft.laws[at_root], np.tile(law, (2, 1)), atol=1e-5)
        firsts[draft.tokens[at_root[0]]] += 1 / 300
        merged = np.isin(draft.tokens[draft.parents == -1], [7, 11])
        assert merged.sum() == 2  # the passages' tokens are there, drawn or not
    assert np.abs(firsts - law).max() < 0.09


def test_improbable_branches_are_pruned_where_the_model_looked(local):
    prompt = Prompt(np.concatenate([[5, 6, 7, 8], TOKENS[:6]]), (Passage("a", 0, 4),))
    law = law_of(plain_logits("llama", (*prompt.tokens.tolist(), 5, 6)), 1.0)
    for prune in (0.0, 1.0):
        drafting = Fused((Passages(), Model(local)), prune=prune).begin(prompt, TOOLS)
        drafting._model_gain = 99.0
        drafting.commit([5, 6], None)
        sources = drafting.propose(Budget(6, 2)).sources
        assert ("passages" in sources) == (prune == 0.0 or int(law.argmax()) == 7)


def test_a_long_match_spares_the_models_forwards(local, monkeypatch):
    asked = []
    whole = Drafts.proposal
    monkeypatch.setattr(Drafts, "proposal", lambda *args: asked.append(1) or whole(*args))
    passage = np.arange(3, 40)
    prompt = Prompt(np.concatenate([passage, [41]]), (Passage("a", 0, 37),))
    drafting = Fused((Passages(), Model(local))).begin(prompt, TOOLS)
    drafting.commit([3, 4, 5, 6, 7, 8], None)
    assert set(drafting.propose(Budget(8, 8)).sources) == {"passages"}
    assert not asked
    drafting.commit([9, 45], None)
    drafting.propose(Budget(8, 8))
    assert asked


def test_knowledge_transfer_is_the_papers_adjustment():
    target, draft = np.log([0.5, 0.3, 0.2]), np.log([0.7, 0.25, 0.05])
    moved = transferred(target, draft, 10.0)
    # the third is less than a tenth as likely as the draft's best: it stays
    np.testing.assert_allclose(moved - target, [2.0, -0.5, 0.0], atol=1e-9)
    np.testing.assert_array_equal(transferred(target, draft, 0.0), target)


def test_knowledge_transfer_reads_the_shortened_prompt(local):
    processor = KnowledgeTransfer(local, eta=3.0, context_tokens=16).processor([PROMPT])
    short = [*TOKENS[:2], *TOKENS[20:]]
    scores = torch.randn(1, VOCABULARY)
    for answer in ([], [5], [5, 9], [5, 8, 4]):  # the last goes back
        ids = torch.tensor([[*TOKENS.tolist(), *answer]])
        draft = plain_logits("llama", (*map(int, short), *answer))
        expected = transferred(scores[0].double().numpy(), draft, 3.0)
        np.testing.assert_allclose(processor(ids, scores)[0], expected, atol=1e-4)


def test_knowledge_transfer_gives_one_text_drafted_or_not_and_another_than_the_targets(local):
    other = Prompt(np.array([9, 3, 22, 14]))
    lossy = KnowledgeTransfer(local, eta=20.0, context_tokens=16)
    decoder = Decoder(model("mistral"), tokenizer(), sizing=lambda: Always(Budget(6, 3)))
    sampling = Sampling(max_tokens=20)
    texts = [
        [
            generation.tokens
            for generation in decoder.generate(
                [PROMPT, other], sampling, drafters, processors=processors
            )
        ]
        for drafters, processors in (
            ((), [lossy.processor([PROMPT, other])]),
            ((Fused((Passages(), Text(), Model(local))),), [lossy.processor([other, PROMPT])]),
            ((), None),
        )
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    with pytest.raises(InputError, match="none of those"):
        lossy.processor([other])(torch.from_numpy(TOKENS[None]), torch.zeros(1, VOCABULARY))


def test_an_end_token_is_a_leaf(local):
    for seed in range(20):
        drafting = Drafts(
            Model(local, temperature=5.0, branching=(3, 3)), model("llama"), PROMPT,
            TOOLS._replace(seed=seed),
        )  # fmt: skip
        check(drafting.propose(Budget(30, 3)), Budget(30, 3), TOOLS)


def test_the_folder_need_not_exist_to_write_settings_down(tmp_path: Path) -> None:
    from cormorant.retrieval.answering.drafters.table import DRAFTERS
    from cormorant.tagged import from_json, to_json

    settings = Model(LocalModel(str(tmp_path / "none")), branching=(2, 1), vocabulary=(3, 4))
    assert from_json(DRAFTERS, to_json(settings), "drafter") == settings
