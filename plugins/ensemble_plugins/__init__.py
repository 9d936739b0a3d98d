"""The built-in learners and feature sets, registered by the hooks that everyone uses.

Targets are lazy strings: listing them imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble import hookimpl
from ensemble_features.catalog import FAMILIES

if TYPE_CHECKING:
    from ensemble.plugin.base import Register


@hookimpl
def register_base_learners(register: Register) -> None:
    """Register learners of features and n-grams, any classifier, and language models."""
    register("handcrafted", "ensemble_plugins.handcrafted:Handcrafted")
    register("proxy", "ensemble_plugins.proxy:Proxy")
    register("tfidf", "ensemble_plugins.tfidf:Tfidf")
    register("sklearn", "ensemble_plugins.sklearn_learner:SklearnLearner")
    register("precomputed", "ensemble_plugins.precomputed:Precomputed")
    register("causal-lora", "ensemble_plugins.causal_lora:CausalLora")
    register("encoder", "ensemble_plugins.encoder:Encoder")
    register("gemma2-lora", "ensemble_plugins.gemma2_lora:Gemma2Lora")
    register("llama3-lora", "ensemble_plugins.llama3_lora:Llama3Lora")
    register("deberta", "ensemble_plugins.deberta:Deberta")


@hookimpl
def register_meta_learners(register: Register) -> None:
    """Register the LightGBM stacker."""
    register("lightgbm", "ensemble_plugins.lightgbm_stacker:LightGBMStacker")


@hookimpl
def register_feature_sets(register: Register) -> None:
    """Register one feature set a family."""
    for family in FAMILIES:
        register(family, f"ensemble_features.{family}:FEATURE_SET")


@hookimpl
def register_observers(register: Register) -> None:
    """Register what keeps a record of runs."""
    register("jsonl", "ensemble_plugins.jsonl_observer:JsonlObserver")
    register("mlflow", "ensemble_plugins.mlflow_observer:MlflowObserver")
