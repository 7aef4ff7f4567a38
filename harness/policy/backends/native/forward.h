/* Packed tokens through the layers, to hidden states or log-probabilities. */

#define BLOCK 64 /* tokens per task: their activations stay in the L2 cache */

/* rows [n_rows, 4] as in attention.h. */
typedef struct {
    i64 count, n_rows;
    const i64 *ids, *position, *rows;
} tokens;

/* ---- Arena: one allocation, handed out from its start */

typedef struct {
    uintptr_t at; /* starting at 0 measures the size */
} arena;

static void *arena_alloc(arena *a, i64 bytes) {
    void *x = (void *)a->at;
    a->at += round_up(bytes, 64);
    return x;
}

/* Saved activations of one layer, n tokens. */
typedef struct {
    float *inverse1, *inverse2; /* 1 / rms of both norms */
    float *qkv;                 /* [n, 3, heads, head width] with RoPE applied */
    void *normed1, *attended, *normed2,
        *gate_up; /* inputs of qkv, of attention_out and of gate_up; output of gate_up */
} saved_layer;

static saved_layer saved_layer_in(const policy *s, i64 n, arena *a) {
    i64 w = s->width, row_bytes = n * element_size(s->is_bf16);
    saved_layer k;
    k.inverse1 = arena_alloc(a, 4 * n), k.inverse2 = arena_alloc(a, 4 * n), k.qkv = arena_alloc(a, 12 * n * w);
    k.normed1 = arena_alloc(a, row_bytes * w), k.attended = arena_alloc(a, row_bytes * w),
    k.normed2 = arena_alloc(a, row_bytes * w);
    k.gate_up = arena_alloc(a, 2 * row_bytes * s->mlp);
    return k;
}

/* At least one, so that sums over no tokens are 0 rather than unwritten. */
INLINE i64 padded_tokens(i64 tokens) { return round_up(tokens ? tokens : 1, TILE_K); }

INLINE i64 block_count(i64 tokens) { return (padded_tokens(tokens) + BLOCK - 1) / BLOCK; }

/* Bytes of one layer. */
static i64 saved_layer_bytes(const policy *s, i64 tokens) {
    arena a = {0};
    saved_layer_in(s, padded_tokens(tokens), &a);
    return a.at;
}

/* Activations of a layer within the buffer, which holds all layers with `save` and one without. */
static saved_layer saved_layer_of(const policy *s, i64 count, char *saved, i64 save, i64 layer) {
    arena a = {(uintptr_t)saved + (save ? layer * saved_layer_bytes(s, count) : 0)};
    return saved_layer_in(s, padded_tokens(count), &a);
}

/* Saved activations of what follows the layers. */
typedef struct {
    float *inverse, *hidden; /* 1 / rms of the final norm; its output */
    float *logsumexp;        /* log-sum-exp of the logits of each token with a target */
} saved_final;

static saved_final saved_final_in(const policy *s, i64 n, arena *a) {
    saved_final e = {arena_alloc(a, 4 * n), arena_alloc(a, 4 * n * s->width), arena_alloc(a, 4 * n)};
    return e;
}

/* Bytes of the buffer: all layers with `save`, one without, and what follows the layers. */
i64 saved_bytes(const policy *s, i64 count, i64 save) {
    arena a = {0};
    saved_final_in(s, padded_tokens(count), &a);
    return (save ? s->layers : 1) * saved_layer_bytes(s, count) + (i64)a.at;
}

static saved_final saved_final_of(const policy *s, i64 count, char *saved, i64 save) {
    arena a = {(uintptr_t)saved + (save ? s->layers : 1) * saved_layer_bytes(s, count)};
    return saved_final_in(s, padded_tokens(count), &a);
}

/* ---- The two halves of a layer, for a block of tokens */

/* Activations within the MLP. */
typedef struct {
    float *gate_up;
    void *swiglu;
} mlp_scratch;

static i64 mlp_scratch_bytes(const policy *s) {
    return round_up(8 * BLOCK * s->mlp, 64) + BLOCK * padded_k(s->mlp, s->is_bf16) * element_size(s->is_bf16) + 64;
}

static mlp_scratch mlp_scratch_in(const policy *s, arena *a) {
    i64 bytes = BLOCK * padded_k(s->mlp, s->is_bf16) * element_size(s->is_bf16);
    mlp_scratch p = {arena_alloc(a, 8 * BLOCK * s->mlp), arena_alloc(a, bytes)};
    memset(p.swiglu, 0, bytes);
    return p;
}

