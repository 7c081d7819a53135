"""The words, errors and facts that every part of the system shares. Pure: no I/O, no clock."""
