"""The options that several commands share: where the service is, and what a request may ask for."""
