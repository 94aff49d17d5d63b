// The reader's guesses: remembered where the browser allows it, and shown beside the answers. An answer is covered until
// its guess is made or its button is pressed, and what gives it away is veiled as long.

(() => {
  const KEY = "alexnet-guesses";
  const MOVED = "input, button:not(.copybtn), select, li"; // in what one moves or presses
  const VERDICTS = ".claim, .claim-tally"; // which have buttons and links as well

  /** Choice and answer by question. @returns {Object<string, [number, number]>} */
  function remembered() {
    try {
      const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
      return found && typeof found === "object" ? found : {};
    } catch {
      return {}; // no storage here, as in some browsers for a page from a folder
    }
  }

  /** @type {Object<string, [number, number]>} */
  const guesses = remembered();

  /** @param {string} key @param {number} choice @param {number} answer */
  function remember(key, choice, answer) {
    guesses[key] = [choice, answer];
    try {
      localStorage.setItem(KEY, JSON.stringify({ ...remembered(), [key]: [choice, answer] }));
    } catch {
      // then it is known until the page is left
    }
  }

  /** @type {Map<HTMLElement, Element[]>} */
  const veiled = new Map();

  /** @param {Node} a @param {Node} b */
  const isBefore = (a, b) =>
    Boolean(a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING);

  /**
   * What gives an answer away: verdicts, pictures and tables between it and its question, but for pictures that one moves
   * or presses; and what follows it up to the next heading or question, be it text, a figure, a card, or the box with the
   * paper's words.
   * @param {Element} field @param {HTMLElement} answer
   */
  function evidence(field, answer) {
    const outputs = [...document.querySelectorAll(".cell_output")].filter(
      (output) =>
        isBefore(field, output) &&
        isBefore(output, answer) &&
        output.matches(`:has(${VERDICTS}), :not(:has(${MOVED}))`),
    );
    for (
      let next = answer.nextElementSibling;
      next?.matches(".cell, .admonition, .guess-rest, :not(section):has(> .guess-rest)");
      next = next.nextElementSibling
    ) {
      if (!next.matches(".cell")) outputs.push(next);
      else
        outputs.push(
          ...next.querySelectorAll(`.cell_output:is(:has(${VERDICTS}), :not(:has(${MOVED})))`),
        );
    }
    return outputs;
  }

  /** @param {Element} field @param {HTMLElement} answer */
  function veil(field, answer) {
    const outputs = evidence(field, answer);
    for (const output of outputs) {
      output.classList.add("guess-veiled");
      if (answer.nextElementSibling?.contains(output)) continue; // its button is just above
      if (!output.matches(".cell_output")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "guess-lift";
      button.textContent = "Look without a guess";
      button.addEventListener("click", () => uncover(answer));
      output.append(button);
    }
    veiled.set(answer, outputs);
  }

  /** It keeps its place, so that nothing moves when it is uncovered. @param {HTMLElement} paragraph */
  function cover(paragraph) {
    const words = document.createElement("span");
    words.className = "guess-words";
    words.append(...paragraph.childNodes);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Show the answer";
    button.addEventListener("click", () => uncover(paragraph));
    paragraph.append(words, button);
    paragraph.classList.add("is-covered");
  }

  /** @param {HTMLElement} paragraph */
  function uncover(paragraph) {
    paragraph.classList.remove("is-covered");
    paragraph.querySelector("button")?.remove();
    for (const output of veiled.get(paragraph) ?? []) {
      output.classList.remove("guess-veiled");
      output.querySelector(".guess-lift")?.remove();
    }
    veiled.delete(paragraph);
  }

  /** @param {HTMLFieldSetElement} field */
  function show(field) {
    const key = field.dataset.guess ?? "";
    const answer = Number(field.dataset.answer);
    const choice = guesses[key]?.[0];
    const inputs = [...field.querySelectorAll("input")];
    if (!inputs[choice]) return;
    inputs[choice].checked = true;
    const noted = /** @type {HTMLElement} */ (field.querySelector(".guess-noted"));
    const link = document.createElement("a");
    link.href = `#answer-${key}`;
    link.textContent = "the answer";
    noted.replaceChildren("Noted. Read on, or go to ", link, ".");
    const paragraph = document.getElementById(`answer-${key}`);
    if (!paragraph) return;
    uncover(paragraph);
    let said = paragraph.querySelector(".guess-yours");
    if (!said) {
      said = document.createElement("span");
      said.className = "guess-yours";
      paragraph.append(" ", said);
    }
    const text = inputs[choice].parentElement?.textContent?.trim() ?? "";
    said.textContent = choice === answer ? "That was your guess, too." : `Your guess was: ${text}`;
  }

  /** The title of a chapter, as the list of all pages has it. @param {string} chapter */
  function titleOf(chapter) {
    const isHere = location.pathname.endsWith(`/${chapter}.html`);
    const link = isHere ? ".current > a" : `a[href$="${chapter}.html"]`;
    const title = document.querySelector(`.bd-links ${link}`)?.textContent?.trim();
    return title || chapter.replaceAll("_", " ");
  }

  /** A guess that was right is a tick, another a cross; each leads to its answer. @param {Element} place */
  function showMarks(place) {
    /** @type {Map<string, HTMLElement>} */
    const chapters = new Map();
    for (const key of Object.keys(guesses).sort()) {
      const [, chapter, number] = key.match(/^([\w-]+)-(\d+)$/) ?? [];
      if (!chapter || !Array.isArray(guesses[key])) continue;
      const [choice, answer] = guesses[key];
      const link = document.createElement("a");
      link.href = `${chapter}.html#answer-${key}`;
      link.textContent = choice === answer ? "✓" : "✗";
      const said = `${titleOf(chapter)}, guess ${number}: ${choice === answer ? "right" : "wrong"}`;
      link.title = said;
      link.setAttribute("aria-label", said);
      const row = chapters.get(chapter) ?? document.createElement("span");
      if (!chapters.has(chapter)) row.append(titleOf(chapter));
      row.append(" ", link);
      chapters.set(chapter, row);
    }
    place.replaceChildren(...chapters.values());
  }

  // A class, since by :has(:target) a browser styles the page anew whenever an explorer moves.
  function markLinked() {
    for (const output of document.querySelectorAll(".guess-veiled"))
      output.classList.toggle("is-linked", output.querySelector(":target") !== null);
  }

  function showTally() {
    const place = document.querySelector(".guess-tally");
    const made = Object.values(guesses).filter((pair) => Array.isArray(pair));
    if (!place) return;
    if (!made.length) {
      place.textContent =
        "Your own guesses, of which each chapter asks for some, will be counted here.";
      return;
    }
    const right = made.filter(([choice, answer]) => choice === answer).length;
    const questions = made.length === 1 ? "one question" : `${made.length} questions`;
    const times = ["never right", "right once", "right twice"][right] ?? `right ${right} times`;
    place.textContent = `In this book you have made a guess at ${questions}, and were ${times}.`;
    const marks = document.querySelector(".guess-marks");
    if (marks) showMarks(marks);
  }

  function begin() {
    for (const element of document.querySelectorAll("fieldset.guess")) {
      const field = /** @type {HTMLFieldSetElement} */ (element);
      const answer = document.getElementById(`answer-${field.dataset.guess}`);
      if (answer) {
        cover(answer);
        veil(field, answer);
      }
      show(field);
      field.addEventListener("change", (event) => {
        const choice = Number(/** @type {HTMLInputElement} */ (event.target).value);
        remember(field.dataset.guess ?? "", choice, Number(field.dataset.answer));
        show(field);
        showTally();
      });
    }
    showTally();
    markLinked();
  }

  addEventListener("hashchange", markLinked);
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
  else begin();
})();
