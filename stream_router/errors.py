"""Everything this package raises on purpose. A restart mends those marked with *: a supervisor may start again.

StreamRouterError               exit code 1
├── SettingError                2   a flag, variable or file entry that cannot be used
├── PolicyError                 2   a policy file that is refused
├── SplitError                  2   a split document that is refused
├── HeaderError                 1   a routing header that is missing or malformed
├── DecodeError                 1   bytes that are not what their topic declares
├── LaneError                   1   a record that its lane's topic cannot hold
├── DeadLetterLimitError        1   too many dead letters in a row or in proportion
├── GapError                    1   records that were deleted before they were read
├── TopicError                  1   a topic that is missing or differs from its declaration
├── ModelError                  2   a model that cannot be loaded, or a version that the lane refuses
├── FencedError               * 1   another process has our identity, or we were away too long
├── AuditError                  7   an audit that has found faults of the routers
├── RefusedError                1   a command that the rollout's phase, or somebody's newer one, does not allow
├── NoAnswerError               4   nothing has come of it in time
├── ReplayError                 7   a replay that gives other verdicts than were recorded
├── LocalStackError             1   the local Kafka or Valkey does not start or stop
├── RollbackExpectedError       1   the demo ended without the rollback it exists to show
└── UnreachableError          * 6   a server does not answer
    └── KeyContentError         1   a Redis key of the route holds what we did not write
"""

from typing import ClassVar


class StreamRouterError(Exception):
    """Base of all that this package raises on purpose.

    `exit_code` is what the command line ends with; `restart_mends` says whether the same command, started again, can
    go on where this one ended, with nothing else changed.
    """

    exit_code: ClassVar[int] = 1
    restart_mends: ClassVar[bool] = False


class SettingError(StreamRouterError):
    exit_code = 2


class PolicyError(StreamRouterError):
    exit_code = 2


class SplitError(StreamRouterError):
    exit_code = 2


class HeaderError(StreamRouterError):
    pass


class DecodeError(StreamRouterError):
    pass


class LaneError(StreamRouterError):
    pass


class DeadLetterLimitError(StreamRouterError):
    pass


class GapError(StreamRouterError):
    pass


class TopicError(StreamRouterError):
    pass


class ModelError(StreamRouterError):
    exit_code = 2


class FencedError(StreamRouterError):
    restart_mends = True


class AuditError(StreamRouterError):
    exit_code = 7


class RefusedError(StreamRouterError):
    pass


class NoAnswerError(StreamRouterError):
    exit_code = 4


class ReplayError(StreamRouterError):
    exit_code = 7


class LocalStackError(StreamRouterError):
    pass


class RollbackExpectedError(StreamRouterError):
    pass


class UnreachableError(StreamRouterError):
    exit_code = 6
    restart_mends = True


class KeyContentError(UnreachableError):
    exit_code = 1
    restart_mends = False
