"""Which tokens are asked for, and the scheduler that keeps engines full."""
