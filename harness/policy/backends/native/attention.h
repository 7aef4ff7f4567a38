/* Attention of float32 queries, keys and values; what it gives is an operand. */

/* ---- RoPE, half-split layout; the first half of sin is negated */

INLINE void turn(float *x, const float *cos, const float *sin, n_t d) {
    n_t half = d / 2;
#pragma omp simd
    for (n_t k = 0; k < half; k++) {
        float a = x[k], b = x[k + half];
        x[k] = a * cos[k] + b * sin[k];
        x[k + half] = b * cos[k + half] + a * sin[k + half];
    }
}

INLINE void turn_back(float *g, const float *cos, const float *sin, n_t d) {
    n_t half = d / 2;
#pragma omp simd
    for (n_t k = 0; k < half; k++) {
        float a = g[k], b = g[k + half];
        g[k] = a * cos[k] + b * sin[k + half];
        g[k + half] = b * cos[k + half] + a * sin[k];
    }
}

/* So that loops over a head's width are unrolled where it is usual. */
#define BY_WIDTH(CALL)                                                                                                 \
    switch (d) {                                                                                                       \
    case 16: CALL(16); break;                                                                                          \
    case 24: CALL(24); break;                                                                                          \
    case 32: CALL(32); break;                                                                                          \
    default: CALL(d);                                                                                                  \
    }

/* Queries and keys of a token, heads next to each other. */
static void turn_heads(float *qk, const float *cos, const float *sin, n_t heads, n_t d) {
#define CALL(D) for (n_t i = 0; i < heads; i++) turn(qk + i * d, cos, sin, D)
    BY_WIDTH(CALL)
#undef CALL
}

static void turn_heads_back(float *qk, const float *cos, const float *sin, n_t heads, n_t d) {
#define CALL(D) for (n_t i = 0; i < heads; i++) turn_back(qk + i * d, cos, sin, D)
    BY_WIDTH(CALL)
#undef CALL
}

/* ---- Attention over rows of tokens that lie one after the other

   qkv [n, 3, h, d]; rows [rows, 4]: context_start, context_end, start, end. The tokens from start to end see their row
   up to themselves and all of its context, which is of rows without one. Rows with one context come one after the other:
   a run. A row without is a run of its own. What is of tokens of no row is left as it is. */

typedef struct {
    const float *qkv; /* q and k turned */
    n_t h, stride;    /* heads; of a token: 3hd */
} attention;

/* What a query does waits on itself, so each part is done for a few before the next. */
#define QUERIES 8

/* Of one head: keys and values of the context at hand, then of the row at hand. */
typedef struct {
    n_t room;         /* keys at most, filled up */
    float *kt, *vt;   /* [d, room] */
    float *k, *v;     /* [room, d filled up with 0] */
    float *p, *dp;    /* [QUERIES, room] */
    float *dk, *dv;   /* [room, d filled up] */
    float *q, *g, *o; /* queries, what comes back to them: [QUERIES, d filled up]; what one gets: [d filled up] */
    n_t runs, *first; /* rows at which they begin, [runs + 1] */
    void *memory;
} scratch;

/* Without memory where that is short. */
static scratch new_scratch(const n_t *rows, n_t n_rows, n_t d) {
    n_t most = 1;
    for (n_t r = 0; r < n_rows; r++) {
        n_t keys = rows[4 * r + 1] - rows[4 * r] + rows[4 * r + 3] - rows[4 * r + 2];
        if (keys > most) most = keys;
    }
    n_t room = padded(most), wide = padded(d), flat = room * wide;
    n_t floats = 6 * flat + 2 * QUERIES * room + (2 * QUERIES + 1) * wide;
    scratch s = {room};
    s.memory = aligned_alloc(64, up(4 * floats + sizeof(n_t) * (n_rows + 1), 64));
    if (!s.memory) return s;
    float *x = s.memory;
    memset(x, 0, 4 * floats);
    s.kt = x, s.vt = x += flat, s.k = x += flat, s.v = x += flat, s.dk = x += flat, s.dv = x += flat;
    s.p = x += flat, s.dp = x += QUERIES * room, s.q = x += QUERIES * room, s.g = x += QUERIES * wide;
    s.o = x += QUERIES * wide;
    s.first = (n_t *)(x + wide);
    for (n_t r = 0; r < n_rows; r++) {
        const n_t *row = rows + 4 * r;
        if (!r || row[0] == row[1] || row[0] != row[-4] || row[1] != row[-3]) s.first[s.runs++] = r;
    }
    s.first[s.runs] = n_rows;
    return s;
}

