/* A pre-norm policy (RMSNorm, RoPE, SwiGLU) on one thread: forward, backward and sampling, each in one call.

   The plain path of harness/policy is the reference; harness/policy/native builds and calls this. Weights, the stream,
   norms, attention and sums are float32; what products read is bfloat16 where `low` is set. Tokens are filled up with
   zeros to a multiple of TILE: that changes no number. All functions return 0, or 1 where memory is short. */

#include "vectors.h"
#include "products.h"
#include "attention.h"

#define BLOCK 64 /* tokens that go through the parts of a layer together: what lies between stays in the second cache */
#define EPSILON 1e-6f

typedef struct {
    n_t layers, width, heads, mlp, vocab, positions, low;
} shape;

/* ---- Weights: as given, of each layer in this order, and packed, forth and back, and the head after all layers */

enum { ATTENTION_NORM, QKV, OUT, MLP_NORM, GATE_UP, DOWN, GIVEN };

typedef struct {
    int given, norm;  /* places among a layer's weights as given; -1: it has no norm's gain */
    n_t k, n;
    n_t forth, back; /* bytes from the start of a layer */
} matrix;

typedef struct {
    matrix qkv, out, gate_up, down;
    n_t layer, all; /* bytes */
} layout;

static layout layout_of(const shape *s) {
    n_t w = s->width, m = s->mlp, at = 0;
    layout l = {
        {QKV, ATTENTION_NORM, w, 3 * w, 0, 0},
        {OUT, -1, w, w, 0, 0},
        {GATE_UP, MLP_NORM, w, 2 * m, 0, 0},
        {DOWN, -1, m, w, 0, 0},
        0,
        0,
    };
    matrix *each[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    for (int i = 0; i < 4; i++) {
        each[i]->forth = at, at += packed_bytes(each[i]->k, each[i]->n, s->low);
        each[i]->back = at, at += packed_bytes(each[i]->n, each[i]->k, s->low);
    }
    l.layer = at, l.all = at * s->layers + packed_bytes(w, s->vocab, 0);
    return l;
}

n_t packed_size(const shape *s) { return layout_of(s).all; }

/* By which `many` arrays of numbers, each of its size, are known again. No change of a single one goes unseen. */
uint64_t fingerprint(const float *const *arrays, const n_t *sizes, n_t many) {
    enum { AT_ONCE = 4 * LANES };
    uint32_t sums[AT_ONCE], bits[AT_ONCE] = {0};
    for (n_t i = 0; i < AT_ONCE; i++) sums[i] = i;
    for (n_t a = 0; a < many; a++)
        for (n_t j = 0; j < sizes[a]; j += AT_ONCE) {
            if (j + AT_ONCE <= sizes[a]) memcpy(bits, arrays[a] + j, sizeof(bits));
            else memcpy(bits, arrays[a] + j, 4 * (sizes[a] - j));
            for (n_t i = 0; i < AT_ONCE; i++) sums[i] = (sums[i] ^ bits[i]) * 0x9e3779b1u;
        }
    uint64_t state = 0;
    for (n_t i = 0; i < AT_ONCE; i++) {
        state = (state ^ sums[i]) * 0x9e3779b97f4a7c15u;
        state ^= state >> 29;
    }
    return state;
}

/* weights [layers, GIVEN]; head [width, vocab] and its gain [width]. */
int pack_weights(const shape *s, const float *const *weights, const float *head, const float *gain, char *to) {
    layout l = layout_of(s);
    const matrix *each[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    uint16_t *memory = malloc(2 * s->width * (3 * s->width > 2 * s->mlp ? 3 * s->width : 2 * s->mlp));
    if (!memory) return 1;
    for (n_t layer = 0; layer < s->layers; layer++, weights += GIVEN, to += l.layer)
        for (int i = 0; i < 8; i++) {
            const matrix *m = each[i / 2];
            const float *w = weights[m->given], *folded = m->norm < 0 ? NULL : weights[m->norm];
            int back = i % 2;
            void *place = to + (back ? m->back : m->forth);
            if (s->low) tile_pack(w, folded, m->k, m->n, back, place, memory);
            else float_pack(w, folded, m->k, m->n, back, place);
        }
    float_pack(head, gain, s->width, s->vocab, 0, (float *)to);
    free(memory);
    return 0;
}

/* ---- What lies between products */

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
        for (n_t j = 0; j < w; j++) {
            float d = (g[j] - along * get(y, i * w + j, low)) * inverse[i];
            dx[j] = add ? dx[j] + d : d;
        }
    }
}

