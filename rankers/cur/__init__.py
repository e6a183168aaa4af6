"""Search a whole collection by a pair scorer: ANNCUR, ADACUR and AXN under a budget of calls."""
