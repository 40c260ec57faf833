"""From the bytes of CSV rows to TRADE records: plain scalar functions, compiled unchanged.

`read_rows` takes what is written plainly: digits with at most one point, no quotes, no spaces, no exponents. At
anything else it stops before the row, which `backtest.odd_rows` then reads exactly or refuses with a reason; both put
their trade down by `append`, so that order and duplicates are judged in one place.

* A price becomes ticks exactly and a float64 correctly rounded; one that is finer than the tick is none.
* A quantity becomes lots rounded down to the step and a float64 correctly rounded; beyond MOST_LOTS, which no order
  reaches, its lots are MOST_LOTS.
* A quantity in the quote currency is divided by the price and rounded down to the step; its float64 is the lots'.
* A candle is one trade at its close, 1 ms before its end, with its volume as quantity, 0 where nothing was traded.
* Times may be equal and never go back; a trade with the id, price and lots of one at the same time is a duplicate.
* Candles stand on the grid of their width, each once.
"""

from typing import Any

from bus.layouts import SIDE_BUY, SIDE_SELL, SIDE_UNKNOWN, TRADE

# What a column is. Those up to LOW are numbers.
IGNORED, TIME, PRICE, QUANTITY, OPEN, HIGH, LOW, SIDE, BUYER_MAKER, TRADE_ID, PAIR = range(11)

# Places in the plan, an int64 array: what the rows of a file look like.
COLUMNS = 0
TIME_UNIT = 1  # ns in a unit of the time column; 0: told by its size
CANDLE_NS = 2  # width of a candle; 0 for trades
IN_QUOTE = 3  # 1: quantities are in the quote currency
SKIP_PAIR = 4  # length of the pair's text that every row must have
ROLES = 8  # of up to MOST_COLUMNS columns
MOST_COLUMNS = 64
PAIR_BYTES = 64  # of the pair's text that are compared
POWERS = ROLES + MOST_COLUMNS  # 10 ** 0 to 10 ** 18
PLAN_WORDS = POWERS + 19

# Places in the state, an int64 array that goes on from block to block and from file to file.
AT = 0  # the next byte in the block
LINE = 1  # number of the line that begins there
ROWS = 2  # records written
LAST_NS = 3  # time of the last trade; -1 before the first
SEEN = 4  # trades with an id at that time, kept in `seen`
HIGHEST = 5  # greatest identity of them; an identity is the id where it is a number, else a negative hash of its text
STATE_WORDS = 8

SEEN_MOST = 1024  # of one time; more than any venue stamps alike
SEEN_WORDS = 3 * SEEN_MOST  # identity, ticks, lots
FIELD_WORDS = 32  # two a role: value and decimals

# Why `read_rows` stopped.
BLOCK_READ, ODD_ROW, FULL = 0, 1, 2

# What `append` says.
TAKEN, OUT_OF_ORDER, DUPLICATE, OFF_GRID = 0, 1, 2, 3

WORDS_OF_RECORD = 8
TICKS_OF_ONE = 100_000_000  # tick and step of a file without market rules are 1e-8
MOST_TICKS = 10**18  # a price of ten billion
MOST_LOTS = 1 << 60
MOST_NS = 1 << 62
EXACT = 1 << 53  # whole numbers up to here are float64
NS_OF_MS = 1_000_000
ID_DIGITS = 18  # of an id that is read as a number
HASH_MASK = (1 << 56) - 1
NO_IDENTITY = -(1 << 62)  # below every one

NEWLINE, RETURN, QUOTE, COMMA, POINT, ZERO = 10, 13, 34, 44, 46, 48
CASE = 32  # the bit between capital and small letters

Bytes = Any  # bytes, or a uint8 array where compiled
Words = Any  # an int64 array


def read_rows(
    data: Bytes, end: int, plan: Words, pair: Bytes, state: Words, fields: Words, seen: Words, words: Words, floats: Any
) -> int:
    """Put the rows of data[state[AT]:end] down as records until they end, one is odd, or `words` is full.

    end: behind a newline. words, floats: the same memory, the records. Returns why it stopped.
    """
    room = len(words) // WORDS_OF_RECORD
    at = state[AT]
    while at < end:
        if data[at] == NEWLINE or (data[at] == RETURN and data[at + 1] == NEWLINE):
            at += 1 if data[at] == NEWLINE else 2
            state[AT] = at
            state[LINE] += 1
            continue
        if state[ROWS] == room:
            return FULL
        after = read_fields(data, at, plan, pair, fields)
        if after < 0 or not put_down(plan, state, fields, seen, words, floats):
            return ODD_ROW
        at = after
        state[AT] = at
        state[LINE] += 1
    return BLOCK_READ


