/* Decoding: one token of each row, which attends to its prompt and to its completion so far.

   Each row belongs to prompt row / group, of length[prompt] tokens. Prompts, shared by a group, have keys
   [prompts, h, d, prompt_capacity] and values [prompts, h, prompt_capacity, d padded]. Completions have keys and values
   [rows, h, capacity, d padded], in bfloat16 with is_bf16; `cached` of their positions are written, the current token
   is next. */

typedef struct {
    const i64 *length;
    i64 group, prompt_capacity, capacity;
    float *prompt_k, *prompt_v;
    void *completion_k, *completion_v;                       /* each of all layers, one after the other */
    i64 prompt_k_stride, prompt_v_stride, completion_stride; /* numbers in a layer */
} kv_cache;

/* Scores of one head: prompt and completion, each padded. */
INLINE i64 scores_size(const kv_cache *c) { return c->prompt_capacity + pad_lanes(c->capacity) + LANES; }

INLINE void cache_prompt_kv(const kv_cache *c, i64 layer, const float *qkv, i64 prompt, i64 start, i64 h, i64 d) {
    i64 d_padded = pad_lanes(d);
    for (i64 head = 0; head < h; head++) {
        float *k = c->prompt_k + layer * c->prompt_k_stride + (prompt * h + head) * d * c->prompt_capacity;
        float *v = c->prompt_v + layer * c->prompt_v_stride + (prompt * h + head) * c->prompt_capacity * d_padded;
        for (i64 j = 0; j < c->length[prompt]; j++) {
            const float *x = qkv + (start + j) * 3 * h * d + (h + head) * d;
            for (i64 e = 0; e < d; e++) k[e * c->prompt_capacity + j] = x[e];
            memcpy(v + j * d_padded, x + h * d, sizeof(float) * d);
        }
    }
}

/* qkv [n, 3, h, d] of the rows `row` [n]; out [n, h, d]; memory [h * scores_size + 2 * d padded]. Each step is done for
   all heads before the next: the steps of one head depend on each other. */
INLINE void decode_attention_impl(
    float *qkv, const float *cos, const float *sin, i64 max_positions, i64 n, i64 h, i64 d, const i64 *row,
    const kv_cache *c, i64 layer, i64 cached, float *memory, void *out, int is_bf16) {
    i64 vecs = pad_lanes(d) / LANES, d_padded = vecs * LANES, stride = scores_size(c);
    float *o = memory, *query = o + d_padded, *scores = query + d_padded, factor = 1.0f / sqrtf(d);
    memset(query, 0, sizeof(float) * d_padded);
    for (i64 i = 0; i < n; i++) {
        i64 prompt = row[i] / c->group, first = c->length[prompt],
            position = min_i64(first + cached, max_positions - 1);
        i64 offset = layer * c->completion_stride + row[i] * h * c->capacity * d_padded,
            head_stride = c->capacity * d_padded;
        const float *pk = c->prompt_k + layer * c->prompt_k_stride + prompt * h * d * c->prompt_capacity;
        const float *pv = c->prompt_v + layer * c->prompt_v_stride + prompt * h * c->prompt_capacity * d_padded;
        for (i64 head = 0; head < h; head++) {
            float *q = qkv + (i * 3 * h + head) * d, *new_k = q + h * d, *new_v = new_k + h * d;
            float *p = scores + head * stride;
            void *k = element(c->completion_k, offset + head * head_stride, is_bf16),
                 *v = element(c->completion_v, offset + head * head_stride, is_bf16);
            rope(q, cos + position * d, sin + position * d, d);
            rope(new_k, cos + position * d, sin + position * d, d);
            memcpy(query, q, sizeof(float) * d);
            for (i64 e = 0; e < d_padded; e++) {
                store_element(k, cached * d_padded + e, e < d ? new_k[e] : 0.0f, is_bf16);
                store_element(v, cached * d_padded + e, e < d ? new_v[e] : 0.0f, is_bf16);
            }
            row_times_matrix(q, factor, pk + head * d * c->prompt_capacity, d, c->prompt_capacity, first, p);
            for (i64 j = 0; j <= cached; j += LANES) { /* overwrites the padding of the prompt's last vector */
                f32x16 products[LANES] = {0};
                for (i64 at = j; at < min_i64(j + LANES, cached + 1); at++)
                    for (i64 e = 0; e < d_padded; e += LANES)
                        products[at - j] += *(f32x16u *)(query + e) * load_f32x16(k, at * d_padded + e, is_bf16);
                *(f32x16u *)(p + first + j) = reduce_add_16(products) * factor;
            }
        }
        for (i64 head = 0; head < h; head++) softmax(scores + head * stride, first + cached + 1);
        for (i64 head = 0; head < h; head++) {
            const float *p = scores + head * stride;
            memset(o, 0, sizeof(float) * d_padded);
            add_weighted_sum(p, pv + head * c->prompt_capacity * d_padded, first, vecs, o, 0);
            add_weighted_sum(
                p + first, element(c->completion_v, offset + head * head_stride, is_bf16), cached + 1, vecs, o,
                is_bf16);
            for (i64 e = 0; e < d; e++) store_element(out, (i * h + head) * d + e, o[e], is_bf16);
        }
    }
}

static void decode_attention(
    float *qkv, const float *cos, const float *sin, i64 max_positions, i64 n, i64 h, i64 d, const i64 *row,
    const kv_cache *c, i64 layer, i64 cached, float *memory, void *out, int is_bf16) {
#define CALL(D)                                                                                                       \
    if (is_bf16) decode_attention_impl(qkv, cos, sin, max_positions, n, h, D, row, c, layer, cached, memory, out, 1); \
    else decode_attention_impl(qkv, cos, sin, max_positions, n, h, D, row, c, layer, cached, memory, out, 0)
    DISPATCH_HEAD_WIDTH(CALL)
#undef CALL
}
