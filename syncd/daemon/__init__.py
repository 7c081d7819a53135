"""`syncd serve`: starts syncs on a schedule and on demand, for months."""
