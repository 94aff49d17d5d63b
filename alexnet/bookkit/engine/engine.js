// The engine: a net's forward and backward pass and its training, equal to PyTorch's, in a browser.
//
// alexnet.js puts the text of the function below into a worker, so it uses nothing from outside of
// itself. Within the engine the values of a layer lie as [image][row][column][map], so that the
// maps at one position are neighbors in memory; all that goes in or out is in PyTorch's order,
// [image][map][row][column].

/**
 * A layer of a net, as alexnet/bookkit/export.py describes a module of PyTorch.
 * @typedef {object} LayerDescription
 * @property {string} name Such as "conv1".
 * @property {string} type A key of LAYERS below.
 * @property {number} [out] Maps of a convolution, or units of a linear layer.
 * @property {number} [kernel] Height and width of the window.
 * @property {number} [stride]
 * @property {[number, number]} [padding] Zeros left and above, and right and below.
 * @property {number} [groups] Of a convolution, or of local response normalization.
 * @property {boolean} [ceil] Whether pooling windows may hang over the edge.
 * @property {number} [size] Of local response normalization: maps in the sum.
 * @property {number} [alpha]
 * @property {number} [beta]
 * @property {number} [k]
 * @property {number} [p] Probability that dropout sets a value to zero.
 */

/**
 * @typedef {object} NetDescription
 * @property {[number, number, number]} input Maps (channels), rows and columns of an image.
 * @property {number} [columns] How many columns the maps are split into, as on the GPUs of 2012.
 * @property {LayerDescription[]} layers
 */

/**
 * Parts of the net to take away.
 * @typedef {object} Cuts
 * @property {Object<string, number[]>} [maps] Of a layer, by its name: these maps become zero.
 * @property {number[]} [columns] Of every convolution, the maps of these columns become zero.
 * @property {string[]} [layers] These layers pass on what they are given.
 * @property {Object<string, [number, number][]>} [crossings] Of a convolution or linear layer, by
 *     its name: the weights from one column to another, [from, to], become zero.
 */

/**
 * @typedef {object} RunOptions
 * @property {string[]} [maps] Layers whose maps to return.
 * @property {string[]} [gradients] What to return gradients at: "input", or a layer by its name,
 *     which stands for its maps, or "conv1.weight" and "conv1.bias".
 * @property {ArrayLike<number>} [labels] The class of each image: the gradients are those of the
 *     cross-entropy, averaged over the images.
 * @property {{layer: string, upstream: Float32Array}} [of] Instead of labels: the gradients are
 *     those of the sum of a layer's maps, each times a number.
 * @property {Cuts} [cuts]
 * @property {boolean} [training] Whether dropout drops.
 */

/** @typedef {{shape: number[], data: Float32Array}} Tensor */

/**
 * @typedef {object} RunResult
 * @property {Tensor} logits The maps of the last layer, (images, classes).
 * @property {number} [loss] The cross-entropy, averaged over the images, if labels were given.
 * @property {Object<string, Tensor>} maps
 * @property {Object<string, Tensor>} gradients
 */

/**
 * @typedef {object} TrainOptions
 * @property {number} lr Learning rate.
 * @property {number} [momentum]
 * @property {number} [weightDecay]
 * @property {Cuts} [cuts]
 */

/**
 * How bytes become what the net takes.
 * @typedef {object} Preprocessing
 * @property {number} resize Height and width of an image in pixels.
 * @property {number} crop Height and width of its center, which the net sees.
 * @property {number} offset Pixels left of the center, and above it.
 * @property {string} mean Base64 of float32, one for each color or for each number of the center.
 * @property {string} std Base64 of float32, one for each color.
 */

/**
 * A net as alexnet/bookkit/export.py writes it. The integers of all weights are a text of their
 * own.
 * @typedef {object} StoredNet
 * @property {NetDescription} description
 * @property {Preprocessing} preprocessing
 * @property {{name: string, length: number, encoding: {bits: number, scale: string}}[]} weights
 * @property {{name: string, values: string}[]} biases
 * @property {{pixels: string, logits: string}} selfTest An image and its logits in PyTorch.
 * @property {number} parts How many files the text of the weights is split into.
 * @property {Object<string, any>} card What is known of the net, such as the names of its classes.
 */

/**
 * What a net runs in, and a sentence for the reader if it is not what it should be.
 * @typedef {{engine: "WebAssembly" | "JavaScript", notice: string}} Computation
 */

/**
 * The two functions of kernel.c, on floats of one memory, at places that are given in floats.
 * gemm: C += A · B, where A's element (i, p) lies at a + i * aRow + p * aColumn.
 * unroll: the windows of an image as rows of a matrix, or the rows added back to the image.
 * @typedef {object} Kernel
 * @property {(m: number, n: number, k: number, a: number, aRow: number, aColumn: number,
 *     b: number, bRow: number, c: number, cRow: number) => void} gemm
 * @property {(image: number, windows: Windows, rows: number, inward: boolean) => void} unroll
 */

/**
 * The windows of a convolution, for one group of maps.
 * @typedef {object} Windows
 * @property {number} height Of the image.
 * @property {number} width
 * @property {number} maps
 * @property {number} mapCount Maps of the group.
 * @property {number} run Columns of a window that lie in one run of memory: all or one.
 * @property {number} kernelRows
 * @property {number} kernelColumns
 * @property {number} outRows Positions of the window.
 * @property {number} outColumns
 * @property {number} stride
 * @property {number} before Zeros left of the image, and above it.
 */

