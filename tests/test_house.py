"""The house stands as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

import cormorant as cm

FLOORS = {
    "errors": 0, "documents": 0, "ranking": 0, "contracts": 0, "stages": 0, "results": 0,
    "tagged": 0, "vectors": 0, "scrolling": 0, "answers": 0, "statistics": 0, "timing": 0,
    "kernels": 1,
    "indexers": 2, "rankers": 2,
    "retrieval": 3,
    "api": 4, "eval": 4,
    "__init__": 5, "commands": 5, "__version__": 5, "__main__": 5, "terminal": 5, "tour": 5,
}  # fmt: skip
SAME_FLOOR_STRANGERS = {
    ("indexers", "rankers"),
    ("rankers", "indexers"),
    ("api", "eval"),
    ("eval", "api"),
}


def _modules() -> list[Path]:
    package = ROOT / "src" / "cormorant"
    return sorted(package.glob("*.py")) + sorted(
        path for room in package.iterdir() if room.is_dir() for path in room.rglob("*.py")
    )


def _room(path: Path) -> str:
    return path.relative_to(ROOT / "src" / "cormorant").parts[0].removesuffix(".py")


def _imported_rooms(path: Path) -> set[str]:
    """The rooms of this package that a module imports, wherever in it the import stands."""
    package = ["cormorant", *path.relative_to(ROOT / "src" / "cormorant").with_suffix("").parts]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level]
            names = [
                ".".join([*base, *(node.module or "").split("."), alias.name]).replace("..", ".")
                for alias in node.names
            ]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("cormorant.")}
    return rooms


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_imports_only_point_down(path: Path) -> None:
    here = _room(path)
    for there in _imported_rooms(path) - {here}:
        assert there in FLOORS, f"{there} has no floor"
        assert FLOORS[there] <= FLOORS[here], f"{here} imports {there}, which is above it"
        assert (here, there) not in SAME_FLOOR_STRANGERS, f"{here} imports {there}"


@pytest.mark.parametrize("word", [name for name, floor in FLOORS.items() if floor == 0])
def test_the_words_import_only_the_standard_library_and_numpy(word: str) -> None:
    tree = ast.parse((ROOT / "src" / "cormorant" / f"{word}.py").read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names or top == "numpy", f"{word} imports {name}"


def test_exported_names() -> None:
    assert sorted(cm.__all__) == [
        "Adaptive",
        "Anchors",
        "Answer",
        "Answering",
        "AsyncClient",
        "AsyncCollection",
        "BM25",
        "Borda",
        "CUR",
        "Cascade",
        "Chunking",
        "Client",
        "Cluster",
        "Collection",
        "CollectionError",
        "CombMNZ",
        "CombSUM",
        "Convex",
        "CormorantError",
        "CorruptionError",
        "CrossEncoder",
        "Dense",
        "Document",
        "GenQREnsemble",
        "GenQRFeedback",
        "GenQRFusion",
        "HNSW",
        "Hit",
        "ISR",
        "IVF",
        "InputError",
        "LateInteraction",
        "Listwise",
        "LocalModel",
        "Muvera",
        "OpenAIModel",
        "Pipeline",
        "RM3",
        "RRF",
        "Ranking",
        "Reencode",
        "Result",
        "Retrieve",
        "Rocchio",
        "ServiceError",
        "Span",
        "Spann",
        "Sparse",
        "Stage",
        "StorageError",
        "VectorPRF",
        "read_jsonl",
    ]
    for name in cm.__all__:
        assert getattr(cm, name).__name__ == name
        assert getattr(cm, name).__doc__
    with pytest.raises(AttributeError):
        _ = cm.nothing_of_that_name


def test_the_error_tree_is_the_one_drawn() -> None:
    errors = importlib.import_module("cormorant.errors")
    drawn = [line for line in (errors.__doc__ or "").splitlines() if "+--" in line]
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, cm.CormorantError)
    }
    assert {line.split("+--")[1].split()[0] for line in drawn} == classes.keys() - {
        "CormorantError"
    }
    for line in drawn:
        name = line.split("+--")[1].split()[0]
        depth = len(classes[name].__mro__) - len(cm.CormorantError.__mro__)
        if name == "InputError" or cm.InputError in classes[name].__mro__:
            depth -= 1  # also a ValueError
        assert line.index("+--") == 4 * (depth - 1) + 4, line


def _python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_only_cormorant_is_importable(tmp_path: Path) -> None:
    for name in ("kernels", "indexers", "rankers", "retrieval", "api", "eval"):
        done = _python("-c", f"import {name}", cwd=tmp_path)
        assert "ModuleNotFoundError" in done.stderr, f"{name} is importable"


def test_a_bm25_search_imports_neither_torch_nor_faiss(tmp_path: Path) -> None:
    script = (
        "import sys, cormorant as cm\n"
        "with cm.Collection.create('c.cm') as c:\n"
        "    c.add([cm.Document(id='1', text='a cormorant dives')])\n"
        "    assert c.search('cormorant').ids == ['1']\n"
        "heavy = {'torch', 'faiss', 'sentence_transformers', 'transformers', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = _python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_import_cormorant_imports_nothing_else(tmp_path: Path) -> None:
    script = (
        "import sys, cormorant;"
        "heavy = ('numpy', 'numba', 'torch', 'typer', 'sqlite3');"
        "print([name for name in sys.modules if name.split('.')[0] in heavy])"
    )
    assert _python("-c", script, cwd=tmp_path).stdout.strip() == "[]"


def test_a_wheel_from_a_checkout_with_a_hyphen_holds_and_imports_every_module(
    tmp_path: Path,
) -> None:
    checkout = tmp_path / "a-check-out"
    checkout.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in tracked:
        source, target = ROOT / name, checkout / name
        if not source.exists() or name.startswith(("tests/", "docs/")):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    built = _python(
        "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), ".", cwd=checkout
    )
    assert built.returncode == 0, built.stderr + built.stdout
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"cormorant"}
    assert "cormorant/py.typed" in names
    assert "cormorant/eval/stdlib_docs/queries.jsonl" in names
    assert {f"cormorant/eval/report/page.{kind}" for kind in ("html", "css")} <= set(names)
    expected = {
        str(path.relative_to(ROOT / "src")) for path in _modules() if path.name != "__pycache__"
    }
    assert expected <= set(names)
    modules = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names
        if name.endswith(".py") and not name.endswith("__main__.py")
    )
    script = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(site)!r})\n"
        f"for name in {modules!r}:\n"
        "    module = importlib.import_module(name)\n"
        f"    assert module.__file__.startswith({str(site)!r}), module.__file__\n"
    )
    done = _python("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
