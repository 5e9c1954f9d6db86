"""The demo's sentences: chosen by the numbers, with their numbers, and no claim that the data does not carry."""

from __future__ import annotations

from dataclasses import replace

from cream_tui.narrative import (
    Arm,
    tell,
    tell_accuracy,
    tell_agreement,
    tell_confidence,
    tell_difference,
    tell_judge,
    tell_labels,
    tell_length,
    tell_margin,
)
from cream_tui.results import ModelResult, TaskCount

N = 500


def build_model(index: int, correct: int | None = None, first_right: int = 0, **measures: float) -> ModelResult:
    """A model that gets ``correct`` of N items right, from item ``first_right`` on."""
    if correct is None:
        return ModelResult(f"M{index}", measures=measures)
    items = {("sandbox", f"i{n}"): first_right <= n < first_right + correct for n in range(N)}
    return ModelResult(f"M{index}", (TaskCount("sandbox", correct, N),), measures, items)


def build_arm(*models: ModelResult, title: str = "SRLM") -> Arm:
    return Arm(title, models)


def test_rise_and_fall_are_told_with_their_p_values() -> None:
    """375 -> 400 -> 325 of 500, nested: 25 and 75 items differ, thrice their p-values far below p = 0.001."""
    arm = build_arm(build_model(0, 285), build_model(1, 375), build_model(2, 400), build_model(3, 325))
    assert tell_accuracy(arm) == (
        "SRLM: accuracy rose from 75.0 % (M1) to 80.0 % (M2, p < 0.001), then fell to 65.0 % (M3, p < 0.001); "
        "500 items, p by Holm over 3 comparisons."
    )


def test_a_change_within_noise_is_said_to_be_one() -> None:
    """Items 0..3 only M1, 250..255 only M2: P(X <= 4 of 10) = 386 / 1024 on both sides, p = 0.75."""
    arm = build_arm(build_model(1, 250), build_model(2, 252, first_right=4))
    assert tell_accuracy(arm) == (
        "SRLM: accuracy went from 50.0 % (M1) to 50.4 % (M2, p = 0.75: no claim of a change); 500 items."
    )


def test_a_steady_rise_names_its_ends_only() -> None:
    arm = build_arm(build_model(1, 300), build_model(2, 350), build_model(3, 400))
    assert tell_accuracy(arm) == (
        "SRLM: accuracy rose from 60.0 % (M1) to 80.0 % (M3, p < 0.001); 500 items, p by Holm over 3 comparisons."
    )


def test_a_dip_is_told_too() -> None:
    arm = build_arm(build_model(1, 400), build_model(2, 300), build_model(3, 350))
    assert tell_accuracy(arm) == (
        "SRLM: accuracy fell from 80.0 % (M1) to 60.0 % (M2, p < 0.001), then rose to 70.0 % (M3, p < 0.001); "
        "500 items, p by Holm over 3 comparisons."
    )


def test_an_equal_accuracy_is_no_change() -> None:
    arm = build_arm(build_model(1, 300), build_model(2, 300))
    assert tell_accuracy(arm) == "SRLM: accuracy stayed at 60.0 % (M2); 500 items."


def test_a_picked_extreme_needs_more_than_one_p_value_below_the_limit() -> None:
    """300, 306, 300 of 500, nested: 6 items differ, p = 2 / 2^6 = 0.031, which Holm over 3 turns into 0.094."""
    two = build_arm(build_model(1, 300), build_model(2, 306))
    three = build_arm(build_model(1, 300), build_model(2, 306), build_model(3, 300))
    assert "rose from 60.0 % (M1) to 61.2 % (M2, p = 0.031)" in (tell_accuracy(two) or "")
    assert tell_accuracy(three) == ("SRLM: accuracy stayed at 60.0 % (M3); 500 items, p by Holm over 3 comparisons.")


def test_a_change_is_told_on_shared_items_only() -> None:
    """M2 answered the first 100 items alone and got 90 right; M1 got the first 50 right: 40 differ."""
    first = build_model(1, 50)
    items = {("sandbox", f"i{n}"): n < 90 for n in range(100)}
    told = tell_accuracy(build_arm(first, ModelResult("M2", (TaskCount("sandbox", 90, 100),), {}, items)))
    assert told == ("SRLM: accuracy rose from 50.0 % (M1) to 90.0 % (M2, p < 0.001); 100 items that all answered.")
    strange = {("sandbox", "x"): True}
    apart = build_arm(first, ModelResult("M2", (TaskCount("sandbox", 1, 1),), {}, strange))
    assert "evaluated on different items" in (tell_accuracy(apart) or "")


