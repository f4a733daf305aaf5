"""The catalogue: one table of what is known of each model, and what is needed to place a new one.

``build.build_catalogue`` reads all outcome sources that may ship and LiveBench's published
averages, fits one hierarchical model to them (``estimator``, ``posterior``) and hands out a
``table.Catalogue``: per model and kind of task the expected score on a user's typical prompt
(``reference``), the expected output tokens (``lengths``), their variances and the evidence behind
them. ``table.write_catalogue`` and ``table.read_catalogue`` keep it as one npz. ``placement.place``
finds the posterior of a new model from the table alone. ``evaluate`` judges the estimates by
sources that were left out.
"""