// biome-ignore lint/correctness/noUnusedVariables: alexnet.js takes its text.
function alexnetEngine() {
  const FORWARD_BATCH = 16; // images at a time where no gradient is asked for
  const KERNEL_FLOATS = 2048; // that kernel.c packs numbers into, at the beginning of the memory
  const PAGE = 65536; // bytes of WebAssembly's memory
  /** @type {Float32Array} */
  const EMPTY = new Float32Array(0); // until there is memory

  /** What a net needs buffers for; each includes the one before it. */
  const FOR_FORWARD = 0;
  const FOR_MAP_GRADIENTS = 1;
  const FOR_TRAINING = 2;

  /** @type {(condition: unknown, message: string) => asserts condition} */
  function check(condition, message) {
    if (!condition) throw new Error(message);
  }

  /** @param {number[]} shape */
  const volume = (shape) => shape.reduce((product, side) => product * side, 1);

  // Memory and matrix multiplication

  /** One block of memory for all numbers of a net, which are reserved first and then allocated. */
  class Memory {
    constructor() {
      this.length = KERNEL_FLOATS;
      /** @type {((heap: Float32Array) => void)[]} */
      this.assignments = [];
    }

    /**
     * @param {number} length In floats.
     * @param {(view: Float32Array) => void} assign Is given the floats once they are there.
     */
    reserve(length, assign) {
      const start = this.length;
      this.length += Math.ceil(length / 4) * 4; // vectors are aligned
      this.assignments.push((heap) => assign(heap.subarray(start, start + length)));
    }

    /**
     * @param {WebAssembly.Module | null} module
     * @returns {Kernel}
     */
    allocate(module) {
      if (!module) {
        const heap = new Float32Array(this.length);
        for (const assign of this.assignments) assign(heap);
        return plainKernel(heap);
      }
      const pages = Math.ceil((4 * this.length) / PAGE);
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
      const heap = new Float32Array(memory.buffer);
      for (const assign of this.assignments) assign(heap);
      const { exports } = new WebAssembly.Instance(module, { env: { memory } });
      const { gemm, unroll } = /** @type {Object<string, (...values: number[]) => void>} */ (
        /** @type {unknown} */ (exports)
      );
      return {
        gemm: (m, n, k, a, aRow, aColumn, b, bRow, c, cRow) =>
          gemm(m, n, k, 4 * a, aRow, aColumn, 4 * b, bRow, 4 * c, cRow, 0),
        unroll: (image, w, rows, inward) =>
          // biome-ignore format: in the order of kernel.c
          unroll(4 * image, w.height, w.width, w.maps, w.mapCount, w.run, w.kernelRows,
            w.kernelColumns, w.outRows, w.outColumns, w.stride, w.before, 4 * rows, Number(inward)),
      };
    }
  }

  /** @param {Float32Array} view The place of its first float in the memory, in floats. */
  const place = (view) => view.byteOffset / 4;

  /**
   * kernel.c in JavaScript, without its packing and in tiles of 2 × 4.
   * @param {Float32Array} heap
   * @returns {Kernel}
   */
  function plainKernel(heap) {
    /** @type {Kernel["gemm"]} */
    function gemm(m, n, k, a, aRow, aColumn, b, bRow, c, cRow) {
      const wholeRows = m - (m % 2);
      const wholeColumns = n - (n % 4);
      for (let j = 0; j < wholeColumns; j += 4) {
        for (let i = 0; i < wholeRows; i += 2) {
          const first = c + i * cRow + j;
          const second = first + cRow;
          let c00 = heap[first];
          let c01 = heap[first + 1];
          let c02 = heap[first + 2];
          let c03 = heap[first + 3];
          let c10 = heap[second];
          let c11 = heap[second + 1];
          let c12 = heap[second + 2];
          let c13 = heap[second + 3];
          let at = a + i * aRow;
          let from = b + j;
          for (let p = 0; p < k; p++) {
            const a0 = heap[at];
            const a1 = heap[at + aRow];
            const b0 = heap[from];
            const b1 = heap[from + 1];
            const b2 = heap[from + 2];
            const b3 = heap[from + 3];
            c00 += a0 * b0;
            c01 += a0 * b1;
            c02 += a0 * b2;
            c03 += a0 * b3;
            c10 += a1 * b0;
            c11 += a1 * b1;
            c12 += a1 * b2;
            c13 += a1 * b3;
            at += aColumn;
            from += bRow;
          }
          heap[first] = c00;
          heap[first + 1] = c01;
          heap[first + 2] = c02;
          heap[first + 3] = c03;
          heap[second] = c10;
          heap[second + 1] = c11;
          heap[second + 2] = c12;
          heap[second + 3] = c13;
        }
      }
      // The columns and the row that the tiles leave
      for (let i = 0; i < m; i++) {
        const line = c + i * cRow;
        const start = i < wholeRows ? wholeColumns : 0;
        for (let p = 0; start < n && p < k; p++) {
          const factor = heap[a + i * aRow + p * aColumn];
          const from = b + p * bRow;
          for (let j = start; j < n; j++) heap[line + j] += factor * heap[from + j];
        }
      }
    }

    /** @type {Kernel["unroll"]} */
    function unroll(image, w, rows, inward) {
      const line = w.kernelColumns * w.mapCount;
      let at = rows;
      for (let row = 0; row < w.outRows; row++) {
        for (let column = 0; column < w.outColumns; column++) {
          const left = column * w.stride - w.before;
          const from = Math.max(0, left);
          const to = Math.min(w.width, left + w.kernelColumns);
          for (let i = 0; i < w.kernelRows; i++, at += line) {
            const y = row * w.stride - w.before + i;
            const inside = y >= 0 && y < w.height && from < to;
            if (inward && (!inside || to - from < w.kernelColumns)) heap.fill(0, at, at + line);
            for (let x = from; inside && x < to; x += w.run) {
              const place = image + (y * w.width + x) * w.maps;
              const start = at + (x - left) * w.mapCount;
              const length = (w.run === 1 ? 1 : to - from) * w.mapCount;
              if (inward) heap.copyWithin(start, place, place + length);
              else for (let j = 0; j < length; j++) heap[place + j] += heap[start + j];
            }
          }
        }
      }
    }

    return { gemm, unroll };
  }

  // Layers. Each has two passes: forward(x, y, n) computes the maps y of n images from x, and
  // backward(x, y, dy, dx, n, learn) the gradient dx at x from dy at y, where dx is not null, and
  // those at the layer's parameters, if learn.

  class Layer {
    /**
     * @param {LayerDescription} description
     * @param {number[]} inShape [rows, columns, maps]
     */
    constructor(description, inShape) {
      this.name = description.name;
      this.inShape = inShape;
      this.outShape = inShape;
      /** Whether dropout drops. */
      this.training = false;
      /** @type {Parameter[]} */
      this.parameters = [];
      /** Floats of scratch memory, which all layers share. */
      this.scratchLength = 0;
      this.scratch = EMPTY;
      /** @type {Kernel} */
      this.math = { gemm() {}, unroll() {} };
    }

    /**
     * @param {unknown} condition
     * @param {string} message
     */
    check(condition, message) {
      check(condition, `${this.name}: ${message}`);
    }

    /**
     * Reserves what the layer keeps besides its maps and their gradients.
     * @param {Memory} _memory
     * @param {number} _capacity The largest number of images.
     * @param {number} _purpose
     */
    reserve(_memory, _capacity, _purpose) {}

    /**
     * @param {Float32Array} x
     * @param {Float32Array} y
     * @param {number} _n
     */
    forward(x, y, _n) {
      y.set(x);
    }

    /**
     * @param {Float32Array} _x
     * @param {Float32Array} _y
     * @param {Float32Array} dy
     * @param {Float32Array | null} dx
     * @param {number} _n
     * @param {boolean} _learn
     */
    backward(_x, _y, dy, dx, _n, _learn) {
      dx?.set(dy);
    }
  }

  /**
   * A weight or a bias, which lies in the engine's order, with its gradient and velocity.
   */
  class Parameter {
    /**
     * @param {string} name
     * @param {number[]} shape In PyTorch's order.
     * @param {(from: Float32Array, to: Float32Array, inward: boolean) => void} reorder Copies from
     *     PyTorch's order to the engine's if inward, else back.
     */
    constructor(name, shape, reorder) {
      this.name = name;
      this.shape = shape;
      this.reorder = reorder;
      /** @type {Float32Array} */
      this.value = new Float32Array(volume(shape));
      this.gradient = EMPTY;
      this.velocity = EMPTY;
    }

    /**
     * @param {Memory} memory
     * @param {number} purpose
     */
    reserve(memory, purpose) {
      const { value, velocity } = this;
      memory.reserve(value.length, (view) => {
        view.set(value);
        this.value = view;
      });
      if (purpose < FOR_TRAINING) return;
      memory.reserve(value.length, (view) => {
        this.gradient = view;
      });
      memory.reserve(value.length, (view) => {
        view.set(velocity);
        this.velocity = view;
      });
    }

    /** @param {Float32Array} data In PyTorch's order. */
    set(data) {
      const length = volume(this.shape);
      const shape = this.shape.join("×");
      check(data.length === length, `${this.name}: must be ${shape} numbers, got ${data.length}`);
      this.reorder(data, this.value, true);
    }

    /**
     * @param {Float32Array} data In the engine's order.
     * @returns {Tensor}
     */
    tensor(data) {
      const copy = new Float32Array(data.length);
      this.reorder(data, copy, false);
      return { shape: this.shape, data: copy };
    }
  }

  /**
   * A convolution as a product of matrices: each window of the image, unrolled, is a row of one, a
   * kernel is a column of the other. A linear layer is one whose window is the whole image.
   */
  class Convolution extends Layer {
    /**
     * @param {LayerDescription} description
     * @param {number[]} inShape
     */
    constructor(description, inShape) {
      super(description, inShape);
      const [height, width, maps] = inShape;
      const linear = description.type === "linear";
      const { out = 0, groups = 1, stride = 1, padding = [0, 0], kernel = 0 } = description;
      this.check(out >= 1, `must have at least one map, got ${out}`);
      this.check(linear || kernel >= 1, `kernel must be >= 1, got ${kernel}`);
      this.check(stride >= 1 && padding[0] >= 0 && padding[1] >= 0, "stride or padding is below 0");
      this.check(
        groups >= 1 && maps % groups === 0 && out % groups === 0,
        `input and output maps must be multiples of its ${groups} groups, got ${maps} and ${out}`,
      );
      this.groups = groups;
      const [kernelRows, kernelColumns] = linear ? [height, width] : [kernel, kernel];
      const zeros = padding[0] + padding[1];
      const rows = Math.floor((height + zeros - kernelRows) / stride) + 1;
      const columns = Math.floor((width + zeros - kernelColumns) / stride) + 1;
      this.check(
        rows >= 1 && columns >= 1,
        `its kernel of ${kernel}×${kernel} does not fit into maps of ${height}×${width}`,
      );
      this.outShape = [rows, columns, out];
      this.positions = rows * columns;
      /** Maps that a kernel sees, kernels of a group, and the numbers in a window. */
      this.mapsIn = maps / groups;
      this.mapsOut = out / groups;
      this.windowSize = kernelRows * kernelColumns;
      this.depth = this.windowSize * this.mapsIn;
      /** @type {Windows} */
      this.windows = {
        ...{ height, width, maps, mapCount: this.mapsIn },
        ...{ kernelRows, kernelColumns, outRows: rows, outColumns: columns },
        ...{ stride, before: padding[0], run: groups === 1 ? kernelColumns : 1 },
      };
      // Where the window is the whole image, an image is its own unrolled window.
      this.unrolled = kernelRows === height && kernelColumns === width && groups === 1 && !zeros;
      this.scratchLength = this.unrolled ? 0 : this.positions * this.depth;
      const shape = linear ? [out, this.depth] : [out, this.mapsIn, kernelRows, kernelColumns];
      this.weight = new Parameter(`${this.name}.weight`, shape, (from, to, inward) =>
        this.reorderWeight(from, to, inward),
      );
      this.bias = new Parameter(`${this.name}.bias`, [out], (from, to) => to.set(from));
      this.parameters = [this.weight, this.bias];
      /** The weights of each group transposed, for the gradient at the input. */
      this.transposed = EMPTY;
      this.transposedIsOld = true;
    }

    /**
     * The engine's order is [group][row][column][input map][kernel].
     * @param {Float32Array} from
     * @param {Float32Array} to
     * @param {boolean} inward
     */
    reorderWeight(from, to, inward) {
      const { mapsIn, mapsOut, depth } = this;
      for (let out = 0; out < this.outShape[2]; out++) {
        const group = Math.floor(out / mapsOut);
        let ours = group * depth * mapsOut + (out % mapsOut);
        for (let position = 0; position < this.windowSize; position++) {
          let theirs = out * depth + position;
          for (let map = 0; map < mapsIn; map++) {
            if (inward) to[ours] = from[theirs];
            else to[theirs] = from[ours];
            ours += mapsOut;
            theirs += this.windowSize;
          }
        }
      }
      this.transposedIsOld = true;
    }

    /**
     * Replaces the weights from one column of maps to another, or their gradient.
     * @param {Float32Array} weights
     * @param {[number, number][]} crossings Each from a column of the input to one of the output.
     * @param {number} columns How many there are.
     * @param {Float32Array} [replacement] Zeros if it is left out.
     */
    replaceCrossings(weights, crossings, columns, replacement) {
      const maps = this.inShape[2];
      const [perColumnIn, perColumnOut] = [maps / columns, this.outShape[2] / columns];
      for (const [from, to] of crossings) {
        for (let at = 0; at < weights.length; at++) {
          const group = Math.floor(at / (this.depth * this.mapsOut));
          const out = group * this.mapsOut + (at % this.mapsOut);
          const map = group * this.mapsIn + (Math.floor(at / this.mapsOut) % this.mapsIn);
          const crosses = Math.floor(map / perColumnIn) === from;
          if (crosses && Math.floor(out / perColumnOut) === to) {
            weights[at] = replacement?.[at] ?? 0;
          }
        }
      }
      this.transposedIsOld = true;
    }

    /**
     * @param {Memory} memory
     * @param {number} _capacity
     * @param {number} purpose
     */
    reserve(memory, _capacity, purpose) {
      if (purpose < FOR_MAP_GRADIENTS) return;
      memory.reserve(volume(this.weight.shape), (view) => {
        this.transposed = view;
        this.transposedIsOld = true;
      });
    }

    transpose() {
      const { depth, mapsOut, transposed, weight } = this;
      for (let group = 0; group < this.groups; group++) {
        const start = group * depth * mapsOut;
        for (let p = 0; p < depth; p++) {
          for (let out = 0; out < mapsOut; out++) {
            transposed[start + out * depth + p] = weight.value[start + p * mapsOut + out];
          }
        }
      }
      this.transposedIsOld = false;
    }

    /**
     * Copies the windows of an image into the scratch memory, or adds them back.
     * @param {Float32Array} images
     * @param {number} image
     * @param {number} group
     * @param {boolean} inward
     */
    unroll(images, image, group, inward) {
      const start = place(images) + image * volume(this.inShape) + group * this.mapsIn;
      this.math.unroll(start, this.windows, place(this.scratch), inward);
    }

    /**
     * @param {Float32Array} x
     * @param {Float32Array} y
     * @param {number} n
     */
    forward(x, y, n) {
      const { depth, mapsOut, positions, weight, bias, scratch } = this;
      const out = this.outShape[2];
      for (let at = 0; at < n * positions * out; at += out) y.set(bias.value, at);
      if (this.unrolled) {
        this.math.gemm(n, out, depth, place(x), depth, 1, place(weight.value), out, place(y), out);
        return;
      }
      for (let image = 0; image < n; image++) {
        for (let group = 0; group < this.groups; group++) {
          this.unroll(x, image, group, true);
          const kernels = place(weight.value) + group * depth * mapsOut;
          const to = place(y) + image * positions * out + group * mapsOut;
          this.math.gemm(
            positions,
            mapsOut,
            depth,
            place(scratch),
            depth,
            1,
            kernels,
            mapsOut,
            to,
            out,
          );
        }
      }
    }

    /**
     * @param {Float32Array} x
     * @param {Float32Array} _y
     * @param {Float32Array} dy
     * @param {Float32Array | null} dx
     * @param {number} n
     * @param {boolean} learn
     */
    backward(x, _y, dy, dx, n, learn) {
      if (learn) this.parameterGradients(x, dy, n);
      if (!dx) return;
      const { depth, mapsOut, positions, scratch } = this;
      const out = this.outShape[2];
      if (this.transposedIsOld) this.transpose();
      dx.fill(0);
      if (this.unrolled) {
        const rows = place(this.transposed);
        this.math.gemm(n, depth, out, place(dy), out, 1, rows, depth, place(dx), depth);
        return;
      }
      for (let image = 0; image < n; image++) {
        for (let group = 0; group < this.groups; group++) {
          const from = place(dy) + image * positions * out + group * mapsOut;
          const rows = place(this.transposed) + group * depth * mapsOut;
          scratch.fill(0, 0, this.scratchLength);
          this.math.gemm(
            positions,
            depth,
            mapsOut,
            from,
            out,
            1,
            rows,
            depth,
            place(scratch),
            depth,
          );
          this.unroll(dx, image, group, false);
        }
      }
    }

    /**
     * @param {Float32Array} x
     * @param {Float32Array} dy
     * @param {number} n
     */
    parameterGradients(x, dy, n) {
      const { depth, mapsOut, positions, scratch } = this;
      const out = this.outShape[2];
      const bias = this.bias.gradient;
      bias.fill(0);
      for (let at = 0; at < n * positions * out; ) {
        for (let map = 0; map < out; map++) bias[map] += dy[at++];
      }
      const weight = this.weight.gradient;
      weight.fill(0);
      if (this.unrolled) {
        this.math.gemm(depth, out, n, place(x), 1, depth, place(dy), out, place(weight), out);
        return;
      }
      for (let image = 0; image < n; image++) {
        for (let group = 0; group < this.groups; group++) {
          this.unroll(x, image, group, true);
          const from = place(dy) + image * positions * out + group * mapsOut;
          const to = place(weight) + group * depth * mapsOut;
          this.math.gemm(
            depth,
            mapsOut,
            positions,
            place(scratch),
            1,
            depth,
            from,
            out,
            to,
            mapsOut,
          );
        }
      }
    }
  }

  class ReLU extends Layer {
    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) y[i] = Math.max(x[i], 0); // NaN stays NaN
    }

    /** @type {Layer["backward"]} */
    backward(_x, y, dy, dx, n) {
      if (!dx) return;
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
    }
  }

  class Tanh extends Layer {
    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) y[i] = Math.tanh(x[i]);
    }

    /** @type {Layer["backward"]} */
    backward(_x, y, dy, dx, n) {
      if (!dx) return;
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) dx[i] = dy[i] * (1 - y[i] * y[i]);
    }
  }

  class Sigmoid extends Layer {
    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) y[i] = 1 / (1 + Math.exp(-x[i]));
    }

    /** @type {Layer["backward"]} */
    backward(_x, y, dy, dx, n) {
      if (!dx) return;
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) dx[i] = dy[i] * y[i] * (1 - y[i]);
    }
  }

  /**
   * Local response normalization as in alexnet/lrn.py: y = x / d ** beta, where d is k plus
   * alpha / size times the sum of squares of the maps around, within a group of maps.
   */
  class LocalResponseNorm extends Layer {
    /**
     * @param {LayerDescription} description
     * @param {number[]} inShape
     */
    constructor(description, inShape) {
      super(description, inShape);
      const { size = 5, alpha = 1e-4, beta = 0.75, k = 2, groups = 1 } = description;
      this.check(size >= 1, `size must be >= 1, got ${size}`);
      this.check(
        groups >= 1 && inShape[2] % groups === 0,
        `maps must be a multiple of its ${groups} groups, got ${inShape[2]}`,
      );
      this.size = size;
      this.alpha = alpha;
      this.beta = beta;
      this.k = k;
      this.groupSize = inShape[2] / groups;
      this.divisors = EMPTY;
      this.row = new Float64Array(this.groupSize);
      this.sums = new Float64Array(this.groupSize);
    }

    /**
     * @param {Memory} memory
     * @param {number} capacity
     */
    reserve(memory, capacity) {
      memory.reserve(capacity * volume(this.inShape), (view) => {
        this.divisors = view;
      });
    }

    /** @param {number} divisor */
    power(divisor) {
      if (this.beta !== 0.75) return divisor ** -this.beta;
      const root = Math.sqrt(divisor);
      return 1 / (root * Math.sqrt(root)); // a fifth of the time
    }

    /**
     * For each map of a group, the sum of this.row over the maps around it, in this.sums.
     * @param {number} before Maps before the map itself.
     * @param {number} after
     */
    sumWindows(before, after) {
      const { row, sums, groupSize } = this;
      let sum = 0; // in double precision, so that what is added can be subtracted again
      for (let map = 0; map < Math.min(after, groupSize); map++) sum += row[map];
      for (let map = 0; map < groupSize; map++) {
        if (map + after < groupSize) sum += row[map + after];
        if (map > before) sum -= row[map - before - 1];
        sums[map] = sum;
      }
    }

    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const { groupSize, divisors, row, sums, k } = this;
      const before = Math.floor(this.size / 2);
      const factor = this.alpha / this.size;
      for (let start = 0; start < n * volume(this.inShape); start += groupSize) {
        for (let map = 0; map < groupSize; map++) row[map] = x[start + map] * x[start + map];
        this.sumWindows(before, this.size - 1 - before);
        for (let map = 0; map < groupSize; map++) {
          const divisor = k + factor * sums[map];
          divisors[start + map] = divisor;
          y[start + map] = x[start + map] * this.power(divisor);
        }
      }
    }

    /** @type {Layer["backward"]} */
    backward(x, y, dy, dx, n) {
      if (!dx) return;
      const { groupSize, divisors, row, sums } = this;
      const after = Math.floor(this.size / 2); // the window of the forward pass, mirrored
      const factor = (2 * this.beta * this.alpha) / this.size;
      for (let start = 0; start < n * volume(this.inShape); start += groupSize) {
        for (let map = 0; map < groupSize; map++) {
          row[map] = (dy[start + map] * y[start + map]) / divisors[start + map];
        }
        this.sumWindows(this.size - 1 - after, after);
        for (let map = 0; map < groupSize; map++) {
          const at = start + map;
          dx[at] = dy[at] * this.power(divisors[at]) - factor * x[at] * sums[map];
        }
      }
    }
  }

  /** What maximum and mean pooling have in common: the windows. */
  class Pooling extends Layer {
    /**
     * @param {LayerDescription} description
     * @param {number[]} inShape
     */
    constructor(description, inShape) {
      super(description, inShape);
      const { kernel = 0, stride = kernel, ceil = false } = description;
      this.check(kernel >= 1 && stride >= 1, "kernel and stride must be >= 1");
      this.kernel = kernel;
      this.stride = stride;
      const [height, width, maps] = inShape;
      /** @param {number} side */
      const positions = (side) => {
        const steps = (side - kernel) / stride;
        const count = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1;
        return ceil && (count - 1) * stride >= side ? count - 1 : count; // one that is all outside
      };
      this.outShape = [positions(height), positions(width), maps];
      this.check(
        this.outShape[0] >= 1 && this.outShape[1] >= 1,
        `its window of ${kernel}×${kernel} does not fit into maps of ${height}×${width}`,
      );
      this.windows = this.findWindows();
    }

    /** Of each position, the places of its window's first maps, without those outside. */
    findWindows() {
      const [height, width, maps] = this.inShape;
      const windows = [];
      for (let row = 0; row < this.outShape[0]; row++) {
        for (let column = 0; column < this.outShape[1]; column++) {
          const window = [];
          const [top, left] = [row * this.stride, column * this.stride];
          for (let y = top; y < Math.min(height, top + this.kernel); y++) {
            for (let x = left; x < Math.min(width, left + this.kernel); x++) {
              window.push((y * width + x) * maps);
            }
          }
          windows.push(window);
        }
      }
      return windows;
    }
  }

  class MaxPool extends Pooling {
    /** Where each maximum was found: the first one among equals, as in PyTorch. */
    places = new Int32Array(0);

    /**
     * @param {Memory} _memory
     * @param {number} capacity
     */
    reserve(_memory, capacity) {
      this.places = new Int32Array(capacity * volume(this.outShape));
    }

    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const { windows, places } = this;
      const maps = this.inShape[2];
      let to = 0;
      for (let image = 0; image < n; image++) {
        const start = image * volume(this.inShape);
        for (const window of windows) {
          for (let at = start; at < start + maps; at++) {
            let best = at + window[0];
            let largest = x[best];
            for (let i = 1; i < window.length; i++) {
              const value = x[at + window[i]];
              if (value > largest || Number.isNaN(value)) {
                largest = value;
                best = at + window[i];
              }
            }
            y[to] = largest;
            places[to++] = best;
          }
        }
      }
    }

    /** @type {Layer["backward"]} */
    backward(_x, _y, dy, dx, n) {
      if (!dx) return;
      dx.fill(0);
      const length = n * volume(this.outShape);
      for (let i = 0; i < length; i++) dx[this.places[i]] += dy[i];
    }
  }

  class MeanPool extends Pooling {
    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const maps = this.inShape[2];
      let to = 0;
      for (let image = 0; image < n; image++) {
        const start = image * volume(this.inShape);
        for (const window of this.windows) {
          for (let at = start; at < start + maps; at++) {
            let sum = 0;
            for (let i = 0; i < window.length; i++) sum += x[at + window[i]];
            y[to++] = sum / window.length;
          }
        }
      }
    }

    /** @type {Layer["backward"]} */
    backward(_x, _y, dy, dx, n) {
      if (!dx) return;
      dx.fill(0);
      const maps = this.inShape[2];
      let from = 0;
      for (let image = 0; image < n; image++) {
        const start = image * volume(this.inShape);
        for (const window of this.windows) {
          for (let at = start; at < start + maps; at++) {
            const part = dy[from++] / window.length;
            for (let i = 0; i < window.length; i++) dx[at + window[i]] += part;
          }
        }
      }
    }
  }

  /** Numbers from 0 to 1, the same for the same seed (mulberry32). */
  let randomState = 0;

  function random() {
    randomState = (randomState + 0x6d2b79f5) | 0;
    let bits = Math.imul(randomState ^ (randomState >>> 15), 1 | randomState);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  class Dropout extends Layer {
    /**
     * @param {LayerDescription} description
     * @param {number[]} inShape
     */
    constructor(description, inShape) {
      super(description, inShape);
      this.p = description.p ?? 0.5;
      this.check(this.p >= 0 && this.p < 1, `p must be >= 0 and < 1, got ${this.p}`);
      this.factors = EMPTY;
    }

    /**
     * @param {Memory} memory
     * @param {number} capacity
     */
    reserve(memory, capacity) {
      memory.reserve(capacity * volume(this.inShape), (view) => {
        this.factors = view;
      });
    }

    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) {
        if (!this.training) this.factors[i] = 1;
        else this.factors[i] = random() < this.p ? 0 : 1 / (1 - this.p);
        y[i] = x[i] * this.factors[i];
      }
    }

    /** @type {Layer["backward"]} */
    backward(_x, _y, dy, dx, n) {
      if (!dx) return;
      const length = n * volume(this.inShape);
      for (let i = 0; i < length; i++) dx[i] = dy[i] * this.factors[i];
    }
  }

  /** Over the maps of each position. */
  class Softmax extends Layer {
    /** @type {Layer["forward"]} */
    forward(x, y, n) {
      const maps = this.inShape[2];
      for (let start = 0; start < n * volume(this.inShape); start += maps) {
        softmax(x.subarray(start, start + maps), y.subarray(start, start + maps));
      }
    }

    /** @type {Layer["backward"]} */
    backward(_x, y, dy, dx, n) {
      if (!dx) return;
      const maps = this.inShape[2];
      for (let start = 0; start < n * volume(this.inShape); start += maps) {
        let sum = 0;
        for (let i = start; i < start + maps; i++) sum += dy[i] * y[i];
        for (let i = start; i < start + maps; i++) dx[i] = y[i] * (dy[i] - sum);
      }
    }
  }

  /**
   * @param {Float32Array} logits
   * @param {Float32Array} probabilities Written to.
   * @returns {number} The logarithm of the sum of the exponentials of the logits.
   */
  function softmax(logits, probabilities) {
    let largest = logits[0];
    for (const logit of logits) if (!(logit <= largest)) largest = logit;
    let sum = 0;
    for (const logit of logits) sum += Math.exp(logit - largest);
    const logarithm = largest + Math.log(sum);
    for (let i = 0; i < logits.length; i++) probabilities[i] = Math.exp(logits[i] - logarithm);
    return logarithm;
  }

  /** @type {Object<string, new (description: LayerDescription, inShape: number[]) => Layer>} */
  const LAYERS = {
    conv: Convolution,
    linear: Convolution,
    relu: ReLU,
    tanh: Tanh,
    sigmoid: Sigmoid,
    lrn: LocalResponseNorm,
    maxpool: MaxPool,
    avgpool: MeanPool,
    dropout: Dropout,
    softmax: Softmax,
  };

  /**
   * Copies values of n images from [image][map][row][column] to [image][row][column][map].
   * @param {ArrayLike<number>} from
   * @param {Float32Array} to
   * @param {number} n
   * @param {number[]} shape [rows, columns, maps]
   */
  function mapsLast(from, to, n, [rows, columns, maps]) {
    const positions = rows * columns;
    for (let image = 0; image < n; image++) {
      const start = image * positions * maps;
      for (let map = 0; map < maps; map++) {
        const source = start + map * positions;
        for (let i = 0; i < positions; i++) to[start + i * maps + map] = from[source + i];
      }
    }
  }

  /**
   * The reverse of mapsLast, as a tensor of PyTorch's shape.
   * @param {Float32Array} from
   * @param {number} n
   * @param {number[]} shape [rows, columns, maps]
   * @param {boolean} flat Whether rows and columns are left out, as after a linear layer.
   * @returns {Tensor}
   */
  function mapsFirst(from, n, [rows, columns, maps], flat) {
    const data = new Float32Array(n * rows * columns * maps);
    for (let image = 0; image < n; image++) {
      const start = image * rows * columns * maps;
      mapsLast(from.subarray(start), data.subarray(start), 1, [maps, 1, rows * columns]);
    }
    return { shape: flat ? [n, maps] : [n, maps, rows, columns], data };
  }

  class Net {
    /**
     * @param {NetDescription} description
     * @param {Object<string, Float32Array>} parameters By names such as "conv1.weight", in
     *     PyTorch's order.
     * @param {WebAssembly.Module | null} module The compiled kernel.c, or null for JavaScript.
     */
    constructor(description, parameters, module) {
      const [maps, rows, columns] = description.input;
      check(maps >= 1 && rows >= 1 && columns >= 1, `input: got the shape ${description.input}`);
      this.module = module;
      this.inShape = [rows, columns, maps];
      this.columns = description.columns ?? 1;
      /** @type {Layer[]} */
      this.layers = [];
      /** Of each layer, whether its output has lost rows and columns. */
      this.flat = /** @type {boolean[]} */ ([]);
      let shape = this.inShape;
      for (const layer of description.layers) {
        check(Object.hasOwn(LAYERS, layer.type), `${layer.name}: unknown type ${layer.type}`);
        this.layers.push(new LAYERS[layer.type](layer, shape));
        this.flat.push(layer.type === "linear" || this.flat.at(-1) === true);
        shape = this.layers[this.layers.length - 1].outShape;
      }
      check(this.layers.length > 0, "the net has no layers");
      const names = this.layers.map((layer) => layer.name);
      check(new Set(names).size === names.length, `two layers have one name: ${names.join(", ")}`);
      this.parameters = this.layers.flatMap((layer) => layer.parameters);
      for (const parameter of this.parameters) {
        check(parameters[parameter.name], `${parameter.name}: is missing`);
        parameter.set(parameters[parameter.name]);
      }
      this.capacity = 0;
      this.purpose = FOR_FORWARD;
      /** The maps that each layer is given, and after those the logits; and their gradients. */
      this.maps = /** @type {Float32Array[]} */ ([]);
      this.gradients = /** @type {Float32Array[]} */ ([]);
      /** The weights as they were before crossings were cut. */
      this.uncut = /** @type {Map<Convolution, Float32Array>} */ (new Map());
      this.cuts = /** @type {Cuts} */ ({});
      this.cutsText = "{}";
      this.cutMaps = /** @type {Map<Layer, number[]>} */ (new Map());
    }

    get last() {
      return this.layers[this.layers.length - 1];
    }

    get classes() {
      return volume(this.last.outShape);
    }

    /**
     * Allocates memory for so many images, and keeps it for the next call.
     * @param {number} images
     * @param {number} purpose
     */
    ensure(images, purpose) {
      if (images <= this.capacity && purpose <= this.purpose) return;
      const capacity = Math.max(images, this.capacity);
      const most = Math.max(purpose, this.purpose);
      const memory = new Memory();
      const shapes = [this.inShape, ...this.layers.map((layer) => layer.outShape)];
      shapes.forEach((shape, i) => {
        memory.reserve(capacity * volume(shape), (view) => {
          this.maps[i] = view;
        });
        if (most < FOR_MAP_GRADIENTS) return;
        memory.reserve(capacity * volume(shape), (view) => {
          this.gradients[i] = view;
        });
      });
      for (const parameter of this.parameters) parameter.reserve(memory, most);
      for (const layer of this.layers) layer.reserve(memory, capacity, most);
      const scratchLength = Math.max(...this.layers.map((layer) => layer.scratchLength));
      memory.reserve(scratchLength, (view) => {
        for (const layer of this.layers) layer.scratch = view;
      });
      const math = memory.allocate(this.module);
      for (const layer of this.layers) layer.math = math;
      this.capacity = capacity;
      this.purpose = most;
    }

    /** @param {string} name */
    index(name) {
      const names = this.layers.map((layer) => layer.name);
      const index = names.indexOf(name);
      check(index >= 0, `no layer is called ${name}: choose one of ${names.join(", ")}`);
      return index;
    }

    /** @param {string} name */
    weights(name) {
      const layer = this.layers[this.index(name)];
      check(layer instanceof Convolution, `${name}: has no weights`);
      return layer;
    }

    /**
     * Takes parts away, and puts back those that were taken away before.
     * @param {Cuts} cuts
     */
    cut(cuts) {
      if (JSON.stringify(cuts) === this.cutsText) return;
      for (const [layer, weights] of this.uncut) {
        const crossings = this.cuts.crossings?.[layer.name] ?? [];
        layer.replaceCrossings(layer.weight.value, crossings, this.columns, weights);
      }
      this.uncut.clear();
      this.cutMaps.clear();
      this.cutsText = "{}";
      this.cuts = {};
      for (const name of cuts.layers ?? []) {
        const { inShape, outShape } = this.layers[this.index(name)];
        check(
          inShape.join() === outShape.join(),
          `${name}: cannot be left out, since it turns ${inShape.join("×")} into ` +
            `${outShape.join("×")}: take all of its maps away instead`,
        );
      }
      this.collectCutMaps(cuts);
      const allCrossings = Object.entries(cuts.crossings ?? {});
      for (const [name, crossings] of allCrossings) {
        const layer = this.weights(name);
        this.checkColumns(layer, crossings.flat());
        const maps = layer.inShape[2];
        check(maps % this.columns === 0, `${name}: ${maps} maps are not ${this.columns} columns`);
      }
      for (const [name, crossings] of allCrossings) {
        const layer = this.weights(name);
        this.uncut.set(layer, layer.weight.value.slice());
        layer.replaceCrossings(layer.weight.value, crossings, this.columns);
      }
      this.cuts = cuts;
      this.cutsText = JSON.stringify(cuts);
    }

    /** @param {Cuts} cuts */
    collectCutMaps(cuts) {
      for (const [name, maps] of Object.entries(cuts.maps ?? {})) {
        const layer = this.layers[this.index(name)];
        const count = layer.outShape[2];
        for (const map of maps) {
          check(Number.isInteger(map) && map >= 0 && map < count, `${name}: has no map ${map}`);
        }
        this.cutMaps.set(layer, [...maps]);
      }
      for (const column of cuts.columns ?? []) {
        for (const layer of this.layers) {
          if (!(layer instanceof Convolution) || layer.unrolled) continue;
          this.checkColumns(layer, [column]);
          const size = layer.outShape[2] / this.columns;
          const maps = Array.from({ length: size }, (_, i) => column * size + i);
          this.cutMaps.set(layer, [...(this.cutMaps.get(layer) ?? []), ...maps]);
        }
      }
    }

    /**
     * @param {Convolution} layer
     * @param {number[]} columns Each of which it must have.
     */
    checkColumns({ name, outShape }, columns) {
      const count = this.columns;
      check(outShape[2] % count === 0, `${name}: its maps do not make ${count} columns`);
      for (const column of columns) {
        const has = Number.isInteger(column) && column >= 0 && column < count;
        check(has, `${name}: the net has ${count} columns, and no column ${column}`);
      }
    }

    /**
     * Makes the maps zero that are taken away from a layer.
     * @param {Layer} layer
     * @param {Float32Array} values
     * @param {number} n
     */
    clearCutMaps(layer, values, n) {
      const count = layer.outShape[2];
      for (const map of this.cutMaps.get(layer) ?? []) {
        for (let at = map; at < n * volume(layer.outShape); at += count) values[at] = 0;
      }
    }

    /**
     * @param {Float32Array} images In the engine's order.
     * @param {number} n
     * @param {boolean} training
     */
    forward(images, n, training) {
      this.maps[0].set(images);
      this.layers.forEach((layer, i) => {
        layer.training = training;
        const length = n * volume(layer.inShape);
        if (this.cuts.layers?.includes(layer.name)) {
          this.maps[i + 1].set(this.maps[i].subarray(0, length));
        } else {
          layer.forward(this.maps[i], this.maps[i + 1], n);
        }
        this.clearCutMaps(layer, this.maps[i + 1], n);
      });
      const logits = this.maps[this.layers.length].subarray(0, n * this.classes);
      if (!logits.every(Number.isFinite)) this.blame(n);
    }

    /**
     * Names the first layer whose maps are not finite.
     * @param {number} n
     */
    blame(n) {
      this.layers.forEach((layer, i) => {
        const maps = this.maps[i + 1].subarray(0, n * volume(layer.outShape));
        check(maps.every(Number.isFinite), `${layer.name}: its maps hold NaN or infinity`);
      });
    }

    /**
     * From the gradient at the maps of layer `from` down to layer `to`.
     * @param {number} from
     * @param {number} to
     * @param {number} n
     * @param {boolean} learn Whether the gradients at parameters are needed.
     * @param {boolean} below Whether the gradient at what layer `to` is given is needed.
     */
    backward(from, to, n, learn, below) {
      for (let i = from; i >= to; i--) {
        const layer = this.layers[i];
        const dy = this.gradients[i + 1];
        this.clearCutMaps(layer, dy, n);
        if (this.cuts.layers?.includes(layer.name)) {
          this.gradients[i].set(dy.subarray(0, n * volume(layer.outShape)));
          if (learn) for (const parameter of layer.parameters) parameter.gradient.fill(0);
          continue;
        }
        const dx = i > to || below ? this.gradients[i] : null;
        layer.backward(this.maps[i], this.maps[i + 1], dy, dx, n, learn);
        const crossings = this.cuts.crossings?.[layer.name];
        if (learn && crossings && layer instanceof Convolution) {
          layer.replaceCrossings(layer.weight.gradient, crossings, this.columns);
        }
      }
    }

    /**
     * @param {ArrayLike<number>} labels
     * @param {number} n
     */
    checkLabels(labels, n) {
      check(labels.length === n, `labels: must be one an image, ${n}, got ${labels.length}`);
      for (const label of Array.from(labels)) {
        check(
          Number.isInteger(label) && label >= 0 && label < this.classes,
          `labels: must be 0 to ${this.classes - 1}, the maps of ${this.last.name}, got ${label}`,
        );
      }
    }

    /**
     * The cross-entropy, averaged over the images, and its gradient at the logits.
     * @param {ArrayLike<number>} labels
     * @param {number} n
     * @param {boolean} withGradient
     */
    loss(labels, n, withGradient) {
      const { classes } = this;
      const logits = this.maps[this.layers.length];
      const probabilities = new Float32Array(classes);
      let [sum, correct] = [0, 0];
      for (let image = 0; image < n; image++) {
        const label = labels[image];
        const row = logits.subarray(image * classes, (image + 1) * classes);
        sum += softmax(row, probabilities) - row[label];
        if (row.every((logit) => logit <= row[label])) correct++;
        if (!withGradient) continue;
        const gradient = this.gradients[this.layers.length];
        for (let i = 0; i < classes; i++) {
          gradient[image * classes + i] = (probabilities[i] - (i === label ? 1 : 0)) / n;
        }
      }
      return { loss: sum / n, correct };
    }

    /**
     * @param {Float32Array} images In the order [image][map][row][column].
     * @returns {{n: number, inside: Float32Array}} How many, and in the engine's order.
     */
    take(images) {
      const length = volume(this.inShape);
      const [rows, columns, maps] = this.inShape;
      const n = images.length / length;
      check(
        n >= 1 && Number.isInteger(n),
        `input: must be one image or more of ${maps}×${rows}×${columns} numbers, got ` +
          `${images.length} numbers, for ${this.layers[0].name}`,
      );
      const finite = images.every(Number.isFinite);
      check(finite, `input: must be finite, got NaN or infinity, for ${this.layers[0].name}`);
      const inside = new Float32Array(images.length);
      mapsLast(images, inside, n, this.inShape);
      return { n, inside };
    }

    /**
     * @param {Float32Array} images (images, maps, rows, columns)
     * @param {RunOptions} options
     * @returns {RunResult}
     */
    run(images, options) {
      const { n, inside } = this.take(images);
      const { maps = [], training = false } = options;
      for (const name of maps) this.index(name);
      if (options.labels) this.checkLabels(options.labels, n);
      this.cut(options.cuts ?? {});
      if (options.gradients) return this.runBackward(inside, n, options);
      const length = volume(this.inShape);
      const parts = [];
      let sum = 0;
      for (let start = 0; start < n; start += FORWARD_BATCH) {
        const count = Math.min(FORWARD_BATCH, n - start);
        this.ensure(count, FOR_FORWARD);
        this.forward(inside.subarray(start * length, (start + count) * length), count, training);
        parts.push(this.collect(count, maps));
        if (options.labels) {
          const labels = Array.from(options.labels).slice(start, start + count);
          sum += this.loss(labels, count, false).loss * count;
        }
      }
      /** @type {RunResult} */
      const result = { logits: concatenate(parts.map((p) => p.logits)), maps: {}, gradients: {} };
      for (const name of maps) result.maps[name] = concatenate(parts.map((p) => p.maps[name]));
      if (options.labels) result.loss = sum / n;
      return result;
    }

    /**
     * @param {Float32Array} inside
     * @param {number} n
     * @param {RunOptions} options
     * @returns {RunResult}
     */
    runBackward(inside, n, options) {
      const { gradients: names = [], maps = [], of, labels, training = false } = options;
      const parameters = new Map(this.parameters.map((parameter) => [parameter.name, parameter]));
      const learn = names.some((name) => parameters.has(name));
      const from = of ? this.index(of.layer) : this.layers.length - 1;
      const lowest = names.map((name) => {
        // The gradient at a layer's maps comes out of the layer above it.
        if (name === "input") return 0;
        if (!parameters.has(name)) return this.index(name) + 1;
        return this.index(name.slice(0, name.lastIndexOf(".")));
      });
      names.forEach((name, i) => {
        const above = lowest[i] > from + (parameters.has(name) ? 0 : 1);
        check(!above, `${name}: lies above ${of?.layer} and has no gradient`);
      });
      this.ensure(n, learn ? FOR_TRAINING : FOR_MAP_GRADIENTS);
      this.forward(inside, n, training);
      const result = this.collect(n, maps);
      if (of) {
        const length = n * volume(this.layers[from].outShape);
        const got = of.upstream.length;
        check(got === length, `${of.layer}: upstream must be ${length} numbers, got ${got}`);
        mapsLast(of.upstream, this.gradients[from + 1], n, this.layers[from].outShape);
      } else {
        check(labels, "gradients: need labels, or of");
        result.loss = this.loss(labels, n, true).loss;
      }
      this.backward(from, Math.min(...lowest), n, learn, true);
      names.forEach((name, i) => {
        const parameter = parameters.get(name);
        const tensor = parameter
          ? parameter.tensor(parameter.gradient)
          : this.tensor(lowest[i] - 1, n, this.gradients);
        check(tensor.data.every(Number.isFinite), `${name}: its gradient holds NaN or infinity`);
        result.gradients[name] = tensor;
      });
      return result;
    }

    /**
     * The maps of layer `index` or, for -1, of the input.
     * @param {number} index
     * @param {number} n
     * @param {Float32Array[]} [values]
     */
    tensor(index, n, values = this.maps) {
      const shape = index < 0 ? this.inShape : this.layers[index].outShape;
      return mapsFirst(values[index + 1], n, shape, this.flat[index]);
    }

    /**
     * @param {number} n
     * @param {string[]} names
     * @returns {RunResult}
     */
    collect(n, names) {
      /** @type {Object<string, Tensor>} */
      const maps = {};
      for (const name of names) maps[name] = this.tensor(this.index(name), n);
      return { logits: this.tensor(this.layers.length - 1, n), maps, gradients: {} };
    }

    /**
     * One step of stochastic gradient descent with momentum and weight decay, as the paper and
     * alexnet/optim.py have it: v ← momentum·v − weightDecay·lr·w − lr·gradient; w ← w + v. While
     * the learning rate stays the same, torch.optim.SGD computes the same weights.
     * @param {Float32Array} images (images, maps, rows, columns)
     * @param {ArrayLike<number>} labels
     * @param {TrainOptions} options
     * @returns {{loss: number, correct: number}} Of these images, before the step: the
     *     cross-entropy, and how many have their label as their most probable class.
     */
    train(images, labels, { lr, momentum = 0.9, weightDecay = 5e-4, cuts = {} }) {
      check(lr >= 0 && lr < Infinity, `lr must be >= 0 and finite, got ${lr}`);
      check(momentum >= 0 && momentum < 1, `momentum must be >= 0 and < 1, got ${momentum}`);
      check(weightDecay >= 0, `weightDecay must be >= 0, got ${weightDecay}`);
      const { n, inside } = this.take(images);
      this.checkLabels(labels, n);
      this.ensure(n, FOR_TRAINING);
      this.cut(cuts);
      this.forward(inside, n, true);
      const { loss, correct } = this.loss(labels, n, true);
      // The first layer with weights needs no gradient at what it is given.
      const lowest = this.layers.findIndex((layer) => layer.parameters.length);
      this.backward(this.layers.length - 1, Math.max(lowest, 0), n, true, false);
      for (const { value, gradient, velocity } of this.parameters) {
        for (let i = 0; i < value.length; i++) {
          velocity[i] = momentum * velocity[i] - lr * (weightDecay * value[i] + gradient[i]);
          value[i] += velocity[i];
        }
      }
      for (const layer of this.layers) {
        if (layer instanceof Convolution) layer.transposedIsOld = true;
      }
      return { loss, correct };
    }

    /** @returns {Object<string, Tensor>} Copies of all parameters, by name. */
    allParameters() {
      this.cut({});
      return Object.fromEntries(this.parameters.map((p) => [p.name, p.tensor(p.value)]));
    }
  }

  /**
   * The images of several tensors in one.
   * @param {Tensor[]} parts
   * @returns {Tensor}
   */
  function concatenate(parts) {
    let n = 0;
    for (const { shape } of parts) n += shape[0];
    const data = new Float32Array(n * volume(parts[0].shape.slice(1)));
    let at = 0;
    for (const part of parts) {
      data.set(part.data, at);
      at += part.data.length;
    }
    return { shape: [n, ...parts[0].shape.slice(1)], data };
  }

  // Weights as text

  /** The 64 characters of base64; as a weight of at most 6 bits, the middle one is 0. */
  const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

  /** @param {string} text */
  function bytesOf(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  /** @param {string} text Little-endian float32 in base64. */
  function floatsOf(text) {
    return new Float32Array(bytesOf(text).buffer);
  }

  /**
   * A weight as alexnet/bookkit/export.py writes it: integers of at most 6 bits, a character each,
   * or of 8 bits, as bytes in base64; times a scale for each output map.
   * @param {string} text
   * @param {{bits: number, scale: string}} encoding
   */
  function dequantize(text, { bits, scale }) {
    const scales = floatsOf(scale);
    /** @type {Int8Array} */
    let integers;
    if (bits > 6) {
      integers = new Int8Array(bytesOf(text).buffer);
    } else {
      const values = new Int8Array(128);
      for (let i = 0; i < 64; i++) values[ALPHABET.charCodeAt(i)] = i - 32;
      integers = new Int8Array(text.length);
      for (let i = 0; i < text.length; i++) integers[i] = values[text.charCodeAt(i)];
    }
    const each = integers.length / scales.length;
    check(Number.isInteger(each), `${integers.length} weights are not ${scales.length} channels`);
    const weights = new Float32Array(integers.length);
    for (let i = 0; i < weights.length; i++)
      weights[i] = integers[i] * scales[Math.floor(i / each)];
    return weights;
  }

  /**
   * All parameters of a stored net, by name.
   * @param {StoredNet} stored
   * @param {string} text The texts of the weights, one after the other.
   */
  function readParameters(stored, text) {
    /** @type {Object<string, Float32Array>} */
    const parameters = {};
    let at = 0;
    for (const { name, length, encoding } of stored.weights) {
      parameters[name] = dequantize(text.slice(at, at + length), encoding);
      at += length;
    }
    check(text.length === at, `the weights must be ${at} characters, got ${text.length}`);
    for (const { name, values } of stored.biases) parameters[name] = floatsOf(values);
    return parameters;
  }

  /**
   * The center of each image, minus the mean, divided by the standard deviation.
   * @param {Uint8Array} pixels [image][row][column][color], 0 to 255
   * @param {Preprocessing} preprocessing
   * @returns {Float32Array} [image][color][row][column]
   */
  function preprocess(pixels, { resize, crop, offset, mean, std }) {
    const n = pixels.length / (3 * resize ** 2);
    check(
      n >= 1 && Number.isInteger(n),
      `pixels: must be one image or more of ${resize}×${resize}×3 bytes, got ${pixels.length} bytes`,
    );
    const [means, stds] = [floatsOf(mean), floatsOf(std)];
    const images = new Float32Array(n * 3 * crop ** 2);
    let to = 0;
    for (let image = 0; image < n; image++) {
      for (let color = 0; color < 3; color++) {
        for (let row = 0; row < crop; row++) {
          const line = (image * resize + row + offset) * resize + offset;
          for (let column = 0; column < crop; column++) {
            // The mean is one for each color, or one for each number of an image.
            const m = means.length === 3 ? color : (color * crop + row) * crop + column;
            const value = Math.fround(pixels[(line + column) * 3 + color] / 255);
            images[to++] = Math.fround(value - means[m]) / stds[color];
          }
        }
      }
    }
    return images;
  }

  /**
   * Whether numbers are equal up to the rounding of float32.
   * @param {Float32Array} found
   * @param {Float32Array} expected
   */
  function isClose(found, expected) {
    const close = found.every(
      (value, i) => Math.abs(value - expected[i]) <= 1e-4 * (1 + Math.abs(expected[i])),
    );
    return found.length === expected.length && close;
  }

  // What the page can ask for. alexnet.js has the other end of each of these.

  /** @type {Net | null} */
  let net = null;
  /** @type {Preprocessing | null} */
  let preprocessing = null;

  /** @param {string} kernel kernel.c, compiled, in base64; or nothing, for plain JavaScript */
  function compile(kernel) {
    if (!kernel) return { module: null, notice: "" };
    try {
      return { module: new WebAssembly.Module(bytesOf(kernel)), notice: "" };
    } catch {
      const notice =
        "This browser has no WebAssembly with SIMD, so the net runs in plain JavaScript.";
      return { module: null, notice };
    }
  }

  /** @param {Uint8Array | Float32Array} images */
  function prepared(images) {
    if (images instanceof Float32Array) return images;
    check(images instanceof Uint8Array, "images: must be a Uint8Array or a Float32Array");
    check(preprocessing, "pixels: the net has no preprocessing, so it takes a Float32Array only");
    return preprocess(images, preprocessing);
  }

  function theNet() {
    check(net, "there is no net yet");
    return net;
  }

  const methods = {
    /**
     * @param {NetDescription} description
     * @param {Object<string, Float32Array>} parameters
     * @param {string} kernel
     * @returns {Computation}
     */
    create(description, parameters, kernel) {
      const { module, notice } = compile(kernel);
      net = new Net(description, parameters, module);
      preprocessing = null;
      return { engine: module ? "WebAssembly" : "JavaScript", notice };
    },

    /**
     * Makes a stored net, and tests it on its stored image.
     * @param {StoredNet} stored
     * @param {string} text
     * @param {string} kernel
     * @returns {Computation}
     */
    load(stored, text, kernel) {
      const parameters = readParameters(stored, text);
      const pixels = bytesOf(stored.selfTest.pixels);
      const expected = floatsOf(stored.selfTest.logits);
      const images = preprocess(pixels, stored.preprocessing);
      const passes = () => {
        try {
          return isClose(theNet().run(images, {}).logits.data, expected);
        } catch {
          return false; // NaN
        }
      };
      const computation = methods.create(stored.description, parameters, kernel);
      preprocessing = stored.preprocessing;
      if (passes()) return computation;
      if (computation.engine === "WebAssembly") {
        net = new Net(stored.description, parameters, null);
        const notice =
          "This browser's WebAssembly computes other numbers than PyTorch for the stored image, " +
          "so the net runs in plain JavaScript.";
        if (passes()) return { engine: "JavaScript", notice };
      }
      net = null;
      throw new Error("this browser computes other numbers than PyTorch for the stored image");
    },

    /**
     * @param {Uint8Array | Float32Array} images
     * @param {RunOptions} options
     */
    run: (images, options) => theNet().run(prepared(images), options),

    /**
     * @param {Uint8Array | Float32Array} images
     * @param {ArrayLike<number>} labels
     * @param {TrainOptions} options
     */
    train: (images, labels, options) => theNet().train(prepared(images), labels, options),

    parameters: () => theNet().allParameters(),

    /** @param {number} number Of the random numbers of dropout. */
    seed(number) {
      randomState = number;
    },
  };

  /**
   * The buffers of all arrays in a value, which are handed over rather than copied.
   * @param {unknown} value
   * @returns {ArrayBuffer[]}
   */
  function buffersIn(value) {
    if (value instanceof Float32Array) return [/** @type {ArrayBuffer} */ (value.buffer)];
    return value && typeof value === "object" ? Object.values(value).flatMap(buffersIn) : [];
  }

  /** @param {MessageEvent} event */
  self.onmessage = ({ data: { id, method, values } }) => {
    try {
      const call = /** @type {Object<string, (...values: any[]) => unknown>} */ (methods)[method];
      const result = call(...values);
      self.postMessage({ id, result }, { transfer: buffersIn(result) });
    } catch (error) {
      self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  };
}
