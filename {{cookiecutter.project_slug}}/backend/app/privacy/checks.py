"""Checks: arithmetic that tells a person's number, a card or an account from another number."""

import string
from collections.abc import Callable, Sequence
from hashlib import sha256
from operator import mul
from typing import Final, NamedTuple

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
    (5018, 5020, (16,)),
    (5038, 5038, (16,)),
    (6304, 6304, (16,)),
    (6759, 6763, (16,)),
    (1220, 1220, (15,)),
    (2200, 2204, (16,)),
    (60, 60, (16,)),
    (81, 82, (16,)),
    (506, 509, (16, 18, 19)),
    (636, 639, (16, 19)),
    (9792, 9792, (16,)),
)
"""First and last leading digits of an issuer, and the lengths of its numbers (ISO/IEC 7812)."""

_MODULUS = 97
_PARTS_4 = 4
_PARTS_6 = 8
_LARGEST_BYTE = 255
_LONGEST_DECIMAL = 3
_LONGEST_PART = 4
_HEXADECIMAL: Final = frozenset(string.hexdigits + ":")
_DOUBLED = str.maketrans("0123456789", "0246813579")  # a digit twice, its own digits summed


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    doubled = digits[-2::-2].translate(_DOUBLED)
    return sum(map(int, digits[-1::-2] + doubled)) % 10 == 0


def is_card(digits: str) -> bool:
    """Whether the digits are a payment card's number, by issuer, length and check digit."""
    return (
        digits.isdecimal()
        and luhn(digits)
        and any(
            len(digits) in lengths and first <= int(digits[: len(str(first))]) <= last
            for first, last, lengths in CARD_RANGES
        )
    )


def is_iban(compact: str) -> bool:
    """Whether a string without separators is an account number (ISO 13616)."""
    if len(compact) != IBAN_LENGTHS.get(compact[:2]) or not compact.isascii():
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in rearranged)) % _MODULUS == 1


def _is_version_4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == _PARTS_4 and all(
        part.isdecimal() and len(part) <= _LONGEST_DECIMAL and int(part) <= _LARGEST_BYTE
        for part in parts
    )


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address, with or without a scope, that tells of anyone.

    Where a service listens (`0.0.0.0`) and the machine itself (`127.0.0.1`) tell of nobody.
    """
    bare = text.partition("%")[0]
    if ":" not in bare:
        return _is_version_4(bare) and not (bare.startswith("127.") or not bare.strip("0."))
    lead, _, last = bare.rpartition(":")
    if "." in last:
        if not _is_version_4(last):
            return False
        bare = f"{lead}:0:0"  # for which it stands
    parts = bare.split(":")
    filled = sum(map(bool, parts))
    if "::" in bare:
        empty = 1 + bare.startswith("::") + bare.endswith("::")
        formed = filled < _PARTS_6 and len(parts) - filled == empty
    else:
        formed = filled == len(parts) == _PARTS_6
    return (
        formed
        and bare.removesuffix("1").strip("0:") != ""
        and _HEXADECIMAL.issuperset(bare)
        and all(len(part) <= _LONGEST_PART for part in parts)
    )


Check = Callable[[str], bool]
"""Says of a number, written in digits and capital letters alone, whether it can be one."""


class National(NamedTuple):
    """A number by which a country knows a person: who gives it, how it is written, what holds.

    In a shape, `9` stands for a digit, `A` for a letter, anything else for itself.
    """

    name: str
    shapes: str
    checks: tuple[Check, ...]

    def holds(self, run: str) -> bool:
        """Whether all checks hold for a number without its separators."""
        return all(check(run) for check in self.checks)


def _sum(run: str, weights: Sequence[int]) -> int:
    """Sum the digits, each times its weight; letters count from A = 10."""
    return sum(int(char, 36) * weight for char, weight in zip(run, weights, strict=False))


def _check(weights: Sequence[int], alphabet: str) -> Check:
    """Make the usual check: after the weighted characters follows what their sum points at."""

    def check(run: str) -> bool:
        return alphabet[_sum(run, weights) % len(alphabet)] == run[len(weights)]

    return check


def _from(start: int, check: Check) -> Check:
    return lambda run: check(run[start:])


def _born(day: int, month: int, day_fold: int = 100, month_fold: int = 100) -> Check:
    """Make the check for a day and a month; some countries add to one of them, to be folded."""

    def check(run: str) -> bool:
        return (
            1 <= int(run[day : day + 2]) % day_fold <= _LAST_DAY
            and 1 <= int(run[month : month + 2]) % month_fold <= _LAST_MONTH
        )

    return check


def _one_of(start: int, chars: str) -> Check:
    return lambda run: run[start] in chars


def _not_all_equal(run: str) -> bool:
    return len(set(run)) > 1


def _verhoeff(run: str) -> bool:
    """Whether the digits agree with Verhoeff's check, in the symmetries of a pentagon."""
    state = 0
    for place, digit in enumerate(map(int, reversed(run))):
        moved = digit
        for _ in range(place % 8):
            moved = int("1576283094"[moved])
        turned = state % 5 + (moved if state < _MIRROR else -moved)
        state = turned % 5 + (_MIRROR if (state < _MIRROR) != (moved < _MIRROR) else 0)
    return state == 0


