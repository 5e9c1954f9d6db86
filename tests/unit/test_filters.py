"""The filter grammar: text to tree and back, messages, completion, runs in memory and pairs in SQL."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import FACTS, RECORDS, RUNS, build_records, make_run

from cream_tui.filtering.grammar import FilterError, complete, list_keys, parse, write
from cream_tui.filtering.pairs import PAIR_VOCABULARY, compile_pairs
from cream_tui.filtering.parser import All, AnyOf, Filter, Not, Term
from cream_tui.filtering.runs import compile_run_filter, find_key, group_runs, list_other_keys, sort_runs
from cream_tui.readers.run_records import build_vocabulary
from engine.errors import ConfigError


def choose(text: str) -> list[str]:
    matches = compile_run_filter(text, FACTS)
    return [record.run.name for record in RECORDS if matches(record)]


def fail(text: str) -> FilterError:
    with pytest.raises(FilterError) as caught:
        compile_run_filter(text, FACTS)
    return caught.value


# The grammar


def term(key: str | None, operator: str, *values: str) -> Term:
    return Term(key, operator, values)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", All()),
        ("   ", All()),
        ("a", term(None, ":", "a")),
        ("method:cream beta<=1", All((term("method", ":", "cream"), term("beta", "<=", "1")))),
        ("accuracy > 70%", term("accuracy", ">", "70%")),
        ("method:cream,srlm", term("method", ":", "cream", "srlm")),
        ('tag:"a b",c', term("tag", ":", "a b", "c")),
        ('"free words"', term(None, ":", "free words")),
        (r'"a \"b\" \\ \n"', term(None, ":", r'a "b" \ \n')),
        ("-state:failed", Not(term("state", ":", "failed"))),
        ("not a", Not(term(None, ":", "a"))),
        ("NOT -a", Not(Not(term(None, ":", "a")))),
        ("a or b c", AnyOf((term(None, ":", "a"), All((term(None, ":", "b"), term(None, ":", "c")))))),
        ("a and (b OR c)", All((term(None, ":", "a"), AnyOf((term(None, ":", "b"), term(None, ":", "c")))))),
        ("(a b) c", All((term(None, ":", "a"), term(None, ":", "b"), term(None, ":", "c")))),
        ("x(y)", All((term(None, ":", "x"), term(None, ":", "y")))),
        ("order notation android", All(tuple(term(None, ":", word) for word in ("order", "notation", "android")))),
        ("scorers:implicit:current", term("scorers", ":", "implicit:current")),
        ("tau>-0.5", term("tau", ">", "-0.5")),
        ("accuracy/sandbox!=0.5", term("accuracy/sandbox", "!=", "0.5")),
    ],
)
def test_parse(text: str, tree: Filter) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "words", "position"),
    [
        ("a (b", "never closed", 2),
        ("a )", "closes nothing", 2),
        (")", "closes nothing", 0),
        ("()", "nothing stands in it", 0),
        ("a or", "nothing stands behind it", 2),
        ("or a", "nothing stands before it", 0),
        ("a or or b", "nothing stands before it", 5),
        ("a and", "nothing stands behind it", 2),
        ("a and and b", "nothing stands before it", 6),
        ("-", "nothing to negate", 0),
        ("a - b", "nothing to negate", 2),
        ("not", "nothing to negate", 0),
        ('a "b', "never closed", 2),
        ("x method:", "needs a value behind :", 2),
        ("method:a,", "needs a value behind ,", 0),
        ("<5", "a key must stand before it", 0),
        ("(" * 100 + "a", "levels deep", 30),
        ("-" * 100 + "a", "too many negations", 0),
        ("a " * 101, "more than 100 terms", 200),
    ],
)
def test_parse_says_what_is_wrong_and_where(text: str, words: str, position: int) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert words in caught.value.message
    assert f"at {position + 1}" in caught.value.message
    assert caught.value.position == position


texts = st.text(st.sampled_from("ab -\"\\(),:=<>!%_é\n'Mor"), min_size=1, max_size=6)
keys = st.sampled_from(["tau", "C", "a.b", "x/y", "or", "m_1", "é"])
operators = st.sampled_from([":", "=", "!=", "<", "<=", ">", ">="])
terms = st.one_of(
    st.builds(lambda value: Term(None, ":", (value,)), texts),
    st.builds(
        lambda key, operator, values: Term(key, operator, tuple(values)),
        keys,
        operators,
        st.lists(texts, min_size=1, max_size=3),
    ),
)


def join(kind: type[All] | type[AnyOf], parts: list[Filter]) -> Filter:
    """As the parser builds them: a list within a list of its kind is one list."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,))]
    return kind(tuple(flat))


