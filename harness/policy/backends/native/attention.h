/* Causal attention in float32; its output is float32 or bfloat16. */

/* ---- Attention over packed rows (variable length, no padding)

   qkv [n, 3, h, d]; rows [rows, 4]: context_start, context_end, start, end. Tokens start..end attend causally within
   their row and to all of its context, which lies in rows without a context. Adjacent rows with the same context form a
   run; a row without a context is a run of its own. The output of tokens in no row is not written. */

typedef struct {
    const float *qkv; /* with RoPE applied to q and k */
    i64 h, stride;    /* heads; numbers per token: 3hd */
} attention_args;

/* Queries processed together: the steps of one query depend on each other. */
#define QUERY_BLOCK 8

/* Of one head: keys and values of the context, then of the row. */
typedef struct {
    i64 capacity;     /* number of keys, padded */
    float *kt, *vt;   /* [d, capacity] */
    float *k, *v;     /* [capacity, d padded with 0] */
    float *p, *dp;    /* [QUERY_BLOCK, capacity] */
    float *dk, *dv;   /* [capacity, d padded] */
    float *q, *g, *o; /* queries and their output gradients [QUERY_BLOCK, d padded]; one output [d padded] */
    i64 runs, *first; /* first row of each run, [runs + 1] */
    void *memory;
} attention_scratch;

/* `memory` is NULL if the allocation fails. */
static attention_scratch new_attention_scratch(const i64 *rows, i64 n_rows, i64 d) {
    i64 largest = 1;
    for (i64 r = 0; r < n_rows; r++) {
        i64 keys = rows[4 * r + 1] - rows[4 * r] + rows[4 * r + 3] - rows[4 * r + 2];
        if (keys > largest) largest = keys;
    }
    i64 capacity = pad_lanes(largest), d_padded = pad_lanes(d), flat = capacity * d_padded;
    i64 floats = 6 * flat + 2 * QUERY_BLOCK * capacity + (2 * QUERY_BLOCK + 1) * d_padded;
    attention_scratch s = {capacity};
    s.memory = aligned_alloc(64, round_up(4 * floats + sizeof(i64) * (n_rows + 1), 64));
    if (!s.memory) return s;
    float *x = s.memory;
    memset(x, 0, 4 * floats);
    s.kt = x, s.vt = x += flat, s.k = x += flat, s.v = x += flat, s.dk = x += flat, s.dv = x += flat;
    s.p = x += flat, s.dp = x += QUERY_BLOCK * capacity, s.q = x += QUERY_BLOCK * capacity,
    s.g = x += QUERY_BLOCK * d_padded;
    s.o = x += QUERY_BLOCK * d_padded;
    s.first = (i64 *)(x + d_padded);
    for (i64 r = 0; r < n_rows; r++) {
        const i64 *row = rows + 4 * r;
        if (!r || row[0] == row[1] || row[0] != row[-4] || row[1] != row[-3]) s.first[s.runs++] = r;
    }
    s.first[s.runs] = n_rows;
    return s;
}

/* Copies keys and values of `count` tokens from `token` on to the keys from `key` on. */
INLINE void load_kv(
    attention_args a, i64 d, i64 head, i64 token, i64 count, i64 key, int backward, attention_scratch *s) {
    i64 d_padded = pad_lanes(d);
    const float *k = a.qkv + token * a.stride + (a.h + head) * d;
    for (i64 j = key; j < key + count; j++, k += a.stride) {
        const float *v = k + a.h * d;
        memcpy(s->v + j * d_padded, v, sizeof(float) * d);
        for (i64 e = 0; e < d; e++) s->kt[e * s->capacity + j] = k[e];
        if (!backward) continue;
        memcpy(s->k + j * d_padded, k, sizeof(float) * d);
        for (i64 e = 0; e < d; e++) s->vt[e * s->capacity + j] = v[e];
        memset(s->dk + j * d_padded, 0, sizeof(float) * d_padded),
            memset(s->dv + j * d_padded, 0, sizeof(float) * d_padded);
    }
}

/* Adds the gradients of keys and values to those of their tokens. */
INLINE void add_kv_grad(
    attention_args a, i64 d, i64 head, i64 token, i64 count, i64 key, float *grad, const attention_scratch *s) {
    i64 d_padded = pad_lanes(d);
    float *dk = grad + token * a.stride + (a.h + head) * d;
    for (i64 j = key; j < key + count; j++, dk += a.stride)
        for (i64 e = 0; e < d; e++) dk[e] += s->dk[j * d_padded + e], dk[a.h * d + e] += s->dv[j * d_padded + e];
}

