/* Sampling, as harness/policy/sampler.py has it. */

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
        failed = forward_with((pass){.s = s, .t = &t, .store = store, .prompts = c}, 1); /* within a piece already */
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
    n_t looking = 4 * (h * room_to_see(&c) + 2 * padded(d));
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
    if (low) tiles_on();
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
            for (n_t i = 0; i < living; i += BLOCK) read_stream(s, &l, weights, x, i, living, k, low);
            decode(k.qkv, s->cos, s->sin, s->positions, living, h, d, row, &c, layer, t, look, k.mixed, low);
            for (n_t i = 0; i < living; i += BLOCK) write_stream(s, &l, weights, x, i, living, k, 0, p, low);
        }
        norm(x, living, w, hidden, k.inverse1, 0);
        float_product(hidden, w, 1, head, 1, 0, living, v, w, logits, v, 0);
    }
    if (low) tiles_off();
    free(memory);
    return failed;
}

/* Rows do not know of each other, so that it does not matter how many of them go together. */
#define ROWS_OF_A_PIECE 64

typedef struct {
    const policy *s;
    const request *r;
    const completions *out;
    n_t pieces;
    _Atomic int failed;
} sampling;

static void sample_shared(void *given, crew *c) {
    sampling *p = given;
    const request *all = p->r;
    SHARED_OUT(piece, p->pieces) {
        n_t from = piece * all->prompts / p->pieces, to = (piece + 1) * all->prompts / p->pieces;
        n_t row = from * all->group, place = row * all->room, failed;
        request r = *all;
        completions out = {
            p->out->ids + place, p->out->logprobs + place, p->out->taken + place, p->out->drawn + place};
        r.prompts = to - from, r.ids += from * r.longest, r.length += from, r.uniforms += place, r.active += row;
        int low = p->s->low;
#define CALL(LOW) failed = sample_in(p->s, &r, out, LOW)
        BY_PRECISION(CALL)
#undef CALL
        if (failed) p->failed = failed;
    }
}

int sample(const policy *s, const request *r, const completions *out) {
    n_t pieces = r->prompts * r->group / ROWS_OF_A_PIECE;
    pieces = least(least(pieces, 4 * hall.helpers), r->prompts);
    sampling p = {s, r, out, pieces ? pieces : 1};
    share_out(sample_shared, &p, p.pieces);
    return p.failed;
}
