// The sections that are folded to their headings (plain_markdown.py): a link to one opens it, and on paper all are open.

(() => {
  const ENTRIES = "details.entry";

  /** The name that the address gives; it may be no name at all, and then decoding it fails. */
  function linkedName() {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch {
      return "";
    }
  }

  /** A link to one claim undoes the choice of a chapter on the page of all claims (cards.py). */
  function showAllChapters(linked) {
    const choice = linked?.matches(".claim") && linked.closest(".claim-cards")?.querySelector("select");
    if (!choice || choice.value === "all") return;
    choice.value = "all";
    linked.scrollIntoView();
  }

  function openLinked() {
    const linked = document.getElementById(linkedName());
    showAllChapters(linked);
    const entry = linked?.querySelector(`:scope > ${ENTRIES}`) ?? linked?.closest(ENTRIES);
    if (!entry || entry.open) return;
    entry.open = true;
    linked.scrollIntoView();
  }

  addEventListener("hashchange", openLinked);
  // A link to where the page already is changes nothing in the address.
  addEventListener("click", (event) => {
    if (event.target.closest?.("a[href^='#']")) setTimeout(openLinked);
  });
  addEventListener("DOMContentLoaded", openLinked);

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll(`${ENTRIES}:not([open])`)];
    for (const entry of closed) entry.open = true;
  });
  addEventListener("afterprint", () => {
    for (const entry of closed) entry.open = false;
  });
})();
