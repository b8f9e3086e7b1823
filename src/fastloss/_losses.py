"""The registry: one record per loss, the only place outside the kernels that knows a loss by name.

Public functions, signatures, documentation, the type stub, the argument checks, the command line,
the tests and the benchmarks are all made from these records. A record's parameters are handed to
the kernel in the order in which they stand here.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

Kind = Literal["pointwise", "dense", "sparse"]
Reduction = Literal["mean", "sum", "none"]

# About how many nanoseconds a loss takes for a float32 element that is in cache: what decides from
# which size on threads pay. The gradient costs little more, and float64 twice as much.
ARITHMETIC = 0.15
TRANSCENDENTAL = 0.6


class Interval(NamedTuple):
    """A set of real numbers between two ends, each end inside or outside of it."""

    low: float
    high: float
    low_closed: bool = True
    high_closed: bool = True

    def __contains__(self, x: Any) -> bool:
        above = x >= self.low if self.low_closed else x > self.low
        below = x <= self.high if self.high_closed else x < self.high
        return bool(above and below)

    def __str__(self) -> str:
        left, right = "(["[self.low_closed], ")]"[self.high_closed]
        return f"{left}{self.low:g}, {self.high:g}{right}"


class Labels(NamedTuple):
    """A finite set of labels, or alternatives of such sets that may not be mixed."""

    text: str

    def __str__(self) -> str:
        return self.text


REAL = Interval(-math.inf, math.inf)
POSITIVE = Interval(0, math.inf, low_closed=False, high_closed=False)
NON_NEGATIVE = Interval(0, math.inf, high_closed=False)
UNIT = Interval(0, 1)
INSIDE_UNIT = Interval(0, 1, low_closed=False, high_closed=False)
BELOW_HALF = Interval(0, 0.5, high_closed=False)
ABOVE_MINUS_ONE = Interval(-1, math.inf, low_closed=False)
MARGIN_LABELS = Labels("{-1, +1} or {0, 1}")
CLASS_INDEX = Labels("integers in [0, C)")


class Parameter(NamedTuple):
    """A keyword of a loss: a real number in `domain`, or one of the special kinds."""

    name: str
    default: float | None
    doc: str
    kind: Literal["real", "axis", "class_weight", "ignore_index"] = "real"
    domain: Interval = REAL


class Record(NamedTuple):
    """Everything that is said about a loss outside its kernel.

    `kernel` names the block in ``kernels/losses/*.h``. `max_ulp` is the largest error of loss,
    gradient and Hessian that the tests allow. Of the mean of which kernel a loss is the root, where
    that mean is in its range, says `root_of`; else its own kernel has it, scaled.
    """

    name: str
    aliases: tuple[str, ...]
    family: Literal["regression", "binary", "multiclass"]
    kind: Kind
    kernel: str
    summary: str
    y_true: Interval | Labels
    y_pred: Interval
    formula: str
    gradient: str
    hessian: str | None
    reference: str
    parameters: tuple[Parameter, ...] = ()
    notes: str = ""
    max_ulp: int = 4
    cost: float = TRANSCENDENTAL
    reductions: tuple[Reduction, ...] = ("mean", "sum", "none")
    root_of: str | None = None

    @property
    def has_hessian(self) -> bool:
        """Whether the loss has a diagonal of the Hessian."""
        return self.hessian is not None


AXIS = Parameter("axis", -1, "The axis of the classes.", kind="axis")
EPS = Parameter(
    "eps",
    0.0,
    "Clip probabilities to ``[eps, 1 - eps]``; derivatives are those at the clipped point.",
    domain=BELOW_HALF,
)
BINARY_SMOOTHING = Parameter(
    "label_smoothing",
    0.0,
    "Replace ``y`` by ``y * (1 - label_smoothing) + label_smoothing / 2``.",
    domain=UNIT,
)
CLASS_SMOOTHING = Parameter(
    "label_smoothing",
    0.0,
    "Replace ``y`` by ``y * (1 - label_smoothing) + label_smoothing / C``.",
    domain=UNIT,
)
MASKED_SMOOTHING = Parameter(
    "label_smoothing",
    0.0,
    "Replace ``y`` by ``y * (1 - label_smoothing) + label_smoothing / C``, where ``C`` counts the "
    "classes of the row that are not masked (logit ``-inf``); masked classes take no share.",
    domain=UNIT,
)
CLASS_WEIGHT = Parameter(
    "class_weight",
    None,
    "One finite weight >= 0 for each class; multiplies that class's term and never enters the "
    "divisor of the mean.",
    kind="class_weight",
)
IGNORE_INDEX = Parameter(
    "ignore_index",
    None,
    "Rows with this label count nowhere: no loss, zero gradient, not in the divisor of the mean.",
    kind="ignore_index",
)
MARGIN = Parameter("margin", 1.0, "The margin that costs nothing.", domain=NON_NEGATIVE)

RECORDS: tuple[Record, ...] = (
    Record(
        name="squared_error",
        aliases=("mse", "l2"),
        family="regression",
        kind="pointwise",
        kernel="squared_error",
        cost=ARITHMETIC,
        summary="Squared error; its mean is the mean squared error (MSE).",
        y_true=REAL,
        y_pred=REAL,
        formula=r"(z - y)^2",
        gradient=r"2 (z - y)",
        hessian=r"2",
        reference="Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., "
        "section 2.4",
    ),
    Record(
        name="root_mean_squared_error",
        aliases=("rmse",),
        family="regression",
        kind="pointwise",
        kernel="root_mean_squared_error",
        cost=ARITHMETIC,
        summary="Root of the mean squared error over the whole input.",
        y_true=REAL,
        y_pred=REAL,
        formula=r"\sqrt{\sum_i w_i (z_i - y_i)^2 / \sum_i w_i}",
        gradient=r"\frac{w_i (z_i - y_i)}{\sum_j w_j \cdot \mathrm{RMSE}}",
        hessian=None,
        reference="Hyndman, Koehler, Another look at measures of forecast accuracy, "
        "International Journal of Forecasting 22 (2006), section 2.1",
        notes="A property of the whole input, so ``reduction`` can only be ``'mean'``. The "
        "gradient at an RMSE of 0 is 0.",
        reductions=("mean",),
        root_of="squared_error",
    ),
    Record(
        name="absolute_error",
        aliases=("mae", "l1"),
        family="regression",
        kind="pointwise",
        kernel="absolute_error",
        cost=ARITHMETIC,
        summary="Absolute error; its mean is the mean absolute error (MAE).",
        y_true=REAL,
        y_pred=REAL,
        formula=r"|z - y|",
        gradient=r"\operatorname{sign}(z - y)",
        hessian=r"0",
        reference="Koenker, Bassett, Regression Quantiles, Econometrica 46 (1978)",
        notes="The gradient at ``y_pred == y_true`` is 0.",
    ),
    Record(
        name="squared_log_error",
        aliases=("msle",),
        family="regression",
        kind="pointwise",
        kernel="squared_log_error",
        summary="Squared difference of the logarithms of one plus target and prediction.",
        y_true=ABOVE_MINUS_ONE,
        y_pred=ABOVE_MINUS_ONE,
        formula=r"(\log(1 + z) - \log(1 + y))^2",
        gradient=r"2 \frac{\log(1 + z) - \log(1 + y)}{1 + z}",
        hessian=r"2 \frac{1 - \log(1 + z) + \log(1 + y)}{(1 + z)^2}",
        reference="scikit-learn user guide, Mean squared logarithmic error",
        notes="The Hessian's numerator is itself a difference; its error is relative to its "
        "larger term.",
        max_ulp=8,
    ),
    Record(
        name="huber",
        aliases=(),
        family="regression",
        kind="pointwise",
        kernel="huber",
        cost=ARITHMETIC,
        summary="Squared error near zero, absolute error beyond `delta`.",
        y_true=REAL,
        y_pred=REAL,
        formula=r"\begin{cases} (z - y)^2 / 2 & |z - y| \le \delta \\ "
        r"\delta (|z - y| - \delta / 2) & \text{otherwise} \end{cases}",
        gradient=r"\operatorname{clip}(z - y, -\delta, \delta)",
        hessian=r"[\,|z - y| \le \delta\,]",
        reference="Huber, Robust Estimation of a Location Parameter, Annals of Mathematical "
        "Statistics 35 (1964)",
        parameters=(
            Parameter("delta", 1.0, "Residual at which the loss turns linear.", domain=POSITIVE),
        ),
        notes="Which side of `delta` a residual lies on is decided after ``z - y`` is rounded.",
    ),
    Record(
        name="pseudo_huber",
        aliases=(),
        family="regression",
        kind="pointwise",
        kernel="pseudo_huber",
        summary="A smooth Huber loss.",
        y_true=REAL,
        y_pred=REAL,
        formula=r"\delta^2 \left(\sqrt{1 + ((z - y) / \delta)^2} - 1\right)",
        gradient=r"\frac{z - y}{\sqrt{1 + ((z - y) / \delta)^2}}",
        hessian=r"\left(1 + ((z - y) / \delta)^2\right)^{-3/2}",
        reference="Hartley, Zisserman, Multiple View Geometry in Computer Vision, 2nd ed., "
        "appendix A6.8",
        parameters=(
            Parameter("delta", 1.0, "Residual around which it turns linear.", domain=POSITIVE),
        ),
        max_ulp=8,
    ),
    Record(
        name="log_cosh",
        aliases=(),
        family="regression",
        kind="pointwise",
        kernel="log_cosh",
        summary="Logarithm of the hyperbolic cosine of the residual.",
        y_true=REAL,
        y_pred=REAL,
        formula=r"\log \cosh(z - y)",
        gradient=r"\tanh(z - y)",
        hessian=r"\operatorname{sech}^2(z - y)",
        reference="Saleh, Saleh, Statistical Properties of the log-cosh Loss Function Used in "
        "Machine Learning, arXiv:2208.04564",
        max_ulp=8,
    ),
    Record(
        name="quantile",
        aliases=("pinball",),
        family="regression",
        kind="pointwise",
        kernel="quantile",
        cost=ARITHMETIC,
        summary="Pinball loss; its minimum is the quantile `q`.",
        y_true=REAL,
        y_pred=REAL,
        formula=r"\begin{cases} q (y - z) & y > z \\ (1 - q)(z - y) & \text{otherwise} \end{cases}",
        gradient=r"\begin{cases} -q & y > z \\ 1 - q & y < z \\ 0 & y = z \end{cases}",
        hessian=r"0",
        reference="Koenker, Bassett, Regression Quantiles, Econometrica 46 (1978)",
        parameters=(Parameter("q", 0.5, "The quantile.", domain=INSIDE_UNIT),),
    ),
    Record(
        name="binary_cross_entropy",
        aliases=("bce", "log_loss"),
        family="binary",
        kind="pointwise",
        kernel="binary_cross_entropy",
        summary="Cross-entropy of a binary target against a probability.",
        y_true=UNIT,
        y_pred=UNIT,
        formula=r"-y \log p - (1 - y) \log(1 - p)",
        gradient=r"\frac{p - y}{p (1 - p)}",
        hessian=r"\frac{y}{p^2} + \frac{1 - y}{(1 - p)^2}",
        reference="Bishop, Pattern Recognition and Machine Learning, section 4.3.2",
        parameters=(EPS, BINARY_SMOOTHING),
        notes="Nothing is clipped unless `eps` asks for it: a certain and wrong prediction costs "
        "``inf``, a certain and right one 0.",
    ),
    Record(
        name="sigmoid_cross_entropy",
        aliases=("bce_with_logits",),
        family="binary",
        kind="pointwise",
        kernel="sigmoid_cross_entropy",
        summary="Cross-entropy of a binary target against a logit.",
        y_true=UNIT,
        y_pred=REAL,
        formula=r"\log(1 + e^z) - y z",
        gradient=r"\sigma(z) - y",
        hessian=r"\sigma(z) (1 - \sigma(z))",
        reference="Bishop, Pattern Recognition and Machine Learning, section 4.3.2",
        parameters=(
            Parameter(
                "pos_weight",
                1.0,
                "Multiplies the term of the positive class.",
                domain=NON_NEGATIVE,
            ),
            BINARY_SMOOTHING,
        ),
        max_ulp=6,
        notes="With ``pos_weight = a`` the loss is ``(1 + (a - 1) y) log(1 + exp(z)) - a y z``.",
    ),
    Record(
        name="logistic",
        aliases=(),
        family="binary",
        kind="pointwise",
        kernel="logistic",
        summary="Logistic loss of a margin: cross-entropy on logits for labels of -1 and +1.",
        y_true=MARGIN_LABELS,
        y_pred=REAL,
        formula=r"\log(1 + e^{-s z})",
        gradient=r"-s\, \sigma(-s z)",
        hessian=r"\sigma(z) (1 - \sigma(z))",
        reference="Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed., "
        "section 10.6",
    ),
    Record(
        name="hinge",
        aliases=(),
        family="binary",
        kind="pointwise",
        kernel="hinge",
        cost=ARITHMETIC,
        summary="Hinge loss of the support vector machine.",
        y_true=MARGIN_LABELS,
        y_pred=REAL,
        formula=r"\max(0, m - s z)",
        gradient=r"-s\, [m - s z > 0]",
        hessian=r"0",
        reference="Cortes, Vapnik, Support-Vector Networks, Machine Learning 20 (1995)",
        parameters=(MARGIN,),
    ),
    Record(
        name="squared_hinge",
        aliases=(),
        family="binary",
        kind="pointwise",
        kernel="squared_hinge",
        cost=ARITHMETIC,
        summary="Square of the hinge loss.",
        y_true=MARGIN_LABELS,
        y_pred=REAL,
        formula=r"\max(0, m - s z)^2",
        gradient=r"-2 s \max(0, m - s z)",
        hessian=r"2\, [m - s z > 0]",
        reference="Lee, Lin, A Study on L2-Loss (Squared Hinge-Loss) Multiclass SVM, Neural "
        "Computation 25 (2013)",
        parameters=(MARGIN,),
    ),
    Record(
        name="categorical_cross_entropy",
        aliases=(),
        family="multiclass",
        kind="dense",
        kernel="cross_entropy_term",
        summary="Cross-entropy of dense targets against class probabilities.",
        y_true=UNIT,
        y_pred=UNIT,
        formula=r"-\sum_k y_k \log p_k",
        gradient=r"-y_k / p_k",
        hessian=r"y_k / p_k^2",
        reference="Bishop, Pattern Recognition and Machine Learning, section 4.3.4",
        parameters=(AXIS, EPS, CLASS_SMOOTHING, CLASS_WEIGHT),
        notes="Terms with ``y_k = 0`` are skipped, so ``0 * log 0 = 0``. Neither targets nor "
        "probabilities are normalised.",
    ),
    Record(
        name="sparse_categorical_cross_entropy",
        aliases=("nll",),
        family="multiclass",
        kind="sparse",
        kernel="cross_entropy_term",
        cost=ARITHMETIC,
        summary="Cross-entropy of integer targets against class probabilities.",
        y_true=CLASS_INDEX,
        y_pred=UNIT,
        formula=r"-\log p_y",
        gradient=r"-[k = y] / p_y",
        hessian=r"[k = y] / p_y^2",
        reference="Bishop, Pattern Recognition and Machine Learning, section 4.3.4",
        parameters=(AXIS, EPS, IGNORE_INDEX, CLASS_WEIGHT, CLASS_SMOOTHING),
        notes="Without smoothing only the probability of the target is read and checked.",
    ),
    Record(
        name="softmax_cross_entropy",
        aliases=("cross_entropy",),
        family="multiclass",
        kind="dense",
        kernel="softmax",
        summary="Cross-entropy of dense targets against the softmax of logits.",
        y_true=NON_NEGATIVE,
        y_pred=REAL,
        formula=r"\left(\sum_k y_k\right) \log \sum_k e^{z_k} - \sum_k y_k z_k",
        gradient=r"\left(\sum_j y_j\right) s_k - y_k",
        hessian=r"\left(\sum_j y_j\right) s_k (1 - s_k)",
        reference="Bishop, Pattern Recognition and Machine Learning, section 4.3.4",
        parameters=(AXIS, MASKED_SMOOTHING, CLASS_WEIGHT),
        notes="The targets of a row need not sum to 1. Terms with ``y_k = 0`` are skipped, so "
        "``-inf`` logits mask classes that are no target. A row of only ``-inf`` gives nan.",
        max_ulp=6,
    ),
    Record(
        name="sparse_softmax_cross_entropy",
        aliases=(),
        family="multiclass",
        kind="sparse",
        kernel="softmax",
        summary="Cross-entropy of integer targets against the softmax of logits.",
        y_true=CLASS_INDEX,
        y_pred=REAL,
        formula=r"\log \sum_k e^{z_k} - z_y",
        gradient=r"s_k - [k = y]",
        hessian=r"s_k (1 - s_k)",
        reference="Bishop, Pattern Recognition and Machine Learning, section 4.3.4",
        parameters=(AXIS, IGNORE_INDEX, CLASS_WEIGHT, MASKED_SMOOTHING),
        notes="Never builds a one-hot array. ``-inf`` logits mask classes that are no target. A "
        "row of only ``-inf`` gives nan.",
        max_ulp=6,
    ),
    Record(
        name="kl_divergence",
        aliases=("kl",),
        family="multiclass",
        kind="dense",
        kernel="kl_divergence_term",
        summary="Kullback-Leibler divergence of class probabilities from dense targets.",
        y_true=UNIT,
        y_pred=UNIT,
        formula=r"\sum_k y_k (\log y_k - \log p_k)",
        gradient=r"-y_k / p_k",
        hessian=r"y_k / p_k^2",
        reference="Kullback, Leibler, On Information and Sufficiency, Annals of Mathematical "
        "Statistics 22 (1951)",
        parameters=(AXIS, EPS),
        notes="``0 * log 0 = 0``; ``p_k = 0 < y_k`` gives ``inf``. The terms of a row have both "
        "signs, so the error of their sum is relative to the largest of them.",
    ),
)

BY_NAME: dict[str, Record] = {
    key: record for record in RECORDS for key in (record.name, *record.aliases)
}
