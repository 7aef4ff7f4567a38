/* Sampling, as in harness/policy/sampler.py. */

/* Inverse-CDF sampling: logits [v] and a uniform -> an id, and its log-probability at this temperature. */
static i64 sample_token(const float *logits, float uniform, float temperature, i64 v, float *cdf, float *logprob) {
    float largest = logits[0], sum = 0;
#pragma omp simd reduction(max : largest)
    for (i64 j = 0; j < v; j++) largest = logits[j] > largest ? logits[j] : largest;
    for (i64 j = 0; j < v; j++) cdf[j] = exp_f32((logits[j] - largest) / temperature);
    for (i64 j = 0; j < v; j++) cdf[j] = sum += cdf[j];
    i64 id = 0;
    for (i64 j = 0; j < v; j++) id += !(cdf[j] >= uniform * sum);
    id = min_i64(id, v - 1);
    *logprob = (logits[id] - largest) / temperature - logf(sum);
    return id;
}

typedef struct {
    const i64 *ids, *length; /* right-padded [prompts, prompt_capacity]; [prompts] */
    i64 prompts, prompt_capacity, group;
    const float *uniforms;                                                 /* [rows, completion_capacity] */
    const uint8_t *active;                                                 /* [rows] */
    i64 completion_capacity, max_new_tokens, thinking, stop_id, answer_id; /* thinking: -1 for none */
    float temperature;
} sample_args;

typedef struct {
    i64 *ids;        /* [rows, completion_capacity], like the others; zeroed by the caller */
    float *logprobs; /* 0 where a token was forced */
    uint8_t *valid, *sampled;
} completions;

/* Computes the prompts, without their padding; last [prompts, width]: the hidden state of each prompt's last token. */
static int prefill(const policy *s, const sample_args *r, const kv_cache *c, float *last) {
    i64 count = 0, w = s->width;
    for (i64 p = 0; p < r->prompts; p++) {
        if (r->length[p] < 1 || r->length[p] > r->prompt_capacity) return OUT_OF_RANGE;
        count += r->length[p];
    }
    i64 *ids = malloc(sizeof(i64) * (2 * count + 4 * r->prompts));
    char *saved = aligned_alloc(64, round_up(saved_bytes(s, count, 0), 64));
    int failed = ids && saved ? DONE : NO_MEMORY;
    if (!failed) {
        i64 *position = ids + count, *rows = position + count, i = 0;
        for (i64 p = 0; p < r->prompts; p++) {
            i64 row[4] = {0, 0, i, i + r->length[p]};
            memcpy(rows + 4 * p, row, sizeof(row));
            for (i64 j = 0; j < r->length[p]; j++, i++) ids[i] = r->ids[p * r->prompt_capacity + j], position[i] = j;
        }
        tokens t = {count, r->prompts, ids, position, rows};
        failed = run_forward(
            (forward_args){.s = s, .t = &t, .saved = saved, .prompts = c},
            1); /* one iteration: this runs within a task */
        const float *hidden = saved_final_of(s, count, saved, 0).hidden;
        for (i64 p = 0; p < r->prompts; p++) memcpy(last + p * w, hidden + (rows[4 * p + 3] - 1) * w, 4 * w);
    }
    free(ids), free(saved);
    return failed;
}

