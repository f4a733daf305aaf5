from routoo.v1 import health_pb2 as _health_pb2
from routoo.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPORT_RESULT_UNSPECIFIED: _ClassVar[ReportResult]
    REPORT_RESULT_BOOKED: _ClassVar[ReportResult]
    REPORT_RESULT_COUNTED: _ClassVar[ReportResult]
    REPORT_RESULT_COUNTED_TOO_LATE_FOR_BUDGETS: _ClassVar[ReportResult]
    REPORT_RESULT_UNKNOWN_DECISION: _ClassVar[ReportResult]
    REPORT_RESULT_REPORTED_BEFORE: _ClassVar[ReportResult]
    REPORT_RESULT_TOO_LATE: _ClassVar[ReportResult]
    REPORT_RESULT_NOTHING_TOLD: _ClassVar[ReportResult]
    REPORT_RESULT_COST_NEEDED: _ClassVar[ReportResult]
REPORT_RESULT_UNSPECIFIED: ReportResult
REPORT_RESULT_BOOKED: ReportResult
REPORT_RESULT_COUNTED: ReportResult
REPORT_RESULT_COUNTED_TOO_LATE_FOR_BUDGETS: ReportResult
REPORT_RESULT_UNKNOWN_DECISION: ReportResult
REPORT_RESULT_REPORTED_BEFORE: ReportResult
REPORT_RESULT_TOO_LATE: ReportResult
REPORT_RESULT_NOTHING_TOLD: ReportResult
REPORT_RESULT_COST_NEEDED: ReportResult

class ReportOutcomeRequest(_message.Message):
    __slots__ = ("decision_id", "model", "score", "cost_usd", "input_tokens", "output_tokens", "latency_ms", "error", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens", "audio_input_tokens", "image_input_tokens", "video_input_tokens", "audio_output_tokens", "images", "service_tier", "status_code", "retry_after_s", "failure", "time_to_first_token_ms", "reason_code")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_1H_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    VIDEO_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    model: str
    score: float
    cost_usd: float
    input_tokens: int
    output_tokens: int
    latency_ms: float
    error: str
    cached_input_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    image_input_tokens: int
    video_input_tokens: int
    audio_output_tokens: int
    images: int
    service_tier: str
    status_code: int
    retry_after_s: float
    failure: _health_pb2.FailureCause
    time_to_first_token_ms: float
    reason_code: str
    def __init__(self, decision_id: _Optional[str] = ..., model: _Optional[str] = ..., score: _Optional[float] = ..., cost_usd: _Optional[float] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., latency_ms: _Optional[float] = ..., error: _Optional[str] = ..., cached_input_tokens: _Optional[int] = ..., cache_write_tokens: _Optional[int] = ..., cache_write_1h_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., audio_input_tokens: _Optional[int] = ..., image_input_tokens: _Optional[int] = ..., video_input_tokens: _Optional[int] = ..., audio_output_tokens: _Optional[int] = ..., images: _Optional[int] = ..., service_tier: _Optional[str] = ..., status_code: _Optional[int] = ..., retry_after_s: _Optional[float] = ..., failure: _Optional[_Union[_health_pb2.FailureCause, str]] = ..., time_to_first_token_ms: _Optional[float] = ..., reason_code: _Optional[str] = ...) -> None: ...

class ReportOutcomeResponse(_message.Message):
    __slots__ = ("accepted", "result")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    result: ReportResult
    def __init__(self, accepted: _Optional[bool] = ..., result: _Optional[_Union[ReportResult, str]] = ...) -> None: ...

class EscalateRequest(_message.Message):
    __slots__ = ("decision_id", "min_score", "max_cost_usd", "margin", "logprobs", "agreement", "check", "answered_models")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_MODELS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    min_score: float
    max_cost_usd: float
    margin: float
    logprobs: TokenLogprobs
    agreement: float
    check: float
    answered_models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decision_id: _Optional[str] = ..., min_score: _Optional[float] = ..., max_cost_usd: _Optional[float] = ..., margin: _Optional[float] = ..., logprobs: _Optional[_Union[TokenLogprobs, _Mapping]] = ..., agreement: _Optional[float] = ..., check: _Optional[float] = ..., answered_models: _Optional[_Iterable[str]] = ...) -> None: ...

class TokenLogprobs(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class EscalateResponse(_message.Message):
    __slots__ = ("response", "kept_score", "expected_gain", "extra_cost_usd", "price", "reason", "second_model")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    KEPT_SCORE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GAIN_FIELD_NUMBER: _ClassVar[int]
    EXTRA_COST_USD_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SECOND_MODEL_FIELD_NUMBER: _ClassVar[int]
    response: _route_pb2.RouteResponse
    kept_score: float
    expected_gain: float
    extra_cost_usd: float
    price: float
    reason: str
    second_model: str
    def __init__(self, response: _Optional[_Union[_route_pb2.RouteResponse, _Mapping]] = ..., kept_score: _Optional[float] = ..., expected_gain: _Optional[float] = ..., extra_cost_usd: _Optional[float] = ..., price: _Optional[float] = ..., reason: _Optional[str] = ..., second_model: _Optional[str] = ...) -> None: ...
