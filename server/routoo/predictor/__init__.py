"""Predictors: prompts in, what every model would score and write. Know no selector, no gRPC."""
