// Where the net looks: what covering each place of the photograph costs, or the gradient at each of
// its pixels, laid over the photograph.

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { first, state, one, all } = page;
  const SIDE = first.resize;
  const MARGIN = (SIDE - first.crop) / 2;
  const STEP = 4; // pixels from one place of the square to the next
  const PLACES = first.crop / STEP; // in a row
  const PIECE = 7; // places that are computed at a time
  const SHADE = 225; // of 255: how dark the photograph is where nothing changes

  const overlay = /** @type {HTMLCanvasElement} */ (one(".net-over"));
  const legend = one(".net-legend");
  const progress = /** @type {HTMLProgressElement} */ (one(".net-progress"));
  const sentences = { do: one(".net-do-what"), shows: one(".net-shows") };
  const usual = { do: sentences.do.textContent, shows: sentences.shows.textContent };

  /** What lies over the photograph. @type {"" | "cover" | "gradient"} */
  let kind = "";
  let task = 0; // the last one that was begun; an earlier one gives up
  let mapped = ""; // what the occlusions were computed of
  let isBusy = false; // with a gradient

  /** What occlusions depend on: all but the place of the square. */
  function conditions() {
    const size = (state.square ?? first.square).size;
    const covered = page.laid({ x: SIDE / 2, y: SIDE / 2, size });
    const dropout = state.cuts.has("dropout") && state.draw;
    return JSON.stringify([page.base().join(), covered.join(), page.engineCuts(), dropout]);
  }

  /** @param {"" | "cover" | "gradient"} chosen */
  function show(chosen) {
    delete page.root.dataset.mapped;
    kind = chosen;
    task++;
    mapped = "";
    overlay.hidden = true;
    legend.hidden = true;
    progress.hidden = true;
    one(".net-stage").classList.toggle("is-mapped", kind !== "");
    for (const button of all("[data-where]")) {
      button.setAttribute("aria-pressed", String(button.dataset.where === kind));
    }
    sentences.do.textContent = usual.do;
    sentences.shows.textContent = usual.shows;
    if (kind === "cover") cover();
    page.touch(); // a pass asks for the gradient
  }

  /**
   * Lays numbers over the photograph: bright where they are high.
   * @param {ArrayLike<number>} values Of squares of places in the crop.
   * @param {number} white The value from which on the photograph is as bright as it is.
   */
  function draw(values, white) {
    const side = Math.sqrt(values.length);
    overlay.width = side;
    overlay.height = side;
    const context = overlay.getContext("2d");
    if (!context) return;
    const pixels = context.createImageData(side, side);
    for (let at = 0; at < values.length; at++) {
      const level = white > 0 ? Math.min(1, Math.max(0, values[at] / white)) : 0;
      pixels.data[4 * at + 3] = Math.round(SHADE * (1 - level));
    }
    context.putImageData(pixels, 0, 0);
    overlay.hidden = false;
  }

  /**
   * @param {string} to What to do.
   * @param {string} shows
   * @param {string} low
   * @param {string} high
   */
  function explain(to, shows, low, high) {
    sentences.do.textContent = to;
    sentences.shows.textContent = shows;
    overlay.setAttribute("aria-label", `${shows} ${low} to ${high}.`);
    one(".net-low", legend).textContent = low;
    one(".net-high", legend).textContent = high;
    legend.hidden = false;
  }

  /**
   * The probabilities of some images, with the parts that are taken away.
   * @param {Uint8Array[]} images
   * @returns {Promise<number[][]>}
   */
  async function probabilitiesOf(images) {
    const { net } = page.net();
    const training = state.cuts.has("dropout");
    const cuts = page.engineCuts();
    if (!training) {
      const all = new Uint8Array(images.length * images[0].length);
      images.forEach((image, at) => {
        all.set(image, at * image.length);
      });
      const { data } = (await net.run(all, { cuts })).logits;
      const classes = data.length / images.length;
      return images.map((_, at) => page.softmax(data.slice(at * classes, (at + 1) * classes)));
    }
    const found = []; // one after the other, so that the same units are dropped each time
    for (const image of images) {
      await net.seed(state.draw);
      found.push(page.softmax((await net.run(image, { cuts, training })).logits.data));
    }
    return found;
  }

  /** Covers all places, a few at a time, so that the page answers meanwhile. */
  async function cover() {
    const own = task;
    await page.load();
    await page.filled();
    if (own !== task || !page.net()) return;
    mapped = conditions();
    const isOld = () => own !== task;
    const { size } = state.square ?? first.square;
    const [whole] = await probabilitiesOf([page.base()]);
    const best = whole.indexOf(Math.max(...whole));
    /** @type {number[]} */
    const falls = [];
    progress.hidden = false;
    const place = (/** @type {number} */ at) => MARGIN + (at + 0.5) * STEP;
    for (let start = 0; start < PLACES ** 2; start += PIECE) {
      if (isOld()) return;
      progress.value = start / PLACES ** 2;
      const images = Array.from({ length: Math.min(PIECE, PLACES ** 2 - start) }, (_, at) => {
        const [row, column] = [Math.floor((start + at) / PLACES), (start + at) % PLACES];
        return page.laid({ x: place(column), y: place(row), size });
      });
      const found = await probabilitiesOf(images);
      falls.push(...found.map((probabilities) => whole[best] - probabilities[best]));
    }
    if (isOld()) return;
    progress.hidden = true;
    const most = Math.max(0, ...falls);
    draw(falls, most);
    const [name, before] = [page.short(best), page.percent(whole[best])];
    explain(
      "Click or tap the button again to take the map off; carry the square over bright places.",
      `Bright: with the square there, it is less sure of ${name} than the ${before} without it.`,
      "as sure",
      `down to ${page.percent(whole[best] - most)}`,
    );
    page.root.dataset.mapped = kind; // the tests wait for that
  }

  /**
   * The gradient of the first guess's score at the pixels: its size, summed over the colors.
   * @param {PagePass} pass
   * @param {number} best
   */
  async function gradientOf({ seen, probabilities, cuts }, best) {
    const { net, preprocessing } = page.net();
    const upstream = new Float32Array(probabilities.length);
    upstream[best] = 1;
    const training = state.cuts.has("dropout");
    if (training) await net.seed(state.draw);
    const of = { layer: first.layers[first.layers.length - 1].output, upstream };
    const options = { gradients: ["input"], of, cuts, training };
    const { data } = (await net.run(seen, options)).gradients.input;
    const text = atob(preprocessing.std);
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    const stds = new Float32Array(bytes.buffer); // the net reads pixels divided by these
    const area = first.crop ** 2;
    return Float32Array.from({ length: area }, (_, at) =>
      stds.reduce((sum, std, color) => sum + Math.abs(data[color * area + at]) / std, 0),
    );
  }

  /** @param {PagePass} pass */
  async function gradient(pass) {
    if (isBusy) return; // the next pass comes
    isBusy = true;
    const own = task;
    const best = pass.probabilities.indexOf(Math.max(...pass.probabilities));
    const sizes = await gradientOf(pass, best).finally(() => {
      isBusy = false;
    });
    if (own !== task) return;
    draw(sizes, sizes.slice().sort()[Math.floor(first.bright * (sizes.length - 1))]);
    explain(
      "Carry the square: the map follows. Click or tap the button again to take it off.",
      `Bright: a small change of this pixel changes the score of ${page.short(best)} most.`,
      "none",
      "most",
    );
    page.root.dataset.mapped = kind;
    if (page.last() !== pass) gradient(/** @type {PagePass} */ (page.last()));
  }

  for (const button of all("[data-where]")) {
    button.addEventListener("click", () => {
      const chosen = /** @type {"cover" | "gradient"} */ (button.dataset.where);
      show(chosen === kind ? "" : chosen);
    });
  }

  page.onPass((pass) => {
    if (kind === "gradient") gradient(pass);
    if (kind === "cover" && mapped && conditions() !== mapped) {
      show(""); // it would be the map of something else
    }
  });

  page.addressKey(
    "map",
    () => kind || null,
    (text) => {
      const chosen = text === "cover" || text === "gradient" ? text : "";
      if (chosen || kind) show(chosen);
    },
  );
})();
