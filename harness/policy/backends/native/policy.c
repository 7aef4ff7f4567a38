/* A pre-norm policy (RMSNorm, RoPE, SwiGLU): forward, backward and sampling, each in one call, by as many threads as
   `set_threads` says.

   The plain path of harness/policy is the reference; harness/policy/native builds and calls this. Weights, the stream,
   norms, softmax and sums are float32; where `low` is set, what products read is bfloat16, and so are keys and values.
   Tokens are filled up with zeros to a multiple of TILE: that changes no number. What is not said to return something
   else returns a status. */

enum { DONE, NO_MEMORY, OUT_OF_RANGE }; /* of a token's id, position or target, or a prompt's length */

#include "vectors.h"
#include "crew.h"
#include "products.h"
#include "attention.h"
#include "norms.h"
#include "weights.h"
#include "layout.h"
#include "forward.h"
#include "backward.h"
#include "sampling.h"
