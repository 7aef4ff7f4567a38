/* What a step of a small policy does between its products, each in one pass: one thread, no dependency.
   The plain path of harness/policy is the reference; harness/policy/native.py builds and calls this.

   All is computed in float32. What products read or give (void *) is bfloat16 where `low` is set. */

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

INLINE n_t padded(n_t n) { return (n + LANES - 1) / LANES * LANES; }

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

INLINE float sum_of(lanes x) {
    float part[LANES];
    memcpy(part, &x, sizeof(part));
    for (n_t w = LANES / 2; w; w /= 2)
        for (n_t i = 0; i < w; i++) part[i] += part[i + w];
    return part[0];
}

/* The same of a vector of numbers up to 0. Adding 1.5 * 2^23 rounds to a whole number. */
INLINE lanes fast_exp_of(lanes x) {
    x = pick(x < -87.0f, -87.0f + (lanes){0}, x);
    lanes n = x * 1.44269504f + 12582912.0f - 12582912.0f, r = x - n * 0.693147182f;
    return EXP_SERIES(r) * (lanes)((__builtin_convertvector(n, whole) + 127) << 23);
}

INLINE float get(const void *x, n_t i, int low) {
    if (!low) return ((const float *)x)[i];
    union { uint32_t i; float f; } wide = {(uint32_t)((const uint16_t *)x)[i] << 16};
    return wide.f;
}

/* To the nearest bfloat16, ties to even. */
INLINE void put(void *x, n_t i, float value, int low) {
    if (!low) {
        ((float *)x)[i] = value;
        return;
    }
    union { float f; uint32_t i; } wide = {value};
    uint32_t rounded = (wide.i + 0x7fffu + (wide.i >> 16 & 1u)) >> 16;
    ((uint16_t *)x)[i] = (uint16_t)(value != value ? 0x7fc0u : rounded);
}

INLINE const void *at(const void *x, n_t i, int low) { return (const char *)x + (low ? 2 : 4) * i; }

/* So that neither kind asks for its kind number by number. */
#define BY_PRECISION(CALL)                                                                                             \
    if (low) CALL(1);                                                                                                  \
    else CALL(0);

/* ---- x / rms(x), x [n, w] */

INLINE void norm(const float *x, n_t n, n_t w, void *y, float *inverse, int low) {
    for (n_t i = 0; i < n; i++, x += w) {
        float square = 0;
#pragma omp simd reduction(+ : square)
        for (n_t j = 0; j < w; j++) square += x[j] * x[j];
        float s = inverse[i] = 1.0f / sqrtf(square / w + 1e-6f);
        for (n_t j = 0; j < w; j++) put(y, i * w + j, x[j] * s, low);
    }
}

int rms_norm(const float *x, n_t n, n_t w, void *y, float *inverse, n_t low) {
#define CALL(LOW) norm(x, n, w, y, inverse, LOW)
    BY_PRECISION(CALL)
#undef CALL
    return 0;
}

INLINE void norm_grad(const void *g, const void *y, const float *inverse, n_t n, n_t w, float *dx, int low) {
    for (n_t i = 0; i < n; i++) {
        float along = 0;
#pragma omp simd reduction(+ : along)
        for (n_t j = i * w; j < i * w + w; j++) along += get(g, j, low) * get(y, j, low);
        along /= w;
        for (n_t j = i * w; j < i * w + w; j++) dx[j] = (get(g, j, low) - along * get(y, j, low)) * inverse[i];
    }
}

int rms_norm_grad(const void *g, const void *y, const float *inverse, n_t n, n_t w, float *dx, n_t low) {
#define CALL(LOW) norm_grad(g, y, inverse, n, w, dx, LOW)
    BY_PRECISION(CALL)
#undef CALL
    return 0;
}

/* ---- silu(gate) * up, both side by side: gu [n, 2m] */

INLINE void gated(const void *gu, n_t n, n_t m, void *y, int low) {
    for (n_t i = 0; i < n; i++) {
        const void *gate = at(gu, 2 * i * m, low), *up = at(gate, m, low);
        for (n_t j = 0; j < m; j++) {
            float x = get(gate, j, low);
            put(y, i * m + j, x / (1.0f + fast_exp(-x)) * get(up, j, low), low);
        }
    }
}

int swiglu(const void *gu, n_t n, n_t m, void *y, n_t low) {
#define CALL(LOW) gated(gu, n, m, y, LOW)
    BY_PRECISION(CALL)
#undef CALL
    return 0;
}

