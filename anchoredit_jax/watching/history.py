"""Where weights come from, and which settings are others than they were."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anchoredit_jax.watching.records import StageRecord, WorkdirRecord


def lineages(workdir: WorkdirRecord) -> str:
    """The ancestors of the furthest checkpoint, and of stages that are none of them."""
    parts, known = [], set()
    for stage in reversed(workdir.stages):
        if stage.saved is None or stage.name in known:
            continue
        chain = list(stage.parent.chain()) if stage.parent else []
        known |= {link.stage for link in chain}
        items = [
            _link(link.stage, link.step, f"{link.digest}, {link.weights}")
            for link in chain
        ]
        items.append(_link(stage.name, stage.saved, "the last checkpoint"))
        parts.append(f'<ol class="lineage">{"".join(items)}</ol>')
    return "".join(parts) or "<p>no checkpoint yet</p>"


def _link(stage: str, step: int, told: str) -> str:
    return (
        f"<li><b>{escape(stage)}</b> step {step:,}<br>"
        f"<small>{escape(told)}</small></li>"
    )


def changed_settings(workdir: WorkdirRecord) -> str:
    """A line a setting that is another from a step on."""
    rows = [
        (stage.name, f"{change.step:,}", name, _value(old), _value(new))
        for stage in workdir.stages
        for change in stage.changes
        for name, (old, new) in change.settings.items()
    ]
    if not rows:
        return "<p>none has changed since its stage began</p>"
    return _table(("stage", "from step", "setting", "before", "from then on"), rows)


def differing_settings(workdirs: Sequence[WorkdirRecord]) -> str:
    """A line a setting that differs between two workdirs, of stages that both have."""
    first, second = workdirs
    rows = []
    for stage in first.stages:
        other = second.stage(stage.name)
        if other is None:
            continue
        left, right = _flat(stage.config), _flat(other.config)
        rows += [
            (stage.name, name, *(_value(c.get(name, "-")) for c in (left, right)))
            for name in sorted({*left, *right})
            if left.get(name, "-") != right.get(name, "-")
        ]
    if not rows:
        return "<p>stages that both have are of the same settings</p>"
    return _table(("stage", "setting", first.name, second.name), rows)


def configurations(stages: Sequence[StageRecord]) -> str:
    """Each stage's configuration, folded up."""
    return "".join(
        f"<details><summary>configuration of {escape(stage.name)}</summary>"
        f"<pre>{escape(json.dumps(stage.config, indent=1))}</pre></details>"
        for stage in stages
        if stage.config
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by names such as "optimizer.learning_rate"."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table class="texts"><tr>{head}</tr>{body}</table></div>'
