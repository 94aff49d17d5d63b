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
 * @property {number} maps
 * @property {number} side
 * @property {number} tiles Maps in a row of the picture.
 * @property {boolean} crosses
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
 * @property {[number[][], number[][]]} palettes
 * @property {ShownLayer[]} layers
 * @property {Photograph[]} photographs
 */

/** A map that is looked at. @typedef {{layer: number, map: number, pinned: boolean}} Look */

/**
 * What is shown. Maps count from 0 here, and from 1 for the reader.
 * @typedef {object} PageState
 * @property {string} photograph The name of one that lies ready, or "yours".
 * @property {Square | null} square
 * @property {Crop} crop
 * @property {boolean} mirrored
 * @property {Set<string>} cuts "column1", "column2", "crossing", "lrn", "dropout"; or a column of
 *     one layer, such as "conv2.column1".
 * @property {Set<number>} kernels Of conv1, those that are taken away.
 * @property {number} draw Of dropout.
 * @property {Look | null} look
 */

/**
 * An answer of the net to what is shown.
 * @typedef {object} PagePass
 * @property {number[]} probabilities One for each class.
 * @property {Object<string, {shape: number[], data: Float32Array}>} maps By `ShownLayer.output`.
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
 * @property {() => Object<string, any>} engineCuts The cuts, as the engine takes them.
 * @property {() => void} touch The reader has changed the state: show it, write the address, load
 *     the net, compute.
 * @property {(text: string) => void} say Writes the status line.
 * @property {(listener: (pass: PagePass) => void) => void} onPass Called after each pass.
 * @property {(name: string, read: () => Promise<NetPicture>, credit: string) => Promise<void>}
 *     choosePicture Shows another photograph; the name is for a message if it cannot be read.
 * @property {(name: string, write: () => string | null, read: (text: string | null) => void) => void}
 *     addressKey Puts a key into the address, where `write` gives a text; `read` gets the text of
 *     an address that was opened, which may be anything, or null.
 * @property {(name: string) => HTMLElement} slot An empty element of the page for a part of it.
 */

