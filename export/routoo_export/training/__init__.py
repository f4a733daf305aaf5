"""Training from outcomes to a checkpoint; ``pipeline.py`` runs the steps that a recipe names."""