/* y[j] = factor · x·m[:, j] for the first n columns of m [d, capacity]. */
INLINE void row_times_matrix(const float *x, float factor, const float *m, i64 d, i64 capacity, i64 n, float *y) {
    i64 j = 0;
    for (; j + 2 * LANES <= pad_lanes(n); j += 2 * LANES) {
        f32x16 a = {0}, b = {0};
        for (i64 e = 0; e < d; e++) {
            a += x[e] * *(const f32x16u *)(m + e * capacity + j);
            b += x[e] * *(const f32x16u *)(m + e * capacity + j + LANES);
        }
        *(f32x16u *)(y + j) = a * factor, *(f32x16u *)(y + j + LANES) = b * factor;
    }
    if (j < n) {
        f32x16 a = {0}, b = {0}, c = {0}, f = {0}; /* independent accumulators hide latency */
        i64 e = 0;
        for (; e + 4 <= d; e += 4) {
            const float *z = m + e * capacity + j;
            a += x[e] * *(const f32x16u *)z;
            b += x[e + 1] * *(const f32x16u *)(z + capacity);
            c += x[e + 2] * *(const f32x16u *)(z + 2 * capacity);
            f += x[e + 3] * *(const f32x16u *)(z + 3 * capacity);
        }
        for (; e < d; e++) a += x[e] * *(const f32x16u *)(m + e * capacity + j);
        *(f32x16u *)(y + j) = ((a + b) + (c + f)) * factor;
    }
}

/* Softmax of the first n of p, in place; the rest of the last vector becomes 0. */
INLINE void softmax(float *p, i64 n) {
    const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    i64 last = pad_lanes(n) - LANES;
    i32x16 valid = lane < (int32_t)(n - last);
    f32x16 first = p[0] + (f32x16){0};
    *(f32x16u *)(p + last) = blend(valid, *(f32x16u *)(p + last), first);
    f32x16 max = *(f32x16u *)p, sum = {0};
    for (i64 j = LANES; j <= last; j += LANES) {
        f32x16 x = *(f32x16u *)(p + j);
        max = blend(x > max, x, max);
    }
    float largest = reduce_max(max);
    for (i64 j = 0; j <= last; j += LANES) {
        f32x16 x = exp_f32x16(*(f32x16u *)(p + j) - largest);
        if (j == last) x = (f32x16)((i32x16)x & valid);
        *(f32x16u *)(p + j) = x;
        sum += x;
    }
    float inverse = 1.0f / reduce_add(sum);
    for (i64 j = 0; j <= last; j += LANES) *(f32x16u *)(p + j) = *(f32x16u *)(p + j) * inverse;
}

/* y += the sum of p[j]·m[j] over n rows of m [n, d padded]. */
INLINE void add_weighted_sum(const float *p, const void *m, i64 n, i64 vecs, float *y, int is_bf16) {
    i64 d_padded = vecs * LANES;
    for (i64 i = 0; i < vecs; i++) {
        f32x16 a = {0}, b = {0}, c = {0}, e = {0}; /* independent accumulators hide latency */
        i64 j = 0, x = i * LANES;
        for (; j + 4 <= n; j += 4, x += 4 * d_padded) {
            a += p[j] * load_f32x16(m, x, is_bf16);
            b += p[j + 1] * load_f32x16(m, x + d_padded, is_bf16);
            c += p[j + 2] * load_f32x16(m, x + 2 * d_padded, is_bf16);
            e += p[j + 3] * load_f32x16(m, x + 3 * d_padded, is_bf16);
        }
        for (; j < n; j++, x += d_padded) a += p[j] * load_f32x16(m, x, is_bf16);
        *(f32x16u *)(y + i * LANES) += (a + b) + (c + e);
    }
}

INLINE void attention_row(
    attention_args a, i64 d, i64 head, i64 context, const i64 *row, void *out, int is_bf16, attention_scratch *s) {
    i64 vecs = pad_lanes(d) / LANES, capacity = s->capacity;
    float factor = 1.0f / sqrtf(d);
    load_kv(a, d, head, row[2], row[3] - row[2], context, 0, s);
    for (i64 query = row[2]; query < row[3]; query += QUERY_BLOCK) {
        i64 n = min_i64(QUERY_BLOCK, row[3] - query),
            seen = context + query - row[2] + 1; /* keys that the first of them sees */
        for (i64 i = 0; i < n; i++)
            row_times_matrix(
                a.qkv + (query + i) * a.stride + head * d, factor, s->kt, d, capacity, seen + i, s->p + i * capacity);
        for (i64 i = 0; i < n; i++) softmax(s->p + i * capacity, seen + i);
        for (i64 i = 0; i < n; i++) {
            memset(s->o, 0, sizeof(float) * vecs * LANES);
            add_weighted_sum(s->p + i * capacity, s->v, seen + i, vecs, s->o, 0);
            for (i64 e = 0; e < d; e++) store_element(out, ((query + i) * a.h + head) * d + e, s->o[e], is_bf16);
        }
    }
}

/* dp[j] = p[j] · (dp[j] - p·dp) · factor for the first n; the rest of the last vector of p must be 0. */
INLINE void softmax_backward(const float *p, i64 n, float factor, float *dp) {
    f32x16 product = {0};
    for (i64 j = 0; j < n; j += LANES) product += *(const f32x16u *)(p + j) * *(f32x16u *)(dp + j);
    float sum = reduce_add(product);
    for (i64 j = 0; j < n; j += LANES)
        *(f32x16u *)(dp + j) = *(const f32x16u *)(p + j) * (*(f32x16u *)(dp + j) - sum) * factor;
}

