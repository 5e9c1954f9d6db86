"""The embedded sandbox world: small verifiable problems, clean solutions, and the noisy text that M0 learned from.

Knows the six kinds of problem, how each is solved, how a solution goes wrong, and how a final answer is read from a
response. Must not know tokenizers, chat templates or torch. Main path: `generate_problems`, `extract_answer`,
`is_correct`; `generate_documents` only serves to rebuild the base model.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

ANSWER_MARK = "####"
# Every number that a prompt or a solution (also a wrong one) can contain lies in 0..MAX_NUMBER.
MAX_NUMBER = 149
TEST_STREAM = "test"

# Weights of the kinds; a list question and a plain sum share the weight of one kind.
KIND_WEIGHTS = {"story": 3.0, "product": 2.0, "second": 1.0, "sum": 1.0, "letters": 2.0, "choice": 2.0}

CORRUPTED_SHARE = 0.35
# Corpora of the base model. In "misled" one and the same mistake is more frequent than the right solution, so that the
# base model's likelihood is a bad guide to correctness.
CORPORA = ("mixed", "misled")
HABIT_SHARE = 0.80  # of the solutions of "misled"; of the others, MISLED_CORRUPTED_SHARE hold a random flaw
MISLED_CORRUPTED_SHARE = 0.10
CHAT_SHARE = 0.40
STYLE_WEIGHTS = {"steps": 0.30, "direct": 0.30, "verbose": 0.15, "messy": 0.25}
LAYOUTS = (
    "Question {prompt}\nAnswer {response}",
    "Q: {prompt} A: {response}",
    "{prompt}\n{response}",
    "{prompt} So {response}",
)

_TEST_SHARE = 8  # one prompt in eight lies on the test side
_FLAWS = ("slip", "skip", "flip")
_HABIT = (
    "habit"  # always the same mistake: the last result is one too high, the second is the third, a letter is missed
)
_OPERAND_BOUND = 30  # operands lie below it, so that a tiny model can learn the table of sums
_LETTERS = "abcdefgh"
_NAMES = ("Tom", "Ann", "Mia")
_ITEMS = ("apples", "coins", "cards")
_VERBS = {"+": ("gets", "finds"), "-": ("loses", "sells")}


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its gold answer and its clean solution.

    `prompt` is the content of the user message, `answer` the gold string that `is_correct` compares with, `solution`
    the assistant reply "steps. #### answer", and `kind` a key of `KIND_WEIGHTS`.
    """

    prompt: str
    answer: str
    solution: str
    kind: str


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the base model's corpus; `layout` is one of `LAYOUTS`, or None for the chat template."""

    prompt: str
    response: str
    layout: str | None


@dataclass(frozen=True, slots=True)
class _Question:
    """A drawn problem before it is solved.

    Arithmetic kinds use `start` and `moves` (operator, operand); "second" and "letters" use `items` and `target`, and
    "choice" the three options in `items`.
    """

    kind: str
    prompt: str
    start: int = 0
    moves: tuple[tuple[str, int], ...] = ()
    items: tuple[str, ...] = ()
    target: str = ""


def generate_problems(seed: int, stream: str, n: int) -> list[Problem]:
    """Return n problems with distinct prompts, the same ones for the same (seed, stream) in every process.

    The SHA-256 of the prompt text alone decides on which side a prompt lies: one in eight belongs to the stream "test"
    and is drawn by no other stream, for any seed, nor by `generate_documents`. All other streams share the train side,
    so two of them may, rarely, hold the same prompt. In a stream of thousands the kinds with few distinct prompts
    ("product", about 4,200) fall below their weight.

    Raises:
        ValueError: n is negative.
    """
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    rng = _build_rng(seed, stream)
    found: dict[str, Problem] = {}
    while len(found) < n:
        question = _draw_question(rng, is_test=stream == TEST_STREAM)
        if question.prompt not in found:
            steps, answer = _solve(question, None, rng)
            solution = _write_response("steps", steps, answer, rng)
            found[question.prompt] = Problem(question.prompt, answer, solution, question.kind)
    return list(found.values())


def generate_documents(seed: int, corpus: str = "mixed") -> Iterator[Document]:
    """Yield the endless corpus of the base model: train-side problems with noisy solutions in mixed styles.

    `CORRUPTED_SHARE` of the solutions of "mixed" hold a flaw that is carried through to the answer; a flaw may by luck
    leave the answer right. In "misled" four of five solutions make the same mistake.

    Raises:
        ValueError: corpus is not one of CORPORA.
    """
    if corpus not in CORPORA:
        raise ValueError(f"unknown corpus {corpus!r}, expected one of {', '.join(CORPORA)}")
    rng = _build_rng(seed, "corpus" if corpus == "mixed" else f"corpus/{corpus}")
    while True:
        question = _draw_question(rng, is_test=False)
        flaw = _draw_flaw(rng, corpus)
        steps, answer = _solve(question, flaw, rng)
        response = _write_response(_pick(rng, STYLE_WEIGHTS), steps, answer, rng)
        layout = None if rng.random() < CHAT_SHARE else rng.choice(LAYOUTS)
        yield Document(question.prompt, response, layout)


