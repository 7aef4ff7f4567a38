/* Matrix products: c = a·b, or c += a·b; float32 or bfloat16 operands, float32 accumulation.

   A weight is packed once for all products that read it: float32 as panels of PANEL_COLUMNS columns one after the
   other (the last may be narrower), bfloat16 as AMX tiles. PyTorch's library packs at each call, which for the few
   hundred rows here takes longer than the product. Columns are multiples of 16; in bfloat16 the rows of a and c are
   allocated up to a multiple of 16, and k is padded with zeros to a multiple of TILE_K. */

#ifdef __AVX512F__
#define KERNEL_ROWS 8
#define KERNEL_VECS 3
#else
#define KERNEL_ROWS 4
#define KERNEL_VECS 1
#endif
#define KERNEL_VECS_2 (KERNEL_VECS > 2 ? 2 : 1)
#define PANEL_COLUMNS (KERNEL_VECS * LANES)
#define K_BLOCK 128 /* rows of a panel that stay in the L1 cache */
#define TILE_K 32   /* bfloat16 numbers in a row of a tile */
#define TILE_ELEMENTS (16 * TILE_K)

INLINE i64 padded_k(i64 k, int is_bf16) { return is_bf16 ? round_up(k, TILE_K) : k; }
INLINE i64 packed_bytes(i64 k, i64 n, int is_bf16) { return padded_k(k, is_bf16) * n * element_size(is_bf16); }

/* ---- float32: a[i * a_row_stride + k * a_k_stride] */

INLINE void micro_kernel(
    const float *a, i64 a_row_stride, i64 a_k_stride, const float *b, i64 b_stride, i64 k, float *c, i64 c_stride,
    int rows, int vecs, int accumulate) {
    f32x16 sum[KERNEL_ROWS][KERNEL_VECS]; /* in registers: all loops over it are unrolled */
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) {
            if (accumulate) sum[i][j] = *(const f32x16u *)(c + i * c_stride + j * LANES);
            else sum[i][j] = (f32x16){0};
        }
    for (i64 d = 0; d < k; d++) {
        f32x16 y[KERNEL_VECS];
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) y[j] = *(const f32x16u *)(b + d * b_stride + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            float x = a[i * a_row_stride + d * a_k_stride];
#pragma GCC unroll 3
            for (int j = 0; j < vecs; j++) sum[i][j] += x * y[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) *(f32x16u *)(c + i * c_stride + j * LANES) = sum[i][j];
}

INLINE void panel_kernel(
    const float *a, i64 a_row_stride, i64 a_k_stride, const float *b, i64 b_stride, i64 m, i64 k, float *c,
    i64 c_stride, int vecs, int accumulate) {
    i64 i = 0;
    for (; i + KERNEL_ROWS <= m; i += KERNEL_ROWS)
        micro_kernel(
            a + i * a_row_stride, a_row_stride, a_k_stride, b, b_stride, k, c + i * c_stride, c_stride, KERNEL_ROWS,
            vecs, accumulate);
    for (; i + 2 <= m; i += 2)
        micro_kernel(
            a + i * a_row_stride, a_row_stride, a_k_stride, b, b_stride, k, c + i * c_stride, c_stride, 2, vecs,
            accumulate);
    if (i < m)
        micro_kernel(
            a + i * a_row_stride, a_row_stride, a_k_stride, b, b_stride, k, c + i * c_stride, c_stride, 1, vecs,
            accumulate);
}

/* b: packed, or rows of b_stride numbers. */
static void matmul_f32(
    const float *a, i64 a_row_stride, i64 a_k_stride, const float *b, int packed, i64 b_stride, i64 m, i64 n, i64 k,
    float *c, i64 c_stride, int accumulate) {
    for (i64 j = 0, vecs; j < n; j += vecs * LANES) {
        vecs = min_i64(KERNEL_VECS, (n - j) / LANES);
        const float *panel = packed ? b + j * k : b + j;
        i64 stride = packed ? vecs * LANES : b_stride;
        for (i64 d = 0; d < k; d += K_BLOCK) {
            const float *x = a + d * a_k_stride, *y = panel + d * stride;
            i64 k_block = min_i64(K_BLOCK, k - d);
#define ACCUMULATE(V) panel_kernel(x, a_row_stride, a_k_stride, y, stride, m, k_block, c + j, c_stride, V, 1)
#define ASSIGN(V) panel_kernel(x, a_row_stride, a_k_stride, y, stride, m, k_block, c + j, c_stride, V, 0)
            if (accumulate || d) {
                if (vecs == KERNEL_VECS) ACCUMULATE(KERNEL_VECS);
                else if (vecs == 2) ACCUMULATE(KERNEL_VECS_2);
                else ACCUMULATE(1);
            } else {
                if (vecs == KERNEL_VECS) ASSIGN(KERNEL_VECS);
                else if (vecs == 2) ASSIGN(KERNEL_VECS_2);
                else ASSIGN(1);
            }
#undef ACCUMULATE
#undef ASSIGN
        }
    }
}

