"""The command ``evaluate``: on outcomes held out, on a mix of traffic, of models' arms."""
