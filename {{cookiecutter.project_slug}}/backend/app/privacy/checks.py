"""Checks: arithmetic that tells a card, a bank account or an address from another number."""

import ipaddress
from itertools import cycle
from typing import Final

_IBAN_LENGTHS = """
    AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24
    DE:22 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28
    HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20
    LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25
    QA:29 RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 SM:27 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29
    VA:22 VG:24 XK:20
"""
IBAN_LENGTHS: Final = {entry[:2]: int(entry[3:]) for entry in _IBAN_LENGTHS.split()}
"""Length of an account number by country, from the SWIFT IBAN registry."""

CARD_RANGES: Final = (
    (4, 4, (13, 16, 19)),
    (51, 55, (16,)),
    (2221, 2720, (16,)),
    (34, 34, (15,)),
    (37, 37, (15,)),
    (6011, 6011, (16, 17, 18, 19)),
    (644, 659, (16, 17, 18, 19)),
    (3528, 3589, (16, 17, 18, 19)),
    (300, 305, (14,)),
    (36, 36, (14,)),
    (38, 39, (14,)),
    (62, 62, (16, 17, 18, 19)),
    (5018, 5018, (16,)),
    (6304, 6304, (16,)),
)
"""First and last leading digits of an issuer, and the lengths of its numbers (ISO/IEC 7812)."""

_IBAN_MODULUS = 97


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    total = 0
    for digit, double in zip(map(int, reversed(digits)), cycle((False, True)), strict=False):
        total += sum(divmod(digit * 2, 10)) if double else digit
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether the digits are a payment card's number, by issuer, length and check digit."""
    return any(
        len(digits) in lengths and first <= int(digits[: len(str(first))]) <= last
        for first, last, lengths in CARD_RANGES
    ) and luhn(digits)


def is_iban(compact: str) -> bool:
    """Whether a string without separators is an account number (ISO 13616)."""
    if len(compact) != IBAN_LENGTHS.get(compact[:2]) or not compact.isascii():
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in rearranged)) % _IBAN_MODULUS == 1


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address, with or without a scope, that tells of anyone.

    Where a service listens (`0.0.0.0`) and the machine itself (`127.0.0.1`) tell of nobody.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_loopback)
