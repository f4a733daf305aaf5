from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StayReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAY_REASON_UNSPECIFIED: _ClassVar[StayReason]
    STAY_REASON_TOOL_LOOP: _ClassVar[StayReason]
    STAY_REASON_TIED: _ClassVar[StayReason]
    STAY_REASON_CACHE: _ClassVar[StayReason]
    STAY_REASON_MIN_GAIN: _ClassVar[StayReason]
    STAY_REASON_BEST: _ClassVar[StayReason]

class Rule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RULE_UNSPECIFIED: _ClassVar[Rule]
    RULE_PRICE: _ClassVar[Rule]
    RULE_ONLY_ELIGIBLE: _ClassVar[Rule]
    RULE_BEST_SCORE: _ClassVar[Rule]
    RULE_BATCH_OPTIMUM: _ClassVar[Rule]
    RULE_CHEAPEST: _ClassVar[Rule]
    RULE_THRESHOLD: _ClassVar[Rule]
    RULE_QUALITY_GAP: _ClassVar[Rule]
    RULE_FIXED: _ClassVar[Rule]
    RULE_ROUND_ROBIN: _ClassVar[Rule]
    RULE_FALLBACK: _ClassVar[Rule]
    RULE_GUARANTEE: _ClassVar[Rule]
    RULE_ESCALATED: _ClassVar[Rule]
    RULE_CASCADE: _ClassVar[Rule]
    RULE_UNSURE: _ClassVar[Rule]
    RULE_EXPLORED: _ClassVar[Rule]
    RULE_GUARANTEE_SHARE: _ClassVar[Rule]
    RULE_GUARANTEE_BROKEN: _ClassVar[Rule]
STAY_REASON_UNSPECIFIED: StayReason
STAY_REASON_TOOL_LOOP: StayReason
STAY_REASON_TIED: StayReason
STAY_REASON_CACHE: StayReason
STAY_REASON_MIN_GAIN: StayReason
STAY_REASON_BEST: StayReason
RULE_UNSPECIFIED: Rule
RULE_PRICE: Rule
RULE_ONLY_ELIGIBLE: Rule
RULE_BEST_SCORE: Rule
RULE_BATCH_OPTIMUM: Rule
RULE_CHEAPEST: Rule
RULE_THRESHOLD: Rule
RULE_QUALITY_GAP: Rule
RULE_FIXED: Rule
RULE_ROUND_ROBIN: Rule
RULE_FALLBACK: Rule
RULE_GUARANTEE: Rule
RULE_ESCALATED: Rule
RULE_CASCADE: Rule
RULE_UNSURE: Rule
RULE_EXPLORED: Rule
RULE_GUARANTEE_SHARE: Rule
RULE_GUARANTEE_BROKEN: Rule

