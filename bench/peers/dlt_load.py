"""dlt's side: the offers by its REST API source, merged into PostgreSQL by id.

As its documentation shows it, with what its users set for such data: no child tables (nested values stay
JSON), and a type for the fields whose kind varies, so that no variant columns appear.
"""

from __future__ import annotations

import os

import dlt
from dlt.destinations import postgres
from dlt.sources.rest_api import rest_api_source

SOCKET = os.environ["BENCH_SOCKET"].replace("/", "%2F")  # libpq takes a socket's folder as host so
DECIMALS = (
    "sale_price", "recommended_price", "min_sale_price", "max_sale_price", "best_offer_sale_price", "green_tax",
)  # fmt: skip
WHOLE = ("ownership", "emag_club")
JSON = ("family", "manufacturer", "eu_representative", "validation_status", "doc_errors", "offer_details")


def main() -> None:
    """One load."""
    columns = {name: {"data_type": "decimal"} for name in DECIMALS}
    columns |= {name: {"data_type": "bigint"} for name in WHOLE}
    columns |= {name: {"data_type": "json"} for name in JSON}
    source = rest_api_source(
        {
            "client": {
                "base_url": os.environ["BENCH_API"] + "/",
                "auth": {
                    "type": "http_basic",
                    "username": os.environ["BENCH_USERNAME"],
                    "password": os.environ["BENCH_PASSWORD"],
                },
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "page_param": None,
                    "page_body_path": "currentPage",
                    "total_path": None,
                    "stop_after_empty_page": True,
                },
            },
            "resources": [
                {
                    "name": "offers",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "columns": columns,
                    "max_table_nesting": 0,
                    "endpoint": {
                        "path": "product_offer/read",
                        "method": "POST",
                        "json": {"itemsPerPage": 100},
                        "data_selector": "results",
                    },
                }
            ],
        }
    )
    database = os.environ["BENCH_DATABASE"]
    pipeline = dlt.pipeline(
        "bench_offers",
        destination=postgres(f"postgresql://syncd:none@{SOCKET}:5432/{database}"),
        dataset_name="offers",
    )
    print(pipeline.run(source))


if __name__ == "__main__":
    main()
