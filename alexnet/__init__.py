"""AlexNet as Krizhevsky, Sutskever and Hinton published it in 2012, and how it is trained.

The chapters in ``book/`` import this package. Imports run downwards only: ``alexnet.experiments``
stands on these modules, and ``alexnet.bookkit`` on both.
"""

from alexnet.lrn import LocalResponseNorm
from alexnet.model import VARIANTS, AlexNet
from alexnet.two_gpu import TwoGPUAlexNet

__all__ = ["VARIANTS", "AlexNet", "LocalResponseNorm", "TwoGPUAlexNet"]
