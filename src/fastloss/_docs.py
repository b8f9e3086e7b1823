"""Documentation of a loss, made from its record."""

from __future__ import annotations

import textwrap

from fastloss._losses import Interval, Parameter, Record

_WIDTH = 88
_TYPES = {
    "axis": "int, default {default}",
    "class_weight": "array_like of shape (C,), optional",
    "ignore_index": "int, optional",
    "real": "float, default {default}",
}


def docstring(record: Record) -> str:
    """Return the numpydoc documentation of a loss."""
    sections = [
        record.summary,
        _formulas(record),
        _section("Parameters", _parameters(record)),
        _section("Returns", _returns(record)),
        _section("Raises", _RAISES),
    ]
    if record.notes:
        sections.append(_section("Notes", textwrap.fill(record.notes, _WIDTH)))
    if record.aliases:
        sections.append(
            "Also known as " + ", ".join(f"`{alias}`" for alias in record.aliases) + "."
        )
    sections.append(_section("References", textwrap.fill(record.reference + ".", _WIDTH)))
    return "\n\n".join(sections) + "\n"


def _returns(record: Record) -> str:
    if "sum" not in record.reductions:
        return _RETURNS_MEAN
    return _RETURNS if record.kind == "pointwise" else _RETURNS_ROWS


def _formulas(record: Record) -> str:
    symbol = "p" if record.y_pred.high == 1 else "z"
    hessian = record.hessian if record.hessian is not None else r"\text{not defined}"
    return (
        f"With ``y = y_true`` and ``{symbol} = y_pred``"
        + (", ``s`` the softmax of ``z``" if "s_k" in record.gradient else "")
        + (r", ``s = ±1`` the label" if "s z" in record.formula else "")
        + (", ``m = margin``" if "m - s z" in record.formula else "")
        + ":\n\n"
        f"    loss      {record.formula}\n"
        f"    gradient  {record.gradient}\n"
        f"    Hessian   {hessian}"
    )


def _section(title: str, body: str) -> str:
    return f"{title}\n{'-' * len(title)}\n{body}"


def _indented(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _parameters(record: Record) -> str:
    shapes = {
        "pointwise": ("array_like", "array_like"),
        "dense": ("array_like, shape of `y_pred`", "array_like of shape (..., C)"),
        "sparse": ("array_like of shape (...)", "array_like of shape (..., C)"),
    }
    true_shape, pred_shape = shapes[record.kind]
    entries = [
        (f"y_true : {true_shape}", f"Targets, {_domain(record.y_true)}."),
        (f"y_pred : {pred_shape}", f"Predictions, {_domain(record.y_pred)}."),
        *((f"{p.name} : {_TYPES[p.kind].format(default=p.default)}", _said(p))
          for p in record.parameters),
        ("sample_weight : array_like, optional",
         "Weights, of a shape that broadcasts to that of the losses."),
        ("reduction : {" + ", ".join(repr(r) for r in record.reductions) + "}, default 'mean'",
         "``'mean'`` is the weighted mean, ``'sum'`` the weighted sum, ``'none'`` one loss each."
         if len(record.reductions) > 1 else "The weighted mean."),
        ("out : ndarray or tuple of ndarray, optional",
         "Where the array result of the call goes: exact shape and dtype; may be `y_pred`."),
        ("num_threads : int, optional",
         "Default: `get_num_threads`. The result has the same bits for every number."),
    ]  # fmt: skip
    return "\n".join(f"{head}\n{_indented(body)}" for head, body in entries)


def _said(parameter: Parameter) -> str:
    domain = f" In {parameter.domain}." if parameter.kind == "real" else ""
    return parameter.doc + domain


def _domain(domain: object) -> str:
    if isinstance(domain, Interval) and domain == Interval(float("-inf"), float("inf")):
        return "any real numbers"
    return f"in {domain}" if isinstance(domain, Interval) else str(domain)


_RETURNS = """float or ndarray
    The cost; with ``reduction='none'`` the losses. ``.grad(...)`` returns the gradient with
    respect to `y_pred`, ``.value_and_grad(...)`` both, ``.grad_and_hess(...)`` gradient and
    diagonal of the Hessian. Arrays are float32 if `y_pred` is a float of at most 32 bits, else
    float64."""

_RETURNS_ROWS = f"{_RETURNS} Derivatives lie in memory like `y_pred`."

_RETURNS_MEAN = """float
    The cost. ``.grad(...)`` returns the gradient with respect to `y_pred`,
    ``.value_and_grad(...)`` both, in float32 if `y_pred` is a float of at most 32 bits, else
    float64."""

_RAISES = """ValueError
    If a value is outside its domain, or shapes do not fit.
TypeError
    If an argument is of the wrong type, or its dtype is not real, integer or bool."""
