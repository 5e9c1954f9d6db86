"""A pair as styled text: facts, both sides with their different words, the verdict line, the ranks, history, agreement.

Knows Textual's Content, which parses no markup here. Must not know widgets. Whatever comes from a model or a data set
passes ``make_visible``. What is told by colour is told by a line under or through the words, too, and by brackets
where there are no colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_interval, format_number, format_percent, format_signed, format_tokens
from cream_tui.views.pair_judging import JudgingSummary, Mark, Share, describe_mark
from cream_tui.views.pair_ranks import (
    STAND_IN_ITERATION,
    RankRow,
    format_orders,
    is_ranked_otherwise,
    is_turned,
    list_warnings,
    name_response,
)
from cream_tui.word_diff import Side, Span, WordDiff
from db.pair_browse import PairView
from db.pair_detail import PairDetail, PromptAnswer, ScoredResponse

DIM = "$foreground 60%"
KEY = "$primary bold"
LABEL_WORDS = {
    "right": ("✓ label right", "$success bold"),
    "wrong": ("✗ label wrong", "$error bold"),
    "both_right": ("both right", DIM),
    "both_wrong": ("both wrong", DIM),
    "unknown": ("gold unknown", DIM),
}
_CORRECT = {True: ("✓ right", "$success"), False: ("✗ wrong", "$error"), None: ("", "")}
_STYLES = {Side.FIRST: "$success underline", Side.SECOND: "$error strike"}
_BRACKETS = {Side.FIRST: ("{+", "+}"), Side.SECOND: ("{-", "-}")}
Part = tuple[str, str]
_MOST_IN_HISTORY = 2000  # characters of each answer


@dataclass(frozen=True, slots=True)
class Look:
    """How a pair is shown.

    Attributes:
        mode: side, unified or plain.
        has_color: whether words may be told apart by colour.
    """

    is_blind: bool = False
    mode: str = "side"
    has_color: bool = True


@dataclass(frozen=True, slots=True)
class SideText:
    """One of the two responses where it stands: left (first) or right."""

    response: ScoredResponse
    is_chosen: bool


def order_sides(detail: PairDetail, *, is_blind: bool) -> tuple[SideText, SideText] | None:
    """The left and the right response: chosen left, in blind mode by the pair's own coin; None without a pair."""
    view = detail.view
    by_k = {response.k: response for response in detail.responses}
    chosen, rejected = by_k.get(_or_none(view.chosen_k)), by_k.get(_or_none(view.rejected_k))
    if chosen is None or rejected is None:
        return None
    left, right = SideText(chosen, is_chosen=True), SideText(rejected, is_chosen=False)
    return (right, left) if is_blind and is_turned(view.prompt_id, view.iteration) else (left, right)


def build_side(spans: Sequence[Span], look: Look) -> Content:
    """One side with the words that only it has marked."""
    return Content.assemble(*(part for span in spans for part in _mark(span, look)))


def build_unified(diff: WordDiff, look: Look) -> Content:
    """Both sides in one text; of blanks that differ the first side's."""
    parts: list[Part] = []
    before: Span | None = None
    for span in diff.unified:
        if span.side is Side.SECOND and span.text.isspace():
            continue
        is_replacing = before is not None and Side.BOTH not in (before.side, span.side)
        if is_replacing and before is not None and not before.text[-1].isspace() and not span.text[0].isspace():
            parts.append((" ", ""))
        parts += _mark(span, look)
        before = span
    return Content.assemble(*parts)


def build_plain(text: str) -> Content:
    """A foreign text as it is."""
    return Content(make_visible(text, keep_newlines=True))


def describe_side(side: SideText, look: Look, *, is_left: bool) -> str:
    """The title of a side: what it is, how long; our own words and numbers only."""
    response = side.response
    length = format_tokens(response.n_tokens) + (", cut" if response.finish_reason == "length" else "")
    if look.is_blind:
        return f"{'left' if is_left else 'right'}, {length}"
    word = "chosen" if side.is_chosen else "rejected"
    return f"{word} {name_response(response.k)}, {length}, r {format_signed(response.reward)}"


