// Puts together the picture of the chosen stops and changes what differs in the page. What does not differ stays, a
// photograph under moving lines, say, so nothing flickers and what moves can move smoothly.
(() => {
  const root = document.currentScript.closest("figure"), picture = root.querySelector(".explore-picture");
  const data = JSON.parse(root.querySelector("script[type]").textContent), names = Object.keys(data.start);
  const form = document.createElement("form");
  form.autocomplete = "off";
  form.innerHTML = data.inputs;
  picture.after(form);
  const control = name => form.elements.namedItem(name);
  const chosen = () => data.frames[names.reduce((i, name, n) => i * data.sizes[n] + Number(control(name).value), 0)];
  const patch = (now, next) => {
    if (now.nodeName !== next.nodeName || now.childNodes.length !== next.childNodes.length) return now.replaceWith(next);
    if (now.nodeType !== 1) { if (now.data !== next.data) now.data = next.data; return; }
    for (const {name} of [...now.attributes]) if (!next.hasAttribute(name)) now.removeAttribute(name);
    for (const {name, value} of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    const wanted = [...next.childNodes];
    [...now.childNodes].forEach((child, i) => patch(child, wanted[i]));
  };
  const show = changed => {
    if (!chosen()) for (const name of names) if (name !== changed) control(name).value = data.start[name];
    for (const input of form.querySelectorAll("[type=range]")) {
      const stop = JSON.parse(input.dataset.stops)[input.value];
      input.previousElementSibling.textContent = stop;
      input.setAttribute("aria-valuetext", stop);
    }
    const [text, ...numbers] = chosen(), next = picture.cloneNode(false);
    next.innerHTML = data.texts[text].map((piece, i) => piece + (numbers[i] ?? "")).join("");
    patch(picture, next);
  };
  form.addEventListener("input", event => show(event.target.name));
  form.addEventListener("submit", event => event.preventDefault());
  show();
})();
