"""Double entry: whatever an account gains another loses, so that each asset's sum over all accounts is 0 at any time.

Beside the owners' accounts there are the exchange's own: where deposits come from, the market that all trades are made
with, and the fees. Only these may be below 0. Amounts are atoms.
"""

from sandbox.exchange.orders import Balance

DEPOSITS, MARKET, FEES = "@deposits", "@market", "@fees"
HOUSE = (DEPOSITS, MARKET, FEES)
_NONE = Balance(0, 0)


class Ledger:
    """All balances by (account, asset), and which of them changed since `taken` was last called."""

    def __init__(self, balances: dict[tuple[str, str], Balance] | None = None) -> None:
        self._balances = dict(balances or {})
        self._changed: dict[tuple[str, str], None] = {}

    def of(self, account: str, asset: str) -> Balance:
        return self._balances.get((account, asset), _NONE)

    def all_of(self, account: str) -> dict[str, Balance]:
        return {asset: balance for (owner, asset), balance in self._balances.items() if owner == account}

    def everything(self) -> dict[tuple[str, str], Balance]:
        return dict(self._balances)

    def move(self, payer: str, payee: str, asset: str, amount: int) -> None:
        """From the free balance of one account to that of another; the other way round where it is negative."""
        if amount < 0:
            payer, payee, amount = payee, payer, -amount
        self._add(payer, asset, -amount, 0)
        self._add(payee, asset, amount, 0)

    def pay_locked(self, payer: str, payee: str, asset: str, amount: int) -> None:
        """From what one account holds for an order to another account."""
        self._add(payer, asset, 0, -amount)
        self._add(payee, asset, amount, 0)

    def lock(self, account: str, asset: str, amount: int) -> None:
        """Holds a free amount for an order; a negative amount gives it back."""
        self._add(account, asset, -amount, amount)

    def taken(self) -> dict[tuple[str, str], Balance]:
        """The balances that changed since the last call."""
        changed = {key: self._balances[key] for key in self._changed}
        self._changed.clear()
        return changed

    def _add(self, account: str, asset: str, free: int, locked: int) -> None:
        before = self.of(account, asset)
        after = Balance(before.free + free, before.locked + locked)
        if (after.free < 0 or after.locked < 0) and account not in HOUSE:
            raise ArithmeticError(f"{account} would hold {after.free} free and {after.locked} locked atoms of {asset}")
        if free or locked:
            self._balances[account, asset] = after
            self._changed[account, asset] = None
