"""How vLLM serves an exported model, by what was tried with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble_plugins.language_model.model.packing import looks_ahead

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

VERSION = "0.32.0"
"""Of vLLM, on a CPU: the one that the names below were tried with."""
RENAMED = {"Gemma3TextForSequenceClassification": "Gemma3ForSequenceClassification"}
"""Names by which vLLM finds a classifier, where that of transformers leads it to embeddings."""


def _classifiers(names: str) -> frozenset[str]:
    return frozenset(f"{name}ForSequenceClassification" for name in names.split())


EQUAL = _classifiers(
    "Arcee Bert Camembert Electra Exaone4 Gemma Gemma2 Gemma3Text Glm Glm4 GPT2 GPTJ GPTNeoX Llama "
    "Mistral Mixtral ModernBert Nemotron Olmo Olmo2 Olmo3 Phi Phi3 Qwen2 Qwen3 Qwen3Moe Roberta "
    "SeedOss SmolLM3 StableLm Starcoder2 XLMRoberta"
)
"""Architectures whose logits were those of transformers, to rounding in float32."""
REFUSED = _classifiers(
    "Albert DebertaV2 DistilBert EuroBert Helium Ministral ModernBertDecoder MPNet Persimmon"
)
"""Architectures that vLLM ended with an error for, as it loaded them."""
_BOTH_WAYS = _classifiers("Gemma3Text Llama Qwen2")
"""Of these, the decoders that were equal, too, where tokens attend to those after them.

vLLM computed Gemma and Olmo2 as causal there, and said nothing.
"""
_RECIPE = """\
```python
import sys
from vllm import LLM, PoolingParams

sys.path.insert(0, "MODEL")
from battle_input import BattleInput

if __name__ == "__main__":   # vLLM starts processes that may import this file
    llm = LLM(
        model="MODEL", runner="pooling", convert="classify",
        dtype="{dtype}", max_model_len={max_length},{more}
    )

    def compute(rows):
        prompts = [{{"prompt_token_ids": ids}} for ids in rows]
        found = llm.classify(prompts, pooling_params=PoolingParams(use_activation=False))
        return [one.outputs.probs for one in found]   # logits

    print(BattleInput("MODEL").probabilities([("What is 2 + 2?", "4", "Five.")], compute))
```
"""


def describe(architecture: str, config: PreTrainedConfig, dtype: str, max_length: int) -> str:
    """Say in Markdown how vLLM gives the probabilities of the run; MODEL is the directory.

    Parameters
    ----------
    architecture
        As the exported config names it.
    config
        Of the model's text.
    dtype
        Of the exported weights. vLLM turns float32 into half precision unless it is told.
    max_length
        Of the rows. vLLM asks for memory for one as long as the model could take unless told.
    """
    if architecture in REFUSED:
        return f"vLLM {VERSION} does not load {architecture}.\n"
    if other := _why_other(architecture, config):
        return f"{other}, and says nothing: do not use it for this model.\n"
    more = _more(architecture, config)
    recipe = _RECIPE.format(dtype=dtype, max_length=max_length, more=more)
    if architecture in EQUAL:
        return f"vLLM {VERSION} gives the logits of such a model, to rounding:\n\n{recipe}"
    return f"vLLM was not tried with {architecture}; if it loads the model:\n\n{recipe}"


def _why_other(architecture: str, config: PreTrainedConfig) -> str:
    """Say why vLLM's logits would be others, or might be; empty where nothing is known."""
    if looks_ahead(config) and architecture not in _BOTH_WAYS:
        return (
            f"In this {architecture} tokens attend to those after them. vLLM {VERSION} leaves that "
            "out of some architectures"
        )
    return ""


def _more(architecture: str, config: PreTrainedConfig) -> str:
    """Write what vLLM has to read in place of what the config says."""
    said = [f'"architectures": ["{RENAMED[architecture]}"]'] if architecture in RENAMED else []
    said += ['"is_causal": False'] if looks_ahead(config) else []
    return f"\n        hf_overrides={{{', '.join(said)}}}," if said else ""
