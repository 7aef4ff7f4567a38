/* The policy's weights: as PyTorch holds them, and packed for the products that read them. */

typedef struct {
    i64 layers, width, heads, mlp, vocab, max_positions, is_bf16;
    const float *cos, *sin;                     /* [max_positions, head width], the first half of sin negated */
    const float *embedding, *head, *final_norm; /* [vocab, width], [width, vocab], [1, width] */
    const float *const *weights;                /* [layers, LAYER_WEIGHTS] */
    const char *packed;                         /* written by pack_weights */
} policy;

/* The order of a layer's weights in `weights`. Packed: for each layer its four matrices, each followed by its
   transpose, then the head. */

enum { ATTENTION_NORM, QKV, OUT, MLP_NORM, GATE_UP, DOWN, LAYER_WEIGHTS };

typedef struct {
    int weight_index, norm_index; /* indices among the layer's weights; norm_index is -1 where no gain is folded in */
    i64 k, n;
    i64 offset, transposed; /* bytes from the start of the layer */
} packed_matrix;

typedef struct {
    packed_matrix qkv, out, gate_up, down;
    i64 layer_bytes, head, head_transposed, total_bytes; /* bytes: of a layer; of the others from the start */
} packed_layout;

static packed_layout packed_layout_of(const policy *s) {
    i64 w = s->width, m = s->mlp, at = 0;
    packed_layout l = {
        {QKV, ATTENTION_NORM, w, 3 * w, 0, 0},
        {OUT, -1, w, w, 0, 0},
        {GATE_UP, MLP_NORM, w, 2 * m, 0, 0},
        {DOWN, -1, m, w, 0, 0},
    };
    packed_matrix *matrices[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    for (int i = 0; i < 4; i++) {
        matrices[i]->offset = at, at += packed_bytes(matrices[i]->k, matrices[i]->n, s->is_bf16);
        matrices[i]->transposed = at, at += packed_bytes(matrices[i]->n, matrices[i]->k, s->is_bf16);
    }
    l.layer_bytes = at, l.head = at * s->layers, l.head_transposed = l.head + packed_bytes(w, s->vocab, 0);
    l.total_bytes = l.head_transposed + packed_bytes(s->vocab, w, 0);
    return l;
}

/* Returns bytes. */
i64 packed_policy_bytes(const policy *s) { return packed_layout_of(s).total_bytes; }

typedef struct {
    const policy *s;
    char *to;
    _Atomic int failed;
} pack_args;

static void pack_on_thread(void *argument, pool_thread *thread) {
    pack_args *p = argument;
    const policy *s = p->s;
    packed_layout l = packed_layout_of(s);
    const packed_matrix *matrices[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    uint16_t *scratch = malloc(2 * s->width * (3 * s->width > 2 * s->mlp ? 3 * s->width : 2 * s->mlp));
    if (!scratch) {
        if (!thread->is_worker) p->failed = NO_MEMORY;
        return;
    }
    PARALLEL_FOR(i, 4 * s->layers + 1) {
        if (i == 4 * s->layers) {
            pack_f32(s->head, s->final_norm, s->width, s->vocab, p->to + l.head, p->to + l.head_transposed);
            continue;
        }
        const packed_matrix *m = matrices[i % 4];
        const float *const *weights = s->weights + i / 4 * LAYER_WEIGHTS,
                           *gain = m->norm_index < 0 ? NULL : weights[m->norm_index];
        char *layer = p->to + i / 4 * l.layer_bytes, *packed = layer + m->offset, *transposed = layer + m->transposed;
        if (s->is_bf16) pack_amx(weights[m->weight_index], gain, m->k, m->n, packed, transposed, scratch);
        else pack_f32(weights[m->weight_index], gain, m->k, m->n, packed, transposed);
    }
    free(scratch);
}

/* to: packed_policy_bytes. */
int pack_weights(const policy *s, char *to) {
    pack_args p = {s, to};
    run_on_pool(pack_on_thread, &p, 4 * s->layers + 1);
    return p.failed;
}
