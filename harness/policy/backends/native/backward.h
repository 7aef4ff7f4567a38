/* Gradients of a pass that kept. */

/* Of everything that learns, written over. */
typedef struct {
    float *embedding, *head, *gain;
    float *const *weights;
} gradients;

/* ---- Gradients of weights: sums over tokens, whose number is a multiple of TILE, of x [tokens, m] times y [tokens, n] */

typedef struct {
    const void *x, *y;
    n_t of_x, m, n;
    float *to; /* [m, n] */
} outer;

/* Both, by all threads; m and n are multiples of 16. In bfloat16 there is room for tokens * (m + n) numbers of each. */
INLINE void outers(outer a, outer b, n_t tokens, uint16_t *room, int low, crew *c) {
    uint16_t *x[] = {room, room + tokens * (a.m + a.n)}, *y[] = {x[0] + tokens * a.m, x[1] + tokens * b.m};
    n_t of_a = (a.m + a.n) / 16, tiles = tokens / TILE, wide = low ? TILE : PANEL, first = (a.n + wide - 1) / wide;
    if (low)
        SHARED_OUT(piece, of_a + (b.m + b.n) / 16) {
            int i = piece >= of_a;
            outer o = i ? b : a;
            n_t at = 16 * (piece - i * of_a), of_y = at - o.m;
            if (of_y < 0) as_tiles((const uint16_t *)o.x + at, tokens, 16, o.of_x, 1, x[i] + at * tokens);
            else as_tiles((const uint16_t *)o.y + of_y, tokens, 16, o.n, 0, y[i] + of_y * tokens);
        }
    SHARED_OUT(piece, first + (b.n + wide - 1) / wide) {
        int i = piece >= first;
        outer o = i ? b : a;
        n_t at = wide * (piece - i * first), some = least(wide, o.n - at);
        if (low) tile_product(x[i], TILE, TILE_SIZE, tiles * TILE_SIZE, y[i] + at * tokens, o.m, some, tiles, o.to + at, o.n, 0);
        else float_product(o.x, 1, o.of_x, (const float *)o.y + at, 0, o.n, o.m, some, tokens, o.to + at, o.n, 0);
    }
}

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

/* ---- All of it */

typedef struct {
    const policy *s;
    const tokens *t;
    char *store;
    int scored;        /* whether g is of log-probabilities [count], and not of hidden states [count, width] */
    const float *g;
    const n_t *target; /* [count] */
    float temperature;
    const gradients *to;
    float *dx, *of_mixed, *of_qkv, *of_logits; /* gradients [n, ...]: of the stream, of what attention gave, ... */
    void *of_down, *of_out, *of_gu, *of_qkv_low; /* the same as operands, those of the stream before down and out */
    void *y;                                     /* what SwiGLU gave */
    uint16_t *room;                              /* of `outers` */
    _Atomic int failed;
} back_pass;

/* dx of the last norm's input. */
INLINE void begin(const back_pass *p, n_t from, n_t n, ending e, float *of_hidden) {
    const policy *s = p->s;
    n_t w = s->width, v = s->vocab, some = least(BLOCK, p->t->count - from), filled_ones = least(BLOCK, n - from);
    float *dx = p->dx + from * w;
    if (some < filled_ones) memset(dx, 0, 4 * filled_ones * w);
    if (some <= 0) return;
    const float *g = p->scored ? of_hidden : p->g + from * w, *hidden = e.hidden + from * w;
    if (p->scored) {
        layout l = layout_of(s);
        const float *head = (const float *)(s->packed + l.head), *back = (const float *)(s->packed + l.head_back);
        float *logits = p->of_logits + from * v, cooler = 1.0f / p->temperature;
        int asked = asked_for(p->target + from, some);
        if (asked) float_product(hidden, w, 1, head, 1, 0, some, v, w, logits, v, 0);
        for (n_t i = 0; i < some; i++) {
            n_t target = p->target[from + i];
            float *row = logits + i * v, sum = e.sum[from + i], of = p->g[from + i] * cooler;
            if (target < 0) {
                memset(row, 0, 4 * v);
                continue;
            }
            for (n_t j = 0; j < v; j++) row[j] = -of * fast_exp(row[j] * cooler - sum);
            row[target] += of;
        }
        if (asked) float_product(logits, v, 1, back, 1, 0, some, w, v, of_hidden, w, 0);
        else memset(of_hidden, 0, 4 * some * w);
    }
    norm_grad(g, hidden, e.inverse + from, some, w, dx, 0, 0);
}

