// A photograph, and the small square of it that the net sees.

/**
 * Where the net looks: the center as a share of the photograph's width and height, and how many
 * times the largest square is enlarged.
 * @typedef {{x: number, y: number, zoom: number}} Crop
 */

/**
 * The gray square: its center and its side, in pixels of what the net sees.
 * @typedef {{x: number, y: number, size: number}} Square
 */

/** A photograph on a canvas, and its pixels. */
// biome-ignore lint/correctness/noUnusedVariables: page.js uses it.
class NetPicture {
  static SIDE = 640; // pixels that the shorter side is reduced to
  static LONGEST = 4; // how many times longer the longer side may be; its ends are cut off
  static MAX_RATIO = 100; // as MAX_ASPECT_RATIO in alexnet/loader.py

  /**
   * @param {CanvasImageSource} source
   * @param {number} width
   * @param {number} height
   */
  constructor(source, width, height) {
    const shorter = Math.min(width, height);
    if (!shorter) throw new Error("has no pixels");
    if (Math.max(width, height) > NetPicture.MAX_RATIO * shorter) {
      throw new Error(`has ${width}×${height} pixels, too long and thin for a square`);
    }
    const kept = shorter * NetPicture.LONGEST;
    const [wide, high] = [Math.min(width, kept), Math.min(height, kept)];
    const scale = Math.min(1, NetPicture.SIDE / shorter);
    this.canvas = document.createElement("canvas");
    this.canvas.width = Math.max(1, Math.round(wide * scale));
    this.canvas.height = Math.max(1, Math.round(high * scale));
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("needs a canvas, which this browser does not give");
    context.fillStyle = "#fff"; // behind what is transparent
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingQuality = "high";
    const [left, top] = [(width - wide) / 2, (height - high) / 2];
    context.drawImage(source, left, top, wide, high, 0, 0, this.canvas.width, this.canvas.height);
    this.pixels = context.getImageData(0, 0, this.canvas.width, this.canvas.height).data;
  }

  /**
   * A file that was chosen, dropped or pasted.
   * @param {Blob} file
   * @returns {Promise<NetPicture>}
   */
  static async fromFile(file) {
    if (!file.size) throw new Error("is empty");
    /** @type {ImageBitmap} */
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      throw new Error("is not a picture that this browser can read, or is damaged or too large");
    }
    try {
      return new NetPicture(bitmap, bitmap.width, bitmap.height);
    } finally {
      bitmap.close();
    }
  }

  /**
   * A picture in the page itself.
   * @param {string} address
   * @returns {Promise<NetPicture>}
   */
  static async fromAddress(address) {
    const image = new Image();
    image.src = address;
    await image.decode();
    return new NetPicture(image, image.naturalWidth, image.naturalHeight);
  }

  /**
   * The same crop, moved so that it lies within the photograph.
   * @param {Crop} crop
   * @returns {Crop}
   */
  within({ x, y, zoom }) {
    const { width, height } = this.canvas;
    const side = Math.min(width, height) / zoom;
    /** @type {(center: number, length: number) => number} */
    const clamp = (center, length) => {
      const half = side / 2 / length;
      return Math.min(1 - half, Math.max(half, center));
    };
    return { x: clamp(x, width), y: clamp(y, height), zoom };
  }

  /**
   * The crop in pixels of the canvas.
   * @param {Crop} crop
   */
  frame({ x, y, zoom }) {
    const { width, height } = this.canvas;
    const side = Math.min(width, height) / zoom;
    return { left: x * width - side / 2, top: y * height - side / 2, side };
  }

  /**
   * The crop in a few pixels, as torchvision's resize computes them with antialias.
   * @param {Crop} crop
   * @param {boolean} mirrored
   * @param {number} side Height and width of the result.
   * @returns {Uint8ClampedArray} [row][column][color]
   */
  resize(crop, mirrored, side) {
    const { left, top, side: length } = this.frame(crop);
    const { width, height } = this.canvas;
    const across = NetPicture.taps(left, length / side, side, width);
    const down = NetPicture.taps(top, length / side, side, height);
    if (mirrored) across.reverse();
    const [first, last] = [down[0].from, down[side - 1].from + down[side - 1].weights.length];
    // Bytes between the passes, too, as torchvision rounds there.
    const narrow = new Uint8ClampedArray((last - first) * side * 3);
    for (let row = first; row < last; row++) {
      for (let column = 0; column < side; column++) {
        const { from, weights } = across[column];
        for (let color = 0; color < 3; color++) {
          let sum = 0;
          for (let i = 0; i < weights.length; i++) {
            sum += weights[i] * this.pixels[4 * (row * width + from + i) + color];
          }
          narrow[((row - first) * side + column) * 3 + color] = Math.floor(sum + 0.5);
        }
      }
    }
    const result = new Uint8ClampedArray(side * side * 3);
    for (let row = 0; row < side; row++) {
      const { from, weights } = down[row];
      for (let at = 0; at < side * 3; at++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) {
          sum += weights[i] * narrow[(from - first + i) * side * 3 + at];
        }
        result[row * side * 3 + at] = Math.floor(sum + 0.5);
      }
    }
    return result;
  }

  /**
   * The pixels that each of a few pixels is made of, and their weights: a triangle around it.
   * @param {number} start
   * @param {number} scale Pixels for each of the result.
   * @param {number} count
   * @param {number} length How many pixels there are.
   * @returns {{from: number, weights: number[]}[]}
   */
  static taps(start, scale, count, length) {
    const reach = Math.max(1, scale);
    return Array.from({ length: count }, (_, at) => {
      const center = start + (at + 0.5) * scale;
      const from = Math.max(0, Math.floor(center - reach + 0.5));
      const to = Math.min(length, Math.floor(center + reach + 0.5));
      const weights = [];
      for (let i = from; i < to; i++) {
        weights.push(Math.max(0, 1 - Math.abs(i + 0.5 - center) / reach));
      }
      const sum = weights.reduce((total, weight) => total + weight, 0);
      if (sum > 0) return { from, weights: weights.map((weight) => weight / sum) };
      return { from: Math.min(from, length - 1), weights: [1] };
    });
  }
}

