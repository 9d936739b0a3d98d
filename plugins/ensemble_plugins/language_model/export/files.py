"""What lies beside the weights of an exported model: how it is used, and shown a battle.

The code that builds its input goes along as a package of its own, ``battle_input``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ensemble.storage.json_files import write_json
from ensemble_plugins.language_model.model.base_weights import EXPORTED
from ensemble_plugins.language_model.text import plain_text, truncation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble_plugins.language_model.text.prompts import Template
    from ensemble_plugins.language_model.text.tokenization import BattleTokenizer

PACKAGE = "battle_input"
_OWN = re.compile(r"^from ensemble_plugins\.language_model\.text\.", re.MULTILINE)
_README = """\
# {learner}, {fit}

A classifier of battles: a prompt and two responses, and which is better. Its labels are
`model_a`, `model_b` and `tie`. It is {base} with what was trained on top of it; the license of
those weights holds. MODEL stands for this directory.

```python
import sys
sys.path.insert(0, "MODEL")
from battle_input import BattleClassifier

model = BattleClassifier("MODEL")
model.probabilities([("What is 2 + 2?", "4", "Five.")])
```

`AutoModelForSequenceClassification.from_pretrained("MODEL")` loads the model, without any code that
comes with it. `battle_input` builds the token ids as in training: texts are tokenized apart from
the template (`ensemble.json`), so that special tokens in them stay text, and are cut to
{max_length} tokens by the rule `"{truncation}"`. {orders}{ties}

{served}"""


def write_input_files(
    directory: Path,
    tokenizer: BattleTokenizer,
    template: Template,
    *,
    truncation_rule: str,
    max_length: int,
    swap_tta: bool,
    alone: bool,
    served: str,
    about: Mapping[str, Any],
) -> None:
    """Write ``ensemble.json``, ``README.md`` and the package that builds the input.

    Parameters
    ----------
    directory
        Of the model.
    tokenizer, template
        As they were trained with.
    truncation_rule, max_length
        What is cut of long battles.
    swap_tta
        Whether the run averages both orders.
    alone
        Whether the model gives a row other logits beside others: it reads what fills batches.
    served
        What the README says of vLLM.
    about
        What is said of the model: ``learner``, ``fit``, ``ties``, ``base``.
    """
    tokens = tokenizer.prompt_tokens
    content = {
        **about,
        "classes": ["model_a", "model_b", "tie"],
        "template": asdict(template),
        "template_ids": {one.name: getattr(tokens, one.name).tolist() for one in fields(tokens)},
        "special_tokens": sorted(tokenizer.special),
        "truncation": truncation_rule,
        "max_length": max_length,
        "swap_tta": swap_tta,
        "alone": alone,
    }
    write_json(directory / EXPORTED, content)
    _write_package(directory / PACKAGE)
    orders = (
        "`probabilities` averages the logits of both orders of A and B, as the run did."
        if swap_tta
        else "The run used one order of A and B."
    )
    readme = _README.format(
        learner=about.get("learner", "A classifier"),
        fit=about.get("fit", "exported"),
        base=about.get("base", "a pretrained model"),
        max_length=max_length,
        truncation=truncation_rule,
        orders=orders,
        served=served,
        ties=""
        if about.get("ties", True)
        else " The task has no ties: leave the logit of `tie` out.",
    )
    (directory / "README.md").write_text(readme, encoding="utf-8")


def _write_package(place: Path) -> None:
    place.mkdir()
    own = Path(__file__).with_name(f"{PACKAGE}.py")
    for name, source in (
        ("__init__", own),
        ("plain_text", Path(plain_text.__file__)),
        ("truncation", Path(truncation.__file__)),
    ):
        text = _OWN.sub("from .", source.read_text(encoding="utf-8"))
        (place / f"{name}.py").write_text(text, encoding="utf-8")


def load_package(directory: Path) -> Any:
    """Import the package that lies beside an exported model, under a name of its own."""
    place = directory / PACKAGE
    name = f"{PACKAGE}_{uuid4().hex}"
    spec = spec_from_file_location(
        name, place / "__init__.py", submodule_search_locations=[str(place)]
    )
    assert spec is not None  # noqa: S101 - a path of a Python file has one
    assert spec.loader is not None  # noqa: S101
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        for known in [one for one in sys.modules if one.partition(".")[0] == name]:
            del sys.modules[known]
    return module
