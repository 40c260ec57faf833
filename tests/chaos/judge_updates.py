"""Did who listened to `update/` hear one update a trade, under the trade's number, and never two contents?"""

from tests.chaos.findings import Finding, finding
from tests.chaos.listener import SIZE, Heard, Jump
from tests.reference.read_tape import KIND_TRADE, Segment
from tests.reference.slow_strategy import Candle, Hole, Trade

RECORD = 64
IN_FLIGHT_NS = 10**9  # so old may be what indicators that are told to end have not come to
LONGEST_AWAY_S = 90.0  # between two processes: what the second one may leave out is bounded by what passed meanwhile


def judge_updates(segments: list[Segment], heard: Heard, stopped_ns: int) -> Finding:
    """Holds what was heard against the tape.

    A trade without an update is wrong unless it fell into a change of process that the listener could not bridge and
    that took no longer than LONGEST_AWAY_S, or came less than IN_FLIGHT_NS before `stopped_ns` (wall), when the stages
    were told to end, or after it.
    """
    wrong = list(heard.wrong)
    if len(heard.epochs) != 1:
        wrong.append(f"updates of {len(heard.epochs)} epochs: {sorted(heard.epochs)}")
    wrong += [said(jump) for jump in heard.jumps if jump.pid and jump.then == jump.pid]
    away = [(jump.last + 1, jump.first - 1) for jump in heard.jumps if jump.first > jump.last + 1]
    last = max(heard.covered, default=-1)
    trades = unheard = 0
    passed: dict[tuple[int, int], tuple[int, int]] = {}  # by change of process: when the first and last of these were
    numbers = set(heard.bodies)
    for segment in segments:
        for number, record in enumerate(segment.records, segment.first):
            if record[0] != KIND_TRADE:
                continue
            trades += 1
            numbers.discard(number)
            body = heard.bodies.get(number)
            if body is not None:
                if body[:RECORD] != record:
                    wrong.append(f"update {number} is about another trade: {body[:RECORD].hex()}, tape {record.hex()}")
            elif number in heard.covered:
                wrong.append(f"a frame covered {number}, a trade, without an update for it")
            elif span := next((span for span in away if span[0] <= number <= span[1]), None):
                unheard += 1
                happened_ns = int.from_bytes(record[8:16], "little")
                first_ns, last_ns = passed.get(span, (happened_ns, happened_ns))
                passed[span] = min(first_ns, happened_ns), max(last_ns, happened_ns)
            elif number > last and int.from_bytes(record[16:24], "little") >= stopped_ns - IN_FLIGHT_NS:
                trades -= 1  # indicators ended with the feeder, or a moment before it
            else:
                wrong.append(f"trade {number} has no update, though the listener was connected")
    wrong += [f"update {number} has no trade on the tape" for number in sorted(numbers)]
    longest_s = max(((end_ns - begin_ns) / 1e9 for begin_ns, end_ns in passed.values()), default=0.0)
    if longest_s > LONGEST_AWAY_S:
        wrong.append(f"nobody spoke of the trades of {longest_s:.0f} s, from one process to the next")
    text = f"{trades - unheard} of {trades} trades heard, each once by number ({heard.again} again, the same bytes)"
    text += f", {heard.replayed} of them asked for, {unheard} while nobody spoke"
    text += f" (at most those of {longest_s:.1f} s); {len(heard.pids)} processes"
    assert SIZE == 2 * RECORD
    return finding("update/", text, wrong)


def spoken_of(rows: list[Trade | Candle | Hole], heard: Heard) -> list[Trade | Candle | Hole]:
    """The rows of a tape up to the last that `update/` spoke of.

    In a stop the feeder ends after indicators: what it still took is folded, and told to storage, at the next start.
    That none of it is older than IN_FLIGHT_NS before the stop is what `judge_updates` sees to.
    """
    last = max(heard.covered, default=-1)
    return [row for row in rows if row.number <= last]


def said(jump: Jump) -> str:
    return f"process {jump.pid} went on at {jump.first} after {jump.last}"
