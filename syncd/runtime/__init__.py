"""How a process of ours lives: settings, connections, signals, logs."""
