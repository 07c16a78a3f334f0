"""The command `stream-router`: one module a command, imported when it is called."""

from stream_router.cli.group import LazyGroup

COMMANDS = {
    "route": "Split requests between the stable and the canary lane.",
    "score": "Score one lane with a model.",
    "monitor": "Join predictions with the truth, judge the canary, roll it back.",
    "split": "Show the split in force, or set one and wait until all routers obey it.",
    "rollout": "Carry a model version to everybody, or back: start, pause, approve, promote, abort, undo.",
    "audit": "Check that every request is in the right lane, once and in order.",
    "verdicts": "Show every verdict on a rollout, and check it against the evidence.",
    "backtest": "Say what another policy would have decided on the recorded evidence.",
    "plan": "Say how long a rollout will take, and what it exposes.",
    "policy": "Check and show what a rollout is judged by and how it goes forward.",
    "topics": "Create, check and list a route's topics.",
    "local": "Start and stop a local Kafka and Valkey.",
    "demo": "Show a bad model caught and rolled back.",
}
"""Each name is the module in this package whose `command` is run."""

main = LazyGroup(
    name="stream-router",
    commands=COMMANDS,
    package="stream_router.cli",
    help="Canary releases for ML models over Kafka: a sticky weighted split, delayed ground truth, automatic rollback.",
    epilog="\b\nExamples:\n  stream-router demo\n  stream-router topics apply --route flights",
)

__all__ = ["main"]
