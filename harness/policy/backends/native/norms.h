/* What lies between products. */

#define EPSILON 1e-6f

/* y = x / rms(x), x [n, w] */
INLINE void norm(const float *x, n_t n, n_t w, void *y, float *inverse, int low) {
    for (n_t i = 0; i < n; i++, x += w) {
        lanes square = {0};
        for (n_t j = 0; j < w; j += LANES) square += lanes_of(x, j, 0) * lanes_of(x, j, 0);
        float s = inverse[i] = 1.0f / sqrtf(sum_of(square) / w + EPSILON);
        for (n_t j = 0; j < w; j += LANES) put_lanes(y, i * w + j, lanes_of(x, j, 0) * s, low);
    }
}

/* dx += the gradient of x, or = where not `add`. */
INLINE void norm_grad(const float *g, const void *y, const float *inverse, n_t n, n_t w, float *dx, int add, int low) {
    for (n_t i = 0; i < n; i++, g += w, dx += w) {
        lanes products = {0};
        for (n_t j = 0; j < w; j += LANES) products += lanes_of(g, j, 0) * lanes_of(y, i * w + j, low);
        float along = sum_of(products) / w;
        for (n_t j = 0; j < w; j += LANES) {
            lanes d = (lanes_of(g, j, 0) - along * lanes_of(y, i * w + j, low)) * inverse[i];
            put_lanes(dx, j, add ? lanes_of(dx, j, 0) + d : d, 0);
        }
    }
}

/* 1 / (1 + e^-x), from e^-|x|, which cannot overflow; NaN stays NaN. */
INLINE lanes sigmoid(lanes x) {
    lanes smaller = fast_exp_of((lanes)((whole)x | INT32_MIN));
    return pick(x < 0.0f, smaller, 1.0f + (lanes){0}) * inverse_of(1.0f + smaller);
}

/* y [n, of_y] = silu(gate) * up, both side by side: gu [n, 2m]. They are kept as operands where there is a place. */
INLINE void swiglu(const float *gu, n_t n, n_t m, void *y, n_t of_y, void *kept, int low) {
    for (n_t i = 0; i < n; i++, gu += 2 * m) {
        for (n_t j = 0; j < m; j += LANES) {
            lanes gate = lanes_of(gu, j, 0);
            put_lanes(y, i * of_y + j, gate * sigmoid(gate) * lanes_of(gu, j + m, 0), low);
        }
        if (kept) as_operand(gu, 2 * m, into(kept, 2 * i * m, low), low);
    }
}

/* g [n, m] of y -> dgu [n, 2m], and y [n, of_y] once more. */
INLINE void swiglu_grad(const float *g, const void *gu, n_t n, n_t m, void *dgu, void *y, n_t of_y, int low) {
    for (n_t i = 0; i < n; i++, g += m)
        for (n_t j = 0; j < m; j += LANES) {
            n_t gate = 2 * i * m + j;
            lanes x = lanes_of(gu, gate, low), up = lanes_of(gu, gate + m, low), of = lanes_of(g, j, 0);
            lanes s = sigmoid(x), silu = x * s;
            put_lanes(dgu, gate, of * up * (s + silu * (1.0f - s)), low);
            put_lanes(dgu, gate + m, of * silu, low);
            put_lanes(y, i * of_y + j, silu * up, low);
        }
}
