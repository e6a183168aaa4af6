"""Data sets, runs, measures, reports and benchmarks."""
