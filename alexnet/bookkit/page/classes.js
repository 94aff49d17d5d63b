// What the net can say: the list of all classes, and how often it was right when it was as sure.

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { first, one } = page;

  const sure = one(".net-sure");
  const details = /** @type {HTMLDetailsElement} */ (one(".net-list"));
  const search = /** @type {HTMLInputElement} */ (one("input", details));
  const list = one("ol", details);
  const count = one(".net-found", details);
  /** @type {PagePass | null} */
  let last = null;
  /** The classes that are listed, in their order. @type {number[]} */
  let listed = [];

  /**
   * How often the net was right where it was as sure, as `sure_sentence` in first_page.py.
   * @param {number} probability Of the first guess.
   */
  function sureSentence(probability) {
    /** @type {{from: number, to: number, images: number, right: number}[]} */
    const curve = page.net().card.how_often_right ?? [];
    const tenth = curve.find(({ from, to }) => from < probability && probability <= to);
    if (!tenth || tenth.images < first.enough) return "";
    const right = Math.floor(100 * tenth.right + 0.5);
    return `Of 100 validation photographs of which it was this sure, ${right} were right.`;
  }

  /** Ranks from 1, of all classes. @param {number[]} probabilities */
  function ranksOf(probabilities) {
    const order = probabilities.map((_, label) => label);
    order.sort((a, b) => probabilities[b] - probabilities[a]);
    /** @type {number[]} */
    const ranks = [];
    order.forEach((label, at) => {
      ranks[label] = at + 1;
    });
    return ranks;
  }

  /** Lists what was searched for, the most probable first; it then keeps its order. */
  function showList() {
    if (!last) return;
    const { probabilities } = last;
    const sought = search.value.trim().toLowerCase();
    listed = page
      .words()
      .map((_, label) => label)
      .filter((label) => page.words()[label].toLowerCase().includes(sought));
    listed.sort((a, b) => probabilities[b] - probabilities[a]);
    list.replaceChildren(
      ...listed.map((label) => {
        const row = document.createElement("li");
        for (const name of ["net-rank", "net-named", "net-value"]) {
          const part = document.createElement("span");
          part.className = name;
          row.append(part);
        }
        one(".net-named", row).textContent = page.words()[label];
        return row;
      }),
    );
    list.scrollTop = 0;
    const total = page.words().length;
    count.textContent = listed.length ? `${listed.length} of ${total}` : `none of the ${total}`;
    showNumbers();
  }

  function showNumbers() {
    if (!last || !details.open) return;
    const { probabilities } = last;
    const ranks = ranksOf(probabilities);
    listed.forEach((label, at) => {
      const row = list.children[at];
      one(".net-rank", row).textContent = `${ranks[label]}.`;
      one(".net-value", row).textContent = page.percent(probabilities[label]);
    });
  }

  function close() {
    details.open = false;
    one("summary", details).focus();
  }

  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    search.value = "";
    search.focus({ preventScroll: true });
    await page.load();
    showList();
  });
  search.addEventListener("input", showList);
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation(); // what is looked at stays
      close();
    }
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || !list.firstElementChild) return;
    list.scrollBy(0, by * list.firstElementChild.clientHeight);
    event.preventDefault();
  });
  one(".net-list-close", details).addEventListener("click", close);
  document.addEventListener("pointerdown", (event) => {
    if (!details.contains(/** @type {Node} */ (event.target))) details.open = false;
  });

  page.onPass((pass) => {
    last = pass;
    // The curve is that of the whole net
    const isWhole = !Object.keys(pass.cuts).length && !page.state.cuts.has("dropout");
    sure.textContent = isWhole ? sureSentence(Math.max(...pass.probabilities)) : "";
    showNumbers();
  });
})();
