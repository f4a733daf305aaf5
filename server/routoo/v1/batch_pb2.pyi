from routoo.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteBatchRequest(_message.Message):
    __slots__ = ("requests", "budget_usd", "min_mean_score", "score_per_usd", "max_requests", "max_tokens", "max_mean_latency_ms", "tenant_budgets_usd", "score_std_weight", "dry_run")
    class MaxRequestsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class MaxTokensEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class TenantBudgetsUsdEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_USD_FIELD_NUMBER: _ClassVar[int]
    MIN_MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SCORE_PER_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEAN_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    TENANT_BUDGETS_USD_FIELD_NUMBER: _ClassVar[int]
    SCORE_STD_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[_route_pb2.RouteRequest]
    budget_usd: float
    min_mean_score: float
    score_per_usd: float
    max_requests: _containers.ScalarMap[str, int]
    max_tokens: _containers.ScalarMap[str, int]
    max_mean_latency_ms: float
    tenant_budgets_usd: _containers.ScalarMap[str, float]
    score_std_weight: float
    dry_run: bool
    def __init__(self, requests: _Optional[_Iterable[_Union[_route_pb2.RouteRequest, _Mapping]]] = ..., budget_usd: _Optional[float] = ..., min_mean_score: _Optional[float] = ..., score_per_usd: _Optional[float] = ..., max_requests: _Optional[_Mapping[str, int]] = ..., max_tokens: _Optional[_Mapping[str, int]] = ..., max_mean_latency_ms: _Optional[float] = ..., tenant_budgets_usd: _Optional[_Mapping[str, float]] = ..., score_std_weight: _Optional[float] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RouteBatchResponse(_message.Message):
    __slots__ = ("responses", "total_predicted_cost_usd", "mean_predicted_score", "bound", "gap", "shadow_price", "binding_constraints", "timing")
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_PREDICTED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MEAN_PREDICTED_SCORE_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    BINDING_CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[_route_pb2.RouteResponse]
    total_predicted_cost_usd: float
    mean_predicted_score: float
    bound: float
    gap: float
    shadow_price: float
    binding_constraints: _containers.RepeatedScalarFieldContainer[str]
    timing: _route_pb2.Timing
    def __init__(self, responses: _Optional[_Iterable[_Union[_route_pb2.RouteResponse, _Mapping]]] = ..., total_predicted_cost_usd: _Optional[float] = ..., mean_predicted_score: _Optional[float] = ..., bound: _Optional[float] = ..., gap: _Optional[float] = ..., shadow_price: _Optional[float] = ..., binding_constraints: _Optional[_Iterable[str]] = ..., timing: _Optional[_Union[_route_pb2.Timing, _Mapping]] = ...) -> None: ...

class FrontierRequest(_message.Message):
    __slots__ = ("requests", "max_points", "score_std_weight")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_POINTS_FIELD_NUMBER: _ClassVar[int]
    SCORE_STD_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[_route_pb2.RouteRequest]
    max_points: int
    score_std_weight: float
    def __init__(self, requests: _Optional[_Iterable[_Union[_route_pb2.RouteRequest, _Mapping]]] = ..., max_points: _Optional[int] = ..., score_std_weight: _Optional[float] = ...) -> None: ...

class FrontierResponse(_message.Message):
    __slots__ = ("total_cost_usd", "mean_score", "shadow_price", "timing")
    TOTAL_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    total_cost_usd: _containers.RepeatedScalarFieldContainer[float]
    mean_score: _containers.RepeatedScalarFieldContainer[float]
    shadow_price: _containers.RepeatedScalarFieldContainer[float]
    timing: _route_pb2.Timing
    def __init__(self, total_cost_usd: _Optional[_Iterable[float]] = ..., mean_score: _Optional[_Iterable[float]] = ..., shadow_price: _Optional[_Iterable[float]] = ..., timing: _Optional[_Union[_route_pb2.Timing, _Mapping]] = ...) -> None: ...