trees = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda parts: join(All, parts), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda parts: join(AnyOf, parts), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=12,
)


@given(trees)
def test_a_written_tree_is_parsed_to_itself(tree: Filter) -> None:
    assert parse(write(tree)) == tree


@given(st.text(st.sampled_from('ab ()-"\\,:=<>!%ornt'), max_size=30))
def test_any_text_is_parsed_or_refused_with_a_place_in_it(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError as error:
        assert 0 <= error.position <= error.end <= len(text)
        return
    assert parse(write(tree)) == tree


def test_list_keys() -> None:
    assert list_keys("beta<1 or (has:loss -free tag:x)") == ["beta", "loss", "tag"]
    assert list_keys("(") == []


# Runs


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["sweep-2", "sweep-10", "lost", "child"]),
        ("SWEEP", ["sweep-2", "sweep-10"]),
        ("name:sweep-1", ["sweep-10"]),
        ("name=sweep", []),
        ("name=Sweep-2", ["sweep-2"]),
        ("method:cream,oracle", ["sweep-2", "child"]),
        ("method!=cream,oracle", ["sweep-10", "lost"]),
        ("tag:sweep", ["sweep-2", "sweep-10"]),
        ("tag=best", ["sweep-2"]),
        ("tag!=best", ["sweep-10"]),
        ("-tag:best", ["sweep-10", "lost", "child"]),
        ("accuracy>70%", ["sweep-2"]),
        ("accuracy>=0.7", ["sweep-2", "child"]),
        ("accuracy>=.7 accuracy<75%", ["child"]),
        ("-accuracy>0.7", ["sweep-10", "lost", "child"]),
        ("acc!=0.7", ["sweep-2", "sweep-10"]),
        ("state:stale", ["lost"]),
        ("state:running", []),
        ("state:fail or state:stale", ["lost", "child"]),
        ("has:note", ["lost"]),
        ("note:stop", ["lost"]),
        ('"did it"', ["lost"]),
        ("has:tags", ["sweep-2", "sweep-10"]),
        ("-has:accuracy", ["lost"]),
        ("has:warning", ["lost", "child"]),
        ("warning:small", ["lost"]),
        ('warning:"undefined taus"', ["lost"]),
        ("seed=1", ["sweep-10"]),
        ("seed:1,0 method:srlm", ["sweep-10", "lost"]),
        ("iteration=M2", ["lost"]),
        ("t<3", ["lost"]),
        ("progress<50%", ["lost"]),
        ("age<2d", ["sweep-2", "lost", "child"]),
        ("age>=36h", ["sweep-10"]),
        ("age<=12h", ["sweep-2", "lost", "child"]),
        ("parent:sweep-2", ["child"]),
        ("pinned:yes", ["child"]),
        ("baseline=no", ["sweep-2", "sweep-10", "lost"]),
        ("C>0.9 tau=0.9", ["sweep-2"]),
        ("beta<=1", ["sweep-2"]),
        ("training.beta:2", ["sweep-10", "lost"]),
        ("beta!=2", ["sweep-2"]),
        ("training.learning_rate<=1e-6", ["sweep-2"]),
        ("gradient_checkpointing:false", ["lost"]),
        ("scorers:implicit:current", ["lost"]),
        ("has:path", []),
        ("loss<0.5", ["sweep-2"]),
        ("has:loss", ["sweep-2", "sweep-10"]),
    ],
)
def test_filter_runs(text: str, names: list[str]) -> None:
    assert choose(text) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acuracy>1", "acuracy>1 (at 1): there is no key acuracy; did you mean accuracy?"),
        ("tag:x bta<1", "bta<1 (at 7): there is no key bta; did you mean beta?"),
        ("zzzzzz:1", "zzzzzz:1 (at 1): there is no key zzzzzz"),
        (
            "learning_rate<1",
            "learning_rate<1 (at 1): learning_rate is 2 settings: sft.learning_rate, training.learning_rate",
        ),
        ("accuracy>70", "accuracy>70 (at 1): accuracy lies between 0 and 1"),
        ("accuracy>x", "accuracy>x (at 1): x is no number"),
        ("accuracy>nan", "accuracy>nan (at 1): nan is no number"),
        ("age<2", "age<2 (at 1): 2 is no time"),
        ("name<5", "name<5 (at 1): name has no order"),
        ("seed<1,2", "seed<1,2 (at 1): < takes one value"),
        ("state:faild", "state:faild (at 1): state is never faild; did you mean failed?"),
        ("pinned:maybe", "pinned:maybe (at 1): baseline is yes or no"),
        ("has:nte", "has:nte (at 1): there is no key nte; did you mean note?"),
        ("has>note", "has>note (at 1): has takes one key"),
        ("beta<x", "beta<x (at 1): x is no number"),
    ],
)
def test_filter_of_runs_says_what_is_wrong(text: str, message: str) -> None:
    assert fail(text).message == message