/* Packs w [k, n], its rows multiplied by gain [k] unless that is NULL, and its transpose. */
static void pack_f32(const float *w, const float *gain, i64 k, i64 n, void *packed, void *transposed) {
    for (i64 c = 0; c < n; c += PANEL_COLUMNS) {
        i64 columns = min_i64(PANEL_COLUMNS, n - c);
        float *to = (float *)packed + c * k;
        for (i64 r = 0; r < k; r++)
            for (i64 i = 0; i < columns; i++) to[r * columns + i] = w[r * n + c + i] * (gain ? gain[r] : 1.0f);
    }
    for (i64 c = 0; c < k; c += PANEL_COLUMNS) {
        i64 columns = min_i64(PANEL_COLUMNS, k - c);
        float *to = (float *)transposed + c * n;
        for (i64 r = 0; r < n; r += LANES) /* so that the written panel stays in the L1 cache */
            for (i64 i = 0; i < columns; i++)
                for (i64 j = r; j < min_i64(r + LANES, n); j++)
                    to[j * columns + i] = w[(c + i) * n + j] * (gain ? gain[c + i] : 1.0f);
    }
}

/* ---- bfloat16, AMX tiles */

#if defined(__AMX_BF16__) && defined(__AVX512F__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether this process may use AMX: Linux grants it on request. */
int has_amx(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

static void amx_configure(void) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
}
static void amx_release(void) { _tile_release(); }

/* One or two tiles of rows by one or two of columns. Tiles of a: a_k_stride numbers apart along k, a_tile_row_stride
   from one row of tiles to the next; rows within a tile a_stride apart. */
