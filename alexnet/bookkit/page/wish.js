// What would it like to see? A picture that grows, step by step, so that it excites a class or a
// map more and more: by the rule of maximize_activation in alexnet/visualize.py, seen through a
// window that moves. change.js, below it on the page, uses some of this file.

/**
 * What is used of a net that alexnet.js has loaded.
 * @typedef {{run: (images: Uint8Array | Float32Array, options?: RunOptions) => Promise<RunResult>}}
 *     NetInPage
 */

/** Between bytes and what the net takes; `preprocess` in engine.js is the same. */
class NetScale {
  /** @param {Preprocessing} preprocessing */
  constructor({ resize, crop, offset, mean, std }) {
    this.resize = resize;
    this.crop = crop;
    this.offset = offset;
    this.stds = NetScale.floats(std);
    const means = NetScale.floats(mean);
    const area = crop * crop;
    /** Of each number of what the net takes, [color][row][column]. */
    this.means = Float32Array.from({ length: 3 * area }, (_, at) =>
      means.length === 3 ? means[Math.floor(at / area)] : means[at],
    );
    /** Of each color. */
    this.colors = [0, 1, 2].map((color) => {
      const own = this.means.subarray(color * area, (color + 1) * area);
      return own.reduce((sum, value) => sum + value, 0) / area;
    });
  }

  /** @param {string} text Little-endian float32 in base64. */
  static floats(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  }
}

/**
 * Random numbers from 0 to 1, the same for the same seed: mulberry32.
 * @param {number} seed
 */
function seededRandom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * What a picture grows for: a class, or the unit in the middle of a map.
 * @typedef {object} Goal
 * @property {string} layer Of the net: a convolution before its ReLU, which would let nothing
 *     through where a unit is silent; or fc8.
 * @property {number} maps
 * @property {number} side Of a map.
 * @property {number} map Or class.
 */

/**
 * The window of the crop's size through which the net sees the picture: its corner, in pixels.
 * @typedef {{top: number, left: number}} NetView
 */

/** A picture that grows. Its numbers are standard deviations from the mean color. */
class GrownPicture {
  // As in maximize_activation: Adam, and penalties for differences between neighboring pixels and
  // for what is far from the mean color.
  static LR = 0.05;
  static VARIATION = 0.02;
  static DECAY = 0.002;
  static NOISE = 0.1; // standard deviation of the noise that it begins with

  /**
   * @param {NetScale} scale
   * @param {Goal} goal
   * @param {Float32Array} values [color][row][column] of resize×resize pixels.
   */
  constructor(scale, goal, values) {
    this.scale = scale;
    this.goal = goal;
    this.values = values;
    this.first = new Float32Array(values.length); // Adam's moments
    this.second = new Float32Array(values.length);
    this.steps = 0;
    const { maps, side, map } = goal;
    this.unit = map * side * side + Math.floor(side / 2) * (side + 1);
    this.upstream = new Float32Array(maps * side * side);
    this.upstream[this.unit] = 1;
  }

  /**
   * @param {NetScale} scale
   * @param {number} seed
   */
  static noise({ resize }, seed) {
    const random = seededRandom(seed);
    // By Box and Muller
    return Float32Array.from({ length: 3 * resize * resize }, () => {
      const length = Math.sqrt(-2 * Math.log(1 - random()));
      return GrownPicture.NOISE * length * Math.cos(2 * Math.PI * random());
    });
  }

  /**
   * @param {NetScale} scale
   * @param {Uint8Array} bytes [row][column][color]
   */
  static fromBytes({ resize, colors, stds }, bytes) {
    const area = resize * resize;
    return Float32Array.from(bytes, (_, at) => {
      const color = Math.floor(at / area);
      return (bytes[3 * (at % area) + color] / 255 - colors[color]) / stds[color];
    });
  }

