"""Every failure a user can meet, and the exit code it ends with.

    LcdocError                1  run-time failure
    |-- UsageError            2  bad option, bad combination, bad configuration
    |-- DocumentError         3  unreadable, empty or unsupported document
    |-- DoesNotFitError       4  more tokens or bytes than the model or the budget allows
    `-- ModelError            1  model missing, broken or not supported

Interrupts end with 130 and a closed pipe with 141; neither is an error of lcdoc's.
"""


class LcdocError(Exception):
    """A failure with one clear line for the user: the value, the limit, and what to do next."""

    exit_code = 1


class UsageError(LcdocError):
    exit_code = 2


class DocumentError(LcdocError):
    exit_code = 3


class DoesNotFitError(LcdocError):
    exit_code = 4


class ModelError(LcdocError):
    exit_code = 1
