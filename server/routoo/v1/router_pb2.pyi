from routoo.v1 import batch_pb2 as _batch_pb2
from routoo.v1 import budget_pb2 as _budget_pb2
from routoo.v1 import info_pb2 as _info_pb2
from routoo.v1 import outcome_pb2 as _outcome_pb2
from routoo.v1 import route_pb2 as _route_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