  /** The picture as it can be shown, [row][column][color]. */
  bytes() {
    const { resize, colors, stds } = this.scale;
    const area = resize * resize;
    return Uint8Array.from(this.values, (_, at) => {
      const color = at % 3;
      const value = this.values[color * area + Math.floor(at / 3)];
      return Math.round(255 * Math.min(1, Math.max(0, value * stds[color] + colors[color])));
    });
  }

  /**
   * Calls `visit` with the place of each number that the net takes, there and in the picture.
   * @param {NetView} view
   * @param {(inside: number, place: number, color: number) => void} visit
   */
  each({ top, left }, visit) {
    const { resize, crop } = this.scale;
    let inside = 0;
    for (let color = 0; color < 3; color++) {
      for (let row = 0; row < crop; row++) {
        const line = (color * resize + top + row) * resize + left;
        for (let column = 0; column < crop; column++) visit(inside++, line + column, color);
      }
    }
  }

  /**
   * A step of gradient ascent.
   * @param {NetInPage} net
   * @param {NetView} view
   * @returns {Promise<{value: number, logits: Float32Array}>} What the net said before the step;
   *     the value is the unit's, or the class's score.
   */
  async step(net, view) {
    const { means, colors, stds, crop } = this.scale;
    const input = new Float32Array(3 * crop * crop);
    this.each(view, (inside, place, color) => {
      input[inside] = this.values[place] + (colors[color] - means[inside]) / stds[color];
    });
    const { layer } = this.goal;
    const of = { layer, upstream: this.upstream };
    const result = await net.run(input, { gradients: ["input"], of, maps: [layer] });
    const ascent = new Float32Array(this.values.length);
    const { data } = result.gradients.input;
    this.each(view, (inside, place) => {
      ascent[place] = data[inside];
    });
    this.move(ascent);
    return { value: result.maps[layer].data[this.unit], logits: result.logits.data };
  }

  /** Adam's step. @param {Float32Array} ascent The gradient of the unit. */
  move(ascent) {
    const { resize: side, colors, stds } = this.scale;
    const { values, first, second } = this;
    const before = values.slice();
    const [one, two] = [0.9, 0.999]; // Adam's usual decays
    this.steps++;
    const [firstPart, secondPart] = [1 - one ** this.steps, 1 - two ** this.steps];
    for (let at = 0; at < values.length; at++) {
      const [row, column] = [Math.floor(at / side) % side, at % side];
      let differences = 0;
      if (row > 0) differences += before[at] - before[at - side];
      if (row < side - 1) differences += before[at] - before[at + side];
      if (column > 0) differences += before[at] - before[at - 1];
      if (column < side - 1) differences += before[at] - before[at + 1];
      const { VARIATION, DECAY, LR } = GrownPicture;
      const slope = 2 * VARIATION * differences + 2 * DECAY * before[at] - ascent[at];
      first[at] = one * first[at] + (1 - one) * slope;
      second[at] = two * second[at] + (1 - two) * slope * slope;
      const moved = (LR * (first[at] / firstPart)) / (Math.sqrt(second[at] / secondPart) + 1e-8);
      const color = Math.floor(at / (side * side));
      const [dark, bright] = [-colors[color] / stds[color], (1 - colors[color]) / stds[color]];
      values[at] = Math.min(bright, Math.max(dark, before[at] - moved)); // within 0 to 255
    }
  }
}

