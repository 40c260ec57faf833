"""The seam by ids, case by case: what an answer brings between the tape and the stream."""

import pytest

from core.clock import NS_PER_S
from feeder.sequence import counts_anew, sequel

S = 1_700_000_000 * NS_PER_S


def rows(*ids, at=S):
    return [(at + n * NS_PER_S // 1000, 10_000, 100, 1, n) for n in ids]


# tape's last id, answer, stream: kind, ids taken before the stream, ids put between the stream's, how many are ready
CASES = {
    "nothing is new": (5, [4, 5], [], "joined", [], [], 0),
    "what follows the tape is new": (5, [4, 5, 6, 7], [], "joined", [6, 7], [], 0),
    "an answer that begins with the next id reaches": (5, [6, 7], [], "joined", [6, 7], [], 0),
    "an answer that begins behind the next id does not": (5, [7, 8], [], "hole", [7, 8], [], 0),
    "an answer that ends before the tape is behind": (5, [2, 3], [], "behind", [], [], 0),
    "no answer is behind": (5, [], [], "behind", [], [], 0),
    "no tape": (0, [3, 4], [], "fresh", [3, 4], [], 0),
    "no tape and no trade": (0, [], [], "fresh", [], [], 0),
    "no tape, and the stream has begun": (0, [3, 4, 5], [5, 6], "fresh", [3, 4], [], 2),
    "of a trade in both the stream's copy counts": (5, [5, 6, 7, 8], [7, 8, 9], "joined", [6], [], 3),
    "the stream repeats what is on the tape": (5, [4, 5], [4, 5, 6], "joined", [], [], 1),
    "the stream follows the tape and needs no answer": (5, [], [6, 7], "behind", [], [], 2),
    "a gap that the answer fills": (5, [5, 6, 7, 8], [8, 9], "joined", [6, 7], [], 2),
    "a gap that the answer fills in part": (5, [5, 6], [9, 10], "joined", [6], [], 0),
    "a gap in the stream that the answer fills": (5, [5, 6, 7, 8], [6, 8, 9], "joined", [], [7], 4),
    "a gap in the stream that the answer does not reach": (5, [5, 6, 7], [6, 7, 9], "joined", [], [], 2),
    "two gaps, of which the answer reaches one": (5, [5, 6, 7, 8], [6, 8, 10, 11], "joined", [], [7], 3),
    "an answer that knows more than the stream has brought": (5, [5, 6, 7, 8], [6], "joined", [], [7, 8], 3),
}


@pytest.mark.parametrize("case", CASES)
def test_what_an_answer_brings(case):
    last_id, answer, stream, kind, before, between, ready = CASES[case]
    last = rows(last_id)[0] if last_id else None
    found = sequel(last, last_id, rows(*answer), rows(*stream))
    assert found.kind == kind
    assert [answer[place] for place in found.places] == before
    assert [answer[place] for place in found.fill] == between
    new = [n for n in stream if n > last_id]
    assert found.skip == len(stream) - len(new)
    assert found.ready == ready and found.sealed == (ready == len(new) + len(between))
    assert not found.jumps


JUMPS = {
    "an answer spans it with nothing in it": (5, [4, 5, 9], [9, 10], (5, 9)),
    "inside the answer": (5, [5, 6, 9], [], (6, 9)),
    "between the stream's trades": (5, [5, 6, 9], [6, 9], (6, 9)),
}


@pytest.mark.parametrize("case", JUMPS)
def test_ids_that_are_missing_where_nothing_was(case):
    last_id, answer, stream, jump = JUMPS[case]
    found = sequel(rows(last_id)[0], last_id, rows(*answer), rows(*stream))
    assert found.sealed and found.jumps == (jump,)


ANEW = {
    "lower and younger": (rows(2, at=S + 9 * NS_PER_S), True),
    "lower and older is an old answer": (rows(2), False),
    "lower and hardly younger": (rows(2, at=S + NS_PER_S), False),
    "the same id at another time": (rows(4, 5, 6, at=S + 9 * NS_PER_S), True),
    "the same id at the same time": (rows(4, 5, 6), False),
    "the same id, its time cut off otherwise": (rows(4, 5, 6, at=S + NS_PER_S // 2), False),
    "no trade at all": ([], False),
    "higher ids alone": (rows(8, 9, at=S + 9 * NS_PER_S), False),
}


@pytest.mark.parametrize("case", ANEW)
def test_a_venue_that_was_set_back(case):
    answer, expected = ANEW[case]
    assert counts_anew(rows(5)[0], answer) == expected


def test_a_venue_that_was_set_back_has_no_use_for_what_the_stream_brought_before():
    stream = [*rows(1, 2, at=S + 9 * NS_PER_S), *rows(6, at=S - NS_PER_S)]
    found = sequel(rows(5)[0], 5, rows(1, 2, 3, at=S + 9 * NS_PER_S), stream)
    assert (found.kind, list(found.places), found.fill, found.sealed) == ("restarted", [], (2,), True)
