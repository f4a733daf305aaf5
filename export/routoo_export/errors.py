"""Errors of the trainer, each with a message that names the remedy.

ExportError
├── OutcomeError      the outcome data do not fit; names file and row
├── CatalogueError    the catalogue, or what is said of a new model, does not fit
├── GradingError      answers cannot be got or graded; names what to do
├── CheckpointError   a trained checkpoint is missing or of another shape
└── ParityError       the exported graph does not compute what was trained
"""


class ExportError(Exception):
    """Base of all errors that a command reports in one line."""


class OutcomeError(ExportError):
    """The outcome data do not fit the contract."""


class CatalogueError(ExportError):
    """The catalogue cannot be read, or the evidence for a new model does not fit it."""


class GradingError(ExportError):
    """Answers cannot be had, paid or graded."""


class CheckpointError(ExportError):
    """A checkpoint cannot be read."""


class ParityError(ExportError):
    """The ONNX graph and the torch model disagree."""