def build_two_tasks(index: int, large: int, small: int) -> ModelResult:
    """A model with so many right of 100 items of one task and of 10 of another."""
    items = {("large", f"i{n}"): n < large for n in range(100)} | {("small", f"i{n}"): n < small for n in range(10)}
    return ModelResult(f"M{index}", (TaskCount("large", large, 100), TaskCount("small", small, 10)), {}, items)


def test_no_side_is_better_where_tasks_disagree() -> None:
    """A: 60 % and 50 %, mean 55.0; B: 40 % and 80 %, mean 60.0; yet A has 20 items alone and B 3, p < 0.001."""
    a, b = build_two_tasks(2, 60, 5), build_two_tasks(2, 40, 8)
    assert tell_difference(build_arm(a, title="A"), build_arm(b, title="B")) == (
        "At M2 A has 55.0 % and B 60.0 %, but the tasks disagree, so neither is better "
        "(exact McNemar on 110 shared items: 20 only A, 3 only B, p < 0.001)."
    )
    assert tell_accuracy(build_arm(build_two_tasks(1, 60, 5), b)) == (
        "SRLM: accuracy went from 55.0 % (M1) to 60.0 % (M2, p < 0.001: the tasks disagree); 110 items."
    )


def test_a_difference_is_told_on_shared_items_only() -> None:
    """Of 500 items CREAM has 64.0 %, of the 100 that SRLM answered too 100 %."""
    items = {("sandbox", f"i{n}"): n < 40 for n in range(100)}
    srlm = build_arm(ModelResult("M2", (TaskCount("sandbox", 40, 100),), {}, items))
    assert "CREAM has 100.0 % and SRLM 40.0 %: CREAM is better (exact McNemar on 100 shared" in tell_difference(
        build_arm(build_model(2, 320), title="CREAM"), srlm
    )


def test_weights_that_stayed_are_told() -> None:
    arms = [build_arm(replace(build_model(2), changed_share=0.0042), replace(build_model(3), changed_share=0.01))]
    assert [sentence for sentence in tell(arms) if "weights" in sentence] == [
        "SRLM: training changed 0.42 % of the weights of M2: its updates were too few (the first "
        "of a warm-up has rate 0), too small, or rounded away in half precision."
    ]


def test_no_evaluation_carries_no_claim() -> None:
    told = tell_accuracy(build_arm(build_model(0), build_model(1)))
    assert told == "SRLM: no model was evaluated, so nothing can be said of its accuracy."
    assert "no later model" in (tell_accuracy(build_arm(build_model(0, 10), build_model(1, 10))) or "")


def test_labels_that_fall_below_chance() -> None:
    arm = build_arm(
        build_model(1, label_accuracy=0.86, n_right=86.0, n_inverted=14.0),
        build_model(2, label_accuracy=0.39, n_right=39.0, n_inverted=61.0),
    )
    assert tell_labels(arm) == (
        "SRLM: the share of right labels fell from 86.0 % (M1) to 39.0 % (M2), below chance: such pairs teach errors."
    )


def test_labels_a_little_below_half_are_not_below_chance() -> None:
    """45 of 100: the Wilson interval ends at 54.8 %."""
    arm = build_arm(
        build_model(1, label_accuracy=0.86, n_right=86.0, n_inverted=14.0),
        build_model(2, label_accuracy=0.45, n_right=45.0, n_inverted=55.0),
    )
    assert tell_labels(arm) == "SRLM: the share of right labels fell from 86.0 % (M1) to 45.0 % (M2)."
    assert "chance" not in (tell_labels(build_arm(build_model(1, label_accuracy=0.1))) or "")


def test_few_labels_carry_no_claim() -> None:
    """3 of 4 against 2 of 4: the Wilson intervals meet."""
    arm = build_arm(
        build_model(1, label_accuracy=0.75, n_right=3.0, n_inverted=1.0),
        build_model(2, label_accuracy=0.5, n_right=2.0, n_inverted=2.0),
    )
    assert tell_labels(arm) == (
        "SRLM: the share of right labels fell from 75.0 % (M1) to 50.0 % (M2): "
        "with 4 and 4 known labels the data carries no claim of a change."
    )


def test_unknown_labels_are_said_to_be_unknown() -> None:
    assert "no gold answers" in (tell_labels(build_arm(build_model(1, n_pairs=3.0))) or "")
    assert tell_labels(build_arm(build_model(1))) is None


def test_agreement_that_saturates_while_the_anchor_falls() -> None:
    arm = build_arm(
        build_model(1, tau_previous=0.7, tau_anchor=0.7),
        build_model(2, tau_previous=0.5, tau_anchor=0.5),
        build_model(3, tau_previous=0.95, tau_anchor=-0.1),
    )
    assert tell_agreement(arm) == (
        "SRLM: tau to the previous model rose from +0.50 (M2) to +0.95 (M3), "
        "tau to the anchor fell from +0.70 (M1) to −0.10 (M3): "
        "two models in a row rank alike while both drift from where they began."
    )