INLINE void gated_grad(const void *g, const void *gu, n_t n, n_t m, void *dgu, int low) {
    for (n_t i = 0; i < n; i++) {
        const void *gate = at(gu, 2 * i * m, low), *up = at(gate, m, low), *of_y = at(g, i * m, low);
        void *dgate = (char *)dgu + (low ? 2 : 4) * 2 * i * m, *dup = (char *)dgate + (low ? 2 : 4) * m;
        for (n_t j = 0; j < m; j++) {
            float x = get(gate, j, low), s = 1.0f / (1.0f + fast_exp(-x)), silu = x * s, of = get(of_y, j, low);
            put(dgate, j, of * get(up, j, low) * (s + silu * (1.0f - s)), low);
            put(dup, j, of * silu, low);
        }
    }
}

int swiglu_grad(const void *g, const void *gu, n_t n, n_t m, void *dgu, n_t low) {
#define CALL(LOW) gated_grad(g, gu, n, m, dgu, LOW)
    BY_PRECISION(CALL)
#undef CALL
    return 0;
}

/* ---- RoPE, half-split layout; the first half of sin is negated */

INLINE void turn(const float *x, const float *cos, const float *sin, n_t d, float *y) {
    n_t half = d / 2;
    for (n_t k = 0; k < half; k++) {
        float a = x[k], b = x[k + half]; /* x may be y */
        y[k] = a * cos[k] + b * sin[k];
        y[k + half] = b * cos[k + half] + a * sin[k + half];
    }
}

INLINE void turn_back(float *g, const float *cos, const float *sin, n_t d) {
    n_t half = d / 2;
    for (n_t k = 0; k < half; k++) {
        float a = g[k], b = g[k + half];
        g[k] = a * cos[k] + b * sin[k + half];
        g[k + half] = b * cos[k + half] + a * sin[k];
    }
}

/* ---- Attention over rows of tokens that lie one after the other

   qkv [n, 3, h, d]; rows [rows, 4]: context_start, context_end, start, end. The tokens from start to end see their row
   up to themselves and all of its context. Tokens of no row get 0. */

typedef struct {
    const float *qkv; /* q and k turned */
    n_t h, stride;    /* heads; of a token: 3hd */
} attention;

typedef struct {
    n_t keys, room;   /* keys of the row at hand; the same filled up. Memory is for the longest */
    float *kt, *vt;   /* [d, room] */
    float *k, *v;     /* [keys, d filled up with 0] */
    float *p, *dp;    /* [room] */
    float *dk, *dv;   /* [keys, d filled up] */
    float *q, *o, *g; /* a query, what it gets, what comes back: [d filled up] each */
    void *memory;
} scratch;

static scratch new_scratch(const n_t *rows, n_t n_rows, n_t d) {
    n_t most = 1;
    for (n_t r = 0; r < n_rows; r++) {
        n_t keys = rows[4 * r + 1] - rows[4 * r] + rows[4 * r + 3] - rows[4 * r + 2];
        if (keys > most) most = keys;
    }
    n_t room = padded(most), wide = padded(d), flat = room * wide;
    scratch s = {0};
    s.memory = aligned_alloc(64, sizeof(float) * (6 * flat + 2 * room + 3 * wide));
    if (!s.memory) return s;
    float *x = s.memory;
    memset(x, 0, sizeof(float) * (6 * flat + 2 * room + 3 * wide));
    s.kt = x, s.vt = x += flat, s.k = x += flat, s.v = x += flat, s.dk = x += flat, s.dv = x += flat;
    s.p = x += flat, s.dp = x += room, s.q = x += room, s.o = x += wide, s.g = x + wide;
    return s;
}

INLINE n_t key_at(const n_t *row, n_t j) {
    n_t context = row[1] - row[0];
    return j < context ? row[0] + j : row[2] + j - context;
}

INLINE void load(attention a, n_t d, const n_t *row, n_t head, int backward, scratch *s) {
    n_t wide = padded(d);
    s->keys = row[1] - row[0] + row[3] - row[2];
    s->room = padded(s->keys);
    for (n_t j = 0; j < s->keys; j++) {
        const float *k = a.qkv + key_at(row, j) * a.stride + (a.h + head) * d, *v = k + a.h * d;
        memcpy(s->v + j * wide, v, sizeof(float) * d);
        for (n_t e = 0; e < d; e++) s->kt[e * s->room + j] = k[e];
        if (!backward) continue;
        memcpy(s->k + j * wide, k, sizeof(float) * d);
        for (n_t e = 0; e < d; e++) s->vt[e * s->room + j] = v[e];
    }
}

