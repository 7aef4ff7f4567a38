/* RMSNorm and SwiGLU, forward and backward. */

#define EPSILON 1e-6f

/* y = x / rms(x), x [n, w]; inverse [n] = 1 / rms(x). */
INLINE void rms_norm(const float *x, i64 n, i64 w, void *y, float *inverse, int is_bf16) {
    for (i64 i = 0; i < n; i++, x += w) {
        f32x16 square = {0};
        for (i64 j = 0; j < w; j += LANES) square += load_f32x16(x, j, 0) * load_f32x16(x, j, 0);
        float s = inverse[i] = 1.0f / sqrtf(reduce_add(square) / w + EPSILON);
        for (i64 j = 0; j < w; j += LANES) store_f32x16(y, i * w + j, load_f32x16(x, j, 0) * s, is_bf16);
    }
}

/* dx += the gradient of x; without `accumulate`, dx = it. */
INLINE void rms_norm_backward(
    const float *g, const void *y, const float *inverse, i64 n, i64 w, float *dx, int accumulate, int is_bf16) {
    for (i64 i = 0; i < n; i++, g += w, dx += w) {
        f32x16 products = {0};
        for (i64 j = 0; j < w; j += LANES) products += load_f32x16(g, j, 0) * load_f32x16(y, i * w + j, is_bf16);
        float dot = reduce_add(products) / w;
        for (i64 j = 0; j < w; j += LANES) {
            f32x16 d = (load_f32x16(g, j, 0) - dot * load_f32x16(y, i * w + j, is_bf16)) * inverse[i];
            store_f32x16(dx, j, accumulate ? load_f32x16(dx, j, 0) + d : d, 0);
        }
    }
}

/* 1 / (1 + e^-x), computed from e^-|x|, which cannot overflow; NaN stays NaN. */
INLINE f32x16 sigmoid(f32x16 x) {
    f32x16 exp_neg = exp_f32x16((f32x16)((i32x16)x | INT32_MIN));
    return blend(x < 0.0f, exp_neg, 1.0f + (f32x16){0}) * reciprocal(1.0f + exp_neg);
}

/* y [n, y_stride] = silu(gate) * up from gate_up [n, 2m]; copies gate_up into `saved` unless that is NULL. */
INLINE void swiglu(const float *gate_up, i64 n, i64 m, void *y, i64 y_stride, void *saved, int is_bf16) {
    for (i64 i = 0; i < n; i++, gate_up += 2 * m) {
        for (i64 j = 0; j < m; j += LANES) {
            f32x16 gate = load_f32x16(gate_up, j, 0);
            store_f32x16(y, i * y_stride + j, gate * sigmoid(gate) * load_f32x16(gate_up, j + m, 0), is_bf16);
        }
        if (saved) convert_f32(gate_up, 2 * m, element(saved, 2 * i * m, is_bf16), is_bf16);
    }
}

/* g [n, m], the gradient of y -> grad_gate_up [n, 2m]; recomputes y [n, y_stride]. */
INLINE void swiglu_backward(
    const float *g, const void *gate_up, i64 n, i64 m, void *grad_gate_up, void *y, i64 y_stride, int is_bf16) {
    for (i64 i = 0; i < n; i++, g += m)
        for (i64 j = 0; j < m; j += LANES) {
            i64 gate = 2 * i * m + j;
            f32x16 x = load_f32x16(gate_up, gate, is_bf16), up = load_f32x16(gate_up, gate + m, is_bf16),
                   grad = load_f32x16(g, j, 0);
            f32x16 s = sigmoid(x), silu = x * s;
            store_f32x16(grad_gate_up, gate, grad * up * (s + silu * (1.0f - s)), is_bf16);
            store_f32x16(grad_gate_up, gate + m, grad * silu, is_bf16);
            store_f32x16(y, i * y_stride + j, silu * up, is_bf16);
        }
}
