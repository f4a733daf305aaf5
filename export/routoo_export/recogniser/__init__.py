"""The recogniser: prompts written for this project, and what learns the task of a prompt.

``examples`` reads the prompts, ``train`` learns their kind, language, difficulty and length from
rows of n-grams, and ``network.Recogniser`` holds the weights that ``graph.table_graph`` turns into
a graph.
"""
