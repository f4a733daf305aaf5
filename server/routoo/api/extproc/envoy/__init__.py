"""The few messages of Envoy's API that the processor reads and writes, made from the protos here.

``ext_proc_pb2`` are those of external processors, ``access_log_pb2`` those of the access log,
``base_pb2`` what both share. Packages that carry Envoy's whole API install their modules over each
other, and over those of OpenTelemetry.
"""
