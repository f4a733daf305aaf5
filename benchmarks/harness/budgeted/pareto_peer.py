"""ParetoBandit (PyPI ``paretobandit``), LinUCB with budget pacing, on the same streams.

It gets what its own experiments give it: the prompts' embeddings by all-MiniLM-L6-v2 under its
shipped projection, its shipped priors and hyperparameters, its own prices of the models, and the
true cost and score of each answer. The package is no dependency of this project.
"""

import logging
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from harness.budgeted.drift import PHASES, FloatArray, Scene
from harness.budgeted.learning import Run
from harness.budgeted.prompts import Prompts

# US dollars per million tokens of input and output, as its own experiments have them.
_PRICES_USD = {
    "meta-llama/llama-3.1-8b-instruct": (0.1, 0.1),
    "mistralai/mistral-large-2512": (0.5, 1.5),
    "google/gemini-2.5-flash": (0.3, 2.5),
    "google/gemini-2.5-pro": (1.25, 10.0),
}
_BATCH = 32
_MOST_TOKENS = 256


def is_installed() -> bool:
    """Returns whether the package can be imported."""
    return find_spec("pareto_bandit") is not None


class Peer:
    """The peer, with the features of all prompts.

    Args:
        prompts: the prompts.
        cache: a file that keeps their embeddings.
    """

    def __init__(self, prompts: Prompts, cache: Path) -> None:
        from pareto_bandit import FeatureService  # noqa: PLC0415
        from pareto_bandit.config import DEFAULT_PCA_PATH  # noqa: PLC0415

        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")  # its projection was pickled by an older scikit-learn
        embeddings = _embeddings(prompts.texts, cache)
        self._prompts = prompts
        self._service = FeatureService(
            custom_encoder=lambda _: embeddings[0],
            embedding_dim=embeddings.shape[1],
            pca_path=DEFAULT_PCA_PATH,
        )
        self._service.encode_prompts_batch = lambda _: embeddings
        self._features = self._service.extract_features_batch(prompts.texts)

    def run(self, scene: Scene, mean_usd: float, seed: int, cost_penalty: float) -> Run:
        """Sends a stream through it.

        Args:
            scene: the stream.
            mean_usd: the budget per request.
            seed: of its ties.
            cost_penalty: its fixed penalty on costs, beside the pacing: 0.3 is its default, 0
                leaves the costs to the pacing.
        """
        router, names = self._router(scene, mean_usd, seed, cost_penalty), self._prompts.pool.names
        choice = np.zeros(len(scene), np.intp)
        for at in range(len(scene)):
            if at and scene.phases[at] != scene.phases[at - 1]:
                self._change(router, scene, int(scene.phases[at]))
            model, log = router.route(self._features[scene.rows[at]])
            choice[at] = column = names.index(model)
            log.cost_usd = float(scene.costs_usd[at, column])
            router.process_feedback(log.request_id, float(scene.scores[at, column]))
        rows = np.arange(len(scene))
        return Run(choice, scene.scores[rows, choice], scene.costs_usd[rows, choice])

    def _router(self, scene: Scene, mean_usd: float, seed: int, cost_penalty: float) -> Any:
        from pareto_bandit import BanditRouter  # noqa: PLC0415
        from pareto_bandit.budget_pacer import BudgetPacer  # noqa: PLC0415

        registry = {
            name: _prices(name, 1.0)
            for column, name in enumerate(self._prompts.pool.names)
            if scene.offered[0, column]
        }
        return BanditRouter.create(
            model_registry=registry,
            feature_service=self._service,
            bandit_seed=seed,
            cost_penalty=cost_penalty,
            budget_pacer=BudgetPacer(mean_usd),
        )

    def _change(self, router: Any, scene: Scene, phase: int) -> None:
        assert 0 < phase < PHASES
        for column, name in enumerate(self._prompts.pool.names):
            factor = float(scene.price_factors[phase, column])
            if scene.offered[phase, column] and name not in router.registry:
                router.register_model(name, **_prices(name, factor))
            elif factor != scene.price_factors[phase - 1, column]:
                router.update_model_pricing(name, **_prices(name, factor))


def _prices(name: str, factor: float) -> dict[str, float]:
    read, written = _PRICES_USD[name]
    return {"input_cost_per_m": factor * read, "output_cost_per_m": factor * written}


def _embeddings(texts: list[str], cache: Path) -> FloatArray:
    """Returns the mean token vectors of all-MiniLM-L6-v2, of length 1, float64 [n, 384]."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.save(cache, _encoded(texts))
    found: FloatArray = np.load(cache).astype(np.float64)
    if len(found) != len(texts):
        raise SystemExit(f"{cache}: is of other prompts; delete it")
    return found


def _encoded(texts: list[str]) -> FloatArray:
    import torch  # noqa: PLC0415
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    from routoo_export.backbones.packages import minilm_folder  # noqa: PLC0415

    folder = str(minilm_folder())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    encode = partial(
        tokenizer, padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt"
    )
    parts = []
    with torch.inference_mode():
        for at in range(0, len(texts), _BATCH):
            inputs = encode(texts[at : at + _BATCH])
            hidden = model(**inputs).last_hidden_state
            weights = inputs["attention_mask"].unsqueeze(-1)
            mean = (hidden * weights).sum(1) / weights.sum(1)
            parts.append((mean / mean.norm(dim=1, keepdim=True)).numpy())
    return np.concatenate(parts)
