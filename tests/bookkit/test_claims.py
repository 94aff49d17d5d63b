import functools
import html
import importlib.util
import re
import statistics
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import nbformat
import pytest
from bs4 import BeautifulSoup

from alexnet.bookkit import cards
from alexnet.bookkit import claims as claims_module
from alexnet.bookkit.claims import claim, claim_from_runs, judge, record
from alexnet.bookkit.effects import draw_effects
from alexnet.bookkit.findings import FINDINGS, final_errors, finding, load_runs
from alexnet.bookkit.paths import BOOK, RECORD, chapter_title
from alexnet.bookkit.stats import AGREEMENTS, SIZES, VERDICTS, Effect, Interval, mean_difference

# A row keeps what it has computed from the runs
claims = functools.cache(claims_module.claims)
CALL = re.compile(r'\bclaim(_from_runs)?\("(P\d+)"(,?)')


def calls(page):
    """The claims that the cells of a page ask for.

    Returns:
        By name whether the cell brings a figure, and the cards that the page stores of it.
    """
    found = {}
    for cell in nbformat.read(BOOK / f"{page}.ipynb", 4).cells:
        if cell.cell_type != "code":
            continue
        for from_runs, name, comma in CALL.findall(cell.source):
            assert name not in found, f"{page} asks for {name} twice"
            is_computed = bool(from_runs or comma)
            cards = [output.get("data", {}).get("text/html") for output in cell.outputs]
            found[name] = is_computed, cards
    return found


PAGES = {path.stem: calls(path.stem) for path in sorted(BOOK.glob("*.ipynb"))}


def test_every_claim_has_a_row():
    assert list(claims()) == [f"P{n}" for n in range(1, 30)]
    for row in claims().values():
        assert row.section and row.claim and row.paper
        assert row.ours or row.why, f"{row.name} was not run: why?"
    assert {row.verdict for row in claims().values()} == set(VERDICTS)


def test_what_the_rule_needs_stands_in_the_rows():
    kinds = {}
    for row in claims().values():
        kinds.setdefault(row.kind, []).append(row.name)
        assert not (row.agreement and row.measured)
        assert row.agreement in (None, *AGREEMENTS) and row.size in (None, *SIZES)
    assert kinds["by construction"] == ["P4", "P11", "P17"]
    assert kinds["counted"] == ["P1", "P2", "P3", "P12", "P13", "P27"]
    assert kinds["measured"] == list(FINDINGS)
    looks = {name: claims()[name].measured.looks for name in FINDINGS}
    assert {name: n for name, n in looks.items() if n > 1} == {"P9": 4, "P24": 2}


@pytest.mark.parametrize("name", claims())
def test_a_row_comes_from_the_one_cell_that_it_leads_to(name):
    row = claims()[name]
    assert [page for page, found in PAGES.items() if name in found] == [row.page]
    is_computed, cards = PAGES[row.page][name]
    assert is_computed == (row.ours is not None)
    assert row._repr_html_() in cards


# The rule


@pytest.fixture(scope="module")
def found():
    """What the recorded runs say of each claim that was measured."""
    return {name: finding(name, claims()[name].measured.looks) for name in FINDINGS}


@pytest.mark.parametrize("name", claims())
def test_a_verdict_follows_from_the_rule(name, found):
    row = claims()[name]
    assert judge(row, found.get(name)) == (row.verdict, row.size)
    if name in FINDINGS:
        assert row.ours == found[name].ours
        assert claim_from_runs(name) == row
    else:
        assert claim(name, row.ours) == row


@pytest.mark.parametrize("name", FINDINGS)
def test_other_runs_have_another_verdict(name, found):
    """With all intervals on the other side, and with one that no effect is in."""
    row = claims()[name]
    row = replace(row, measured=replace(row.measured, setting={"data": "", "net": ""}))
    for low, expected in {0.5: "holds", -1.5: "does not hold", -0.5: "cannot tell"}.items():
        effects = []
        for effect in found[name].effects:
            interval = Interval(low + 0.5, low, low + 1)
            moved = Interval(*(value + effect.no_effect for value in interval))
            effects.append(Effect((moved,) * len(effect.intervals), effect.no_effect))
        verdict, _ = judge(row, replace(found[name], effects=tuple(effects)))
        assert verdict == expected


