"""What drafters draft without a model: where they may read, and what they never draft."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import END, SPECIAL, TOOLS, VOCABULARY, check, logits_of, prompt_of

from cormorant.errors import InputError
from cormorant.retrieval.answering.decoding.types import Budget, Drafter, Prompt
from cormorant.retrieval.answering.drafters.calibration import MEMORY, Calibration
from cormorant.retrieval.answering.drafters.fuse import Fused
from cormorant.retrieval.answering.drafters.history import Histories, History, Key
from cormorant.retrieval.answering.drafters.passages import Passages
from cormorant.retrieval.answering.drafters.siblings import drawn, sharpened, widths
from cormorant.retrieval.answering.drafters.statistics import Statistics
from cormorant.retrieval.answering.drafters.table import DRAFTERS
from cormorant.retrieval.answering.drafters.text import Text
from cormorant.tagged import from_json, to_json

KEY = Key("one", frozenset({"a"}), "papers", 7, "m")
WIDE = Budget(20, 10)


def told(*answers: list[int], key: Key = KEY) -> Histories:
    histories = Histories()
    for answer in answers:
        histories.remember(key, answer)
    return histories


def proposed(drafter: Drafter, prompt: Prompt, said: list[int], budget: Budget = WIDE) -> list[int]:
    drafting = drafter.begin(prompt, TOOLS)
    drafting.commit(said, logits_of(said) if drafting.wants_logits else None)
    draft = drafting.propose(budget)
    check(draft, budget)
    return draft.tokens.tolist()


some_tokens = st.lists(st.sampled_from([3, 4, 5, 6, END, SPECIAL]), max_size=14)
drafters = st.sampled_from(
    [
        Passages(minimum_match=1), Passages(order="latest", width=2), Text(minimum_match=1),
        Statistics(order=3), Statistics(temperature=0.7, branching=(3, 2)),
        Fused(), Fused((Statistics(temperature=1.0), Passages(), Text())),
        History(minimum_match=1).of(told([3, 4, 5, 3, SPECIAL, 4, END, 4], [5, 5, 6]), KEY),
    ]
)  # fmt: skip


@given(
    drafter=drafters, passages=st.lists(some_tokens, max_size=3), question=some_tokens,
    said=st.lists(st.lists(st.sampled_from([3, 4, 5, 6, SPECIAL]), min_size=1, max_size=5),
                  max_size=4),
    budget=st.builds(Budget, nodes=st.integers(0, 12), depth=st.integers(0, 6)),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_a_draft_is_a_tree_within_its_budget_of_tokens_that_may_be_drafted(
    drafter, passages, question, said, budget
):
    drafting = drafter.begin(prompt_of(passages, question), TOOLS)
    for tokens in said:
        draft = drafting.propose(budget)
        check(draft, budget)
        if draft.laws is not None:
            assert draft.laws.shape == (len(draft), VOCABULARY)
            for law, token in zip(draft.laws, draft.tokens, strict=True):
                assert not law.any() or (law.sum() == pytest.approx(1) and law[token] > 0)
                assert not law[list(TOOLS.special)].any()
        drafting.commit(tokens, logits_of(tokens) if drafting.wants_logits else None)


def test_a_draft_ends_where_its_passage_does():
    prompt = prompt_of([[10, 11, 12, 13], [14, 15, 16]])
    assert proposed(Passages(), prompt, [10, 11]) == [12, 13]
    assert proposed(Passages(), prompt, [12, 13]) == []
    assert proposed(Passages(), prompt, [14, 15]) == [16]


def test_a_draft_ends_before_a_special_token_and_does_not_follow_one():
    prompt = prompt_of([[10, 11, 12, SPECIAL, 13, 14, END, 15, 16]])
    assert proposed(Passages(), prompt, [10, 11]) == [12]
    assert proposed(Passages(), prompt, [11, 12]) == []
    assert proposed(Passages(), prompt, [12, SPECIAL]) == []
    assert proposed(Passages(), prompt, [13, 14]) == []


def test_how_much_must_match():
    prompt = prompt_of([[10, 11, 12, 13]], question=[10, 11, 12, 13])
    assert proposed(Passages(), prompt, [10]) == [11, 12, 13]
    assert proposed(Text(), prompt, [10]) == [11, 12, 13]
    assert proposed(Text(minimum_match=2), prompt, [10]) == []
    assert proposed(Passages(minimum_match=3), prompt, [10, 11]) == []


def test_a_draft_is_as_long_as_its_match_bears():
    """A match of m tokens goes on for k with chance (m + 1) / (m + k + 1): down to 0.05."""
    prompt = prompt_of([list(range(10, 90))])
    assert len(proposed(Passages(), prompt, [10], Budget(64, 64))) in (37, 38)
    assert len(proposed(Passages(), prompt, [10, 11], Budget(64, 64))) in (56, 57)
    assert len(proposed(Passages(), prompt, [10, 11, 12], Budget(64, 20))) == 20


def test_at_a_fork_the_way_most_often_taken_or_the_first_passages():
    prompt = prompt_of([[10, 11, 20], [10, 11, 30], [10, 11, 30]])
    assert proposed(Passages(), prompt, [10, 11]) == [30, 20]
    assert proposed(Passages(order="latest"), prompt, [10, 11]) == [20]


def test_provenance_counts_from_the_passages_first_token():
    prompt = prompt_of([[5, 6], [SPECIAL, 10, 11, 12]])
    drafting = Passages().begin(prompt, TOOLS)
    drafting.commit([10, 11], None)
    assert drafting.propose(WIDE).passages == (("p1", 3),)


def test_behind_a_sentence_stand_its_marker_and_the_end():
    """The marker is no part of the passage: it is drafted, and cites nothing."""
    bare = prompt_of([[10, 11, 12, 13, 14, 15, 16]])
    [passage] = bare.passages
    at = passage.begin
    sentences = ((at, at + 3), (at + 3, at + 7))
    prompt = replace(bare, passages=(passage._replace(sentences=sentences, marker=(40, 41)),))
    drafting = Passages().begin(prompt, TOOLS)
    drafting.commit([10, 11], None)
    draft = drafting.propose(WIDE)
    branches = set(paths(draft))
    assert (12, 40, 41, END) in branches
    assert (12, 13, 14, 15, 16, 40, 41, END) in branches
    for token, place in zip(draft.tokens.tolist(), draft.passages, strict=True):
        assert place == (None if token in (40, 41, END) else ("p0", token - 10))
    assert not any(40 in path for path in paths(Passages().begin(bare, TOOLS).propose(WIDE)))
    drafting = Passages().begin(prompt, TOOLS._replace(special=frozenset({14, END})))
    drafting.commit([12, 13], None)
    assert (40, 41) not in {path[-3:-1] for path in paths(drafting.propose(WIDE))}


def paths(draft):
    """The tokens from the root to every leaf."""
    parents = draft.parents.tolist()
    for leaf in set(range(len(parents))) - set(parents):
        path = [leaf]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        yield tuple(int(draft.tokens[node]) for node in reversed(path))


def test_text_drafts_from_the_prompt_and_from_itself_and_not_from_passages():
    prompt = prompt_of([[10, 11, 12]], question=[20, 21, 22])
    assert proposed(Text(), prompt, [20, 21]) == [22]
    assert proposed(Text(), prompt, [10, 11]) == []
    assert proposed(Text(), prompt, [30, 31, 32, 30, 31])[:3] == [32, 30, 31]
    assert proposed(Text(), prompt, [30, 31, SPECIAL, 30, 31]) == []


def test_a_text_that_goes_round_is_drafted_as_far_as_the_budget():
    prompt = prompt_of([[10, 11, 12]], question=[20, 21, 22])
    for line in ([30], [30, 31], [30, 31, 32, 33, 34]):
        said = [*line, *line, *line]
        drafted = proposed(Text(), prompt, said)
        assert len(drafted) == WIDE.depth
        assert drafted == (line * WIDE.depth)[: len(drafted)]
    assert proposed(Text(), prompt, [30, 31, 32]) == []


def test_statistics_learn_what_the_target_found_probable():
    prompt = prompt_of([], question=[20])
    said = [10, 11, 12, 10]
    drafting = Statistics(order=2).begin(prompt, TOOLS)
    drafting.commit(said, logits_of(said))
    draft = drafting.propose(Budget(2, 1))
    assert draft.tokens.tolist() == [11, 12]  # 12 was nearly as probable as 11 after 10
    assert np.round(drafting.proposal(Budget(2, 1)).shares, 2).tolist() == [0.73, 0.27]


def test_drawn_drafts_depend_on_the_seed_and_the_position_alone():
    prompt = prompt_of([[10, 11, 10, 12, 10, 13, 10, 14]])
    drafter = Statistics(order=2, temperature=2.0)

    def drafts(seed: int) -> list[list[int]]:
        drafting = drafter.begin(prompt, TOOLS._replace(seed=seed))
        first = drafting.propose(WIDE)
        assert drafting.propose(WIDE).tokens.tolist() == first.tokens.tolist()
        drafting.commit([10], logits_of([10]))
        return [first.tokens.tolist(), drafting.propose(WIDE).tokens.tolist()]

    assert drafts(1) == drafts(1)
    assert len({str(drafts(seed)) for seed in range(8)}) > 1


@given(st.lists(st.integers(1, 4), max_size=4), st.integers(0, 40), st.integers(0, 8))
def test_a_shape_fits_its_budget(branching, nodes, depth):
    shape = widths(tuple(branching), Budget(nodes, depth))
    assert int(np.cumprod(shape).sum()) <= nodes
    assert len(shape) <= depth
    assert all(width <= most for width, most in zip(shape, branching, strict=False))
    assert len(shape) == depth or nodes - np.cumprod(shape).sum() < np.prod([1, *shape])


def test_siblings_are_drawn_without_replacement_by_their_law():
    law = np.array([0.5, 0.3, 0.2, 0.0])
    pairs = np.zeros((4, 4))
    for seed in range(4000):
        first, second = drawn(law, 2, np.random.default_rng(seed))
        pairs[first, second] += 1 / 4000
    expected = law[:, None] * law[None] / (1 - law[:, None])
    np.fill_diagonal(expected, 0)
    assert np.abs(pairs - expected).max() < 0.025
    assert sorted(drawn(law, 9, np.random.default_rng(0)).tolist()) == [0, 1, 2]
    assert drawn(law, 2, None).tolist() == [0, 1]
    assert np.allclose(sharpened(law, 0.5), law**2 / (law**2).sum())


OTHERS = [
    KEY._replace(tenant="two"), KEY._replace(rights=frozenset()), KEY._replace(rights=None),
    KEY._replace(rights=frozenset({"a", "b"})), KEY._replace(collection="books"),
    KEY._replace(version=8), KEY._replace(model="n"),
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_a_history_never_crosses_tenants_rights_versions_or_models(other):
    answer = list(range(10, 30))
    histories, prompt = told(answer), prompt_of([], question=[5])
    assert proposed(History().of(histories, KEY), prompt, answer[:3]) == answer[3:13]
    assert histories.recall(other) == []
    assert proposed(History().of(histories, other), prompt, answer[:3]) == []
    histories.remember(other, [10, 11, 12, 99])
    assert proposed(History().of(histories, KEY), prompt, answer[:3]) == answer[3:13]


def test_a_history_is_refused_to_who_does_not_say_whose():
    with pytest.raises(InputError, match="tenant"):
        History().begin(prompt_of([]), TOOLS)


def test_a_history_drafts_the_end_and_nothing_behind_it():
    prompt = prompt_of([])
    drafter = History().of(told([10, 11, 12, 13, END, 14]), KEY)
    assert proposed(drafter, prompt, [10, 11, 12]) == [13, END]


def test_histories_keep_the_last_answers_of_the_last_keys():
    histories = Histories(answers=2, keys=2)
    keys = [KEY._replace(version=version) for version in range(3)]
    for number in range(3):
        histories.remember(keys[0], [number])
    assert [answer.tolist() for answer in histories.recall(keys[0])] == [[1], [2]]
    for key in keys[1:]:
        histories.remember(key, [9])
    assert histories.recall(keys[0]) == []
    assert len(histories.recall(keys[2])) == 1


def test_fused_drafts_share_their_common_beginnings_and_the_likelier_go_first():
    prompt = prompt_of([[10, 11, 12, 13, 14]], question=[10, 11, 12, 20, 21])
    tokens = proposed(Fused(), prompt, [10, 11], Budget(6, 4))
    assert tokens == [12, 13, 14, 20, 21]
    drafting = Fused().begin(prompt, TOOLS)
    drafting.commit([10, 11], None)
    draft = drafting.propose(Budget(6, 4))
    assert draft.sources == ("passages",) * 3 + ("text",) * 2
    assert draft.passages[:3] == (("p0", 2), ("p0", 3), ("p0", 4))
    assert draft.parents.tolist() == [-1, 0, 1, 0, 3]


def test_a_drafter_that_was_wrong_is_worth_less():
    calibration = Calibration()
    passages = Passages().begin(prompt_of([[10, 11, 12]]), TOOLS)
    passages.commit([10, 11], None)
    proposal = passages.proposal(WIDE)
    before = calibration.chances(proposal)
    for _ in range(20):
        calibration.learn("passages", 2, 1.0, False)
    (after,) = calibration.chances(proposal)
    assert before == [0.75]  # the match of two tokens agrees once more
    seen = sum(MEMORY**ago for ago in range(20))
    assert after == pytest.approx(0.75 * 8 / (8 + seen))
    calibration.learn("text", 2, 1.0, False)
    assert calibration.chances(proposal) == [after]


@pytest.mark.parametrize(
    "drafter",
    [Passages(order="latest"), Text(width=1), History(), Statistics(temperature=0.5)],
    ids=lambda drafter: drafter.kind,
)
def test_settings_travel_as_json(drafter):
    assert from_json(DRAFTERS, to_json(drafter), "drafter") == drafter


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        (Passages, {"minimum_match": 0}, "minimum_match"),
        (Passages, {"order": "first"}, "order"),
        (Text, {"width": 0}, "width"),
        (Statistics, {"order": 1}, "order"),
        (Statistics, {"branching": (0,)}, "branching"),
        (Fused, {"drafters": ()}, "drafters"),
        (Fused, {"drafters": (Text(), Text())}, "drafters"),
        (Fused, {"drafters": (Fused(),)}, "drafters"),
        (Histories, {"answers": 0}, "answers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind, fields, field):
    with pytest.raises(InputError) as raised:
        kind(**fields)
    assert raised.value.field == field