def test_the_first_tau_is_one_to_the_anchor_and_not_told_twice() -> None:
    first, second = build_model(1, tau_previous=0.5, tau_anchor=0.5), build_model(2, tau_previous=0.8, tau_anchor=0.5)
    assert tell_agreement(build_arm(first)) is None
    assert tell_agreement(build_arm(first, second)) == (
        "SRLM: tau to the previous model was +0.80 (M2), tau to the anchor stayed near +0.50."
    )


def test_agreement_that_moves_little_is_near() -> None:
    arm = build_arm(build_model(2, tau_previous=0.5, tau_anchor=0.5), build_model(3, tau_previous=0.55, tau_anchor=0.5))
    assert tell_agreement(arm) == (
        "SRLM: tau to the previous model stayed near +0.55, tau to the anchor stayed near +0.50."
    )


def test_confidence_near_one_is_plain_self_rewarding() -> None:
    arm = build_arm(build_model(1, confidence=0.75), build_model(2, confidence=0.97), title="CREAM")
    assert tell_confidence(arm) == (
        "CREAM: C went from 0.75 at M1 to 0.97 at M2, which is almost plain self-rewarding (C = 1)."
    )
    assert tell_confidence(build_arm(build_model(1, confidence=1.0), build_model(2, confidence=1.0))) is None


def test_length_that_grows_and_length_that_stays() -> None:
    assert tell_length(build_arm(build_model(1, chosen_n_tokens=10.0), build_model(2, chosen_n_tokens=18.0))) == (
        "SRLM: chosen responses grew from 10.0 tokens at M1 to 18.0 at M2 (+80 %)."
    )
    assert "kept their length" in (
        tell_length(build_arm(build_model(1, chosen_n_tokens=10.0), build_model(2, chosen_n_tokens=10.5))) or ""
    )


def test_a_difference_of_arms_names_the_better_one_and_the_test() -> None:
    """320 against 280, nested: 40 only CREAM, 0 only SRLM."""
    srlm = build_arm(build_model(1, 300), build_model(2, 280))
    cream = build_arm(build_model(1, 300), build_model(2, 320), title="CREAM")
    assert tell_difference(cream, srlm) == (
        "At M2 CREAM has 64.0 % and SRLM 56.0 %: CREAM is better "
        "(exact McNemar on 500 shared items: 40 only CREAM, 0 only SRLM, p < 0.001)."
    )


def test_a_difference_within_noise_carries_no_claim() -> None:
    srlm = build_arm(build_model(2, 300))
    cream = build_arm(build_model(2, 301, first_right=2), title="CREAM")
    assert "carries no claim" in tell_difference(cream, srlm)


def test_arms_are_compared_at_the_last_model_that_both_have() -> None:
    srlm = build_arm(build_model(1, 300))
    cream = build_arm(build_model(1, 300), build_model(2, 320), title="CREAM")
    assert tell_difference(cream, srlm) == (
        "At M1 CREAM has 60.0 % and SRLM 60.0 %: they are right on the same of the 500 items."
    )
    assert "cannot be compared" in tell_difference(cream, build_arm())


def test_the_whole_story_ends_with_the_caveat() -> None:
    arms = [build_arm(build_model(1, 300)), build_arm(build_model(1, 320), title="CREAM")]
    told = tell(arms)
    assert told[0].startswith("SRLM: ")
    assert told[-1].startswith("This is one seed")


def test_margin_is_told_against_its_target() -> None:
    """At M1 z came to 1.0 of logit(C) = 1.2; at M2 to 0.8 of 3.2, a quarter: C could not do more than scale steps."""
    models = [
        replace(build_model(index, 320), measures={"final_z": z, "final_target_z": target})
        for index, z, target in ((1, 1.0, 1.2), (2, 0.8, 3.2))
    ]
    assert tell_margin(build_arm(*models)) == (
        "SRLM: training on its pairs ended with z at this much of its target logit(C): 1.0 of 1.2 (M1), 0.8 of 3.2 "
        "(M2): at M2 C hardly did more than scale the steps."
    )
    assert tell_margin(build_arm(build_model(1), build_model(2))) is None


def test_a_judge_that_fails_or_disagrees_with_itself_is_told() -> None:
    models = [
        replace(build_model(index), measures={"judge_parse_failure_rate": failures, "judge_self_agreement": alpha})
        for index, failures, alpha in ((1, 0.25, 0.6), (2, 0.05, -0.04))
    ]
    assert tell_judge(models) == [
        "of the judgements that rank the responses of M1, 25.0 % hold no score.",
        "the judge that ranks the responses of M2 hardly agrees with itself: Krippendorff's alpha −0.04, where 0 is "
        "chance.",
    ]
    assert tell_judge([build_model(1)]) == []
