/* The token layout for completions [rows, completion_capacity] after their prompts: all prompts but the last token of
   each, then the completions, each of which starts with that token and ends with its last position in `mask`.

   Writes for each token its ids, position, target (-1: none) and index, the place of its target among the completions
   (rows * completion_capacity: none), and spans [prompts + rows, 4] as in attention.h. Returns the number of tokens; -1
   if a prompt is empty or longer than prompt_capacity. */
i64 layout_completions(
    const i64 *prompts, const i64 *length, i64 n_prompts, i64 prompt_capacity, const i64 *completions,
    const uint8_t *mask, i64 rows, i64 completion_capacity, i64 *ids, i64 *position, i64 *target, i64 *index,
    i64 *spans) {
    i64 i = 0, group = n_prompts ? rows / n_prompts : 1;
    for (i64 p = 0; p < n_prompts; p++) {
        if (length[p] < 1 || length[p] > prompt_capacity) return -1;
        i64 span[4] = {0, 0, i, i + length[p] - 1};
        memcpy(spans + 4 * p, span, sizeof(span));
        for (i64 j = 0; j < length[p] - 1; j++, i++)
            ids[i] = prompts[p * prompt_capacity + j], position[i] = j, target[i] = -1,
            index[i] = rows * completion_capacity;
    }
    for (i64 r = 0; r < rows; r++) {
        i64 p = r / group, first = r * completion_capacity, count = completion_capacity, last = length[p] - 1;
        while (count && !mask[first + count - 1]) count--;
        i64 span[4] = {spans[4 * p + 2], spans[4 * p + 3], i, i + count};
        memcpy(spans + 4 * (n_prompts + r), span, sizeof(span));
        for (i64 c = 0; c < count; c++, i++) {
            ids[i] = c ? completions[first + c - 1] : prompts[p * prompt_capacity + last];
            position[i] = last + c, index[i] = first + c;
            target[i] = mask[first + c] ? completions[first + c] : -1;
        }
    }
    return i;
}