def test_keys_beyond_the_fields_are_named() -> None:
    assert list_other_keys("tag:x beta<1 has:loss acc>0.5") == ["beta", "loss"]


def test_missing_values_come_last_either_way_and_digits_count_as_numbers() -> None:
    def names(key: str, *, descending: bool = False) -> list[str]:
        return [record.run.name for record in sort_runs(RECORDS, key, FACTS, descending=descending)]

    assert names("accuracy") == ["sweep-10", "child", "sweep-2", "lost"]
    assert names("accuracy", descending=True) == ["sweep-2", "child", "sweep-10", "lost"]
    assert names("name") == ["child", "lost", "sweep-2", "sweep-10"]
    assert names("training.beta") == ["sweep-2", "sweep-10", "lost", "child"]
    assert names("loss", descending=True) == ["sweep-10", "sweep-2", "lost", "child"]


@pytest.mark.parametrize("names", [("a²", "a2", "a10"), ("1", "a", "٣")])
def test_names_of_any_characters_can_be_sorted(names: tuple[str, ...]) -> None:
    records = build_records([make_run(name) for name in names])
    assert {record.run.name for record in sort_runs(records, "name", FACTS)} == set(names)


def test_groups_have_the_means_of_what_is_there() -> None:
    """Accuracy of srlm: 0.654 alone, since the other has none; beta: 2.0 and 2 are one value."""
    groups = group_runs(RECORDS, ["method"], FACTS)
    assert [(group.values, len(group.runs)) for group in groups] == [
        ((("method", "cream"),), 1),
        ((("method", "srlm"),), 2),
        ((("method", "oracle"),), 1),
    ]
    assert groups[1].means == {"accuracy": 0.654}
    assert [group.values[0][1] for group in group_runs(RECORDS, ["training.beta"], FACTS)] == ["0.1", "2", "none"]


def test_find_key_names_the_nearest() -> None:
    assert find_key("beta", FACTS).name == "training.beta"
    with pytest.raises(ConfigError, match=r"--sort acuracy: there is no such key; did you mean accuracy\?"):
        find_key("acuracy", FACTS, option="--sort")


def test_a_thousand_runs_are_filtered_within_a_key_press() -> None:
    import time

    records = build_records([replace(RUNS[0], run_id=f"id-{n}", name=f"run-{n}") for n in range(1000)])
    start = time.process_time()
    matches = compile_run_filter("method:cream accuracy>70% (tag:best or tag:x) -state:failed run-9", FACTS)
    assert sum(map(matches, records)) == 111
    assert time.process_time() - start < 0.1


# Pairs

COLUMNS = ("iteration", "tau", "confidence", "label", "verdict", "flagged", "note", "text", "skip_reason")
ROWS: list[tuple[object, ...]] = [
    (1, 0.6000000000000001, 0.8, "right", "agree", 0, None, "One 100% sure", None),
    (1, -0.2, 0.4, "wrong", None, 1, "odd_one", "two", None),
    (2, None, None, "both_right", None, 0, None, "thr\\ee", None),
    (2, 1.0, 1.0, "unknown", "both_bad", 0, "x", "a_b", "equal scores"),
]


@pytest.fixture(scope="module")
def pairs() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE v ({', '.join(COLUMNS)})")
    connection.executemany(f"INSERT INTO v VALUES ({', '.join('?' * len(COLUMNS))})", ROWS)
    return connection


