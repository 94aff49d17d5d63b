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

  function openLinked() {
    const linked = document.getElementById(linkedName());
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
