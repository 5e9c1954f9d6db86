"""`report`: the page is whole and alone, says what the store says, and escapes what is foreign."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from recording import DANGEROUS, Recorder
from rich.console import Console

from cream_tui import diagnostics
from db.run_writes import release_lease
from db.study_writes import NewArm, create_study, set_arm_error

RECORDED = Path(__file__).resolve().parents[1] / "ui" / "recorded"
RUNS = ("srlm-seed0", "srlm-seed1", "srlm-seed2", "cream-seed0", "cream-seed1", "cream-seed2", "too-fast")
VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = "<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, tables by caption, texts by element."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: list[tuple[str, list[list[str]]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append(("", []))
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag in ("td", "th"):
            self.tables[-1][1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            self.texts[tag][-1] += data
        if "caption" in self.open:
            self.tables[-1] = (self.tables[-1][0] + data, self.tables[-1][1])
        elif self.open and {"td", "th"} & set(self.open):
            self.tables[-1][1][-1][-1] += data

    def find_table(self, caption: str) -> dict[str, dict[str, str]]:
        """Rows by their first cell, each by the titles."""
        ((_, (titles, *rows)),) = [table for table in self.tables if table[0].startswith(caption)]
        return {row[0]: dict(zip(titles, row, strict=True)) for row in rows}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report") / "store"
    shutil.copytree(RECORDED, root)
    return root


@pytest.fixture(scope="module")
def text(store: Path) -> str:
    """The page of seven runs, written by a process of its own."""
    target = store.parent / "out" / "page.html"
    target.parent.mkdir()
    words = [sys.executable, "-P", "-m", "cream_tui", "report", *RUNS, "-o", str(target), "--store", str(store)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == f"7 runs: {target}\n"
    assert list(target.parent.iterdir()) == [target]
    return target.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_is_whole_and_needs_nothing_else(text: str, page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for _, attributes in page.elements if "href" in attributes]
    assert links and all(link and link.startswith("#") and link[1:] in ids for link in links)
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert not any("src" in attributes for _, attributes in page.elements)
    assert "://" not in text and "@import" not in text
    assert set(re.findall(r"url\(([^)]?)", text)) == {"#"}
    assert "default-src 'none'" in text
    assert re.search(r"@media print \{.*details::details-content \{ content-visibility: visible; \}", text, re.DOTALL)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):  # readable on dark paper, too
        assert not re.findall(r"#[0-9a-f]{6}|<text(?![^>]*fill)", svg)


def test_every_figure_says_how_many_and_which_interval(page: Page) -> None:
    captions = page.texts["figcaption"]
    assert len(captions) == len([tag for tag, _ in page.elements if tag == "figure"]) == len(page.texts["svg"]) >= 11
    for caption in captions:
        assert re.search(r"\d", caption) and re.search(r"interval", caption), caption


def test_numbers_are_those_of_the_store(store: Path, page: Page, call: Callable) -> None:
    """Against `show --json` of each run: the mean over the three seeds of both arms."""
    accuracy = page.find_table("Accuracy on held-out items")
    labels = page.find_table("Labels that the model gave itself")
    for method in ("srlm", "cream"):
        shown = [call("show", f"{method}-seed{k}", "--json", "--store", str(store)).stdout for k in range(3)]
        models = [{model["model"]: model for model in json.loads(one)["models"]} for one in shown]
        for name in ("M0", "M1", "M2", "M3", "M4"):
            mean = statistics.fmean(found[name]["accuracy"] for found in models)
            assert accuracy[method][name].split(" [")[0] == f"{100 * mean:.1f}"
        for name in ("M1", "M2", "M3"):
            mean = statistics.fmean(found[name]["label_accuracy"] for found in models)
            assert labels[method][name].split(" [")[0] == f"{100 * mean:.1f}"
        assert accuracy[method]["seeds"] == "3"


def test_numbers_break_beside_their_interval_only(page: Page) -> None:
    cells = page.find_table("Accuracy in %")["srlm"]
    assert len(cells["M4"].split(" ")) == 2 and re.fullmatch(r"\S+ \[\S+–\u2060\S+\]\u00a0[↑↓]\*?", cells["M4"])


def test_cost_says_what_sharing_saved(page: Page) -> None:
    """Of six runs of three seeds each pair shares M1, the first sample and the first scores."""
    cost = page.find_table("Computing time")
    assert (cost["evaluate"]["asked for"], cost["sample"]["asked for"]) == ("32", "19")
    assert int(cost["sample"]["computed"]) < int(cost["sample"]["asked for"])


def test_what_failed_is_said_without_folders(text: str, page: Page) -> None:
    assert "too-fast, seed 0: failed: train M2: the loss is nan" in "".join(page.texts["li"])
    for place in ("/data/store", str(RECORDED), str(Path.home()) + "/", "/tmp/", "/opt/"):
        assert place not in text


def test_the_first_arm_has_its_settings_in_full_and_the_others_what_differs(page: Page) -> None:
    differences = page.find_table("Settings in which each arm differs from srlm")
    settings = {title: row["differs from srlm in"].split("; ") for title, row in differences.items()}
    assert list(settings) == ["cream", "too-fast"]
    assert "method.name = cream" in settings["cream"] and "method.name = cream" in settings["too-fast"]
    assert set(settings["too-fast"]) - set(settings["cream"]) >= {"training.learning_rate = 1000000000.0"}
    assert sum("beta: 2.0" in code for code in page.texts["pre"]) == 1


def test_warnings_are_counted_by_arm(store: Path, page: Page, call: Callable) -> None:
    """Against `health --json` of each run: in how many runs of an arm each diagnostic warns."""
    statuses: dict[str, dict[str, list[str]]] = {}
    for run in RUNS:
        arm = run.partition("-seed")[0]
        for finding in json.loads(call("health", run, "--json", "--store", str(store)).stdout)["findings"]:
            if finding["status"] != "unknown":
                statuses.setdefault(finding["title"], {}).setdefault(arm, []).append(finding["status"])
    told = page.find_table("A run warns as soon as")
    assert set(told) == {title for title, arms in statuses.items() if any("warn" in own for own in arms.values())}
    for title, row in told.items():
        known = {arm: (own.count("warn"), len(own)) for arm, own in statuses[title].items()}
        every = [arm for arm, (n_warned, n_known) in known.items() if n_warned == n_known]
        words = f"all {len(known)} arms" if len(every) == len(known) > 1 else ", ".join(every) or "–"
        some = [f"{arm} ({n} of {of})" for arm, (n, of) in known.items() if 0 < n < of]
        assert (row["warns in every run of"], row["in some runs of"]) == (words, ", ".join(some) or "–")
    silent = {title for title in statuses if title not in told}
    (sentence,) = [text for text in page.texts["p"] if text.startswith("Warns in no run: ")]
    assert set(sentence.removeprefix("Warns in no run: ").rstrip(".").split("; ")) == silent


def test_names_and_errors_are_foreign_text(recorder: Recorder, tmp_path: Path, call: Callable) -> None:
    recorder.record(HOSTILE + "\x1b[2J\u202e", "cream", texts=(HOSTILE, "x"))
    recorder.record("$x$ & `b` | c", HOSTILE)
    names = ("latest", HOSTILE)
    for ending in ("html", "md"):
        target = tmp_path / f"r.{ending}"
        called = call("report", *names, "-o", str(target), "--store", str(recorder.store.paths.root))
        assert called.code == 0, called.stderr
        text = target.read_text(encoding="utf-8")
        assert not any(character in text for character in DANGEROUS)
        fenced_out = re.sub(r"```yaml\n.*?\n```", "", text, flags=re.DOTALL)
        assert "onerror" in fenced_out and HOSTILE not in fenced_out
    assert not {"img"} & {tag for tag, _ in Page((tmp_path / "r.html").read_text()).elements}


def test_markdown_has_its_figures_beside_it(store: Path, tmp_path: Path, call: Callable, page: Page) -> None:
    target = tmp_path / "quick run.md"
    assert call("report", *RUNS[:6], "-o", str(target), "--store", str(store)).code == 0
    text = target.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
    assert len(pictures) >= 11 and all(name.startswith("quick%20run-figures/") for name in pictures)
    for name in pictures:
        svg = ElementTree.parse(tmp_path / name.replace("%20", " ")).getroot()
        assert svg.tag.endswith("svg") and "var(" not in ElementTree.tostring(svg, encoding="unicode")
    cell = page.find_table("Accuracy on held-out items")["srlm"]["M4"]
    assert cell.replace("[", "\\[").replace("]", "\\]") in text
    assert str(tmp_path) not in text
    fewer = tmp_path / "fewer.md"
    assert call("report", *RUNS[:2], *RUNS[3:5], "-o", str(fewer), "--store", str(store)).code == 0
    for row in ("\n| srlm |", "\n| cream |"):  # arms have rows, seeds have none
        assert text.count(row) == fewer.read_text().count(row) > 10


def test_what_cannot_be_computed_is_said(recorder: Recorder, tmp_path: Path, call: Callable) -> None:
    """A run that has only evaluated M0: no labels, no agreement, no length."""
    recorder.record("early", "cream", last_label="evaluate M0")
    target = tmp_path / "early.html"
    called = call("report", "early", "-o", str(target), "--store", str(recorder.store.paths.root))
    assert called.code == 0, called.stderr
    told = Page(target.read_text(encoding="utf-8")).texts["p"]
    assert sum("not computable, because" in sentence for sentence in told) >= 8


def test_an_imported_run_is_not_said_to_be_going_on(tmp_path: Path, call: Callable) -> None:
    rows = tmp_path / "pairs.jsonl"
    rows.write_text(json.dumps({"prompt": "1 + 1", "chosen": "2", "rejected": "3"}) + "\n")
    assert call("import", str(rows), "--name", "theirs", "--store", str(tmp_path / "store")).code == 0
    target = tmp_path / "theirs.md"
    assert call("report", "theirs", "-o", str(target), "--store", str(tmp_path / "store")).code == 0
    assert "The runs were imported from files." in target.read_text()


def test_a_study_is_told_by_its_arms_and_what_is_missing(recorder: Recorder, tmp_path: Path, call: Callable) -> None:
    """Two arms in the order of the matrix, M3 of which is 0.4 and 0.5 against 0.6 and 0.7; one part never began."""
    parts, runs = [], {}
    for method, accuracy in (("srlm", 0.4), ("cream", 0.6)):
        for seed in (0, 1):
            name = f"small-{method}-{seed}"
            runs[name] = recorder.record(name, method, seed=seed, accuracies=(0.5, 0.7, 0.8, accuracy + seed / 10))
            parts.append(NewArm(method, method, seed, name, "{}", runs[name].run_id))
    parts.append(NewArm("oracle", "oracle", 0, "small-oracle-0", "{}"))
    for method in ("vote", "random"):
        parts += [NewArm(method, method, seed, f"small-{method}-{seed}", "{}") for seed in (0, 1, 2)]
    methods: list[dict[str, object]] = [{"name": "srlm", "set": {}}, {"name": "cream", "set": {"x": 1}}]
    config = json.dumps(
        {"name": "small", "config": "/home/somebody/run.yaml", "methods": methods, "vary": {}, "baseline": "oracle"}
    )
    study_id = create_study(recorder.store, "small", config, jobs=1, arms=parts)
    set_arm_error(recorder.store, study_id, 4, "no such file: /home/somebody/data/set.jsonl")
    target = tmp_path / "small.html"
    called = call("report", "small", "small-srlm-0", "-o", str(target), "--store", str(recorder.store.paths.root))
    assert called.code == 0, called.stderr
    text = target.read_text(encoding="utf-8")
    page = Page(text)
    assert page.texts["h1"] == ["small"]
    assert [row["seeds"] for row in page.find_table("The arms.").values()] == ["0, 1", "0, 1"]
    assert "oracle, seed 0: has no run: no such file: set.jsonl." in page.texts["li"]
    assert "vote, random, seeds 0–2: have no run." in page.texts["li"]
    assert page.find_table("As the shipped files say")["srlm"]["what it is"].startswith(
        "Self-rewarding by the implicit"
    )
    assert "/home/somebody" not in text
    assert yaml.safe_load(page.texts["pre"][0]) == {
        "name": "small",
        "config": "run.yaml",
        "methods": ["srlm", methods[1]],
        "baseline": "oracle",
    }
    cells = page.find_table("Accuracy in %")
    assert cells["srlm"]["M3"].startswith("45.0 [") and cells["cream"]["M3"].startswith("65.0 [")
    assert (cells["all"]["M2"].split()[0], "↓" in cells["srlm"]["M3"]) == ("80.0", True)
    assert "Arms are compared with the first one, srlm, since the baseline oracle has no run yet." in page.texts["p"]
    words = ("--baseline", "cream", "-o", str(target), "--store", str(recorder.store.paths.root))
    assert call("report", "small", *words).code == 0
    page = Page(target.read_text(encoding="utf-8"))
    assert list(page.find_table("The arms.")) == ["cream", "srlm"]
    first = page.texts["li"][len(page.texts["section"])]  # after the links
    assert first.startswith("The baseline cream was chosen after the fact, that of the study is oracle: ")
    assert "Arms are compared with the first one, cream." in page.texts["p"]
    assert "This report: cream-tui report small --baseline cream -o small.html" in page.texts["p"]


def test_a_failed_arm_has_no_verdict_but_its_failure_is_a_finding(
    recorder: Recorder, tmp_path: Path, call: Callable
) -> None:
    """cream has M1 alone, which it shares with srlm, and has failed."""
    parts = []
    for method, last_label in (("srlm", None), ("cream", "agree t=1")):
        run = recorder.record(f"half-{method}", method, last_label=last_label)
        parts.append(NewArm(method, method, 0, run.name, "{}", run.run_id))
    token = f"token-{run.run_id}"
    release_lease(recorder.store, run.run_id, token, state="failed", exit_code=1, error="no pairs are left")
    create_study(recorder.store, "half", "{}", jobs=1, arms=parts)
    target = tmp_path / "half.html"
    where = ("--store", str(recorder.store.paths.root))
    assert call("report", "half", "-o", str(target), *where).code == 0
    told = Page(target.read_text(encoding="utf-8")).texts["li"]
    assert "cream against srlm: not computable, because cream failed before M2." in told
    assert "Failed: cream after M1 (seed 0)." in told
    record = json.loads(call("compare", "half", "--json", *where).stdout)
    (found,) = [one for one in record["comparisons"] if one["family"] == "arms"]
    assert (found["reason"], found["p_value_holm"]) == ("not computable, because cream failed before M2", None)


def test_a_terminal_sees_what_is_being_done(
    store: Path, tmp_path: Path, call: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("report", *RUNS[:2], "-o", str(tmp_path / "r.html"), "--store", str(store))
    assert call(*words).stderr == f"2 runs: {tmp_path / 'r.html'}\n"
    monkeypatch.setattr(diagnostics, "is_terminal", lambda: True)
    monkeypatch.setattr(diagnostics, "build_console", lambda: Console(stderr=True, force_terminal=True, width=80))
    seen = call(*words).stderr
    assert 0 < seen.index("drawing 1") < seen.index(f"2 runs: {tmp_path}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("srlm-seed0",), "report needs a file to write"),
        (("srlm-seed0", "-o", "r.pdf"), "a report is HTML or Markdown"),
        (("srlm-seed0", "-o", "nowhere/r.html"), "there is no folder nowhere"),
        (("srlm-seed0", "-o", "folder.html"), "-o folder.html: is a folder"),
        (("srlm-seed0", "-o", "r.md"), "r-figures: is a file; a folder is to be made there"),
        (("srml-seed0", "-o", "r.html"), "no run or study 'srml-seed0' in the store"),
        (("srlm-seed0", "-o", "r.html", "--baseline", "cream"), "--baseline cream: no arm is called so"),
    ],
)
def test_wrong_words_get_one_message(
    words: tuple[str, ...],
    message: str,
    store: Path,
    tmp_path: Path,
    call: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "r-figures").touch()
    called = call("report", *words, "--store", str(store))
    assert called.code == 2
    assert called.stderr.startswith("error: ") and message in called.stderr and "Traceback" not in called.stderr


def test_without_matplotlib_the_way_out_is_named(
    store: Path, tmp_path: Path, call: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    called = call("report", "srlm-seed0", "-o", str(tmp_path / "r.html"), "--store", str(store))
    assert called.code == 5 and "pip install 'cream-tui[report]'" in called.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_table_loads_no_plots() -> None:
    code = "import sys, cream_tui.cli, cream_tui.commands.report; print({'matplotlib', 'numpy'} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "set()"
