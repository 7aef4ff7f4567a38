/* Gradients of a forward pass with saved activations. */

/* Of all weights; overwritten. */
typedef struct {
    float *embedding, *head, *final_norm;
    float *const *weights;
} gradients;

/* ---- Gradients of weights: x [tokens, m] transposed times y [tokens, n]; tokens is a multiple of TILE_K */

typedef struct {
    const void *x, *y;
    i64 x_stride, m, n;
    float *to; /* [m, n] */
} weight_grad;

/* Two of them, on all threads; m and n are multiples of 16. bfloat16 needs scratch of tokens * (m + n) numbers each. */
INLINE void weight_grads(
    weight_grad a, weight_grad b, i64 tokens, uint16_t *scratch, int is_bf16, pool_thread *thread) {
    uint16_t *x[] = {scratch, scratch + tokens * (a.m + a.n)}, *y[] = {x[0] + tokens * a.m, x[1] + tokens * b.m};
    i64 a_tiles = (a.m + a.n) / 16, tiles = tokens / TILE_K, task_columns = is_bf16 ? TILE_K : PANEL_COLUMNS,
        a_tasks = (a.n + task_columns - 1) / task_columns;
    if (is_bf16) PARALLEL_FOR(task, a_tiles + (b.m + b.n) / 16) {
            int i = task >= a_tiles;
            weight_grad o = i ? b : a;
            i64 at = 16 * (task - i * a_tiles), y_at = at - o.m;
            if (y_at < 0) to_amx_tiles((const uint16_t *)o.x + at, tokens, 16, o.x_stride, 1, x[i] + at * tokens);
            else to_amx_tiles((const uint16_t *)o.y + y_at, tokens, 16, o.n, 0, y[i] + y_at * tokens);
        }
    PARALLEL_FOR(task, a_tasks + (b.n + task_columns - 1) / task_columns) {
        int i = task >= a_tasks;
        weight_grad o = i ? b : a;
        i64 at = task_columns * (task - i * a_tasks), columns = min_i64(task_columns, o.n - at);
        if (is_bf16)
            matmul_amx(
                x[i], TILE_K, TILE_ELEMENTS, tiles * TILE_ELEMENTS, y[i] + at * tokens, o.m, columns, tiles, o.to + at,
                o.n, 0);
        else matmul_f32(o.x, 1, o.x_stride, (const float *)o.y + at, 0, o.n, o.m, columns, tokens, o.to + at, o.n, 0);
    }
}

/* Splits dw [k, n], the gradient of gain * w, into those of w and of its rows' gain. */
INLINE void folded_gain_backward(const float *w, const float *gain, i64 k, i64 n, float *dw, float *grad_gain) {
    for (i64 i = 0; i < k; i++, w += n, dw += n) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (i64 j = 0; j < n; j++) dot += dw[j] * w[j];
        grad_gain[i] = dot;
        for (i64 j = 0; j < n; j++) dw[j] *= gain[i];
    }
}

/* ---- The whole pass */

typedef struct {
    const policy *s;
    const tokens *t;
    char *saved;
    int with_logprobs; /* whether g is of log-probabilities [count] rather than of hidden states [count, width] */
    const float *g;
    const i64 *target; /* [count] */
    float temperature;
    const gradients *to;
    float *grad_x, *grad_attended, *grad_qkv, *grad_logits; /* gradients [n, ...]; grad_x: of the residual stream */
    void *grad_down, *grad_out, *grad_gate_up,
        *grad_qkv_operand; /* operands of products; of the stream before down and before out */
    void *swiglu;          /* output of SwiGLU */
    uint16_t *scratch;     /* of weight_grads */
    _Atomic int failed;
} backward_args;