/* The tokens from `token` on become the keys from `key` on. */
INLINE void load(attention a, n_t d, n_t head, n_t token, n_t count, n_t key, int backward, scratch *s) {
    n_t wide = padded(d);
    const float *k = a.qkv + token * a.stride + (a.h + head) * d;
    for (n_t j = key; j < key + count; j++, k += a.stride) {
        const float *v = k + a.h * d;
        memcpy(s->v + j * wide, v, sizeof(float) * d);
        for (n_t e = 0; e < d; e++) s->kt[e * s->room + j] = k[e];
        if (!backward) continue;
        memcpy(s->k + j * wide, k, sizeof(float) * d);
        for (n_t e = 0; e < d; e++) s->vt[e * s->room + j] = v[e];
        memset(s->dk + j * wide, 0, sizeof(float) * wide), memset(s->dv + j * wide, 0, sizeof(float) * wide);
    }
}

/* And back: their gradients, added. */
INLINE void unload(attention a, n_t d, n_t head, n_t token, n_t count, n_t key, float *grad, const scratch *s) {
    n_t wide = padded(d);
    float *dk = grad + token * a.stride + (a.h + head) * d;
    for (n_t j = key; j < key + count; j++, dk += a.stride)
        for (n_t e = 0; e < d; e++) dk[e] += s->dk[j * wide + e], dk[a.h * d + e] += s->dv[j * wide + e];
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
        lanes a = {0}, b = {0}, c = {0}, f = {0}; /* each alone would wait for itself */
        n_t e = 0;
        for (; e + 4 <= d; e += 4) {
            const float *z = m + e * room + j;
            a += x[e] * *(const loose *)z;
            b += x[e + 1] * *(const loose *)(z + room);
            c += x[e + 2] * *(const loose *)(z + 2 * room);
            f += x[e + 3] * *(const loose *)(z + 3 * room);
        }
        for (; e < d; e++) a += x[e] * *(const loose *)(m + e * room + j);
        *(loose *)(y + j) = ((a + b) + (c + f)) * factor;
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
    float largest = most_of(most);
    for (n_t j = 0; j <= last; j += LANES) {
        lanes x = fast_exp_of(*(loose *)(p + j) - largest);
        if (j == last) x = (lanes)((whole)x & real);
        *(loose *)(p + j) = x;
        sum += x;
    }
    float inverse = 1.0f / sum_of(sum);
    for (n_t j = 0; j <= last; j += LANES) *(loose *)(p + j) = *(loose *)(p + j) * inverse;
}

/* Adds the sum of p[j]·m[j] over n operands [d filled up] to y. */
INLINE void mix(const float *p, const void *m, n_t n, n_t vecs, float *y, int low) {
    n_t wide = vecs * LANES;
    for (n_t i = 0; i < vecs; i++) {
        lanes a = {0}, b = {0}, c = {0}, e = {0}; /* each alone would wait for itself */
        n_t j = 0, x = i * LANES;
        for (; j + 4 <= n; j += 4, x += 4 * wide) {
            a += p[j] * lanes_of(m, x, low);
            b += p[j + 1] * lanes_of(m, x + wide, low);
            c += p[j + 2] * lanes_of(m, x + 2 * wide, low);
            e += p[j + 3] * lanes_of(m, x + 3 * wide, low);
        }
        for (; j < n; j++, x += wide) a += p[j] * lanes_of(m, x, low);
        *(loose *)(y + i * LANES) += (a + b) + (c + e);
    }
}