(() => {
  const root = /** @type {HTMLElement} */ (document.querySelector("figure.net"));
  const folder = new URL(".", /** @type {HTMLScriptElement} */ (document.currentScript).src).href;
  if (!root) return;

  /** @type {<T extends Element = HTMLElement>(selector: string, within?: Element) => T} */
  const one = (selector, within = root) => /** @type {any} */ (within.querySelector(selector));
  /** @type {(selector: string) => HTMLElement[]} */
  const all = (selector) => [...root.querySelectorAll(selector)].map((e) => /** @type {any} */ (e));

  /** @type {FirstState} */
  const first = JSON.parse(one(".net-state").textContent ?? "");
  const SIDE = first.resize;
  const MARGIN = (SIDE - first.crop) / 2; // of what the net leaves out
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
    crop: { x: 0.5, y: 0.5, zoom: 1 },
    mirrored: false,
    cuts: new Set(),
    kernels: new Set(),
    draw: 1,
    look: null,
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

  /** As `percent` in first_page.py. @param {number} probability */
  function percent(probability) {
    const value = 100 * probability;
    return `${value >= 9.95 ? Math.floor(value + 0.5) : value.toFixed(1)} %`;
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

  /** The pictures of a layer's maps, one for each column. */
  const blocks = all(".net-block").map((button) => {
    const image = one("img", button);
    const canvas = document.createElement("canvas");
    canvas.width = Number(image.getAttribute("width"));
    canvas.height = Number(image.getAttribute("height"));
    const index = first.layers.findIndex(({ name }) => name === button.dataset.layer);
    const pointer = document.createElement("span");
    pointer.className = "net-pointer";
    pointer.hidden = true;
    button.append(pointer);
    return { button, image, canvas, index, column: Number(button.dataset.column), pointer };
  });

  /** @typedef {typeof blocks[number]} Block */

  /** @param {Block} block */
  function drawBlock({ button, image, canvas, index, column }) {
    const { output, maps: count, side, tiles } = first.layers[index];
    const context = canvas.getContext("2d");
    if (!context) return;
    const picture = context.createImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(picture.data.buffer).fill(palettes[column][GAP]);
    const [values, colors, factor] = [
      maps[output].data,
      palettes[column],
      (GAP - 1) / scales[index],
    ];
    const pitch = side > 1 ? side + 1 : 1;
    const half = count / 2;
    for (let map = 0; map < half; map++) {
      const corner = Math.floor(map / tiles) * pitch * canvas.width + (map % tiles) * pitch;
      let from = (column * half + map) * side * side;
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

  // The net's work: one pass at a time, always for what is shown last.

  /** @type {((pass: PagePass) => void)[]} */
  const listeners = [];
  let isWanted = false;
  let isComputing = false;
  let settling = 0; // the timer of a crop that is being changed
  /** @type {{key: string, pixels: Uint8ClampedArray} | null} */
  let resized = null;

  function resizedPixels() {
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

  async function pass() {
    const base = resizedPixels();
    const outputs = first.layers.map(({ output }) => output);
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
    const seen = laySquare(base, SIDE, state.square, first.gray);
    const cuts = engineCuts();
    const training = state.cuts.has("dropout");
    if (training) await loaded.net.seed(state.draw);
    const result = await loaded.net.run(seen, { maps: outputs, cuts, training });
    maps = result.maps;
    const probabilities = softmax(result.logits.data);
    drawSeen(seen);
    showGuesses(probabilities);
    for (const block of blocks) drawBlock(block);
    if (state.look) drawPanel();
    for (const listener of listeners) listener({ probabilities, maps, seen, cuts });
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
        if (!picture) await setPicture(await NetPicture.fromAddress(address), false);
        const net = await /** @type {any} */ (window).alexnet.load(first.net, { onProgress });
        words = net.card.words ?? net.card.classes;
        loaded = net;
        if (state.look) lookAt(state.look);
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
    square.setAttribute("aria-valuenow", String(Math.round(x)));
    const place = `${Math.round(x)} across, ${Math.round(y)} down, ${size} wide`;
    square.setAttribute("aria-valuetext", state.square ? place : "lifted");
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
    "aria-label":
      "grey square: arrow keys move it, plus and minus change its size, Escape lifts it",
    "aria-valuemin": "0",
    "aria-valuemax": String(SIDE),
  }))
    square.setAttribute(name, value);

  let isPlaced = false; // the mouse carries the square until a click puts it down
  let isCropping = false;
  const carrySentence = one(".net-top .net-do").textContent;
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
  one(".net-lift").addEventListener("click", () => lift(state.square !== null));

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
    one(".net-top .net-do").textContent = on
      ? "Drag the photograph to choose the square that the net sees; wheel, pinch or + enlarge it."
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
    set(".net-lift", !state.square);
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
  function choosePicture(name, read, credit) {
    return choose(name, read, () => {
      state.photograph = "yours";
      one(".net-by").textContent = credit;
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
    one(".net-again").hidden = !state.cuts.has("dropout");
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
    if (state.look) showPanel(false);
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

  // A look inside

  const panel = one(".net-panel");
  /** @type {Float32Array | null} */
  let kernels = null; // of conv1
  /** Which map of a block the keyboard is at. @type {Map<Block, number>} */
  const cursors = new Map();

  /** @param {Look} look */
  function blockOf({ layer, map }) {
    const column = map < first.layers[layer].maps / 2 ? 0 : 1;
    return /** @type {Block} */ (blocks.find((b) => b.index === layer && b.column === column));
  }

  /** @param {Look | null} look */
  function lookAt(look) {
    state.look = look;
    root.classList.toggle("is-inside", look?.pinned ?? false);
    for (const block of blocks) block.pointer.hidden = true;
    for (const element of all(".net-layer")) {
      const name = look && first.layers[look.layer].name;
      element.classList.toggle("is-looked-at", element.dataset.layer === name);
    }
    panel.hidden = !look || !loaded;
    if (!look) return;
    const block = blockOf(look);
    const { maps: count, tiles, side } = first.layers[look.layer];
    const at = look.map % (count / 2);
    const pitch = side > 1 ? side + 1 : 1;
    const { style } = block.pointer;
    style.left = `${(100 * (at % tiles) * pitch) / block.canvas.width}%`;
    style.top = `${(100 * Math.floor(at / tiles) * pitch) / block.canvas.height}%`;
    style.width = `${(100 * side) / block.canvas.width}%`;
    style.height = `${(100 * side) / block.canvas.height}%`;
    block.pointer.hidden = false;
    cursors.set(block, at);
    if (look.pinned) load();
    if (loaded) showPanel();
  }

  /** @param {string} kind @param {string} text */
  function makeView(kind, text, side = 132) {
    const view = document.createElement("div");
    const canvas = document.createElement("canvas");
    canvas.className = kind;
    canvas.width = side;
    canvas.height = side;
    const caption = document.createElement("span");
    caption.textContent = text;
    view.append(canvas, caption);
    return view;
  }

  /** @param {boolean} [fresh] Whether the panel may take another place. */
  function showPanel(fresh = true) {
    const look = state.look;
    if (!look) return;
    const { name, maps: count, side } = first.layers[look.layer];
    if (fresh) {
      panel.classList.toggle("is-right", look.layer <= 2);
      panel.classList.toggle("is-left", look.layer > 2);
    }
    panel.classList.toggle("is-preview", !look.pinned);
    const head = document.createElement("div");
    head.className = "net-panel-head";
    const title = document.createElement("b");
    const column = look.map < count / 2 ? 1 : 2;
    title.textContent = `${name}, ${side > 1 ? "map" : "unit"} ${look.map + 1} of ${count} (column ${column})`;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "net-close";
    close.textContent = "Close";
    close.addEventListener("click", () => closePanel());
    head.append(title);
    if (look.layer === 0) {
      const cut = document.createElement("button");
      cut.type = "button";
      cut.className = "net-cut-kernel";
      cut.textContent = state.kernels.has(look.map) ? "Put it back" : "Take it away";
      cut.addEventListener("click", () => {
        cutKernel(look.map);
        one(".net-cut-kernel", panel).focus();
      });
      head.append(cut);
    }
    head.append(close);
    const views = document.createElement("div");
    views.className = "net-views";
    if (look.layer === 0) views.append(makeView("net-kernel", "Its kernel: what it looks for.", 7));
    if (side > 1) {
      views.append(makeView("net-map", "The map, on its own scale.", side));
      views.append(
        makeView("net-fires", "Bright: where it fires; framed: what its strongest unit sees.", 264),
      );
    }
    const facts = document.createElement("p");
    facts.className = "net-facts";
    panel.replaceChildren(head, views, facts);
    if (loaded && !kernels) fetchKernels();
    drawPanel();
  }

  async function fetchKernels() {
    kernels = (await loaded.net.parameters())["conv1.weight"].data;
    drawPanel();
  }

  function closePanel() {
    const block = state.look && blockOf(state.look);
    lookAt(null);
    block?.button.focus({ preventScroll: true });
    writeAddressSoon();
  }

  function drawPanel() {
    const look = state.look;
    if (!look || !panel.firstChild || !maps[first.layers[look.layer].output]) return;
    const layer = first.layers[look.layer];
    const area = layer.side ** 2;
    const values = maps[layer.output].data.subarray(look.map * area, (look.map + 1) * area);
    const highest = Math.max(...values);
    const active = values.filter((value) => value > 0).length;
    const where = layer.side > 1 ? `, ${active} of ${area} units fire` : "";
    const reads = layer.crosses
      ? "It reads all of the layer before"
      : "It reads its own column of the layer before";
    const source = look.layer === 0 ? "It reads the photograph" : reads;
    one(".net-facts", panel).textContent =
      `Highest value ${highest.toFixed(2)}${where}. ${source}.`;
    if (look.layer === 0 && kernels) drawKernel(look.map);
    if (layer.side === 1) return;
    const column = look.map < layer.maps / 2 ? 0 : 1;
    const { context, data } = imageOf(".net-map", layer.side);
    const pixels = new Uint32Array(data.data.buffer);
    for (let at = 0; at < area; at++) {
      const level = highest > 0 ? Math.max(0, values[at]) / highest : 0;
      pixels[at] = palettes[column][Math.floor(level * (GAP - 1) + 0.5)];
    }
    context.putImageData(data, 0, 0);
    drawFires(layer, values, highest);
  }

  /** @param {string} selector @param {number} side */
  function imageOf(selector, side) {
    const canvas = /** @type {HTMLCanvasElement} */ (one(selector, panel));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    return { context, data: context.createImageData(side, side) };
  }

  /** @param {number} kernel */
  function drawKernel(kernel) {
    if (!kernels) return;
    const area = kernels.length / KERNELS / 3;
    const side = Math.sqrt(area);
    const weights = kernels.subarray(3 * kernel * area, 3 * (kernel + 1) * area);
    const highest = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 1e-9);
    const { context, data } = imageOf(".net-kernel", side);
    for (let at = 0; at < area; at++) {
      for (let color = 0; color < 3; color++) {
        data.data[4 * at + color] = 127.5 + (127.5 * weights[color * area + at]) / highest;
      }
      data.data[4 * at + 3] = 255;
    }
    context.putImageData(data, 0, 0);
  }

  /**
   * The photograph, dark where a map is low.
   * @param {ShownLayer} layer
   * @param {Float32Array} values
   * @param {number} highest
   */
  function drawFires({ side, start, jump, field }, values, highest) {
    const { context } = imageOf(".net-fires", 1);
    const size = context.canvas.width;
    context.drawImage(view, 0, 0, size, size);
    const shade = new ImageData(SIDE, SIDE);
    const center = MARGIN + start + field / 2; // of the first unit's field
    /** @type {(pixel: number) => [number, number, number]} */
    const between = (pixel) => {
      const place = Math.min(side - 1, Math.max(0, (pixel + 0.5 - center) / jump));
      const low = Math.min(Math.floor(place), side - 2);
      return [low, low + 1, place - low];
    };
    for (let row = 0; row < SIDE; row++) {
      const [above, below, down] = between(row);
      for (let column = 0; column < SIDE; column++) {
        const [left, right, across] = between(column);
        const mix = (/** @type {number} */ at) =>
          values[at * side + left] * (1 - across) + values[at * side + right] * across;
        const level = highest > 0 ? (mix(above) * (1 - down) + mix(below) * down) / highest : 0;
        shade.data[4 * (row * SIDE + column) + 3] = 215 * (1 - Math.max(0, level));
      }
    }
    const small = document.createElement("canvas");
    small.width = SIDE;
    small.height = SIDE;
    small.getContext("2d")?.putImageData(shade, 0, 0);
    context.drawImage(small, 0, 0, size, size);
    if (!(highest > 0)) return;
    const best = values.indexOf(highest);
    const scale = size / SIDE;
    const corner = (/** @type {number} */ at) => (MARGIN + start + at * jump) * scale;
    context.strokeStyle = "#fff";
    context.lineWidth = 3;
    context.strokeRect(
      corner(best % side),
      corner(Math.floor(best / side)),
      field * scale,
      field * scale,
    );
  }

  /** @param {Block} block @param {MouseEvent} event */
  function mapAt({ button, canvas, index, column }, event) {
    const { maps: count, side, tiles } = first.layers[index];
    const box = button.getBoundingClientRect();
    const pitch = side > 1 ? side + 1 : 1;
    const across = Math.floor(((event.clientX - box.left) / box.width) * (canvas.width / pitch));
    const down = Math.floor(((event.clientY - box.top) / box.height) * (canvas.height / pitch));
    const at = Math.max(0, down) * tiles + Math.min(tiles - 1, Math.max(0, across));
    return at < count / 2 ? at + (column * count) / 2 : null;
  }

  for (const block of blocks) {
    const { button, index, column } = block;
    const { maps: count, tiles } = first.layers[index];
    const half = count / 2;
    button.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse" || state.look?.pinned) return;
      const map = mapAt(block, event);
      if (map === null) lookAt(null);
      else if (state.look?.layer !== index || state.look.map !== map)
        lookAt({ layer: index, map, pinned: false });
    });
    button.addEventListener("pointerleave", () => {
      if (state.look && !state.look.pinned) lookAt(null);
    });
    button.addEventListener("click", (event) => {
      const byKey = event.detail === 0;
      const map = byKey ? column * half + (cursors.get(block) ?? 0) : mapAt(block, event);
      if (map === null) return;
      const look = state.look;
      if (!byKey && look?.pinned && look.layer === index && look.map === map) return closePanel();
      isTouched = true;
      lookAt({ layer: index, map, pinned: true });
      if (byKey) (panel.querySelector("button") ?? panel).focus({ preventScroll: true });
      writeAddressSoon();
    });
    button.addEventListener("keydown", (event) => {
      /** @type {Object<string, number>} */
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -tiles, ArrowDown: tiles };
      if (!steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const isHere = state.look?.layer === index && blockOf(state.look) === block;
      const at = (cursors.get(block) ?? 0) + (isHere ? steps[event.key] : 0);
      lookAt({
        layer: index,
        map: column * half + Math.min(half - 1, Math.max(0, at)),
        pinned: true,
      });
      writeAddressSoon();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.look) closePanel();
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
    const { crop } = state;
    if (crop.zoom !== 1 || crop.x !== 0.5 || crop.y !== 0.5) {
      parts.push(`crop=${[crop.x, crop.y, crop.zoom].map(rounded)}`);
    }
    if (state.mirrored) parts.push("mirror=yes");
    const cuts = CUTS.filter((cut) => state.cuts.has(cut));
    for (const kernel of state.kernels) cuts.push(`kernel${kernel + 1}`);
    if (cuts.length) parts.push(`cut=${cuts}`);
    if (state.look?.pinned)
      parts.push(`look=${first.layers[state.look.layer].name}.${state.look.map + 1}`);
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
      history.replaceState(history.state, "", written);
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
    const [layerName, map] = (keys.get("look") ?? "").split(".");
    const layer = first.layers.findIndex((shown) => shown.name === layerName);
    const inRange =
      /^\d{1,4}$/.test(map ?? "") && Number(map) >= 1 && Number(map) <= first.layers[layer]?.maps;
    lookAt(inRange ? { layer, map: Number(map) - 1, pinned: true } : null);
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
      if (place < stops.length - 1) requestAnimationFrame(step);
      else root.dataset.glide = "done";
    };
    requestAnimationFrame(step);
  }

  let isStopped = matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
    const stop = () => {
      isStopped = true;
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
    seen: () => laySquare(resizedPixels(), SIDE, state.square, first.gray),
    engineCuts,
    touch,
    say,
    onPass: (listener) => void listeners.push(listener),
    choosePicture,
    addressKey: (name, write, read) => void addressKeys.push({ name, write, read }),
    slot: (name) => one(`[data-slot="${name}"]`),
  };
  Object.assign(window, { netPage });

  // Begin

  root.classList.add("is-live");
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
