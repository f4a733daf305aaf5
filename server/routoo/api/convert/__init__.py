"""Messages to plain types and back: requests, replies, reports, prices, health."""