INLINE void forward_row(
    attention a, n_t d, n_t head, n_t context, const n_t *row, void *out, int low, scratch *s) {
    n_t vecs = padded(d) / LANES, room = s->room;
    float factor = 1.0f / sqrtf(d);
    load(a, d, head, row[2], row[3] - row[2], context, 0, s);
    for (n_t from = row[2]; from < row[3]; from += QUERIES) {
        n_t n = least(QUERIES, row[3] - from), seen = context + from - row[2] + 1; /* by the first of them */
        for (n_t i = 0; i < n; i++)
            across(a.qkv + (from + i) * a.stride + head * d, factor, s->kt, d, room, seen + i, s->p + i * room);
        for (n_t i = 0; i < n; i++) softmax(s->p + i * room, seen + i);
        for (n_t i = 0; i < n; i++) {
            memset(s->o, 0, sizeof(float) * vecs * LANES);
            mix(s->p + i * room, s->v, seen + i, vecs, s->o, 0);
            for (n_t e = 0; e < d; e++) put(out, ((from + i) * a.h + head) * d + e, s->o[e], low);
        }
    }
}

/* dp[j] = p[j] · (dp[j] - p·dp) · factor, of the first n; what fills up the last vector of p is 0. */
INLINE void softmax_grad(const float *p, n_t n, float factor, float *dp) {
    lanes along = {0};
    for (n_t j = 0; j < n; j += LANES) along += *(const loose *)(p + j) * *(loose *)(dp + j);
    float sum = sum_of(along);
    for (n_t j = 0; j < n; j += LANES)
        *(loose *)(dp + j) = *(const loose *)(p + j) * (*(loose *)(dp + j) - sum) * factor;
}

/* Adds to the gradient of q, k, v [n, 3, h, d], which are turned, and to the context's in s; g [n, h, d] is that of what
   they gave. */
INLINE void backward_row(
    attention a, n_t d, n_t head, n_t context, const n_t *row, const float *g, float *grad, scratch *s) {
    n_t wide = padded(d), vecs = wide / LANES, room = s->room;
    float factor = 1.0f / sqrtf(d);
    load(a, d, head, row[2], row[3] - row[2], context, 1, s);
    for (n_t from = row[2]; from < row[3]; from += QUERIES) {
        n_t n = least(QUERIES, row[3] - from), seen = context + from - row[2] + 1;
        for (n_t i = 0; i < n; i++) {
            memcpy(s->q + i * wide, a.qkv + (from + i) * a.stride + head * d, sizeof(float) * d);
            memcpy(s->g + i * wide, g + ((from + i) * a.h + head) * d, sizeof(float) * d);
            across(s->q + i * wide, factor, s->kt, d, room, seen + i, s->p + i * room);
            across(s->g + i * wide, 1.0f, s->vt, d, room, seen + i, s->dp + i * room);
        }
        for (n_t i = 0; i < n; i++) softmax(s->p + i * room, seen + i);
        for (n_t i = 0; i < n; i++) softmax_grad(s->p + i * room, seen + i, factor, s->dp + i * room);
        for (n_t i = 0; i < n; i++) {
            float *dq = grad + (from + i) * a.stride + head * d;
            memset(s->o, 0, sizeof(float) * wide);
            mix(s->dp + i * room, s->k, seen + i, vecs, s->o, 0);
            for (n_t e = 0; e < d; e++) dq[e] += s->o[e];
        }
        for (n_t j = 0; j < seen + n - 1; j++)
            for (n_t at = j * wide, c = 0; c < wide; c += LANES) {
                lanes dk = *(loose *)(s->dk + at + c), dv = *(loose *)(s->dv + at + c);
                for (n_t i = j < seen ? 0 : j - seen + 1; i < n; i++) { /* those that see it */
                    dk += s->dp[i * room + j] * *(loose *)(s->q + i * wide + c);
                    dv += s->p[i * room + j] * *(loose *)(s->g + i * wide + c);
                }
                *(loose *)(s->dk + at + c) = dk, *(loose *)(s->dv + at + c) = dv;
            }
    }
    unload(a, d, head, row[2], row[3] - row[2], context, grad, s);
}

