"""The rules by which one of the eligible models is chosen, each in a file of its own."""
