"""``routoo learning``: the scores that reports have taught a service."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from routoo.cli.options.common import Address, AsJson, TimeoutS, print_json, service, show
from routoo.cli.options.connection import DEFAULT_ADDRESS


def learning(
    *,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show what reported scores have taught of each model.

    To keep it as it is, set learning.freeze and run routoo reload; to forget it, change
    learning.generation.
    """
    from google.protobuf.json_format import MessageToDict

    from routoo.cli.output import learned_screen

    with service(address, timeout_s) as client:
        found, models = client.info().learning, client.models().models
    if as_json:
        told = {"learning": MessageToDict(found, preserving_proto_field_name=True)}
        learned = {
            one.name: MessageToDict(one.learned_score, preserving_proto_field_name=True)
            for one in models
            if one.HasField("learned_score")
        }
        print_json({**told, "models": learned})
    else:
        show(learned_screen.learned(found, models))