def judged_with(name, **changed):
    """The verdict and the size if a field of the measurement were another."""
    row = claims()[name]
    row = replace(row, measured=replace(row.measured, **changed))
    return judge(row, finding(name, row.measured.looks))


def test_one_look_would_make_p9_hold():
    assert [judged_with("P9", looks=n)[0] for n in (1, 2, 3, 4)] == ["holds"] * 2 + [
        "cannot tell"
    ] * 2


def test_a_decay_that_was_run_would_refute_p18():
    setting = claims()["P18"].measured.setting
    assert judged_with("P18", setting=setting | {"weight_decay": 0.004})[0] == "does not hold"
    assert judged_with("P18", setting=setting | {"weight_decay": 0.002})[0] == "cannot tell"


def test_one_line_would_decide_p16(found):
    """By the training error it takes longer at any line; by the test error it depends."""
    longer, gap = found["P16"].effects
    assert gap.verdict == "holds" and len(longer.intervals) > 40
    verdicts = set()
    for interval in longer.intervals:
        effects = (Effect((interval,), no_effect=1), gap)
        verdicts.add(judge(claims()["P16"], replace(found["P16"], effects=effects))[0])
    assert verdicts == {"holds", "cannot tell", "does not hold"}


def test_sizes_follow_from_the_papers_figure_and_setting(found):
    mean, low, high = found["P5"].effects[0].intervals[0]
    sizes = {low - 0.1: "larger", mean: "as the paper says", high + 0.1: "smaller"}
    setting = claims()["P5"].measured.setting | {"net": "four-layer"}  # as if it were named
    for figure, expected in sizes.items():
        assert judged_with("P5", figure=figure, setting=setting) == ("holds", expected)
    for other in ({"data": "ImageNet"}, {"net": "AlexNet"}):
        assert judged_with("P5", setting=setting | other) == ("holds", "not comparable")


@pytest.mark.parametrize("name", ["P1", "P2", "P12"])
def test_a_round_number_may_be_off_by_two_per_cent(name):
    row = claims()[name]
    assert judge(replace(row, ours="61")) == ("does not hold", None)
    assert judge(replace(row, ours=row.paper)) == ("holds", None)


def test_a_cell_that_finds_something_else_fails():
    assert claim("P13", "2178 times").verdict == "does not hold"
    for wrong in [("P13", "2048 times"), ("P13",), ("P6", "1.7 points"), ("P17", "another")]:
        message = f"of {wrong[0]} must be .* as in record.json, got .*: correct the one"
        with pytest.raises(ValueError, match=message):
            claim(*wrong)


@pytest.mark.parametrize(
    ("name", "field", "other"),
    [
        ("P13", "verdict", "holds"),
        ("P18", "verdict", "does not hold"),
        ("P5", "size", "as the paper says"),
    ],
)
def test_a_record_that_does_not_follow_from_the_rule_fails(name, field, other, monkeypatch):
    row = claims()[name]
    monkeypatch.setattr(claims_module, "claims", lambda: {name: replace(row, **{field: other})})
    with pytest.raises(ValueError, match=f"the {field} of {name} must be '{other}' as in"):
        claim_from_runs(name) if name in FINDINGS else claim(name, row.ours)


def test_runs_that_say_something_else_fail(monkeypatch):
    monkeypatch.setitem(FINDINGS, "P10", FINDINGS["P9"])
    with pytest.raises(ValueError, match="the figure of P10 must be"):
        claim_from_runs("P10")


def test_a_claim_is_shown_as_text_and_as_a_card():
    row = claims()["P9"]
    text = f" Cannot tell ({row.notes})"
    assert repr(row).startswith("P9: The paper says ") and repr(row).endswith(text)
    card = row._repr_html_()
    assert 'id="claim-P9"' in card and "with it is 1.6 points lower (−0.2 to 3.3)." in card
    assert "<strong>Cannot tell</strong>: interval includes zero</p>" in card
    assert "<li>How large the effect is cannot be compared: " in card
    assert "<li>It is judged by an interval of 98.18 % rather than 95 %, because" in card
    larger = replace(claims()["P5"], size="larger")._repr_html_()
    assert "<strong>Holds</strong>, larger than the paper says</p>" in larger
    assert "<strong>Holds</strong></p>" in claims()["P1"]._repr_html_()
    assert "P3 (Figure 2): " in claims()["P3"]._repr_html_()
    assert "P5 (section 3.1, Figure 1): " in claims()["P5"]._repr_html_()


