"""The README's Python example runs as shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from paths import ROOT


def test_the_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    shown = re.search(r"It prints\n\n((?:    .*\n)+)", readme)
    assert example and shown
    assert len([line for line in example[1].splitlines() if line]) <= 10
    done = subprocess.run(
        [sys.executable, "-c", example[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(line[4:] + "\n" for line in shown[1].splitlines())


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
