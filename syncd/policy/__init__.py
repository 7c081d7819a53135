"""Pure decisions: given facts, what follows. No I/O, no clock."""
