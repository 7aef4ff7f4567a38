/* Flat tokens through the layers, to hidden states or to log-probabilities. */

#define BLOCK 64 /* tokens that go through the parts of a layer together: what lies between stays in the second cache */

/* Rows as attention.h has them. */
typedef struct {
    n_t count, n_rows;
    const n_t *ids, *position, *rows;
} tokens;

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

INLINE n_t blocks_of(n_t tokens) { return (filled_up(tokens) + BLOCK - 1) / BLOCK; }

/* Of one layer, in bytes. */
static n_t kept_size(const policy *s, n_t tokens) {
    arena a = {0};
    kept_in(s, filled_up(tokens), &a);
    return a.at;
}

/* Of the layer in a store, which holds all or, where they are not to be kept, one. */
static kept kept_of(const policy *s, n_t count, char *store, n_t keep, n_t layer) {
    arena a = {(uintptr_t)store + (keep ? layer * kept_size(s, count) : 0)};
    return kept_in(s, filled_up(count), &a);
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

/* ---- The halves of a layer, of tokens that go through them together */

/* Where they pass through the second. */
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

/* qkv of the stream x [n, width]: of the tokens from `i` on, up to BLOCK. */
INLINE void read_stream(
    const policy *s, const layout *l, const char *packed, const float *x, n_t i, n_t n, kept k, int low) {
    n_t w = s->width, some = least(BLOCK, n - i);
    norm(x + i * w, some, w, into(k.y1, i * w, low), k.inverse1 + i, low);
    product(at(k.y1, i * w, low), w, packed + l->qkv.forth, some, 3 * w, w, k.qkv + i * 3 * w, 0, low);
}

/* Adds to their stream what attention gave, and then what SwiGLU makes of it. */
INLINE void write_stream(
    const policy *s, const layout *l, const char *packed, float *x, n_t i, n_t n, kept k, int keep, passage p, int low) {
    n_t w = s->width, m = s->mlp, wide = filled(m, low), some = least(BLOCK, n - i);
    void *y2 = into(k.y2, i * w, low);
    x += i * w;
    product(at(k.mixed, i * w, low), w, packed + l->out.forth, some, w, w, x, 1, low);
    norm(x, some, w, y2, k.inverse2 + i, low);
    product(y2, w, packed + l->gate_up.forth, some, 2 * m, w, p.gu, 0, low);
    swiglu(p.gu, some, m, p.y, wide, keep ? into(k.gu, 2 * i * m, low) : NULL, low);
    product(p.y, wide, packed + l->down.forth, some, w, m, x, 1, low);
}

/* ---- All of it */

typedef struct {
    const policy *s;
    const tokens *t;
    char *store;
    n_t keep;
    const cache *prompts; /* where rows are prompts whose keys and values are to be remembered */
    int scored;           /* whether log-probabilities are asked for, and not hidden states alone */
    const n_t *target;    /* [count], negative where nothing is asked for */
    float temperature, *logprobs;
    float *x; /* the stream */
    _Atomic int failed;
} pass;

/* Turned, and rounded as the sampler's cache holds them: what the trainer scores is then what was drawn from. */
INLINE void finish_qkv(const policy *s, const tokens *t, n_t i, n_t n, kept k, int low) {
    n_t h = s->heads, d = s->width / h, w = s->width;
    for (n_t end = least(i + BLOCK, t->count), at = i; at < end; at++) {
        float *qkv = k.qkv + at * 3 * w;
        turn_heads(qkv, s->cos + t->position[at] * d, s->sin + t->position[at] * d, 2 * h, d);
        for (n_t j = w; j < 3 * w && low; j++) qkv[j] = rounded(qkv[j]);
    }
    memset(into(k.mixed, i * w, low), 0, least(BLOCK, n - i) * w * size_of(low)); /* of no row: 0 */
}

INLINE void embed(const pass *p, n_t from, n_t n) {
    n_t w = p->s->width;
    for (n_t i = from; i < least(from + BLOCK, n); i++) {
        if (i < p->t->count) memcpy(p->x + i * w, p->s->embedding + p->t->ids[i] * w, 4 * w);
        else memset(p->x + i * w, 0, 4 * w);
    }
}

/* Of tokens that lie together, whether anything is asked for. */
static int asked_for(const n_t *target, n_t n) {
    for (n_t i = 0; i < n; i++)
        if (target[i] >= 0) return 1;
    return 0;
}

/* The last norm, and log-probabilities of targets; 0 where one is negative. logits [BLOCK, vocab] */
INLINE void finish(const pass *p, n_t from, ending e, float *logits) {
    n_t w = p->s->width, v = p->s->vocab, some = least(BLOCK, p->t->count - from);
    if (some <= 0) return;
    norm(p->x + from * w, some, w, e.hidden + from * w, e.inverse + from, 0);
    if (!p->scored) return;
    memset(p->logprobs + from, 0, 4 * some);
    if (!asked_for(p->target + from, some)) return;
    const float *head = (const float *)(p->s->packed + layout_of(p->s).head);
    float cooler = 1.0f / p->temperature;
    float_product(e.hidden + from * w, w, 1, head, 1, 0, some, v, w, logits, v, 0);
    for (n_t i = from; i < from + some; i++, logits += v) {
        if (p->target[i] < 0) continue;
        float most = logits[0], sum = 0;
#pragma omp simd reduction(max : most)
        for (n_t j = 0; j < v; j++) most = logits[j] > most ? logits[j] : most;
#pragma omp simd reduction(+ : sum)
        for (n_t j = 0; j < v; j++) sum += fast_exp((logits[j] - most) * cooler);
        e.sum[i] = most * cooler + logf(sum);
        p->logprobs[i] = (logits[p->target[i]] - most) * cooler - logf(sum);
    }
}

INLINE void forward_in(pass *p, int low, crew *c) {
    const policy *s = p->s;
    const tokens *t = p->t;
    n_t n = filled_up(t->count), w = s->width, h = s->heads, d = w / h, blocks = blocks_of(t->count);
    layout l = layout_of(s);
    ending e = ending_of(s, t->count, p->store, p->keep);
    scratch look = new_scratch(t->rows, t->n_rows, d);
    void *memory = aligned_alloc(64, up(passage_size(s) + 4 * BLOCK * s->vocab + 256, 64));
    if (!look.memory || !memory) {
        if (!c->helps) p->failed = NO_MEMORY;
        free(look.memory), free(memory);
        return;
    }
    arena a = {(uintptr_t)memory};
    passage through = passage_in(s, &a);
    float *logits = take(&a, 4 * BLOCK * s->vocab);
    for (n_t layer = 0;; layer++) {
        const char *packed = s->packed + layer * l.layer;
        kept k = kept_of(s, t->count, p->store, p->keep, least(layer, s->layers - 1));
        SHARED_OUT(block, blocks) {
            n_t from = block * BLOCK;
            if (layer) {
                kept before = kept_of(s, t->count, p->store, p->keep, layer - 1);
                write_stream(s, &l, packed - l.layer, p->x, from, n, before, p->keep, through, low);
            } else embed(p, from, n);
            if (layer < s->layers) {
                read_stream(s, &l, packed, p->x, from, n, k, low);
                finish_qkv(s, t, from, n, k, low);
            } else finish(p, from, e, logits);
        }
        if (layer == s->layers) break;
        attend(k.qkv, h, d, t->rows, k.mixed, low, &look, c);
        if (p->prompts)
            SHARED_OUT(row, t->n_rows) remember_prompt(p->prompts, layer, k.qkv, row, t->rows[4 * row + 2], h, d);
    }
    free(look.memory), free(memory);
}

static void forward_shared(void *given, crew *c) {
    pass *p = given;
    int low = p->s->low;
    if (low) tiles_on();
#define CALL(LOW) forward_in(p, LOW, c)
    BY_PRECISION(CALL)
#undef CALL
    if (low) tiles_off();
}

/* `pieces`: as in share_out. */
static int forward_with(pass p, n_t pieces) {
    const policy *s = p.s;
    const tokens *t = p.t;
    for (n_t i = 0; i < t->count; i++) {
        if ((uint64_t)t->ids[i] >= (uint64_t)s->vocab || (uint64_t)t->position[i] >= (uint64_t)s->positions)
            return OUT_OF_RANGE;
        if (p.scored && p.target[i] >= s->vocab) return OUT_OF_RANGE;
    }
    p.x = aligned_alloc(64, 4 * filled_up(t->count) * s->width);
    if (!p.x) return NO_MEMORY;
    share_out(forward_shared, &p, pieces);
    free(p.x);
    return p.failed;
}

/* hidden [count, width], normalised; the store is what `backward` needs. */
int forward(const policy *s, const tokens *t, char *store, n_t keep, float *hidden) {
    pass p = {.s = s, .t = t, .store = store, .keep = keep};
    int failed = forward_with(p, blocks_of(t->count));
    if (!failed) memcpy(hidden, ending_of(s, t->count, store, keep).hidden, 4 * t->count * s->width);
    return failed;
}

/* logprobs [count] of targets at this temperature; 0 where a target is negative. */
int score(
    const policy *s, const tokens *t, const n_t *target, float temperature, char *store, n_t keep, float *logprobs) {
    pass p = {.s = s, .t = t, .store = store, .keep = keep};
    p.scored = 1, p.target = target, p.temperature = temperature, p.logprobs = logprobs;
    return forward_with(p, blocks_of(t->count));
}