def build_facts(detail: PairDetail, number: int | None, look: Look, *, is_short: bool) -> Content:
    """What the numbers say of the pair, in one line or two; in blind mode only which pair it is."""
    view = detail.view
    name = MISSING if number is None else f"#{number}"
    parts: list[Part] = [(name, "bold"), (f"  M{view.iteration}", ""), (f"  {make_visible(view.prompt_id)}", DIM)]
    if look.is_blind:
        return Content.assemble(*parts, ("  blind: which side is better?", "$warning"))
    if view.skip_reason is not None:
        return Content.assemble(*parts, (f"  no pair: {make_visible(view.skip_reason)}", "$warning"))
    star = "*" if view.iteration == STAND_IN_ITERATION and view.tau_previous is not None else ""
    facts = [
        ("tau", format_signed(view.tau_previous) + star),
        ("anchor", format_signed(view.tau_anchor)),
        ("C", format_number(view.confidence)),
        ("margin", format_signed(view.margin)),
        ("before", format_signed(view.previous_margin) + star),
        ("length", MISSING if view.length_ratio is None else f"x{view.length_ratio:.1f}"),
    ]
    if is_short:
        parts, facts = parts[:2], [fact for fact in facts if fact[0] not in ("anchor", "before")]
    for word, value in facts:
        parts += [(f"  {word} ", DIM), (value, "")]
    return Content.assemble(*parts, ("  ", ""), LABEL_WORDS.get(view.label or "", ("", "")))


def build_gold(detail: PairDetail, look: Look) -> Content:
    """The gold answer and what both sides answered; empty where there is none, or in blind mode."""
    sides = order_sides(detail, is_blind=False)
    if look.is_blind or sides is None or (detail.answer is None and all(s.response.extracted is None for s in sides)):
        return Content("")
    parts: list[Part] = []
    if detail.answer is not None:
        parts += [("gold ", DIM), (make_visible(detail.answer), "bold")]
    for side in sides:
        answer = MISSING if side.response.extracted is None else make_visible(side.response.extracted)
        parts += [(f"   {'chosen' if side.is_chosen else 'rejected'} answers ", DIM), (answer, ""), (" ", "")]
        parts.append(_CORRECT[side.response.correct])
    return Content.assemble(*parts)


def build_verdict(detail: PairDetail, mark: Mark, look: Look) -> Content:
    """What the person said."""
    view = detail.view
    if view.skip_reason is not None:
        return Content.styled("nothing to judge: this prompt made no pair", DIM)
    is_left_chosen = not (look.is_blind and is_turned(view.prompt_id, view.iteration))
    said = describe_mark(mark, is_blind=look.is_blind, is_left_chosen=is_left_chosen)
    parts: list[Part] = [("yours: ", DIM), (said or MISSING, "bold")]
    if mark.is_flagged:
        parts.append(("  ⚑ flagged", "$warning"))
    if mark.note:
        parts += [("  note: ", DIM), (make_visible(mark.note), "")]
    return Content.assemble(*parts)


def build_keys(look: Look) -> Content:
    """What the verdict keys do."""
    keys = [
        ("a", "left" if look.is_blind else "agree"),
        ("s", "right" if look.is_blind else "swap"),
        ("t", "tie"),
        ("x", "both bad"),
        ("u", "unsure"),
        ("f", "flag"),
        ("e", "note"),
    ]
    return Content.assemble(*(part for key, word in keys for part in ((key, KEY), (f" {word}  ", ""))))


def build_warnings(detail: PairDetail, look: Look) -> Content:
    """What to beware of; in blind mode nothing."""
    if look.is_blind or detail.view.skip_reason is not None:
        return Content("")
    return Content.styled("   ".join(f"! {warning}" for warning in list_warnings(detail.view)), "$warning")


def build_diff_facts(diff: WordDiff) -> str:
    """The difference in numbers; our own words only."""
    whole = ", too long to compare" if diff.is_whole else ""
    return f"+{diff.n_first_only} -{diff.n_second_only} words, similarity {diff.similarity:.2f}{whole}"


def build_order_line(rows: Sequence[RankRow], detail: PairDetail) -> Content:
    """Both rankings in one line, for narrow screens."""
    orders = format_orders(rows)
    before = " (by M0's log-likelihood)" if detail.view.iteration == STAND_IN_ITERATION else ""
    return Content.assemble(("now | before ", DIM), (orders or MISSING, ""), (before if "|" in orders else "", DIM))


