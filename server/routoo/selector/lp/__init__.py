"""The linear program over a batch: ``problem.py`` states it and ``solve.py`` solves it.

One coupling row is solved exactly from the prompts' upper hulls, several rows by a smoothed dual,
column generation and rounding. The value, bound and gap returned are those of the choice that is
returned.
"""