/* y[j] = factor · x·m[:, j] for the first n of m [d, room] */
INLINE void across(const float *x, float factor, const float *m, n_t d, n_t room, n_t n, float *y) {
    n_t j = 0;
    for (; j + 2 * LANES <= padded(n); j += 2 * LANES) {
        lanes a = {0}, b = {0};
        for (n_t e = 0; e < d; e++) {
            a += x[e] * *(const loose *)(m + e * room + j);
            b += x[e] * *(const loose *)(m + e * room + j + LANES);
        }
        *(loose *)(y + j) = a * factor, *(loose *)(y + j + LANES) = b * factor;
    }
    if (j < n) {
        lanes a = {0};
        for (n_t e = 0; e < d; e++) a += x[e] * *(const loose *)(m + e * room + j);
        *(loose *)(y + j) = a * factor;
    }
}

/* Softmax of the first n of p, in place; what fills up the last vector becomes 0. */
INLINE void softmax(float *p, n_t n) {
    const whole place = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    n_t last = padded(n) - LANES;
    whole real = place < (int32_t)(n - last);
    lanes first = p[0] + (lanes){0};
    *(loose *)(p + last) = pick(real, *(loose *)(p + last), first);
    lanes most = *(loose *)p, sum = {0};
    for (n_t j = LANES; j <= last; j += LANES) {
        lanes x = *(loose *)(p + j);
        most = pick(x > most, x, most);
    }
    for (n_t i = 0; i < LANES; i++) first[0] = most[i] > first[0] ? most[i] : first[0];
    for (n_t j = 0; j <= last; j += LANES) {
        lanes x = fast_exp_of(*(loose *)(p + j) - first[0]);
        if (j == last) x = (lanes)((whole)x & real);
        *(loose *)(p + j) = x;
        sum += x;
    }
    float inverse = 1.0f / sum_of(sum);
    for (n_t j = 0; j <= last; j += LANES) *(loose *)(p + j) = *(loose *)(p + j) * inverse;
}

/* Adds the sum of p[j]·m[j] over n vectors-of-vecs to y. */
INLINE void mix(const float *p, const float *m, n_t n, n_t vecs, float *y) {
    for (n_t i = 0; i < vecs; i++) {
        lanes a = {0}, b = {0}, c = {0}, e = {0};
        const float *x = m + i * LANES;
        n_t j = 0, wide = vecs * LANES;
        for (; j + 4 <= n; j += 4, x += 4 * wide) { /* four sums: each alone would wait for itself */
            a += p[j] * *(const loose *)x;
            b += p[j + 1] * *(const loose *)(x + wide);
            c += p[j + 2] * *(const loose *)(x + 2 * wide);
            e += p[j + 3] * *(const loose *)(x + 3 * wide);
        }
        for (; j < n; j++, x += wide) a += p[j] * *(const loose *)x;
        *(loose *)(y + i * LANES) += (a + b) + (c + e);
    }
}

INLINE void forward_row(attention a, n_t d, const n_t *row, void *out, int low, scratch *s) {
    n_t context = row[1] - row[0], vecs = padded(d) / LANES;
    float factor = 1.0f / sqrtf(d);
    for (n_t head = 0; head < a.h && row[2] < row[3]; head++) {
        load(a, d, row, head, 0, s);
        for (n_t i = row[2]; i < row[3]; i++) {
            n_t seen = context + i - row[2] + 1;
            across(a.qkv + i * a.stride + head * d, factor, s->kt, d, s->room, seen, s->p);
            softmax(s->p, seen);
            memset(s->o, 0, sizeof(float) * vecs * LANES);
            mix(s->p, s->v, seen, vecs, s->o);
            for (n_t e = 0; e < d; e++) put(out, (i * a.h + head) * d + e, s->o[e], low);
        }
    }
}

