"""The recogniser: prompts written for this project, and what learns the task of a prompt from them.

`examples` reads the prompts, `train` learns their kind, language, difficulty and length from rows of
n-grams, and `network.Recogniser` holds the weights that `graph.rows` turns into a graph.
"""
