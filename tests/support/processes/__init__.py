"""The ``routoo`` command in processes of its own, and the scripts that they run."""
