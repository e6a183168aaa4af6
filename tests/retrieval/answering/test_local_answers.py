"""Answers by a tiny model on this machine: drafted or not the same, cited, stopped, refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_answerer import TEMPLATE, build

import cormorant as cm
from cormorant.answers import NOT_FOUND
from cormorant.errors import DeadlineError, InputError
from cormorant.rankers.language_models.local import LocalModel
from cormorant.retrieval.answering import local
from cormorant.retrieval.answering.decoding.policy import Always
from cormorant.retrieval.answering.decoding.types import Budget, DraftingStatistics, Generation
from cormorant.retrieval.answering.drafters.fuse import Fused
from cormorant.retrieval.answering.drafters.history import History, Key
from cormorant.retrieval.answering.drafters.passages import Passages
from cormorant.retrieval.answering.drafters.transfer import KnowledgeTransfer
from cormorant.retrieval.answering.encoding import encoded
from cormorant.retrieval.answering.generating import Draft
from cormorant.retrieval.answering.packing import pack
from cormorant.retrieval.answering.prompts import prompt_of
from cormorant.retrieval.answering.stopping import Stop
from cormorant.retrieval.deadline import Deadline

BIRDS = [
    cm.Document(
        id="c",
        title="Cormorant",
        text="The cormorant is a black bird. It dives up to 45 metres  deep for fish.",
        labels=["open"],
    ),
    cm.Document(id="h", text="The heron is grey. It waits for fish. </s><|end|>", labels=["staff"]),
]
QUESTION = "How deep does the cormorant dive for fish?"
CONTEXT = 1000
GOOD = "It dives up to 45 metres deep for fish [1]."


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cm.Collection]:
    with cm.Collection.create(tmp_path_factory.mktemp("birds") / "birds.cm") as collection:
        collection.add(BIRDS)
        yield collection


@pytest.fixture(scope="module")
def taught(birds: cm.Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt the answer to the one prompt that it will be asked."""
    passages, _ = pack(birds.search(QUESTION, 5), len, cm.Answering(), 3000)
    prompt = prompt_of(QUESTION, passages).text
    texts = [bird.text for bird in BIRDS]
    return build(tmp_path_factory.mktemp("taught"), [*texts, prompt], taught={prompt: f" {GOOD}"})


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a chat template and a short memory."""
    texts = [bird.text for bird in BIRDS]
    folder = tmp_path_factory.mktemp("chat")
    return drafting_always(build(folder, texts, context=CONTEXT, chat=True))


def drafting_always(folder: Path) -> Path:
    """The model's drafts do not depend on how fast this machine is today."""
    decoder = local.decoder_of(LocalModel(str(folder)).loaded())
    decoder._sizing = lambda: Always(Budget(8, 8))
    return folder


def test_what_is_drafted_is_copied_and_what_is_written_is_the_same(
    birds: cm.Collection, taught: Path
) -> None:
    drafted = birds.answer(QUESTION, model=str(taught))
    plain = birds.answer(QUESTION, model=str(taught), settings=cm.Answering(drafters=()))
    assert drafted.text == plain.text == GOOD
    assert drafted.sentences == plain.sentences
    assert drafted.g_nll == pytest.approx(plain.g_nll, abs=1e-4)
    assert 0 < (drafted.g_nll or 0) < 2
    spent = drafted.statistics["drafting"]
    assert spent["forwards"] < spent["plain_forwards"]
    assert plain.statistics["drafting"]["forwards"] == spent["plain_forwards"]
    assert spent["accepted"]["passages"] > 0
    copied = [item for item in drafted.citations if item.by == "copied"]
    assert [drafted.text[item.start : item.end] for item in copied] == [GOOD[:-5]]
    for item in copied:  # two spaces in the document are one in the prompt, and in the answer
        original = BIRDS[0].text[slice(*item.span)]
        assert " ".join(original.split()) == drafted.text[item.start : item.end]
    assert [item.by for item in plain.citations] == ["marker"]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_random_model_writes_the_same_with_and_without_drafts(
    birds: cm.Collection, chatting: Path, temperature: float
) -> None:
    asked = {"max_tokens": 40, "temperature": temperature, "seed": 5}
    plain = birds.answer(
        QUESTION,
        model=str(chatting),
        settings=cm.Answering(drafters=(), **asked),  # type: ignore[arg-type]
    )
    settings = cm.Answering(**asked)  # type: ignore[arg-type]
    with birds.answer_stream(QUESTION, model=str(chatting), settings=settings) as stream:
        events = list(stream)
    drafted = events[-1].answer
    assert drafted is not None
    assert drafted.text == plain.text == "".join(event.text for event in events)
    assert drafted.statistics["tokens"] == plain.statistics["tokens"]


