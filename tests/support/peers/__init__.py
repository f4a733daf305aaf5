"""The service's peers: real servers that tests start, and scripted stand-ins."""
