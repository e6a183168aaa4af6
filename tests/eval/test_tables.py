"""The table for the terminal."""

import io
import re

import pytest

from cormorant.eval.grids import results_grid, summary_grid
from cormorant.eval.result import EvalResult
from cormorant.eval.significance import Against, Comparison
from cormorant.eval.tables import print_results, render_results

console_module = pytest.importorskip("rich.console")


def result(dataset, pipeline, measures, flags=None):
    return EvalResult(
        dataset=dataset,
        pipeline=pipeline,
        measures=measures,
        per_query={},
        run={},
        latency_ms={"p50": 1.234, "p95": 22.0, "p99": 30.0},
        index_seconds=3.456,
        index_bytes=12_345_678,
        catalog_bytes=0,
        queries=323,
        flags=flags or {},
    )


RESULTS = [
    result("nfcorpus", "bm25", {"nDCG@10": 0.32054, "R@100": 0.25}),
    result("nfcorpus", "[hybrid]", {"nDCG@10": 0.35311, "R@100": 0.24}, {"cut": 2}),
    result("cranfield", "bm25", {"nDCG@10": 0.4840}),
]


def test_plain_text():
    text = render_results(RESULTS)
    lines = text.splitlines()
    assert lines[0].split("  ")[0].strip() == "data set"
    for word in ("nDCG@10", "R@100", "p50 ms", "p95 ms", "index s", "index MB", "queries"):
        assert word in lines[0]
    assert lines[2].split() == [
        "nfcorpus",
        "bm25",
        "0.3205",
        "0.2500",
        "1.23",
        "22.00",
        "3.46",
        "12.35",
        "323",
    ]
    assert lines[3].split()[1:4] == ["[hybrid]", "0.3531", "0.2400"]
    assert lines[4].split()[:4] == ["cranfield", "bm25", "0.4840", "-"]
    assert "nfcorpus, [hybrid]: cut (2 queries)" in lines[-1]
    assert "\x1b" not in text


def test_the_best_of_several_is_bold():
    console = console_module.Console(
        file=io.StringIO(), force_terminal=True, color_system="standard", width=200
    )
    print_results(RESULTS, console)
    text = console.file.getvalue()
    bold = {value.strip() for value in re.findall(r"\x1b\[1m([ 0-9.]+)\x1b\[0m", text)}
    assert bold - {""} == {"0.3531", "0.2500"}


def test_no_figure_is_cut_off_on_a_narrow_terminal():
    console = console_module.Console(file=io.StringIO(), width=40)
    print_results(RESULTS, console)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == (
        render_results(RESULTS).splitlines()
    )


def test_a_narrow_terminal_gets_two_tables():
    shown = {}
    for width in (40, 200):
        console = console_module.Console(
            file=io.StringIO(), force_terminal=True, color_system=None, width=width
        )
        print_results(RESULTS, console)
        lines = [line.split() for line in console.file.getvalue().splitlines()]
        shown[width] = [words for words in lines if words[:1] == ["data"] or "[hybrid]" in words]
    [quality, own, cost, spent] = shown[40]
    assert quality == ["data", "set", "pipeline", "nDCG@10", "R@100"]
    assert own == ["nfcorpus", "[hybrid]", "0.3531", "0.2400"]
    assert " ".join(cost) == "data set pipeline p50 ms p95 ms index s index MB queries"
    assert spent == ["nfcorpus", "[hybrid]", "1.23", "22.00", "3.46", "12.35", "323"]
    assert len(shown[200]) == 2


def test_equal_is_equally_good():
    grid = results_grid([result("d", name, {"AP": 0.123401}) for name in ("a", "b")])
    assert [row[2].best for row in grid.rows] == [True, True]


def test_no_results():
    assert "data set" in render_results([])


def comparison(dataset, pipeline, measure, difference, p_holm):
    return Comparison(
        dataset=dataset,
        pipeline=pipeline,
        baseline="bm25",
        measure=measure,
        difference=difference,
        wins=170,
        losses=90,
        ties=63,
        p=p_holm / 2,
        p_holm=p_holm,
    )


def test_against_a_baseline():
    against = Against(
        "bm25",
        (
            comparison("nfcorpus", "[hybrid]", "nDCG@10", 0.03257, 0.00004),
            comparison("nfcorpus", "[hybrid]", "R@100", -0.01, 0.05),
        ),
    )
    lines = render_results(RESULTS, against).splitlines()
    assert lines[2].split()[2:4] == ["0.3205", "0.2500"], "the baseline has no mark"
    assert lines[3].split()[1:5] == ["[hybrid]", "+", "0.3531", "0.2400"]
    assert lines[2].index("0.3205") == lines[3].index("0.3531"), "figures stay in line"
    assert "+ or - before a figure: above or below bm25, Holm p < 0.05" in lines
    blank = lines.index("")
    assert lines[blank + 3].split() == [
        "nfcorpus", "[hybrid]", "nDCG@10", "+0.0326", "170", "90", "63", "<0.0001", "<0.0001",
    ]  # fmt: skip
    assert lines[blank + 4].split()[2:] == [
        "R@100", "-0.0100", "170", "90", "63", "0.0250", "0.0500",
    ]  # fmt: skip
    assert "baseline: bm25" in lines[-1]


def test_below_the_baseline_is_marked_and_bold_stays():
    against = Against("[hybrid]", (comparison("nfcorpus", "bm25", "R@100", -0.01, 0.03),))
    assert results_grid(RESULTS, against).rows[0][3] == ("- 0.2500", True)


def test_nothing_to_compare_changes_nothing():
    assert render_results(RESULTS, Against("bm25", ())) == render_results(RESULTS)


def test_the_summary_has_a_column_for_each_data_set():
    grid = summary_grid(RESULTS, "nDCG@10")
    assert (grid.texts, grid.figures) == (("nDCG@10",), ("nfcorpus", "cranfield"))
    assert grid.rows == [
        [("bm25", False), ("0.3205", False), ("0.4840", False)],
        [("[hybrid]", False), ("0.3531", True), ("-", False)],
    ]
