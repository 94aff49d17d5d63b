// The net on the first page: what can be done with it. The page already holds the first state,
// which alexnet/bookkit/first_page.py computes; picture.js has the photograph, and alexnet.js
// computes. Works from a folder, too.
//
// The other scripts of this folder attach to window.netPage, of the type NetPage below: they read
// what is shown, change `state` and call `touch()`, and hear of each answer of the net by
// `onPass`. They are included after this one, and register the keys that they have in the address
// at once, since it is read when the page has loaded. Where there is no figure, there is no netPage.

/**
 * A layer as the page shows it; first_page.py has the same class.
 * @typedef {object} ShownLayer
 * @property {string} name Such as "conv1".
 * @property {string} output The layer of the net whose output is shown.
 * @property {string} reads The layer before, or "input".
 * @property {number} maps
 * @property {number} columns
 * @property {number} side
 * @property {number} tiles Maps in a row of the picture.
 * @property {boolean} crosses Whether it reads the maps of both columns.
 * @property {number} kernel 0 for fc6 to fc8, whose units read all of the layer before.
 * @property {number} stride
 * @property {number} padding
 * @property {number} scale The value that is shown as white.
 * @property {number} field
 * @property {number} start
 * @property {number} jump
 */

/** @typedef {{name: string, words: string, author: string, licence: string, source: string}} Photograph */

/**
 * @typedef {object} FirstState
 * @property {string} net
 * @property {number} resize
 * @property {number} crop
 * @property {number[]} gray
 * @property {Square} square
 * @property {number} bright
 * @property {number[]} guesses
 * @property {number[]} untouched
 * @property {string} base What the net sees of the first photograph, as PyTorch reduced it.
 * @property {Object<string, [number[], number[]?]>} strongest PyTorch's value of each map's
 *     strongest unit, and its place.
 * @property {number} enough Validation photographs that a sentence about them needs.
 * @property {number[][][]} palettes Of the columns, and of what is in neither.
 * @property {ShownLayer[]} layers
 * @property {Photograph[]} photographs
 * @property {CutCosts | null} costs What cuts cost: cuts.js.
 */

/**
 * A map that is looked at, and the place in it that was chosen, if any: row times side plus column.
 * @typedef {{layer: number, map: number, pinned: boolean, unit?: number}} Look
 */

/**
 * A layer's maps of one column, as they are shown.
 * @typedef {object} Block
 * @property {HTMLElement} button
 * @property {HTMLElement} image The stored picture, which the canvas replaces.
 * @property {HTMLCanvasElement} canvas
 * @property {number} index Of the layer.
 * @property {number} column
 */

/**
 * What is shown. Maps count from 0 here, and from 1 for the reader.
 * @typedef {object} PageState
 * @property {string} photograph The name of one that lies ready, or "yours".
 * @property {Square | null} square
 * @property {string} fill What the square shows: "gray", "blur", "noise", or the name of a photograph.
 * @property {Crop} crop
 * @property {boolean} mirrored
 * @property {Set<string>} cuts "column1", "column2", "crossing", "lrn", "dropout"; or a column of
 *     one layer, such as "conv2.column1".
 * @property {Set<number>} kernels Of conv1, those that are taken away.
 * @property {number} draw Of dropout.
 * @property {Look | null} look
 * @property {boolean} ownScale Whether each map is as bright as its own highest value asks for.
 */

/**
 * An answer of the net to what is shown.
 * @typedef {object} PagePass
 * @property {number[]} probabilities One for each class.
 * @property {Object<string, {shape: number[], data: Float32Array}>} maps By `ShownLayer.output`,
 *     and what the layer that is looked at reads.
 * @property {Uint8Array} seen What the net saw: [row][column][color].
 * @property {Object<string, any>} cuts As the engine takes them.
 */

/**
 * What the scripts of this folder use of the page: window.netPage.
 * @typedef {object} NetPage
 * @property {HTMLElement} root
 * @property {FirstState} first
 * @property {PageState} state
 * @property {<T extends Element = HTMLElement>(selector: string, within?: Element) => T} one
 * @property {(selector: string) => HTMLElement[]} all
 * @property {() => Promise<void>} load Loads the net, once: to be called after a click or gesture.
 * @property {() => any} net The net that alexnet.load has loaded, or null.
 * @property {() => string[]} words The names of the classes, once the net is loaded.
 * @property {(label: number) => string} short The first of a class's names.
 * @property {(probability: number) => string} percent
 * @property {(logits: Float32Array) => number[]} softmax
 * @property {() => Uint8Array} base What the net would see without the square: RGB, [row][column].
 * @property {() => Uint8Array} seen What it sees now.
 * @property {(square: Square) => Uint8Array} laid What it would see with the square elsewhere.
 * @property {() => Promise<void>} filled Waits for the photograph of which the square shows a patch.
 * @property {() => Object<string, any>} engineCuts The cuts, as the engine takes them.
 * @property {() => void} touch The reader has changed the state: show it, write the address, load
 *     the net, compute.
 * @property {(text: string) => void} say Writes the status line.
 * @property {(listener: (pass: PagePass) => void) => void} onPass Called after each pass.
 * @property {() => PagePass | null} last The last pass.
 * @property {() => boolean} isFirst Whether what is shown is the stored first state.
 * @property {Block[]} blocks
 * @property {Uint32Array[]} palettes Pixels of a canvas, from dark to white; one for each column.
 * @property {() => number[]} scales The value of each layer that is shown as white.
 * @property {HTMLCanvasElement} view The photograph, as it is cropped.
 * @property {() => NetPicture | null} picture The whole of it, once the net is loaded.
 * @property {(name: string, read: () => Promise<NetPicture>, credit: string, then?: () => void) =>
 *     Promise<void>} choosePicture Shows another photograph; the name is for a message if it cannot
 *     be read, and `then` changes the state, before it is shown.
 * @property {(name: string, write: () => string | null, read: (text: string | null) => void) => void}
 *     addressKey Puts a key into the address, where `write` gives a text; `read` gets the text of
 *     an address that was opened, which may be anything, or null.
 * @property {(name: string) => HTMLElement} slot An empty element of the page for a part of it.
 */

