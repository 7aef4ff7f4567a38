/* A policy's weights: as given, and laid out for the products that read them. */

typedef struct {
    n_t layers, width, heads, mlp, vocab, positions, low;
    const float *cos, *sin;                  /* [positions, head width], the first half of sin negated */
    const float *embedding, *head, *gain;    /* [vocab, width], [width, vocab], and the gain of head's rows [width] */
    const float *const *weights;             /* [layers, GIVEN] */
    const char *packed;                      /* by pack_weights */
} policy;

/* As given, of each layer in this order, and packed, forth and back, the head's after all layers. */

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

typedef struct {
    const policy *s;
    char *to;
    _Atomic int failed;
} packing;

static void pack_some(void *given, crew *c) {
    packing *p = given;
    const policy *s = p->s;
    layout l = layout_of(s);
    const matrix *each[] = {&l.qkv, &l.out, &l.gate_up, &l.down};
    uint16_t *memory = malloc(2 * s->width * (3 * s->width > 2 * s->mlp ? 3 * s->width : 2 * s->mlp));
    if (!memory) {
        if (!c->helps) p->failed = NO_MEMORY;
        return;
    }
    SHARED_OUT(i, 4 * s->layers + 1) {
        if (i == 4 * s->layers) {
            float_pack(s->head, s->gain, s->width, s->vocab, p->to + l.head, p->to + l.head_back);
            continue;
        }
        const matrix *m = each[i % 4];
        const float *const *weights = s->weights + i / 4 * GIVEN, *gain = m->norm < 0 ? NULL : weights[m->norm];
        char *layer = p->to + i / 4 * l.layer, *forth = layer + m->forth, *back = layer + m->back;
        if (s->low) tile_pack(weights[m->given], gain, m->k, m->n, forth, back, memory);
        else float_pack(weights[m->given], gain, m->k, m->n, forth, back);
    }
    free(memory);
}

int pack_weights(const policy *s, char *to) {
    packing p = {s, to};
    share_out(pack_some, &p, 4 * s->layers + 1);
    return p.failed;
}