/* The gradient of the final norm's input. */
INLINE void head_backward(const backward_args *p, i64 start, i64 n, saved_final e, float *grad_hidden) {
    const policy *s = p->s;
    i64 w = s->width, v = s->vocab, n_rows = min_i64(BLOCK, p->t->count - start),
        n_padded_rows = min_i64(BLOCK, n - start);
    float *grad_x = p->grad_x + start * w;
    if (n_rows < n_padded_rows) memset(grad_x, 0, 4 * n_padded_rows * w);
    if (n_rows <= 0) return;
    const float *g = p->with_logprobs ? grad_hidden : p->g + start * w, *hidden = e.hidden + start * w;
    if (p->with_logprobs) {
        packed_layout l = packed_layout_of(s);
        const float *head = (const float *)(s->packed + l.head),
                    *transposed = (const float *)(s->packed + l.head_transposed);
        float *logits = p->grad_logits + start * v, inverse_temperature = 1.0f / p->temperature;
        int has_target = any_target(p->target + start, n_rows);
        if (has_target) matmul_f32(hidden, w, 1, head, 1, 0, n_rows, v, w, logits, v, 0);
        for (i64 i = 0; i < n_rows; i++) {
            i64 target = p->target[start + i];
            float *row = logits + i * v, sum = e.logsumexp[start + i], grad = p->g[start + i] * inverse_temperature;
            if (target < 0) {
                memset(row, 0, 4 * v);
                continue;
            }
            for (i64 j = 0; j < v; j++) row[j] = -grad * exp_f32(row[j] * inverse_temperature - sum);
            row[target] += grad;
        }
        if (has_target) matmul_f32(logits, v, 1, transposed, 1, 0, n_rows, w, v, grad_hidden, w, 0);
        else memset(grad_hidden, 0, 4 * n_rows * w);
    }
    rms_norm_backward(g, hidden, e.inverse + start, n_rows, w, grad_x, 0, 0);
}

/* Through the MLP and attention_out. */
INLINE void mlp_backward(
    const backward_args *p, const packed_layout *l, const char *packed, i64 start, i64 n, saved_layer k, float *grad_y,
    float *grad_normed, int is_bf16) {
    i64 w = p->s->width, m = p->s->mlp, m_padded = padded_k(m, is_bf16), n_rows = min_i64(BLOCK, n - start);
    float *grad_x = p->grad_x + start * w;
    void *grad_down = element(p->grad_down, start * w, is_bf16), *grad_out = element(p->grad_out, start * w, is_bf16);
    void *grad_gate_up = element(p->grad_gate_up, 2 * start * m, is_bf16);
    convert_f32(grad_x, n_rows * w, grad_down, is_bf16);
    matmul(grad_down, w, packed + l->down.transposed, n_rows, m, w, grad_y, 0, is_bf16);
    swiglu_backward(
        grad_y, const_element(k.gate_up, 2 * start * m, is_bf16), n_rows, m, grad_gate_up,
        element(p->swiglu, start * m_padded, is_bf16), m_padded, is_bf16);
    matmul(grad_gate_up, 2 * m, packed + l->gate_up.transposed, n_rows, w, 2 * m, grad_normed, 0, is_bf16);
    rms_norm_backward(
        grad_normed, const_element(k.normed2, start * w, is_bf16), k.inverse2 + start, n_rows, w, grad_x, 1, is_bf16);
    convert_f32(grad_x, n_rows * w, grad_out, is_bf16);
    matmul(grad_out, w, packed + l->out.transposed, n_rows, w, w, p->grad_attended + start * w, 0, is_bf16);
    memset(p->grad_qkv + 3 * start * w, 0, 12 * n_rows * w);
}

/* Through RoPE, qkv and the norm before it. */
INLINE void qkv_backward(
    const backward_args *p, const packed_layout *l, const char *packed, i64 start, i64 n, saved_layer k,
    float *grad_normed, int is_bf16) {
    const policy *s = p->s;
    i64 w = s->width, h = s->heads, d = w / h, n_rows = min_i64(BLOCK, n - start);
    float *grad_qkv = p->grad_qkv + 3 * start * w;
    for (i64 i = start; i < min_i64(start + BLOCK, p->t->count); i++) {
        i64 table = p->t->position[i] * d;
        rope_heads_backward(p->grad_qkv + 3 * i * w, s->cos + table, s->sin + table, 2 * h, d);
    }
    if (is_bf16) convert_f32(grad_qkv, 3 * n_rows * w, element(p->grad_qkv_operand, 3 * start * w, 1), 1);
    matmul(
        const_element(p->grad_qkv_operand, 3 * start * w, is_bf16), 3 * w, packed + l->qkv.transposed, n_rows, w, 3 * w,
        grad_normed, 0, is_bf16);
    rms_norm_backward(
        grad_normed, const_element(k.normed1, start * w, is_bf16), k.inverse1 + start, n_rows, w, p->grad_x + start * w,
        1, is_bf16);
}

