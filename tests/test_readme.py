"""The README's Python example runs as shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from paths import ROOT

from cormorant.rankers.table import FEEDBACKS, FUSIONS, RANKERS, REFORMULATIONS, RETRIEVERS
from cormorant.retrieval.pipeline import pipeline_from_json


def test_the_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    shown = re.search(r"It prints\n\n((?:    .*\n)+)", readme)
    assert example and shown
    assert len([line for line in example[1].splitlines() if line]) <= 10
    for _ in range(2):  # whoever tries it again is told the same
        done = subprocess.run(
            [sys.executable, "-c", example[1]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "".join(line[4:] + "\n" for line in shown[1].splitlines())


def test_the_page_of_pipelines_shows_pipelines_and_every_kind_of_stage() -> None:
    page = (ROOT / "docs" / "pipelines.md").read_text()
    [file] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    written = re.findall(r"--pipeline '(\{.*?\})'", page)
    assert written
    for text in (file, *written):
        pipeline_from_json(json.loads(text))
    for name, kinds in (
        ("reformulate", REFORMULATIONS),
        ("retrieve", RETRIEVERS),
        ("fuse", FUSIONS),
        ("feedback", FEEDBACKS),
        ("rerank", RANKERS),
    ):
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{name}` ")]
        listed = set(re.findall(r"`(\w+)`", row.rpartition(" | ")[2]))
        assert listed == kinds.keys()


def test_the_results_are_there() -> None:
    for page in (ROOT / "docs" / "results").glob("*.md"):
        text = page.read_text()
        assert len(text) > 1000, f"{page.name} is empty"
        assert text.count("|") > 20, f"{page.name} holds no figures"
        assert not re.search(r"\| [A-Z]{5,} \|", text), f"{page.name} has a placeholder"


def test_every_file_the_documents_link_to_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
