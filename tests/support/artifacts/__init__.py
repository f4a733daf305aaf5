"""Complete, tiny predictors: their figures are known, so that tests can tell right from wrong."""
