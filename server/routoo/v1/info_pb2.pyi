from routoo.v1 import health_pb2 as _health_pb2
from routoo.v1 import learning_pb2 as _learning_pb2
from routoo.v1 import route_pb2 as _route_pb2
from routoo.v1 import trials_pb2 as _trials_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LearnedFactor(_message.Message):
    __slots__ = ("factor", "reports")
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    factor: float
    reports: int
    def __init__(self, factor: _Optional[float] = ..., reports: _Optional[int] = ...) -> None: ...

class TaskCorrection(_message.Message):
    __slots__ = ("task", "length", "latency")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    task: str
    length: LearnedFactor
    latency: LearnedFactor
    def __init__(self, task: _Optional[str] = ..., length: _Optional[_Union[LearnedFactor, _Mapping]] = ..., latency: _Optional[_Union[LearnedFactor, _Mapping]] = ...) -> None: ...

class LearnedTimes(_message.Message):
    __slots__ = ("first_token_ms", "per_output_token_ms", "percentile_factors", "reports", "first_token_reports")
    class PercentileFactorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    PER_OUTPUT_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_FACTORS_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_REPORTS_FIELD_NUMBER: _ClassVar[int]
    first_token_ms: float
    per_output_token_ms: float
    percentile_factors: _containers.ScalarMap[int, float]
    reports: int
    first_token_reports: int
    def __init__(self, first_token_ms: _Optional[float] = ..., per_output_token_ms: _Optional[float] = ..., percentile_factors: _Optional[_Mapping[int, float]] = ..., reports: _Optional[int] = ..., first_token_reports: _Optional[int] = ...) -> None: ...

class Corrections(_message.Message):
    __slots__ = ("enabled", "version", "length_reports", "latency_reports")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LENGTH_REPORTS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_REPORTS_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    version: str
    length_reports: int
    latency_reports: int
    def __init__(self, enabled: _Optional[bool] = ..., version: _Optional[str] = ..., length_reports: _Optional[int] = ..., latency_reports: _Optional[int] = ...) -> None: ...

class TokenPrices(_message.Message):
    __slots__ = ("input", "output", "cached_input", "cache_write", "cache_write_1h", "audio_input", "image_input", "video_input", "reasoning", "audio_output")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_1H_FIELD_NUMBER: _ClassVar[int]
    AUDIO_INPUT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_INPUT_FIELD_NUMBER: _ClassVar[int]
    VIDEO_INPUT_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    AUDIO_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    input: float
    output: float
    cached_input: float
    cache_write: float
    cache_write_1h: float
    audio_input: float
    image_input: float
    video_input: float
    reasoning: float
    audio_output: float
    def __init__(self, input: _Optional[float] = ..., output: _Optional[float] = ..., cached_input: _Optional[float] = ..., cache_write: _Optional[float] = ..., cache_write_1h: _Optional[float] = ..., audio_input: _Optional[float] = ..., image_input: _Optional[float] = ..., video_input: _Optional[float] = ..., reasoning: _Optional[float] = ..., audio_output: _Optional[float] = ...) -> None: ...

class PriceTier(_message.Message):
    __slots__ = ("above_input_tokens", "usd_per_1m")
    ABOVE_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    USD_PER_1M_FIELD_NUMBER: _ClassVar[int]
    above_input_tokens: int
    usd_per_1m: TokenPrices
    def __init__(self, above_input_tokens: _Optional[int] = ..., usd_per_1m: _Optional[_Union[TokenPrices, _Mapping]] = ...) -> None: ...

class PriceHours(_message.Message):
    __slots__ = ("start", "end", "multiplier", "days")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    start: str
    end: str
    multiplier: float
    days: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, start: _Optional[str] = ..., end: _Optional[str] = ..., multiplier: _Optional[float] = ..., days: _Optional[_Iterable[str]] = ...) -> None: ...

