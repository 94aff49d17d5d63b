// What takes the engine's time: matrix products, by which it computes convolutions, linear layers and
// their gradients, and the unrolling of windows into the rows of a matrix. engine.js has the same
// two functions in JavaScript, for browsers without SIMD.
//
// build.py compiles this file and writes kernel.js, which the page loads. The module has no memory
// of its own, and C's stack would lie in the memory that the engine imports, in the middle of the
// parameters. So there are no local arrays, and the linker puts a stack of size 0 at the beginning:
// whatever used it would go to a negative address and end with an error.

#include <wasm_simd128.h>

#define ROWS 4     // of a tile of C
#define COLUMNS 8  // of a tile of C: two vectors
#define DEPTH 256  // rows of B that are packed at a time: 8 kB, which stay in the first cache

typedef v128_t vector;  // four floats

static inline vector multiply_add(vector sum, float a, vector b) {
  return wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_f32x4_splat(a), b));
}

// C += A · B. A is m × k, and its element (i, p) is a[i * a_row + p * a_column], so that it may lie
// transposed; the rows of B (k × n) and of C (m × n) are contiguous, b_row and c_row floats apart.
// packed is room for DEPTH × COLUMNS floats.
__attribute__((export_name("gemm"))) void gemm(
    int m, int n, int k, const float* a, int a_row, int a_column,
    const float* b, int b_row, float* c, int c_row, float* packed) {
  int whole_rows = m - m % ROWS, whole_columns = n - n % COLUMNS;

  for (int start = 0; start < k; start += DEPTH) {
    int depth = k - start < DEPTH ? k - start : DEPTH;
    const float* a_block = a + start * a_column;
    const float* b_block = b + start * b_row;

    // Tiles of 4 × 8, whose sums stay in registers
    for (int j = 0; whole_rows && j < whole_columns; j += COLUMNS) {
      for (int p = 0; p < depth; p++) {
        const float* from = b_block + p * b_row + j;
        wasm_v128_store(packed + p * COLUMNS, wasm_v128_load(from));
        wasm_v128_store(packed + p * COLUMNS + 4, wasm_v128_load(from + 4));
      }
      for (int i = 0; i < whole_rows; i += ROWS) {
        const float *a0 = a_block + i * a_row, *a1 = a0 + a_row, *a2 = a1 + a_row, *a3 = a2 + a_row;
        float *c0 = c + i * c_row + j, *c1 = c0 + c_row, *c2 = c1 + c_row, *c3 = c2 + c_row;
        vector c00 = wasm_v128_load(c0), c01 = wasm_v128_load(c0 + 4);
        vector c10 = wasm_v128_load(c1), c11 = wasm_v128_load(c1 + 4);
        vector c20 = wasm_v128_load(c2), c21 = wasm_v128_load(c2 + 4);
        vector c30 = wasm_v128_load(c3), c31 = wasm_v128_load(c3 + 4);
        const float* b_pair = packed;
        for (int p = 0; p < depth; p++) {
          vector b0 = wasm_v128_load(b_pair), b1 = wasm_v128_load(b_pair + 4);
          int at = p * a_column;
          c00 = multiply_add(c00, a0[at], b0), c01 = multiply_add(c01, a0[at], b1);
          c10 = multiply_add(c10, a1[at], b0), c11 = multiply_add(c11, a1[at], b1);
          c20 = multiply_add(c20, a2[at], b0), c21 = multiply_add(c21, a2[at], b1);
          c30 = multiply_add(c30, a3[at], b0), c31 = multiply_add(c31, a3[at], b1);
          b_pair += COLUMNS;
        }
        wasm_v128_store(c0, c00), wasm_v128_store(c0 + 4, c01);
        wasm_v128_store(c1, c10), wasm_v128_store(c1 + 4, c11);
        wasm_v128_store(c2, c20), wasm_v128_store(c2 + 4, c21);
        wasm_v128_store(c3, c30), wasm_v128_store(c3 + 4, c31);
      }
    }

    // What the tiles leave: all columns of the last rows, the last columns of the others. Rows of B
    // are read as they lie, so that a single image reads each weight of a linear layer once.
    for (int i = 0; i < m; i++) {
      float* c_line = c + i * c_row;
      int first = i < whole_rows ? whole_columns : 0;
      for (int p = 0; first < n && p < depth; p++) {
        const float* b_line = b_block + p * b_row;
        float factor = a_block[i * a_row + p * a_column];
        int j = first;
        for (; j + 4 <= n; j += 4) {
          vector sum = wasm_v128_load(c_line + j);
          wasm_v128_store(c_line + j, multiply_add(sum, factor, wasm_v128_load(b_line + j)));
        }
        for (; j < n; j++) c_line[j] += factor * b_line[j];
      }
    }
  }
}

// The windows of one image, each as a row of a matrix, with zeros where it hangs over the edge; or,
// if inward is 0, the rows added back to the places of their windows. The image has height × width
// positions of maps floats, of which the window takes map_count; run is how many columns of a
// window lie in one run of memory: all of them where it takes all maps, else 1.
__attribute__((export_name("unroll"))) void unroll(
    float* image, int height, int width, int maps, int map_count, int run, int kernel_rows,
    int kernel_columns, int out_rows, int out_columns, int stride, int before, float* rows,
    int inward) {
  int line = kernel_columns * map_count;
  for (int row = 0; row < out_rows; row++) {
    for (int column = 0; column < out_columns; column++) {
      int left = column * stride - before, right = left + kernel_columns;
      int from = left > 0 ? left : 0, to = right < width ? right : width;
      for (int i = 0; i < kernel_rows; i++, rows += line) {
        int y = row * stride - before + i;
        int inside = y >= 0 && y < height && from < to;
        if (inward && (!inside || to - from < kernel_columns)) {
          for (int j = 0; j < line; j++) rows[j] = 0;
        }
        for (int x = from; inside && x < to; x += run) {
          float* place = image + (y * width + x) * maps;
          float* at = rows + (x - left) * map_count;
          int length = (run == 1 ? 1 : to - from) * map_count, j = 0;
          for (; inward && j + 4 <= length; j += 4) {
            wasm_v128_store(at + j, wasm_v128_load(place + j));
          }
          for (; inward && j < length; j++) at[j] = place[j];
          for (; j + 4 <= length; j += 4) {
            vector sum = wasm_f32x4_add(wasm_v128_load(place + j), wasm_v128_load(at + j));
            wasm_v128_store(place + j, sum);
          }
          for (; j < length; j++) place[j] += at[j];
        }
      }
    }
  }
}