/* Through a layer's second half and into what attention gave. */
INLINE void back_to_mixed(
    const back_pass *p, const layout *l, const char *packed, n_t from, n_t n, kept k, float *of_y, float *of_norm,
    int low) {
    n_t w = p->s->width, m = p->s->mlp, wide = filled(m, low), some = least(BLOCK, n - from);
    float *dx = p->dx + from * w;
    void *of_down = into(p->of_down, from * w, low), *of_out = into(p->of_out, from * w, low);
    void *of_gu = into(p->of_gu, 2 * from * m, low);
    as_operand(dx, some * w, of_down, low);
    product(of_down, w, packed + l->down.back, some, m, w, of_y, 0, low);
    swiglu_grad(of_y, at(k.gu, 2 * from * m, low), some, m, of_gu, into(p->y, from * wide, low), wide, low);
    product(of_gu, 2 * m, packed + l->gate_up.back, some, w, 2 * m, of_norm, 0, low);
    norm_grad(of_norm, at(k.y2, from * w, low), k.inverse2 + from, some, w, dx, 1, low);
    as_operand(dx, some * w, of_out, low);
    product(of_out, w, packed + l->out.back, some, w, w, p->of_mixed + from * w, 0, low);
    memset(p->of_qkv + 3 * from * w, 0, 12 * some * w);
}

/* Through its first half. */
INLINE void back_to_stream(
    const back_pass *p, const layout *l, const char *packed, n_t from, n_t n, kept k, float *of_norm, int low) {
    const policy *s = p->s;
    n_t w = s->width, h = s->heads, d = w / h, some = least(BLOCK, n - from);
    float *of_qkv = p->of_qkv + 3 * from * w;
    for (n_t i = from; i < least(from + BLOCK, p->t->count); i++) {
        n_t place = p->t->position[i] * d;
        turn_heads_back(p->of_qkv + 3 * i * w, s->cos + place, s->sin + place, 2 * h, d);
    }
    if (low) as_operand(of_qkv, 3 * some * w, into(p->of_qkv_low, 3 * from * w, 1), 1);
    product(at(p->of_qkv_low, 3 * from * w, low), 3 * w, packed + l->qkv.back, some, w, 3 * w, of_norm, 0, low);
    norm_grad(of_norm, at(k.y1, from * w, low), k.inverse1 + from, some, w, p->dx + from * w, 1, low);
}

/* Of head and embedding, and of gains. */
INLINE void end(const back_pass *p, ending e, crew *c) {
    const policy *s = p->s;
    n_t w = s->width, v = s->vocab, panels = p->scored ? (v + PANEL - 1) / PANEL : 0;
    SHARED_OUT(piece, panels + w / 16) {
        if (piece < panels) {
            n_t from = piece * PANEL, some = least(PANEL, v - from);
            float *to = p->to->head + from;
            for (n_t i = 0; i < w; i++) memset(to + i * v, 0, 4 * some);
            float_product(e.hidden, 1, w, p->of_logits + from, 0, v, w, some, p->t->count, to, v, 1);
            continue;
        }
        float *to = p->to->embedding + 16 * (piece - panels), *dx = p->dx + 16 * (piece - panels);
        for (n_t id = 0; id < v; id++) memset(to + id * w, 0, 64);
        for (n_t i = 0; i < p->t->count; i++) *(loose *)(to + p->t->ids[i] * w) += *(loose *)(dx + i * w);
    }
    SHARED_OUT(piece, s->layers * 2 + p->scored) {
        n_t layer = piece / 2;
        const float *const *given = s->weights + layer * GIVEN;
        float *const *grad = p->to->weights + layer * GIVEN;
        if (layer == s->layers) unfold(s->head, s->gain, w, v, p->to->head, p->to->gain);
        else if (piece % 2) unfold(given[QKV], given[ATTENTION_NORM], w, 3 * w, grad[QKV], grad[ATTENTION_NORM]);
        else unfold(given[GATE_UP], given[MLP_NORM], w, 2 * s->mlp, grad[GATE_UP], grad[MLP_NORM]);
    }
}