/* Gradients of head and embedding, and of all gains. */
INLINE void embedding_and_head_backward(const backward_args *p, saved_final e, pool_thread *thread) {
    const policy *s = p->s;
    i64 w = s->width, v = s->vocab, panels = p->with_logprobs ? (v + PANEL_COLUMNS - 1) / PANEL_COLUMNS : 0;
    PARALLEL_FOR(task, panels + w / 16) {
        if (task < panels) {
            i64 start = task * PANEL_COLUMNS, columns = min_i64(PANEL_COLUMNS, v - start);
            float *to = p->to->head + start;
            for (i64 i = 0; i < w; i++) memset(to + i * v, 0, 4 * columns);
            matmul_f32(e.hidden, 1, w, p->grad_logits + start, 0, v, w, columns, p->t->count, to, v, 1);
            continue;
        }
        float *to = p->to->embedding + 16 * (task - panels), *grad_x = p->grad_x + 16 * (task - panels);
        for (i64 id = 0; id < v; id++) memset(to + id * w, 0, 64);
        for (i64 i = 0; i < p->t->count; i++) *(f32x16u *)(to + p->t->ids[i] * w) += *(f32x16u *)(grad_x + i * w);
    }
    PARALLEL_FOR(task, s->layers * 2 + p->with_logprobs) {
        i64 layer = task / 2;
        const float *const *layer_weights = s->weights + layer * LAYER_WEIGHTS;
        float *const *grad = p->to->weights + layer * LAYER_WEIGHTS;
        if (layer == s->layers) folded_gain_backward(s->head, s->final_norm, w, v, p->to->head, p->to->final_norm);
        else if (task % 2)
            folded_gain_backward(
                layer_weights[QKV], layer_weights[ATTENTION_NORM], w, 3 * w, grad[QKV], grad[ATTENTION_NORM]);
        else
            folded_gain_backward(
                layer_weights[GATE_UP], layer_weights[MLP_NORM], w, 2 * s->mlp, grad[GATE_UP], grad[MLP_NORM]);
    }
}

INLINE void backward_impl(backward_args *p, int is_bf16, pool_thread *thread) {
    const policy *s = p->s;
    i64 n = padded_tokens(p->t->count), w = s->width, m = s->mlp, blocks = block_count(p->t->count);
    packed_layout l = packed_layout_of(s);
    saved_final e = saved_final_of(s, p->t->count, p->saved, 1);
    attention_scratch scratch = new_attention_scratch(p->t->rows, p->t->n_rows, w / s->heads);
    float *grad_y = aligned_alloc(64, 4 * BLOCK * (m + w)), *grad_normed = grad_y + BLOCK * m;
    if (!scratch.memory || !grad_y) {
        if (!thread->is_worker) p->failed = NO_MEMORY;
        free(scratch.memory), free(grad_y);
        return;
    }
    PARALLEL_FOR(block, blocks) head_backward(p, block * BLOCK, n, e, grad_normed);
    for (i64 layer = s->layers; layer--;) {
        saved_layer k = saved_layer_of(s, p->t->count, p->saved, 1, layer);
        const char *packed = s->packed + layer * l.layer_bytes;
        float *const *grad = p->to->weights + layer * LAYER_WEIGHTS;
        PARALLEL_FOR(block, blocks) mlp_backward(p, &l, packed, block * BLOCK, n, k, grad_y, grad_normed, is_bf16);
        weight_grad down = {p->swiglu, p->grad_down, padded_k(m, is_bf16), m, w, grad[DOWN]};
        weight_grad gate_up = {k.normed2, p->grad_gate_up, w, w, 2 * m, grad[GATE_UP]};
        weight_grads(gate_up, down, n, p->scratch, is_bf16, thread);
        attention_backward(p->grad_attended, k.qkv, s->heads, w / s->heads, p->t->rows, p->grad_qkv, &scratch, thread);
        PARALLEL_FOR(block, blocks) qkv_backward(p, &l, packed, block * BLOCK, n, k, grad_normed, is_bf16);
        weight_grad out = {k.attended, p->grad_out, w, w, w, grad[OUT]},
                    qkv = {k.normed1, p->grad_qkv_operand, w, w, 3 * w, grad[QKV]};
        weight_grads(qkv, out, n, p->scratch, is_bf16, thread);
    }
    embedding_and_head_backward(p, e, thread);
    free(scratch.memory), free(grad_y);
}

