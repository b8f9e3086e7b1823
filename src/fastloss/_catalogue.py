"""The losses as the command shows them: the list by family, and a page for each."""

from __future__ import annotations

import textwrap

from fastloss._losses import BY_NAME, RECORDS, Parameter, Record

_WIDTH = 80
_TAKES = {
    ("regression", "pointwise"): "one --y-true, one --y-pred",
    ("binary", "pointwise"): "one --y-true, one --y-pred",
    ("multiclass", "sparse"): "one --y-true of class indices, one --y-pred for each class",
    ("multiclass", "dense"): "one --y-true and one --y-pred for each class",
}


def listing() -> str:
    """Return all losses by family, with their formulas and parameters."""
    lines = []
    for (family, kind), takes in _TAKES.items():
        lines.append(f"{family}: {takes}")
        for record in RECORDS:
            if (record.family, record.kind) != (family, kind):
                continue
            lines.append(f"  {_with_aliases(record)}")
            lines += _wrapped(record.formula, "      ")
            params = ", ".join(map(_default, _own(record)))
            if params:
                lines += _wrapped(params, "      ")
        lines.append("")
    return "\n".join(lines)


def page(name: str) -> str:
    """Return everything that is known of a loss."""
    record = BY_NAME[name]
    lines = [_with_aliases(record), *_wrapped(record.summary, "  "), ""]
    for title, text in (
        ("loss", record.formula),
        ("gradient", record.gradient),
        ("Hessian", record.hessian or "none"),
        ("y_true", str(record.y_true)),
        ("y_pred", str(record.y_pred)),
    ):
        lines += _wrapped(text, " " * 12, f"  {title:<10}")
    parameters = _own(record)
    if parameters:
        lines += ["", "parameters"]
    for parameter in parameters:
        domain = f" in {parameter.domain}" if parameter.kind == "real" else ""
        lines.append(f"  {_default(parameter)}{domain}")
        lines += _wrapped(parameter.doc.replace("`", ""), "      ")
    if record.notes:
        lines += ["", *_wrapped(record.notes.replace("`", ""), "")]
    lines += ["", *_wrapped(record.reference, "")]
    return "\n".join(lines) + "\n"


def _own(record: Record) -> list[Parameter]:
    return [p for p in record.parameters if p.kind != "axis"]


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return parameter.name
    return f"{parameter.name}={parameter.default:g}"


def _with_aliases(record: Record) -> str:
    return f"{record.name} ({', '.join(record.aliases)})" if record.aliases else record.name


def _wrapped(text: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
