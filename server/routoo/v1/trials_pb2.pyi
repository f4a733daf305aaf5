from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Interval(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class ExperimentArm(_message.Message):
    __slots__ = ("decisions", "graded", "mean_score", "score_bounds", "booked", "mean_cost_usd")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    GRADED_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SCORE_BOUNDS_FIELD_NUMBER: _ClassVar[int]
    BOOKED_FIELD_NUMBER: _ClassVar[int]
    MEAN_COST_USD_FIELD_NUMBER: _ClassVar[int]
    decisions: int
    graded: int
    mean_score: float
    score_bounds: Interval
    booked: int
    mean_cost_usd: float
    def __init__(self, decisions: _Optional[int] = ..., graded: _Optional[int] = ..., mean_score: _Optional[float] = ..., score_bounds: _Optional[_Union[Interval, _Mapping]] = ..., booked: _Optional[int] = ..., mean_cost_usd: _Optional[float] = ...) -> None: ...

class ExperimentShadow(_message.Message):
    __slots__ = ("decisions", "disagreements", "failed", "mean_score", "candidate_mean_score", "mean_cost_usd", "candidate_mean_cost_usd")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MEAN_COST_USD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_MEAN_COST_USD_FIELD_NUMBER: _ClassVar[int]
    decisions: int
    disagreements: int
    failed: int
    mean_score: float
    candidate_mean_score: float
    mean_cost_usd: float
    candidate_mean_cost_usd: float
    def __init__(self, decisions: _Optional[int] = ..., disagreements: _Optional[int] = ..., failed: _Optional[int] = ..., mean_score: _Optional[float] = ..., candidate_mean_score: _Optional[float] = ..., mean_cost_usd: _Optional[float] = ..., candidate_mean_cost_usd: _Optional[float] = ...) -> None: ...

class Experiment(_message.Message):
    __slots__ = ("name", "candidate", "share", "by", "alpha", "control", "candidate_arm", "score_difference", "cost_difference_usd", "verdict", "reverted", "in_shadow", "shadow")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_ARM_FIELD_NUMBER: _ClassVar[int]
    SCORE_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    COST_DIFFERENCE_USD_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REVERTED_FIELD_NUMBER: _ClassVar[int]
    IN_SHADOW_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    candidate: str
    share: float
    by: str
    alpha: float
    control: ExperimentArm
    candidate_arm: ExperimentArm
    score_difference: Interval
    cost_difference_usd: Interval
    verdict: str
    reverted: bool
    in_shadow: bool
    shadow: ExperimentShadow
    def __init__(self, name: _Optional[str] = ..., candidate: _Optional[str] = ..., share: _Optional[float] = ..., by: _Optional[str] = ..., alpha: _Optional[float] = ..., control: _Optional[_Union[ExperimentArm, _Mapping]] = ..., candidate_arm: _Optional[_Union[ExperimentArm, _Mapping]] = ..., score_difference: _Optional[_Union[Interval, _Mapping]] = ..., cost_difference_usd: _Optional[_Union[Interval, _Mapping]] = ..., verdict: _Optional[str] = ..., reverted: _Optional[bool] = ..., in_shadow: _Optional[bool] = ..., shadow: _Optional[_Union[ExperimentShadow, _Mapping]] = ...) -> None: ...

class PromiseEvidence(_message.Message):
    __slots__ = ("tenant", "task", "graded", "mean_drop", "e_value", "broken")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    GRADED_FIELD_NUMBER: _ClassVar[int]
    MEAN_DROP_FIELD_NUMBER: _ClassVar[int]
    E_VALUE_FIELD_NUMBER: _ClassVar[int]
    BROKEN_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    task: str
    graded: int
    mean_drop: float
    e_value: float
    broken: bool
    def __init__(self, tenant: _Optional[str] = ..., task: _Optional[str] = ..., graded: _Optional[int] = ..., mean_drop: _Optional[float] = ..., e_value: _Optional[float] = ..., broken: _Optional[bool] = ...) -> None: ...
