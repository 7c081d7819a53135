"""One simulated offer: the exact JSON bytes of number `index` of a seed, at a revision.

Everything follows from a digest of (seed, index), so a catalogue needs no storage and two processes with
the same seed serve the same bytes. A revision replaces only what it names, as a seller would.
The text is written by hand, never through a JSON encoder: the spelling of a number is part of the test.

Fields and their type quirks: vendor document v4.4.9 (19.09.2025), product_offer/read, and the rows that
integrators report: booleans where integers are documented, `[]` for empty maps, prices as int, float and
string.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from syncd.sandbox.wording import PHP, RAW, Wording

FIRST_ID = 70_001
WIDE_ID = 3_115_000_000
"""Added to the index instead of FIRST_ID for every 25th offer: ids above 2^31 were seen in production."""

BIG_DESCRIPTION_ID = FIRST_ID
"""The offer (the first one) whose description is 1 MiB long when a catalogue has `big_description`."""

SHOWCASE_PRICES = (
    "0.1", "1E+2", "12345678.99999", "51.6477", '"51.6477"', "70", '"0.1000"', "100.0", "1e-4", '"12345678.9999"',
)  # fmt: skip
"""How the sale_price of the first ten offers is spelt until their price is changed."""

_VALIDATION = (9, 9, 9, 9, 9, 9, 11, 12, 3, 4, 8, 10, 0, 1)
_TRANSLATION = (None, None, 9, 9, 9, 13, 14, 15, 16, 17)
_VALIDATION_TEXT = {
    0: "Draft", 1: "MKTP validation", 3: "EAN conflict", 4: "New documentation pending", 8: "Rejected docs",
    9: "Approved documentation", 10: "Blocked", 11: "Update pending", 12: "Update rejected", 13: "Waiting",
    14: "Failed", 15: "In progress", 16: "Pending", 17: "Partial",
}  # fmt: skip
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Revision:
    """How often each changeable group of fields was changed: none at 0."""

    price: int = 0
    stock: int = 0
    name: int = 0
    rank: int = 0


FRESH = Revision()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the documented filters of product_offer/read look at."""

    id: int
    status: int
    part_number: str
    part_number_key: str | None
    general_stock: int
    estimated_stock: int
    validation_status: int
    offer_validation_status: int
    translation_validation_status: int | None


def id_of(index: int) -> int:
    """The offer id of the index-th offer (from 0); unique over all indexes below a thousand million."""
    return WIDE_ID + index if index % 25 == 7 else FIRST_ID + index


def index_of(offer_id: int) -> int:
    """The inverse of `id_of`; for an id that no index has, the index is meaningless (see `Catalogue`)."""
    return offer_id - WIDE_ID if offer_id >= WIDE_ID else offer_id - FIRST_ID


def _digest(seed: int, index: int, revision: int = 0) -> bytes:
    return blake2b(b"%d:%d:%d" % (seed, index, revision), digest_size=64).digest()


def facts_of(seed: int, index: int, revision: Revision = FRESH) -> Facts:
    """The filterable facts of an offer, without the cost of rendering it."""
    return _facts(_digest(seed, index), index, revision)


def _facts(digest: bytes, index: int, revision: Revision) -> Facts:
    offer_id = id_of(index)
    validation = _VALIDATION[digest[2] % len(_VALIDATION)]
    # 137 and 500 have no common divisor: two revisions in a row never show the same stock
    stock = (digest[4] * 2 + 137 * revision.stock) % 500
    suffix = f"-{offer_id}" if digest[5] % 16 == 0 else ""
    return Facts(
        id=offer_id,
        status=1 if digest[1] < 200 else 0 if digest[1] < 235 else 2,
        part_number=f"TST-{index + 1}{suffix}",
        part_number_key=None if validation in (0, 1, 4) else _part_number_key(index),
        general_stock=stock,
        estimated_stock=max(0, stock - digest[6] % 3),
        validation_status=validation,
        offer_validation_status=2 if digest[7] % 17 == 0 else 1,
        translation_validation_status=_TRANSLATION[digest[8] % len(_TRANSLATION)],
    )


def _part_number_key(index: int) -> str:
    number, letters = index * 7919 % 36**6, ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        letters += _ALPHABET[digit]
    return f"D{letters}BM"