INLINE int sample_impl(const policy *s, const sample_args *r, completions out, int is_bf16) {
    i64 w = s->width, h = s->heads, d = w / h, v = s->vocab, n_rows = r->prompts * r->group;
    i64 n = round_up(n_rows, TILE_K), longest_prompt = 0;
    for (i64 p = 0; p < r->prompts; p++) longest_prompt = r->length[p] > longest_prompt ? r->length[p] : longest_prompt;
    packed_layout l = packed_layout_of(s);
    const float *head = (const float *)(s->packed + l.head);
    kv_cache c = {
        .length = r->length,
        .group = r->group,
        .prompt_capacity = pad_lanes(longest_prompt),
        .capacity = r->completion_capacity};
    c.prompt_k_stride = r->prompts * h * d * c.prompt_capacity,
    c.prompt_v_stride = r->prompts * h * pad_lanes(d) * c.prompt_capacity;
    c.completion_stride = n_rows * h * r->completion_capacity * pad_lanes(d);
    i64 prompt_bytes = 4 * s->layers * (c.prompt_k_stride + c.prompt_v_stride),
        completion_bytes = s->layers * c.completion_stride * element_size(is_bf16);
    i64 scores_bytes = 4 * (h * scores_size(&c) + 2 * pad_lanes(d));
    i64 bytes = prompt_bytes + 2 * completion_bytes + saved_layer_bytes(s, n) + 4 * n * (2 * w + v) + scores_bytes +
                4 * v + 32 * n_rows + mlp_scratch_bytes(s) + 32 * 64;
    void *memory = aligned_alloc(64, round_up(bytes, 64));
    if (!memory) return NO_MEMORY;
    arena a = {(uintptr_t)memory};
    c.prompt_k = arena_alloc(&a, 4 * s->layers * c.prompt_k_stride),
    c.prompt_v = arena_alloc(&a, 4 * s->layers * c.prompt_v_stride);
    c.completion_k = arena_alloc(&a, completion_bytes), c.completion_v = arena_alloc(&a, completion_bytes);
    saved_layer k = saved_layer_in(s, n, &a);
    mlp_scratch mlp = mlp_scratch_in(s, &a);
    float *x = arena_alloc(&a, 4 * n * w), *hidden = arena_alloc(&a, 4 * n * w), *logits = arena_alloc(&a, 4 * n * v),
          *cdf = arena_alloc(&a, 4 * v);
    float *scores = arena_alloc(&a, scores_bytes);
    i64 *row = arena_alloc(&a, 8 * n_rows), *remaining = arena_alloc(&a, 8 * n_rows),
        *token = arena_alloc(&a, 8 * n_rows), n_active = 0;
    uint8_t *answering = arena_alloc(&a, n_rows);
    int failed = prefill(s, r, &c, hidden);
    if (is_bf16) amx_configure();
    if (!failed) matmul_f32(hidden, w, 1, head, 1, 0, r->prompts, v, w, logits, v, 0);
    for (i64 i = 0; i < n_rows && !failed; i++)
        if (r->active[i]) row[n_active++] = i, remaining[i] = r->max_new_tokens, answering[i] = r->thinking < 0;
    for (i64 t = 0; t < r->completion_capacity && n_active; t++) {
        i64 n_kept = 0;
        for (i64 i = 0; i < n_active; i++) {
            i64 at = row[i], index = at * r->completion_capacity + t, forced = !answering[at] && t == r->thinking;
            float logprob;
            i64 id = sample_token(
                logits + (t ? i : at / r->group) * v, r->uniforms[index], r->temperature, v, cdf, &logprob);
            if (forced) id = r->answer_id, logprob = 0;
            out.ids[index] = id, out.logprobs[index] = logprob, out.valid[index] = 1, out.sampled[index] = !forced;
            remaining[at] -= answering[at];
            answering[at] |= id == r->answer_id;
            if (id != r->stop_id && remaining[at] > 0) row[n_kept] = at, token[n_kept++] = id;
        }
        n_active = t + 1 < r->completion_capacity ? n_kept : 0;
        for (i64 i = 0; i < n_active; i++) memcpy(x + i * w, s->embedding + token[i] * w, 4 * w);
        const char *weights = s->packed;
        for (i64 layer = 0; layer < s->layers && n_active; layer++, weights += l.layer_bytes) {
            for (i64 i = 0; i < n_active; i += BLOCK) layer_qkv(s, &l, weights, x, i, n_active, k, is_bf16);
            decode_attention(
                k.qkv, s->cos, s->sin, s->max_positions, n_active, h, d, row, &c, layer, t, scores, k.attended,
                is_bf16);
            for (i64 i = 0; i < n_active; i += BLOCK) layer_output(s, &l, weights, x, i, n_active, k, 0, mlp, is_bf16);
        }
        rms_norm(x, n_active, w, hidden, k.inverse1, 0);
        matmul_f32(hidden, w, 1, head, 1, 0, n_active, v, w, logits, v, 0);
    }
    if (is_bf16) amx_release();
    free(memory);
    return failed;
}

/* Rows are independent: results do not depend on how they are grouped into tasks. */
#define ROWS_PER_TASK 64

typedef struct {
    const policy *s;
    const sample_args *r;
    const completions *out;
    i64 tasks;
    _Atomic int failed;
} sample_job;

static void sample_on_thread(void *argument, pool_thread *thread) {
    sample_job *p = argument;
    const sample_args *all = p->r;
    PARALLEL_FOR(task, p->tasks) {
        i64 from = task * all->prompts / p->tasks, to = (task + 1) * all->prompts / p->tasks;
        i64 row = from * all->group, index = row * all->completion_capacity, failed;
        sample_args r = *all;
        completions out = {
            p->out->ids + index, p->out->logprobs + index, p->out->valid + index, p->out->sampled + index};
        r.prompts = to - from, r.ids += from * r.prompt_capacity, r.length += from, r.uniforms += index,
        r.active += row;
        int is_bf16 = p->s->is_bf16;
#define CALL(IS_BF16) failed = sample_impl(p->s, &r, out, IS_BF16)
        DISPATCH_PRECISION(CALL)
#undef CALL
        if (failed) p->failed = failed;
    }
}

int sample(const policy *s, const sample_args *r, const completions *out) {
    i64 tasks = r->prompts * r->group / ROWS_PER_TASK;
    tasks = min_i64(min_i64(tasks, 4 * pool.max_workers), r->prompts);
    sample_job p = {s, r, out, tasks ? tasks : 1};
    run_on_pool(sample_on_thread, &p, p.tasks);
    return p.failed;
}
