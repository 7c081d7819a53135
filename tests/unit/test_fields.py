"""The columns of an offer: exact prices, and odd fields that read NULL without losing the record."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.warehouse.fields import COLUMN_NAMES, read_fields


def read(document: str) -> tuple[dict[str, object], int]:
    values, faults = read_fields(document.encode())
    return dict(zip(COLUMN_NAMES, values, strict=True)), faults


@pytest.mark.parametrize("digits", ["0.1", "1E+2", "12345678.99999", "51.6477", "0", "-3", "1e-7", "1.10"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_prices_keep_the_digits_of_the_api(digits: str, quote: str) -> None:
    """As a number and as a string; 1.10 stays 1.10."""
    values, faults = read(f'{{"id":1,"sale_price":{quote}{digits}{quote}}}')
    assert faults == 0
    assert str(values["sale_price"]) == str(Decimal(digits))


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_any_decimal_comes_back_exactly(price: Decimal) -> None:
    """No float on the way."""
    values, _ = read(f'{{"min_sale_price":{price}}}')
    found = values["min_sale_price"]
    assert isinstance(found, Decimal)
    assert found.as_tuple() == price.as_tuple() or (price == 0 and found == 0)


@pytest.mark.parametrize("odd", ["true", "{}", "[1]", '"abc"', '""', '"NaN"', '"Infinity"', '"1e999999"'])
def test_an_odd_price_reads_null_and_is_counted(odd: str) -> None:
    """The rest of the offer is kept."""
    values, faults = read(f'{{"sale_price":{odd},"name":"Lampă","status":1}}')
    assert (values["sale_price"], values["name"], values["status"], faults) == (None, "Lampă", 1, 1)


def test_numbers_in_strings_are_read_and_booleans_are_not() -> None:
    """`ownership: true` once broke an integer column in production."""
    values, faults = read('{"category_id":"506","status":true,"vat_id":1.5,"brand":7}')
    assert values["category_id"] == 506
    assert (values["status"], values["vat_id"], values["brand"], faults) == (None, None, None, 3)


def test_integers_beyond_64_bits_are_a_fault_and_not_an_overflow() -> None:
    """PostgreSQL's bigint ends at 2^63."""
    assert read(f'{{"category_id":{2**63}}}') == read('{"category_id":true}')
    assert read(f'{{"category_id":{2**63 - 1}}}')[0]["category_id"] == 2**63 - 1


def test_stock_is_the_sum_over_warehouses_else_the_general_stock() -> None:
    """PHP writes an empty map as a list."""
    assert read('{"stock":[{"warehouse_id":1,"value":5},{"warehouse_id":2,"value":7}]}')[0]["stock"] == 12
    assert read('{"stock":[],"general_stock":3}')[0]["stock"] == 3
    assert read('{"general_stock":4}')[0]["stock"] == 4
    assert read('{"stock":"x","general_stock":4}') == ({**read("{}")[0], "stock": 4}, 1)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*COLUMN_NAMES, "general_stock"]), ANYTHING))
def test_no_document_ever_breaks_the_reading(document: dict[str, object]) -> None:
    """Whatever stands where."""
    values, faults = read_fields(msgspec.json.encode(document))
    assert len(values) == len(COLUMN_NAMES)
    assert faults <= len(document)
