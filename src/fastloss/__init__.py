"""Loss functions and their derivatives over NumPy arrays.

Every loss is a `Loss`: call it for the cost, or use its methods `grad`, `value_and_grad` and
`grad_and_hess`.

>>> import fastloss as fl
>>> fl.huber([0.0, 1.0], [0.5, 3.0], delta=1.0)
0.8125
"""

from fastloss import _losses
from fastloss._accumulator import Accumulator
from fastloss._api import Loss, get, losses
from fastloss._config import show_config
from fastloss._scan import scan
from fastloss._threads import get_num_threads, set_num_threads, threads
from fastloss._version import __version__

for _record in _losses.RECORDS:
    _loss = get(_record.name)
    for _name in (_record.name, *_record.aliases):
        globals()[_name] = _loss

__all__ = [
    "Accumulator",
    "Loss",
    "__version__",
    "get",
    "get_num_threads",
    "losses",
    "scan",
    "set_num_threads",
    "show_config",
    "threads",
    *_losses.BY_NAME,
]
del _record, _loss, _name