(() => {
  const root = /** @type {HTMLElement} */ (document.querySelector("figure.net"));
  const { src } = /** @type {HTMLScriptElement} */ (document.currentScript);
  const folder = src && new URL(".", src).href; // none in an output of a notebook
  if (!root) return;

  /** @type {<T extends Element = HTMLElement>(selector: string, within?: Element) => T} */
  const one = (selector, within = root) => /** @type {any} */ (within.querySelector(selector));
  /** @type {(selector: string) => HTMLElement[]} */
  const all = (selector) => [...root.querySelectorAll(selector)].map((e) => /** @type {any} */ (e));

  /** @type {FirstState} */
  const first = JSON.parse(one(".net-state").textContent ?? "");
  const SIDE = first.resize;
  const GAP = 255; // as in first_page.py
  const SMALLEST = 4; // of the square, in pixels of what the net sees
  const LARGEST = 40;
  const COLUMNS = first.layers // of one layer
    .filter(({ name }) => name.startsWith("conv"))
    .flatMap(({ name }) => [`${name}.column1`, `${name}.column2`]);
  const CUTS = ["column1", "column2", "crossing", "lrn", "dropout", ...COLUMNS];
  const SETTLED = 300; // milliseconds after which a crop stands
  const KERNELS = first.layers[0].maps;

  /** @type {PageState} */
  const state = {
    photograph: first.photographs[0].name,
    square: { ...first.square },
    fill: "gray",
    crop: { x: 0.5, y: 0.5, zoom: 1 },
    mirrored: false,
    cuts: new Set(),
    kernels: new Set(),
    draw: 1,
    look: null,
    ownScale: false,
  };

  /** @type {any} */
  let loaded = null;
  /** @type {Promise<void> | null} */
  let loading = null;
  /** @type {NetPicture | null} */
  let picture = null;
  /** @type {string[]} */
  let words = [];
  let guesses = first.guesses;
  let untouched = first.untouched;
  let scales = first.layers.map((layer) => layer.scale);
  let untouchedIsOld = false;
  /** @type {PagePass["maps"]} */
  let maps = {};
  let isTouched = false; // by the reader
  const savesData = Boolean(/** @type {any} */ (navigator).connection?.saveData);

  // Names and numbers

  /**
   * As `percent` in first_page.py: near 0 and near 100 with a decimal, so that no 100 % stands
   * beside a 0.2 %.
   * @param {number} probability
   */
  function percent(probability) {
    const value = 100 * probability;
    const isWhole = (value >= 9.95 && value < 99) || value >= 99.95;
    return `${isWhole ? Math.floor(value + 0.5) : value.toFixed(1)} %`;
  }

  /** The first of a class's names. @param {number} label */
  const short = (label) => words[label].split(",")[0];

  /** As `scale_of` in first_page.py. @param {Float32Array} values */
  function scaleOf(values) {
    const value = values.slice().sort()[Math.floor(first.bright * (values.length - 1))];
    return value > 0 ? value : 1;
  }

  /** @param {Float32Array} logits */
  function softmax(logits) {
    const highest = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }

  /** @param {number[]} values */
  const largest = (values) => values.indexOf(Math.max(...values));

  /** @param {string} text */
  function say(text) {
    one(".net-status").textContent = text;
  }

  // The first guess is read out when it changes, at most once a second.
  let announced = "";
  let pending = "";
  let timer = 0;

  /** @param {string} guess */
  function announce(guess) {
    pending = guess;
    if (timer || !isTouched || pending === announced) return;
    announced = pending;
    one(".net-live").textContent = `It says: ${announced}`;
    timer = window.setTimeout(() => {
      timer = 0;
      announce(pending);
    }, 1000);
  }

  // Guesses

  /** @param {number[]} probabilities */
  function showGuesses(probabilities) {
    const rows = all(".net-guess");
    const shown = guesses.map((label) => probabilities[label]);
    const rest = (/** @type {number[]} */ values) => 1 - values.reduce((sum, p) => sum + p, 0);
    const values = [...shown, Math.max(0, rest(shown))];
    const marks = [...untouched, Math.max(0, rest(untouched))];
    rows.forEach((row, at) => {
      one("i", row).style.width = `${100 * values[at]}%`;
      one("u", row).style.left = `${100 * marks[at]}%`;
      one(".net-value", row).textContent = percent(values[at]);
      if (at === guesses.length) return;
      const word = one(".net-word", row);
      word.textContent = short(guesses[at]);
      word.title = words[guesses[at]];
    });
    const best = largest(probabilities);
    const name = document.createElement("b");
    name.textContent = short(best);
    name.title = words[best];
    one(".net-first").replaceChildren(name);
    one(".net-beyond").textContent = guesses.includes(best)
      ? ""
      : `, ${percent(probabilities[best])}: not among the five`;
    announce(short(best));
  }

  // Maps

  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  const palettes = first.palettes.map((colors) =>
    Uint32Array.from(colors, ([r, g, b], at) => {
      const alpha = at === GAP ? 0 : 255;
      return little
        ? r | (g << 8) | (b << 16) | (alpha << 24)
        : (r << 24) | (g << 16) | (b << 8) | alpha;
    }),
  );

  /** @type {Block[]} */
  const blocks = all(".net-block").map((button) => {
    const image = one("img", button);
    const canvas = document.createElement("canvas");
    canvas.width = Number(image.getAttribute("width"));
    canvas.height = Number(image.getAttribute("height"));
    const index = first.layers.findIndex(({ name }) => name === button.dataset.layer);
    return { button, image, canvas, index, column: Number(button.dataset.column) };
  });

  /** @param {Block} block */
  function drawBlock({ button, image, canvas, index, column }) {
    const { output, maps: count, columns, side, tiles } = first.layers[index];
    const context = canvas.getContext("2d");
    if (!context) return;
    const picture = context.createImageData(canvas.width, canvas.height);
    const colors = paletteOf(index, column);
    const pixels = new Uint32Array(picture.data.buffer).fill(colors[GAP]);
    const values = maps[output].data;
    const pitch = side > 1 ? side + 1 : 1;
    const area = side * side;
    const number = count / columns;
    for (let map = 0; map < number; map++) {
      const corner = Math.floor(map / tiles) * pitch * canvas.width + (map % tiles) * pitch;
      let from = (column * number + map) * area;
      const factor = (GAP - 1) / whiteOf(index, values.subarray(from, from + area));
      for (let row = 0; row < side; row++) {
        for (let at = corner + row * canvas.width, end = at + side; at < end; at++) {
          const level = values[from++] * factor;
          pixels[at] = colors[level > 0 ? Math.min(GAP - 1, Math.floor(level + 0.5)) : 0];
        }
      }
    }
    context.putImageData(picture, 0, 0);
    if (canvas.parentElement) return;
    image.replaceWith(canvas);
    button.prepend(canvas);
  }

  /** @param {number} layer @param {number} column */
  const paletteOf = (layer, column) => palettes[first.layers[layer].columns === 1 ? 2 : column];

  /**
   * The value of a map that is shown as white.
   * @param {number} layer
   * @param {Float32Array} values Of the map.
   */
  function whiteOf(layer, values) {
    if (!state.ownScale || values.length === 1) return scales[layer];
    return Math.max(...values) || 1; // a map that is zero stays dark
  }

  // The net's work: one pass at a time, always for what is shown last.

  /** @type {((pass: PagePass) => void)[]} */
  const listeners = [];
  /** @type {PagePass | null} */
  let last = null;
  let isWanted = false;
  let isComputing = false;
  let settling = 0; // the timer of a crop that is being changed
  /** @type {{key: string, pixels: Uint8ClampedArray} | null} */
  let resized = null;

  /** @type {Uint8ClampedArray | null} */
  let stored = null; // the first photograph, reduced by PyTorch: so that the numbers are the same

  async function readStored() {
    const { canvas } = await NetPicture.fromAddress(first.base);
    const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).getImageData(
      0,
      0,
      SIDE,
      SIDE,
    );
    stored = new Uint8ClampedArray(SIDE * SIDE * 3).map(
      (_, at) => data[4 * Math.floor(at / 3) + (at % 3)],
    );
  }

  function isWhole() {
    const { x, y, zoom } = state.crop;
    return !state.mirrored && x === 0.5 && y === 0.5 && zoom === 1;
  }

  function isFirst() {
    const same = JSON.stringify(state.square) === JSON.stringify(first.square);
    const isUncut = !state.cuts.size && !state.kernels.size;
    return resizedPixels() === stored && same && state.fill === "gray" && isUncut;
  }

  function resizedPixels() {
    if (stored && state.photograph === first.photographs[0].name && isWhole()) return stored;
    if (!picture) throw new Error("there is no photograph");
    const key = JSON.stringify([state.crop, state.mirrored]);
    if (resized?.key !== key) {
      resized = { key, pixels: picture.resize(state.crop, state.mirrored, SIDE) };
    }
    return resized.pixels;
  }

  /** What the engine takes away. */
  function engineCuts() {
    /** @type {Object<string, any>} */
    const cuts = {};
    const columns = [0, 1].filter((column) => state.cuts.has(`column${column + 1}`));
    if (columns.length) cuts.columns = columns;
    if (state.cuts.has("lrn")) cuts.layers = ["norm1", "norm2"];
    if (state.cuts.has("crossing"))
      cuts.crossings = {
        conv3: [
          [0, 1],
          [1, 0],
        ],
      };
    /** @type {Object<string, number[]>} */
    const taken = {};
    if (state.kernels.size) taken.conv1 = [...state.kernels];
    for (const cut of COLUMNS.filter((column) => state.cuts.has(column))) {
      const [name, column] = cut.split(".column");
      const half = (first.layers.find((layer) => layer.name === name)?.maps ?? 0) / 2;
      const own = Array.from({ length: half }, (_, map) => (Number(column) - 1) * half + map);
      taken[name] = [...new Set([...(taken[name] ?? []), ...own])];
    }
    for (const list of Object.values(taken)) list.sort((a, b) => a - b);
    if (Object.keys(taken).length) cuts.maps = taken;
    return cuts;
  }

  /** @type {Object<string, Uint8ClampedArray>} */
  const patches = {}; // other photographs as the net sees them, by name
  /** @type {{from: Uint8ClampedArray, blurred: Uint8ClampedArray} | null} */
  let blurred = null;
  const noise = squareFills.noise(SIDE);

  /**
   * What a square shows.
   * @param {Square} square
   * @returns {ArrayLike<number>}
   */
  function fillOf(square) {
    const pixels = resizedPixels();
    if (state.fill === "noise") return noise;
    if (patches[state.fill]) return squareFills.patch(patches[state.fill], SIDE, square);
    if (state.fill !== "blur") return first.gray;
    if (blurred?.from !== pixels) {
      blurred = { from: pixels, blurred: squareFills.blur(pixels, SIDE) };
    }
    return blurred.blurred;
  }

  /** @param {Square | null} square */
  const laid = (square) =>
    laySquare(resizedPixels(), SIDE, square, square ? fillOf(square) : first.gray);

  async function pass() {
    const base = resizedPixels();
    const outputs = first.layers.map(({ output }) => output);
    const reads = state.look?.pinned ? first.layers[state.look.layer].reads : "input";
    const wanted = reads === "input" ? outputs : [...new Set([...outputs, reads])];
    if (untouchedIsOld) {
      untouchedIsOld = false;
      const result = await loaded.net.run(Uint8Array.from(base), { maps: outputs });
      const probabilities = softmax(result.logits.data);
      const order = probabilities.map((_, label) => label);
      order.sort((a, b) => probabilities[b] - probabilities[a]);
      guesses = order.slice(0, first.guesses.length);
      untouched = guesses.map((label) => probabilities[label]);
      scales = outputs.map((output) => scaleOf(result.maps[output].data));
    }
    const seen = laid(state.square);
    const cuts = engineCuts();
    const training = state.cuts.has("dropout");
    if (training) await loaded.net.seed(state.draw);
    const result = await loaded.net.run(seen, { maps: wanted, cuts, training });
    maps = result.maps;
    const probabilities = softmax(result.logits.data);
    drawSeen(seen);
    showGuesses(probabilities);
    for (const block of blocks) drawBlock(block);
    last = { probabilities, maps, seen, cuts };
    for (const listener of listeners) listener(last);
    root.dataset.passes = String(Number(root.dataset.passes ?? 0) + 1);
  }

  async function compute() {
    isWanted = true;
    if (isComputing || !loaded || !picture) return;
    isComputing = true;
    root.dataset.state = "computing";
    try {
      while (isWanted) {
        isWanted = false;
        await pass();
      }
    } catch (error) {
      say(`The net has stopped: ${error instanceof Error ? error.message : error}.`);
    } finally {
      isComputing = false;
      root.dataset.state = settling ? "settling" : "idle"; // the tests wait for that
    }
  }

  /** @type {HTMLCanvasElement | null} */
  let seenCanvas = null;

  /** @param {Uint8Array} seen */
  function drawSeen(seen) {
    if (!seenCanvas) {
      const image = one(".net-seen");
      seenCanvas = document.createElement("canvas");
      seenCanvas.className = "net-seen";
      seenCanvas.width = SIDE;
      seenCanvas.height = SIDE;
      seenCanvas.setAttribute("role", "img");
      seenCanvas.setAttribute("aria-label", image.getAttribute("alt") ?? "");
      image.replaceWith(seenCanvas);
    }
    const data = new ImageData(SIDE, SIDE);
    for (let at = 0; at < SIDE * SIDE; at++) {
      for (let color = 0; color < 3; color++) data.data[4 * at + color] = seen[3 * at + color];
      data.data[4 * at + 3] = 255;
    }
    seenCanvas.getContext("2d")?.putImageData(data, 0, 0);
  }

  function load() {
    loading ??= (async () => {
      try {
        const onProgress = (/** @type {number} */ fraction) =>
          say(
            fraction < 1 && isTouched
              ? `The net is being loaded: ${Math.floor(100 * fraction)} %`
              : "",
          );
        const address = one(".net-picture").getAttribute("src") ?? "";
        if (!stored) await readStored();
        if (!picture) await setPicture(await NetPicture.fromAddress(address), false);
        const net = await /** @type {any} */ (window).alexnet.load(first.net, { onProgress });
        words = net.card.words ?? net.card.classes;
        loaded = net;
        say(net.notice);
        await compute();
      } catch (error) {
        const reason = error instanceof Error ? error.message : error;
        say(`The net cannot be loaded, so what you see is stored: ${reason}.`);
      }
    })();
    return loading;
  }

  /** The reader has changed something. */
  function touch() {
    isTouched = true;
    showSquare();
    showTools();
    showCuts();
    writeAddressSoon();
    load();
    compute();
  }

  // The photograph and the gray square

  const stage = one(".net-stage");
  const square = one(".net-square");
  const view = /** @type {HTMLCanvasElement} */ (one(".net-canvas"));
  const zoom = /** @type {HTMLInputElement} */ (one(".net-zoom"));

  /**
   * @param {NetPicture} chosen
   * @param {boolean} isNew
   */
  async function setPicture(chosen, isNew = true) {
    picture = chosen;
    resized = null;
    if (isNew) {
      state.crop = { x: 0.5, y: 0.5, zoom: 1 };
      state.mirrored = false;
      untouchedIsOld = true;
    }
    showPicture();
    showTools();
  }

  function showPicture() {
    const context = view.getContext("2d");
    if (!picture || !context) return;
    state.crop = picture.within(state.crop);
    const { left, top, side } = picture.frame(state.crop);
    context.setTransform(state.mirrored ? -1 : 1, 0, 0, 1, state.mirrored ? view.width : 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture.canvas, left, top, side, side, 0, 0, view.width, view.height);
    view.hidden = false;
    one(".net-picture").hidden = true;
  }

  function showSquare() {
    const { x, y, size } = state.square ?? first.square;
    square.style.left = `${(100 * (x - size / 2)) / SIDE}%`;
    square.style.top = `${(100 * (y - size / 2)) / SIDE}%`;
    square.style.width = `${(100 * size) / SIDE}%`;
    square.style.height = square.style.width;
    square.classList.toggle("is-lifted", !state.square);
    drawFill();
    square.setAttribute("aria-valuenow", String(Math.round(x)));
    const place = `${Math.round(x)} across, ${Math.round(y)} down, ${size} wide`;
    square.setAttribute("aria-valuetext", state.square ? place : "lifted");
  }

  const patchView = document.createElement("canvas"); // what the square shows, if not gray
  patchView.hidden = true;
  square.append(patchView);

  function drawFill() {
    patchView.hidden = state.fill === "gray" || !state.square || !picture;
    const context = patchView.getContext("2d");
    if (patchView.hidden || !context || !state.square) return;
    const { x, y, size } = state.square;
    const fill = fillOf(state.square);
    const side = Math.ceil(size);
    patchView.width = side;
    patchView.height = side;
    const pixels = context.createImageData(side, side);
    const [left, top] = [Math.round(x - size / 2), Math.round(y - size / 2)];
    for (let at = 0; at < side * side; at++) {
      const [row, column] = [Math.floor(at / side) + top, (at % side) + left];
      const isInside = Math.min(row, column) >= 0 && Math.max(row, column) < SIDE;
      const from = 3 * (row * SIDE + column);
      for (let color = 0; isInside && color < 3; color++) {
        pixels.data[4 * at + color] = fill[fill.length === 3 ? color : from + color];
      }
      pixels.data[4 * at + 3] = isInside ? 255 : 0;
    }
    context.putImageData(pixels, 0, 0);
  }

  /** @param {Square} to */
  function clamped({ x, y, size }) {
    const limit = (/** @type {number} */ value) => Math.min(SIDE, Math.max(0, value));
    return { x: limit(x), y: limit(y), size: Math.min(LARGEST, Math.max(SMALLEST, size)) };
  }

  /**
   * @param {number} x In pixels of what the net sees.
   * @param {number} y
   * @param {number} [size]
   */
  function moveSquare(x, y, size = (state.square ?? first.square).size) {
    state.square = clamped({ x, y, size });
    touch();
  }

  /** @param {PointerEvent | MouseEvent} event */
  function placeOf(event) {
    const box = stage.getBoundingClientRect();
    const share = (/** @type {number} */ value, /** @type {number} */ length) =>
      (SIDE * value) / length;
    return {
      x: share(event.clientX - box.left, box.width),
      y: share(event.clientY - box.top, box.height),
    };
  }

  square.tabIndex = 0;
  for (const [name, value] of Object.entries({
    role: "slider",
    "aria-label": "square: arrow keys move it, plus and minus change its size, Escape lifts it",
    "aria-valuemin": "0",
    "aria-valuemax": String(SIDE),
  }))
    square.setAttribute(name, value);

  let isPlaced = false; // the mouse carries the square until a click puts it down
  let isCropping = false;
  const carrySentence = one(".net-do-what").textContent;
  /** @type {{id: number, x: number, y: number, wasPlaced: boolean, moved: boolean, onSquare: boolean} | null} */
  let press = null;
  /** Fingers on the photograph while it is cropped. @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();

  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const onSquare = event.target === square;
    if (isCropping) {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      stage.setPointerCapture(event.pointerId);
      event.preventDefault();
      return;
    }
    press = {
      id: event.pointerId,
      x: event.clientX,
      y: event.clientY,
      wasPlaced: isPlaced,
      moved: false,
      onSquare,
    };
    if (event.pointerType !== "mouse" && !onSquare) return; // a finger may scroll the page
    stage.setPointerCapture(event.pointerId);
    isPlaced = false;
    const { x, y } = placeOf(event);
    moveSquare(x, y);
    square.focus({ preventScroll: true });
    event.preventDefault();
  });

  stage.addEventListener("pointermove", (event) => {
    if (isCropping) {
      if (fingers.has(event.pointerId)) dragCrop(event);
      return;
    }
    const isPress = press?.id === event.pointerId;
    if (press && isPress && Math.hypot(event.clientX - press.x, event.clientY - press.y) > 3)
      press.moved = true;
    const carries = event.pointerType === "mouse" ? !isPlaced : isPress && press?.onSquare;
    if (!carries || (savesData && !loaded && !press)) return;
    const { x, y } = placeOf(event);
    moveSquare(x, y);
  });

  stage.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (press?.id !== event.pointerId) return;
    if (event.pointerType === "mouse") isPlaced = press.moved || !press.wasPlaced;
    else if (!press.onSquare && !press.moved) {
      const { x, y } = placeOf(event);
      moveSquare(x, y); // a tap
    }
    press = null;
  });
  stage.addEventListener("pointercancel", (event) => {
    fingers.delete(event.pointerId);
    press = null;
  });

  square.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : 4;
    const { x, y, size } = state.square ?? first.square;
    /** @type {Object<string, () => void>} */
    const actions = {
      ArrowLeft: () => moveSquare(x - step, y),
      ArrowRight: () => moveSquare(x + step, y),
      ArrowUp: () => moveSquare(x, y - step),
      ArrowDown: () => moveSquare(x, y + step),
      "+": () => moveSquare(x, y, size + 2),
      "=": () => moveSquare(x, y, size + 2),
      "-": () => moveSquare(x, y, size - 2),
      Escape: () => lift(true),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
    actions[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });

  /** @param {boolean} lifted */
  function lift(lifted) {
    lastSquare = state.square ?? lastSquare;
    state.square = lifted ? null : lastSquare;
    isPlaced = true;
    touch();
  }
  let lastSquare = first.square;

  const fillChoice = /** @type {HTMLSelectElement} */ (one(".net-fill"));
  fillChoice.addEventListener("change", () => {
    if (fillChoice.value === "none") return lift(true);
    state.square ??= lastSquare;
    setFill(fillChoice.value);
    touch();
  });

  let filling = Promise.resolve();

  /** @param {string | null} fill As in the address: a choice of the list, or anything. */
  function setFill(fill) {
    const isPhotograph = first.photographs.some(({ name }) => name === fill);
    state.fill = fill && (isPhotograph || ["blur", "noise"].includes(fill)) ? fill : "gray";
    if (isPhotograph && !patches[state.fill]) filling = loadPatch(state.fill);
  }

  /** @param {string} name Of a photograph. */
  async function loadPatch(name) {
    try {
      const other = await NetPicture.fromAddress((await loadPhotographs())[name]);
      patches[name] = other.resize({ x: 0.5, y: 0.5, zoom: 1 }, false, SIDE);
    } catch (error) {
      say(`The photograph ${name} ${error instanceof Error ? error.message : error}.`);
      if (state.fill === name) state.fill = "gray";
    }
    touch();
  }

  // Mirror and crop

  function cropped() {
    showPicture();
    touch();
    clearTimeout(settling);
    settling = window.setTimeout(() => {
      settling = 0;
      untouchedIsOld = true;
      compute();
    }, SETTLED);
  }

  /**
   * @param {number} dx Of the photograph, in pixels of the screen.
   * @param {number} dy
   */
  function pan(dx, dy) {
    if (!picture) return;
    const { side } = picture.frame(state.crop);
    const scale = side / stage.clientWidth;
    state.crop.x -= ((state.mirrored ? -dx : dx) * scale) / picture.canvas.width;
    state.crop.y -= (dy * scale) / picture.canvas.height;
    cropped();
  }

  /** @param {number} factor */
  function zoomTo(factor) {
    state.crop.zoom = Math.min(Number(zoom.max), Math.max(Number(zoom.min), factor));
    cropped();
  }

  /** One finger moves the photograph, two enlarge it. @param {PointerEvent} event */
  function dragCrop(event) {
    const [from, to] = [fingers.get(event.pointerId), { x: event.clientX, y: event.clientY }];
    if (!from) return;
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    fingers.set(event.pointerId, to);
    if (!other) return pan(to.x - from.x, to.y - from.y);
    const distance = (/** @type {{x: number, y: number}} */ a) =>
      Math.hypot(a.x - other.x, a.y - other.y);
    zoomTo((state.crop.zoom * distance(to)) / Math.max(1, distance(from)));
  }

  stage.addEventListener(
    "wheel",
    (event) => {
      if (!isCropping) return;
      event.preventDefault();
      zoomTo(state.crop.zoom * 1.002 ** -event.deltaY);
    },
    { passive: false },
  );
  stage.addEventListener("keydown", (event) => {
    if (!isCropping) return;
    const step = stage.clientWidth / 16;
    /** @type {Object<string, () => void>} */
    const actions = {
      ArrowLeft: () => pan(step, 0),
      ArrowRight: () => pan(-step, 0),
      ArrowUp: () => pan(0, step),
      ArrowDown: () => pan(0, -step),
      "+": () => zoomTo(state.crop.zoom + 0.25),
      "=": () => zoomTo(state.crop.zoom + 0.25),
      "-": () => zoomTo(state.crop.zoom - 0.25),
      Escape: () => setCropping(false),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
    actions[event.key]();
    event.preventDefault();
  });
  zoom.addEventListener("input", () => zoomTo(Number(zoom.value)));

  /** @param {boolean} on */
  function setCropping(on) {
    isCropping = on;
    fingers.clear();
    stage.classList.toggle("is-cropping", on);
    zoom.hidden = !on;
    if (on) {
      stage.tabIndex = 0;
      stage.setAttribute("role", "group");
      stage.setAttribute(
        "aria-label",
        "the photograph: arrow keys move it, plus and minus enlarge it",
      );
      stage.focus({ preventScroll: true });
    } else stage.removeAttribute("tabindex");
    one(".net-do-what").textContent = on
      ? "Drag the photograph to choose the square that the net sees; wheel, pinch or slider enlarge it."
      : carrySentence;
    showTools();
  }
  one(".net-crop").addEventListener("click", () => setCropping(!isCropping));
  one(".net-mirror").addEventListener("click", () => {
    state.mirrored = !state.mirrored;
    state.crop.x = picture ? state.crop.x : 0.5;
    cropped();
  });

  function showTools() {
    /** @type {(selector: string, on: boolean) => void} */
    const set = (selector, on) => one(selector).setAttribute("aria-pressed", String(on));
    fillChoice.value = state.square ? state.fill : "none";
    set(".net-mirror", state.mirrored);
    set(".net-crop", isCropping);
    zoom.value = String(state.crop.zoom);
  }

  // Photographs

  /** @type {Promise<Object<string, string>> | null} */
  let photographs = null;

  /** The photographs of free licence, in a script of their own. */
  function loadPhotographs() {
    photographs ??= new Promise((resolve, reject) => {
      const held = /** @type {any} */ (window).alexnetPhotographs; // in an output of a notebook
      if (held) return resolve(held);
      const script = document.createElement("script");
      script.src = `${folder}photographs.js`;
      script.onload = () => resolve(/** @type {any} */ (window).alexnetPhotographs);
      script.onerror = () => {
        photographs = null;
        reject(new Error("cannot be loaded"));
      };
      document.head.append(script);
    });
    return photographs;
  }

  let choices = 0;

  /**
   * @param {string} name What it is called in a message.
   * @param {() => Promise<NetPicture>} read
   * @param {(picture: NetPicture) => void} then
   */
  async function choose(name, read, then) {
    const choice = ++choices; // a later one wins
    try {
      const chosen = await read();
      if (choice !== choices) return;
      say("");
      await setPicture(chosen);
      then(chosen);
      showPicture();
      touch();
    } catch (error) {
      if (choice === choices) say(`${name} ${error instanceof Error ? error.message : error}.`);
    }
  }

  /**
   * @param {string} name
   * @param {() => void} [then]
   */
  function chooseSample(name, then = () => {}) {
    const known = first.photographs.find((photograph) => photograph.name === name);
    if (!known) return Promise.resolve();
    const read = async () => NetPicture.fromAddress((await loadPhotographs())[name]);
    return choose(`The photograph ${name}`, read, () => {
      state.photograph = name;
      const link = document.createElement("a");
      link.href = known.source;
      link.textContent = known.author;
      one(".net-by").replaceChildren("Photograph: ", link, `, ${known.licence}.`);
      if (!known.words.startsWith("(")) one(".net-by").append(` It shows: ${known.words}.`);
      else one(".net-by").append(" What it shows is not among the things it can say.");
      showSample();
      then();
    });
  }

  function showSample() {
    for (const button of all(".net-sample")) {
      button.setAttribute("aria-pressed", String(button.dataset.name === state.photograph));
    }
  }

  /** @param {File | Blob} file */
  function chooseFile(file) {
    const name = file instanceof File && file.name ? file.name : "The picture";
    return choosePicture(name, () => NetPicture.fromFile(file), "Your photograph.");
  }

  /** @type {NetPage["choosePicture"]} */
  function choosePicture(name, read, credit, then = () => {}) {
    return choose(name, read, () => {
      state.photograph = "yours";
      one(".net-by").textContent = credit;
      then();
      showSample();
    });
  }

  for (const button of all(".net-sample")) {
    button.addEventListener("click", () => chooseSample(button.dataset.name ?? ""));
  }
  for (const kind of ["pointerenter", "focusin"]) {
    // Before a click, so that they are there by then.
    one(".net-samples").addEventListener(kind, () => loadPhotographs().catch(() => {}));
  }
  const file = /** @type {HTMLInputElement} */ (one(".net-file"));
  one(".net-own").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files?.[0]) chooseFile(file.files[0]);
    file.value = ""; // so that the same one can be chosen again
  });
  // Anywhere on the page: a browser would open what is dropped beside the photograph.
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    root.classList.add("is-dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) root.classList.remove("is-dropping");
  });
  document.addEventListener("drop", (event) => {
    const dropped = event.dataTransfer?.files[0];
    root.classList.remove("is-dropping");
    if (!dropped) return;
    event.preventDefault();
    chooseFile(dropped);
  });
  document.addEventListener("paste", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest?.("input, textarea")) return;
    const pasted = event.clipboardData?.files[0];
    if (!pasted) return;
    event.preventDefault();
    chooseFile(pasted);
  });

  // Parts taken away

  function showCuts() {
    for (const button of all("[data-cut]")) {
      const cut = button.dataset.cut ?? "";
      button.setAttribute("aria-pressed", String(state.cuts.has(cut)));
      root.classList.toggle(`cut-${cut}`, state.cuts.has(cut));
    }
    const away = all(".net-cuts [data-cut][aria-pressed=true]");
    const about = away.map((button) => `${button.textContent}: ${button.title}`);
    one(".net-cut-about").textContent = about.join("; ");
    one(".net-again").hidden = !state.cuts.has("dropout");
    one(".net-whole").hidden = !state.cuts.size && !state.kernels.size;
    const columns = COLUMNS.filter((column) => state.cuts.has(column));
    const shown = [...state.kernels, ...columns].join();
    if (shown === shownChips) return; // a chip keeps the focus
    shownChips = shown;
    const chips = [...state.kernels]
      .sort((a, b) => a - b)
      .map((kernel) => makeChip(`kernel ${kernel + 1}`, () => cutKernel(kernel)));
    for (const column of columns) {
      const text = column.replace(".column", ", column ");
      chips.push(makeChip(text, () => toggleCut(column)));
    }
    one(".net-kernels").replaceChildren(...chips);
  }
  let shownChips = "";

  /**
   * A part that is away, to be put back by a click.
   * @param {string} text
   * @param {() => void} putBack
   */
  function makeChip(text, putBack) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.setAttribute("aria-pressed", "true");
    chip.textContent = text;
    chip.addEventListener("click", putBack);
    return chip;
  }

  /** @param {number} kernel Of conv1: taken away, or put back. */
  function cutKernel(kernel) {
    if (!state.kernels.delete(kernel)) state.kernels.add(kernel);
    touch();
  }

  /** @param {string} cut */
  function toggleCut(cut) {
    if (!state.cuts.delete(cut)) state.cuts.add(cut);
    touch();
  }

  for (const button of all("[data-cut]")) {
    button.addEventListener("click", () => toggleCut(button.dataset.cut ?? ""));
  }
  one(".net-again").addEventListener("click", () => {
    state.draw++;
    touch();
  });
  one(".net-whole").addEventListener("click", () => {
    state.cuts.clear();
    state.kernels.clear();
    one("[data-cut]").focus({ preventScroll: true }); // the button itself goes
    touch();
  });

  // The state in the address

  /** @type {{name: string, write: () => string | null, read: (text: string | null) => void}[]} */
  const addressKeys = []; // of the other scripts
  let writing = 0;
  let written = "";

  function address() {
    const parts = [`net=${state.photograph}`];
    const { x, y, size } = state.square ?? first.square;
    const rounded = (/** @type {number} */ value) => Number(value.toFixed(2));
    if (!state.square) parts.push("square=none");
    else if (JSON.stringify(state.square) !== JSON.stringify(first.square)) {
      parts.push(`square=${[x, y, size].map(rounded)}`);
    }
    if (state.fill !== "gray") parts.push(`with=${state.fill}`);
    const { crop } = state;
    if (crop.zoom !== 1 || crop.x !== 0.5 || crop.y !== 0.5) {
      parts.push(`crop=${[crop.x, crop.y, crop.zoom].map(rounded)}`);
    }
    if (state.mirrored) parts.push("mirror=yes");
    const cuts = CUTS.filter((cut) => state.cuts.has(cut));
    for (const kernel of state.kernels) cuts.push(`kernel${kernel + 1}`);
    if (cuts.length) parts.push(`cut=${cuts}`);
    for (const { name, write } of addressKeys) {
      const text = write();
      if (text !== null) parts.push(`${name}=${encodeURIComponent(text).replaceAll("%2C", ",")}`);
    }
    return `#${parts.join("&")}`;
  }

  function writeAddressSoon() {
    clearTimeout(writing);
    writing = window.setTimeout(() => {
      written = address();
      // An output of a notebook has no address of its own.
      if (location.protocol !== "about:") history.replaceState(history.state, "", written);
    }, 400);
  }

  /**
   * Numbers in the address, or nothing if they are not as many numbers.
   * @param {string | null} text
   * @param {number} count
   */
  function numbersOf(text, count) {
    const numbers = (text ?? "")
      .split(",")
      .map((part) => (part.trim() ? Number(part) : Number.NaN));
    return numbers.length === count && numbers.every(Number.isFinite) ? numbers : null;
  }

  /** Takes what is right in the address, and leaves the rest as it is at first. */
  async function readAddress() {
    if (location.hash === written || !/^#net=/.test(location.hash)) return;
    clearTimeout(writing);
    written = location.hash;
    isTouched = true;
    const keys = new URLSearchParams(location.hash.slice(1));
    const name = keys.get("net") ?? "";
    const known = first.photographs.some((photograph) => photograph.name === name);
    await chooseSample(known ? name : first.photographs[0].name, () => applyAddress(keys));
  }

  /** @param {URLSearchParams} keys */
  function applyAddress(keys) {
    const square = numbersOf(keys.get("square"), 3);
    state.square = { ...first.square };
    if (keys.get("square") === "none") state.square = null;
    else if (square) state.square = clamped({ x: square[0], y: square[1], size: square[2] });
    isPlaced = keys.has("square");
    setFill(keys.get("with"));
    const crop = numbersOf(keys.get("crop"), 3);
    if (crop) {
      const factor = Math.min(Number(zoom.max), Math.max(Number(zoom.min), crop[2]));
      state.crop = { x: crop[0], y: crop[1], zoom: factor };
    }
    state.mirrored = keys.get("mirror") === "yes";
    const cuts = (keys.get("cut") ?? "").split(",");
    state.cuts = new Set(cuts.filter((cut) => CUTS.includes(cut)));
    const cutKernels = cuts.map((cut) => Number(/^kernel(\d{1,4})$/.exec(cut)?.[1]) - 1);
    state.kernels = new Set(cutKernels.filter((kernel) => kernel >= 0 && kernel < KERNELS));
    for (const { name, read } of addressKeys) read(keys.get(name));
    showSquare();
    showTools();
    showCuts();
  }

  // At first the square glides over the photograph, once, until anything is touched.

  const GLIDE = [
    [31, 38],
    [50, 16],
    [18, 16],
  ];
  const GLIDE_TIME = 3600; // milliseconds

  function glide() {
    const { x, y, size } = first.square;
    const stops = [[x, y], ...GLIDE, [x, y]];
    let start = 0;
    isGliding = true;
    /** @param {number} now */
    const step = (now) => {
      start ||= now;
      const place = Math.min(1, (now - start) / GLIDE_TIME) * (stops.length - 1);
      if (isStopped || isTouched) return;
      const leg = Math.min(stops.length - 2, Math.floor(place));
      const along = (place - leg) ** 2 * (3 - 2 * (place - leg));
      const mix = (/** @type {number} */ axis) =>
        stops[leg][axis] + (stops[leg + 1][axis] - stops[leg][axis]) * along;
      state.square = { x: mix(0), y: mix(1), size };
      showSquare();
      compute();
      isGliding = place < stops.length - 1;
      if (isGliding) requestAnimationFrame(step);
      else root.dataset.glide = "done";
    };
    requestAnimationFrame(step);
  }

  let isGliding = false;
  let isStopped = matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
    const stop = () => {
      isStopped = true;
      if (!isGliding || isTouched) return;
      // Back in its corner, not where it happens to be: it would hide a part of what is chosen
      state.square = { ...first.square };
      showSquare();
      compute();
    };
    addEventListener(kind, stop, { once: true, passive: true, capture: true });
  }

  // What the other scripts use

  /** @type {NetPage} */
  const netPage = {
    root,
    first,
    state,
    one,
    all,
    load,
    net: () => loaded,
    words: () => words,
    short,
    percent,
    softmax,
    base: () => Uint8Array.from(resizedPixels()),
    seen: () => laid(state.square),
    laid,
    filled: () => filling,
    engineCuts,
    touch,
    say,
    isFirst,
    blocks,
    palettes,
    scales: () => scales,
    view,
    picture: () => picture,
    last: () => last,
    onPass: (listener) => void listeners.push(listener),
    choosePicture,
    addressKey: (name, write, read) => void addressKeys.push({ name, write, read }),
    slot: (name) => one(`[data-slot="${name}"]`),
  };
  Object.assign(window, { netPage });

  // Begin

  root.classList.add("is-live");
  one(".net-more").addEventListener("click", () => root.classList.add("shows-all"));
  showSquare();
  showTools();
  showSample();
  addEventListener("hashchange", readAddress);
  addEventListener("load", async () => {
    if (/^#net=/.test(location.hash)) await readAddress();
    if (savesData) return; // the net is loaded when something is touched
    await load();
    if (loaded && !isTouched && !isStopped && document.visibilityState === "visible") glide();
  });
})();
