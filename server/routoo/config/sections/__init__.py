"""The sections of the settings, one per file: what each may say, its defaults and its bounds."""