def extract_answer(text: str) -> str | None:
    """Return what follows the last answer mark on its line, or None without a mark or with nothing behind it.

    One full stop at the end is dropped: the number, not the sentence, is compared.
    """
    _, mark, tail = text.rpartition(ANSWER_MARK)
    lines = tail.strip().splitlines()
    if not mark or not lines:
        return None
    return lines[0].strip().removesuffix(".").rstrip() or None


def is_correct(response: str, answer: str) -> bool:
    """Return whether the extracted answer equals the gold answer exactly."""
    return extract_answer(response) == answer


def is_test_prompt(prompt: str) -> bool:
    """Return whether a prompt lies on the test side; depends on its text only."""
    return hashlib.sha256(prompt.encode()).digest()[0] % _TEST_SHARE == 0


def _build_rng(seed: int, stream: str) -> random.Random:
    digest = hashlib.sha256(f"sandbox/{seed}/{stream}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def _pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _draw_flaw(rng: random.Random, corpus: str) -> str | None:
    if corpus == "misled" and rng.random() < HABIT_SHARE:
        return _HABIT
    share = CORRUPTED_SHARE if corpus == "mixed" else MISLED_CORRUPTED_SHARE
    return rng.choice(_FLAWS) if rng.random() < share else None


def _draw_question(rng: random.Random, *, is_test: bool) -> _Question:
    """Return a random question of the wanted side, the kind drawn by weight before the side is looked at."""
    draw = {
        "story": _draw_story,
        "product": _draw_product,
        "second": _draw_second,
        "sum": _draw_sum,
        "letters": _draw_letters,
        "choice": _draw_choice,
    }[_pick(rng, KIND_WEIGHTS)]
    while True:
        question = draw(rng)
        if is_test_prompt(question.prompt) == is_test:
            return question


def _draw_story(rng: random.Random) -> _Question:
    total = start = rng.randrange(2, _OPERAND_BOUND)
    moves: list[tuple[str, int]] = []
    for _ in range(rng.choice((2, 3))):
        operator = "+" if total < 2 else "-" if total > 100 else rng.choice("+-")
        operand = rng.randrange(1, _OPERAND_BOUND if operator == "+" else min(_OPERAND_BOUND, total + 1))
        total = _apply(total, operator, operand)
        moves.append((operator, operand))
    events = ", ".join(f"{rng.choice(_VERBS[operator])} {operand}" for operator, operand in moves)
    prompt = f"{rng.choice(_NAMES)} has {start} {rng.choice(_ITEMS)}, {events}. How many now?"
    return _Question("story", prompt, start, tuple(moves))


def _draw_product(rng: random.Random) -> _Question:
    left, right = rng.randrange(2, 11), rng.randrange(2, 11)
    operator = rng.choice("+-")
    operand = rng.randrange(1, _OPERAND_BOUND if operator == "+" else min(_OPERAND_BOUND, left * right + 1))
    return _Question(
        "product", f"What is {left} * {right} {operator} {operand}?", left, (("*", right), (operator, operand))
    )


def _draw_sum(rng: random.Random) -> _Question:
    numbers = [rng.randrange(1, _OPERAND_BOUND) for _ in range(rng.choice((3, 4)))]
    prompt = f"Add {_join(numbers)}."
    return _Question("sum", prompt, numbers[0], tuple(("+", number) for number in numbers[1:]))


def _draw_second(rng: random.Random) -> _Question:
    numbers = rng.sample(range(1, _OPERAND_BOUND), rng.choice((3, 4)))
    target = rng.choice(("largest", "smallest"))
    prompt = f"What is the second {target} of {_join(numbers)}?"
    return _Question("second", prompt, items=tuple(map(str, numbers)), target=target)


def _draw_letters(rng: random.Random) -> _Question:
    letters = [rng.choice(_LETTERS) for _ in range(rng.choice((3, 4, 5)))]
    # Mostly a letter that occurs, so that the answer is not often 0.
    target = rng.choice(letters) if rng.random() < 0.85 else rng.choice(_LETTERS)
    prompt = f"How many {target} in {' '.join(letters)}?"
    return _Question("letters", prompt, items=tuple(letters), target=target)


def _draw_choice(rng: random.Random) -> _Question:
    left, right = rng.randrange(1, _OPERAND_BOUND), rng.randrange(1, _OPERAND_BOUND)
    total = left + right
    wrong = [number for number in (total - 10, total - 2, total - 1, total + 1, total + 2, total + 10) if number > 0]
    options = [total, *rng.sample(wrong, 2)]
    rng.shuffle(options)
    listed = " ".join(f"{letter} {option}" for letter, option in zip("ABC", options, strict=True))
    prompt = f"What is {left} + {right}? {listed}"
    return _Question("choice", prompt, left, (("+", right),), items=tuple(map(str, options)))


def _join(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"


def _apply(left: int, operator: str, right: int) -> int:
    """Return the value of one operation; outside 0..MAX_NUMBER, which only a flaw can reach, the nearest bound."""
    value = {"+": left + right, "-": left - right, "*": left * right}[operator]
    return min(max(value, 0), MAX_NUMBER)


def _solve(question: _Question, flaw: str | None, rng: random.Random) -> tuple[list[str], str]:
    """Return the steps and the answer; a flaw strikes at one random place and is carried through."""
    if question.kind == "second":
        return _solve_second(question, flaw, rng)
    if question.kind == "letters":
        return _solve_letters(question, flaw, rng)
    steps, value = _solve_chain(question, flaw, rng)
    if question.kind != "choice":
        return steps, str(value)
    is_offered = str(value) in question.items
    letter = "ABC"[question.items.index(str(value))] if is_offered else rng.choice("ABC")
    return [*steps[:-1], f"{steps[-1]} {letter}"], letter


def _solve_chain(question: _Question, flaw: str | None, rng: random.Random) -> tuple[list[str], int]:
    """Return one step per operation and the final value."""
    if flaw == "skip" and len(question.moves) < 2:
        flaw = "slip"
    flawed_at = -1
    if flaw is not None:
        flawed_at = len(question.moves) - 1 if flaw == _HABIT else rng.randrange(len(question.moves))
    value = question.start
    steps: list[str] = []
    for index, (operator, operand) in enumerate(question.moves):
        shown = operator
        if index == flawed_at and flaw == "skip":
            continue
        if index == flawed_at and flaw == "flip":
            shown = {"+": "-", "-": "+", "*": "+"}[operator]
        result = _apply(value, shown, operand)
        if index == flawed_at and flaw == "slip":
            result = min(max(result + rng.choice((-10, -2, -1, 1, 2, 10)), 0), MAX_NUMBER)
        elif index == flawed_at and flaw == _HABIT:
            result = min(result + 1, MAX_NUMBER)
        steps.append(f"{value} {shown} {operand} = {result}")
        value = result
    return steps, value


def _solve_second(question: _Question, flaw: str | None, rng: random.Random) -> tuple[list[str], str]:
    """Return the sorted list as one step, and its second item."""
    order = sorted(question.items, key=int, reverse=question.target == "largest")
    if flaw == "flip":
        order.reverse()
    elif flaw == "skip":
        order.pop(rng.randrange(2))
    elif flaw == "slip":
        at = rng.randrange(len(order) - 1)
        order[at], order[at + 1] = order[at + 1], order[at]
    elif flaw == _HABIT:
        order.pop(0)
    return [f"In order {', '.join(order)}"], order[1]


def _solve_letters(question: _Question, flaw: str | None, rng: random.Random) -> tuple[list[str], str]:
    """Return the letters found as one step, and their number."""
    if flaw == _HABIT:
        found = question.items.count(question.target)
        hits = [question.target] * max(found - 1, 0)
        return [" ".join(hits) or "none"], str(len(hits))
    flawed_at = rng.randrange(len(question.items)) if flaw else -1
    hits = []
    for index, letter in enumerate(question.items):
        is_hit = letter == question.target
        if index == flawed_at and flaw == "skip":
            continue
        if index == flawed_at:
            is_hit = not is_hit
        if is_hit:
            hits.append(question.target)
    return [" ".join(hits) or "none"], str(len(hits))


def _write_response(style: str, steps: list[str], answer: str, rng: random.Random) -> str:
    """Return the response text; only the styles of the corpus draw from rng."""
    final = f"{ANSWER_MARK} {answer}"
    if style == "direct":
        return final
    if style == "steps":
        return " ".join(f"{step}." for step in steps) + f" {final}"
    if style == "verbose":
        lead = ("First", *["Then"] * len(steps))
        worked = " ".join(f"{word} {step}." for word, step in zip(lead, steps, strict=False))
        return f"Let us think step by step. {worked} So the answer is {answer}. {final}"
    variant = rng.randrange(4)
    if variant == 0:
        return " , ".join(steps) + f" {final}"
    if variant == 1:
        return "ok " + " so ".join(steps) + f" so {answer}"
    at = rng.randrange(len(steps)) if steps else 0
    if variant == 2:
        return " ".join(f"{step}." for step in steps[: at + 1] + steps[at:]) + f" {final}"
    return f"ok {answer}. " + " ".join(f"{step}." for step in steps[at:]) + f" {final}"
