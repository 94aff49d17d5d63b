// A race of two nets, which the reader starts: both train side by side, each in a worker of its
// own, on the same images in the same order and from the same draws.
//
// The page's part (alexnet/bookkit/race.py makes it) holds all that differs from one race to
// another as JSON, a RaceState. To describe a lane, give it a key and a name, the layers of its net
// as export.py's `describe` writes them, a word for what its units can be, with the layers whose
// units are counted, and for each preset the learning rate at which it was fastest in recorded
// runs. A lane may have layers that the other lacks, such as dropout: parameters are drawn by the
// names of their layers, so that both lanes begin alike. `measure` says on which images the curves
// are: "training", as it goes, or "test", after each epoch, on images kept aside.

/**
 * @typedef {object} RaceLane
 * @property {string} key Such as "relu".
 * @property {string} name Such as "ReLU".
 * @property {NetDescription} net
 * @property {{name: string, shape: number[]}[]} parameters Of the net, from the first layer up.
 * @property {{word: string, of: "dead" | "saturated", layers: string[]} | null} silent
 */

/**
 * Settings of a race. Weights are standard deviations in units of 1/√inputs, pixels the standard
 * deviation of what the nets are given.
 * @typedef {object} RaceSetting
 * @property {number} first Weights of the first layer.
 * @property {number} above Weights of all other layers.
 * @property {number} pixels
 * @property {number[]} rates The learning rate of each lane.
 */

/**
 * @typedef {RaceSetting & {name: string, about: string, same: number,
 *     band: {lane: number, low: number[], high: number[]}[], recorded: string,
 *     winner: number}} RacePreset
 *     same: the learning rate of both where they share one. band: recorded runs of this race, of
 *     which `recorded` says how they ended, and `winner` which lane was first, or 2 for neither.
 */

/**
 * @typedef {object} RaceState
 * @property {RaceLane[]} lanes Two.
 * @property {RacePreset[]} presets
 * @property {{side: number, size: number, names: string[], photographs: string, train: string,
 *     test: string}} data The photographs are characters of 6 bits, the corners bytes in base64.
 * @property {"training" | "test"} measure
 * @property {number | null} finish Error below which a lane has arrived, or none.
 * @property {number} epochs A race ends after so many.
 * @property {number} batch
 * @property {number} momentum
 * @property {string[]} controls Of "first", "above", "pixels".
 * @property {number} seconds That an epoch may take at most.
 * @property {string[]} guesses A word for each lane, and for neither.
 */

/**
 * What becomes of a lane in one race.
 * @typedef {object} RaceRun
 * @property {number[]} errors Of each quarter of an epoch, 0 to 1.
 * @property {number[]} fitted The same on the patches learned from, where `errors` are on others.
 * @property {number | null} arrived Epochs until the finish.
 * @property {string} stopped Why it is frozen, or nothing.
 * @property {number[]} silent The share of its units, by layer.
 * @property {Float32Array | null} kernels
 */