/* qkv of the residual stream x [n, width] for the block that starts at token i. */
INLINE void layer_qkv(
    const policy *s, const packed_layout *l, const char *packed, const float *x, i64 i, i64 n, saved_layer k,
    int is_bf16) {
    i64 w = s->width, n_rows = min_i64(BLOCK, n - i);
    rms_norm(x + i * w, n_rows, w, element(k.normed1, i * w, is_bf16), k.inverse1 + i, is_bf16);
    matmul(
        const_element(k.normed1, i * w, is_bf16), w, packed + l->qkv.offset, n_rows, 3 * w, w, k.qkv + i * 3 * w, 0,
        is_bf16);
}

/* Adds the outputs of attention and of SwiGLU to the residual stream. */
INLINE void layer_output(
    const policy *s, const packed_layout *l, const char *packed, float *x, i64 i, i64 n, saved_layer k, int save,
    mlp_scratch p, int is_bf16) {
    i64 w = s->width, m = s->mlp, m_padded = padded_k(m, is_bf16), n_rows = min_i64(BLOCK, n - i);
    void *normed2 = element(k.normed2, i * w, is_bf16);
    x += i * w;
    matmul(const_element(k.attended, i * w, is_bf16), w, packed + l->out.offset, n_rows, w, w, x, 1, is_bf16);
    rms_norm(x, n_rows, w, normed2, k.inverse2 + i, is_bf16);
    matmul(normed2, w, packed + l->gate_up.offset, n_rows, 2 * m, w, p.gate_up, 0, is_bf16);
    swiglu(p.gate_up, n_rows, m, p.swiglu, m_padded, save ? element(k.gate_up, 2 * i * m, is_bf16) : NULL, is_bf16);
    matmul(p.swiglu, m_padded, packed + l->down.offset, n_rows, w, m, x, 1, is_bf16);
}

/* ---- The whole pass */

typedef struct {
    const policy *s;
    const tokens *t;
    char *saved;
    i64 save;
    const kv_cache *prompts; /* if not NULL, rows are prompts, whose keys and values it receives */
    int with_logprobs;       /* log-probabilities rather than hidden states */
    const i64 *target;       /* [count], negative: none */
    float temperature, *logprobs;
    float *x; /* residual stream */
    _Atomic int failed;
} forward_args;

/* RoPE, and rounding as in the sampler's cache: the trainer's log-probabilities are then the sampler's. */
INLINE void rope_qkv(const policy *s, const tokens *t, i64 i, i64 n, saved_layer k, int is_bf16) {
    i64 h = s->heads, d = s->width / h, w = s->width;
    for (i64 end = min_i64(i + BLOCK, t->count), at = i; at < end; at++) {
        float *qkv = k.qkv + at * 3 * w;
        rope_heads(qkv, s->cos + t->position[at] * d, s->sin + t->position[at] * d, 2 * h, d);
        for (i64 j = w; j < 3 * w && is_bf16; j++) qkv[j] = round_to_bf16(qkv[j]);
    }
    memset(
        element(k.attended, i * w, is_bf16), 0,
        min_i64(BLOCK, n - i) * w * element_size(is_bf16)); /* tokens in no row: 0 */
}

INLINE void embed(const forward_args *p, i64 start, i64 n) {
    i64 w = p->s->width;
    for (i64 i = start; i < min_i64(start + BLOCK, n); i++) {
        if (i < p->t->count) memcpy(p->x + i * w, p->s->embedding + p->t->ids[i] * w, 4 * w);
        else memset(p->x + i * w, 0, 4 * w);
    }
}

/* Whether any of n adjacent tokens has a target. */
static int any_target(const i64 *target, i64 n) {
    for (i64 i = 0; i < n; i++)
        if (target[i] >= 0) return 1;
    return 0;
}

/* The final norm, and log-probabilities of targets; 0 without a target. logits [BLOCK, vocab] */
INLINE void final_norm_and_logprobs(const forward_args *p, i64 start, saved_final e, float *logits) {
    i64 w = p->s->width, v = p->s->vocab, n_rows = min_i64(BLOCK, p->t->count - start);
    if (n_rows <= 0) return;
    rms_norm(p->x + start * w, n_rows, w, e.hidden + start * w, e.inverse + start, 0);
    if (!p->with_logprobs) return;
    memset(p->logprobs + start, 0, 4 * n_rows);
    if (!any_target(p->target + start, n_rows)) return;
    const float *head = (const float *)(p->s->packed + packed_layout_of(p->s).head);
    float inverse_temperature = 1.0f / p->temperature;
    matmul_f32(e.hidden + start * w, w, 1, head, 1, 0, n_rows, v, w, logits, v, 0);
    for (i64 i = start; i < start + n_rows; i++, logits += v) {
        if (p->target[i] < 0) continue;
        float largest = logits[0], sum = 0;
#pragma omp simd reduction(max : largest)
        for (i64 j = 0; j < v; j++) largest = logits[j] > largest ? logits[j] : largest;
#pragma omp simd reduction(+ : sum)
        for (i64 j = 0; j < v; j++) sum += exp_f32((logits[j] - largest) * inverse_temperature);
        e.logsumexp[i] = largest * inverse_temperature + logf(sum);
        p->logprobs[i] = (logits[p->target[i]] - largest) * inverse_temperature - logf(sum);
    }
}