def build_rank_table(rows: Sequence[RankRow], detail: PairDetail) -> Content:
    """All responses with rank and reward under both models."""
    previous = (detail.previous_scorer or "").removeprefix("implicit:").removeprefix("mean_loglik:")
    is_otherwise, current = is_ranked_otherwise(detail), f"M{detail.view.iteration}"
    place, score = ("now", "reward") if is_otherwise else (current, f"r.{current}")
    lines: list[Content] = [Content.styled(f"    {place:>3}{previous:>4}{score:>8}{'r.' + previous:>8}{'tok':>4}", DIM)]
    for row in rows:
        style = {"chosen": "$success bold", "rejected": "$error bold"}.get(row.role, "")
        rank_style = style if row.current_rank == row.previous_rank or row.previous_rank is None else "$warning"
        notes = (f"= {row.same_as}" if row.same_as else row.role, "" if row.is_policy else "of M1")
        note = ", ".join(filter(None, notes))
        n_tokens = MISSING if row.n_tokens is None else row.n_tokens
        lines.append(
            Content.assemble(
                (f"{row.letter:<4}", style),
                (f"{row.current_rank or MISSING:>3}{row.previous_rank or MISSING:>4}", rank_style),
                (f"{format_signed(row.current):>8}{format_signed(row.previous):>8}{n_tokens:>4} ", ""),
                ("✓ " if row.correct else "✗ " if row.correct is False else "  ", _CORRECT[row.correct][1]),
                (note, style),
            )
        )
    tau = detail.tau_reason or format_signed(detail.view.tau_previous)
    lines.append(
        Content.assemble(
            (f"tau of {current} " if is_otherwise else "tau ", DIM),
            (make_visible(tau), ""),
            ("   C ", DIM),
            (format_number(detail.view.confidence), ""),
            ("   best: ", DIM),
            (_compare_tops(rows), ""),
        )
    )
    if detail.view.iteration == STAND_IN_ITERATION and detail.previous_scorer is not None:
        lines.append(Content.styled("* M0 ranks by its log-likelihood", DIM))
    return Content("\n").join(lines)


def build_responses(detail: PairDetail, rows: Sequence[RankRow], look: Look) -> Content:
    """All responses in full; with ranks and roles but in blind mode."""
    blocks: list[Content] = []
    for row, response in zip(rows, detail.responses, strict=True):
        head: list[Part] = [(f"{row.letter}", "bold"), (f"  {format_tokens(response.n_tokens)}", DIM)]
        if response.finish_reason == "length":
            head.append((", cut at the token limit", DIM))
        if row.same_as is not None:
            head.append((f", the same as {row.same_as}", DIM))
        if not row.is_policy and not look.is_blind:
            head.append((", of M1", DIM))
        if not look.is_blind:
            role_style = {"chosen": "$success bold", "rejected": "$error bold"}.get(row.role, "")
            head += [(f"  {row.role}", role_style)] if row.role else []
            head.append((f"  r {format_signed(row.current)}, before {format_signed(row.previous)}", ""))
            if detail.view.iteration != STAND_IN_ITERATION:
                head.append((f", M0's log-lik {format_signed(row.anchor)}", DIM))
            head += [("  ", ""), _CORRECT[row.correct]]
        blocks.append(Content.assemble(*head, "\n", build_plain(response.text.strip() or "(empty)"), "\n"))
    return Content("\n").join(blocks)


def build_history(answers: Sequence[PromptAnswer], detail: PairDetail) -> Content:
    """How models answered the prompt, this run's first; says so where there is only one answer."""
    own = [answer for answer in answers if answer.is_own]
    others = [answer for answer in answers if not answer.is_own]
    lines = [Content.styled(make_visible(detail.view.prompt.strip(), keep_newlines=True), "bold"), Content("")]
    if len(own) == 1 and own[0].iteration is not None:
        why = "each iteration asks fresh prompts, and this one is in no evaluation"
        lines += [Content.styled(f"In this run only {own[0].model} answered it: {why}.", DIM), Content("")]
    lines += [_build_answer(answer) for answer in own]
    if others:
        lines += [Content.styled("In other runs of this store:", DIM), Content("")]
        lines += [_build_answer(answer) for answer in others]
    else:
        lines.append(Content.styled("No other run of this store has responses of its own to it.", DIM))
    return Content("\n").join(lines)


def build_summary(summary: JudgingSummary, n_pairs: int, *, is_blind: bool) -> Content:
    """How far the person agrees with the model and with gold; in blind mode only how many are judged."""
    lines = [
        Content.assemble((f"{summary.n_judged:,}", "bold"), f" judged of {n_pairs:,}, {summary.n_flagged} flagged")
    ]
    if is_blind:
        hidden = "In blind mode the rest is hidden: it would tell what the model chose. B shows it."
        return Content("\n").join([*lines, Content(""), Content.styled(hidden, DIM)])
    counts = "   ".join(f"{verdict.replace('_', ' ')} {n}" for verdict, n in summary.n_by_verdict.items())
    lines += [
        Content(counts),
        Content(""),
        Content.styled("You agree with the model's label (agree of agree and swap)", DIM),
    ]
    lines += [_line_up("all", summary.model), _line_up("judged blind", summary.blind)]
    lines.append(_line_up("judged seeing the labels", summary.sighted))
    if summary.halves is not None and summary.border is not None:
        low, high = summary.halves
        lines += [
            _line_up(f"{summary.halved_by} below {summary.border:.2f}", low),
            _line_up(f"{summary.halved_by} from {summary.border:.2f} on", high),
        ]
    lines += [Content(""), Content.styled("Where exactly one side is right", DIM)]
    lines += [_line_up("you side with gold", summary.gold), _line_up("the model's label does", summary.model_gold)]
    lines += [Content(""), Content.styled("Intervals: Wilson's, 95 %. Tie, both bad and unsure are left out.", DIM)]
    return Content("\n").join(lines)


