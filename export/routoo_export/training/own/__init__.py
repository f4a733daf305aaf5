"""A team's own outcomes as rows of the table of models, in closed form and in seconds.

The graph of the artifact stays as it is. ``prompt_reader`` reads hidden units, tasks and traits of
prompts off it, ``topics`` finds the rows of the team's tasks, ``scores`` and ``lengths`` fit what
the models do on them, ``choice`` tries by cross-validation how much of it helps, and ``table``
packs the result.
"""
