"""Every diagnostic of a run in words: what it is called, when it warns, what that means, what to try.

Knows texts, limits and where a value is stored. Must not know how a rule is worked out. The order is that of the
screens: what was learned, whether the labels can be trusted, how the rankings, responses and training behave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cream_tui.narrative import (
    LEAST_CHANGED_SHARE,
    LEAST_MARGIN_SHARE,
    LEAST_SELF_AGREEMENT,
    MOST_PARSE_FAILURES,
    MOST_UNDEFINED_SHARE,
)

Unit = Literal["share", "change", "signed", "number", "tokens"]
# With fewer right or inverted labels than this, an AUC of them says nothing either way.
LEAST_LABELS = 10


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One diagnostic.

    Attributes:
        subject: What a sentence calls its value.
        stage, metric: Where the value is stored, and the chart that shows it.
        unit: How the value is written; a share, and a change in shares, in per cent.
        limit: What its rule compares with.
        threshold: When it warns, in words that follow "warns".
        needs: Why a run may have no value although it has come so far.
        filter_text: Which pairs of the model show it; of a value below 0, ``filter_below``.
    """

    key: str
    title: str
    subject: str
    stage: str
    metric: str
    unit: Unit
    limit: float
    threshold: str
    meaning: str
    advice: str
    needs: str = ""
    filter_text: str | None = None
    filter_below: str | None = None

    @property
    def chart(self) -> tuple[str, str]:
        """Stage and name of the metric as it is stored."""
        return self.stage, self.metric.removeprefix("evaluation_")


NEEDS_GOLD = "no gold answers are known"
NEEDS_BOTH = f"{NEEDS_GOLD}, or no right and wrong response stand against each other"
NEEDS_LABELS = f"no gold answers are known, or fewer than {LEAST_LABELS} labels are right or inverted"
NEEDS_NOISE_FLOOR = "scoring.noise_floor is not set, so nothing was scored twice"
NEEDS_JUDGE = "no judge ranks its responses"
NEEDS_REPEATED_JUDGE = "no judge judged a response more than once"
NEEDS_EVALUATION = "no two of its models from M1 on were evaluated on the same items"
NEEDS_M2 = "it begins with M2, which has not come so far yet"

