// The camera: its frames are the photograph while it runs, and Freeze keeps one. Nothing of it
// leaves the browser.

(() => {
  /** @type {NetPage | undefined} */
  const netPage = /** @type {any} */ (window).netPage;
  if (!netPage) return;
  const page = netPage;
  const { state, one } = page;
  const PAUSE = 100; // milliseconds from one frame to the next, at least
  const PATIENCE = 2000; // milliseconds that an answer may take before the next frame is shown
  const stage = one(".net-stage");

  /** @param {string} text @param {string} name @param {() => void} act */
  function makeButton(text, name, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = name;
    button.textContent = text;
    button.addEventListener("click", act);
    return button;
  }

  const button = makeButton("Camera", "net-camera", () => open());
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.setAttribute("aria-label", "what the camera sees");
  const bar = document.createElement("div");
  bar.className = "net-camera-bar";
  const freezeButton = makeButton("Freeze", "net-freeze", freeze);
  bar.append(
    freezeButton,
    makeButton("Close", "net-camera-close", () => close()),
  );
  // Else the gray square would be put down there.
  for (const kind of ["pointerdown", "pointermove", "pointerup"]) {
    bar.addEventListener(kind, (event) => event.stopPropagation());
  }
  const phone = document.createElement("input"); // the phone's own camera
  phone.type = "file";
  phone.accept = "image/*";
  phone.setAttribute("capture", "environment");
  phone.setAttribute("aria-label", "a photograph from the camera");
  phone.className = "net-phone";
  phone.hidden = true;
  page.slot("camera").append(button, phone);

  /**
   * What was shown before the camera was opened.
   * @typedef {{picture: NetPicture | null, photograph: string, crop: Crop, mirrored: boolean,
   *     credit: Node[]}} Shown
   */

  /** @type {MediaStream | null} */
  let stream = null;
  /** @type {Shown | null} */
  let before = null;
  /** The frame that is shown. @type {NetPicture | null} */
  let frame = null;
  let isOpening = false;
  let answered = () => {};

  /** @param {unknown} error Of getUserMedia. */
  function sentenceFor(error) {
    const name = error instanceof Error ? error.name : "";
    /** @type {Object<string, string>} */
    const sentences = {
      NotAllowedError: "The camera was refused: allow it for this page in the browser's settings.",
      NotFoundError: "No camera was found: choose a photograph instead.",
      NotReadableError: "The camera gives no picture: another program may be using it.",
    };
    return sentences[name] ?? `The camera cannot be opened: ${name || error}.`;
  }

  async function open() {
    if (stream || isOpening) return;
    const devices = navigator.mediaDevices;
    if (!devices?.getUserMedia) {
      if (matchMedia("(pointer: coarse)").matches) phone.click();
      else page.say("The camera opens only in pages from https or from a folder: choose a file.");
      return;
    }
    isOpening = true;
    page.say("");
    try {
      // On a phone the camera on its back
      const given = await devices.getUserMedia({ video: { facingMode: "environment" } });
      await show(given);
    } catch (error) {
      stopTracks();
      page.say(sentenceFor(error));
    } finally {
      isOpening = false;
    }
  }

  /** @param {MediaStream} given */
  async function show(given) {
    stream = given;
    for (const track of given.getTracks()) {
      track.addEventListener("ended", () => {
        if (stream === given) close("The camera was taken away.");
      });
    }
    video.srcObject = given;
    await video.play();
    await page.load();
    if (stream !== given) return;
    if (document.hidden) return stopTracks();
    before = {
      picture: page.picture(),
      photograph: state.photograph,
      crop: { ...state.crop },
      mirrored: state.mirrored,
      credit: [...one(".net-by").childNodes].map((node) => node.cloneNode(true)),
    };
    page.view.after(video);
    stage.append(bar);
    button.setAttribute("aria-pressed", "true");
    stage.scrollIntoView({ block: "nearest" }); // on a phone the button lies far below it
    freezeButton.focus({ preventScroll: true });
    frame = before.picture;
    live(given);
  }

  /** Shows the frames to the net, each when it has answered to the one before. */
  async function live(/** @type {MediaStream} */ given) {
    while (stream === given) {
      if (page.picture() !== frame) return leave(); // another photograph was chosen meanwhile
      frame = new NetPicture(video, video.videoWidth, video.videoHeight);
      const { promise, resolve } = withResolver();
      answered = resolve;
      await choose(frame, "What the camera sees.");
      await Promise.race([promise, wait(PATIENCE)]);
      await wait(PAUSE);
    }
  }

  function withResolver() {
    let resolve = () => {};
    /** @type {Promise<void>} */
    const promise = new Promise((done) => {
      resolve = done;
    });
    return { promise, resolve };
  }

  /** @param {number} time */
  const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));

  /** @param {NetPicture} picture @param {string} credit @param {() => void} [then] */
  const choose = (picture, credit, then) =>
    page.choosePicture("The camera's picture", async () => picture, credit, then);

  function stopTracks() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
  }

  /** Takes the camera off the page; what is shown stays. */
  function leave() {
    const hadFocus = bar.contains(document.activeElement);
    stopTracks();
    video.remove();
    bar.remove();
    button.removeAttribute("aria-pressed");
    if (hadFocus) button.focus({ preventScroll: true });
  }

  function freeze() {
    const picture = new NetPicture(video, video.videoWidth, video.videoHeight);
    leave();
    choose(picture, "Your photograph, from the camera.");
  }

  /** Closes the camera, and shows again what was there. @param {string} [reason] */
  function close(reason = "") {
    if (!stream) return;
    const shown = before;
    leave();
    if (!shown?.picture) return;
    const { photograph, crop, mirrored, credit } = shown;
    choose(shown.picture, "", () => {
      Object.assign(state, { photograph, crop, mirrored });
      one(".net-by").replaceChildren(...credit);
      page.say(reason);
    });
  }

  phone.addEventListener("change", () => {
    const [file] = phone.files ?? [];
    phone.value = ""; // so that the same one can be chosen again
    if (!file) return;
    const read = () => NetPicture.fromFile(file);
    page.choosePicture("The picture", read, "Your photograph, from the camera.");
  });
  addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !stream) return;
      event.stopPropagation(); // the square stays
      close();
    },
    { capture: true },
  );
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
  });
  addEventListener("pagehide", () => close());
  // Another photograph is chosen, which takes a while to be read: no frame may come between.
  for (const kind of ["drop", "paste", "hashchange"]) {
    addEventListener(kind, () => stream && leave(), { capture: true });
  }
  one(".net-samples").addEventListener(
    "click",
    (event) => {
      const target = /** @type {Element} */ (event.target);
      if (stream && target.closest("button:not(.net-camera)")) leave();
    },
    { capture: true },
  );
  page.onPass(() => answered());
})();
