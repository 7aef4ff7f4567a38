/* Vectors of 16 float32, an exponential, and loads and stores of rows that are float32 or, with is_bf16, bfloat16. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES 16

typedef float f32x16 __attribute__((vector_size(4 * LANES)));
typedef float f32x16u __attribute__((vector_size(4 * LANES), aligned(4))); /* unaligned */
typedef int32_t i32x16 __attribute__((vector_size(4 * LANES)));
typedef int64_t i64;

INLINE i64 min_i64(i64 a, i64 b) { return a < b ? a : b; }
INLINE i64 round_up(i64 n, i64 multiple) { return (n + multiple - 1) / multiple * multiple; }
INLINE i64 pad_lanes(i64 n) { return round_up(n, LANES); }

/* e^r for |r| <= ln(2)/2, scalar or vector. */
#define EXP_TAYLOR(r)                                                                                                  \
    (((((((1.98412698e-4f * (r) + 1.38888889e-3f) * (r) + 8.33333333e-3f) * (r) + 4.16666667e-2f) * (r) +              \
         1.66666667e-1f) * (r) + 0.5f) * (r) + 1.0f) * (r) + 1.0f)

/* e^x with a relative error of about 2e-7; NaN stays NaN. */
INLINE float exp_f32(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = rintf(x * 1.44269504f), r = x - n * 0.693147182f;
    union { uint32_t i; float f; } scale = {((uint32_t)(int32_t)n + 127u) << 23};
    return EXP_TAYLOR(r) * scale.f;
}

INLINE f32x16 blend(i32x16 mask, f32x16 a, f32x16 b) { return (f32x16)(((i32x16)a & mask) | ((i32x16)b & ~mask)); }

/* Pairwise reduction; the trip counts are constants, so that it is unrolled. */
#define REDUCE_STEP(W, OP)                                                                                             \
    for (i64 i = 0; i < W; i++) part[i] = OP(part[i], part[i + W]);
#define REDUCE(OP) REDUCE_STEP(8, OP) REDUCE_STEP(4, OP) REDUCE_STEP(2, OP) REDUCE_STEP(1, OP)
#define ADD(a, b) ((a) + (b))
#define MAX(a, b) ((b) > (a) ? (b) : (a))

INLINE float reduce_add(f32x16 x) {
    float part[LANES];
    memcpy(part, &x, sizeof(part));
    REDUCE(ADD)
    return part[0];
}

INLINE float reduce_max(f32x16 x) {
    float part[LANES];
    memcpy(part, &x, sizeof(part));
    REDUCE(MAX)
    return part[0];
}

/* The sums of 16 vectors, one per lane. */
#ifdef __AVX512F__
#include <immintrin.h>
INLINE f32x16 reduce_add_16(f32x16 x[LANES]) {
    __m512 a[8], b[4], c[2]; /* pairwise: each step adds halves and interleaves two vectors */
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm512_unpacklo_ps((__m512)x[2 * i], (__m512)x[2 * i + 1]) +
               _mm512_unpackhi_ps((__m512)x[2 * i], (__m512)x[2 * i + 1]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        b[i] = (__m512)(_mm512_unpacklo_pd((__m512d)a[2 * i], (__m512d)a[2 * i + 1])) +
               (__m512)(_mm512_unpackhi_pd((__m512d)a[2 * i], (__m512d)a[2 * i + 1]));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        c[i] = _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x88) + _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xdd);
    return (f32x16)(_mm512_shuffle_f32x4(c[0], c[1], 0x88) + _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
}
#else
INLINE f32x16 reduce_add_16(f32x16 x[LANES]) {
    f32x16 y;
    for (int i = 0; i < LANES; i++) y[i] = reduce_add(x[i]);
    return y;
}
#endif

/* e^x for x <= 0. Adding 1.5 * 2^23 rounds to an integer. */
INLINE f32x16 exp_f32x16(f32x16 x) {
    x = blend(x < -87.0f, -87.0f + (f32x16){0}, x);
    f32x16 n = x * 1.44269504f + 12582912.0f - 12582912.0f, r = x - n * 0.693147182f;
    return EXP_TAYLOR(r) * (f32x16)((__builtin_convertvector(n, i32x16) + 127) << 23);
}

/* 1 / x with a relative error of about 1e-7, for x in [1, 2]; a division takes three times as long. */
INLINE f32x16 reciprocal(f32x16 x) {
#ifdef __AVX512F__
    f32x16 y = (f32x16)_mm512_rcp14_ps((__m512)x);
    return y * (2.0f - x * y);
#else
    return 1.0f / x;
#endif
}

INLINE i64 element_size(int is_bf16) { return is_bf16 ? 2 : 4; }
INLINE const void *const_element(const void *x, i64 i, int is_bf16) {
    return (const char *)x + element_size(is_bf16) * i;
}
INLINE void *element(void *x, i64 i, int is_bf16) { return (char *)x + element_size(is_bf16) * i; }

typedef uint16_t u16x16u __attribute__((vector_size(2 * LANES), aligned(2)));
typedef uint32_t u32x16 __attribute__((vector_size(4 * LANES)));

INLINE f32x16 load_f32x16(const void *x, i64 i, int is_bf16) {
    if (!is_bf16) return *(const f32x16u *)((const float *)x + i);
    return (f32x16)(__builtin_convertvector(*(const u16x16u *)((const uint16_t *)x + i), u32x16) << 16);
}

/* Rounds to the nearest bfloat16, ties to even. */
INLINE uint32_t bf16_bits(float value) {
    union { float f; uint32_t i; } bits = {value};
    return value != value ? 0x7fc0u << 16 : (bits.i + 0x7fffu + (bits.i >> 16 & 1u)) & 0xffff0000u;
}

INLINE float round_to_bf16(float value) {
    union { uint32_t i; float f; } bits = {bf16_bits(value)};
    return bits.f;
}

INLINE void store_element(void *x, i64 i, float value, int is_bf16) {
    if (is_bf16) ((uint16_t *)x)[i] = (uint16_t)(bf16_bits(value) >> 16);
    else ((float *)x)[i] = value;
}

INLINE void store_f32x16(void *x, i64 i, f32x16 values, int is_bf16) {
    if (!is_bf16) {
        *(f32x16u *)((float *)x + i) = values;
        return;
    }
#ifdef __AVX512BF16__ /* same rounding, except that numbers below 1e-38 become 0 */
    _mm256_storeu_si256((__m256i *)((uint16_t *)x + i), (__m256i)_mm512_cvtneps_pbh((__m512)values));
#else
    for (i64 j = 0; j < LANES; j++) store_element(x, i + j, values[j], 1);
#endif
}

/* Converts x [n] from float32; n is a multiple of LANES. */
INLINE void convert_f32(const float *x, i64 n, void *y, int is_bf16) {
    for (i64 i = 0; i < n; i += LANES) store_f32x16(y, i, load_f32x16(x, i, 0), is_bf16);
}

/* A copy of the code for each precision: no branch on it in inner loops. */
#define DISPATCH_PRECISION(CALL)                                                                                       \
    if (is_bf16) { CALL(1); }                                                                                          \
    else { CALL(0); }
