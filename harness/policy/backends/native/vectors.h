/* Numbers: vectors of float32, an exponential, and operands, which are float32 or, where `low` is set, bfloat16. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES 16

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4))); /* the same, anywhere in memory */
typedef int32_t whole __attribute__((vector_size(4 * LANES)));
typedef int64_t n_t;

INLINE n_t least(n_t a, n_t b) { return a < b ? a : b; }
INLINE n_t up(n_t n, n_t multiple) { return (n + multiple - 1) / multiple * multiple; }
INLINE n_t padded(n_t n) { return up(n, LANES); }

/* e^r for |r| up to ln(2)/2, of a number or a vector. */
#define EXP_SERIES(r)                                                                                                  \
    (((((((1.98412698e-4f * (r) + 1.38888889e-3f) * (r) + 8.33333333e-3f) * (r) + 4.16666667e-2f) * (r) +              \
         1.66666667e-1f) * (r) + 0.5f) * (r) + 1.0f) * (r) + 1.0f)

/* e^x to about 2e-7 of its size; NaN stays NaN. */
INLINE float fast_exp(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = rintf(x * 1.44269504f), r = x - n * 0.693147182f;
    union { uint32_t i; float f; } scale = {((uint32_t)(int32_t)n + 127u) << 23};
    return EXP_SERIES(r) * scale.f;
}

INLINE lanes pick(whole mask, lanes a, lanes b) { return (lanes)(((whole)a & mask) | ((whole)b & ~mask)); }

/* Halves onto each other, by steps whose number the compiler knows. */
#define FOLD(W, TAKE)                                                                                                  \
    for (n_t i = 0; i < W; i++) part[i] = TAKE(part[i], part[i + W]);
#define FOLDED(TAKE) FOLD(8, TAKE) FOLD(4, TAKE) FOLD(2, TAKE) FOLD(1, TAKE)
#define PLUS(a, b) ((a) + (b))
#define LARGER(a, b) ((b) > (a) ? (b) : (a))

INLINE float sum_of(lanes x) {
    float part[LANES];
    memcpy(part, &x, sizeof(part));
    FOLDED(PLUS)
    return part[0];
}

INLINE float most_of(lanes x) {
    float part[LANES];
    memcpy(part, &x, sizeof(part));
    FOLDED(LARGER)
    return part[0];
}

/* The sums of 16 vectors, side by side. */
#ifdef __AVX512F__
#include <immintrin.h>
INLINE lanes sums_of(lanes x[LANES]) {
    __m512 a[8], b[4], c[2]; /* by pairs: of two, the sums of halves of what is left of each */
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
    return (lanes)(_mm512_shuffle_f32x4(c[0], c[1], 0x88) + _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
}
#else
INLINE lanes sums_of(lanes x[LANES]) {
    lanes y;
    for (int i = 0; i < LANES; i++) y[i] = sum_of(x[i]);
    return y;
}
#endif

/* e^x of a vector of numbers up to 0. Adding 1.5 * 2^23 rounds to a whole number. */
INLINE lanes fast_exp_of(lanes x) {
    x = pick(x < -87.0f, -87.0f + (lanes){0}, x);
    lanes n = x * 1.44269504f + 12582912.0f - 12582912.0f, r = x - n * 0.693147182f;
    return EXP_SERIES(r) * (lanes)((__builtin_convertvector(n, whole) + 127) << 23);
}

/* 1 / x to about 1e-7 of its size, of numbers from 1 to 2: a division takes three times as long. */
INLINE lanes inverse_of(lanes x) {
#ifdef __AVX512F__
    lanes y = (lanes)_mm512_rcp14_ps((__m512)x);
    return y * (2.0f - x * y);
#else
    return 1.0f / x;
#endif
}

INLINE n_t size_of(int low) { return low ? 2 : 4; }
INLINE const void *at(const void *x, n_t i, int low) { return (const char *)x + size_of(low) * i; }
INLINE void *into(void *x, n_t i, int low) { return (char *)x + size_of(low) * i; }

typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

INLINE lanes lanes_of(const void *x, n_t i, int low) {
    if (!low) return *(const loose *)((const float *)x + i);
    return (lanes)(__builtin_convertvector(*(const halves *)((const uint16_t *)x + i), words) << 16);
}

/* To the nearest bfloat16, ties to even. */
INLINE uint32_t rounded_bits(float value) {
    union { float f; uint32_t i; } wide = {value};
    return value != value ? 0x7fc0u << 16 : (wide.i + 0x7fffu + (wide.i >> 16 & 1u)) & 0xffff0000u;
}

INLINE float rounded(float value) {
    union { uint32_t i; float f; } wide = {rounded_bits(value)};
    return wide.f;
}

INLINE void put(void *x, n_t i, float value, int low) {
    if (low) ((uint16_t *)x)[i] = (uint16_t)(rounded_bits(value) >> 16);
    else ((float *)x)[i] = value;
}

INLINE void put_lanes(void *x, n_t i, lanes values, int low) {
    if (!low) {
        *(loose *)((float *)x + i) = values;
        return;
    }
#ifdef __AVX512BF16__ /* rounds alike, but for numbers below 1e-38, which become 0 */
    _mm256_storeu_si256((__m256i *)((uint16_t *)x + i), (__m256i)_mm512_cvtneps_pbh((__m512)values));
#else
    for (n_t j = 0; j < LANES; j++) put(x, i + j, values[j], 1);
#endif
}

/* x [n], whole vectors, as an operand. */
INLINE void as_operand(const float *x, n_t n, void *y, int low) {
    for (n_t i = 0; i < n; i += LANES) put_lanes(y, i, lanes_of(x, i, 0), low);
}

/* So that neither kind asks for its kind number by number. */
#define BY_PRECISION(CALL)                                                                                             \
    if (low) { CALL(1); }                                                                                              \
    else { CALL(0); }
