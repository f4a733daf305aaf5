"""The linear program over a batch: ``problem.py`` states it and ``solve.py`` solves it.

One coupling row is solved exactly from the rows' upper hulls, several by a smoothed dual, column
generation and rounding; the value, bound and gap returned are those of the choice that is returned.
"""
