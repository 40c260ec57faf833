"""Did who listened to `update/` hear one update a trade, under the trade's number, and never two contents?"""

from tests.chaos.findings import Finding, finding
from tests.chaos.listener import SIZE, Heard, Jump
from tests.reference.read_tape import KIND_TRADE, Segment

RECORD = 64


def judge_updates(segments: list[Segment], heard: Heard, stopped_ns: int) -> Finding:
    """Holds what was heard against the tape.

    A trade without an update is wrong unless it fell into a change of process that the listener could not bridge, or
    came after `stopped_ns` (wall), when indicators were told to end.
    """
    wrong = list(heard.wrong)
    if len(heard.epochs) != 1:
        wrong.append(f"updates of {len(heard.epochs)} epochs: {sorted(heard.epochs)}")
    wrong += [said(jump) for jump in heard.jumps if jump.pid and jump.then == jump.pid]
    away = [(jump.last + 1, jump.first - 1) for jump in heard.jumps if jump.first > jump.last + 1]
    last = max(heard.covered, default=-1)
    trades = unheard = 0
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
            elif any(low <= number <= high for low, high in away):
                unheard += 1
            elif number > last and int.from_bytes(record[16:24], "little") >= stopped_ns:
                trades -= 1  # indicators ended with the feeder, or a moment before it
            else:
                wrong.append(f"trade {number} has no update, though the listener was connected")
    wrong += [f"update {number} has no trade on the tape" for number in sorted(numbers)]
    text = f"{trades - unheard} of {trades} trades heard, each once by number ({heard.again} again, the same bytes)"
    text += f", {heard.replayed} of them asked for, {unheard} while nobody spoke; {len(heard.pids)} processes"
    assert SIZE == 2 * RECORD
    return finding("update/", text, wrong)


def said(jump: Jump) -> str:
    return f"process {jump.pid} went on at {jump.first} after {jump.last}"