/** What the parts in the slot "wish" have in common. */
const wishParts = {
  /**
   * @template {keyof HTMLElementTagNameMap} K
   * @param {K} kind
   * @param {string} [name]
   * @param {(string | Node)[]} content
   * @returns {HTMLElementTagNameMap[K]}
   */
  make(kind, name = "", ...content) {
    const element = document.createElement(kind);
    if (name) element.className = name;
    element.append(...content);
    return element;
  },

  /** @param {string} text @param {() => void} act */
  makeButton(text, act, name = "") {
    const button = wishParts.make("button", name, text);
    button.type = "button";
    button.addEventListener("click", act);
    return button;
  },

  /** A link to a work in the list of references. @param {string} key @param {string} text */
  makeCitation(key, text) {
    const link = wishParts.make("a", "", text);
    link.href = `references.html#${key}`;
    return link;
  },

  /**
   * A field in which one of all classes is chosen, by typing a part of its name.
   * @param {NetPage} page
   * @param {string} label For screen readers.
   */
  makeClassField(page, label) {
    const field = wishParts.make("input", "wish-class");
    const list = wishParts.make("datalist");
    list.id = `wish-classes-${document.querySelectorAll("datalist").length + 1}`;
    field.type = "search";
    field.autocomplete = "off";
    field.setAttribute("list", list.id);
    field.setAttribute("aria-label", label);
    return {
      field,
      list,
      /** Lists the classes, once they are known. */
      fill() {
        if (list.children.length) return;
        for (const word of page.words()) list.append(new Option(word, word));
      },
      /** The class, or −1. */
      label: () => wishParts.findClass(page, field.value),
      /** @param {number} chosen */
      choose(chosen) {
        field.value = page.short(chosen);
      },
    };
  },

  /** @param {NetPage} page @param {string} text A name, a part of one, or the class's id. */
  findClass(page, text) {
    const sought = text.trim().replaceAll("_", " ").toLowerCase();
    if (!sought) return -1;
    const names = page.words().map((word) => word.toLowerCase());
    const byId = (page.net()?.card.classes ?? []).indexOf(sought);
    const isShort = (/** @type {string} */ name) => name.split(",")[0] === sought;
    const tries = [names.indexOf(sought), names.findIndex(isShort), byId];
    tries.push(names.findIndex((name) => name.split(", ").includes(sought)));
    tries.push(names.findIndex((name) => name.includes(sought)));
    return tries.find((label) => label >= 0) ?? -1;
  },

  /** A class in the address; `findClass` reads it. @param {NetPage} page @param {number} label */
  keyOf(page, label) {
    const key = page.short(label).replaceAll(" ", "_").toLowerCase();
    return wishParts.findClass(page, key) === label ? key : page.net().card.classes[label];
  },

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Uint8Array} bytes [row][column][color]
   */
  draw(canvas, bytes) {
    const side = Math.sqrt(bytes.length / 3);
    canvas.width = side;
    canvas.height = side;
    const pixels = new ImageData(side, side);
    for (let at = 0; at < pixels.data.length; at++) {
      pixels.data[at] = at % 4 === 3 ? 255 : bytes[3 * Math.floor(at / 4) + (at % 4)];
    }
    canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  },

  /**
   * Makes a picture the photograph of the page, without the square, which would hide a part of it.
   * @param {NetPage} page
   * @param {Uint8Array} bytes
   * @param {string} credit
   */
  async takeAlong(page, bytes, credit) {
    const canvas = document.createElement("canvas");
    wishParts.draw(canvas, bytes);
    page.state.square = null;
    const read = async () => new NetPicture(canvas, canvas.width, canvas.height);
    await page.choosePicture("The picture", read, credit);
    page.root.scrollIntoView();
  },

  /** @param {number[]} values */
  largest: (values) => values.indexOf(Math.max(...values)),

  /** @param {number} value */
  digits: (value) => value.toFixed(1).replace("-", "−"),
};

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { first, state } = page;
  const { make, makeButton, makeCitation, digits } = wishParts;
  const STEPS = 200;
  const SHIFT = { class: 4, map: 2 }; // pixels by which the window moves at most, each way
  const SEEDS = 3; // of the noise, to choose from
  const LAYERS = first.layers.filter(({ name }) => /^conv[2-5]$/.test(name));
  const CLASSES = first.layers[first.layers.length - 1];
  const [WIDE, HIGH] = [240, 72]; // of the curve

  // What it consists of

  const details = make("details", "wish", make("summary", "", "What would it like to see?"));
  const kind = make("select");
  kind.setAttribute("aria-label", "what the picture grows for");
  kind.append(new Option("a kind of thing:", CLASSES.name));
  for (const { name } of LAYERS) kind.append(new Option(`a map of ${name}:`, name));
  const choice = wishParts.makeClassField(page, "kind of thing");
  const number = make("input", "wish-map");
  number.type = "number";
  number.min = "1";
  number.value = "1";
  number.setAttribute("aria-label", "number of the map");
  const lookedAt = makeButton("the map you look at", chooseLookedAt, "wish-look");
  const start = make("select");
  start.setAttribute("aria-label", "what the picture begins with");
  for (let seed = 1; seed <= SEEDS; seed++) start.append(new Option(`noise ${seed}`, `${seed}`));
  start.append(new Option("the photograph", "photograph"));
  const go = makeButton("Grow", goOrPause, "wish-go");
  const stopButton = makeButton("Stop", stopAndStay, "wish-stop");
  const again = makeButton("Begin again", begin, "wish-again");
  const canvas = make("canvas", "wish-picture");
  canvas.setAttribute("role", "img");
  const says = make("p", "wish-says");
  const bar = make("i");
  const value = make("p", "wish-value");
  const curve = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  curve.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
  curve.setAttribute("class", "wish-curve");
  curve.setAttribute("role", "img");
  const lines = ["wish-own", "wish-grown"].map((name) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("class", name);
    curve.append(line);
    return line;
  });
  const take = makeButton("Use as the photograph", takeAlong, "wish-take");
  const status = make("p", "wish-status");
  status.setAttribute("role", "status");
  const view = make(
    "div",
    "wish-view",
    canvas,
    make("div", "wish-answer", says, make("div", "net-bar", bar), value, curve, take),
  );

  function build() {
    const row = make("div", "wish-choice", kind, choice.field, choice.list, number, lookedAt);
    row.append(make("span", "", "from"), start, go, stopButton, again);
    const below = make(
      "p",
      "net-below",
      "Step by step all pixels change a little, so that the score, or the unit in the middle of the ",
      "map, rises, seen through a window that moves by a few pixels, while differences between ",
      "neighbours and colours far from the mean count against it (",
      makeCitation("simonyan2014", "Simonyan et al., 2014"),
      "; ",
      makeCitation("mahendran2015", "Mahendran and Vedaldi, 2015"),
      "); the dashed line is what the photograph itself reaches.",
    );
    below.normalize();
    details.append(
      make(
        "p",
        "net-do",
        "Choose a kind of thing or a map, press Grow, and watch a picture grow that excites it.",
      ),
      row,
      status,
      view,
      below,
    );
    page.slot("wish").append(details);
  }

  // What it grows for

  const isClass = () => kind.value === CLASSES.name;
  const layer = () => LAYERS.find(({ name }) => name === kind.value) ?? CLASSES;

  /** @returns {Goal | null} */
  function goal() {
    const { name, maps, side } = layer();
    const map = isClass() ? choice.label() : Number(number.value) - 1;
    return Number.isInteger(map) && map >= 0 && map < maps
      ? { layer: name, maps, side, map }
      : null;
  }

  /** @param {Goal} chosen */
  const nameOf = ({ layer, map }) => (isClass() ? page.short(map) : `${layer}, map ${map + 1}`);

  function showChoice() {
    choice.field.hidden = !isClass();
    number.hidden = isClass();
    number.max = String(layer().maps);
    const look = state.look;
    lookedAt.hidden = !look?.pinned || !LAYERS.includes(first.layers[look.layer]);
  }

  function chooseLookedAt() {
    if (!state.look) return;
    kind.value = first.layers[state.look.layer].name;
    number.value = String(state.look.map + 1);
    changed();
  }

  let chosen = "";

  /** Takes off a picture that grows for something else, or from something else. */
  function changed() {
    const now = JSON.stringify([kind, choice.field, number, start].map((field) => field.value));
    if (now === chosen) return; // a field that is left says so once more
    chosen = now;
    showChoice();
    stop();
    page.touch(); // writes the address
  }

  // How it grows

  /** @type {GrownPicture | null} */
  let picture = null;
  let isGrowing = false;
  let random = seededRandom(1);
  /** The unit's value, or the class's score, before each step. @type {number[]} */
  let values = [];
  let own = 0; // of the photograph
  let task = 0; // the last growth that was begun; an earlier one gives up
  let credit = "";

  /** @returns {NetView} */
  function nextView() {
    const { offset } = /** @type {GrownPicture} */ (picture).scale;
    const shift = Math.min(offset, isClass() ? SHIFT.class : SHIFT.map);
    const place = () => offset - shift + Math.floor(random() * (2 * shift + 1));
    return { top: place(), left: place() };
  }

  /** From the beginning. */
  async function begin() {
    isGrowing = false;
    const begun = ++task;
    status.textContent = "";
    await page.load();
    const chosen = goal();
    if (begun !== task || !page.net()) return;
    if (!chosen) {
      const what = isClass() ? `No kind of thing is called “${choice.field.value}”` : "";
      status.textContent = `${what || `${kind.value} has maps 1 to ${number.max}`}.`;
      return;
    }
    const scale = new NetScale(page.net().preprocessing);
    const seed = Number(start.value) || 1;
    random = seededRandom(seed);
    const isNoise = start.value !== "photograph";
    const firstValues = isNoise
      ? GrownPicture.noise(scale, seed)
      : GrownPicture.fromBytes(scale, page.base());
    const from = isNoise ? `noise ${seed}.` : `this photograph. ${page.one(".net-by").textContent}`;
    credit = `Grown for ${nameOf(chosen)} from ${from}`;
    await measureOwn(chosen);
    if (begun !== task) return;
    picture = new GrownPicture(scale, chosen, firstValues);
    values = [];
    wishParts.draw(canvas, picture.bytes());
    grow(begun);
    canvas.scrollIntoView({ block: "nearest" });
  }

  /** What the photograph itself reaches. @param {Goal} chosen */
  async function measureOwn({ layer, side, map }) {
    const { maps } = await page.net().net.run(page.base(), { maps: [layer] });
    const area = side * side;
    own = Math.max(...maps[layer].data.subarray(map * area, (map + 1) * area));
  }

  /** @param {number} begun The task. */
  async function grow(begun) {
    if (!picture) return;
    isGrowing = true;
    showState();
    try {
      while (isGrowing && begun === task && picture.steps < STEPS) {
        const answer = await picture.step(page.net().net, nextView());
        if (begun !== task) return;
        values.push(answer.value);
        showStep(answer.logits);
        await new Promise(requestAnimationFrame); // so that each step is seen, and none if hidden
      }
    } catch (error) {
      status.textContent = `The net has stopped: ${error instanceof Error ? error.message : error}.`;
    }
    if (begun !== task) return;
    isGrowing = false;
    showState();
    describe();
  }

  function goOrPause() {
    if (isGrowing) {
      isGrowing = false;
      return;
    }
    if (picture && picture.steps < STEPS) grow(++task);
    else begin();
  }

  /** Stops, and takes the picture off. */
  function stop() {
    task++;
    isGrowing = false;
    picture = null;
    values = [];
    status.textContent = "";
    showState();
  }

  function stopAndStay() {
    stop();
    go.focus(); // the button that was pressed goes
  }

  async function takeAlong() {
    if (!picture) return;
    isGrowing = false;
    await wishParts.takeAlong(page, picture.bytes(), credit);
  }

  // What is shown of it

  function showState() {
    const isBegun = picture !== null;
    const isDone = isBegun && (picture?.steps ?? 0) >= STEPS;
    go.textContent = isGrowing ? "Pause" : isBegun && !isDone ? "Go on" : "Grow";
    stopButton.hidden = !isBegun;
    again.hidden = !isBegun;
    view.hidden = !isBegun;
    const phase = isGrowing ? "growing" : isDone ? "done" : isBegun ? "paused" : "none";
    details.dataset.state = phase; // the tests wait for that
  }

  /** @param {Float32Array} logits */
  function showStep(logits) {
    if (!picture) return;
    wishParts.draw(canvas, picture.bytes());
    const probabilities = page.softmax(logits);
    const best = wishParts.largest(probabilities);
    const step = `Step ${picture.steps} of ${STEPS}. `;
    const name = make("b", "", page.short(best));
    const { map } = picture.goal;
    const behind = isClass() && best !== map;
    const wanted = behind ? `, and ${page.short(map)} ${page.percent(probabilities[map])}` : "";
    says.replaceChildren(step, "It says: ", name, ` ${page.percent(probabilities[best])}${wanted}`);
    bar.style.width = `${100 * probabilities[best]}%`;
    const what = isClass() ? `Score of ${nameOf(picture.goal)}` : nameOf(picture.goal);
    const now = digits(values[values.length - 1]);
    value.textContent = `${what}: ${now} (the photograph: ${digits(own)})`;
    drawCurve();
  }

  function drawCurve() {
    const [low, high] = [Math.min(own, ...values), Math.max(own, ...values)];
    const y = (/** @type {number} */ v) =>
      (2 + ((HIGH - 4) * (high - v)) / (high - low || 1)).toFixed(1);
    const x = (/** @type {number} */ step) => ((WIDE * step) / (STEPS - 1)).toFixed(1);
    lines[0].setAttribute("d", `M0 ${y(own)}H${WIDE}`);
    lines[1].setAttribute("d", `M${values.map((v, step) => `${x(step)} ${y(v)}`).join("L")}`);
  }

  /** For screen readers, when it has stopped. */
  function describe() {
    if (!picture) return;
    const name = nameOf(picture.goal);
    canvas.setAttribute("aria-label", `the picture grown for ${name}, ${picture.steps} steps`);
    const ends = [values[0], values[values.length - 1]].map(digits);
    curve.setAttribute("aria-label", `${name}: from ${ends[0]} to ${ends[1]}`);
    if (picture.steps >= STEPS) status.textContent = says.textContent?.replace(/^.*\. /, "") ?? "";
  }

  // Begin

  /** What the address asks for, until the names of the classes are known. */
  let asked = "";

  /** @param {string} text Such as "goldfish" or "conv4.17". */
  function apply(text) {
    const [, name, map] = /^(conv\d)\.(\d{1,4})$/.exec(text) ?? [];
    const found = LAYERS.find((layer) => layer.name === name);
    if (found && Number(map) >= 1 && Number(map) <= found.maps) {
      kind.value = name;
      number.value = map;
    } else if (!name) {
      const label = wishParts.findClass(page, text);
      kind.value = CLASSES.name;
      if (label >= 0) choice.choose(label);
    }
    asked = "";
    changed();
  }

  details.addEventListener("toggle", async () => {
    if (!details.open) {
      if (isGrowing) goOrPause();
      page.touch();
      return;
    }
    await page.load();
    if (!page.net()) return;
    choice.fill();
    const last = page.last();
    if (!choice.field.value) choice.choose(last ? wishParts.largest(last.probabilities) : 0);
    if (asked) apply(asked);
    else changed();
    page.touch(); // writes the address
  });
  for (const field of [kind, choice.field, number, start]) {
    field.addEventListener("change", changed);
  }
  for (const field of [choice.field, number]) {
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      changed();
      begin();
    });
  }
  page.onPass(showChoice); // another map may be looked at

  page.addressKey(
    "wish",
    () => {
      const chosen = details.open && page.net() ? goal() : null;
      if (!chosen) return null;
      if (isClass()) return wishParts.keyOf(page, chosen.map);
      return `${chosen.layer}.${chosen.map + 1}`;
    },
    (text) => {
      asked = text ?? "";
      if (details.open && asked && page.net()) apply(asked);
      details.open = Boolean(asked);
      if (asked) details.scrollIntoView({ block: "nearest" });
    },
  );

  build();
  showChoice();
  showState();
})();