/* Adds to the gradient of q, k, v [n, 3, h, d], which are turned. */
INLINE void backward_row(
    attention a, n_t d, const n_t *row, const void *g, const void *out, float *grad, int low, scratch *s) {
    n_t context = row[1] - row[0], wide = padded(d), vecs = wide / LANES;
    float factor = 1.0f / sqrtf(d);
    for (n_t head = 0; head < a.h && row[2] < row[3]; head++) {
        load(a, d, row, head, 1, s);
        memset(s->dk, 0, sizeof(float) * s->keys * wide);
        memset(s->dv, 0, sizeof(float) * s->keys * wide);
        for (n_t i = row[2]; i < row[3]; i++) {
            n_t seen = context + i - row[2] + 1;
            const float *q = a.qkv + i * a.stride + head * d;
            const void *of_out = at(g, (i * a.h + head) * d, low), *o = at(out, (i * a.h + head) * d, low);
            float *dq = grad + i * a.stride + head * d, along = 0;
            across(q, factor, s->kt, d, s->room, seen, s->p);
            softmax(s->p, seen);
            for (n_t e = 0; e < d; e++) s->g[e] = get(of_out, e, low);
            across(s->g, 1.0f, s->vt, d, s->room, seen, s->dp);
#pragma omp simd reduction(+ : along)
            for (n_t e = 0; e < d; e++) along += s->g[e] * get(o, e, low);
            for (n_t j = 0; j < seen; j++) s->dp[j] = s->p[j] * (s->dp[j] - along) * factor;
            memset(s->o, 0, sizeof(float) * wide);
            mix(s->dp, s->k, seen, vecs, s->o);
            for (n_t e = 0; e < d; e++) dq[e] += s->o[e];
            memcpy(s->q, q, sizeof(float) * d);
            for (n_t c = 0; c < vecs; c++) {
                lanes of_q = *(loose *)(s->q + c * LANES), of_o = *(loose *)(s->g + c * LANES);
                for (n_t j = 0; j < seen; j++) {
                    *(loose *)(s->dk + j * wide + c * LANES) += s->dp[j] * of_q;
                    *(loose *)(s->dv + j * wide + c * LANES) += s->p[j] * of_o;
                }
            }
        }
        for (n_t j = 0; j < s->keys; j++) {
            float *dk = grad + key_at(row, j) * a.stride + (a.h + head) * d, *dv = dk + a.h * d;
            for (n_t e = 0; e < d; e++) dk[e] += s->dk[j * wide + e], dv[e] += s->dv[j * wide + e];
        }
    }
}

/* So that loops over a head's width are unrolled where it is usual, for each precision. */
#define BY_WIDTH(CALL, LOW)                                                                                            \
    switch (d) {                                                                                                       \
    case 16: CALL(16, LOW); break;                                                                                     \
    case 32: CALL(32, LOW); break;                                                                                     \
    default: CALL(d, LOW);                                                                                             \
    }
#define BY_KIND(CALL)                                                                                                  \
    if (low) BY_WIDTH(CALL, 1) else BY_WIDTH(CALL, 0)

/* qkv [n, 3, h, d], tables [positions, d], position [n] -> turned, as qkv, float32; out [n, h, d], zeroed by the caller.
   1 where memory is short. */
int attend(
    const void *qkv, const float *cos, const float *sin, const n_t *position, n_t n, n_t h, n_t d, const n_t *rows,
    n_t n_rows, float *turned, void *out, n_t low) {
    n_t size = 3 * h * d;
    for (n_t i = 0; i < n; i++) {
        const float *c = cos + position[i] * d, *t = sin + position[i] * d;
        float *to = turned + i * size;
#define CALL(LOW)                                                                                                      \
    for (n_t e = 0; e < size; e++) to[e] = get(qkv, i * size + e, LOW)
        BY_PRECISION(CALL)
#undef CALL
        for (n_t head = 0; head < 2 * h; head++) turn(to + head * d, c, t, d, to + head * d);
    }
    scratch s = new_scratch(rows, n_rows, d);
    if (!s.memory) return 1;
    attention a = {turned, h, size};
#define CALL(D, LOW)                                                                                                   \
    for (n_t r = 0; r < n_rows; r++) forward_row(a, D, rows + 4 * r, out, LOW, &s)
    BY_KIND(CALL)
#undef CALL
    free(s.memory);
    return 0;
}

/* g, out [n, h, d]; sums [n, 3, h, d] float32, zeroed by the caller; grad of qkv before it was turned, which may be
   `sums` itself where that is float32. */
int attend_grad(
    const void *g, const float *turned, const void *out, const float *cos, const float *sin, const n_t *position,
    n_t n, n_t h, n_t d, const n_t *rows, n_t n_rows, float *sums, void *grad, n_t low) {
    scratch s = new_scratch(rows, n_rows, d);
    if (!s.memory) return 1;
    attention a = {turned, h, 3 * h * d};
#define CALL(D, LOW)                                                                                                   \
    for (n_t r = 0; r < n_rows; r++) backward_row(a, D, rows + 4 * r, g, out, sums, LOW, &s)
    BY_KIND(CALL)
#undef CALL
    free(s.memory);
    for (n_t i = 0; i < n; i++)
        for (n_t head = 0; head < 2 * h; head++)
            turn_back(sums + (i * 3 * h + head) * d, cos + position[i] * d, sin + position[i] * d, d);
    if (low)
        for (n_t i = 0; i < n * 3 * h * d; i++) put(grad, i, sums[i], 1);
    return 0;
}

