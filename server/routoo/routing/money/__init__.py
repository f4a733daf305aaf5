"""Money among the constraints: rows of the joint problem, what is affordable, a policy's point."""