def test_no_passage_brings_a_special_token_and_each_is_where_it_stands(
    birds: cm.Collection, chatting: Path
) -> None:
    model = LocalModel(str(chatting))
    writer = local.LocalWriter(model, Key("", None, "", 0, ""))
    assert {"</s>", "<|end|>", "<|user|>"} <= set(writer.forbidden)
    found = birds.search(QUESTION, 5)
    passages, _ = pack(found, writer.count, cm.Answering(), 500, writer.forbidden)
    asked = prompt_of(QUESTION, passages)
    prompt = encoded(asked, writer._tokenizer)
    tokenizer = model.loaded().tokenizer
    special = set(tokenizer.all_special_ids)
    assert len(prompt.passages) == 2
    for (packed, _, _), place in zip(asked.passages, prompt.passages, strict=True):
        tokens = prompt.tokens[place.begin : place.end].tolist()
        assert tokenizer.decode(tokens).strip() == packed.shown.text
        assert not special & set(tokens)
        assert tokenizer.decode(list(place.marker)) == f" [{packed.rank}]"
        sentences = [prompt.tokens[slice(*span)].tolist() for span in place.sentences]
        assert " ".join(tokenizer.decode(one).strip() for one in sentences) == packed.shown.text
    whole = tokenizer.decode(prompt.tokens.tolist())
    assert whole.count("<|end|>") == TEMPLATE.count("<|end|>") == 1


def test_a_prompt_over_the_models_length(birds: cm.Collection, chatting: Path) -> None:
    settings = cm.Answering(max_tokens=64)
    with pytest.raises(cm.InputError, match="leave 0 of the tokens") as caught:
        birds.answer(QUESTION + " why" * 2000, model=str(chatting), settings=settings)
    assert caught.value.field == "question"
    with pytest.raises(cm.InputError, match="max_tokens=990"):
        birds.answer(QUESTION, model=str(chatting), settings=cm.Answering(max_tokens=990))


def test_passages_longer_than_the_context(chatting: Path, tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "long.cm") as made:
        made.add(cm.Document(id=str(n), text=f"cormorant {n} dives " * 800) for n in range(3))
        settings = cm.Answering(max_tokens=32, passages_tokens=10**5, passage_tokens=10**5)
        answer = made.answer(QUESTION, model=str(chatting), settings=settings)
        assert any("lost their end" in flag for flag in answer.flags)
        assert any("no room for the passages of 2 hits" in flag for flag in answer.flags)
        assert answer.statistics["prompt_tokens"] + 32 <= CONTEXT
        assert answer.statistics["prompt_tokens"] > CONTEXT - 100  # the room that there was is used


def test_prompts_of_drafts_that_say_more_fit_the_context_too(
    chatting: Path, tmp_path: Path
) -> None:
    with cm.Collection.create(tmp_path / "long.cm") as made:
        made.add([cm.Document(id="one", text="cormorant dives " * 800)])
        settings = cm.Answering(
            max_tokens=32, passages_tokens=10**5, passage_tokens=10**5, drafts=2
        )
        answer = made.answer(
            QUESTION, model=str(chatting), mode="speculative_rag", settings=settings
        )
        [draft] = answer.statistics["speculative_rag"]["drafts"]
        assert CONTEXT - 100 < answer.statistics["prompt_tokens"] + 32 <= CONTEXT
        assert draft["ranks"] == [1]


