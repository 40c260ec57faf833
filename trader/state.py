"""Everything the fold knows, as one struct: packed in the journal at each commit, and read back bit for bit."""

from decimal import Decimal

import msgspec

from bus.messages import Start
from trader.ladder import Ladder
from trader.orders import OrderState

NO_SPAN = ""
BLIND = "blind"
DEGRADED = "degraded"

ACTIVE, PAUSED, REDUCING, HALTED = "active", "paused", "reducing", "halted"
BUY, SELL = "buy", "sell"
ENTRY, EXIT = "entry", "exit"
STOP = "stop"  # kind of an exit that waits at the venue until the price has fallen to it


class Order(msgspec.Struct):
    """An order of ours. lots and filled in lots; cash, reserve and share in units."""

    id: str
    pair: str
    purpose: str  # entry, exit
    reason: str  # of the decision
    lots: int
    ticks: int  # price of the deciding trade
    decided_ns: int
    created_ms: int
    updated_ms: int
    state: OrderState
    venue_order_id: str = ""
    note: str = ""  # capped_by_wallet, entry_timeout, dust, ...
    filled: int = 0
    cash: int = 0  # paid so far by a buy, got so far by a sell, fees and taxes included
    gross: Decimal = Decimal(0)  # sum of price x quantity
    fee: Decimal = Decimal(0)
    reserve: int = 0  # of the wallet, for what is not yet filled
    share: int = 0  # cost of what a sell sold
    kind: str = "market"  # market, limit, ioc, stop
    limit_ticks: int = 0  # of limit and ioc
    stop_ticks: int = 0  # of stop
    attempt: int = 1
    fill_ids: list[str] = []  # the venue's, where orders are real

    @property
    def side(self) -> str:
        """buy or sell."""
        return BUY if self.purpose == ENTRY else SELL

    @property
    def left(self) -> int:
        """Lots not yet filled."""
        return self.lots - self.filled

    @property
    def resting(self) -> bool:
        """Whether it is a stop that waits at the venue: nothing of it is filled, nobody has asked to cancel it."""
        return self.kind == STOP and not self.filled and self.state != OrderState.CANCELLING


class LivePair(msgspec.Struct):
    """What a pair has besides where orders are real. Quantities of base coin."""

    spare: Decimal = Decimal(0)  # of the position, less than one step: what fees in base left of a lot
    dust_spare: Decimal = Decimal(0)  # of closed positions, likewise
    exiting: str = ""  # why the position is being sold: it is tried until it is flat
    exits: int = 0  # exits sent for this position
    opened_epoch: int = 0  # tape place of the first fill
    opened_record: int = -1


class PairState(msgspec.Struct):
    """One pair. lots in steps of `step`, cost in units with fees and taxes; times by the market's clock."""

    pair: str
    step: Decimal
    tick: Decimal
    lots: int = 0
    cost: int = 0
    entry_gross: Decimal = Decimal(0)  # price x quantity of the entry's fills
    entry_quantity: Decimal = Decimal(0)
    highest: float | None = None
    opened_ms: int | None = None
    dust_lots: int = 0
    dust_cost: int = 0
    order: Order | None = None
    flatten: str = ""  # command id of the operator who wants it sold
    price: float = 0.0  # of the last trade; 0 before the first
    ticks: int = 0
    ns: int = 0
    closed: int = -1  # candle count of the last record looked at while there was a position or a refusal
    warm: bool = False
    refusal: str = ""  # the reason of the refusal that is open
    refusal_rule: str = ""
    refusal_count: int = 0
    refusal_fresh: bool = False  # refused since the last candle close
    live: LivePair | None = None  # None in simulation

    @property
    def entry_price(self) -> float | None:
        """Average fill price of the entry, None when flat."""
        if self.lots == 0 or self.entry_quantity == 0:
            return None
        return float(self.entry_gross / self.entry_quantity)


class RiskState(msgspec.Struct):
    """What the limits count. Amounts in units, times in ns of market time."""

    day: int = -1
    day_realized: int = 0
    losses: int = 0  # in a row
    peak: int = 0  # highest equity since the start or the last resume
    cool_until_ns: int = 0
    entries_ns: list[int] = []


class DayCosts(msgspec.Struct):
    """What the round trips of a day of market time came to, in units."""

    day: int = -1  # counted from 1970
    trips: int = 0
    gross: int = 0  # made before fees and taxes
    costs: int = 0


class LiveState(msgspec.Struct):
    """What the fold knows besides where orders are real."""

    ended: list[Order] = []  # the latest orders that are over: a fill may still come
    agreed: bool = False  # what the latest comparison with the venue said
    known: bool = False  # the wallet is the venue's: one comparison has agreed
    ladder: Ladder = Ladder()
    fee: int | None = None  # the account's taker fee in parts, None before it was told
    orphans: list[str] = []  # ids of the latest orders adopted that the journal did not know
    since_ms: int = 0  # fills before are all in the journal: when the latest comparison that agreed began
    known_from_ms: int = 0  # orders created from then on are all among `ended`, the working ones and `orphans`


class Leg(msgspec.Struct):
    """A real order and the same order on paper, until both are over. Quantities of base coin, amounts of quote."""

    paper: Order
    step: Decimal  # of the paper order's lots
    epoch: int
    seen: int  # the tape record that the paper order has seen last
    live_quantity: Decimal = Decimal(0)
    live_gross: Decimal = Decimal(0)  # sum of price x quantity
    live_profit: Decimal | None = None
    live_over: bool = False
    stop: Decimal | None = None  # price of a stop that rests at the venue, until a trade has hit it on paper


class ShadowState(msgspec.Struct):
    """What the shadow knows. Differences in parts, more than 0 where the account did worse than paper."""

    legs: dict[str, Leg] = {}  # by pair
    stops: dict[str, Leg] = {}  # by pair, those that rest at the venue
    bought: dict[str, tuple[int, int]] = {}  # by pair, the latest entry on paper: units it cost, lots it got
    recent: list[int] = []  # differences of the latest trades since the last resume
    trades: int = 0  # with a price on both sides
    lost: int = 0  # units that the account paid more or got less than paper, over all of them


class State(msgspec.Struct):
    """The whole fold after `record` of tape `epoch`."""

    journal_id: str
    wallet: int  # quote units, reserves included
    epoch: int = 0
    record: int = -1
    market_ns: int = 0  # newest exchange time seen
    minute: int = -1  # of market time, of the last equity row
    realized: int = 0
    trading: str = ACTIVE
    trading_reason: str = ""
    span: str = NO_SPAN
    span_first: int = 0
    span_why: str = ""
    blocks: dict[str, int] = {}  # why no entry is taken, and from which record on
    settings: dict[str, str] = {}  # those that decide, as of the latest start
    next_fill: int = 1
    next_trade: int = 1
    commands: list[str] = []  # ids of the latest, each carried out once
    risk: RiskState = msgspec.field(default_factory=RiskState)
    day_costs: DayCosts = msgspec.field(default_factory=DayCosts)
    start: Start | None = None
    stopped: bool = False  # the process said good-bye
    pairs: dict[str, PairState] = {}
    live: LiveState | None = None  # None in simulation
    shadow: ShadowState | None = None  # None in simulation


_decoder = msgspec.msgpack.Decoder(State)
_encoder = msgspec.msgpack.Encoder()


def pack(state: State) -> bytes:
    """The state as bytes."""
    return _encoder.encode(state)


def unpack(data: bytes) -> State:
    """The state out of `pack`'s bytes."""
    return _decoder.decode(data)
