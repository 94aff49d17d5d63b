// The smallest change of the photograph that makes the net say what the reader chooses, as Szegedy
// and others found in 2013 that there is one, on AlexNet too; and what parts of the net say to it.

/**
 * The smallest change, in bytes, that a search finds. The search is that of Rony et al. (2019),
 * "Decoupling Direction and Norm": the change keeps a length, and turns towards the class; the
 * length shrinks while the net says the class, and grows while it does not.
 */
class SmallestChange {
  static STEPS = 100;
  static FACTOR = 0.05; // by which the length changes at each step, as in the paper
  static HALVINGS = 8; // of the length, at the end, along the best direction

  /**
   * @param {NetInPage} net
   * @param {NetScale} scale
   * @param {Uint8Array} bytes The photograph, [row][column][color].
   * @param {number} label What the net shall say.
   */
  constructor(net, scale, bytes, label) {
    this.net = net;
    this.scale = scale;
    this.bytes = bytes;
    this.label = label;
    const { resize, crop, offset } = scale;
    /** Where each number that the net takes stands among the bytes. */
    this.places = Int32Array.from({ length: 3 * crop * crop }, (_, at) => {
      const [row, column] = [Math.floor(at / crop) % crop, at % crop];
      const pixel = (row + offset) * resize + column + offset;
      return 3 * pixel + Math.floor(at / (crop * crop));
    });
  }

  /**
   * The photograph with a change, in bytes.
   * @param {Float32Array} change As the net takes numbers, in shares of 255.
   * @param {number} [length] The part of the change that is made.
   */
  changed(change, length = 1) {
    const result = Uint8Array.from(this.bytes);
    this.places.forEach((place, at) => {
      const value = this.bytes[place] + 255 * length * change[at];
      result[place] = Math.min(255, Math.max(0, Math.round(value)));
    });
    return result;
  }

  /**
   * @param {(share: number) => boolean} proceed Is told how much is done; false gives up.
   * @returns {Promise<Uint8Array | null>} The changed photograph, or nothing if none was found.
   */
  async find(proceed) {
    const change = new Float32Array(this.places.length);
    let length = 1;
    let shortest = Infinity;
    /** @type {Uint8Array | null} */
    let best = null;
    for (let step = 0; step < SmallestChange.STEPS; step++) {
      if (!proceed(step / SmallestChange.STEPS)) return null;
      const seen = this.changed(change);
      const options = { gradients: ["input"], labels: [this.label] };
      const { logits, gradients } = await this.net.run(seen, options);
      const says = this.isSaid(logits.data);
      const size = SmallestChange.size(this.bytes, seen);
      if (says && size < shortest) {
        shortest = size;
        best = seen;
      }
      this.turn(change, gradients.input.data, step);
      length *= says ? 1 - SmallestChange.FACTOR : 1 + SmallestChange.FACTOR;
      this.limit(change, length);
    }
    return best && this.shorten(best);
  }

  /** @param {Float32Array} logits */
  isSaid(logits) {
    return logits.every((logit, at) => at === this.label || logit < logits[this.label]);
  }

  /**
   * Turns the change down the gradient of the loss, by less and less.
   * @param {Float32Array} change
   * @param {Float32Array} gradient At what the net takes.
   * @param {number} step
   */
  turn(change, gradient, step) {
    const { stds, crop } = this.scale;
    const slopes = gradient.map((value, at) => value / stds[Math.floor(at / (crop * crop))]);
    const norm = Math.hypot(...slopes);
    if (!norm) return; // so sure that float32 has no gradient left
    const along = 0.01 + 0.495 * (1 + Math.cos((Math.PI * step) / SmallestChange.STEPS));
    for (let at = 0; at < change.length; at++) change[at] -= (along * slopes[at]) / norm;
  }

  /**
   * Gives the change its length, and keeps the pixels within 0 to 255.
   * @param {Float32Array} change
   * @param {number} length
   */
  limit(change, length) {
    const norm = Math.hypot(...change) || 1;
    this.places.forEach((place, at) => {
      const own = this.bytes[place] / 255;
      change[at] = Math.min(1 - own, Math.max(-own, (change[at] * length) / norm));
    });
  }

  /**
   * As much of the change as it takes, by bisection.
   * @param {Uint8Array} best
   */
  async shorten(best) {
    const change = Float32Array.from(
      this.places,
      (place) => (best[place] - this.bytes[place]) / 255,
    );
    let [short, long] = [0, 1];
    let found = best;
    for (let halving = 0; halving < SmallestChange.HALVINGS; halving++) {
      const middle = (short + long) / 2;
      const seen = this.changed(change, middle);
      if (this.isSaid((await this.net.run(seen)).logits.data)) {
        long = middle;
        found = seen;
      } else short = middle;
    }
    return found;
  }

