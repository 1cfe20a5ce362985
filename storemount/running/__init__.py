"""A daemon's life: launched, kept running, told to its service manager, drained."""
