// A look inside: the panel that says what a map, and a unit in it, is made of. The maps themselves
// are drawn by page.js.

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { root, first, state, one, all, blocks, palettes } = page;
  const SIDE = first.resize;
  const MARGIN = (SIDE - first.crop) / 2; // of what the net leaves out
  const GAP = 255; // as in page.js
  const COLORS = ["red", "green", "blue"];

  const panel = one(".net-panel");
  const frame = one(".net-field");
  /** @type {PagePass | null} */
  let last = null;
  /** Of the net, by names such as "conv1.weight". @type {Object<string, {data: Float32Array}> | null} */
  let parameters = null;
  /** Which map of a block the keyboard is at. @type {Map<Block, number>} */
  const cursors = new Map();
  /** What surrounds the map that is looked at. @type {Map<Block, HTMLElement>} */
  const pointers = new Map();
  for (const block of blocks) {
    const pointer = document.createElement("span");
    pointer.className = "net-pointer";
    pointer.hidden = true;
    block.button.append(pointer);
    pointers.set(block, pointer);
  }

  /** @param {string} name @param {string} text */
  function make(name, text = "", kind = "span") {
    const element = document.createElement(kind);
    element.className = name;
    element.textContent = text;
    return element;
  }

  /** @param {string} name @param {string} text @param {() => void} act */
  function makeButton(name, text, act) {
    const button = /** @type {HTMLButtonElement} */ (make(name, text, "button"));
    button.type = "button";
    button.addEventListener("click", act);
    return button;
  }

  /** @param {string} name @param {number} side */
  function makeCanvas(name, side) {
    const canvas = /** @type {HTMLCanvasElement} */ (make(name, "", "canvas"));
    canvas.width = side;
    canvas.height = side;
    return canvas;
  }

  /** @param {HTMLElement} content @param {string} text */
  function makeView(content, text) {
    const view = document.createElement("div");
    view.append(content, make("net-caption", text));
    return view;
  }

  /** @param {number} value */
  const digits = (value) => value.toFixed(3).replace("-", "−");

  // Which map, and where

  /** @param {Look} look */
  function blockOf({ layer, map }) {
    const { maps: count, columns } = first.layers[layer];
    const column = Math.floor((map * columns) / count);
    return /** @type {Block} */ (blocks.find((b) => b.index === layer && b.column === column));
  }

  /** @param {Look | null} look */
  function lookAt(look) {
    state.look = look;
    root.classList.toggle("is-inside", look?.pinned ?? false);
    for (const pointer of pointers.values()) pointer.hidden = true;
    for (const element of all(".net-layer")) {
      const name = look && first.layers[look.layer].name;
      element.classList.toggle("is-looked-at", element.dataset.layer === name);
    }
    panel.hidden = !look || !last;
    frame.hidden = true;
    if (!look) return;
    if (look.layer > 0) root.classList.add("shows-all");
    const block = blockOf(look);
    const { maps: count, columns, tiles, side } = first.layers[look.layer];
    const at = look.map % (count / columns);
    const pitch = side > 1 ? side + 1 : 1;
    const pointer = /** @type {HTMLElement} */ (pointers.get(block));
    const { width, height } = block.canvas;
    pointer.style.left = `${(100 * (at % tiles) * pitch) / width}%`;
    pointer.style.top = `${(100 * Math.floor(at / tiles) * pitch) / height}%`;
    pointer.style.width = `${(100 * side) / width}%`;
    pointer.style.height = `${(100 * side) / height}%`;
    pointer.hidden = false;
    cursors.set(block, at);
    if (last) showPanel();
  }

  /** @param {Look} look To be kept. */
  function pin(look) {
    lookAt({ ...look, pinned: true });
    page.touch();
  }

  function closePanel() {
    const block = state.look && blockOf(state.look);
    lookAt(null);
    block?.button.focus({ preventScroll: true });
    page.touch();
  }

  // The panel

  /** @param {Look} look */
  function titleOf({ layer, map }) {
    const { name, maps: count, columns, side } = first.layers[layer];
    const title = `${name}, ${side > 1 ? "map" : "unit"} ${map + 1} of ${count}`;
    if (columns === 1) return `${title}: ${page.short(map)}`;
    return `${title} (column ${map < count / 2 ? 1 : 2})`;
  }

  /** @param {Look} look */
  function makeHead(look) {
    const head = make("net-panel-head", "", "div");
    head.append(make("", titleOf(look), "b"));
    if (first.layers[look.layer].side > 1) {
      const scale = makeButton("net-scale", "Own scale", () => {
        state.ownScale = !state.ownScale;
        page.touch();
      });
      scale.title = "each map as bright as its own highest value asks for, not the layer's";
      head.append(scale);
    }
    if (look.layer === 0) {
      const cut = () => {
        if (!state.kernels.delete(look.map)) state.kernels.add(look.map);
        page.touch();
      };
      head.append(makeButton("net-cut-kernel", "", cut));
    }
    const { maps: count } = first.layers[look.layer];
    for (const [step, sign, name] of /** @type {const} */ ([
      [-1, "‹", "Previous"],
      [1, "›", "Next"],
    ])) {
      const map = (look.map + step + count) % count;
      const button = makeButton("net-step", sign, () => {
        pin({ layer: look.layer, map, pinned: true });
        one(`[aria-label="${name}"]`, panel).focus({ preventScroll: true });
      });
      button.setAttribute("aria-label", name);
      head.append(button);
    }
    const close = makeButton("net-close", "×", closePanel);
    close.setAttribute("aria-label", "Close");
    head.append(close);
    return head;
  }

  function showPanel() {
    const look = state.look;
    if (!look) return;
    const { side } = first.layers[look.layer];
    panel.classList.toggle("is-right", look.layer <= 2);
    panel.classList.toggle("is-left", look.layer > 2);
    panel.classList.toggle("is-preview", !look.pinned);
    const views = make("net-views", "", "div");
    if (side > 1) {
      views.append(makeView(makeMap(look), "The map"));
      const fires = makeCanvas("net-fires", 264);
      views.append(makeView(fires, "Where it fires"));
    }
    if (look.layer === 0) views.append(makeTerms());
    else {
      views.append(makeView(makeCanvas("net-weights", 1), "Its weights"));
    }
    const isTouch = matchMedia("(pointer: coarse)").matches;
    const ofMap = isTouch
      ? "Tap the map, or slide over it, to choose a unit."
      : "Point at the map, or move with arrow keys, to choose a unit.";
    const ofUnit = isTouch ? "Tap another unit." : "Click another unit, or go on with arrow keys.";
    const aim = look.pinned ? (side > 1 ? ofMap : ofUnit) : "A click or tap keeps this open.";
    panel.replaceChildren(
      makeHead(look),
      make("net-panel-says", "", "p"),
      make("net-do", aim, "p"),
      views,
      make("net-sum", "", "p"),
      make("net-facts", "", "p"),
    );
    if (!parameters) fetchParameters();
    drawPanel();
  }

  async function fetchParameters() {
    parameters = await page.net()?.net.parameters();
    drawPanel();
  }

  /** The map as a control: a place in it is a unit. @param {Look} look */
  function makeMap(look) {
    const { side } = first.layers[look.layer];
    const canvas = makeCanvas("net-map", side);
    canvas.tabIndex = look.pinned ? 0 : -1;
    canvas.setAttribute("role", "slider");
    canvas.setAttribute("aria-label", "unit: arrow keys choose another");
    canvas.setAttribute("aria-valuemin", "1");
    canvas.setAttribute("aria-valuemax", String(side * side));
    /** @param {PointerEvent | MouseEvent} event */
    const unitAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const place = (/** @type {number} */ share) =>
        Math.min(side - 1, Math.max(0, Math.floor(share * side)));
      const row = place((event.clientY - box.top) / box.height);
      return row * side + place((event.clientX - box.left) / box.width);
    };
    canvas.addEventListener("pointermove", (event) => drawPanel(unitAt(event)));
    canvas.addEventListener("pointerdown", (event) => drawPanel(unitAt(event)));
    canvas.addEventListener("pointerleave", () => drawPanel());
    canvas.addEventListener("click", (event) => chooseUnit(unitAt(event)));
    canvas.addEventListener("keydown", (event) => {
      /** @type {Object<string, [number, number]>} */
      const steps = {
        ArrowLeft: [0, -1],
        ArrowRight: [0, 1],
        ArrowUp: [-1, 0],
        ArrowDown: [1, 0],
      };
      const step = steps[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const unit = unitOf(look);
      const row = Math.min(side - 1, Math.max(0, Math.floor(unit / side) + step[0]));
      chooseUnit(row * side + Math.min(side - 1, Math.max(0, (unit % side) + step[1])));
    });
    const box = make("net-map-box", "", "div");
    box.append(canvas, make("net-unit"));
    return box;
  }

  /** @param {number} unit */
  function chooseUnit(unit) {
    if (!state.look) return;
    state.look.unit = unit;
    drawPanel();
    page.touch();
  }

  /** @param {Look} look */
  function valuesOf({ layer, map }) {
    const { output, side } = first.layers[layer];
    const data = last?.maps[output].data ?? new Float32Array(0);
    return data.subarray(map * side ** 2, (map + 1) * side ** 2);
  }

  /** The unit that was chosen, or the strongest. @param {Look} look */
  function unitOf(look) {
    const values = valuesOf(look);
    return look.unit ?? values.indexOf(Math.max(...values));
  }

  /** @param {number} [pointedAt] The unit below the mouse or a finger. */
  function drawPanel(pointedAt) {
    const look = state.look;
    if (!look || !last || !panel.firstChild) return;
    const layer = first.layers[look.layer];
    const values = valuesOf(look);
    const unit = pointedAt ?? unitOf(look);
    panel.querySelector(".net-scale")?.setAttribute("aria-pressed", String(state.ownScale));
    const cut = panel.querySelector(".net-cut-kernel");
    if (cut) cut.textContent = state.kernels.has(look.map) ? "Put it back" : "Take it away";
    const best = last.probabilities.indexOf(Math.max(...last.probabilities));
    const sure = page.percent(last.probabilities[best]);
    one(".net-panel-says", panel).textContent = `It says: ${page.short(best)} ${sure}`;
    drawFacts(look, values);
    if (layer.side > 1) {
      drawMap(look, values, unit);
      drawFires(layer, values, unit);
    }
    if (!parameters) return;
    if (look.layer > 0) drawWeights(kernelsOf(layer, look.map));
    drawSum(look, unit, values[unit]);
  }

  /** What is below the views. @param {Look} look @param {Float32Array} values */
  function drawFacts(look, values) {
    const layer = first.layers[look.layer];
    const facts = one(".net-facts", panel);
    if (layer.columns === 1 && last) {
      const { probabilities } = last;
      const own = probabilities[look.map];
      const rank = probabilities.filter((probability) => probability > own).length + 1;
      const names = page.words()[look.map];
      facts.textContent = `Score ${values[0].toFixed(2)}, probability ${page.percent(own)}, rank ${rank} of ${layer.maps}: ${names}.`;
      return;
    }
    const highest = Math.max(...values);
    const active = values.filter((value) => value > 0).length;
    const where = layer.side > 1 ? `, ${active} of ${values.length} units fire` : "";
    const framed = layer.side > 1 ? "Framed: the unit, and what it sees of the photograph. " : "";
    const reads = layer.crosses
      ? "It reads all of the layer before"
      : "It reads its own column of the layer before";
    const source = look.layer === 0 ? "It reads the photograph" : reads;
    facts.textContent = `${framed}Highest value ${highest.toFixed(2)}${where}. ${source}.`;
  }

  /** @param {HTMLCanvasElement} canvas @param {number} side */
  function imageOf(canvas, side) {
    canvas.width = side;
    canvas.height = side;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    return { context, data: context.createImageData(side, side) };
  }

  /** @param {Look} look @param {Float32Array} values @param {number} unit */
  function drawMap(look, values, unit) {
    const { side } = first.layers[look.layer];
    const canvas = /** @type {HTMLCanvasElement} */ (one(".net-map", panel));
    const { context, data } = imageOf(canvas, side);
    const pixels = new Uint32Array(data.data.buffer);
    const colors = palettes[blockOf(look).column];
    const white = state.ownScale ? Math.max(...values) || 1 : page.scales()[look.layer];
    values.forEach((value, at) => {
      pixels[at] = colors[Math.floor(Math.min(1, Math.max(0, value / white)) * (GAP - 1) + 0.5)];
    });
    context.putImageData(data, 0, 0);
    const [row, column] = [Math.floor(unit / side), unit % side];
    const mark = one(".net-unit", /** @type {Element} */ (canvas.parentElement));
    mark.style.left = `${(100 * column) / side}%`;
    mark.style.top = `${(100 * row) / side}%`;
    mark.style.width = `${100 / side}%`;
    mark.style.height = mark.style.width;
    canvas.setAttribute("aria-valuenow", String(unit + 1));
    const place = `row ${row + 1}, column ${column + 1}`;
    canvas.setAttribute("aria-valuetext", `${place}: ${digits(values[unit])}`);
  }

  /**
   * The photograph, dark where a map is low, and the unit's receptive field on both photographs.
   * @param {ShownLayer} layer
   * @param {Float32Array} values
   * @param {number} unit
   */
  function drawFires({ side, start, jump, field }, values, unit) {
    const canvas = /** @type {HTMLCanvasElement} */ (one(".net-fires", panel));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const size = canvas.width;
    const highest = Math.max(...values);
    context.drawImage(page.view, 0, 0, size, size);
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
    const small = makeCanvas("", SIDE);
    small.getContext("2d")?.putImageData(shade, 0, 0);
    context.drawImage(small, 0, 0, size, size);
    // Of the field only what lies in the photograph
    const within = (/** @type {number} */ pixel) =>
      MARGIN + Math.min(first.crop, Math.max(0, pixel));
    const [from, to] = [Math.floor(unit / side), unit % side].map((place) => {
      const edge = start + place * jump;
      return [within(edge), within(edge + field)];
    });
    const [top, bottom, left, right] = [...from, ...to];
    const scale = size / SIDE;
    context.strokeStyle = "#fff";
    context.lineWidth = 3;
    context.strokeRect(left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
    frame.hidden = !state.look?.pinned;
    frame.style.left = `${(100 * left) / SIDE}%`;
    frame.style.top = `${(100 * top) / SIDE}%`;
    frame.style.width = `${(100 * (right - left)) / SIDE}%`;
    frame.style.height = `${(100 * (bottom - top)) / SIDE}%`;
  }

  // The sum behind a unit's number

  /** @param {string} text Base64 of float32. */
  const floatsOf = (text) =>
    new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);

  /** @type {{means: Float32Array, stds: Float32Array} | null} */
  let scale = null;

  /** What conv1 reads: as `preprocess` in engine.js computes it. @param {Uint8Array} seen */
  function normalized(seen) {
    const { crop, offset, mean, std } = page.net().preprocessing;
    scale ??= { means: floatsOf(mean), stds: floatsOf(std) };
    const { means, stds } = scale;
    return Float32Array.from({ length: 3 * crop ** 2 }, (_, at) => {
      const [color, place] = [Math.floor(at / crop ** 2), at % crop ** 2];
      const [row, column] = [Math.floor(place / crop) + offset, (place % crop) + offset];
      const value = seen[3 * (row * SIDE + column) + color] / 255;
      return (value - means[means.length === 3 ? color : at]) / stds[color];
    });
  }

  /** What a layer reads. @param {ShownLayer} layer */
  function inputOf({ reads }) {
    if (!last) return null;
    if (reads === "input") return { data: normalized(last.seen), maps: 3, side: first.crop };
    const found = last.maps[reads];
    return found && { data: found.data, maps: found.shape[1], side: found.shape[2] ?? 1 };
  }

  /**
   * The weights of a map, for each map that it reads.
   * @param {ShownLayer} layer
   * @param {number} map
   */
  function kernelsOf(layer, map) {
    const weights = parameters?.[`${layer.name}.weight`].data ?? new Float32Array(0);
    const length = weights.length / layer.maps;
    // fc6 to fc8 read all of the maps before
    const before = first.layers[first.layers.indexOf(layer) - 1];
    const area = layer.kernel ** 2 || length / before.maps;
    return Array.from({ length: length / area }, (_, at) =>
      weights.subarray(map * length + at * area, map * length + (at + 1) * area),
    );
  }

  /**
   * Weights, what they are multiplied with, and the sum, for each map that a unit reads.
   * @param {ShownLayer} layer
   * @param {number} map
   * @param {number} unit
   */
  function sumBehind(layer, map, unit) {
    const input = inputOf(layer);
    if (!input || !parameters || !last) return null;
    const kernels = kernelsOf(layer, map);
    const count = kernels.length;
    const area = kernels[0].length;
    const kernel = Math.sqrt(area);
    const half = layer.maps / 2;
    const before = count < input.maps && map >= half ? count : 0;
    const [top, left] = [Math.floor(unit / layer.side), unit % layer.side].map(
      (place) => place * layer.stride - layer.padding,
    );
    const uncrossed = last.cuts.crossings?.[layer.name];
    const terms = kernels.map((own, at) => {
      const isAway = uncrossed && map < half !== at < input.maps / 2;
      const read = Float32Array.from({ length: area }, (_, place) => {
        const row = top + Math.floor(place / kernel);
        const column = left + (place % kernel);
        const isInside = Math.min(row, column) >= 0 && Math.max(row, column) < input.side;
        if (!isInside || isAway) return 0;
        return input.data[((before + at) * input.side + row) * input.side + column];
      });
      return { own, read, sum: own.reduce((sum, weight, i) => sum + weight * read[i], 0) };
    });
    const bias = parameters[`${layer.name}.bias`].data[map];
    const total = terms.reduce((sum, term) => sum + term.sum, bias);
    return { terms, bias, total, before, half: input.maps / 2 };
  }

  /** A place for the terms of conv1: weights times pixels for each color. */
  function makeTerms() {
    const terms = make("net-terms", "", "div");
    terms.append(make(""), make("", "kernel"), make("", "pixels"), make("", "sum"));
    for (const color of ["", ...COLORS]) {
      const [kernel, pixels] = [makeCanvas("net-term", 1), makeCanvas("net-term", 1)];
      terms.append(make("", color), kernel, pixels, make("net-number"));
    }
    terms.append(make("", "bias"), make(""), make(""), make("net-number"));
    return terms;
  }

  /**
   * A picture in which gray is zero.
   * @param {HTMLCanvasElement} canvas
   * @param {ArrayLike<number>[]} colors One for gray, or three.
   */
  function drawSigned(canvas, colors) {
    const highest = Math.max(1e-9, ...colors.map((v) => Math.max(...Array.from(v, Math.abs))));
    const { context, data } = imageOf(canvas, Math.sqrt(colors[0].length));
    for (let at = 0; at < colors[0].length; at++) {
      for (let color = 0; color < 3; color++) {
        const value = (colors[color] ?? colors[0])[at];
        data.data[4 * at + color] = 127.5 + (127.5 * value) / highest;
      }
      data.data[4 * at + 3] = 255;
    }
    context.putImageData(data, 0, 0);
  }

  /** Small pictures side by side. @param {ArrayLike<number>[]} kernels */
  function drawWeights(kernels) {
    const canvas = /** @type {HTMLCanvasElement} */ (one(".net-weights", panel));
    const side = Math.sqrt(kernels[0].length);
    const pitch = side > 1 ? side + 1 : 1;
    const across = Math.ceil(Math.sqrt(kernels.length));
    const { context, data } = imageOf(canvas, across * pitch);
    const highest = kernels.reduce(
      (most, kernel) => Math.max(most, ...Array.from(kernel, Math.abs)),
      1e-9,
    );
    kernels.forEach((kernel, number) => {
      const corner =
        Math.floor(number / across) * pitch * across * pitch + (number % across) * pitch;
      for (let at = 0; at < kernel.length; at++) {
        const to = corner + Math.floor(at / side) * across * pitch + (at % side);
        const level = 127.5 + (127.5 * kernel[at]) / highest;
        data.data.set([level, level, level, 255], 4 * to);
      }
    });
    context.putImageData(data, 0, 0);
  }

  /** @param {Look} look @param {number} unit @param {number} value As it is shown. */
  function drawSum(look, unit, value) {
    const layer = first.layers[look.layer];
    const behind = sumBehind(layer, look.map, unit);
    if (!behind) return;
    const { terms, bias, total, before, half } = behind;
    const parts = [];
    if (look.layer === 0) {
      drawTerms(behind);
      parts.push(...terms.map(({ sum }, at) => `${COLORS[at]} ${digits(sum)}`));
    } else {
      const columns = [0, 0];
      terms.forEach((term, at) => {
        columns[before + at < half ? 0 : 1] += term.sum;
      });
      const isRead = [before === 0, before > 0 || terms.length > half];
      for (const at of [0, 1]) {
        if (isRead[at]) parts.push(`column ${at + 1} ${digits(columns[at])}`);
      }
    }
    parts.push(`bias ${digits(bias)}`);
    const after = layer.columns === 1 ? "" : `; after ReLU ${digits(value)}`;
    const found = numberOfPytorch(look, unit);
    const beside = found === null ? "" : ` PyTorch: ${digits(found)}.`;
    one(".net-sum", panel).textContent = isAway(look)
      ? "It is taken away, so its value is 0."
      : `Its sum: ${parts.join(" + ")} = ${digits(total)}${after}.${beside}`;
  }

  /** @param {NonNullable<ReturnType<typeof sumBehind>>} behind */
  function drawTerms({ terms, bias }) {
    const canvases = /** @type {HTMLCanvasElement[]} */ ([...panel.querySelectorAll(".net-term")]);
    const numbers = panel.querySelectorAll(".net-number");
    const all = [terms.map(({ own }) => own), terms.map(({ read }) => read)];
    all.forEach((colors, side) => {
      drawSigned(canvases[side], colors);
      colors.forEach((color, at) => {
        drawSigned(canvases[2 + 2 * at + side], [color]);
      });
    });
    terms.forEach(({ sum }, at) => {
      numbers[1 + at].textContent = digits(sum);
    });
    numbers[terms.length + 1].textContent = digits(bias);
  }

  /** Whether a map is among the parts that are taken away. @param {Look} look */
  function isAway({ layer, map }) {
    const { name, maps: count, kernel } = first.layers[layer];
    const column = map < count / 2 ? 0 : 1;
    const { cuts } = /** @type {PagePass} */ (last);
    return Boolean(cuts.maps?.[name]?.includes(map) || (kernel && cuts.columns?.includes(column)));
  }

  /** PyTorch's number for a unit, where there is one. @param {Look} look @param {number} unit */
  function numberOfPytorch({ layer, map }, unit) {
    const [values, places] = first.strongest[first.layers[layer].name];
    return page.isFirst() && (places?.[map] ?? 0) === unit ? values[map] : null;
  }

  // Mouse, touch and keyboard on the maps

  /** @param {Block} block @param {MouseEvent} event */
  function mapAt({ button, canvas, index, column }, event) {
    const { maps: count, columns, side, tiles } = first.layers[index];
    const box = button.getBoundingClientRect();
    const pitch = side > 1 ? side + 1 : 1;
    const across = Math.floor(((event.clientX - box.left) / box.width) * (canvas.width / pitch));
    const down = Math.floor(((event.clientY - box.top) / box.height) * (canvas.height / pitch));
    const at = Math.max(0, down) * tiles + Math.min(tiles - 1, Math.max(0, across));
    return at < count / columns ? at + (column * count) / columns : null;
  }

  for (const block of blocks) {
    const { button, index, column } = block;
    const { maps: count, columns, tiles } = first.layers[index];
    const number = count / columns;
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
      const map = byKey ? column * number + (cursors.get(block) ?? 0) : mapAt(block, event);
      if (map === null) return;
      const look = state.look;
      if (!byKey && look?.pinned && look.layer === index && look.map === map) return closePanel();
      pin({ layer: index, map, pinned: true });
      if (!byKey) return;
      const target = panel.querySelector(".net-map") ?? panel.querySelector(".net-close");
      /** @type {HTMLElement | null} */ (target)?.focus({ preventScroll: true });
    });
    button.addEventListener("keydown", (event) => {
      /** @type {Object<string, number>} */
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -tiles, ArrowDown: tiles };
      if (!steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const isHere = state.look?.layer === index && blockOf(state.look) === block;
      const at = (cursors.get(block) ?? 0) + (isHere ? steps[event.key] : 0);
      const map = column * number + Math.min(number - 1, Math.max(0, at));
      pin({ layer: index, map, pinned: true });
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.look) closePanel();
  });
  // On a phone the panel is a sheet, which would lie over what the reader opens below it
  const isSheet = matchMedia("(max-width: 767px)"); // as in page.css
  document.addEventListener("click", ({ target }) => {
    const opens = target instanceof Element && target.closest("summary");
    if (opens && isSheet.matches && state.look?.pinned && !panel.contains(target)) {
      lookAt(null);
      page.touch();
    }
  });

  page.onPass((pass) => {
    const isNew = !last;
    last = pass;
    if (isNew && state.look) lookAt(state.look);
    else drawPanel();
  });

  // The state in the address

  page.addressKey(
    "look",
    () => {
      const look = state.look;
      return look?.pinned ? `${first.layers[look.layer].name}.${look.map + 1}` : null;
    },
    (text) => {
      const [name, map] = (text ?? "").split(".");
      const layer = first.layers.findIndex((shown) => shown.name === name);
      const isMap = /^\d{1,4}$/.test(map ?? "");
      const inRange = isMap && Number(map) >= 1 && Number(map) <= first.layers[layer]?.maps;
      lookAt(inRange ? { layer, map: Number(map) - 1, pinned: true } : null);
    },
  );
  page.addressKey(
    "unit",
    () => {
      const look = state.look;
      if (!look?.pinned || look.unit === undefined) return null;
      const { side } = first.layers[look.layer];
      return `${Math.floor(look.unit / side) + 1},${(look.unit % side) + 1}`;
    },
    (text) => {
      const [row, column] = (/^\d{1,3},\d{1,3}$/.exec(text ?? "")?.[0] ?? "")
        .split(",")
        .map(Number);
      const side = state.look ? first.layers[state.look.layer].side : 0;
      const inRange = Math.min(row, column) >= 1 && Math.max(row, column) <= side;
      if (inRange && state.look) state.look.unit = (row - 1) * side + column - 1;
    },
  );
  page.addressKey(
    "scale",
    () => (state.ownScale ? "own" : null),
    (text) => {
      state.ownScale = text === "own";
    },
  );
})();