class ChatMessage(_message.Message):
    __slots__ = ("role", "content")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class RouteRequest(_message.Message):
    __slots__ = ("request_id", "prompt", "messages", "max_cost_usd", "min_score", "max_latency_ms", "allowed_models", "denied_models", "required_capabilities", "tenant", "session_id", "policy", "expected_output_tokens", "explain", "max_quality_gap", "task", "max_output_tokens", "answers", "added_input_tokens", "current_model", "cached_input_tokens", "latency_percentile")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    DENIED_MODELS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MAX_QUALITY_GAP_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ADDED_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_MODEL_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    prompt: str
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    max_cost_usd: float
    min_score: float
    max_latency_ms: float
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    denied_models: _containers.RepeatedScalarFieldContainer[str]
    required_capabilities: _containers.RepeatedScalarFieldContainer[str]
    tenant: str
    session_id: str
    policy: str
    expected_output_tokens: int
    explain: bool
    max_quality_gap: float
    task: str
    max_output_tokens: int
    answers: int
    added_input_tokens: int
    current_model: str
    cached_input_tokens: int
    latency_percentile: int
    def __init__(self, request_id: _Optional[str] = ..., prompt: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., max_cost_usd: _Optional[float] = ..., min_score: _Optional[float] = ..., max_latency_ms: _Optional[float] = ..., allowed_models: _Optional[_Iterable[str]] = ..., denied_models: _Optional[_Iterable[str]] = ..., required_capabilities: _Optional[_Iterable[str]] = ..., tenant: _Optional[str] = ..., session_id: _Optional[str] = ..., policy: _Optional[str] = ..., expected_output_tokens: _Optional[int] = ..., explain: _Optional[bool] = ..., max_quality_gap: _Optional[float] = ..., task: _Optional[str] = ..., max_output_tokens: _Optional[int] = ..., answers: _Optional[int] = ..., added_input_tokens: _Optional[int] = ..., current_model: _Optional[str] = ..., cached_input_tokens: _Optional[int] = ..., latency_percentile: _Optional[int] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("rule", "binding_constraints", "text")
    RULE_FIELD_NUMBER: _ClassVar[int]
    BINDING_CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    rule: Rule
    binding_constraints: _containers.RepeatedScalarFieldContainer[str]
    text: str
    def __init__(self, rule: _Optional[_Union[Rule, str]] = ..., binding_constraints: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ...) -> None: ...

class Arm(_message.Message):
    __slots__ = ("name", "effort", "thinking_budget_tokens", "max_output_tokens", "service_tier", "body_json", "known")
    class BodyJsonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    THINKING_BUDGET_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    BODY_JSON_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    name: str
    effort: str
    thinking_budget_tokens: int
    max_output_tokens: int
    service_tier: str
    body_json: _containers.ScalarMap[str, str]
    known: bool
    def __init__(self, name: _Optional[str] = ..., effort: _Optional[str] = ..., thinking_budget_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., service_tier: _Optional[str] = ..., body_json: _Optional[_Mapping[str, str]] = ..., known: _Optional[bool] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("model", "predicted_score", "predicted_cost_usd", "predicted_latency_ms", "predicted_output_tokens", "utility", "eligible", "removed_by", "score_std", "evidence", "published_averages", "arm", "percentile_latency_ms")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    UTILITY_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_BY_FIELD_NUMBER: _ClassVar[int]
    SCORE_STD_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AVERAGES_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    model: str
    predicted_score: float
    predicted_cost_usd: float
    predicted_latency_ms: float
    predicted_output_tokens: float
    utility: float
    eligible: bool
    removed_by: str
    score_std: float
    evidence: float
    published_averages: float
    arm: str
    percentile_latency_ms: float
    def __init__(self, model: _Optional[str] = ..., predicted_score: _Optional[float] = ..., predicted_cost_usd: _Optional[float] = ..., predicted_latency_ms: _Optional[float] = ..., predicted_output_tokens: _Optional[float] = ..., utility: _Optional[float] = ..., eligible: _Optional[bool] = ..., removed_by: _Optional[str] = ..., score_std: _Optional[float] = ..., evidence: _Optional[float] = ..., published_averages: _Optional[float] = ..., arm: _Optional[str] = ..., percentile_latency_ms: _Optional[float] = ...) -> None: ...

class Fallback(_message.Message):
    __slots__ = ("model", "arm", "predicted_score", "predicted_cost_usd", "predicted_latency_ms", "max_output_tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    arm: Arm
    predicted_score: float
    predicted_cost_usd: float
    predicted_latency_ms: float
    max_output_tokens: int
    def __init__(self, model: _Optional[str] = ..., arm: _Optional[_Union[Arm, _Mapping]] = ..., predicted_score: _Optional[float] = ..., predicted_cost_usd: _Optional[float] = ..., predicted_latency_ms: _Optional[float] = ..., max_output_tokens: _Optional[int] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue_ns", "tokenize_ns", "predict_ns", "select_ns", "total_ns", "batch_size")
    QUEUE_NS_FIELD_NUMBER: _ClassVar[int]
    TOKENIZE_NS_FIELD_NUMBER: _ClassVar[int]
    PREDICT_NS_FIELD_NUMBER: _ClassVar[int]
    SELECT_NS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    queue_ns: int
    tokenize_ns: int
    predict_ns: int
    select_ns: int
    total_ns: int
    batch_size: int
    def __init__(self, queue_ns: _Optional[int] = ..., tokenize_ns: _Optional[int] = ..., predict_ns: _Optional[int] = ..., select_ns: _Optional[int] = ..., total_ns: _Optional[int] = ..., batch_size: _Optional[int] = ...) -> None: ...

class RouteError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("request_id", "model", "decision_id", "predicted_score", "predicted_cost_usd", "predicted_latency_ms", "candidates", "reason", "shadow_price", "predictor_version", "policy_version", "degraded", "truncated", "timing", "input_tokens", "predicted_output_tokens", "error", "task", "task_confidence", "score_std", "ood", "evidence", "published_averages", "max_output_tokens", "arm", "second_model", "stay_reason", "switch_cost_usd", "session_turns", "session_spent_usd", "unhealthy", "fallbacks", "latency_percentile", "percentile_latency_ms", "propensity", "unexplored_model", "experiment_arm", "learned_version")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    TASK_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SCORE_STD_FIELD_NUMBER: _ClassVar[int]
    OOD_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AVERAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    SECOND_MODEL_FIELD_NUMBER: _ClassVar[int]
    STAY_REASON_FIELD_NUMBER: _ClassVar[int]
    SWITCH_COST_USD_FIELD_NUMBER: _ClassVar[int]
    SESSION_TURNS_FIELD_NUMBER: _ClassVar[int]
    SESSION_SPENT_USD_FIELD_NUMBER: _ClassVar[int]
    UNHEALTHY_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    UNEXPLORED_MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_ARM_FIELD_NUMBER: _ClassVar[int]
    LEARNED_VERSION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    decision_id: str
    predicted_score: float
    predicted_cost_usd: float
    predicted_latency_ms: float
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    reason: Reason
    shadow_price: float
    predictor_version: str
    policy_version: str
    degraded: bool
    truncated: bool
    timing: Timing
    input_tokens: int
    predicted_output_tokens: float
    error: RouteError
    task: str
    task_confidence: float
    score_std: float
    ood: float
    evidence: float
    published_averages: float
    max_output_tokens: int
    arm: Arm
    second_model: str
    stay_reason: StayReason
    switch_cost_usd: float
    session_turns: int
    session_spent_usd: float
    unhealthy: bool
    fallbacks: _containers.RepeatedCompositeFieldContainer[Fallback]
    latency_percentile: int
    percentile_latency_ms: float
    propensity: float
    unexplored_model: str
    experiment_arm: str
    learned_version: str
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., decision_id: _Optional[str] = ..., predicted_score: _Optional[float] = ..., predicted_cost_usd: _Optional[float] = ..., predicted_latency_ms: _Optional[float] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., reason: _Optional[_Union[Reason, _Mapping]] = ..., shadow_price: _Optional[float] = ..., predictor_version: _Optional[str] = ..., policy_version: _Optional[str] = ..., degraded: _Optional[bool] = ..., truncated: _Optional[bool] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., input_tokens: _Optional[int] = ..., predicted_output_tokens: _Optional[float] = ..., error: _Optional[_Union[RouteError, _Mapping]] = ..., task: _Optional[str] = ..., task_confidence: _Optional[float] = ..., score_std: _Optional[float] = ..., ood: _Optional[float] = ..., evidence: _Optional[float] = ..., published_averages: _Optional[float] = ..., max_output_tokens: _Optional[int] = ..., arm: _Optional[_Union[Arm, _Mapping]] = ..., second_model: _Optional[str] = ..., stay_reason: _Optional[_Union[StayReason, str]] = ..., switch_cost_usd: _Optional[float] = ..., session_turns: _Optional[int] = ..., session_spent_usd: _Optional[float] = ..., unhealthy: _Optional[bool] = ..., fallbacks: _Optional[_Iterable[_Union[Fallback, _Mapping]]] = ..., latency_percentile: _Optional[int] = ..., percentile_latency_ms: _Optional[float] = ..., propensity: _Optional[float] = ..., unexplored_model: _Optional[str] = ..., experiment_arm: _Optional[str] = ..., learned_version: _Optional[str] = ...) -> None: ...
