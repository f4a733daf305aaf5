"""The doors of the process: the addresses that it listens at, and what answers there."""
