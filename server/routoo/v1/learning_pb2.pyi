from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Learning(_message.Message):
    __slots__ = ("enabled", "version", "frozen", "generation", "reports")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    version: str
    frozen: bool
    generation: int
    reports: int
    def __init__(self, enabled: _Optional[bool] = ..., version: _Optional[str] = ..., frozen: _Optional[bool] = ..., generation: _Optional[int] = ..., reports: _Optional[int] = ...) -> None: ...

class LearnedScore(_message.Message):
    __slots__ = ("reports", "logit_offset", "logit_std", "jumps", "tasks")
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    LOGIT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LOGIT_STD_FIELD_NUMBER: _ClassVar[int]
    JUMPS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    reports: int
    logit_offset: float
    logit_std: float
    jumps: int
    tasks: _containers.RepeatedCompositeFieldContainer[TaskScore]
    def __init__(self, reports: _Optional[int] = ..., logit_offset: _Optional[float] = ..., logit_std: _Optional[float] = ..., jumps: _Optional[int] = ..., tasks: _Optional[_Iterable[_Union[TaskScore, _Mapping]]] = ...) -> None: ...

class TaskScore(_message.Message):
    __slots__ = ("task", "logit_offset")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LOGIT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    task: str
    logit_offset: float
    def __init__(self, task: _Optional[str] = ..., logit_offset: _Optional[float] = ...) -> None: ...