(() => {
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const root = /** @type {HTMLElement} */ (script.closest("figure.race"));
  if (!root || root.classList.contains("is-live")) return;

  /** @type {<T extends Element = HTMLElement>(selector: string) => T} */
  const one = (selector) => /** @type {any} */ (root.querySelector(selector));
  /** @type {RaceState} */
  const state = JSON.parse(one(".race-state").textContent ?? "");
  const { lanes, presets, data } = state;
  const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  // Points of a curve in an epoch. Patches kept aside take as long as an epoch, with few to train on.
  const QUARTERS = state.measure === "test" ? 1 : 4;
  const PROBES = 96; // images by which units are counted
  const TIMED = 7; // steps by which the time of an epoch is estimated
  const FEWEST = 4; // steps in a quarter
  const SVG = "http://www.w3.org/2000/svg";

  // Random numbers: the same ones for the same seed in every browser.

  /** @param {number} seed @returns {() => number} Uniform, 0 to 1. */
  function makeRandom(seed) {
    let a = seed | 0;
    return () => {
      a = (a + 0x6d2b79f5) | 0; // mulberry32
      let t = Math.imul(a ^ (a >>> 15), a | 1);
      t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  /** @param {() => number} random @returns {() => number} Standard normal. */
  function makeNormal(random) {
    return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  }

  /** A number of a text, so that a layer's weights hang on its name. @param {string} text */
  function hash(text) {
    let value = 2166136261;
    for (let i = 0; i < text.length; i++) {
      value = Math.imul(value ^ text.charCodeAt(i), 16777619);
    }
    return value;
  }

  // Images

  const area = data.size ** 2;
  /** @type {{train: Float32Array, test: Float32Array, std: number} | null} */
  let images = null;

  /**
   * Spreads the gray levels of a patch over all 256, as torchvision's `equalize`.
   * @param {Uint8Array} patch
   * @param {Float32Array} to
   * @param {number} at
   */
  function equalize(patch, to, at) {
    const counts = new Uint16Array(256);
    for (const level of patch) counts[level]++;
    let highest = 255;
    while (!counts[highest]) highest--;
    const step = Math.floor((patch.length - counts[highest]) / 255);
    const levels = new Uint8Array(256);
    let below = 0;
    for (let level = 0; level < 256; level++) {
      levels[level] = step ? Math.min(255, Math.floor((below + (step >> 1)) / step)) : level;
      below += counts[level];
    }
    for (let i = 0; i < patch.length; i++) to[at + i] = levels[patch[i]];
  }

  /** @param {Uint8Array} levels Of all photographs. @param {string} text Corners in base64. */
  function cutPatches(levels, text) {
    const corners = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const count = corners.length / 2;
    const found = new Float32Array(count * area);
    const patch = new Uint8Array(area);
    for (let i = 0; i < count; i++) {
      const photograph = labelOf(i, count) * data.side ** 2;
      for (let row = 0; row < data.size; row++) {
        const from = photograph + (corners[2 * i] + row) * data.side + corners[2 * i + 1];
        for (let column = 0; column < data.size; column++) {
          patch[row * data.size + column] = levels[from + column];
        }
      }
      equalize(patch, found, i * area);
    }
    return found;
  }

  /** The images are sorted by class. @param {number} image @param {number} count */
  const labelOf = (image, count) => Math.floor((image * data.names.length) / count);

  /** The patches, minus the mean of those for training. */
  function loadImages() {
    if (images) return images;
    const values = new Uint8Array(128);
    for (let i = 0; i < 64; i++) values[ALPHABET.charCodeAt(i)] = 4 * i;
    const levels = Uint8Array.from(data.photographs, (c) => values[c.charCodeAt(0)]);
    const train = cutPatches(levels, data.train);
    const test = cutPatches(levels, data.test);
    const mean = new Float64Array(area);
    for (let i = 0; i < train.length; i++) mean[i % area] += train[i];
    for (let i = 0; i < area; i++) mean[i] /= train.length / area;
    for (const part of [train, test])
      for (let i = 0; i < part.length; i++) part[i] -= mean[i % area];
    let squares = 0;
    for (const value of train) squares += value * value;
    images = { train, test, std: Math.sqrt(squares / train.length) };
    return images;
  }

  /**
   * Images as the nets are given them.
   * @param {Float32Array} from
   * @param {number[]} which
   * @param {number} factor
   */
  function take(from, which, factor) {
    const batch = new Float32Array(which.length * area);
    which.forEach((image, i) => {
      for (let p = 0; p < area; p++) batch[i * area + p] = from[image * area + p] * factor;
    });
    return batch;
  }

  // Weights

  /**
   * The first weights of a lane; biases are zero.
   * @param {RaceLane} lane
   * @param {RaceSetting} setting
   * @param {number} seed
   */
  function drawParameters({ parameters }, setting, seed) {
    let scale = setting.first;
    /** @type {Object<string, Float32Array>} */
    const drawn = {};
    for (const { name, shape } of parameters) {
      const length = shape.reduce((product, side) => product * side, 1);
      drawn[name] = new Float32Array(length);
      if (shape.length === 1) continue;
      const normal = makeNormal(makeRandom(hash(`${seed} ${name}`)));
      const std = scale / Math.sqrt(length / shape[0]);
      for (let i = 0; i < length; i++) drawn[name][i] = std * normal();
      scale = setting.above;
    }
    return drawn;
  }

  /** @param {number} count @param {() => number} random */
  function shuffled(count, random) {
    const order = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
  // A race

  /** Two nets that are trained by the same steps. */
  class Race {
    /**
     * @param {RaceSetting} setting
     * @param {number} seed
     */
    constructor(setting, seed) {
      this.setting = setting;
      this.seed = seed;
      this.images = loadImages();
      this.factor = setting.pixels / this.images.std;
      this.count = this.images.train.length / area;
      this.random = makeRandom(hash(`${seed} images`));
      /** The images that it trains on, in the order of this epoch. */
      this.order = shuffled(this.count, this.random);
      this.at = 0;
      /** @type {any[]} */
      this.nets = [];
      this.notice = "";
      /** @type {RaceRun[]} */
      this.runs = lanes.map(() => ({
        errors: [],
        fitted: [],
        arrived: null,
        stopped: "",
        silent: [],
        kernels: null,
      }));
    }

    async open() {
      const { alexnet } = /** @type {any} */ (window);
      this.nets = await Promise.all(
        lanes.map((lane) =>
          alexnet.createNet(lane.net, drawParameters(lane, this.setting, this.seed)),
        ),
      );
      for (const net of this.nets) await net.seed(this.seed); // of dropout
      this.notice = this.nets[0].computation.notice;
    }

    close() {
      for (const net of this.nets) net.close();
      this.nets = [];
    }

    /** The images of the next step. */
    nextBatch() {
      if (this.at + state.batch > this.order.length) {
        const again = shuffled(this.order.length, this.random);
        this.order = again.map((place) => this.order[place]);
        this.at = 0;
      }
      const which = this.order.slice(this.at, this.at + state.batch);
      this.at += state.batch;
      return which;
    }

    /**
     * A step of each lane that is not frozen.
     * @param {number} [rate] Instead of the lanes' own.
     * @returns {Promise<({loss: number, correct: number} | null)[]>}
     */
    async step(rate) {
      const which = this.nextBatch();
      const labels = which.map((image) => labelOf(image, this.count));
      const batch = take(this.images.train, which, this.factor);
      return Promise.all(
        lanes.map(async (_, i) => {
          const run = this.runs[i];
          if (run.stopped || run.arrived !== null) return null;
          const lr = rate ?? this.setting.rates[i];
          const options = { lr, momentum: state.momentum, weightDecay: 0 };
          try {
            return await this.nets[i].train(batch, labels, options);
          } catch (error) {
            if (!this.nets.length) throw error; // it was closed
            run.stopped = error instanceof Error ? error.message.replace(/^alexnet: /, "") : "";
            return null;
          }
        }),
      );
    }

    /** The milliseconds of a step: the median. A rate of zero leaves the nets as they are. */
    async time() {
      const [order, at] = [this.order, this.at];
      const times = [];
      for (let i = -2; i < TIMED; i++) {
        const start = performance.now();
        await this.step(0);
        if (i >= 0) times.push(performance.now() - start); // the first steps are slower
      }
      [this.order, this.at] = [order, at];
      return times.sort((a, b) => a - b)[Math.floor(TIMED / 2)];
    }

    /**
     * Leaves images out, until an epoch takes no longer than it may. With fewer than some, a race
     * would tell nothing. There are as many steps in all.
     * @param {number} time Milliseconds of a step.
     */
    fit(time) {
      const steps = Math.floor(this.count / state.batch / QUARTERS);
      const allowed = Math.floor((1000 * state.seconds) / time / QUARTERS);
      this.steps = Math.min(steps, Math.max(FEWEST, allowed)); // in a quarter
      this.epochs = Math.ceil((state.epochs * steps) / this.steps);
      this.order = this.order.slice(0, this.steps * QUARTERS * state.batch);
    }

    steps = 0;
    epochs = state.epochs;

    /** A quarter of an epoch. @param {() => Promise<void>} wait Before each step. */
    async quarter(wait) {
      const correct = lanes.map(() => 0);
      for (let i = 0; i < this.steps; i++) {
        await wait();
        const results = await this.step();
        results.forEach((result, lane) => {
          correct[lane] += result?.correct ?? 0;
        });
      }
      await Promise.all(lanes.map((_, lane) => this.measure(lane, correct[lane])));
    }

    /** @param {number} lane @param {number} correct Of the images of this quarter. */
    async measure(lane, correct) {
      const run = this.runs[lane];
      if (run.stopped || run.arrived !== null) return;
      const net = this.nets[lane];
      let error = 1 - correct / (this.steps * state.batch);
      const { silent, net: description } = lanes[lane];
      if (state.measure === "test") {
        run.fitted.push(error);
        error = await this.testError(net);
      }
      run.errors.push(error);
      if (state.finish !== null && error < state.finish) run.arrived = run.errors.length / QUARTERS;
      const first = `${description.layers[0].name}.weight`;
      run.kernels = (await net.parameters())[first].data;
      if (silent && (run.errors.length % QUARTERS === 0 || run.arrived !== null)) {
        run.silent = await this.countSilent(net, silent);
      }
    }

    /** @param {any} net */
    async testError(net) {
      const { test } = this.images;
      const count = test.length / area;
      const which = Array.from({ length: count }, (_, i) => i);
      const { logits } = await net.run(take(test, which, this.factor));
      const classes = data.names.length;
      let wrong = 0;
      for (const image of which) {
        const row = logits.data.subarray(image * classes, (image + 1) * classes);
        if (Math.max(...row) > row[labelOf(image, count)]) wrong++;
      }
      return wrong / count;
    }

    /**
     * The share of units that do not answer, by layer: of ReLUs, those that are off for each of
     * some images; of tanh, outputs where the slope is below 0.1.
     * @param {any} net
     * @param {{of: string, layers: string[]}} silent
     */
    async countSilent(net, { of, layers }) {
      const stride = Math.floor(this.count / PROBES);
      const which = Array.from({ length: PROBES }, (_, i) => i * stride);
      const { maps } = await net.run(take(this.images.train, which, this.factor), { maps: layers });
      return layers.map((layer) => {
        /** @type {Float32Array} */
        const values = maps[layer].data;
        if (of === "saturated") return values.filter((y) => 1 - y * y < 0.1).length / values.length;
        const units = values.length / PROBES;
        let dead = 0;
        for (let unit = 0; unit < units; unit++) {
          let isDead = true;
          for (let at = unit; at < values.length && isDead; at += units) isDead = !(values[at] > 0);
          if (isDead) dead++;
        }
        return dead / units;
      });
    }

    /** Whether nothing more can happen. */
    get isOver() {
      const quarters = Math.max(...this.runs.map(({ errors }) => errors.length));
      const isDone = this.runs.every(({ stopped, arrived }) => stopped || arrived !== null);
      return isDone || quarters >= QUARTERS * this.epochs;
    }
  }

  // What the reader sets

  const shown = {
    preset: 0, // or -1 for the reader's own
    setting: copyOf(presets[0]),
    isSame: false, // whether the lanes share a learning rate
    guess: -1,
    seed: 0, // of the next race
    isRecorded: false, // whether the recorded runs are shown, with a race or without one
  };

  /** @param {RaceSetting} setting @returns {RaceSetting} */
  function copyOf({ first, above, pixels, rates }) {
    return { first, above, pixels, rates: [...rates] };
  }

  const WORDS = new Map([
    ["pixels", "Pixels, standard deviation"],
    ["first", "First weights of layer 1, times √inputs"],
    ["above", "First weights above it, times √inputs"],
  ]);
  const RANGES = new Map([
    ["pixels", [-1, 2.5]], // powers of ten
    ["first", [-4, 1]],
    ["above", [-2, 1]],
    ["rate", [-5, 0]],
  ]);

  /** Two digits, without an exponent. @param {number} value */
  const short = (value) => String(Number(value.toPrecision(2)));
  /** @param {number} value A fraction. */
  const percent = (value) => `${Math.round(100 * value)} %`;

  /**
   * @template {keyof HTMLElementTagNameMap} T
   * @param {T} tag
   * @param {string} className
   * @param {...(string | Node)} content
   * @returns {HTMLElementTagNameMap[T]}
   */
  function make(tag, className, ...content) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...content);
    return element;
  }

  /**
   * @param {Element} to
   * @param {string} type "radio" or "range".
   * @param {string} name
   * @param {string | Node} text
   */
  function addInput(to, type, name, text) {
    const input = make("input", "");
    input.type = type;
    input.name = `${root.id}-${name}`;
    const label = make("label", "");
    if (type === "radio") label.append(input, " ", text);
    else label.append(text, input);
    to.append(label);
    return input;
  }

  // The guess and the presets

  const guessInputs = state.guesses.map((guess, i) => {
    const input = addInput(one(".race-guess"), "radio", "guess", guess);
    input.addEventListener("change", () => {
      shown.guess = i;
      showSetting();
    });
    return input;
  });

  const presetInputs = [...presets.map(({ name }) => name), "your own"].map((name, i) => {
    const input = addInput(one(".race-presets"), "radio", "preset", name);
    input.addEventListener("change", () => {
      if (i < presets.length) choosePreset(i);
      else chooseOwn();
    });
    return input;
  });

  /** @param {number} i */
  function choosePreset(i) {
    shown.preset = i;
    shown.setting = copyOf(presets[i]);
    if (shown.isSame) shown.setting.rates.fill(presets[i].same);
    forget();
  }

  let origin = presets[0]; // of one's own setting

  function chooseOwn() {
    if (shown.preset >= 0) origin = presets[shown.preset];
    shown.preset = -1;
    one("details").setAttribute("open", "");
    forget();
  }

  /** Another setting: what was run belongs to the one before. */
  function forget() {
    shown.guess = -1;
    shown.seed = 0;
    shown.isRecorded = false;
    finished.length = 0;
    current = null;
    say("");
    showSetting();
    showRace();
  }

  // The sliders

  /** @type {(() => void)[]} */
  const sliders = [];

  /**
   * @param {Element} to
   * @param {string} kind A key of RANGES.
   * @param {string} text
   * @param {() => number} get
   * @param {(value: number) => void} set
   */
  function addSlider(to, kind, text, get, set) {
    const value = make("b", "race-value");
    const input = addInput(to, "range", text, make("span", "", `${text}: `, value));
    const [low, high] = RANGES.get(kind) ?? [0, 0];
    input.setAttribute("aria-label", text);
    Object.assign(input, { min: String(low), max: String(high), step: "0.05" });
    input.addEventListener("input", () => {
      set(Number(short(10 ** Number(input.value))));
      chooseOwn();
    });
    sliders.push(() => {
      input.value = String(Math.log10(get()));
      value.textContent = short(get());
      input.setAttribute("aria-valuetext", short(get()));
      input.disabled = isRunning;
    });
    return input;
  }

  for (const key of /** @type {("first" | "above" | "pixels")[]} */ (state.controls)) {
    addSlider(
      one(".race-controls"),
      key,
      WORDS.get(key) ?? key,
      () => shown.setting[key],
      (value) => {
        shown.setting[key] = value;
      },
    );
  }

  const rateField = make("fieldset", "race-rates", make("legend", "", "Learning rate"));
  const rateChoice = make("div", "race-choice");
  rateField.append(rateChoice);
  one(".race-controls").append(rateField);
  const rateInputs = [false, true].map((isSame) => {
    const text = isSame ? "the same for both" : "each its best";
    const input = addInput(rateChoice, "radio", "rates", text);
    input.addEventListener("change", () => {
      const preset = shown.preset < 0 ? origin : presets[shown.preset];
      shown.isSame = isSame;
      shown.setting.rates = isSame ? lanes.map(() => preset.same) : [...preset.rates];
      forget();
    });
    return input;
  });
  const rateSliders = lanes.map((lane, i) =>
    addSlider(
      rateField,
      "rate",
      `of ${lane.name}`,
      () => shown.setting.rates[i],
      (value) => {
        if (shown.isSame) shown.setting.rates.fill(value);
        else shown.setting.rates[i] = value;
      },
    ),
  );

  function showSetting() {
    guessInputs.forEach((input, i) => {
      input.checked = i === shown.guess;
      input.disabled = isRunning;
    });
    presetInputs.forEach((input, i) => {
      input.checked = i === (shown.preset < 0 ? presets.length : shown.preset);
      input.disabled = isRunning;
    });
    rateInputs.forEach((input, i) => {
      input.checked = shown.isSame === (i === 1);
      input.disabled = isRunning;
    });
    for (const update of sliders) update();
    rateSliders.forEach((input, i) => {
      const label = /** @type {HTMLElement} */ (input.parentElement);
      label.hidden = shown.isSame && i > 0;
    });
    one(".race-about").textContent = about();
    const start = /** @type {HTMLButtonElement} */ (one(".race-start"));
    start.textContent = isRunning ? "Stop" : "Start";
    start.disabled = !isRunning && shown.guess < 0;
    const more = /** @type {HTMLButtonElement} */ (one(".race-more"));
    more.disabled = isRunning || !finished.length;
    const recorded = /** @type {HTMLButtonElement} */ (one(".race-recorded"));
    const isMissing = !presets[shown.preset]?.band.length || shown.isRecorded;
    recorded.disabled = start.disabled || isMissing;
    if (start.disabled) say("Make a guess first, then start.");
    else if (one(".race-status").textContent?.startsWith("Make a guess")) say("");
  }

  /** What is set, in words. */
  function about() {
    const { rates } = shown.setting;
    const preset = presets[shown.preset];
    const names = lanes.map(({ name }, i) => `${name} ${short(rates[i])}`).join(", ");
    let choice = `Learning rate, the same for both: ${short(rates[0])}.`;
    if (!shown.isSame && preset) {
      choice = `Learning rate, each its best in the recorded runs: ${names}.`;
    } else if (!shown.isSame) {
      choice = `Learning rate: ${names}; what is best was searched for the presets only.`;
    }
    return `${preset ? `${preset.about} ` : ""}${choice}`;
  }

  // What is said

  /** @param {string} text */
  function say(text) {
    one(".race-status").textContent = text;
  }

  /** For a screen reader. @param {string} text */
  function announce(text) {
    one(".race-spoken").textContent = text;
  }

  // The chart

  const BOX = { left: 56, right: 630, top: 10, bottom: 230 };
  /** The race that is shown, if there was one. */
  const shownRace = () => current ?? finished.at(-1);
  /** On the axis. */
  const shownEpochs = () => shownRace()?.epochs ?? state.epochs;
  /** Units of the drawing. */
  const epochWidth = () => (BOX.right - BOX.left) / shownEpochs();
  /** @param {number} epoch */
  const xOf = (epoch) => BOX.left + epoch * epochWidth();
  /** @param {number} error */
  const yOf = (error) => BOX.bottom - Math.min(1, error) * (BOX.bottom - BOX.top);

  /**
   * @param {string} tag
   * @param {Object<string, string | number>} attributes
   * @param {string} [text]
   */
  function draw(tag, attributes, text = "") {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) {
      element.setAttribute(name, String(value));
    }
    element.textContent = text;
    return element;
  }

  /**
   * The points of a curve.
   * @param {number[]} errors Of each quarter of an epoch.
   * @param {number} epoch How many of the epochs on the axis one of these is.
   */
  const pointsOf = (errors, epoch = 1) =>
    errors.map((error, i) => {
      const x = xOf(((i + 1) * epoch) / QUARTERS);
      return `${x.toFixed(1)},${yOf(error).toFixed(1)}`;
    });

  const chart = draw("svg", {
    viewBox: "0 0 640 272",
    tabindex: 0,
    role: "slider",
    "aria-valuenow": 0,
    "aria-valuetext": "no epoch yet",
    "aria-valuemin": 0,
    "aria-valuemax": state.epochs,
    "aria-label": "epoch at which both curves are read",
  });
  one(".race-chart").append(chart);
  let cursor = 0; // in quarters, or 0 for none

  /** @param {RaceRun[]} runs @param {boolean} isPale */
  function drawRuns(runs, isPale) {
    runs.forEach(({ errors, fitted, arrived, stopped }, i) => {
      if (!errors.length && !stopped) return;
      const color = `race-${i === 0 ? "first" : "second"}${isPale ? " is-pale" : ""}`;
      const points = pointsOf(errors);
      chart.append(draw("polyline", { class: `race-curve ${color}`, points: points.join(" ") }));
      if (!isPale && fitted.length) {
        const thin = { class: `race-fitted ${color}`, points: pointsOf(fitted).join(" ") };
        chart.append(draw("polyline", thin));
      }
      const [x, y] = (points.at(-1) ?? `${xOf(0)},${yOf(1)}`).split(",").map(Number);
      if (arrived !== null) chart.append(draw("circle", { class: color, cx: x, cy: y, r: 4 }));
      if (stopped) {
        const cross = `M${x - 6} ${y - 6}l12 12m0 -12l-12 12`;
        chart.append(draw("path", { class: `race-cross ${color}`, d: cross }));
      }
    });
  }

  function drawAxes() {
    const { left, right, top, bottom } = BOX;
    for (const error of [0, 0.25, 0.5, 0.75, 1]) {
      const y = yOf(error);
      chart.append(draw("path", { class: "race-grid", d: `M${left} ${y}H${right}` }));
      const text = `${100 * error}${error === 1 ? " %" : ""}`;
      chart.append(draw("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, text));
    }
    for (let epoch = 0; epoch <= shownEpochs(); epoch += Math.ceil(shownEpochs() / 5)) {
      const x = xOf(epoch);
      const place = { x, y: bottom, dy: "1.5em", "text-anchor": "middle" };
      chart.append(draw("text", place, String(epoch)));
    }
    const middle = (left + right) / 2;
    const kind =
      state.measure === "test"
        ? "error on patches kept aside; thin: on those learned from"
        : "training error";
    const text = `epochs (${kind})`;
    const below = { x: middle, y: bottom, dy: "3em", "text-anchor": "middle" };
    chart.append(draw("text", below, text));
    chart.append(draw("path", { class: "race-axis", d: `M${left} ${top}V${bottom}` }));
    if (state.finish === null) return;
    const y = yOf(state.finish);
    chart.append(draw("path", { class: "race-finish", d: `M${left} ${y}H${right}` }));
    const label = {
      class: "race-finish-word",
      x: right - 2,
      y,
      dy: "1.15em",
      "text-anchor": "end",
    };
    chart.append(draw("text", label, `finish: ${percent(state.finish)}`));
  }

  function drawBands() {
    const race = shownRace();
    if (!race && !shown.isRecorded) return; // before a race they would answer the guess
    const epoch = shownEpochs() / state.epochs; // the runs had all patches in each
    // While it runs they come as far as it does, or else they would tell how it ends
    const quarters = Math.max(...(current?.runs ?? []).map((run) => run.errors.length));
    const end = current && !shown.isRecorded ? Math.floor(quarters / epoch) : undefined;
    for (const { lane, low, high } of presets[shown.preset]?.band ?? []) {
      const [below, above] = [low, high].map((errors) => pointsOf(errors.slice(0, end), epoch));
      const points = [...below, ...above.reverse()];
      const color = `race-band race-${lane === 0 ? "first" : "second"}`;
      chart.append(draw("polygon", { class: color, points: points.join(" ") }));
    }
  }

  function drawCursor() {
    const runs = shownRace()?.runs;
    const { top, bottom } = BOX;
    const reading = one(".race-reading");
    reading.textContent = "";
    if (!cursor || !runs) return;
    const x = xOf(cursor / QUARTERS);
    chart.append(draw("path", { class: "race-cursor", d: `M${x} ${top}V${bottom}` }));
    const texts = runs.map(({ errors }, i) => {
      const error = errors[cursor - 1];
      if (error === undefined) return `${lanes[i].name} –`;
      const color = i === 0 ? "race-first" : "race-second";
      chart.append(draw("circle", { class: color, cx: x, cy: yOf(error), r: 4 }));
      return `${lanes[i].name} ${percent(error)}`;
    });
    const text = `After ${cursor / QUARTERS} epochs: ${texts.join(", ")}.`;
    reading.textContent = text;
    chart.setAttribute("aria-valuetext", text);
  }

  /** @param {number} quarters */
  function moveCursor(quarters) {
    cursor = Math.min(QUARTERS * shownEpochs(), Math.max(1, quarters));
    chart.setAttribute("aria-valuemax", String(shownEpochs()));
    chart.setAttribute("aria-valuenow", String(cursor / QUARTERS));
    drawChart();
  }

  chart.addEventListener("pointermove", (event) => {
    const { left, width } = chart.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * 640;
    moveCursor(Math.round(((x - BOX.left) / epochWidth()) * QUARTERS));
  });
  chart.addEventListener("keydown", (event) => {
    /** @type {Object<string, number>} */
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 };
    const move = moves[event.key] ?? { PageDown: -4, PageUp: 4, Home: -1e9, End: 1e9 }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moveCursor(cursor + move);
  });

  function drawChart() {
    chart.replaceChildren();
    drawBands();
    drawAxes();
    const last = shownRace();
    for (const race of finished) if (race !== last) drawRuns(race.runs, true);
    if (last) drawRuns(last.runs, false);
    drawCursor();
  }

  // The lanes

  const views = lanes.map((lane, i) => {
    const view = make("section", `race-lane race-${i === 0 ? "first" : "second"}`);
    const head = make("p", "race-lane-head", make("b", "", lane.name), " ", make("span", ""));
    const kernels = make("canvas", "race-kernels");
    kernels.setAttribute("role", "img");
    kernels.setAttribute("aria-label", `the kernels of the first layer of ${lane.name}`);
    const silent = make("ul", "race-silent");
    view.append(head, kernels, silent);
    one(".race-lanes").append(view);
    return view;
  });

  /** @param {HTMLElement} view @param {Float32Array} kernels @param {number[]} shape */
  function drawKernels(view, kernels, [count, maps, side]) {
    const canvas = /** @type {HTMLCanvasElement} */ (view.querySelector("canvas"));
    canvas.width = count * (side + 1) - 1;
    canvas.height = side;
    const context = canvas.getContext("2d");
    if (!context) return;
    const picture = context.createImageData(canvas.width, side);
    const length = maps * side * side;
    for (let kernel = 0; kernel < count; kernel++) {
      const weights = kernels.subarray(kernel * length, kernel * length + side * side);
      const highest = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 1e-30);
      weights.forEach((weight, p) => {
        const at = Math.floor(p / side) * canvas.width + kernel * (side + 1) + (p % side);
        picture.data.fill(127.5 + (127.5 * weight) / highest, 4 * at, 4 * at + 3);
        picture.data[4 * at + 3] = 255;
      });
    }
    context.putImageData(picture, 0, 0);
  }

  /** @param {number} i @param {RaceRun | undefined} run */
  function showLane(i, run) {
    const [view, lane] = [views[i], lanes[i]];
    const text = /** @type {HTMLElement} */ (view.querySelector(".race-lane-head span"));
    const error = run?.errors.at(-1);
    text.textContent = error === undefined ? "" : percent(error);
    if (run?.arrived !== null && run)
      text.textContent += `, at the finish after ${run.arrived} epochs`;
    if (run?.stopped) text.textContent = `stopped: ${run.stopped}`;
    view.classList.toggle("is-frozen", Boolean(run?.stopped));
    const canvas = /** @type {HTMLElement} */ (view.querySelector("canvas"));
    canvas.hidden = !run?.kernels;
    if (run?.kernels) drawKernels(view, run.kernels, lane.parameters[0].shape);
    const list = /** @type {HTMLElement} */ (view.querySelector(".race-silent"));
    list.replaceChildren();
    run?.silent.forEach((share, layer) => {
      const bar = make("i", "");
      bar.style.width = `${100 * share}%`;
      const words = `layer ${layer + 1}: ${percent(share)} ${lane.silent?.word}`;
      list.append(make("li", "", make("span", "race-bar", bar), words));
    });
  }

  /** @type {Race | null} */
  let current = null;
  /** Races with this setting that came to their end. @type {Race[]} */
  const finished = [];
  let isRunning = false;
  let isStopped = false; // by the reader

  function showRace() {
    const runs = shownRace()?.runs;
    for (const i of lanes.keys()) showLane(i, runs?.[i]);
    drawChart();
    showResults();
  }

  // The results

  /** The mean of a race's last eighth, since single errors vary. @param {RaceRun} run */
  function lateError({ errors }) {
    const late = errors.slice(-Math.ceil((QUARTERS * state.epochs) / 8));
    return late.length ? late.reduce((sum, error) => sum + error, 0) / late.length : 1;
  }

  /**
   * Which lane was first, or 2 for neither: less than an epoch apart, or, of a race without a
   * finish, less than a hundredth in the end.
   * @param {RaceRun[]} runs
   */
  function winnerOf(runs) {
    if (state.finish === null) {
      const [first, second] = runs.map((run) => (run.stopped ? 1 : lateError(run)));
      if (Math.abs(first - second) < 0.01) return 2;
      return first < second ? 0 : 1;
    }
    const [first, second] = runs.map(({ arrived }) => arrived ?? Infinity);
    if (first === second || Math.abs(first - second) < 1) return 2;
    return first < second ? 0 : 1;
  }

  /** @param {RaceRun} run */
  const resultOf = (run) => {
    if (run.arrived !== null) return `${run.arrived} epochs`;
    if (run.stopped) return "stopped";
    return `${percent(state.finish === null ? lateError(run) : (run.errors.at(-1) ?? 1))} at the end`;
  };

  function showResults() {
    const table = one(".race-results");
    table.hidden = !finished.length;
    const rows = finished.map(({ seed, runs }) => {
      const first = make("th", "", String(seed));
      first.scope = "row";
      const cells = runs.map((run) => make("td", "", resultOf(run)));
      return make("tr", "", first, ...cells, make("td", "", state.guesses[winnerOf(runs)]));
    });
    one(".race-results tbody").replaceChildren(...rows);
  }

  for (const name of [
    ...lanes.map(({ name }) => name),
    state.finish === null ? "lower" : "first",
  ]) {
    const head = make("th", "", name);
    head.scope = "col";
    one(".race-results tr").append(head);
  }

  /** What to change, so that a lane is not frozen. @param {number} i */
  function advice(i) {
    const { pixels, above, rates } = shown.setting;
    const ways = [`a smaller learning rate than ${short(rates[i])}`];
    if (pixels > 3) ways.push(`smaller pixels than ${short(pixels)}`);
    if (above > 1.5) ways.push(`smaller first weights than ${short(above)}`);
    return `Try ${ways.join(", or ")}.`;
  }

  /** @param {Race} race */
  function verdict({ runs }) {
    const results = runs.map((run, i) => {
      if (!run.stopped) return `${lanes[i].name}: ${resultOf(run)}.`;
      return `${lanes[i].name} was frozen (${run.stopped}). ${advice(i)}`;
    });
    const winner = winnerOf(runs);
    let first = "They arrive within an epoch of each other.";
    if (state.finish === null) {
      first = winner < 2 ? `The lower error: ${lanes[winner].name}.` : "They end level.";
    } else if (winner < 2) first = `${lanes[winner].name} is first.`;
    else if (runs.every(({ arrived }) => arrived === null)) first = "Neither is at the finish.";
    return `${first} ${results.join(" ")} ${outcomeOf(winner)}`.trim();
  }

  /** What becomes of the guess. @param {number} winner */
  function outcomeOf(winner) {
    if (shown.guess < 0) return "";
    return winner === shown.guess ? "You guessed it." : "Your guess was another.";
  }

  /** The recorded runs of the chosen preset, which take no time. */
  function showRecorded() {
    const { recorded, winner } = presets[shown.preset];
    const text = `${recorded} ${outcomeOf(winner)}`;
    say(text);
    announce(text);
    showSetting();
    drawChart();
  }

  // Running

  /** Until the page is seen. */
  function whenVisible() {
    if (!document.hidden) return Promise.resolve();
    root.dataset.state = "paused";
    return new Promise((resolve) => {
      const look = () => {
        if (document.hidden) return;
        document.removeEventListener("visibilitychange", look);
        root.dataset.state = "running";
        resolve(undefined);
      };
      document.addEventListener("visibilitychange", look);
    });
  }

  async function wait() {
    await whenVisible();
    if (isStopped) throw new Error("stopped by the reader");
  }

  /**
   * What runs in plain JavaScript, or is smaller than elsewhere.
   * @param {Race} race
   * @param {number} time Of an epoch of all images, in milliseconds.
   */
  function noteOf({ notice, order, count, epochs }, time) {
    if (order.length === count) return notice;
    const seconds = (time / 1000).toFixed(0);
    const minutes = Math.ceil((time * epochs * order.length) / count / 60_000);
    const less =
      `An epoch of all ${count} patches would take ${seconds} s here, so it has ` +
      `${order.length}, and the race ${epochs} epochs, ${minutes} min in all; it may end in ` +
      "another way than those with all patches, which are the bands, at as many steps.";
    return `${notice} ${less}`.trim();
  }

  /** @param {number} seed */
  async function runOne(seed) {
    const race = new Race(shown.setting, seed);
    current = race;
    showRace();
    say("The nets are being made.");
    try {
      await race.open();
      const time = await race.time();
      race.fit(time);
      const note = noteOf(race, (time * race.count) / state.batch);
      const spoken = new Set();
      while (!race.isOver) {
        const quarters = Math.max(...race.runs.map(({ errors }) => errors.length));
        say(`Epoch ${Math.floor(quarters / QUARTERS) + 1} of ${race.epochs}. ${note}`);
        await race.quarter(wait);
        showRace();
        race.runs.forEach(({ arrived, stopped }, i) => {
          if (spoken.has(i) || (arrived === null && !stopped)) return;
          spoken.add(i);
          const { name } = lanes[i];
          if (stopped) announce(`${name} was frozen: ${stopped}. ${advice(i)}`);
          else announce(`${name} is at the finish after ${arrived} epochs.`);
        });
      }
      finished.push(race);
      const text = verdict(race);
      say(`${text} ${note}`.trim());
      announce(text);
    } finally {
      race.close();
      current = null;
      showRace();
    }
  }

  /** @param {number} count Of races, one after the other. */
  async function run(count) {
    [isRunning, isStopped] = [true, false];
    root.dataset.state = "running";
    showSetting();
    try {
      for (let i = 0; i < count; i++) await runOne(shown.seed++);
      root.dataset.state = "finished";
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      say(isStopped ? "You have stopped the race." : `The race cannot go on: ${message}.`);
      root.dataset.state = "stopped";
    } finally {
      isRunning = false;
      showSetting();
      if (isStopped && shown.isRecorded) showRecorded();
    }
  }

  one(".race-start").addEventListener("click", () => {
    if (isRunning) isStopped = true;
    else run(1);
  });
  one(".race-more").addEventListener("click", () => run(3));
  one(".race-recorded").addEventListener("click", () => {
    shown.isRecorded = true;
    if (isRunning) isStopped = true;
    else showRecorded();
  });

  // Begin

  root.classList.add("is-live");
  one(".race-live").hidden = false;
  Object.assign(root, { race: { Race, state } }); // for the console, and the tests
  showSetting();
  showRace();
})();
