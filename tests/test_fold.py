"""Sections that are folded to their headings: a link opens one, and on paper all are open."""

from visit import Visit

DESK = {"viewport": {"width": 1280, "height": 800}}
OPEN = """() => {
    const headings = document.querySelectorAll('details.entry[open] > summary > :is(h3, h4)')
    return [...headings].map(heading => heading.firstChild.data)
}"""
ENTRY = "biases-at-twice-the-rate"


def test_a_link_opens_its_entry(browser, host):
    with Visit(browser, f"{host}/book/paper_and_code.html", **DESK) as visit:
        page = visit.page
        assert page.locator("details.entry").count() > 10
        assert page.evaluate(OPEN) == []
        link = page.locator(f".bd-article svg a[href='#{ENTRY}']")
        for _ in range(2):  # the second time the address stays as it is
            link.click()
            page.wait_for_function("document.querySelector('details.entry[open]')")
            assert page.evaluate(OPEN) == ["Biases at twice the rate"]
            page.locator(f"#{ENTRY} summary").click()
            assert page.evaluate(OPEN) == []


def test_every_step_of_the_drawing_leads_to_a_section(browser, host):
    with Visit(browser, f"{host}/book/paper_and_code.html", **DESK) as visit:
        anchors = "links => links.map(link => link.getAttribute('href').slice(1))"
        linked = visit.page.locator(".bd-article svg a").evaluate_all(anchors)
        assert len(linked) == 12
        for anchor in linked:
            assert visit.page.locator(f"section[id='{anchor}']").count() == 1, anchor


def test_a_quotation_of_more_folds_to_its_title(browser, host):
    with Visit(browser, f"{host}/book/paper_and_code.html", **DESK) as visit:
        fold = visit.page.locator(".more > details.entry").first
        assert fold.locator("summary").inner_text() == "Since when these three could be known"
        text = fold.locator("p").last
        assert not text.is_visible()
        fold.locator("summary").click()
        assert text.is_visible()


def test_an_address_opens_its_entry_or_that_around_it(browser, host):
    for page, anchor in (
        ("paper_and_code", ENTRY),
        ("results", "claim-P23"),
        ("claims", "claim-P5"),
    ):
        with Visit(browser, f"{host}/book/{page}.html#{anchor}", **DESK) as visit:
            visit.page.wait_for_function("document.querySelector('details.entry[open]')")
            assert visit.page.locator(f"#{anchor}").is_visible()


def test_an_address_that_cannot_be_decoded_opens_nothing(browser, host):
    with Visit(browser, f"{host}/book/paper_and_code.html#%E0%A4", **DESK) as visit:
        assert visit.page.evaluate(OPEN) == []  # and Visit has seen no error


def test_on_paper_all_are_open(browser, host):
    with Visit(browser, f"{host}/book/results.html", **DESK) as visit:
        entries = visit.page.locator("details.entry").count()
        for event, number in (("beforeprint", entries), ("afterprint", 0)):
            visit.page.evaluate(f"dispatchEvent(new Event('{event}'))")
            assert visit.page.locator("details.entry[open]").count() == number
