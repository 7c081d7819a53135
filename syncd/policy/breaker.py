"""The circuit breaker's numbers.

    closed ──10 failures in a row──▶ open ──60 s──▶ half-open ──success──▶ closed
                                      ▲                 └──failure──▶ open again

Its state (failures, open until) lives in the ledger, one an account, so that a restart loop cannot
storm an API that is down: while open nobody calls; after the cooldown one probe does.
"""

FAILURES_TO_OPEN = 10
COOLDOWN_SECONDS = 60.0