@pytest.mark.parametrize("row", claims().values(), ids=claims())
def test_a_card_says_both_figures_in_whole_sentences(row):
    assert row.found.startswith("The paper") and row.found.endswith(".")
    if row.ours is not None:
        numbers = re.findall(r"\d[\d,.]*\d|\d", row.ours)
        for number in numbers:  # those of P16 stand below in part
            assert number in row.found + row.reasons * (row.name == "P16")
    if row.name not in ("P11", "P29"):  # the paper gives no figure
        assert row.paper in row.found
    assert not re.search(r"[+{}]", row.found)
    assert not row.reasons or re.fullmatch(r"[A-Z].*\.", row.reasons)


def test_a_card_begins_with_the_photographs_that_decide():
    row = claims()["P18"]  # on CIFAR-10 another decay was run than the paper's
    said = re.findall(r"<p>(.*?)</p>", cards.card(row))
    assert len(said) == 2
    paper, _, other = row.found.partition(". ")
    assert said[0] == html.escape(f"{paper}. {row.found_tiny}") and said[1] == html.escape(other)
    deciding = [name for name, row in claims().items() if row.tiny_imagenet_decides]
    assert deciding == ["P18"]


def test_a_figure_may_be_said_the_other_way_round():
    plain = "{turned[0]} ({turned[2]} to {turned[1]})"
    row = replace(claims()["P18"], plain=plain, ours="-1.5 points (-2.0 to +0.5)")
    assert row.found == "1.5 (−0.5 to 2.0)"


def test_what_windows_and_mirrors_do_to_the_errors_is_what_the_runs_say():
    """P29 rests on the test error, not on the gap alone, which narrows for another reason too."""
    without = load_runs("augmentation", augment="none")
    with_it = load_runs("augmentation", augment="crop")
    gain = mean_difference(final_errors(without), final_errors(with_it))
    said = f"by {gain.mean:.1f} points ({gain.low:.1f} to {gain.high:.1f}),"
    assert said in claims()["P29"].found
    before, after = (
        statistics.mean(final_errors(runs, "final_train_error")) for runs in (without, with_it)
    )
    assert f"from {before:.1f} to {after:.1f} %" in claims()["P29"].why


def test_how_much_longer_a_step_is_than_its_batch(found):
    (longer,) = found["P28"].effects[0].intervals
    assert f"take 1/{longer.mean:.0f} of the rest of a step" in claims()["P28"].found


def texts_of(drawing):
    return [text.text for text in ElementTree.fromstring(drawing).iter("text")]


def test_the_two_pictures_of_effects_have_every_claim_that_was_measured():
    drawings = [draw_effects(claims().values(), deciding) for deciding in (True, False)]
    drawing = "".join(drawings)
    tiny = {row.name for row in claims().values() if row.tiny_imagenet}
    words = [text for drawing in drawings for text in texts_of(drawing)]
    assert {name for text in words for name in re.findall(r"^P\d+", text)} == {*FINDINGS, *tiny}
    assert {"−15.7", "−0.5", "0.7 to 4.0", "1.0 to 4.1"} <= set(words)
    assert "PCA colour +0.4 (−2.2 to 3.1) and on Tiny ImageNet +0.3" in drawing
    # A ratio on CIFAR-10, and there a difference
    assert (
        "P5 ReLU against tanh, errors on Tiny ImageNet −3.4 (−4.3 to −2.5) points, errors"
        in drawing
    )
    for part in ("top-1", "gap", "conv4"):  # of P6, P16 and P26
        assert any(text.endswith(f", {part}") for text in words)
    # In the unit of its line
    assert (
        "P24 Columns differ in colour +0.07 (−0.04 to 0.18) and on Tiny ImageNet +0.04" in drawing
    )
    for drawing in drawings:
        circles = list(ElementTree.fromstring(drawing).iter("circle"))
        assert 0 < sum("background" in circle.get("fill") for circle in circles) < len(circles)


