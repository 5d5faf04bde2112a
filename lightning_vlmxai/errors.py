"""The exceptions of the package.

```
VLMExplainError                 everything that this package raises on purpose
├── ConfigurationError          an argument or the environment is wrong (also a ValueError)
├── ProbeError                  the data set can't give probes, labels or pixels
├── AttributionError            the model can't be explained as asked
│   └── ModelChangedError       the model's own forward changed its parameters
└── JudgeError                  the judge can't be used, or failed where `on_judge_error="raise"`
```

Every message reads: ``Expected `{argument}` to be {rule}, got {value}. {Remedy}.``
"""


class VLMExplainError(Exception):
    """Base of every exception that this package raises on purpose."""


class ConfigurationError(VLMExplainError, ValueError):
    """An argument or the environment is wrong; the message says what to change."""


class ProbeError(VLMExplainError):
    """The data set can't give probes, labels or pixels; the message says what to change."""


class AttributionError(VLMExplainError):
    """The model can't be explained as asked; the message says what to change."""


class ModelChangedError(AttributionError):
    """The model's own forward changed its parameters; never passed over, for training is harmed."""


class JudgeError(VLMExplainError):
    """The judge can't be used, or failed where failures were asked to be raised."""


def expected(argument: str, rule: str, got: object, remedy: str) -> str:
    """Return the one sentence form that every error message of the package has.

    Args:
        argument: Name of what is wrong.
        rule: What it should be, as the end of "Expected ... to be".
        got: What was found.
        remedy: What the reader should change, without a full stop.

    Example:
        >>> expected("lag", "at least 0", -1, "Pass lag=1")
        'Expected `lag` to be at least 0, got -1. Pass lag=1.'
    """
    return f"Expected `{argument}` to be {rule}, got {got}. {remedy}."