INLINE void forward_impl(forward_args *p, int is_bf16, pool_thread *thread) {
    const policy *s = p->s;
    const tokens *t = p->t;
    i64 n = padded_tokens(t->count), w = s->width, h = s->heads, d = w / h, blocks = block_count(t->count);
    packed_layout l = packed_layout_of(s);
    saved_final e = saved_final_of(s, t->count, p->saved, p->save);
    attention_scratch scratch = new_attention_scratch(t->rows, t->n_rows, d);
    void *memory = aligned_alloc(64, round_up(mlp_scratch_bytes(s) + 4 * BLOCK * s->vocab + 256, 64));
    if (!scratch.memory || !memory) {
        if (!thread->is_worker) p->failed = NO_MEMORY;
        free(scratch.memory), free(memory);
        return;
    }
    arena a = {(uintptr_t)memory};
    mlp_scratch mlp = mlp_scratch_in(s, &a);
    float *logits = arena_alloc(&a, 4 * BLOCK * s->vocab);
    for (i64 layer = 0;; layer++) {
        const char *packed = s->packed + layer * l.layer_bytes;
        saved_layer k = saved_layer_of(s, t->count, p->saved, p->save, min_i64(layer, s->layers - 1));
        PARALLEL_FOR(block, blocks) {
            i64 start = block * BLOCK;
            if (layer) {
                saved_layer previous = saved_layer_of(s, t->count, p->saved, p->save, layer - 1);
                layer_output(s, &l, packed - l.layer_bytes, p->x, start, n, previous, p->save, mlp, is_bf16);
            } else embed(p, start, n);
            if (layer < s->layers) {
                layer_qkv(s, &l, packed, p->x, start, n, k, is_bf16);
                rope_qkv(s, t, start, n, k, is_bf16);
            } else final_norm_and_logprobs(p, start, e, logits);
        }
        if (layer == s->layers) break;
        attention(k.qkv, h, d, t->rows, k.attended, is_bf16, &scratch, thread);
        if (p->prompts)
            PARALLEL_FOR(row, t->n_rows) cache_prompt_kv(p->prompts, layer, k.qkv, row, t->rows[4 * row + 2], h, d);
    }
    free(scratch.memory), free(memory);
}

static void forward_on_thread(void *argument, pool_thread *thread) {
    forward_args *p = argument;
    int is_bf16 = p->s->is_bf16;
    if (is_bf16) amx_configure();
#define CALL(IS_BF16) forward_impl(p, IS_BF16, thread)
    DISPATCH_PRECISION(CALL)
#undef CALL
    if (is_bf16) amx_release();
}

/* `iterations` as in run_on_pool. */
static int run_forward(forward_args p, i64 iterations) {
    const policy *s = p.s;
    const tokens *t = p.t;
    for (i64 i = 0; i < t->count; i++) {
        if ((uint64_t)t->ids[i] >= (uint64_t)s->vocab || (uint64_t)t->position[i] >= (uint64_t)s->max_positions)
            return OUT_OF_RANGE;
        if (p.with_logprobs && p.target[i] >= s->vocab) return OUT_OF_RANGE;
    }
    p.x = aligned_alloc(64, 4 * padded_tokens(t->count) * s->width);
    if (!p.x) return NO_MEMORY;
    run_on_pool(forward_on_thread, &p, iterations);
    free(p.x);
    return p.failed;
}

/* hidden [count, width], normalised; `saved` is what hidden_backward reads. */
int hidden_forward(const policy *s, const tokens *t, char *saved, i64 save, float *hidden) {
    forward_args p = {.s = s, .t = t, .saved = saved, .save = save};
    int failed = run_forward(p, block_count(t->count));
    if (!failed) memcpy(hidden, saved_final_of(s, t->count, saved, save).hidden, 4 * t->count * s->width);
    return failed;
}

/* logprobs [count] of targets at this temperature; 0 where a target is negative. `saved`: for logprobs_backward. */
int logprobs_forward(
    const policy *s, const tokens *t, const i64 *target, float temperature, char *saved, i64 save, float *logprobs) {
    forward_args p = {.s = s, .t = t, .saved = saved, .save = save};
    p.with_logprobs = 1, p.target = target, p.temperature = temperature, p.logprobs = logprobs;
    return run_forward(p, block_count(t->count));
}
