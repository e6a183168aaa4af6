"""The front against its definition."""

from hypothesis import given
from hypothesis import strategies as st

from cormorant.eval.pareto import pareto_front

NUMBERS = st.integers(0, 6)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12))
def test_nothing_beats_the_front_and_something_on_it_beats_the_rest(points):
    costs, values = [cost for cost, _ in points], [value for _, value in points]
    front = pareto_front(costs, values)

    def beats(one, other):
        better = costs[one] < costs[other] or values[one] > values[other]
        return costs[one] <= costs[other] and values[one] >= values[other] and better

    everyone = range(len(points))
    assert not any(beats(one, other) for one in everyone for other in front)
    for place in set(everyone) - set(front):
        equal = [one for one in front if points[one] == points[place]]
        assert any(beats(one, place) for one in front) or equal[0] < place
    assert [costs[place] for place in front] == sorted({costs[place] for place in front})