def _price(digest: bytes, at: int) -> str:
    """A decimal in one of the spellings met: float, int, string, exponent, trailing zeros."""
    whole, cents, small = digest[at] + 1, digest[at + 1] % 100, digest[at + 2] * 39 % 10_000
    kind = digest[at + 3] % 16
    if kind < 8:
        return f"{whole}.{cents:02d}"
    if kind < 11:
        return f"{whole}.{small:04d}"
    return (f"{whole}", f'"{whole}.{small:04d}"', f'"{whole}"', f"{whole}E+1", f"{whole}.{cents:02d}00")[kind - 11]


def _sale_price(seed: int, index: int, revision: Revision) -> str:
    if revision.price == 0:
        return SHOWCASE_PRICES[index] if index < len(SHOWCASE_PRICES) else _price(_digest(seed, index), 20)
    # the hundredths count the revisions, so that a price change is always a change
    whole = int.from_bytes(_digest(seed, index, revision.price)[:2], "big") % 2_000 + 1
    return f"{whole}.{revision.price % 100:02d}{index % 10}7"


def render(
    seed: int, index: int, revision: Revision = FRESH, *, single: bool = False, big_description: bool = False
) -> bytes:
    """The offer's JSON document, UTF-8, about 2.8 kB.

    `single`: as answered when a read is filtered to one product: `manufacturer` and `eu_representative` are
    then lists of {name, address, email}, else booleans (vendor document v4.4.9).
    """
    digest = _digest(seed, index)
    facts = _facts(digest, index, revision)
    words = PHP if digest[9] % 2 else RAW
    parts = (
        _identity(digest, facts, words, revision),
        _money(seed, index, digest, revision),
        _texts(digest, words, big_description and facts.id == BIG_DESCRIPTION_ID),
        _lists(digest, facts, words),
        _validations(digest, facts),
        _flags(digest, revision),
        _safety(digest, words, single),
    )
    return ("{" + ",".join(parts) + "}").encode()


def _identity(digest: bytes, facts: Facts, words: Wording, revision: Revision) -> str:
    product, quality = words.products[digest[10] % 14], words.qualities[digest[11] % 14]
    brand, slash = words.brands[digest[12] % 8], words.slash
    if facts.part_number_key is not None:
        key = f'"part_number_key":"{facts.part_number_key}",'
    else:
        key = '"part_number_key":null,' if digest[3] % 2 else ""
    edition = f" v{revision.name + 1}" if revision.name else ""
    url = f"https:{slash}{slash}www.example.ro{slash}p{slash}{facts.id}{slash}" if digest[13] % 3 else ""
    brand_name = f'"brand_name":"{brand}",' if digest[13] % 2 else ""
    return (
        f'"id":{facts.id},{key}"part_number":"{facts.part_number}",'
        f'"name":"{product} {brand} {quality}, cod {facts.part_number}{edition}","brand":"{brand}",{brand_name}'
        f'"category_id":{500 + digest[14]},"vendor_category_id":null,"url":"{url}","status":{facts.status},'
        f'"vat_id":{1 + digest[15] % 3},"currency":"RON"'
    )


def _money(seed: int, index: int, digest: bytes, revision: Revision) -> str:
    recommended = "0" if digest[16] % 3 == 0 else _price(digest, 24)
    minimum, maximum = _price(digest, 28), _price(digest, 32)
    best = "null" if digest[17] % 4 == 0 else _price(digest, 36)
    return (
        f'"sale_price":{_sale_price(seed, index, revision)},"recommended_price":{recommended},'
        f'"min_sale_price":{minimum},"max_sale_price":{maximum},"best_offer_sale_price":{best},'
        f'"best_offer_recommended_price":null,"commission":null,"rrp_guidelines":""'
    )


