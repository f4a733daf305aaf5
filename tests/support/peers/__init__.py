"""Who the service talks to: real servers that tests start, and scripted stand-ins."""
