"""Request bodies as JSON: read whole or, where they are large, by the parts that matter."""
