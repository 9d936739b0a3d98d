"""Recipes of public solutions of *LMSYS - Chatbot Arena Human Preference Predictions*.

Each has what its authors told, under the names of the learners' parameters; what they did not tell
stays at its default. The name is the place on the private leaderboard.
"""

from typing import Any, Literal

Distillation = Literal["self", "1st"]

DISTILLATIONS: dict[Distillation, dict[str, float]] = {
    # WSDM Cup, 3rd place: a model of the same kind taught as well as one of 72B.
    "self": {"distillation": 0.9, "temperature": 5.0, "cosine": 0.0},
    # The mean of cross-entropy, KL and cosine, times 3/2, which changes no minimum.
    "1st": {"distillation": 0.5, "temperature": 1.0, "cosine": 0.5},
}
"""Losses of public solutions, by the names that the parameter ``distillation`` may have."""

Recipe = Literal["1st", "3rd", "4th", "9th", "16th"]

RECIPES: dict[Recipe, dict[str, Any]] = {
    "1st": {
        "tuning": "lora",
        "rank": 64,
        "alpha": 128.0,
        "learning_rate": 5e-5,
        "batch_size": 64,
        "epochs": 2,
        "train_length": 1024,
        "predict_length": 2000,
        "truncation": "responses-equal",
    },
    "3rd": {
        "tuning": "lora",
        "rank": 64,
        "alpha": 16.0,
        "bits": 4,
        "learning_rate": 1e-4,
        "batch_size": 16,
        "epochs": 1,
        "train_length": 1800,
        "predict_length": 4096,
    },
    "4th": {
        "tuning": "lora",
        "rank": 64,
        "learning_rate": 2e-4,
        "batch_size": 8,
        "epochs": 1,
        "train_length": 2048,
        "predict_length": 3072,
        "truncation": "proportional",
    },
    "9th": {
        "tuning": "lora",
        "rank": 32,
        "alpha": 64.0,
        "learning_rate": 8e-5,
        "batch_size": 16,
        "epochs": 1,
        "train_length": 1536,
        "predict_length": 1792,
        "truncation": "left",
    },
    "16th": {
        "tuning": "lora",
        "rank": 64,
        "alpha": 4.0,
        "learning_rate": 2e-4,
        "train_length": 2048,
        "predict_length": 3072,
        "truncation": "left",
        "soft_capping": False,
    },
}