/* y [n, of_y] = silu(gate) * up, both side by side: gu [n, 2m]. They are kept as operands where there is a place. */
INLINE void swiglu(const float *gu, n_t n, n_t m, void *y, n_t of_y, void *kept, int low) {
    for (n_t i = 0; i < n; i++, gu += 2 * m) {
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

/* ---- Memory: one piece, given out from its start */

typedef struct {
    char *at;
} arena;

static void *take(arena *a, n_t bytes) {
    void *x = a->at;
    a->at += up(bytes, 64);
    return x;
}

/* What a layer's backward needs of its forward, n tokens. */
typedef struct {
    float *inverse1, *inverse2; /* of both norms */
    float *qkv;                 /* [n, 3, heads, head width], turned */
    void *y1, *mixed, *y2, *gu; /* read by qkv; given by attention; read by gate_up; given by it */
} kept;

static kept kept_in(const shape *s, n_t n, arena *a) {
    n_t w = s->width, operand = n * size_of(s->low);
    kept k;
    k.inverse1 = take(a, 4 * n), k.inverse2 = take(a, 4 * n), k.qkv = take(a, 12 * n * w);
    k.y1 = take(a, operand * w), k.mixed = take(a, operand * w), k.y2 = take(a, operand * w);
    k.gu = take(a, 2 * operand * s->mlp);
    return k;
}

/* At least one, so that sums over no token are 0 and not left out. */
INLINE n_t filled_up(n_t tokens) { return up(tokens ? tokens : 1, TILE); }

/* Of one layer, in bytes. */
n_t kept_size(const shape *s, n_t tokens) {
    arena a = {NULL};
    kept_in(s, filled_up(tokens), &a);
    return a.at - (char *)NULL;
}

/* ---- Forward */

/* Where a block of tokens passes through a layer's second half. */
typedef struct {
    float *gu;
    void *y;
} passage;

static n_t passage_size(const shape *s) {
    return up(8 * BLOCK * s->mlp, 64) + BLOCK * filled(s->mlp, s->low) * size_of(s->low) + 64;
}

static passage passage_in(const shape *s, arena *a) {
    n_t bytes = BLOCK * filled(s->mlp, s->low) * size_of(s->low);
    passage p = {take(a, 8 * BLOCK * s->mlp), take(a, bytes)};
    memset(p.y, 0, bytes);
    return p;
}

/* qkv of the stream x [n, width]. */
INLINE void read_stream(const shape *s, const layout *l, const char *packed, const float *x, n_t n, kept k, int low) {
    n_t w = s->width;
    for (n_t i = 0; i < n; i += BLOCK) {
        n_t some = least(BLOCK, n - i);
        norm(x + i * w, some, w, into(k.y1, i * w, low), k.inverse1 + i, low);
        product(at(k.y1, i * w, low), w, packed + l->qkv.forth, some, 3 * w, w, k.qkv + i * 3 * w, 0, low);
    }
}

/* Adds to the stream what attention gave, and then what SwiGLU makes of it. */
INLINE void write_stream(
    const shape *s, const layout *l, const char *packed, float *x, n_t n, kept k, int keep, passage p, int low) {
    n_t w = s->width, m = s->mlp, wide = filled(m, low);
    for (n_t i = 0; i < n; i += BLOCK, x += BLOCK * w) {
        n_t some = least(BLOCK, n - i);
        void *y2 = into(k.y2, i * w, low);
        product(at(k.mixed, i * w, low), w, packed + l->out.forth, some, w, w, x, 1, low);
        norm(x, some, w, y2, k.inverse2 + i, low);
        product(y2, w, packed + l->gate_up.forth, some, 2 * m, w, p.gu, 0, low);
        swiglu(p.gu, some, m, p.y, wide, keep ? into(k.gu, 2 * i * m, low) : NULL, low);
        product(p.y, wide, packed + l->down.forth, some, w, m, x, 1, low);
    }
}

INLINE int forward_in(
    const shape *s, const char *packed, const float *embedding, const float *cos, const float *sin, const n_t *ids,
    const n_t *position, n_t tokens, const n_t *rows, n_t n_rows, char *store, n_t keep, const cache *prompts,
    float *hidden, int low) {
    n_t n = filled_up(tokens), w = s->width, h = s->heads, d = w / h;
    layout l = layout_of(s);
    void *memory = aligned_alloc(64, 4 * n * w + 4 * n + passage_size(s) + 256);
    if (!memory) return 1;
    arena a = {memory}, in_store = {store};
    float *x = take(&a, 4 * n * w), *inverse = take(&a, 4 * n);
    passage p = passage_in(s, &a);
    for (n_t i = 0; i < tokens; i++) memcpy(x + i * w, embedding + ids[i] * w, 4 * w);
    memset(x + tokens * w, 0, 4 * (n - tokens) * w);
    int short_of_memory = 0;
    for (n_t layer = 0; layer < s->layers && !short_of_memory; layer++, packed += l.layer) {
        if (!keep) in_store.at = store;
        kept k = kept_in(s, n, &in_store);
        read_stream(s, &l, packed, x, n, k, low);
        for (n_t i = 0; i < tokens; i++)
            for (n_t head = 0; head < 2 * h; head++)
                turn(k.qkv + (i * 3 * h + head) * d, cos + position[i] * d, sin + position[i] * d, d);
        if (prompts) remember_prompts(prompts, layer, k.qkv, rows, n_rows, h, d);
        short_of_memory = attend(k.qkv, n, h, d, rows, n_rows, k.mixed, low);
        write_stream(s, &l, packed, x, n, k, keep, p, low);
    }
    norm(x, tokens, w, hidden, inverse, 0);
    if (keep) memcpy(in_store.at, inverse, 4 * tokens);
    free(memory);
    return short_of_memory;
}

static int forward_with(
    const shape *s, const char *packed, const float *embedding, const float *cos, const float *sin, const n_t *ids,
    const n_t *position, n_t tokens, const n_t *rows, n_t n_rows, char *store, n_t keep, const cache *prompts,
    float *hidden) {
    int low = s->low;
#define CALL(LOW)                                                                                                      \
    return forward_in(                                                                                                 \
        s, packed, embedding, cos, sin, ids, position, tokens, rows, n_rows, store, keep, prompts, hidden, LOW)
    BY_PRECISION(CALL)
#undef CALL
}

/* ids, position [tokens] -> hidden [tokens, width], normalised. rows as attention.h has them. store: kept_size for
   each layer and then `tokens` numbers, where they are to be kept; for one layer otherwise. */
int forward(
    const shape *s, const char *packed, const float *embedding, const float *cos, const float *sin, const n_t *ids,
    const n_t *position, n_t tokens, const n_t *rows, n_t n_rows, char *store, n_t keep, float *hidden) {
    if (s->low) tiles_on();
    int failed = forward_with(
        s, packed, embedding, cos, sin, ids, position, tokens, rows, n_rows, store, keep, NULL, hidden);
    if (s->low) tiles_off();
    return failed;
}

/* ---- Backward */

/* The gradient of a weight whose rows have a gain, from that of both together [k, n]. */
INLINE void unfold(const float *w, const float *gain, n_t k, n_t n, float *dw, float *of_gain) {
    for (n_t i = 0; i < k; i++, w += n, dw += n) {
        float along = 0;
#pragma omp simd reduction(+ : along)
        for (n_t j = 0; j < n; j++) along += dw[j] * w[j];
        of_gain[i] = along;
        for (n_t j = 0; j < n; j++) dw[j] *= gain[i];
    }
}

INLINE int backward_in(
    const shape *s, const char *packed, const float *const *weights, const float *cos, const float *sin,
    const n_t *ids, const n_t *position, n_t tokens, const n_t *rows, n_t n_rows, char *store, const float *hidden,
    const float *g, float *of_embedding, float *const *grads, int low) {
    n_t n = filled_up(tokens), w = s->width, m = s->mlp, h = s->heads, d = w / h, wide = filled(m, low);
    n_t operand = n * size_of(low), kept_layer = kept_size(s, tokens);
    n_t most = outer_bytes(n, w, 3 * w > 2 * m ? 3 * w : 2 * m, low), other = outer_bytes(n, m, w, low);
    layout l = layout_of(s);
    n_t bytes = 4 * n * w * 5 + operand * (w + wide + 2 * m + 3 * w) + 4 * BLOCK * (m + w) + (most > other ? most : other);
    void *memory = aligned_alloc(64, up(bytes, 64) + 16 * 64);
    if (!memory) return 1;
    arena a = {memory};
    float *dx = take(&a, 4 * n * w), *of_mixed = take(&a, 4 * n * w), *of_qkv = take(&a, 12 * n * w);
    void *of_stream = take(&a, operand * w), *y = take(&a, operand * wide);
    void *of_gu = take(&a, operand * 2 * m), *of_qkv_low = low ? take(&a, operand * 3 * w) : of_qkv;
    float *of_y = take(&a, 4 * BLOCK * m), *of_norm = take(&a, 4 * BLOCK * w);
    void *room = take(&a, 0);
    memset(y, 0, operand * wide);
    memset(dx + tokens * w, 0, 4 * (n - tokens) * w);
    norm_grad(g, hidden, (const float *)(store + s->layers * kept_layer), tokens, w, dx, 0, 0);
    int short_of_memory = 0;
    for (n_t layer = s->layers; layer-- && !short_of_memory;) {
        arena in_store = {store + layer * kept_layer};
        kept k = kept_in(s, n, &in_store);
        const char *back = packed + layer * l.layer;
        const float *const *given = weights + layer * GIVEN;
        float *const *grad = grads + layer * GIVEN;

        as_operand(dx, n * w, of_stream, low);
        for (n_t i = 0; i < n; i += BLOCK) {
            n_t some = least(BLOCK, n - i);
            void *block_gu = into(of_gu, 2 * i * m, low);
            product(at(of_stream, i * w, low), w, back + l.down.back, some, m, w, of_y, 0, low);
            swiglu_grad(of_y, at(k.gu, 2 * i * m, low), some, m, block_gu, into(y, i * wide, low), wide, low);
            product(block_gu, 2 * m, back + l.gate_up.back, some, w, 2 * m, of_norm, 0, low);
            norm_grad(of_norm, at(k.y2, i * w, low), k.inverse2 + i, some, w, dx + i * w, 1, low);
        }
        outer(y, wide, of_stream, n, m, w, grad[DOWN], room, low);
        outer(k.y2, w, of_gu, n, w, 2 * m, grad[GATE_UP], room, low);
        unfold(given[GATE_UP], given[MLP_NORM], w, 2 * m, grad[GATE_UP], grad[MLP_NORM]);

        as_operand(dx, n * w, of_stream, low);
        product(of_stream, w, back + l.out.back, n, w, w, of_mixed, 0, low);
        outer(k.mixed, w, of_stream, n, w, w, grad[OUT], room, low);
        short_of_memory = attend_grad(of_mixed, k.qkv, n, h, d, rows, n_rows, of_qkv);
        for (n_t i = 0; i < tokens; i++)
            for (n_t head = 0; head < 2 * h; head++)
                turn_back(of_qkv + (i * 3 * h + head) * d, cos + position[i] * d, sin + position[i] * d, d);
        if (low) as_operand(of_qkv, 3 * n * w, of_qkv_low, 1);
        for (n_t i = 0; i < n; i += BLOCK) {
            n_t some = least(BLOCK, n - i);
            product(at(of_qkv_low, 3 * i * w, low), 3 * w, back + l.qkv.back, some, w, 3 * w, of_norm, 0, low);
            norm_grad(of_norm, at(k.y1, i * w, low), k.inverse1 + i, some, w, dx + i * w, 1, low);
        }
        outer(k.y1, w, of_qkv_low, n, w, 3 * w, grad[QKV], room, low);
        unfold(given[QKV], given[ATTENTION_NORM], w, 3 * w, grad[QKV], grad[ATTENTION_NORM]);
    }
    memset(of_embedding, 0, 4 * s->vocab * w);
    for (n_t i = 0; i < tokens; i++)
        for (n_t j = 0; j < w; j++) of_embedding[ids[i] * w + j] += dx[i * w + j];
    free(memory);
    return short_of_memory;
}

/* g [tokens, width], of `hidden`, after a `forward` that kept; gradients of the embedding and of the weights as given,
   which are written over. */
int backward(
    const shape *s, const char *packed, const float *const *weights, const float *cos, const float *sin,
    const n_t *ids, const n_t *position, n_t tokens, const n_t *rows, n_t n_rows, char *store, const float *hidden,
    const float *g, float *of_embedding, float *const *grads) {
    int low = s->low, failed;
    if (low) tiles_on();
#define CALL(LOW)                                                                                                      \
    failed = backward_in(                                                                                              \
        s, packed, weights, cos, sin, ids, position, tokens, rows, n_rows, store, hidden, g, of_embedding, grads, LOW)
    BY_PRECISION(CALL)
#undef CALL
    if (low) tiles_off();
    return failed;
}

/* ---- Sampling, as harness/policy/sampler.py has it */

/* An inverse-CDF draw: logits [v], a uniform -> an id, and its log-probability at this temperature. */
static n_t draw(const float *logits, float uniform, float temperature, n_t v, float *cdf, float *logprob) {
    float most = logits[0], sum = 0;
#pragma omp simd reduction(max : most)
    for (n_t j = 0; j < v; j++) most = logits[j] > most ? logits[j] : most;
    for (n_t j = 0; j < v; j++) cdf[j] = fast_exp((logits[j] - most) / temperature);
    for (n_t j = 0; j < v; j++) cdf[j] = sum += cdf[j];
    n_t id = 0;
    for (n_t j = 0; j < v; j++) id += !(cdf[j] >= uniform * sum);
    id = least(id, v - 1);
    *logprob = (logits[id] - most) / temperature - logf(sum);
    return id;
}

typedef struct {
    const n_t *ids, *length; /* right-padded [prompts, longest]; [prompts] */
    n_t prompts, longest, group;
    const float *uniforms; /* [rows, room] */
    const uint8_t *active; /* [rows] */
    n_t room, max_tokens, thinking, stop, answer; /* thinking: -1 where nothing does */
    float temperature;
} request;

typedef struct {
    n_t *ids;        /* [rows, room], as all of these; zeroed by the caller */
    float *logprobs; /* 0 where a token was forced */
    uint8_t *taken, *drawn;
} completions;

/* The prompts without their padding, and the normalised hidden state of the last token of each. */
static int prefill(
    const shape *s, const char *packed, const float *embedding, const float *cos, const float *sin, const request *r,
    const cache *c, float *last) {
    n_t tokens = 0, w = s->width;
    for (n_t p = 0; p < r->prompts; p++) tokens += r->length[p];
    n_t bytes = kept_size(s, tokens);
    n_t *ids = malloc(sizeof(n_t) * (2 * tokens + 4 * r->prompts));
    float *hidden = malloc(4 * tokens * w + 4);
    char *store = aligned_alloc(64, up(bytes, 64));
    int failed = !ids || !hidden || !store;
    if (!failed) {
        n_t *position = ids + tokens, *rows = position + tokens, i = 0;
        for (n_t p = 0; p < r->prompts; p++) {
            n_t row[4] = {0, 0, i, i + r->length[p]};
            memcpy(rows + 4 * p, row, sizeof(row));
            for (n_t j = 0; j < r->length[p]; j++, i++) ids[i] = r->ids[p * r->longest + j], position[i] = j;
        }
        failed = forward_with(
            s, packed, embedding, cos, sin, ids, position, tokens, rows, r->prompts, store, 0, c, hidden);
        for (n_t p = 0; p < r->prompts; p++) memcpy(last + p * w, hidden + (rows[4 * p + 3] - 1) * w, 4 * w);
    }
    free(ids), free(hidden), free(store);
    return failed;
}

INLINE int sample_in(
    const shape *s, const char *packed, const float *embedding, const float *cos, const float *sin, const request *r,
    completions out, int low) {
    n_t w = s->width, h = s->heads, d = w / h, v = s->vocab, all = r->prompts * r->group;
    n_t n = up(all, TILE), longest = 0, room = padded(r->room);
    for (n_t p = 0; p < r->prompts; p++) longest = r->length[p] > longest ? r->length[p] : longest;
    layout l = layout_of(s);
    const float *head = (const float *)(packed + s->layers * l.layer);
    cache c = {.length = r->length, .group = r->group, .prompt_room = padded(longest), .room = room};
    c.of_prompt_k = r->prompts * h * d * c.prompt_room, c.of_prompt_v = r->prompts * h * padded(d) * c.prompt_room;
    c.of_own_k = all * h * d * room, c.of_own_v = all * h * padded(d) * room;
    n_t in_cache = 4 * s->layers * (c.of_prompt_k + c.of_prompt_v + c.of_own_k + c.of_own_v);
    n_t looking = 4 * (c.prompt_room + room + LANES + padded(d));
    n_t bytes = in_cache + kept_size(s, n) + 4 * n * (3 * w + v) + looking + 4 * v + 32 * all + passage_size(s) + 32 * 64;
    void *memory = aligned_alloc(64, up(bytes, 64));
    if (!memory) return 1;
    arena a = {memory};
    c.prompt_k = take(&a, 4 * s->layers * c.of_prompt_k), c.prompt_v = take(&a, 4 * s->layers * c.of_prompt_v);
    c.own_k = take(&a, 4 * s->layers * c.of_own_k), c.own_v = take(&a, 4 * s->layers * c.of_own_v);
    kept k = kept_in(s, n, &a);
    passage p = passage_in(s, &a);
    float *x = take(&a, 4 * n * w), *hidden = take(&a, 4 * n * w), *logits = take(&a, 4 * n * v), *cdf = take(&a, 4 * v);
    float *look = take(&a, looking);
    n_t *row = take(&a, 8 * all), *left = take(&a, 8 * all), *token = take(&a, 8 * all), living = 0;
    uint8_t *answering = take(&a, all);
    int failed = prefill(s, packed, embedding, cos, sin, r, &c, hidden);
    if (!failed) float_product(hidden, w, 1, head, 1, 0, r->prompts, v, w, logits, v, 0);
    for (n_t i = 0; i < all && !failed; i++)
        if (r->active[i]) row[living++] = i, left[i] = r->max_tokens, answering[i] = r->thinking < 0;
    for (n_t t = 0; t < r->room && living; t++) {
        n_t still = 0;
        for (n_t i = 0; i < living; i++) {
            n_t at = row[i], place = at * r->room + t, forced = !answering[at] && t == r->thinking;
            float logprob;
            n_t id = draw(
                logits + (t ? i : at / r->group) * v, r->uniforms[place], r->temperature, v, cdf, &logprob);
            if (forced) id = r->answer, logprob = 0;
            out.ids[place] = id, out.logprobs[place] = logprob, out.taken[place] = 1, out.drawn[place] = !forced;
            left[at] -= answering[at];
            answering[at] |= id == r->answer;
            if (id != r->stop && left[at] > 0) row[still] = at, token[still++] = id;
        }
        living = t + 1 < r->room ? still : 0;
        for (n_t i = 0; i < living; i++) memcpy(x + i * w, embedding + token[i] * w, 4 * w);
        memset(x + living * w, 0, 4 * (up(living, 16) - living) * w);
        const char *weights = packed;
        for (n_t layer = 0; layer < s->layers && living; layer++, weights += l.layer) {
            read_stream(s, &l, weights, x, living, k, low);
            decode(k.qkv, cos, sin, s->positions, living, h, d, row, &c, layer, t, look, k.mixed, low);
            write_stream(s, &l, weights, x, living, k, 0, p, low);
        }
        norm(x, living, w, hidden, k.inverse1, 0);
        float_product(hidden, w, 1, head, 1, 0, living, v, w, logits, v, 0);
    }
    free(memory);
    return failed;
}

int sample(
    const shape *s, const char *packed, const float *embedding, const float *cos, const float *sin, const request *r,
    const completions *out) {
    int low = s->low, failed;
    if (low) tiles_on();
#define CALL(LOW) failed = sample_in(s, packed, embedding, cos, sin, r, *out, LOW)
    BY_PRECISION(CALL)
#undef CALL
    if (low) tiles_off();
    return failed;
}
