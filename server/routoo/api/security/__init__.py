"""Who calls, as which tenant, and how much they may ask for."""