def test_effects_of_runs_that_do_not_count_have_a_picture_of_their_own():
    """Whatever their intervals are, the verdict does not hang on them."""
    decide, others = (texts_of(draw_effects(claims().values(), which)) for which in (True, False))
    assert "? interval includes zero" in decide and "✓ holds" in decide
    assert "? 8 epochs only" in others and "? on a CPU, not a GPU" in others
    assert not {"? interval includes zero", "✓ holds", "✗ does not hold"} & set(others)
    tags = {text for text in decide if text[0] in "✓✗?"}
    assert tags <= {"✓ holds", "? interval includes zero", "? depends on the error to be reached"}


def test_why_the_runs_cannot_tell_follows_from_what_the_verdict_follows_from():
    whys = {}
    for row in claims().values():
        for outcome in row.outcomes:
            is_open = outcome.verdict == "cannot tell"
            assert all(outcome.doubts) == any(outcome.doubts) == is_open
            assert (outcome.why == outcome.verdict) != is_open
            ours = row.ours if outcome.found.data == "CIFAR-10" else row.tiny_imagenet.ours
            assert outcome.found.ours == ours
            whys[row.name, outcome.found.data] = outcome.doubts
    assert whys["P15", "CIFAR-10"] == ["interval includes zero"]
    assert whys["P16", "CIFAR-10"] == [
        "depends on the error to be reached",
        "gap clear, epochs not",
    ]
    assert whys["P18", "CIFAR-10"] == ["decay 0.004, not 0.0005"]
    assert whys["P28", "CIFAR-10"] == ["on a CPU, not a GPU"]
    assert whys["P5", "Tiny ImageNet"] == ["errors, not speed"]
    early = [name for (name, _), why in whys.items() if why[0] == "8 epochs only"]
    assert early == ["P6", "P8", "P10", "P26"]
    outcomes = [(row.name, outcome) for row in claims().values() for outcome in row.outcomes]
    clear = [name for name, outcome in outcomes if outcome.is_clear]
    # Not P8 and P10, which are clear in one of two errors
    assert clear == ["P5", "P6", "P18", "P26", "P28"]


@pytest.mark.parametrize("deciding", [True, False])
def test_rows_of_the_picture_say_their_verdict_and_nothing_is_drawn_over_their_figures(deciding):
    drawing = draw_effects(claims().values(), deciding)
    tree = ElementTree.fromstring(drawing)
    texts = [(float(t.get("x")), float(t.get("y")), t.text, t) for t in tree.iter("text")]
    labels = [text for text in texts if re.match(r"P\d", text[2])]
    tags = {y: text for x, y, text, t in texts if x == 358 and text[0] in "✓✗?"}
    assert len(labels) == len(tags) == len({text[1] for text in labels})
    for _, y, label, _ in labels:
        assert 6.3 * len(label) + 5.4 * len(tags[y]) < 356  # units, the label in bold
    figures = [(y, text) for x, y, text, _ in texts if x == 2 and re.match(r"[+−\d]", text)]
    bars = [line for line in tree.iter("line") if line.get("y1") == line.get("y2")]
    for y, text in figures:
        ends = [float(b.get("x1")) for b in bars if abs(float(b.get("y1")) + 4 - y) < 2]
        assert ends and min(ends) > 2 + 6 * len(text)
    assert len(figures) > len(labels)
    assert "P18 Weight decay, training error" in [text[2] for text in labels]


def test_errors_have_an_axis_of_their_own_and_it_is_linear():
    drawing = draw_effects(claims().values(), units=["errors"])
    tree = ElementTree.fromstring(drawing)
    ticks = {text.text: float(text.get("x")) for text in tree.iter("text")}
    assert ticks["5"] - ticks["0"] == ticks["0"] - ticks["−5"] > 60
    assert "10" not in ticks  # beyond the farthest bar
    _, _, *dots = (float(circle.get("cx")) for circle in tree.iter("circle"))  # after the legend
    assert abs((max(dots) - 180) / (ticks["5"] - 180) - 7.72 / 5) < 0.02  # P29
    names = {name for text in texts_of(drawing) for name in re.findall(r"^P\d+", text)}
    assert names == {"P9", "P10", "P14", "P15", "P18", "P19", "P29"}
    others = texts_of(draw_effects(claims().values(), units=["points", "times", "of 1"]))
    labels = {text for text in others if re.match(r"P\d", text)}
    assert {label.partition(" ")[0] for label in labels} == {"P5", "P16", "P24", "P25", "P29"}