class Prices(_message.Message):
    __slots__ = ("usd_per_1m", "usd_per_image", "usd_per_request", "tiers", "service_tiers", "hours", "status", "source")
    class ServiceTiersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    USD_PER_1M_FIELD_NUMBER: _ClassVar[int]
    USD_PER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    USD_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIERS_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    usd_per_1m: TokenPrices
    usd_per_image: float
    usd_per_request: float
    tiers: _containers.RepeatedCompositeFieldContainer[PriceTier]
    service_tiers: _containers.ScalarMap[str, float]
    hours: _containers.RepeatedCompositeFieldContainer[PriceHours]
    status: str
    source: str
    def __init__(self, usd_per_1m: _Optional[_Union[TokenPrices, _Mapping]] = ..., usd_per_image: _Optional[float] = ..., usd_per_request: _Optional[float] = ..., tiers: _Optional[_Iterable[_Union[PriceTier, _Mapping]]] = ..., service_tiers: _Optional[_Mapping[str, float]] = ..., hours: _Optional[_Iterable[_Union[PriceHours, _Mapping]]] = ..., status: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "usd_per_1m_input_tokens", "usd_per_1m_output_tokens", "context_window_tokens", "capabilities", "time_to_first_token_ms", "time_per_output_token_ms", "mean_predicted_score", "mean_predicted_cost_usd", "share", "evidence", "published_averages", "prices", "arm", "length_correction", "latency_correction", "task_corrections", "health", "learned_times", "p95_latency_ms", "mean_predicted_output_tokens", "limits", "learned_score")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USD_PER_1M_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    USD_PER_1M_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    TIME_PER_OUTPUT_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    MEAN_PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    MEAN_PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AVERAGES_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    LENGTH_CORRECTION_FIELD_NUMBER: _ClassVar[int]
    LATENCY_CORRECTION_FIELD_NUMBER: _ClassVar[int]
    TASK_CORRECTIONS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    LEARNED_TIMES_FIELD_NUMBER: _ClassVar[int]
    P95_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MEAN_PREDICTED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    LEARNED_SCORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    usd_per_1m_input_tokens: float
    usd_per_1m_output_tokens: float
    context_window_tokens: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    time_to_first_token_ms: float
    time_per_output_token_ms: float
    mean_predicted_score: float
    mean_predicted_cost_usd: float
    share: float
    evidence: float
    published_averages: float
    prices: Prices
    arm: _route_pb2.Arm
    length_correction: LearnedFactor
    latency_correction: LearnedFactor
    task_corrections: _containers.RepeatedCompositeFieldContainer[TaskCorrection]
    health: _health_pb2.UnitHealth
    learned_times: LearnedTimes
    p95_latency_ms: float
    mean_predicted_output_tokens: float
    limits: _containers.RepeatedCompositeFieldContainer[UsageLimit]
    learned_score: _learning_pb2.LearnedScore
    def __init__(self, name: _Optional[str] = ..., usd_per_1m_input_tokens: _Optional[float] = ..., usd_per_1m_output_tokens: _Optional[float] = ..., context_window_tokens: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., time_to_first_token_ms: _Optional[float] = ..., time_per_output_token_ms: _Optional[float] = ..., mean_predicted_score: _Optional[float] = ..., mean_predicted_cost_usd: _Optional[float] = ..., share: _Optional[float] = ..., evidence: _Optional[float] = ..., published_averages: _Optional[float] = ..., prices: _Optional[_Union[Prices, _Mapping]] = ..., arm: _Optional[_Union[_route_pb2.Arm, _Mapping]] = ..., length_correction: _Optional[_Union[LearnedFactor, _Mapping]] = ..., latency_correction: _Optional[_Union[LearnedFactor, _Mapping]] = ..., task_corrections: _Optional[_Iterable[_Union[TaskCorrection, _Mapping]]] = ..., health: _Optional[_Union[_health_pb2.UnitHealth, _Mapping]] = ..., learned_times: _Optional[_Union[LearnedTimes, _Mapping]] = ..., p95_latency_ms: _Optional[float] = ..., mean_predicted_output_tokens: _Optional[float] = ..., limits: _Optional[_Iterable[_Union[UsageLimit, _Mapping]]] = ..., learned_score: _Optional[_Union[_learning_pb2.LearnedScore, _Mapping]] = ...) -> None: ...

class UsageLimit(_message.Message):
    __slots__ = ("name", "scope", "kind", "limit", "used", "price", "refused")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    name: str
    scope: str
    kind: str
    limit: float
    used: float
    price: float
    refused: int
    def __init__(self, name: _Optional[str] = ..., scope: _Optional[str] = ..., kind: _Optional[str] = ..., limit: _Optional[float] = ..., used: _Optional[float] = ..., price: _Optional[float] = ..., refused: _Optional[int] = ...) -> None: ...

