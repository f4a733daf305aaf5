"""Predictors on a Hugging Face hub: ``transfer.push`` and ``pull``, ``card``, and ``licences``."""
