"""Memory and file descriptors of the process: what it may have, and what happens when it has it."""
