"""What training leaves behind: a run, and its record as plain data."""

from coursekit.runs.bundled import bundled_run
from coursekit.runs.environment import describe_environment
from coursekit.runs.record import decode_record, encode_record
from coursekit.runs.run import INTERRUPTED, Run

__all__ = [
    "INTERRUPTED",
    "Run",
    "bundled_run",
    "decode_record",
    "describe_environment",
    "encode_record",
]