/**
 * Lays the square on what the net sees; `cover` in alexnet/bookkit/first_page.py is the same for a
 * gray one.
 * @param {Uint8ClampedArray} pixels [row][column][color]
 * @param {number} side
 * @param {Square | null} square
 * @param {ArrayLike<number>} fill What it shows: a color, or as many numbers as pixels has.
 * @returns {Uint8Array}
 */
// biome-ignore lint/correctness/noUnusedVariables: page.js calls it.
function laySquare(pixels, side, square, fill) {
  const result = Uint8Array.from(pixels);
  if (!square) return result;
  const half = square.size / 2;
  /** @type {(center: number, at: number) => number} */
  const share = (center, at) =>
    Math.max(0, Math.min(at + 1, center + half) - Math.max(at, center - half));
  for (let row = 0; row < side; row++) {
    const down = share(square.y, row);
    if (!down) continue;
    for (let column = 0; column < side; column++) {
      const covered = down * share(square.x, column);
      for (let color = 0; covered && color < 3; color++) {
        const at = (row * side + column) * 3 + color;
        const own = fill[fill.length === 3 ? color : at];
        result[at] = Math.floor(pixels[at] * (1 - covered) + own * covered + 0.5);
      }
    }
  }
  return result;
}

/** What the square can show instead of gray, each as [row][column][color]. */
// biome-ignore lint/correctness/noUnusedVariables: page.js uses it.
const squareFills = {
  REACH: 6, // pixels on each side of those that are averaged

  /**
   * Each pixel is the mean of those around it that are there.
   * @param {Uint8ClampedArray} pixels
   * @param {number} side
   */
  blur(pixels, side) {
    const { REACH } = squareFills;
    /** @type {(from: ArrayLike<number>, step: number) => Float32Array} */
    const along = (from, step) => {
      const means = new Float32Array(from.length);
      for (let at = 0; at < from.length; at++) {
        const place = Math.floor(at / step) % side;
        const [first, last] = [Math.max(0, place - REACH), Math.min(side - 1, place + REACH)];
        let sum = 0;
        for (let other = first; other <= last; other++) sum += from[at + (other - place) * step];
        means[at] = sum / (last - first + 1);
      }
      return means;
    };
    const means = along(along(pixels, 3), 3 * side);
    return Uint8ClampedArray.from(means, (mean) => Math.floor(mean + 0.5));
  },

  /**
   * Bytes that look random, and are the same each time.
   * @param {number} side
   */
  noise(side) {
    return Uint8ClampedArray.from({ length: side * side * 3 }, (_, at) => {
      let hash = Math.imul(at + 1, 0x9e3779b1); // the constants of MurmurHash3 and of Knuth
      hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
      hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
      return (hash ^ (hash >>> 16)) & 255;
    });
  },

  /**
   * The center of another photograph, wherever the square lies.
   * @param {Uint8ClampedArray} other As wide as what the net sees.
   * @param {number} side
   * @param {Square} square
   */
  patch(other, side, { x, y }) {
    const [right, down] = [Math.round(side / 2 - x), Math.round(side / 2 - y)];
    const result = new Uint8ClampedArray(other.length);
    const within = (/** @type {number} */ place) => Math.min(side - 1, Math.max(0, place));
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const from = 3 * (within(row + down) * side + within(column + right));
        result.set(other.subarray(from, from + 3), 3 * (row * side + column));
      }
    }
    return result;
  },
};
