"""The engine takes a request from its acceptance to its decision and to its reported outcome.

It knows no transport. ``engine.py`` accepts requests and drains. The batcher forms batches, the
decider chooses the models, and the accounting books the costs.
"""