def choose_pairs(connection: sqlite3.Connection, text: str) -> list[int]:
    chosen = compile_pairs(text)
    sql = f"SELECT rowid FROM v WHERE {chosen.where or 1} ORDER BY rowid"
    return [row[0] for row in connection.execute(sql, chosen.parameters)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [1, 2, 3, 4]),
        ("t=1", [1, 2]),
        ("iteration:M2", [3, 4]),
        ("tau<=0.6", [1, 2]),
        ("tau<0.6", [2]),
        ("tau=0.6", [1]),
        ("tau>=0.6", [1, 4]),
        ("tau>0.6", [4]),
        ("-tau<=0.6", [3, 4]),
        ("tau!=1", [1, 2]),
        ("C>50%", [1, 4]),
        ("label:right", [1]),
        ("label:both", [3]),
        ("label:wrong,unknown", [2, 4]),
        ("label!=right", [2, 3, 4]),
        ("has:verdict", [1, 4]),
        ("-has:verdict", [2, 3]),
        ("verdict:both_bad", [4]),
        ("flagged:yes", [2]),
        ("has:flagged", [2]),
        ("flag:no", [1, 3, 4]),
        ("note:_", [2]),
        ("100%", [1]),
        ("%", [1]),
        ("_", [4]),
        ("\\", [3]),
        ("TWO or one", [1, 2]),
        ("has:skipped", [4]),
        ("(label:right or label:wrong) -flagged:yes", [1]),
        ("text=two", [2]),
    ],
)
def test_filter_pairs(pairs: sqlite3.Connection, text: str, rows: list[int]) -> None:
    assert choose_pairs(pairs, text) == rows


def test_what_is_skipped_is_asked_for_by_name() -> None:
    assert compile_pairs("has:skipped t=1").asks_for_skipped
    assert not compile_pairs('"skipped"').asks_for_skipped


@given(text=texts, key=st.sampled_from(["text", "note", "task", "prompt"]), operator=st.sampled_from([":", "=", "!="]))
def test_what_a_person_types_is_only_ever_a_parameter(text: str, key: str, operator: str) -> None:
    written = write(All((Term(key, operator, (text,)), Term(None, ":", (text,)))))
    plain = write(All((Term(key, operator, ("x",)), Term(None, ":", ("x",)))))
    assert compile_pairs(written).where == compile_pairs(plain).where


@given(trees)
def test_every_tree_over_texts_is_sql_with_two_values(tree: Filter) -> None:
    def rename(node: Filter) -> Filter:
        if isinstance(node, Term):
            return node if node.key is None else Term("note", "=" if node.operator == "=" else ":", node.values)
        if isinstance(node, Not):
            return Not(rename(node.part))
        return type(node)(tuple(map(rename, node.parts)))

    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE v (text, note)")
    connection.executemany("INSERT INTO v VALUES (?, ?)", [("a", None), (None, "b"), ("MOR", "a")])
    chosen, other = compile_pairs(write(rename(tree))), compile_pairs(write(Not(rename(tree))))
    found = connection.execute(f"SELECT {chosen.where}, text, note FROM v", chosen.parameters).fetchall()
    negated = connection.execute(f"SELECT {other.where} FROM v", other.parameters).fetchall()
    assert [1 - row[0] for row in found] == [row[0] for row in negated]


# Completion


def offer(text: str, cursor: int | None = None, values: dict[str, list[str]] | None = None) -> list[str]:
    at = len(text) if cursor is None else cursor
    completion = complete(text, at, build_vocabulary(FACTS), values)
    return [completion.apply(text, option)[0] for option in completion.options]


def test_only_the_term_at_the_cursor_is_completed() -> None:
    assert offer("tag:x acc") == ["tag:x accuracy>", "tag:x accuracy/sandbox>"]
    assert offer("ac beta<1", 2)[0] == "accuracy> beta<1"
    assert offer("(-sta") == ["(-state:"]
    assert offer("be") == ["training.beta:", "labels>"]
    assert offer("") == []
    assert offer("zz") == []


def test_values_are_completed_behind_their_key() -> None:
    assert offer("-state:f") == ["-state:failed"]
    assert offer("method:cream,sr", values={"method": ["cream", "srlm"]}) == ["method:cream,srlm"]
    assert offer("tag:", values={"tag": ["a b", "c"]}) == ['tag:"a b"', "tag:c"]
    assert offer("tags:c", values={"tag": ["a b", "cd"]}) == ["tags:cd"]
    assert offer("has:no") == ["has:note"]
    assert offer("accuracy>0") == []


@given(st.text(st.sampled_from('ab ()-"\\,:=<>!%ornt'), max_size=20), st.integers(0, 20))
def test_completion_never_fails_and_keeps_the_rest(text: str, cursor: int) -> None:
    at = min(cursor, len(text))
    completion = complete(text, at, PAIR_VOCABULARY)
    assert 0 <= completion.start <= completion.end <= at
    for option in completion.options:
        completed, behind = completion.apply(text, option)
        assert completed.endswith(text[at:]) and completed[:behind].endswith(option)
