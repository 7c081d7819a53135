"""Reading settings from every place where they may stand; shared by syncd and the monitor."""