static void backward_on_thread(void *argument, pool_thread *thread) {
    backward_args *p = argument;
    int is_bf16 = p->s->is_bf16;
    if (is_bf16) amx_configure();
#define CALL(IS_BF16) backward_impl(p, IS_BF16, thread)
    DISPATCH_PRECISION(CALL)
#undef CALL
    if (is_bf16) amx_release();
}

static int run_backward(backward_args p) {
    const policy *s = p.s;
    int is_bf16 = s->is_bf16;
    i64 n = padded_tokens(p.t->count), w = s->width, m = s->mlp, m_padded = padded_k(m, is_bf16),
        row_bytes = n * element_size(is_bf16);
    i64 floats = 5 * w + (p.with_logprobs ? s->vocab : 0), operands = 2 * w + m_padded + 2 * m + (is_bf16 ? 3 * w : 0);
    i64 scratch = is_bf16 ? 2 * n * (2 * w + 3 * m > 6 * w ? 2 * w + 3 * m : 6 * w) : 0;
    void *memory = aligned_alloc(64, round_up(4 * n * floats + row_bytes * operands + scratch, 64) + 16 * 64);
    if (!memory) return NO_MEMORY;
    arena a = {(uintptr_t)memory};
    p.grad_x = arena_alloc(&a, 4 * n * w), p.grad_attended = arena_alloc(&a, 4 * n * w),
    p.grad_qkv = arena_alloc(&a, 12 * n * w);
    p.grad_logits = arena_alloc(&a, p.with_logprobs ? 4 * n * s->vocab : 0);
    p.grad_down = arena_alloc(&a, row_bytes * w), p.grad_out = arena_alloc(&a, row_bytes * w),
    p.swiglu = arena_alloc(&a, row_bytes * m_padded);
    p.grad_gate_up = arena_alloc(&a, 2 * row_bytes * m),
    p.grad_qkv_operand = is_bf16 ? arena_alloc(&a, 3 * row_bytes * w) : p.grad_qkv;
    p.scratch = arena_alloc(&a, scratch);
    if (m_padded > m) memset(p.swiglu, 0, row_bytes * m_padded);
    run_on_pool(backward_on_thread, &p, block_count(p.t->count));
    free(memory);
    return p.failed;
}

/* g [count, width], gradient of hidden_forward's output, which must have saved; all gradients but the head's. */
int hidden_backward(const policy *s, const tokens *t, char *saved, const float *g, const gradients *to) {
    backward_args p = {.s = s, .t = t, .saved = saved, .g = g, .to = to};
    return run_backward(p);
}

/* g [count], gradient of logprobs_forward's output, which must have saved. */
int logprobs_backward(
    const policy *s, const tokens *t, const i64 *target, float temperature, char *saved, const float *g,
    const gradients *to) {
    backward_args p = {.s = s, .t = t, .saved = saved, .g = g, .to = to};
    p.with_logprobs = 1, p.target = target, p.temperature = temperature;
    return run_backward(p);
}