def _mod_11_10(run: str) -> bool:
    """Whether the last digit is the check digit of ISO 7064, mod 11, 10."""
    product = 10
    for digit in map(int, run[:-1]):
        product = ((product + digit) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(run[-1])


def _german_tax(run: str) -> bool:
    # One digit stands there two or three times, every other once or never.
    counts = sorted(map(run[:10].count, set(run[:10])))
    return run[0] != "0" and counts[-1] in {2, 3} and counts[-2] == 1 and _mod_11_10(run)


def _german_pension(run: str) -> bool:
    digits = run[:8] + f"{ord(run[8]) - 64:02}" + run[9:11]
    products = zip(map(int, digits), (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True)
    return sum(sum(divmod(a * b, 10)) for a, b in products) % 10 == int(run[11])


def _belgian(run: str) -> bool:
    last = _MODULUS - int(run[9:])
    return last in {int(run[:9]) % _MODULUS, int("2" + run[:9]) % _MODULUS}


def _turkish(run: str) -> bool:
    digits = list(map(int, run))
    tenth = (sum(digits[:9:2]) * 7 - sum(digits[1:8:2])) % 10
    return run[0] != "0" and digits[9] == tenth and digits[10] == sum(digits[:10]) % 10


def _estonian(run: str) -> bool:
    rest = _sum(run, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if rest == _TEN:
        rest = _sum(run, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return rest == int(run[10])


def _french(run: str) -> bool:
    digits = run.replace("2A", "19").replace("2B", "18")
    return digits.isdigit() and int(digits[:13]) % _MODULUS == _MODULUS - int(digits[13:])


def _spanish(run: str) -> bool:
    digits = str("XYZ".find(run[0])) + run[1:-1] if run[0] in "XYZ" else run[:-1]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == run[-1]


def _british(run: str) -> bool:
    first, second = run[0], run[1]
    return (
        first not in "DFIQUV"
        and second not in "DFIQUVO"
        and first + second not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}
        and run[-1] in "ABCD"
    )


def _taiwanese(run: str) -> bool:
    area = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(run[0]) + 10
    total = area // 10 + area % 10 * 9 + _sum(run[1:9], range(8, 0, -1))
    return run[1] in "1289" and (total + int(run[9])) % 10 == 0


def _hong_kong(run: str) -> bool:
    total = _sum(run.rjust(9, "-").replace("-", "0")[:8], range(9, 1, -1))
    total += 36 * 9 if len(run) < _LONG_HONG_KONG else 0
    return "0A987654321"[total % 11] == run[-1]


def _mexican(run: str) -> bool:
    # The letter Ñ stands between N and O, and takes the place of X.
    values = ("0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ".index(char) for char in run[:17])
    total = sum(value * weight for value, weight in zip(values, range(18, 1, -1), strict=True))
    return str(-total % 10) == run[17]


def _singaporean(run: str) -> bool:
    values = [_UEN_ALPHABET.find(char) for char in run]
    total = sum(map(mul, values, (4, 3, 5, 3, 10, 2, 2, 5, 7)))
    return -1 not in values and values[-1] == (total - 5) % 11


_UEN_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWX0123456789"
_DOWN = "0987654321"  # the check digit makes the sum a multiple of 10
_DOWN_11 = "0-987654321"  # the same for 11, where 10 is not given
_UP_11 = "0123456789-"
_MIRROR = 5
_TEN = 10
_LAST_DAY = 31
_LAST_MONTH = 12
_LONG_HONG_KONG = 9
_CPF = _check(range(10, 1, -1), "00987654321"), _check(range(11, 1, -1), "00987654321")
_CNPJ = (
    _check((5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2), "00987654321"),
    _check((6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2), "00987654321"),
)
_FNR = (
    _check((3, 7, 6, 1, 8, 9, 4, 5, 2), _DOWN_11),
    _check((5, 4, 3, 2, 7, 6, 5, 4, 3, 2), _DOWN_11),
)

NATIONAL_NUMBERS: Final = (
    National(
        "Argentina, CUIT",
        "99999999999 99-99999999-9",
        (
            lambda run: run[:2] in {"20", "23", "24", "25", "26", "27", "30", "33", "34"},
            _check((5, 4, 3, 2, 7, 6, 5, 4, 3, 2), _DOWN_11),
        ),
    ),
    National(
        "Australia, ABN",
        "99999999999 99_999_999_999",
        (lambda run: (_sum(run, (10, *range(1, 20, 2))) - 10) % 89 == 0,),
    ),
    National("Australia, ACN", "999_999_999", (_check(range(8, 0, -1), _DOWN),)),
    National(
        "Australia, Medicare",
        "9999_99999_9",
        (_one_of(0, "23456"), _check((1, 3, 7, 9, 1, 3, 7, 9), "0123456789")),
    ),
    National("Australia, TFN", "999_999_999", (_check((1, 4, 3, 7, 5, 8, 6, 9), _UP_11),)),
    National(
        "Austria, SVNR",
        "9999_999999",
        (
            _born(4, 6),
            lambda run: _check((3, 7, 9, 5, 8, 4, 2, 1, 6), _UP_11)(run[:3] + run[4:] + run[3]),
        ),
    ),
    National(
        "Belgium, national number",
        "99999999999 99.99.99-999.99",
        (_born(4, 2, month_fold=20), _belgian),
    ),
    National("Brazil, CPF", "99999999999 999.999.999-99", (_not_all_equal, *_CPF)),
    National("Brazil, CNPJ", "99.999.999/9999-99", _CNPJ),
    National("Brazil, CNPJ in one run", "99999999999999", (lambda run: run[8:11] == "000", *_CNPJ)),
    National("Canada, SIN", "999-999-999 999_999_999", (_not_all_equal, luhn)),
    National(
        "Chile, RUT",
        "9.999.999-9 99.999.999-9 99999999-9",
        (lambda run: _check((3, 2, 7, 6, 5, 4, 3, 2), "0K987654321")(run.rjust(9, "0")),),
    ),
    National(
        "Chile, RUT ending in K",
        "9.999.999-A 99.999.999-A 99999999-A",
        (lambda run: _check((3, 2, 7, 6, 5, 4, 3, 2), "0K987654321")(run.rjust(9, "0")),),
    ),
    National(
        "China, resident identity",
        "999999999999999999 99999999999999999A",
        (
            lambda run: run[6:8] in {"19", "20"},
            _born(12, 10),
            _check((7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), "10X98765432"),
        ),
    ),
    National(
        "Czechia and Slovakia, birth number",
        "999999/9999",
        (_born(4, 2, month_fold=50), lambda run: int(run) % 11 == 0),
    ),
    National(
        "Denmark, CPR; Iceland, kennitala; Latvia",
        "999999-9999 999999-99999",
        (_born(0, 2, day_fold=40),),
    ),
    National("Dominican Republic, cédula", "999-9999999-9", (luhn,)),
    National(
        "Egypt, national ID",
        "99999999999999",
        (_one_of(0, "23"), _born(5, 3), lambda run: 1 <= int(run[7:9]) <= 35 or run[7:9] == "88"),
    ),
    National(
        "Estonia and Lithuania, personal code",
        "99999999999",
        (_one_of(0, "3456"), _born(5, 3), _estonian),
    ),
    National(
        "Finland, HETU",
        "999999-999A 999999A999A 999999+999A 999999A9999 999999+9999",
        (
            _born(0, 2),
            lambda run: (
                "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(run[:6] + run[-4:-1]) % 31] == run[-1]
            ),
        ),
    ),
    National(
        "France, NIR",
        "999999999999999 99999A999999999 9_99_99_99_999_999_99",
        (_one_of(0, "1234578"), _french),
    ),
    National("Germany, tax identifier", "99999999999 99_999_999_999", (_german_tax,)),
    National("Germany, pension insurance", "99999999A999", (_born(2, 4), _german_pension)),
    National(
        "Germany, health insurance",
        "A999999999",
        (lambda run: luhn(f"{ord(run[0]) - 64:02}{run[1:]}"),),
    ),
    National("Greece, AMKA", "99999999999", (_born(0, 2), luhn)),
    National("Hong Kong, HKID", "A999999(9) AA999999(9) A999999(A) AA999999(A)", (_hong_kong,)),
    National(
        "India, Aadhaar", "9999_9999_9999 9999-9999-9999", (_one_of(0, "23456789"), _verhoeff)
    ),
    National("India, PAN", "AAAAA9999A", ()),
    National("India, vehicle registration", "AA99AA9999", ()),
    National(
        "India, GSTIN",
        "99AAAAA9999A9A9 99AAAAA9999A9AA",
        (lambda run: "01" <= run[:2] <= "38" and run[13] == "Z",),
    ),
    National(
        "Ireland, PPS",
        "9999999A 9999999AA",
        (
            lambda run: (
                "WABCDEFGHIJKLMNOPQRSTUV"[
                    (_sum(run, range(8, 1, -1)) + (ord(run[8:] or "@") - 64) * 9) % 23
                ]
                == run[7]
            ),
        ),
    ),
    National("Italy, codice fiscale", "AAAAAA99A99A999A", (_one_of(8, "ABCDEHLMPRST"),)),
    National("Italy, driving licence", "AA9999999A", ()),
    National("Mexico, CURP", "AAAA999999AAAAAA99 AAAA999999AAAAAAA9", (_born(8, 6), _mexican)),
    National("Malaysia, NRIC", "999999-99-9999", (_born(4, 2),)),
    National("Netherlands, BSN", "999.999.999 9999.99.999", (_check(range(9, 1, -1), _UP_11),)),
    National(
        "Norway, fødselsnummer",
        "99999999999 999999_99999",
        (_born(0, 2, day_fold=40, month_fold=40), *_FNR),
    ),
    National("Pakistan, CNIC", "99999-9999999-9", ()),
    National(
        "Poland, PESEL",
        "99999999999",
        (_born(4, 2, month_fold=20), _check((1, 3, 7, 9, 1, 3, 7, 9, 1, 3), _DOWN)),
    ),
    National(
        "Poland, NIP", "999-999-99-99 999-99-99-999", (_check((6, 5, 7, 2, 3, 4, 5, 6, 7), _UP_11),)
    ),
    National(
        "Romania, CNP",
        "9999999999999",
        (
            _one_of(0, "123456789"),
            _born(5, 3),
            _check((2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9), "01234567891"),
        ),
    ),
    National(
        "Russia, SNILS",
        "999-999-999-99 999-999-999_99",
        (lambda run: _sum(run, range(9, 0, -1)) % 101 % 100 == int(run[9:]),),
    ),
    National(
        "Serbia and its neighbours, JMBG",
        "9999999999999",
        (_born(0, 2), _one_of(4, "90"), _check((7, 6, 5, 4, 3, 2) * 2, _DOWN_11)),
    ),
    National(
        "Singapore, UEN of a business",
        "99999999A",
        (_check((10, 4, 9, 3, 8, 2, 7, 1), "XMKECAWLJDB"),),
    ),
    National(
        "Singapore, UEN of a company",
        "999999999A",
        (
            lambda run: run[:2] in {"19", "20"},
            _check((10, 8, 6, 4, 9, 7, 5, 3, 1), "ZKCMDNERGWH"),
        ),
    ),
    National("Singapore, UEN of others", "A99AA9999A", (_one_of(0, "RST"), _singaporean)),
    National("Singapore, NRIC and FIN", "A9999999A", (_one_of(0, "STFGM"),)),
    National(
        "South Africa, ID", "9999999999999 999999_9999_999", (_born(4, 2), _one_of(10, "012"), luhn)
    ),
    National(
        "South Korea, business registration",
        "999-99-99999",
        (
            lambda run: (
                (
                    _sum(run, (1, 3, 7, 1, 3, 7, 1, 3))
                    + sum(divmod(int(run[8]) * 5, 10))
                    + int(run[9])
                )
                % 10
                == 0
            ),
        ),
    ),
    National("South Korea, driving licence", "99-99-999999-99", (lambda run: run[0] in "12",)),
    National("South Korea, RRN", "999999-9999999", (_born(4, 2), _one_of(6, "12345678"))),
    National(
        "South Korea, RRN in one run",
        "9999999999999",
        (
            _born(4, 2),
            _one_of(6, "12345678"),
            _check((2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), "10987654321"),
        ),
    ),
    National("Spain, DNI", "99999999A 99999999-A 9999999-A 9999999A", (_spanish,)),
    National("Spain, NIE", "A9999999A A-9999999-A A9999999-A", (_one_of(0, "XYZ"), _spanish)),
    National("Sweden, personnummer", "999999-9999 999999+9999", (_born(4, 2, day_fold=60), luhn)),
    National(
        "Sweden, personnummer with its century",
        "99999999-9999 999999999999",
        (lambda run: run[:2] in {"19", "20"}, _born(6, 4, day_fold=60), _from(2, luhn)),
    ),
    National(
        "Switzerland, AHV",
        "9999999999999 999.9999.9999.99",
        (lambda run: run[:3] == "756", _check((1, 3) * 6, _DOWN)),
    ),
    National("Taiwan, ID", "A999999999", (_taiwanese,)),
    National(
        "Thailand, ID",
        "9-9999-99999-99-9 9_9999_99999_99_9",
        (_check(range(13, 1, -1), "10987654321"),),
    ),
    National("Turkey, TCKN", "99999999999", (_turkish,)),
    National("Telephones, IMEI", "99-999999-999999-9", (luhn,)),
    National(
        "Telephones, IMEI in one run",
        "999999999999999",
        (lambda run: run[:2] in {"01", "35", "86", "99"}, luhn),
    ),
    National(
        "United Arab Emirates, ID",
        "999-9999-9999999-9 999999999999999",
        (lambda run: run[:3] == "784", luhn),
    ),
    National("United Kingdom, NINO", "AA999999A AA_99_99_99_A AA_999999A AA999999_A", (_british,)),
    National(
        "United Kingdom, driving licence",
        "AAAAA999999AA9AA AAAAA999999A99AA AAAA9999999AA9AA AAA99999999AA9AA AA999999999AA9AA",
        (_born(8, 6, month_fold=50), lambda run: run[:5].rstrip("9").isalpha()),
    ),
    National(
        "United States, DEA registration",
        "AA9999999",
        (
            _one_of(0, "ABCDEFGMX"),
            lambda run: _check((1, 2, 1, 2, 1, 2), "0123456789")(run[2:]),
        ),
    ),
    National(
        "United States, MBI",
        "9AA9AA9AA99 9A99AA9AA99 9AA9A99AA99 9A99A99AA99 "
        "9AA9-AA9-AA99 9A99-AA9-AA99 9AA9-A99-AA99 9A99-A99-AA99",
        (lambda run: run[0] != "0" and set("SLOIBZ").isdisjoint(run),),
    ),
    National("United States, NPI", "9999-999-999 9999_999_999", (lambda run: luhn("80840" + run),)),
    National(
        "United States, routing number", "9999-9999-9", (_check((3, 7, 1) * 2 + (3, 7), _DOWN),)
    ),
    National(
        "United States, SSN and ITIN",
        "999-99-9999 999_99_9999 999.99.9999 999-999999",
        (lambda run: run[:3] not in {"000", "666"} and run[3:5] != "00" and run[5:] != "0000",),
    ),
)
"""The numbers of persons that are known by their form and what can be checked of them."""


_SHAPE = str.maketrans(string.digits + string.ascii_letters + " ", "9" * 10 + "A" * 52 + "_")
_SEPARATORS = str.maketrans("", "", " .-/+()")


def _by_shape() -> dict[str, tuple[National, ...]]:
    table: dict[str, tuple[National, ...]] = {}
    for number in NATIONAL_NUMBERS:
        for shape in number.shapes.split():
            table[shape] = (*table.get(shape, ()), number)
    return table


_BY_SHAPE = _by_shape()

GROUP_LENGTHS: Final = frozenset(
    tuple(map(len, shape.split("_"))) for shape in _BY_SHAPE if "_" in shape
)
"""How many characters stand in each group of a number that is written with spaces."""


def national_numbers(run: str) -> list[str]:
    """Return the names of the kinds of personal number that a run may be, as it is written."""
    numbers = _BY_SHAPE.get(run.translate(_SHAPE))
    if not numbers:
        return []
    compact = run.translate(_SEPARATORS).upper()
    return [number.name for number in numbers if number.holds(compact)]


_BASE_58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_WALLET_BYTES = 25
_WALLET_KEY_BYTES = (37, 38)


def is_wallet(run: str) -> bool:
    """Whether a run is a wallet's address or key: Bitcoin's old forms by their check, others by form."""
    if run[0] in "0b":
        return True
    value = 0
    for char in run:
        value = value * 58 + _BASE_58.index(char)
    length = max((value.bit_length() + 7) // 8, _WALLET_BYTES)
    if length not in {_WALLET_BYTES, *_WALLET_KEY_BYTES}:
        return False
    data = value.to_bytes(length, "big")
    return sha256(sha256(data[:-4]).digest()).digest()[:4] == data[-4:]
