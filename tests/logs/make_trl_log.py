"""Makes trl_trainer_state.json beside this file by running TRL (extra `bench`): python tests/logs/make_trl_log.py

GRPO on a random model of 3,000 weights that is asked to write "a"; two evaluation sets and two rewards, so that the
log holds every kind of name that TRL gives to a metric. Of the trainer's state its log is kept, a row a line. Half a
minute on a CPU.
"""

import json
import tempfile
from pathlib import Path

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

LETTERS = "abcdefghijklmnop"


def correct(completions, **_):
    return [float(text.strip().startswith("a")) for text in completions]


def short(completions, **_):
    return [1.0 if len(text) < 4 else 0.5 for text in completions]


def tokenizer():
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *LETTERS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


def problems(n):
    return Dataset.from_dict({"prompt": [LETTERS[i % 16] + LETTERS[(i + 1) % 16] for i in range(n)]})


def main():
    words = tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=19, pad_token_id=0, eos_token_id=1, **sizes, **heads))
    with tempfile.TemporaryDirectory() as out:
        settings = GRPOConfig(
            output_dir=out,
            seed=3,
            max_steps=8,
            per_device_train_batch_size=16,
            num_generations=4,
            per_device_eval_batch_size=16,
            num_generations_eval=4,
            max_completion_length=4,
            learning_rate=3e-2,
            logging_steps=2,
            eval_strategy="steps",
            eval_steps=4,
            eval_on_start=True,
            save_strategy="steps",
            save_steps=8,
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model, [correct, short], settings, problems(64), {"near": problems(16), "far": problems(8)}, words
        )
        trainer.train()
        history = json.loads((Path(out) / "checkpoint-8" / "trainer_state.json").read_text())["log_history"]
    rows = ",\n".join(map(json.dumps, history))
    Path(__file__).with_name("trl_trainer_state.json").write_text(f'{{"log_history": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