/* One head of the rows from `row` to `end`, which have one context: what they give, or, where there is a place for it,
   the gradient from g. */
INLINE void over_rows(
    attention a, n_t d, n_t head, const n_t *row, const n_t *end, void *out, const float *g, float *grad, int low,
    scratch *s) {
    n_t start = row[0], context = row[1] - start;
    load(a, d, head, start, context, 0, grad != NULL, s);
    for (; row < end; row += 4) {
        if (grad) backward_row(a, d, head, context, row, g, grad, s);
        else forward_row(a, d, head, context, row, out, low, s);
    }
    if (grad) unload(a, d, head, start, context, 0, grad, s);
}

/* qkv [n, 3, h, d], turned; out [n, h, d]. */
static void attend(
    const float *qkv, n_t h, n_t d, const n_t *rows, void *out, int low, scratch *s, crew *c) {
    attention a = {qkv, h, 3 * h * d};
    SHARED_OUT(i, s->runs * h) {
        const n_t *row = rows + 4 * s->first[i / h], *end = rows + 4 * s->first[i / h + 1];
#define CALL(D) over_rows(a, D, i % h, row, end, out, NULL, NULL, low, s)
        BY_WIDTH(CALL)
#undef CALL
    }
}

/* g [n, h, d] -> grad [n, 3, h, d], of the turned qkv, added to what is there. */
static void attend_grad(
    const float *g, const float *qkv, n_t h, n_t d, const n_t *rows, float *grad, scratch *s, crew *c) {
    attention a = {qkv, h, 3 * h * d};
    for (int with_context = 0; with_context < 2; with_context++) /* whose keys and values are of other rows */
        SHARED_OUT(i, s->runs * h) {
            const n_t *row = rows + 4 * s->first[i / h], *end = rows + 4 * s->first[i / h + 1];
            if ((row[0] < row[1]) != with_context) continue;
#define CALL(D) over_rows(a, D, i % h, row, end, NULL, g, grad, 0, s)
            BY_WIDTH(CALL)
#undef CALL
        }
}

/* ---- Decoding: one token of each row, which sees its prompt and the completion so far

   Each row belongs to prompt row / group, of length[prompt] tokens. Prompts, which a whole group reads one row after
   the other, have keys [prompts, h, d, prompt_room] and values [prompts, h, prompt_room, d filled up]; what a row wrote
   itself is read once a token, so it lies as operands and as close as can be: keys and values [rows, h, room, d filled
   up] each, of which `filled` places hold one: the token at hand is next. */

typedef struct {
    const n_t *length;
    n_t group, prompt_room, room;
    float *prompt_k, *prompt_v;
    void *own_k, *own_v;                   /* all of these of all layers, one after the other */
    n_t of_prompt_k, of_prompt_v, of_own; /* numbers in a layer */
} cache;

/* Scores of one head, each of its two parts filled up. */
INLINE n_t room_to_see(const cache *c) { return c->prompt_room + padded(c->room) + LANES; }

INLINE void remember_prompt(const cache *c, n_t layer, const float *qkv, n_t prompt, n_t start, n_t h, n_t d) {
    n_t wide = padded(d);
    for (n_t head = 0; head < h; head++) {
        float *k = c->prompt_k + layer * c->of_prompt_k + (prompt * h + head) * d * c->prompt_room;
        float *v = c->prompt_v + layer * c->of_prompt_v + (prompt * h + head) * c->prompt_room * wide;
        for (n_t j = 0; j < c->length[prompt]; j++) {
            const float *x = qkv + (start + j) * 3 * h * d + (h + head) * d;
            for (n_t e = 0; e < d; e++) k[e * c->prompt_room + j] = x[e];
            memcpy(v + j * wide, x + h * d, sizeof(float) * d);
        }
    }
}