_RESULTS = (
    Diagnostic(
        key="accuracy_from_first",
        title="accuracy against M1",
        subject="accuracy",
        stage="evaluate",
        metric="accuracy",
        unit="share",
        limit=0.05,
        threshold="when significantly below M1 (exact McNemar, p < 0.05)",
        meaning="The model answers held-out items worse than the model that self-rewarding started from.",
        advice="Keep an earlier model; fork there with fewer epochs, a lower learning rate, or a method that checks "
        "its labels against something else than itself (cream-anchored, vote).",
        needs=NEEDS_EVALUATION,
    ),
    Diagnostic(
        key="accuracy_from_previous",
        title="accuracy against the previous model",
        subject="accuracy",
        stage="evaluate",
        metric="accuracy",
        unit="share",
        limit=0.05,
        threshold="when significantly below the previous model (exact McNemar, p < 0.05)",
        meaning="One iteration made the model worse, beyond what chance gives on these items.",
        advice="Look at the pairs that it was trained on; stop here or fork from the model before.",
        needs=NEEDS_EVALUATION,
    ),
    Diagnostic(
        key="divergence",
        title="self-reward against accuracy",
        subject="its mean reward for its own responses",
        stage="score",
        metric="kl_base",
        unit="signed",
        limit=0.05,
        threshold="when the reward rises while accuracy is significantly below an earlier model's",
        meaning="The model likes its own responses better and better while they get worse: it optimises its reward, "
        "not the task.",
        advice="Stop at the most accurate model. A larger training.beta, or a reward that the model does not shape "
        "itself, keeps the two together longer.",
        needs=NEEDS_EVALUATION,
    ),
)
_LABELS = (
    Diagnostic(
        key="label_accuracy",
        title="labels right or inverted",
        subject="the share of right labels",
        stage="pair",
        metric="label_accuracy",
        unit="share",
        limit=0.5,
        threshold="when more labels are inverted than right",
        meaning="Of the pairs whose sides differ in correctness, most prefer the wrong one: training teaches errors.",
        advice="Rank by something else (cream-anchored, vote, a reward model), or stop one iteration earlier.",
        needs=NEEDS_BOTH,
        filter_text="label:wrong",
    ),
    Diagnostic(
        key="reward_auc",
        title="reward against correctness",
        subject="the AUC of its reward for right responses",
        stage="score",
        metric="reward_auc",
        unit="number",
        limit=0.05,
        threshold="when 0.05 below M1 while rewards spread further apart",
        meaning="The reward tells right from wrong responses of a prompt less well than it did, and with more "
        "conviction.",
        advice="A lower learning rate or fewer epochs; watch the tau to the anchor, which needs no gold answers.",
        needs=NEEDS_BOTH,
        filter_text="label:wrong",
    ),
    Diagnostic(
        key="agreement_tells_labels",
        title="tau to the previous model against labels",
        subject="the AUC of tau to the previous model for right labels",
        stage="pair",
        metric="label_auc_previous",
        unit="number",
        limit=0.5,
        threshold="when within 2 standard errors of 0.5, or below",
        meaning="Where two models in a row agree, the label is no more often right than elsewhere: a confidence made "
        "of this agreement weighs pairs at random.",
        advice="Compare with the anchor's row: if that one holds, use cream-anchored; if not, one C for all pairs.",
        needs=NEEDS_LABELS,
        filter_text="tau>0 label:wrong",
    ),
    Diagnostic(
        key="anchor_tells_labels",
        title="tau to the anchor against labels",
        subject="the AUC of tau to the anchor for right labels",
        stage="pair",
        metric="label_auc_anchor",
        unit="number",
        limit=0.5,
        threshold="when within 2 standard errors of 0.5, or below",
        meaning="Where the reward agrees with the base model's likelihood, the label is no more often right than "
        "elsewhere: on this task the base model is no guide.",
        advice="Do not use cream-anchored here; a majority vote or a reward model may know more than the base model.",
        needs=NEEDS_LABELS,
        filter_text="anchor>0 label:wrong",
    ),
    Diagnostic(
        key="pairs_against_anchor",
        title="pairs that the anchor confirms",
        subject="the share of pairs that the base model orders alike",
        stage="pair",
        metric="anchor_agreement_share",
        unit="share",
        limit=0.5,
        threshold="below 50 %",
        meaning="Most pairs prefer the response that the base model finds less likely per token.",
        advice="Read some of these pairs: either the model has learned something that the base lacks, or it drifts.",
        filter_text="anchor<0",
    ),
    Diagnostic(
        key="pairs_against_vote",
        title="pairs that the majority confirms",
        subject="the share of pairs that prefer the more frequent answer",
        stage="pair",
        metric="vote_agreement_share",
        unit="share",
        limit=0.5,
        threshold="below 50 %",
        meaning="Most pairs prefer an answer that fewer responses of the prompt give: the reward goes against what the "
        "model itself says most often.",
        advice="Try the method vote, or check what the rarer answers have in common (length is the usual suspect).",
        needs="no pair has two sides whose extracted answers differ in votes",
    ),
)
_RANKINGS = (
    Diagnostic(
        key="tau_anchor",
        title="tau to the anchor",
        subject="tau to the anchor",
        stage="agree",
        metric="tau_anchor",
        unit="signed",
        limit=0.1,
        threshold="below 0.1, or half of M1's",
        meaning="The reward no longer ranks as the base model's likelihood does. On the sandbox that comes before or "
        "with a collapse, and it needs no gold answers.",
        advice="Stop; or fork with cream-anchored, but only where the base model is a good guide (tau of M1 well above "
        "0): elsewhere that brings the base's errors back.",
        filter_text="anchor<=0",
    ),
    Diagnostic(
        key="tau_previous",
        title="tau to the previous model",
        subject="tau to the previous model",
        stage="agree",
        metric="tau_previous",
        unit="signed",
        limit=2.0,
        threshold="within 2 standard errors of 0, or below",
        meaning="The rankings of two models in a row are unrelated: a confidence made of them is below one half, which "
        "reverses the preference.",
        advice="More prompts or responses per prompt (sampling.n); or method.confidence.c_map clamp.",
        needs=NEEDS_M2,
        filter_text="tau<=0",
    ),
    Diagnostic(
        key="consistency_drop",
        title="fall of the consistency",
        subject="consistency",
        stage="agree",
        metric="consistency_rate",
        unit="number",
        limit=0.1,
        threshold="when it falls by more than 0.1 from one model to the next",
        meaning="The last training changed how the model ranks much more than the one before.",
        advice="A lower learning rate, or fewer epochs per iteration.",
        filter_text="tau<=0",
        needs=NEEDS_M2,
    ),
    Diagnostic(
        key="tau_saturation",
        title="prompts ranked just as before",
        subject="the share of prompts with tau 1 to the previous model",
        stage="agree",
        metric="tau_saturated_share",
        unit="share",
        limit=0.8,
        threshold="above 80 %",
        meaning="Two models in a row rank nearly everything alike, right or wrong: agreement with the previous model "
        "says little, and CREAM's C is close to 1.",
        advice="Do not take the high agreement for good labels; look at the tau to the anchor.",
        filter_text="tau>=1",
    ),
    Diagnostic(
        key="undefined_tau",
        title="prompts without a tau",
        subject="the share of prompts without a tau",
        stage="agree",
        metric="n_undefined",
        unit="share",
        limit=MOST_UNDEFINED_SHARE,
        threshold="above a fifth of the prompts",
        meaning="On these prompts the two rankings cannot be compared: all responses are equal, or all their rewards.",
        advice="More diverse responses (sampling.temperature, sampling.n); check that training changed the weights.",
    ),
    Diagnostic(
        key="low_consistency",
        title="prompts ranked the other way",
        subject="the share of prompts with C below one half",
        stage="agree",
        metric="low_consistency_share",
        unit="share",
        limit=1 / 3,
        threshold="above a third of the prompts",
        meaning="On many prompts the previous model ranks rather the other way round, so labels depend on which of the "
        "two is asked.",
        advice="More responses per prompt (sampling.n) make tau less noisy; method.confidence.shrinkage pulls C to its "
        "mean.",
        filter_text="tau<0",
    ),
    Diagnostic(
        key="reversed_pairs",
        title="pairs trained the other way",
        subject="the share of pairs with confidence below one half",
        stage="pair",
        metric="low_confidence_share",
        unit="share",
        limit=1 / 3,
        threshold="above a third of the pairs",
        meaning="For more than a third of the pairs the loss prefers the rejected response.",
        advice="With method.confidence.c_map clamp or exact C is never below one half.",
        filter_text="C<0.5",
    ),
    Diagnostic(
        key="noise_floor",
        title="noise floor of scoring",
        subject="tau to itself, scored again",
        stage="score",
        metric="noise_floor_tau",
        unit="signed",
        limit=0.95,
        threshold="below 0.95",
        meaning="The same model scored twice does not rank alike: numerics alone lower every other tau.",
        advice="Score in float32 (model.dtype), or look at differences of tau that are larger than this.",
        needs=NEEDS_NOISE_FLOOR,
    ),
    Diagnostic(
        key="margin",
        title="reward margin, first to last",
        subject="the median margin of its pairs",
        stage="pair",
        metric="median_margin",
        unit="number",
        limit=0.5,
        threshold="below half of M1's",
        meaning="The best and the worst response of a prompt have come close: labels rest on small differences.",
        advice="More diverse responses (sampling.temperature, sampling.n), or method.pairs.min_margin.",
        filter_text="margin<0.1",
    ),
    Diagnostic(
        key="margin_top2",
        title="reward margin, first to second",
        subject="the median lead of its best response",
        stage="pair",
        metric="median_margin_top2",
        unit="number",
        limit=0.5,
        threshold="below half of M1's",
        meaning="The best two responses of a prompt are nearly tied: which one is chosen is close to chance.",
        advice="More diverse responses, or an average of several scorers.",
    ),
    Diagnostic(
        key="ties",
        title="ties of the reward",
        subject="the share of prompts with a tie of rewards",
        stage="score",
        metric="tie_rate",
        unit="share",
        limit=0.2,
        threshold="above 20 % of the prompts",
        meaning="Different responses get the same reward: the scorer cannot tell them apart.",
        advice="A finer scorer, or float32; a model that training left as it was gives every response the reward 0.",
    ),
)
_LENGTHS = (
    Diagnostic(
        key="length_gap",
        title="length of chosen against rejected",
        subject="the length of chosen over rejected responses",
        stage="pair",
        metric="length_gap",
        unit="change",
        limit=0.1,
        threshold="beyond ±10 %",
        meaning="Chosen responses are longer, or shorter, than rejected ones as a rule: training moves the length.",
        advice="See whether length goes with correctness here; if not, set method.aggregate.length_penalty.",
        filter_text="length_ratio>1.1",
        filter_below="length_ratio<0.9",
    ),
    Diagnostic(
        key="reward_length",
        title="reward and length within a prompt",
        subject="the correlation of reward and length",
        stage="score",
        metric="reward_length_correlation",
        unit="signed",
        limit=0.3,
        threshold="beyond ±0.3",
        meaning="Within a prompt the reward follows the number of tokens, which a sum of log-probs does easily.",
        advice="A length penalty (method.aggregate.length_penalty); compare with a ranking by mean log-likelihood.",
        filter_text="length_ratio>1",
        filter_below="length_ratio<1",
    ),
    Diagnostic(
        key="length_drift",
        title="drift of the length",
        subject="the length of chosen responses",
        stage="pair",
        metric="chosen_n_tokens",
        unit="tokens",
        limit=0.5,
        threshold="beyond ±50 % of M1's",
        meaning="Chosen responses have become much longer or shorter over the iterations.",
        advice="Read a few: padding and repetition are the usual result of a reward that likes length.",
        filter_text="length_ratio>1",
    ),
)
_RESPONSES = (
    Diagnostic(
        key="duplicates",
        title="repeated responses",
        subject="the share of prompts with repeated responses",
        stage="sample",
        metric="duplicate_prompt_rate",
        unit="share",
        limit=0.2,
        threshold="above 20 % of the prompts",
        meaning="Many prompts have fewer distinct responses than N: rankings are shorter, and tau noisier than N says.",
        advice="A higher sampling.temperature or top_p; tau over distinct responses (the default) is not inflated.",
    ),
    Diagnostic(
        key="answer_variety",
        title="distinct final answers",
        subject="the share of distinct final answers",
        stage="sample",
        metric="distinct_answers_share",
        unit="share",
        limit=0.5,
        threshold="below half of M1's",
        meaning="The responses of a prompt more and more give one answer: fewer pairs can teach which answer is right.",
        advice="A higher temperature, or harder prompts.",
        needs="no final answer could be extracted",
    ),
    Diagnostic(
        key="entropy",
        title="entropy of the samples",
        subject="the entropy per token",
        stage="sample",
        metric="mean_token_logprob",
        unit="number",
        limit=0.5,
        threshold="below half of M1's",
        meaning="The model has become much more certain of its words (minus the mean log-prob of its samples).",
        advice="A larger training.beta or fewer epochs keep it closer to where it was.",
    ),
    Diagnostic(
        key="bigram_variety",
        title="distinct bigrams",
        subject="the share of distinct bigrams of a prompt's responses",
        stage="sample",
        metric="distinct_2",
        unit="share",
        limit=0.5,
        threshold="below half of M1's",
        meaning="The responses of a prompt repeat one another, or themselves.",
        advice="A higher temperature; read some responses for repetition.",
    ),
    Diagnostic(
        key="truncated",
        title="truncated responses",
        subject="the share of truncated responses",
        stage="sample",
        metric="truncated_rate",
        unit="share",
        limit=0.05,
        threshold="above 5 %",
        meaning="Responses are cut off at the limit, most of them before their answer.",
        advice="Raise sampling.max_new_tokens, or find out why responses grow.",
    ),
    Diagnostic(
        key="empty",
        title="empty responses",
        subject="the share of empty responses",
        stage="sample",
        metric="empty_rate",
        unit="share",
        limit=0.05,
        threshold="above 5 %",
        meaning="The model ends at once, which a reward by summed log-probs may even like.",
        advice="Check the chat template and the end token; a base model may need SFT first.",
    ),
    Diagnostic(
        key="unread_samples",
        title="samples without an answer",
        subject="the share of samples without a readable answer",
        stage="sample",
        metric="extraction_failure_rate",
        unit="share",
        limit=0.02,
        threshold="above 2 %, or 1 point above M1's",
        meaning="No final answer can be read from these samples; they count as wrong.",
        advice="State the answer's format in the prompt; read some of these responses.",
        needs=NEEDS_GOLD,
    ),
    Diagnostic(
        key="unread_evaluation",
        title="evaluation without an answer",
        subject="the share of evaluated items without a readable answer",
        stage="evaluate",
        metric="evaluation_extraction_failure_rate",
        unit="share",
        limit=0.02,
        threshold="above 2 %, or 1 point above M1's",
        meaning="Part of what looks like lost accuracy is a lost format.",
        advice="Read these answers before believing in a fall; raise evaluation.max_new_tokens if they are cut off.",
    ),
)
_TRAINING = (
    Diagnostic(
        key="kl_jump",
        title="size of the last step",
        subject="the KL per token from the previous model",
        stage="score",
        metric="kl_previous_token",
        unit="number",
        limit=2.0,
        threshold="above twice that of the iteration before",
        meaning="The last training moved the model much further than the one before (estimate on its own samples).",
        advice="A lower learning rate, a larger training.beta, or a KL term (method.loss.kl_weight).",
        needs=NEEDS_M2,
    ),
    Diagnostic(
        key="likelihoods_fall",
        title="likelihood of chosen and rejected",
        subject="the change of the chosen responses' log-prob",
        stage="train",
        metric="chosen_shift",
        unit="signed",
        limit=0.0,
        threshold="when both sides fall",
        meaning="Training lowers the likelihood of the chosen responses too, only less than that of the rejected ones: "
        "probability goes to responses in neither.",
        advice="An NLL term on the chosen responses (method.loss.nll_weight), or a lower learning rate.",
    ),
    Diagnostic(
        key="margin_target",
        title="training margin against its target",
        subject="z at the end of training",
        stage="train",
        metric="final_z",
        unit="number",
        limit=LEAST_MARGIN_SHARE,
        threshold="below half of logit(C)",
        meaning="Training ends long before the margin that C asks for: so far C only scaled the steps, and Adam takes "
        "most of that away.",
        advice="More epochs or a larger training.beta, before a comparison of values of C means anything.",
    ),
    Diagnostic(
        key="small_change",
        title="weights that changed",
        subject="the share of weights that training changed",
        stage="train",
        metric="changed_share",
        unit="share",
        limit=LEAST_CHANGED_SHARE,
        threshold="below 1 %",
        meaning="Training left the saved weights almost as they were, so the next iteration repeats this one.",
        advice="A higher learning rate, or model.dtype float32: half precision rounds small updates away.",
        needs="an adapter was trained, which forgets no update",
    ),
)
_JUDGE = (
    Diagnostic(
        key="judge_failures",
        title="judgements without a score",
        subject="the share of judgements without a score",
        stage="score",
        metric="judge_parse_failure_rate",
        unit="share",
        limit=MOST_PARSE_FAILURES,
        threshold="above 5 %",
        meaning="The judge's words often hold no readable score; such responses are in fewer pairs.",
        advice="Another scoring.judge.prompt, more tokens for a judgement, or a stronger judge.",
        needs=NEEDS_JUDGE,
    ),
    Diagnostic(
        key="judge_agreement",
        title="judge against itself",
        subject="the judge's agreement with itself",
        stage="score",
        metric="judge_self_agreement",
        unit="signed",
        limit=LEAST_SELF_AGREEMENT,
        threshold="below 0.3 (Krippendorff's alpha)",
        meaning="The same response gets other points from one judgement to the next: the ranking is mostly noise.",
        advice="More judgements per response, a lower judge temperature, or an implicit reward.",
        needs=NEEDS_REPEATED_JUDGE,
    ),
)
CATALOGUE: tuple[Diagnostic, ...] = (
    *_RESULTS,
    *_LABELS,
    *_RANKINGS,
    *_LENGTHS,
    *_RESPONSES,
    *_TRAINING,
    *_JUDGE,
)