def test_differences_share_one_axis_and_ratios_another():
    drawing = draw_effects(claims().values(), units=["points", "times", "of 1"])
    tree = ElementTree.fromstring(drawing)
    ticks = {text.text: float(text.get("x")) for text in tree.iter("text")}
    middle = ticks["0"]
    assert middle == ticks["1"] == 180
    assert ticks["−2"] < middle < ticks["2"] < ticks["10"] < ticks["50"] < 360
    steps = [ticks[after] - ticks[before] for before, after in pairwise(["½", "1", "2"])]
    assert abs(steps[0] - steps[1]) <= 1  # of logarithms
    _, _, *dots = (float(circle.get("cx")) for circle in tree.iter("circle"))  # after the legend
    assert ticks["50"] < max(dots)  # 53.4, of P29
    ends = [float(bar.get(end)) for bar in tree.iter("line") for end in ("x1", "x2")]
    assert min(ends) > 0 and max(ends) == middle + 170  # the farthest end of an interval


def test_verdicts_are_told_apart_without_colors():
    assert list(cards.SIGNS) == list(VERDICTS)
    assert len(set(cards.SIGNS.values())) == len(VERDICTS)


def test_the_tally_and_the_cards_have_every_claim_once():
    rows = claims().values()
    assert sorted(re.findall(r'href="#claim-(P\d+)"', cards.tally(rows))) == sorted(claims())
    chapters = {row.page: chapter_title(row.page) for row in rows}
    assert chapters["two_gpus"] == "Two GPUs"
    shown = cards.cards(rows, chapters)
    assert '<option value="in-two_gpus">Two GPUs</option>' in shown
    assert sorted(re.findall(r'id="claim-(P\d+)"', shown)) == sorted(claims())
    for row in rows:
        (of_verdict,) = re.findall(
            rf'<div id="{cards.css_class(row.verdict)}"(.*?)(?=<div id="is-|$)', shown
        )
        assert f'id="claim-{row.name}"' in of_verdict
        assert f'href="{row.page}.html#claim-{row.name}"' in of_verdict
        assert f'value="in-{row.page}"' in shown


def test_a_line_has_the_figure_that_decides_and_opens_to_the_sentences():
    line = cards.cards([claims()["P5"]], {"relu": "ReLU"})
    summary, _, opened = line.partition("</summary>")
    assert "<span>paper: 6 times faster · here: 7.6 times, with the recipe of 2012<" in summary
    assert "3.4" not in summary and "3.4 points" in opened  # on Tiny ImageNet, another question
    assert "The paper says" not in summary and "6.6 to 8.7" in opened
    assert claims()["P5"].found in opened and "Why, in detail (P5)" in opened
    logs = cards.cards([claims()["P21"]], {"results": "Results"})
    assert "paper: 37.5 / 17.0 % · logs of 2012: 37.47 / 17.00 %</span>" in logs
    nothing = cards.cards([claims()["P29"]], {"augmentation": "Data augmentation"})
    assert "<span>here: +2.5 points of error, +10.8 of gap</span>" in nothing
    alone = cards.cards([claims()["P6"]], {"two_gpus": "Two GPUs"})
    assert "paper: 1.7 and 1.2 points · here: +2.7 and +3.7 points</span>" in alone
    assert ">? clear, but 8 epochs only</em>" in alone and "The verdict there" not in alone
    other = cards.cards([claims()["P18"]], {"learning": "Learning"})
    # Not the runs with another decay, which come first
    assert "here: −0.5 points, 40 classes</span>" in other
    assert ">? interval includes zero</em>" in other
    counted = cards.cards([claims()["P13"]], {"augmentation": "Data augmentation"})
    assert "<span>paper: 2048 times · here: 2178 times</span>" in counted


