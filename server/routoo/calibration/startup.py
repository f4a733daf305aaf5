"""The guarantee at the start of a service: its price is checked, or learned from the labels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from routoo.calibration.guarantee import prove
from routoo.calibration.sample import read_sample
from routoo.client.prompts_file import PromptsFileError
from routoo.config.files import read_file
from routoo.errors import ConfigError, InfeasibleError
from routoo.selector.guarantee import Promise

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config.sections.policy import GuaranteeSettings
    from routoo.config.settings import Settings
    from routoo.predictor.base import Predictor
    from routoo.routing.money.operating_point import PricedSample
    from routoo.routing.pool import Pool

REMEDY = "run `routoo calibrate --policy guarantee` again"


def with_price(
    settings: Settings,
    pool: Pool,
    priced: PricedSample,
    predictor_version: str,
    predictor: Callable[[], Predictor],
) -> GuaranteeSettings | None:
    """Returns the section ``policy.guarantee`` with a price that holds for predictor and pool.

    Args:
        settings: the settings of the service.
        pool: the models.
        priced: the predictor's calibration sample at the pool's prices.
        predictor_version: version of the predictor that will serve.
        predictor: opens that predictor; called only when the price has to be learned.

    Returns:
        None where there is no such section.

    Raises:
        ConfigError: the price was proven with another predictor, pool or file of labels, or
            the labels do not prove any; one line.
    """
    section = settings.policy.guarantee
    if section is None:
        return None
    if section.price is None:
        return section.model_copy(
            update={"price": _learned(section, settings, pool, priced, predictor())}
        )
    for what, pinned, found in (
        ("predictor", section.predictor_version, predictor_version),
        ("pool", section.pool_digest, pool.digest),
    ):
        if pinned != found:
            raise ConfigError(
                f"policy.guarantee: its price was proven with {what} {pinned}, and this is {found};"
                f" {REMEDY}"
            )
    if section.labels is not None and section.labels_sha256:
        try:
            digest = hashlib.sha256(read_file(section.labels)).hexdigest()
        except OSError as error:
            raise ConfigError(
                f"policy.guarantee.labels: {section.labels} cannot be read: {error.strerror}; leave"
                " the setting out or copy the file there"
            ) from None
        if digest != section.labels_sha256:
            raise ConfigError(
                f"policy.guarantee.labels: {section.labels} is not the file that the price was"
                f" proven on; {REMEDY}"
            )
    return section


def _learned(
    section: GuaranteeSettings,
    settings: Settings,
    pool: Pool,
    priced: PricedSample,
    predictor: Predictor,
) -> float:
    assert section.labels is not None  # noqa: S101 - the settings refuse neither price nor labels
    reference = pool.column(section.reference, "policy.guarantee.reference", ConfigError)
    try:
        sample = read_sample(section.labels, pool, predictor, settings.limits, settings.tasks)
        promise = Promise(section.max_drop, 1.0 - section.confidence)
        return prove(sample, pool, priced, reference, promise).price
    except (PromptsFileError, InfeasibleError) as error:
        raise ConfigError(f"policy.guarantee: {error}") from None
