"""A second simulated marketplace, written from the API's facts by someone who had not seen the first.

Here stands what needs no network: call, catalogue, filters, envelope. The API itself: `server`.
"""

import json
import random
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

PAGE_SIZE_LIMIT = 100
PAGINGS = ("top", "data", "both")
ENVELOPES = ("new", "old", "reversed", "objects")
EQUAL = ("id", "status", "part_number", "part_number_key")
UP_TO = ("general_stock", "estimated_stock")  # the filter means 0..value
COMPANY = rb'\1[{"name":"Acme SRL","address":"Str. Test 1","email":"acme@example.test"}]'
# Between @ signs: a bare JSON number with exactly these digits.
EXACT = ["@51.6477@", "51.6477", "@0.1@", "@1E+2@", "@12345678.99999@"]
PRICES = [*EXACT, "99.9900", 0, 70, "@40.50@", "@0.0001@"]


@dataclass
class Call:
    """One call as it arrived. `status` is what was sent, 0 until then; `at_seconds` is by the API's clock.

    wanted: paging and filters from the place where they count; what stood elsewhere is in `body` only.
    """

    method: str
    path: str
    body: bytes
    wanted: dict[str, Any]
    number: int = 0
    at_seconds: float = 0.0
    status: int = 0
    behaviour: str = ""

    @property
    def page_number(self) -> int:
        return max(1, self._int_or("currentPage", 1))

    @property
    def page_size(self) -> int:
        return min(max(1, self._int_or("itemsPerPage", PAGE_SIZE_LIMIT)), PAGE_SIZE_LIMIT)

    def _int_or(self, name: str, default: int) -> int:
        try:
            return int(self.wanted.get(name, default))
        except (TypeError, ValueError):
            return default


def decode_wanted(paging: str, content_type: str, text: str) -> dict[str, Any]:
    """`text` is a JSON body, or a form-encoded body or query such as `data[currentPage]=1`."""
    fields: Any = {}
    if "json" in content_type:
        with suppress(ValueError):
            fields = json.loads(text)
    else:
        pairs = parse_qsl(text)
        fields = dict(pairs)
        fields["data"] = {m[1]: value for key, value in pairs if (m := re.fullmatch(r"data\[(\w+)\]", key))}
    if not isinstance(fields, dict):
        return {}
    inner = fields.pop("data", None)
    inner = inner if isinstance(inner, dict) else {}
    return {"top": fields, "data": inner, "both": fields | inner}[paging]


def make_documents(count: int, seed: int = 0) -> dict[str, bytes]:
    """Offer id -> its JSON as PHP writes it: escapes for what is not ASCII, slashes escaped, no spaces."""
    # Ids beyond 2^31 stay within the range of the documented filter, 1..2^32-1.
    ids = [3_115_000_000 + n if n % 7 == 3 else 70_012 + n for n in range(count)]
    random.Random(seed).shuffle(ids)
    documents = {}
    for n, offer_id in enumerate(ids):
        text = json.dumps(_catalogue_fields(n, offer_id) | _trade_fields(n), separators=(",", ":"))
        text = re.sub(r'"@([^"@]*)@"', r"\1", text).replace("/", "\\/")
        documents[str(offer_id)] = text.encode("ascii")
    return documents


def _catalogue_fields(n: int, offer_id: int) -> dict[str, Any]:
    name = ("Lampă de birou", "Șurubelniță 1/4 țol", "Cană 😀", 'Tavă "Ideal" 50%')[n % 4]
    fields: dict[str, Any] = {"id": offer_id}
    if n % 11 != 5:  # missing or null until the product is approved
        fields["part_number_key"] = None if n % 9 == 4 else f"DX{offer_id:X}BM"
    fields |= {
        "part_number": f"TST-{offer_id}",
        "name": f"{name} {offer_id}",
        "brand": "Acmé",
        "category_id": 506,
        "vendor_category_id": None,
        "description": "<p>câte ceva</p>" if n % 2 else "&lt;p&gt;c&acirc;te ceva&lt;/p&gt;",
        "url": "" if n % 3 else f"https://shop.test/p/{offer_id}",
        "ean": [f"594{offer_id:010d}"] if n % 5 else [],
        "images": [{"url": f"https://img.test/{offer_id}.jpg", "display_type": 1}] if n % 4 else [],
        "characteristics": [{"id": 38, "value": "alb"}, {"id": 38, "value": "roșu", "tag": "original"}],
        "attachments": [],
        "family": ([], None, {"id": 7, "name": "Lămpi", "family_type_id": 95})[n % 3],
        "offer_details": [] if n % 2 else {"a": 1},
        "content_details": [],
        "weight": "3",
        "manufacturer": n % 2 == 0,
        "eu_representative": n % 3 == 0,
    }
    if n % 10 == 0:
        fields["brand_name"] = "Acmé"
    return fields