/* Adds to the gradient of q, k, v [n, 3, h, d] (with RoPE) and, in s, of the context's; g [n, h, d] is the output's
   gradient. */
INLINE void attention_row_backward(
    attention_args a, i64 d, i64 head, i64 context, const i64 *row, const float *g, float *grad, attention_scratch *s) {
    i64 d_padded = pad_lanes(d), vecs = d_padded / LANES, capacity = s->capacity;
    float factor = 1.0f / sqrtf(d);
    load_kv(a, d, head, row[2], row[3] - row[2], context, 1, s);
    for (i64 query = row[2]; query < row[3]; query += QUERY_BLOCK) {
        i64 n = min_i64(QUERY_BLOCK, row[3] - query), seen = context + query - row[2] + 1;
        for (i64 i = 0; i < n; i++) {
            memcpy(s->q + i * d_padded, a.qkv + (query + i) * a.stride + head * d, sizeof(float) * d);
            memcpy(s->g + i * d_padded, g + ((query + i) * a.h + head) * d, sizeof(float) * d);
            row_times_matrix(s->q + i * d_padded, factor, s->kt, d, capacity, seen + i, s->p + i * capacity);
            row_times_matrix(s->g + i * d_padded, 1.0f, s->vt, d, capacity, seen + i, s->dp + i * capacity);
        }
        for (i64 i = 0; i < n; i++) softmax(s->p + i * capacity, seen + i);
        for (i64 i = 0; i < n; i++) softmax_backward(s->p + i * capacity, seen + i, factor, s->dp + i * capacity);
        for (i64 i = 0; i < n; i++) {
            float *dq = grad + (query + i) * a.stride + head * d;
            memset(s->o, 0, sizeof(float) * d_padded);
            add_weighted_sum(s->dp + i * capacity, s->k, seen + i, vecs, s->o, 0);
            for (i64 e = 0; e < d; e++) dq[e] += s->o[e];
        }
        for (i64 j = 0; j < seen + n - 1; j++)
            for (i64 at = j * d_padded, c = 0; c < d_padded; c += LANES) {
                f32x16 dk = *(f32x16u *)(s->dk + at + c), dv = *(f32x16u *)(s->dv + at + c);
                for (i64 i = j < seen ? 0 : j - seen + 1; i < n; i++) { /* queries that see key j */
                    dk += s->dp[i * capacity + j] * *(f32x16u *)(s->q + i * d_padded + c);
                    dv += s->p[i * capacity + j] * *(f32x16u *)(s->g + i * d_padded + c);
                }
                *(f32x16u *)(s->dk + at + c) = dk, *(f32x16u *)(s->dv + at + c) = dv;
            }
    }
    add_kv_grad(a, d, head, row[2], row[3] - row[2], context, grad, s);
}

/* One head of the rows from `row` to `end`, which share a context: the output or, if grad is not NULL, the gradient. */
INLINE void attention_rows(
    attention_args a, i64 d, i64 head, const i64 *row, const i64 *end, void *out, const float *g, float *grad,
    int is_bf16, attention_scratch *s) {
    i64 start = row[0], context = row[1] - start;
    load_kv(a, d, head, start, context, 0, grad != NULL, s);
    for (; row < end; row += 4) {
        if (grad) attention_row_backward(a, d, head, context, row, g, grad, s);
        else attention_row(a, d, head, context, row, out, is_bf16, s);
    }
    if (grad) add_kv_grad(a, d, head, start, context, 0, grad, s);
}

/* qkv [n, 3, h, d] with RoPE applied; out [n, h, d]. */
static void attention(
    const float *qkv, i64 h, i64 d, const i64 *rows, void *out, int is_bf16, attention_scratch *s,
    pool_thread *thread) {
    attention_args a = {qkv, h, 3 * h * d};
    PARALLEL_FOR(i, s->runs * h) {
        const i64 *row = rows + 4 * s->first[i / h], *end = rows + 4 * s->first[i / h + 1];
#define CALL(D) attention_rows(a, D, i % h, row, end, out, NULL, NULL, is_bf16, s)
        DISPATCH_HEAD_WIDTH(CALL)
#undef CALL
    }
}

/* g [n, h, d], the output's gradient; adds to grad [n, 3, h, d], the gradient of qkv with RoPE applied. */
static void attention_backward(
    const float *g, const float *qkv, i64 h, i64 d, const i64 *rows, float *grad, attention_scratch *s,
    pool_thread *thread) {
    attention_args a = {qkv, h, 3 * h * d};
    for (int with_context = 0; with_context < 2;
         with_context++) /* rows with a context add to other rows' keys and values */
        PARALLEL_FOR(i, s->runs * h) {
            const i64 *row = rows + 4 * s->first[i / h], *end = rows + 4 * s->first[i / h + 1];
            if ((row[0] < row[1]) != with_context) continue;
#define CALL(D) attention_rows(a, D, i % h, row, end, NULL, g, grad, 0, s)
            DISPATCH_HEAD_WIDTH(CALL)
#undef CALL
        }
}