INLINE void backward_in(back_pass *p, int low, crew *c) {
    const policy *s = p->s;
    n_t n = filled_up(p->t->count), w = s->width, m = s->mlp, blocks = blocks_of(p->t->count);
    layout l = layout_of(s);
    ending e = ending_of(s, p->t->count, p->store, 1);
    scratch look = new_scratch(p->t->rows, p->t->n_rows, w / s->heads);
    float *of_y = aligned_alloc(64, 4 * BLOCK * (m + w)), *of_norm = of_y + BLOCK * m;
    if (!look.memory || !of_y) {
        if (!c->helps) p->failed = NO_MEMORY;
        free(look.memory), free(of_y);
        return;
    }
    SHARED_OUT(block, blocks) begin(p, block * BLOCK, n, e, of_norm);
    for (n_t layer = s->layers; layer--;) {
        kept k = kept_of(s, p->t->count, p->store, 1, layer);
        const char *packed = s->packed + layer * l.layer;
        float *const *grad = p->to->weights + layer * GIVEN;
        SHARED_OUT(block, blocks) back_to_mixed(p, &l, packed, block * BLOCK, n, k, of_y, of_norm, low);
        outer down = {p->y, p->of_down, filled(m, low), m, w, grad[DOWN]};
        outer gate_up = {k.y2, p->of_gu, w, w, 2 * m, grad[GATE_UP]};
        outers(gate_up, down, n, p->room, low, c);
        attend_grad(p->of_mixed, k.qkv, s->heads, w / s->heads, p->t->rows, p->of_qkv, &look, c);
        SHARED_OUT(block, blocks) back_to_stream(p, &l, packed, block * BLOCK, n, k, of_norm, low);
        outer out = {k.mixed, p->of_out, w, w, w, grad[OUT]}, qkv = {k.y1, p->of_qkv_low, w, w, 3 * w, grad[QKV]};
        outers(qkv, out, n, p->room, low, c);
    }
    end(p, e, c);
    free(look.memory), free(of_y);
}

static void backward_shared(void *given, crew *c) {
    back_pass *p = given;
    int low = p->s->low;
    if (low) tiles_on();
#define CALL(LOW) backward_in(p, LOW, c)
    BY_PRECISION(CALL)
#undef CALL
    if (low) tiles_off();
}

static int backward_with(back_pass p) {
    const policy *s = p.s;
    int low = s->low;
    n_t n = filled_up(p.t->count), w = s->width, m = s->mlp, wide = filled(m, low), operand = n * size_of(low);
    n_t floats = 5 * w + (p.scored ? s->vocab : 0), operands = 2 * w + wide + 2 * m + (low ? 3 * w : 0);
    n_t room = low ? 2 * n * (2 * w + 3 * m > 6 * w ? 2 * w + 3 * m : 6 * w) : 0;
    void *memory = aligned_alloc(64, up(4 * n * floats + operand * operands + room, 64) + 16 * 64);
    if (!memory) return NO_MEMORY;
    arena a = {(uintptr_t)memory};
    p.dx = take(&a, 4 * n * w), p.of_mixed = take(&a, 4 * n * w), p.of_qkv = take(&a, 12 * n * w);
    p.of_logits = take(&a, p.scored ? 4 * n * s->vocab : 0);
    p.of_down = take(&a, operand * w), p.of_out = take(&a, operand * w), p.y = take(&a, operand * wide);
    p.of_gu = take(&a, 2 * operand * m), p.of_qkv_low = low ? take(&a, 3 * operand * w) : p.of_qkv;
    p.room = take(&a, room);
    if (wide > m) memset(p.y, 0, operand * wide);
    share_out(backward_shared, &p, blocks_of(p.t->count));
    free(memory);
    return p.failed;
}

/* g [count, width], of `hidden`, after a `forward` that kept; gradients but those of the head. */
int backward(const policy *s, const tokens *t, char *store, const float *g, const gradients *to) {
    back_pass p = {.s = s, .t = t, .store = store, .g = g, .to = to};
    return backward_with(p);
}

/* g [count], of `logprobs`, after a `score` that kept. */
int score_grad(
    const policy *s, const tokens *t, const n_t *target, float temperature, char *store, const float *g,
    const gradients *to) {
    back_pass p = {.s = s, .t = t, .store = store, .g = g, .to = to};
    p.scored = 1, p.target = target, p.temperature = temperature;
    return backward_with(p);
}
