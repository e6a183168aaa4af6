"""Trials kept in a file: an interrupted tuning goes on from them."""

import json

import pytest
import toys

import cormorant as cm
from cormorant.errors import InputError, StorageError
from cormorant.eval.tune_study import Study
from cormorant.eval.tune_trials import Trials
from cormorant.retrieval.pipeline import Pipeline, Retrieve

ABOUT = {"objective": "RR", "seed": 0}


class Space:
    """Pipelines of one list whose depth is what is looked for."""

    start = Pipeline(["bm25", "dense"], cm.RRF())

    def suggest(self, trial):
        return Pipeline([Retrieve("bm25", trial.suggest_int("depth", 1, 1000))])


def search(trials, most=10**9, what="a"):
    """Seven trials; interrupted once more than ``most`` were really tried."""
    tried = []

    def worth(pipeline):
        if len(tried) == most:
            raise KeyboardInterrupt
        tried.append(pipeline)
        return 1 / 3 + sum(item.depth or 0 for item in pipeline.retrieve) / 7000

    return Study(7, seed=5).search(Space(), worth, lambda _: 0.1, what, trials=trials), len(tried)


def test_an_interrupted_search_goes_on(tmp_path):
    pytest.importorskip("optuna")
    file = tmp_path / "trials.jsonl"
    whole, number = search(None)
    assert number == len(whole) == 8
    with pytest.raises(KeyboardInterrupt):
        search(Trials(file, ABOUT), most=3)
    with file.open("a") as stream:
        stream.write('{"search": "a", "val')  # killed while writing
    assert search(Trials(file, ABOUT)) == (whole, 5)
    assert search(Trials(file, ABOUT)) == (whole, 0)
    assert search(Trials(file, ABOUT), what="b") == (whole, 8), "another fold's are not these"


def birds(tmp_path):
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    for name, letter in (("corpus", "d"), ("queries", "q")):
        lines = [json.dumps({"_id": f"{letter}{n}", "text": f"bird number {n}"}) for n in range(9)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    judged = "".join(f"q{n} 0 d{n} 1\n" for n in range(9))
    (folder / "qrels.txt").write_text(judged)
    return folder


def test_the_command(run, tmp_path):
    pytest.importorskip("optuna")
    folder = birds(tmp_path)
    words = ("tune", folder, "--pipeline", "bm25", "--trials", 3, "--resume", "kept/trials.jsonl")
    found = []
    for extra in ((), ()):
        code, out, err = run(*words, *extra, "--json", "-")
        assert code == 0, err
        found.append(json.loads(out))
    assert found[0]["best"] == found[1]["best"], "its latency, too"
    code, _, err = run(*words, "--seed", 2)
    assert code == 2
    assert "holds the trials of another tuning (seed differ); name another file" in err


def test_trials_of_other_weights_are_refused(run, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    toys.use(monkeypatch)
    folder = birds(tmp_path)
    dense = 'dense:{"kind": "toy-dense"}'
    words = ("tune", folder, "--with", dense, "--pipeline", "dense", "--trials", 1)
    words += ("--resume", "trials.jsonl")
    code, out, err = run(*words, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["environment"]["models"] == {"dense": "toy-8-0"}
    assert run(*words)[0] == 0
    monkeypatch.setattr(toys.ToyEncoder, "retrained", 1)
    code, _, err = run(*words)
    assert code == 2
    assert "holds the trials of another tuning (models differ)" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not JSON\n", "trials:1: is no file of trials"),
        ("[1]\n", "trials:1: is no file of trials"),
        (json.dumps(ABOUT) + '\n{"search": "a"}\n', "trials:2: is no trial"),
        (json.dumps({**ABOUT, "objective": "AP"}) + "\n", r"another tuning \(objective differ\)"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    file = tmp_path / "trials"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        Trials(file, ABOUT)
    assert file.read_text() == text


def test_a_place_that_cannot_be_is_said(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        Trials(tmp_path, ABOUT)