def read_fields(data: Bytes, at: int, plan: Words, pair: Bytes, fields: Words) -> int:
    """Read one row into `fields`; where the next begins, or -1 where this one is odd."""
    columns = plan[COLUMNS]
    for column in range(columns):
        role = plan[ROLES + column]
        if role == IGNORED:
            at = skip(data, at)
        elif role <= LOW:
            at, value, decimals = number(data, at)
            fields[2 * role] = value
            fields[2 * role + 1] = decimals
            if decimals < 0:
                return -1
        elif role == TRADE_ID:
            at = read_id(data, at, fields)
        elif role == PAIR:
            for place in range(plan[SKIP_PAIR]):
                if data[at + place] != pair[place]:
                    return -1
            at += plan[SKIP_PAIR]
        else:
            at = read_side(data, at, role, fields)
        if at < 0:
            return -1
        if column + 1 < columns:
            if data[at] != COMMA:
                return -1
        elif data[at] == RETURN:
            at += 1
        at += 1
    if data[at - 1] != NEWLINE:
        return -1
    return at


def number(data: Bytes, at: int) -> tuple[int, int, int]:
    """Where a plain number ends, its digits as a whole number and how many are decimals; -1 where it is odd."""
    begin = at
    value = 0
    digit = data[at] - ZERO
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = data[at] - ZERO
    digits = at - begin
    decimals = 0
    if digit == POINT - ZERO:
        at += 1
        begin = at
        digit = data[at] - ZERO
        while 0 <= digit <= 9:
            value = value * 10 + digit
            at += 1
            digit = data[at] - ZERO
        decimals = at - begin
        digits += decimals
    if digits == 0 or digits > 19 or value < 0 or value > MOST_NS or decimals > 18:
        return at, 0, -1
    return at, value, decimals


def skip(data: Bytes, at: int) -> int:
    """Where the field ends, or -1 where it is quoted."""
    byte = data[at]
    while byte != COMMA and byte != NEWLINE and byte != RETURN:
        if byte == QUOTE:
            return -1
        at += 1
        byte = data[at]
    return at


def read_id(data: Bytes, at: int, fields: Words) -> int:
    """Read a trade id: its number, or 0, and what tells it from others; where the field ends, or -1 where it is odd."""
    begin = at
    value = 0
    digit = data[at] - ZERO
    while 0 <= digit <= 9 and at - begin < ID_DIGITS:
        value = value * 10 + digit
        at += 1
        digit = data[at] - ZERO
    byte = data[at]
    if byte in (COMMA, NEWLINE, RETURN):
        fields[2 * TRADE_ID] = value
        fields[2 * TRADE_ID + 1] = value
        return at
    at = begin
    hashed = 0
    byte = data[at]
    while byte != COMMA and byte != NEWLINE and byte != RETURN:
        if byte == QUOTE or byte <= CASE:
            return -1
        hashed = (hashed * 67 + byte) & HASH_MASK
        at += 1
        byte = data[at]
    fields[2 * TRADE_ID] = 0
    fields[2 * TRADE_ID + 1] = -1 - hashed
    return at


def read_side(data: Bytes, at: int, role: int, fields: Words) -> int:
    """Read what the taker did, out of buy and sell, or out of whether the buyer was the maker."""
    begin = at
    first = data[at] | CASE
    last = first
    while (data[at] | CASE) >= 97 and (data[at] | CASE) <= 122:
        last = data[at] | CASE
        at += 1
    length = at - begin
    side = SIDE_UNKNOWN
    if role == BUYER_MAKER:
        if first == 116 and length == 4 and last == 101:  # true
            side = SIDE_SELL
        elif first == 102 and length == 5 and last == 101:  # false
            side = SIDE_BUY
        else:
            return -1
    elif first == 98 and (length == 1 or (length == 3 and last == 121)):  # buy
        side = SIDE_BUY
    elif first == 115 and (length == 1 or (length == 4 and last == 108)):  # sell
        side = SIDE_SELL
    elif length > 0:
        return -1
    fields[2 * SIDE] = side
    return at


def put_down(plan: Words, state: Words, fields: Words, seen: Words, words: Words, floats: Any) -> bool:
    """Make a record of the fields of a row; False where it is odd."""
    price_value, price_decimals = fields[2 * PRICE], fields[2 * PRICE + 1]
    value, decimals = fields[2 * QUANTITY], fields[2 * QUANTITY + 1]
    ns = nanoseconds(plan, fields[2 * TIME], fields[2 * TIME + 1])
    ticks = ticks_of(plan, price_value, price_decimals)
    if ns < 0 or ticks < 1 or price_value > EXACT:
        return False
    if plan[CANDLE_NS] > 0:
        if not is_candle(plan, fields, ticks):
            return False
        ns += plan[CANDLE_NS] - NS_OF_MS
    elif value == 0:
        return False
    if plan[IN_QUOTE] == 1:
        lots = lots_bought(plan, value, decimals, price_value, price_decimals)
        if lots > EXACT:
            return False
        quantity = lots / TICKS_OF_ONE
    else:
        lots = lots_of(plan, value, decimals)
        while value > EXACT and decimals > 0 and value % 10 == 0:
            value //= 10
            decimals -= 1
        if value > EXACT:
            return False
        quantity = value / plan[POWERS + decimals]
    price = price_value / plan[POWERS + price_decimals]
    side, trade_id, identity = fields[2 * SIDE], fields[2 * TRADE_ID], fields[2 * TRADE_ID + 1]
    said = append(plan, state, seen, words, floats, ns, ticks, price, lots, quantity, side, trade_id, identity)
    return said == TAKEN