def _texts(digest: bytes, words: Wording, big: bool) -> str:
    sentences = words.sentences
    picked = [sentences[digest[40 + n] % len(sentences)] for n in range(5 + digest[18] % 5)]
    description = "".join(picked)
    if big:
        description *= -(-(1 << 20) // len(description))
    return (
        f'"description":"{description}","warranty":{(digest[19] % 5) * 12},"weight":"{1 + digest[20] % 9}",'
        f'"ean":[{_eans(digest)}],"barcode":[]'
    )


def _eans(digest: bytes) -> str:
    code = int.from_bytes(digest[21:25], "big")
    return ",".join(f'"594{code + n:010d}"' for n in range(digest[25] % 3))


def _lists(digest: bytes, facts: Facts, words: Wording) -> str:
    s = words.slash
    images = ",".join(
        f'{{"url":"https:{s}{s}img.example.ro{s}{facts.id}{s}{n + 1}.jpg","display_type":{min(n, 2)}}}'
        for n in range(digest[26] % 5)
    )
    characteristics = ",".join(
        f'{{"id":{38 + digest[n]},"value":"{words.colours[digest[n] % 8]}"'
        + (',"tag":"original"}' if n % 5 == 4 else "}")
        for n in range(27, 33 + digest[27] % 6)
    )
    named = f'{{"id":{digest[28]},"name":"Familia {digest[28]}","family_type_id":95}}'
    family = ("null", "[]", named)[digest[29] % 3]
    stock = f'{{"warehouse_id":1,"value":{facts.general_stock}}}'
    availability = f'{{"id":1,"value":{3 if facts.general_stock else 5}}}'
    return (
        f'"images":[{images}],"characteristics":[{characteristics}],"attachments":[],"family":{family},'
        f'"start_date":[],"general_stock":{facts.general_stock},"estimated_stock":{facts.estimated_stock},'
        f'"stock":[{stock}],"handling_time":[{{"warehouse_id":1,"value":{digest[30] % 4}}}],'
        f'"availability":[{availability if digest[31] % 5 else ""}]'
    )


def _validations(digest: bytes, facts: Facts) -> str:
    errors = "null"
    if facts.validation_status in (8, 12):
        item = (
            '{"code":"1008","identifier":"images","value":null,"message":'
            '{"ro_RO":"Imaginea nu respect\\u0103 cerin\\u021bele","en_GB":"The image breaks the rules"}}'
        )
        errors = f"[{item}]" if digest[32] % 2 else f'{{"errors":[{item}],"warnings":[],"info":[]}}'
    documentation = f'{{"value":{facts.validation_status},"description":"{_VALIDATION_TEXT[facts.validation_status]}"'
    translation = ""
    if (code := facts.translation_validation_status) is not None:
        described = f'"value":{code},"description":"{_VALIDATION_TEXT[code]}","errors":null'
        translation = f'"translation_validation_status":[{{{described}}}],'
    saleable = "Saleable" if facts.offer_validation_status == 1 else "Invalid price"
    return (
        f'"validation_status":[{documentation},"errors":{errors}}}],{translation}'
        f'"offer_validation_status":{{"value":{facts.offer_validation_status},"description":"{saleable}","errors":null}},'
        f'"doc_errors":{"null" if errors == "null" else "[]"}'
    )


def _flags(digest: bytes, revision: Revision) -> str:
    ownership = ("true", "true", "1", "2", "false")[digest[33] % 5]
    rank = "null" if digest[34] % 4 == 0 and not revision.rank else str(1 + (digest[34] + revision.rank) % 9)
    return (
        f'"ownership":{ownership},"number_of_offers":{1 + (digest[35] + revision.rank) % 9},"buy_button_rank":{rank},'
        f'"genius_eligibility":{digest[36] % 2},"genius_eligibility_type":{1 + digest[37] % 3},'
        f'"genius_computed":{digest[38] % 4},"emag_club":{("0", "1", "true", "false")[digest[39] % 4]},'
        f'"auto_translated":{digest[40] % 2},"reversible_vat_charging":false,"recycleWarranties":{digest[41] % 2},'
        f'"green_tax":{("null", "0.5", "2")[digest[42] % 3]},"offer_details":{{"id":{digest[43]},'
        f'"emag_club":0,"warranty_type":1,"supply_lead_time":{digest[44] % 21}}},'
        '"content_details":[],"offer_properties":[]'
    )


def _safety(digest: bytes, words: Wording, single: bool) -> str:
    information = words.sentences[digest[45] % len(words.sentences)] if digest[46] % 2 else ""
    manufacturer, representative = digest[47] % 4 > 0, digest[48] % 4 == 0
    return (
        f'"safety_information":"{information}","manufacturer":{_contact(manufacturer, words, single)},'
        f'"eu_representative":{_contact(representative, words, single)}'
    )


def _contact(known: bool, words: Wording, single: bool) -> str:
    if not single:
        return "true" if known else "false"
    if not known:
        return "[]"
    return f'[{{"name":"{words.brands[1]} SRL","address":"Str. Lungă 1, Brașov","email":"contact@example.ro"}}]'