def test_the_number_above_the_lines_is_that_of_the_chosen_chapter():
    rows = claims().values()
    shown = cards.cards(rows, {row.page: chapter_title(row.page) for row in rows})
    headings = BeautifulSoup(shown, "html.parser").select(".claim-heading")
    said = [[span.text for span in heading.select("span")] for heading in headings]
    assert said[0] == ["3 do not hold", "1 does not hold", "1 does not hold", "1 does not hold"]
    assert said[2][0] == "10 cannot be told" and "1 cannot be told" in said[2]
    for heading, verdict in zip(headings, ["does not hold", "holds", "cannot tell"]):
        (learning,) = heading.select(".of-learning") or [None]
        members = [row for row in rows if row.page == "learning" and row.verdict == verdict]
        assert (learning.text.split()[0] if learning else "0") == str(len(members))


def test_the_tally_tells_on_what_a_verdict_rests():
    """Counted; measured as the paper has it; or in another net, on other data."""
    groups = BeautifulSoup(cards.tally(claims().values()), "html.parser").select(".claim-group")
    kinds = {}
    for group in groups:
        for kind in group.select(".claim-kinds > div"):
            number, _, words = (kind.span.text if kind.span else "").partition(" ")
            assert number in ("", str(len(kind.select("li"))))
            kinds.setdefault(words, []).extend(name.text for name in kind.select("li small"))
    rows = claims().values()
    assert sorted(name for names in kinds.values() for name in names) == sorted(claims())
    assert set(kinds["counted"]) == {row.name for row in rows if row.kind == "counted"}
    assert set(kinds["on the paper's data"]) == {"P5", "P9"}
    labels = [row.label for row in rows]
    assert all(labels) and len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("name", "worse", "better"),
    [
        ("P6", ("145-half", "2010 test", "ten"), ("145-2010", "2010 test", "ten")),
        ("P8", ("148", "2012 validation", "ten"), ("145", "2012 validation", "ten")),
        ("P10", ("147", "2012 validation", "ten"), ("145", "2012 validation", "ten")),
        ("P14", ("145-2010", "2010 test", "centre"), ("145-2010", "2010 test", "ten")),
    ],
)
def test_what_a_claim_says_of_the_logs_is_what_they_say(name, worse, better):
    rows = {(row["run"], row["set"], row["views"]): row for row in record()["logs"]}
    top1 = rows[worse]["top1"] - rows[better]["top1"]
    top5 = rows[worse]["top5"] - rows[better]["top5"]
    assert claims()[name].logs == f"{top1:.2f} and {top5:.2f}"


def test_no_other_claim_has_a_figure_of_the_logs():
    found = [row.name for row in claims().values() if row.logs not in ("", "–")]
    assert found == ["P6", "P8", "P10", "P14", "P21"]


def test_all_verdicts_are_explained_where_the_book_says_how_it_measures():
    cells = nbformat.read(BOOK / "measuring.ipynb", 4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "markdown"]
    text = next(source for source in sources if "### The rule in full" in source)
    explained = dict(re.findall(r"^\| ([a-z ]+) \| (.+) \|$", text, re.M))
    assert list(explained) == ["verdict", *VERDICTS]
    # And the one size that a card gives; another one would need a word there
    given = {row.size for row in claims().values() if row.size}
    assert given == {"not comparable"} and "cannot be compared for any measured claim" in text
    named = re.findall(r"P\d+", explained["holds by construction"])
    assert named == [row.name for row in claims().values() if row.kind == "by construction"]


def test_the_table_of_claims_links_to_every_cell():
    links = re.findall(r'href="(\w+)\.html#claim-(P\d+)"', cards.table(claims().values()))
    assert links == [(row.page, row.name) for row in claims().values()]


def test_the_table_of_claims_says_how_each_was_measured():
    table = cards.table(claims().values())
    assert "98.18 % rather than 95 %, because the runs were looked at four times" in table
    assert "The learning rate is the best for each net, by the loss" in table
    assert table.count("does not include what other test photographs would change") == 6
    assert table.count("interval includes what other test photographs would change") == 1


def test_the_record_is_what_follows_from_the_runs():
    spec = importlib.util.spec_from_file_location("fill_record", BOOK / "fill_record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = RECORD.read_text(encoding="utf-8")
    assert module.fill(text) == text
    assert (
        module.fill(
            text.replace('"verdict": "holds", "page": "relu"', '"verdict": "", "page": "relu"')
        )
        == text
    )
