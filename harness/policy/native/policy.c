/* A pre-norm policy (RMSNorm, RoPE, SwiGLU) on one thread: forward, backward and sampling, each in one call.

   The plain path of harness/policy is the reference; harness/policy/native builds and calls this. Weights, the stream,
   norms, softmax and sums are float32; where `low` is set, what products read is bfloat16, and so are keys and values.
   Tokens are filled up with zeros to a multiple of TILE: that changes no number. What is not said to return something
   else returns a status. */

#include "vectors.h"
#include "products.h"
#include "attention.h"

#define BLOCK 64 /* tokens that go through the parts of a layer together: what lies between stays in the second cache */
#define EPSILON 1e-6f

enum { DONE, NO_MEMORY, OUT_OF_RANGE }; /* of a token's id, position or target, or a prompt's length */

typedef struct {
    n_t layers, width, heads, mlp, vocab, positions, low;
    const float *cos, *sin;                  /* [positions, head width], the first half of sin negated */
    const float *embedding, *head, *gain;    /* [vocab, width], [width, vocab], and the gain of head's rows [width] */
    const float *const *weights;             /* [layers, GIVEN] */
    const char *packed;                      /* by pack_weights */
} policy;

/* Rows as attention.h has them. */
typedef struct {
    n_t count, n_rows;
    const n_t *ids, *position, *rows;
} tokens;

/* Of everything that learns, written over. */
typedef struct {
    float *embedding, *head, *gain;
    float *const *weights;
} gradients;

/* ---- Weights: as given, of each layer in this order, and packed, forth and back, the head's after all layers */

enum { ATTENTION_NORM, QKV, OUT, MLP_NORM, GATE_UP, DOWN, GIVEN };

typedef struct {
    int given, norm;  /* places among a layer's weights as given; -1: it has no norm's gain */
    n_t k, n;
    n_t forth, back; /* bytes from the start of a layer */
} matrix;

typedef struct {
    matrix qkv, out, gate_up, down;
    n_t layer, head, head_back, all; /* bytes of a layer; from the start of all */
} layout;

