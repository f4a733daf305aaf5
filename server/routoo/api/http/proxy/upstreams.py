"""The providers of the pool's models: for each model and API, where a request for it goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from routoo.api.http.proxy.keys import ProviderKey
from routoo.api.http.proxy.provider import Provider
from routoo.config.sections.proxy import EVERY_MODEL, KNOWN, UpstreamSettings
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from routoo.api.llm.body import Api
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.config.sections.proxy import ProxySettings
    from routoo.routing.pool import Pool

APIS: Final[tuple[Api, ...]] = ("chat", "responses", "completions", "messages")
_INHERITED: Final = ("base_url", "apis", "api_key_env", "cut_provider")


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """Where requests for one model go.

    Attributes:
        model: the pool's name.
        upstream_model: the provider's name.
        provider: the provider.
    """

    model: str
    upstream_model: str
    provider: Provider


class Upstreams:
    """The providers of a pool's models, as settings name them.

    Args:
        settings: the section ``proxy``.
        pool: the models.

    Raises:
        ConfigError: an entry stands for no model of the pool, has no address, or its key is none.
    """

    def __init__(self, settings: ProxySettings, pool: Pool) -> None:
        self._pool = pool
        self._settings = settings
        self._models = tuple(dict.fromkeys(model.name for model in pool.models))
        providers = {model.name: model.provider or model.name for model in pool.models}
        _check_names(settings, providers)
        self._providers: dict[str, Provider] = {}
        self._targets: dict[tuple[str, Api], tuple[UpstreamTarget, ...]] = {}
        self._offered: dict[Api, tuple[str, ...] | None] = {}
        self._offered_by: ProcessorSettings | None = None
        self._lacking: list[bool] = []
        for model in self._models:
            found = [
                self._target(model, name, one)
                for name, one in _entries(settings, model, providers[model])
            ]
            for api in APIS:
                speaking = tuple(one for one in found if api in one.provider.apis)
                self._targets[model, api] = speaking

    def target(self, model: str, api: Api) -> UpstreamTarget | None:
        """Returns where a request for a model of the pool goes; None: nowhere."""
        found = self._targets.get((model, api), ())
        return next((one for one in found if not one.provider.key.is_lacking), None)

    def offered(self, api: Api, settings: ProcessorSettings) -> tuple[str, ...] | None:
        """Returns the names of models and arms that requests of an API may be sent to.

        Empty: all of the pool. None: there is no such model.

        Args:
            api: the API.
            settings: of the processor, which may name the models of an API.
        """
        # Looked up for every request, and changed only by a key that comes or goes.
        lacking = [one.key.is_lacking for one in self._providers.values()]
        if lacking != self._lacking or settings is not self._offered_by:
            self._offered.clear()
            self._lacking, self._offered_by = lacking, settings
        if api not in self._offered:
            self._offered[api] = self._offer(api, settings)
        return self._offered[api]

    def _offer(self, api: Api, settings: ProcessorSettings) -> tuple[str, ...] | None:
        speak = settings.messages_models if api == "messages" else settings.openai_models
        reached = {model for model in self._models if self.target(model, api) is not None}
        if len(reached) == len(self._models):
            return speak
        pool = self._pool
        names = [
            name
            for name in speak or self._models
            if pool.model_of(pool.columns_named(name, "models")[0]) in reached
        ]
        return tuple(names) or None

    @property
    def reached(self) -> tuple[str, ...]:
        """The models that can be reached by any API, in the pool's order."""
        return tuple(
            model
            for model in self._models
            if any(self.target(model, api) is not None for api in APIS)
        )

    def findings(self) -> list[str]:
        """Returns a line that says which models are reached or not, and keys that lack."""
        reached = set(self.reached)
        missed = [model for model in self._models if model not in reached]
        some = f"{len(reached)} of {len(self._models)} models" if reached else "no model"
        reach = f"doors: {some} can be reached by OpenAI- and Anthropic-compatible requests"
        if not missed:
            return [reach]
        lacking = sorted(
            {
                one.provider.key.origin
                for model in missed
                for api in APIS
                for one in self._targets[model, api]
            }
        )
        keys = f" set a key ({', '.join(lacking)}), or" if lacking else ""
        names = f"; not {', '.join(missed)}" if reached else ""
        found = [f"{reach}{names};{keys} name the providers under proxy.upstreams"]
        if self._settings.known_providers:
            found += [
                f"doors: {variable} is set, so {name} is asked only if proxy.upstreams lists it"
                for name, known in KNOWN.items()
                if name not in self._settings.upstreams and (variable := _elsewhere(known))
            ]
        return found

    async def close(self) -> None:
        """Closes the connections, those in use as soon as they are free."""
        for provider in self._providers.values():
            await provider.close()

    def _target(self, model: str, name: str, settings: UpstreamSettings) -> UpstreamTarget:
        if name not in self._providers:
            key = ProviderKey(settings.api_key_env or "", settings.api_key_file)
            self._providers[name] = Provider(name, settings, key)
        own = settings.upstream_models.get(model)
        cuts = settings.cut_provider
        if cuts is None:
            cuts = name not in (EVERY_MODEL, model)
        return UpstreamTarget(
            model,
            own or (model.partition("/")[2] or model if cuts else model),
            self._providers[name],
        )


