"""Where records go: pages behind the fence, the change log, tombstones and quarantine."""