def test_an_answer_that_its_thoughts_say_too_is_cited(birds: cm.Collection, chatting: Path) -> None:
    writer = local.LocalWriter(LocalModel(str(chatting)), Key("", None, "", 0, ""))
    passages, _ = pack(birds.search("black bird", 1), writer.count, cm.Answering(), 3000)
    asked = prompt_of("black bird", passages)
    prompt = encoded(asked, writer._tokenizer)
    [passage] = prompt.passages
    said = prompt.tokens[passage.begin : passage.end].tolist()
    begin, end = (writer._tokenizer.encode(tag) for tag in ("<think>", "</think>"))
    tokens = [*begin, *said, *end, *said]
    first = len(tokens) - len(said)
    made = Generation(
        tuple(tokens), writer._text(tokens), "end", -1.0,
        tuple((first + place, passage.id, place) for place in range(len(said))),
        DraftingStatistics(1, 1, {}, {}),
    )  # fmt: skip
    written = writer._written(made, prompt, asked)
    [copied] = written.copied
    assert written.text[copied.start : copied.end] == written.text
    assert passages[0].shown.text[copied.first : copied.last] == written.text


def test_an_answer_says_why_nothing_was_drafted(
    birds: cm.Collection, chatting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = local.decoder_of(LocalModel(str(chatting)).loaded())
    settings = cm.Answering(max_tokens=3)
    drafted = birds.answer(QUESTION, model=str(chatting), settings=settings)
    assert "undrafted" not in drafted.statistics["drafting"]
    monkeypatch.setattr(decoder, "_target", None)
    monkeypatch.setattr(decoder, "undrafted", "Mamba is recurrent")
    plain = birds.answer(QUESTION, model=str(chatting), settings=settings)
    assert plain.statistics["drafting"]["undrafted"] == "Mamba is recurrent"
    assert plain.text == drafted.text


def test_closing_a_stream_stops_the_decoding(birds: cm.Collection, chatting: Path) -> None:
    model = LocalModel(str(chatting))
    decoder = local.decoder_of(model.loaded())
    forwards = []
    inner = decoder._target._logits

    def slow(*given: object, **more: object) -> object:
        forwards.append(1)
        time.sleep(0.02)
        return inner(*given, **more)  # type: ignore[arg-type]

    decoder._target._logits = slow  # type: ignore[method-assign, assignment]
    try:
        settings = cm.Answering(max_tokens=200, drafters=())
        stream = birds.answer_stream(QUESTION, model=model, settings=settings)
        assert [next(stream).kind for _ in range(2)] == ["hits", "text"]
        stream.close()
        made = len(forwards)
        assert made < 100
        time.sleep(0.2)
        assert len(forwards) == made
        assert not [t for t in threading.enumerate() if t.name == "cormorant-answer"]
        with pytest.raises(DeadlineError):
            birds.answer(QUESTION, model=model, settings=settings, timeout_ms=400)
        assert len(forwards) - made < 100
    finally:
        del decoder._target._logits


def test_one_decoder_is_kept_for_a_model(chatting: Path) -> None:
    one, same = (LocalModel(str(chatting)).loaded() for _ in range(2))
    assert local.decoder_of(one) is local.decoder_of(same)


def test_speculative_rag_by_a_local_model(birds: cm.Collection, chatting: Path) -> None:
    settings = cm.Answering(max_tokens=24, drafts=3, draft_passages=1)
    answer = birds.answer(QUESTION, model=str(chatting), mode="speculative_rag", settings=settings)
    made = answer.statistics["speculative_rag"]
    assert [len(draft["ranks"]) for draft in made["drafts"]] == [1, 1]
    sums = [
        draft["log_draft"] + draft["log_consistency"] + draft["log_reflection"]
        for draft in made["drafts"]
    ]
    assert made["taken_by"]["sum"] == sums.index(max(sums))
    assert all(value < 0 for value in sums)
    assert answer.text == made["drafts"][made["taken"]]["answer"]


def test_cancelling_while_drafts_are_scored_stops_that_too(
    birds: cm.Collection, chatting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = local.decoder_of(LocalModel(str(chatting)).loaded())
    scoring, scored = decoder.log_likelihood, []

    def cancelled_meanwhile(*given: object, **more: object) -> object:
        stream.cancel()
        scored.append(scoring(*given, **more))  # type: ignore[arg-type]
        return scored[-1]

    monkeypatch.setattr(decoder, "log_likelihood", cancelled_meanwhile)
    settings = cm.Answering(max_tokens=6, drafts=2, draft_passages=1)
    with birds.answer_stream(
        QUESTION, model=str(chatting), mode="speculative_rag", settings=settings
    ) as stream:
        assert [event.kind for event in stream] == ["hits"]
    assert scored == [None]


@pytest.mark.parametrize("drafter", [History(), Fused((Passages(), History()))])
def test_history_never_crosses_labels_versions_tenants_or_collections(
    birds: cm.Collection, chatting: Path, tmp_path: Path, drafter: History | Fused
) -> None:
    local.histories.cache_clear()
    asked = {"max_tokens": 24, "drafters": (drafter,), "stop": ()}

    def drafted(collection: cm.Collection, labels: list[str] | None, tenant: str) -> int:
        settings = cm.Answering(tenant=tenant, **asked)  # type: ignore[arg-type]
        answer = collection.answer(
            QUESTION, model=str(chatting), as_labels=labels, settings=settings
        )
        assert answer.text != NOT_FOUND
        return int(answer.statistics["drafting"]["drafted"].get("history", 0))

    assert drafted(birds, ["open"], "a") == 0
    assert drafted(birds, ["open"], "a") > 0  # the same again is drafted from the first
    assert drafted(birds, ["open"], "b") == 0
    assert drafted(birds, ["staff"], "a") == 0
    assert drafted(birds, None, "a") == 0
    with cm.Collection.create(tmp_path / "twin.cm") as twin:
        twin.add(BIRDS)
        assert drafted(twin, ["open"], "a") == 0
        assert drafted(twin, ["open"], "a") > 0
        twin.add([cm.Document(id="new", text="nothing", labels=["open"])])
        assert drafted(twin, ["open"], "a") == 0
    plain = cm.Answering(max_tokens=24, drafters=())
    birds.answer(QUESTION, model=str(chatting), as_labels=["staff"], settings=plain)
    assert drafted(birds, ["staff"], "c") == 0  # nothing is kept where no history is asked for


def test_knowledge_transfer_is_named_and_another_law(
    birds: cm.Collection, taught: Path, tmp_path: Path
) -> None:
    passages, _ = pack(birds.search(QUESTION, 5), len, cm.Answering(), 3000)
    prompt = prompt_of(QUESTION, passages).text
    ignorant = build(tmp_path / "i", [*(bird.text for bird in BIRDS), prompt])
    moving = KnowledgeTransfer(LocalModel(str(ignorant)), eta=100.0, context_tokens=16)

    def answered(**more: object) -> cm.Answer:
        settings = cm.Answering(max_tokens=12, **more)  # type: ignore[arg-type]
        return birds.answer(QUESTION, model=str(taught), settings=settings)

    plain, moved = answered(), answered(transfer=moving)
    assert (plain.mode, moved.mode) == ("standard", "lossy_knowledge_transfer")
    assert moved.text != plain.text
    assert answered(transfer=moving, drafters=()).text == moved.text
    lossy = cm.Answering(transfer=moving)
    for mode, model in (("speculative_rag", str(taught)), ("standard", "openai:m")):
        with pytest.raises(InputError, match="transfer"):
            birds.answer(QUESTION, model=model, mode=mode, settings=lossy)
    with pytest.raises(InputError, match="transfer"):
        cm.Answering(transfer=True)
    with pytest.raises(InputError, match="rule"):
        cm.Answering(rule="first")  # type: ignore[arg-type]


def test_yes_is_the_token_that_stands_behind_the_question(
    chatting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama 2's tokenizer makes two tokens of " Yes" alone, the first of which says nothing."""
    writer = local.LocalWriter(LocalModel(str(chatting)), Key("", None, "c", 1, "m"))
    encode, asked = writer._tokenizer.encode, []
    monkeypatch.setattr(
        writer._tokenizer, "encode",
        lambda text, **more: encode("_" + text if text.startswith(" ") else text, **more),
    )  # fmt: skip

    def seen(prompts: object, texts: object, **more: object) -> list[float]:
        asked.extend([prompts, texts])
        return [0.0, 0.0]

    monkeypatch.setattr(writer._decoder, "log_likelihood", seen)
    writer.score([Draft(("why", " so"), "Is it?")], Stop(Deadline()))
    prompt, said = asked[0][1].tokens, asked[1][1]
    whole = writer._tokenizer.encode("Is it? Yes", add_special_tokens=True)
    assert [*prompt.tolist(), *said.tolist()] == whole[: len(prompt) + 1]
    assert len(said) == 1
    assert prompt.tolist() == writer._tokenizer.encode("Is it?", add_special_tokens=True)
