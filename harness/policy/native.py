"""Calls native.c: what lies between the products of a policy, in one pass each, on a CPU. All is computed in float32;
what products read and give may be bfloat16.

PyTorch takes dozens of operations for attention over a few short rows, and each costs more to start than to do. The C
is compiled once for a machine, by its own compiler, into the user's cache; without a compiler, and with
RL_SCALING_NATIVE=0, the plain path does the work, to which all here is tested equal.
"""

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SOURCE = Path(__file__).with_name("native.c")
# None changes how NaN or infinity spread, or in which order a sum is taken but where the source says so.
FLAGS = ("-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
SHARED = ("-shared", "-fPIC")
TUNED = (  # the first that the compiler knows: gcc's, then clang's
    ("-fvect-cost-model=dynamic", "-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)
LANES = 16  # of native.c
KINDS = {torch.float32: 0, torch.bfloat16: 1}  # what native.c calls them

_off = False


def library() -> ctypes.CDLL | None:
    """The compiled functions; None where they are switched off or cannot be had."""
    return _found()[0]


def missing() -> str:
    """Why there is no compiled path; "" where there is one."""
    return _found()[1]


@functools.cache
def _found() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("RL_SCALING_NATIVE") == "0":
        return None, "RL_SCALING_NATIVE=0"
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        return None, f"no C compiler ({compiler[0]})"
    reasons = []
    for folder in (_cache, _folder_of_this_process):
        try:
            made_for = (platform.machine(), _processor(), *compiler, *FLAGS, *map(str, TUNED))
            name = hashlib.blake2b(SOURCE.read_bytes() + "\0".join(made_for).encode(), digest_size=8).hexdigest()
            target = folder() / f"native-{name}.so"
            if not target.exists():
                _compile(compiler, target)
            return ctypes.CDLL(str(target)), ""
        except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
            reasons.append(str(error))
    return None, reasons[0]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rl-scaling"


def _folder_of_this_process() -> Path:
    """Where the cache cannot be written: nobody else could have put a library there."""
    folder = tempfile.mkdtemp(prefix="rl-scaling-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _processor() -> str:
    """What -march=native looks at: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.node()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _compile(compiler: Sequence[str], target: Path) -> None:
    """Raises OSError where it cannot. Processes that compile at once do not see each other's halves."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made, words = Path(folder) / target.name, ""
        for tuned in TUNED:
            command = [*compiler, *FLAGS, *tuned, *SHARED, str(SOURCE), "-o", str(made), "-lm"]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode == 0:
                made.replace(target)
                return
            words = ran.stderr.strip().split("\n")[-1]
    raise OSError(f"{shlex.join(compiler)} cannot compile {SOURCE.name}: {words}")


@contextmanager
def plain() -> Generator[None]:
    """Within it the plain path does the work."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


def serves(x: Tensor) -> bool:
    """Whether what is computed of x can be computed here."""
    return x.device.type == "cpu" and x.dtype in KINDS and not _off and library() is not None


def _call(name: str, *arguments: Any) -> None:
    """Tensors by address, contiguous and of the type that the function expects; integers; floats."""
    function = getattr(library(), name)
    passed = []
    for x in arguments:
        if isinstance(x, Tensor):
            assert x.is_contiguous()
            assert x.dtype in KINDS or x.dtype == torch.int64
            passed.append(ctypes.c_void_p(x.data_ptr()))
        else:
            passed.append(ctypes.c_float(x) if isinstance(x, float) else ctypes.c_int64(x))
    if function(*passed):
        raise MemoryError(f"native.c: {name} found no memory")


def _rms_norm(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    y, inverse = torch.empty_like(x, dtype=dtype), x.new_empty(x.shape[:-1])
    _call("rms_norm", x, inverse.numel(), x.shape[-1], y, inverse, KINDS[dtype])
    return y, inverse


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        y, inverse = _rms_norm(x, dtype)
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        y, inverse = ctx.saved_tensors
        dx = torch.empty_like(y, dtype=torch.float32)
        _call("rms_norm_grad", g.contiguous(), y, inverse, inverse.numel(), y.shape[-1], dx, KINDS[y.dtype])
        return dx, None


def _swiglu(gate_up: Tensor) -> Tensor:
    y = gate_up.new_empty((*gate_up.shape[:-1], gate_up.shape[-1] // 2))
    _call("swiglu", gate_up, y.numel() // y.shape[-1], y.shape[-1], y, KINDS[y.dtype])
    return y


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        return _swiglu(gate_up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        d = torch.empty_like(gate_up)
        _call("swiglu_grad", g.contiguous(), gate_up, g.numel() // g.shape[-1], g.shape[-1], d, KINDS[d.dtype])
        return d


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, position: Tensor, rows: Tensor) -> Any:
        n, (h, d) = position.numel(), qkv.shape[-2:]
        turned, out = torch.empty_like(qkv, dtype=torch.float32), qkv.new_zeros((*qkv.shape[:-3], h, d))
        _call("attend", qkv, cos, sin, position, n, h, d, rows, len(rows), turned, out, KINDS[qkv.dtype])
        ctx.save_for_backward(turned, out, cos, sin, position, rows)
        ctx.mark_non_differentiable(turned)
        ctx.set_materialize_grads(False)  # of `turned` there is none, and zeros would cost a pass
        return out, turned

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _: None) -> Any:
        turned, out, cos, sin, position, rows = ctx.saved_tensors
        sums, (h, d) = torch.zeros_like(turned), turned.shape[-2:]
        grad = sums if g.dtype == sums.dtype else torch.empty_like(sums, dtype=g.dtype)
        given = (cos, sin, position, position.numel(), h, d, rows, len(rows))
        _call("attend_grad", g.contiguous(), turned, out, *given, sums, grad, KINDS[g.dtype])
        return grad, None, None, None, None


def rms_norm(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """x / rms(x) over the last axis of float32, given as `dtype`."""
    x = x.contiguous()
    return _RmsNorm.apply(x, dtype) if torch.is_grad_enabled() else _rms_norm(x, dtype)[0]


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate)·up of both side by side, [..., 2m] -> [..., m]."""
    gate_up = gate_up.contiguous()
    return _Swiglu.apply(gate_up) if torch.is_grad_enabled() else _swiglu(gate_up)


@dataclass(frozen=True)
class Spans:
    """Attention over rows that lie one after the other, with nothing between them.

    Row r [rows, 4] of flat tokens [S·N]: (context_start, context_end, start, end). Its tokens see their row, causally,
    and all of its context: for completions the row of their prompt. position [S·N] is a token's place in its sequence;
    cos, sin [positions, d]. `kept`, if given, receives each layer's turned q, k, v [S, N, 3, heads, d].
    """

    rows: Tensor
    position: Tensor
    cos: Tensor
    sin: Tensor
    kept: list[Tensor] | None = None

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        assert self.position.numel() == qkv.shape[0] * qkv.shape[1]
        out, turned = _Attend.apply(qkv.contiguous(), self.cos, self.sin, self.position, self.rows)
        if self.kept is not None:
            self.kept.append(turned)
        return out.flatten(-2)


def rows_of_equal_length(rows: int, tokens: int, cos: Tensor, sin: Tensor, kept: list[Tensor] | None = None) -> Spans:
    """Rows of so many tokens each, none with a context."""
    ends = torch.arange(1, rows + 1) * tokens
    none = torch.zeros_like(ends)
    return Spans(
        torch.stack((none, none, ends - tokens, ends), dim=1), torch.arange(tokens).repeat(rows), cos, sin, kept
    )


def completions_after_prompts(
    prompts: Tensor, completions: Tensor, tokens: int, position: Tensor, cos: Tensor, sin: Tensor
) -> Spans:
    """Each seed's prompts, of lengths prompts [S, P], then their completions, of lengths completions [S, P·G], which
    see their prompt; filled up with other tokens to `tokens` a seed. position [S, tokens]."""
    s, p = prompts.shape
    length = torch.cat((prompts, completions), dim=1)
    ends = length.cumsum(1) + torch.arange(s)[:, None] * tokens
    row = torch.stack((ends - length, ends), dim=-1)  # [S, P + P·G, 2]
    context = row[:, :p].repeat_interleave(completions.shape[1] // p, dim=1)
    context = torch.cat((torch.zeros_like(row[:, :p]), context), dim=1)
    return Spans(torch.cat((context, row), dim=-1).flatten(0, 1), position.flatten().contiguous(), cos, sin)


@dataclass
class NativeCache:
    """Keys and values of what rows have seen, in the layouts of native.c; written in place, without gradients.

    prompt: [layers] of (keys [S·P, h, d, T filled up], values [S·P, h, T filled up, d filled up]); own: the same of the
    completions, by row [S·R]. `rows` [S, R at hand] says which of them are decoded; filled, how many tokens each has.
    """

    prompt: list[tuple[Tensor, Tensor]]
    own: list[tuple[Tensor, Tensor]]
    prompt_length: Tensor  # [S·P]
    group_size: int
    rows: Tensor
    filled: int
    cos: Tensor
    sin: Tensor

    @property
    def bundle(self) -> int:
        """Rows that stay or leave together."""
        return 1

    def keep(self, rows: Tensor) -> "NativeCache":
        """What is held of these rows at hand, [S, kept]."""
        return replace(self, rows=self.rows.gather(1, rows))

    def looking(self, rotation: object) -> "NativeCache":
        """The attention of the next token; it turns by tables of its own."""
        return self

    def grow(self) -> None:
        self.filled += 1

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        (prompt_k, prompt_v), (own_k, own_v) = self.prompt[layer], self.own[layer]
        h, d = qkv.shape[-2:]
        out = qkv.new_empty((*qkv.shape[:2], h * d))
        _call(
            "decode", qkv.contiguous(), self.cos, self.sin, len(self.cos), self.rows.numel(), h, d, self.rows,
            self.prompt_length, self.group_size, prompt_k, prompt_v, prompt_k.shape[-1], own_k, own_v, own_k.shape[-1],
            self.filled, out, KINDS[out.dtype],
        )  # fmt: skip
        return out


def _up(n: int) -> int:
    return -(-n // LANES) * LANES


def new_cache(kept: list[Tensor], length: Tensor, group_size: int, slots: int, cos: Tensor, sin: Tensor) -> NativeCache:
    """Room for `slots` tokens of each of group_size rows a prompt. kept: [layers] of the prompts' turned q, k, v
    [S, P·T, 3, h, d]; length [S, P]."""
    s, p = length.shape
    h, d = kept[0].shape[-2:]
    t = kept[0].shape[1] // p
    rows, room = s * p * group_size, _up(slots)
    prompt, own = [], []
    for qkv in kept:
        k, v = qkv.view(s * p, t, 3, h, d)[:, :, 1:].permute(2, 0, 3, 1, 4)  # [S·P, h, T, d]
        prompt.append(
            (F.pad(k.mT, (0, _up(t) - t)).contiguous(), F.pad(v, (0, _up(d) - d, 0, _up(t) - t)).contiguous())
        )
        own.append((qkv.new_empty((rows, h, d, room)), qkv.new_empty((rows, h, room, _up(d)))))
    at_hand = torch.arange(rows).view(s, -1)
    return NativeCache(prompt, own, length.flatten().contiguous(), group_size, at_hand, 0, cos, sin)


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """As `harness.policy.sampler.draw`."""
    logits, uniform = logits.float().contiguous(), uniform.float().contiguous()
    ids, logprobs = torch.empty(uniform.shape, dtype=torch.int64), torch.empty_like(uniform)
    v = logits.shape[-1]
    _call("draw", logits, uniform, float(temperature), uniform.numel(), v, logits.new_empty(v), ids, logprobs)
    return ids, logprobs
