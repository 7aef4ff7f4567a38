/* Products: c = a·b, or c += a·b, of operands; sums are float32.

   A weight is laid out once for all products that read it, "packed": float32 as panels of PANEL columns one after the
   other (the last may be narrower), bfloat16 as tiles of AMX. PyTorch's library would do it anew at each call, which
   for the few hundred rows here takes longer than the product. Columns are multiples of 16; rows of a and c in bfloat16
   must have room up to a multiple of 16, and k is filled up with zeros to one of TILE. */

#ifdef __AVX512F__
#define ROWS 8
#define VECS 3
#else
#define ROWS 4
#define VECS 1
#endif
#define MIDDLE (VECS > 2 ? 2 : 1)
#define PANEL (VECS * LANES)
#define DEPTH 128 /* rows of a panel that stay in the first cache */
#define TILE 32   /* numbers in a row of a tile */
#define TILE_SIZE (16 * TILE)

INLINE n_t filled(n_t k, int low) { return low ? up(k, TILE) : k; }
INLINE n_t packed_bytes(n_t k, n_t n, int low) { return filled(k, low) * n * size_of(low); }

/* ---- float32: a[i * down + k * along] */

INLINE void block(
    const float *a, n_t down, n_t along, const float *b, n_t wide, n_t k, float *c, n_t of_c, int rows, int vecs,
    int add) {
    lanes sum[ROWS][VECS]; /* in registers: all loops over it are unrolled */
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) {
            if (add) sum[i][j] = *(const loose *)(c + i * of_c + j * LANES);
            else sum[i][j] = (lanes){0};
        }
    for (n_t d = 0; d < k; d++) {
        lanes y[VECS];
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) y[j] = *(const loose *)(b + d * wide + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            float x = a[i * down + d * along];
#pragma GCC unroll 3
            for (int j = 0; j < vecs; j++) sum[i][j] += x * y[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) *(loose *)(c + i * of_c + j * LANES) = sum[i][j];
}

INLINE void strip(
    const float *a, n_t down, n_t along, const float *b, n_t wide, n_t m, n_t k, float *c, n_t of_c, int vecs,
    int add) {
    n_t i = 0;
    for (; i + ROWS <= m; i += ROWS) block(a + i * down, down, along, b, wide, k, c + i * of_c, of_c, ROWS, vecs, add);
    for (; i + 2 <= m; i += 2) block(a + i * down, down, along, b, wide, k, c + i * of_c, of_c, 2, vecs, add);
    if (i < m) block(a + i * down, down, along, b, wide, k, c + i * of_c, of_c, 1, vecs, add);
}

/* b: packed, or rows of of_b numbers. */
static void float_product(
    const float *a, n_t down, n_t along, const float *b, int packed, n_t of_b, n_t m, n_t n, n_t k, float *c, n_t of_c,
    int add) {
    for (n_t j = 0, vecs; j < n; j += vecs * LANES) {
        vecs = least(VECS, (n - j) / LANES);
        const float *panel = packed ? b + j * k : b + j;
        n_t wide = packed ? vecs * LANES : of_b;
        for (n_t d = 0; d < k; d += DEPTH) {
            const float *x = a + d * along, *y = panel + d * wide;
            n_t deep = least(DEPTH, k - d);
#define STRIP(V) strip(x, down, along, y, wide, m, deep, c + j, of_c, V, 1)
#define FIRST(V) strip(x, down, along, y, wide, m, deep, c + j, of_c, V, 0)
            if (add || d) {
                if (vecs == VECS) STRIP(VECS);
                else if (vecs == 2) STRIP(MIDDLE);
                else STRIP(1);
            } else {
                if (vecs == VECS) FIRST(VECS);
                else if (vecs == 2) FIRST(MIDDLE);
                else FIRST(1);
            }
#undef STRIP
#undef FIRST
        }
    }
}

/* w [k, n], its rows times gain [k] where there is one, and the transpose of that. */
static void float_pack(const float *w, const float *gain, n_t k, n_t n, void *forth, void *back) {
    for (n_t c = 0; c < n; c += PANEL) {
        n_t wide = least(PANEL, n - c);
        float *to = (float *)forth + c * k;
        for (n_t r = 0; r < k; r++)
            for (n_t i = 0; i < wide; i++) to[r * wide + i] = w[r * n + c + i] * (gain ? gain[r] : 1.0f);
    }
    for (n_t c = 0; c < k; c += PANEL) {
        n_t wide = least(PANEL, k - c);
        float *to = (float *)back + c * n;
        for (n_t r = 0; r < n; r += LANES) /* so that what is written stays in the first cache */
            for (n_t i = 0; i < wide; i++)
                for (n_t j = r; j < least(r + LANES, n); j++)
                    to[j * wide + i] = w[(c + i) * n + j] * (gain ? gain[c + i] : 1.0f);
    }
}

/* ---- bfloat16, by the tiles of AMX */

#ifdef __AMX_BF16__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether this process may use them: Linux asks to be asked. */
int has_tiles(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

static void tiles_on(void) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
}
static void tiles_off(void) { _tile_release(); }

