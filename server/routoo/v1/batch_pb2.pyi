from routoo.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteBatchRequest(_message.Message):
    __slots__ = ("requests", "budget_usd", "min_mean_score")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_USD_FIELD_NUMBER: _ClassVar[int]
    MIN_MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[_route_pb2.RouteRequest]
    budget_usd: float
    min_mean_score: float
    def __init__(self, requests: _Optional[_Iterable[_Union[_route_pb2.RouteRequest, _Mapping]]] = ..., budget_usd: _Optional[float] = ..., min_mean_score: _Optional[float] = ...) -> None: ...

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
