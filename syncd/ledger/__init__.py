"""What both processes read to know who may write: runs, leases, sweeps, budgets, and the schema itself."""
