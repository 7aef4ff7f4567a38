/* RoPE, half-split layout; the first half of sin is negated. */

INLINE void rope(float *x, const float *cos, const float *sin, i64 d) {
    i64 half = d / 2;
#pragma omp simd
    for (i64 k = 0; k < half; k++) {
        float a = x[k], b = x[k + half];
        x[k] = a * cos[k] + b * sin[k];
        x[k + half] = b * cos[k + half] + a * sin[k + half];
    }
}

INLINE void rope_backward(float *g, const float *cos, const float *sin, i64 d) {
    i64 half = d / 2;
#pragma omp simd
    for (i64 k = 0; k < half; k++) {
        float a = g[k], b = g[k + half];
        g[k] = a * cos[k] + b * sin[k + half];
        g[k + half] = b * cos[k + half] + a * sin[k];
    }
}

/* A copy of the code for common head widths: loops over the width are unrolled. */
#define DISPATCH_HEAD_WIDTH(CALL)                                                                                      \
    switch (d) {                                                                                                       \
    case 16: CALL(16); break;                                                                                          \
    case 24: CALL(24); break;                                                                                          \
    case 32: CALL(32); break;                                                                                          \
    default: CALL(d);                                                                                                  \
    }

/* The queries and keys of one token: `heads` heads, adjacent. */
static void rope_heads(float *qk, const float *cos, const float *sin, i64 heads, i64 d) {
#define CALL(D) for (i64 i = 0; i < heads; i++) rope(qk + i * d, cos, sin, D)
    DISPATCH_HEAD_WIDTH(CALL)
#undef CALL
}

static void rope_heads_backward(float *qk, const float *cos, const float *sin, i64 heads, i64 d) {
#define CALL(D) for (i64 i = 0; i < heads; i++) rope_backward(qk + i * d, cos, sin, D)
    DISPATCH_HEAD_WIDTH(CALL)
#undef CALL
}