def _trade_fields(n: int) -> dict[str, Any]:
    stock = n % 40
    reason = {"code": 4, "identifier": "x", "value": 0, "message": {"ro_RO": "preț", "en_GB": "price"}}
    refusal = {"errors": [reason], "warnings": [], "info": []}
    verdict = {"value": 2 if n % 8 == 7 else 1, "description": "x", "errors": refusal if n % 8 == 7 else None}
    fields: dict[str, Any] = {
        "sale_price": PRICES[n % len(PRICES)],
        "recommended_price": 0 if n % 2 else PRICES[(n + 3) % len(PRICES)],
        "min_sale_price": PRICES[(n + 1) % len(PRICES)],
        "max_sale_price": PRICES[(n + 2) % len(PRICES)],
        "best_offer_sale_price": None if n % 3 else "@50.1@",
        "currency": "RON",
        "vat_id": 1,
        "status": (1, 1, 0, 1, 2)[n % 5],
        "general_stock": stock,
        "estimated_stock": max(0, stock - 1),
        "stock": [{"warehouse_id": 1, "value": stock}] if n % 6 else [],
        "handling_time": [{"warehouse_id": 1, "value": 0}],
        "availability": [{"id": 3}],
        "start_date": [] if n % 2 else ["2026-01-02"],
        "commission": None,
        "validation_status": [{"value": 9, "description": "Approved", "errors": [] if n % 2 else None}],
        "offer_validation_status": [verdict] if n % 12 == 11 else verdict,
        "ownership": (True, 1, 2)[n % 3],  # the document says int 1 or 2; true was seen
        "number_of_offers": 2,
        "buy_button_rank": None if n % 2 else 1,
    }
    if n % 4:
        fields["translation_validation_status"] = [{"value": 17, "Description": "Partial", "errors": None}]
    return fields


def select(documents: list[bytes], wanted: dict[str, Any]) -> list[bytes]:
    """The documents that satisfy all known filters. ValueError: a filter's value is out of its range."""
    filters = {name: wanted[name] for name in (*EQUAL, *UP_TO) if wanted.get(name) is not None}
    for name, low, high in (("id", 1, 2**32 - 1), ("status", 0, 1)):
        text = str(filters.get(name, low))
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"{name} must be an integer from {low} to {high}")
    documents = [document for document in documents if satisfies(document, filters)] if filters else documents
    if "id" in filters:
        pattern = rb'("(?:manufacturer|eu_representative)":)true\b'
        documents = [re.sub(pattern, COMPANY, document) for document in documents]
        documents = [re.sub(pattern.replace(b"true", b"false"), rb"\1[]", document) for document in documents]
    return documents


def satisfies(document: bytes, filters: dict[str, Any]) -> bool:
    try:
        row = json.loads(document)
        equal = all(str(row.get(name)) == str(filters[name]) for name in EQUAL if name in filters)
        return equal and all(0 <= row[name] <= int(filters[name]) for name in UP_TO if name in filters)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False  # poison that a test put in, or a nonsensical limit


def wrap(style: str, results: bytes, error: str | None = None) -> bytes:
    """The envelope as it was met: no `errors`, messages as objects, a root `pagination` that is wrong."""
    flag = b"false" if error is None else b"true"
    texts = [] if error is None else [{"field": "id", "message": error} if style == "objects" else error]
    if style == "objects":
        texts.append({"text": "Notice: documentation v4.4.9"})
    messages = json.dumps(texts, separators=(",", ":")).replace("/", "\\/").encode()
    if style == "old":
        return b'{"isError":%s,"messages":%s,"results":%s}' % (flag, messages, results)
    if style == "reversed":
        wrong = b'{"currentPage":1,"totalPages":1}'
        return b'{"results":%s,"pagination":%s,"messages":%s,"isError":%s}' % (results, wrong, messages, flag)
    return b'{"isError":%s,"messages":%s,"errors":[],"results":%s}' % (flag, messages, results)