class CurvePoint(_message.Message):
    __slots__ = ("mean_cost_usd", "mean_score", "shadow_price", "shares")
    class SharesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MEAN_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    mean_cost_usd: float
    mean_score: float
    shadow_price: float
    shares: _containers.ScalarMap[str, float]
    def __init__(self, mean_cost_usd: _Optional[float] = ..., mean_score: _Optional[float] = ..., shadow_price: _Optional[float] = ..., shares: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Preset(_message.Message):
    __slots__ = ("name", "mean_cost_usd", "mean_score", "shadow_price")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEAN_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    name: str
    mean_cost_usd: float
    mean_score: float
    shadow_price: float
    def __init__(self, name: _Optional[str] = ..., mean_cost_usd: _Optional[float] = ..., mean_score: _Optional[float] = ..., shadow_price: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("curve_points",)
    CURVE_POINTS_FIELD_NUMBER: _ClassVar[int]
    curve_points: int
    def __init__(self, curve_points: _Optional[int] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "curve", "operating_point", "price_version", "price_set_by", "presets")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PRICE_SET_BY_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    curve: _containers.RepeatedCompositeFieldContainer[CurvePoint]
    operating_point: CurvePoint
    price_version: str
    price_set_by: _containers.RepeatedScalarFieldContainer[str]
    presets: _containers.RepeatedCompositeFieldContainer[Preset]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., curve: _Optional[_Iterable[_Union[CurvePoint, _Mapping]]] = ..., operating_point: _Optional[_Union[CurvePoint, _Mapping]] = ..., price_version: _Optional[str] = ..., price_set_by: _Optional[_Iterable[str]] = ..., presets: _Optional[_Iterable[_Union[Preset, _Mapping]]] = ...) -> None: ...

class Shadow(_message.Message):
    __slots__ = ("policy", "decisions", "disagreements", "cost_usd", "shadow_cost_usd", "mean_score", "shadow_mean_score")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    SHADOW_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    policy: str
    decisions: int
    disagreements: int
    cost_usd: float
    shadow_cost_usd: float
    mean_score: float
    shadow_mean_score: float
    def __init__(self, policy: _Optional[str] = ..., decisions: _Optional[int] = ..., disagreements: _Optional[int] = ..., cost_usd: _Optional[float] = ..., shadow_cost_usd: _Optional[float] = ..., mean_score: _Optional[float] = ..., shadow_mean_score: _Optional[float] = ...) -> None: ...

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("version", "predictor_version", "predictor_backend", "policy_version", "policies", "max_mean_cost_usd", "shadow_price", "max_prompt_tokens", "max_prompt_chars", "max_batch_prompts", "max_queue", "degraded", "uptime_s", "shadow", "tasks", "price_version", "price_set_by", "corrections", "health", "experiment", "guarantee", "learning", "presets")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_BACKEND_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    MAX_MEAN_COST_USD_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMPT_CHARS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PRICE_SET_BY_FIELD_NUMBER: _ClassVar[int]
    CORRECTIONS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    version: str
    predictor_version: str
    predictor_backend: str
    policy_version: str
    policies: _containers.RepeatedScalarFieldContainer[str]
    max_mean_cost_usd: float
    shadow_price: float
    max_prompt_tokens: int
    max_prompt_chars: int
    max_batch_prompts: int
    max_queue: int
    degraded: bool
    uptime_s: float
    shadow: Shadow
    tasks: _containers.RepeatedScalarFieldContainer[str]
    price_version: str
    price_set_by: _containers.RepeatedScalarFieldContainer[str]
    corrections: Corrections
    health: _health_pb2.Health
    experiment: _trials_pb2.Experiment
    guarantee: _containers.RepeatedCompositeFieldContainer[_trials_pb2.PromiseEvidence]
    learning: _learning_pb2.Learning
    presets: _containers.RepeatedCompositeFieldContainer[Preset]
    def __init__(self, version: _Optional[str] = ..., predictor_version: _Optional[str] = ..., predictor_backend: _Optional[str] = ..., policy_version: _Optional[str] = ..., policies: _Optional[_Iterable[str]] = ..., max_mean_cost_usd: _Optional[float] = ..., shadow_price: _Optional[float] = ..., max_prompt_tokens: _Optional[int] = ..., max_prompt_chars: _Optional[int] = ..., max_batch_prompts: _Optional[int] = ..., max_queue: _Optional[int] = ..., degraded: _Optional[bool] = ..., uptime_s: _Optional[float] = ..., shadow: _Optional[_Union[Shadow, _Mapping]] = ..., tasks: _Optional[_Iterable[str]] = ..., price_version: _Optional[str] = ..., price_set_by: _Optional[_Iterable[str]] = ..., corrections: _Optional[_Union[Corrections, _Mapping]] = ..., health: _Optional[_Union[_health_pb2.Health, _Mapping]] = ..., experiment: _Optional[_Union[_trials_pb2.Experiment, _Mapping]] = ..., guarantee: _Optional[_Iterable[_Union[_trials_pb2.PromiseEvidence, _Mapping]]] = ..., learning: _Optional[_Union[_learning_pb2.Learning, _Mapping]] = ..., presets: _Optional[_Iterable[_Union[Preset, _Mapping]]] = ...) -> None: ...
