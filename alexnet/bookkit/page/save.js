// What is shown, as a picture to keep: photograph, guesses, maps, caption and credit on one canvas.

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { root, state, one, all, blocks } = page;
  const WIDE = 1000; // in the units that are drawn with
  const SCALE = 2; // pixels for each of them
  const EDGE = 24;
  const STAGE = 250; // width of the photograph

  /**
   * Writes lines of at most a width.
   * @param {CanvasRenderingContext2D} context
   * @param {string} text
   * @param {number} x
   * @param {number} y Of the first line.
   * @param {number} width
   * @returns {number} The height below the last line.
   */
  function write(context, text, x, y, width) {
    const pitch = 1.35 * Number.parseFloat(context.font);
    let line = "";
    for (const word of text.trim().split(/\s+/)) {
      const longer = line ? `${line} ${word}` : word;
      if (line && context.measureText(longer).width > width) {
        context.fillText(line, x, y);
        y += pitch;
        line = word;
      } else line = longer;
    }
    context.fillText(line, x, y);
    return y + pitch;
  }

  /** @param {CanvasRenderingContext2D} context */
  function drawPhotograph(context) {
    context.imageSmoothingQuality = "high";
    context.drawImage(page.view, EDGE, EDGE, STAGE, STAGE);
    const box = one(".net-stage").getBoundingClientRect();
    const factor = STAGE / box.width;
    context.save();
    context.beginPath();
    context.rect(EDGE, EDGE, STAGE, STAGE);
    context.clip();
    const place = (/** @type {Element} */ element) => {
      const { left, top, width, height } = element.getBoundingClientRect();
      return /** @type {[number, number, number, number]} */ ([
        EDGE + (left - box.left) * factor,
        EDGE + (top - box.top) * factor,
        width * factor,
        height * factor,
      ]);
    };
    const over = /** @type {HTMLCanvasElement} */ (one(".net-over"));
    context.imageSmoothingEnabled = false;
    if (!over.hidden) context.drawImage(over, ...place(over));
    if (state.square) {
      const square = one(".net-square");
      const patch = /** @type {HTMLCanvasElement} */ (one("canvas", square));
      context.fillStyle = getComputedStyle(square).backgroundColor;
      if (patch.hidden) context.fillRect(...place(square));
      else context.drawImage(patch, ...place(square));
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5;
      context.strokeRect(...place(square));
    }
    context.restore();
  }

  /** @param {CanvasRenderingContext2D} context @param {string} ink */
  function drawGuesses(context, ink) {
    const [left, bar] = [EDGE + STAGE + 30, 200];
    const wide = WIDE - EDGE - 60 - left - bar;
    context.font = "20px sans-serif";
    context.fillStyle = ink;
    context.fillText(root.querySelector(".net-says")?.textContent ?? "", left, EDGE + 18);
    context.font = "14px sans-serif";
    all(".net-guess").forEach((row, at) => {
      const y = EDGE + 56 + 26 * at;
      context.fillStyle = ink;
      context.textAlign = "right";
      context.fillText(one(".net-word", row).textContent ?? "", left + bar - 10, y, bar - 10);
      context.fillText(one(".net-value", row).textContent ?? "", WIDE - EDGE, y);
      context.textAlign = "left";
      const share = (/** @type {string} */ value) => (wide * Number.parseFloat(value)) / 100;
      context.fillStyle = getComputedStyle(one("i", row)).backgroundColor;
      context.fillRect(left + bar, y - 12, share(one("i", row).style.width), 15);
      context.fillStyle = ink;
      context.fillRect(left + bar + share(one("u", row).style.left), y - 15, 1.5, 21);
    });
    context.font = "13px sans-serif";
    const below = write(
      context,
      one(".net-shows").textContent ?? "",
      left,
      EDGE + 222,
      WIDE - EDGE - left,
    );
    write(context, one(".net-sure").textContent ?? "", left, below, WIDE - EDGE - left);
  }

  /** @param {CanvasRenderingContext2D} context @param {string} ink @param {number} top */
  function drawMaps(context, ink, top) {
    const high = 105;
    const wide = blocks
      .filter(({ column }) => column === 0)
      .map(
        ({ canvas, index }) => (isSingle(index) ? 2.25 : 1) * high * (canvas.width / canvas.height),
      );
    const input = 70;
    const left = wide.reduce((sum, width) => sum + width, input);
    const gap = (WIDE - 2 * EDGE - left) / wide.length;
    context.imageSmoothingEnabled = false;
    context.font = "13px sans-serif";
    context.textAlign = "center";
    context.fillStyle = ink;
    const seen = /** @type {HTMLCanvasElement} */ (one("canvas.net-seen"));
    context.fillText(one(".net-input .net-name").textContent ?? "", EDGE + input / 2, top);
    context.drawImage(seen, EDGE, top + 8 + 1.125 * high - input / 2, input, input);
    let x = EDGE + input + gap;
    wide.forEach((width, index) => {
      const own = blocks.filter((block) => block.index === index);
      context.fillText(page.first.layers[index].name, x + width / 2, top);
      for (const { canvas, column } of own) {
        const height = isSingle(index) ? 2.25 * high : high;
        context.drawImage(canvas, x, top + 8 + column * 1.25 * high, width, height);
      }
      x += width + gap;
    });
    context.textAlign = "left";
    return top + 8 + 2.25 * high;
  }

  /** @param {number} index Of a layer. */
  const isSingle = (index) => page.first.layers[index].columns === 1;

  /** What was changed, in words. */
  function changes() {
    /** @type {Object<string, string>} */
    const names = { lrn: "LRN", crossing: "the crossing in conv3" };
    const cuts = [...state.cuts].filter((cut) => cut !== "dropout");
    const parts = cuts.map((cut) => names[cut] ?? cut.replace(/\.?column/, " column ").trim());
    for (const kernel of state.kernels) parts.push(`kernel ${kernel + 1} of conv1`);
    const away = parts.length ? `Taken away: ${parts.join(", ")}. ` : "";
    return state.cuts.has("dropout") ? `${away}Dropout is left on. ` : away;
  }

  function drawAll() {
    const canvas = document.createElement("canvas");
    canvas.width = WIDE * SCALE;
    canvas.height = 680 * SCALE;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.scale(SCALE, SCALE);
    const style = getComputedStyle(root);
    const ink = style.color;
    context.fillStyle = style.getPropertyValue("--pst-color-background").trim() || "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    drawPhotograph(context);
    drawGuesses(context, ink);
    const below = drawMaps(context, ink, EDGE + STAGE + 34);
    context.fillStyle = ink;
    context.font = "13px sans-serif";
    const caption = `${changes()}${one("figcaption").textContent}`;
    const next = write(context, caption, EDGE, below + 24, WIDE - 2 * EDGE);
    const title = document.querySelector("h1")?.firstChild?.textContent ?? "";
    write(context, `${one(".net-by").textContent} ${title}.`, EDGE, next + 4, WIDE - 2 * EDGE);
    return canvas;
  }

  one(".net-save").addEventListener("click", async () => {
    await page.load();
    if (!page.net()) return;
    const blob = await new Promise((resolve) => drawAll().toBlob(resolve, "image/png"));
    if (!(blob instanceof Blob))
      return page.say("This browser cannot make a PNG of what is shown.");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `alexnet-${state.photograph}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser may still read it
  });
})();
