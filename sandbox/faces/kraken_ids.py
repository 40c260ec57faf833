"""Kraken's ids of orders and trades, `OUF4EM-FRGI2-MQMWZD`: the exchange's numbers, scrambled.

Each letter of the alphabet is 5 bits; 80 bits hold the number times an odd constant, which can be undone.
"""

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_BITS = 80
_MASK = (1 << _BITS) - 1
_ODD = {"O": 0x9E37_79B9_7F4A_7C15_F39D, "T": 0xC2B2_AE3D_27D4_EB4F_1657, "L": 0x1656_67B1_9E37_79F9_85EB}
_BACK = {letter: pow(odd, -1, 1 << _BITS) for letter, odd in _ODD.items()}
_LARGEST = 1 << 40


def text_of_number(letter: str, number: int) -> str:
    """The id of order (`O`), trade (`T`) or ledger entry (`L`) `number`."""
    value = number * _ODD[letter] & _MASK
    text = letter + "".join(ALPHABET[value >> shift & 31] for shift in range(_BITS - 5, -1, -5))
    return f"{text[:6]}-{text[6:11]}-{text[11:]}"


def number_of_text(letter: str, text: str) -> int | None:
    """The number behind an id; None where it is none of ours."""
    plain = text.replace("-", "")
    if len(text) != 19 or len(plain) != 17 or plain[0] != letter or any(one not in ALPHABET for one in plain):
        return None
    value = 0
    for one in plain[1:]:
        value = value << 5 | ALPHABET.index(one)
    number = value * _BACK[letter] & _MASK
    return number if 0 < number < _LARGEST else None