def append(
    plan: Words,
    state: Words,
    seen: Words,
    words: Words,
    floats: Any,
    ns: int,
    ticks: int,
    price: float,
    lots: int,
    quantity: float,
    side: int,
    trade_id: int,
    identity: int,
) -> int:
    """Write a TRADE record behind the last one, unless it is out of order, there already, or off the candles' grid."""
    last_ns = state[LAST_NS]
    if ns < last_ns:
        return OUT_OF_ORDER
    if ns > last_ns:
        if plan[CANDLE_NS] > 0 and last_ns >= 0 and (ns - last_ns) % plan[CANDLE_NS] != 0:
            return OFF_GRID
        state[LAST_NS] = ns
        state[SEEN] = 0
        state[HIGHEST] = NO_IDENTITY
    elif plan[CANDLE_NS] > 0:
        return DUPLICATE
    if identity != 0:
        count = state[SEEN]
        if identity <= state[HIGHEST]:
            for place in range(0, 3 * count, 3):
                if seen[place] == identity and seen[place + 1] == ticks and seen[place + 2] == lots:
                    return DUPLICATE
        else:
            state[HIGHEST] = identity
        if count < SEEN_MOST:
            seen[3 * count] = identity
            seen[3 * count + 1] = ticks
            seen[3 * count + 2] = lots
            state[SEEN] = count + 1
    at = state[ROWS] * WORDS_OF_RECORD
    words[at] = TRADE + (side << 8)
    words[at + 1] = ns
    words[at + 2] = ns
    floats[at + 3] = price
    floats[at + 4] = quantity
    words[at + 5] = ticks
    words[at + 6] = lots
    words[at + 7] = trade_id
    state[ROWS] += 1
    return TAKEN


def nanoseconds(plan: Words, value: int, decimals: int) -> int:
    """Nanoseconds since 1970 of a time; -1 where it is odd."""
    unit: int = plan[TIME_UNIT]
    if unit == 0:
        unit = unit_by_size(value // plan[POWERS + decimals])
    if decimals > 0:
        power = plan[POWERS + decimals]
        if unit % power != 0:
            return -1
        unit = unit // power
    if unit == 1:
        return value
    if value > MOST_NS // unit:
        return -1
    return value * unit


def unit_by_size(time: int) -> int:
    """ns in the unit of a time whose column does not say: seconds, ms, us or ns since 1970, none before March 1973."""
    if time < 100_000_000_000:
        return 1_000_000_000
    if time < 100_000_000_000_000:
        return 1_000_000
    if time < 100_000_000_000_000_000:
        return 1_000
    return 1


def ticks_of(plan: Words, value: int, decimals: int) -> int:
    """Ticks of a price, exact; -1 where it is finer or beyond MOST_TICKS."""
    power: int = plan[POWERS + abs(decimals - 8)]
    if decimals > 8:
        return value // power if value % power == 0 else -1
    return value * power if value <= MOST_TICKS // power else -1


def lots_of(plan: Words, value: int, decimals: int) -> int:
    """Lots of a quantity, rounded down, at most MOST_LOTS."""
    power: int = plan[POWERS + abs(decimals - 8)]
    if decimals > 8:
        return value // power
    return value * power if value <= MOST_LOTS // power else MOST_LOTS


def lots_bought(plan: Words, value: int, decimals: int, price: int, price_decimals: int) -> int:
    """Lots that an amount of the quote currency bought at a price, rounded down, at most MOST_LOTS: long division."""
    exponent = 8 + price_decimals - decimals
    lots = value // price
    rest = value - lots * price
    while exponent > 0:
        if lots > MOST_LOTS // 10:
            return MOST_LOTS
        rest = rest * 10
        digit = rest // price
        lots = lots * 10 + digit
        rest = rest - digit * price
        exponent -= 1
    power: int = plan[POWERS - exponent]
    return lots // power


def is_candle(plan: Words, fields: Words, close: int) -> bool:
    """Whether open, high and low are prices, and the close lies between low and high."""
    low = ticks_of(plan, fields[2 * LOW], fields[2 * LOW + 1])
    high = ticks_of(plan, fields[2 * HIGH], fields[2 * HIGH + 1])
    opened = ticks_of(plan, fields[2 * OPEN], fields[2 * OPEN + 1])
    return 0 < low <= close <= high and low <= opened <= high