INLINE void amx_kernel(
    const uint16_t *a, i64 a_stride, i64 a_k_stride, i64 a_tile_row_stride, const uint16_t *b, i64 tiles, float *c,
    i64 c_stride, int rows, int columns, int accumulate) {
    if (accumulate) {
        _tile_loadd(0, c, 4 * c_stride);
        if (columns > 1) _tile_loadd(1, c + 16, 4 * c_stride);
        if (rows > 1) _tile_loadd(2, c + 16 * c_stride, 4 * c_stride);
        if (rows > 1 && columns > 1) _tile_loadd(3, c + 16 * c_stride + 16, 4 * c_stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (i64 k = 0; k < tiles; k++, a += a_k_stride, b += TILE_ELEMENTS) {
        _tile_loadd(4, a, 2 * a_stride);
        _tile_loadd(6, b, 2 * TILE_K);
        _tile_dpbf16ps(0, 4, 6);
        if (columns > 1) {
            _tile_loadd(7, b + tiles * TILE_ELEMENTS, 2 * TILE_K);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (rows > 1) {
            _tile_loadd(5, a + a_tile_row_stride, 2 * a_stride);
            _tile_dpbf16ps(2, 5, 6);
            if (columns > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, 4 * c_stride);
    if (columns > 1) _tile_stored(1, c + 16, 4 * c_stride);
    if (rows > 1) _tile_stored(2, c + 16 * c_stride, 4 * c_stride);
    if (rows > 1 && columns > 1) _tile_stored(3, c + 16 * c_stride + 16, 4 * c_stride);
}

static void matmul_amx(
    const uint16_t *a, i64 a_stride, i64 a_k_stride, i64 a_tile_row_stride, const uint16_t *b, i64 m, i64 n, i64 tiles,
    float *c, i64 c_stride, int accumulate) {
    __asm__ volatile(
        "" ::
            : "memory"); /* a barrier: the compiler does not see that tile loads read memory just written */
    for (i64 j = 0; j < n; j += 32)
        for (i64 i = 0; i < m; i += 32) {
            const uint16_t *x = a + i / 16 * a_tile_row_stride, *y = b + j / 16 * tiles * TILE_ELEMENTS;
            float *z = c + i * c_stride + j;
#define CALL(R, C)                                                                                                     \
    if (accumulate) amx_kernel(x, a_stride, a_k_stride, a_tile_row_stride, y, tiles, z, c_stride, R, C, 1);            \
    else amx_kernel(x, a_stride, a_k_stride, a_tile_row_stride, y, tiles, z, c_stride, R, C, 0)
            if (i + 16 < m && j + 16 < n) {
                CALL(2, 2);
            } else if (i + 16 < m) {
                CALL(2, 1);
            } else if (j + 16 < n) {
                CALL(1, 2);
            } else {
                CALL(1, 1);
            }
#undef CALL
        }
}

/* Transposes 16 rows of 16 pairs of bfloat16. */
INLINE void transpose_16x16(__m512i x[16]) {
    __m512i y[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        y[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        y[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]), x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]), x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i a = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88), b = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        __m512i c = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd), d = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
        y[i] = _mm512_shuffle_i32x4(a, b, 0x88), y[i + 8] = _mm512_shuffle_i32x4(a, b, 0xdd);
        y[i + 4] = _mm512_shuffle_i32x4(c, d, 0x88), y[i + 12] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
    memcpy(x, y, sizeof(y));
}

/* x [k, n] as tiles of b (rows interleaved in pairs) or, transposed, as tiles of its transpose as a. k is padded with
   zeros; n is a multiple of 16. */
INLINE void to_amx_tiles_impl(const uint16_t *x, i64 k, i64 n, i64 x_stride, int transposed, uint16_t *to) {
    for (i64 j = 0; j < n; j += 16)
        for (i64 t = 0; t < k; t += TILE_K, to += TILE_ELEMENTS) {
            __m512i pairs[16];
#pragma GCC unroll 16
            for (int p = 0; p < 16; p++) {
                const uint16_t *row = x + (t + 2 * p) * x_stride + j;
                __m256i none = _mm256_setzero_si256();
                __m256i even = t + 2 * p < k ? _mm256_loadu_si256((const __m256i *)row) : none;
                __m256i odd = t + 2 * p + 1 < k ? _mm256_loadu_si256((const __m256i *)(row + x_stride)) : none;
                pairs[p] =
                    _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
            }
            if (transposed) transpose_16x16(pairs);
            memcpy(to, pairs, sizeof(pairs));
        }
}

static void to_amx_tiles(const uint16_t *x, i64 k, i64 n, i64 x_stride, int transposed, uint16_t *to) {
    if (transposed) to_amx_tiles_impl(x, k, n, x_stride, 1, to);
    else to_amx_tiles_impl(x, k, n, x_stride, 0, to);
}

/* The transpose of x [k, n] as tiles of b: pairs along n, padded with zeros. k is a multiple of 16. */
static void to_amx_tiles_transposed(const uint16_t *x, i64 k, i64 n, uint16_t *to) {
    for (i64 j = 0; j < k; j += 16)
        for (i64 t = 0; t < n; t += TILE_K, to += TILE_ELEMENTS) {
            __m512i pairs[16];
            __mmask16 mask = n - t >= TILE_K ? 0xffff : 0x00ff; /* n is a multiple of 16 */
#pragma GCC unroll 16
            for (int c = 0; c < 16; c++) pairs[c] = _mm512_maskz_loadu_epi32(mask, x + (j + c) * n + t);
            transpose_16x16(pairs);
            memcpy(to, pairs, sizeof(pairs));
        }
}

/* As pack_f32; scratch [k, n]. */
static void pack_amx(
    const float *w, const float *gain, i64 k, i64 n, void *packed, void *transposed, uint16_t *scratch) {
    for (i64 r = 0; r < k; r++)
        for (i64 c = 0; c < n; c += LANES)
            store_f32x16(scratch, r * n + c, load_f32x16(w, r * n + c, 0) * (gain ? gain[r] : 1.0f), 1);
    to_amx_tiles(scratch, k, n, n, 0, packed);
    to_amx_tiles_transposed(scratch, k, n, transposed);
}
#else
int has_amx(void) { return 0; }
static void amx_configure(void) {}
static void amx_release(void) {}
static void matmul_amx(
    const uint16_t *a, i64 a_stride, i64 a_k_stride, i64 a_tile_row_stride, const uint16_t *b, i64 m, i64 n, i64 tiles,
    float *c, i64 c_stride, int accumulate) {}
static void to_amx_tiles(const uint16_t *x, i64 k, i64 n, i64 x_stride, int transposed, uint16_t *to) {}
static void pack_amx(
    const float *w, const float *gain, i64 k, i64 n, void *packed, void *transposed, uint16_t *scratch) {}
#endif

/* ---- Either precision */

/* c [m, n] = or += a [m, k] times a packed weight [k, n]. */
INLINE void matmul(
    const void *a, i64 a_stride, const void *b, i64 m, i64 n, i64 k, float *c, int accumulate, int is_bf16) {
    if (is_bf16)
        matmul_amx(
            a, a_stride, TILE_K, 16 * a_stride, b, round_up(m, 16), n, padded_k(k, 1) / TILE_K, c, n, accumulate);
    else matmul_f32(a, a_stride, 1, b, 1, 0, m, n, k, c, n, accumulate);
}
