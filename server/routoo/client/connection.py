"""Where the service is, and how its connection behaves."""

from __future__ import annotations

from typing import Final

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S: Final = 10.0
MAX_MESSAGE_BYTES: Final = 128 * 1024 * 1024
"""As the service's ``limits.max_message_bytes``: a batch of 100,000 prompts fits."""

OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Machines behind one address (dns:///routoo:50051) are asked in turn.
    ("grpc.lb_policy_name", "round_robin"),
    # A service that restarts is found again within a call's retries: gRPC's own first pause of 1 s
    # would fail them all.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A peer that vanished without a word is noticed within 10 s of the first call that it does not
    # acknowledge. The pings come as seldom as servers allow unless told otherwise (5 minutes), and
    # only during calls: a server hangs up on a client that pings more.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
