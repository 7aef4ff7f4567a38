/* Which tokens are seen.

   Of completions [rows, longest_completion] after their prompts: all prompts but for the last token of each, then the
   completions, each of which begins with that token and goes on as far as `mask` asks. Fills ids, position, target (-1:
   none) and place, where in the completions it is asked for (beyond them: nowhere), of each token, and rows
   [prompts + completions]; returns how many tokens there are, -1 if a prompt has no token or
   more than there is room for. */
n_t lay_out(
    const n_t *prompts, const n_t *length, n_t n_prompts, n_t longest_prompt, const n_t *completions,
    const uint8_t *mask, n_t rows, n_t longest_completion, n_t *ids, n_t *position, n_t *target, n_t *place,
    n_t *spans) {
    n_t i = 0, group = n_prompts ? rows / n_prompts : 1;
    for (n_t p = 0; p < n_prompts; p++) {
        if (length[p] < 1 || length[p] > longest_prompt) return -1;
        n_t span[4] = {0, 0, i, i + length[p] - 1};
        memcpy(spans + 4 * p, span, sizeof(span));
        for (n_t j = 0; j < length[p] - 1; j++, i++)
            ids[i] = prompts[p * longest_prompt + j], position[i] = j, target[i] = -1,
            place[i] = rows * longest_completion;
    }
    for (n_t r = 0; r < rows; r++) {
        n_t p = r / group, first = r * longest_completion, asked = longest_completion, last = length[p] - 1;
        while (asked && !mask[first + asked - 1]) asked--;
        n_t span[4] = {spans[4 * p + 2], spans[4 * p + 3], i, i + asked};
        memcpy(spans + 4 * (n_prompts + r), span, sizeof(span));
        for (n_t c = 0; c < asked; c++, i++) {
            ids[i] = c ? completions[first + c - 1] : prompts[p * longest_prompt + last];
            position[i] = last + c, place[i] = first + c;
            target[i] = mask[first + c] ? completions[first + c] : -1;
        }
    }
    return i;
}

