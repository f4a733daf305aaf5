from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailureCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_CAUSE_UNSPECIFIED: _ClassVar[FailureCause]
    FAILURE_CAUSE_RATE_LIMITED: _ClassVar[FailureCause]
    FAILURE_CAUSE_SERVER_ERROR: _ClassVar[FailureCause]
    FAILURE_CAUSE_TIMEOUT: _ClassVar[FailureCause]
    FAILURE_CAUSE_CONNECTION: _ClassVar[FailureCause]
    FAILURE_CAUSE_RESET: _ClassVar[FailureCause]
    FAILURE_CAUSE_CREDENTIALS: _ClassVar[FailureCause]
    FAILURE_CAUSE_GONE: _ClassVar[FailureCause]

class HealthState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_STATE_UNSPECIFIED: _ClassVar[HealthState]
    HEALTH_STATE_CLOSED: _ClassVar[HealthState]
    HEALTH_STATE_OPEN: _ClassVar[HealthState]
    HEALTH_STATE_HALF_OPEN: _ClassVar[HealthState]
    HEALTH_STATE_RISING: _ClassVar[HealthState]
FAILURE_CAUSE_UNSPECIFIED: FailureCause
FAILURE_CAUSE_RATE_LIMITED: FailureCause
FAILURE_CAUSE_SERVER_ERROR: FailureCause
FAILURE_CAUSE_TIMEOUT: FailureCause
FAILURE_CAUSE_CONNECTION: FailureCause
FAILURE_CAUSE_RESET: FailureCause
FAILURE_CAUSE_CREDENTIALS: FailureCause
FAILURE_CAUSE_GONE: FailureCause
HEALTH_STATE_UNSPECIFIED: HealthState
HEALTH_STATE_CLOSED: HealthState
HEALTH_STATE_OPEN: HealthState
HEALTH_STATE_HALF_OPEN: HealthState
HEALTH_STATE_RISING: HealthState

class UnitHealth(_message.Message):
    __slots__ = ("model", "provider", "state", "cause", "since_s", "share", "opened")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    SINCE_S_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    state: HealthState
    cause: FailureCause
    since_s: float
    share: float
    opened: int
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., state: _Optional[_Union[HealthState, str]] = ..., cause: _Optional[_Union[FailureCause, str]] = ..., since_s: _Optional[float] = ..., share: _Optional[float] = ..., opened: _Optional[int] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("enabled", "failing")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    FAILING_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    failing: _containers.RepeatedCompositeFieldContainer[UnitHealth]
    def __init__(self, enabled: _Optional[bool] = ..., failing: _Optional[_Iterable[_Union[UnitHealth, _Mapping]]] = ...) -> None: ...
