"""The paper of Krizhevsky, Sutskever and Hinton (2012), in a few small modules. The book in ``book/`` imports them."""

from alexnet.lrn import LocalResponseNorm
from alexnet.model import VARIANTS, AlexNet
from alexnet.two_gpu import TwoGPUAlexNet

__all__ = ["VARIANTS", "AlexNet", "LocalResponseNorm", "TwoGPUAlexNet"]
