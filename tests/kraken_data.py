"""Kraken's recorded answers for its tests."""

import gzip
import json
from typing import Any

from tests.shared_data import shared_data


def asset_pairs() -> dict[str, dict[str, Any]]:
    """All rows of the recorded AssetPairs by pair key."""
    path = shared_data("raw/kraken_AssetPairs_20210417.http-capture.txt.gz")
    with gzip.open(path, "rt") as file:
        body = file.readline().partition(": ")[2]
    return json.loads(body)["result"]


def listed() -> dict[str, dict[str, Any]]:
    """The same without dark pools, which have no stream and no wsname."""
    return {key: row for key, row in asset_pairs().items() if "wsname" in row}


def answer(result: object) -> bytes:
    return json.dumps({"error": [], "result": result}).encode()


def recorded(name: str) -> bytes:
    with gzip.open(shared_data(f"raw/{name}"), "rb") as file:
        return file.read()
