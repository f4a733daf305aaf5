"""Training on outcomes of your own and on logs of your service, and the figures of both."""
