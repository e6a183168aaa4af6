"""A small model that answers from passages: its examples, and a run of a few steps."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from cormorant.commands.training import app
from cormorant.errors import InputError
from cormorant.eval.training import drafting
from cormorant.eval.training.copying import begin_as_copying
from cormorant.eval.training.drafting import DraftingTraining, train_drafting_model
from cormorant.eval.training.extracts import ABOUT, Extracts
from cormorant.eval.training.material import Source, pairs_source
from cormorant.rankers.language_models.local import LocalModel
from cormorant.retrieval.answering.decoding.engine import Decoder
from cormorant.retrieval.answering.decoding.types import Prompt, Sampling

TINY = DraftingTraining(
    width=16, layers=2, heads=4, vocabulary=600, window=1024, batch=1, steps=6,
    precision="float32", save_steps=3, report_steps=2,
)  # fmt: skip


def source() -> Source:
    birds = ["eel", "gull", "kelp", "mist", "reed", "tide"]
    return pairs_source(
        "birds",
        [
            (
                f"Where does the {bird} live?",
                "",
                f"Much is said of the shore. The {bird} does live by water number {place}. "
                f"It sleeps there too. Nobody knows why the {bird} sings on day {place}.",
            )
            for place, bird in enumerate(birds)
        ],
    )


def test_extracts_are_sentences_of_the_passage_they_name() -> None:
    extracts = Extracts([source()], [], seed=1)
    kinds = set()
    for number in range(40):
        prompt, answer = extracts.example(number)
        assert (prompt, answer) == extracts.example(number)
        text, rank = re.fullmatch(r" (.+) \[(\d)\]", answer).groups()  # type: ignore[union-attr]
        [passage] = re.findall(rf"^\[{rank}\] (.+)$", prompt, re.MULTILINE)
        about = ABOUT.format(number=rank) in prompt
        kinds.add(about)
        if about:
            assert text.startswith("Where does the")
        else:
            assert text in passage
            assert "live by water" in text
    assert kinds == {True, False}


def test_nothing_is_learnt_of_what_is_measured_on() -> None:
    texts = [text for _, text in source().documents]
    extracts = Extracts([source()], [f"Before. {texts[2]} Behind."], seed=1)
    assert (len(extracts), extracts.left_out) == (5, 1)
    assert not any("kelp" in extracts.example(number).prompt for number in range(30))
    with pytest.raises(InputError, match="pairs"):
        Extracts([source()], texts, seed=1)


def test_a_model_copies_before_it_has_learnt_anything() -> None:
    config = LlamaConfig(
        vocab_size=2000, hidden_size=256, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    said = torch.randint(2000, (4, 100))

    def copied() -> float:
        with torch.no_grad():
            found = model(torch.cat([said, said], dim=1)).logits[:, 100:-1].argmax(-1)
        return float((found == said[:, 1:]).double().mean())

    def of_common_words() -> float:
        """Each word is the last of many pairs, and each pair of words has one next."""
        words = torch.randint(20, (4, 100))
        with torch.no_grad():
            found = model(torch.cat([words, words], dim=1)).logits[:, 101:-1].argmax(-1)
        alone = torch.tensor(
            [[len(_next(row.tolist(), at)) == 1 for at in range(1, 99)] for row in words]
        )
        return float((found == words[:, 2:])[alone].double().mean())

    assert copied() < 0.05
    assert of_common_words() < 0.2
    begin_as_copying(model, 512)
    assert copied() > 0.9
    assert of_common_words() > 0.8


def _next(words: list[int], at: int) -> set[int]:
    pair = words[at - 1 : at + 1]
    return {words[n + 1] for n in range(1, len(words) - 1) if words[n - 1 : n + 1] == pair}


def test_a_killed_run_goes_on_and_its_model_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "_TOKENIZER_EXAMPLES", 40)

    def run(folder: str, **settings: object) -> list[tuple[int, float]]:
        chosen = replace(TINY, **settings)  # type: ignore[arg-type]
        return train_drafting_model([source()], [], tmp_path / folder, chosen).losses

    whole = run("whole")
    assert [step for step, _ in whole] == [2, 4, 6]
    killed = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        train_drafting_model([source()], [], killed, TINY, _kill_at_step_4)
    assert not (killed / "model").exists()
    assert run("killed")[-1] == pytest.approx(whole[-1], abs=1e-5)
    with pytest.raises(InputError, match=r"run\.json"):
        run("killed", seed=1)
    model = LocalModel(str(killed / "model"))
    assert model.complete("Question: where?\nAnswer:", 4).completion_tokens == 4


def _kill_at_step_4(line: str) -> None:
    if line.startswith("step 4"):
        raise KeyboardInterrupt


def test_one_command_trains_a_model_that_drafts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "_TOKENIZER_EXAMPLES", 40)
    pairs, apart = tmp_path / "pairs.jsonl", tmp_path / "apart"
    documents = [text for _, text in source().documents]
    rows = [{"query": f"where {place}?", "text": text} for place, text in enumerate(documents)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (apart / "qrels").mkdir(parents=True)
    (apart / "corpus.jsonl").write_text(json.dumps({"_id": "d", "text": documents[0]}) + "\n")
    (apart / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "where?"}) + "\n")
    (apart / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    words = ["drafting-model", str(tmp_path / "run"), "--pairs", str(pairs), "--apart", str(apart)]
    sizes = ["--steps", "2", "--batch", "1", "--width", "16", "--layers", "2", "--json", "-"]
    result = CliRunner().invoke(app, [*words, *sizes])
    assert result.exit_code == 0, result.output
    assert "5 pairs; 1 documents left out" in result.stderr
    made = json.loads(result.stdout)
    loaded = LocalModel(made["model"]).loaded()
    decoder = Decoder(loaded.model, loaded.tokenizer)
    assert decoder.undrafted is None
    prompt = Prompt(np.array(loaded.tokenizer.encode("where the gull does live"), np.int64))
    assert decoder.generate([prompt], Sampling(max_tokens=3))[0].statistics.forwards <= 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("width", 30), ("vocabulary", 10), ("window", 64), ("layers", 1),
        ("heads", 2), ("learning_rate", 0.0),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        DraftingTraining(**{field: value})  # type: ignore[arg-type]
