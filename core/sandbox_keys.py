"""The keys of the local exchange's one account, the same for every protocol: play money, no secret.

With VENUE=sandbox the trader uses these and never reads a real key. The secret is base64, as Kraken's have to be.
"""

API_KEY = "sandbox"
SECRET_KEY = "cGxheSBtb25leSBvbiBsb29wYmFjaywgbm90aGluZyB0byBzdGVhbA=="
