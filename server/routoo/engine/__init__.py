"""One request's life: it waits, is predicted, decided and booked, and its outcome settles it.

The engine knows no transport. ``engine.py`` accepts, times out and drains; it asks the batcher what
is next, the decider what is chosen, and the accounting what may be spent.
"""