  /**
   * Root mean square of the difference of two pictures, in gray levels.
   * @param {ArrayLike<number>} one
   * @param {ArrayLike<number>} other
   */
  static size(one, other) {
    let sum = 0;
    for (let at = 0; at < one.length; at++) sum += (one[at] - other[at]) ** 2;
    return Math.sqrt(sum / one.length);
  }
}

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { make, makeButton, makeCitation, largest } = wishParts;
  const ENLARGED = 20;
  const MIDDLE = 128; // the gray of no change
  const GUESSES = 3; // below each picture
  /** @type {[string, Cuts][]} */
  const PARTS = [
    ["the whole net", {}],
    ["column 1 alone", { columns: [1] }],
    ["column 2 alone", { columns: [0] }],
    ["without LRN", { layers: ["norm1", "norm2"] }],
  ];

  // What it consists of

  const details = make(
    "details",
    "wish wish-change",
    make("summary", "", "The smallest change that makes it say something else"),
  );
  const choice = wishParts.makeClassField(page, "what it shall say");
  const find = makeButton("Find", search, "wish-find");
  const stopButton = makeButton("Stop", stop, "wish-stop");
  const progress = make("progress", "wish-progress");
  progress.max = 1;
  progress.setAttribute("aria-label", "steps of the search");
  const status = make("p", "wish-status");
  status.setAttribute("role", "status");
  const pictures = ["the photograph", `the change, ${ENLARGED} times enlarged`, "their sum"].map(
    (title) => {
      const canvas = make("canvas", "wish-picture");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", title);
      const guesses = make("ol", "wish-guesses");
      return { canvas, guesses, view: make("div", "", canvas, make("b", "", title), guesses) };
    },
  );
  const size = make("p", "wish-size");
  const rows = make("tbody");
  const fooled = make("p", "wish-fooled");
  const take = makeButton("Use as the photograph", takeAlong, "wish-take");
  const result = make("div", "wish-result");

  function build() {
    const header = make("tr");
    for (const text of ["tried on", "says to the photograph", "says to their sum"]) {
      const cell = make("th", "", text);
      cell.scope = "col";
      header.append(cell);
    }
    result.append(
      make("div", "wish-pictures", ...pictures.map(({ view }) => view)),
      size,
      make("table", "wish-parts", make("thead", "", header), rows),
      fooled,
      take,
    );
    const below = make("p", "net-below");
    below.append(
      "The change is about the smallest that there is for the whole net, and not aimed at its parts; ",
      "such changes were first found in 2013, on AlexNet among others (",
      makeCitation("szegedy2014", "Szegedy et al., 2014"),
      "), and the search is that of ",
      makeCitation("rony2019", "Rony et al., 2019"),
      ".",
    );
    below.normalize();
    details.append(
      make(
        "p",
        "net-do",
        "Choose what the net shall say to the photograph, and press Find; then take the changed ",
        "photograph along, to carry the square over it, look inside and take parts away.",
      ),
      make("div", "wish-choice", choice.field, choice.list, find, stopButton, progress),
      status,
      result,
      below,
    );
    page.slot("wish").append(details);
  }

  // The search

  let task = 0; // the last search that was begun; an earlier one gives up
  /** @type {{bytes: Uint8Array, credit: string} | null} */
  let found = null;

  /** @param {boolean} isSearching */
  function showState(isSearching) {
    find.hidden = isSearching;
    stopButton.hidden = !isSearching;
    progress.hidden = !isSearching;
    result.hidden = !found;
    details.dataset.state = isSearching ? "searching" : found ? "found" : "none";
  }

  function stop() {
    task++;
    showState(false);
    find.focus();
  }

  async function search() {
    const begun = ++task;
    found = null;
    status.textContent = "";
    await page.load();
    if (begun !== task || !page.net()) return;
    const label = choice.label();
    if (label < 0) {
      status.textContent = `No kind of thing is called “${choice.field.value}”.`;
      return;
    }
    progress.value = 0;
    const hadFocus = document.activeElement === find;
    showState(true);
    if (hadFocus) stopButton.focus(); // the button that was pressed goes
    try {
      await searchFor(label, begun);
    } catch (error) {
      status.textContent = `The net has stopped: ${error instanceof Error ? error.message : error}.`;
    }
    if (begun !== task) return;
    const isFocused = document.activeElement === stopButton;
    showState(false);
    if (found) pictures[0].view.scrollIntoView({ block: "nearest" });
    if (isFocused) find.focus();
  }

  /** @param {number} label @param {number} begun The task. */
  async function searchFor(label, begun) {
    const { net, preprocessing } = page.net();
    const bytes = page.base();
    const by = page.one(".net-by").textContent;
    const name = page.short(label);
    if (largest(Array.from((await net.run(bytes)).logits.data)) === label) {
      status.textContent = `It says “${name}” already: choose something else.`;
      return;
    }
    const change = new SmallestChange(net, new NetScale(preprocessing), bytes, label);
    const sum = await change.find((share) => {
      progress.value = share;
      return begun === task;
    });
    if (begun !== task) return;
    if (!sum) {
      status.textContent = `No change was found that makes it say “${name}”.`;
      return;
    }
    await show(net, bytes, sum, label);
    if (begun !== task) return;
    found = { bytes: sum, credit: `${by} Changed, so that the net says “${name}”.` };
    const now = page.percent(page.softmax((await net.run(sum)).logits.data)[label]);
    status.textContent = `It now says “${name}”, ${now}.`;
  }

  // What is shown

  /**
   * @param {NetInPage} net
   * @param {Uint8Array} bytes
   * @param {Uint8Array} sum
   * @param {number} label
   */
  async function show(net, bytes, sum, label) {
    const enlarged = Uint8Array.from(bytes, (own, at) =>
      Math.min(255, Math.max(0, MIDDLE + ENLARGED * (sum[at] - own))),
    );
    for (const [at, shown] of [bytes, enlarged, sum].entries()) {
      wishParts.draw(pictures[at].canvas, shown);
      const probabilities = page.softmax((await net.run(shown)).logits.data);
      showGuesses(pictures[at].guesses, probabilities);
    }
    showSize(bytes, sum);
    await showParts(net, bytes, sum, label);
  }

  /** @param {HTMLElement} list @param {number[]} probabilities */
  function showGuesses(list, probabilities) {
    const order = probabilities.map((_, label) => label);
    order.sort((a, b) => probabilities[b] - probabilities[a]);
    const lines = order.slice(0, GUESSES).map((label) => {
      const word = make("span", "net-word", page.short(label));
      word.title = page.words()[label];
      return make("li", "", word, " ", page.percent(probabilities[label]));
    });
    list.replaceChildren(...lines);
  }

  /** @param {Uint8Array} bytes @param {Uint8Array} sum */
  function showSize(bytes, sum) {
    const mean = bytes.reduce((total, value) => total + value, 0) / bytes.length;
    const gray = new Float32Array(bytes.length).fill(mean);
    const change = SmallestChange.size(bytes, sum);
    const share = (100 * change) / SmallestChange.size(bytes, gray);
    let most = 0;
    bytes.forEach((own, at) => {
      most = Math.max(most, Math.abs(sum[at] - own));
    });
    size.textContent =
      `The change is ${change.toFixed(2)} of 255 grey levels large (root mean square), ` +
      `${share.toFixed(1)} % of the photograph's contrast (the same of its distance from its ` +
      `mean); the largest is ${most}.`;
  }

  /**
   * @param {NetInPage} net
   * @param {Uint8Array} bytes
   * @param {Uint8Array} sum
   * @param {number} label
   */
  async function showParts(net, bytes, sum, label) {
    const lines = [];
    let count = 0;
    for (const [name, cuts] of PARTS) {
      const header = make("th", "", name);
      header.scope = "row";
      const line = make("tr", "", header);
      for (const shown of [bytes, sum]) {
        const probabilities = page.softmax((await net.run(shown, { cuts })).logits.data);
        const best = largest(probabilities);
        const word = make(best === label ? "b" : "span", "", page.short(best));
        const percent = page.percent(probabilities[best]).replace(" ", "\u00a0");
        line.append(make("td", "", word, ` ${percent}`));
        if (shown === sum && best === label && name !== PARTS[0][0]) count++;
      }
      lines.push(line);
    }
    rows.replaceChildren(...lines);
    const parts = PARTS.length - 1;
    fooled.textContent =
      `Of the ${parts} nets from which something is taken away, ${count || "none"} ` +
      `${count > 1 ? "say" : "says"} “${page.short(label)}” to the sum.`;
  }

  async function takeAlong() {
    if (found) await wishParts.takeAlong(page, found.bytes, found.credit);
  }

  // Begin

  /** What the address asks for, until the names of the classes are known. */
  let asked = "";

  function apply() {
    const label = wishParts.findClass(page, asked);
    asked = "";
    if (label >= 0) choice.choose(label);
    page.touch();
  }

  /** What it finds second most probable now. */
  function second() {
    const { probabilities } = page.last() ?? { probabilities: [0, 1] };
    const rest = probabilities.slice();
    rest[largest(rest)] = -1;
    return largest(rest);
  }

  details.addEventListener("toggle", async () => {
    if (!details.open) {
      task++;
      showState(false);
      page.touch();
      return;
    }
    await page.load();
    if (!page.net()) return;
    choice.fill();
    if (!choice.field.value) choice.choose(second());
    apply();
  });
  choice.field.addEventListener("change", () => page.touch()); // writes the address
  choice.field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") search();
  });

  page.addressKey(
    "change",
    () => {
      const label = details.open && page.net() ? choice.label() : -1;
      return label < 0 ? null : wishParts.keyOf(page, label);
    },
    (text) => {
      asked = text ?? "";
      if (details.open && asked && page.net()) apply();
      details.open = Boolean(text);
      if (text) details.scrollIntoView({ block: "nearest" });
    },
  );

  build();
  showState(false);
})();