/* qkv [n, 3, h, d] of the rows `row` [n]; out [n, h, d]; memory [h * room_to_see + 2 * d filled up]. What a head does
   waits on itself, so each part is done for all of them before the next. */
INLINE void decode_in(
    float *qkv, const float *cos, const float *sin, n_t positions, n_t n, n_t h, n_t d, const n_t *row, const cache *c,
    n_t layer, n_t filled, float *memory, void *out, int low) {
    n_t vecs = padded(d) / LANES, wide = vecs * LANES, room = room_to_see(c);
    float *o = memory, *query = o + wide, *scores = query + wide, factor = 1.0f / sqrtf(d);
    memset(query, 0, sizeof(float) * wide);
    for (n_t i = 0; i < n; i++) {
        n_t prompt = row[i] / c->group, first = c->length[prompt], position = least(first + filled, positions - 1);
        n_t own = layer * c->of_own + row[i] * h * c->room * wide, of_head = c->room * wide;
        const float *pk = c->prompt_k + layer * c->of_prompt_k + prompt * h * d * c->prompt_room;
        const float *pv = c->prompt_v + layer * c->of_prompt_v + prompt * h * c->prompt_room * wide;
        for (n_t head = 0; head < h; head++) {
            float *q = qkv + (i * 3 * h + head) * d, *new_k = q + h * d, *new_v = new_k + h * d;
            float *p = scores + head * room;
            void *k = into(c->own_k, own + head * of_head, low), *v = into(c->own_v, own + head * of_head, low);
            turn(q, cos + position * d, sin + position * d, d);
            turn(new_k, cos + position * d, sin + position * d, d);
            memcpy(query, q, sizeof(float) * d);
            for (n_t e = 0; e < wide; e++) {
                put(k, filled * wide + e, e < d ? new_k[e] : 0.0f, low);
                put(v, filled * wide + e, e < d ? new_v[e] : 0.0f, low);
            }
            across(q, factor, pk + head * d * c->prompt_room, d, c->prompt_room, first, p);
            for (n_t j = 0; j <= filled; j += LANES) { /* over what filled the prompt's last vector up */
                lanes products[LANES] = {0};
                for (n_t at = j; at < least(j + LANES, filled + 1); at++)
                    for (n_t e = 0; e < wide; e += LANES)
                        products[at - j] += *(loose *)(query + e) * lanes_of(k, at * wide + e, low);
                *(loose *)(p + first + j) = sums_of(products) * factor;
            }
        }
        for (n_t head = 0; head < h; head++) softmax(scores + head * room, first + filled + 1);
        for (n_t head = 0; head < h; head++) {
            const float *p = scores + head * room;
            memset(o, 0, sizeof(float) * wide);
            mix(p, pv + head * c->prompt_room * wide, first, vecs, o, 0);
            mix(p + first, into(c->own_v, own + head * of_head, low), filled + 1, vecs, o, low);
            for (n_t e = 0; e < d; e++) put(out, (i * h + head) * d + e, o[e], low);
        }
    }
}

static void decode(
    float *qkv, const float *cos, const float *sin, n_t positions, n_t n, n_t h, n_t d, const n_t *row, const cache *c,
    n_t layer, n_t filled, float *memory, void *out, int low) {
#define CALL(D)                                                                                                        \
    if (low) decode_in(qkv, cos, sin, positions, n, h, D, row, c, layer, filled, memory, out, 1);                      \
    else decode_in(qkv, cos, sin, positions, n, h, D, row, c, layer, filled, memory, out, 0)
    BY_WIDTH(CALL)
#undef CALL
}