/* ---- Decoding: one token of each row, which sees its prompt and the completion so far

   qkv [n, 3, h, d] of the rows `row` [n] among all; each belongs to prompt row / group, of length[prompt] tokens.
   Keys lie as [.., d, places], values as [.., places, d]: prompt_k, prompt_v [prompts, h, ..], whose places are
   prompt_room, and own_k, own_v [all rows, h, ..], room places, of which `filled` hold a token: this one is next. */
INLINE int decode_in(
    const void *qkv, const float *cos, const float *sin, n_t positions, n_t n, n_t h, n_t d, const n_t *row,
    const n_t *length, n_t group, const float *prompt_k, const float *prompt_v, n_t prompt_room, float *own_k,
    float *own_v, n_t room, n_t filled, void *out, int low) {
    n_t vecs = padded(d) / LANES, wide = vecs * LANES;
    float *memory = aligned_alloc(64, sizeof(float) * (padded(prompt_room) + padded(room) + LANES + 2 * wide));
    if (!memory) return 1;
    float *q = memory, *o = q + wide, *p = o + wide, factor = 1.0f / sqrtf(d);
    for (n_t i = 0; i < n; i++) {
        n_t prompt = row[i] / group, first = length[prompt];
        /* A row that has ended, and is not yet left out, may stand beyond the tables. */
        n_t position = first + filled < positions ? first + filled : positions - 1;
        const float *c = cos + position * d, *t = sin + position * d;
        for (n_t head = 0; head < h; head++) {
            const void *x = at(qkv, (i * 3 * h + head) * d, low);
            float *k = own_k + (row[i] * h + head) * d * room, *v = own_v + (row[i] * h + head) * room * wide;
            const float *pk = prompt_k + (prompt * h + head) * d * prompt_room;
            const float *pv = prompt_v + (prompt * h + head) * prompt_room * wide;
            for (n_t e = 0; e < d; e++) {
                q[e] = get(x, e, low);
                o[e] = get(x, h * d + e, low);
                v[filled * wide + e] = get(x, 2 * h * d + e, low);
            }
            turn(o, c, t, d, o);
            for (n_t e = 0; e < d; e++) k[e * room + filled] = o[e];
            turn(q, c, t, d, q);
            across(q, factor, pk, d, prompt_room, first, p);
            across(q, factor, k, d, room, filled + 1, p + first); /* over what filled the prompt's last vector up */
            softmax(p, first + filled + 1);
            memset(o, 0, sizeof(float) * wide);
            mix(p, pv, first, vecs, o);
            mix(p + first, v, filled + 1, vecs, o);
            for (n_t e = 0; e < d; e++) put(out, (i * h + head) * d + e, o[e], low);
        }
    }
    free(memory);
    return 0;
}

int decode(
    const void *qkv, const float *cos, const float *sin, n_t positions, n_t n, n_t h, n_t d, const n_t *row,
    const n_t *length, n_t group, const float *prompt_k, const float *prompt_v, n_t prompt_room, float *own_k,
    float *own_v, n_t room, n_t filled, void *out, n_t low) {
#define CALL(D, LOW)                                                                                                   \
    return decode_in(                                                                                                  \
        qkv, cos, sin, positions, n, h, D, row, length, group, prompt_k, prompt_v, prompt_room, own_k, own_v, room,    \
        filled, out, LOW)
    BY_KIND(CALL)
#undef CALL
}

/* ---- Inverse-CDF draws: logits [n, v], uniform [n] -> ids, log-probabilities at this temperature */

int draw(const float *logits, const float *uniform, float temperature, n_t n, n_t v, float *cdf, n_t *ids,
          float *logprobs) {
    for (n_t i = 0; i < n; i++, logits += v) {
        float most = logits[0], sum = 0;
#pragma omp simd reduction(max : most)
        for (n_t j = 0; j < v; j++) most = logits[j] > most ? logits[j] : most;
        for (n_t j = 0; j < v; j++) cdf[j] = fast_exp((logits[j] - most) / temperature);
        for (n_t j = 0; j < v; j++) cdf[j] = sum += cdf[j];
        n_t id = 0;
        for (n_t j = 0; j < v; j++) id += !(cdf[j] >= uniform[i] * sum);
        ids[i] = id < v ? id : v - 1;
        logprobs[i] = (logits[ids[i]] - most) / temperature - logf(sum);
    }
    return 0;
}
