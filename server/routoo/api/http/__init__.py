"""The HTTP front: JSON forms of the RPCs, and pages, over the engine that gRPC's calls reach."""
