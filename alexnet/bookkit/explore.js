// The script of an explorer. alexnet/bookkit/explore.py puts this file into the page, without its
// comments and its indentation; so a comment must stand on a line of its own.
//
// Next to the script stands its data as JSON, written by Explorer.to_html():
//   start   the stop that each choice begins at, by the choice's name
//   sizes   how many stops each choice has
//   inputs  the sliders and buttons as HTML
//   texts   the drawings, each cut where its numbers stand
//   frames  for each combination of stops the index of its text, and its numbers; or null

(() => {
  const MOVING_KEYS = /^(Arrow|Home|End|Page)/;

  // Makes the inputs of an explorer, and lets them choose its picture.
  function start(root, data) {
    const picture = root.querySelector(".explore-picture");
    const names = Object.keys(data.start);

    // A page that a browser saved while it was open holds the form of then.
    root.querySelector("form")?.remove();

    const form = document.createElement("form");
    // Otherwise a browser restores the inputs when the page is loaded again, and not the picture.
    form.autocomplete = "off";
    // Otherwise JupyterLab takes the keys that move a slider for its own shortcuts.
    form.dataset.lmSuppressShortcuts = "true";
    form.innerHTML = data.inputs;
    picture.after(form);

    // A slider, or a group of buttons: either has the chosen stop as its value.
    function input(name) {
      return form.elements.namedItem(name);
    }

    // The frames stand in the order of itertools.product: the last choice varies fastest.
    function frameAt(stops) {
      let index = 0;
      names.forEach((name, i) => {
        index = index * data.sizes[i] + Number(stops[name]);
      });
      return data.frames[index];
    }

    function chosenStops() {
      return Object.fromEntries(names.map((name) => [name, input(name).value]));
    }

    function chosenFrame() {
      return frameAt(chosenStops());
    }

    function toHTML([text, ...numbers]) {
      const pieces = data.texts[text];
      return pieces.map((piece, i) => piece + (numbers[i] ?? "")).join("");
    }

    // Turns one node into another by changing only what differs. A photograph under moving lines
    // stays, so nothing flickers, and what moves can move smoothly.
    function patch(now, next) {
      const sameName = now.nodeName === next.nodeName;
      const sameLength = now.childNodes.length === next.childNodes.length;
      if (!sameName || !sameLength) {
        now.replaceWith(next);
        return;
      }
      if (now.nodeType !== Node.ELEMENT_NODE) {
        if (now.data !== next.data) now.data = next.data;
        return;
      }
      for (const { name } of [...now.attributes]) {
        if (!next.hasAttribute(name)) now.removeAttribute(name);
      }
      for (const { name, value } of next.attributes) {
        if (now.getAttribute(name) !== value) now.setAttribute(name, value);
      }
      // Copies of both lists, since a node that replaces another one leaves its own list.
      const nowChildren = [...now.childNodes];
      const nextChildren = [...next.childNodes];
      nowChildren.forEach((child, i) => patch(child, nextChildren[i]));
    }

    // The value of a slider, for the eye and for screen readers, which would read out its index.
    function labelSliders() {
      for (const slider of form.querySelectorAll("[type=range]")) {
        const value = JSON.parse(slider.dataset.stops)[slider.value];
        slider.previousElementSibling.textContent = value;
        slider.setAttribute("aria-valuetext", value);
      }
    }

    // A picture that grows would move the slider away under the finger that drags it. So there is
    // room for the tallest picture that any one input can bring.
    function reserveHeight() {
      const width = picture.clientWidth;
      if (!width) return;
      const probes = [];
      names.forEach((name, i) => {
        for (let stop = 0; stop < data.sizes[i]; stop++) {
          const frame = frameAt({ ...chosenStops(), [name]: stop });
          if (!frame) continue;
          const probe = picture.cloneNode(false);
          probe.style.cssText = `position: absolute; visibility: hidden; width: ${width}px`;
          probe.innerHTML = toHTML(frame);
          probes.push(probe);
        }
      });
      // All at once, so that the page is laid out once.
      picture.after(...probes);
      const heights = probes.map((probe) => probe.getBoundingClientRect().height);
      const tallest = Math.max(parseFloat(picture.style.minHeight) || 0, ...heights);
      for (const probe of probes) probe.remove();
      picture.style.minHeight = `${tallest}px`;
    }

    function show(changedName) {
      // Of too many figures only those are drawn in which one choice differs from the start.
      if (!chosenFrame()) {
        for (const name of names) {
          if (name !== changedName) input(name).value = data.start[name];
        }
      }
      labelSliders();
      const next = picture.cloneNode(false);
      next.innerHTML = toHTML(chosenFrame());
      patch(picture, next);
    }

    // A part of the drawing with `data-drags` is dragged. It names two choices, the one that is
    // moved across and the one that is moved down, by a stop for each unit of the drawing.
    function drag(event) {
      const part = event.target.closest("[data-drags]");
      if (!part || event.button) return;
      event.preventDefault();
      const unit = part.ownerSVGElement.getScreenCTM().a;
      const inputs = part.dataset.drags.split(" ").map(input);
      const from = inputs.map((slider) => Number(slider.value));

      function follow({ clientX, clientY }) {
        const moved = [clientX - event.clientX, clientY - event.clientY];
        inputs.forEach((slider, i) => {
          slider.value = from[i] + Math.round(moved[i] / unit);
        });
        show();
      }

      picture.setPointerCapture(event.pointerId);
      picture.addEventListener("pointermove", follow);
      const drop = () => picture.removeEventListener("pointermove", follow);
      picture.addEventListener("lostpointercapture", drop, { once: true });
    }

    picture.addEventListener("pointerdown", drag);
    form.addEventListener("input", (event) => show(event.target.name));
    // A single input has shown all that it can bring when the page was laid out.
    if (names.length > 1) form.addEventListener("change", reserveHeight);
    form.addEventListener("submit", (event) => event.preventDefault());
    // Otherwise VS Code goes to the next cell as well, when such a key moves a slider.
    form.addEventListener("keydown", (event) => {
      if (MOVING_KEYS.test(event.key)) event.stopPropagation();
    });
    show();
    let width = 0;
    new ResizeObserver(() => {
      if (picture.clientWidth === width) return;
      width = picture.clientWidth;
      picture.style.minHeight = "";
      reserveHeight();
    }).observe(picture);
  }

  // Starts every explorer that is complete and not started yet, and not just the one around the
  // script: notebooks put outputs into a page that exists, where a script runs as a copy in any
  // place, or outside of the figure (VS Code), or where document.currentScript is null.
  for (const root of document.querySelectorAll("figure.explore")) {
    const data = root.querySelector("script[type='application/json']");
    // A property, since an attribute would be saved with the page and keep the saved page still.
    if (data && !root.explorerStarted) {
      root.explorerStarted = true;
      start(root, JSON.parse(data.textContent));
    }
  }
})();
