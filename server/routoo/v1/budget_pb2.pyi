from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Budget(_message.Message):
    __slots__ = ("name", "tenant", "limit_usd", "reserved_usd", "settled_usd", "period_s", "period_left_s", "shadow_price", "degraded", "overdraft_usd", "granted_requests", "reported_usd", "reported_reserved_usd", "unreported_requests", "capped_reports", "capped_usd")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_USD_FIELD_NUMBER: _ClassVar[int]
    RESERVED_USD_FIELD_NUMBER: _ClassVar[int]
    SETTLED_USD_FIELD_NUMBER: _ClassVar[int]
    PERIOD_S_FIELD_NUMBER: _ClassVar[int]
    PERIOD_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PRICE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    OVERDRAFT_USD_FIELD_NUMBER: _ClassVar[int]
    GRANTED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_USD_FIELD_NUMBER: _ClassVar[int]
    REPORTED_RESERVED_USD_FIELD_NUMBER: _ClassVar[int]
    UNREPORTED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CAPPED_REPORTS_FIELD_NUMBER: _ClassVar[int]
    CAPPED_USD_FIELD_NUMBER: _ClassVar[int]
    name: str
    tenant: str
    limit_usd: float
    reserved_usd: float
    settled_usd: float
    period_s: float
    period_left_s: float
    shadow_price: float
    degraded: bool
    overdraft_usd: float
    granted_requests: int
    reported_usd: float
    reported_reserved_usd: float
    unreported_requests: int
    capped_reports: int
    capped_usd: float
    def __init__(self, name: _Optional[str] = ..., tenant: _Optional[str] = ..., limit_usd: _Optional[float] = ..., reserved_usd: _Optional[float] = ..., settled_usd: _Optional[float] = ..., period_s: _Optional[float] = ..., period_left_s: _Optional[float] = ..., shadow_price: _Optional[float] = ..., degraded: _Optional[bool] = ..., overdraft_usd: _Optional[float] = ..., granted_requests: _Optional[int] = ..., reported_usd: _Optional[float] = ..., reported_reserved_usd: _Optional[float] = ..., unreported_requests: _Optional[int] = ..., capped_reports: _Optional[int] = ..., capped_usd: _Optional[float] = ...) -> None: ...

class GetBudgetRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class GetBudgetResponse(_message.Message):
    __slots__ = ("budgets",)
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    def __init__(self, budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ...) -> None: ...
