/* A pre-norm transformer (RMSNorm, RoPE, SwiGLU): forward, backward and sampling, each in one call on a thread pool.

   The eager PyTorch path of harness/policy is the reference. Weights, residual stream, norms, softmax and sums are
   float32; with is_bf16 the operands of products are bfloat16, and keys and values are rounded to it. Tokens are padded
   with zeros to a multiple of TILE_K, which changes no result. Exported functions return a status unless they say
   otherwise. */

enum { DONE, NO_MEMORY, OUT_OF_RANGE }; /* token id, position or target; or a prompt's length */

#include "simd.h"
#include "thread_pool.h"
#include "matmul.h"
#include "rope.h"
#include "attention.h"
#include "decode.h"
#include "norms.h"
#include "weights.h"
#include "layout.h"
#include "forward.h"
#include "backward.h"
#include "sampling.h"

/* Whether the library was compiled with AVX-512. */
int has_avx512(void) {
#ifdef __AVX512F__
    return 1;
#else
    return 0;
#endif
}
