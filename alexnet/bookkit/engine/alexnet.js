// The net on the page. This script is all that a page includes; it loads the rest on demand, by
// script elements, which work from a folder as well (fetch and modules do not), and lets the engine
// compute in a worker made from its own text. CONTRIBUTING.md describes window.alexnet.

(() => {
  const scriptElement = /** @type {HTMLScriptElement} */ (document.currentScript);
  // A page that holds all scripts in itself, such as an output in a notebook, has no folder.
  const base = scriptElement.src && new URL(".", scriptElement.src).href;

  /** What other scripts have handed over, by name: kernel.js, and the files of a net. */
  /** @type {Map<string, any>} */
  const received = new Map();
  /** @type {Map<string, Promise<void>>} */
  const loading = new Map();

  /**
   * Runs a script of this folder, once.
   * @param {string} path
   * @returns {Promise<void>}
   */
  function loadScript(path) {
    const begun = loading.get(path);
    if (begun) return begun;
    if (document.querySelector(`script[data-path="${path}"]`)) return Promise.resolve(); // has run
    const loaded = new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.charset = "utf-8";
      element.src = base + path;
      element.onload = () => resolve(undefined);
      element.onerror = () => {
        loading.delete(path); // so that the next attempt asks for it again
        reject(new Error(`alexnet: ${path} cannot be loaded`));
      };
      document.head.append(element);
    });
    loading.set(path, loaded);
    return loaded;
  }

  /** A net in a worker of its own. */
  class PageNet {
    constructor() {
      const text = `(${alexnetEngine})();`;
      this.worker = scriptElement.src ? PageNet.workerOfBlob(text) : PageNet.workerOfData(text);
      this.calls = 0;
      /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
      this.waiting = new Map();
      /** @type {Computation} */
      this.computation = { engine: "JavaScript", notice: "" };
      this.worker.onmessage = ({ data: { id, result, error } }) => {
        const call = this.waiting.get(id);
        this.waiting.delete(id);
        if (error) call?.reject(new Error(`alexnet: ${error}`));
        else call?.resolve(result);
      };
      this.worker.onerror = (event) => this.fail(`the worker ended: ${event.message}`);
    }

    /** @param {string} text */
    static workerOfBlob(text) {
      const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      const worker = new Worker(address);
      // Not at once, since a browser may still be about to read it.
      const forget = () => URL.revokeObjectURL(address);
      worker.addEventListener("message", forget, { once: true });
      return worker;
    }

    /** VS Code allows no other in an output of a notebook. @param {string} text */
    static workerOfData(text) {
      return new Worker(`data:text/javascript;charset=utf-8,${encodeURIComponent(text)}`);
    }

    /** @param {string} reason */
    fail(reason) {
      for (const { reject } of this.waiting.values()) reject(new Error(`alexnet: ${reason}`));
      this.waiting.clear();
    }

    /**
     * @param {string} method
     * @param {...unknown} values
     * @returns {Promise<any>}
     */
    call(method, ...values) {
      const id = this.calls++;
      return new Promise((resolve, reject) => {
        this.waiting.set(id, { resolve, reject });
        this.worker.postMessage({ id, method, values });
      });
    }

    /**
     * The forward pass, and the backward pass if gradients are asked for.
     * @param {Uint8Array | Float32Array} images Bytes [image][row][column][color], which are
     *     cropped and normalized; or what the net takes, [image][color][row][column].
     * @param {RunOptions} [options]
     * @returns {Promise<RunResult>}
     */
    run(images, options = {}) {
      return this.call("run", images, options);
    }

    /**
     * A step of stochastic gradient descent.
     * @param {Uint8Array | Float32Array} images
     * @param {ArrayLike<number>} labels
     * @param {TrainOptions} options
     * @returns {Promise<{loss: number, correct: number}>}
     */
    train(images, labels, options) {
      return this.call("train", images, labels, options);
    }

    /** @returns {Promise<Object<string, Tensor>>} */
    parameters() {
      return this.call("parameters");
    }

    /**
     * @param {number} number Dropout drops the same values after the same number.
     * @returns {Promise<void>}
     */
    seed(number) {
      return this.call("seed", number);
    }

    close() {
      this.worker.terminate();
      this.fail("the net was closed");
    }
  }

  /**
   * The kernel in base64, or nothing for plain JavaScript.
   * @param {{plain?: boolean}} options
   */
  async function loadEngine({ plain }) {
    await Promise.all([loadScript("engine.js"), plain ? null : loadScript("kernel.js")]);
    return plain ? "" : received.get("kernel");
  }

  /**
   * A net of any layers.
   * @param {NetDescription} description
   * @param {Object<string, Float32Array>} parameters By names such as "conv1.weight".
   * @param {{plain?: boolean}} [options] plain: in JavaScript, without the kernel.
   * @returns {Promise<PageNet>}
   */
  async function createNet(description, parameters, options = {}) {
    const kernel = await loadEngine(options);
    const net = new PageNet();
    try {
      net.computation = await net.call("create", description, parameters, kernel);
    } catch (error) {
      net.close();
      throw error;
    }
    return net;
  }

  /**
   * Loads a net that is stored beside the page, and tests it.
   * @param {string} name Such as "tiny-imagenet".
   * @param {{plain?: boolean, onProgress?: (fraction: number) => void}} [options]
   * @returns {Promise<LoadedNet>}
   */
  async function loadNet(name, options = {}) {
    const { onProgress = () => {} } = options;
    onProgress(0);
    const engine = loadEngine(options);
    await Promise.all([engine, loadScript(`nets/${name}/net.js`)]);
    /** @type {StoredNet} */
    const stored = received.get(name);
    const numbers = Array.from({ length: stored.parts }, (_, i) => i + 1);
    let arrived = 0;
    await Promise.all(
      numbers.map(async (number) => {
        await loadScript(`nets/${name}/weights-${number}.js`);
        arrived++;
        onProgress(arrived / (stored.parts + 1)); // the last part is to start the net
      }),
    );
    const text = numbers.map((number) => received.get(`${name}/${number}`)).join("");
    const net = new PageNet();
    try {
      net.computation = await net.call("load", stored, text, await engine);
    } catch (error) {
      net.close();
      throw error;
    }
    onProgress(1);
    const { card, preprocessing } = stored;
    return { name, net, card, preprocessing, ...net.computation };
  }

  /**
   * @typedef {{name: string, net: PageNet, card: Object<string, any>,
   *     preprocessing: Preprocessing} & Computation} LoadedNet
   */

  /** @type {(loaded: LoadedNet) => void} */
  let setReady = () => {};
  /** @type {Promise<LoadedNet>} */
  const ready = new Promise((resolve) => {
    setReady = resolve;
  });
  /** @type {Promise<LoadedNet> | null} */
  let current = null;

  /** @returns {Promise<PageNet>} */
  async function loadedNet() {
    if (!current) throw new Error("alexnet: no net is loaded: call alexnet.load first");
    return (await current).net;
  }

  // An assignment to window.alexnet would need a declaration for the type checker.
  Object.assign(window, {
    alexnet: {
      ready,
      createNet,

      /** @type {typeof loadNet} */
      load(name, options) {
        current = loadNet(name, options);
        current.then(setReady, () => {});
        return current;
      },

      /**
       * @param {Uint8Array} pixels [image][row][column][color]
       * @returns {Promise<Float32Array>} The logits, [image][class].
       */
      async forward(pixels) {
        const { logits } = await (await loadedNet()).run(pixels);
        return logits.data;
      },

      /** @type {PageNet["run"]} */
      async run(images, options) {
        return (await loadedNet()).run(images, options);
      },

      /**
       * Called by the scripts that are loaded.
       * @param {string} name
       * @param {any} value
       */
      receive(name, value) {
        received.set(name, value);
      },
    },
  });
})();
