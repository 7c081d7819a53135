"""The Singer side's tap: the offers by the SDK's REST stream, as its cookiecutter makes one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from requests.auth import HTTPBasicAuth
from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.pagination import BasePageNumberPaginator

PRICES = ("sale_price", "recommended_price", "min_sale_price", "max_sale_price", "best_offer_sale_price", "green_tax")
TEXTS = (
    "part_number_key", "part_number", "name", "brand", "brand_name", "url", "currency", "rrp_guidelines",
    "description", "weight", "safety_information",
)  # fmt: skip
WHOLE = (
    "category_id", "vendor_category_id", "status", "vat_id", "best_offer_recommended_price", "commission", "warranty",
    "general_stock", "estimated_stock", "ownership", "number_of_offers", "buy_button_rank", "genius_eligibility",
    "genius_eligibility_type", "genius_computed", "emag_club", "auto_translated", "recycleWarranties",
)  # fmt: skip
FLAGS = ("reversible_vat_charging", "manufacturer", "eu_representative")
LISTS = (
    "ean", "barcode", "images", "characteristics", "attachments", "start_date", "stock", "handling_time",
    "availability", "validation_status", "translation_validation_status", "content_details", "offer_properties",
    "doc_errors",
)  # fmt: skip
OBJECTS = ("offer_validation_status", "offer_details", "family")
MIXED_FLAGS = ("ownership", "emag_club", "recycleWarranties")


class Pages(BasePageNumberPaginator):
    """Ends at the first empty page."""

    def has_more(self, response: Any) -> bool:
        return bool(response.json()["results"])


class Offers(RESTStream[int]):
    """product_offer/read."""

    name = "offers"
    path = "/product_offer/read"
    http_method = "POST"
    records_jsonpath = "$.results[*]"
    primary_keys = ("id",)
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType, required=True),
        *(th.Property(name, th.NumberType) for name in PRICES),
        *(th.Property(name, th.StringType) for name in TEXTS),
        *(th.Property(name, th.IntegerType) for name in WHOLE),
        *(th.Property(name, th.BooleanType) for name in FLAGS),
        *(th.Property(name, th.ArrayType(th.AnyType)) for name in LISTS),
        *(th.Property(name, th.ObjectType(additional_properties=True)) for name in OBJECTS),
    ).to_dict()

    @property
    def url_base(self) -> str:
        """From the tap's settings."""
        return str(self.config["base_url"])

    @property
    def authenticator(self) -> HTTPBasicAuth:
        """Basic auth."""
        return HTTPBasicAuth(self.config["username"], self.config["password"])

    def get_new_paginator(self) -> Pages:
        """From page 1 on."""
        return Pages(1)

    def prepare_request_payload(self, context: Mapping[str, Any] | None, next_page_token: int | None) -> dict[str, Any]:
        """Paging stands in the body."""
        return {"currentPage": next_page_token or 1, "itemsPerPage": 100}

    def post_process(self, row: dict[str, Any], context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One kind a field, where the API mixes them."""
        for name in PRICES:
            if isinstance(row.get(name), str):
                row[name] = Decimal(row[name])
        for name in MIXED_FLAGS:
            row[name] = int(row[name])
        if row.get("family") == []:
            row["family"] = None
        return row


class TapOffers(Tap):
    """The tap."""

    name = "tap-offers"
    config_jsonschema = th.PropertiesList(
        th.Property("base_url", th.StringType, required=True),
        th.Property("username", th.StringType, required=True),
        th.Property("password", th.StringType, required=True, secret=True),
    ).to_dict()

    def discover_streams(self) -> list[Offers]:
        """One stream."""
        return [Offers(self)]


if __name__ == "__main__":
    TapOffers.cli()
