// What it costs to take parts away: columns of one layer and kernels of conv1 to choose from, a
// question of which of two cuts costs more, and then, beside each part, what the same cut costs on
// the validation photographs, as alexnet/experiments/cuts.py has recorded it.

/**
 * What alexnet/bookkit/cut_costs.py tells of the record. A row has the accuracy of the first guess
 * and of the first five, how many first guesses change, become wrong and become right, and the
 * number of parameters that the cut sets to zero.
 * @typedef {[number, number, number, number, number, number]} CutRow
 * @typedef {object} CutCosts
 * @property {number} images
 * @property {CutRow} whole Of the whole net.
 * @property {Object<string, CutRow>} rows By cut, as the address names them.
 * @property {number[]} dropout The accuracy of the first guess in each draw.
 * @property {[string, string][]} pairs To guess from.
 */

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { root, first, state, one, all } = page;
  const costs = first.costs;
  const KERNELS = first.layers[0].maps;
  const KERNEL_CUTS = Array.from({ length: KERNELS }, (_, kernel) => `kernel${kernel + 1}`);
  const CONVOLUTIONS = first.layers.filter(({ name }) => name.startsWith("conv"));
  const COLORS = 3;
  /** @type {Object<string, string>} */
  const NAMES = { crossing: "the crossing in conv3", lrn: "LRN", dropout: "dropout left on" };

  const box = page.slot("cuts");
  let isRevealed = false;
  let pairNumber = 0;

  /**
   * @template {keyof HTMLElementTagNameMap} T
   * @param {T} tag
   * @param {string} name
   */
  function make(tag, name, text = "") {
    const element = document.createElement(tag);
    element.className = name;
    element.textContent = text;
    return element;
  }

  /** @param {string} name @param {string} text @param {() => void} act */
  function makeButton(name, text, act) {
    const button = make("button", name, text);
    button.type = "button";
    button.addEventListener("click", act);
    return button;
  }

  // Words and numbers

  /** What the reader calls a part. @param {string} cut */
  function nameOf(cut) {
    const [layer, column] = cut.split(".");
    if (column) return `${column.replace("column", "column ")} of ${layer}`;
    if (cut.startsWith("kernel")) return `${cut.replace("kernel", "kernel ")} of conv1`;
    return NAMES[cut] ?? cut.replace("column", "column ");
  }

  /** A difference of two fractions, in points of 100. @param {number} difference */
  const points = (difference) => (100 * difference).toFixed(1).replace("-", "−");
  const count = (/** @type {number} */ number) => number.toLocaleString("en");

  /** What a cut costs, as a fraction of the photographs. @param {string} cut */
  const costOf = (cut) => (costs ? costs.whole[0] - costs.rows[cut][0] : 0);

  /** @param {string} cut */
  function costWords(cut) {
    const text = points(costOf(cut));
    if (text.startsWith("−")) return `gains ${text.slice(1)} points on ${points(wholeOf())}`;
    return `costs ${text} points of ${points(wholeOf())}`;
  }
  const wholeOf = () => costs?.whole[0] ?? 1;

  /**
   * A thin bar under words.
   * @param {string} cut
   * @param {string} text
   * @param {number} full The cost whose bar is full: at first all that the whole net gets right.
   */
  function makeCost(cut, text = costWords(cut), full = wholeOf()) {
    const cost = make("span", "net-cost", text);
    cost.dataset.of = cut;
    cost.title = `${nameOf(cut)}: ${costWords(cut)}`;
    const share = Math.max(0, Math.min(1, costOf(cut) / full));
    cost.style.setProperty("--share", `${100 * share}%`);
    return cost;
  }

  /** Of the cuts that are made now. */
  function describeCuts() {
    const cuts = [...state.cuts, ...[...state.kernels].map((kernel) => `kernel${kernel + 1}`)];
    if (!costs || !isRevealed) return "";
    const photographs = `the ${count(costs.images)} validation photographs`;
    const [top1, top5] = costs.whole;
    const whole =
      `The whole net gets ${points(top1)} % of ${photographs} right by its first guess, and ` +
      `${points(top5)} % by its first five.`;
    if (cuts.length === 0)
      return `${whole} What a cut costs of that is measured for each part alone.`;
    if (cuts.length > 1)
      return `${whole} What each of these parts costs was measured alone, and not together.`;
    const row = costs.rows[cuts[0]];
    if (!row) return whole;
    const without = cuts[0] === "dropout" ? "With dropout left on" : `Without ${nameOf(cuts[0])}`;
    const draws = costs.dropout.map((draw) => 100 * draw);
    const spread =
      cuts[0] === "dropout"
        ? ` (the mean of ${draws.length} draws, from ${Math.min(...draws).toFixed(1)} to ` +
          `${Math.max(...draws).toFixed(1)} %)`
        : "";
    return (
      `${without} ${points(row[0])} % of ${photographs} are right by the first guess, not ` +
      `${points(top1)} %${spread}, and ${points(row[1])} % by the first five, not ` +
      `${points(top5)} %. Of the first guesses ${count(Math.round(row[2]))} change: ` +
      `${count(Math.round(row[3]))} become wrong and ${count(Math.round(row[4]))} right.`
    );
  }

  // Which of two cuts costs more?

  const question = make("p", "net-do");
  const choices = make("div", "net-cost-choices");
  const answer = make("div", "net-cost-answer");
  answer.setAttribute("role", "status");

  function ask() {
    if (!costs?.pairs.length) return;
    const pair = costs.pairs[pairNumber % costs.pairs.length];
    question.textContent =
      `Guess first: the whole net gets ${points(wholeOf())} % of the ${count(costs.images)} ` +
      "validation photographs right. Which of these two cuts costs it more?";
    const buttons = pair.map((cut) => {
      const button = makeButton("net-cost-choice", nameOf(cut), () => answerBy(pair, cut));
      button.dataset.choice = cut;
      return button;
    });
    const others = [
      makeButton("net-cost-next", "Another pair", () => {
        pairNumber++;
        root.classList.add("is-asking"); // hides the costs, which would answer
        ask();
        one(".net-cost-choice", box).focus();
      }),
    ];
    if (costs.pairs.length < 2) others.pop();
    if (!isRevealed) {
      const show = () => {
        reveal();
        one(".net-cost-next, .net-layer-cut", box).focus();
      };
      others.push(makeButton("net-cost-show", "Show all costs", show));
    }
    choices.replaceChildren(...buttons, ...others);
    answer.replaceChildren();
  }

  /** @param {[string, string]} pair @param {string} chosen */
  function answerBy(pair, chosen) {
    if (!costs) return;
    const [more, less] = costOf(pair[0]) > costOf(pair[1]) ? pair : [pair[1], pair[0]];
    const [few, many] = [more, less].map((cut) => costs.rows[cut][5]);
    const is = chosen === more ? "That is right" : "It is the other way around";
    const numbers =
      few < many
        ? `, although it takes away ${count(few)} of the net's parameters and the other ${count(many)}.`
        : ".";
    const sentence = make("p", "", `${is}: ${nameOf(more)} costs more${numbers}`);
    const rows = make("div", "net-cost-rows");
    for (const cut of pair) rows.append(make("span", "", nameOf(cut)), makeCost(cut));
    reveal();
    for (const button of choices.querySelectorAll("button")) {
      const choice = /** @type {HTMLElement} */ (button).dataset.choice;
      if (choice) button.setAttribute("aria-pressed", String(choice === chosen));
    }
    answer.replaceChildren(sentence, rows);
  }

  /** From now on all costs stand beside the parts. */
  function reveal() {
    root.classList.remove("is-asking");
    if (isRevealed || !costs) return;
    isRevealed = true;
    one(".net-cost-show", box)?.remove();
    for (const button of all(".net-cuts > [data-cut]")) {
      const pair = make("span", "net-with-cost");
      const hadFocus = document.activeElement === button;
      button.replaceWith(pair);
      pair.append(button, makeCost(button.dataset.cut ?? ""));
      if (hadFocus) button.focus();
    }
    for (const button of all(".net-layer-cut")) {
      const cut = button.dataset.cut ?? "";
      button.after(makeCost(cut, points(costOf(cut))));
    }
    const most = Math.max(...KERNEL_CUTS.map(costOf));
    for (const button of all(".net-kernel-cut")) {
      const cut = button.dataset.kernelCut ?? "";
      button.append(makeCost(cut, "", most));
      button.setAttribute("aria-label", `${nameOf(cut)}: ${costWords(cut)}`);
      button.title = `${nameOf(cut)}: ${costWords(cut)}`;
    }
    one(".net-cost-kernels", box).textContent = describeKernels();
    showState();
    addToPanel();
    page.touch();
  }

  function describeKernels() {
    const cuts = [...KERNEL_CUTS].sort((a, b) => costOf(b) - costOf(a));
    const [most, least] = [cuts[0], cuts[KERNELS - 1]];
    return (
      `The bar below a kernel is full where it costs most: ${nameOf(most)} ${costWords(most)}. ` +
      `The least: ${nameOf(least)} ${costWords(least)}.`
    );
  }

  // Columns of one layer, and kernels of conv1

  /** @param {string} cut */
  function toggle(cut) {
    if (cut.startsWith("kernel")) {
      const kernel = Number(cut.slice("kernel".length)) - 1;
      if (!state.kernels.delete(kernel)) state.kernels.add(kernel);
    } else if (!state.cuts.delete(cut)) state.cuts.add(cut);
    page.touch();
    showState();
  }

  function makeColumns() {
    const table = make("div", "net-layer-cuts");
    for (const column of [1, 2]) {
      const group = make("div", `net-layer-row net-of-column${column}`);
      group.append(make("span", "net-layer-name", `column ${column} of`));
      for (const { name } of CONVOLUTIONS) {
        const cell = make("span", "net-with-cost");
        const cut = `${name}.column${column}`;
        const button = makeButton("net-layer-cut", name, () => toggle(cut));
        button.dataset.cut = cut; // page.js shows whether it is made
        button.setAttribute("aria-label", nameOf(cut));
        button.setAttribute("aria-pressed", "false");
        cell.append(button);
        group.append(cell);
      }
      table.append(group);
    }
    return table;
  }

  function makeKernels() {
    const grid = make("div", "net-kernel-cuts");
    KERNEL_CUTS.forEach((cut, kernel) => {
      const button = makeButton("net-kernel-cut", "", () => toggle(cut));
      button.classList.add(`net-of-column${kernel < KERNELS / 2 ? 1 : 2}`);
      button.dataset.kernelCut = cut;
      button.setAttribute("aria-label", nameOf(cut));
      button.setAttribute("aria-pressed", "false");
      button.title = nameOf(cut);
      button.append(make("canvas", ""));
      grid.append(button);
    });
    return grid;
  }

  let isDrawn = false;

  /** The kernels themselves, once the net is loaded. */
  async function drawKernels() {
    await page.load();
    if (isDrawn || !page.net()) return;
    isDrawn = true;
    const weights = (await page.net().net.parameters())["conv1.weight"].data;
    const area = weights.length / KERNELS / COLORS;
    const side = Math.sqrt(area);
    all(".net-kernel-cut canvas").forEach((element, kernel) => {
      const canvas = /** @type {HTMLCanvasElement} */ (element);
      canvas.width = side;
      canvas.height = side;
      const own = weights.subarray(kernel * COLORS * area, (kernel + 1) * COLORS * area);
      const highest = Math.max(1e-9, ...own.map(Math.abs));
      const picture = new ImageData(side, side);
      for (let at = 0; at < area; at++) {
        for (let color = 0; color < COLORS; color++) {
          picture.data[4 * at + color] = 127.5 * (1 + own[color * area + at] / highest);
        }
        picture.data[4 * at + 3] = 255;
      }
      canvas.getContext("2d")?.putImageData(picture, 0, 0);
    });
  }

  /** Which kernels are away, which halves of layers are dark, and what the cuts cost. */
  function showState() {
    for (const button of all(".net-kernel-cut")) {
      const kernel = Number(button.dataset.kernelCut?.slice("kernel".length)) - 1;
      button.setAttribute("aria-pressed", String(state.kernels.has(kernel)));
    }
    for (const { button, column } of page.blocks) {
      const cut = `${button.dataset.layer}.column${column + 1}`;
      button.classList.toggle("is-away", state.cuts.has(cut));
    }
    one(".net-cost-says", box).textContent = describeCuts();
    for (const button of all(".net-panel .net-layer-away")) {
      button.setAttribute("aria-pressed", String(state.cuts.has(button.dataset.of ?? "")));
    }
  }

  // In the panel of a map: its column of this layer, and what that and its kernel cost

  const panel = one(".net-panel");

  function addToPanel() {
    const look = state.look;
    panel.querySelector(".net-panel-cuts")?.remove();
    const head = panel.querySelector(".net-panel-head");
    if (!look?.pinned || !head || look.layer >= CONVOLUTIONS.length) return;
    const { name, maps } = first.layers[look.layer];
    const column = look.map < maps / 2 ? 1 : 2;
    const cut = `${name}.column${column}`;
    const row = make("div", "net-panel-cuts");
    if (look.layer === 0 && isRevealed) {
      const kernel = `kernel${look.map + 1}`;
      const part = make("span", "net-with-cost", "This kernel ");
      part.append(makeCost(kernel));
      row.append(part);
    }
    const away = makeButton("net-layer-away", `Without ${nameOf(cut)}`, () => toggle(cut));
    away.dataset.of = cut;
    away.setAttribute("aria-pressed", String(state.cuts.has(cut)));
    const part = make("span", "net-with-cost");
    part.append(away);
    if (isRevealed) part.append(makeCost(cut));
    row.append(part);
    head.after(row);
  }

  new MutationObserver(() => {
    if (!panel.querySelector(".net-panel-cuts")) addToPanel();
  }).observe(panel, { childList: true });

  // The box, and the button that opens it

  box.id = "net-costs";
  box.classList.add("net-costs");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "which cut costs more, and more parts to take away");
  const parts = make("p", "net-do", "Take away one column of one layer, or one kernel of conv1:");
  const says = make("p", "net-cost-says");
  const kernelsSay = make("p", "net-cost-kernels");
  box.append(question, choices, answer, parts, makeColumns(), makeKernels(), kernelsSay, says);
  box.hidden = true;
  if (costs?.pairs.length) ask();
  else for (const element of [question, choices, answer]) element.remove();

  /** @param {boolean} isOpen */
  function open(isOpen) {
    box.hidden = !isOpen;
    opener.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) drawKernels();
  }
  const text = costs ? "Guess the costs" : "More parts";
  const opener = makeButton("net-costs-open", text, () => open(Boolean(box.hidden)));
  opener.setAttribute("aria-expanded", "false");
  opener.setAttribute("aria-controls", box.id);
  one(".net-cuts > .net-again").after(opener);
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    open(false);
    opener.focus();
  });

  page.onPass(showState);
  page.addressKey(
    "costs",
    () => (isRevealed ? "shown" : null),
    (given) => {
      if (given !== "shown" || !costs) return;
      open(true);
      reveal();
    },
  );
  root.dataset.cuts = "ready";
})();
