"""The gRPC front: proto to plain types and back. Nothing is decided here."""