/* Tiles of a stand `next` numbers apart along k and `down` from a row of them to the one below, their rows of_a. */
INLINE void tile_block(
    const uint16_t *a, n_t of_a, n_t next, n_t down, const uint16_t *b, n_t tiles, float *c, n_t of_c, int rows,
    int columns, int add) {
    if (add) {
        _tile_loadd(0, c, 4 * of_c);
        if (columns > 1) _tile_loadd(1, c + 16, 4 * of_c);
        if (rows > 1) _tile_loadd(2, c + 16 * of_c, 4 * of_c);
        if (rows > 1 && columns > 1) _tile_loadd(3, c + 16 * of_c + 16, 4 * of_c);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (n_t k = 0; k < tiles; k++, a += next, b += TILE_SIZE) {
        _tile_loadd(4, a, 2 * of_a);
        _tile_loadd(6, b, 2 * TILE);
        _tile_dpbf16ps(0, 4, 6);
        if (columns > 1) {
            _tile_loadd(7, b + tiles * TILE_SIZE, 2 * TILE);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (rows > 1) {
            _tile_loadd(5, a + down, 2 * of_a);
            _tile_dpbf16ps(2, 5, 6);
            if (columns > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, 4 * of_c);
    if (columns > 1) _tile_stored(1, c + 16, 4 * of_c);
    if (rows > 1) _tile_stored(2, c + 16 * of_c, 4 * of_c);
    if (rows > 1 && columns > 1) _tile_stored(3, c + 16 * of_c + 16, 4 * of_c);
}

static void tile_product(
    const uint16_t *a, n_t of_a, n_t next, n_t down, const uint16_t *b, n_t m, n_t n, n_t tiles, float *c, n_t of_c,
    int add) {
    __asm__ volatile("" ::: "memory"); /* the compiler does not know that a tile is loaded from what was just written */
    for (n_t j = 0; j < n; j += 32)
        for (n_t i = 0; i < m; i += 32) {
            const uint16_t *x = a + i / 16 * down, *y = b + j / 16 * tiles * TILE_SIZE;
            float *z = c + i * of_c + j;
#define CALL(R, C)                                                                                                     \
    if (add) tile_block(x, of_a, next, down, y, tiles, z, of_c, R, C, 1);                                              \
    else tile_block(x, of_a, next, down, y, tiles, z, of_c, R, C, 0)
            if (i + 16 < m && j + 16 < n) { CALL(2, 2); }
            else if (i + 16 < m) { CALL(2, 1); }
            else if (j + 16 < n) { CALL(1, 2); }
            else { CALL(1, 1); }
#undef CALL
        }
}

/* Pairs of bfloat16, 16 rows of 16, the other way round. */
INLINE void transpose(__m512i x[16]) {
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

/* x [k, n] as the tiles of b, pairs of rows side by side; or, `along`, as those of its transpose as a. k is filled up
   with zeros, n is a multiple of 16. */
INLINE void as_tiles_of(const uint16_t *x, n_t k, n_t n, n_t of_x, int along, uint16_t *to) {
    for (n_t j = 0; j < n; j += 16)
        for (n_t t = 0; t < k; t += TILE, to += TILE_SIZE) {
            __m512i pairs[16];
#pragma GCC unroll 16
            for (int p = 0; p < 16; p++) {
                const uint16_t *one = x + (t + 2 * p) * of_x + j;
                __m256i none = _mm256_setzero_si256();
                __m256i even = t + 2 * p < k ? _mm256_loadu_si256((const __m256i *)one) : none;
                __m256i odd = t + 2 * p + 1 < k ? _mm256_loadu_si256((const __m256i *)(one + of_x)) : none;
                pairs[p] = _mm512_or_si512(
                    _mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
            }
            if (along) transpose(pairs);
            memcpy(to, pairs, sizeof(pairs));
        }
}

static void as_tiles(const uint16_t *x, n_t k, n_t n, n_t of_x, int along, uint16_t *to) {
    if (along) as_tiles_of(x, k, n, of_x, 1, to);
    else as_tiles_of(x, k, n, of_x, 0, to);
}

/* The transpose of x [k, n] as the tiles of b; its n rows come in pairs, filled up with zeros. k is a multiple of 16. */
static void as_tiles_back(const uint16_t *x, n_t k, n_t n, uint16_t *to) {
    for (n_t j = 0; j < k; j += 16)
        for (n_t t = 0; t < n; t += TILE, to += TILE_SIZE) {
            __m512i pairs[16];
            __mmask16 there = n - t >= TILE ? 0xffff : 0x00ff; /* n is a multiple of 16 */
#pragma GCC unroll 16
            for (int c = 0; c < 16; c++) pairs[c] = _mm512_maskz_loadu_epi32(there, x + (j + c) * n + t);
            transpose(pairs);
            memcpy(to, pairs, sizeof(pairs));
        }
}

/* As float_pack; memory [k, n]. */
static void tile_pack(
    const float *w, const float *gain, n_t k, n_t n, void *forth, void *back, uint16_t *memory) {
    for (n_t r = 0; r < k; r++)
        for (n_t c = 0; c < n; c += LANES)
            put_lanes(memory, r * n + c, lanes_of(w, r * n + c, 0) * (gain ? gain[r] : 1.0f), 1);
    as_tiles(memory, k, n, n, 0, forth);
    as_tiles_back(memory, k, n, back);
}
#else
int has_tiles(void) { return 0; }
static void tiles_on(void) {}
static void tiles_off(void) {}
static void tile_product(
    const uint16_t *a, n_t of_a, n_t next, n_t down, const uint16_t *b, n_t m, n_t n, n_t tiles, float *c, n_t of_c,
    int add) {}
static void as_tiles(const uint16_t *x, n_t k, n_t n, n_t of_x, int along, uint16_t *to) {}
static void tile_pack(
    const float *w, const float *gain, n_t k, n_t n, void *forth, void *back, uint16_t *memory) {}
#endif

/* ---- Either */

/* c [m, n] of a [m, k] and a packed weight [k, n]. */
INLINE void product(const void *a, n_t of_a, const void *b, n_t m, n_t n, n_t k, float *c, int add, int low) {
    if (low) tile_product(a, of_a, TILE, 16 * of_a, b, up(m, 16), n, filled(k, 1) / TILE, c, n, add);
    else float_product(a, of_a, 1, b, 1, 0, m, n, k, c, n, add);
}
