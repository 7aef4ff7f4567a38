"""A policy as a Hugging Face folder, and back.

Without QK-norm it is a Llama, with it a Qwen3: config.json, model.safetensors and a tokenizer that transformers loads
as they are. What neither architecture expresses is refused by name. The section "rl_scaling" of config.json says what
made the folder; only folders that hold one are read back.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from harness.config.identity import origin_of, read_origin
from harness.config.schema import ModelConfig
from harness.core.errors import UserError
from harness.policy.tokenizer import BOS, EOS, PAD, TURN, VOCAB_SIZE, decode

SPECIAL = range(16)  # ids that stand for no character
RMS_EPSILON = 1e-6


def architecture(config: ModelConfig) -> dict[str, Any]:
    """config.json of the stock architecture. Raises UserError for options that it lacks."""
    wanted = {"norm": "rmsnorm", "norm_position": "pre"}
    if wrong := [f"model.{name}={own}" for name, value in wanted.items() if (own := getattr(config, name)) != value]:
        raise UserError(
            f"cannot export {', '.join(wrong)}",
            "Llama and Qwen3, which the folder would be read as, normalise with RMSNorm before each part",
            "train with " + " ".join(f"model.{name}={value}" for name, value in wanted.items()),
        )
    return {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "model_type": "qwen3" if config.qk_norm else "llama",
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "head_dim": config.head_width,
        "max_position_embeddings": config.context,
        "hidden_act": "silu",
        "rms_norm_eps": RMS_EPSILON,
        "rope_theta": config.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "initializer_range": config.init_std,
        "dtype": "float32",
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def _places(config: ModelConfig) -> Iterator[tuple[str, str, int, int]]:
    """(Hugging Face name, own name, part, parts): a weight there is one of the parts that lie side by side here."""
    yield "model.embed_tokens.weight", "embedding", 0, 1
    yield "model.norm.weight", "final_norm", 0, 1
    yield "lm_head.weight", "head", 0, 1
    layer = [
        ("input_layernorm", "attention_norm", 0, 1),
        *((f"self_attn.{x}_proj", "qkv", i, 3) for i, x in enumerate("qkv")),
        ("self_attn.o_proj", "attention_out", 0, 1),
        ("post_attention_layernorm", "mlp_norm", 0, 1),
        ("mlp.gate_proj", "gate_up", 0, 2),
        ("mlp.up_proj", "gate_up", 1, 2),
        ("mlp.down_proj", "down", 0, 1),
    ]
    if config.qk_norm:
        layer += [("self_attn.q_norm", "qk_norm", 0, 2), ("self_attn.k_norm", "qk_norm", 1, 2)]
    for i in range(config.layers):
        yield from ((f"model.layers.{i}.{there}.weight", f"blocks.{i}.{here}", j, n) for there, here, j, n in layer)


def _outward(weight: Tensor, name: str, part: int, parts: int) -> Tensor:
    """One run's [1, in, parts·out] as [out, in], gains and embedding as they are."""
    if name == "embedding":
        return weight[0].clone()
    if name.endswith("norm"):
        return weight.reshape(parts, -1)[part].clone()
    return weight[0].chunk(parts, dim=-1)[part].mT.contiguous()


def _inward(found: list[Tensor], name: str, shape: torch.Size) -> Tensor:
    """The parts of one weight, put together as `shape` here."""
    if name == "embedding" or name.endswith("norm"):
        return torch.stack(found).reshape(shape)
    return torch.cat([x.mT for x in found], dim=-1).reshape(shape).contiguous()


def to_hugging_face(weights: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Weights of one run, under the names and in the shapes of the stock architecture."""
    return {there: _outward(weights[here], here, part, parts) for there, here, part, parts in _places(config)}


def from_hugging_face(tensors: dict[str, Tensor], like: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The way back; `like` gives the shapes."""
    found: dict[str, list[Tensor]] = {}
    for there, here, _, _ in _places(config):
        found.setdefault(here, []).append(tensors[there])
    return {here: _inward(parts, here, like[here].shape) for here, parts in found.items()}


def tokenizer_files() -> dict[str, dict[str, Any]]:
    """A tokenizer of characters: text -> BOS, one id a character, TURN, as in a first prompt."""
    tokens = [decode([i]) for i in range(VOCAB_SIZE)]
    special = [
        {"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for i in SPECIAL
    ]  # fmt: skip
    frame = [{"SpecialToken": {"id": tokens[BOS], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    frame.append({"SpecialToken": {"id": tokens[TURN], "type_id": 0}})
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": frame,
            "pair": [*frame, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]} for i in (BOS, TURN)},
        },
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(tokens)}, "unk_token": tokens[SPECIAL[-1]]},
    }  # fmt: skip
    names = {"bos_token": tokens[BOS], "eos_token": tokens[EOS], "pad_token": tokens[PAD]}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": settings, "special_tokens_map.json": names}


def write_folder(folder: Path, weights: dict[str, Tensor], config: ModelConfig, made_by: dict[str, Any]) -> None:
    """Weights of one run as a Hugging Face folder. Raises UserError for options that it cannot express, and if there
    is something else at `folder`."""
    described = architecture(config)
    if folder.exists() and any(folder.iterdir()) and read_origin(folder) is None:
        raise UserError(f"{folder} is not empty", "nothing of yours is overwritten", "choose another folder: out=…")
    data = save(to_hugging_face(weights, config), metadata={"format": "pt"})
    origin = {**made_by, "model": asdict(config), "weights": hashlib.blake2b(data, digest_size=16).hexdigest()}
    generation = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "do_sample": True, "top_k": 0}
    files = {"config.json": {**described, "rl_scaling": origin}, "generation_config.json": generation}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(data)
    for name, content in {**files, **tokenizer_files()}.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False))


def read_folder(folder: Path, like: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Weights of an exported folder, in the shapes of `like`. Raises UserError as `origin_of` does, and if they are not
    those that were written."""
    origin = origin_of(folder, config)
    data = (folder / "model.safetensors").read_bytes()
    if hashlib.blake2b(data, digest_size=16).hexdigest() != origin["weights"]:
        raise UserError(
            f"base.folder={folder}", "model.safetensors is not the file that was exported", "export it again"
        )
    return from_hugging_face(load(data), like, config)