static layout layout_of(const policy *s) {
    n_t w = s->width, m = s->mlp, at = 0;
    layout l = {
        {QKV, ATTENTION_NORM, w, 3 * w, 0, 0},
        {OUT, -1, w, w, 0, 0},
        {GATE_UP, MLP_NORM, w, 2 * m, 0, 0},
        {DOWN, -1, m, w, 0, 0},
    };
    matrix *each[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    for (int i = 0; i < 4; i++) {
        each[i]->forth = at, at += packed_bytes(each[i]->k, each[i]->n, s->low);
        each[i]->back = at, at += packed_bytes(each[i]->n, each[i]->k, s->low);
    }
    l.layer = at, l.head = at * s->layers, l.head_back = l.head + packed_bytes(w, s->vocab, 0);
    l.all = l.head_back + packed_bytes(s->vocab, w, 0);
    return l;
}

n_t packed_size(const policy *s) { return layout_of(s).all; }

/* 4 * LANES chains, each of every so many numbers: no change of a single one goes unseen, and all bits of a number move
   all of its chain. */
typedef struct {
    uint32_t sums[4 * LANES];
} print_of;

static void add_to_print(print_of *p, const float *x, n_t n) {
    enum { AT_ONCE = 4 * LANES };
    for (n_t j = 0; j < n; j += AT_ONCE) {
        uint32_t bits[AT_ONCE] = {0};
        if (j + AT_ONCE <= n) memcpy(bits, x + j, sizeof(bits));
        else memcpy(bits, x + j, 4 * (n - j));
        for (n_t i = 0; i < AT_ONCE; i++) p->sums[i] = (p->sums[i] ^ bits[i]) * 0x9e3779b1u, p->sums[i] ^= p->sums[i] >> 15;
    }
}

/* By which the numbers that pack_weights reads, and how it lays them out, are known again. */
uint64_t fingerprint(const policy *s) {
    layout l = layout_of(s);
    const matrix *each[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    print_of p;
    uint64_t state = s->low;
    for (n_t i = 0; i < 4 * LANES; i++) p.sums[i] = i;
    for (n_t layer = 0; layer < s->layers; layer++)
        for (int i = 0; i < 4; i++) {
            const matrix *m = each[i];
            add_to_print(&p, s->weights[layer * GIVEN + m->given], m->k * m->n);
            if (m->norm >= 0) add_to_print(&p, s->weights[layer * GIVEN + m->norm], m->k);
        }
    add_to_print(&p, s->head, s->width * s->vocab), add_to_print(&p, s->gain, s->width);
    for (n_t i = 0; i < 4 * LANES; i++) {
        state = (state ^ p.sums[i]) * 0x9e3779b97f4a7c15u;
        state ^= state >> 29;
    }
    return state;
}

int pack_weights(const policy *s, char *to) {
    layout l = layout_of(s);
    const matrix *each[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    uint16_t *memory = malloc(2 * s->width * (3 * s->width > 2 * s->mlp ? 3 * s->width : 2 * s->mlp));
    if (!memory) return NO_MEMORY;
    for (n_t layer = 0; layer < s->layers; layer++)
        for (int i = 0; i < 4; i++) {
            const matrix *m = each[i];
            const float *w = s->weights[layer * GIVEN + m->given];
            const float *gain = m->norm < 0 ? NULL : s->weights[layer * GIVEN + m->norm];
            char *forth = to + layer * l.layer + m->forth, *back = to + layer * l.layer + m->back;
            if (s->low) tile_pack(w, gain, m->k, m->n, forth, back, memory);
            else float_pack(w, gain, m->k, m->n, forth, back);
        }
    float_pack(s->head, s->gain, s->width, s->vocab, to + l.head, to + l.head_back);
    free(memory);
    return 0;
}

/* ---- Which tokens are seen

   Of completions [rows, longest_completion] after their prompts: all prompts but for the last token of each, then the
   completions, each of which begins with that token and goes on as far as `mask` asks. Fills ids, position, target (-1:
   none) and place, where in the completions it is asked for (beyond them: nowhere), of each token, and rows
   [prompts + completions]; returns how many tokens there are, -1 if a prompt has no token or
   more than there is room for. */
n_t lay_out(
    const n_t *prompts, const n_t *length, n_t n_prompts, n_t longest_prompt, const n_t *completions,
    const uint8_t *mask, n_t rows, n_t longest_completion, n_t *ids, n_t *position, n_t *target, n_t *place,
    n_t *spans) {
    n_t i = 0, group = n_prompts ? rows / n_prompts : 1;
    for (n_t p = 0; p < n_prompts; p++) {
        if (length[p] < 1 || length[p] > longest_prompt) return -1;
        n_t span[4] = {0, 0, i, i + length[p] - 1};
        memcpy(spans + 4 * p, span, sizeof(span));
        for (n_t j = 0; j < length[p] - 1; j++, i++)
            ids[i] = prompts[p * longest_prompt + j], position[i] = j, target[i] = -1,
            place[i] = rows * longest_completion;
    }
    for (n_t r = 0; r < rows; r++) {
        n_t p = r / group, first = r * longest_completion, asked = longest_completion, last = length[p] - 1;
        while (asked && !mask[first + asked - 1]) asked--;
        n_t span[4] = {spans[4 * p + 2], spans[4 * p + 3], i, i + asked};
        memcpy(spans + 4 * (n_prompts + r), span, sizeof(span));
        for (n_t c = 0; c < asked; c++, i++) {
            ids[i] = c ? completions[first + c - 1] : prompts[p * longest_prompt + last];
            position[i] = last + c, place[i] = first + c;
            target[i] = mask[first + c] ? completions[first + c] : -1;
        }
    }
    return i;
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
    uintptr_t at; /* from 0 on only to see how much it takes */
} arena;

static void *take(arena *a, n_t bytes) {
    void *x = (void *)a->at;
    a->at += up(bytes, 64);
    return x;
}

/* What a layer's backward needs of its forward, n tokens. */
typedef struct {
    float *inverse1, *inverse2; /* of both norms */
    float *qkv;                 /* [n, 3, heads, head width], turned */
    void *y1, *mixed, *y2, *gu; /* read by qkv; given by attention; read by gate_up; given by it */
} kept;

static kept kept_in(const policy *s, n_t n, arena *a) {
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
static n_t kept_size(const policy *s, n_t tokens) {
    arena a = {0};
    kept_in(s, filled_up(tokens), &a);
    return a.at;
}

/* ---- Forward */

/* Where a block of tokens passes through a layer's second half. */
typedef struct {
    float *gu;
    void *y;
} passage;

static n_t passage_size(const policy *s) {
    return up(8 * BLOCK * s->mlp, 64) + BLOCK * filled(s->mlp, s->low) * size_of(s->low) + 64;
}

static passage passage_in(const policy *s, arena *a) {
    n_t bytes = BLOCK * filled(s->mlp, s->low) * size_of(s->low);
    passage p = {take(a, 8 * BLOCK * s->mlp), take(a, bytes)};
    memset(p.y, 0, bytes);
    return p;
}

/* qkv of the stream x [n, width]. */
INLINE void read_stream(const policy *s, const layout *l, const char *packed, const float *x, n_t n, kept k, int low) {
    n_t w = s->width;
    for (n_t i = 0; i < n; i += BLOCK) {
        n_t some = least(BLOCK, n - i);
        norm(x + i * w, some, w, into(k.y1, i * w, low), k.inverse1 + i, low);
        product(at(k.y1, i * w, low), w, packed + l->qkv.forth, some, 3 * w, w, k.qkv + i * 3 * w, 0, low);
    }
}

/* Adds to the stream what attention gave, and then what SwiGLU makes of it. */
INLINE void write_stream(
    const policy *s, const layout *l, const char *packed, float *x, n_t n, kept k, int keep, passage p, int low) {
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

/* Whatever comes after the layers, for as many tokens. */
typedef struct {
    float *inverse, *hidden; /* of the last norm; what it gave */
    float *sum;              /* of a scored token: the logarithm of the sum of its law's exponentials */
} ending;

static ending ending_in(const policy *s, n_t n, arena *a) {
    ending e = {take(a, 4 * n), take(a, 4 * n * s->width), take(a, 4 * n)};
    return e;
}

/* Bytes of a store: of all layers where they are to be kept, of one otherwise, and of what comes after them. */
n_t store_size(const policy *s, n_t count, n_t keep) {
    arena a = {0};
    ending_in(s, filled_up(count), &a);
    return (keep ? s->layers : 1) * kept_size(s, count) + (n_t)a.at;
}

static ending ending_of(const policy *s, n_t count, char *store, n_t keep) {
    arena a = {(uintptr_t)store + (keep ? s->layers : 1) * kept_size(s, count)};
    return ending_in(s, filled_up(count), &a);
}

/* As the sampler's cache holds them: what the trainer scores is then what was drawn from. qkv [n, 3, w] */
INLINE void round_keys_and_values(float *qkv, n_t n, n_t w) {
    for (n_t i = 0; i < n; i++, qkv += 3 * w)
        for (n_t j = w; j < 3 * w; j++) qkv[j] = rounded(qkv[j]);
}

INLINE int forward_in(const policy *s, const tokens *t, char *store, n_t keep, const cache *prompts, int low) {
    n_t n = filled_up(t->count), w = s->width, h = s->heads, d = w / h, of_layer = kept_size(s, t->count);
    layout l = layout_of(s);
    for (n_t i = 0; i < t->count; i++)
        if ((uint64_t)t->ids[i] >= (uint64_t)s->vocab || (uint64_t)t->position[i] >= (uint64_t)s->positions)
            return OUT_OF_RANGE;
    void *memory = aligned_alloc(64, up(4 * n * w + passage_size(s) + 256, 64));
    if (!memory) return NO_MEMORY;
    arena a = {(uintptr_t)memory};
    float *x = take(&a, 4 * n * w);
    passage p = passage_in(s, &a);
    for (n_t i = 0; i < t->count; i++) memcpy(x + i * w, s->embedding + t->ids[i] * w, 4 * w);
    memset(x + t->count * w, 0, 4 * (n - t->count) * w);
    int failed = DONE;
    for (n_t layer = 0; layer < s->layers && !failed; layer++) {
        arena in_store = {(uintptr_t)store + (keep ? layer * of_layer : 0)};
        kept k = kept_in(s, n, &in_store);
        const char *packed = s->packed + layer * l.layer;
        read_stream(s, &l, packed, x, n, k, low);
        for (n_t i = 0; i < t->count; i++)
            for (n_t head = 0; head < 2 * h; head++)
                turn(k.qkv + (i * 3 * h + head) * d, s->cos + t->position[i] * d, s->sin + t->position[i] * d, d);
        if (low) round_keys_and_values(k.qkv, t->count, w);
        if (prompts) remember_prompts(prompts, layer, k.qkv, t->rows, t->n_rows, h, d);
        failed = attend(k.qkv, n, h, d, t->rows, t->n_rows, k.mixed, low);
        write_stream(s, &l, packed, x, n, k, keep, p, low);
    }
    ending e = ending_of(s, t->count, store, keep);
    norm(x, t->count, w, e.hidden, e.inverse, 0);
    free(memory);
    return failed;
}

static int forward_with(const policy *s, const tokens *t, char *store, n_t keep, const cache *prompts) {
    int low = s->low;
#define CALL(LOW) return forward_in(s, t, store, keep, prompts, LOW)
    BY_PRECISION(CALL)
#undef CALL
}

/* hidden [count, width], normalised; the store is what `backward` needs. */
int forward(const policy *s, const tokens *t, char *store, n_t keep, float *hidden) {
    if (s->low) tiles_on();
    int failed = forward_with(s, t, store, keep, NULL);
    if (s->low) tiles_off();
    if (!failed) memcpy(hidden, ending_of(s, t->count, store, keep).hidden, 4 * t->count * s->width);
    return failed;
}

/* Rows of hidden states whose token has a target, up to BLOCK of them from `from` on; returns how far it came. */
INLINE n_t gather(
    const policy *s, const tokens *t, const n_t *target, const float *hidden, n_t from, n_t *place, n_t *found,
    float *block_of) {
    n_t i = from, w = s->width;
    for (*found = 0; i < t->count && *found < BLOCK; i++)
        if (target[i] >= 0) {
            place[*found] = i;
            memcpy(block_of + (*found)++ * w, hidden + i * w, 4 * w);
        }
    return i;
}

/* logprobs [count] of targets at this temperature; 0 where a target is negative. */
int score(
    const policy *s, const tokens *t, const n_t *target, float temperature, char *store, n_t keep, float *logprobs) {
    n_t w = s->width, v = s->vocab, place[BLOCK], found;
    for (n_t i = 0; i < t->count; i++)
        if (target[i] >= v) return OUT_OF_RANGE;
    float *x = malloc(4 * BLOCK * (w + v));
    if (!x) return NO_MEMORY;
    if (s->low) tiles_on();
    int failed = forward_with(s, t, store, keep, NULL);
    if (s->low) tiles_off();
    ending e = ending_of(s, t->count, store, keep);
    float *logits = x + BLOCK * w, cooler = 1.0f / temperature;
    const float *head = (const float *)(s->packed + layout_of(s).head);
    memset(logprobs, 0, 4 * t->count);
    for (n_t from = 0; from < t->count && !failed;) {
        from = gather(s, t, target, e.hidden, from, place, &found, x);
        float_product(x, w, 1, head, 1, 0, found, v, w, logits, v, 0);
        for (n_t i = 0; i < found; i++) {
            const float *l = logits + i * v;
            float most = l[0], sum = 0;
#pragma omp simd reduction(max : most)
            for (n_t j = 0; j < v; j++) most = l[j] > most ? l[j] : most;
#pragma omp simd reduction(+ : sum)
            for (n_t j = 0; j < v; j++) sum += fast_exp((l[j] - most) * cooler);
            e.sum[place[i]] = most * cooler + logf(sum);
            logprobs[place[i]] = (l[target[place[i]]] - most) * cooler - logf(sum);
        }
    }
    free(x);
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

/* From g [count, width], of the last norm's result. */
INLINE int backward_in(const policy *s, const tokens *t, char *store, const float *g, const gradients *out, int low) {
    n_t n = filled_up(t->count), w = s->width, m = s->mlp, h = s->heads, d = w / h, wide = filled(m, low);
    n_t operand = n * size_of(low), kept_layer = kept_size(s, t->count);
    n_t most = outer_bytes(n, w, 3 * w > 2 * m ? 3 * w : 2 * m, low), other = outer_bytes(n, m, w, low);
    layout l = layout_of(s);
    n_t bytes = 4 * n * w * 5 + operand * (w + wide + 2 * m + 3 * w) + 4 * BLOCK * (m + w) + (most > other ? most : other);
    void *memory = aligned_alloc(64, up(bytes, 64) + 16 * 64);
    if (!memory) return NO_MEMORY;
    arena a = {(uintptr_t)memory};
    float *dx = take(&a, 4 * n * w), *of_mixed = take(&a, 4 * n * w), *of_qkv = take(&a, 12 * n * w);
    void *of_stream = take(&a, operand * w), *y = take(&a, operand * wide);
    void *of_gu = take(&a, operand * 2 * m), *of_qkv_low = low ? take(&a, operand * 3 * w) : of_qkv;
    float *of_y = take(&a, 4 * BLOCK * m), *of_norm = take(&a, 4 * BLOCK * w);
    void *room = take(&a, 0);
    memset(y, 0, operand * wide);
    memset(dx + t->count * w, 0, 4 * (n - t->count) * w);
    ending e = ending_of(s, t->count, store, 1);
    norm_grad(g, e.hidden, e.inverse, t->count, w, dx, 0, 0);
    int failed = DONE;
    for (n_t layer = s->layers; layer-- && !failed;) {
        arena in_store = {(uintptr_t)store + layer * kept_layer};
        kept k = kept_in(s, n, &in_store);
        const char *back = s->packed + layer * l.layer;
        const float *const *given = s->weights + layer * GIVEN;
        float *const *grad = out->weights + layer * GIVEN;

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
        failed = attend_grad(of_mixed, k.qkv, n, h, d, t->rows, t->n_rows, of_qkv);
        for (n_t i = 0; i < t->count; i++)
            for (n_t head = 0; head < 2 * h; head++)
                turn_back(of_qkv + (i * 3 * h + head) * d, s->cos + t->position[i] * d,
                    s->sin + t->position[i] * d, d);
        if (low) as_operand(of_qkv, 3 * n * w, of_qkv_low, 1);
        for (n_t i = 0; i < n; i += BLOCK) {
            n_t some = least(BLOCK, n - i);
            product(at(of_qkv_low, 3 * i * w, low), 3 * w, back + l.qkv.back, some, w, 3 * w, of_norm, 0, low);
            norm_grad(of_norm, at(k.y1, i * w, low), k.inverse1 + i, some, w, dx + i * w, 1, low);
        }
        outer(k.y1, w, of_qkv_low, n, w, 3 * w, grad[QKV], room, low);
        unfold(given[QKV], given[ATTENTION_NORM], w, 3 * w, grad[QKV], grad[ATTENTION_NORM]);
    }
    memset(out->embedding, 0, 4 * s->vocab * w);
    for (n_t i = 0; i < t->count; i++)
        for (n_t j = 0; j < w; j++) out->embedding[t->ids[i] * w + j] += dx[i * w + j];
    free(memory);
    return failed;
}

static int backward_with(const policy *s, const tokens *t, char *store, const float *g, const gradients *out) {
    int low = s->low, failed;
    if (low) tiles_on();
#define CALL(LOW) failed = backward_in(s, t, store, g, out, LOW)
    BY_PRECISION(CALL)
#undef CALL
    if (low) tiles_off();
    return failed;
}

/* g [count, width], of `hidden`, after a `forward` that kept; gradients but those of the head. */
int backward(const policy *s, const tokens *t, char *store, const float *g, const gradients *out) {
    return backward_with(s, t, store, g, out);
}

/* g [count], of `logprobs`, after a `score` that kept. */
int score_grad(
    const policy *s, const tokens *t, const n_t *target, float temperature, char *store, const float *g,
    const gradients *out) {
    n_t w = s->width, v = s->vocab, place[BLOCK], found;
    float *x = malloc(4 * (BLOCK * (2 * w + v) + t->count * w));
    if (!x) return NO_MEMORY;
    float *logits = x + BLOCK * w, *of_x = logits + BLOCK * v, *of_hidden = of_x + BLOCK * w;
    float cooler = 1.0f / temperature;
    layout l = layout_of(s);
    ending e = ending_of(s, t->count, store, 1);
    const float *head = (const float *)(s->packed + l.head), *back = (const float *)(s->packed + l.head_back);
    memset(of_hidden, 0, 4 * t->count * w);
    memset(out->head, 0, 4 * w * v);
    for (n_t from = 0; from < t->count;) {
        from = gather(s, t, target, e.hidden, from, place, &found, x);
        float_product(x, w, 1, head, 1, 0, found, v, w, logits, v, 0);
        for (n_t i = 0; i < found; i++) {
            float *row = logits + i * v, sum = e.sum[place[i]], of = g[place[i]] * cooler;
            for (n_t j = 0; j < v; j++) row[j] = -of * fast_exp(row[j] * cooler - sum);
            row[target[place[i]]] += of;
        }
        float_product(logits, v, 1, back, 1, 0, found, w, v, of_x, w, 0);
        float_product(x, 1, w, logits, 0, v, w, v, found, out->head, v, 1);
        for (n_t i = 0; i < found; i++) memcpy(of_hidden + place[i] * w, of_x + i * w, 4 * w);
    }
    unfold(s->head, s->gain, w, v, out->head, out->gain);
    int failed = backward_with(s, t, store, of_hidden, out);
    free(x);
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
static int prefill(const policy *s, const request *r, const cache *c, float *last) {
    n_t count = 0, w = s->width;
    for (n_t p = 0; p < r->prompts; p++) {
        if (r->length[p] < 1 || r->length[p] > r->longest) return OUT_OF_RANGE;
        count += r->length[p];
    }
    n_t *ids = malloc(sizeof(n_t) * (2 * count + 4 * r->prompts));
    char *store = aligned_alloc(64, up(store_size(s, count, 0), 64));
    int failed = ids && store ? DONE : NO_MEMORY;
    if (!failed) {
        n_t *position = ids + count, *rows = position + count, i = 0;
        for (n_t p = 0; p < r->prompts; p++) {
            n_t row[4] = {0, 0, i, i + r->length[p]};
            memcpy(rows + 4 * p, row, sizeof(row));
            for (n_t j = 0; j < r->length[p]; j++, i++) ids[i] = r->ids[p * r->longest + j], position[i] = j;
        }
        tokens t = {count, r->prompts, ids, position, rows};
        failed = forward_with(s, &t, store, 0, c);
        const float *hidden = ending_of(s, count, store, 0).hidden;
        for (n_t p = 0; p < r->prompts; p++) memcpy(last + p * w, hidden + (rows[4 * p + 3] - 1) * w, 4 * w);
    }
    free(ids), free(store);
    return failed;
}

INLINE int sample_in(const policy *s, const request *r, completions out, int low) {
    n_t w = s->width, h = s->heads, d = w / h, v = s->vocab, all = r->prompts * r->group;
    n_t n = up(all, TILE), longest = 0;
    for (n_t p = 0; p < r->prompts; p++) longest = r->length[p] > longest ? r->length[p] : longest;
    layout l = layout_of(s);
    const float *head = (const float *)(s->packed + l.head);
    cache c = {.length = r->length, .group = r->group, .prompt_room = padded(longest), .room = r->room};
    c.of_prompt_k = r->prompts * h * d * c.prompt_room, c.of_prompt_v = r->prompts * h * padded(d) * c.prompt_room;
    c.of_own = all * h * r->room * padded(d);
    n_t of_prompts = 4 * s->layers * (c.of_prompt_k + c.of_prompt_v), own = s->layers * c.of_own * size_of(low);
    n_t looking = 4 * (c.prompt_room + padded(r->room) + LANES + 2 * padded(d));
    n_t bytes = of_prompts + 2 * own + kept_size(s, n) + 4 * n * (2 * w + v) + looking + 4 * v + 32 * all + passage_size(s) + 32 * 64;
    void *memory = aligned_alloc(64, up(bytes, 64));
    if (!memory) return NO_MEMORY;
    arena a = {(uintptr_t)memory};
    c.prompt_k = take(&a, 4 * s->layers * c.of_prompt_k), c.prompt_v = take(&a, 4 * s->layers * c.of_prompt_v);
    c.own_k = take(&a, own), c.own_v = take(&a, own);
    kept k = kept_in(s, n, &a);
    passage p = passage_in(s, &a);
    float *x = take(&a, 4 * n * w), *hidden = take(&a, 4 * n * w), *logits = take(&a, 4 * n * v), *cdf = take(&a, 4 * v);
    float *look = take(&a, looking);
    n_t *row = take(&a, 8 * all), *left = take(&a, 8 * all), *token = take(&a, 8 * all), living = 0;
    uint8_t *answering = take(&a, all);
    int failed = prefill(s, r, &c, hidden);
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
        for (n_t i = 0; i < living; i++) memcpy(x + i * w, s->embedding + token[i] * w, 4 * w);
        const char *weights = s->packed;
        for (n_t layer = 0; layer < s->layers && living; layer++, weights += l.layer) {
            read_stream(s, &l, weights, x, living, k, low);
            decode(k.qkv, s->cos, s->sin, s->positions, living, h, d, row, &c, layer, t, look, k.mixed, low);
            write_stream(s, &l, weights, x, living, k, 0, p, low);
        }
        norm(x, living, w, hidden, k.inverse1, 0);
        float_product(hidden, w, 1, head, 1, 0, living, v, w, logits, v, 0);
    }
    free(memory);
    return failed;
}

int sample(const policy *s, const request *r, const completions *out) {
    int low = s->low, failed;
    if (low) tiles_on();
#define CALL(LOW) failed = sample_in(s, r, *out, LOW)
    BY_PRECISION(CALL)
#undef CALL
    if (low) tiles_off();
    return failed;
}
