// The script of the valley; alexnet/bookkit/valley.py puts it into the page.
//
// Next to the script stands its data as JSON, written by Valley.to_html(); see `Data` below.

(() => {
  /**
   * @typedef {[number, number]} Place x and y in the valley
   * @typedef {{ rate: number, momentum: number, decay: number }} Setting
   * @typedef {Setting & { name: string }} Preset
   * @typedef {{ path: Place[], heights: number[], flown: boolean }} Walk where the ball is after
   *   each step, from its start on, and how high; a walk that flies away ends early
   * @typedef {object} Data
   * @property {string} map markup of the drawing of the valley
   * @property {{ left: number, bottom: number, unit: number, width: number, height: number }} box
   *   what is drawn: x and y of its lower left corner, units of the drawing per unit of the valley,
   *   and its size in units of the drawing
   * @property {number} steepness of the sides
   * @property {Place} start where the ball lies at first
   * @property {number} steps of a walk
   * @property {Preset[]} presets the first is shown at first
   */

  const ARRIVED = 0.01; // a walk that ends lower is at the cross
  const FLOWN = 1e6; // a height from which no walk comes back
  const [LOWEST, HIGHEST] = [-6, 3]; // powers of ten that the chart of the heights shows
  const CHART = { left: 60, right: 352, top: 8, bottom: 112 };
  const MOVING_KEYS = /^(Arrow|Page|Home|End)/;

  /**
   * How the sliders spread their values: `at` is the position of a value, `value` that at a
   * position, rounded to what is shown.
   */
  const SCALES = {
    rate: {
      min: -4,
      max: -1,
      at: Math.log10,
      value: (/** @type {number} */ t) => round(10 ** t, 3),
    },
    // Each unit makes a steady step ten times as long: 0, 0.9, 0.99, 0.999.
    momentum: {
      min: 0,
      max: 3,
      at: (/** @type {number} */ m) => -Math.log10(1 - m),
      value: (/** @type {number} */ t) => Number((1 - 10 ** -t).toFixed(t < 2 ? 3 : 4)),
    },
    // The lower end is no decay at all.
    decay: {
      min: -4,
      max: 1,
      at: (/** @type {number} */ d) => (d > 0 ? Math.log10(d) : -4),
      value: (/** @type {number} */ t) => (t > -4 ? round(10 ** t, 3) : 0),
    },
  };
  // Of walks whose lowest ends are kept: what momentum they have.
  const KINDS = ["your lowest, momentum 0", "your lowest, with momentum"];
  /** @type {(keyof Setting)[]} */
  const NAMES = ["rate", "momentum", "decay"];

  /** @param {number} value @param {number} digits significant ones */
  function round(value, digits) {
    return Number(value.toPrecision(digits));
  }

  /** A number as text, never as 1e-7. @param {number} value */
  function write(value) {
    if (value < 1e-6) return value > 0 ? "less than 0.000001" : "0";
    if (value >= 1e6) return "more than a million";
    return round(value, 3).toLocaleString("en", { maximumFractionDigits: 9 });
  }

  /** @param {Place} place */
  function writePlace([x, y]) {
    return `x ${x.toFixed(2)}, y ${y.toFixed(2)}`.replaceAll("-", "−");
  }

  /** @param {Place} place @param {number} steepness */
  function heightAt([x, y], steepness) {
    return (1 - x) ** 2 + steepness * (y - x * x) ** 2;
  }

  /** The derivatives of the height. @param {Place} place @param {number} steepness */
  function slopeAt([x, y], steepness) {
    const across = y - x * x;
    return [-2 * (1 - x) - 4 * steepness * x * across, 2 * steepness * across];
  }

  /**
   * A walk by the rule of the paper, as alexnet/optim.py has it: the rate is inside the velocity.
   *
   * @param {Setting} setting
   * @param {Place} start
   * @param {Data} data
   * @returns {Walk}
   */
  function descend({ rate, momentum, decay }, start, { steps, steepness }) {
    let [x, y] = start;
    let [vx, vy] = [0, 0];
    /** @type {Walk} */
    const walk = { path: [[x, y]], heights: [heightAt([x, y], steepness)], flown: false };
    for (let step = 0; step < steps && !walk.flown; step++) {
      const [slopeX, slopeY] = slopeAt([x, y], steepness);
      vx = momentum * vx - decay * rate * x - rate * slopeX;
      vy = momentum * vy - decay * rate * y - rate * slopeY;
      x += vx;
      y += vy;
      const height = heightAt([x, y], steepness);
      walk.path.push([x, y]);
      walk.heights.push(height);
      walk.flown = !(height < FLOWN); // NaN, too
    }
    return walk;
  }

  /**
   * A rate below the given one with which the walk does not fly away, or null if there is none.
   *
   * @param {Setting} setting
   * @param {Place} start
   * @param {Data} data
   */
  function stayingRate(setting, start, data) {
    const least = SCALES.rate.value(SCALES.rate.min);
    const stays = (/** @type {number} */ rate) => !descend({ ...setting, rate }, start, data).flown;
    for (let rate = setting.rate; rate >= least; rate = round(0.95 * rate, 2)) {
      // Among rates that are too large, a single one may stay by chance.
      if ([rate, 0.95 * rate, 0.9 * rate].every(stays)) return rate;
    }
    return null;
  }

  /**
   * Where decay and slope cancel near the floor: the place that a walk with decay can end at.
   *
   * @param {number} decay
   * @param {Data} data
   * @returns {Place}
   */
  function restingPlace(decay, { steepness }) {
    // With the slope along y zero, y = 2 k x² / (2 k + decay). What is left along x grows with x.
    const share = (2 * steepness) / (2 * steepness + decay);
    let [low, high] = [0, 1];
    for (let i = 0; i < 60; i++) {
      const x = (low + high) / 2;
      const [slope] = slopeAt([x, share * x * x], steepness);
      if (slope + decay * x < 0) low = x;
      else high = x;
    }
    return [low, share * low * low];
  }

  /** Whether the last steps go from one side of the floor to the other. @param {Place[]} path */
  function swings(path) {
    const sides = path.slice(-20).map(([x, y]) => y > x * x);
    return sides.filter((side, i) => i > 0 && side !== sides[i - 1]).length > 10;
  }

  /**
   * What has become of a walk, in a sentence or two.
   *
   * @param {Walk} walk
   * @param {Setting} setting
   * @param {Place} start
   * @param {Data} data
   */
  function tell({ path, heights, flown }, setting, start, data) {
    const end = path[path.length - 1];
    const height = heights[heights.length - 1];
    if (flown) {
      const rate = stayingRate(setting, start, data);
      const advice = rate
        ? `Lower the learning rate: at ${write(rate)} it stays.`
        : "Lower the momentum, or drag the ball closer to the floor of the valley.";
      return `It flies away: after ${path.length - 1} steps it is higher than a million. ${advice}`;
    }
    if (height < ARRIVED) {
      const since = heights.map((value) => value >= ARRIVED).lastIndexOf(true) + 1;
      return `It reaches the cross: from step ${since} on it is lower than ${ARRIVED}.`;
    }
    const rest = restingPlace(setting.decay, data);
    if (setting.decay > 0 && Math.hypot(end[0] - rest[0], end[1] - rest[1]) < 0.05) {
      const where = "where the pull of the decay and the slope cancel";
      return `It stops short of the cross, at the square, ${where}, at a height of ${write(height)}.`;
    }
    if (swings(path)) {
      return `It swings from side to side, and ends at a height of ${write(height)}.`;
    }
    return `It is still on its way after ${data.steps} steps, at a height of ${write(height)}.`;
  }

  const CROSS = "M-5 -5L5 5M-5 5L5 -5";

  /**
   * Markup of what is below the drawings: what has become of the walk, a button for each preset,
   * and a slider for each number.
   *
   * @param {Data} data
   */
  function controls({ presets }) {
    let sliders = "";
    for (const name of NAMES) {
      const { min, max } = SCALES[name];
      sliders += `<label>${name === "rate" ? "learning rate" : name} <b aria-hidden="true"></b>
        <input type="range" name="${name}" min="${min}" max="${max}" step="0.01"></label>`;
    }
    const buttons = presets.map(({ name }) => `<button type="button">${name}</button>`);
    return `<p class="valley-outcome"></p>
      <div class="valley-presets" role="group" aria-label="settings to look at">${buttons.join("")}
      </div><div class="valley-controls">${sliders}</div>`;
  }

  /** Where a height is in the chart, from its upper edge. @param {number} height */
  function chartY(height) {
    const power = Math.log10(Math.min(Math.max(height, 10 ** LOWEST), 10 ** HIGHEST));
    const { top, bottom } = CHART;
    return bottom - ((bottom - top) * (power - LOWEST)) / (HIGHEST - LOWEST);
  }

  /** Markup of the chart of the heights. @param {Data} data */
  function chart({ steps }) {
    const { left, right, bottom } = CHART;
    let lines = "";
    for (let power = LOWEST; power <= HIGHEST; power += 3) {
      const y = chartY(10 ** power);
      // The lowest has no room as a decimal number.
      const value = power === LOWEST ? "10⁻⁶" : (10 ** power).toLocaleString("en");
      lines += `<path d="M${left} ${y}H${right}" stroke="currentColor" stroke-opacity="0.3"/>
        <text x="${left - 5}" y="${y + 4}" text-anchor="end">${value}</text>`;
    }
    return `<svg class="valley-chart" viewBox="0 0 360 130" role="img">${lines}
      <text x="${left}" y="${bottom + 15}">height at each step</text>
      <text x="${right}" y="${bottom + 15}" text-anchor="end">${steps}</text>
      <path class="valley-path"/><path class="valley-exit" d="${CROSS}"/></svg>`;
  }

  /** Markup of the whole. @param {Data} data */
  function outline(data) {
    const { map, box } = data;
    const rows = KINDS.map((name) => `<tr><th scope="row">${name}</th><td></td></tr>`);
    return `<form autocomplete="off">
      <svg class="valley-map" viewBox="0 0 ${box.width} ${box.height}" role="group"
        aria-label="the valley, seen from above">${map}
        <rect class="valley-rest" x="-4" y="-4" width="8" height="8"/>
        <path class="valley-path"/><path class="valley-steps"/>
        <circle class="valley-end" r="5"/><path class="valley-exit" d="${CROSS}"/>
        <g class="valley-ball" role="slider" tabindex="0" aria-label="ball"
          aria-valuemin="${box.left}" aria-valuemax="${box.left + box.width / box.unit}">
          <circle r="24" fill="transparent"/><circle r="7"/></g></svg>
      ${chart(data)}${controls(data)}
      <table>${rows.join("")}</table></form><p class="valley-said" role="status"></p>`;
  }

  /**
   * The part of a line that lies in a rectangle up to where it leaves it for good.
   *
   * @param {Place[]} points
   * @param {number} width
   * @param {number} height
   * @returns {{ points: Place[], exit: Place | null }} the exit is on the edge
   */
  function untilExit(points, width, height) {
    const inside = points.map(([x, y]) => x >= 0 && x <= width && y >= 0 && y <= height);
    const last = inside.lastIndexOf(true);
    if (last === points.length - 1) return { points, exit: null };
    const [x, y] = points[last];
    const [nextX, nextY] = points[last + 1];
    // How far each coordinate can go towards the next point, as a share of the way.
    const shareX = ((nextX > x ? width : 0) - x) / (nextX - x);
    const shareY = ((nextY > y ? height : 0) - y) / (nextY - y);
    const share = Math.min(...[shareX, shareY].filter(Number.isFinite), 1);
    const exit = /** @type {Place} */ ([x + share * (nextX - x), y + share * (nextY - y)]);
    return { points: [...points.slice(0, last + 1), exit], exit };
  }

  /** @param {Place[]} points */
  function polyline(points) {
    return `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
  }

  /**
   * Speaks at most once a second, the last of what it is told.
   *
   * @param {Element} region
   */
  function announcer(region) {
    let timer = 0;
    let spoken = -Infinity;
    return (/** @type {string} */ text) => {
      clearTimeout(timer);
      const wait = Math.max(spoken + 1000 - performance.now(), 0);
      timer = window.setTimeout(() => {
        if (region.textContent === text) return;
        region.textContent = text;
        spoken = performance.now();
      }, wait);
    };
  }

  /** @param {HTMLElement} root @param {Data} data */
  function start(root, data) {
    const { box, presets } = data;
    const live = /** @type {HTMLElement} */ (root.querySelector(".valley-live"));
    // A page that a browser saved holds the valley of then, which this replaces.
    live.innerHTML = outline(data);
    const [map, heights] = live.querySelectorAll("svg");
    const form = /** @type {HTMLFormElement} */ (live.querySelector("form"));
    const ball = /** @type {SVGGElement} */ (live.querySelector(".valley-ball"));
    const outcome = /** @type {HTMLElement} */ (live.querySelector(".valley-outcome"));
    const say = announcer(/** @type {HTMLElement} */ (live.querySelector(".valley-said")));
    const facts = live.querySelectorAll("td");
    const buttons = live.querySelectorAll("button");
    // Otherwise JupyterLab takes the keys that move a slider for its own shortcuts.
    form.dataset.lmSuppressShortcuts = "true";

    /** @type {Setting} */
    let setting = presets[0];
    let place = data.start;
    /** The lowest ends from this place, without momentum and with. */
    let lowest = [Infinity, Infinity];

    /** @param {Place} place @returns {Place} */
    function toDrawing([x, y]) {
      return [(x - box.left) * box.unit, box.height - (y - box.bottom) * box.unit];
    }

    /** @param {Element} svg @param {string} part @param {Place | null} at hidden without one */
    function put(svg, part, at) {
      const element = /** @type {SVGElement} */ (svg.querySelector(part));
      element.style.display = at ? "" : "none";
      if (at) element.setAttribute("transform", `translate(${at.join(" ")})`);
    }

    /** @param {Element} svg @param {string} part @param {string} line */
    function trace(svg, part, line) {
      /** @type {SVGElement} */ (svg.querySelector(part)).setAttribute("d", line);
    }

    /** @param {Walk} walk */
    function drawMap({ path }) {
      const { points, exit } = untilExit(path.map(toDrawing), box.width, box.height);
      const stops = exit ? points.slice(0, -1) : points;
      trace(map, ".valley-path", polyline(points));
      trace(map, ".valley-steps", stops.map((stop) => `${polyline([stop])}h0`).join(""));
      put(map, ".valley-end", exit ? null : stops[stops.length - 1]);
      // The mark of the exit lies inside, so that all of it is seen.
      const inside = (/** @type {number} */ v, /** @type {number} */ size) =>
        Math.min(Math.max(v, 8), size - 8);
      put(map, ".valley-exit", exit && [inside(exit[0], box.width), inside(exit[1], box.height)]);
      put(
        map,
        ".valley-rest",
        setting.decay > 0 ? toDrawing(restingPlace(setting.decay, data)) : null,
      );
      put(map, ".valley-ball", toDrawing(place));
    }

    /** @param {Walk} walk @param {string} told */
    function drawChart(walk, told) {
      const { left, right } = CHART;
      const points = walk.heights.map(
        (height, step) =>
          /** @type {Place} */ ([left + ((right - left) * step) / data.steps, chartY(height)]),
      );
      trace(heights, ".valley-path", polyline(points));
      put(heights, ".valley-exit", walk.flown ? points[points.length - 1] : null);
      heights.setAttribute("aria-label", `height at each step: ${told}`);
    }

    /** @param {Walk} walk */
    function writeFacts({ heights, flown }) {
      const end = flown ? Infinity : heights[heights.length - 1];
      const kind = setting.momentum > 0 ? 1 : 0;
      lowest[kind] = Math.min(lowest[kind], end);
      lowest.forEach((height, i) => {
        facts[i].textContent = height < Infinity ? write(height) : "–";
      });
    }

    /** @param {string} name */
    function slider(name) {
      return /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
    }

    function labelControls() {
      for (const name of NAMES) {
        const value = String(setting[name]);
        slider(name).setAttribute("aria-valuetext", value);
        /** @type {Element} */ (slider(name).previousElementSibling).textContent = value;
      }
      buttons.forEach((button, i) => {
        const chosen = NAMES.every((name) => presets[i][name] === setting[name]);
        button.setAttribute("aria-pressed", String(chosen));
      });
      ball.setAttribute("aria-valuenow", place[0].toFixed(2));
      ball.setAttribute("aria-valuetext", writePlace(place));
    }

    /** @param {Preset} preset */
    function choose({ rate, momentum, decay }) {
      setting = { rate, momentum, decay };
      for (const name of NAMES) slider(name).value = String(SCALES[name].at(setting[name]));
    }

    function show() {
      const walk = descend(setting, place, data);
      const told = tell(walk, setting, place, data);
      drawMap(walk);
      drawChart(walk, told);
      writeFacts(walk);
      labelControls();
      outcome.textContent = told;
      return told;
    }

    /** @param {number} x @param {number} y */
    function moveBall(x, y) {
      const right = box.left + box.width / box.unit;
      const top = box.bottom + box.height / box.unit;
      place = [
        Number(Math.min(Math.max(x, box.left), right).toFixed(2)),
        Number(Math.min(Math.max(y, box.bottom), top).toFixed(2)),
      ];
      lowest = [Infinity, Infinity];
      say(show());
    }

    /** @param {PointerEvent} event */
    function follow(event) {
      const edges = map.getBoundingClientRect();
      const scale = box.width / edges.width / box.unit;
      const x = box.left + (event.clientX - edges.left) * scale;
      moveBall(x, box.bottom + (edges.bottom - event.clientY) * scale);
    }

    form.addEventListener("input", (event) => {
      const { name, value } = /** @type {HTMLInputElement} */ (event.target);
      const control = /** @type {keyof Setting} */ (name);
      setting = { ...setting, [control]: SCALES[control].value(Number(value)) };
      say(show());
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    buttons.forEach((button, i) => {
      button.addEventListener("click", () => {
        choose(presets[i]);
        say(show());
      });
    });
    // A press anywhere in the valley takes the ball there; a finger drags it by the ball itself,
    // so that the page can be scrolled elsewhere.
    map.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      const onBall = ball.contains(/** @type {Node} */ (event.target));
      if (event.pointerType === "touch" && !onBall) return;
      map.setPointerCapture(event.pointerId);
      if (!onBall) follow(event);
    });
    map.addEventListener("pointermove", (event) => {
      if (map.hasPointerCapture(event.pointerId)) follow(event);
    });
    form.addEventListener("keydown", (event) => {
      if (!MOVING_KEYS.test(event.key)) return;
      // Otherwise VS Code goes to the next cell as well.
      event.stopPropagation();
      if (event.target !== ball) return;
      const step = event.shiftKey ? 0.01 : 0.05;
      const [x, y] = place;
      /** @type {Record<string, Place>} */
      const next = {
        ArrowLeft: [x - step, y],
        ArrowRight: [x + step, y],
        ArrowUp: [x, y + step],
        ArrowDown: [x, y - step],
      };
      if (!next[event.key]) return;
      event.preventDefault();
      moveBall(...next[event.key]);
    });
    choose(presets[0]);
    show();
    root.classList.add("valley-started");
    // For the tests, and for a reader's console.
    Object.assign(root, {
      descend: (/** @type {Setting} */ setting, /** @type {Place} */ place) =>
        descend(setting, place, data),
    });
  }

  // Every one that is complete and not started yet, as in explore.js.
  for (const root of document.querySelectorAll("figure.valley")) {
    const script = root.querySelector("script[type='application/json']");
    if (script && !Object.hasOwn(root, "descend")) {
      start(/** @type {HTMLElement} */ (root), JSON.parse(script.textContent ?? ""));
    }
  }
})();
