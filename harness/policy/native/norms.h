/* What lies between products. */

#define EPSILON 1e-6f

/* y = x / rms(x), x [n, w] */
INLINE void norm(const float *x, n_t n, n_t w, void *y, float *inverse, int low) {
    for (n_t i = 0; i < n; i++, x += w) {
        float square = 0;
#pragma omp simd reduction(+ : square)
        for (n_t j = 0; j < w; j++) square += x[j] * x[j];
        float s = inverse[i] = 1.0f / sqrtf(square / w + EPSILON);
        for (n_t j = 0; j < w; j++) put(y, i * w + j, x[j] * s, low);
    }
}

/* dx += the gradient of x, or = where not `add`. */
INLINE void norm_grad(const float *g, const void *y, const float *inverse, n_t n, n_t w, float *dx, int add, int low) {
    for (n_t i = 0; i < n; i++, g += w, dx += w) {
        float along = 0;
#pragma omp simd reduction(+ : along)
        for (n_t j = 0; j < w; j++) along += g[j] * get(y, i * w + j, low);
        along /= w;
#pragma omp simd
        for (n_t j = 0; j < w; j++) {
            float d = (g[j] - along * get(y, i * w + j, low)) * inverse[i];
            dx[j] = add ? dx[j] + d : d;
        }
    }
}

/* y [n, of_y] = silu(gate) * up, both side by side: gu [n, 2m]. They are kept as operands where there is a place. */
INLINE void swiglu(const float *gu, n_t n, n_t m, void *y, n_t of_y, void *kept, int low) {
    for (n_t i = 0; i < n; i++, gu += 2 * m) {
#pragma omp simd
        for (n_t j = 0; j < m; j++) put(y, i * of_y + j, gu[j] / (1.0f + fast_exp(-gu[j])) * gu[j + m], low);
        if (kept)
            for (n_t j = 0; j < 2 * m; j++) put(kept, 2 * i * m + j, gu[j], low);
    }
}

/* g [n, m] of y -> dgu [n, 2m], and y [n, of_y] once more. */
INLINE void swiglu_grad(const float *g, const void *gu, n_t n, n_t m, void *dgu, void *y, n_t of_y, int low) {
    for (n_t i = 0; i < n; i++, g += m) {
        const void *gate = at(gu, 2 * i * m, low), *up = at(gate, m, low);
        void *dgate = into(dgu, 2 * i * m, low), *dup = into(dgate, m, low), *of = into(y, i * of_y, low);
#pragma omp simd
        for (n_t j = 0; j < m; j++) {
            float x = get(gate, j, low), u = get(up, j, low), s = 1.0f / (1.0f + fast_exp(-x)), silu = x * s;
            put(dgate, j, g[j] * u * (s + silu * (1.0f - s)), low);
            put(dup, j, g[j] * silu, low);
            put(of, j, silu * u, low);
        }
    }
}

INLINE void as_operand(const float *x, n_t n, void *y, int low) {
    if (!low) memcpy(y, x, sizeof(float) * n);
    else
        for (n_t i = 0; i < n; i++) put(y, i, x[i], 1);
}
