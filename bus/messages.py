"""The typed messages of the bus: what is not a record of the hot path.

Every message is a msgspec struct, sent as msgpack. Amounts of money are decimal text (`"0.00120"`), so that nothing is
rounded on the way; prices and indicators for display are float64. Times are ms of market time unless they say `wall`.
"""

import msgspec

from core.histogram import Window


class Message(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Base of all messages: encoded as arrays, compared by value."""


class Tagged(msgspec.Struct, array_like=True, gc=False, frozen=True, tag=True, tag_field="event"):
    """Base of the messages that travel in a union: the class name is the first element."""


# --- the market, as the feeder found it ---------------------------------------------------------


class Market(Message, frozen=True):
    """The rules of one market: decimal text, as the venue gives them."""

    pair: str  # the venue's own name, as in PAIRS
    base: str
    quote: str
    tick: str  # smallest step of the price
    step: str  # smallest step of the quantity
    min_quantity: str
    min_notional: str
    max_quantity: str | None = None  # of a market order
    active: bool = True  # False: known from an earlier start, not followed now


class Start(Message, frozen=True):
    """Body of a START record: what the following records are about; pair number = index in `markets`."""

    venue: str
    book: str
    markets: list[Market]
    taker_fee_bps: str
    maker_fee_bps: str
    tape_clock: bool  # True: the venue is a player faster than 1x, ages against wall time mean nothing
    time_ns: int


# --- every stage --------------------------------------------------------------------------------


class Event(Message, frozen=True):
    """What a person must know; topic `event/0/`."""

    stage: str
    level: str  # start, info, warn, error, entry, exit, refusal, halt
    text: str
    time_ms: int  # wall time
    pair: str = ""


class Beat(Message, frozen=True):
    """Heartbeat of a stage, once a second; topic `beat/0/`; never numbered."""

    stage: str
    pid: int
    wall_ms: int
    started_ms: int  # wall time
    restarts: int  # since the pipeline was started
    layout_hash: int
    settings_hash: int  # of the settings that stages share
    last: dict[str, tuple[int, int]]  # topic: (epoch, last number); (epoch, -1) before the first
    latency_us: tuple[float, float]  # p50, p99 over the last minute, arrival of a message to its publication
    facts: dict[str, str | int | float | None] = {}  # the stage's own, by name
    spans: dict[str, tuple[Window, Window]] = {}  # by name (see core.spans): the last minute, the last hour


class Gap(Message, frozen=True):
    """What was missed on a topic and cannot be recovered; wall time."""

    stage: str
    topic: str
    epoch: int
    first: int
    last: int
    time_ms: int


# --- candles and view, from indicators ----------------------------------------------------------


class Candle(Message, frozen=True):
    """One row of `candles`; topic `candle/0/`; upserted by (pair, time)."""

    pair: str
    time: int  # ms of the bucket's start
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    rsi: float | None
    bb_lower: float | None
    bb_middle: float | None
    bb_upper: float | None
    closed: bool
    partial: bool = False
    epoch: int = 0  # of the tape; this and the next two of a closed candle only
    segment: int = 0  # which warm-up it is of
    number: int = -1  # of the record that closed it


class View(Message, frozen=True):
    """Latest state of one pair for the page, at most 10 Hz; topic `view/0/`; holes do not matter."""

    pair: str
    number: int
    time_ms: int  # of the last trade
    price: float
    rsi: float | None
    bb_lower: float | None
    bb_middle: float | None
    bb_upper: float | None
    warm: bool
    closed: int
    needed: int  # closed candles before the first decision
    buy_below: float | None  # an entry rule holds at or below this price, as of the last closed candle
    sell_above: float | None  # take-profit holds at or above this price
    candle: Candle | None  # the forming one


# --- trader events: the journal, topic `trader/0/` ----------------------------------------------
# Each is one journal entry. `At` says after which tape record it was applied.


class At(Message, frozen=True):
    epoch: int
    record: int  # number on the tape; -1 before any
    time_ms: int  # market time


class OrderEvent(Tagged, frozen=True):
    """An order changed state; the row of `orders`."""

    at: At
    client_order_id: str
    venue_order_id: str
    pair: str
    side: str  # buy, sell
    type: str  # market, limit
    price: str | None
    quantity: str
    filled: str
    status: str
    reason: str
    created: int
    updated: int


class FillEvent(Tagged, frozen=True):
    """A fill; the row of `fills`. `id` is counted over the journal from 1."""

    at: At
    id: int
    client_order_id: str
    venue_fill_id: str
    pair: str
    side: str
    price: str
    quantity: str
    fee: str
    fee_currency: str
    time: int


class TradeEvent(Tagged, frozen=True):
    """A completed entry (buy) or exit (sell); the row of `trades`. `id` is counted over the journal from 1."""

    at: At
    id: int
    pair: str
    action: str  # buy, sell
    price: str  # average
    quantity: str
    fee: str  # quote; one taken in the base coin at its fill's price
    profit: str | None  # quote, net of both sides' fees and taxes; None on buys
    reason: str
    timestamp: str  # ISO-8601 UTC of market time
    client_order_id: str


class SignalEvent(Tagged, frozen=True):
    """A decision, or the begin or end of a refusal; the row of `signals`."""

    at: At
    pair: str
    action: str  # enter, exit
    reason: str
    price: float
    rsi: float | None
    bb_lower: float | None
    outcome: str  # approved, refused:REASON (begin), refused:REASON ended
    client_order_id: str
    count: int = 1  # refusals between begin and end
    note: str = ""  # the numbers behind a refusal, in words


class PositionEvent(Tagged, frozen=True):
    """The position of a pair after a fill, or `highest` at a candle close."""

    at: At
    pair: str
    quantity: str  # 0 when flat
    cost: str  # quote paid for what is held, fees and taxes included
    entry_price: float | None  # average fill price
    highest: float | None
    stop_price: float | None
    opened_ms: int | None
    dust: str = "0"


class EquityEvent(Tagged, frozen=True):
    """One row of `equity`: once a minute of market time and per fill."""

    at: At
    time: int
    balance: str
    position_value: str
    unrealized: str
    realized: str


class StateEvent(Tagged, frozen=True):
    """The trading state changed, or an operator's command was applied."""

    at: At
    state: str  # active, paused, reducing, halted
    reason: str
    command: str  # pause, resume, flatten, halt, or "" where a limit did it
    command_id: str


class SpanEvent(Tagged, frozen=True):
    """Records first..last were applied blind (decide nothing) or degraded (trailing stop only)."""

    at: At
    kind: str  # blind, degraded
    first: int
    last: int  # -1 while it is still open
    why: str


class StartedEvent(Tagged, frozen=True):
    """The trader started: what it found and what it did about it."""

    at: At
    journal_id: str
    book: str
    settings: dict[str, str]  # those that decide, without secrets
    found: str  # new, clean, recovered
    report: str  # one line a person understands


class CostsEvent(Tagged, frozen=True):
    """What a round trip costs from here on: at a start, and when the venue's fee changed."""

    at: At
    break_even_pct: str | None  # the rise that pays for a round trip; None where none does
    stop_pct: str  # the stop's distance
    level: str  # info, warn
    text: str  # one line a person understands


class DayCostsEvent(Tagged, frozen=True):
    """What a day's round trips made and what they cost; told when the next day begins."""

    at: At
    trips: int
    gross: str  # quote, before fees and taxes
    costs: str
    level: str  # info, warn
    text: str  # one line a person understands


class ExternalEvent(Tagged, frozen=True):
    """The account holds other than the journal says, and no order of ours explains it: the journal follows."""

    at: At
    pair: str  # "" where it is about quote
    base: str  # coin that is gone, 0 where it is about quote
    quote: str  # by how much the wallet differs
    why: str


class CheckedEvent(Tagged, frozen=True):
    """Journal and venue were compared: at each start, and later where something was found or agreement changed."""

    at: At
    at_start: bool
    agreed: bool
    report: list[str]  # lines a person understands: what was found and how it was resolved
    before: dict[str, str]  # base coin held, by pair, before what was found was booked
    after: dict[str, str]
    wall_ms: int = 0  # when it was judged


class ShadowEvent(Tagged, frozen=True):
    """A real order is over, and so is the same order on paper; the row of `shadow`. Texts; None: did not fill."""

    at: At
    client_order_id: str
    pair: str
    action: str  # buy, sell
    live_price: str | None  # average
    paper_price: str | None
    live_quantity: str
    paper_quantity: str
    difference_bps: str | None  # more than 0 where the account did worse
    lost: str | None  # quote: the difference on what the account traded
    live_profit: str | None  # of a sell
    paper_profit: str | None  # of the same quantity bought and sold on paper
    time: int


TraderEvent = (
    OrderEvent
    | FillEvent
    | TradeEvent
    | SignalEvent
    | PositionEvent
    | EquityEvent
    | StateEvent
    | SpanEvent
    | StartedEvent
    | CostsEvent
    | DayCostsEvent
    | ExternalEvent
    | CheckedEvent
    | ShadowEvent
)


class Entry(Message, frozen=True):
    """A journal entry on the bus; `number` counts from 1 and never repeats within a journal."""

    number: int
    event: TraderEvent


class Status(Message, frozen=True):
    """Latest state of one pair at the trader, at most 10 Hz; topic `status/0/`; holes do not matter."""

    pair: str
    record: int
    time_ms: int
    status: str  # warming_up, idle, entering, in_position, exiting
    mode: str  # sim, live, reducing, halted, reconciling, replay
    entry_price: float | None
    quantity: str
    highest: float | None
    stop_price: float | None
    unrealized: str | None  # quote, net of the exit fee
    realized: str  # sum of trades.profit of the book
    wallet_quote: str
    wallet_base: str
    blocked: list[str]  # why no entry would be taken now
    feed: str  # normal, degraded, blind
    break_even_pct: float | None = None  # the rise of the price that pays for a round trip
    stop_pct: float | None = None  # the stop's distance
    shadow_trades: int | None = None  # real orders that were compared with paper; None in simulation
    shadow_median_bps: float | None = None  # of the latest 20 of them, more than 0 where the account did worse
    shadow_lost: str | None = None  # quote lost against paper, over all of them
    stake: str | None = None  # quote that an entry may cost now, by the ladder; None in simulation


# --- snapshots and control, over the stage's ROUTER ----------------------------------------------


class Request(Message, frozen=True):
    """What a peer asks of a stage."""

    id: str
    kind: str  # snapshot, replay, control
    topic: str = ""
    epoch: int = 0
    first: int = 0
    action: str = ""
    arguments: dict[str, str] = {}
    expires_wall_ms: int = 0  # a control request past this is not carried out


class Reply(Message, frozen=True):
    """The stage's answer; the following parts of the multipart message are frames (replay) or the snapshot."""

    id: str
    ok: bool
    text: str = ""  # for a person: what was done, or why not and what to do
    epoch: int = 0
    first: int = 0  # first number that the ring still has
    last: int = -1  # last number published


encode = msgspec.msgpack.Encoder().encode
