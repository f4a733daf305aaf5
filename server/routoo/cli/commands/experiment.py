"""``routoo experiment``: what an experiment's outcomes say of its candidate."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs.

from routoo.cli.options.common import Address, AsJson, TimeoutS, print_reply, service
from routoo.cli.options.connection import DEFAULT_ADDRESS
from routoo.cli.output.errors import FAILED, CommandError


def experiment(
    *,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show both arms of the experiment, their difference, and the verdict.

    The intervals hold at all times at once, so they may be looked at as often as one likes.
    """
    from routoo.cli.output.trial_screens import experiment_screen

    with service(address, timeout_s) as client:
        info = client.info()
    if not info.HasField("experiment"):
        raise CommandError(
            f"the service at {address} tries nothing; set the section experiment, put a candidate"
            " into its folder, or ask as an administrator",
            FAILED,
        )
    found = info.experiment
    print_reply(found, experiment_screen(found), as_json=as_json)