def build_progress(summary: JudgingSummary, n_pairs: int, *, is_blind: bool) -> str:
    """The same in one line."""
    text = f"{summary.n_judged:,} judged of {n_pairs:,}"
    if is_blind:
        return f"{text}   blind mode: labels and rewards are hidden (B shows them)"
    if summary.model.n_total:
        text += f"   you agree {_format_share(summary.model)}"
        if summary.blind.n_total:
            text += f", blind {_format_share(summary.blind)}"
        if summary.gold.n_total:
            text += f"   with gold {_format_share(summary.gold)}"
    return text


def build_nothing_found() -> str:
    """Where there are pairs but none is shown."""
    return "no pair is left by the filter: / changes it, F offers ready ones, the first of which shows all"


def _build_answer(answer: PromptAnswer) -> Content:
    name = answer.model if answer.is_own else f"{answer.run_names[0]} {answer.model}"
    how = "greedy, in the evaluation" if answer.iteration is None else f"sampled {answer.n} at t={answer.iteration}"
    head: list[Part] = [(make_visible(name), "bold"), (f"  {how}", DIM)]
    if answer.n_right is not None:
        head.append((f"  {answer.n_right} of {answer.n} right", ""))
    if answer.tau is not None:
        head.append((f"  tau {format_signed(answer.tau)}", ""))
    if answer.is_own and len(answer.run_names) > 1:
        head.append((f"  shared with {make_visible(', '.join(answer.run_names[1:]))}", DIM))
    if answer.skip_reason is not None:
        head.append((f"  no pair: {make_visible(answer.skip_reason)}", "$warning"))
    body: list[Part] = []
    word = "" if answer.rejected is None else "chosen    "
    if answer.text is not None:
        body += [(f"\n  {word}", DIM), (_shorten(answer.text), "")]
    if answer.rejected is not None:
        body += [("\n  rejected  ", DIM), (_shorten(answer.rejected), "")]
    return Content.assemble(*head, *body, "\n")


def _shorten(text: str) -> str:
    """A foreign text, its beginning where it is long: a history may hold dozens of them, and is laid out at once."""
    text = text.strip()
    n_left = len(text) - _MOST_IN_HISTORY
    shown = make_visible(text[:_MOST_IN_HISTORY], keep_newlines=True)
    return shown if n_left <= 0 else f"{shown} … ({n_left:,} more characters)"


def _mark(span: Span, look: Look) -> list[Part]:
    """The span's words as its side's; the blanks behind them stay plain."""
    text = make_visible(span.text, keep_newlines=True)
    words = text.rstrip()
    if span.side is Side.BOTH or not words:
        return [(text, "")]
    if look.has_color:
        return [(words, _STYLES[span.side]), (text[len(words) :], "")]
    opening, closing = _BRACKETS[span.side]
    return [(f"{opening}{words}{closing}", "bold"), (text[len(words) :], "")]


def _line_up(name: str, share: Share) -> Content:
    if not share.n_total:
        return Content.assemble(f"  {name:<26}", (MISSING, DIM))
    rate = f"{format_percent(share.rate):>5} %"
    return Content.assemble(f"  {name:<26}{rate}", (f"  {format_interval(share.interval)}, n = {share.n_total}", DIM))


def _format_share(share: Share) -> str:
    low, high = share.interval or (0.0, 1.0)
    return f"{100 * (share.rate or 0):.0f} % ({100 * low:.0f}–{100 * high:.0f}) of {share.n_total}"


def _compare_tops(rows: Sequence[RankRow]) -> str:
    now = [row.letter for row in rows if row.current_rank == 1 and row.same_as is None]
    before = [row.letter for row in rows if row.previous_rank == 1 and row.same_as is None]
    if not now or not before:
        return MISSING
    same = "same" if set(now) == set(before) else "differ"
    return f"{'='.join(now)} vs {'='.join(before)}, {same}"


def _or_none(k: int | None) -> int:
    return -1 if k is None else k


def build_copy(view: PairView, look: Look) -> str:
    """The pair as plain text, raw; in blind mode with left and right."""
    names, texts = ("chosen", "rejected"), (view.chosen or "", view.rejected or "")
    if look.is_blind:
        names = ("left", "right")
        texts = texts[::-1] if is_turned(view.prompt_id, view.iteration) else texts
    return "\n\n".join([f"prompt:\n{view.prompt}", *(f"{n}:\n{t}" for n, t in zip(names, texts, strict=True))])
