"""The part of the command table about single records: marks, verdicts, turns, metrics, logs. `cream_tui.cli` adds it.

Knows names, options and help texts. Must not know what a command does.
"""

from __future__ import annotations

from cream_tui.options import (
    AddedTags,
    AsJson,
    Before,
    Clear,
    First,
    Flag,
    Follow,
    Iteration,
    Last,
    MetricNames,
    NoteText,
    OfStage,
    Pin,
    PromptId,
    QueuedRun,
    RemovedTags,
    Run,
    Store,
    VerdictWord,
)


def queue(
    run: QueuedRun = None,
    first: First = False,
    last: Last = False,
    before: Before = None,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Show which runs work and wait, or let one wait elsewhere.

    A run that was started with --queue works once fewer than $CREAM_SLOTS (else 1) runs of this machine go before it.

    \b
    Examples
      cream-tui queue
      cream-tui queue sandbox-2 --first
    """
    from cream_tui.commands import queue as command

    return command.queue(store, run, command.Move(first, last, before), as_json=json)


def mark(
    run: Run,
    tag: AddedTags = None,
    untag: RemovedTags = None,
    note: NoteText = None,
    pin: Pin = None,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Tag a run, note something about it, make it the baseline.

    Without an option it prints what is there.

    \b
    Examples
      cream-tui mark sandbox --tag promising --note "beta 0.5 next"
      cream-tui mark sandbox --pin
    """
    from cream_tui.commands import mark as command

    marks = command.Marks(tuple(tag or ()), tuple(untag or ()), note, pin)
    return command.mark(store, run, marks, as_json=json)


def judge(
    run: Run,
    prompt: PromptId,
    verdict: VerdictWord = None,
    iteration: Iteration = None,
    flag: Flag = None,
    note: NoteText = None,
    clear: Clear = False,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Say what you think of a pair that the model labelled for itself.

    agree: the chosen response is the better one; swap: the rejected one is. What is said can be changed at any time,
    is exported by export --what verdicts, and corrects the pairs of fork --use-verdicts.

    \b
    Examples
      cream-tui judge sandbox p3f2a swap --iteration 2
      cream-tui judge sandbox 12 --flag --note "both miss the unit"
    """
    from cream_tui.commands import judge as command

    judgement = command.Judgement(verdict, flag, note)
    return command.judge(store, run, prompt, judgement, iteration=iteration, is_cleared=clear, as_json=json)


def metrics(run: Run = "latest", names: MetricNames = None, store: Store = None, json: AsJson = False) -> int:
    """Print a run's metrics; without a name, which there are.

    \b
    Examples
      cream-tui metrics latest
      cream-tui metrics sandbox loss z --json
    """
    from cream_tui.commands import metrics as command

    return command.metrics(store, run, tuple(names or ()), as_json=json)


def logs(run: Run = "latest", follow: Follow = False, stage: OfStage = None, store: Store = None) -> int:
    """Print the newest log of a run; Ctrl-C ends only the view.

    \b
    Examples
      cream-tui logs latest -f
      cream-tui logs sandbox --stage "train M2"
    """
    from cream_tui.commands import logs as command

    return command.logs(store, run, stage, is_followed=follow)
