"""Output of the commands: screens, numbers, progress, files, and errors as one line."""
