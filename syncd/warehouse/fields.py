"""The columns of an offer: what people query, read from the document's own digits.

Prices are exact decimals and never pass through a float. A field of an unexpected kind is a field fault:
its column reads NULL, the document is kept, the fault is counted. Numbers in strings are accepted, as the
API sends both (vendor document v4.4.9 and samples of real answers).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec

Bigint = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

COLUMNS: dict[str, tuple[str, Any]] = {
    "part_number_key": ("text", str),
    "part_number": ("text", str),
    "name": ("text", str),
    "brand": ("text", str),
    "category_id": ("int8", Bigint),
    "currency": ("text", str),
    "sale_price": ("numeric", Decimal),
    "recommended_price": ("numeric", Decimal),
    "min_sale_price": ("numeric", Decimal),
    "max_sale_price": ("numeric", Decimal),
    "status": ("int8", Bigint),
    "vat_id": ("int8", Bigint),
}
"""Column, and field of the document → its PostgreSQL type and its Python type. `stock` comes after these."""


class _Stock(msgspec.Struct):
    value: Bigint


_FIELDS: list[tuple[str, Any, Any]] = [(name, kind | None, None) for name, (_, kind) in COLUMNS.items()]
_Offer: Any = msgspec.defstruct(
    "_Offer", [*_FIELDS, ("stock", list[_Stock] | None, None), ("general_stock", Bigint | None, None)]
)
_decode_offer = msgspec.json.Decoder(_Offer).decode
_decode_loose = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LARGEST_EXPONENT = 1000  # numeric holds far more; no price does

COLUMN_NAMES = (*COLUMNS, "stock")
COLUMN_TYPES = (*(sql_type for sql_type, _ in COLUMNS.values()), "int8")


def read_fields(document: bytes) -> tuple[tuple[object, ...], int]:
    """The values of COLUMN_NAMES, and the number of field faults. The document is known to be JSON."""
    try:
        offer = _decode_offer(document)
    except (msgspec.ValidationError, ArithmeticError):
        return _read_loose(document)
    prices = (offer.sale_price, offer.recommended_price, offer.min_sale_price, offer.max_sale_price)
    if not all(price is None or _storable(price) for price in prices):
        return _read_loose(document)
    # Zip over __struct_fields__ would cost a third more on the cold path.
    return (
        offer.part_number_key,
        offer.part_number,
        offer.name,
        offer.brand,
        offer.category_id,
        offer.currency,
        *prices,
        offer.status,
        offer.vat_id,
        _total_stock(offer),
    ), 0


def _storable(price: Decimal) -> bool:
    return price.is_finite() and abs(price.adjusted()) < _LARGEST_EXPONENT


def _total_stock(offer: Any) -> int | None:
    """Over all warehouses; `general_stock` where the list is missing or empty."""
    if offer.stock:
        total = sum(entry.value for entry in offer.stock)
        return total if -(2**63) <= total < 2**63 else None
    general: int | None = offer.general_stock
    return general


def _read_loose(document: bytes) -> tuple[tuple[object, ...], int]:
    """Field by field, for documents of which at least one field is odd."""
    try:
        raw = _decode_loose(document)
    except msgspec.ValidationError:
        return (None,) * len(COLUMN_NAMES), 1
    faults = 0
    values: dict[str, Any] = {}
    for name, kind in [*((n, k) for n, (_, k) in COLUMNS.items()), ("stock", list[_Stock]), ("general_stock", Bigint)]:
        value = None
        if name in raw:
            try:
                loose = msgspec.json.decode(raw[name], type=_loose_kind(kind))
                value = msgspec.convert(loose, kind | None, strict=False)
                if isinstance(value, Decimal) and not _storable(value):
                    raise msgspec.ValidationError("not a price")
            except (msgspec.MsgspecError, ArithmeticError):
                value, faults = None, faults + 1
        values[name] = value
    stock = _total_stock(_Offer(stock=values["stock"], general_stock=values["general_stock"]))
    return (*(values[name] for name in COLUMNS), stock), faults


def _loose_kind(kind: Any) -> Any:
    """Decimals are read from the digits at once; everything else may come in a string."""
    return Decimal | None if kind is Decimal else Any