def _entries(
    settings: ProxySettings, model: str, provider: str
) -> Iterator[tuple[str, UpstreamSettings]]:
    """Yields the entries that stand for a model of a provider, the first choice first."""
    for name in dict.fromkeys((model, provider, EVERY_MODEL)):
        if name in settings.upstreams:
            yield name, _completed(name, settings.upstreams[name])
    for name in (provider, EVERY_MODEL) if settings.known_providers else ():
        known = KNOWN.get(name)
        if known is None or name in settings.upstreams or _elsewhere(known):
            continue
        yield name, known


def _elsewhere(known: UpstreamSettings) -> str:
    """Returns the variable that names another address for a known provider; empty: none does.

    Whoever sets it may not want the key, and the prompts, to go to the provider itself.
    """
    variable = (known.api_key_env or "").replace("_API_KEY", "_BASE_URL")
    told = os.environ.get(variable, "").strip().rstrip("/")
    own = (known.base_url or "").rstrip("/")
    return "" if told in ("", own, own.removesuffix("/v1")) else variable


def _completed(name: str, settings: UpstreamSettings) -> UpstreamSettings:
    """Returns an entry with what is known of its provider in the place of what it leaves open."""
    known = KNOWN.get(name)
    if known is None or settings.base_url is not None:
        if settings.base_url is None:
            raise ConfigError(
                f"proxy.upstreams.{name}: base_url is missing, and no address of {name!r} is known;"
                " set it, e.g. http://127.0.0.1:8000/v1"
            )
        return settings.model_copy(update={"apis": settings.apis or ("openai",)})
    taken = {one: getattr(known, one) for one in _INHERITED if getattr(settings, one) is None}
    taken["upstream_models"] = {**known.upstream_models, **settings.upstream_models}
    if settings.api_key_file is not None:
        taken.pop("api_key_env", None)
    return settings.model_copy(update=taken)


def _check_names(settings: ProxySettings, providers: Mapping[str, str]) -> None:
    """Refuses entries that stand for nothing; gets the provider of each model."""
    known = sorted(set(providers.values()))
    for name, entry in settings.upstreams.items():
        if name not in providers and name not in known and name != EVERY_MODEL:
            raise ConfigError(
                f"proxy.upstreams: {name!r} is no model of the pool, no provider of one, and not"
                f" {EVERY_MODEL!r}; providers are {', '.join(known)}"
            )
        for model in entry.upstream_models:
            if model not in providers:
                raise ConfigError(
                    f"proxy.upstreams.{name}.upstream_models: {model!r} is no model of the pool;"
                    f" it has {', '.join(providers)}"
                )
