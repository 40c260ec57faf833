"""The seam: whatever is cut, overlapped, repeated or delivered in pieces, the tape has every trade exactly once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from feeder import merge

MS = 1_000_000

# Few prices, quantities and time steps, so that equal trades in one millisecond are the rule.
# Some fall on a whole second, which looks like a time told in seconds.
NEXT_SECOND = -1
trade = st.tuples(
    st.sampled_from([0, 0, 0, 1, 2, NEXT_SECOND]), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)
)


@st.composite
def sequences(draw, least=2, most=40):
    """A true sequence of trades with times that never go back."""
    rows, now = [], draw(st.sampled_from([1_700_000_000_003, 1_700_000_000_999, 1_700_000_001_000])) * MS
    for step, ticks, lots, side in draw(st.lists(trade, min_size=least, max_size=most)):
        now += -now % (1000 * MS) if step == NEXT_SECOND else step * MS
        rows.append((now, ticks, lots, side, 0))
    return rows


def plan_of(tape, answer, stream, known):
    """The plan where both sources have shown the times of `known`."""
    return merge.plan(tape, answer, stream, merge.finest(known))


def resolution_of(known):
    resolution = merge.Resolution()
    resolution.rest.add(known)
    resolution.stream.add(known)
    return resolution


def pieces(draw, items):
    """Cuts a list into pieces, as a socket delivers it."""
    while items:
        size = draw(st.integers(1, len(items)))
        yield items[:size]
        items = items[size:]


def knowable(rows, at, last):
    """With equal trades in one millisecond right across a cut nobody can tell; one older row settles it."""
    return rows[at][0] < rows[last][0]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_answer_adds_exactly_what_the_tape_lacks(data):
    rows = data.draw(sequences())
    cut = data.draw(st.integers(1, len(rows)))
    start = data.draw(st.integers(0, cut - 1))
    tape, answer = rows[:cut], rows[start:]
    plan = plan_of(tape, answer, [], rows)
    assert plan.kind == "joined"
    if start == 0 or knowable(rows, start, cut - 1):
        assert tape + answer[plan.first : plan.last] == rows


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_polling_gives_the_true_sequence_once(data):
    rows = data.draw(sequences(least=5))
    tape = rows[: data.draw(st.integers(1, 3))]
    reach = data.draw(st.integers(1, len(rows)))
    for upto in sorted(data.draw(st.lists(st.integers(len(tape), len(rows)), max_size=8))):
        first = max(0, min(upto - reach, len(tape) - 1))
        while first > 0 and not knowable(rows, first, len(tape) - 1):
            first -= 1
        plan = plan_of(tape, rows[first:upto], [], rows)
        assert plan.kind == "joined"
        tape = tape + rows[first:upto][plan.first : plan.last]
        assert tape == rows[:upto]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_tape_answer_and_buffered_stream_meet(data):
    """The stream was joined before the answer was asked for: it begins inside or right after it."""
    rows = data.draw(sequences(least=4))
    n = len(rows)
    cut = data.draw(st.integers(1, n - 1))  # the tape has rows[:cut]
    join = data.draw(st.integers(cut, n - 1))
    heard = data.draw(st.integers(join + 1, n))  # buffered: rows[join:heard]
    asked = data.draw(st.integers(join + 1, n))  # the answer ends here
    start = data.draw(st.integers(0, cut - 1))
    if not knowable(rows, start, cut - 1) or not knowable(rows, max(join - 1, 0), join):
        return  # equal trades across a cut: nobody can tell
    tape, answer, stream = rows[:cut], rows[start:asked], rows[join:heard]
    plan = plan_of(tape, answer, stream, rows)
    assert plan.kind == "joined" and plan.sealed
    assert tape + answer[plan.first : plan.last] + stream[plan.skip :] == rows[:heard]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_refill_and_the_stream_that_repeats_it(data):
    """Nothing was buffered when the answer came; the stream lags behind it and delivers in pieces."""
    rows = data.draw(sequences(least=4))
    n = len(rows)
    filled = data.draw(st.integers(1, n))  # tape and refill have rows[:filled]
    join = data.draw(st.integers(max(0, filled - 30), filled))
    tail_from = data.draw(st.integers(0, join))
    if join < filled and not knowable(rows, join, filled - 1):
        return
    if join == filled < n and rows[filled][0] == rows[filled - 1][0]:
        return  # the first new trade shares its millisecond with the last known one
    repeats = merge.Repeats(rows[tail_from:filled], resolution_of(rows))
    tape = rows[:filled]
    for piece in pieces(data.draw, rows[join:]):
        tape = tape + repeats.feed([(row, row) for row in piece])
    if join < n and (repeats.done or not repeats.held):
        assert tape == rows
    else:  # everything heard so far was on the tape
        assert tape == rows[:filled]


@settings(max_examples=100, deadline=None)
@given(sequences(least=1), st.data())
def test_an_undisturbed_stream_is_never_thinned(rows, data):
    repeats = merge.Repeats([], merge.Resolution())
    tape = []
    for piece in pieces(data.draw, rows):
        tape += repeats.feed([(row, row) for row in piece])
    assert tape == rows


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_an_answer_older_than_the_tape_adds_nothing(data):
    rows = data.draw(sequences(least=4))
    last = data.draw(st.integers(1, len(rows)))
    first = data.draw(st.integers(0, last - 1))
    plan = plan_of(rows, rows[first:last], [], rows)
    assert plan.kind in ("joined", "behind")
    if last == len(rows) or knowable(rows, last - 1, len(rows) - 1):
        assert plan.first == plan.last or rows[first:last][plan.first : plan.last] == []


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whole_second_answers_meet_a_tape_in_milliseconds(data):
    """INR markets were seen with whole-second times over REST; the tape's come from the stream."""
    rows = data.draw(sequences(least=6))
    cut = data.draw(st.integers(2, len(rows)))
    coarse = [(row[0] // 1_000_000_000 * 1_000_000_000, *row[1:]) for row in rows]
    plan = plan_of(rows[:cut], coarse, [], coarse)
    assert plan.kind == "joined"
    assert plan.last - plan.first == len(rows) - cut


@settings(max_examples=100, deadline=None)
@given(sequences(least=3), sequences(least=3))
def test_no_overlap_is_a_hole(rows, later):
    moved = [(row[0] + 3_600_000 * MS, *row[1:]) for row in later]
    plan = plan_of(rows, moved, [], rows)
    assert plan.kind == "hole" and (plan.first, plan.last) == (0, len(moved))


def shuffled(draw, rows):
    """The same trades, those of one millisecond in another order, as a venue that sorts by time might answer."""
    groups: dict[int, list] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(row)
    return [row for time in sorted(groups) for row in draw(st.permutations(groups[time]))]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_venue_that_orders_a_millisecond_otherwise_loses_and_doubles_nothing(data):
    rows = data.draw(sequences(least=3))
    cut = data.draw(st.integers(2, len(rows)))
    if not knowable(rows, 0, cut - 1):
        return
    answer = shuffled(data.draw, rows)
    plan = plan_of(rows[:cut], answer, [], rows)
    assert plan.kind == "joined"
    taped = rows[:cut] + [answer[place] for place in plan.places]
    assert sorted(taped) == sorted(rows)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_same_with_a_stream_that_began(data):
    rows = data.draw(sequences(least=4))
    cut = data.draw(st.integers(1, len(rows) - 1))
    join = data.draw(st.integers(cut, len(rows) - 1))
    if rows[cut - 1][0] == rows[cut][0] or (join and rows[join - 1][0] == rows[join][0]):
        return  # a moment that was cut in two and sorted otherwise: nobody can tell
    heard = data.draw(st.integers(join + 1, len(rows)))
    if not (knowable(rows, join, heard - 1) and knowable(rows, 0, cut - 1)):
        return
    answer = shuffled(data.draw, rows)
    plan = plan_of(rows[:cut], answer, rows[join:heard], rows)
    assert plan.kind == "joined"
    taped = rows[:cut] + [answer[place] for place in plan.places] + rows[join + plan.skip : heard]
    assert sorted(taped) == sorted(rows[:heard])
