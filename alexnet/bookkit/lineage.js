// The script of the walk through the runs; alexnet/bookkit/lineage.py puts it into the page.
//
// Next to the script stands its data as JSON, written by Walk.to_html():
//   start   the index of the run to begin with
//   nodes   the runs: their name, error, what changed, facts (headings and texts), and the indices
//           of their parents
//   map     the markup of the drawing of all runs, and
//   places  where each of them is in it

(() => {
  // What only those look up who have the source beside them: folded.
  const SOURCE = ["to be known", "lines", "parent", "file"];
  const KEYS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];

  function start(root, { start: first, nodes, map, places }) {
    const walk = root.querySelector(".lineage-walk");
    const childrenOf = nodes.map((_, i) =>
      [...nodes.keys()].filter((child) => nodes[child].parents.includes(i))
    );
    const width = 360;
    const height = Math.max(...places.map(([, y]) => y)) + 8;
    let chosen = first;

    // A page that a browser saved holds the walk of then, which this replaces.
    walk.innerHTML = `
      <svg viewBox="0 0 ${width} ${height}" aria-hidden="true">${map}
        <path fill="none" stroke="var(--accent)" stroke-width="2"/>
        <circle r="5.5" fill="#e08a00" stroke="#000"/></svg>
      <div class="lineage-runs"></div>
      <div class="lineage-run" role="group" tabindex="0"></div>
      <div class="lineage-runs"></div>
      <label>any run <select></select></label>`;
    // Otherwise JupyterLab takes the arrow keys for its own shortcuts.
    walk.dataset.lmSuppressShortcuts = "true";
    const [above, below] = walk.querySelectorAll(".lineage-runs");
    const drawing = walk.querySelector("svg");
    const card = walk.querySelector(".lineage-run");
    const select = walk.querySelector("select");
    select.append(...nodes.map((node, i) => new Option(node.name, i)));

    function tag(name, text) {
      const made = document.createElement(name);
      made.textContent = text;
      return made;
    }

    function listRuns(box, title, runs) {
      const buttons = runs.map((i) => {
        const button = tag("button", "");
        button.type = "button";
        const { name, error, changed } = nodes[i];
        button.append(tag("b", name), tag("span", error), tag("small", changed));
        button.addEventListener("click", () => show(i, true));
        return button;
      });
      box.replaceChildren(tag("p", title), ...buttons);
    }

    // The points of the line from the first run to this one.
    function pathTo(i) {
      const parent = nodes[i].parents[0];
      return parent === undefined ? [places[i]] : [...pathTo(parent), places[i]];
    }

    function show(i, focus) {
      chosen = i;
      const { name, error, changed, facts, parents } = nodes[i];
      listRuns(above, parents.length ? "developed from" : "the first of its line", parents);
      listRuns(below, childrenOf[i].length ? "led to" : "the last of its line", childrenOf[i]);
      const list = document.createElement("dl");
      const source = document.createElement("dl");
      for (const [heading, text] of facts) {
        const its = SOURCE.includes(heading) ? source : list;
        its.append(tag("dt", heading), tag("dd", text));
      }
      const folded = document.createElement("details");
      folded.open = card.querySelector("details")?.open ?? false;
      folded.append(tag("summary", "source"), source);
      const title = tag("p", "");
      title.append(tag("b", name), tag("span", error));
      card.replaceChildren(title, tag("p", changed), list, folded);
      card.setAttribute("aria-label", `run ${name}`);
      select.value = i;
      const [x, y] = places[i];
      drawing.lastElementChild.setAttribute("cx", x);
      drawing.lastElementChild.setAttribute("cy", y);
      const line = pathTo(i).map((place) => place.join(" ")).join("L");
      drawing.querySelector("path:last-of-type").setAttribute("d", `M${line}`);
      // The button that was pressed is gone: the focus goes to what it has led to.
      if (focus) card.focus({ preventScroll: true });
    }

    select.addEventListener("change", () => show(Number(select.value)));
    drawing.addEventListener("click", (event) => {
      const box = drawing.getBoundingClientRect();
      const scale = width / box.width;
      const x = (event.clientX - box.x) * scale;
      const y = (event.clientY - box.y) * scale;
      const distances = places.map((place) => Math.hypot(place[0] - x, place[1] - y));
      show(distances.indexOf(Math.min(...distances)));
    });
    walk.addEventListener("keydown", (event) => {
      if (!KEYS.includes(event.key)) return;
      // Otherwise VS Code goes to the next cell as well.
      event.stopPropagation();
      if (event.target === select) return;
      event.preventDefault();
      const [up, down, left, right] = KEYS.map((key) => key === event.key);
      let next;
      if (up) next = nodes[chosen].parents[0];
      if (down) next = childrenOf[chosen][0];
      if (left) next = chosen - 1;
      if (right) next = chosen + 1;
      if (nodes[next]) show(next, true);
    });
    show(first);
    root.classList.add("lineage-live");
  }

  // Every one that is complete and not started yet, as in explore.js.
  for (const root of document.querySelectorAll("figure.lineage")) {
    const data = root.querySelector("script[type='application/json']");
    if (data && !root.walkStarted) {
      root.walkStarted = true;
      start(root, JSON.parse(data.textContent));
    }
  }
})();
