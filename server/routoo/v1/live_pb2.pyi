from routoo.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LiveDecision(_message.Message):
    __slots__ = ("number", "decision_id", "time", "tenant", "model", "policy", "rule", "refused", "task", "task_confidence", "predicted_score", "score_std", "predicted_cost_usd", "predicted_latency_ms", "shadow_price", "priced_by", "degraded", "joint", "prompt")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    TASK_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    SCORE_STD_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    PRICED_BY_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    JOINT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    number: int
    decision_id: str
    time: str
    tenant: str
    model: str
    policy: str
    rule: _route_pb2.Rule
    refused: str
    task: str
    task_confidence: float
    predicted_score: float
    score_std: float
    predicted_cost_usd: float
    predicted_latency_ms: float
    shadow_price: float
    priced_by: _containers.RepeatedScalarFieldContainer[str]
    degraded: bool
    joint: bool
    prompt: str
    def __init__(self, number: _Optional[int] = ..., decision_id: _Optional[str] = ..., time: _Optional[str] = ..., tenant: _Optional[str] = ..., model: _Optional[str] = ..., policy: _Optional[str] = ..., rule: _Optional[_Union[_route_pb2.Rule, str]] = ..., refused: _Optional[str] = ..., task: _Optional[str] = ..., task_confidence: _Optional[float] = ..., predicted_score: _Optional[float] = ..., score_std: _Optional[float] = ..., predicted_cost_usd: _Optional[float] = ..., predicted_latency_ms: _Optional[float] = ..., shadow_price: _Optional[float] = ..., priced_by: _Optional[_Iterable[str]] = ..., degraded: _Optional[bool] = ..., joint: _Optional[bool] = ..., prompt: _Optional[str] = ...) -> None: ...

class DecisionTotals(_message.Message):
    __slots__ = ("decisions", "refused", "predicted_cost_usd", "mean_predicted_score", "best_model", "best_cost_usd", "best_mean_score", "models")
    class ModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MEAN_PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    BEST_MODEL_FIELD_NUMBER: _ClassVar[int]
    BEST_COST_USD_FIELD_NUMBER: _ClassVar[int]
    BEST_MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    decisions: int
    refused: int
    predicted_cost_usd: float
    mean_predicted_score: float
    best_model: str
    best_cost_usd: float
    best_mean_score: float
    models: _containers.ScalarMap[str, int]
    def __init__(self, decisions: _Optional[int] = ..., refused: _Optional[int] = ..., predicted_cost_usd: _Optional[float] = ..., mean_predicted_score: _Optional[float] = ..., best_model: _Optional[str] = ..., best_cost_usd: _Optional[float] = ..., best_mean_score: _Optional[float] = ..., models: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: int
    limit: int
    def __init__(self, after: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListDecisionsResponse(_message.Message):
    __slots__ = ("decisions", "totals", "workers", "has_prompts")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    HAS_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[LiveDecision]
    totals: DecisionTotals
    workers: int
    has_prompts: bool
    def __init__(self, decisions: _Optional[_Iterable[_Union[LiveDecision, _Mapping]]] = ..., totals: _Optional[_Union[DecisionTotals, _Mapping]] = ..., workers: _Optional[int] = ..., has_prompts: _Optional[bool] = ...) -> None: ...

class ComparePoliciesRequest(_message.Message):
    __slots__ = ("policy", "other_policy", "requests")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    OTHER_POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    other_policy: str
    requests: _containers.RepeatedCompositeFieldContainer[_route_pb2.RouteRequest]
    def __init__(self, policy: _Optional[str] = ..., other_policy: _Optional[str] = ..., requests: _Optional[_Iterable[_Union[_route_pb2.RouteRequest, _Mapping]]] = ...) -> None: ...

class PolicySide(_message.Message):
    __slots__ = ("policy", "totals")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    totals: DecisionTotals
    def __init__(self, policy: _Optional[str] = ..., totals: _Optional[_Union[DecisionTotals, _Mapping]] = ...) -> None: ...

class PolicyDifference(_message.Message):
    __slots__ = ("decision_id", "model", "predicted_score", "predicted_cost_usd", "other_model", "other_predicted_score", "other_predicted_cost_usd", "prompt")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    OTHER_MODEL_FIELD_NUMBER: _ClassVar[int]
    OTHER_PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    OTHER_PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    model: str
    predicted_score: float
    predicted_cost_usd: float
    other_model: str
    other_predicted_score: float
    other_predicted_cost_usd: float
    prompt: str
    def __init__(self, decision_id: _Optional[str] = ..., model: _Optional[str] = ..., predicted_score: _Optional[float] = ..., predicted_cost_usd: _Optional[float] = ..., other_model: _Optional[str] = ..., other_predicted_score: _Optional[float] = ..., other_predicted_cost_usd: _Optional[float] = ..., prompt: _Optional[str] = ...) -> None: ...

class ComparePoliciesResponse(_message.Message):
    __slots__ = ("side", "other_side", "same", "differences")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    OTHER_SIDE_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    side: PolicySide
    other_side: PolicySide
    same: int
    differences: _containers.RepeatedCompositeFieldContainer[PolicyDifference]
    def __init__(self, side: _Optional[_Union[PolicySide, _Mapping]] = ..., other_side: _Optional[_Union[PolicySide, _Mapping]] = ..., same: _Optional[int] = ..., differences: _Optional[_Iterable[_Union[PolicyDifference, _Mapping]]] = ...) -> None: ...
